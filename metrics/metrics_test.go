package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/metrics"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

// check compares what a scrape shows with what it is to show; -1 is nothing.
func check(t *testing.T, m *metrics.Metrics, want map[string]float64) {
	t.Helper()
	got := values(t, m)
	for name, n := range want {
		v, shown := got[name]
		if shown != (n >= 0) || shown && v != n {
			t.Errorf("%s is %v (shown: %v), want %v", name, v, shown, n)
		}
	}
}

func TestPromlint(t *testing.T) {
	m := metrics.New("v1.2.3")
	everything(t, m)
	lint := func(m *metrics.Metrics) {
		rec := httptest.NewRecorder()
		m.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		problems, err := promlint.New(rec.Body).Lint()
		if err != nil || rec.Code != 200 {
			t.Fatal(rec.Code, err)
		}
		for _, p := range problems {
			if strings.HasPrefix(p.Metric, "syncd_") {
				t.Errorf("%s: %s", p.Metric, p.Text)
			}
		}
	}
	lint(m)
	followed(t, lint)
}

func TestCountersAddRuns(t *testing.T) {
	m := metrics.New("v1.2.3")
	w := newWorld(t)
	w.insert("page", 30, func(i int) bool { return i >= 10 })
	check(t, m, map[string]float64{
		`syncd_build_info{version="v1.2.3"}`: 1, "syncd_run_active": 0, `syncd_runs_total{outcome="failed"}`: 0,
		"syncd_last_success_timestamp_seconds": -1, "syncd_last_run_exit_code": -1, `syncd_run_info{run_id="run-1"}`: -1,
	})
	w.run(t, m)
	page := func(name, more string) string {
		return name + `{collection="page",content_type="page"` + more + "}"
	}
	check(t, m, map[string]float64{
		page("syncd_documents_total", `,verdict="missing"`): 10, page("syncd_documents_total", `,verdict="present"`): 20,
		page("syncd_acks_total", ""): 10, page("syncd_events_total", ""): 10, page("syncd_collection_documents", ""): 30,
		page("syncd_run_progress_ratio", ""):                                                  1,
		page("syncd_oldest_missing_timestamp_seconds", ""):                                    float64(day.Unix()),
		`syncd_runs_total{outcome="complete"}`:                                                1,
		`syncd_coverage_ratio{content_type="page"}`:                                           1,
		`syncd_stage_duration_seconds{stage="scan"}`:                                          3,
		`syncd_stage_duration_seconds{stage="write"}`:                                         1,
		`syncd_run_info{run_id="run-1"}`:                                                      1,
		"syncd_last_run_exit_code":                                                            0,
		"syncd_index_points":                                                                  20,
		`syncd_run_phase{phase="read"}`:                                                       0,
		`syncd_documents_total{collection="task",content_type="work_item",verdict="missing"}`: 0,
	})
	// The second run, over an index that did not come on, adds to them, and there is still one run in syncd_run_info.
	w.opts.RunID = "run-2"
	w.run(t, m)
	check(t, m, map[string]float64{
		page("syncd_documents_total", `,verdict="missing"`): 20, page("syncd_documents_total", `,verdict="present"`): 40,
		`syncd_runs_total{outcome="complete"}`: 2, `syncd_run_info{run_id="run-1"}`: -1, `syncd_run_info{run_id="run-2"}`: 1,
	})
	// When the index has caught up, nothing is missing any more.
	for i := range 10 {
		w.index("page", fmt.Sprintf("%05d", i), day.Add(time.Duration(i)*time.Hour).Format(time.RFC3339))
	}
	w.run(t, m)
	check(t, m, map[string]float64{page("syncd_oldest_missing_timestamp_seconds", ""): -1, `syncd_coverage_ratio{content_type="page"}`: 1})
}

