package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
)

const (
	// maxNotArrived is how many events that never appeared are named; all are counted.
	maxNotArrived = 100
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
	lastGlance = 3 * time.Second
)

// Wait says how RunAndWait follows what is sent.
type Wait struct {
	Timeout  time.Duration  // from the end of the sending
	Every    time.Duration  // between two calls of Progress
	Progress func(Arrivals) // is told how far the index has come, one call at a time, and once at the end; nil is told nothing
}

// Arrivals is how far the index has come with what was sent. An event has arrived when the index holds the document as its
// rule wants it: the point is there, of the version that was sent or a later one, with all its chunks.
type Arrivals struct {
	Sent      int64
	Arrived   int64
	Sending   bool          // the run goes on
	PerSecond float64       // arrivals since the last call of Progress; at the end, since the first event was confirmed
	Waited    time.Duration // since the sending ended

	// These are set at the end only.
	Known       bool         // the index was asked, and answered; if not, nothing is known of what has not Arrived
	Interrupted bool         // the waiting was ended early
	Open        []NotArrived // the first maxNotArrived of those that have not arrived, by collection, partition and offset
	Err         error        // why the index could not be asked, where it could not
}

// Missing is how many events have not arrived.
func (a Arrivals) Missing() int64 { return a.Sent - a.Arrived }

// NotArrived is an event that the sink confirmed and the index has not shown.
type NotArrived struct {
	Rule     *mapping.Rule
	ID       string
	PointID  uuid.UUID
	Place    string // the topic, where the sink has one
	Position syncd.Position
}

// RunAndWait is Run, and then waits until the index shows what was sent. It asks about nothing but that, from the first
// event on, so that what must be remembered follows what is in flight at the indexer rather than the length of the run (see
// inflight). The error is Run's; that something did not arrive is in the Arrivals. When it returns, all its goroutines have
// ended. A closed Options.Drain ends the waiting. Without a Checker there is nobody to ask, and a dry run sends nothing.
func RunAndWait(ctx context.Context, o Options, w Wait) (Report, Arrivals, error) {
	if o.DryRun || o.Checker == nil {
		o.WaitTimeout = 0
		rep, err := Run(ctx, o)
		return rep, Arrivals{Sent: rep.Total.Acked, Known: rep.Total.Acked == 0}, err
	}
	p := &poller{Wait: w, o: o, set: newInflight(o.Rules), spoke: time.Now()}
	told := o.Sent
	o.Sent = func(sent []Sent) {
		p.set.add(sent)
		if told != nil {
			told(sent)
		}
	}
	o.WaitTimeout = 0 // this is the wait

	sending, sent := context.WithCancel(ctx)
	var follow sync.WaitGroup
	follow.Go(func() { p.whileSending(sending) })
	rep, err := Run(ctx, o)
	sent()
	follow.Wait()

	p.ended = time.Now()
	if err == nil && !rep.Interrupted {
		p.untilArrived(ctx)
	} else {
		p.open = append(p.open, p.set.take()...)
		p.interrupted = true
	}
	a := p.arrivals()
	rep.Index.CaughtUp, rep.Index.Waited = a.Missing() == 0, a.Waited
	if insp, ok := o.Checker.(syncd.Inspector); ok && err == nil && !rep.Interrupted && a.Sent > 0 {
		after, ierr := insp.Inspect(ctx)
		if ierr != nil {
			o.Logger.Warn("can't look at the index after the run", "error", ierr)
			rep.Index.Known = false
		} else {
			rep.Index.After = after
		}
	}
	rep.Duration = time.Since(rep.Started)
	return rep, a, err
}

// poller follows what was sent. All but set belongs to one goroutine at a time.
type poller struct {
	Wait
	o   Options
	set *inflight

	open        []*segment // a queue: what was asked about longest ago is in front
	lookers     [sideBySide]looker
	arrived     int64
	last        time.Time // when something was last seen to have arrived
	ended       time.Time // of the sending
	failed      error     // of the newest question
	interrupted bool

	spoke  time.Time // when Progress was last called
	spoken int64     // what had arrived then
}

// whileSending thins what is in flight until ctx ends with the sending.
func (p *poller) whileSending(ctx context.Context) {
	for wait := firstPoll; pause(ctx, wait) == nil; {
		began := time.Now()
		came := p.round(ctx, 1, fruitless)
		if ctx.Err() != nil {
			return
		}
		p.progress()
		wait = max(nextPoll(wait, came), time.Duration(float64(time.Since(began))*(1-share)/share))
	}
}

