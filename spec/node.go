package spec

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Kind tells the three shapes of a node apart.
type Kind uint8

// The kinds of node.
const (
	Scalar Kind = iota
	List
	Map
)

// ScalarType is what an unquoted scalar reads as by YAML's core schema; a quoted one is always Text.
type ScalarType uint8

// The types of scalar.
const (
	Text ScalarType = iota
	Null
	Bool
	Int
	Float
)

// Node is one value of a configuration tree: what it is and where it was set. It is read-only once built.
type Node struct {
	Kind Kind
	Pos  Pos // of the value
	Key  Pos // of the value's key in its map; zero for a list item and the root

	Type    ScalarType // of a scalar
	Text    string     // of a scalar, after interpolation
	Quoted  bool       // of a scalar written in quotes
	Rewrote bool       // of a scalar that interpolation changed: offsets into Text are not columns of the file
	Date    bool       // of a scalar that YAML takes for a date, though its type is Text: no setting is one, but a filter may hold some
	Broken  bool       // of a scalar that was reported already: its text means nothing
	Raw     string     // of a scalar of a file: its text before interpolation
	Written string     // of a scalar of a file: how the line goes on from the scalar's first byte

	// Of a scalar that interpolation changed:
	From   []string // the variables and files that it was filled in from: MONGODB_URI, file:/run/secrets/password
	Secret bool     // a file was among them: what it held is never shown, whatever the setting
	Held   []string // what those files held

	Items   []*Node // of a list
	Entries []Entry // of a map, in the order in which its keys were first seen

	index index // of Entries, made by Get
}

// index finds the entries of one slice by their names. Where a node was copied, or its entries changed, it is of another slice
// and is made anew.
type index struct {
	of   []Entry
	find map[string]*Node
}

// manyEntries is where an index is sooner made than a map's entries are walked for each name.
const manyEntries = 32

// Entry is one key of a map.
type Entry struct {
	Name  string
	Value *Node
}

// Get returns the value under name, or nil. It is not safe for concurrent use: in a map of many entries it keeps an index.
func (n *Node) Get(name string) *Node {
	if n == nil || n.Kind != Map {
		return nil
	}
	if len(n.Entries) >= manyEntries {
		return n.indexed()[name]
	}
	for _, e := range n.Entries {
		if e.Name == name {
			return e.Value
		}
	}
	return nil
}

func (n *Node) indexed() map[string]*Node {
	if of := n.index.of; len(of) != len(n.Entries) || &of[0] != &n.Entries[0] {
		n.index = index{n.Entries, make(map[string]*Node, len(n.Entries))}
		for _, e := range slices.Backward(n.Entries) { // the first of a name counts
			n.index.find[e.Name] = e.Value
		}
	}
	return n.index.find
}

// Nearest follows the path as far as it exists and returns the last node reached and whether that is the whole path.
func (n *Node) Nearest(path []string) (*Node, bool) {
	for _, name := range path {
		var next *Node
		switch n.Kind {
		case Map:
			next = n.Get(name)
		case List:
			if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(n.Items) {
				next = n.Items[i]
			}
		}
		if next == nil {
			return n, false
		}
		n = next
	}
	return n, true
}

// IsNull reports whether the node is absent or an explicit null.
func (n *Node) IsNull() bool { return n == nil || n.Kind == Scalar && n.Type == Null }

// At returns the position of the byte at offset inside the scalar's text, where that can be told; else the scalar's.
func (n *Node) At(offset int) Pos {
	p := n.Pos
	if p.Line == 0 || n.Rewrote || offset < 0 {
		return p
	}
	switch {
	case n.Written == "":
		if n.Quoted {
			offset++
		}
		p.Column += offset
	case !n.Quoted:
		if offset > 0 && strings.HasPrefix(n.Written, n.Text[:min(offset, len(n.Text))]) {
			p.Column += offset
		}
	default:
		if in, ok := insideQuotes(n.Written, offset); ok {
			p.Column += in
		}
	}
	return p
}

// insideQuotes gives the offset in a quoted scalar, as written, of the byte at offset in its text: escapes are longer than
// what they stand for. It fails where the scalar goes on in another line.
func insideQuotes(written string, offset int) (int, bool) {
	quote := written[0]
	text := 0 // bytes of the text so far
	for i := 1; i < len(written); {
		size, stands := 1, 1
		switch c := written[i]; {
		case c == quote && quote == '\'' && strings.HasPrefix(written[i:], "''"):
			size = 2
		case c == quote:
			return i, text == offset // an offset at the end
		case c == '\\' && quote == '"':
			size, stands = escape(written[i:])
		}
		if offset < text+stands {
			return i, true
		}
		i += size
		text += stands
	}
	return 0, false
}

// escape gives the length of a double-quoted scalar's escape, and that of what it stands for in UTF-8.
func escape(s string) (size, stands int) {
	if len(s) < 2 {
		return len(s), 1
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[1]]
	switch s[1] {
	case 'N', '_':
		return 2, 2
	case 'L', 'P':
		return 2, 3
	}
	size = min(2+digits, len(s))
	code, err := strconv.ParseUint(s[2:size], 16, 32)
	if digits == 0 || err != nil {
		return size, 1
	}
	return size, max(1, utf8.RuneLen(rune(code)))
}

// broken reports whether the node is or holds a scalar that was reported already.
func (n *Node) broken() bool {
	if n == nil {
		return false
	}
	return n.Broken || slices.ContainsFunc(n.Items, (*Node).broken) ||
		slices.ContainsFunc(n.Entries, func(e Entry) bool { return e.Value.broken() })
}

// where is the key's position if the node has one, else the value's: the place to name a field as a whole.
func (n *Node) where() Pos {
	if !n.Key.IsZero() {
		return n.Key
	}
	return n.Pos
}

// describe says what the node is, in an operator's words.
func (n *Node) describe() string {
	switch n.Kind {
	case Map:
		return "a block of fields"
	case List:
		return "a list"
	}
	if len(n.From) > 0 { // a variable or a file that may hold a secret
		return "what it holds"
	}
	switch n.Type {
	case Null:
		return "empty"
	case Bool:
		return "the switch " + n.Text
	case Int, Float:
		return "the number " + n.Text
	}
	return "the text " + strconv.Quote(n.Text)
}

// PathString joins a path for people: mapping.collections.page.
func PathString(path []string) string { return strings.Join(path, ".") }

// literal reports whether the scalar is quoted text, which is never a number or a switch. What interpolation filled in may
// be one even in quotes, since a flow mapping can't hold ${NAME} without them.
func (n *Node) literal() bool { return n.Quoted && !n.Rewrote }
