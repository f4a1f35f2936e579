package syncdtest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
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
		TestSink(t, sinkHarness(plain, func(s syncd.Sink) syncd.Sink { return FaultySink(s, SinkFaults{}) }))
	})
	t.Run("committer", func(t *testing.T) {
		TestSink(t, committerHarness(plain, func(c *MemoryCommitter) syncd.Sink { return FaultySink(c, SinkFaults{}) }))
	})
}

func TestFaultyStageConforms(t *testing.T) {
	TestStage(t, stageHarness(func(s *MemoryStage) syncd.Stage { return FaultyStage(s, StageFaults{}) }))
}

func TestFaultySource(t *testing.T) {
	second := Nth(2, Fault{Err: errFault})
	secondDone := Nth(2, Fault{Err: errFault, Done: true})
	readAll := func(faults SourceFaults, times int) (changes int, err error) {
		c := faultySourceOf(10, faults)
		for range times {
			got, err := c.read(t.Context(), syncd.ReadRequest{Split: syncd.Split{Collection: c.Collection}, BatchSize: 3}, nil)
			changes += len(got)
			if err != nil {
				return changes, err
			}
		}
		return changes, nil
	}
	for _, test := range []struct {
		name   string
		faults SourceFaults
		times  int
		want   int
	}{
		{"the second read", SourceFaults{Read: second}, 2, 10},
		{"the second read, at its end", SourceFaults{Read: secondDone}, 2, 20},
		{"the second batch", SourceFaults{Batch: second}, 1, 3},
		{"after the second batch", SourceFaults{Batch: secondDone}, 1, 6},
	} {
		if n, err := readAll(test.faults, test.times); n != test.want || !errors.Is(err, errFault) {
			t.Errorf("%s: %d changes, then: %v; want %d and the fault", test.name, n, err, test.want)
		}
	}

	c := faultySourceOf(3, SourceFaults{
		Splits: second, Count: second, Fetch: InOrder(Fault{Err: errFault}, Fault{Err: errFault, Done: true}),
	})
	changes, err := c.complete(t.Context(), syncd.ReadRequest{BatchSize: 3})
	must(t, err)
	if _, err := c.split(t.Context()); !errors.Is(err, errFault) {
		t.Errorf("the second look for splits: %v", err)
	}
	for _, want := range []struct {
		found int
		err   error
	}{{0, errFault}, {3, errFault}, {3, nil}} {
		if found, err := c.fetched(t.Context(), changes); len(found) != want.found || !errors.Is(err, want.err) {
			t.Errorf("Fetch found %d, then: %v; want %+v", len(found), err, want)
		}
	}
	count := c.Abilities().Count
	for call, want := range []error{nil, errFault, nil} {
		if _, err := count(t.Context(), c.Collection); !errors.Is(err, want) {
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

func TestFaultySinkFailsSomeChanges(t *testing.T) {
	inner := NewMemorySink()
	inner.Reject = func(e codec.Event) error {
		if e.ID == "3" {
			return errors.New("own")
		}
		return nil
	}
	s := FaultySink(inner, SinkFaults{Write: InOrder(
		Fault{Fail: map[int]error{1: errFault, 9: errFault}}, Fault{Err: errFault}, Fault{Err: errFault, Done: true},
	)})
	changes := deletes(4)
	failed, _ := errors.AsType[*syncd.BatchError](s.Write(t.Context(), changes))
	if failed == nil || fmt.Sprint(failed.Failed(), failed.Of(3)) != "[1 3] own" || !errors.Is(failed.Of(1), errFault) {
		t.Errorf("got %v; want the changes 1 and 3 to fail", failed)
	}
	for i, c := range changes {
		if durable := i == 0 || i == 2; (c.Bytes > 0) != durable {
			t.Errorf("change %d has %d bytes", i, c.Bytes)
		}
	}
	for _, kept := range []int{2, 5} { // nothing the first time, and an answer that is lost the second
		if err := s.Write(t.Context(), changes); !errors.Is(err, errFault) || len(inner.Events()) != kept {
			t.Errorf("%v, with %d events kept; want %d", err, len(inner.Events()), kept)
		}
	}
}

func TestFaultyStage(t *testing.T) {
	inner := memoryStage()
	s := FaultyStage(inner, StageFaults{Apply: InOrder(
		Fault{Err: errFault}, Fault{Err: errFault, Done: true}, Fault{Fail: map[int]error{1: errFault, 9: errFault}},
	)})
	for call, wantCalls := range []int{0, 1} {
		if err := s.Apply(t.Context(), []syncd.Change{stageChange(1)}); !errors.Is(err, errFault) || inner.Calls() != wantCalls {
			t.Errorf("call %d: %v, and %d calls reached the stage", call, err, inner.Calls())
		}
	}
	changes := []syncd.Change{stageChange(1), stageChange(2), stageChange(3)}
	if err := s.Apply(t.Context(), changes); err != nil || changes[0].Err != nil || !errors.Is(changes[1].Err, errFault) || changes[2].Err != nil {
		t.Errorf("%v; %v", err, changes)
	}
	if changes[0].Content == nil || changes[1].Content != nil {
		t.Error("another change than the one that fails was left out")
	}
	if err := s.Apply(t.Context(), changes[:1]); err != nil || s.Abilities().Fingerprint != inner.Abilities().Fingerprint {
		t.Errorf("behind the schedule: %v", err)
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
		keys, err := c.Abilities().Find(t.Context(), c.Collection, []string{"0"})
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
		err := c.Abilities().Read(t.Context(), points(7, 8), []string{"n"}, found)
		if !errors.Is(err, want) || found[0].Payload[0].Text != "7" || len(inner.Reads()) != call+1 {
			t.Errorf("read %d: %+v, %v", call, found, err)
		}
	}
	for call, want := range []struct {
		points int
		err    error
	}{{0, errFault}, {memoryPage, errFault}, {memoryPage, errFault}, {2*memoryPage + 1, nil}} {
		n := 0
		err := read(c.Abilities().List(t.Context(), syncd.ListRequest{Parts: 1}), func(batch []syncd.Listed) bool {
			n += len(batch)
			return true
		})
		if n != want.points || !errors.Is(err, want.err) {
			t.Errorf("listing %d: %d points, then %v; want %+v", call, n, err, want)
		}
	}
}

// deletes are changes with the ids 0 to n-1, the smallest that there are.
func deletes(n int) []syncd.Change {
	changes := make([]syncd.Change, n)
	for i := range changes {
		changes[i] = syncd.Change{ID: fmt.Sprint(i), Target: &syncd.Target{}, Operation: syncd.Delete, PointID: point(i)}
	}
	return changes
}

func TestFaultyCommitter(t *testing.T) {
	inner := NewMemoryCommitter()
	s := FaultySink(inner, SinkFaults{
		Marks:  Nth(1, Fault{Err: errFault}),
		Commit: InOrder(Fault{Err: errFault}, Fault{Err: errFault, Done: true}, Fault{Fail: map[int]error{1: errFault}}),
	}).Abilities()
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
		err := s.Commit(t.Context(), deletes(2), []syncd.Mark{{Name: mark, Value: []byte("x")}})
		_, marked := inner.Ledger()[mark]
		if n := len(inner.Committed()); !errors.Is(err, want.err) || n != want.events || marked != (call > 0) {
			t.Errorf("commit %d: %v, %d events, marked %t; want %+v", call, err, n, marked, want)
		}
	}
}

func TestFaultyPrepareAndInspect(t *testing.T) {
	sink := NewMemorySink()
	prepare := FaultySink(sink, SinkFaults{Prepare: Nth(1, Fault{Err: errFault})}).Abilities().Prepare
	inspect := FaultyChecker(NewMemoryChecker(), CheckerFaults{Inspect: Nth(1, Fault{Err: errFault, Done: true})}).Abilities().Inspect
	for call, want := range []error{errFault, nil} {
		if err := prepare(t.Context(), syncd.Run{Targets: SinkTargets()}); !errors.Is(err, want) || len(sink.Prepared()) != call*len(SinkTargets()) {
			t.Errorf("prepare %d: %v, with %d targets", call, err, len(sink.Prepared()))
		}
		if index, err := inspect(t.Context()); !errors.Is(err, want) || index.Exists != (want == nil) {
			t.Errorf("inspect %d: %+v, %v", call, index, err)
		}
	}
}

type (
	ableSource struct {
		syncd.Source
		able syncd.SourceAbilities
	}
	ableChecker struct {
		syncd.Checker
		able syncd.CheckerAbilities
	}
	ableSink struct {
		syncd.Sink
		able syncd.SinkAbilities
	}
)

func (s ableSource) Abilities() syncd.SourceAbilities   { return s.able }
func (c ableChecker) Abilities() syncd.CheckerAbilities { return c.able }
func (s ableSink) Abilities() syncd.SinkAbilities       { return s.able }

// A wrapper has the abilities of what it wraps, and no others: each function of a struct of abilities is passed on, also one that
// is added to the struct later.
func TestFaultyPluginsPassOnAllAbilities(t *testing.T) {
	never := Always(Fault{})
	t.Run("source", func(t *testing.T) {
		passesOnAll(t, func(a syncd.SourceAbilities) syncd.SourceAbilities {
			return FaultySource(ableSource{able: a}, SourceFaults{never, never, never, never, never, never}).Abilities()
		})
	})
	t.Run("checker", func(t *testing.T) {
		passesOnAll(t, func(a syncd.CheckerAbilities) syncd.CheckerAbilities {
			return FaultyChecker(ableChecker{able: a}, CheckerFaults{never, never, never, never, never, never}).Abilities()
		})
	})
	t.Run("sink", func(t *testing.T) {
		passesOnAll(t, func(a syncd.SinkAbilities) syncd.SinkAbilities {
			return FaultySink(ableSink{able: a}, SinkFaults{never, never, never, never}).Abilities()
		})
	})
}

// passesOnAll wraps a plugin that has one ability, for each that there is, and calls it through the wrapper.
func passesOnAll[A any](t *testing.T, wrap func(A) A) {
	t.Helper()
	for _, ability := range reflect.VisibleFields(reflect.TypeFor[A]()) {
		if ability.Type.Kind() != reflect.Func { // a value is passed on as it is
			var own A
			set := reflect.New(ability.Type).Elem()
			switch ability.Type.Kind() {
			case reflect.Pointer:
				set.Set(reflect.New(ability.Type.Elem()))
			case reflect.Bool:
				set.SetBool(true)
			default:
				t.Fatalf("%s is a %s", ability.Name, ability.Type)
			}
			reflect.ValueOf(&own).Elem().FieldByIndex(ability.Index).Set(set)
			if passed := reflect.ValueOf(wrap(own)).FieldByIndex(ability.Index); passed.Interface() != set.Interface() {
				t.Errorf("%s is %v, not %v", ability.Name, passed, set)
			}
			continue
		}
		var own A
		calls := 0
		var passed []reflect.Value
		reflect.ValueOf(&own).Elem().FieldByIndex(ability.Index).Set(reflect.MakeFunc(ability.Type, func(in []reflect.Value) []reflect.Value {
			calls++
			passed = in
			out := make([]reflect.Value, ability.Type.NumOut())
			for i := range out {
				out[i] = zeroOf(ability.Type.Out(i))
			}
			return out
		}))
		wrapped := wrap(own)
		if got, want := abilitiesOf(wrapped), []string{ability.Name}; !slices.Equal(got, want) {
			t.Errorf("of a plugin with the abilities %q the wrapper has %q", want, got)
			continue
		}
		f := reflect.ValueOf(wrapped).FieldByIndex(ability.Index)
		given := make([]reflect.Value, f.Type().NumIn())
		for i := range given {
			given[i] = exampleOf(f.Type().In(i))
		}
		for _, out := range f.Call(given) {
			if out.Kind() == reflect.Func { // a sequence, whose reading may be the call
				for range out.Seq2() {
				}
			}
		}
		if calls != 1 || len(passed) != len(given) {
			t.Errorf("a call of the wrapper's %s is %d calls of the plugin's", ability.Name, calls)
			continue
		}
		for i, v := range passed {
			if !reflect.DeepEqual(v.Interface(), given[i].Interface()) {
				t.Errorf("the wrapper's %s passes on %v where it is given %v", ability.Name, v, given[i])
			}
		}
	}
}

// zeroOf returns a type's zero value, or a sequence without values.
func zeroOf(t reflect.Type) reflect.Value {
	if t.Kind() == reflect.Func {
		return reflect.MakeFunc(t, func([]reflect.Value) []reflect.Value { return nil })
	}
	return reflect.Zero(t)
}

// exampleOf returns a value that differs from the zero value.
func exampleOf(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.Interface:
		v.Set(reflect.ValueOf(context.WithValue(context.Background(), errFault, "the caller's")))
	case reflect.String:
		v.SetString("text")
	case reflect.Slice:
		v.Set(reflect.MakeSlice(t, 2, 2))
	case reflect.Struct:
		for _, f := range reflect.VisibleFields(t) {
			if f.Type.Kind() == reflect.String {
				v.FieldByIndex(f.Index).SetString("text")
			}
		}
	}
	return v
}
