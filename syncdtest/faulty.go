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
	Fail map[int]error // of a Write or a Commit: the changes that fail, in a BatchError; of an Apply: in their Err; the others are written or done
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

// answer is around for a call that returns a value, which is the zero one with an error.
func answer[T any](ctx context.Context, c *calls, work func() (T, error)) (T, error) {
	var v T
	err := c.around(ctx, func() (err error) {
		v, err = work()
		return err
	})
	if err != nil {
		return *new(T), err
	}
	return v, nil
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
	Splits Schedule
	Read   Schedule
	Batch  Schedule // the batches of all reads: with Done the batch arrives and the error follows it
	Fetch  Schedule
	Count  Schedule
	Find   Schedule
}

// FaultySource returns src with faults. It has the abilities that src has.
func FaultySource(src syncd.Source, faults SourceFaults) syncd.Source {
	return &faultySource{
		Source: src,
		splits: calls{schedule: faults.Splits}, read: calls{schedule: faults.Read}, batch: calls{schedule: faults.Batch},
		fetch: calls{schedule: faults.Fetch}, count: calls{schedule: faults.Count}, find: calls{schedule: faults.Find},
	}
}

type faultySource struct {
	syncd.Source
	splits, read, batch, fetch, count, find calls
}

func (f *faultySource) Splits(ctx context.Context, c syncd.Collection) iter.Seq2[syncd.Split, error] {
	return aroundSeq(ctx, &f.splits, f.Source.Splits(ctx, c))
}

func (f *faultySource) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	return aroundSeq(ctx, &f.read, aroundEach(ctx, &f.batch, f.Source.Read(ctx, req)))
}

func (f *faultySource) Fetch(ctx context.Context, c syncd.Collection, keys []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return aroundSeq(ctx, &f.fetch, f.Source.Fetch(ctx, c, keys))
}

// Abilities are those of the source. What a schedule may spoil is replaced, all else is passed on as it is.
func (f *faultySource) Abilities() syncd.SourceAbilities {
	a := f.Source.Abilities()
	if count := a.Count; count != nil {
		a.Count = func(ctx context.Context, c syncd.Collection) (int64, error) {
			return answer(ctx, &f.count, func() (int64, error) { return count(ctx, c) })
		}
	}
	if find := a.Find; find != nil {
		a.Find = func(ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
			return answer(ctx, &f.find, func() ([]syncd.Key, error) { return find(ctx, c, ids) })
		}
	}
	if find := a.FindAll; find != nil {
		a.FindAll = func(ctx context.Context, c syncd.Collection, ids []string) ([][]syncd.FoundID, error) {
			return answer(ctx, &f.find, func() ([][]syncd.FoundID, error) { return find(ctx, c, ids) })
		}
	}
	return a
}

// CheckerFaults schedules the faults of a checker. A listing counts as one call, made when its reading begins, and so does a question for samples.
type CheckerFaults struct {
	Check   Schedule
	Inspect Schedule
	Read    Schedule
	List    Schedule
	Survey  Schedule
	Page    Schedule // the batches of all listings: with Done the batch arrives and the error follows it
}

// FaultyChecker returns c with faults. It has the abilities that c has.
func FaultyChecker(c syncd.Checker, faults CheckerFaults) syncd.Checker {
	return &faultyChecker{
		Checker: c,
		check:   calls{schedule: faults.Check}, inspect: calls{schedule: faults.Inspect}, read: calls{schedule: faults.Read},
		list: calls{schedule: faults.List}, survey: calls{schedule: faults.Survey}, page: calls{schedule: faults.Page},
	}
}

type faultyChecker struct {
	syncd.Checker
	check, inspect, read, list, survey, page calls
}

func (f *faultyChecker) Check(ctx context.Context, points []syncd.Point, verdicts []syncd.Verdict) error {
	return f.check.around(ctx, func() error { return f.Checker.Check(ctx, points, verdicts) })
}

// Abilities are those of the checker, as with a source.
func (f *faultyChecker) Abilities() syncd.CheckerAbilities {
	a := f.Checker.Abilities()
	if read := a.Read; read != nil {
		a.Read = func(ctx context.Context, points []syncd.Point, keys []string, found []syncd.Found) error {
			return f.read.around(ctx, func() error { return read(ctx, points, keys, found) })
		}
	}
	if list := a.List; list != nil {
		a.List = func(ctx context.Context, req syncd.ListRequest) iter.Seq2[[]syncd.Listed, error] {
			return aroundSeq(ctx, &f.list, aroundEach(ctx, &f.page, list(ctx, req)))
		}
	}
	if sample := a.Sample; sample != nil {
		a.Sample = func(ctx context.Context, reqs []syncd.ListRequest) ([][]syncd.Listed, error) {
			return answer(ctx, &f.list, func() ([][]syncd.Listed, error) { return sample(ctx, reqs) })
		}
	}
	if inspect := a.Inspect; inspect != nil {
		a.Inspect = func(ctx context.Context) (syncd.Index, error) {
			return answer(ctx, &f.inspect, func() (syncd.Index, error) { return inspect(ctx) })
		}
	}
	if survey := a.Survey; survey != nil {
		a.Survey = func(ctx context.Context, key string) (syncd.Survey, error) {
			return answer(ctx, &f.survey, func() (syncd.Survey, error) { return survey(ctx, key) })
		}
	}
	return a
}

