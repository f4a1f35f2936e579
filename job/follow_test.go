package job_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	sides "github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/store/bolt"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

// followed is a job that follows a source in memory, with an indexer that is never behind.
type followed struct {
	source *syncdtest.MemorySource
	index  *syncdtest.MemoryChecker
	sink   *syncdtest.MemorySink
	faults syncdtest.SinkFaults
	state  string
	follow bool
	run    string        // lines of the run section
	more   string        // further sections
	counts func() int64  // documents that the source counts beside those it has
	group  *group        // the source can only be followed, and keeps how far it was read
	change *syncd.Switch // of readers to what the sink writes

	mu       sync.Mutex
	index2   map[string]string // what a consumer of the events has
	log      bytes.Buffer
	lost     []string // why all documents were looked at again
	backfill []job.Result
	decided  []job.Decision
	began    int
}

func newFollowed(t *testing.T) *followed {
	f := &followed{
		source: syncdtest.NewMemorySource(), index: syncdtest.NewMemoryChecker(), sink: syncdtest.NewMemorySink(),
		follow: true, state: t.TempDir(), index2: map[string]string{},
	}
	f.source.Record()
	f.source.Create("page")
	return f
}

// indexing is a sink whose events are in the index when they are confirmed.
type indexing struct {
	syncd.Sink
	f *followed
}

func (s indexing) Write(ctx context.Context, changes []syncd.Change) error {
	before := len(s.f.sink.Events())
	err := s.Sink.Write(ctx, changes)
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	for _, e := range s.f.sink.Events()[before:] { // others' as well, which does no harm
		var v struct {
			Operation string          `json:"operationType"`
			Document  json.RawMessage `json:"fullDocument"`
		}
		if err := json.Unmarshal(e.Value, &v); err != nil {
			return err
		}
		point := sides.PointID("page", e.ID, 0)
		if v.Operation == "delete" {
			delete(s.f.index2, e.ID)
			s.f.index.Remove(point)
			continue
		}
		s.f.index2[e.ID] = string(v.Document)
		s.f.index.Put(point, map[string]any{"mongo_id": e.ID, "content_type": "page", "chunk_index": 0, "source": "m"})
	}
	return err
}

// Abilities has a group of consumers of which nobody learns how far it is.
func (s indexing) Abilities() syncd.SinkAbilities {
	a := s.Sink.Abilities()
	a.Lag = func(ctx context.Context, _ string, _ []syncd.Target) ([]syncd.PartitionLag, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	a.Switch = s.f.change
	return a
}

// miscounting counts documents that no scan comes upon, as where others delete behind a scan and insert in front of it.
type miscounting struct {
	*syncdtest.MemorySource
	more func() int64
}

func (s miscounting) Abilities() syncd.SourceAbilities {
	a := s.MemorySource.Abilities()
	a.Count = func(ctx context.Context, c syncd.Collection) (int64, error) {
		n, err := s.Count(ctx, c)
		n += s.more()
		if err == nil {
			err = ctx.Err()
		}
		return n, err
	}
	return a
}

// job makes the job, whose sink has the faults that are set.
func (f *followed) job(t *testing.T, drain <-chan struct{}) *job.Job {
	t.Helper()
	sink := syncd.NewSink("sink", "Keeps events in memory.", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Sink, error) {
		return indexing{syncdtest.FaultySink(f.sink, f.faults), f}, nil
	})
	source := f.source.Plugin("memory")
	if f.counts != nil {
		source = syncd.NewSource("memory", "Counts otherwise.", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Source, error) {
			return miscounting{f.source, f.counts}, nil
		})
	}
	if f.group != nil {
		source = f.group.plugin(f.source)
	}
	registry, err := syncd.NewRegistry(source, f.index.Plugin("index"), sink)
	if err != nil {
		t.Fatal(err)
	}
	text := "source: {memory: {}}\nchecker: {index: {}}\nsink: {sink: {}}\nmapping: {owner: {exclusive: true}, collections: {page: page}}\n" +
		"run:\n  follow: " + strconv.FormatBool(f.follow) + "\n  state_dir: " + strconv.Quote(f.state) + "\n" + f.run + "\n" + f.more
	c, diags := config.Load(config.Input{Path: "job.yaml", Text: []byte(text), Registry: registry})
	if c == nil {
		t.Fatal(diags)
	}
	return &job.Job{Config: c, Logger: slog.New(slog.NewTextHandler(&f.log, nil)), Getenv: func(string) string { return "" }, Drain: drain}
}

