package job

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/store"
)

// durables is what was durably kept.
type durables struct {
	store.Checkpoints
	offsets []syncd.Offset
	writes  int
	err     error
}

func (d *durables) Split(_ context.Context, _ string, s store.Split, durable bool) error {
	if d.writes++; durable && d.err == nil {
		d.offsets = append(d.offsets, s.After)
	}
	return d.err
}

// TestConfirming: a source is told what is durable, and nothing else; what would not be for long is made so.
func TestConfirming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := &durables{}
		var told []syncd.Offset
		streams := []engine.Following{{Stream: syncd.Stream{Name: "a"}}, {Stream: syncd.Stream{Name: "b"}}}
		c := &confirming{Checkpoints: kept, streams: streams, told: make([]time.Time, 2), confirm: func(s syncd.Stream, o syncd.Offset) {
			if s.Name != "b" {
				t.Errorf("it was told of %s", s.Name)
			}
			told = append(told, o)
		}}
		keep := func(collection string, after syncd.Offset, durable bool) error {
			return c.Split(t.Context(), collection, store.Split{After: after}, durable)
		}
		b := store.StreamOf("b")
		for _, err := range []error{
			keep("page", "1", true), keep("b", "2", true), // collections, whatever they are called
			keep(b, "3", false), // the first is made durable
			keep(b, "4", false), keep(b, "5", true),
		} {
			if err != nil {
				t.Error(err)
			}
		}
		time.Sleep(confirmEvery - time.Nanosecond)
		_ = keep(b, "6", false)
		time.Sleep(time.Nanosecond)
		_ = keep(b, "7", false)
		kept.err = errors.New("the disk is full")
		if err := keep(b, "8", true); !errors.Is(err, kept.err) {
			t.Errorf("%v", err)
		}
		if want := []syncd.Offset{"3", "5", "7"}; !slices.Equal(told, want) || kept.writes != 8 {
			t.Errorf("it was told of %q, not of %q, in %d writes", told, want, kept.writes)
		}
		if want := []syncd.Offset{"1", "2", "3", "5", "7"}; !slices.Equal(kept.offsets, want) {
			t.Errorf("durable were %q", kept.offsets)
		}
	})
}
