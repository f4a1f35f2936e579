package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

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
}

func (p *parser) errorf(pos spec.Pos, code spec.Code, hint, format string, args ...any) {
	p.diags = append(p.diags, spec.Diagnostic{
		Severity: spec.Error, Code: code, Pos: pos, Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// parse returns the file's tree, an empty block for an empty file, or nil if its syntax is broken.
func (p *parser) parse(data []byte) *spec.Node {
	start := spec.Pos{Source: p.file, Line: 1, Column: 1}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return &spec.Node{Kind: spec.Map, Pos: start}
	case err != nil:
		pos, message := syntaxError(p.file, data, err)
		p.errorf(pos, spec.CodeSyntax, "", "%s", message)
		return nil
	}
	var second yaml.Node
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		pos := p.pos(&second)
		if err != nil {
			pos, _ = syntaxError(p.file, data, err)
		}
		p.errorf(pos, spec.CodeSyntax, "keep one document a file", "a second YAML document")
		return nil
	}
	root := p.node(doc.Content[0])
	if root.IsNull() {
		return &spec.Node{Kind: spec.Map, Pos: start}
	}
	return root
}

// The library counts the lines of its parser's errors, unlike its scanner's, from 0.
var countedFromZero = regexp.MustCompile(`^did not find expected (<|node content|'-' indicator|key$|',' or)`)

var yamlErrorLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(.*)$`)

// syntaxError places a YAML error: the library says the line; the column is where the line's text begins, or its first tab,
// which YAML forbids in indentation and which nobody sees.
func syntaxError(file string, data []byte, err error) (spec.Pos, string) {
	m := yamlErrorLine.FindStringSubmatch(err.Error())
	line, _ := strconv.Atoi(m[1])
	if countedFromZero.MatchString(m[2]) {
		line++
	}
	lines := strings.Split(string(data), "\n")
	line = min(max(line, 1), len(lines))
	text := lines[line-1]
	column := len(text) - len(strings.TrimLeft(text, " ")) + 1
	message := "the YAML is broken: " + m[2]
	if strings.HasPrefix(strings.TrimLeft(text, " "), "\t") {
		message = "a tab in the indentation: YAML allows only spaces there"
	}
	return spec.Pos{Source: file, Line: line, Column: column}, message
}

func (p *parser) pos(n *yaml.Node) spec.Pos {
	return spec.Pos{Source: p.file, Line: max(n.Line, 1), Column: max(n.Column, 1)}
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
		if first := out.Get(k.Value); first != nil {
			p.diags = append(p.diags, spec.Diagnostic{
				Severity: spec.Error, Code: spec.CodeDuplicateKey, Pos: key, Related: first.Key,
				Message: fmt.Sprintf("duplicate key %q", k.Value),
			})
			continue
		}
		value := p.node(v)
		value.Key = key
		out.Entries = append(out.Entries, spec.Entry{Name: k.Value, Value: value})
	}
	for _, m := range merged { // "<<": keys that the map has itself win, then earlier sources
		for _, e := range m.Entries {
			if out.Get(e.Name) == nil {
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
	p.errorf(n.Pos, spec.CodeSyntax, "", "<< needs a block of fields")
	return nil
}

func (p *parser) scalar(n *yaml.Node) *spec.Node {
	quoted := n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0
	block := n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0
	out := &spec.Node{Kind: spec.Scalar, Pos: p.pos(n), Text: n.Value, Quoted: quoted, Rewrote: block}
	before := len(p.diags)
	text, changed := p.interpolate(out)
	out.Broken = out.Broken || len(p.diags) > before
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
	return spec.Text // timestamps too: no setting is one, and filters write {$date: …}
}

var variable = regexp.MustCompile(`\$\$\{|\$\{([^}]*)\}`)
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// interpolate replaces ${NAME} and ${NAME:-default} in the scalar's text, as the shell does: the default stands for a
// variable that is unset or empty. $${ is a literal ${. It works on parsed scalars, so a value can't change the file's
// structure and positions stay true.
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
		if !variableName.MatchString(name) {
			p.errorf(n.At(m[0]), spec.CodeSyntax, "write $${ for the characters themselves", "%q is not the name of a variable", name)
			continue
		}
		value, set := p.env(name)
		switch {
		case hasFallback && value == "":
			value = fallback
		case !set && p.unsetOK:
			n.Broken = true // nothing can be said about it
		case !set:
			p.errorf(n.At(m[0]), spec.CodeUnsetVariable, fmt.Sprintf("set it, or give a default: ${%s:-…}", name),
				"the environment variable %s is not set", name)
		}
		b.WriteString(value)
	}
	b.WriteString(n.Text[last:])
	return b.String(), true
}