// What an earlier process did of a run that is resumed is not this one's, but part of what is covered.
func TestResumedRun(t *testing.T) {
	w := newWorld(t)
	w.insert("page", 40, nil)
	w.opts.Checkpoints = newJournal()
	w.opts.Sink = syncdtest.FaultySink(w.sink, syncdtest.SinkFaults{Write: syncdtest.Nth(2, syncdtest.Fault{Err: errors.New("the broker is gone")})})
	w.opts.Readers, w.opts.Workers = 1, 1
	first := metrics.New("")
	if end := w.run(t, first); end.Outcome != tally.Failed {
		t.Fatalf("the first run ended as %s", end.Outcome)
	}
	acks := values(t, first)[`syncd_acks_total{collection="page",content_type="page"}`]
	if acks == 0 || acks == 40 {
		t.Fatalf("the first run sent %v", acks)
	}
	check(t, first, map[string]float64{
		`syncd_runs_total{outcome="failed"}`: 1, "syncd_last_success_timestamp_seconds": -1, "syncd_last_run_exit_code": 1,
		`syncd_coverage_ratio{content_type="page"}`: -1, // nothing is known
	})
	w.opts.Sink = w.sink
	second := metrics.New("")
	if end := w.run(t, second); end.Outcome != tally.Complete || end.Report.Resumed == 0 {
		t.Fatalf("the second run ended as %s: %+v", end.Outcome, end.Report)
	}
	check(t, second, map[string]float64{
		`syncd_acks_total{collection="page",content_type="page"}`: 40 - acks,
		`syncd_coverage_ratio{content_type="page"}`:               1,
	})
}

// Coverage is as of the last complete look: neither a run under way nor one that fails changes it.
func TestCoverage(t *testing.T) {
	m := metrics.New("")
	w := newWorld(t)
	w.insert("workItem", 20, func(i int) bool { return i < 10 })
	w.insert("task", 20, func(i int) bool { return i < 15 })
	w.opts.DryRun = &engine.DryRun{}
	w.run(t, m)
	const name = `syncd_coverage_ratio{content_type="work_item"}`
	check(t, m, map[string]float64{name: 25. / 40, "syncd_last_success_timestamp_seconds": -1}) // a dry run sends nothing
	w.opts.DryRun = nil
	w.opts.Checker = syncdtest.FaultyChecker(w.checker, syncdtest.CheckerFaults{Read: syncdtest.Always(syncdtest.Fault{Err: errors.New("no")})})
	w.run(t, m)
	check(t, m, map[string]float64{name: 25. / 40, `syncd_runs_total{outcome="failed"}`: 1})

	gate := syncdtest.NewGate()
	w.opts.Checker = syncdtest.FaultyChecker(w.checker, syncdtest.CheckerFaults{Read: syncdtest.Nth(3, syncdtest.Fault{Gate: gate})})
	w.opts.Workers = 1
	var run sync.WaitGroup
	run.Go(func() { w.run(t, m) })
	<-gate.Arrived()
	check(t, m, map[string]float64{name: 25. / 40, "syncd_run_active": 1, `syncd_run_phase{phase="read"}`: 1, `syncd_stage_active{stage="check"}`: 1})
	gate.Open()
	run.Wait()
	check(t, m, map[string]float64{name: 1, "syncd_run_active": 0, `syncd_stage_active{stage="check"}`: 0})

	// What is taken out of the mapping is no longer known of.
	w.opts.Rules = w.opts.Rules[:1]
	w.run(t, m)
	check(t, m, map[string]float64{name: -1, `syncd_coverage_ratio{content_type="page"}`: 1})
}

// Deletes are no documents, what an earlier process deleted is not this one's, and a delete that is refused is none.
func TestDeletes(t *testing.T) {
	w := newWorld(t)
	w.insert("page", 5, func(int) bool { return true })
	for i := range 20 {
		w.index("page", fmt.Sprintf("gone-%02d", i), "")
	}
	w.opts.Orphans, w.opts.Readers, w.opts.Workers, w.opts.Checkpoints = job.OrphansPrune, 1, 1, newJournal()
	w.opts.Guards.MaxDeletes = 100
	w.opts.Sink = syncdtest.FaultySink(w.sink, syncdtest.SinkFaults{Write: syncdtest.Nth(2, syncdtest.Fault{Err: errors.New("the broker is gone")})})
	is := func(m *metrics.Metrics, deletes, orphans float64) {
		t.Helper()
		check(t, m, map[string]float64{
			`syncd_deletes_total{content_type="page"}`: deletes, `syncd_orphan_documents{content_type="page"}`: orphans,
			`syncd_documents_total{collection="page",content_type="page",verdict="present"}`:   5,
			`syncd_events_total{collection="page",content_type="page"}`:                        0,
			`syncd_acks_total{collection="page",content_type="page"}`:                          0,
			`syncd_document_errors_total{collection="page",content_type="page",stage="write"}`: 0,
			`syncd_coverage_ratio{content_type="page"}`:                                        1,
		})
	}
	first := metrics.New("")
	if end := w.run(t, first); end.Outcome != tally.Failed {
		t.Fatalf("the first run ended as %s", end.Outcome)
	}
	is(first, 10, 10)
	w.opts.Sink = w.sink
	second := metrics.New("")
	if end := w.run(t, second); end.Outcome != tally.Complete || len(end.Report.Deletes) != 1 || end.Report.Deletes[0].Resumed.Acked != 10 {
		t.Fatalf("the second run ended as %s: %+v", end.Outcome, end.Report)
	}
	check(t, second, map[string]float64{`syncd_deletes_total{content_type="page"}`: 10, `syncd_orphan_documents{content_type="page"}`: 0})

	w.opts.Checkpoints = nil
	w.opts.Sink = syncdtest.FaultySink(w.sink, syncdtest.SinkFaults{Write: syncdtest.Nth(1, syncdtest.Fault{Fail: map[int]error{0: errors.New("no")}})})
	third := metrics.New("")
	if end := w.run(t, third); end.Outcome != tally.Failures || end.Report.Failed() != 1 {
		t.Fatalf("the third run ended as %s: %+v", end.Outcome, end.Report)
	}
	is(third, 19, 1)
}

