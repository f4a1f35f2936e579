package engine

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

// slotCounter is a store that looks at how many batches are in flight when it is told of one.
type slotCounter struct {
	e *Engine

	mu    sync.Mutex
	slots []int
	after []syncd.Offset
	owed  []bool
}

func (s *slotCounter) Recall(string) *store.Collection                                  { return nil }
func (s *slotCounter) Collection(context.Context, string, store.Collection, bool) error { return nil }

func (s *slotCounter) Split(_ context.Context, _ string, p store.Split, durable bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slots, s.after, s.owed = append(s.slots, len(s.e.inFlight)), append(s.after, p.After), append(s.owed, durable)
	return nil
}

// TestABatchIsInFlightUntilItIsKept: what a crash may repeat holds a slot, so that it is no more than there are slots.
func TestABatchIsInFlightUntilItIsKept(t *testing.T) {
	s := &slotCounter{}
	e := New(Options{Checkpoints: s, Workers: 2})
	s.e = e
	sp := newSplit(newCollection(&mapping.Rule{Collection: syncd.Collection{Name: "page"}}, false), store.Split{})
	checkpoints := make(chan advanced, cap(e.inFlight))
	sent := tally.Counts{Scanned: 1, Missing: 1, Emitted: 1, Acked: 1}
	for _, offset := range []syncd.Offset{"a", "b", "c"} {
		b := &batch{split: sp, changes: make([]syncd.Change, 1), offset: offset, counts: sent}
		sp.read(b)
		e.inFlight <- struct{}{}
		switch offset {
		case "a": // is handled last
		case "b":
			e.advance(b, checkpoints)
			if len(e.inFlight) != 2 || len(checkpoints) != 0 {
				t.Errorf("the second batch was handled before the first: %d slots, %d checkpoints", len(e.inFlight), len(checkpoints))
			}
			e.advance(&batch{split: sp, number: 0, offset: "a", counts: sent}, checkpoints)
		case "c":
			e.advance(b, checkpoints)
		}
	}
	close(checkpoints)
	if len(e.inFlight) != 3 {
		t.Errorf("%d slots before anything is kept", len(e.inFlight))
	}
	if err := e.keepCheckpoints(t.Context(), checkpoints); err != nil {
		t.Fatal(err)
	}
	if len(s.slots) != 1 || s.slots[0] != 3 || s.after[0] != "c" || !s.owed[0] {
		t.Errorf("kept %q, durably %t, with %d slots taken", s.after, s.owed, s.slots)
	}
	if len(e.inFlight) != 0 {
		t.Errorf("%d slots when all is kept", len(e.inFlight))
	}
}

// TestAdvancesShareAWrite: those of a short while, unless they hold a fourth of the slots, and none is held back when the last came.
func TestAdvancesShareAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slotCounter{}
		e := New(Options{Checkpoints: s, Workers: 8})
		s.e = e
		sp := newSplit(newCollection(&mapping.Rule{Collection: syncd.Collection{Name: "page"}}, false), store.Split{})
		checkpoints := make(chan advanced, cap(e.inFlight))
		next := 0
		handle := func(batches int, kept ...syncd.Offset) {
			t.Helper()
			for range batches {
				b := &batch{split: sp, changes: make([]syncd.Change, 1), offset: syncd.Offset(fmt.Sprint(next))}
				next++
				sp.read(b)
				e.inFlight <- struct{}{}
				e.advance(b, checkpoints)
			}
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			if diff := cmp.Diff(kept, s.after); diff != "" {
				t.Errorf("after %d batches (-want +got):\n%s", next, diff)
			}
		}
		var keeper sync.WaitGroup
		keeper.Go(func() {
			if err := e.keepCheckpoints(t.Context(), checkpoints); err != nil {
				t.Error(err)
			}
		})
		handle(3)
		time.Sleep(checkpointPause - time.Millisecond)
		handle(0)
		time.Sleep(time.Millisecond)
		handle(0, "2")
		handle(4, "2", "6")
		handle(1, "2", "6")
		close(checkpoints)
		keeper.Wait()
		handle(0, "2", "6", "7")
		if len(e.inFlight) != 0 {
			t.Errorf("%d slots when all is kept", len(e.inFlight))
		}
	})
}

// TestWhatHasAdvancedSharesAWrite, however much it is.
func TestWhatHasAdvancedSharesAWrite(t *testing.T) {
	e := New(Options{Workers: 8})
	checkpoints := make(chan advanced, cap(e.inFlight))
	a, b := &split{}, &split{}
	for range 4 {
		checkpoints <- advanced{a, 2}
		checkpoints <- advanced{b, 1}
	}
	if batches, splits := e.gather(advanced{a, 3}, checkpoints); batches != 15 || !slices.Equal(splits, []*split{a, b}) {
		t.Errorf("%d batches of %d splits", batches, len(splits))
	}
}

