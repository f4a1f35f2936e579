package syncdtest

import (
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/syncd-io/syncd"
)

// Fault is what happens to one call. The zero value is no fault.
type Fault struct {
	Gate *Gate         // the call waits here first, until the gate opens or its context ends
	Err  error         // what the call ends with, instead of doing its work
	Done bool          // with Err: the work is done, and only the answer is lost
	Fail map[int]error // of a Write or a Commit: the events that fail, in a BatchError; the others are written
}

// Schedule says what happens to the n-th call, counted from 1. It is called once per call, by the calling goroutine. A nil
// Schedule means no faults.
type Schedule func(n int) Fault

// Always gives every call the same fault.
func Always(f Fault) Schedule { return func(int) Fault { return f } }

// Nth gives only the n-th call a fault.
func Nth(n int, f Fault) Schedule {
	return func(call int) Fault {
		if call != n {
			return Fault{}
		}
		return f
	}
}

// InOrder gives the first call the first fault, and so on; later calls have none.
func InOrder(faults ...Fault) Schedule {
	return func(call int) Fault {
		if call > len(faults) {
			return Fault{}
		}
		return faults[call-1]
	}
}

// Gate holds calls until a test has done what must happen meanwhile.
type Gate struct {
	arrived, open         chan struct{}
	arrivedOnce, openOnce sync.Once
}

// NewGate returns a closed gate.
func NewGate() *Gate {
	return &Gate{arrived: make(chan struct{}), open: make(chan struct{})}
}

// Arrived is closed once a call waits at the gate, or has passed it.
func (g *Gate) Arrived() <-chan struct{} { return g.arrived }

// Open lets all calls pass, now and later.
func (g *Gate) Open() { g.openOnce.Do(func() { close(g.open) }) }

func (g *Gate) wait(ctx context.Context) error {
	g.arrivedOnce.Do(func() { close(g.arrived) })
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// calls applies a schedule to the calls of one method.
type calls struct {
	schedule Schedule
	n        atomic.Int64
}

// next returns the fault of the next call, after waiting at its gate.
func (c *calls) next(ctx context.Context) (Fault, error) {
	if c.schedule == nil {
		return Fault{}, nil
	}
	f := c.schedule(int(c.n.Add(1)))
	if f.Gate != nil {
		if err := f.Gate.wait(ctx); err != nil {
			return Fault{}, err
		}
	}
	return f, nil
}

// around runs work under the next call's fault.
func (c *calls) around(ctx context.Context, work func() error) error {
	f, err := c.next(ctx)
	switch {
	case err != nil:
		return err
	case f.Err == nil:
		return work()
	case f.Done:
		if err := work(); err != nil {
			return err
		}
	}
	return f.Err
}

// aroundSeq is around for a call that returns a sequence: with Done the sequence ends with the fault's error.
func aroundSeq[T any](ctx context.Context, c *calls, seq iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		stopped := false
		err := c.around(ctx, func() error {
			for v, err := range seq {
				if err != nil {
					return err
				}
				if !yield(v, nil) {
					stopped = true
					break
				}
			}
			return nil
		})
		if err != nil && !stopped {
			yield(*new(T), err)
		}
	}
}

// aroundEach puts a fault on each of a sequence's values.
func aroundEach[T any](ctx context.Context, c *calls, seq iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for v, err := range seq {
			if err != nil {
				yield(v, err)
				return
			}
			stopped := false
			err := c.around(ctx, func() error {
				stopped = !yield(v, nil)
				return nil
			})
			if stopped {
				return
			}
			if err != nil {
				yield(*new(T), err)
				return
			}
		}
	}
}

// SourceFaults schedules the faults of a source. A sequence counts as one call, made when its reading begins.
type SourceFaults struct {
	Plan  Schedule
	Scan  Schedule
	Batch Schedule // the batches of all scans: with Done the batch arrives and the error follows it
	Fetch Schedule
	Count Schedule
	Find  Schedule
}

// FaultySource returns src with faults. It implements the optional interfaces that src implements.
func FaultySource(src syncd.Source, faults SourceFaults) syncd.Source {
	f := &faultySource{Source: src}
	f.plan.schedule, f.scan.schedule, f.batch.schedule = faults.Plan, faults.Scan, faults.Batch
	f.fetch.schedule = faults.Fetch
	return f.withAbilities(faults)
}

type faultySource struct {
	syncd.Source
	plan, scan, batch, fetch calls
}

func (f *faultySource) Plan(ctx context.Context, c syncd.Collection) iter.Seq2[syncd.Split, error] {
	return aroundSeq(ctx, &f.plan, f.Source.Plan(ctx, c))
}

