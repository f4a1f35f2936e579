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

// A wrapper must not seem to have abilities that the wrapped plugin lacks.
func TestFaultyPluginsHaveOnlyTheAbilitiesOfTheirOwn(t *testing.T) {
	source, checker, sink := NewMemorySource(), NewMemoryChecker(), NewMemorySink()
	bare := FaultySource(struct{ syncd.Source }{source}, SourceFaults{})
	_, counts := bare.(syncd.Counter)
	_, lists := bare.(syncd.CollectionLister)
	_, inspects := FaultyChecker(struct{ syncd.Checker }{checker}, CheckerFaults{}).(syncd.Inspector)
	bareSink := FaultySink(struct{ syncd.Sink }{sink}, SinkFaults{})
	_, prepares := bareSink.(syncd.Preparer)
	_, routes := bareSink.(syncd.Router)
	if counts || lists || inspects || prepares || routes {
		t.Error(counts, lists, inspects, prepares, routes)
	}
	full := FaultySource(source, SourceFaults{})
	_, counts = full.(syncd.Counter)
	_, lists = full.(syncd.CollectionLister)
	_, inspects = FaultyChecker(checker, CheckerFaults{}).(syncd.Inspector)
	fullSink := FaultySink(sink, SinkFaults{})
	_, prepares = fullSink.(syncd.Preparer)
	_, routes = fullSink.(syncd.Router)
	if !counts || !lists || !inspects || !prepares || !routes {
		t.Error(counts, lists, inspects, prepares, routes)
	}
}
