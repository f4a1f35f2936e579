package metrics_test

import (
	"context"
	"log/slog"
	"maps"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/metrics"
	"github.com/syncd-io/syncd/syncdtest"
)

// sharing is a sink whose brokers hold the state of a cluster; a write takes a second.
type sharing struct {
	syncd.Sink
	broker *syncdtest.MemoryBroker
}

func (s sharing) Write(ctx context.Context, changes []syncd.Change) error {
	time.Sleep(time.Second)
	return s.Sink.Write(ctx, changes)
}

func (s sharing) Abilities() syncd.SinkAbilities {
	return syncd.SinkAbilities{Cluster: func(_ context.Context, o syncd.ClusterOptions) (syncd.Cluster, error) {
		return s.broker.Process(o), nil
	}}
}

// member is a process that shares a job with others.
type member struct {
	m     *metrics.Metrics
	drain chan struct{}
	ended chan error
}

func join(t testing.TB, broker *syncdtest.MemoryBroker, source *syncdtest.MemorySource) *member {
	t.Helper()
	registry, err := syncd.NewRegistry(source.Plugin("memory"), syncdtest.NewMemoryChecker().Plugin("index"),
		syncd.NewSink("sink", "Keeps.", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Sink, error) {
			return sharing{Sink: syncdtest.NewMemorySink(), broker: broker}, nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	text := "source: {memory: {}}\nchecker: {index: {}}\nsink: {sink: {}}\nmapping: {owner: {exclusive: true}, collections: {page: page}}\n" +
		"cluster: {group: g}\nrun: {batch_size: 5, workers: 1, state_dir: " + strconv.Quote(t.TempDir()) + "}\n"
	c, diags := config.Load(config.Input{Path: "job.yaml", Text: []byte(text), Registry: registry})
	if c == nil {
		t.Fatal(diags)
	}
	p, monitor := &member{m: metrics.New(""), drain: make(chan struct{}), ended: make(chan error, 1)}, new(job.Monitor)
	p.m.Begin(monitor, false)
	go func() {
		j := &job.Job{Config: c, Logger: slog.New(slog.DiscardHandler), Getenv: func(string) string { return "" }, Drain: p.drain}
		res, err := j.Backfill(t.Context(), job.Request{Monitor: monitor})
		p.m.End(metrics.End{Report: res.Report, Outcome: job.OutcomeOf(err)})
		p.ended <- err
	}()
	return p
}

// clustered shows the metrics of two processes that share a job, then those of the one that is left.
func clustered(t *testing.T, both func(a, b *metrics.Metrics), left func(*metrics.Metrics)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		broker, source := syncdtest.NewMemoryBroker(4), syncdtest.NewMemorySource()
		source.SetSplits(8)
		for i := range 500 {
			source.Insert("page", page(i))
		}
		a := join(t, broker, source)
		time.Sleep(5 * time.Second)
		b := join(t, broker, source)
		time.Sleep(15 * time.Second)
		synctest.Wait()
		both(a.m, b.m)
		close(a.drain)
		<-a.ended
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if left != nil {
			left(b.m)
		}
		close(b.drain)
		<-b.ended
	})
}

// TestClusterIsShown: each process shows what it owns, so that the sum over all tells what nobody does.
func TestClusterIsShown(t *testing.T) {
	const processes, lanes, owned, leader, moves = "syncd_cluster_processes", "syncd_cluster_lanes", "syncd_cluster_lanes_owned", "syncd_cluster_leader", "syncd_cluster_moves_total"
	var before map[string]float64
	clustered(t, func(a, b *metrics.Metrics) {
		va, vb := values(t, a), values(t, b)
		before = maps.Clone(vb)
		for _, v := range []map[string]float64{va, vb} {
			if v[processes] != 2 || v[lanes] != 4 || v[owned] != 2 || v[moves] == 0 {
				t.Errorf("%v processes, %v lanes, of which %v owned, %v moves", v[processes], v[lanes], v[owned], v[moves])
			}
		}
		if va[leader]+vb[leader] != 1 {
			t.Errorf("%v and %v lead", va[leader], vb[leader])
		}
	}, func(m *metrics.Metrics) {
		v := values(t, m)
		if v[processes] != 1 || v[owned] != 4 || v[leader] != 1 || v[moves] <= before[moves] {
			t.Errorf("%v processes, %v lanes owned, %v leads, %v moves after %v", v[processes], v[owned], v[leader], v[moves], before[moves])
		}
	})
}
