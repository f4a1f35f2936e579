package arrival

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/panics"
	"github.com/syncd-io/syncd/internal/wait"
	"github.com/syncd-io/syncd/mapping"
)

const (
	// fruitless is of how many segments in a row nothing may have arrived before the rest is left for the next round: an
	// indexer works in order, so what was sent later will hardly be there.
	fruitless = 8
	// sideBySide is how many segments are asked about at a time once the run itself asks nothing any more.
	sideBySide = 4
	// share keeps the questions about what was sent to this part of the time while the run goes on.
	share = 0.2
	// lastLook bounds the time that asking about all that is still open may take when the time is up.
	lastLook = time.Minute
	// lastGlance is the same where somebody waits for the program's end.
	lastGlance = 2 * time.Second
)

// Options is what a Tracker needs.
type Options struct {
	Checker  syncd.Checker
	Rules    []*mapping.Rule
	Timeout  time.Duration               // of Await
	Every    time.Duration               // between two calls of Progress
	Progress func(Arrivals)              // is told how far the index has come, one call at a time, and once at the end; nil is told nothing
	Route    func(t syncd.Target) string // names the topics of what has not arrived; nil names none
	Logger   *slog.Logger
}

// Tracker follows all that was sent. Sent may be called at any time before Await or Interrupt, concurrently; the other methods
// are called one after another: Follow once, if at all, then one of Await and Interrupt.
type Tracker struct {
	Options
	set *inflight

	// The rest belongs to whichever of Follow, Await and Interrupt runs.
	open        []*segment // a queue: what was asked about longest ago is in front
	lookers     [sideBySide]*looker
	arrived     int64
	last        time.Time // when something was last seen to have arrived
	ended       time.Time // of the sending
	failed      error     // of the newest question
	interrupted bool

	spoke  time.Time // when Progress was last called
	spoken int64     // what had arrived then
}

// NewTracker returns a tracker of nothing so far.
func NewTracker(o Options) *Tracker {
	t := &Tracker{Options: o, set: newInflight(o.Rules), spoke: time.Now()}
	for i := range t.lookers {
		t.lookers[i] = newLooker(o.Checker)
	}
	return t
}

// Sent notes changes of one rule that the sink confirmed. It does not keep the slice.
func (t *Tracker) Sent(rule *mapping.Rule, changes []syncd.Change) { t.set.add(rule, changes) }

// Follow asks about what was sent, now and then, until ctx ends with the sending: what has arrived need not be remembered.
func (t *Tracker) Follow(ctx context.Context) {
	for pause := firstPoll; wait.Pause(ctx, pause) == nil; {
		began := time.Now()
		came := t.round(ctx, 1, fruitless)
		if ctx.Err() != nil {
			return
		}
		t.progress()
		pause = max(nextPoll(pause, came), time.Duration(float64(time.Since(began))*(1-share)/share))
	}
}

// Await is called when the sending has ended. It asks until everything has arrived, the time is up or drain is closed, and then
// once more about all that is open, so that what it says is true.
func (t *Tracker) Await(ctx context.Context, drain <-chan struct{}) Arrivals {
	t.ended = time.Now()
	undrained, stop := wait.Drained(ctx, drain)
	defer stop()
	timed, cancel := context.WithTimeout(undrained, t.Timeout)
	defer cancel()
	for pause := firstPoll; ; {
		came := t.round(timed, sideBySide, fruitless)
		if len(t.open) == 0 {
			return t.arrivals()
		}
		if timed.Err() == nil {
			t.progress()
		}
		pause = nextPoll(pause, came)
		if wait.Pause(timed, pause) != nil {
			break
		}
	}
	t.interrupted = undrained.Err() != nil
	patience := lastLook
	if t.interrupted {
		patience = lastGlance
	}
	final, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	t.round(final, sideBySide, len(t.open))
	if final.Err() != nil {
		t.failed = fmt.Errorf("no answer within %s: %w", patience, syncd.ErrUnavailable)
	}
	return t.arrivals()
}

// Interrupt is called in place of Await where nobody waits. It asks nothing more.
func (t *Tracker) Interrupt() Arrivals {
	t.ended, t.interrupted = time.Now(), true
	t.open = append(t.open, t.set.take()...)
	return t.arrivals()
}

// nextPoll is how long to pause before the next round.
func nextPoll(pause time.Duration, came int64) time.Duration {
	if came > 0 {
		return max(pause/2, firstPoll)
	}
	return min(pause*2, lastPoll)
}

