package job_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/planfile"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
	"github.com/syncd-io/syncd/verdict"
)

// versioned compiles rules that look at versions and chunks.
func versioned(t testing.TB, names ...string) []*mapping.Rule {
	t.Helper()
	c := mapping.Config{
		Namespace: "url", Seed: mapping.DefaultSeed, Payload: mapping.Defaults().Payload,
		Version: &mapping.Version{Field: []string{"updatedAt", "createdAt"}, Payload: "updatedAt"},
		Chunks:  &mapping.Chunks{Payload: "chunk_count"},
		Owner:   &mapping.Owner{Exclusive: true},
	}
	for _, n := range names {
		c.Collections = append(c.Collections, mapping.Collection{Name: n, ContentType: n})
	}
	d := spec.NewDecoder()
	m := mapping.Compile(c, "db", d, nil)
	if diags := d.Diagnostics(); len(diags) > 0 {
		t.Fatal(diags)
	}
	return m.Rules
}

func chunkID(collection, id string, chunk int) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%s/%s/%d", id, collection, chunk))
}

// index puts a document's points into the index, as the indexer does; chunks in without are left out.
func (f *fixture) index(collection, id, version string, chunks int, without ...int) {
	for c := range chunks {
		if slices.Contains(without, c) {
			continue
		}
		payload := map[string]any{
			"content_type": collection, "mongo_id": id, "chunk_index": c, "chunk_count": chunks,
		}
		if version != "" {
			payload["updatedAt"] = version
		}
		f.checker.Put(chunkID(collection, id, c), payload)
	}
}

const (
	monday  = "2024-05-06T07:08:09.010Z"
	tuesday = "2024-05-07T07:08:09.010Z"
)

// truth is a collection with a document in each state.
func truth(t testing.TB) *fixture {
	f := newFixture(t, "page")
	f.opts.Rules = versioned(t, "page")
	put := func(id, version string) {
		f.source.Insert("page", syncdtest.MemoryDoc{ID: id, Fields: map[string]any{"updatedAt": version}})
	}
	put("present", monday)
	f.index("page", "present", monday, 1)
	put("whole", monday)
	f.index("page", "whole", "2024-05-06T07:08:09.010000+00:00", 5)
	put("stale", tuesday)
	f.index("page", "stale", monday, 3)
	put("partial", monday)
	f.index("page", "partial", monday, 4, 2)
	put("missing", monday)
	f.source.Insert("page", syncdtest.MemoryDoc{ID: "fallback", Fields: map[string]any{"createdAt": tuesday}})
	f.index("page", "fallback", monday, 1)
	f.source.Insert("page", syncdtest.MemoryDoc{ID: "timeless"})
	f.index("page", "timeless", monday, 1)
	f.index("page", "orphan", monday, 3)
	return f
}

func TestVerdicts(t *testing.T) {
	f := truth(t)
	got := map[string]string{}
	f.opts.Hooks.Item = func(i verdict.Item) { got[i.ID] = planfile.LineOf(i).Sigil }
	f.opts.Orphans = job.OrphansReport
	rep, err := job.Run(t.Context(), f.opts)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"present": "=", "whole": "=", "timeless": "=", "stale": "~", "fallback": "~", "partial": "%", "missing": "+", "orphan": "-",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("verdicts (-want +got)\n%s", diff)
	}
	sent := map[string]string{}
	for _, e := range f.sink.Events() {
		var v struct{ OperationType string }
		if err := json.Unmarshal(e.Value, &v); err != nil {
			t.Fatal(err)
		}
		sent[e.ID] = v.OperationType + " " + headerOf(e.Headers, codec.HeaderReason)
	}
	wantSent := map[string]string{
		"missing": "insert missing", "stale": "replace stale", "fallback": "replace stale", "partial": "replace partial",
	}
	if diff := cmp.Diff(wantSent, sent); diff != "" {
		t.Errorf("sent (-want +got)\n%s", diff)
	}
	if o := rep.Orphans; len(o) != 1 || o[0].Orphans != 1 || o[0].Deleted != 0 || o[0].Foreign != 0 || o[0].Examples[0].ID != "orphan" {
		t.Errorf("orphans %+v", o)
	}
	if c := rep.Total; c.Scanned != 7 || c.Present != 3 || c.Stale != 2 || c.Partial != 1 || c.Missing != 1 || c.Acked != 4 {
		t.Errorf("counts %+v", c)
	}
}

func TestNewerPolicyLeavesALaterIndexAlone(t *testing.T) {
	f := newFixture(t, "page")
	f.opts.Rules = versioned(t, "page")
	f.source.Insert("page", syncdtest.MemoryDoc{ID: "a", Fields: map[string]any{"updatedAt": monday}})
	f.index("page", "a", tuesday, 1)
	rep, err := job.Run(t.Context(), f.opts)
	if err != nil || rep.Total.Stale != 1 {
		t.Errorf("differs: %v, %+v", err, rep.Total)
	}
}