// untilArrived asks until everything has arrived, the time is up or the run is drained, and then once more about all that is
// open, so that what it says is true.
func (p *poller) untilArrived(ctx context.Context) {
	undrained, stop := (&run{Options: p.o}).untilDrained(ctx)
	defer stop()
	timed, cancel := context.WithTimeout(undrained, p.Timeout)
	defer cancel()
	for wait := firstPoll; ; {
		came := p.round(timed, sideBySide, fruitless)
		if len(p.open) == 0 {
			return
		}
		if timed.Err() == nil {
			p.progress()
		}
		wait = nextPoll(wait, came)
		if pause(timed, wait) != nil {
			break
		}
	}
	p.interrupted = undrained.Err() != nil
	patience := lastLook
	if p.interrupted {
		patience = lastGlance
	}
	final, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p.round(final, sideBySide, len(p.open))
	if final.Err() != nil {
		p.failed = fmt.Errorf("no answer within %s: %w", patience, syncd.ErrUnavailable)
	}
}

// nextPoll is how long to pause before the next round.
func nextPoll(wait time.Duration, came int64) time.Duration {
	if came > 0 {
		return max(wait/2, firstPoll)
	}
	return min(wait*2, lastPoll)
}

// round asks about the open segments, side of them at a time, and puts what is left of each at the back of the queue. It
// ends when each was asked about, or when nothing came of patience of them. It returns how many events have arrived. A
// question that fails is asked again in the next round: it is neither a yes nor a no.
func (p *poller) round(ctx context.Context, side, patience int) (came int64) {
	p.open = append(p.open, p.set.take()...)
	barren := 0
	for left := len(p.open); left > 0 && barren < max(patience, 1); {
		n := min(left, side)
		group := p.open[:n]
		g, gctx := errgroup.WithContext(ctx)
		for i, s := range group {
			g.Go(func() error { return p.lookers[i].look(gctx, p.o.Checker, s, p.set.rules) })
		}
		if err := g.Wait(); err != nil {
			if ctx.Err() != nil {
				return came
			}
			if p.failed == nil {
				p.o.Logger.Warn("can't ask the index about what was sent; trying again", "error", err)
			}
			p.failed = err
			return came
		}
		p.failed = nil
		p.open, left = p.open[n:], left-n
		some := int64(0)
		for i, s := range group {
			kept := s.without(p.lookers[i].arrived)
			some += int64(len(s.points))
			if kept != nil {
				some -= int64(len(kept.points))
				p.keep(kept)
			}
		}
		clear(group) // the queue's memory outlives them
		if barren += n; some > 0 {
			barren = 0
			p.last = time.Now()
		}
		came += some
		p.arrived += some
	}
	return came
}

// keep puts a segment at the back of the queue, in the last one if that has room, so that what is left of many is one.
func (p *poller) keep(s *segment) {
	if n := len(p.open); n > 0 && p.open[n-1].takesIn(s) {
		for i := range s.points {
			p.open[n-1].move(s, i)
		}
		return
	}
	p.open = append(p.open, s)
}

// progress tells how far it is, if it is time to.
func (p *poller) progress() {
	now := time.Now()
	passed := now.Sub(p.spoke)
	sent, _ := p.set.count()
	if p.Progress == nil || sent == 0 || passed < p.Every {
		return
	}
	a := Arrivals{Sent: sent, Arrived: p.arrived, Sending: p.ended.IsZero(), PerSecond: float64(p.arrived-p.spoken) / passed.Seconds()}
	if !a.Sending {
		a.Waited = now.Sub(p.ended)
	}
	p.Progress(a)
	p.spoke, p.spoken = now, p.arrived
}

// arrivals is the result.
func (p *poller) arrivals() Arrivals {
	sent, first := p.set.count()
	a := Arrivals{
		Sent: sent, Arrived: p.arrived, Waited: time.Since(p.ended), Known: p.failed == nil || len(p.open) == 0,
		Interrupted: p.interrupted && len(p.open) > 0,
	}
	if passed := p.last.Sub(first); p.arrived > 0 && passed > 0 {
		a.PerSecond = float64(p.arrived) / passed.Seconds()
	}
	if !a.Known {
		a.Err = fmt.Errorf("asking the index about what was sent: %w", p.failed)
	}
	a.Open = p.notArrived()
	if p.Progress != nil && sent > 0 {
		p.Progress(a)
	}
	return a
}

