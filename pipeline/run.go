package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/event"
	"github.com/syncd-io/syncd/mapping"
)

// Options is what a run needs. All plugins are open and stay the caller's to close.
type Options struct {
	RunID   string
	Source  syncd.Source
	Checker syncd.Checker // nil: every document is sent without asking, with reason full
	Sink    syncd.Sink    // nil in a dry run
	Rules   []*mapping.Rule

	DryRun     bool
	BatchSize  int           // documents, at least 1
	BatchBytes int           // bytes of whole documents per batch and of events per write, at least 1
	Sleep      time.Duration // after each batch of a reader
	Readers    int           // 0: automatic
	Workers    int           // 0: automatic
	Limits     Limits

	Orphans        OrphanMode
	PlannedOrphans []Orphan      // prune these rather than look for orphans; nil looks for them
	Tombstones     bool          // deletes have no value, rather than an event
	MinAge         time.Duration // documents that changed within it are left alone, where a rule knows when they did
	Guards         Guards
	Sample         float64      // look only at this share of the documents of a dry run, above 0 and below 1; 0 looks at all
	Measure        int          // encode up to so many events of each batch of a dry run, to learn their size
	Item           func(Item)   // is told every document that was looked at, one at a time; nil is told nothing
	Sent           func([]Sent) // is told what the sink confirmed, possibly concurrently; it must not keep the slice
	Ledger         Ledger       // remembers what was sent and never appeared; nil remembers nothing
	// Failed is told every document that can't be handled, possibly concurrently; nil is told nothing.
	Failed func(collection string, f Failure)

	StopOnFailure bool          // the first document that can't be handled ends the run
	MaxFailures   int64         // documents that may fail before the run ends; 0 is no limit
	DeadLetters   syncd.Sink    // takes the documents that can't be sent; nil only counts and names them
	Oversize      Oversize      // "" is OversizeDLQ
	WaitForIndex  bool          // an index that can't be asked any more is asked again for as long as it takes
	WaitTimeout   time.Duration // for the index to show what was sent; 0 does not wait

	Events  event.Encoder // writes the events; the zero value writes plain ones
	Journal Journal       // keeps how far the run came; nil keeps nothing
	Commit  bool          // each batch and how far it goes are committed by the sink as one; needs a Journal and a syncd.Committer

	Monitor    *Monitor          // shows the run while it goes on; nil shows nothing
	Tracer     Tracer            // follows the batches; nil follows none
	BatchDone  func(BatchReport) // is told of every batch that was handled, possibly concurrently; nil is told nothing
	StallAfter time.Duration     // without any progress a run is reported to stand still; 0 never reports it

	Drain    <-chan struct{} // closed: read no more, finish what is under way, and return; nil never does
	Observer Observer
	Logger   *slog.Logger
}

// Observer is told how a run goes. Its methods are called one at a time, from the engine's goroutines.
type Observer interface {
	// Started is called once, when the index was looked at and before anything is read.
	Started(index IndexReport, full bool)
	// CollectionDone is called when a collection is complete, in any order of collections.
	CollectionDone(r CollectionReport)
}

// ErrStopped is the cause of a run that a document error ended because of StopOnFailure.
var ErrStopped = errors.New("stopped at the first document that can't be handled")

// emptyIndex is how many points an index may hold and still be scanned for whole documents from the start.
const emptyIndex = 0

type run struct {
	Options
	collections []*collection
	batches     chan *batch
	splits      chan *split
	limits      throttle

	observe   sync.Mutex // serialises the Observer and Item
	events    eventLimit
	failures  failureLimit
	started   time.Time
	committer syncd.Committer               // nil: the sink is written to, and the journal follows
	committed map[string]map[int]SplitState // what was committed before, by collection and split
	anew      bool                          // nothing is gone on with, whatever the journal has
	// window holds a token for each batch that was read and whose split has not yet moved on past it: so many may be repeated
	// after a crash.
	window chan struct{}
	moves  chan movement // splits whose state is to be kept

	phase   atomic.Int32
	bytes   atomic.Int64
	moved   atomic.Int64 // when something was last handled, in ns
	stalled atomic.Bool
	working [StageCount]atomic.Int64
	times   [StageCount]atomic.Int64
}

