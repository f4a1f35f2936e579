package job_test

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

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/arrival"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
)

// positions is a sink that says where events are: in partition 0 or 1 by turns.
type positions struct {
	*syncdtest.MemorySink
	mu   sync.Mutex
	next int64
}

func (p *positions) Write(ctx context.Context, events []syncd.Change) error {
	err := p.MemorySink.Write(ctx, events)
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range events {
		events[i].Placement = syncd.Placement{Partition: int32(p.next % 2), Offset: p.next / 2, Known: true}
		p.next++
	}
	return err
}

// indexing has what is sent indexed at once, but for what drop says.
func (f *fixture) indexing(drop func(id string) bool) {
	f.sink.Written = func(e codec.Event) {
		if drop == nil || !drop(e.ID) {
			f.checker.Add(e.PointID)
		}
	}
}

// runAndWait is a run that waits until the index shows what it sent.
func runAndWait(t testing.TB, o job.Options, w job.Await) (job.Report, arrival.Arrivals, error) {
	t.Helper()
	o.Await = &w
	rep, err := job.Run(t.Context(), o)
	if rep.Arrivals == nil {
		t.Fatal("nothing is said about arrivals", err)
	}
	return rep, *rep.Arrivals, err
}

func TestWaitNamesWhatNeverAppears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "page", "epic")
		f.opts.Sink = &positions{MemorySink: f.sink}
		f.opts.Workers, f.opts.Readers = 1, 1
		f.insert("page", 60, nil)
		f.insert("epic", 40, func(i int) bool { return i < 20 })
		f.indexing(func(id string) bool { return id == "00033" || id == "00050" })
		told := 0
		f.opts.Hooks.Sent = func(_ *mapping.Rule, c []syncd.Change) { told += len(c) }
		var said []arrival.Arrivals
		rep, a, err := runAndWait(t, f.opts, job.Await{
			Timeout: time.Minute, Every: 5 * time.Second, Progress: func(a arrival.Arrivals) { said = append(said, a) },
		})
		if err != nil || !a.Known || a.Interrupted || a.Err != nil {
			t.Fatalf("%+v, %v", a, err)
		}
		if a.Sent != 80 || a.Arrived != 77 || a.Missing() != 3 || told != 80 {
			t.Errorf("%d sent, %d arrived, %d told", a.Sent, a.Arrived, told)
		}
		if a.Waited < time.Minute || a.Waited > time.Minute+time.Second {
			t.Errorf("waited %s", a.Waited)
		}
		var names []string
		for _, n := range a.Open {
			names = append(names, fmt.Sprintf("%s %s %s %d %d", n.Rule.Collection.Name, n.ID, n.Place, n.Placement.Partition, n.Placement.Offset))
			if n.PointID != pointID(n.Rule.Collection.Name, n.ID) {
				t.Errorf("point id %s of %s", n.PointID, n.ID)
			}
		}
		want := []string{"page 00050 db.page 0 25", "page 00033 db.page 1 16", "epic 00033 db.epic 1 36"}
		if !slices.Equal(names, want) {
			t.Errorf("named %q, want %q", names, want)
		}
		if rep.Index.CaughtUp || rep.Index.After.Points-rep.Index.Before.Points != 77 || rep.Index.Waited != a.Waited {
			t.Errorf("index %+v", rep.Index)
		}
		if n := len(said); n < 10 || n > 14 {
			t.Errorf("progress was told %d times", n)
		}
		if last := said[len(said)-1]; last.Arrived != 77 || last.Sending || len(last.Open) != 3 {
			t.Errorf("told last %+v", last)
		}
		// 100 documents were checked in batches of 10, and then the 3 were asked for over and over, ever more slowly.
		if calls := f.checker.Calls(); len(calls) > 80 {
			t.Errorf("%d questions in a minute", len(calls))
		}
	})
}

