package arrival_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/arrival"
	"github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func options(checker syncd.Checker, rules []*mapping.Rule, timeout time.Duration) arrival.Options {
	return arrival.Options{Checker: checker, Rules: rules, Timeout: timeout, Logger: slog.New(slog.DiscardHandler)}
}

// wait is what a run does with a tracker: it follows while send sends, and then awaits.
func wait(ctx context.Context, tracker *arrival.Tracker, drain <-chan struct{}, send func()) arrival.Arrivals {
	sending, ended := context.WithCancel(ctx)
	var following sync.WaitGroup
	following.Go(func() { tracker.Follow(sending) })
	send()
	ended()
	following.Wait()
	return tracker.Await(ctx, drain)
}

// inserts are confirmed changes of the documents from, from+1, … to-1.
func inserts(collection string, from, to int) (changes []syncd.Change) {
	for i := from; i < to; i++ {
		id := fmt.Sprintf("%05d", i)
		changes = append(changes, syncd.Change{ID: id, PointID: fixture.PointID(collection, id, 0)})
	}
	return changes
}

func points(changes []syncd.Change) (ids []uuid.UUID) {
	for _, c := range changes {
		ids = append(ids, c.PointID)
	}
	return ids
}

func TestWaitNamesWhatNeverAppears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := fixture.Rules(t, "page", "epic")
		index := syncdtest.NewMemoryChecker()
		var said []arrival.Arrivals
		o := options(index, rules, time.Minute)
		o.Every, o.Progress = 5*time.Second, func(a arrival.Arrivals) { said = append(said, a) }
		o.Route = func(t syncd.Target) string { return t.Database + "." + t.Collection }
		tracker := arrival.NewTracker(o)
		a := wait(t.Context(), tracker, nil, func() {
			next := int64(0)
			send := func(rule *mapping.Rule, changes []syncd.Change) { // in partition 0 or 1 by turns
				for i := range changes {
					changes[i].Placement = syncd.Placement{Partition: int32(next % 2), Offset: next / 2, Known: true}
					next++
				}
				for batch := range slices.Chunk(changes, 10) {
					for _, c := range batch {
						if c.ID != "00033" && c.ID != "00050" {
							index.Add(c.PointID)
						}
					}
					tracker.Sent(rule, batch)
				}
			}
			send(rules[0], inserts("page", 0, 60))
			send(rules[1], inserts("epic", 20, 40))
		})
		if !a.Known || a.Interrupted || a.Err != nil {
			t.Fatalf("%+v", a)
		}
		if a.Sent != 80 || a.Arrived != 77 || a.Missing() != 3 {
			t.Errorf("%d sent, %d arrived", a.Sent, a.Arrived)
		}
		if a.Waited < time.Minute || a.Waited > time.Minute+time.Second {
			t.Errorf("waited %s", a.Waited)
		}
		var names []string
		for _, n := range a.Open {
			names = append(names, fmt.Sprintf("%s %s %s %d %d", n.Rule.Collection.Name, n.ID, n.Place, n.Placement.Partition, n.Placement.Offset))
			if n.PointID != fixture.PointID(n.Rule.Collection.Name, n.ID, 0) || !n.Placement.Known || n.Deleted {
				t.Errorf("%+v", n)
			}
		}
		want := []string{"page 00050 db.page 0 25", "page 00033 db.page 1 16", "epic 00033 db.epic 1 36"}
		if !slices.Equal(names, want) {
			t.Errorf("named %q, want %q", names, want)
		}
		if n := len(said); n < 10 || n > 14 {
			t.Errorf("progress was told %d times", n)
		}
		if last := said[len(said)-1]; last.Arrived != 77 || last.Sending || len(last.Open) != 3 {
			t.Errorf("told last %+v", last)
		}
		// The 3 were asked for over and over, ever more slowly.
		if calls := index.Calls(); len(calls) > 70 {
			t.Errorf("%d questions in a minute", len(calls))
		}
	})
}

func TestWaitEndsWhenAllHasArrived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := fixture.Rules(t, "page")
		index := syncdtest.NewMemoryChecker()
		tracker := arrival.NewTracker(options(index, rules, time.Hour))
		a := wait(t.Context(), tracker, nil, func() {
			for batch := range slices.Chunk(inserts("page", 0, 9000), 1000) {
				for some := range slices.Chunk(batch, 100) { // indexed seven seconds later, a hundred at a time
					time.AfterFunc(7*time.Second, func() { index.Add(points(some)...) })
				}
				tracker.Sent(rules[0], batch)
			}
		})
		if a.Missing() != 0 || a.Sent != 9000 || !a.Known || len(a.Open) != 0 {
			t.Fatalf("%+v", a)
		}
		if a.Waited < 6*time.Second || a.Waited > 10*time.Second {
			t.Errorf("waited %s", a.Waited)
		}
		if a.PerSecond < 900 || a.PerSecond > 1300 {
			t.Errorf("%.0f a second", a.PerSecond)
		}
	})
}

