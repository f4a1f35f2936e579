package syncdtest

import (
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/syncd-io/syncd/spec"
)

// Node makes a configuration's node of YAML, with the positions that stand there.
func Node(t testing.TB, text string) *spec.Node {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Kind == 0 {
		return nil
	}
	return nodeOf(doc.Content[0])
}

func nodeOf(y *yaml.Node) *spec.Node {
	pos := func(y *yaml.Node) spec.Pos { return spec.Pos{Source: "f", Line: y.Line, Column: y.Column} }
	n := &spec.Node{Pos: pos(y), Text: y.Value, Quoted: y.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0}
	switch y.Kind {
	case yaml.MappingNode:
		n.Kind = spec.Map
		for i := 0; i < len(y.Content); i += 2 {
			v := nodeOf(y.Content[i+1])
			v.Key = pos(y.Content[i])
			n.Entries = append(n.Entries, spec.Entry{Name: y.Content[i].Value, Value: v})
		}
	case yaml.SequenceNode:
		n.Kind = spec.List
		for _, c := range y.Content {
			n.Items = append(n.Items, nodeOf(c))
		}
	default:
		n.Type = map[string]spec.ScalarType{"!!null": spec.Null, "!!bool": spec.Bool, "!!int": spec.Int, "!!float": spec.Float}[y.Tag]
	}
	return n
}
