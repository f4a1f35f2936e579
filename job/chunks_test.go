package job

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
	"github.com/syncd-io/syncd/verdict"
)

// TestNumbersOfChunksThatCannotBeRead: some are work, and counted; almost all are drift.
func TestNumbersOfChunksThatCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		documents, unread int
		allow, plan       bool
		stops             bool
	}{
		"none":                     {documents: 100},
		"one":                      {documents: 100, unread: 1},
		"most":                     {documents: 100, unread: 80},
		"all of a few":             {documents: 10, unread: 10},
		"all":                      {documents: 100, unread: 100, stops: true},
		"almost all":               {documents: 100, unread: 98, stops: true},
		"all, with leave to drift": {documents: 100, unread: 100, allow: true},
		"a plan shows what it is":  {documents: 100, unread: 100, plan: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := fixture.New()
			f.Insert("page", c.documents, nil)
			for i := range c.documents {
				id := fmt.Sprintf("%05d", i)
				f.Index("page", id, "", 1)
				if i < c.unread {
					f.Checker.Put(fixture.PointID("page", id, 0), map[string]any{"content_type": "page", "mongo_id": id, "chunk_index": 0, "chunk_count": "n/a"})
				}
			}
			sink := syncdtest.NewMemorySink()
			o := Options{Guards: Guards{AllowDrift: c.allow}, Options: engine.Options{
				RunID: "run", Source: f.Source, Checker: f.Checker, Sink: sink, Rules: fixture.Versioned(t, "page"),
				BatchSize: 50, BatchBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler),
			}}
			if c.plan {
				o.Sink, o.DryRun, o.Hooks.Item = nil, &engine.DryRun{}, func(verdict.Item) {}
			}
			rep, err := Run(t.Context(), o)
			var guard *tally.GuardError
			if errors.As(err, &guard) != c.stops || err != nil && !c.stops {
				t.Fatalf("it ended with %v", err)
			}
			if c.stops {
				if len(sink.Events()) > 0 || !strings.Contains(err.Error(), `"chunk_count"`) || !strings.Contains(guard.Advice, "mapping.chunks") {
					t.Errorf("%d events, %v: %s", len(sink.Events()), err, guard.Advice)
				}
				return
			}
			if n := rep.Total; n.Unread != int64(c.unread) || n.Partial != n.Unread || n.Present != int64(c.documents-c.unread) || n.Problem() != "" {
				t.Errorf("%+v: %s", n, n.Problem())
			}
			if sent := len(sink.Events()); sent != c.unread && !c.plan {
				t.Errorf("%d events", sent)
			}
		})
	}
}
