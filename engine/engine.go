package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/contact"
	"github.com/syncd-io/syncd/internal/panics"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/internal/wait"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/verdict"
)

// Engine runs the feeds of one run. Its methods are called one after another, in the order Prepare, Backfill, Delete, Follow;
// Snapshot may be called at any time.
type Engine struct {
	Options
	documents feed
	orphans   feed
	streams   atomic.Pointer[[]*split]      // that are followed; nil follows none
	deleting  atomic.Pointer[[]*collection] // of the orphans, for a snapshot; nil before they are deleted
	followed  map[string]*followed          // the streams' collections, by name; set before streams
	merged    atomic.Int64                  // changes of streams that were left out for a later one of the same document

	route     func(syncd.Target) string // nil: the sink has no names for where changes go
	committer store.Committer           // nil: the sink is written to, and the checkpoints follow
	forgetful bool                      // nothing is resumed, whatever the store has
	places    map[string]string         // their identities, by name

	waiting  *contact.Contact // for an index that can't be asked; nil does not wait
	events   eventLimit
	failures failurePolicy
	throttle throttle
	activity activity
	bytes    atomic.Int64
	filters  atomic.Int64 // words that are left for finding collisions
	held     budget       // documents and ids that were read
	sending  budget       // documents that are being written
	telling  sync.Mutex   // serialises the hooks that are called one at a time
	// inFlight holds a slot for each batch that was read and whose split has not yet advanced past it: so many may be repeated
	// after a crash.
	inFlight chan struct{}
	under    under
}

// feed is a source, the splits that are read of it, and what their batches go through.
type feed struct {
	source      syncd.Source
	collections []*collection  // that are read to their ends; a feed of streams has none
	stages      func() []stage // for one worker

	plan func(ctx, reading context.Context, out chan<- *split) error // hands out all splits
	// read reads a split. Where it keeps changes before it yields them, held is told of their bytes, by the goroutine that reads.
	read    func(ctx context.Context, req syncd.ReadRequest, held func(bytes int64)) iter.Seq2[syncd.Batch, error]
	readers int
	lanes   int                     // the workers of one lane share its batches
	divide  func(b *batch) []*batch // what was read, by lanes
}

// snapshot completes a feed whose collections are read to their ends: each batch goes to whichever worker is free.
func (e *Engine) snapshot(f *feed) *feed {
	f.plan = func(ctx, reading context.Context, out chan<- *split) error {
		p := planner{e: e, feed: f, out: out}
		return p.run(ctx, reading)
	}
	f.read = func(ctx context.Context, req syncd.ReadRequest, _ func(int64)) iter.Seq2[syncd.Batch, error] {
		return f.source.Read(ctx, req)
	}
	f.readers, f.lanes = e.Readers, 1
	f.divide = func(b *batch) []*batch { return []*batch{b} }
	return f
}

// New makes an engine. It starts nothing.
func New(o Options) *Engine {
	e := &Engine{
		Options: o, committer: committerOf(o.Checkpoints), events: eventLimit{max: o.Limits.MaxEvents, granted: o.Limits.Granted, asking: make(chan struct{}, 1)},
		failures: failurePolicy{
			stop: o.StopOnFailure, max: o.MaxFailures, oversize: o.Oversize, deadLetters: o.DeadLetters != nil && o.DryRun == nil, told: o.Hooks.Failed,
		},
	}
	if e.Readers == 0 {
		e.Readers = max(2, runtime.GOMAXPROCS(0))
	}
	if e.Workers == 0 {
		e.Workers = max(8, 4*runtime.GOMAXPROCS(0)) // they mostly wait for servers
	}
	if e.Sink != nil {
		e.route = e.Sink.Abilities().Route
	}
	e.filters.Store(collisionWords)
	if o.Memory.PointIDs > 0 {
		e.filters.Store(o.Memory.PointIDs / bytesAWord)
	}
	e.held.most, e.sending.most = o.Memory.Documents, o.Memory.Sending
	if most := o.Memory.Documents; most > 0 {
		e.BatchBytes = max(1, min(e.BatchBytes, int(most/portions)))
	}
	if o.WaitForIndex {
		e.waiting = contact.New(contact.Config{
			Log: o.Logger, Server: "the index", Verb: "asked", Trying: "each question again until it is answered (run.on_check_unavailable: wait)",
			Once: true, // the checker tells that it lasts
		})
	}
	e.throttle = newThrottle(o.Limits, e.activity.move)
	e.inFlight = make(chan struct{}, 2*e.Workers)
	e.documents = feed{source: o.Source, stages: e.stages}
	e.orphans = feed{stages: e.deleteStages}
	for _, rule := range o.Rules {
		c := newCollection(rule, false)
		if e.sendsAll() && o.DryRun == nil {
			c.expectAll()
		} else if e.sendsAll() {
			c.ratio = 1
		}
		e.documents.collections = append(e.documents.collections, c)
	}
	e.activity.move()
	return e
}

