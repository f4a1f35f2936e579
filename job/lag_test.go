package job

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/arrival"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/syncdtest"
)

// lagSink is a sink whose consumers are so far behind, one number for each time that it is asked; the last one stays.
type lagSink struct {
	syncd.Sink
	unread []int64
	asked  int
}

func (s *lagSink) Abilities() syncd.SinkAbilities {
	return syncd.SinkAbilities{Lag: func(context.Context, string, []syncd.Target) ([]syncd.PartitionLag, error) {
		n := s.unread[min(s.asked, len(s.unread)-1)]
		s.asked++
		return []syncd.PartitionLag{{Place: "page", Next: 100 - n, End: 100, Confirmed: true}}, nil
	}}
}

// TestConsumersFirst: what a run does about events that the consumers have not read, by run.consumer_lag.
func TestConsumersFirst(t *testing.T) {
	for name, c := range map[string]struct {
		policy config.LagPolicy
		dry    bool
		unread []int64
		told   []int64 // what is said to be unread, one after the other
		behind bool    // it ends with a LagError
	}{
		"nothing is unread":     {policy: config.LagWait, unread: []int64{0}},
		"it waits":              {policy: config.LagWait, unread: []int64{5, 5, 0}, told: []int64{5, 0}},
		"it waits in vain":      {policy: config.LagWait, unread: []int64{5}, told: []int64{5, 5, 5}, behind: true},
		"it only says so":       {policy: config.LagReport, unread: []int64{5}, told: []int64{5}},
		"a dry run does so too": {policy: config.LagWait, dry: true, unread: []int64{5}, told: []int64{5}},
		"it does not look":      {policy: config.LagIgnore, unread: []int64{5}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := &config.Config{}
				cfg.Run.ConsumerGroup, cfg.Run.ConsumerLag, cfg.Run.AwaitTimeout = "indexer", c.policy, 16*time.Second
				j := &Job{Config: cfg, Logger: slog.New(slog.DiscardHandler)}
				p := &Plugins{Checker: syncdtest.NewMemoryChecker(), Sink: &lagSink{unread: c.unread}}
				o := Options{Options: engine.Options{Rules: []*mapping.Rule{{Collection: syncd.Collection{Name: "page"}}}}}
				if c.dry {
					o.DryRun = &engine.DryRun{}
				}
				var told []int64
				err := j.consumersFirst(t.Context(), p, o, Observer{Lag: func(l arrival.Lag, _ bool) { told = append(told, l.Unread) }})
				var behind *arrival.LagError
				if errors.As(err, &behind) != c.behind || err != nil && !c.behind {
					t.Errorf("it ended with %v", err)
				}
				if !slices.Equal(told, c.told) {
					t.Errorf("it said %d, not %d", told, c.told)
				}
			})
		})
	}
}

// TestConsumersNeedASinkThatKnowsThem: where the sink can't tell the lag, the configuration is wrong.
func TestConsumersNeedASinkThatKnowsThem(t *testing.T) {
	cfg := &config.Config{}
	cfg.Run.ConsumerGroup, cfg.Run.ConsumerLag = "indexer", config.LagWait
	cfg.Sink = config.Plugin{Plugin: syncdtest.NewMemorySink().Plugin("memory")}
	j := &Job{Config: cfg, Logger: slog.New(slog.DiscardHandler)}
	p := &Plugins{Checker: syncdtest.NewMemoryChecker(), Sink: syncdtest.NewMemorySink()}
	err := j.consumersFirst(t.Context(), p, Options{}, Observer{})
	if invalid := (*InvalidError)(nil); !errors.As(err, &invalid) || !strings.Contains(err.Error(), "the sink memory can't tell") {
		t.Error(err)
	}
}