// A run that follows a plan looks at what it names, which says nothing of all others.
func TestPlannedRun(t *testing.T) {
	m := metrics.New("")
	w := newWorld(t)
	w.insert("page", 20, func(i int) bool { return i < 10 })
	monitor := new(job.Monitor)
	m.Begin(monitor, true)
	w.opts.Monitor = monitor
	report, err := job.Run(t.Context(), w.opts)
	if err != nil {
		t.Fatal(err)
	}
	m.End(metrics.End{Report: report, Outcome: tally.Complete})
	check(t, m, map[string]float64{
		`syncd_coverage_ratio{content_type="page"}`: -1, `syncd_acks_total{collection="page",content_type="page"}`: 10,
	})
}

// While runs come and go, no scrape shows less than the one before it.
func TestMonotone(t *testing.T) {
	m := metrics.New("")
	w := newWorld(t)
	w.insert("page", 200, func(i int) bool { return i%2 == 0 })
	ctx, stop := context.WithCancel(t.Context())
	var scrapes sync.WaitGroup
	scrapes.Go(func() {
		last := map[string]float64{}
		for ctx.Err() == nil {
			now := values(t, m)
			for name, before := range last {
				if v, shown := now[name]; strings.Contains(name, "_total") && strings.HasPrefix(name, "syncd_") && (!shown || v < before) {
					t.Errorf("%s went from %v to %v (shown: %v)", name, before, v, shown)
				}
			}
			last = now
		}
	})
	for range 30 {
		w.run(t, m)
	}
	stop()
	scrapes.Wait()
	check(t, m, map[string]float64{`syncd_acks_total{collection="page",content_type="page"}`: 3000, `syncd_runs_total{outcome="complete"}`: 30})
}

// TestEmbedded: what a service was paid for is counted while a run goes on and behind it, by model, each run's once. A dry run has nothing embedded.
func TestEmbedded(t *testing.T) {
	m := metrics.New("")
	w := newWorld(t)
	w.insert("page", 30, nil)
	var all atomic.Int64
	is := func(model string, tokens, cost float64) {
		t.Helper()
		label := `{model="` + model + `"}`
		check(t, m, map[string]float64{
			"syncd_embedded_tokens_total" + label: tokens, "syncd_embedded_texts_total" + label: tokens / 10,
			"syncd_embedding_requests_total" + label: tokens / 5, "syncd_embedding_cost_dollars_total" + label: cost,
		})
	}
	w.run(t, m)
	is("free", -10, -1) // without a stage that embeds
	w.opts.Stages = []syncd.Stage{&syncdtest.MemoryStage{}, embedder("free", 0, &all)}
	w.opts.DryRun = &engine.DryRun{}
	w.run(t, m)
	is("free", -10, -1)
	w.opts.DryRun = nil
	w.run(t, m)
	is("free", 300, -1)
	w.opts.Stages = []syncd.Stage{embedder("free", 0, &all)}
	w.run(t, m)
	is("free", 600, -1)

	gate := syncdtest.NewGate()
	w.opts.Stages = []syncd.Stage{embedder("dear", 1000, &all)}
	w.opts.Sink = syncdtest.FaultySink(w.sink, syncdtest.SinkFaults{Write: syncdtest.Nth(2, syncdtest.Fault{Gate: gate})})
	w.opts.Readers, w.opts.Workers = 1, 1
	var run sync.WaitGroup
	run.Go(func() { w.run(t, m) })
	<-gate.Arrived()
	is("dear", 200, 0.2)
	is("free", 600, -1)
	gate.Open()
	run.Wait()
	is("dear", 300, 0.3)
	if all.Load() != 900 {
		t.Errorf("%d tokens were embedded", all.Load())
	}
}