// sendsAll reports whether every document is to be sent, as far as is known before the first is read.
func (e *Engine) sendsAll() bool {
	return e.Checker == nil || e.Index != nil && e.Index.Points == 0
}

// Prepare finds out what there is to work with, before anything is read. Places are made for collections that are there: a wrong
// database is to leave none behind.
func (e *Engine) Prepare(ctx context.Context) error {
	run := syncd.Run{ID: e.RunID}
	for _, s := range e.Stages {
		if v := s.Abilities().Vectors; v != nil {
			run.Vectors = v
		}
	}
	if err := e.lookFor(ctx); err != nil {
		return err
	}
	for _, c := range e.documents.collections {
		if !c.absent {
			run.Targets = append(run.Targets, c.target)
		}
	}
	for _, s := range []struct {
		sink syncd.Sink
		what string
	}{{e.Sink, "the sink"}, {e.DeadLetters, "the dead letters"}} {
		if s.sink == nil || e.DryRun != nil {
			continue
		}
		if prepare := s.sink.Abilities().Prepare; prepare != nil {
			if err := prepare(ctx, run); err != nil {
				return fmt.Errorf("preparing %s: %w", s.what, err)
			}
		}
	}
	if err := e.identifyPlaces(ctx); err != nil {
		return err
	}
	if err := verdict.CheckAbilities(e.Rules, e.Checker); err != nil {
		return err
	}
	return e.recall(ctx)
}

// lookFor notes which collections the source does not have. A list may be incomplete, so it is asked about each that is not in it; where
// there is no list, all count as there.
func (e *Engine) lookFor(ctx context.Context) error {
	if e.Ahead || e.Sink == nil || e.DryRun != nil || e.Sink.Abilities().Prepare == nil {
		return nil
	}
	can := e.Source.Abilities()
	if can.Collections == nil {
		return nil
	}
	names, err := can.Collections(ctx)
	if err != nil {
		e.Logger.Debug("the source's collections can't be listed", "error", err)
		return ctx.Err() // a login may be allowed to read and not to list
	}
	listed := make(map[string]bool, len(names))
	for _, name := range names {
		listed[name] = true
	}
	for _, c := range e.documents.collections {
		if listed[c.rule.Collection.Name] {
			continue
		}
		switch {
		case can.Estimate != nil:
			_, _, err = can.Estimate(ctx, c.rule.Collection)
		case can.Count != nil:
			_, err = can.Count(ctx, c.rule.Collection)
		}
		c.absent = errors.Is(err, syncd.ErrCollectionNotFound)
	}
	return ctx.Err()
}

