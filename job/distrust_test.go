package job_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/engine"
	shared "github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/planfile"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
	"github.com/syncd-io/syncd/verdict"
)

// seeded compiles rules of one seed and content type.
func seeded(t testing.TB, seed, contentType string, names ...string) []*mapping.Rule {
	t.Helper()
	c := mapping.Config{Namespace: "url", Seed: seed, Payload: mapping.Defaults().Payload, Owner: &mapping.Owner{Exclusive: true}}
	for _, n := range names {
		c.Collections = append(c.Collections, mapping.Collection{Name: n, ContentType: contentType})
	}
	d := spec.NewDecoder()
	m := mapping.Compile(c, "db", d, nil)
	if diags := d.Diagnostics(); len(diags) > 0 {
		t.Fatal(diags)
	}
	return m.Rules
}

// refetch is a source whose Fetch yields what change makes of it.
type refetch struct {
	*syncdtest.MemorySource
	change func(found []syncd.Fetched) []syncd.Fetched
}

func (r refetch) Fetch(ctx context.Context, c syncd.Collection, keys []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return func(yield func(syncd.Fetched, error) bool) {
		var found []syncd.Fetched
		for f, err := range r.MemorySource.Fetch(ctx, c, keys) {
			if err != nil {
				yield(f, err)
				return
			}
			found = append(found, f)
		}
		for _, f := range r.change(found) {
			if !yield(f, nil) {
				return
			}
		}
	}
}

// TestFetchIsNotTrusted: a source that breaks its word about what it fetched ends the run; nothing is lost behind it.
func TestFetchIsNotTrusted(t *testing.T) {
	for name, change := range map[string]func([]syncd.Fetched) []syncd.Fetched{
		"one twice, another never": func(f []syncd.Fetched) []syncd.Fetched { f[1] = f[0]; return f },
		"beyond the keys":          func(f []syncd.Fetched) []syncd.Fetched { f[0].Index = 1000; return f },
		"before the keys":          func(f []syncd.Fetched) []syncd.Fetched { f[0].Index = -1; return f },
		"no document":              func(f []syncd.Fetched) []syncd.Fetched { f[0].Document = nil; return f },
	} {
		for _, dry := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, dry run %v", name, dry), func(t *testing.T) {
				f := newFixture(t, "page")
				f.insert("page", 20, func(i int) bool { return i == 0 })
				f.opts.Source = refetch{f.source, change}
				if dry {
					f.opts.DryRun = &engine.DryRun{Measure: 10, Preview: preview}
				}
				if rep, err := job.Run(t.Context(), f.opts); err == nil {
					t.Errorf("no error: %+v", rep.Total)
				}
			})
		}
		t.Run(name+", planned", func(t *testing.T) {
			f := newFixture(t, "page")
			f.insert("page", 20, nil)
			plan := planOf(t, f)
			f.opts.Source = plan.Source(refetch{f.source, change}, f.opts.Rules)
			if rep, err := job.Run(t.Context(), f.opts); err == nil {
				t.Errorf("no error: %+v", rep.Total)
			}
		})
	}
	f := newFixture(t, "page")
	f.insert("page", 20, func(i int) bool { return i == 0 })
	f.opts.Source = refetch{f.source, func(f []syncd.Fetched) []syncd.Fetched { slices.Reverse(f); return f }}
	rep, err := job.Run(t.Context(), f.opts)
	if err != nil || rep.Total.Acked != 19 {
		t.Errorf("out of order: %v, %+v", err, rep.Total)
	}
	for _, e := range f.sink.Events() {
		if !bytes.Contains(e.Value, []byte(`"fullDocument":{"_id":"`+e.ID+`"`)) {
			t.Errorf("%s: %s", e.ID, e.Value)
		}
	}
}

// planOf makes a plan of everything that f's run would do.
func planOf(t testing.TB, f *fixture) planfile.Plan {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plan.ndjson")
	w, err := planfile.Create(path, planfile.Header{Plan: planfile.Version}, true)
	if err != nil {
		t.Fatal(err)
	}
	o := f.opts
	o.DryRun, o.Sink, o.Orphans = &engine.DryRun{}, nil, job.OrphansReport
	o.Hooks.Item = w.Item
	if _, err := job.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(true); err != nil {
		t.Fatal(err)
	}
	return planfile.File(path)
}

