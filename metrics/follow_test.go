package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/metrics"
	"github.com/syncd-io/syncd/syncdtest"
)

// following is a job that follows a source in memory, watched by m as the program does.
type following struct {
	m      *metrics.Metrics
	source *syncdtest.MemorySource
	mute   atomic.Bool  // nothing that the source says is heard
	failed atomic.Bool  // what the sink is given fails
	down   atomic.Bool  // the source can't be opened, and ends its streams
	writes atomic.Int64 // that the sink takes before it is down; 0 is any number
	tokens atomic.Int64 // that were embedded, where stages has embed
	opened atomic.Int64 // stages
	stop   func() error
}

// mutable is a source that may be mute.
type mutable struct {
	syncd.Source
	f *following
}

func (s mutable) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	return func(yield func(syncd.Batch, error) bool) {
		for b, err := range s.Source.Read(ctx, req) {
			if s.f.down.Load() {
				yield(syncd.Batch{}, fmt.Errorf("the connection is lost: %w", syncd.ErrUnavailable))
				return
			}
			for err == nil && s.f.mute.Load() && ctx.Err() == nil {
				time.Sleep(100 * time.Millisecond)
			}
			if !yield(b, err) {
				return
			}
		}
	}
}

// refusing is a sink that may refuse.
type refusing struct {
	syncd.Sink
	f *following
}

func (s refusing) Write(ctx context.Context, changes []syncd.Change) error {
	if s.f.failed.Load() {
		var failed syncd.BatchError
		for i := range changes {
			failed.Fail(i, syncd.ErrTooLarge)
		}
		return &failed
	}
	switch left := s.f.writes.Load(); {
	case left == 1:
		return fmt.Errorf("no broker: %w", syncd.ErrUnavailable)
	case left > 1:
		s.f.writes.Add(-1)
	}
	return s.Sink.Write(ctx, changes)
}

// follow begins to follow; it is to run within synctest.
func follow(t testing.TB, m *metrics.Metrics, more string) *following {
	t.Helper()
	f := &following{m: m, source: syncdtest.NewMemorySource()}
	f.source.Record()
	f.source.Create("page")
	index, kept := syncdtest.NewMemoryChecker(), syncdtest.NewMemorySink()
	registry, err := syncd.NewRegistry(
		syncd.NewSource("memory", "Reads.", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Source, error) {
			if f.down.Load() {
				return nil, fmt.Errorf("no server: %w", syncd.ErrUnavailable)
			}
			return mutable{f.source, f}, nil
		}), index.Plugin("index"),
		syncd.NewStage("embed", "Embeds.", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Stage, error) {
			f.opened.Add(1)
			return embedder("model", 2, &f.tokens), nil
		}),
		syncd.NewSink("sink", "Keeps.", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Sink, error) { return refusing{kept, f}, nil }))
	if err != nil {
		t.Fatal(err)
	}
	text := "source: {memory: {}}\nchecker: {index: {}}\nsink: {sink: {}}\nmapping: {owner: {exclusive: true}, collections: {page: page}}\n" +
		"run: {follow: true, batch_size: 5, workers: 1, state_dir: " + strconv.Quote(t.TempDir()) + "}\n" + more
	c, diags := config.Load(config.Input{Path: "job.yaml", Text: []byte(text), Registry: registry})
	if c == nil {
		t.Fatal(diags)
	}
	drain, ended := make(chan struct{}), make(chan error, 1)
	monitor := new(job.Monitor)
	end := func(r job.Report, err error) { m.End(metrics.End{Report: r, Outcome: job.OutcomeOf(err)}) }
	m.Begin(monitor, false)
	go func() {
		j := &job.Job{Config: c, Logger: slog.New(slog.DiscardHandler), Getenv: func(string) string { return "" }, Drain: drain}
		_, err := j.Backfill(t.Context(), job.Request{Monitor: monitor, Following: job.Following{
			Began:    func([]syncd.Stream) { m.Follow(monitor, 30*time.Second) },
			Backfill: func(r job.Result, err error) { end(r.Report, err) },
			Reconciling: func(r job.Reconcile) {
				m.Reconciles(r.Cause)
				m.Begin(monitor, false)
			},
		}})
		ended <- err
	}()
	f.stop = func() error {
		close(drain)
		return <-ended
	}
	return f
}

