package job_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

// forward reports whether no number of b is below a's.
func forward(a, b job.Snapshot) error {
	switch {
	case b.Total.Scanned < a.Total.Scanned, b.Total.Acked < a.Total.Acked, b.Total.Present < a.Total.Present, b.Bytes < a.Bytes,
		b.Phase < a.Phase, b.Elapsed < a.Elapsed, b.LastMove.Before(a.LastMove):
		return fmt.Errorf("from %+v back to %+v", a, b)
	}
	var sum tally.Counts
	for i, c := range b.Collections {
		sum.Add(c.Counts)
		if i < len(a.Collections) && (c.SplitsDone < a.Collections[i].SplitsDone || a.Collections[i].Done && !c.Done) || c.SplitsDone > c.Splits {
			return fmt.Errorf("collection %s: from %+v to %+v", c.Name, a.Collections[i], c)
		}
	}
	for s := range b.Times {
		if b.Times[s] < a.Times[s] || b.Working[s] < 0 {
			return fmt.Errorf("stage %s: %d working, %s after %s", engine.Stage(s), b.Working[s], b.Times[s], a.Times[s])
		}
	}
	if sum != b.Total {
		return fmt.Errorf("the collections' %+v are not the total %+v", sum, b.Total)
	}
	return nil
}

// TestMonitor looks at a run while it goes on, and at its end.
func TestMonitor(t *testing.T) {
	f := newFixture(t, "page", "epic")
	f.insert("page", 2000, func(i int) bool { return i%3 == 0 })
	f.insert("epic", 100, nil)
	f.source.SetSplits(5)
	f.opts.BatchBytes = 200
	var m job.Monitor
	if _, ok := m.Snapshot(); ok {
		t.Error("a run before there is one")
	}
	f.opts.Monitor = &m
	var mu sync.Mutex
	var last job.Snapshot
	looks := 0
	look := func() {
		mu.Lock()
		defer mu.Unlock()
		s, ok := m.Snapshot()
		if !ok {
			t.Error("no run")
		}
		if err := forward(last, s); err != nil {
			t.Error(err)
		}
		last = s
		looks++
	}
	f.opts.Hooks.BatchDone = func(engine.BatchReport) { look() }
	f.opts.Hooks.Sent = func(*mapping.Rule, []syncd.Change) { look() }
	rep, err := job.Run(t.Context(), f.opts)
	if err != nil || looks < 200 {
		t.Fatalf("%v, %d looks", err, looks)
	}
	look()
	s := last
	if s.Phase != job.PhaseEnd || s.Working != [engine.StageCount]int{} || s.Waiting != 0 || s.Stalled || s.Total != rep.Total || s.Bytes != rep.Bytes || s.Times != rep.Times || s.RunID != "run-1" || s.Bytes == 0 {
		t.Errorf("at the end: %+v", s)
	}
	for i, c := range s.Collections {
		r := rep.Collections[i]
		if !c.Started || !c.Done || c.Took != r.Duration || c.Before != r.Before || c.Splits != 5 || c.SplitsDone != 5 || c.Counts != r.Counts || c.Name != r.Rule.Collection.Name || c.ContentType != r.Rule.ContentType {
			t.Errorf("at the end: %+v, the report has %+v", c, r)
		}
	}
}

// TestMonitorAfterAFailure: nobody works any more, and nothing claims to be done.
func TestMonitorAfterAFailure(t *testing.T) {
	for name, change := range map[string]func(f *fixture, o *job.Options){
		"write": func(f *fixture, o *job.Options) {
			o.Sink = syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Write: syncdtest.Nth(3, syncdtest.Fault{Err: errBoom})})
		},
		"fetch": func(f *fixture, o *job.Options) {
			o.Source = syncdtest.FaultySource(f.source, syncdtest.SourceFaults{Fetch: syncdtest.Nth(3, syncdtest.Fault{Err: errBoom, Done: true})})
		},
		"check": func(f *fixture, o *job.Options) {
			o.Checker = syncdtest.FaultyChecker(f.checker, syncdtest.CheckerFaults{Check: syncdtest.Nth(3, syncdtest.Fault{Err: errBoom})})
		},
		"scan": func(f *fixture, o *job.Options) {
			o.Source = syncdtest.FaultySource(f.source, syncdtest.SourceFaults{Batch: syncdtest.Nth(3, syncdtest.Fault{Err: errBoom})})
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, "page")
			f.insert("page", 1000, func(i int) bool { return i%10 > 0 })
			var m job.Monitor
			o := f.opts
			o.Monitor = &m
			change(f, &o)
			_, err := job.Run(t.Context(), o)
			s, _ := m.Snapshot()
			if !errors.Is(err, errBoom) || s.Working != [engine.StageCount]int{} || s.Phase != job.PhaseEnd || s.Collections[0].SplitsDone != 0 {
				t.Errorf("%v, %+v", err, s)
			}
		})
	}
}

