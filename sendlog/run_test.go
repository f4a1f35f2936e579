package sendlog_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/sendlog"
	"github.com/syncd-io/syncd/syncdtest"
)

// TestRuns sends what the indexer never does: a document that it never indexes, and deletes whose points it never removes. Each
// is sent as often as the record allows, and the rest is not held up.
func TestRuns(t *testing.T) {
	sides := fixture.New()
	sides.Insert("page", 10, func(i int) bool { return i > 0 })
	sides.Index("page", "gone-1", "", 1)
	sides.Index("page", "gone-2", "", 3)
	owned := mapping.Defaults()
	owned.Owner = &mapping.Owner{Exclusive: true}
	owned.Collections = mapping.Collections{{Name: "page", ContentType: "page"}}
	rules := fixture.Compile(t, owned)
	config := sendlog.Config{Path: filepath.Join(t.TempDir(), "a.db"), Index: "i", Max: 2}
	run := func(what string, sent, unindexed, deleted, left int64) {
		t.Helper()
		ledger, err := sendlog.Open(config)
		if err != nil {
			t.Fatal(err)
		}
		report, err := job.Run(t.Context(), job.Options{
			Options: engine.Options{
				RunID: "run", Source: sides.Source, Checker: sides.Checker, Sink: syncdtest.NewMemorySink(), Rules: rules,
				BatchSize: 10, BatchBytes: 1 << 20, Ledger: ledger, Logger: slog.New(slog.DiscardHandler),
			},
			Orphans: job.OrphansPrune,
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := int64(len(ledger.Left())); n != unindexed+left {
			t.Errorf("%s: %d are named: %+v", what, n, ledger.Left())
		}
		if err := ledger.Close(); err != nil {
			t.Fatal(err)
		}
		got := [4]int64{report.Total.Acked, report.Total.Unindexed, report.Deleted.Acked, report.Deleted.Unindexed}
		if want := [4]int64{sent, unindexed, deleted, left}; got != want {
			t.Errorf("%s: sent, left alone, deleted and left alone are %v, not %v", what, got, want)
		}
	}
	run("first run", 1, 0, 2, 0)
	run("second run", 1, 0, 2, 0)
	run("third run", 0, 1, 0, 2)
	sides.Source.Insert("page", syncdtest.MemoryDoc{ID: "gone-1"})
	sides.Checker.Remove(fixture.PointID("page", "gone-1", 0))
	run("one was inserted after its delete", 1, 1, 0, 1)
	sides.Index("page", "gone-1", "", 1)
	sides.Source.Delete("page", "gone-1")
	run("and deleted again", 0, 1, 1, 1)
}