type batch struct {
	split   *split
	number  int // in the split, from 0
	col     *collection
	records []syncd.Record
	read    time.Time     // no later than the records were read
	took    time.Duration // that the source needed
}

// Run executes one run. The report is always filled in as far as the run came. The error is nil when every collection was
// read to its end and proved; document errors are not an error but are counted. A drained run has no error and
// Report.Interrupted; a run whose ctx ended returns ctx's error.
func Run(ctx context.Context, o Options) (Report, error) {
	r := &run{
		Options: o, events: eventLimit{max: o.Guards.MaxEvents}, failures: failureLimit{max: o.MaxFailures},
		batches: make(chan *batch), splits: make(chan *split), limits: newThrottle(o.Limits), started: time.Now(),
	}
	if r.Readers == 0 {
		r.Readers = max(2, runtime.GOMAXPROCS(0))
	}
	if r.Workers == 0 {
		r.Workers = max(8, 4*runtime.GOMAXPROCS(0)) // they mostly wait for servers
	}
	r.window = make(chan struct{}, 2*r.Workers)
	r.moves = make(chan movement, cap(r.window))
	for _, rule := range o.Rules {
		r.collections = append(r.collections, &collection{rule: rule, before: -1})
	}
	r.move()
	if o.Monitor != nil {
		o.Monitor.run.Store(r)
	}
	rep := Report{RunID: o.RunID, Started: r.started, DryRun: o.DryRun, Full: o.Checker == nil}
	err := r.execute(ctx, &rep)
	r.phase.Store(int32(PhaseEnd))
	rep.Bytes = r.bytes.Load()
	for i := range rep.Times {
		rep.Times[i] = time.Duration(r.times[i].Load())
	}
	rep.Duration = time.Since(rep.Started)
	return rep, err
}

// execute goes through the phases of a run.
func (r *run) execute(ctx context.Context, rep *Report) error {
	if err := r.prepare(ctx, rep); err != nil {
		return err
	}
	r.Observer.Started(rep.Index, rep.Full)
	sendsAll := rep.Full || rep.Index.Known && rep.Index.Before.Points <= emptyIndex
	for _, c := range r.collections {
		c.whole = sendsAll && !r.DryRun
		if sendsAll {
			c.ratio = 1
		}
	}
	stop := r.watching(ctx)
	err := r.preflight(ctx)
	if err == nil {
		r.phase.Store(int32(PhaseRead))
		err = r.flow(ctx)
	}
	rep.Scanning = time.Since(rep.Started)
	for _, c := range r.collections {
		if !c.closed { // by a drain or an error
			c.close(false, -1)
		}
		rep.Collections = append(rep.Collections, c.report)
		rep.Total.Add(c.counts)
		rep.Resumed += c.resumed.Scanned
	}
	rep.Interrupted = r.draining()
	if err == nil && !rep.Interrupted && r.Checker != nil && r.Orphans != OrphansOff && r.Orphans != "" {
		r.phase.Store(int32(PhaseOrphans))
		err = r.findOrphans(ctx, rep)
		if rep.Interrupted = r.draining(); rep.Interrupted && ctx.Err() == nil {
			err = nil
		}
	}
	stop()
	if err == nil && !rep.Interrupted {
		if err = r.forgetCommitted(ctx); err == nil {
			r.phase.Store(int32(PhaseWait))
			r.awaitIndex(ctx, rep)
		}
	}
	return err
}

// prepare finds out what there is to work with, before anything is read.
func (r *run) prepare(ctx context.Context, rep *Report) error {
	if insp, ok := r.Checker.(syncd.Inspector); ok {
		index, err := insp.Inspect(ctx)
		if err != nil {
			return fmt.Errorf("looking at the index: %w", err)
		}
		rep.Index.Known, rep.Index.Before, rep.Index.After = true, index, index
	}
	targets := make([]syncd.Target, len(r.Rules))
	for i, rule := range r.Rules {
		targets[i] = rule.Target()
	}
	if p, ok := r.Sink.(syncd.Preparer); ok && !r.DryRun {
		if err := p.Prepare(ctx, targets); err != nil {
			return fmt.Errorf("preparing the sink: %w", err)
		}
	}
	if p, ok := r.DeadLetters.(syncd.Preparer); ok && !r.DryRun {
		if err := p.Prepare(ctx, targets); err != nil {
			return fmt.Errorf("preparing the dead letters: %w", err)
		}
	}
	if err := r.checkAbilities(); err != nil {
		return err
	}
	if err := r.recallCommitted(ctx); err != nil {
		return err
	}
	return r.recall(ctx, rep.Index)
}

