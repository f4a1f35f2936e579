package audit_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
	"github.com/syncd-io/syncd/verdict"
)

// owned compiles rules of database db with an owner, of content type doc.
func owned(t *testing.T, owner *mapping.Owner, seed string, names ...string) []*mapping.Rule {
	t.Helper()
	c := mapping.Defaults()
	c.Owner = owner
	if seed != "" {
		c.Seed = seed
	}
	for _, n := range names {
		c.Collections = append(c.Collections, mapping.Collection{Name: n, ContentType: "doc"})
	}
	return fixture.Compile(t, c)
}

// put puts a chunk's point into the index as the indexer of a database does, by the default seed.
func put(f *fixture.Sides, id string, chunk int, payload map[string]any) {
	p := map[string]any{"content_type": "doc", "mongo_id": id, "chunk_index": chunk}
	for k, v := range payload {
		p[k] = v
	}
	f.Checker.Put(uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%s/doc/%d", id, chunk)), p)
}

func of(database string) map[string]any { return map[string]any{"source_db": database} }

// TestPointsThatNameAnotherSource are others', whatever their ids; those that name none are nobody's.
func TestPointsThatNameAnotherSource(t *testing.T) {
	f := fixture.New()
	f.Source.Insert("doc", syncdtest.MemoryDoc{ID: "here"})
	put(f, "here", 0, of("db"))
	put(f, "gone", 0, of("db"))
	put(f, "gone", 1, of("db"))
	put(f, "two", 0, of("db2"))
	put(f, "two", 1, of("db2"))
	put(f, "case", 0, of("DB"))
	put(f, "list", 0, map[string]any{"source_db": []any{"db", "db2"}})
	put(f, "none", 0, nil)
	f.Checker.Put(uuid.New(), map[string]any{"content_type": "doc", "mongo_id": "strange", "source_db": "db"})
	f.Checker.Put(uuid.New(), map[string]any{"content_type": "doc", "source_db": "db2"})
	rules := owned(t, &mapping.Owner{Payload: "source_db"}, "", "doc")
	found, err := search(f, rules).Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := found.Reports[0]
	if !r.Owned || r.Points != 10 || r.Documents != 2 || r.Orphans != 1 || r.Others != 5 || r.Foreign != 2 || r.Examples[0].ID != "gone" {
		t.Errorf("%+v", r)
	}
	if changes, _ := deletes(t, found, rules[0], "", 10); len(changes) != 1 || changes[0].ID != "gone" {
		t.Errorf("%v", changes)
	}
}

// TestAnOwnersDocumentOfTheSameIDIsNotDeleted: this source's document was longer, so that its last chunks are left beside the
// other's first ones; the delete of a document takes all of its points.
func TestAnOwnersDocumentOfTheSameIDIsNotDeleted(t *testing.T) {
	f := fixture.New()
	f.Source.Create("doc")
	for i := range 30 {
		id := fmt.Sprintf("both-%02d", i)
		put(f, id, 0, of("db2"))
		put(f, id, 1, of("db2"))
		put(f, id, 2, of("db"))
		put(f, fmt.Sprintf("lost-%02d", i), 2, of("db")) // of whose chunk 0 nothing is left
		put(f, fmt.Sprintf("mine-%02d", i), 0, of("db"))
	}
	rules := owned(t, &mapping.Owner{Payload: "source_db"}, "", "doc")
	found, err := search(f, rules).Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r := found.Reports[0]; r.Orphans != 60 || r.Others != 60 {
		t.Errorf("%+v", r)
	}
	changes, _ := deletes(t, found, rules[0], "", 100)
	for _, c := range changes {
		if strings.HasPrefix(c.ID, "both") {
			t.Fatalf("a delete of %s", c.ID)
		}
	}
	s := search(f, rules)
	s.Checker = fixture.CheckerFunc{Checker: f.Checker, Can: &syncd.CheckerAbilities{List: f.Checker.List}}
	if _, err := s.Find(t.Context()); err == nil {
		t.Error("whose chunk 0 is could not be asked, and nothing is said")
	}
}

// TestEachCollectionNamesItself: the owner's text may tell the collections of one content type apart, too.
func TestEachCollectionNamesItself(t *testing.T) {
	f := fixture.New()
	f.Source.Create("a")
	f.Source.Create("b")
	rules := owned(t, &mapping.Owner{Payload: "source_db", Value: "{database}.{collection}"}, "{mongo_id}/{collection}/{chunk_index}", "a", "b")
	at := func(collection, id, owner string) {
		f.Checker.Put(fixture.PointID(collection, id, 0), map[string]any{"content_type": "doc", "mongo_id": id, "chunk_index": 0, "source_db": owner})
	}
	at("a", "1", "db.a")
	at("b", "1", "db.b")
	at("b", "2", "db.a") // it contradicts itself
	at("a", "3", "db.c")
	found, err := search(f, rules).Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r := found.Reports[0]; r.Orphans != 2 || r.Others != 1 || r.Foreign != 1 {
		t.Errorf("%+v", r)
	}
}

func TestNothingIsDeletedThatIsNotKnownToBeOurs(t *testing.T) {
	const inSeed = "{database}/{mongo_id}/{chunk_index}"
	for name, c := range map[string]struct {
		rules []*mapping.Rule
		stops string
	}{
		"nothing says it":     {owned(t, nil, "", "doc"), `"owner: {exclusive: true}"`},
		"a seed without it":   {owned(t, nil, "{mongo_id}/{collection}", "doc"), `"owner: {payload: source_db}"`},
		"one of two rules":    {append(owned(t, nil, inSeed, "doc"), fixture.Rules(t, "page")...), "mapping"},
		"a payload key":       {owned(t, &mapping.Owner{Payload: "source_db"}, "", "doc"), ""},
		"exclusive":           {owned(t, &mapping.Owner{Exclusive: true}, "", "doc"), ""},
		"a seed that says it": {owned(t, nil, inSeed, "doc"), ""},
	} {
		err := audit.MayOwn(c.rules)
		var guard *tally.GuardError
		if errors.As(err, &guard) != (c.stops != "") || guard != nil && !strings.Contains(guard.Advice, c.stops) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTheShareThatMayBeDeleted protects a small index, and a small content type beside a large one.
func TestTheShareThatMayBeDeleted(t *testing.T) {
	for name, c := range map[string]struct {
		max   int64
		types [][2]int64 // orphans of documents
		stops bool
	}{
		"none":                                  {types: [][2]int64{{0, 0}}},
		"one of one":                            {types: [][2]int64{{1, 1}}},
		"five of five":                          {types: [][2]int64{{5, 5}}},
		"six of six":                            {types: [][2]int64{{6, 6}}, stops: true},
		"400 of 400":                            {types: [][2]int64{{400, 400}}, stops: true},
		"400 of 400, as the limit says":         {max: 400, types: [][2]int64{{400, 400}}},
		"400 of 400, one more than it says":     {max: 399, types: [][2]int64{{400, 400}}, stops: true},
		"400 of 400 beside a million":           {types: [][2]int64{{0, 1_000_000}, {400, 400}}, stops: true},
		"half of a content type":                {types: [][2]int64{{50, 100}}, stops: true},
		"a fifth":                               {types: [][2]int64{{20, 100}}},
		"a little more than a fifth":            {types: [][2]int64{{21, 100}}, stops: true},
		"1,000 of 10,000":                       {types: [][2]int64{{1000, 10_000}}},
		"1,001 of 10,000":                       {types: [][2]int64{{1001, 10_000}}, stops: true},
		"one in a hundred":                      {types: [][2]int64{{10_000, 1_000_000}}},
		"one in a hundred and one":              {types: [][2]int64{{10_001, 1_000_000}}, stops: true},
		"fifths that are too many together":     {types: [][2]int64{{800, 4000}, {800, 4000}}, stops: true},
		"only later chunks are left, of twenty": {types: [][2]int64{{20, 0}}, stops: true},
	} {
		o := &audit.Orphans{}
		for i, n := range c.types {
			o.Reports = append(o.Reports, audit.OrphanReport{ContentType: fmt.Sprint(i), Orphans: n[0], Documents: n[1]})
		}
		err := o.Guard(c.max)
		var guard *tally.GuardError
		if errors.As(err, &guard) != c.stops || err != nil && !c.stops {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPlannedOrphansAreLookedForAgain: what a plan says must still be so, of a point that is still this source's.
func TestPlannedOrphansAreLookedForAgain(t *testing.T) {
	f := fixture.New()
	f.Source.Create("doc")
	rules := owned(t, &mapping.Owner{Payload: "source_db"}, "", "doc")
	var planned []verdict.Item
	for _, id := range []string{"gone", "back", "removed", "taken"} {
		first, _ := rules[0].PointID(new([]byte), &syncd.Change{ID: id}, 0)
		planned = append(planned, verdict.Item{Rule: rules[0], Verdict: syncd.Orphan, ID: id, PointID: first, Held: first})
	}
	f.Source.Insert("doc", syncdtest.MemoryDoc{ID: "back"})
	put(f, "gone", 0, of("db"))
	put(f, "back", 0, of("db"))
	put(f, "taken", 0, of("db2"))
	put(f, "new", 0, of("db")) // an orphan that is not in the plan
	s := search(f, rules)
	s.Planned = planned
	found, err := s.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	changes, _ := deletes(t, found, rules[0], "", 10)
	if r := found.Reports[0]; r.Orphans != 1 || r.Documents != 3 || len(changes) != 1 || changes[0].ID != "gone" {
		t.Errorf("%+v, %v", r, changes)
	}
}
