package syncdtest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/syncd-io/syncd"
)

var errFault = errors.New("fault")

func faultySourceOf(n int, faults SourceFaults) *collection {
	s := NewMemorySource()
	for i := range n {
		s.Insert("page", MemoryDoc{ID: fmt.Sprint(i)})
	}
	c := &collection{Source: FaultySource(s, faults), Collection: syncd.Collection{Name: "page"}, docs: map[string]Doc{}}
	for i := range n {
		c.docs[fmt.Sprint(i)] = Doc{ID: fmt.Sprint(i)}
	}
	return c
}

// Without faults a wrapped plugin is the plugin.
func TestFaultyPluginsConform(t *testing.T) {
	t.Run("source", func(t *testing.T) {
		TestSource(t, memoryHarness(2, func(s syncd.Source) syncd.Source { return FaultySource(s, SourceFaults{}) }))
	})
	t.Run("checker", func(t *testing.T) {
		TestChecker(t, checkerHarness(func(c syncd.Checker) syncd.Checker { return FaultyChecker(c, CheckerFaults{}) }))
	})
	t.Run("sink", func(t *testing.T) {
		TestSink(t, sinkHarness(func(s syncd.Sink) syncd.Sink { return FaultySink(s, SinkFaults{}) }))
	})
}

func TestFaultySource(t *testing.T) {
	second := Nth(2, Fault{Err: errFault})
	secondDone := Nth(2, Fault{Err: errFault, Done: true})
	scanned := func(faults SourceFaults, times int) (records int, err error) {
		c := faultySourceOf(10, faults)
		for range times {
			got, err := c.scan(t.Context(), syncd.ScanRequest{Split: syncd.Split{Collection: c.Collection}, BatchSize: 3}, nil)
			records += len(got)
			if err != nil {
				return records, err
			}
		}
		return records, nil
	}
	for _, test := range []struct {
		name   string
		faults SourceFaults
		times  int
		want   int
	}{
		{"the second scan", SourceFaults{Scan: second}, 2, 10},
		{"the second scan, at its end", SourceFaults{Scan: secondDone}, 2, 20},
		{"the second batch", SourceFaults{Batch: second}, 1, 3},
		{"after the second batch", SourceFaults{Batch: secondDone}, 1, 6},
	} {
		if n, err := scanned(test.faults, test.times); n != test.want || !errors.Is(err, errFault) {
			t.Errorf("%s: %d records, then: %v; want %d and the fault", test.name, n, err, test.want)
		}
	}

	c := faultySourceOf(3, SourceFaults{
		Plan: second, Count: second, Fetch: InOrder(Fault{Err: errFault}, Fault{Err: errFault, Done: true}),
	})
	records, err := c.complete(t.Context(), syncd.ScanRequest{BatchSize: 3})
	must(t, err)
	if _, err := c.plan(t.Context()); !errors.Is(err, errFault) {
		t.Errorf("the second plan: %v", err)
	}
	for _, want := range []struct {
		found int
		err   error
	}{{0, errFault}, {3, errFault}, {3, nil}} {
		if found, err := c.fetched(t.Context(), records); len(found) != want.found || !errors.Is(err, want.err) {
			t.Errorf("Fetch found %d, then: %v; want %+v", len(found), err, want)
		}
	}
	counter := c.Source.(syncd.Counter)
	for call, want := range []error{nil, errFault, nil} {
		if _, err := counter.Count(t.Context(), c.Collection); !errors.Is(err, want) {
			t.Errorf("Count %d: %v, want %v", call, err, want)
		}
	}
}

func TestFaultyCheckerLosesTheAnswer(t *testing.T) {
	inner := NewMemoryChecker()
	c := FaultyChecker(inner, CheckerFaults{Check: InOrder(Fault{Err: errFault}, Fault{Err: errFault, Done: true})})
	for call, wantCalls := range []int{0, 1, 2} {
		err := c.Check(t.Context(), points(0, 1), make([]syncd.Verdict, 1))
		if wantErr := call < 2; wantErr != errors.Is(err, errFault) || len(inner.Calls()) != wantCalls {
			t.Errorf("call %d: %v, and %d calls reached the index", call, err, len(inner.Calls()))
		}
	}
}