// TestMonitorOfAResumedRun counts what was done before, and says so.
func TestMonitorOfAResumedRun(t *testing.T) {
	f := newFixture(t, "page")
	path := interrupted(t, f)
	var m job.Monitor
	f.opts.Monitor = &m
	if _, err := attempt(t.Context(), t, path, f.opts); err != nil {
		t.Fatal(err)
	}
	s, _ := m.Snapshot()
	if s.Resumed != 40 || s.Collections[0].Earlier.Scanned != 40 || s.Total.Scanned != 100 || s.Collections[0].Splits != 1 || s.Collections[0].SplitsDone != 1 {
		t.Errorf("%+v", s)
	}
}

// slow is plugins that need their time, by the bubble's clock.
type slowSource struct {
	*syncdtest.MemorySource
	scan, fetch time.Duration
}

func (s slowSource) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	return func(yield func(syncd.Batch, error) bool) {
		for batch, err := range s.MemorySource.Read(ctx, req) {
			time.Sleep(s.scan)
			if !yield(batch, err) {
				return
			}
		}
	}
}

func (s slowSource) Fetch(ctx context.Context, c syncd.Collection, keys []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return func(yield func(syncd.Fetched, error) bool) {
		time.Sleep(s.fetch)
		for f, err := range s.MemorySource.Fetch(ctx, c, keys) {
			if !yield(f, err) {
				return
			}
		}
	}
}

type slowChecker struct {
	*syncdtest.MemoryChecker
	check time.Duration
}

func (s slowChecker) Check(ctx context.Context, points []syncd.Point, verdicts []syncd.Verdict) error {
	time.Sleep(s.check)
	return s.MemoryChecker.Check(ctx, points, verdicts)
}

type slowSink struct {
	*syncdtest.MemorySink
	write time.Duration
}

func (s slowSink) Write(ctx context.Context, events []syncd.Change) error {
	time.Sleep(s.write)
	return s.MemorySink.Write(ctx, events)
}

// TestStageTimes: a write inside a fetch counts as a write, and nothing counts twice.
func TestStageTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "page")
		f.insert("page", 30, func(i int) bool { return i%10 != 0 && i%10 != 5 }) // two of ten are sent
		f.opts.Source = slowSource{f.source, time.Second, 100 * time.Millisecond}
		f.opts.Checker = slowChecker{f.checker, 10 * time.Millisecond}
		f.opts.Sink = slowSink{f.sink, time.Millisecond}
		f.opts.Readers, f.opts.Workers, f.opts.BatchBytes = 1, 1, 1 // each event is a write, while the next is fetched
		var batches []engine.BatchReport
		f.opts.Hooks.BatchDone = func(b engine.BatchReport) { batches = append(batches, b) }
		rep, err := job.Run(t.Context(), f.opts)
		if err != nil || len(batches) != 3 {
			t.Fatalf("%v, %d batches", err, len(batches))
		}
		want := [engine.StageCount]time.Duration{
			engine.StageScan: time.Second, engine.StageCheck: 10 * time.Millisecond, engine.StageFetch: 100 * time.Millisecond,
			engine.StageWrite: 2 * time.Millisecond,
		}
		for i, b := range batches {
			if b.Times != want || b.Collection != "page" || b.Counts.Acked != 2 {
				t.Errorf("batch %d: %+v", i, b)
			}
		}
		for s := range want {
			if rep.Times[s] != 3*want[s] {
				t.Errorf("%s: %s", engine.Stage(s), rep.Times[s])
			}
		}
	})
}