func TestWaitEndsWhenAllHasArrived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "page")
		f.insert("page", 9000, nil)
		f.opts.BatchSize = 1000
		var ids []uuid.UUID
		f.sink.Written = func(e codec.Event) { // indexed seven seconds later, a hundred at a time
			if ids = append(ids, e.PointID); len(ids) == 100 {
				points := ids
				ids = nil
				time.AfterFunc(7*time.Second, func() { f.checker.Add(points...) })
			}
		}
		rep, a, err := runAndWait(t, f.opts, job.Await{Timeout: time.Hour})
		if err != nil || a.Missing() != 0 || a.Sent != 9000 || !a.Known || len(a.Open) != 0 || !rep.Index.CaughtUp {
			t.Fatalf("%+v, %v", a, err)
		}
		if a.Waited < 6*time.Second || a.Waited > 10*time.Second {
			t.Errorf("waited %s", a.Waited)
		}
		if a.PerSecond < 900 || a.PerSecond > 1300 {
			t.Errorf("%.0f a second", a.PerSecond)
		}
		if rep.Index.After.Points != 9000 {
			t.Errorf("index %+v", rep.Index)
		}
	})
}

// TestWaitThinsWhileTheRunGoesOn checks that what has arrived is no longer asked about when the sending ends.
func TestWaitThinsWhileTheRunGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "page")
		f.insert("page", 1000, nil)
		f.opts.Readers, f.opts.Workers, f.opts.BatchSize, f.opts.Sleep = 1, 1, 10, time.Second
		f.indexing(nil)
		var sending arrival.Arrivals
		_, a, err := runAndWait(t, f.opts, job.Await{Timeout: time.Hour, Every: time.Second, Progress: func(a arrival.Arrivals) {
			if a.Sending {
				sending = a
			}
		}})
		if err != nil || a.Missing() != 0 || a.Waited > time.Second {
			t.Errorf("%+v, %v", a, err)
		}
		if sending.Arrived < 950 || sending.PerSecond < 5 || sending.PerSecond > 20 {
			t.Errorf("while sending %+v", sending)
		}
		asked := 0
		for _, n := range f.checker.Calls() {
			asked += n
		}
		if asked > 1000*5/2 { // once by the run, once when it had arrived, and few more that had not
			t.Errorf("asked about %d points", asked)
		}
	})
}

func TestWaitIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "page")
		f.insert("page", 300, nil)
		drain := make(chan struct{})
		f.opts.Drain = drain
		time.AfterFunc(30*time.Second, func() { close(drain) })
		f.indexing(func(id string) bool { return id < "00200" })
		rep, a, err := runAndWait(t, f.opts, job.Await{Timeout: time.Hour})
		if err != nil || rep.Interrupted || !a.Interrupted || !a.Known || a.Missing() != 200 || len(a.Open) != 100 {
			t.Errorf("%+v, %v", a, err)
		}
		if a.Waited > 31*time.Second {
			t.Errorf("waited %s", a.Waited)
		}
	})
}

func TestWaitCannotAsk(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		check syncdtest.Schedule
		known bool
	}{
		"for a while": {func(n int) syncdtest.Fault {
			if n > 5 && n < 12 {
				return syncdtest.Fault{Err: boom}
			}
			return syncdtest.Fault{}
		}, true},
		"any more": {func(n int) syncdtest.Fault {
			if n > 5 {
				return syncdtest.Fault{Err: boom}
			}
			return syncdtest.Fault{}
		}, false},
		"and hangs": {func(n int) syncdtest.Fault {
			if n > 5 {
				return syncdtest.Fault{Gate: syncdtest.NewGate()}
			}
			return syncdtest.Fault{}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, "page")
				f.insert("page", 50, nil)
				f.indexing(nil)
				f.opts.Checker = syncdtest.FaultyChecker(f.checker, syncdtest.CheckerFaults{Check: c.check})
				_, a, err := runAndWait(t, f.opts, job.Await{Timeout: time.Minute})
				if err != nil || a.Sent != 50 {
					t.Fatalf("%+v, %v", a, err)
				}
				if a.Known != c.known || (a.Err == nil) != c.known || c.known && a.Arrived != 50 {
					t.Errorf("%+v", a)
				}
				if !c.known && name != "and hangs" && !errors.Is(a.Err, boom) {
					t.Errorf("error %v", a.Err)
				}
			})
		})
	}
}

func TestWaitAfterAFailedRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		f := newFixture(t, "page")
		f.insert("page", 500, nil)
		f.opts.Sink = syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Write: syncdtest.Nth(3, syncdtest.Fault{Err: boom})})
		rep, a, err := runAndWait(t, f.opts, job.Await{Timeout: time.Hour})
		if !errors.Is(err, boom) || a.Waited > time.Second || a.Sent != rep.Total.Acked || a.Sent == 0 {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

func TestWaitWithNobodyToAsk(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 5, nil)
	f.opts.Checker = nil
	_, a, err := runAndWait(t, f.opts, job.Await{Timeout: time.Hour})
	if err != nil || a.Known || a.Sent != 5 || a.Arrived != 0 {
		t.Errorf("%+v, %v", a, err)
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

func (p *payloads) Read(_ context.Context, points []syncd.Point, keys []string, found []syncd.Found) error {
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

func (p *payloads) Abilities() syncd.CheckerAbilities { return syncd.CheckerAbilities{Read: p.Read} }

func (p *payloads) Close() error { return nil }

func pointOf(collection, id string, chunk int) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%s/%s/%d", id, collection, chunk))
}

// TestWaitJudgesAsTheRuleDoes waits for versions and chunks.
func TestWaitJudgesAsTheRuleDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		index := &payloads{points: map[uuid.UUID]map[string]string{}}
		source, sink := syncdtest.NewMemorySource(), syncdtest.NewMemorySink()
		compile := spec.NewDecoder()
		m := mapping.Compile(mapping.Config{
			Namespace: "url", Seed: mapping.DefaultSeed, Chunks: &mapping.Chunks{Payload: "chunk_count"},
			Version: &mapping.Version{Field: []string{"at"}, Payload: "at"},
			Collections: mapping.Collections{
				{Name: "page", ContentType: "page"},
				{Name: "epic", ContentType: "epic", Seed: "{fields.space}/{mongo_id}/epic/{chunk_index}"},
			},
		}, "db", compile, nil)
		if d := compile.Diagnostics(); d.HasErrors() {
			t.Fatal(d)
		}
		insert := func(collection, id, at string) {
			fields := map[string]any{"space": "s"}
			if at != "" {
				fields["at"] = at
			}
			source.Insert(collection, syncdtest.MemoryDoc{ID: id, Fields: fields})
		}
		const old, sent, newer = "2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"
		stays := map[string]bool{"stale": true, "partial": true, "missing": true, "epic-stale": true}
		for _, id := range []string{"updated", "overtaken", "stale", "partial", "whole", "missing"} {
			insert("page", id, sent)
		}
		insert("page", "unversioned", "")
		insert("epic", "epic-stale", sent)
		insert("epic", "epic-updated", sent)
		for _, id := range []string{"updated", "overtaken", "stale"} {
			index.set(pointOf("page", id, 0), "at", old)
		}
		sink.Written = func(e codec.Event) {
			switch e.ID {
			case "updated", "epic-updated":
				index.set(e.PointID, "at", sent)
			case "overtaken":
				index.set(e.PointID, "at", newer)
			case "stale", "epic-stale":
				index.set(e.PointID, "at", old)
			case "partial", "whole":
				index.set(e.PointID, "at", sent, "chunk_count", "3")
				index.set(pointOf("page", e.ID, 1))
				if e.ID == "whole" {
					time.AfterFunc(time.Second, func() { index.set(pointOf("page", e.ID, 2)) })
				}
			case "unversioned":
				index.set(e.PointID)
			}
		}
		_, a, err := runAndWait(t, job.Options{Options: engine.Options{
			RunID: "r", Source: source, Checker: index, Sink: sink, Rules: m.Rules, BatchSize: 3, BatchBytes: 1 << 20,
			Logger: slog.New(slog.DiscardHandler),
		}}, job.Await{Timeout: time.Minute})
		if err != nil || a.Sent != 9 || a.Missing() != int64(len(stays)) {
			t.Fatalf("%+v, %v", a, err)
		}
		for _, n := range a.Open {
			if !stays[n.ID] {
				t.Errorf("%s is said not to have arrived", n.ID)
			}
		}
	})
}