// round asks about the open segments, side of them at a time, and puts what is left of each at the back of the queue. It
// ends when each was asked about, or when nothing came of patience of them. It returns how many events have arrived. A
// question that fails is asked again in the next round: it is neither a yes nor a no.
func (t *Tracker) round(ctx context.Context, side, patience int) (came int64) {
	t.open = append(t.open, t.set.take()...)
	barren := 0
	for left := len(t.open); left > 0 && barren < max(patience, 1); {
		n := min(left, side)
		group := t.open[:n]
		g, gctx := errgroup.WithContext(ctx)
		for i, s := range group {
			g.Go(panics.Caught(func() error { return t.lookers[i].look(gctx, s, t.set.rules) }))
		}
		if err := g.Wait(); err != nil {
			if ctx.Err() != nil {
				return came
			}
			if t.failed == nil {
				t.Logger.Warn("can't ask the index about what was sent; trying again", "error", err)
			}
			t.failed = err
			return came
		}
		t.failed = nil
		t.open, left = t.open[n:], left-n
		some := int64(0)
		for i, s := range group {
			kept := s.without(t.lookers[i].arrived)
			some += int64(len(s.points))
			if kept != nil {
				some -= int64(len(kept.points))
				t.keep(kept)
			}
		}
		clear(group) // the queue's memory outlives them
		if barren += n; some > 0 {
			barren = 0
			t.last = time.Now()
		}
		came += some
		t.arrived += some
	}
	return came
}

// keep puts a segment at the back of the queue, in the last one if that has room, so that what is left of many is one.
func (t *Tracker) keep(s *segment) {
	if n := len(t.open); n > 0 && t.open[n-1].takesIn(s) {
		for i := range s.points {
			t.open[n-1].move(s, i)
		}
		return
	}
	t.open = append(t.open, s)
}

// progress tells how far it is, if it is time to.
func (t *Tracker) progress() {
	now := time.Now()
	passed := now.Sub(t.spoke)
	sent, _ := t.set.count()
	if t.Progress == nil || sent == 0 || passed < t.Every {
		return
	}
	a := Arrivals{Sent: sent, Arrived: t.arrived, Sending: t.ended.IsZero(), PerSecond: float64(t.arrived-t.spoken) / passed.Seconds()}
	if !a.Sending {
		a.Waited = now.Sub(t.ended)
	}
	t.Progress(a)
	t.spoke, t.spoken = now, t.arrived
}

// arrivals is the result.
func (t *Tracker) arrivals() Arrivals {
	sent, first := t.set.count()
	a := Arrivals{
		Sent: sent, Arrived: t.arrived, Waited: time.Since(t.ended), Known: t.failed == nil || len(t.open) == 0,
		Interrupted: t.interrupted && len(t.open) > 0,
	}
	if passed := t.last.Sub(first); t.arrived > 0 && passed > 0 {
		a.PerSecond = float64(t.arrived) / passed.Seconds()
	}
	if !a.Known {
		a.Err = fmt.Errorf("asking the index about what was sent: %w", t.failed)
	}
	a.Open = t.notArrived()
	if t.Progress != nil && sent > 0 {
		t.Progress(a)
	}
	return a
}

// notArrived names the first of what is open. It keeps no more than it will name and as many again.
func (t *Tracker) notArrived() []NotArrived {
	type named struct {
		seg *segment
		i   int
	}
	var first []named
	trim := func() {
		slices.SortFunc(first, func(a, b named) int {
			x, y := &a.seg.places[a.i], &b.seg.places[b.i]
			return cmp.Or(cmp.Compare(x.rule, y.rule), cmp.Compare(x.partition, y.partition), cmp.Compare(x.offset, y.offset))
		})
		first = first[:min(len(first), maxNotArrived)]
	}
	for _, s := range t.open {
		for i := range s.points {
			if first = append(first, named{s, i}); len(first) == 2*maxNotArrived {
				trim()
			}
		}
	}
	trim()
	out := make([]NotArrived, len(first))
	for k, n := range first {
		at := &n.seg.places[n.i]
		rule := t.set.rules[at.rule]
		id, _ := n.seg.text(n.i)
		out[k] = NotArrived{Rule: rule, ID: id, PointID: n.seg.points[n.i].ID, Deleted: at.deleted}
		if at.offset >= 0 {
			out[k].Placement = syncd.Placement{Partition: at.partition, Offset: at.offset, Known: true}
		}
		if t.Route != nil {
			out[k].Place = t.Route(rule.Target())
		}
	}
	return out
}