// recall looks at what the run did before it was interrupted. It counts against the run's limits, which a resumed run must not
// exceed either. Where the index holds fewer points by now than documents were found in it, what it said then is not true any
// more, so nothing of the run is resumed.
func (e *Engine) recall(ctx context.Context) error {
	if e.Checkpoints == nil {
		return nil
	}
	var present int64
	var known []string
	for _, rule := range e.Rules {
		for _, name := range []string{rule.Collection.Name, store.DeletesOf(rule.Collection.Name)} {
			s := e.Checkpoints.Recall(name)
			if s == nil {
				continue
			}
			known = append(known, name)
			n := s.Counts()
			e.events.sent.Add(n.Emitted)
			e.failures.seen.Add(n.Failed())
			if name == rule.Collection.Name {
				present += n.Present + n.Overtaken
			}
		}
	}
	if e.forgetful = e.Index != nil && e.Index.Points < present; !e.forgetful {
		return nil
	}
	e.Logger.Warn("the index holds less than the interrupted run found in it: every document is looked at again",
		"points", e.Index.Points, "found", present)
	e.failures.seen.Store(0) // they are met again
	for _, name := range known {
		// All at once: a run that is interrupted again, before it comes to the last of them, must not resume that one.
		if err := e.Checkpoints.Collection(ctx, name, store.Collection{Found: true, Before: -1}, true); err != nil {
			return keeping(err)
		}
	}
	return nil
}

// Backfill reads all collections and delivers what the index lacks. The error is nil when every collection was read to its end
// and proved; document errors are counted, not an error. A drained run has no error; one whose ctx ended returns ctx's error.
func (e *Engine) Backfill(ctx context.Context) error {
	if e.Shared != nil {
		return e.share(ctx)
	}
	return e.run(ctx, e.snapshot(&e.documents))
}

// Delete delivers the delete changes of a source, for whose collections the rules are. It looks once more, right before
// a change is sent, whether the document is still gone, which takes the Find ability of Options.Source.
func (e *Engine) Delete(ctx context.Context, orphans syncd.Source) error {
	if e.Source.Abilities().Find == nil {
		return errors.New("the source can't find documents by their ids")
	}
	e.orphans.source = orphans
	for _, rule := range e.Rules {
		c := newCollection(rule, true)
		c.sunk = e.places[e.placeOf(c)]
		e.orphans.collections = append(e.orphans.collections, c)
	}
	e.deleting.Store(&e.orphans.collections)
	return e.run(ctx, e.snapshot(&e.orphans))
}

// Watch warns of a run that does not advance for StallAfter, and says what it waits for; phase says it in words where no batch is
// under way. stop must be called and leaves no goroutine behind.
func (e *Engine) Watch(ctx context.Context, phase func() string) (stop func()) {
	return e.activity.watch(ctx, e.StallAfter, e.Logger, phase)
}

// Advanced notes that the run advanced, for what it does beside the engine. It is safe for concurrent use.
func (e *Engine) Advanced() { e.activity.move() }

// Report says what was done so far.
func (e *Engine) Report() Report {
	r := Report{Bytes: e.bytes.Load()}
	for i := range r.Times {
		r.Times[i] = time.Duration(e.activity.times[i].Load())
	}
	for _, c := range e.documents.collections {
		report := c.finalReport()
		r.Collections = append(r.Collections, report)
		r.Total.Add(report.Counts)
		r.Resumed += report.Resumed.Scanned
	}
	for _, c := range e.orphans.collections {
		if report := c.finalReport(); report.Scanned > 0 {
			r.Deletes = append(r.Deletes, report)
			r.Deleted.Add(report.Counts)
		}
	}
	return r
}

// grace is how long servers may take to answer when the run is drained and nothing moves any more. What is not confirmed by then
// is left to the next run.
const grace = 2 * time.Second

