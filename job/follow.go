package job

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/internal/contact"
	"github.com/syncd-io/syncd/internal/panics"
	"github.com/syncd-io/syncd/internal/retry"
	"github.com/syncd-io/syncd/internal/schedule"
	"github.com/syncd-io/syncd/internal/wait"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

// Following is told how a job follows changes, one call at a time. Each function may be nil.
type Following struct {
	Began    func(streams []syncd.Stream) // following begins, or goes on behind a reconcile
	Backfill func(Result, error)          // a backfill has ended, and following begins or goes on; the error is what it has to say
	// Reconciling says why all documents are looked at again.
	Reconciling func(Reconcile)
}

// Cause is why all documents are looked at again.
type Cause string

// The causes.
const (
	CauseSchedule       Cause = "schedule"
	CausePositionLost   Cause = "position_lost"
	CauseCollectionGone Cause = "collection_gone" // dropped or renamed
	CauseRequest        Cause = "request"         // somebody asked for it
)

// Reconcile says why following is interrupted to look at all documents again.
type Reconcile struct {
	Cause  Cause
	Stream string // that it is about; empty where it comes by the schedule
	Err    error  // what the stream ended with, likewise
}

// follower leads a job from its backfill into its streams, and back where all documents are to be looked at again.
type follower struct {
	j       *Job
	p       *Plugins
	st      store.Store
	source  string // that the offsets are of
	told    Following
	streams []engine.Following
	done    bool   // all documents were looked at since the streams' offsets were taken
	anew    bool   // what was looked at is forgotten
	runID   string // of the run that was begun instead of the kept one; empty: none was
	again   schedule.Schedule
	last    time.Time // when a backfill last began
	asked   <-chan struct{}
	only    bool          // the source has no documents to look at
	change  *syncd.Switch // of readers to what is written, once that is complete; nil: none is to come
	ready   bool          // the last look at all documents has shown that it may
	failed  int64         // changes that could not be sent by then
	until   time.Time     // until when it follows at least, so that looks that take longer than their schedule leave time to follow
}

// openFollower finds the streams and keeps where they begin, before anything is read: the moment from which on changes are followed.
// It goes on where an earlier process left off.
func (j *Job) openFollower(ctx context.Context, p *Plugins, st store.Store, scope store.Scope, resumed bool, told Following) (*follower, error) {
	f := &follower{
		j: j, p: p, st: st, source: scope.Source, told: told, again: j.Config.Schedule.Reconcile.Schedule(), last: st.Info().Started,
		only: j.Config.FollowedOnly(),
	}
	can := p.Source.Abilities().Stream
	if can == nil {
		return nil, &InvalidError{syncd.Hint(fmt.Errorf("the source %s can't be followed", j.Config.Source.Name()), "leave run.follow out, and repeat the run: --every 15m")}
	}
	var collections []syncd.Collection
	for _, r := range j.Config.Mapping.Rules {
		collections = append(collections, r.Collection)
	}
	streams, err := can.Streams(ctx, collections)
	if err != nil {
		return nil, fmt.Errorf("looking how the collections can be followed: %w", err)
	}
	if resumed && !f.only && (!st.Info().Follows || slices.ContainsFunc(streams, func(s syncd.Stream) bool { return f.kept(s) == nil })) {
		// What the kept run has looked at may have changed since, before the stream begins. And a run that does not follow is none to take
		// up: a later one that does not follow either must be able to tell.
		if f.runID, err = f.renew(ctx); err != nil {
			return nil, err
		}
		resumed = false
	}
	f.done = resumed && j.backfilled(f.st)
	for _, s := range streams {
		following := engine.Following{Stream: s, Debounce: j.Config.Stream.Debounce}
		if kept := f.kept(s); kept != nil {
			following.State = kept.Splits[0]
			f.done = f.done && kept.Planned
		} else {
			f.done = false
			if following.State, err = f.begin(ctx, s, tally.Counts{}); err != nil {
				return nil, err
			}
		}
		f.streams = append(f.streams, following)
	}
	f.done = f.done || f.only
	return f, f.pending(ctx)
}

