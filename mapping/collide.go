package mapping

import (
	"maps"
	"slices"
)

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

// collision is a set of languages of which some text is of two, and two of them that have one in common.
type collision struct {
	a, b int   // a < b
	all  []int // in ascending order, a and b among them
}

// collisions finds out which languages, as language writes them, have a text in common with another. Each that has is in one
// collision, together with another.
//
// It walks the product of an automaton with itself: that of all languages at once, a tree in which those that begin alike share
// their nodes, so that mostly both sides are at one node. Two nodes below which every language is known to collide are left out:
// else n languages that all collide would cost n² steps. steps counts the pairs of nodes that were looked at.
func collisions(languages [][]symbol) (found []collision, steps int) {
	t := tree{nodes: []node{{parent: -1}}}
	ends := make([]int, len(languages)) // the node at which each language ends
	for i, l := range languages {
		ends[i] = t.insert(l)
	}
	sets := newSets(len(languages))
	for i, end := range ends {
		n := &t.nodes[end]
		if n.langs = append(n.langs, i); len(n.langs) > 1 {
			sets.join(n.langs[0], i)
		}
	}
	for i := range languages {
		if n := ends[i]; t.nodes[n].langs[0] == i {
			t.count(n, 1)
		}
	}
	steps = t.walk(func(u, v int) {
		a, b := t.nodes[u].langs[0], t.nodes[v].langs[0]
		sets.join(min(a, b), max(a, b))
		for _, n := range []int{u, v} {
			if !t.nodes[n].collides {
				t.nodes[n].collides = true
				t.count(n, -1)
			}
		}
	})
	return sets.collisions(), steps
}

// tree is an automaton of many languages.
type tree struct{ nodes []node }

// node is where its languages are after the symbols that lead to it.
type node struct {
	parent   int
	loop     bool // loops on symbols of set, and was reached without one
	set      symbolSet
	next     map[symbol]int // by a symbol; one that repeats leads to a node that loops
	langs    []int          // that end here
	open     int            // ends at and below this node that are not known to collide
	collides bool           // of an end
}

// insert returns the node at which a language ends.
func (t *tree) insert(language []symbol) int {
	at := 0
	for _, s := range language {
		next, there := t.nodes[at].next[s]
		if !there {
			next = len(t.nodes)
			t.nodes = append(t.nodes, node{parent: at, loop: s.repeat, set: s.set})
			if t.nodes[at].next == nil {
				t.nodes[at].next = map[symbol]int{}
			}
			t.nodes[at].next[s] = next
		}
		at = next
	}
	return at
}

// count adds to the open ends of a node and those above it.
func (t *tree) count(at, n int) {
	for ; at >= 0; at = t.nodes[at].parent {
		t.nodes[at].open += n
	}
}

// walk calls collide for pairs of ends that one text leads to.
func (t *tree) walk(collide func(u, v int)) (steps int) {
	type pair struct{ u, v int }
	seen := map[pair]bool{}
	todo := []pair{{0, 0}}
	push := func(u, v int) {
		p := pair{min(u, v), max(u, v)}
		if !seen[p] {
			seen[p] = true
			todo = append(todo, p)
		}
	}
	for len(todo) > 0 {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		u, v := &t.nodes[p.u], &t.nodes[p.v]
		if u.open == 0 && v.open == 0 {
			continue
		}
		steps++
		if p.u != p.v && u.langs != nil && v.langs != nil {
			collide(p.u, p.v)
		}
		t.step(p.u, p.v, push)
	}
	return steps
}

// step pushes the pairs that one symbol leads to from a pair, on either side or on both.
func (t *tree) step(u, v int, push func(u, v int)) {
	for s, to := range t.nodes[u].next {
		switch {
		case s.repeat:
			push(to, v)
		case s.set == setChar:
			if at, there := t.nodes[v].next[s]; there {
				push(to, at)
			}
			t.wild(v, s, func(at int) { push(to, at) })
		default:
			for o, at := range t.nodes[v].next {
				if !o.repeat && s.meets(o) {
					push(to, at)
				}
			}
			if n := t.nodes[v]; n.loop && s.meets(symbol{set: n.set}) {
				push(to, v)
			}
		}
	}
	for s, to := range t.nodes[v].next {
		switch {
		case s.repeat:
			push(u, to)
		case s.set == setChar: // two of one character were met above
			t.wild(u, s, func(at int) { push(at, to) })
		default:
			if n := t.nodes[u]; n.loop && s.meets(symbol{set: n.set}) {
				push(u, to)
			}
		}
	}
}

// wild calls f for where a node goes by a character that it does not name.
func (t *tree) wild(at int, char symbol, f func(at int)) {
	n := t.nodes[at]
	if n.loop && char.meets(symbol{set: n.set}) {
		f(at)
	}
	for _, set := range []symbolSet{setDigit, setAny} {
		s := symbol{set: set}
		if to, there := n.next[s]; there && char.meets(s) {
			f(to)
		}
	}
}

// sets joins languages that collide: each points to another of its set, the first to itself.
type sets struct {
	of    []int
	pairs map[int][2]int // by the set's first language: two that were joined
}

func newSets(n int) *sets {
	s := &sets{of: make([]int, n), pairs: map[int][2]int{}}
	for i := range s.of {
		s.of[i] = i
	}
	return s
}

func (s *sets) first(i int) int {
	for s.of[i] != i {
		s.of[i] = s.of[s.of[i]]
		i = s.of[i]
	}
	return i
}

// join joins the sets of a and b, a < b, and keeps the pair whose later language is the earliest.
func (s *sets) join(a, b int) {
	first, other := s.first(a), s.first(b)
	best := [2]int{a, b}
	for _, set := range []int{first, other} {
		if p, there := s.pairs[set]; there && (p[1] < best[1] || p[1] == best[1] && p[0] < best[0]) {
			best = p
		}
		delete(s.pairs, set)
	}
	first, other = min(first, other), max(first, other)
	s.of[other] = first
	s.pairs[first] = best
}

// collisions lists the sets of several languages, by their first.
func (s *sets) collisions() []collision {
	members := map[int][]int{}
	for i := range s.of {
		if first := s.first(i); s.pairs[first] != [2]int{} {
			members[first] = append(members[first], i)
		}
	}
	var out []collision
	for _, first := range slices.Sorted(maps.Keys(members)) {
		p := s.pairs[first]
		out = append(out, collision{a: p[0], b: p[1], all: members[first]})
	}
	return out
}