// SinkFaults schedules the faults of a sink.
type SinkFaults struct {
	Prepare Schedule
	Write   Schedule
	Marks   Schedule
	Commit  Schedule // its Fail works as that of a Write; the marks are committed
}

// FaultySink returns s with faults. It has the abilities that s has.
func FaultySink(s syncd.Sink, faults SinkFaults) syncd.Sink {
	return &faultySink{
		Sink:    s,
		prepare: calls{schedule: faults.Prepare}, write: calls{schedule: faults.Write}, marks: calls{schedule: faults.Marks},
		commit: calls{schedule: faults.Commit},
	}
}

type faultySink struct {
	syncd.Sink
	prepare, write, marks, commit calls
}

func (f *faultySink) Write(ctx context.Context, changes []syncd.Change) error {
	return f.write.aroundChanges(ctx, changes, func(changes []syncd.Change) error { return f.Sink.Write(ctx, changes) })
}

// Abilities are those of the sink, as with a source.
func (f *faultySink) Abilities() syncd.SinkAbilities {
	a := f.Sink.Abilities()
	if prepare := a.Prepare; prepare != nil {
		a.Prepare = func(ctx context.Context, run syncd.Run) error {
			return f.prepare.around(ctx, func() error { return prepare(ctx, run) })
		}
	}
	if marks := a.Marks; marks != nil {
		a.Marks = func(ctx context.Context, prefix string) (map[string][]byte, error) {
			return answer(ctx, &f.marks, func() (map[string][]byte, error) { return marks(ctx, prefix) })
		}
	}
	if commit := a.Commit; commit != nil {
		a.Commit = func(ctx context.Context, changes []syncd.Change, marks []syncd.Mark) error {
			return f.commit.aroundChanges(ctx, changes, func(changes []syncd.Change) error { return commit(ctx, changes, marks) })
		}
	}
	return a
}

// aroundChanges is around for a call that tells changes apart.
func (c *calls) aroundChanges(ctx context.Context, changes []syncd.Change, work func([]syncd.Change) error) error {
	fault, err := c.next(ctx)
	switch {
	case err != nil:
		return err
	case fault.Err != nil && !fault.Done:
		return fault.Err
	case len(fault.Fail) > 0:
		err = withoutFailing(changes, fault.Fail, work)
	default:
		err = work(changes)
	}
	if fault.Err != nil {
		return fault.Err
	}
	return err
}

// withoutFailing does the work of the changes that are not to fail. What the sink itself refuses keeps its index in changes, and
// what it sets of a change is set there.
func withoutFailing(changes []syncd.Change, fail map[int]error, work func([]syncd.Change) error) error {
	var failed syncd.BatchError
	for i, err := range fail {
		if i < len(changes) {
			failed.Fail(i, err)
		}
	}
	var written []syncd.Change
	var index []int
	for i, c := range changes {
		if failed.Of(i) == nil {
			written, index = append(written, c), append(index, i)
		}
	}
	err := work(written)
	for i, c := range written {
		changes[index[i]].Placement, changes[index[i]].Bytes = c.Placement, c.Bytes
	}
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

// StageFaults schedules the faults of a stage. With Fail the changes that it names get its error, and the others are done.
type StageFaults struct {
	Apply Schedule
}

// FaultyStage returns s with faults. It has the abilities that s has.
func FaultyStage(s syncd.Stage, faults StageFaults) syncd.Stage {
	return &faultyStage{Stage: s, apply: calls{schedule: faults.Apply}}
}

type faultyStage struct {
	syncd.Stage
	apply calls
}

func (f *faultyStage) Apply(ctx context.Context, changes []syncd.Change) error {
	fault, err := f.apply.next(ctx)
	if err != nil || fault.Err != nil && !fault.Done {
		return errors.Join(err, fault.Err)
	}
	for i, failure := range fault.Fail {
		if i < len(changes) && changes[i].Err == nil {
			changes[i].Err = failure
		}
	}
	if err := f.Stage.Apply(ctx, changes); err != nil {
		return err
	}
	return fault.Err
}