// kept is what an earlier process kept of a stream, or nil where that is of no use.
func (f *follower) kept(s syncd.Stream) *store.Collection {
	kept := f.st.Recall(store.StreamOf(s.Name))
	if kept == nil || kept.Identity != f.source || len(kept.Splits) != 1 {
		return nil
	}
	return kept
}

// begin takes the offset of this moment and keeps it, with what was counted before.
func (f *follower) begin(ctx context.Context, s syncd.Stream, counts tally.Counts) (store.Split, error) {
	at, err := f.p.Source.Abilities().Stream.Now(ctx, s)
	if err != nil {
		return store.Split{}, fmt.Errorf("finding where %s stands: %w", s.Name, err)
	}
	state := store.Split{After: at, Counts: counts}
	return state, f.keep(ctx, s, state, true)
}

// keep keeps where a stream is read from, and with begin forgets what is kept of it.
func (f *follower) keep(ctx context.Context, s syncd.Stream, at store.Split, begin bool) error {
	name := store.StreamOf(s.Name)
	err := f.st.Collection(ctx, name, f.state(false), begin)
	if err == nil {
		err = f.st.Split(ctx, name, at, true)
	}
	if err != nil {
		return fmt.Errorf("keeping the state of the run: %w", err)
	}
	return nil
}

// state is what is kept of a stream beside its position; Planned says that all documents were looked at since it began.
func (f *follower) state(backfilled bool) store.Collection {
	return store.Collection{Identity: f.source, Found: true, Before: -1, Planned: backfilled}
}

// mark keeps whether all documents were looked at since the streams began.
func (f *follower) mark(ctx context.Context, backfilled bool) error {
	f.done = backfilled
	for _, s := range f.streams {
		if err := f.st.Collection(ctx, store.StreamOf(s.Name), f.state(backfilled), false); err != nil {
			return fmt.Errorf("keeping the state of the run: %w", err)
		}
	}
	return nil
}

// run backfills where that is not done and follows, again and again, until the drain, which is no error, or an error.
func (f *follower) run(ctx context.Context, o Options, told Observer, res *Result) (err error) {
	asking, stop := wait.Grace(ctx, o.Drain, drainGrace, nil)
	defer stop()
	defer func() {
		if res.Followed != nil && o.draining() && ctx.Err() == nil && errors.Is(err, context.Canceled) {
			err = nil // it followed, and was cut off by the drain
		}
	}()
	switch {
	case f.runID != "":
		o.RunID = f.runID
	case f.anew:
		if o.RunID, err = f.renew(asking); err != nil {
			return err
		}
	}
	if f.done { // no look at all documents says under which id everything happens
		res.Report.RunID = o.RunID
		if told.RunID != nil {
			told.RunID(o.RunID)
		}
	}
	pauses := retry.Pauses{Policy: outages}
	for {
		began := time.Now()
		if !f.done {
			if err := f.backfill(ctx, o, told, res); err != nil || o.draining() {
				return err
			}
		}
		again, err := f.follow(ctx, &o)
		res.Followed, res.Streams = &tally.Counts{}, nil
		for _, s := range f.streams {
			res.Followed.Add(s.State.Counts)
			res.Streams = append(res.Streams, StreamCounts{s.Name, s.State.Counts})
		}
		if err != nil || again == nil || o.draining() {
			return err
		}
		if again.Cause == CauseSchedule || again.Cause == CauseRequest || time.Since(began) > steady {
			pauses.Reset()
		} else if pause := pauses.Next(); pause > outages.First { // the second time in a row
			waiting, stop := wait.Drained(ctx, o.Drain)
			ended := wait.Pause(waiting, pause)
			stop()
			if ended != nil {
				return ctx.Err()
			}
		}
		if o.Monitor != nil {
			o.Monitor.run.Store(nil) // what it showed has been told
		}
		if f.told.Reconciling != nil {
			f.told.Reconciling(*again)
		}
		if o.RunID, err = f.renew(asking); err != nil {
			return err
		}
		f.done = f.only
		if again.Cause == CausePositionLost {
			for i := range f.streams {
				if f.streams[i].Name != again.Stream {
					continue
				}
				s := &f.streams[i]
				if s.State, err = f.begin(asking, s.Stream, s.State.Counts); err != nil {
					return err
				}
			}
		}
	}
}

