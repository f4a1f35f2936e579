package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/syncd-io/syncd"
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

	StopOnFailure bool          // the first document that can't be handled ends the run
	WaitTimeout   time.Duration // for the index to show what was sent; 0 does not wait

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

	observe sync.Mutex // serialises the Observer and Item
	events  eventLimit
	started time.Time
}

type batch struct {
	split   *split
	col     *collection
	records []syncd.Record
	read    time.Time // no later than the records were read
}

// Run executes one run. The report is always filled in as far as the run came. The error is nil when every collection was
// read to its end and proved; document errors are not an error but are counted. A drained run has no error and
// Report.Interrupted; a run whose ctx ended returns ctx's error.
func Run(ctx context.Context, o Options) (Report, error) {
	r := &run{Options: o, events: eventLimit{max: o.Guards.MaxEvents}, batches: make(chan *batch), splits: make(chan *split), limits: newThrottle(o.Limits)}
	r.started = time.Now()
	if r.Readers == 0 {
		r.Readers = max(2, runtime.GOMAXPROCS(0))
	}
	if r.Workers == 0 {
		r.Workers = max(8, 4*runtime.GOMAXPROCS(0)) // they mostly wait for servers
	}
	rep := Report{RunID: o.RunID, Started: time.Now(), DryRun: o.DryRun, Full: o.Checker == nil}

	if insp, ok := o.Checker.(syncd.Inspector); ok {
		index, err := insp.Inspect(ctx)
		if err != nil {
			return rep, fmt.Errorf("looking at the index: %w", err)
		}
		rep.Index.Known, rep.Index.Before, rep.Index.After = true, index, index
	}
	if p, ok := o.Sink.(syncd.Preparer); ok && !o.DryRun {
		targets := make([]syncd.Target, len(o.Rules))
		for i, rule := range o.Rules {
			targets[i] = rule.Target()
		}
		if err := p.Prepare(ctx, targets); err != nil {
			return rep, fmt.Errorf("preparing the sink: %w", err)
		}
	}
	if err := r.checkAbilities(); err != nil {
		return rep, err
	}
	r.Observer.Started(rep.Index, rep.Full)

	sendsAll := rep.Full || rep.Index.Known && rep.Index.Before.Points <= emptyIndex
	for _, rule := range o.Rules {
		c := &collection{rule: rule, before: -1, whole: sendsAll && !o.DryRun}
		if sendsAll {
			c.ratio = 1
		}
		r.collections = append(r.collections, c)
	}

	err := r.preflight(ctx)
	if err == nil {
		err = r.flow(ctx)
	}
	rep.Scanning = time.Since(rep.Started)
	for _, c := range r.collections {
		if !c.closed { // by a drain or an error
			c.close(false, -1)
		}
		rep.Collections = append(rep.Collections, c.report)
		rep.Total.add(c.counts)
	}
	rep.Interrupted = r.draining()
	if err == nil && !rep.Interrupted && r.Checker != nil && r.Orphans != OrphansOff && r.Orphans != "" {
		err = r.findOrphans(ctx, &rep)
		if rep.Interrupted = r.draining(); rep.Interrupted && ctx.Err() == nil {
			err = nil
		}
	}
	if err == nil && !rep.Interrupted {
		r.awaitIndex(ctx, &rep)
	}
	rep.Duration = time.Since(rep.Started)
	return rep, err
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
	for range r.Workers {
		g.Go(func() error {
			w := newWorker(r)
			for b := range r.batches {
				if err := w.process(ctx, b); err != nil {
					return err
				}
				if err := r.release(ctx, b.split); err != nil {
					return err
				}
			}
			return nil
		})
	}
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
	done, err := s.release()
	if err != nil {
		return err
	}
	if !done {
		return nil
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
	if counter, ok := r.Source.(syncd.Counter); ok && c.found && c.counts.Scanned < c.before {
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
	r.observe.Lock()
	defer r.observe.Unlock()
	r.Observer.CollectionDone(rep)
	return nil
}
