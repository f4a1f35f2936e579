package spec

import (
	"strconv"
	"strings"
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
	Broken  bool       // of a scalar that was reported already: its text means nothing

	Items   []*Node // of a list
	Entries []Entry // of a map, in the order in which its keys were first seen
}

// Entry is one key of a map.
type Entry struct {
	Name  string
	Value *Node
}

// Get returns the value under name, or nil.
func (n *Node) Get(name string) *Node {
	if n == nil || n.Kind != Map {
		return nil
	}
	for _, e := range n.Entries {
		if e.Name == name {
			return e.Value
		}
	}
	return nil
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

// At returns the position of the byte at offset inside the scalar's text, where that can be told.
func (n *Node) At(offset int) Pos {
	p := n.Pos
	if p.Line == 0 || n.Rewrote || offset <= 0 {
		return p
	}
	p.Column += offset
	if n.Quoted {
		p.Column++
	}
	return p
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