// TestWaitThinsWhileTheRunGoesOn checks that what has arrived is no longer asked about when the sending ends.
func TestWaitThinsWhileTheRunGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := fixture.Rules(t, "page")
		index := syncdtest.NewMemoryChecker()
		var sending arrival.Arrivals
		o := options(index, rules, time.Hour)
		o.Every, o.Progress = time.Second, func(a arrival.Arrivals) {
			if a.Sending {
				sending = a
			}
		}
		tracker := arrival.NewTracker(o)
		a := wait(t.Context(), tracker, nil, func() {
			for batch := range slices.Chunk(inserts("page", 0, 1000), 10) {
				index.Add(points(batch)...)
				tracker.Sent(rules[0], batch)
				time.Sleep(time.Second)
			}
		})
		if a.Missing() != 0 || a.Waited > time.Second {
			t.Errorf("%+v", a)
		}
		if sending.Arrived < 950 || sending.PerSecond < 5 || sending.PerSecond > 20 {
			t.Errorf("while sending %+v", sending)
		}
		asked := 0
		for _, n := range index.Calls() {
			asked += n
		}
		if asked > 1000*3/2 { // once when it had arrived, and few more that had not
			t.Errorf("asked about %d points", asked)
		}
	})
}

func TestWaitIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := fixture.Rules(t, "page")
		index := syncdtest.NewMemoryChecker()
		drain := make(chan struct{})
		time.AfterFunc(30*time.Second, func() { close(drain) })
		tracker := arrival.NewTracker(options(index, rules, time.Hour))
		a := wait(t.Context(), tracker, drain, func() {
			all := inserts("page", 0, 300)
			index.Add(points(all[200:])...)
			tracker.Sent(rules[0], all)
		})
		if !a.Interrupted || !a.Known || a.Missing() != 200 || len(a.Open) != 100 {
			t.Errorf("%+v", a)
		}
		if a.Waited > 31*time.Second {
			t.Errorf("waited %s", a.Waited)
		}
	})
}

func TestWaitCannotAsk(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		check func() syncdtest.Schedule // called in the bubble, to which a gate belongs
		known bool
	}{
		"for a while": {func() syncdtest.Schedule {
			return func(n int) syncdtest.Fault {
				if n < 7 {
					return syncdtest.Fault{Err: boom}
				}
				return syncdtest.Fault{}
			}
		}, true},
		"any more":  {func() syncdtest.Schedule { return syncdtest.Always(syncdtest.Fault{Err: boom}) }, false},
		"and hangs": {func() syncdtest.Schedule { return syncdtest.Always(syncdtest.Fault{Gate: syncdtest.NewGate()}) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rules := fixture.Rules(t, "page")
				index := syncdtest.NewMemoryChecker()
				tracker := arrival.NewTracker(options(syncdtest.FaultyChecker(index, syncdtest.CheckerFaults{Check: c.check()}), rules, time.Minute))
				a := wait(t.Context(), tracker, nil, func() {
					all := inserts("page", 0, 50)
					index.Add(points(all)...)
					tracker.Sent(rules[0], all)
				})
				if a.Sent != 50 || a.Known != c.known || (a.Err == nil) != c.known || c.known && a.Arrived != 50 {
					t.Errorf("%+v", a)
				}
				if !c.known && name != "and hangs" && !errors.Is(a.Err, boom) {
					t.Errorf("error %v", a.Err)
				}
				if name == "and hangs" && a.Waited > 3*time.Minute {
					t.Errorf("waited %s", a.Waited)
				}
			})
		})
	}
}

// TestNobodyWaits: after a failed run nothing more is asked.
func TestNobodyWaits(t *testing.T) {
	rules := fixture.Rules(t, "page")
	index := syncdtest.NewMemoryChecker()
	tracker := arrival.NewTracker(options(index, rules, time.Hour))
	tracker.Sent(rules[0], inserts("page", 0, 30))
	a := tracker.Interrupt()
	if a.Sent != 30 || a.Arrived != 0 || !a.Interrupted || len(a.Open) != 30 || a.Waited > time.Minute || len(index.Calls()) != 0 {
		t.Errorf("%+v", a)
	}
	if a := arrival.NewTracker(options(index, rules, time.Hour)).Interrupt(); a.Sent != 0 || a.Interrupted {
		t.Errorf("nothing was sent: %+v", a)
	}
}