// live is one life of the job, which do ends: by a drain, or by a kill.
func (f *followed) live(t *testing.T, kill bool, do func()) (job.Result, error) {
	t.Helper()
	drain := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var res job.Result
	done := make(chan error, 1)
	j := f.job(t, drain)
	go func() {
		var err error
		res, err = j.Backfill(ctx, job.Request{Observer: job.Observer{State: func(d job.Decision) { f.decided = append(f.decided, d) }}, Following: job.Following{
			Began:    func([]syncd.Stream) { f.began++ },
			Backfill: func(r job.Result, _ error) { f.backfill = append(f.backfill, r) },
			Reconciling: func(r job.Reconcile) {
				why := string(r.Cause)
				if r.Err != nil {
					why += ": " + r.Err.Error()
				}
				f.lost = append(f.lost, why)
			},
		}})
		done <- err
	}()
	do()
	if kill {
		stop()
	} else {
		close(drain)
	}
	err := <-done
	return res, err
}

// settle waits until nothing is under way.
func settle() {
	time.Sleep(2 * time.Second)
	synctest.Wait()
}

func pageDoc(id, v int) syncdtest.MemoryDoc {
	return syncdtest.MemoryDoc{ID: strconv.Itoa(id), Fields: map[string]any{"v": v}}
}

// same compares what a consumer has with what the source has.
func (f *followed) same(t *testing.T) {
	t.Helper()
	want := map[string]string{}
	for b, err := range f.source.Read(t.Context(), syncd.ReadRequest{Split: syncd.Split{Collection: syncd.Collection{Name: "page"}}, Documents: true, BatchSize: 1000}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range b.Changes {
			text, err := c.Document.AppendJSON(nil, syncd.Plain)
			if err != nil {
				t.Fatal(err)
			}
			want[c.ID] = string(text)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if diff := cmp.Diff(want, f.index2); diff != "" {
		t.Errorf("what the events made is not what the source has (-source +made):\n%s", diff)
	}
}

// TestAJobThatFollows backfills once, follows, and goes on where it left off, without looking at all documents again.
func TestAJobThatFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowed(t)
		for i := range 50 {
			f.source.Insert("page", pageDoc(i, 1))
		}
		for life := range 3 {
			res, err := f.live(t, false, func() {
				settle()
				for i := range 60 {
					f.source.Insert("page", pageDoc(i, life+2))
				}
				f.source.Delete("page", strconv.Itoa(life))
				settle()
			})
			if err != nil {
				t.Fatal(err)
			}
			if kept, err := bolt.List(f.state); err != nil || len(kept) != 1 || kept[0].Info.Outcome != tally.Complete || !kept[0].Info.Resumable {
				t.Errorf("life %d ended as it was told to, and what is kept of it says otherwise: %+v, %v", life, kept, err)
			}
			if len(f.decided) != life || life > 0 && (!f.decided[life-1].Resumed || !f.decided[life-1].Followed) {
				t.Errorf("life %d: decided %+v", life, f.decided)
			}
			f.same(t)
			if len(res.Streams) != 1 || res.Streams[0].Name != "memory" || res.Streams[0].Counts != *res.Followed || res.Followed.Acked < 61*int64(life+1) {
				t.Errorf("life %d: %+v", life, res.Streams)
			}
			f.source.Insert("page", pageDoc(100+life, 1)) // while it does not run
			f.source.Delete("page", strconv.Itoa(10+life))
		}
		if n := len(f.backfill); n != 1 || f.backfill[0].Report.Total.Acked != 50 || f.began != 3 || len(f.lost) != 0 {
			t.Errorf("%d backfills, %d lives, lost %q", n, f.began, f.lost)
		}
	})
}

