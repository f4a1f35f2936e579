package job_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/syncdtest"
)

// placed is a sink whose targets' places have an identity, each answer the next one of a list, and the last one again and again.
type placed struct {
	syncd.Sink
	identities []string
	errs       map[int]error // by call
	calls      *int
}

func (p placed) Abilities() syncd.SinkAbilities {
	can := p.Sink.Abilities()
	can.Identity = func(context.Context, syncd.Target) (string, error) {
		n := *p.calls
		*p.calls++
		return p.identities[min(n, len(p.identities)-1)], p.errs[n]
	}
	return can
}

func at(s syncd.Sink, identities ...string) placed {
	return placed{Sink: s, identities: identities, calls: new(int)}
}

// TestAPlaceMadeAnew: what an interrupted run sent is gone with the place that held it, so the collection is read from its start.
// What can't be told is no reason to.
func TestAPlaceMadeAnew(t *testing.T) {
	for _, c := range []struct {
		before, after string
		resumed       int64
	}{{"a", "b", 0}, {"a", "a", 40}, {"", "b", 40}, {"a", "", 40}, {"", "", 40}} {
		t.Run(fmt.Sprintf("%q_then_%q", c.before, c.after), func(t *testing.T) {
			f := newFixture(t, "page")
			f.insert("page", 100, nil)
			f.opts.Workers, f.opts.Readers = 1, 1
			o, path := f.opts, jobFile(t)
			o.Sink = at(syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Write: syncdtest.Nth(5, syncdtest.Fault{Err: errBoom})}), c.before)
			if _, err := attempt(t.Context(), t, path, o); !errors.Is(err, errBoom) {
				t.Fatal(err)
			}
			o.Sink = at(f.sink, c.after)
			rep, err := attempt(t.Context(), t, path, o)
			if err != nil || rep.Resumed != c.resumed || rep.Total.Acked != 100 || int64(len(f.sink.Events())) != 140-c.resumed {
				t.Errorf("%v, resumed %d, %d events, %+v", err, rep.Resumed, len(f.sink.Events()), rep.Total)
			}
		})
	}
}

// TestAPlaceMadeAnewInMidRun: events that were confirmed are gone with it, so the run is not complete, and the next one sends all.
func TestAPlaceMadeAnewInMidRun(t *testing.T) {
	for name, c := range map[string]struct {
		sink func(syncd.Sink) placed
		bad  bool
	}{
		"made anew": {func(s syncd.Sink) placed { return at(s, "a", "b") }, true},
		"gone": {func(s syncd.Sink) placed {
			p := at(s, "a")
			p.errs = map[int]error{1: errBoom}
			return p
		}, true},
		"can't be asked any more": {func(s syncd.Sink) placed {
			p := at(s, "a")
			p.errs = map[int]error{1: syncd.ErrUnavailable}
			return p
		}, false},
		"does not tell any more": {func(s syncd.Sink) placed { return at(s, "a", "") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, "page")
			f.insert("page", 30, nil)
			o, path := f.opts, jobFile(t)
			o.Sink = c.sink(f.sink)
			rep, err := attempt(t.Context(), t, path, o)
			if (err != nil) != c.bad || rep.Total.Acked != 30 || rep.Collections[0].Complete == c.bad {
				t.Fatalf("%v, %+v", err, rep)
			}
			if !c.bad {
				return
			}
			o.Sink = at(f.sink, "b")
			if rep, err := attempt(t.Context(), t, path, o); err != nil || rep.Resumed != 0 || rep.Total.Acked != 30 || len(f.sink.Events()) != 60 {
				t.Errorf("%v, resumed %d, %d events", err, rep.Resumed, len(f.sink.Events()))
			}
		})
	}
}

// TestAPlaceIsOfItsCollection: where one of two places was made anew, the other's collection is resumed.
func TestAPlaceIsOfItsCollection(t *testing.T) {
	f := newFixture(t, "page", "epic")
	f.insert("page", 50, nil)
	f.insert("epic", 50, nil)
	f.opts.Workers, f.opts.Readers = 1, 1
	identities := map[string]string{"page": "p1", "epic": "e1"}
	o, path := f.opts, jobFile(t)
	o.Sink = byTarget{syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Write: syncdtest.Nth(8, syncdtest.Fault{Err: errBoom})}), identities}
	if _, err := attempt(t.Context(), t, path, o); !errors.Is(err, errBoom) {
		t.Fatal(err)
	}
	identities["page"] = "p2"
	o.Sink = byTarget{f.sink, identities}
	if _, err := attempt(t.Context(), t, path, o); err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, e := range f.sink.Events() {
		n[e.Target.Collection]++
	}
	if n["page"] != 100 || n["epic"] != 50 {
		t.Errorf("events: %v", n)
	}
}

type byTarget struct {
	syncd.Sink
	identities map[string]string
}

func (b byTarget) Abilities() syncd.SinkAbilities {
	can := b.Sink.Abilities()
	can.Identity = func(_ context.Context, t syncd.Target) (string, error) { return b.identities[t.Collection], nil }
	return can
}