// TestBatchesAddUp: what is told of the batches is what the report says.
func TestBatchesAddUp(t *testing.T) {
	f := newFixture(t, "page", "epic")
	f.insert("page", 500, func(i int) bool { return i%3 == 0 })
	f.insert("epic", 50, nil)
	f.source.Insert("epic", syncdtest.MemoryDoc{ID: "x", Err: errors.New("no id")})
	f.source.SetSplits(4)
	f.opts.DeadLetters = syncdtest.NewMemorySink()
	var mu sync.Mutex
	var total tally.Counts
	var bytes int64
	var times [engine.StageCount]time.Duration
	by := map[string]int64{}
	f.opts.Hooks.BatchDone = func(b engine.BatchReport) {
		mu.Lock()
		defer mu.Unlock()
		total.Add(b.Counts)
		bytes += b.Bytes
		by[b.Collection] += b.Counts.Scanned
		for s := range times {
			times[s] += b.Times[s]
		}
	}
	rep, err := job.Run(t.Context(), f.opts)
	if err != nil || total != rep.Total || bytes != rep.Bytes || times != rep.Times || by["page"] != 500 || by["epic"] != 51 {
		t.Errorf("%v\n%+v, %d bytes, %v, %v\n%+v, %d bytes, %v", err, total, bytes, times, by, rep.Total, rep.Bytes, rep.Times)
	}
	size := int64(0)
	for _, e := range f.sink.Events() {
		size += int64(len(e.Key) + len(e.Value))
	}
	if size != rep.Bytes {
		t.Errorf("%d bytes arrived, %d are reported", size, rep.Bytes)
	}
}

// tracer checks that what begins ends, once, inside what it belongs to.
type tracer struct {
	t       *testing.T
	mu      sync.Mutex
	open    map[int]string
	n       int
	batches int
	stages  [engine.StageCount]int
	failed  []string
}

type traceKey struct{}

func (r *tracer) begin(ctx context.Context, name string) (context.Context, func(error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	id := r.n
	r.open[id] = name
	return context.WithValue(ctx, traceKey{}, id), func(err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.open[id] == "" {
			r.t.Errorf("%s ended twice", name)
		}
		delete(r.open, id)
		if err != nil {
			r.failed = append(r.failed, name)
		}
	}
}

func (r *tracer) Batch(ctx context.Context, b engine.BatchInfo) (context.Context, func(error)) {
	if b.Collection != "page" || b.Documents < 1 || b.Read.IsZero() || b.ReadTime < 0 || b.Split < 0 || b.Split > 2 {
		r.t.Errorf("%+v", b)
	}
	r.mu.Lock()
	r.batches++
	r.mu.Unlock()
	return r.begin(ctx, "batch")
}

func (r *tracer) Stage(ctx context.Context, s engine.Stage, documents int) (context.Context, func(error)) {
	r.mu.Lock()
	r.stages[s]++
	parent, _ := ctx.Value(traceKey{}).(int)
	if in := r.open[parent]; in != "batch" && (in != "fetch" || s != engine.StageWrite) || documents < 1 {
		r.t.Errorf("%s of %d documents inside %q", s, documents, in)
	}
	r.mu.Unlock()
	return r.begin(ctx, s.String())
}

func TestTracer(t *testing.T) {
	for _, fails := range []string{"", "check", "fetch", "write", "dead letters"} {
		t.Run(fails, func(t *testing.T) {
			f := newFixture(t, "page")
			f.insert("page", 300, func(i int) bool { return i%4 > 0 })
			f.source.Insert("page", syncdtest.MemoryDoc{ID: "x", Err: errors.New("no id")})
			f.source.SetSplits(3)
			f.opts.BatchBytes = 1
			tr := &tracer{t: t, open: map[int]string{}}
			f.opts.Hooks.Tracer = tr
			f.opts.DeadLetters = syncdtest.NewMemorySink()
			fault := syncdtest.Nth(3, syncdtest.Fault{Err: errBoom})
			switch fails {
			case "check":
				f.opts.Checker = syncdtest.FaultyChecker(f.checker, syncdtest.CheckerFaults{Check: fault})
			case "fetch":
				f.opts.Source = syncdtest.FaultySource(f.source, syncdtest.SourceFaults{Fetch: fault})
			case "write":
				f.opts.Sink = syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Write: fault})
			case "dead letters":
				f.opts.DeadLetters = syncdtest.FaultySink(syncdtest.NewMemorySink(), syncdtest.SinkFaults{Write: syncdtest.Nth(1, syncdtest.Fault{Err: errBoom})})
			}
			_, err := job.Run(t.Context(), f.opts)
			if (err != nil) != (fails != "") || len(tr.open) > 0 {
				t.Errorf("%v, still open: %v", err, tr.open)
			}
			if (len(tr.failed) > 0) != (fails != "") {
				t.Errorf("failed: %v", tr.failed)
			}
			if fails == "" && (tr.batches < 30 || tr.stages[engine.StageCheck] < tr.batches-1 || tr.stages[engine.StageWrite] != 75+1 || tr.stages[engine.StageFetch] == 0) {
				t.Errorf("%d batches, stages %v", tr.batches, tr.stages)
			}
		})
	}
}