// TestARunThatDoesNotFollowLooksAtAllDocuments, where the job followed before: what changed since then is in none of the positions that were
// kept.
func TestARunThatDoesNotFollowLooksAtAllDocuments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowed(t)
		for i := range 50 {
			f.source.Insert("page", pageDoc(i, 1))
		}
		if _, err := f.live(t, false, settle); err != nil {
			t.Fatal(err)
		}
		f.source.Insert("page", pageDoc(50, 1)) // while nothing runs
		f.follow = false
		res, err := f.job(t, nil).Backfill(t.Context(), job.Request{})
		if err != nil || res.Report.Total.Scanned != 51 || res.Report.Resumed != 0 {
			t.Errorf("%v, %+v", err, res.Report.Total)
		}
		f.same(t)
	})
}

// TestAFollowingRunTakesUpNoOther: a run that was begun without following is not taken up by one that follows, though streams were kept
// before; else nobody could tell later that it did.
func TestAFollowingRunTakesUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowed(t)
		for i := range 50 {
			f.source.Insert("page", pageDoc(i, 1))
		}
		if _, err := f.live(t, false, settle); err != nil { // and the stream is kept
			t.Fatal(err)
		}
		f.follow, f.run = false, "  batch_size: 10\n  readers: 1\n  sleep: 1s\n"
		if _, err := f.live(t, true, func() { time.Sleep(2500 * time.Millisecond) }); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		f.follow, f.run = true, ""
		if _, err := f.live(t, false, settle); err != nil {
			t.Fatal(err)
		}
		f.source.Insert("page", pageDoc(50, 1)) // while nothing runs
		f.follow = false
		res, err := f.job(t, nil).Backfill(t.Context(), job.Request{})
		if err != nil || res.Report.Total.Scanned != 51 || res.Report.Resumed != 0 {
			t.Errorf("%v, %+v", err, res.Report.Total)
		}
		f.same(t)
	})
}

// TestAScanThatIsNotProvedIsRepeated: others' writes keep a scan from being proved. All documents are looked at again; where that
// does not help, the next start does so too, rather than to go on behind what was not proved.
func TestAScanThatIsNotProvedIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowed(t)
		for i := range 50 {
			f.source.Insert("page", pageDoc(i, 1))
		}
		f.counts = func() int64 { return 1 }
		_, err := f.live(t, false, settle)
		if _, unproved := errors.AsType[*tally.CoverageError](err); !unproved || f.began != 0 {
			t.Fatalf("%v; it followed %d times", err, f.began)
		}
		calls := 0
		f.counts = func() int64 {
			if calls++; calls <= 2 { // those of the first look
				return 1
			}
			return 0
		}
		_, err = f.live(t, false, func() {
			settle()
			f.source.Insert("page", pageDoc(7, 2))
			f.source.Delete("page", "8")
			settle()
		})
		if err != nil || f.began != 1 || len(f.backfill) != 1 {
			t.Errorf("%v; it followed %d times, after %d backfills", err, f.began, len(f.backfill))
		}
		f.same(t)
		if n := len(f.sink.Events()); n != 52 {
			t.Errorf("%d events, want the 50 documents once and 2 changes", n)
		}
	})
}

