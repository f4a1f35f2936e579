package mapping

import (
	"fmt"
	"strings"

	"github.com/syncd-io/syncd/spec"
)

// Lint warns of what is legal but hardly meant. d stands at the mapping's own path, whose node is n.
//
// Names of collections are case sensitive, so workItem and workitem are two collections, of which most databases have one:
// the other would be read as empty, and nobody would notice.
func (c Config) Lint(d *spec.Decoder, n *spec.Node) {
	first := map[string]Collection{}
	for _, col := range c.Collections {
		folded := strings.ToLower(col.Name)
		other, seen := first[folded]
		if !seen {
			first[folded] = col
			continue
		}
		if other.ContentType == col.ContentType && other.Seed == "" && col.Seed == "" && !strings.Contains(c.Seed, "{"+placeholderCollection+"}") {
			continue // their seeds collide, which is an error
		}
		d.In("collections", func() {
			d.In(col.Name, func() {
				d.Add(spec.Diagnostic{
					Severity: spec.Warning, Code: spec.CodeSimilarCollection,
					Pos: entryPos(n, col.Name), Related: entryPos(n, other.Name),
					Message: fmt.Sprintf("collections %q and %q differ in upper and lower case only", other.Name, col.Name),
					Hint:    "keep the one that the database has",
				})
			})
		})
	}
}

// entryPos is the position of a collection's key.
func entryPos(n *spec.Node, name string) spec.Pos {
	at := n.Get("collections").Get(name)
	switch {
	case at == nil:
		return spec.Pos{}
	case !at.Key.IsZero():
		return at.Key
	}
	return at.Pos
}
