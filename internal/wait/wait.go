// Package wait has the ways in which a run pauses, and ends pausing: at once when its context ends, and when the run is drained,
// which is to end without losing what is under way.
package wait

import (
	"context"
	"sync"
	"time"
)

// Drained returns a context that ends with ctx, when drain is closed, or by stop. A nil drain is never closed. stop must be
// called; when it returns, nothing of this is left.
func Drained(ctx context.Context, drain <-chan struct{}) (drained context.Context, stop func()) {
	return Grace(ctx, drain, 0, nil)
}

// Grace is Drained for what may be finished behind the drain: the context ends when so much time has passed since drain was closed
// and since moved, which may be nil. What moves can go on as long as it does.
func Grace(ctx context.Context, drain <-chan struct{}, grace time.Duration, moved func() time.Time) (within context.Context, stop func()) {
	within, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		defer cancel()
		select {
		case <-drain:
		case <-within.Done():
			return
		}
		for last := time.Now(); ; last = moved() {
			if pause(within, nil, grace-time.Since(last)) != nil || moved == nil || time.Since(moved()) >= grace {
				return
			}
		}
	})
	return within, func() { cancel(); watch.Wait() }
}

// drainKey is the key of a context's drain.
type drainKey struct{}

// WithDrain returns a context in which a Pause ends when drain is closed, while all else goes on: what waits to ask a server again
// holds nothing that could be lost.
func WithDrain(ctx context.Context, drain <-chan struct{}) context.Context {
	if drain == nil {
		return ctx
	}
	return context.WithValue(ctx, drainKey{}, drain)
}

// drainedError says that a pause ended with the drain. It is a context.Canceled, since the work was asked to end.
type drainedError struct{}

func (drainedError) Error() string        { return "the run was asked to end" }
func (drainedError) Is(target error) bool { return target == context.Canceled }

// Pause waits for d, or until ctx ends, and then returns ctx's error, or until the drain of ctx (see WithDrain), and then returns
// an error that is context.Canceled. Where d is not above 0 it returns nil at once.
func Pause(ctx context.Context, d time.Duration) error {
	drain, _ := ctx.Value(drainKey{}).(<-chan struct{})
	return pause(ctx, drain, d)
}

func pause(ctx context.Context, drain <-chan struct{}, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-drain:
		return drainedError{}
	case <-ctx.Done():
		return ctx.Err()
	}
}