func TestPruneDeletesOrphansOnce(t *testing.T) {
	for _, tombstone := range []bool{false, true} {
		f := truth(t)
		f.opts.Orphans = job.OrphansPrune
		if tombstone {
			f.sink.Event.DeleteFormat = codec.DeleteTombstone
		}
		rep, err := job.Run(t.Context(), f.opts)
		if err != nil || rep.Orphans[0].Deleted != 1 {
			t.Fatalf("%v, %+v", err, rep.Orphans)
		}
		deletes := 0
		for _, e := range f.sink.Events() {
			if e.ID != "orphan" {
				continue
			}
			deletes++
			want := `{"operationType":"delete","ns":{"db":"db","coll":"page"},"documentKey":{"_id":"orphan"}}`
			if tombstone && e.Value != nil || !tombstone && string(e.Value) != want || string(e.Key) != "orphan" {
				t.Errorf("delete %q: %s", e.Key, e.Value)
			}
		}
		if deletes != 1 {
			t.Errorf("%d deletes", deletes)
		}
	}
}

// TestNothingIsDeletedWhenInDoubt tries every reason for an absence that is not one.
func TestNothingIsDeletedWhenInDoubt(t *testing.T) {
	boom := errors.New("boom")
	for name, spoil := range map[string]func(f *fixture){
		"the collection is gone":   func(f *fixture) { f.source.Drop("page") },
		"a document is unreadable": func(f *fixture) { f.source.Insert("page", syncdtest.MemoryDoc{ID: "x", Err: boom}) },
		"too many": func(f *fixture) {
			for i := range 20 {
				f.index("page", fmt.Sprintf("gone-%d", i), monday, 1)
			}
			f.opts.Guards.MaxDeletes = 10
		},
		"a filter": func(f *fixture) {
			for _, r := range f.opts.Rules {
				r.Collection.Filter = `{"updatedAt":"` + monday + `"}`
			}
		},
		"the source fails in the middle of the reverse pass": func(f *fixture) {
			for i := range 2000 {
				f.index("page", fmt.Sprintf("gone-%d", i), monday, 1)
			}
			f.opts.Guards.MaxDeletes = 1_000_000
			f.opts.Source = syncdtest.FaultySource(f.source, syncdtest.SourceFaults{Find: syncdtest.Nth(2, syncdtest.Fault{Err: boom})})
		},
		"the source fails right before the deletes": func(f *fixture) {
			f.opts.Workers = 1 // one pass over a small index asks once; the second question comes before the deletes
			f.opts.Source = syncdtest.FaultySource(f.source, syncdtest.SourceFaults{Find: syncdtest.Nth(2, syncdtest.Fault{Err: boom})})
		},
		"the scan fails": func(f *fixture) {
			f.opts.Source = syncdtest.FaultySource(f.source, syncdtest.SourceFaults{Batch: syncdtest.Nth(1, syncdtest.Fault{Err: boom})})
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := truth(t)
			f.opts.Orphans = job.OrphansPrune
			spoil(f)
			_, err := job.Run(t.Context(), f.opts)
			if err == nil {
				t.Error("no error")
			}
			for _, e := range f.sink.Events() {
				if strings.Contains(string(e.Value), "delete") {
					t.Errorf("sent %s", e.Value)
				}
			}
		})
	}
}

func TestForeignPointsAreNobodys(t *testing.T) {
	f := truth(t)
	f.checker.Put(uuid.New(), map[string]any{"content_type": "page", "mongo_id": "orphan", "chunk_index": 0}) // another seed's
	f.checker.Put(uuid.New(), map[string]any{"content_type": "page"})                                         // says nothing
	f.checker.Put(uuid.New(), map[string]any{"content_type": "other", "mongo_id": "x"})
	f.opts.Orphans = job.OrphansPrune
	rep, err := job.Run(t.Context(), f.opts)
	if err != nil || rep.Orphans[0].Foreign != 2 || rep.Orphans[0].Deleted != 1 {
		t.Errorf("%v, %+v", err, rep.Orphans)
	}
}