// warnings keeps what is warned of, and when, counted from the bubble's beginning.
type warnings struct {
	slog.Handler
	mu    sync.Mutex
	start time.Time
	said  []string
}

func newWarnings() *warnings { return &warnings{Handler: slog.DiscardHandler, start: time.Now()} }

func (w *warnings) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (w *warnings) Handle(_ context.Context, r slog.Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, time.Since(w.start).Round(time.Second).String()+" "+r.Message)
	return nil
}

func (w *warnings) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.said...)
}

// TestWatchdog says what a run waits for, less and less often, and again once it came on.
func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "page")
		f.insert("page", 30, nil)
		var m job.Monitor
		said := newWarnings()
		f.opts.Monitor, f.opts.StallAfter, f.opts.Logger = &m, time.Minute, slog.New(said)
		f.opts.Readers, f.opts.Workers = 1, 1
		first, second := syncdtest.NewGate(), syncdtest.NewGate()
		f.opts.Sink = syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Write: syncdtest.InOrder(syncdtest.Fault{Gate: first}, syncdtest.Fault{Gate: second})})
		ended := make(chan error)
		go func() {
			_, err := job.Run(t.Context(), f.opts)
			ended <- err
		}()
		stalled := func(want bool) {
			t.Helper()
			synctest.Wait()
			if s, _ := m.Snapshot(); s.Stalled != want || s.Working[engine.StageWrite] != 1 {
				t.Errorf("stalled %t, working %v", s.Stalled, s.Working)
			}
		}
		time.Sleep(50 * time.Second)
		stalled(false)
		time.Sleep(9*time.Minute + 10*time.Second)
		stalled(true)
		first.Open()
		stalled(false)
		time.Sleep(90 * time.Second)
		stalled(true)
		second.Open()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		const what = ": waiting 1 for the sink's confirmation"
		want := []string{
			"1m0s nothing has moved for 1m0s" + what, "2m0s nothing has moved for 2m0s" + what, "4m0s nothing has moved for 4m0s" + what,
			"8m0s nothing has moved for 8m0s" + what, "11m0s nothing has moved for 1m0s" + what,
		}
		if diff := cmp.Diff(want, said.all()); diff != "" {
			t.Error(diff)
		}
		if s, _ := m.Snapshot(); s.Stalled {
			t.Error("a run that is done stands still")
		}
	})
}

