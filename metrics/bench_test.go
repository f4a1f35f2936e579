//go:build unix

package metrics_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/metrics"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
	"github.com/syncd-io/syncd/tracing"
)

const (
	benchDocs   = 200_000
	scrapeEvery = 100 * time.Millisecond
)

// BenchmarkObserved runs the engine over plugins in memory, in turn with everything off, with metrics that are scraped ten times
// a second, and with a trace of every batch. It reports the CPU time of a document, all in one process: the scraper's and the
// receiver's too, and the ratios to everything off, each the median of its rounds: go test ./metrics -bench Observed -benchtime 30x
func BenchmarkObserved(b *testing.B) {
	o := benchRun(b)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	defer receiver.Close()
	modes := []struct {
		name string
		run  func(job.Options) time.Duration
	}{
		{"off", func(o job.Options) time.Duration { return execute(b, b.Context(), o) }},
		{"metrics", func(o job.Options) time.Duration { return scraped(b, o) }},
		{"traces", func(o job.Options) time.Duration {
			t, err := tracing.Start(b.Context(), tracing.Options{Endpoint: receiver.URL, HTTP: true, SampleRatio: 1, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			defer t.Close()
			ctx, run := t.Run(b.Context())
			o.Hooks.Tracer = run
			wall := execute(b, ctx, o)
			run.End(tally.Counts{}, 0, nil)
			return wall
		}},
	}
	cpu, wall := make([][]float64, len(modes)), make([][]float64, len(modes))
	for round := 0; b.Loop(); round++ {
		for k := range modes {
			i := (k + round) % len(modes) // none always comes first
			runtime.GC()                  // nor cleans up behind another
			before := cpuTime(b)
			wall[i] = append(wall[i], modes[i].run(o).Seconds())
			cpu[i] = append(cpu[i], (cpuTime(b) - before).Seconds())
		}
	}
	b.ReportMetric(0, "ns/op")
	for i, mode := range modes {
		b.ReportMetric(median(cpu[i])/benchDocs*1e9, mode.name+"-cpu-ns/doc")
		if i > 0 {
			b.ReportMetric(ratio(cpu[i], cpu[0]), mode.name+"-cpu-ratio")
			b.ReportMetric(ratio(wall[i], wall[0]), mode.name+"-time-ratio")
		}
	}
}

// benchRun is a run over documents of which one in fifty is missing.
func benchRun(b *testing.B) job.Options {
	source, checker := syncdtest.NewMemorySource(), syncdtest.NewMemoryChecker()
	docs := make([]syncdtest.MemoryDoc, benchDocs)
	for i := range docs {
		id := fmt.Sprintf("%024d", i)
		docs[i] = syncdtest.MemoryDoc{ID: id, Fields: map[string]any{"title": strings.Repeat("t", 200)}}
		if i%50 != 0 {
			checker.Add(fixture.PointID("page", id, 0))
		}
	}
	source.Insert("page", docs...)
	source.SetSplits(4)
	return job.Options{Options: engine.Options{
		RunID: "run", Source: source, Checker: checker, Rules: fixture.Rules(b, "page"), BatchSize: 1000, BatchBytes: 1 << 20,
		Logger: slog.New(slog.DiscardHandler),
	}}
}

func execute(b *testing.B, ctx context.Context, o job.Options) time.Duration { //nolint:revive // the benchmark comes first, as t does
	o.Sink = syncdtest.NewMemorySink()
	began := time.Now()
	if rep, err := job.Run(ctx, o); err != nil || rep.Total.Scanned != benchDocs {
		b.Fatal(rep.Total, err)
	}
	return time.Since(began)
}

// scraped runs with metrics that are asked for all the time.
func scraped(b *testing.B, o job.Options) time.Duration {
	m := metrics.New("v1.2.3")
	o.Monitor, o.Hooks.BatchDone = new(job.Monitor), m.BatchDone
	m.Begin(o.Monitor, false)
	handler := m.Handler(o.Logger)
	ctx, stop := context.WithCancel(b.Context())
	var scraper sync.WaitGroup
	scraper.Go(func() {
		for tick := time.NewTicker(scrapeEvery); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", nil))
			}
		}
	})
	wall := execute(b, b.Context(), o)
	stop()
	scraper.Wait()
	return wall
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

// ratio is the median of the ratios of each round, whose runs follow one another: what else the machine does changes slowly.
func ratio(v, base []float64) float64 {
	r := make([]float64, len(v))
	for i := range v {
		r[i] = v[i] / base[i]
	}
	return median(r)
}
