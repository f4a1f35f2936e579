package engine

import (
	"errors"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

// TestRefusedEventsUseUpNoLimit: a batch that does not fit any more leaves room for one that does.
func TestRefusedEventsUseUpNoLimit(t *testing.T) {
	l := eventLimit{max: 10}
	for _, c := range []struct {
		n    int64
		fits bool
	}{{8, true}, {3, false}, {2, true}, {1, false}} {
		if err := l.take(t.Context(), c.n); (err == nil) != c.fits {
			t.Errorf("%d more: %v", c.n, err)
		}
	}
}

// TestASplitThatDoesNotAddUpIsNotDone: each sum is looked at by itself, so that none hides behind the others.
func TestASplitThatDoesNotAddUpIsNotDone(t *testing.T) {
	present := tally.Counts{Scanned: 2, Present: 2}
	for name, c := range map[string]struct {
		batch     int // documents that the source gave
		accounted tally.Counts
		kept      tally.Counts
		done      bool
	}{
		"it adds up":                  {2, present, present, true},
		"a document is lost":          {3, present, present, false},
		"a document counts twice":     {1, present, present, false},
		"no verdict":                  {2, tally.Counts{Scanned: 2, Present: 1}, tally.Counts{Scanned: 2, Present: 1}, false},
		"a batch is not kept":         {2, present, tally.Counts{}, false},
		"something else is kept":      {2, present, tally.Counts{Scanned: 2, Missing: 1, Present: 1, Gone: 1}, false},
		"sent, and nobody confirmed":  {1, tally.Counts{Scanned: 1, Missing: 1, Emitted: 1}, tally.Counts{Scanned: 1, Missing: 1, Emitted: 1}, false},
		"nothing sent that should be": {1, tally.Counts{Scanned: 1, Missing: 1}, tally.Counts{Scanned: 1, Missing: 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			col := newCollection(&mapping.Rule{Collection: syncd.Collection{Name: "page"}}, false)
			s := newSplit(col, store.Split{})
			b := &batch{split: s, changes: make([]syncd.Change, c.batch)}
			s.read(b)
			s.account(c.accounted)
			s.handled(b.number, handled{offset: "o", counts: c.kept})
			if done, _, err := s.release(); done || err != nil { // its reading holds it
				t.Fatal(done, err)
			}
			done, state, err := s.release()
			var coverage *tally.CoverageError
			if !done || state.Done != c.done && err == nil || errors.As(err, &coverage) == c.done || (col.splits == 1) != c.done {
				t.Errorf("%t, %+v, %v, %d splits", done, state, err, col.splits)
			}
		})
	}
}