func planText(text string) planfile.Plan {
	return planfile.Plan{Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}
}

// badSink answers every write with an error of its own.
type badSink struct {
	*syncdtest.MemorySink
	answer func(n int) error
}

func (b badSink) Write(_ context.Context, events []syncd.Change) error { return b.answer(len(events)) }

// TestSinkNamesEventsThatItWasNotGiven: then nothing is known, and nothing may count as confirmed.
func TestSinkNamesEventsThatItWasNotGiven(t *testing.T) {
	boom := errors.New("boom")
	for name, fail := range map[string]func(n int, e *syncd.BatchError){
		"beyond":        func(n int, e *syncd.BatchError) { e.Fail(n, boom) },
		"before":        func(_ int, e *syncd.BatchError) { e.Fail(-1, boom) },
		"without cause": func(_ int, e *syncd.BatchError) { e.Fail(0, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, "page")
			f.insert("page", 20, nil)
			f.opts.Sink = badSink{f.sink, func(n int) error {
				var e syncd.BatchError
				fail(n, &e)
				return &e
			}}
			if rep, err := job.Run(t.Context(), f.opts); err == nil || rep.Total.Acked != 0 {
				t.Errorf("%v, %+v", err, rep.Total)
			}
		})
	}
}

// TestABadPointHidesNoOrphan: what one point says of itself must not decide about the next.
func TestABadPointHidesNoOrphan(t *testing.T) {
	f := newFixture(t, "page")
	f.source.Create("page")
	f.checker.Put(uuid.UUID{}, map[string]any{"content_type": "page", "mongo_id": "bad", "chunk_index": "x"}) // listed first
	f.checker.Put(pointID("page", "gone"), map[string]any{"content_type": "page", "mongo_id": "gone"})
	f.opts.Orphans, f.opts.Workers = job.OrphansReport, 1
	rep, err := job.Run(t.Context(), f.opts)
	if err != nil || rep.Orphans[0].Orphans != 1 || rep.Orphans[0].Foreign != 1 {
		t.Errorf("%v, %+v", err, rep.Orphans)
	}
}

// TestRulesOfOneContentType have documents with the same id: one that is there says nothing of the other.
func TestRulesOfOneContentType(t *testing.T) {
	const seed = "{mongo_id}/{collection}/{chunk_index}"
	f := newFixture(t)
	f.opts.Rules = seeded(t, seed, "doc", "a", "b")
	put := func(collection, id string) {
		f.checker.Put(pointID(collection, id), map[string]any{"content_type": "doc", "mongo_id": id, "chunk_index": 0})
	}
	f.source.Create("b")
	for i := range 40 {
		id := fmt.Sprintf("%02d", i)
		put("a", id)
		put("b", id)
		if i%2 == 0 {
			f.source.Insert("a", syncdtest.MemoryDoc{ID: id}) // of the others both are gone
		}
	}
	f.source.Insert("a", syncdtest.MemoryDoc{ID: "new"})
	f.opts.Orphans, f.opts.Workers, f.opts.Guards.MaxDeletes = job.OrphansPrune, 1, 60
	rep, err := job.Run(t.Context(), f.opts)
	if err != nil || rep.Orphans[0].Orphans != 60 || rep.Orphans[0].Deleted != 60 {
		t.Errorf("%v, %+v", err, rep.Orphans)
	}
	sent := f.sentIDs()
	for i := range 40 {
		id := fmt.Sprintf("%02d", i)
		if sent["b/"+id] != 1 || sent["a/"+id] != i%2 {
			t.Errorf("%s: %v", id, sent)
		}
	}
}