// TestABatchWithoutAStoreIsInFlightUntilItsTurn, and every slot is given back.
func TestABatchWithoutAStoreIsInFlightUntilItsTurn(t *testing.T) {
	e := New(Options{Workers: 2})
	sp := newSplit(newCollection(&mapping.Rule{}, false), store.Split{})
	for range 3 {
		e.inFlight <- struct{}{}
	}
	for _, c := range []struct{ number, left int }{{2, 3}, {0, 2}, {1, 0}} {
		e.advance(&batch{split: sp, number: c.number, offset: "o"}, nil)
		if len(e.inFlight) != c.left {
			t.Errorf("batch %d is handled: %d slots are taken, not %d", c.number, len(e.inFlight), c.left)
		}
	}
}

// TestWhatWasSentIsOwed to a store: a dead letter is sent, too, and what is present is not.
func TestWhatWasSentIsOwed(t *testing.T) {
	for name, c := range map[string]struct {
		counts tally.Counts
		owed   bool
	}{
		"present":     {tally.Counts{Scanned: 1, Present: 1}, false},
		"emitted":     {tally.Counts{Scanned: 1, Missing: 1, Emitted: 1, Acked: 1}, true},
		"dead letter": {tally.Counts{Scanned: 1, FailedRead: 1, DeadLettered: 1}, true},
	} {
		s := &slotCounter{}
		e := New(Options{Checkpoints: s})
		s.e = e
		sp := newSplit(newCollection(&mapping.Rule{}, false), store.Split{})
		sp.handled(0, handled{offset: "a", counts: c.counts})
		if sp.owes() != c.owed {
			t.Errorf("%s: owed %t", name, sp.owes())
		}
		if err := e.keepSplits(t.Context(), []*split{sp}); err != nil {
			t.Fatal(err)
		}
		if len(s.owed) != 1 || s.owed[0] != c.owed || sp.owes() {
			t.Errorf("%s: kept %d times, durably %t; owed %t", name, len(s.owed), s.owed, sp.owes())
		}
	}
}

// TestTheLastOfSomeSplitsMakesAllDurable, even if it has nothing new itself.
func TestTheLastOfSomeSplitsMakesAllDurable(t *testing.T) {
	s := &slotCounter{}
	e := New(Options{Checkpoints: s})
	s.e = e
	c := newCollection(&mapping.Rule{}, false)
	sent, last := newSplit(c, store.Split{}), newSplit(c, store.Split{Index: 1, After: "m"})
	sent.handled(0, handled{offset: "a", counts: tally.Counts{Scanned: 1, Missing: 1, Emitted: 1, Acked: 1}})
	if err := e.keepSplits(t.Context(), []*split{sent, last}); err != nil {
		t.Fatal(err)
	}
	if n := len(s.owed); n == 0 || !s.owed[n-1] || s.after[0] != "a" {
		t.Errorf("kept %q, durably %t", s.after, s.owed)
	}
}

// recalls is a store that has these states, whatever it is told.
type recalls struct {
	states map[string]*store.Collection
	begun  []string
}

func (r *recalls) Recall(collection string) *store.Collection             { return r.states[collection] }
func (r *recalls) Split(context.Context, string, store.Split, bool) error { return nil }
func (r *recalls) Collection(_ context.Context, name string, _ store.Collection, begin bool) error {
	if begin {
		r.begun = append(r.begun, name)
	}
	return nil
}

// TestEarlierWorkIsRecalled: deletes and failures count against the limits of the run, and documents that were overtaken were
// found in the index as those that were present were.
func TestEarlierWorkIsRecalled(t *testing.T) {
	for points, forgetful := range map[int64]bool{5: false, 4: true} {
		r := &recalls{states: map[string]*store.Collection{
			"page": {Splits: []store.Split{
				{Counts: tally.Counts{Scanned: 9, Present: 3, Missing: 6, Overtaken: 2, Emitted: 4, Acked: 3, FailedWrite: 1}},
			}},
			store.DeletesOf("page"): {Splits: []store.Split{
				{Counts: tally.Counts{Scanned: 9, Orphan: 9, Overtaken: 2, Emitted: 7, Acked: 5, FailedWrite: 2}},
			}},
		}}
		e := New(Options{
			Checkpoints: r, Rules: []*mapping.Rule{{Collection: syncd.Collection{Name: "page"}}, {Collection: syncd.Collection{Name: "epic"}}},
			Index: &syncd.Index{Points: points}, Logger: slog.New(slog.DiscardHandler),
		})
		if err := e.recall(t.Context()); err != nil {
			t.Fatal(err)
		}
		failures, begun := int64(3), []string(nil)
		if forgetful { // the documents are met again
			failures, begun = 0, []string{"page", store.DeletesOf("page")}
		}
		if e.forgetful != forgetful || e.events.sent.Load() != 11 || e.failures.seen.Load() != failures || !slices.Equal(r.begun, begun) {
			t.Errorf("%d points: forgetful %t, %d events, %d failures, begun %q",
				points, e.forgetful, e.events.sent.Load(), e.failures.seen.Load(), r.begun)
		}
	}
}