// backfill looks at all documents. Documents that can't be sent are said, and what follows goes on.
func (f *follower) backfill(ctx context.Context, o Options, told Observer, res *Result) error {
	f.last, f.failed = time.Now(), 0
	for _, s := range f.streams {
		f.failed += s.State.Counts.Failed()
	}
	*res = Result{Fingerprint: res.Fingerprint, Resumable: res.Resumable, Followed: res.Followed, Streams: res.Streams}
	res.Report.RunID = o.RunID
	if told.RunID != nil {
		told.RunID(o.RunID)
	}
	err := f.j.execute(ctx, f.p, o, told, res)
	res.Ended = err == nil && !res.Report.Interrupted
	if !res.Ended {
		return err
	}
	said := f.j.conclude(&res.Report, f.j.Config.Run.AwaitTimeout, nil)
	if !OutcomeOf(said).Finished() {
		return said
	}
	f.looked(&res.Report)
	if f.told.Backfill != nil {
		f.told.Backfill(*res, said)
	}
	now := time.Now()
	f.until = now.Add(now.Sub(f.last))
	return f.mark(ctx, true)
}

// renew makes the store's state that of a new run, which looks at all documents again; the streams stay where they are.
func (f *follower) renew(ctx context.Context) (runID string, err error) {
	if err := f.mark(ctx, false); err != nil {
		return "", err
	}
	info := f.st.Info()
	info = store.Info{Job: info.Job, RunID: uuid.NewString(), Scope: info.Scope, Config: info.Config, Follows: true}
	if err := f.st.Begin(ctx, info); err != nil {
		return "", fmt.Errorf("keeping the state of the run: %w", err)
	}
	return info.RunID, nil
}

// follow follows the streams until the drain, or until all documents are to be looked at again.
func (f *follower) follow(ctx context.Context, o *Options) (again *Reconcile, err error) {
	pause, due := make(chan struct{}), Cause("")
	waiting, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var at <-chan time.Time
		if !f.again.IsZero() {
			from := time.Now()
			if f.until.After(from) {
				from = f.until
			}
			at = time.After(time.Until(f.again.Next(f.last, from)))
		}
		select {
		case <-o.Drain:
		case <-at:
			due = CauseSchedule
		case <-f.asks():
			due = CauseRequest
		case <-waiting.Done():
		}
		close(pause)
	}()
	eo := o.Options
	eo.Drain, eo.DryRun, eo.Index, eo.Ahead = pause, nil, nil, true
	if commit := f.p.Source.Abilities().Stream.Commit; commit != nil {
		eo.Checkpoints = committing{eo.Checkpoints, f.streams, commit}
	}
	if confirm := f.p.Source.Abilities().Stream.Confirm; confirm != nil {
		eo.Checkpoints = &confirming{Checkpoints: eo.Checkpoints, streams: f.streams, confirm: confirm, told: make([]time.Time, len(f.streams))}
	}
	e := engine.New(eo)
	shown := &streaming{engine: e, runID: o.RunID, since: time.Now()}
	preparing, stopPreparing := wait.Grace(ctx, o.Drain, drainGrace, nil)
	err = e.Prepare(preparing)
	stopPreparing()
	if err == nil {
		if f.told.Began != nil {
			var streams []syncd.Stream
			for _, s := range f.streams {
				streams = append(streams, s.Stream)
			}
			f.told.Began(streams)
		}
		unshown := f.show(waiting, o.Monitor, shown)
		switched := f.switchBehind(waiting, shown)
		err = e.Follow(ctx, f.streams)
		switched()
		unshown()
	}
	stop()
	<-ended
	for i, state := range e.Reached() {
		f.streams[i].State = state
	}
	var gone *syncd.CollectionGoneError
	streamed, _ := errors.AsType[*engine.StreamError](err)
	switch {
	case err == nil && due == "":
		return nil, nil //nolint:nilnil // it was drained
	case err == nil:
		return &Reconcile{Cause: due}, nil
	case errors.Is(err, syncd.ErrPositionLost) && streamed != nil:
		switch policy := f.j.Config.Stream.OnPositionLost; {
		case f.only && policy != config.PositionContinue:
			return nil, syncd.Hint(err, "changes were lost: have a job that reads the database look at all documents; stream.on_position_lost: continue goes on with what is still there")
		case policy == config.PositionFail:
			return nil, syncd.Hint(err, "stream.on_position_lost: reconcile looks at all documents and goes on; it sends only what the index lacks")
		}
		return &Reconcile{CausePositionLost, streamed.Stream, err}, nil
	case errors.As(err, &gone) && streamed != nil:
		for i := range f.streams {
			if f.streams[i].Name == streamed.Stream {
				f.streams[i].State.After = gone.After
			}
		}
		return &Reconcile{CauseCollectionGone, streamed.Stream, err}, nil
	}
	return nil, err
}

