// Package wait has the ways in which a run pauses.
package wait

import (
	"context"
	"sync"
	"time"
)

// Drained returns a context that ends with ctx, when drain is closed, or by stop. A nil drain is never closed. stop must be
// called; when it returns, nothing of this is left.
func Drained(ctx context.Context, drain <-chan struct{}) (drained context.Context, stop func()) {
	drained, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-drain:
			cancel()
		case <-drained.Done():
		}
	})
	return drained, func() { cancel(); watch.Wait() }
}

// Pause waits for d, or until ctx ends, and then returns ctx's error. Where d is not above 0 it returns nil at once.
func Pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
