package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/spec"
)

// maxNodes bounds a file after its aliases are resolved, against files that multiply themselves. A hand-written
// configuration has a few hundred nodes.
const maxNodes = 100_000

// parser turns one YAML file into a tree.
type parser struct {
	file    string
	env     func(string) (string, bool)
	unsetOK bool
	diags   spec.Diagnostics
	nodes   int
	aliases []*yaml.Node // being resolved, innermost last
	text    *text
	cut     []int // offsets of aliases that were reported and taken out
}

func (p *parser) errorf(pos spec.Pos, code spec.Code, hint, format string, args ...any) {
	p.diags = append(p.diags, spec.Diagnostic{
		Severity: spec.Error, Code: code, Pos: pos, Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// parse returns the file's tree, an empty block for an empty file, or nil if its syntax is broken.
func (p *parser) parse(data []byte) *spec.Node {
	p.text = newText(p.file, data)
	switch at, control := notText(data); {
	case at >= 0 && control:
		p.errorf(p.text.pos(at), spec.CodeSyntax, "remove it; in double quotes it can be written as an escape", "a control character, which YAML forbids")
		return nil
	case at >= 0:
		p.errorf(p.text.pos(at), spec.CodeSyntax, "save it as UTF-8", "the file is not UTF-8 text")
		return nil
	}
	empty := &spec.Node{Kind: spec.Map, Pos: p.text.start()}
	doc := p.document(data)
	if doc == nil {
		return nil
	}
	if len(doc.Content) == 0 {
		return empty
	}
	root := p.node(doc.Content[0])
	if root.IsNull() {
		return empty
	}
	return root
}

func (p *parser) offset(n *yaml.Node) int { return p.text.offset(n.Line, n.Column) }

func (p *parser) pos(n *yaml.Node) spec.Pos {
	return p.text.pos(p.offset(n))
}

func (p *parser) node(n *yaml.Node) *spec.Node {
	pos := p.pos(n)
	if p.nodes++; p.nodes == maxNodes {
		p.errorf(pos, spec.CodeSyntax, "", "the file has more than %d values", maxNodes)
	}
	if p.nodes >= maxNodes {
		return &spec.Node{Kind: spec.Scalar, Type: spec.Null, Pos: pos}
	}
	switch n.Kind {
	case yaml.MappingNode:
		return p.mapping(n)
	case yaml.SequenceNode:
		out := &spec.Node{Kind: spec.List, Pos: pos}
		for _, item := range n.Content {
			out.Items = append(out.Items, p.node(item))
		}
		return out
	case yaml.AliasNode:
		for _, active := range p.aliases {
			if active == n.Alias {
				p.errorf(pos, spec.CodeSyntax, "", "the alias *%s contains itself", n.Value)
				return &spec.Node{Kind: spec.Scalar, Type: spec.Null, Pos: pos}
			}
		}
		p.aliases = append(p.aliases, n.Alias)
		out := p.node(n.Alias)
		p.aliases = p.aliases[:len(p.aliases)-1]
		return out
	default:
		return p.scalar(n)
	}
}

func (p *parser) mapping(n *yaml.Node) *spec.Node {
	out := &spec.Node{Kind: spec.Map, Pos: p.pos(n)}
	var merged []*spec.Node
	keys := make(map[string]*spec.Node, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		key := p.pos(k)
		if k.ShortTag() == "!!merge" {
			merged = append(merged, p.mergeSources(v)...)
			continue
		}
		if k.Kind != yaml.ScalarNode || k.ShortTag() == "!!null" {
			p.errorf(key, spec.CodeSyntax, "", "a key must be a plain name")
			continue
		}
		if first := keys[k.Value]; first != nil {
			p.diags = append(p.diags, spec.Diagnostic{
				Severity: spec.Error, Code: spec.CodeDuplicateKey, Pos: key, Related: first.Key,
				Message: fmt.Sprintf("duplicate key %q", k.Value),
			})
			continue
		}
		value := p.node(v)
		value.Key = key
		keys[k.Value] = value
		out.Entries = append(out.Entries, spec.Entry{Name: k.Value, Value: value})
	}
	for _, m := range merged { // "<<": keys that the map has itself win, then earlier sources
		for _, e := range m.Entries {
			if keys[e.Name] == nil {
				keys[e.Name] = e.Value
				out.Entries = append(out.Entries, e)
			}
		}
	}
	return out
}

func (p *parser) mergeSources(v *yaml.Node) []*spec.Node {
	n := p.node(v)
	switch n.Kind {
	case spec.Map:
		return []*spec.Node{n}
	case spec.List:
		var out []*spec.Node
		for _, item := range n.Items {
			if item.Kind == spec.Map {
				out = append(out, item)
			}
		}
		return out
	}
	if !n.Broken {
		p.errorf(n.Pos, spec.CodeSyntax, "", "<< needs a block of fields")
	}
	return nil
}

func (p *parser) scalar(n *yaml.Node) *spec.Node {
	quoted := n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0
	block := n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0
	at := p.offset(n)
	out := &spec.Node{
		Kind: spec.Scalar, Pos: p.text.pos(at), Text: n.Value, Quoted: quoted, Rewrote: block, Raw: n.Value, Written: p.text.rest(at),
	}
	if slices.Contains(p.cut, at) {
		out.Broken = true
		return out
	}
	before := len(p.diags)
	text, changed := p.interpolate(out)
	out.Broken = out.Broken || len(p.diags) > before
	if n.Style&yaml.TaggedStyle != 0 {
		out.Date = n.ShortTag() == "!!timestamp"
	} else if !quoted && !block {
		_, out.Date = mapping.Date(text)
	}
	if !changed {
		out.Type = scalarType(n.ShortTag())
		if quoted || block {
			out.Type = spec.Text
		}
		return out
	}
	out.Text, out.Rewrote = text, true
	if !quoted && !block {
		out.Type = resolve(text)
	}
	return out
}

// resolve says what an unquoted text reads as.
func resolve(text string) spec.ScalarType {
	return scalarType((&yaml.Node{Kind: yaml.ScalarNode, Value: text}).ShortTag())
}

func scalarType(tag string) spec.ScalarType {
	switch tag {
	case "!!null":
		return spec.Null
	case "!!bool":
		return spec.Bool
	case "!!int":
		return spec.Int
	case "!!float":
		return spec.Float
	}
	return spec.Text // timestamps too: see spec.Node.Date
}

var variable = regexp.MustCompile(`\$\$\{|\$\{([^}]*)\}`)
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// interpolate replaces ${NAME} and ${NAME:-default} in the scalar's text, as the shell does: the default stands for a
// variable that is unset or empty. ${file:NAME} is what a file holds, and $${ is a literal ${. It works on parsed scalars, so
// a value can't change the file's structure and positions stay true.
func (p *parser) interpolate(n *spec.Node) (string, bool) {
	if !strings.Contains(n.Text, "${") {
		return n.Text, false
	}
	var b strings.Builder
	last := 0
	for _, m := range variable.FindAllStringSubmatchIndex(n.Text, -1) {
		b.WriteString(n.Text[last:m[0]])
		last = m[1]
		if m[2] < 0 {
			b.WriteString("${")
			continue
		}
		name, fallback, hasFallback := strings.Cut(n.Text[m[2]:m[3]], ":-")
		secret, isFile := strings.CutPrefix(name, filePrefix)
		if !isFile && !variableName.MatchString(name) {
			p.errorf(n.At(m[0]), spec.CodeSyntax, "write $${ for the characters themselves", "%q is not the name of a variable", name)
			continue
		}
		var value string
		var set bool
		if isFile {
			if value, set = p.secretFile(n.At(m[0]), secret, hasFallback); set {
				n.Secret, n.Held = true, append(n.Held, value)
			}
		} else {
			value, set = p.env(name)
		}
		switch {
		case hasFallback && value == "":
			value = fallback
		case !set && p.unsetOK:
			n.Broken = true // nothing can be said about it
		case !set && !isFile:
			p.errorf(n.At(m[0]), spec.CodeUnsetVariable, fmt.Sprintf("set it, or give a default: ${%s:-…}", name),
				"the environment variable %s is not set", name)
		case set:
			n.From = append(n.From, name)
		}
		b.WriteString(value)
	}
	b.WriteString(n.Text[last:])
	return b.String(), true
}
