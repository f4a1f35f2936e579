package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
	"github.com/syncd-io/syncd/verdict"
)

func search(f *fixture.Sides, rules []*mapping.Rule) audit.OrphanSearch {
	return audit.OrphanSearch{Source: f.Source, Checker: f.Checker, Rules: rules, Parts: 4, Keep: true}
}

// deletes reads all deletes of a collection behind an offset.
func deletes(t *testing.T, o *audit.Orphans, rule *mapping.Rule, after syncd.Offset, batchSize int) (changes []syncd.Change, offsets []syncd.Offset) {
	t.Helper()
	source := o.Source()
	for split, err := range source.Splits(t.Context(), rule.Collection) {
		if err != nil {
			t.Fatal(err)
		}
		for b, err := range source.Read(t.Context(), syncd.ReadRequest{Split: split, After: after, BatchSize: batchSize}) {
			if err != nil {
				t.Fatal(err)
			}
			changes, offsets = append(changes, b.Changes...), append(offsets, b.Offset)
		}
	}
	return changes, offsets
}

func TestOrphansAreFoundOnce(t *testing.T) {
	f := fixture.Truth()
	rules := fixture.Versioned(t, "page", "epic")
	s := search(f, rules)
	var told []verdict.Item
	var moved atomic.Int64
	s.Item, s.Moved = func(i verdict.Item) { told = append(told, i) }, func() { moved.Add(1) }
	found, err := s.Find(t.Context())
	if err != nil || len(found.Reports) != 2 {
		t.Fatal(found, err)
	}
	r := found.Reports[0]
	if r.ContentType != "page" || r.Orphans != 1 || r.Deleted != 0 || r.Foreign != 0 || r.Points != 17 || r.Documents != 7 || r.Examples[0].ID != "orphan" {
		t.Errorf("%+v", r)
	}
	if r := found.Reports[1]; r.ContentType != "epic" || r.Points != 0 || r.Orphans != 0 {
		t.Errorf("%+v", r)
	}
	if len(told) != 1 || told[0].Verdict != syncd.Orphan || told[0].Rule != rules[0] || moved.Load() == 0 {
		t.Errorf("told %+v, moved %d times", told, moved.Load())
	}
	changes, _ := deletes(t, found, rules[0], "", 10)
	if len(changes) != 1 {
		t.Fatal(changes)
	}
	want := syncd.Change{
		ID: "orphan", PointID: fixture.PointID("page", "orphan", 0), Key: syncd.Key(fixture.PointID("page", "orphan", 0).String()),
		Operation: syncd.Delete, Verdict: syncd.Orphan, Reason: syncd.ReasonOrphan,
	}
	if c := changes[0]; c.ID != want.ID || c.PointID != want.PointID || c.Key != want.Key || c.Operation != want.Operation ||
		c.Verdict != want.Verdict || c.Reason != want.Reason || c.Document != nil || c.Err != nil {
		t.Errorf("%+v", c)
	}
	for range found.Source().Splits(t.Context(), rules[1].Collection) {
		t.Error("a split of a collection without orphans")
	}
	s.Keep = false
	if found, err = s.Find(t.Context()); err != nil || found.Reports[0].Orphans != 1 {
		t.Errorf("%+v, %v", found, err)
	}
	if changes, _ := deletes(t, found, rules[0], "", 10); len(changes) != 0 {
		t.Errorf("a search that only reports keeps %v", changes)
	}
}

// TestADeleteNamesTheChunkThatWasFound: chunk 0, which says how many there are, may be gone.
func TestADeleteNamesTheChunkThatWasFound(t *testing.T) {
	f := fixture.New()
	f.Source.Create("page")
	f.Index("page", "whole", fixture.Monday, 1)
	f.Index("page", "chunks", fixture.Monday, 4, 0, 1, 2)
	rules := fixture.Versioned(t, "page")
	found, err := search(f, rules).Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	changes, _ := deletes(t, found, rules[0], "", 10)
	if len(changes) != 2 {
		t.Fatalf("%+v", changes)
	}
	for _, c := range changes {
		want := []uuid.UUID{fixture.PointID("page", "chunks", 3)}
		if c.ID == "whole" && c.Content != nil || c.ID == "chunks" && (c.Content == nil || !slices.Equal(c.Content.Left, want)) {
			t.Errorf("%s: %+v", c.ID, c.Content)
		}
	}
}