// TestWhatIsNotProvedIsNotKeptForGood, without following: a run that can't prove its scan ends, and so does one that resumes a process
// which died between the scan and its proof; the next one begins anew.
func TestWhatIsNotProvedIsNotKeptForGood(t *testing.T) {
	for _, dies := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newFollowed(t)
			f.follow = false
			for i := range 50 {
				f.source.Insert("page", pageDoc(i, 1))
			}
			run := func(counts func(call int) int64) (job.Result, error) {
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				calls := 0
				f.counts = func() int64 {
					if calls++; calls == 2 && dies {
						stop()
					}
					return counts(calls)
				}
				return f.job(t, nil).Backfill(ctx, job.Request{})
			}
			unproved := func(err error) bool { _, is := errors.AsType[*tally.CoverageError](err); return is }
			more := func(int) int64 { return 1 }
			if res, err := run(more); err == nil || unproved(err) == dies || res.Resumable != dies {
				t.Fatalf("dies %t: %v, resumable %t", dies, err, res.Resumable)
			}
			if dies {
				dies = false
				if res, err := run(more); !unproved(err) || res.Resumable {
					t.Fatalf("the resumed run: %v, resumable %t", err, res.Resumable)
				}
			}
			res, err := run(func(int) int64 { return 0 })
			if err != nil || res.Report.Total.Scanned != 50 || res.Report.Resumed != 0 {
				t.Errorf("the next run: %v, %+v", err, res.Report.Total)
			}
			f.same(t)
		})
	}
}

// TestADrainBeforeFollowingIsAnInterruption, wherever the backfill is: nothing is followed yet, and not all was looked at. Behind it, the
// drain is the end that was asked for.
func TestADrainBeforeFollowingIsAnInterruption(t *testing.T) {
	for name, hold := range map[string]func(*followed, syncdtest.Schedule){
		"waiting for consumers": func(f *followed, _ syncdtest.Schedule) { f.run = "  consumer_group: indexer" },
		"preparing":             func(f *followed, s syncdtest.Schedule) { f.faults.Prepare = s },
		"sending":               func(f *followed, s syncdtest.Schedule) { f.faults.Write = s },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowed(t)
				for i := range 50 {
					f.source.Insert("page", pageDoc(i, 1))
				}
				hold(f, syncdtest.Always(syncdtest.Fault{Gate: syncdtest.NewGate()}))
				res, err := f.live(t, false, settle)
				if interrupted := job.OutcomeOf(err) == tally.Interrupted || errors.Is(err, context.Canceled); !interrupted || f.began != 0 || res.Followed != nil || !res.Resumable {
					t.Errorf("%v, resumable %t; it followed %d times", err, res.Resumable, f.began)
				}
				f.faults, f.run = syncdtest.SinkFaults{}, ""
				if res, err = f.live(t, false, settle); err != nil || f.began != 1 || res.Followed == nil {
					t.Errorf("%v; it followed %d times", err, f.began)
				}
				f.same(t)
			})
		})
	}
}

// TestFollowingAnInterruptedRun: what that run has looked at may have changed before the stream begins, so all is looked at again.
func TestFollowingAnInterruptedRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowed(t)
		f.follow, f.run = false, "  batch_size: 10\n  workers: 1\n  readers: 1\n"
		for i := range 100 {
			f.source.Insert("page", pageDoc(i, 1))
		}
		f.faults.Write = syncdtest.Nth(6, syncdtest.Fault{Err: errBoom})
		if _, err := f.live(t, false, settle); !errors.Is(err, errBoom) {
			t.Fatal(err)
		}
		f.index.Remove(sides.PointID("page", "3", 0)) // what was looked at by then changes
		delete(f.index2, "3")
		f.faults.Write, f.follow = nil, true
		if _, err := f.live(t, false, settle); err != nil {
			t.Fatal(err)
		}
		f.same(t)
	})
}

