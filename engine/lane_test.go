package engine

import (
	"strconv"
	"testing"

	"github.com/syncd-io/syncd"
)

// TestDocumentsOfOneIDHaveOneLane: a source may hold an id more than once, under keys of its own.
func TestDocumentsOfOneIDHaveOneLane(t *testing.T) {
	b := &batch{}
	for i := range 300 {
		b.changes = append(b.changes, syncd.Change{
			Key: syncd.Key(strconv.Itoa(i)), ID: strconv.Itoa(i % 30), Streamed: &syncd.Streamed{Collection: "c"},
		})
	}
	lane := map[string]int{}
	parts := divide(b, 4)
	if len(parts) < 2 {
		t.Fatalf("%d parts", len(parts))
	}
	n := 0
	for _, part := range parts {
		last := map[string]int{}
		for _, c := range part.changes {
			if l, seen := lane[c.ID]; seen && l != part.lane {
				t.Fatalf("id %s is in the lanes %d and %d", c.ID, l, part.lane)
			}
			lane[c.ID] = part.lane
			at, err := strconv.Atoi(string(c.Key))
			if before, seen := last[c.ID]; err != nil || seen && before > at {
				t.Errorf("id %s: %d behind %d", c.ID, at, before)
			}
			last[c.ID] = at
			n++
		}
	}
	if n != len(b.changes) {
		t.Errorf("%d of %d changes", n, len(b.changes))
	}
}