// embedder embeds ten tokens of each document, at a price for a million, and adds them to all as well.
func embedder(model string, price float64, all *atomic.Int64) *syncdtest.MemoryStage {
	var used atomic.Int64
	return &syncdtest.MemoryStage{
		Each: func(*syncd.Change) error {
			used.Add(1)
			all.Add(10)
			return nil
		},
		Can: syncd.StageAbilities{Vectors: &syncd.Vectors{
			Model: model, Price: price, Usage: func() syncd.Usage {
				return syncd.Usage{Requests: 2 * used.Load(), Texts: used.Load(), Tokens: 10 * used.Load()}
			},
		}},
	}
}

func page(i int) syncdtest.MemoryDoc {
	return syncdtest.MemoryDoc{ID: strconv.Itoa(i), Fields: map[string]any{"v": 1}}
}

// settle lets what is under way be handled.
func settle() {
	time.Sleep(3 * time.Second)
	synctest.Wait()
}

// counted are the counters of a scrape; each must be at least what it was.
func counted(t *testing.T, m *metrics.Metrics, last map[string]float64) map[string]float64 {
	t.Helper()
	now := values(t, m)
	for name, before := range last {
		if v, shown := now[name]; strings.HasPrefix(name, "syncd_") && strings.Contains(name, "_total") && (!shown || v < before) {
			t.Errorf("%s went from %v to %v (shown: %v)", name, before, v, shown)
		}
	}
	return now
}

// TestCountersOutliveAnOutage: what a reconcile had done when a server went down is counted once, and stays counted when the run is
// gone on with.
func TestCountersOutliveAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := metrics.New("")
		f := follow(t, m, "schedule: {reconcile: {every: 10m}}\nstages: {embed: {}}\n")
		for i := range 20 {
			f.source.Insert("page", page(i))
		}
		settle()
		embedded := func() {
			t.Helper()
			synctest.Wait()
			n := float64(f.tokens.Load())
			check(t, m, map[string]float64{
				`syncd_embedded_tokens_total{model="model"}`: n, `syncd_embedded_texts_total{model="model"}`: n / 10,
				`syncd_embedding_requests_total{model="model"}`: n / 5,
			})
			if cost := values(t, m)[`syncd_embedding_cost_dollars_total{model="model"}`]; math.Abs(cost-n/1e6*2) > 1e-9 {
				t.Errorf("%v tokens cost %v dollars", n, cost)
			}
		}
		embedded()
		const sent = `syncd_acks_total{collection="page",content_type="page"}`
		last := counted(t, m, nil)
		before := last[sent]
		f.writes.Store(3) // the index has none of them, so a reconcile sends them again
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		last = counted(t, m, last)
		if during := last[sent] - before; during != 10 {
			t.Errorf("%v were counted when the sink went down", during)
		}
		f.writes.Store(0)
		for i := range 100 {
			time.Sleep(time.Second)
			synctest.Wait()
			last = counted(t, m, last)
			if i := i % 50; i == 0 {
				f.source.Insert("page", page(1000+i))
			}
			embedded()
		}
		if n := f.opened.Load(); n < 2 {
			t.Errorf("stages were opened %d times", n)
		}
		if all := last[sent] - before; all != 20 {
			t.Errorf("%v were counted behind the outage", all)
		}
		// An outage behind which no document is looked at again.
		opened, embedding := f.opened.Load(), f.tokens.Load()
		f.down.Store(true)
		settle()
		f.source.Insert("page", page(2000))
		f.down.Store(false)
		time.Sleep(time.Minute)
		embedded()
		if f.opened.Load() == opened || f.tokens.Load() != embedding+10 {
			t.Errorf("stages were opened %d times before and %d behind it; %d tokens were embedded before, and %d behind it", opened, f.opened.Load(), embedding, f.tokens.Load())
		}
		if err := f.stop(); err != nil {
			t.Error(err)
		}
		embedded()
	})
}

