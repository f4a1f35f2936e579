package metrics_test

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/metrics"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "rewrite the table in docs/monitoring.md")

// world is a source, an index and a sink in memory.
type world struct {
	source  *syncdtest.MemorySource
	checker *syncdtest.MemoryChecker
	sink    *syncdtest.MemorySink
	opts    job.Options
}

// newWorld has the collections page, workItem and task; the last two share a content type. Their rules know versions.
func newWorld(t testing.TB) *world {
	t.Helper()
	c := mapping.Config{Namespace: "url", Seed: "{mongo_id}/{collection}/{chunk_index}", Payload: mapping.Defaults().Payload, Owner: &mapping.Owner{Exclusive: true}}
	for _, name := range []string{"page", "workItem", "task"} {
		contentType := "work_item"
		if name == "page" {
			contentType = "page"
		}
		c.Collections = append(c.Collections, mapping.Collection{
			Name: name, ContentType: contentType, Version: &mapping.Version{Field: []string{"updatedAt"}, Payload: "updatedAt", Policy: mapping.Differs},
		})
	}
	w := &world{source: syncdtest.NewMemorySource(), checker: syncdtest.NewMemoryChecker(), sink: syncdtest.NewMemorySink()}
	w.opts = job.Options{Options: engine.Options{
		RunID: "run-1", Source: w.source, Checker: w.checker, Sink: w.sink, Rules: fixture.Compile(t, c),
		BatchSize: 10, BatchBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler),
	}}
	for _, name := range []string{"page", "workItem", "task"} {
		w.source.Create(name)
	}
	return w
}

var day = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// insert puts n documents into a collection, the i-th changed i hours after day; those for which present says so are in the
// index as they are.
func (w *world) insert(collection string, n int, present func(i int) bool) {
	for i := range n {
		id, changed := fmt.Sprintf("%05d", i), day.Add(time.Duration(i)*time.Hour).Format(time.RFC3339)
		w.source.Insert(collection, syncdtest.MemoryDoc{ID: id, Fields: map[string]any{"title": "t", "updatedAt": changed}})
		if present != nil && present(i) {
			w.index(collection, id, changed)
		}
	}
}

func (w *world) index(collection, id, version string) {
	contentType := "work_item"
	if collection == "page" {
		contentType = "page"
	}
	p := mapping.Defaults().Payload
	w.checker.Put(fixture.PointID(collection, id, 0), map[string]any{p.ContentType: contentType, p.ID: id, p.ChunkIndex: 0, "updatedAt": version})
}

// run runs once, watched by m, and returns what m.End was told.
func (w *world) run(t testing.TB, m *metrics.Metrics) metrics.End {
	t.Helper()
	monitor := new(job.Monitor)
	m.Begin(monitor, false)
	o := w.opts
	o.Monitor, o.Hooks.BatchDone = monitor, m.BatchDone
	report, err := job.Run(t.Context(), o)
	end := metrics.End{Report: report, Outcome: tally.Complete}
	switch {
	case err != nil:
		end.Outcome, end.ExitCode = tally.Failed, 1
	case report.Failed() > 0:
		end.Outcome, end.ExitCode = tally.Failures, 5
	}
	m.End(end)
	return end
}

// everything lets everything happen that metrics tell of, in two runs.
func everything(t testing.TB, m *metrics.Metrics) {
	w := newWorld(t)
	w.insert("page", 30, func(i int) bool { return i%3 == 0 })
	w.insert("workItem", 5, func(int) bool { return true })
	w.index("page", "00001", day.Format(time.RFC3339)) // stale
	w.index("page", "99999", "")                       // its document is gone
	w.source.Insert("page", syncdtest.MemoryDoc{ID: "bad-1", Err: errors.New("a corrupt field")})
	w.source.Insert("page", syncdtest.MemoryDoc{ID: "bad-2", EncodeErr: errors.New("no such encoding")})
	w.opts.Stages = []syncd.Stage{embedder("model", 2, new(atomic.Int64))}
	w.opts.DeadLetters = syncdtest.NewMemorySink()
	w.opts.Sink = syncdtest.FaultySink(w.sink, syncdtest.SinkFaults{Write: syncdtest.Nth(1, syncdtest.Fault{Fail: map[int]error{0: syncd.ErrTooLarge}})})
	m.Retried("qdrant")("unavailable")
	if end := w.run(t, m); end.Outcome != tally.Failures {
		t.Fatalf("the run ended as %s: %+v", end.Outcome, end.Report.Total)
	}
	w.source.Delete("page", "bad-1")
	w.source.Delete("page", "bad-2")
	w.opts.RunID, w.opts.Orphans = "run-2", job.OrphansPrune
	if end := w.run(t, m); end.Outcome != tally.Complete || len(end.Report.Orphans) == 0 {
		t.Fatalf("the run ended as %s: %+v", end.Outcome, end.Report)
	}
}

// values are what a scrape shows: name{label="value",…} and the number.
func values(t testing.TB, m *metrics.Metrics) map[string]float64 {
	t.Helper()
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, v := range f.GetMetric() {
			name := f.GetName() + labels(v)
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				out[name] = v.GetCounter().GetValue()
			case dto.MetricType_GAUGE:
				out[name] = v.GetGauge().GetValue()
			case dto.MetricType_HISTOGRAM:
				out[name] = float64(v.GetHistogram().GetSampleCount())
			}
		}
	}
	return out
}

func labels(m *dto.Metric) string {
	var parts []string
	for _, l := range m.GetLabel() {
		parts = append(parts, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
	}
	if len(parts) == 0 {
		return ""
	}
	slices.Sort(parts)
	return "{" + strings.Join(parts, ",") + "}"
}