// asks is where somebody asks for a look at all documents; nil where there are none to look at.
func (f *follower) asks() <-chan struct{} {
	if f.only {
		return nil
	}
	return f.asked
}

// confirmEvery is how often a source is told how far its streams are durably kept, at least.
const confirmEvery = 10 * time.Second

// confirming tells the source what of its streams is durably kept. What a stream without changes has come to would be kept in no
// hurry, so that is made durable now and then: the source's server may keep everything that happens elsewhere until it hears of it.
type confirming struct {
	store.Checkpoints
	streams []engine.Following
	confirm func(syncd.Stream, syncd.Offset)
	told    []time.Time // aligned with streams; the engine keeps one at a time
}

// Split implements store.Checkpoints.
func (c *confirming) Split(ctx context.Context, collection string, s store.Split, durable bool) error {
	i := slices.IndexFunc(c.streams, func(f engine.Following) bool { return store.StreamOf(f.Name) == collection })
	if i < 0 {
		return c.Checkpoints.Split(ctx, collection, s, durable)
	}
	durable = durable || time.Since(c.told[i]) >= confirmEvery
	if err := c.Checkpoints.Split(ctx, collection, s, durable); err != nil {
		return err
	}
	if durable {
		c.told[i] = time.Now()
		c.confirm(c.streams[i].Stream, s.After)
	}
	return nil
}

// committing has the source's own servers keep how far its streams were read, beside the store. What they keep is the truth.
type committing struct {
	store.Checkpoints
	streams []engine.Following
	commit  func(ctx context.Context, s syncd.Stream, at syncd.Offset) error
}

// Split implements store.Checkpoints.
func (c committing) Split(ctx context.Context, collection string, s store.Split, durable bool) error {
	for _, of := range c.streams {
		if store.StreamOf(of.Name) != collection {
			continue
		}
		if err := c.commit(ctx, of.Stream, s.After); err != nil {
			return fmt.Errorf("committing how far %s was read: %w", of.Name, err)
		}
	}
	return c.Checkpoints.Split(ctx, collection, s, durable)
}

// windowEvery is how often a source is asked how far its record of changes reaches.
const windowEvery = 15 * time.Second

// show has the monitor show what is followed; the function that it returns is to be called when that ends.
func (f *follower) show(ctx context.Context, m *Monitor, s *streaming) (stop func()) {
	if m == nil {
		return func() {}
	}
	m.stream.Store(s)
	m.meter.uses(s.engine.Stages)
	ctx, cancel := context.WithCancel(ctx)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		f.watchWindow(ctx, s)
	}()
	return func() {
		cancel()
		<-asked
		s.paused.Store(true)
	}
}