// TestWatchdogIsSilent while nothing is wrong: a run that is to be slow is, and so is one that deletes a lot.
func TestWatchdogIsSilent(t *testing.T) {
	for name, change := range map[string]func(f *fixture){
		"pauses":     func(f *fixture) { f.opts.Sleep = time.Hour },
		"documents":  func(f *fixture) { f.opts.Limits.DocumentsPerSecond = 0.5 },
		"bytes":      func(f *fixture) { f.opts.Limits.BytesPerSecond = 10 },
		"no warning": func(f *fixture) { f.opts.StallAfter, f.opts.Sink = 0, slowSink{f.sink, time.Hour} },
		"deletes": func(f *fixture) {
			for i := range 100 {
				id := fmt.Sprintf("gone%d", i)
				f.checker.Put(pointID("page", id), map[string]any{"content_type": "page", "mongo_id": id, "chunk_index": 0})
			}
			f.opts.Orphans, f.opts.Sink = job.OrphansPrune, slowSink{f.sink, 40 * time.Second}
			f.opts.Guards.MaxDeletes = 100
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, "page")
				f.insert("page", 40, nil)
				said := newWarnings()
				f.opts.Logger, f.opts.StallAfter = slog.New(said), time.Minute
				f.opts.Readers, f.opts.Workers = 1, 1
				change(f)
				f.opts.Checker = f.checker
				rep, err := job.Run(t.Context(), f.opts)
				if err != nil || rep.Total.Acked != 40 || len(said.all()) > 0 || rep.Duration < time.Minute {
					t.Errorf("%v, %s, %v", err, rep.Duration, said.all())
				}
			})
		})
	}
}

// TestWatchdogBeforeAnyStage says at least what the run is about.
func TestWatchdogBeforeAnyStage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "page")
		f.insert("page", 10, nil)
		said := newWarnings()
		f.opts.Logger, f.opts.StallAfter = slog.New(said), time.Minute
		f.opts.Source = stuckPlan{f.source, 90 * time.Second}
		if _, err := job.Run(t.Context(), f.opts); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"1m0s nothing has moved for 1m0s: the run waits for reading"}, said.all()); diff != "" {
			t.Error(diff)
		}
	})
}

type stuckPlan struct {
	*syncdtest.MemorySource
	plan time.Duration
}

func (s stuckPlan) Splits(ctx context.Context, c syncd.Collection) iter.Seq2[syncd.Split, error] {
	time.Sleep(s.plan)
	return s.MemorySource.Splits(ctx, c)
}

// away is an index that can't be asked for some time after a number of questions.
type away struct {
	*syncdtest.MemoryChecker
	mu    sync.Mutex
	left  int // questions until it is away
	for_  time.Duration
	since time.Time
	err   error
	asked int
}

func (a *away) Check(ctx context.Context, points []syncd.Point, verdicts []syncd.Verdict) error {
	a.mu.Lock()
	a.asked++
	if a.left--; a.left < 0 {
		if a.since.IsZero() {
			a.since = time.Now()
		}
		if time.Since(a.since) < a.for_ {
			a.mu.Unlock()
			return a.err
		}
	}
	a.mu.Unlock()
	return a.MemoryChecker.Check(ctx, points, verdicts)
}

var errAway = fmt.Errorf("no route: %w", syncd.ErrUnavailable)

// TestWaitForIndex: an index that is away for minutes costs minutes, and nothing that could not be asked counts as missing.
func TestWaitForIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "page")
		f.insert("page", 500, func(i int) bool { return i%3 != 0 })
		f.source.SetSplits(3)
		said := newWarnings()
		f.opts.Logger, f.opts.StallAfter = slog.New(said), 2*time.Minute
		a := &away{MemoryChecker: f.checker, left: 20, for_: 5 * time.Minute, err: errAway}
		f.opts.Checker, f.opts.WaitForIndex = a, true
		rep, err := job.Run(t.Context(), f.opts)
		if err != nil || rep.Total.Present != 333 || rep.Total.Missing != 167 || rep.Total.Acked != 167 || len(f.sentIDs()) != 167 {
			t.Errorf("%v, %+v", err, rep.Total)
		}
		if rep.Duration < 5*time.Minute || rep.Duration > 6*time.Minute {
			t.Errorf("took %s", rep.Duration)
		}
		waits, stalls := 0, 0
		for _, s := range said.all() {
			if strings.Contains(s, "the index can't be asked") {
				waits++
			}
			if strings.Contains(s, "for the index's answer") {
				stalls++
			}
		}
		// Each of the workers asks again and again; that is told once. That it lasts is the checker's to tell, and the watch's.
		if stalls != 2 || waits != 1 {
			t.Errorf("%d waits, %d warnings: %v", waits, stalls, said.all())
		}
	})
}

