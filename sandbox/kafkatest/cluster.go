package kafkatest

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/sinks/kafka"
	"github.com/syncd-io/syncd/syncdtest"
)

// Cluster is the harness of the sink's cluster at the broker behind a proxy. committed is that of a sink with transactions.
func Cluster(p *Proxy, session time.Duration, change func(*kafka.Config), committed func(*testing.T) []string) syncdtest.ClusterHarness {
	h := syncdtest.ClusterHarness{
		Session: session,
		Open: func(t *testing.T, o syncd.ClusterOptions) syncdtest.ClusterProcess {
			t.Helper()
			t.Cleanup(func() { p.mend(o.ProcessName) })
			s, c := open(t, p, o, change)
			return syncdtest.ClusterProcess{Cluster: closing{c, s}, Cut: func() func() { return p.Cut(o.ProcessName) }}
		},
	}
	if committed != nil {
		h.TooLarge, h.Committed = 1_100_000, committed
	}
	return h
}

// open opens the sink of a process, and its cluster.
func open(t *testing.T, p *Proxy, o syncd.ClusterOptions, change func(*kafka.Config)) (syncd.Sink, syncd.Cluster) {
	t.Helper()
	plugin := kafka.Plugin()
	conf := plugin.Config().(*kafka.Config)
	conf.BootstrapServers, conf.ClientID = p.Addr(), o.ProcessName
	conf.CreateTopics = &kafka.CreateTopics{Partitions: 3, ReplicationFactor: 1}
	change(conf)
	s, err := plugin.OpenSink(t.Context(), conf, syncd.Env{Logger: slog.New(slog.DiscardHandler), Process: o.ProcessName})
	if err != nil {
		t.Fatalf("%v (%s)", err, syncd.HintOf(err))
	}
	if err := s.Abilities().Prepare(t.Context(), syncd.Run{ID: o.Group, Targets: syncdtest.SinkTargets()}); err != nil {
		t.Fatal(errors.Join(err, s.Close()))
	}
	c, err := s.Abilities().Cluster(t.Context(), o)
	if err != nil {
		t.Fatal(errors.Join(err, s.Close()))
	}
	return s, c
}

// closing closes the sink with its cluster.
type closing struct {
	syncd.Cluster
	sink syncd.Sink
}

func (c closing) Close() error { return errors.Join(c.Cluster.Close(), c.sink.Close()) }