// TestALostPositionIsRepaired by an incremental backfill, which sends what changed and nothing else, and orphans are deleted where
// the run is to.
func TestALostPositionIsRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowed(t)
		f.run = "  orphans: prune\n"
		for i := range 200 {
			f.source.Insert("page", pageDoc(i, 1))
		}
		if _, err := f.live(t, false, settle); err != nil {
			t.Fatal(err)
		}
		before := len(f.sink.Events())
		for i := range 10 {
			f.source.Insert("page", pageDoc(1000+i, 1))
		}
		f.source.Delete("page", "7")
		f.source.Forget(0)
		if _, err := f.live(t, false, func() {
			settle()
			f.source.Insert("page", pageDoc(2000, 1))
			settle()
		}); err != nil {
			t.Fatal(err)
		}
		f.same(t)
		if n := len(f.sink.Events()) - before; n != 12 || len(f.lost) != 1 || len(f.backfill) != 2 {
			t.Errorf("%d events, %q, %d backfills", n, f.lost, len(f.backfill))
		}
		f.more = "stream: {on_position_lost: fail}\n"
		f.source.Insert("page", pageDoc(3000, 1))
		f.source.Forget(0)
		if _, err := f.live(t, false, settle); !errors.Is(err, syncd.ErrPositionLost) || syncd.HintOf(err) == "" {
			t.Errorf("%v", err)
		}
		f.more = ""
		if _, err := f.live(t, false, settle); err != nil { // which is found lost again
			t.Fatal(err)
		}
		f.same(t)
	})
}

// TestAKilledReconcileIsDoneAgain: a process that dies between losing its position and the end of the backfill has not forgotten that
// one is due.
func TestAKilledReconcileIsDoneAgain(t *testing.T) {
	for after := range 12 {
		t.Run(strconv.Itoa(after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowed(t)
				f.run = "  orphans: prune\n  batch_size: 10\n  workers: 1\n"
				for i := range 100 {
					f.source.Insert("page", pageDoc(i, 1))
				}
				if _, err := f.live(t, false, settle); err != nil {
					t.Fatal(err)
				}
				for i := range 100 {
					f.source.Insert("page", pageDoc(100+i, 1))
				}
				f.source.Delete("page", "3")
				f.source.Forget(0)
				n := 0
				f.faults.Write = func(int) syncdtest.Fault {
					if n++; n > after {
						return syncdtest.Fault{Err: errBoom}
					}
					return syncdtest.Fault{}
				}
				if _, err := f.live(t, true, settle); after < 11 && !errors.Is(err, errBoom) {
					t.Errorf("%v", err)
				}
				f.faults.Write = nil
				if _, err := f.live(t, false, settle); err != nil {
					t.Fatal(err)
				}
				f.same(t)
			})
		})
	}
}

// TestADroppedCollection is looked at again, its points are orphans, and those may only be deleted where a prune may.
func TestADroppedCollection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowed(t)
		f.more = ""
		for i := range 20 {
			f.source.Insert("page", pageDoc(i, 1))
		}
		if _, err := f.live(t, false, func() {
			settle()
			f.source.Insert("page", pageDoc(20, 1))
			f.source.Drop("page")
			f.source.Insert("page", pageDoc(21, 1), pageDoc(3, 2))
			settle()
		}); err != nil {
			t.Fatal(err)
		}
		if len(f.lost) != 1 || !strings.Contains(f.lost[0], "page was dropped") || len(f.index2) != 22 {
			t.Errorf("%q, %d documents", f.lost, len(f.index2))
		}
	})
}

// TestScheduledReconcile: what the index lost is sent again, and changes are not lost meanwhile.
func TestScheduledReconcile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowed(t)
		f.more = "schedule: {reconcile: {every: 10m}}\n"
		for i := range 20 {
			f.source.Insert("page", pageDoc(i, 1))
		}
		if _, err := f.live(t, false, func() {
			settle()
			f.index.Remove(sides.PointID("page", "5", 0))
			for i := range 25 * 6 {
				f.source.Insert("page", pageDoc(100, i))
				time.Sleep(10 * time.Second)
			}
			settle()
		}); err != nil {
			t.Fatal(err)
		}
		f.same(t)
		if n := len(f.backfill); n != 3 || f.backfill[1].Report.Total.Missing != 1 || f.backfill[2].Report.Total.Missing != 0 {
			t.Errorf("%d backfills", n)
		}
		if n := len(f.sink.Events()); n != 20+1+25*6 {
			t.Errorf("%d events", n)
		}
	})
}

