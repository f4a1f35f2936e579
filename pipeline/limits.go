package pipeline

import (
	"context"

	"golang.org/x/time/rate"
)

// Limits slow a run down, for the sake of the servers and of whoever else uses them. Zero means no limit.
type Limits struct {
	DocumentsPerSecond float64 // read by all readers together
	BytesPerSecond     float64 // of events, sent by all workers together
}

// throttle holds the limiters of a run; a nil one lets everything pass.
type throttle struct {
	docs, out *rate.Limiter
}

func newThrottle(l Limits) throttle {
	// A second's worth may pass at once, so that a batch is not cut to pieces.
	limiter := func(perSecond float64) *rate.Limiter {
		if perSecond <= 0 {
			return nil
		}
		return rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond)))
	}
	return throttle{docs: limiter(l.DocumentsPerSecond), out: limiter(l.BytesPerSecond)}
}

// documents waits until n more documents may be read, and calls waited after each portion of about a second.
func (t throttle) documents(ctx context.Context, n int, waited func()) error {
	return wait(ctx, t.docs, n, waited)
}

// bytes waits until n more bytes may be sent, likewise.
func (t throttle) bytes(ctx context.Context, n int, waited func()) error {
	return wait(ctx, t.out, n, waited)
}

// wait takes n tokens, in portions where n is more than the limiter ever holds.
func wait(ctx context.Context, l *rate.Limiter, n int, waited func()) error {
	if l == nil {
		return nil
	}
	for n > 0 {
		portion := min(n, l.Burst())
		if err := l.WaitN(ctx, portion); err != nil {
			return err
		}
		n -= portion
		waited()
	}
	return nil
}
