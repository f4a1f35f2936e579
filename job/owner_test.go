package job_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd/engine"
	fixtures "github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

// sharing is a run that prunes an index in which another database has as many points as this one, under the same content type.
func sharing(t *testing.T, owner *mapping.Owner) *fixture {
	t.Helper()
	f := newFixture(t)
	c := mapping.Defaults()
	c.Owner = owner
	c.Collections = mapping.Collections{{Name: "page", ContentType: "page"}}
	f.opts.Rules = fixtures.Compile(t, c)
	f.opts.Orphans, f.opts.Workers, f.opts.Readers = job.OrphansPrune, 2, 2
	f.source.Create("page")
	put := func(id, database string, chunks int) {
		for chunk := range chunks {
			f.checker.Put(chunkID("page", id, chunk), map[string]any{"content_type": "page", "mongo_id": id, "chunk_index": chunk, "db": database})
		}
	}
	for i := range 100 {
		id := fmt.Sprintf("%05d", i)
		f.source.Insert("page", syncdtest.MemoryDoc{ID: id})
		put(id, "db", 1+i%3)
		put("other-"+id, "db2", 1+i%3)
	}
	for i := range 15 {
		put(fmt.Sprintf("gone-%d", i), "db", 1+i%3)
	}
	return f
}

// TestPruneOfASharedIndex deletes what is gone of this database, once, whatever the delivery, and nothing of the other's.
func TestPruneOfASharedIndex(t *testing.T) {
	want := map[string]int{}
	for i := range 15 {
		want[fmt.Sprintf("page/gone-%d", i)] = 1
	}
	owner := &mapping.Owner{Payload: "db"}
	t.Run("at least once", func(t *testing.T) {
		f := sharing(t, owner)
		rep, err := job.Run(t.Context(), f.opts)
		if diff := cmp.Diff(want, f.sentIDs()); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
		if o := rep.Orphans[0]; o.Orphans != 15 || o.Documents != 115 || o.Others != 199 || o.Foreign != 0 || !o.Owned || o.Deleted != 15 {
			t.Errorf("%+v", o)
		}
	})
	t.Run("exactly once, killed at every commit", func(t *testing.T) {
		for at := 1; ; at++ {
			f := sharing(t, owner)
			c := syncdtest.NewMemoryCommitter()
			_, err := process(t, c.Reopen(), f.opts, &death{at: at})
			ended := err == nil
			for err != nil {
				_, err = process(t, c.Reopen(), f.opts, &death{})
			}
			got := map[string]int{}
			for _, e := range c.Committed() {
				if !strings.Contains(string(e.Value), `"operationType":"delete"`) {
					t.Errorf("an event that is no delete: %s", e.Value)
				}
				got["page/"+e.ID]++
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("killed at commit %d: %s", at, diff)
			}
			if ended {
				break
			}
		}
	})
}

// TestAPruneThatMayDeleteAnothersDoesNothing, not even what else the run would do: it is not what was meant.
func TestAPruneThatMayDeleteAnothersDoesNothing(t *testing.T) {
	for _, dry := range []bool{false, true} {
		f := sharing(t, nil)
		f.source.Insert("page", syncdtest.MemoryDoc{ID: "new"})
		if dry {
			f.opts.DryRun = &engine.DryRun{}
		}
		rep, err := job.Run(t.Context(), f.opts)
		var guard *tally.GuardError
		if !errors.As(err, &guard) || len(f.sink.Events()) != 0 || rep.Total.Scanned != 0 {
			t.Errorf("%v, %+v", err, rep.Total)
		}
		f.opts.Orphans = job.OrphansReport
		if rep, err = job.Run(t.Context(), f.opts); err != nil || rep.Orphans[0].Owned || rep.Orphans[0].Orphans != 115 {
			t.Errorf("%v, %+v", err, rep.Orphans)
		}
	}
}