// TestANewCollectionOfAKnownContentTypeIsNoDrift: the index's points are another collection's.
func TestANewCollectionOfAKnownContentTypeIsNoDrift(t *testing.T) {
	f := newFixture(t)
	f.opts.Rules = seeded(t, "{mongo_id}/{collection}/{chunk_index}", "doc", "a", "b")
	for i := range 50 {
		id := fmt.Sprintf("%02d", i)
		f.source.Insert("a", syncdtest.MemoryDoc{ID: id})
		f.source.Insert("b", syncdtest.MemoryDoc{ID: id})
		f.checker.Put(pointID("a", id), map[string]any{"content_type": "doc", "mongo_id": id, "chunk_index": 0})
	}
	if rep, err := job.Run(t.Context(), f.opts); err != nil || rep.Total.Acked != 50 {
		t.Errorf("%v, %+v", err, rep.Total)
	}
}

// sparse is a source whose plan begins with splits that hold nothing, and whose scans begin with small batches.
type sparse struct{ *syncdtest.MemorySource }

func (s sparse) Splits(ctx context.Context, c syncd.Collection) iter.Seq2[syncd.Split, error] {
	return func(yield func(syncd.Split, error) bool) {
		if !yield(syncd.Split{Collection: c, Upper: "!"}, nil) {
			return
		}
		for split, err := range s.MemorySource.Splits(ctx, c) {
			if split.Index++; !yield(split, err) {
				return
			}
		}
	}
}

func (s sparse) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	req.BatchSize = min(req.BatchSize, 3)
	return s.MemorySource.Read(ctx, req)
}

// TestDriftIsSeenBehindEmptySplits: the first documents are the collection's, wherever they are.
func TestDriftIsSeenBehindEmptySplits(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 100, nil)
	f.source.SetSplits(20)
	for range 30 {
		f.checker.Put(uuid.New(), map[string]any{"content_type": "page"})
	}
	f.opts.Source = sparse{f.source}
	_, err := job.Run(t.Context(), f.opts)
	var drift *audit.DriftError
	if !errors.As(err, &drift) || drift.Looked != 100 || len(f.sink.Events()) != 0 {
		t.Errorf("%v, %d events", err, len(f.sink.Events()))
	}
}

// TestADateInTheFutureIsNotYoungForEver: a document that says it changes next century would never be sent.
func TestADateInTheFutureIsNotYoungForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "page")
		f.opts.Rules = versioned(t, "page")
		f.opts.MinAge = time.Minute
		in := func(d time.Duration) map[string]any {
			return map[string]any{"updatedAt": time.Now().Add(d).UTC().Format(time.RFC3339Nano)}
		}
		f.source.Insert("page",
			syncdtest.MemoryDoc{ID: "a clock ahead", Fields: in(10 * time.Second)},
			syncdtest.MemoryDoc{ID: "a wrong date", Fields: in(1_000_000 * time.Hour)})
		rep, err := job.Run(t.Context(), f.opts)
		if err != nil || rep.Total.Young != 1 || rep.Total.Acked != 1 {
			t.Errorf("%v, %+v", err, rep.Total)
		}
	})
}

// TestAPlanOfUnknownCollectionsIsRefused: its lines would not be sent, and nobody would know.
func TestAPlanOfUnknownCollectionsIsRefused(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 3, nil)
	plan := planText(shared.PlanText(`{"sigil":"+","verdict":"missing","collection":"pgae","id":"00001","key":"dDAwMDAx","point_id":"` + pointID("page", "00001").String() + `"}`))
	f.opts.Source = plan.Source(f.source, f.opts.Rules)
	if rep, err := job.Run(t.Context(), f.opts); err == nil {
		t.Errorf("%+v", rep.Total)
	}
	if _, err := plan.Orphans(f.opts.Rules); err == nil {
		t.Error("its orphans are taken")
	}
}

// TestPlannedOrphansAreMadeAgain: an edited id must not delete another document, and a seed with fields deletes none.
func TestPlannedOrphansAreMadeAgain(t *testing.T) {
	line := func(id string, point uuid.UUID) planfile.Plan {
		return planText(shared.PlanText(fmt.Sprintf("{\"sigil\":\"-\",\"verdict\":\"orphan\",\"collection\":\"page\",\"id\":%q,\"point_id\":%q}", id, point)))
	}
	if _, err := line("edited", pointID("page", "gone")).Orphans(rules(t, "page")); err == nil {
		t.Error("an edited id")
	}
	if o, err := line("gone", pointID("page", "gone")).Orphans(rules(t, "page")); err != nil || len(o) != 1 {
		t.Error(o, err)
	}
	if _, err := line("gone", pointID("page", "gone")).Orphans(seeded(t, "{mongo_id}/{fields.a}", "page", "page")); err == nil {
		t.Error("a seed with fields")
	}
}

