package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// fileEdit is the text of a file that changes one setting at a time. A change is made in the text where that is possible, so that all
// else stays byte for byte as it was. Where that is not possible, the whole file is written from its tree, with its comments.
type fileEdit struct {
	path string
	data string
}

// change makes one change. Its error says why that can't be done.
func (f *fileEdit) change(c flatChange, keeps func([]string) bool) error {
	root, err := parseTree(f.data)
	if err != nil {
		return err
	}
	t := &treeEdit{text: newText(f.path, []byte(f.data)), root: root, end: len(f.data), keeps: keeps}
	var splice splice
	if c.value != nil {
		splice, err = t.set(c.path, c.value)
	} else {
		splice, err = t.remove(c.path)
	}
	if err != nil || splice.none {
		return err
	}
	if splice.from >= 0 {
		text := f.data[:splice.from] + splice.text + f.data[splice.to:]
		if got, err := parseTree(text); err == nil && sameTree(got, root) {
			f.data = text
			return nil
		}
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if len(root.Content) > 0 {
		if err := errors.Join(enc.Encode(root), enc.Close()); err != nil {
			return errors.New("the file is written in a way that can't be changed here")
		}
	}
	if got, err := parseTree(b.String()); err != nil || !sameTree(got, root) {
		return errors.New("the file is written in a way that can't be changed here")
	}
	f.data = b.String()
	return nil
}

// parseTree returns the block that a file is, which is empty where the file has none.
func parseTree(data string) (*yaml.Node, error) {
	var doc yaml.Node
	switch err := yaml.NewDecoder(strings.NewReader(data)).Decode(&doc); {
	case errors.Is(err, io.EOF) || err == nil && (len(doc.Content) == 0 || doc.Content[0].ShortTag() == "!!null"):
		return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}, nil
	case err != nil:
		return nil, errors.New("the file's YAML is broken")
	case doc.Content[0].Kind != yaml.MappingNode:
		return nil, errors.New("the file is no block of settings")
	}
	return doc.Content[0], nil
}

// sameTree reports whether two trees mean the same, however they are written.
func sameTree(a, b *yaml.Node) bool {
	if a.Kind != b.Kind || a.Anchor != b.Anchor || len(a.Content) != len(b.Content) || a.Kind != yaml.AliasNode && a.ShortTag() != b.ShortTag() {
		return false
	}
	if (a.Kind == yaml.ScalarNode || a.Kind == yaml.AliasNode) && a.Value != b.Value {
		return false
	}
	for i := range a.Content {
		if !sameTree(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}

// splice replaces a part of a text. from is -1 where the text can't be told.
type splice struct {
	from, to int
	text     string
	none     bool // there is nothing to do
}

var noSplice = splice{from: -1}

// treeEdit changes a tree, and says how its text would change.
type treeEdit struct {
	text  *text
	root  *yaml.Node
	end   int // of the text
	keeps func([]string) bool
}

// step is a block on the way to a setting.
type step struct {
	node *yaml.Node // a mapping
	at   int        // of the key in its content, -1 where it is not there
	next int        // offset of what follows the block
}

// way follows a path as far as it exists. next is the offset of whatever follows the last value found.
func (t *treeEdit) way(path []string) (steps []step, err error) {
	n, next := t.root, t.end
	for i, name := range path {
		s := step{node: n, at: -1, next: next}
		for k := 0; k+1 < len(n.Content); k += 2 {
			if n.Content[k].Kind == yaml.ScalarNode && n.Content[k].Value == name && n.Content[k].ShortTag() != "!!merge" {
				s.at = k
			}
		}
		steps = append(steps, s)
		if s.at < 0 {
			break
		}
		if s.at+2 < len(n.Content) {
			next = t.offset(n.Content[s.at+2])
		}
		value := n.Content[s.at+1]
		if value.Kind == yaml.AliasNode {
			return nil, fmt.Errorf("it stands at line %d, where the file refers to *%s", value.Line, value.Value)
		}
		if i == len(path)-1 || value.Kind != yaml.MappingNode {
			break
		}
		n = value
	}
	return steps, nil
}

func (t *treeEdit) offset(n *yaml.Node) int { return t.text.offset(n.Line, n.Column) }

// set puts a value at a path, with the blocks on its way.
func (t *treeEdit) set(path []string, value *yaml.Node) (splice, error) {
	steps, err := t.way(path)
	if err != nil {
		return noSplice, err
	}
	last := steps[len(steps)-1]
	rest := path[len(steps):]
	inserted := nested(rest, value)
	if last.at >= 0 { // the value, or what is no block and stands in its way
		old := last.node.Content[last.at+1]
		if old.Anchor != "" {
			return noSplice, fmt.Errorf("it stands at line %d, to which others refer as *%s", old.Line, old.Anchor)
		}
		how := t.replaced(steps, inserted)
		inserted.HeadComment, inserted.LineComment, inserted.FootComment = old.HeadComment, old.LineComment, old.FootComment
		last.node.Content[last.at+1] = inserted
		return t.inFlow(steps, how), nil
	}
	how := t.added(last, path[len(steps)-1], inserted)
	last.node.Content = append(last.node.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: path[len(steps)-1]}, inserted)
	return t.inFlow(steps, how), nil
}

// nested is a value below blocks of those names.
func nested(path []string, value *yaml.Node) *yaml.Node {
	for _, name := range slices.Backward(path) {
		value = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, value}}
	}
	return value
}