func TestDriftStopsBeforeAnythingIsSent(t *testing.T) {
	changed := mapping.Config{Namespace: "url", Seed: "{mongo_id}:{content_type}/{chunk_index}", Payload: mapping.Defaults().Payload,
		Collections: mapping.Collections{{Name: "page", ContentType: "page"}}}
	d := spec.NewDecoder()
	drifted := mapping.Compile(changed, "db", d, nil).Rules

	f := truth(t)
	f.opts.Rules = drifted
	_, err := job.Run(t.Context(), f.opts)
	var drift *audit.DriftError
	if !errors.As(err, &drift) || !drift.SameID || len(f.sink.Events()) != 0 {
		t.Fatalf("%v, %d events", err, len(f.sink.Events()))
	}
	// It names both ids of one document.
	if drift.Held != chunkID("page", drift.ID, 0) && !strings.Contains(err.Error(), drift.Held.String()) ||
		drift.Computed != uuid.NewSHA1(uuid.NameSpaceURL, []byte(drift.Seed)) || !strings.HasPrefix(drift.Seed, drift.ID+":page/") {
		t.Errorf("%+v", drift)
	}
	f.opts.Guards.AllowDrift = true
	if rep, err := job.Run(t.Context(), f.opts); err != nil || rep.Total.Acked != 7 {
		t.Errorf("with leave to drift: %v, %+v", err, rep.Total)
	}
}

// TestDriftWithoutPayload recognises drift from the first documents where points do not say whose they are.
func TestDriftWithoutPayload(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 100, nil)
	for range 30 {
		f.checker.Put(uuid.New(), map[string]any{"content_type": "page"})
	}
	_, err := job.Run(t.Context(), f.opts)
	var drift *audit.DriftError
	if !errors.As(err, &drift) || drift.SameID || drift.Looked != 100 || len(f.sink.Events()) != 0 {
		t.Errorf("%v, %d events", err, len(f.sink.Events()))
	}
	// One document that is there is enough to go on.
	f.checker.Put(chunkID("page", "00007", 0), map[string]any{"content_type": "page"})
	if rep, err := job.Run(t.Context(), f.opts); err != nil || rep.Total.Acked != 99 {
		t.Errorf("%v, %+v", err, rep.Total)
	}
}

func TestMaxEvents(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 100, nil)
	f.opts.Limits.MaxEvents = 35
	rep, err := job.Run(t.Context(), f.opts)
	var guard *tally.GuardError
	if !errors.As(err, &guard) || rep.Total.Acked > 35 || len(f.sink.Events()) > 35 {
		t.Errorf("%v, %d events", err, len(f.sink.Events()))
	}
}

func TestMaxMissingRatio(t *testing.T) {
	f := newFixture(t, "page")
	f.opts.Rules = versioned(t, "page")
	f.opts.Guards.MaxMissingRatio = 0.5
	for i := range 100 {
		id := fmt.Sprintf("%05d", i)
		f.source.Insert("page", syncdtest.MemoryDoc{ID: id})
		if i < 40 {
			f.index("page", id, "", 1)
		}
	}
	_, err := job.Run(t.Context(), f.opts)
	var guard *tally.GuardError
	if !errors.As(err, &guard) || len(f.sink.Events()) != 0 {
		t.Errorf("%v, %d events", err, len(f.sink.Events()))
	}
	for i := 40; i < 60; i++ {
		f.index("page", fmt.Sprintf("%05d", i), "", 1)
	}
	if rep, err := job.Run(t.Context(), f.opts); err != nil || rep.Total.Acked != 40 {
		t.Errorf("below the limit: %v, %+v", err, rep.Total)
	}
	// A collection of which nothing is indexed yet is new, not wrong.
	f.checker.Drop()
	if rep, err := job.Run(t.Context(), f.opts); err != nil || rep.Total.Acked != 100 {
		t.Errorf("an empty index: %v, %+v", err, rep.Total)
	}
}

func TestYoungDocumentsAreLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "page")
		f.opts.Rules = versioned(t, "page")
		f.opts.MinAge = time.Minute
		f.source.Insert("page",
			syncdtest.MemoryDoc{ID: "new", Fields: map[string]any{"updatedAt": time.Now().UTC().Format(time.RFC3339Nano)}},
			syncdtest.MemoryDoc{ID: "old", Fields: map[string]any{"updatedAt": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339Nano)}})
		rep, err := job.Run(t.Context(), f.opts)
		if err != nil || rep.Total.Young != 1 || rep.Total.Acked != 1 {
			t.Errorf("%v, %+v", err, rep.Total)
		}
		time.Sleep(2 * time.Minute)
		if rep, err = job.Run(t.Context(), f.opts); err != nil || rep.Total.Young != 0 || rep.Total.Acked != 2 {
			t.Errorf("later: %v, %+v", err, rep.Total)
		}
	})
}

// TestAnswersAreAskedAgainWhenTheyAreOld holds a worker up between the check and the write, while the indexer indexes.
func TestAnswersAreAskedAgainWhenTheyAreOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "page")
		f.insert("page", 10, func(i int) bool { return i == 0 })
		gate := syncdtest.NewGate()
		f.opts.Source = syncdtest.FaultySource(f.source, syncdtest.SourceFaults{Fetch: syncdtest.Nth(1, syncdtest.Fault{Gate: gate})})
		f.opts.Workers = 1
		go func() {
			<-gate.Arrived()
			for i := range 5 {
				f.checker.Add(pointID("page", fmt.Sprintf("%05d", i)))
			}
			time.Sleep(10 * time.Second)
			gate.Open()
		}()
		rep, err := job.Run(t.Context(), f.opts)
		if err != nil || rep.Total.Overtaken != 4 || rep.Total.Acked != 5 {
			t.Errorf("%v, %+v", err, rep.Total)
		}
	})
}