// TestPlannedOrphansOfALostCollection: a plan that was made while a collection was gone must not empty the index.
func TestPlannedOrphansOfALostCollection(t *testing.T) {
	f := truth(t)
	f.source.Drop("page")
	f.opts.Source = findsNothing{f.source} // unlike it, MongoDB has no error for a collection that is not there
	plan := planOf(t, f)
	orphans, err := plan.Orphans(f.opts.Rules)
	if err != nil || len(orphans) != 7 {
		t.Fatal(orphans, err)
	}
	f.opts.Source = plan.Source(f.opts.Source, f.opts.Rules)
	f.opts.Orphans, f.opts.PlannedOrphans = job.OrphansPrune, orphans
	_, err = job.Run(t.Context(), f.opts)
	var guard *tally.GuardError
	if !errors.As(err, &guard) || len(f.sink.Events()) != 0 {
		t.Errorf("%v, %d events", err, len(f.sink.Events()))
	}
}

type findsNothing struct{ *syncdtest.MemorySource }

func (s findsNothing) Abilities() syncd.SourceAbilities {
	can := s.MemorySource.Abilities()
	can.Find = func(_ context.Context, _ syncd.Collection, ids []string) ([]syncd.Key, error) {
		return make([]syncd.Key, len(ids)), nil
	}
	return can
}

// TestPlannedDocumentsChange: a seed's field that changed, or is gone, is the document's affair and not the plan's.
func TestPlannedDocumentsChange(t *testing.T) {
	f := newFixture(t)
	f.opts.Rules = seeded(t, "{mongo_id}/{fields.a}", "page", "page")
	for _, id := range []string{"changed", "lost", "same"} {
		f.source.Insert("page", syncdtest.MemoryDoc{ID: id, Fields: map[string]any{"a": 1}})
	}
	plan := planOf(t, f)
	f.source.Insert("page", syncdtest.MemoryDoc{ID: "changed", Fields: map[string]any{"a": 2}}, syncdtest.MemoryDoc{ID: "lost"})
	f.opts.Source = plan.Source(f.source, f.opts.Rules)
	rep, err := job.Run(t.Context(), f.opts)
	if err != nil || rep.Total.Acked != 2 || rep.Total.FailedRead != 1 {
		t.Errorf("%v, %+v", err, rep.Total)
	}
}

// TestAnOrphanSaysWhichPointItIs: of a document's points perhaps only a later chunk is left.
func TestAnOrphanSaysWhichPointItIs(t *testing.T) {
	f := newFixture(t, "page")
	f.source.Create("page")
	f.index("page", "gone", "", 3, 0, 1)
	f.opts.DryRun, f.opts.Orphans = &engine.DryRun{}, job.OrphansReport
	var got []verdict.Item
	f.opts.Hooks.Item = func(i verdict.Item) { got = append(got, i) }
	if _, err := job.Run(t.Context(), f.opts); err != nil || len(got) != 1 {
		t.Fatal(err, got)
	}
	if got[0].PointID != chunkID("page", "gone", 0) || got[0].Held != chunkID("page", "gone", 2) {
		t.Errorf("%+v", got[0])
	}
}

// TestADryRunDeletesNothing, though it says what there would be to delete.
func TestADryRunDeletesNothing(t *testing.T) {
	f := newFixture(t, "page")
	f.source.Create("page")
	f.index("page", "gone", "", 1)
	f.opts.Orphans, f.opts.DryRun = job.OrphansPrune, &engine.DryRun{}
	rep, err := job.Run(t.Context(), f.opts)
	if err != nil || rep.Orphans[0].Orphans != 1 || rep.Orphans[0].Deleted != 0 || len(rep.Deletes) != 0 || len(f.sink.Events()) != 0 {
		t.Errorf("%v, %+v, %+v, %d sent", err, rep.Orphans, rep.Deletes, len(f.sink.Events()))
	}
}