// remove takes the value at a path away, and the blocks that are empty then.
func (t *treeEdit) remove(path []string) (splice, error) {
	steps, err := t.way(path)
	if err != nil {
		return noSplice, err
	}
	last := steps[len(steps)-1]
	if last.at < 0 || len(steps) < len(path) || last.node.Content[last.at+1].Kind == yaml.MappingNode && len(last.node.Content[last.at+1].Content) > 0 {
		return splice{none: true}, nil // another change has done it
	}
	if anchor := last.node.Content[last.at+1].Anchor; anchor != "" {
		return noSplice, fmt.Errorf("others refer to it as *%s", anchor)
	}
	for len(steps) > 1 && len(last.node.Content) == 2 {
		if anchor := last.node.Anchor; anchor != "" {
			return noSplice, fmt.Errorf("others refer to its block as *%s", anchor)
		}
		if t.keeps(path[:len(steps)-1]) {
			empty := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Style: yaml.FlowStyle}
			how := t.replaced(steps[:len(steps)-1], empty)
			above := steps[len(steps)-2]
			above.node.Content[above.at+1] = empty
			return t.inFlow(steps[:len(steps)-1], how), nil
		}
		steps = steps[:len(steps)-1]
		last = steps[len(steps)-1]
	}
	from, to := t.extent(last)
	last.node.Content = slices.Delete(last.node.Content, last.at, last.at+2)
	return t.inFlow(steps, splice{from: from, to: to}), nil
}

// inFlow replaces a change inside of a block in braces, such as {a: 1}, by one that writes the outermost such block again.
func (t *treeEdit) inFlow(steps []step, how splice) splice {
	for _, s := range steps {
		if s.node.Style&yaml.FlowStyle == 0 {
			continue
		}
		if s.node.Line == 0 {
			return noSplice
		}
		from := t.offset(s.node)
		to := from + flowEnd(t.text.data[from:])
		text, err := inlineYAML(s.node)
		if err != nil || to <= from || strings.Contains(t.text.data[from:to], "\n") {
			return noSplice
		}
		return splice{from: from, to: to, text: text}
	}
	return how
}

// flowEnd is the length of a list or block in brackets, or 0.
func flowEnd(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			if depth--; depth == 0 {
				return i + 1
			}
		case (c == '"' || c == '\'') && i > 0 && strings.IndexByte(" \t[{,:", s[i-1]) >= 0:
			end := closingQuote(s[i:])
			if end <= 0 {
				return 0
			}
			i += end - 1
		case c == '#' && (s[i-1] == ' ' || s[i-1] == '\t'):
			return 0
		}
		if depth == 0 {
			return 0
		}
	}
	return 0
}

// inlineYAML writes a value in one line.
func inlineYAML(n *yaml.Node) (string, error) {
	var b bytes.Buffer
	if err := yaml.NewEncoder(&b).Encode(oneLine(n)); err != nil {
		return "", err
	}
	text := strings.TrimSuffix(b.String(), "\n")
	if strings.Contains(text, "\n") {
		return "", errors.New("it takes several lines")
	}
	return text, nil
}

// oneLine copies a value without comments, and in such a way that it is written in one line.
func oneLine(n *yaml.Node) *yaml.Node {
	out := &yaml.Node{Kind: n.Kind, Tag: n.Tag, Value: n.Value, Anchor: n.Anchor, Alias: n.Alias, Style: n.Style}
	switch n.Kind {
	case yaml.MappingNode, yaml.SequenceNode:
		out.Style = yaml.FlowStyle
	case yaml.ScalarNode:
		if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 || strings.ContainsFunc(n.Value, isBreak) {
			out.Style = yaml.DoubleQuotedStyle
		}
	case yaml.DocumentNode, yaml.AliasNode:
	}
	for _, c := range n.Content {
		out.Content = append(out.Content, oneLine(c))
	}
	return out
}

