package engine

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/internal/wait"
	"github.com/syncd-io/syncd/tally"
)

// Limits bound a run, for the sake of the servers and of whoever else uses them. Zero means no limit.
type Limits struct {
	DocumentsPerSecond float64 // read by all readers together
	BytesPerSecond     float64 // written by all workers together
	MaxEvents          int64   // sent by a run

	// Events bounds the events that are sent, together with all others that have the same limiter; nil does not.
	Events *rate.Limiter
}

// throttle holds the limiters of a run; a nil one lets everything pass.
type throttle struct {
	docs, out *rate.Limiter
	shared    *rate.Limiter // of events
	waited    func()        // is called after each portion of about a second
}

func newThrottle(l Limits, waited func()) throttle {
	// A second's worth may pass at once, so that a batch is not cut to pieces.
	limiter := func(perSecond float64) *rate.Limiter {
		if perSecond <= 0 {
			return nil
		}
		return rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond)))
	}
	return throttle{docs: limiter(l.DocumentsPerSecond), out: limiter(l.BytesPerSecond), shared: l.Events, waited: waited}
}

// documents waits until n more documents may be read.
func (t throttle) documents(ctx context.Context, n int) error { return t.take(ctx, t.docs, n) }

// sent waits for events that were written, and their bytes, so that the next write comes late enough. A drain ends the wait without an
// error: what was written is to be accounted for.
func (t throttle) sent(ctx context.Context, events int, bytes int) error {
	err := t.take(ctx, t.shared, events)
	if err == nil {
		err = t.take(ctx, t.out, bytes)
	}
	if ctx.Err() != nil {
		return err
	}
	return nil
}

// take takes n tokens, in portions where n is more than the limiter ever holds.
func (t throttle) take(ctx context.Context, l *rate.Limiter, n int) error {
	if l == nil {
		return nil
	}
	for n > 0 {
		portion := min(n, l.Burst())
		if err := wait.Pause(ctx, l.ReserveN(time.Now(), portion).Delay()); err != nil {
			return err
		}
		n -= portion
		t.waited()
	}
	return nil
}

// eventLimit counts what is sent against Limits.MaxEvents.
type eventLimit struct {
	max  int64
	sent atomic.Int64
}

// take reserves n events before they are sent.
func (l *eventLimit) take(n int64) error {
	if l.max <= 0 || l.sent.Add(n) <= l.max {
		return nil
	}
	l.sent.Add(-n)
	return &tally.GuardError{
		Problem: fmt.Sprintf("the run would send more than limits.max_events, %d", l.max),
		Advice:  "look at what is missing with --dry-run, then raise limits.max_events or send the collections one by one",
	}
}

// failurePolicy says what a document that can't be handled means for the run.
type failurePolicy struct {
	stop        bool
	max         int64 // 0 is no limit
	oversize    Oversize
	deadLetters bool // they are kept, so that dead letters can be written
	told        func(collection string, f tally.Failure)
	seen        atomic.Int64
}

// fail counts a document of the batch that can't be handled, and keeps it for the dead letters. The caller takes it out of the
// batch.
func (p *failurePolicy) fail(b *batch, c *syncd.Change, stage syncd.FailedStage, cause error) {
	switch stage {
	case syncd.FailedRead:
		b.counts.FailedRead++
	case syncd.FailedTransform:
		b.counts.FailedStages++
	case syncd.FailedEncode:
		b.counts.FailedEncode++
	default:
		b.counts.FailedWrite++
	}
	f := tally.Failure{ID: c.ID, NoID: hasNoID(c), Stage: string(stage), Reason: cause.Error()}
	name := b.collectionOf(c)
	b.split.col.fail(f)
	if p.told != nil {
		p.told(name, f)
	}
	if len(b.failures) < maxFailures {
		b.failures = append(b.failures, f)
	}
	if p.deadLetters {
		dead := *c
		dead.Err = &syncd.DocumentError{Stage: stage, Split: b.split.Index, Cause: cause}
		b.dead = append(b.dead, dead)
	}
	if b.stop == nil {
		b.stop = p.verdict(name, f, cause)
	}
}

// hasNoID reports whether the source could not tell the document's id.
func hasNoID(c *syncd.Change) bool {
	return c.ID == "" && c.Err != nil && (c.Key == "" || errors.Is(c.Err, syncd.ErrNoID))
}

// verdict returns the error that ends the run, or nil where it passes over the document.
func (p *failurePolicy) verdict(collection string, f tally.Failure, cause error) error {
	var over error
	if n := p.seen.Add(1); p.max > 0 && n > p.max {
		over = &tally.GuardError{
			Problem: fmt.Sprintf("more than errors.max, %d, documents can't be sent", p.max),
			Advice:  "look at the first of them above; mend their cause, or raise errors.max",
		}
	}
	stopped := fmt.Errorf("%w: document %s of collection %s: %w", ErrStopped, text.ID(f.ID, f.NoID), collection, cause)
	switch {
	case p.stop:
		return syncd.Hint(stopped, "mend the document; errors.tolerance: all passes over such documents")
	case p.oversize == OversizeFail && errors.Is(cause, syncd.ErrTooLarge):
		return syncd.Hint(stopped, "raise the sink's limit, or set errors.oversize to dlq or reference_only")
	}
	return over
}