// run runs the planner, the readers and the workers of a feed to their end. The first error cancels all of them. The drain ends
// reading and pauses at once, and the rest within grace of the last that moved.
func (e *Engine) run(ctx context.Context, f *feed) error {
	g, running := errgroup.WithContext(ctx)
	ctx, stop := wait.Grace(wait.WithDrain(running, e.Drain), e.Drain, grace, e.activity.last)
	defer stop()
	keeping, stopKeeping := wait.Grace(context.WithoutCancel(ctx), e.Drain, grace, e.activity.last)
	defer stopKeeping()
	reading, stopReading := wait.Drained(ctx, e.Drain)
	defer stopReading()

	// What a batch ends with that is left to the next run is not the run's error, and what others do goes on.
	left := func(err error) error {
		if errors.Is(err, context.Canceled) && isClosed(e.Drain) && running.Err() == nil {
			return nil
		}
		return err
	}
	// Neither is what a drained reader ends with: a pause ends with the drain itself, a moment before the reader's context does.
	drained := func(err error) error {
		if err != nil && reading.Err() != nil && running.Err() == nil {
			return nil
		}
		return left(err)
	}

	splits, lanes := make(chan *split), make([]chan *batch, f.lanes)
	for i := range lanes {
		lanes[i] = make(chan *batch)
	}
	checkpoints := make(chan advanced, cap(e.inFlight)) // it has room for all batches in flight
	g.Go(panics.Caught(func() error {
		defer close(splits)
		return drained(f.plan(ctx, reading, splits))
	}))
	g.Go(panics.Caught(func() error {
		defer func() {
			for _, lane := range lanes {
				close(lane)
			}
		}()
		var readers errgroup.Group
		for range f.readers {
			readers.Go(panics.Caught(func() error {
				r := reader{e: e, feed: f, in: splits, out: lanes}
				err := drained(r.run(ctx, reading))
				if err != nil {
					stopReading()
				}
				return err
			}))
		}
		return readers.Wait()
	}))
	var working sync.WaitGroup
	for i := range e.Workers {
		working.Add(1)
		g.Go(panics.Caught(func() error {
			defer working.Done()
			w := worker{e: e, stages: f.stages()}
			for b := range lanes[i%len(lanes)] {
				err := w.process(ctx, b)
				b.share.release()
				switch {
				case err != nil && b.split.stopped():
					err = e.leave(ctx, b.split)
				case err == nil:
					e.advance(b, checkpoints)
					err = e.release(ctx, b.split)
				}
				if err != nil {
					return left(err)
				}
			}
			return nil
		}))
	}
	g.Go(panics.Caught(func() error {
		working.Wait()
		close(checkpoints)
		return nil
	}))
	// What the sink confirmed is kept, whatever ended the run.
	g.Go(panics.Caught(func() error { return left(e.keepCheckpoints(keeping, checkpoints)) }))
	return g.Wait()
}

// advance moves the batch's split on, and has that kept: see keepCheckpoints.
func (e *Engine) advance(b *batch, checkpoints chan<- advanced) {
	e.activity.move()
	n := b.split.handled(b.number, handled{offset: b.offset, counts: b.counts, fails: b.failures, at: b.at, idle: b.idle})
	if e.Checkpoints != nil && n > 0 {
		checkpoints <- advanced{b.split, n}
		return
	}
	for range n {
		<-e.inFlight
	}
}

// release ends one hold on a split: its reading, or one of its batches. Whoever ends the last one proves the split.
func (e *Engine) release(ctx context.Context, s *split) error {
	done, state, err := s.release()
	switch {
	case err != nil:
		return err
	case s.isLeft():
		return e.ended(ctx, s, true)
	case !done:
		return nil
	}
	if e.Checkpoints != nil {
		if err := s.keepDone(ctx, e.Checkpoints, state); err != nil {
			return keeping(err)
		}
	}
	if err := e.ended(ctx, s, false); err != nil {
		return err
	}
	return e.releaseCollection(ctx, s.col)
}

// releaseCollection ends one hold on a collection: its planning, or one of its splits. Whoever ends the last one completes
// it.
func (e *Engine) releaseCollection(ctx context.Context, c *collection) error {
	if !c.release() {
		return nil
	}
	return e.complete(ctx, c)
}

// compare has the documents of a collection compared, of which the source holds about so many; -1 is not known.
func (e *Engine) compare(c *collection, documents int64) {
	if !c.deletes {
		c.compare(newCollisions(e.Source, c.rule, documents, &e.filters, c.account))
	}
}