// replaced is how another value comes to stand at the last step.
func (t *treeEdit) replaced(steps []step, value *yaml.Node) splice {
	s := steps[len(steps)-1]
	old := s.node.Content[s.at+1]
	text, err := inlineYAML(value)
	if err != nil {
		return noSplice
	}
	from := t.offset(old)
	data := t.text.data
	simple := old.Kind == yaml.ScalarNode && old.Style&(yaml.LiteralStyle|yaml.FoldedStyle|yaml.TaggedStyle) == 0
	switch {
	case simple && old.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		if end := closingQuote(data[from:]); end > 0 {
			return splice{from: from, to: from + end, text: text}
		}
		return noSplice
	case simple && old.Value != "":
		if strings.HasPrefix(data[from:], old.Value) {
			return splice{from: from, to: from + len(old.Value), text: text}
		}
		return noSplice
	case old.Style&yaml.FlowStyle != 0 && old.Kind != yaml.ScalarNode:
		if end := flowEnd(data[from:]); end > 0 {
			return splice{from: from, to: from + end, text: text}
		}
		return noSplice
	}
	// What goes on over several lines, or is empty: from behind the colon.
	colon := t.colon(s.node.Content[s.at])
	if colon < 0 {
		return noSplice
	}
	if simple { // key:   # comment
		return splice{from: colon, to: colon, text: " " + text}
	}
	_, to := t.extent(s)
	if strings.Contains(data[colon:to], "#") {
		return noSplice
	}
	return splice{from: colon, to: to, text: " " + text + t.lineEnd()}
}

// colon is the offset behind a key's colon.
func (t *treeEdit) colon(key *yaml.Node) int {
	at := t.offset(key)
	data := t.text.data
	switch {
	case key.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		at += max(closingQuote(data[at:]), 0)
	case strings.HasPrefix(data[at:], key.Value):
		at += len(key.Value)
	}
	for at < len(data) && data[at] == ' ' {
		at++
	}
	if at >= len(data) || data[at] != ':' {
		return -1
	}
	return at + 1
}

// extent is the lines of an entry: from its key's to the last that is neither blank nor a comment before what follows.
func (t *treeEdit) extent(s step) (from, to int) {
	data := t.text.data
	next := s.next
	if s.at+2 < len(s.node.Content) {
		next = t.offset(s.node.Content[s.at+2])
	}
	from = t.lineBegin(t.offset(s.node.Content[s.at]))
	if next < len(data) {
		next = t.lineBegin(next)
	}
	return from, t.contentEnd(from, next)
}

func (t *treeEdit) lineBegin(at int) int { return strings.LastIndexByte(t.text.data[:at], '\n') + 1 }

// contentEnd is the end of the last line of a part of the text that is neither blank nor a comment.
func (t *treeEdit) contentEnd(from, to int) int {
	end := from
	at := from
	for line := range strings.SplitAfterSeq(t.text.data[from:max(from, to)], "\n") {
		at += len(line)
		if s := strings.TrimSpace(line); s != "" && s[0] != '#' && s != "..." && s != "---" {
			end = at
		}
	}
	return end
}

func (t *treeEdit) lineEnd() string {
	if strings.Contains(t.text.data, "\r\n") {
		return "\r\n"
	}
	return "\n"
}

// added is how an entry comes to stand at the end of a block.
func (t *treeEdit) added(s step, name string, value *yaml.Node) splice {
	n, data := s.node, t.text.data
	var indent, end int
	if len(n.Content) > 0 {
		first, last := n.Content[0], step{node: n, at: len(n.Content) - 2, next: s.next}
		indent = t.offset(first) - t.lineBegin(t.offset(first))
		_, end = t.extent(last)
	} else if n == t.root {
		end = len(data)
	} else {
		return noSplice // braces: inFlow
	}
	var b strings.Builder
	if end > 0 && data[end-1] != '\n' {
		b.WriteString(t.lineEnd())
	}
	for {
		key, err := inlineYAML(&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name})
		if err != nil {
			return noSplice
		}
		b.WriteString(strings.Repeat(" ", indent) + key + ":")
		if value.Kind != yaml.MappingNode || value.Style&yaml.FlowStyle != 0 || len(value.Content) != 2 {
			break
		}
		b.WriteString(t.lineEnd())
		name, value = value.Content[0].Value, value.Content[1]
		indent += 2
	}
	text, err := inlineYAML(value)
	if err != nil {
		return noSplice
	}
	b.WriteString(" " + text + t.lineEnd())
	return splice{from: end, to: end, text: b.String()}
}