// TestWhatWasIndexedDuringTheRunIsNoOrphan: its document may have been inserted after the source was asked.
func TestWhatWasIndexedDuringTheRunIsNoOrphan(t *testing.T) {
	f := newFixture(t, "page")
	f.opts.Rules = versioned(t, "page")
	f.source.Create("page")
	f.index("page", "gone", monday, 1)
	f.index("page", "new", time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano), 1)
	f.opts.Orphans = job.OrphansPrune
	rep, err := job.Run(t.Context(), f.opts)
	if ids := f.sentIDs(); err != nil || rep.Orphans[0].Orphans != 1 || len(ids) != 1 || ids["page/gone"] != 1 {
		t.Errorf("%v, %+v, %v", err, rep.Orphans, ids)
	}
}

// TestDeletesThatWereSentAreReported, though one of them was refused.
func TestDeletesThatWereSentAreReported(t *testing.T) {
	f := newFixture(t, "page")
	f.source.Create("page")
	for i := range 25 {
		f.index("page", fmt.Sprintf("gone-%02d", i), "", 1)
	}
	f.opts.Orphans, f.opts.Guards.MaxDeletes = job.OrphansPrune, 25
	refused := errors.New("refused")
	f.sink.Reject = func(e codec.Event) error {
		if len(e.Value) > 0 && e.ID == "gone-13" {
			return refused
		}
		return nil
	}
	rep, err := job.Run(t.Context(), f.opts)
	// A delete that is refused is a document that can't be sent, like any other.
	if err != nil || len(rep.Orphans) != 1 || rep.Orphans[0].Deleted != 24 || len(f.sink.Events()) != 24 || rep.Orphans[0].Orphans != 25 || rep.Failed() != 1 ||
		rep.Deletes[0].Failures[0].ID != "gone-13" {
		t.Errorf("%v, %+v, %d sent", err, rep.Orphans, len(f.sink.Events()))
	}
}

// TestWhatIsNotProvedIsNotComplete, and is not announced as done.
func TestWhatIsNotProvedIsNotComplete(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 100, nil)
	f.opts.Source = lossy{f.source}
	rep, err := job.Run(t.Context(), f.opts)
	var coverage *tally.CoverageError
	if !errors.As(err, &coverage) || rep.Collections[0].Complete || len(f.seen.done) != 0 {
		t.Errorf("%v, %+v, %v", err, rep.Collections[0], f.seen.done)
	}
}

// TestReadTimeIsWhenTheDocumentWasRead, not when a worker came to it.
func TestReadTimeIsWhenTheDocumentWasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "page")
		f.insert("page", 20, nil) // into an empty index: whole documents are scanned
		gate := syncdtest.NewGate()
		f.opts.Sink = syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Write: syncdtest.Nth(1, syncdtest.Fault{Gate: gate})})
		f.opts.Workers, f.opts.Readers = 1, 1
		began := time.Now()
		go func() {
			<-gate.Arrived() // the second batch was read and waits for the worker
			time.Sleep(time.Minute)
			gate.Open()
		}()
		if _, err := job.Run(t.Context(), f.opts); err != nil {
			t.Fatal(err)
		}
		for _, e := range f.sink.Events() {
			at := slices.IndexFunc(e.Headers, func(h codec.Header) bool { return h.Name == codec.HeaderReadTime })
			if read, err := time.Parse(time.RFC3339Nano, e.Headers[at].Value); err != nil || read.Sub(began) > time.Second {
				t.Errorf("%s: read at %s, %v", e.ID, e.Headers[at].Value, err)
			}
		}
	})
}

