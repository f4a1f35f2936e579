package engine_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

// TestWhatCameBackIsNotDeleted, whichever documents of a batch they are, and all others are.
func TestWhatCameBackIsNotDeleted(t *testing.T) {
	f := newFixture(t)
	orphans, ids := f.orphans(t, 9)
	back := ids[1:4]
	for _, id := range back {
		f.source.Insert("page", syncdtest.MemoryDoc{ID: id})
	}
	e := engine.New(f.opts)
	if err := e.Delete(t.Context(), orphans); err != nil {
		t.Fatal(err)
	}
	want := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return slices.Contains(back, id) })
	if got := f.sent(); !slices.Equal(got, want) {
		t.Errorf("deleted %q, not %q", got, want)
	}
	if n := e.Report().Deleted; n.Orphan != 9 || n.Overtaken != 3 || n.Acked != 6 || n.Problem() != "" {
		t.Errorf("%+v: %s", n, n.Problem())
	}
}

// forgetful is a source that says less than it was asked when it is to find documents.
type forgetful struct{ *syncdtest.MemorySource }

func (f forgetful) Abilities() syncd.SourceAbilities {
	can := f.MemorySource.Abilities()
	find := can.Find
	can.Find = func(ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
		keys, err := find(ctx, c, ids)
		return keys[:len(keys)-1], err
	}
	return can
}

// TestNothingIsDeletedForHalfAnAnswer: which document a missing key is of can't be told.
func TestNothingIsDeletedForHalfAnAnswer(t *testing.T) {
	f := newFixture(t)
	orphans, _ := f.orphans(t, 5)
	f.opts.Source = forgetful{f.source}
	if err := engine.New(f.opts).Delete(t.Context(), orphans); err == nil || len(f.sink.Events()) != 0 {
		t.Errorf("%v, %q deleted", err, f.sent())
	}
}

// TestDeletesAreEvents: they count against the limit of events, together with what the run sent before them.
func TestDeletesAreEvents(t *testing.T) {
	for limit, fits := range map[int64]bool{24: false, 25: true} {
		f := newFixture(t)
		f.insert(5)
		orphans, _ := f.orphans(t, 20)
		f.opts.Limits.MaxEvents = limit
		e := engine.New(f.opts)
		if err := e.Backfill(t.Context()); err != nil {
			t.Fatal(err)
		}
		var guard *tally.GuardError
		err := e.Delete(t.Context(), orphans)
		if errors.As(err, &guard) == fits || (err == nil) != fits || int64(len(f.sink.Events())) > limit || fits && len(f.sink.Events()) != 25 {
			t.Errorf("a limit of %d: %v, %d events", limit, err, len(f.sink.Events()))
		}
	}
}

// TestDeletesAreThrottled as documents are.
func TestDeletesAreThrottled(t *testing.T) {
	for name, limits := range map[string]engine.Limits{
		"documents": {DocumentsPerSecond: 10},   // 100 deletes, the first 10 at once
		"bytes":     {BytesPerSecond: 10 * 100}, // of about 100 bytes each
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				orphans, _ := f.orphans(t, 100)
				f.opts.Limits = limits
				began := time.Now()
				err := engine.New(f.opts).Delete(t.Context(), orphans)
				if took := time.Since(began); err != nil || len(f.sink.Events()) != 100 || took < 5*time.Second {
					t.Errorf("%v, %d deleted in %s", err, len(f.sink.Events()), took)
				}
			})
		})
	}
}

// TestDeletesThatFailedAreReported, even if none went out.
func TestDeletesThatFailedAreReported(t *testing.T) {
	f := newFixture(t)
	orphans, _ := f.orphans(t, 3)
	f.sink.Reject = func(codec.Event) error { return errors.New("refused") }
	e := engine.New(f.opts)
	if err := e.Delete(t.Context(), orphans); err != nil {
		t.Fatal(err)
	}
	if r := e.Report(); len(r.Deletes) != 1 || len(r.Deletes[0].Failures) != 3 || r.Deleted.Failed() != 3 || r.Total.Failed() != 0 {
		t.Errorf("%+v", r)
	}
}