// notArrived names the first of what is open. It keeps no more than it will name and as many again.
func (p *poller) notArrived() []NotArrived {
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
	for _, s := range p.open {
		for i := range s.points {
			if first = append(first, named{s, i}); len(first) == 2*maxNotArrived {
				trim()
			}
		}
	}
	trim()
	router, _ := p.o.Sink.(syncd.Router)
	out := make([]NotArrived, len(first))
	for k, n := range first {
		at := &n.seg.places[n.i]
		rule := p.set.rules[at.rule]
		id, _ := n.seg.text(n.i)
		out[k] = NotArrived{Rule: rule, ID: id, PointID: n.seg.points[n.i].ID}
		if at.offset >= 0 {
			out[k].Position = syncd.Position{Partition: at.partition, Offset: at.offset, Known: true}
		}
		if router != nil {
			out[k].Place = router.Route(rule.Target())
		}
	}
	return out
}

// looker asks about segments, one at a time. Its slices are reused.
type looker struct {
	asker
	arrived []bool // aligned with the events of the segment

	plain  []int   // events that have arrived when their point is there
	judged [][]int // events of each rule that looks at more
	points []syncd.Point
}

// look finds out which events of a segment have arrived.
func (l *looker) look(ctx context.Context, checker syncd.Checker, s *segment, rules []*mapping.Rule) error {
	l.checker = checker
	l.arrived = resize(l.arrived, len(s.points))
	clear(l.arrived)
	l.plain, l.judged = l.plain[:0], resize(l.judged, len(rules))
	for i := range l.judged {
		l.judged[i] = l.judged[i][:0]
	}
	for i := range s.points {
		if r := s.places[i].rule; len(rules[r].PayloadKeys()) > 0 {
			l.judged[r] = append(l.judged[r], i)
		} else {
			l.plain = append(l.plain, i)
		}
	}
	if len(l.plain) > 0 {
		points := l.pick(s, l.plain)
		l.verdicts = resize(l.verdicts, len(points))
		clear(l.verdicts)
		if err := checker.Check(ctx, points, l.verdicts); err != nil {
			return err
		}
		for k, i := range l.plain {
			l.arrived[i] = l.verdicts[k] == syncd.Present
		}
	}
	for r, events := range l.judged {
		if len(events) == 0 {
			continue
		}
		if err := l.judge(ctx, s, rules[r], events); err != nil {
			return err
		}
	}
	return nil
}

// pick gives the points of some events, without a copy if they are all.
func (l *looker) pick(s *segment, events []int) []syncd.Point {
	if len(events) == len(s.points) {
		return s.points
	}
	l.points = l.points[:0]
	for _, i := range events {
		l.points = append(l.points, s.points[i])
	}
	return l.points
}

// judge asks about events whose rule looks at what points carry. Their records are made again from what is remembered: the
// id, and the version as if every field held it. That is enough for the ids of chunks unless a seed has fields; of such a
// rule the chunks are not looked at.
func (l *looker) judge(ctx context.Context, s *segment, rule *mapping.Rule, events []int) error {
	points := l.pick(s, events)
	fields := make([]syncd.Value, len(rule.Fields()))
	record := func(k int) *syncd.Record {
		id, version := s.text(events[k])
		for f := range fields {
			fields[f] = version
		}
		return &syncd.Record{ID: id, Fields: fields}
	}
	if rule.SeedFields() == 0 {
		if err := l.ask(ctx, rule, points, record); err != nil {
			return err
		}
	} else {
		reader, ok := l.checker.(syncd.PayloadReader)
		if !ok {
			return errNoPayload
		}
		l.found, l.verdicts = resize(l.found, len(points)), resize(l.verdicts, len(points))
		if err := reader.Read(ctx, points, rule.PayloadKeys(), l.found); err != nil {
			return err
		}
		for k := range points {
			l.verdicts[k], _ = rule.Judge(record(k), &l.found[k])
		}
	}
	for k, i := range events {
		v := l.verdicts[k]
		if v == syncd.Stale {
			// The document may have changed between its scan and its sending, or since: then the index holds a later version.
			if _, version := s.text(i); later(l.found[k].Payload[0], version) {
				v = syncd.Present
			}
		}
		l.arrived[i] = v == syncd.Present
	}
	return nil
}

// later reports whether a version is after another, where they have an order.
func later(held, sent syncd.Value) bool {
	if a, ok := mapping.Instant(held); ok {
		if b, ok := mapping.Instant(sent); ok {
			return a.After(b)
		}
	}
	a, err := strconv.ParseFloat(held.Text, 64)
	b, err2 := strconv.ParseFloat(sent.Text, 64)
	return held.Set && sent.Set && err == nil && err2 == nil && a > b
}
