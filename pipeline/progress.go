package pipeline

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// Stage is a part of a batch's way through the engine.
type Stage uint8

// The stages, in a batch's order. Idle is a worker that waits for a batch.
const (
	StageIdle  Stage = iota
	StageScan        // the source is asked for the next batch
	StageCheck       // the index is asked
	StageFetch       // the source is asked for whole documents
	StageWrite       // the sink is to confirm
	StageCount
)

var stageNames = [StageCount]string{"idle", "scan", "check", "fetch", "write"}

// String gives the stage's word.
func (s Stage) String() string { return stageNames[s] }

// waitingFor says what whoever is in a stage waits for.
var waitingFor = [StageCount]string{"a batch", "documents of the source", "the index's answer", "whole documents of the source", "the sink's confirmation"}

// Tracer follows batches through their stages. Its methods are called concurrently.
type Tracer interface {
	// Batch begins a batch's way; end is called once, with what became of it.
	Batch(ctx context.Context, b BatchInfo) (inside context.Context, end func(error))
	// Stage begins one stage inside it.
	Stage(ctx context.Context, s Stage, documents int) (inside context.Context, end func(error))
}

// BatchInfo says which batch a trace is about.
type BatchInfo struct {
	Collection string
	Split      int
	Documents  int
	Scan       time.Time     // when its scan began
	ScanTime   time.Duration // that the source took
}

// BatchReport is one batch that was handled. Its numbers are the batch's own.
type BatchReport struct {
	Collection string
	Counts     Counts
	Bytes      int64 // of events
	Times      [StageCount]time.Duration
}

// Phase is what a run is about.
type Phase int32

// The phases.
const (
	PhaseStart   Phase = iota // looking at the index, preparing the sink
	PhaseRead                 // collections are read
	PhaseOrphans              // the index is compared with the source
	PhaseWait                 // the index is to show what was sent
	PhaseEnd
)

// String gives the phase in words.
func (p Phase) String() string {
	return [...]string{"starting", "reading", "looking for orphans", "waiting for the index", "done"}[p]
}

// Monitor shows a run while it goes on. The zero value is ready to be given to one run. It is safe for concurrent use, costs the
// run nothing, and shows nothing before the run has begun.
type Monitor struct{ run atomic.Pointer[run] }

// Snapshot is a run at a moment.
type Snapshot struct {
	RunID       string
	Started     time.Time
	Elapsed     time.Duration
	Phase       Phase
	Collections []CollectionProgress
	Total       Counts
	Resumed     int64           // documents of Total that an earlier run had done
	Bytes       int64           // of events, confirmed or not
	Working     [StageCount]int // readers and workers in each stage
	Times       [StageCount]time.Duration
	LastMove    time.Time // when something was last handled
	Stalled     bool      // nothing was for longer than Options.StallAfter
	Waiting     int       // batches read, and not yet accounted for
}

// CollectionProgress is one collection at a moment.
type CollectionProgress struct {
	Name        string
	ContentType string
	Before      int64 // documents, -1 if not known (yet)
	Started     bool
	Done        bool
	Began       time.Time
	Counts      Counts
	Resumed     int64
	Earlier     Counts // of Counts: what an earlier run did
	Splits      int
	SplitsDone  int
	Took        time.Duration // of a collection that is done
	// OldestMissing is when the document that this run found missing and that changed longest ago was changed; zero if there is
	// none, or if the rule knows no dates.
	OldestMissing time.Time
}

// Snapshot returns how the run stands; ok is false before it has begun.
func (m *Monitor) Snapshot() (s Snapshot, ok bool) {
	r := m.run.Load()
	if r == nil {
		return s, false
	}
	s = Snapshot{
		RunID: r.RunID, Started: r.started, Elapsed: time.Since(r.started), Phase: Phase(r.phase.Load()), Bytes: r.bytes.Load(),
		LastMove: time.Unix(0, r.moved.Load()), Stalled: r.stalled.Load(), Waiting: len(r.window),
	}
	for i := range s.Working {
		s.Working[i] = int(r.working[i].Load())
		s.Times[i] = time.Duration(r.times[i].Load())
	}
	for _, c := range r.collections {
		p := c.progress()
		s.Collections = append(s.Collections, p)
		s.Total.Add(p.Counts)
		s.Resumed += p.Resumed
	}
	return s, true
}

func (c *collection) progress() CollectionProgress {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := CollectionProgress{
		Name: c.rule.Collection.Name, ContentType: c.rule.ContentType, Before: c.before, Done: c.closed, Began: c.started,
		Started: !c.started.IsZero(), Counts: c.counts, Resumed: c.resumed.Scanned, Earlier: c.resumed,
		Splits: c.handed, SplitsDone: c.splits, OldestMissing: c.oldest,
	}
	if c.closed {
		p.Took = c.report.Duration
	}
	return p
}

// stage enters a stage for a batch and returns how to leave it. Time in a stage inside another counts as the inner one's.
func (w *worker) stage(ctx context.Context, s Stage, documents int) (inside context.Context, leave func(error)) {
	outer, outerNested := w.in, w.nested
	if outer != StageIdle {
		w.leave(outer)
	}
	w.enter(s)
	w.in, w.nested = s, 0
	start := time.Now()
	inside, end := ctx, func(error) {}
	if w.Tracer != nil {
		inside, end = w.Tracer.Stage(ctx, s, documents)
	}
	return inside, func(err error) {
		all := time.Since(start)
		own := all - w.nested
		w.took[s] += own
		w.times[s].Add(int64(own))
		w.leave(s)
		if outer != StageIdle {
			w.enter(outer)
		}
		w.in, w.nested = outer, outerNested+all
		end(err)
	}
}

func (r *run) enter(s Stage) { r.working[s].Add(1) }
func (r *run) leave(s Stage) { r.working[s].Add(-1) }

// move notes that the run came on.
func (r *run) move() {
	r.moved.Store(time.Now().UnixNano())
	r.stalled.Store(false) // the watchdog may be just about to say otherwise, until it looks again
}

// watch warns of a run that does not come on, and says what it waits for, until ctx ends.
func (r *run) watch(ctx context.Context) {
	if r.StallAfter <= 0 {
		return
	}
	tick := time.NewTicker(max(r.StallAfter/4, time.Millisecond))
	defer tick.Stop()
	next := r.StallAfter
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		still := time.Since(time.Unix(0, r.moved.Load()))
		r.stalled.Store(still >= r.StallAfter)
		if still < r.StallAfter {
			next = r.StallAfter
			continue
		}
		if still >= next {
			next = 2 * still
			r.Logger.Warn(fmt.Sprintf("nothing has moved for %s: %s", still.Round(time.Second), r.waiting()),
				"hint", "if it lasts, look at that server's health and load; the run goes on by itself")
		}
	}
}

// waiting says what readers and workers are waiting for.
func (r *run) waiting() string {
	var parts []string
	for s := StageScan; s < StageCount; s++ {
		if n := r.working[s].Load(); n > 0 {
			parts = append(parts, fmt.Sprintf("%d for %s", n, waitingFor[s]))
		}
	}
	if len(parts) == 0 {
		return "the run waits for " + Phase(r.phase.Load()).String()
	}
	return "waiting " + strings.Join(parts, ", ")
}