// TestADeleteHasArrivedWhenThePointIsGone, whatever else its rule looks at.
func TestADeleteHasArrivedWhenThePointIsGone(t *testing.T) {
	for name, rules := range map[string][]*mapping.Rule{"plain": fixture.Rules(t, "page"), "versioned": fixture.Versioned(t, "page")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				index := syncdtest.NewMemoryChecker()
				all := inserts("page", 0, 20)
				for i := range all[:10] {
					all[i].Operation = syncd.Delete
				}
				index.Add(points(all)...)
				time.AfterFunc(5*time.Second, func() { index.Remove(points(all[:8])...) })
				o := options(index, rules, time.Minute)
				tracker := arrival.NewTracker(o)
				a := wait(t.Context(), tracker, nil, func() { tracker.Sent(rules[0], all) })
				if a.Sent != 20 || a.Missing() != 2 || len(a.Open) != 2 || a.Open[0].ID != "00008" || !a.Open[0].Deleted {
					t.Errorf("%+v", a)
				}
			})
		})
	}
}

// payloads is an index whose points carry something.
type payloads struct {
	mu     sync.Mutex
	points map[uuid.UUID]map[string]string
}

func (p *payloads) set(id uuid.UUID, pairs ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	p.points[id] = m
}

func (p *payloads) Check(_ context.Context, points []syncd.Point, verdicts []syncd.Verdict) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, q := range points {
		verdicts[i] = syncd.Missing
		if p.points[q.ID] != nil {
			verdicts[i] = syncd.Present
		}
	}
	return nil
}

func (p *payloads) Abilities() syncd.CheckerAbilities { return syncd.CheckerAbilities{Read: p.read} }

func (p *payloads) read(_ context.Context, points []syncd.Point, keys []string, found []syncd.Found) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, q := range points {
		held, ok := p.points[q.ID]
		found[i] = syncd.Found{Present: ok}
		for _, k := range keys {
			text, set := held[k]
			found[i].Payload = append(found[i].Payload, syncd.Value{Text: text, Set: set})
		}
	}
	return nil
}

func (p *payloads) Close() error { return nil }

// TestWaitJudgesAsTheRuleDoes waits for versions and chunks.
func TestWaitJudgesAsTheRuleDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		index := &payloads{points: map[uuid.UUID]map[string]string{}}
		c := mapping.Defaults()
		c.Chunks, c.Version = &mapping.Chunks{Payload: "chunk_count"}, &mapping.Version{Field: []string{"at"}, Payload: "at"}
		c.Collections = mapping.Collections{
			{Name: "page", ContentType: "page"},
			{Name: "epic", ContentType: "epic", Seed: "{fields.space}/{mongo_id}/epic/{chunk_index}"},
		}
		rules := fixture.Compile(t, c)
		const old, sent, newer = "2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"
		change := func(rule *mapping.Rule, id string, version syncd.Value) syncd.Change {
			c := syncd.Change{ID: id}
			for _, field := range rule.Fields() {
				c.Fields = append(c.Fields, map[string]syncd.Value{"space": {Text: "s", Set: true}, "at": version}[field])
			}
			var err error
			if c.PointID, err = rule.PointID(new([]byte), &c, 0); err != nil {
				t.Fatal(err)
			}
			return c
		}
		at := syncd.Value{Text: sent, Set: true}
		var pages, epics []syncd.Change
		for _, id := range []string{"updated", "overtaken", "stale", "partial", "whole", "missing"} {
			pages = append(pages, change(rules[0], id, at))
		}
		pages = append(pages, change(rules[0], "unversioned", syncd.Value{}))
		for _, id := range []string{"epic-stale", "epic-updated", "epic-chunks"} {
			epics = append(epics, change(rules[1], id, at))
		}
		stays := map[string]bool{"stale": true, "partial": true, "missing": true, "epic-stale": true}
		tracker := arrival.NewTracker(options(index, rules, time.Minute))
		a := wait(t.Context(), tracker, nil, func() {
			for _, c := range slices.Concat(pages, epics) {
				switch c.ID {
				case "updated", "epic-updated":
					index.set(c.PointID, "at", sent)
				case "epic-chunks": // which can't be known of a seed with fields
					index.set(c.PointID, "at", sent, "chunk_count", "3")
				case "overtaken":
					index.set(c.PointID, "at", newer)
				case "stale", "epic-stale":
					index.set(c.PointID, "at", old)
				case "partial", "whole":
					index.set(c.PointID, "at", sent, "chunk_count", "3")
					index.set(fixture.PointID("page", c.ID, 1))
					if c.ID == "whole" {
						time.AfterFunc(time.Second, func() { index.set(fixture.PointID("page", c.ID, 2)) })
					}
				case "unversioned":
					index.set(c.PointID)
				}
			}
			tracker.Sent(rules[0], pages)
			tracker.Sent(rules[1], epics)
		})
		if a.Sent != 10 || a.Missing() != int64(len(stays)) {
			t.Fatalf("%+v", a)
		}
		for _, n := range a.Open {
			if !stays[n.ID] {
				t.Errorf("%s is said not to have arrived", n.ID)
			}
		}
	})
}