// TestWaitForIndexEnds: by a signal to end, by one to end at once, by an error that time does not mend; and nobody waits who
// is not to.
func TestWaitForIndexEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		err     error // the index's
		wait    bool
		signal  func(drain, cancel func())
		want    error
		atLeast time.Duration
	}{
		"drain":       {errAway, true, func(drain, _ func()) { drain() }, nil, 10 * time.Minute},
		"cancel":      {errAway, true, func(_, cancel func()) { cancel() }, context.Canceled, 10 * time.Minute},
		"other error": {errBoom, true, func(_, _ func()) {}, errBoom, 0},
		"no waiting":  {errAway, false, func(_, _ func()) {}, syncd.ErrUnavailable, 0},
	} {
		t.Run(name, func(t *testing.T) {
			path := jobFile(t)
			f := newFixture(t, "page")
			f.insert("page", 500, func(i int) bool { return i%3 != 0 })
			f.opts.Workers, f.opts.Readers = 2, 1
			synctest.Test(t, func(t *testing.T) {
				o := f.opts
				o.Checker, o.WaitForIndex = &away{MemoryChecker: f.checker, left: 20, for_: 1000 * time.Hour, err: tc.err}, tc.wait
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				drain := make(chan struct{})
				o.Drain = drain
				time.AfterFunc(10*time.Minute+time.Millisecond, func() { tc.signal(func() { close(drain) }, cancel) })
				start := time.Now()
				rep, err := attempt(ctx, t, path, o)
				if !errors.Is(err, tc.want) || rep.Interrupted != (err == nil) || time.Since(start) < tc.atLeast || time.Since(start) > tc.atLeast+time.Second || rep.Total.Scanned != rep.Total.Checked() {
					t.Errorf("%v after %s, %+v", err, time.Since(start), rep.Total)
				}
				for _, c := range rep.Collections {
					if c.Complete {
						t.Error("complete")
					}
				}
				synctest.Wait()
			})
			rep, err := attempt(t.Context(), t, path, f.opts)
			// Behind the batch that waited, others may have been sent already.
			repeats := len(f.sink.Events()) - 167
			if err != nil || rep.Total.Acked != 167 || rep.Total.Present != 333 || len(f.sentIDs()) != 167 || repeats > 2*f.opts.Workers*f.opts.BatchSize {
				t.Errorf("on the next attempt: %v, %+v, %d events", err, rep.Total, len(f.sink.Events()))
			}
		})
	}
}

func TestWords(t *testing.T) {
	var stages, phases []string
	for s := range engine.StageCount {
		stages = append(stages, s.String())
	}
	for p := range job.PhaseEnd + 1 {
		phases = append(phases, p.String())
	}
	if got := strings.Join(stages, ",") + ";" + strings.Join(phases, ","); got != "idle,scan,check,fetch,transform,write;starting,reading,looking for orphans,waiting for the index,following changes,done" {
		t.Error(got)
	}
}

// slowCount is a source that takes its time to count what a scan did not see.
type slowCount struct{ *recounted }

func (s slowCount) Abilities() syncd.SourceAbilities {
	can := s.recounted.Abilities()
	can.Count = s.Count
	return can
}

func (s slowCount) Count(ctx context.Context, c syncd.Collection) (int64, error) {
	if len(s.counts) == 1 {
		time.Sleep(3 * time.Minute)
	}
	return s.recounted.Count(ctx, c)
}

// TestNobodyStandsStillAfterTheReading: by then nobody looks any more whether something moves, and a process that seems to
// stand still is killed.
func TestNobodyStandsStillAfterTheReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "page")
		f.insert("page", 30, nil)
		var m job.Monitor
		f.opts.Monitor, f.opts.StallAfter = &m, time.Minute
		f.opts.Source = slowCount{&recounted{MemorySource: f.source, counts: []int64{31, 30}, scans: map[string]int{}}}
		if _, err := job.Run(t.Context(), f.opts); err != nil {
			t.Fatal(err)
		}
		if s, _ := m.Snapshot(); s.Stalled {
			t.Error("it stands still")
		}
	})
}