// watching runs the watchdog until stop, which must be called and leaves no goroutine behind.
func (r *run) watching(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var dog sync.WaitGroup
	dog.Go(func() { r.watch(ctx) })
	return func() {
		cancel()
		dog.Wait()
		r.stalled.Store(false) // nobody would take it back
	}
}

// draining reports whether the run was asked to end early.
func (r *run) draining() bool {
	select {
	case <-r.Drain:
		return true
	default:
		return false
	}
}

// flow runs the planner, the readers and the workers to their end. The first error cancels all of them.
func (r *run) flow(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	reading, stopReading := r.untilDrained(ctx)
	defer stopReading()

	// A drained reader ends with its context's error, which is not the run's.
	stopped := func(err error) error {
		if err != nil && reading.Err() != nil && ctx.Err() == nil {
			return nil
		}
		return err
	}

	g.Go(func() error {
		defer close(r.splits)
		return stopped(r.plan(reading))
	})
	g.Go(func() error {
		defer close(r.batches)
		readers := errgroup.Group{}
		for range r.Readers {
			readers.Go(func() error {
				err := stopped(r.read(reading))
				if err != nil {
					stopReading()
				}
				return err
			})
		}
		return readers.Wait()
	})
	var working sync.WaitGroup
	for range r.Workers {
		working.Add(1)
		g.Go(func() error {
			defer working.Done()
			w := newWorker(r)
			for b := range r.batches {
				if err := w.process(ctx, b); err != nil {
					return err
				}
				r.move()
				if err := r.release(ctx, b.split); err != nil {
					return err
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		working.Wait()
		close(r.moves)
		return nil
	})
	g.Go(r.keepPositions)
	return g.Wait()
}

// untilDrained returns a context that ends with ctx, when the run is asked to end early, or by stop, which must be called
// and leaves no goroutine behind.
func (r *run) untilDrained(ctx context.Context) (drained context.Context, stop func()) {
	drained, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-r.Drain:
			cancel()
		case <-drained.Done():
		}
	})
	return drained, func() { cancel(); watch.Wait() }
}

// release ends one hold on a split: its reading, or one of its batches. Whoever ends the last one proves the split.
func (r *run) release(ctx context.Context, s *split) error {
	done, state, err := s.release()
	if err != nil {
		return err
	}
	if !done {
		return nil
	}
	if r.Journal != nil {
		// At the end the marks are forgotten: by then the file must say that there is nothing left to do.
		if err := s.keepDone(r.Journal, state, r.committer != nil); err != nil {
			return keeping(err)
		}
	}
	return r.releaseCollection(ctx, s.col)
}

// releaseCollection ends one hold on a collection: its planning, or one of its splits. Whoever ends the last one completes
// it.
func (r *run) releaseCollection(ctx context.Context, c *collection) error {
	if !c.release() {
		return nil
	}
	return r.complete(ctx, c)
}

// complete counts again where that is needed, proves the collection and reports it.
func (r *run) complete(ctx context.Context, c *collection) error {
	after := int64(-1)
	if counter, ok := r.Source.(syncd.Counter); ok && c.found && !c.proved && c.counts.Scanned < c.before {
		n, err := counter.Count(ctx, c.rule.Collection)
		switch {
		case errors.Is(err, syncd.ErrCollectionNotFound):
			n = 0
		case err != nil:
			return fmt.Errorf("counting collection %s after its scan: %w", c.rule.Collection.Name, err)
		}
		after = n
	}
	rep := c.close(true, after)
	if err := rep.prove(); err != nil {
		c.report.Complete = false
		return err
	}
	if r.Journal != nil {
		if err := r.Journal.Collection(c.rule.Collection.Name, c.state(true, true), false); err != nil {
			return keeping(err)
		}
	}
	r.observe.Lock()
	defer r.observe.Unlock()
	r.Observer.CollectionDone(rep)
	return nil
}
