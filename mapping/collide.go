package mapping

import "slices"

// symbol is one step of the language of a template's seeds: a byte from a set, once or any number of times.
type symbol struct {
	set    symbolSet
	char   byte // of setChar
	repeat bool // zero or more times
}

type symbolSet uint8

const (
	setChar symbolSet = iota
	setDigit
	setAny
)

func (s symbol) meets(o symbol) bool {
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	switch {
	case s.set == setAny || o.set == setAny:
		return true
	case s.set == setChar && o.set == setChar:
		return s.char == o.char
	case s.set == setChar:
		return digit(s.char)
	case o.set == setChar:
		return digit(o.char)
	}
	return true
}

// language writes the template as symbols, last first: seeds mostly start with an id, which may be anything, so that
// their ends tell them apart soonest. An id or a field may be any text with at least one byte; a chunk index is digits.
func (t *template) language() []symbol {
	var out []symbol
	for _, p := range t.parts {
		switch p.kind {
		case partLiteral:
			for i := range len(p.text) {
				out = append(out, symbol{set: setChar, char: p.text[i]})
			}
		case partID, partField:
			out = append(out, symbol{set: setAny}, symbol{set: setAny, repeat: true})
		case partChunk:
			out = append(out, symbol{set: setDigit}, symbol{set: setDigit, repeat: true})
		}
	}
	slices.Reverse(out)
	return out
}

// canCollide reports whether some text is a seed of both: whether the intersection of the two languages is not empty. It
// walks the product of both automata.
func canCollide(a, b []symbol) bool {
	type state struct{ i, j int }
	seen := make(map[state]bool)
	todo := []state{{0, 0}}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[s] {
			continue
		}
		seen[s] = true
		if s.i == len(a) && s.j == len(b) {
			return true
		}
		if s.i < len(a) && a[s.i].repeat {
			todo = append(todo, state{s.i + 1, s.j})
		}
		if s.j < len(b) && b[s.j].repeat {
			todo = append(todo, state{s.i, s.j + 1})
		}
		if s.i < len(a) && s.j < len(b) && a[s.i].meets(b[s.j]) {
			next := s
			if !a[s.i].repeat {
				next.i++
			}
			if !b[s.j].repeat {
				next.j++
			}
			if next != s {
				todo = append(todo, next)
			}
		}
	}
	return false
}
