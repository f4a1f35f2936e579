package engine_test

import (
	"fmt"
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/marks"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/verdict"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is an engine's options over memory plugins, with the collection page.
type fixture struct {
	source  *syncdtest.MemorySource
	checker *syncdtest.MemoryChecker
	sink    *syncdtest.MemorySink
	rule    *mapping.Rule
	opts    engine.Options
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	d := spec.NewDecoder()
	c := mapping.Config{
		Namespace: "url", Seed: mapping.DefaultSeed, Payload: mapping.Defaults().Payload, Owner: &mapping.Owner{Exclusive: true},
		Collections: []mapping.Collection{{Name: "page", ContentType: "page"}},
	}
	m := mapping.Compile(c, "db", d, nil)
	if diags := d.Diagnostics(); len(diags) > 0 {
		t.Fatal(diags)
	}
	f := &fixture{
		source: syncdtest.NewMemorySource(), checker: syncdtest.NewMemoryChecker(), sink: syncdtest.NewMemorySink(), rule: m.Rules[0],
	}
	f.source.Create("page")
	f.opts = engine.Options{
		RunID: "run-1", Source: f.source, Checker: f.checker, Sink: f.sink, Rules: m.Rules,
		BatchSize: 10, BatchBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler),
	}
	return f
}

// insert puts n documents into the collection.
func (f *fixture) insert(n int) {
	for i := range n {
		f.source.Insert("page", syncdtest.MemoryDoc{ID: fmt.Sprintf("%05d", i), Fields: map[string]any{"title": "t"}})
	}
}

// orphans is a source of the deletes of n documents, in the order of their point ids, which it returns as well.
func (f *fixture) orphans(t testing.TB, n int) (_ syncd.Source, ids []string) {
	t.Helper()
	var seed []byte
	items := make([]verdict.Item, n)
	index := syncdtest.NewMemoryChecker()
	for i := range items {
		id := fmt.Sprintf("gone-%03d", i)
		point, err := f.rule.PointID(&seed, &syncd.Change{ID: id}, 0)
		if err != nil {
			t.Fatal(err)
		}
		items[i] = verdict.Item{Rule: f.rule, Verdict: syncd.Orphan, ID: id, PointID: point, Held: point}
		index.Put(point, map[string]any{"mongo_id": id, "content_type": "page", "chunk_index": 0})
	}
	s := audit.OrphanSearch{Source: f.source, Checker: index, Rules: f.opts.Rules, Planned: items, Keep: true}
	found, err := s.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	source := found.Source()
	for b, err := range source.Read(t.Context(), syncd.ReadRequest{Split: syncd.Split{Collection: f.rule.Collection}, BatchSize: n}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range b.Changes {
			ids = append(ids, c.ID)
		}
	}
	return source, ids
}

// commit has the run deliver in the transactions of a committer.
func (f *fixture) commit(t testing.TB) *syncdtest.MemoryCommitter {
	t.Helper()
	c := syncdtest.NewMemoryCommitter()
	f.commitTo(t, c)
	return c
}

func (f *fixture) commitTo(t testing.TB, c syncd.Sink) {
	t.Helper()
	st, err := marks.Open(t.Context(), c.Abilities(), "job")
	if err == nil {
		err = st.Begin(t.Context(), store.Info{Job: "job", RunID: f.opts.RunID})
	}
	if err != nil {
		t.Fatal(err)
	}
	f.opts.Sink, f.opts.Checkpoints = c, st
}

func (f *fixture) sent() (ids []string) {
	for _, e := range f.sink.Events() {
		ids = append(ids, e.ID)
	}
	return ids
}

// keyOf is the key of the i-th document of the collection.
func (f *fixture) keyOf(t testing.TB, i int) syncd.Key {
	t.Helper()
	for b, err := range f.source.Read(t.Context(), syncd.ReadRequest{Split: syncd.Split{Collection: f.rule.Collection}, BatchSize: i + 1}) {
		if err != nil {
			t.Fatal(err)
		}
		return b.Changes[i].Key
	}
	t.Fatal("the collection is empty")
	return ""
}
