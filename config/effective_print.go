package config

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/syncd-io/syncd/spec"
)

// maxCommentColumn is how far to the right the origins may stand. A longer line has its origin right behind it.
const maxCommentColumn = 72

// YAML writes the configuration as YAML with each value's origin as a comment behind it. It can be loaded again and means
// the same, but for the secrets that it does not show.
func (e *Effective) YAML() (string, error) {
	type line struct{ text, origin string }
	var lines []line
	var write func(s *setting, indent string) error
	write = func(s *setting, indent string) error {
		key, err := inline(&spec.Node{Type: spec.Text, Text: s.name})
		if err != nil {
			return err
		}
		if s.unused {
			indent += "# "
		}
		if !s.block {
			value, err := inline(escaped(s.shown))
			if err != nil {
				return err
			}
			origin := s.origin
			if s.unused {
				origin += ", not in use"
			}
			lines = append(lines, line{indent + key + ": " + value, "# " + origin})
			return nil
		}
		if len(s.children) == 0 {
			lines = append(lines, line{indent + key + ": {}", ""})
			return nil
		}
		lines = append(lines, line{indent + key + ":", ""})
		for _, c := range s.children {
			if err := write(c, indent+"  "); err != nil {
				return err
			}
		}
		return nil
	}
	for _, s := range e.root.children {
		if err := write(s, ""); err != nil {
			return "", err
		}
	}
	column := 0
	for _, l := range lines {
		if width := utf8.RuneCountInString(l.text); l.origin != "" && width+2 <= maxCommentColumn {
			column = max(column, width+2)
		}
	}
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.text)
		if l.origin != "" {
			b.WriteString(strings.Repeat(" ", max(2, column-utf8.RuneCountInString(l.text))))
			b.WriteString(l.origin)
		}
		b.WriteByte('\n')
	}
	return b.String(), nil
}

// escaped is a value as a file must write it so that ${ stands for itself. What is not set is written as the reference that
// it is.
func escaped(n *spec.Node) *spec.Node {
	return mapTexts(n, func(n *spec.Node) string {
		if n.Broken {
			return n.Text
		}
		return strings.ReplaceAll(n.Text, "${", "$${")
	})
}

// inline writes a value as YAML in one line.
func inline(n *spec.Node) (string, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	if err := enc.Encode(yamlNode(n)); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

func yamlNode(n *spec.Node) *yaml.Node {
	out := &yaml.Node{Kind: yaml.ScalarNode, Value: n.Text}
	switch n.Kind {
	case spec.List:
		out = &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, item := range n.Items {
			out.Content = append(out.Content, yamlNode(item))
		}
		return out
	case spec.Map:
		out = &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
		for _, e := range n.Entries {
			out.Content = append(out.Content, yamlNode(&spec.Node{Type: spec.Text, Text: e.Name}), yamlNode(e.Value))
		}
		return out
	}
	if n.Type == spec.Text {
		out.Tag = "!!str" // quotes what would read as something else
		if strings.ContainsFunc(n.Text, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 }) ||
			strings.ContainsAny(n.Text, "{}[],") || slices.Contains(oldSwitches, strings.ToLower(n.Text)) {
			out.Style = yaml.DoubleQuotedStyle // in one line, and readable to all who know JSON
		}
	}
	return out
}

// oldSwitches are texts that readers of YAML 1.1 take for switches.
var oldSwitches = []string{"y", "n", "yes", "no", "on", "off"}

// JSON writes an object with the configuration and, by path, the origin of each of its values.
func (e *Effective) JSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(`{"config":`)
	if err := appendSettings(&b, e.root); err != nil {
		return nil, err
	}
	b.WriteString(`,"origins":{`)
	for i, s := range e.leaves() {
		if i > 0 {
			b.WriteByte(',')
		}
		appendText(&b, spec.PathString(s.path))
		b.WriteByte(':')
		appendText(&b, s.origin)
	}
	b.WriteString("}}")
	var out bytes.Buffer
	if err := json.Indent(&out, b.Bytes(), "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

func appendSettings(b *bytes.Buffer, s *setting) error {
	if !s.block {
		return appendNode(b, s.shown)
	}
	b.WriteByte('{')
	for i, c := range s.children {
		if i > 0 {
			b.WriteByte(',')
		}
		appendText(b, c.name)
		b.WriteByte(':')
		if err := appendSettings(b, c); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

func appendNode(b *bytes.Buffer, n *spec.Node) error {
	switch n.Kind {
	case spec.List:
		b.WriteByte('[')
		for i, item := range n.Items {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := appendNode(b, item); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	case spec.Map:
		b.WriteByte('{')
		for i, e := range n.Entries {
			if i > 0 {
				b.WriteByte(',')
			}
			appendText(b, e.Name)
			b.WriteByte(':')
			if err := appendNode(b, e.Value); err != nil {
				return err
			}
		}
		b.WriteByte('}')
		return nil
	}
	switch n.Type {
	case spec.Null:
		b.WriteString("null")
		return nil
	case spec.Bool:
		b.WriteString(strings.ToLower(n.Text))
		return nil
	case spec.Int:
		if i, err := strconv.ParseInt(strings.ReplaceAll(n.Text, "_", ""), 0, 64); err == nil {
			b.WriteString(strconv.FormatInt(i, 10))
			return nil
		}
	case spec.Float:
		if f, err := strconv.ParseFloat(n.Text, 64); err == nil {
			if text, err := json.Marshal(f); err == nil {
				b.Write(text)
				return nil
			}
		}
	}
	appendText(b, n.Text)
	return nil
}

func appendText(b *bytes.Buffer, text string) {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(text) // a text always has a JSON form
	b.Truncate(b.Len() - 1)
}

// leaves lists all values in order.
func (e *Effective) leaves() []*setting {
	var out []*setting
	var walk func(*setting)
	walk = func(s *setting) {
		if !s.block {
			out = append(out, s)
		}
		for _, c := range s.children {
			walk(c)
		}
	}
	walk(e.root)
	return slices.Clip(out)
}