func TestFollowing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := metrics.New("")
		f := follow(t, m, "schedule: {reconcile: {every: 10m}}\n")
		for i := range 20 {
			f.source.Insert("page", page(i))
		}
		settle()
		last := counted(t, m, nil)
		const stream = `{stream="memory"}`
		result := func(r string) string { return `syncd_stream_changes_total{result="` + r + `",stream="memory"}` }
		check(t, m, map[string]float64{
			"syncd_run_active": 0, `syncd_run_phase{phase="follow"}`: 1, `syncd_run_phase{phase="read"}`: 0, `syncd_runs_total{outcome="complete"}`: 1,
			"syncd_stream_lag_seconds" + stream: 0, "syncd_stream_waiting_changes" + stream: 0, `syncd_reconciles_total{cause="schedule"}`: 0,
		})
		before := last[result("sent")]
		f.source.Insert("page", page(100))
		f.source.Update("page", page(1), "v")
		f.source.Insert("page", page(2))
		f.source.Delete("page", "3")
		settle()
		last = counted(t, m, last)
		op := func(name string) string { return `syncd_followed_changes{collection="page",operation="` + name + `"}` }
		check(t, m, map[string]float64{
			result("sent"): before + 4, result("failed"): 0,
			op("update"): 1, op("replace"): 1, op("delete"): 1, "syncd_stream_merged_changes": 0,
		})
		if ago := float64(time.Now().Unix()) - last["syncd_stream_heard_timestamp_seconds"+stream]; ago < 0 || ago > 2 {
			t.Errorf("the stream was heard %v s ago", ago)
		}
		f.failed.Store(true)
		f.source.Insert("page", page(101))
		settle()
		f.failed.Store(false)
		last = counted(t, m, last)
		check(t, m, map[string]float64{result("sent"): before + 4, result("failed"): 1})

		time.Sleep(10 * time.Second)
		synctest.Wait()
		check(t, m, map[string]float64{"syncd_stream_lag_seconds" + stream: 0}) // it is idle
		time.Sleep(30 * time.Second)
		f.mute.Store(true)
		time.Sleep(2 * time.Second)
		f.source.Insert("page", page(102))
		time.Sleep(20 * time.Second)
		if err := m.Healthy(); err != nil {
			t.Error("a silence of 20 s:", err)
		}
		time.Sleep(20 * time.Second)
		if err := m.Healthy(); err == nil || !strings.HasPrefix(err.Error(), "nothing was heard from the stream memory for 4") {
			t.Error("a silence of 40 s:", err)
		}
		f.mute.Store(false)
		time.Sleep(time.Minute)
		if err := errors.Join(m.Healthy(), m.Ready()); err != nil {
			t.Error("an idle stream:", err)
		}
		last = counted(t, m, last)

		time.Sleep(10 * time.Minute)
		synctest.Wait()
		last = counted(t, m, last)
		check(t, m, map[string]float64{`syncd_reconciles_total{cause="schedule"}`: 1, `syncd_runs_total{outcome="complete"}`: 2, result("sent"): before + 5})

		// A stream that loses its position keeps what it has counted.
		f.mute.Store(true)
		time.Sleep(2 * time.Second)
		f.down.Store(true)
		f.mute.Store(false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		last = counted(t, m, last)
		now := last["syncd_stream_lag_seconds"+stream]
		if now < 5 {
			t.Errorf("the lag while the source is down: %v", now)
		}
		check(t, m, map[string]float64{`syncd_run_phase{phase="follow"}`: 0})
		for i := range 5 {
			f.source.Insert("page", page(200+i))
		}
		f.source.Forget(1)
		f.down.Store(false)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		last = counted(t, m, last)
		check(t, m, map[string]float64{`syncd_reconciles_total{cause="position_lost"}`: 1, "syncd_stream_lag_seconds" + stream: 0, `syncd_run_phase{phase="follow"}`: 1})
		if err := f.stop(); err != nil {
			t.Fatal(err)
		}
		check(t, m, map[string]float64{
			result("sent"): -1, "syncd_stream_lag_seconds" + stream: -1, "syncd_stream_heard_timestamp_seconds" + stream: -1,
			"syncd_stream_merged_changes": -1, op("update"): -1, `syncd_run_phase{phase="follow"}`: 0,
			`syncd_reconciles_total{cause="position_lost"}`: 1,
		})
		for name, v := range last {
			if strings.HasPrefix(name, "syncd_acks_total") && values(t, m)[name] != v {
				t.Errorf("%s was %v", name, v)
			}
		}
	})
}

// followed has look see what a scrape shows while a job follows.
func followed(t *testing.T, look func(*metrics.Metrics)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := metrics.New("v1.2.3")
		f := follow(t, m, "")
		for i := range 2 {
			settle()
			f.source.Insert("page", page(i))
		}
		time.Sleep(20 * time.Second) // until the source was asked for its window again
		look(m)
		if err := f.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
