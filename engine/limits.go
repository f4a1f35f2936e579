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

	// Granted has the events of MaxEvents granted by whoever counts those of several processes: it is told how many this process will
	// have sent in all, and returns how many it may. It is called one at a time. nil: this process sends them all.
	Granted func(ctx context.Context, want int64) (may int64, err error)

	// Events bounds the events that are sent, together with all others that have the same limiter; nil does not.
	Events *rate.Limiter
}

// throttle holds the limiters of a run; a nil one lets everything pass.
type throttle struct {
	docs, out *rate.Limiter
	limits    Limits
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
	return throttle{docs: limiter(l.DocumentsPerSecond), out: limiter(l.BytesPerSecond), limits: l, shared: l.Events, waited: waited}
}

// Share has this process keep to a share of the limits per second, above 0 and at most 1, since others have the rest. It is safe for
// concurrent use.
func (e *Engine) Share(share float64) {
	for _, l := range []struct {
		limiter *rate.Limiter
		all     float64
	}{{e.throttle.docs, e.throttle.limits.DocumentsPerSecond}, {e.throttle.out, e.throttle.limits.BytesPerSecond}} {
		if l.limiter != nil {
			l.limiter.SetLimit(rate.Limit(l.all * share))
		}
	}
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

	granted func(ctx context.Context, want int64) (int64, error) // as Limits.Granted
	asking  chan struct{}                                        // holds one while it is called
	may     atomic.Int64                                         // what it returned last
}

// take reserves n events before they are sent.
func (l *eventLimit) take(ctx context.Context, n int64) error {
	if l.max <= 0 {
		return nil
	}
	want := l.sent.Add(n)
	if l.granted == nil && want <= l.max {
		return nil
	}
	if l.granted != nil {
		ok, err := l.ask(ctx, want)
		if ok || err != nil {
			return err
		}
	}
	l.sent.Add(-n)
	return &tally.GuardError{
		Problem: fmt.Sprintf("the run would send more than limits.max_events, %d", l.max),
		Advice:  "look at what is missing with --dry-run, then raise limits.max_events or send the collections one by one",
	}
}

// ask reports whether so many events may be sent.
func (l *eventLimit) ask(ctx context.Context, want int64) (bool, error) {
	if want <= l.may.Load() {
		return true, nil
	}
	select {
	case l.asking <- struct{}{}:
		defer func() { <-l.asking }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if want <= l.may.Load() {
		return true, nil
	}
	may, err := l.granted(ctx, max(want, l.sent.Load())) // with what others wait for
	if err != nil {
		return false, err
	}
	l.may.Store(max(may, l.may.Load()))
	return want <= may, nil
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
		dead.Content = nil // a letter does not say it, and vectors take much memory
		dead.Err = &syncd.DocumentError{Stage: stage, Split: b.split.Index, Cause: cause}
		b.dead = append(b.dead, dead)
	}
	if b.stop == nil {
		b.stop = p.verdict(name, f, cause)
	}
}

func tooManyFailed(most int64) error {
	return &tally.GuardError{
		Problem: fmt.Sprintf("more than errors.max, %d, documents can't be sent", most),
		Advice:  "look at the first of them above; mend their cause, or raise errors.max",
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
		over = tooManyFailed(p.max)
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