func TestRetries(t *testing.T) {
	m := metrics.New("")
	retried := m.Retried("qdrant")
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() { retried(fmt.Sprint("reason ", i)) })
	}
	all.Wait()
	m.Retried("kafka")("not \xff UTF-8")
	series, total := 0, 0.
	for name, n := range values(t, m) {
		if strings.HasPrefix(name, `syncd_retries_total{plugin="qdrant"`) {
			series++
			total += n
		}
	}
	if series != 31 || total != 100 {
		t.Errorf("%d series count %v retries", series, total)
	}
	check(t, m, map[string]float64{`syncd_retries_total{plugin="kafka",reason="not ? UTF-8"}`: 1})
}

func TestHealthAndReadiness(t *testing.T) {
	m := metrics.New("")
	w := newWorld(t)
	w.insert("page", 20, nil)
	if err := errors.Join(m.Healthy(), m.Ready()); err != nil {
		t.Error("before the first run:", err)
	}
	monitor := new(job.Monitor)
	m.Begin(monitor, false)
	if m.Ready() == nil || m.Healthy() != nil {
		t.Error("while plugins are opened:", m.Ready(), m.Healthy())
	}
	check(t, m, map[string]float64{"syncd_run_active": 1, `syncd_run_phase{phase="start"}`: 1})

	stalled := make(chan struct{})
	gate := syncdtest.NewGate()
	w.opts.Checker = syncdtest.FaultyChecker(w.checker, syncdtest.CheckerFaults{Read: syncdtest.Nth(1, syncdtest.Fault{Gate: gate})})
	w.opts.Monitor, w.opts.StallAfter, w.opts.Logger = monitor, time.Millisecond, slog.New(warns{seen: stalled, once: new(sync.Once)})
	var run sync.WaitGroup
	var report job.Report
	run.Go(func() { report, _ = job.Run(t.Context(), w.opts) })
	<-gate.Arrived()
	<-stalled
	for m.Healthy() == nil { // the warning may have been of an earlier moment
		time.Sleep(time.Millisecond)
	}
	if err := m.Healthy(); err == nil || !strings.Contains(err.Error(), "in check") || !strings.HasPrefix(err.Error(), "the run has not moved for ") {
		t.Error("stalled:", err)
	}
	check(t, m, map[string]float64{"syncd_run_stalled": 1})
	if err := m.Ready(); err != nil {
		t.Error("running:", err)
	}
	gate.Open()
	run.Wait()
	m.End(metrics.End{Report: report, Outcome: tally.Complete})
	if err := errors.Join(m.Healthy(), m.Ready()); err != nil {
		t.Error("after the run:", err)
	}
	check(t, m, map[string]float64{"syncd_run_stalled": 0, "syncd_run_active": 0})
}

// A run whose plugins can't be opened has nothing to show but how it ended.
func TestRunThatCouldNotBegin(t *testing.T) {
	m := metrics.New("")
	m.Begin(new(job.Monitor), false)
	m.End(metrics.End{Outcome: tally.Failed, ExitCode: 1})
	check(t, m, map[string]float64{`syncd_runs_total{outcome="failed"}`: 1, "syncd_last_run_exit_code": 1, "syncd_index_points": -1, "syncd_run_active": 0})
}

// warns tells of the first warning.
type warns struct {
	slog.Handler
	seen chan struct{}
	once *sync.Once
}

func (w warns) Enabled(context.Context, slog.Level) bool { return true }

func (w warns) Handle(_ context.Context, r slog.Record) error {
	if r.Level == slog.LevelWarn {
		w.once.Do(func() { close(w.seen) })
	}
	return nil
}

// journal is checkpoints in memory.
type journal struct {
	mu     sync.Mutex
	kept   map[string]store.Collection
	splits map[string]map[int]store.Split
}

func newJournal() *journal {
	return &journal{kept: map[string]store.Collection{}, splits: map[string]map[int]store.Split{}}
}

func (j *journal) Recall(collection string) *store.Collection {
	j.mu.Lock()
	defer j.mu.Unlock()
	s, ok := j.kept[collection]
	if !ok {
		return nil
	}
	s.Splits = slices.Collect(maps.Values(j.splits[collection]))
	return &s
}

func (j *journal) Collection(_ context.Context, name string, s store.Collection, begin bool) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.kept[name] = s
	if begin {
		j.splits[name] = map[int]store.Split{}
	}
	return nil
}

func (j *journal) Split(_ context.Context, collection string, s store.Split, _ bool) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.splits[collection][s.Index] = s
	return nil
}
