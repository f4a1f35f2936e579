package mapping

import (
	"fmt"
	"slices"
	"strings"

	"github.com/syncd-io/syncd"
)

// hasChunk reports whether the seed says which chunk it is of.
func (t *template) hasChunk() bool {
	return slices.ContainsFunc(t.parts, func(p part) bool { return p.kind == partChunk })
}

// ambiguity gives an example of two chunks whose seeds are the same text because nothing stands between two placeholders, or
// nothing but digits; "" where there is none. The example's ids and fields are digits, so that what any other character
// separates does not count: an id that holds the separator itself is rare, and ids of one length can't be mixed up.
func (t *template) ambiguity() string {
	texts := []string{"1", "11"}
	for _, p := range t.parts {
		if p.kind == partLiteral && strings.Trim(p.text, "0123456789") == "" {
			texts = append(texts, "1"+p.text+"1")
		}
	}
	chunks := []int{0}
	if t.hasChunk() {
		chunks = []int{1, 11}
		for _, text := range texts[2:] {
			n := 0
			if _, err := fmt.Sscan(text, &n); err == nil {
				chunks = append(chunks, n)
			}
		}
	}
	type made struct {
		change syncd.Change
		chunk  int
	}
	seen := map[string]made{}
	fields := make([]syncd.Value, len(t.fields))
	var example string
	var try func(field int) bool
	try = func(field int) bool {
		if field < len(fields) {
			for _, text := range texts[:2] {
				fields[field] = syncd.Value{Text: text, Set: true}
				if try(field + 1) {
					return true
				}
			}
			return false
		}
		for _, id := range texts {
			for _, chunk := range chunks {
				c := syncd.Change{ID: id, Fields: slices.Clone(fields)}
				seed, err := t.append(nil, &c, chunk)
				if err != nil {
					return false
				}
				if other, ok := seen[string(seed)]; ok {
					example = fmt.Sprintf("%s and %s both have %q", t.describe(&other.change, other.chunk), t.describe(&c, chunk), seed)
					return true
				}
				seen[string(seed)] = made{c, chunk}
			}
		}
		return false
	}
	if len(t.fields) <= maxFieldsTried {
		try(0)
	}
	return example
}

// maxFieldsTried bounds the combinations of fields that are tried. A seed with more is looked at by nobody.
const maxFieldsTried = 8

// describe names a chunk by what its seed is made of.
func (t *template) describe(c *syncd.Change, chunk int) string {
	var b strings.Builder
	if t.hasChunk() {
		fmt.Fprintf(&b, "chunk %d of ", chunk)
	}
	b.WriteString("id " + c.ID)
	for i, f := range t.fields {
		fmt.Fprintf(&b, " with %s %s", f, c.Fields[i].Text)
	}
	return b.String()
}

// checkChunks finds a seed that gives all chunks of a document one point id, where chunks are looked for.
func checkChunks(t *template, chunks *Chunks) *templateError {
	if chunks == nil || t.hasChunk() {
		return nil
	}
	return &templateError{
		-1, "the seed has no {chunk_index}, so all chunks of a document would have one point id, and mapping.chunks could find none that is missing",
		"put {chunk_index} into the seed, as the indexer does, or remove mapping.chunks",
	}
}

// warnAmbiguous finds a seed that can't tell some chunks apart.
func warnAmbiguous(t *template) *templateError {
	example := t.ambiguity()
	if example == "" {
		return nil
	}
	return &templateError{
		-1, "nothing separates the seed's placeholders: " + example,
		"put a character such as / between them, if the indexer does; ids of one length, such as ObjectIds, are told apart all the same",
	}
}
