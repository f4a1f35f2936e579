package syncdtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/syncd-io/syncd"
)

// StageHarness is what TestStage needs of a stage.
type StageHarness struct {
	// Open opens the stage; the suite closes it.
	Open func(t *testing.T) syncd.Stage
	// Change makes a change that the stage can handle, of another document for each number.
	Change func(n int) syncd.Change
}

// TestStage tests what every stage must keep to: it neither drops nor moves changes, leaves those alone that have no document or have
// failed, makes the same of the same document, may be called concurrently, and ends with its context.
func TestStage(t *testing.T, h StageHarness) {
	t.Helper()
	open := func(t *testing.T) syncd.Stage {
		t.Helper()
		s := h.Open(t)
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
		})
		return s
	}
	some := func(n int) []syncd.Change {
		changes := make([]syncd.Change, n)
		for i := range changes {
			changes[i] = h.Change(i)
		}
		return changes
	}
	t.Run("order", func(t *testing.T) {
		s := open(t)
		failed := errors.New("it failed before")
		changes := some(7)
		changes[2].Operation, changes[2].Document, changes[2].Content = syncd.Delete, nil, nil
		changes[4].Err = failed
		ids := make([]string, len(changes))
		for i := range changes {
			ids[i] = changes[i].ID
		}
		if err := s.Apply(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
		for i := range changes {
			if changes[i].ID != ids[i] {
				t.Fatalf("change %d is of document %s, not %s", i, changes[i].ID, ids[i])
			}
		}
		if changes[2].Content != nil || changes[2].Err != nil {
			t.Errorf("a delete became %+v", changes[2])
		}
		if !errors.Is(changes[4].Err, failed) {
			t.Errorf("a failure became %v", changes[4].Err)
		}
	})
	t.Run("equal", func(t *testing.T) {
		s := open(t)
		first, second := some(5), some(5)
		slices.Reverse(second)
		var calls sync.WaitGroup
		for _, changes := range [][]syncd.Change{first, second} {
			calls.Go(func() {
				if err := s.Apply(t.Context(), changes); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		slices.Reverse(second)
		for i := range first {
			if a, b := shownContent(first[i].Content), shownContent(second[i].Content); a != b {
				t.Errorf("one document became\n%s and\n%s", a, b)
			}
		}
	})
	t.Run("context", func(t *testing.T) {
		s := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Apply(ctx, some(3)); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the end of the context is %v", err)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		if err := open(t).Apply(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
	t.Run("abilities", func(t *testing.T) {
		s := open(t)
		a, b := s.Abilities(), s.Abilities()
		if a.Fingerprint != b.Fingerprint {
			t.Errorf("the fingerprint changes: %q, %q", a.Fingerprint, b.Fingerprint)
		}
		if v := a.Vectors; v != nil && (v.Model == "" || v.Dimensions == nil || v.Embed == nil || v.Usage == nil) {
			t.Errorf("it makes vectors, but %+v", v)
		}
	})
}

func shownContent(c *syncd.Content) string {
	if c == nil {
		return "nothing"
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%q %q", c.Title, c.Prefix)
	for _, k := range c.Chunks {
		fmt.Fprintf(&out, " %q %v", k.Text, k.Vector)
	}
	return out.String()
}