// complete looks up the last that may collide, counts again where that is needed, proves the collection and reports it.
func (e *Engine) complete(ctx context.Context, c *collection) error {
	after := int64(-1)
	if count := e.Source.Abilities().Count; count != nil && c.found && !c.proved && c.snapshot().Scanned < c.before {
		n, err := count(ctx, c.rule.Collection)
		switch {
		case errors.Is(err, syncd.ErrCollectionNotFound):
			n = 0
		case err != nil:
			return text.Doing(err, "counting collection %s", c.rule.Collection.Name)
		}
		after = n
	}
	if err := e.stillThere(ctx, c); err != nil {
		return err
	}
	if err := c.collisions.settle(ctx); err != nil {
		return fmt.Errorf("collection %s: %w", c.rule.Collection.Name, err)
	}
	rep := c.close(true, after)
	if err := rep.prove(); err != nil {
		c.incomplete()
		return err
	}
	if e.Checkpoints != nil {
		if err := e.Checkpoints.Collection(ctx, c.kept, c.state(true, true), false); err != nil {
			return keeping(err)
		}
	}
	defer close(c.over)
	if c.deletes || e.Hooks.CollectionDone == nil {
		return nil
	}
	e.telling.Lock()
	defer e.telling.Unlock()
	e.Hooks.CollectionDone(rep)
	return nil
}

// placesAtOnce is how many places the sink is asked about side by side.
const placesAtOnce = 64

// identifyPlaces finds out to which places changes go, before anything is read: later on, the sink may wait for its servers, but
// this would not.
func (e *Engine) identifyPlaces(ctx context.Context) error {
	first := map[string]*collection{} // of each place
	for _, c := range e.documents.collections {
		if name := e.placeOf(c); first[name] == nil && !c.absent {
			first[name] = c
		}
	}
	e.places = make(map[string]string, len(first))
	var mu sync.Mutex
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(placesAtOnce)
	for name, c := range first {
		g.Go(panics.Caught(func() error {
			id, err := e.whereTo(within, c)
			mu.Lock()
			defer mu.Unlock()
			e.places[name] = id
			return err
		}))
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, c := range e.documents.collections {
		c.sunk = e.places[e.placeOf(c)]
	}
	return nil
}

// whereTo is the identity of the place to which a collection's changes go; "" where it can't be told, or nothing is sent.
func (e *Engine) whereTo(ctx context.Context, c *collection) (string, error) {
	if e.Sink == nil || e.DryRun != nil {
		return "", nil
	}
	identity := e.Sink.Abilities().Identity
	if identity == nil {
		return "", nil
	}
	id, err := identity(ctx, c.target)
	if err != nil {
		return "", fmt.Errorf("looking where the events of collection %s go: %w", c.rule.Collection.Name, err)
	}
	return id, nil
}

// stillThere looks, when a collection's events are all confirmed, whether the place that took them is still the same. A sink that
// can't be asked any more has confirmed them all the same.
func (e *Engine) stillThere(ctx context.Context, c *collection) error {
	if c.sunk == "" || c.snapshot().Acked == 0 {
		return nil
	}
	now, err := e.whereTo(ctx, c)
	switch {
	case errors.Is(err, syncd.ErrUnavailable):
		e.Logger.Warn("can't look whether the place of the events is still the same", "place", e.placeOf(c), "error", err)
		return nil
	case err != nil:
		return err
	case differ(c.sunk, now):
		return syncd.Hint(fmt.Errorf("sending events of collection %s: %s was deleted and made anew meanwhile, and what was sent there before is gone", c.rule.Collection.Name, e.placeOf(c)),
			"run it again: it begins this collection from the start")
	}
	return nil
}

// differ says whether two identities are of two places. One that is not known says nothing.
func differ(a, b string) bool { return a != "" && b != "" && a != b }

// placeOf names the place to which a collection's changes go.
func (e *Engine) placeOf(c *collection) string {
	if e.route == nil {
		return c.target.Collection
	}
	return e.route(c.target)
}