// TestAReconcileThatTakesLongerThanItsScheduleLeavesTimeToFollow: at least as long as it took.
func TestAReconcileThatTakesLongerThanItsScheduleLeavesTimeToFollow(t *testing.T) {
	for _, often := range []string{"every: 30s", `cron: "* * * * *"`} {
		synctest.Test(t, func(t *testing.T) {
			f := newFollowed(t)
			f.run, f.more = "  batch_size: 1\n  sleep: 4s", "schedule: {reconcile: {"+often+"}}\n"
			for i := range 20 { // a look takes more than a minute
				f.source.Insert("page", pageDoc(i, 1))
			}
			_, _ = f.live(t, true, func() { // it may be looking at all documents at the end
				for i := range 40 {
					f.source.Insert("page", pageDoc(i%20, 2+i))
					time.Sleep(15 * time.Second)
				}
				time.Sleep(5 * time.Minute)
				synctest.Wait()
			})
			f.same(t)
			if n := len(f.backfill); n < 4 || n > 7 {
				t.Errorf("%s: %d looks in 15 minutes", often, n)
			}
		})
	}
}

// TestAnOutageOfTheSinkIsWaitedFor once the job follows, for as long as it takes; before, it ends the run.
func TestAnOutageOfTheSinkIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowed(t)
		down := fmt.Errorf("sending: %w", syncd.ErrUnavailable)
		f.faults.Prepare = func(int) syncdtest.Fault { return syncdtest.Fault{Err: down} }
		if _, err := f.live(t, false, settle); !errors.Is(err, syncd.ErrUnavailable) {
			t.Fatalf("%v", err)
		}
		f.faults.Prepare = nil
		var mu sync.Mutex
		isDown := false
		fault := func(int) syncdtest.Fault {
			mu.Lock()
			defer mu.Unlock()
			if isDown {
				return syncdtest.Fault{Err: down}
			}
			return syncdtest.Fault{}
		}
		f.faults.Write, f.faults.Prepare = fault, fault
		set := func(v bool) { mu.Lock(); isDown = v; mu.Unlock() }
		if _, err := f.live(t, false, func() {
			settle()
			for range 3 {
				set(true)
				for i := range 100 {
					f.source.Insert("page", pageDoc(i, i))
				}
				time.Sleep(20 * time.Minute)
				set(false)
				time.Sleep(time.Minute)
			}
			settle()
		}); err != nil {
			t.Fatal(err)
		}
		f.same(t)
		if lines := strings.Count(f.log.String(), "can't follow"); lines < 10 || lines > 3*3600/10 {
			t.Errorf("%d lines in the log", lines)
		}
	})
}

// TestAJobThatFollowsThroughEverything: writes at random, lives that end at random by kills and drains, positions lost, collections
// looked at again by a schedule. In the end the consumer has what the source has.
func TestAJobThatFollowsThroughEverything(t *testing.T) {
	for seed := range uint64(15) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 2))
				f := newFollowed(t)
				f.run = fmt.Sprintf("  orphans: prune\n  batch_size: %d\n  workers: %d\n", 1+r.IntN(30), 1+r.IntN(5))
				// A lost position means lost updates, which only a version would find.
				version := 0
				write := func() {
					version++
					id := r.IntN(40)
					switch r.IntN(5) {
					case 0:
						f.source.Delete("page", strconv.Itoa(id))
					default:
						f.source.Insert("page", pageDoc(id, version))
					}
				}
				if r.IntN(2) == 0 {
					f.more = "schedule: {reconcile: {every: 7s}}\n"
				}
				for range 30 {
					write()
				}
				for range 6 {
					_, err := f.live(t, r.IntN(2) == 0, func() {
						for range r.IntN(60) {
							write()
							time.Sleep(time.Duration(r.IntN(800)) * time.Millisecond)
						}
					})
					if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, job.ErrInterrupted) {
						t.Fatal(err)
					}
					for range r.IntN(20) {
						write()
					}
				}
				if _, err := f.live(t, false, func() { time.Sleep(30 * time.Second); synctest.Wait() }); err != nil {
					t.Fatal(err)
				}
				f.same(t)
			})
		})
	}
}