func TestFaultySinkFailsSomeEvents(t *testing.T) {
	inner := NewMemorySink()
	inner.Reject = func(e syncd.Event) error {
		if e.ID == "3" {
			return errors.New("own")
		}
		return nil
	}
	s := FaultySink(inner, SinkFaults{Write: InOrder(
		Fault{Fail: map[int]error{1: errFault, 9: errFault}}, Fault{Err: errFault}, Fault{Err: errFault, Done: true},
	)})
	events := []syncd.Event{{ID: "0"}, {ID: "1"}, {ID: "2"}, {ID: "3"}}
	failed, _ := errors.AsType[*syncd.BatchError](s.Write(t.Context(), events))
	if failed == nil || fmt.Sprint(failed.Failed(), failed.Of(3)) != "[1 3] own" || !errors.Is(failed.Of(1), errFault) {
		t.Errorf("got %v; want the events 1 and 3 to fail", failed)
	}
	for _, kept := range []int{2, 5} { // nothing the first time, and an answer that is lost the second
		if err := s.Write(t.Context(), events); !errors.Is(err, errFault) || len(inner.Events()) != kept {
			t.Errorf("%v, with %d events kept; want %d", err, len(inner.Events()), kept)
		}
	}
}

func TestGateHoldsACall(t *testing.T) {
	gate := NewGate()
	c := FaultyChecker(NewMemoryChecker(), CheckerFaults{Check: Always(Fault{Gate: gate})})
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error)
	ask := func(ctx context.Context) { errs <- c.Check(ctx, points(0, 1), make([]syncd.Verdict, 1)) }
	go ask(ctx)
	<-gate.Arrived()
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Errorf("a call whose context ends at the gate: %v", err)
	}
	go ask(t.Context())
	gate.Open()
	gate.Open()
	if err := <-errs; err != nil {
		t.Errorf("a call that passes the gate: %v", err)
	}
}

func TestFaultyFinder(t *testing.T) {
	c := faultySourceOf(1, SourceFaults{Find: InOrder(Fault{Err: errFault}, Fault{Err: errFault, Done: true})})
	for call, want := range []error{errFault, errFault, nil} {
		keys, err := c.Source.(syncd.Finder).Find(t.Context(), c.Collection, []string{"0"})
		if !errors.Is(err, want) || (len(keys) == 1) != (want == nil) {
			t.Errorf("call %d: %q, %v; want %v", call, keys, err, want)
		}
	}
}

func TestFaultyReaderAndLister(t *testing.T) {
	inner := NewMemoryChecker()
	for i := range 2*memoryPage + 1 {
		inner.Put(point(i), map[string]any{"n": i})
	}
	c := FaultyChecker(inner, CheckerFaults{
		Read: Nth(1, Fault{Err: errFault, Done: true}),
		List: Nth(1, Fault{Err: errFault}),
		Page: InOrder(Fault{}, Fault{Err: errFault}, Fault{Err: errFault, Done: true}),
	})
	for call, want := range []error{errFault, nil} {
		found := make([]syncd.Found, 1)
		err := c.(syncd.PayloadReader).Read(t.Context(), points(7, 8), []string{"n"}, found)
		if !errors.Is(err, want) || found[0].Payload[0].Text != "7" || len(inner.Reads()) != call+1 {
			t.Errorf("read %d: %+v, %v", call, found, err)
		}
	}
	for call, want := range []struct {
		points int
		err    error
	}{{0, errFault}, {memoryPage, errFault}, {memoryPage, errFault}, {2*memoryPage + 1, nil}} {
		n := 0
		err := read(c.(syncd.Lister).List(t.Context(), syncd.ListRequest{Parts: 1}), func(batch []syncd.Listed) bool {
			n += len(batch)
			return true
		})
		if n != want.points || !errors.Is(err, want.err) {
			t.Errorf("listing %d: %d points, then %v; want %+v", call, n, err, want)
		}
	}
}

