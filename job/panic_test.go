package job_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	sides "github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/internal/panics"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/syncdtest"
)

// TestAPluginThatPanicsEndsItsRunAlone: the panic of any method is the run's error, and the next run does what this one could not.
func TestAPluginThatPanicsEndsItsRunAlone(t *testing.T) {
	once := func() syncdtest.Schedule {
		var done atomic.Bool
		return func(int) syncdtest.Fault {
			if done.CompareAndSwap(false, true) {
				panic("no such index")
			}
			return syncdtest.Fault{}
		}
	}
	for name, faults := range map[string]struct {
		source  syncdtest.SourceFaults
		checker syncdtest.CheckerFaults
		sink    syncdtest.SinkFaults
	}{
		"splits":  {source: syncdtest.SourceFaults{Splits: once()}},
		"read":    {source: syncdtest.SourceFaults{Read: once()}},
		"fetch":   {source: syncdtest.SourceFaults{Fetch: once()}},
		"count":   {source: syncdtest.SourceFaults{Count: once()}},
		"find":    {source: syncdtest.SourceFaults{Find: once()}},
		"check":   {checker: syncdtest.CheckerFaults{Check: once()}},
		"inspect": {checker: syncdtest.CheckerFaults{Inspect: once()}},
		"list":    {checker: syncdtest.CheckerFaults{List: once()}},
		"write":   {sink: syncdtest.SinkFaults{Write: once()}},
		"prepare": {sink: syncdtest.SinkFaults{Prepare: once()}},
	} {
		t.Run(name, func(t *testing.T) {
			source, index, sink := syncdtest.NewMemorySource(), syncdtest.NewMemoryChecker(), syncdtest.NewMemorySink()
			index.Put(sides.PointID("page", "gone", 0), map[string]any{"mongo_id": "gone", "content_type": "page", "chunk_index": 0})
			for i := range 300 {
				id := strconv.Itoa(i)
				source.Insert("page", syncdtest.MemoryDoc{ID: id})
				if i%2 == 0 {
					index.Put(sides.PointID("page", id, 0), map[string]any{"mongo_id": id, "content_type": "page", "chunk_index": 0})
				}
			}
			registry, err := syncd.NewRegistry(
				syncd.NewSource("source", "Panics.", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Source, error) {
					return syncdtest.FaultySource(source, faults.source), nil
				}),
				syncd.NewChecker("index", "Panics.", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Checker, error) {
					return syncdtest.FaultyChecker(index, faults.checker), nil
				}),
				syncd.NewSink("sink", "Panics.", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Sink, error) {
					return syncdtest.FaultySink(sink, faults.sink), nil
				}))
			if err != nil {
				t.Fatal(err)
			}
			text := "source: {source: {}}\nchecker: {index: {}}\nsink: {sink: {}}\nmapping: {owner: {exclusive: true}, collections: {page: page}}\n" +
				"run: {orphans: report, batch_size: 20, state_dir: " + strconv.Quote(t.TempDir()) + "}\n"
			c, diags := config.Load(config.Input{Path: "job.yaml", Text: []byte(text), Registry: registry})
			if c == nil {
				t.Fatal(diags)
			}
			run := func() error {
				_, err := (&job.Job{Config: c, Logger: slog.New(slog.DiscardHandler)}).Backfill(t.Context(), job.Request{})
				return err
			}
			err = run()
			if p, ok := errors.AsType[*panics.Error](err); !ok || !strings.Contains(string(p.Stack), "panic_test.go") {
				t.Fatalf("the run ended with %v", err)
			}
			if err := run(); err != nil {
				t.Fatalf("the next run: %v", err)
			}
			sent := map[string]bool{}
			for _, e := range sink.Events() {
				sent[e.ID] = true
			}
			if len(sent) != 150 {
				t.Errorf("%d documents were sent", len(sent))
			}
		})
	}
}
