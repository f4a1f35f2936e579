package wait_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd/internal/wait"
)

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
