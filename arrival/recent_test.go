package arrival_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/arrival"
	"github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestWaitsForTheIndexer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := fixture.Rules(t, "page", "epic")
		index := syncdtest.NewMemoryChecker()
		recent := arrival.NewRecent(index)
		for _, rule := range rules {
			for i := range 100 {
				sent := inserts(rule.Collection.Name, i, i+1)
				time.AfterFunc(5*time.Second, func() { index.Add(points(sent)...) })
				recent.Sent(rule, sent)
			}
		}
		began := time.Now()
		if !recent.Await(t.Context(), nil, time.Minute, 200) {
			t.Error("it was not seen")
		}
		if waited := time.Since(began); waited < 5*time.Second || waited > 8*time.Second {
			t.Errorf("waited %s", waited)
		}
		if asked := index.Calls()[0]; asked != 128 {
			t.Errorf("asked about %d points", asked)
		}
	})
}

func TestWaitEnds(t *testing.T) {
	drain := make(chan struct{})
	close(drain)
	for name, c := range map[string]struct {
		faults  syncdtest.CheckerFaults
		drain   <-chan struct{}
		indexed bool // what was sent; more is expected
		want    bool
		waited  time.Duration
	}{
		"when the time is up":                 {waited: 10 * time.Second},
		"with the drain":                      {drain: drain},
		"when the index can't be asked":       {faults: syncdtest.CheckerFaults{Check: syncdtest.Nth(1, syncdtest.Fault{Err: errors.New("boom")})}},
		"when the index can't be looked at":   {indexed: true, faults: syncdtest.CheckerFaults{Inspect: syncdtest.Nth(1, syncdtest.Fault{Err: errors.New("boom")})}},
		"when the index does not grow longer": {indexed: true, want: true, waited: 200 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rules := fixture.Rules(t, "page")
				index := syncdtest.NewMemoryChecker()
				recent := arrival.NewRecent(syncdtest.FaultyChecker(index, c.faults))
				sent := inserts("page", 0, 10)
				recent.Sent(rules[0], sent)
				if c.indexed {
					index.Add(points(sent)...)
				}
				began := time.Now()
				if got := recent.Await(t.Context(), c.drain, 10*time.Second, 1000); got != c.want || time.Since(began) != c.waited {
					t.Errorf("%v after %s", got, time.Since(began))
				}
			})
		})
	}
}

func TestTheLastDeletesAreWaitedForToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := fixture.Rules(t, "page")
		index := syncdtest.NewMemoryChecker()
		recent := arrival.NewRecent(index)
		sent := inserts("page", 0, 200)
		for i := range sent {
			sent[i].Operation = syncd.Delete
		}
		index.Add(points(sent)...)
		recent.Sent(rules[0], sent)
		time.AfterFunc(5*time.Second, func() { index.Remove(points(sent[136:])...) }) // the last 64
		began := time.Now()
		if !recent.Await(t.Context(), nil, time.Minute, 0) || time.Since(began) < 5*time.Second {
			t.Errorf("after %s", time.Since(began))
		}
	})
}

// TestTheCountIsAwaitedWhereItFalls: how many points deletes leave is not known, so their number is waited for until it rests.
func TestTheCountIsAwaitedWhereItFalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := fixture.Rules(t, "page")
		index := syncdtest.NewMemoryChecker()
		recent := arrival.NewRecent(index)
		sent := inserts("page", 0, 200)
		for i := range sent {
			sent[i].Operation = syncd.Delete
		}
		index.Add(points(sent)...)
		recent.Sent(rules[0], sent)
		index.Remove(points(sent[136:])...) // the last 64 are first, and the others follow one by one
		go func() {
			for i := range 100 {
				time.Sleep(20 * time.Millisecond)
				index.Remove(points(sent[i : i+1])...)
			}
		}()
		if !recent.Await(t.Context(), nil, time.Minute, -1) {
			t.Error("it gave up")
		}
		if now, err := index.Abilities().Inspect(t.Context()); err != nil || now.Points != 36 {
			t.Errorf("%d points, %v", now.Points, err)
		}
	})
}