// TestDrainFinishesTheDeletesUnderWay, and begins no others.
func TestDrainFinishesTheDeletesUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "page")
		f.source.Create("page")
		for i := range 25 {
			f.index("page", fmt.Sprintf("gone-%02d", i), "", 1)
		}
		gate, drain := syncdtest.NewGate(), make(chan struct{})
		f.opts.Sink = syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Write: syncdtest.Nth(1, syncdtest.Fault{Gate: gate})})
		f.opts.Orphans, f.opts.Drain, f.opts.Workers, f.opts.Readers = job.OrphansPrune, drain, 1, 1
		f.opts.Guards.MaxDeletes = 25
		go func() {
			<-gate.Arrived()
			close(drain)
			time.Sleep(time.Second) // of the bubble, for a context that would end with the drain
			gate.Open()
		}()
		rep, err := job.Run(t.Context(), f.opts)
		if err != nil || !rep.Interrupted || rep.Orphans[0].Deleted != 10 || len(f.sink.Events()) != 10 {
			t.Errorf("%v, %+v, %d sent", err, rep.Orphans, len(f.sink.Events()))
		}
	})
}

// slowList is an index that has the run drained when it is listed after the reading, and gives no point for a while after it.
type slowList struct {
	*syncdtest.MemoryChecker
	read  *atomic.Bool // all is read
	drain chan struct{}
	once  *sync.Once
	cut   *atomic.Bool // the search ended meanwhile
}

func (s slowList) Abilities() syncd.CheckerAbilities {
	can := s.MemoryChecker.Abilities()
	list := can.List
	can.List = func(ctx context.Context, req syncd.ListRequest) iter.Seq2[[]syncd.Listed, error] {
		if !s.read.Load() { // for the preflight
			return list(ctx, req)
		}
		s.once.Do(func() { close(s.drain) })
		select {
		case <-ctx.Done():
			s.cut.Store(true)
		case <-time.After(time.Hour):
		}
		return list(ctx, req)
	}
	return can
}

// TestADrainEndsTheSearchForOrphans, which may take as long as the reading.
func TestADrainEndsTheSearchForOrphans(t *testing.T) {
	for _, mode := range []job.OrphanMode{job.OrphansReport, job.OrphansPrune} {
		t.Run(string(mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, "page")
				f.source.Create("page")
				for i := range 25 {
					f.index("page", fmt.Sprintf("gone-%02d", i), "", 1)
				}
				s := slowList{f.checker, new(atomic.Bool), make(chan struct{}), new(sync.Once), new(atomic.Bool)}
				f.opts.Checker, f.opts.Orphans, f.opts.Drain = s, mode, s.drain
				f.opts.Hooks.CollectionDone = func(engine.CollectionReport) { s.read.Store(true) }
				rep, err := job.Run(t.Context(), f.opts)
				if err != nil || !rep.Interrupted || !s.cut.Load() || len(f.sink.Events()) != 0 {
					t.Errorf("%v, interrupted %t, ended %t, %d sent", err, rep.Interrupted, s.cut.Load(), len(f.sink.Events()))
				}
			})
		})
	}
}

// unsure gives an answer at first, and then none.
type unsure struct {
	*syncdtest.MemoryChecker
	asked *int
}

func (u unsure) Check(ctx context.Context, points []syncd.Point, verdicts []syncd.Verdict) error {
	if *u.asked++; *u.asked > 1 {
		return nil
	}
	return u.MemoryChecker.Check(ctx, points, verdicts)
}

// TestUnknownIsNotSentAfterTheSecondQuestionEither.
func TestUnknownIsNotSentAfterTheSecondQuestionEither(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "page")
		f.insert("page", 10, func(i int) bool { return i == 0 })
		gate := syncdtest.NewGate()
		f.opts.Source = syncdtest.FaultySource(f.source, syncdtest.SourceFaults{Fetch: syncdtest.Nth(1, syncdtest.Fault{Gate: gate})})
		f.opts.Checker, f.opts.Workers = unsure{f.checker, new(int)}, 1
		go func() {
			<-gate.Arrived()
			time.Sleep(10 * time.Second)
			gate.Open()
		}()
		if rep, err := job.Run(t.Context(), f.opts); err == nil || len(f.sink.Events()) != 0 {
			t.Errorf("%v, %+v", err, rep.Total)
		}
	})
}