// watchWindow asks the source for its window until ctx ends. Where it can't tell, that is said once.
func (f *follower) watchWindow(ctx context.Context, s *streaming) {
	window := f.p.Source.Abilities().Stream.Window
	if window == nil {
		return
	}
	said := false
	for {
		var all syncd.Window
		for _, stream := range f.streams {
			var w syncd.Window
			err := panics.Caught(func() (err error) { w, err = window(ctx, stream.Stream); return err })()
			if err != nil {
				if ctx.Err() == nil && !said && !errors.Is(err, syncd.ErrUnavailable) {
					said = true
					f.j.Logger.Info("the source does not tell how far back its record of changes reaches", "error", err.Error(), "hint", syncd.HintOf(err))
				}
				continue
			}
			all.Retained += w.Retained
			if all.First.IsZero() || w.First.After(all.First) {
				all.First = w.First
			}
			if w.Last.After(all.Last) {
				all.Last = w.Last
			}
		}
		s.window.Store(&all)
		if wait.Pause(ctx, windowEvery) != nil {
			return
		}
	}
}

// outages is how long a job that follows waits between two attempts while a server is down.
var outages = retry.Policy{First: time.Second, Max: 30 * time.Second, Jitter: 0.5}

// steady is for how long a job must have followed for the next outage to begin with short pauses again.
const steady = time.Minute

// looks is how often all documents are looked at where others' deletes and inserts keep it from being proved that all were seen.
const looks = 5

// followOn is Backfill for a job that follows. Once it has begun to follow, servers that are down do not end it: it closes
// everything, and opens it again until they are back, which is the way back from every state that a crash could leave as well.
func (j *Job) followOn(ctx context.Context, q Request, res *Result, do func(*Job, context.Context, Request, *Result) error) error {
	pauses := retry.Pauses{Policy: outages}
	var outage contact.Pace
	var began, failed time.Time // last
	unproved := 0
	told := q.Following.Began
	q.Following.Began = func(streams []syncd.Stream) {
		if began.IsZero() {
			if told != nil {
				told(streams)
			}
		} else {
			args := []any{}
			if lasted, was := outage.Over(); was {
				args = append(args, "after", lasted)
			}
			j.Logger.Info("following again", args...)
		}
		began = time.Now()
		unproved = 0
	}
	for {
		if !began.IsZero() {
			q.connecting = func([]string) {} // the outage is told of
		}
		err := do(j, ctx, q, res)
		coverage, lacks := errors.AsType[*tally.CoverageError](err)
		q.anew = lacks
		if lacks && unproved+1 < looks && ctx.Err() == nil && !isDrained(j.Drain) {
			// To go on behind what was not proved would fail on the same counts.
			unproved++
			if q.Monitor != nil {
				q.Monitor.replace()
			}
			j.Logger.Warn("can't prove that every document was seen, perhaps for others' writes: looking at all documents again", "error", coverage.Error())
			q.Fresh, q.Observer = nil, Observer{CollectionDone: q.Observer.CollectionDone}
			continue
		}
		if began.IsZero() || !errors.Is(err, syncd.ErrUnavailable) || ctx.Err() != nil || isDrained(j.Drain) {
			return err
		}
		if began.After(failed) && time.Since(began) > steady {
			pauses.Reset()
		}
		failed = time.Now()
		if q.Monitor != nil && !res.Ended { // it came within a reconcile
			q.Monitor.replace()
		}
		pause := pauses.Next()
		if lasted, due := outage.Due(); due {
			args := []any{"error", err.Error(), "again in", pause.Round(100 * time.Millisecond).String(), "for", lasted}
			if hint := syncd.HintOf(err); hint != "" {
				args = append(args, "hint", hint)
			}
			j.Logger.Warn("can't follow: trying again until it works", args...)
		}
		waiting, stop := wait.Drained(ctx, j.Drain)
		ended := wait.Pause(waiting, pause)
		stop()
		if ended != nil {
			return ctx.Err()
		}
		if c := *j.Config; c.Run.OnCheckUnavailable == config.OutageFull {
			// That is meant for the start of a run: an outage of the index as well must not send every document.
			c.Run.OnCheckUnavailable = config.OutageWait
			again := *j
			again.Config = &c
			j = &again
		}
		q.Fresh, q.Observer = nil, Observer{CollectionDone: q.Observer.CollectionDone}
	}
}

func isDrained(drain <-chan struct{}) bool {
	select {
	case <-drain:
		return true
	default:
		return false
	}
}