func (f *faultySource) Scan(ctx context.Context, req syncd.ScanRequest) iter.Seq2[[]syncd.Record, error] {
	return aroundSeq(ctx, &f.scan, aroundEach(ctx, &f.batch, f.Source.Scan(ctx, req)))
}

func (f *faultySource) Fetch(ctx context.Context, c syncd.Collection, keys []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return aroundSeq(ctx, &f.fetch, f.Source.Fetch(ctx, c, keys))
}

// CheckerFaults schedules the faults of a checker. A listing counts as one call, made when its reading begins.
type CheckerFaults struct {
	Check   Schedule
	Inspect Schedule
	Read    Schedule
	List    Schedule
	Page    Schedule // the batches of all listings: with Done the batch arrives and the error follows it
}

// FaultyChecker returns c with faults. It implements the optional interfaces that c implements.
func FaultyChecker(c syncd.Checker, faults CheckerFaults) syncd.Checker {
	f := &faultyChecker{Checker: c}
	f.check.schedule = faults.Check
	return f.withAbilities(faults)
}

type faultyChecker struct {
	syncd.Checker
	check calls
}

func (f *faultyChecker) Check(ctx context.Context, points []syncd.Point, verdicts []syncd.Verdict) error {
	return f.check.around(ctx, func() error { return f.Checker.Check(ctx, points, verdicts) })
}

// SinkFaults schedules the faults of a sink.
type SinkFaults struct {
	Prepare Schedule
	Write   Schedule
	Marks   Schedule
	Commit  Schedule // its Fail works as that of a Write; the marks are committed
}

// FaultySink returns s with faults. It implements the optional interfaces that s implements, of those that a run writes with:
// Preparer, Router and Committer.
func FaultySink(s syncd.Sink, faults SinkFaults) syncd.Sink {
	f := &faultySink{Sink: s}
	f.write.schedule = faults.Write
	return f.withAbilities(faults)
}

type faultySink struct {
	syncd.Sink
	write calls
}

func (f *faultySink) Write(ctx context.Context, events []syncd.Event) error {
	return f.write.aroundEvents(ctx, events, func(events []syncd.Event) error { return f.Sink.Write(ctx, events) })
}

// aroundEvents is around for a call that tells events apart.
func (c *calls) aroundEvents(ctx context.Context, events []syncd.Event, work func([]syncd.Event) error) error {
	fault, err := c.next(ctx)
	switch {
	case err != nil:
		return err
	case fault.Err != nil && !fault.Done:
		return fault.Err
	case len(fault.Fail) > 0:
		err = withoutFailing(events, fault.Fail, work)
	default:
		err = work(events)
	}
	if fault.Err != nil {
		return fault.Err
	}
	return err
}

// withoutFailing does the work of the events that are not to fail. What the sink itself refuses keeps its index in events.
func withoutFailing(events []syncd.Event, fail map[int]error, work func([]syncd.Event) error) error {
	var failed syncd.BatchError
	for i, err := range fail {
		if i < len(events) {
			failed.Fail(i, err)
		}
	}
	var written []syncd.Event
	var index []int
	for i, e := range events {
		if failed.Of(i) == nil {
			written, index = append(written, e), append(index, i)
		}
	}
	err := work(written)
	own, partial := errors.AsType[*syncd.BatchError](err)
	if err != nil && !partial {
		return err
	}
	if partial {
		for _, i := range own.Failed() {
			failed.Fail(index[i], own.Of(i))
		}
	}
	return failed.OrNil()
}

type faultyPreparer struct {
	syncd.Preparer
	prepare calls
}

func (f *faultyPreparer) Prepare(ctx context.Context, targets []syncd.Target) error {
	return f.prepare.around(ctx, func() error { return f.Preparer.Prepare(ctx, targets) })
}

type faultyCommitter struct {
	committer     syncd.Committer
	marks, commit calls
}

func (f *faultyCommitter) Marks(ctx context.Context, prefix string) (marks map[string][]byte, err error) {
	err = f.marks.around(ctx, func() (err error) {
		marks, err = f.committer.Marks(ctx, prefix)
		return err
	})
	if err != nil {
		return nil, err
	}
	return marks, nil
}

func (f *faultyCommitter) Commit(ctx context.Context, events []syncd.Event, marks []syncd.Mark) error {
	return f.commit.aroundEvents(ctx, events, func(events []syncd.Event) error { return f.committer.Commit(ctx, events, marks) })
}