// preview encodes as a sink of plain events does.
func preview(c *syncd.Change) (key, value []byte, err error) {
	return codec.Defaults().Encoder().Preview(c)
}

// TestAPlanTellsWhatIsTooLarge of the events that it encodes.
func TestAPlanTellsWhatIsTooLarge(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 30, nil)
	f.source.Insert("page", syncdtest.MemoryDoc{ID: "00007", Fields: map[string]any{"title": strings.Repeat("x", 5000)}})
	limited := func(c *syncd.Change) (key, value []byte, err error) {
		switch key, value, err = preview(c); {
		case len(value) > 1000:
			err = fmt.Errorf("%d bytes: %w", len(value), syncd.ErrTooLarge)
		case c.ID == "00008":
			value, err = nil, codec.NotEncodable(errors.New("no"))
		}
		return key, value, err
	}
	o := f.opts
	o.DryRun, o.Sink, o.Checker, o.Workers = &engine.DryRun{Measure: 100, Preview: limited}, nil, nil, 1
	rep, err := job.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	c := rep.Collections[0]
	want := []tally.Failure{{ID: "00007", Stage: "write", Reason: "5129 bytes: too large"}, {ID: "00008", Stage: "encode", Reason: "no"}}
	if diff := cmp.Diff(want, c.Refused); diff != "" || c.Unsendable != 2 || c.Measured != 30 || c.MeasuredBytes < 5000 {
		t.Errorf("%d of %d, %d bytes\n%s", c.Unsendable, c.Measured, c.MeasuredBytes, diff)
	}
}

// TestPlanIsSentExactly makes a plan, changes both sides, and sends it.
func TestPlanIsSentExactly(t *testing.T) {
	f := truth(t)
	path := filepath.Join(t.TempDir(), "plan.ndjson")
	w, err := planfile.Create(path, planfile.Header{Plan: planfile.Version}, true)
	if err != nil {
		t.Fatal(err)
	}
	o := f.opts
	o.DryRun, o.Sink, o.Orphans = &engine.DryRun{Measure: 10, Preview: preview}, nil, job.OrphansReport
	o.Hooks.Item = w.Item
	rep, err := job.Run(t.Context(), o)
	if err != nil || rep.Total.WouldSend != 4 || len(f.sink.Events()) != 0 {
		t.Fatalf("%v, %+v", err, rep.Total)
	}
	if c := rep.Collections[0]; c.Measured != 4 || c.MeasuredBytes < 400 {
		t.Errorf("measured %d bytes of %d events", c.MeasuredBytes, c.Measured)
	}

	if err := w.Close(true); err != nil {
		t.Fatal(err)
	}
	plan := planfile.File(path)
	if h, err := plan.Check(); err != nil || h.Plan != planfile.Version {
		t.Fatal(h, err)
	}
	f.index("page", "missing", monday, 1)                       // indexed meanwhile
	f.source.Delete("page", "partial")                          // deleted meanwhile
	f.source.Insert("page", syncdtest.MemoryDoc{ID: "another"}) // not in the plan
	f.opts.Source = plan.Source(f.source, f.opts.Rules)
	f.opts.Orphans = job.OrphansPrune
	if f.opts.PlannedOrphans, err = plan.Orphans(f.opts.Rules); err != nil {
		t.Fatal(err)
	}
	if _, err = job.Run(t.Context(), f.opts); err != nil {
		t.Fatal(err)
	}
	sent := f.sentIDs()
	want := map[string]int{"page/stale": 1, "page/fallback": 1, "page/orphan": 1}
	if diff := cmp.Diff(want, sent); diff != "" {
		t.Errorf("sent (-want +got)\n%s", diff)
	}
}

func TestSampleIsStableAndAboutRight(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 5000, nil)
	f.opts.DryRun, f.opts.Sink = &engine.DryRun{Sample: 0.1}, nil
	first, err := job.Run(t.Context(), f.opts)
	if err != nil {
		t.Fatal(err)
	}
	second, err := job.Run(t.Context(), f.opts)
	if err != nil || first.Total != second.Total {
		t.Errorf("%v: %+v, then %+v", err, first.Total, second.Total)
	}
	if n := first.Total.WouldSend; n < 400 || n > 600 || first.Total.Unsampled != 5000-n {
		t.Errorf("a tenth of 5,000 documents is %d", n)
	}
}