// TestADocumentIsAskedForWithItsOwnPage, and not with those that come after it.
func TestADocumentIsAskedForWithItsOwnPage(t *testing.T) {
	f := fixture.New()
	f.Source.Create("page")
	for i := range 2000 {
		f.Index("page", fmt.Sprint(i), fixture.Monday, 1)
	}
	s := search(f, fixture.Versioned(t, "page"))
	source := &counted{MemorySource: f.Source}
	s.Source, s.Parts = source, 1
	found, err := s.Find(t.Context())
	if err != nil || found.Reports[0].Orphans != 2000 || source.calls < 2 || source.ids != 2000 {
		t.Errorf("%v; asked %d times for %d ids: %+v", err, source.calls, source.ids, found.Reports)
	}
}

// counted counts what it is asked to find.
type counted struct {
	*syncdtest.MemorySource
	calls, ids int
}

func (c *counted) Abilities() syncd.SourceAbilities {
	can := c.MemorySource.Abilities()
	find := can.Find
	can.Find = func(ctx context.Context, of syncd.Collection, ids []string) ([]syncd.Key, error) {
		c.calls, c.ids = c.calls+1, c.ids+len(ids)
		return find(ctx, of, ids)
	}
	return can
}

// TestDeletesHaveStablePositions: a later search, after some were deleted and others were found, goes on behind an offset.
func TestDeletesHaveStablePositions(t *testing.T) {
	f := fixture.New()
	f.Source.Create("page")
	rules := fixture.Rules(t, "page")
	for i := range 25 {
		f.Index("page", fmt.Sprintf("gone-%02d", i), "", 2)
	}
	find := func() *audit.Orphans {
		found, err := search(f, rules).Find(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	all, offsets := deletes(t, find(), rules[0], "", 10)
	if len(all) != 25 || len(offsets) != 3 || !slices.IsSortedFunc(all, func(a, b syncd.Change) int { return bytes.Compare(a.PointID[:], b.PointID[:]) }) {
		t.Fatalf("%d deletes, offsets %q", len(all), offsets)
	}
	for i, o := range offsets {
		last := min(10*(i+1), 25)
		if o != syncd.Offset(all[last-1].Key) || o != syncd.Offset(all[last-1].PointID.String()) {
			t.Errorf("offset %q behind %s", o, all[last-1].PointID)
		}
		rest, _ := deletes(t, find(), rules[0], o, 7)
		if !slices.EqualFunc(rest, all[last:], func(a, b syncd.Change) bool { return a.PointID == b.PointID }) {
			t.Errorf("behind offset %q: %d deletes, want %d", o, len(rest), 25-last)
		}
	}
	for _, c := range all[:10] { // the indexer has deleted what was sent, the last of it too
		f.Checker.Remove(c.PointID, fixture.PointID("page", c.ID, 1))
	}
	rest, _ := deletes(t, find(), rules[0], offsets[0], 7)
	if !slices.EqualFunc(rest, all[10:], func(a, b syncd.Change) bool { return a.PointID == b.PointID }) {
		t.Errorf("after the first were deleted: %d", len(rest))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range find().Source().Read(ctx, syncd.ReadRequest{Split: syncd.Split{Collection: rules[0].Collection}, BatchSize: 10}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a read whose context ended: %v", err)
		}
	}
}

func TestForeignPointsAreNobodys(t *testing.T) {
	f := fixture.Truth()
	f.Checker.Put(uuid.New(), map[string]any{"content_type": "page", "mongo_id": "orphan", "chunk_index": 0}) // another seed's
	f.Checker.Put(uuid.New(), map[string]any{"content_type": "page"})                                         // says nothing
	f.Checker.Put(uuid.New(), map[string]any{"content_type": "other", "mongo_id": "x"})
	found, err := search(f, fixture.Versioned(t, "page")).Find(t.Context())
	if err != nil || found.Reports[0].Foreign != 2 || found.Reports[0].Orphans != 1 {
		t.Errorf("%v, %+v", err, found)
	}
}

// TestABadPointHidesNoOrphan: what one point says of itself must not decide about the next.
func TestABadPointHidesNoOrphan(t *testing.T) {
	f := fixture.New()
	f.Source.Create("page")
	f.Checker.Put(uuid.UUID{}, map[string]any{"content_type": "page", "mongo_id": "bad", "chunk_index": "x"}) // listed first
	f.Checker.Put(fixture.PointID("page", "gone", 0), map[string]any{"content_type": "page", "mongo_id": "gone"})
	s := search(f, fixture.Rules(t, "page"))
	s.Parts = 1
	found, err := s.Find(t.Context())
	if err != nil || found.Reports[0].Orphans != 1 || found.Reports[0].Foreign != 1 {
		t.Errorf("%v, %+v", err, found)
	}
}

// TestRulesOfOneContentType have documents with the same id: one that is there says nothing of the other.
func TestRulesOfOneContentType(t *testing.T) {
	f := fixture.New()
	rules := fixture.Seeded(t, "{mongo_id}/{collection}/{chunk_index}", "doc", "a", "b")
	put := func(collection, id string) {
		f.Checker.Put(fixture.PointID(collection, id, 0), map[string]any{"content_type": "doc", "mongo_id": id, "chunk_index": 0})
	}
	f.Source.Create("b")
	for i := range 40 {
		id := fmt.Sprintf("%02d", i)
		put("a", id)
		put("b", id)
		if i%2 == 0 {
			f.Source.Insert("a", syncdtest.MemoryDoc{ID: id}) // of the others both are gone
		}
	}
	s := search(f, rules)
	s.Parts = 1
	found, err := s.Find(t.Context())
	if err != nil || len(found.Reports) != 1 || found.Reports[0].Orphans != 60 {
		t.Fatalf("%v, %+v", err, found)
	}
	a, _ := deletes(t, found, rules[0], "", 7)
	b, _ := deletes(t, found, rules[1], "", 7)
	if len(a) != 20 || len(b) != 40 {
		t.Errorf("%d and %d deletes", len(a), len(b))
	}
	for _, c := range a {
		if c.PointID != fixture.PointID("a", c.ID, 0) || int(c.ID[1]-'0')%2 == 0 {
			t.Errorf("%+v", c)
		}
	}
}

// TestAnOrphanSaysWhichPointItIs: of a document's points perhaps only a later chunk is left.
func TestAnOrphanSaysWhichPointItIs(t *testing.T) {
	f := fixture.New()
	f.Source.Create("page")
	f.Index("page", "gone", "", 3, 0, 1)
	s := search(f, fixture.Rules(t, "page"))
	var got []verdict.Item
	s.Item = func(i verdict.Item) { got = append(got, i) }
	if _, err := s.Find(t.Context()); err != nil || len(got) != 1 {
		t.Fatal(err, got)
	}
	if got[0].PointID != fixture.PointID("page", "gone", 0) || got[0].Held != fixture.PointID("page", "gone", 2) {
		t.Errorf("%+v", got[0])
	}
}

// TestWhatWasWrittenSinceIsLeftAlone: its document may have been inserted after the source was asked.
func TestWhatWasWrittenSinceIsLeftAlone(t *testing.T) {
	f := fixture.New()
	f.Source.Create("page")
	f.Index("page", "before", fixture.Monday, 1)
	f.Index("page", "since", fixture.Tuesday, 1)
	f.Index("page", "timeless", "", 1)
	between, err := time.Parse(time.RFC3339, "2024-05-07T00:00:00Z")
	if err != nil {
		t.Fatal(err)
	}
	for since, want := range map[time.Time]int64{between: 2, {}: 3} {
		s := search(f, fixture.Versioned(t, "page"))
		s.Since = since
		if found, err := s.Find(t.Context()); err != nil || found.Reports[0].Orphans != want {
			t.Errorf("since %s: %v, %+v", since, err, found)
		}
	}
}

// TestNothingIsDeletedWhenInDoubt tries every reason for an absence that is not one.
func TestNothingIsDeletedWhenInDoubt(t *testing.T) {
	whole := audit.ReadCollection{Collection: syncd.Collection{Name: "page"}, Found: true, Complete: true}
	for name, c := range map[string]struct {
		spoil func(c *audit.ReadCollection)
		may   bool
	}{
		"the collection is gone":   {spoil: func(c *audit.ReadCollection) { c.Found = false }},
		"a document is unreadable": {spoil: func(c *audit.ReadCollection) { c.Failed = 1 }},
		"a filter":                 {spoil: func(c *audit.ReadCollection) { c.Filter = `{"updatedAt":1}` }},
		"it was not read whole":    {spoil: func(c *audit.ReadCollection) { c.Complete = false }},
		"no doubt":                 {spoil: func(*audit.ReadCollection) {}, may: true},
	} {
		spoilt := whole
		c.spoil(&spoilt)
		err := audit.MayPrune([]audit.ReadCollection{whole, spoilt})
		var guard *tally.GuardError
		if c.may != (err == nil) || !c.may && (!errors.As(err, &guard) || guard.Advice == "") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheDeletesHaveALimit(t *testing.T) {
	for name, c := range map[string]struct {
		documents, orphans, limit int64
		stops                     bool
	}{
		"of its own":           {100, 11, 10, true},
		"of its own, reached":  {100, 10, 10, false},
		"a small index":        {10_000, 1_000, 0, false},
		"a small index, more":  {10_000, 1_001, 0, true},
		"a large index":        {1_000_000, 10_000, 0, false},
		"a large index, more":  {1_000_000, 10_001, 0, true},
		"more than is allowed": {1_000_000, 10_001, 20_000, false},
	} {
		o := audit.Orphans{Reports: []audit.OrphanReport{{Documents: c.documents / 2, Orphans: c.orphans}, {Documents: c.documents - c.documents/2}}}
		err := o.Guard(c.limit)
		var guard *tally.GuardError
		if c.stops != errors.As(err, &guard) || !c.stops && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestASearchThatFailsSaysSo, in the middle as well: what was not asked about is no orphan.
func TestASearchThatFailsSaysSo(t *testing.T) {
	boom := errors.New("boom")
	second := syncdtest.Nth(2, syncdtest.Fault{Err: boom})
	for name, spoil := range map[string]func(s *audit.OrphanSearch){
		"find": func(s *audit.OrphanSearch) {
			s.Source = syncdtest.FaultySource(s.Source, syncdtest.SourceFaults{Find: second})
		},
		"list": func(s *audit.OrphanSearch) {
			s.Checker = syncdtest.FaultyChecker(s.Checker, syncdtest.CheckerFaults{List: second})
		},
		"page": func(s *audit.OrphanSearch) {
			s.Checker = syncdtest.FaultyChecker(s.Checker, syncdtest.CheckerFaults{Page: second})
		},
	} {
		f := fixture.New()
		f.Source.Create("page")
		for i := range 2000 {
			f.Index("page", fmt.Sprintf("gone-%d", i), fixture.Monday, 1)
		}
		s := search(f, fixture.Versioned(t, "page"))
		spoil(&s)
		if found, err := s.Find(t.Context()); !errors.Is(err, boom) || found == nil || len(found.Reports) != 1 {
			t.Errorf("%s: %v, %+v", name, err, found)
		}
	}
	// A collection that is not there has no documents to be missed.
	f := fixture.Truth()
	f.Source.Drop("page")
	if _, err := search(f, fixture.Versioned(t, "page")).Find(t.Context()); !errors.Is(err, syncd.ErrCollectionNotFound) {
		t.Errorf("no collection: %v", err)
	}
}

func TestASearchNeedsAbilities(t *testing.T) {
	f := fixture.Truth()
	s := search(f, fixture.Versioned(t, "page"))
	s.Source = blind{f.Source}
	if _, err := s.Find(t.Context()); !errors.Is(err, audit.ErrNoFinder) {
		t.Error(err)
	}
	if _, err := audit.StillOrphans(t.Context(), s.Source, f.Checker, nil); !errors.Is(err, audit.ErrNoFinder) {
		t.Error(err)
	}
	if _, err := audit.Explain(t.Context(), s.Source, f.Checker, s.Rules[0], nil, "x"); !errors.Is(err, audit.ErrNoFinder) {
		t.Error(err)
	}
	s = search(f, fixture.Versioned(t, "page"))
	s.Checker = fixture.CheckerFunc{Checker: f.Checker, Can: &syncd.CheckerAbilities{}}
	if found, err := s.Find(t.Context()); err == nil || found == nil {
		t.Error(found, err)
	}
}

// blind is a source that can do nothing but read.
type blind struct{ *syncdtest.MemorySource }

func (blind) Abilities() syncd.SourceAbilities { return syncd.SourceAbilities{} }

func TestASearchEndsWithTheDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fixture.Truth()
		drain := make(chan struct{})
		s := search(f, fixture.Versioned(t, "page"))
		s.Drain = drain
		s.Source = syncdtest.FaultySource(f.Source, syncdtest.SourceFaults{Find: syncdtest.Always(syncdtest.Fault{Gate: syncdtest.NewGate()})})
		time.AfterFunc(time.Second, func() { close(drain) })
		if _, err := s.Find(t.Context()); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// TestNoneButPlannedOrphansAreFound, and none at all if the plan has none.
func TestNoneButPlannedOrphansAreFound(t *testing.T) {
	f := fixture.Truth()
	rules := fixture.Versioned(t, "page", "epic")
	s := search(f, rules)
	s.Planned = []verdict.Item{}
	if found, err := s.Find(t.Context()); err != nil || len(found.Reports) != 2 || found.Reports[0].Orphans != 0 {
		t.Errorf("none: %v, %+v", err, found)
	}
	for _, id := range []string{"planned", "another", "planned"} {
		first := fixture.PointID("epic", id, 0)
		f.Index("epic", id, "", 2)
		s.Planned = append(s.Planned, verdict.Item{Rule: rules[1], Verdict: syncd.Orphan, ID: id, PointID: first, Held: first})
	}
	f.Source.Create("epic")
	f.Index("epic", "unplanned", "", 1)
	found, err := s.Find(t.Context())
	if err != nil || found.Reports[0].Orphans != 0 || found.Reports[0].Points != 0 || found.Reports[1].Orphans != 2 || found.Reports[1].Points != 5 {
		t.Errorf("%v, %+v", err, found)
	}
	if changes, _ := deletes(t, found, rules[1], "", 10); len(changes) != 2 {
		t.Error(changes)
	}
}

func TestStillOrphans(t *testing.T) {
	f := fixture.New()
	rules := fixture.Rules(t, "page", "epic")
	f.Source.Create("epic")
	f.Source.Insert("page", syncdtest.MemoryDoc{ID: "back"})
	var all []verdict.Item
	for _, rule := range rules {
		for _, id := range []string{"gone", "back", "deleted"} {
			name := rule.Collection.Name
			f.Index(name, id, "", 2, 0) // only a later chunk is left
			all = append(all, verdict.Item{
				Rule: rule, Verdict: syncd.Orphan, ID: id, PointID: fixture.PointID(name, id, 0), Held: fixture.PointID(name, id, 1),
			})
			if id == "deleted" {
				f.Checker.Remove(fixture.PointID(name, id, 1))
			}
		}
	}
	still, err := audit.StillOrphans(t.Context(), f.Source, f.Checker, all)
	if err != nil || !slices.Equal(still, []verdict.Item{all[0], all[3], all[4]}) {
		t.Errorf("%v, %+v", err, still)
	}
	boom := errors.New("boom")
	first := syncdtest.Nth(1, syncdtest.Fault{Err: boom})
	if _, err := audit.StillOrphans(t.Context(), syncdtest.FaultySource(f.Source, syncdtest.SourceFaults{Find: first}), f.Checker, all); !errors.Is(err, boom) {
		t.Error(err)
	}
	if _, err := audit.StillOrphans(t.Context(), f.Source, syncdtest.FaultyChecker(f.Checker, syncdtest.CheckerFaults{Check: first}), all); !errors.Is(err, boom) {
		t.Error(err)
	}
}