// A wrapper must have the abilities of what it wraps, and no others.
func TestFaultyPluginsHaveTheAbilitiesOfTheirOwn(t *testing.T) {
	type estimator struct{ syncd.Estimator }
	m := NewMemorySource()
	for _, s := range []syncd.Source{
		m,
		struct{ syncd.Source }{m},
		struct {
			syncd.Source
			syncd.Counter
		}{m, m},
		struct {
			syncd.Source
			estimator
		}{m, estimator{}},
		struct {
			syncd.Source
			syncd.CollectionLister
		}{m, m},
		struct {
			syncd.Source
			syncd.Finder
		}{m, m},
		struct {
			syncd.Source
			syncd.Counter
			estimator
		}{m, m, estimator{}},
		struct {
			*MemorySource
			estimator
		}{m, estimator{}},
		struct {
			syncd.Source
			estimator
			syncd.CollectionLister
			syncd.Finder
		}{m, estimator{}, m, m},
	} {
		if got, want := sourceAbilities(FaultySource(s, SourceFaults{})), sourceAbilities(s); got != want {
			t.Errorf("of %s the wrapper has %s", want, got)
		}
	}
	c := NewMemoryChecker()
	for _, k := range []syncd.Checker{
		c,
		struct{ syncd.Checker }{c},
		struct {
			syncd.Checker
			syncd.Inspector
		}{c, c},
		struct {
			syncd.Checker
			syncd.PayloadReader
		}{c, c},
		struct {
			syncd.Checker
			syncd.Lister
		}{c, c},
		struct {
			syncd.Checker
			syncd.PayloadReader
			syncd.Lister
		}{c, c, c},
	} {
		if got, want := checkerAbilities(FaultyChecker(k, CheckerFaults{})), checkerAbilities(k); got != want {
			t.Errorf("of %s the wrapper has %s", want, got)
		}
	}
	sink, ledger := NewMemorySink(), NewMemoryCommitter()
	for _, k := range []syncd.Sink{
		sink,
		ledger,
		struct{ syncd.Sink }{sink},
		struct {
			syncd.Sink
			syncd.Preparer
		}{sink, sink},
		struct {
			syncd.Sink
			syncd.Router
		}{sink, sink},
		struct {
			syncd.Sink
			syncd.Committer
		}{sink, ledger},
		struct {
			syncd.Sink
			syncd.Preparer
			syncd.Committer
		}{sink, sink, ledger},
		struct {
			syncd.Sink
			syncd.Router
			syncd.Committer
		}{sink, sink, ledger},
	} {
		if got, want := sinkAbilities(FaultySink(k, SinkFaults{})), sinkAbilities(k); got != want {
			t.Errorf("of %s the wrapper has %s", want, got)
		}
	}
}

func TestFaultyCommitter(t *testing.T) {
	inner := NewMemoryCommitter()
	s := FaultySink(inner, SinkFaults{
		Marks:  Nth(1, Fault{Err: errFault}),
		Commit: InOrder(Fault{Err: errFault}, Fault{Err: errFault, Done: true}, Fault{Fail: map[int]error{1: errFault}}),
	}).(syncd.Committer)
	for call, want := range []error{errFault, nil} {
		if _, err := s.Marks(t.Context(), ""); !errors.Is(err, want) {
			t.Errorf("marks %d: %v, want %v", call, err, want)
		}
	}
	for call, want := range []struct {
		err    error
		events int // committed so far
	}{{errFault, 0}, {errFault, 2}, {errFault, 3}, {nil, 5}} {
		mark := fmt.Sprint(call)
		err := s.Commit(t.Context(), make([]syncd.Event, 2), []syncd.Mark{{Name: mark, Value: []byte("x")}})
		_, marked := inner.Ledger()[mark]
		if n := len(inner.Committed()); !errors.Is(err, want.err) || n != want.events || marked != (call > 0) {
			t.Errorf("commit %d: %v, %d events, marked %t; want %+v", call, err, n, marked, want)
		}
	}
}

func sinkAbilities(s syncd.Sink) string {
	_, prepares := s.(syncd.Preparer)
	_, routes := s.(syncd.Router)
	_, commits := s.(syncd.Committer)
	return fmt.Sprintf("Preparer %t, Router %t, Committer %t", prepares, routes, commits)
}

func sourceAbilities(s syncd.Source) string {
	_, counts := s.(syncd.Counter)
	_, estimates := s.(syncd.Estimator)
	_, lists := s.(syncd.CollectionLister)
	_, finds := s.(syncd.Finder)
	return fmt.Sprintf("Counter %t, Estimator %t, CollectionLister %t, Finder %t", counts, estimates, lists, finds)
}

func checkerAbilities(c syncd.Checker) string {
	_, inspects := c.(syncd.Inspector)
	_, reads := c.(syncd.PayloadReader)
	_, lists := c.(syncd.Lister)
	return fmt.Sprintf("Inspector %t, PayloadReader %t, Lister %t", inspects, reads, lists)
}
