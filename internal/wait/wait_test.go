package wait_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd/internal/wait"
)

// TestGrace: what moves may go on behind the drain, and what does not ends.
func TestGrace(t *testing.T) {
	const s = time.Second
	for name, c := range map[string]struct {
		drain, cancel time.Duration // when; 0 is never
		moves         []time.Duration
		ends          time.Duration
	}{
		"nothing moves":              {drain: 10 * s, ends: 12 * s},
		"it moved before":            {drain: 10 * s, moves: []time.Duration{9 * s}, ends: 12 * s},
		"it moves":                   {drain: 10 * s, moves: []time.Duration{11 * s, 12500 * time.Millisecond, 14 * s}, ends: 16 * s},
		"it moves too late":          {drain: 10 * s, moves: []time.Duration{12500 * time.Millisecond}, ends: 12 * s},
		"its context ends before":    {drain: 10 * s, cancel: 5 * s, ends: 5 * s},
		"its context ends meanwhile": {drain: 10 * s, cancel: 11 * s, ends: 11 * s},
		"neither":                    {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.cancel > 0 {
					time.AfterFunc(c.cancel, cancel)
				}
				drain := make(chan struct{})
				if c.drain > 0 {
					time.AfterFunc(c.drain, func() { close(drain) })
				}
				moved := func() time.Time {
					last := began
					for _, m := range c.moves {
						if at := began.Add(m); !at.After(time.Now()) {
							last = at
						}
					}
					return last
				}
				within, stop := wait.Grace(ctx, drain, 2*s, moved)
				select {
				case <-within.Done():
				case <-time.After(time.Hour):
				}
				if took := time.Since(began); took != c.ends && (c.ends > 0 || took != time.Hour) {
					t.Errorf("it ended after %s, want %s", took, c.ends)
				}
				stop()
				if within.Err() == nil {
					t.Error("it lives after stop")
				}
			})
		})
	}
}

// TestTheDrainEndsAPause and nothing else.
func TestTheDrainEndsAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drain := make(chan struct{})
		ctx := wait.WithDrain(t.Context(), drain)
		if err := wait.Pause(ctx, time.Minute); err != nil {
			t.Error(err)
		}
		time.AfterFunc(time.Second, func() { close(drain) })
		began := time.Now()
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Hour) // which keeps the drain
		defer cancel()
		if err := wait.Pause(within, 30*time.Minute); !errors.Is(err, context.Canceled) || time.Since(began) != time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		if err := wait.Pause(ctx, time.Nanosecond); err == nil {
			t.Error("it pauses behind the drain")
		}
		if err := wait.Pause(ctx, 0); err != nil || ctx.Err() != nil {
			t.Errorf("%v, %v", err, ctx.Err())
		}
		if wait.WithDrain(t.Context(), nil) != t.Context() {
			t.Error("there is no drain")
		}
	})
}

func TestDrained(t *testing.T) {
	for name, c := range map[string]struct {
		drain, cancel bool
		within        time.Duration // until the context ends; 0 is never
	}{
		"drain": {drain: true, within: time.Second}, "context": {cancel: true, within: time.Second}, "neither": {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var drain chan struct{}
				if c.drain {
					drain = make(chan struct{})
					time.AfterFunc(time.Second, func() { close(drain) })
				}
				if c.cancel {
					time.AfterFunc(time.Second, cancel)
				}
				drained, stop := wait.Drained(ctx, drain)
				began := time.Now()
				err := wait.Pause(drained, time.Hour)
				took := time.Since(began)
				if c.within > 0 && (!errors.Is(err, context.Canceled) || took != c.within) || c.within == 0 && (err != nil || took != time.Hour) {
					t.Errorf("%v after %s", err, took)
				}
				if ctx.Err() != nil && !c.cancel {
					t.Error("the context above it ended, too")
				}
				stop()
				if drained.Err() == nil {
					t.Error("it lives after stop")
				}
			})
		})
	}
}
