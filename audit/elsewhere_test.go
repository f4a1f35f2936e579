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
)

// typed compiles rules of collections and their content types.
func typed(t *testing.T, types map[string]string, names ...string) []*mapping.Rule {
	t.Helper()
	c := mapping.Defaults()
	for _, n := range names {
		c.Collections = append(c.Collections, mapping.Collection{Name: n, ContentType: types[n]})
	}
	return fixture.Compile(t, c)
}

// indexed are n documents of a collection and their points, with the payload that shape makes, under ids of content type heldAs.
func indexed(f *fixture.Sides, collection string, n int, id func(int) string, heldAs string, shape func(contentType, id string) map[string]any) {
	for i := range n {
		f.Source.Insert(collection, syncdtest.MemoryDoc{ID: id(i)})
		f.Checker.Put(uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%s/%s/0", id(i), heldAs)), shape(heldAs, id(i)))
	}
}

func asMapped(contentType, id string) map[string]any {
	return map[string]any{"content_type": contentType, "mongo_id": id, "chunk_index": 0, "text": "some text"}
}

func worded(i int) string   { return fmt.Sprintf("d%d", i) }
func numbered(i int) string { return fmt.Sprint(i) }
func objectID(i int) string { return fmt.Sprintf("507f1f77bcf86cd79943%04x", i) }

// TestDocumentsHeldAsSomethingElse: the index has the documents, but not as the mapping says, so that all would be sent again.
func TestDocumentsHeldAsSomethingElse(t *testing.T) {
	renamed := func(contentType, id string) map[string]any {
		return map[string]any{"type": contentType, "doc_id": id, "chunk": 0}
	}
	nested := func(contentType, id string) map[string]any { return map[string]any{"meta": asMapped(contentType, id)} }
	for name, c := range map[string]struct {
		n      int
		id     func(int) string
		mapped string // the content type of the mapping; odd if it is empty
		held   string // that of the index; odd if it is empty
		shape  func(contentType, id string) map[string]any
		says   string
	}{
		"case":                           {mapped: "Odd", says: `as content_type "odd"`},
		"one document, case":             {n: 1, mapped: "ODD"},
		"case, and ids that are numbers": {id: numbered, mapped: "Odd"},
		"a blank behind":                 {mapped: "odd "},
		"a blank in front":               {mapped: " odd"},
		"a line break":                   {held: "odd\n", says: `"odd\n"`},
		"a no-break space":               {mapped: "odd\u00a0"},
		"a zero-width space":             {held: "od\u200bd", says: `\u200b`},
		"a byte order mark":              {held: "\ufeffodd"},
		"another separator":              {mapped: "work_item", held: "work-item"},
		"camel case":                     {mapped: "work_item", held: "workItem"},
		"one letter replaced":            {mapped: "odb"},
		"one letter more":                {mapped: "odds"},
		"one letter, and numbers":        {id: numbered, mapped: "page", held: "pages"},
		"another name":                   {mapped: "strange"},
		"another name, and ObjectIds":    {id: objectID, mapped: "wi", held: "work_item"},
		"another name, five documents":   {n: 5, mapped: "strange"},
		"an umlaut":                      {mapped: "übung", held: "Übung"},
		"keys of other names":            {shape: renamed, says: "payload keys chunk, doc_id, type"},
		"keys of other names, one more":  {shape: func(c, id string) map[string]any { return map[string]any{"contentType": c, "mongo_id": id} }, mapped: "strange"},
		"nested":                         {shape: nested, says: `under the payload key "meta.mongo_id"`},
		"nested twice":                   {shape: func(c, id string) map[string]any { return map[string]any{"a": nested(c, id)} }},
		"nested, five documents":         {n: 5, shape: nested},
		"keys of other names, numbers":   {id: numbered, shape: renamed},
		"no ids at all":                  {shape: func(string, string) map[string]any { return map[string]any{"text": "x"} }},
	} {
		t.Run(name, func(t *testing.T) {
			f := fixture.New()
			or := func(s, other string) string {
				if s == "" {
					return other
				}
				return s
			}
			if c.n == 0 {
				c.n = 50
			}
			if c.id == nil {
				c.id = worded
			}
			held, shape := or(c.held, "odd"), c.shape
			if shape == nil {
				shape = asMapped
			}
			mapped := or(c.mapped, "odd")
			seedAs := held
			if mapped == held {
				seedAs = held + "'s ids are made in another way"
			}
			indexed(f, "odd", c.n, c.id, held, shape)
			if seedAs != held { // the payload alone would not have all sent again
				f = fixture.New()
				indexed(f, "odd", c.n, c.id, seedAs, func(_, id string) map[string]any { return shape(held, id) })
			}
			p := preflight(f, typed(t, map[string]string{"odd": mapped}, "odd"))
			_, err := p.Run(t.Context())
			var guard *tally.GuardError
			if !errors.As(err, &guard) || !strings.Contains(guard.Problem, c.says) || strings.ContainsAny(guard.Problem, "\n\u200b\u00a0\ufeff") {
				t.Fatalf("%v", err)
			}
			for _, both := range []string{"looked for: content_type ", "; the index holds: content_type ", "payload keys content_type, mongo_id, chunk_index"} {
				if !strings.Contains(guard.Problem, both) {
					t.Errorf("it lacks %q: %s", both, guard.Problem)
				}
			}
			p.AllowDrift = true
			if _, err := p.Run(t.Context()); err != nil {
				t.Errorf("with leave to drift: %v", err)
			}
			p.AllowDrift, p.Source = false, fixtureWithoutFind{f.Source}
			if _, err := p.Run(t.Context()); err == nil {
				t.Error("with a source that can't find documents: no error")
			}
		})
	}
}

// fixtureWithoutFind is a source that lacks an ability.
type fixtureWithoutFind struct{ syncd.Source }

func (fixtureWithoutFind) Abilities() syncd.SourceAbilities { return syncd.SourceAbilities{} }

// TestIndexesThatAreAsTheyShouldBe run, though documents are missing that one might look for elsewhere.
func TestIndexesThatAreAsTheyShouldBe(t *testing.T) {
	other := func(kind, id string) map[string]any {
		return map[string]any{"kind": kind, "url": "https://example.com/" + id, "score": 3}
	}
	of := func(prefix string) func(int) string { return func(i int) string { return prefix + objectID(i) } }
	for name, c := range map[string]struct {
		fill  func(f *fixture.Sides)
		types map[string]string // of the rules
		only  string            // the collection that is selected; empty selects all
	}{
		"an empty index": {fill: func(f *fixture.Sides) { f.Insert("odd", 50, nil) }},
		"an index shared with another tool": {fill: func(f *fixture.Sides) {
			indexed(f, "odd", 5, worded, "odd", asMapped)
			f.Insert("odd", 50, nil)
			indexed(f, "faq", 500, worded, "faq", other)
		}},
		"an index shared with another tool, and a new content type": {types: map[string]string{"odd": "odd", "new": "new"}, fill: func(f *fixture.Sides) {
			indexed(f, "odd", 50, worded, "odd", asMapped)
			f.Insert("new", 50, nil)
			indexed(f, "faq", 500, worded, "faq", other)
		}},
		"an index in which this mapping's points are behind all that is looked at": {types: map[string]string{"odd": "odd", "new": "new"}, only: "new", fill: func(f *fixture.Sides) {
			f.Insert("new", 50, nil)
			indexed(f, "faq", 500, of("faq-"), "faq", other)
			f.Checker.Put(uuid.Max, asMapped("odd", "d0"))
		}},
		"another tool's first points": {fill: func(f *fixture.Sides) { // which are too few to tell
			f.Insert("odd", 50, nil)
			indexed(f, "faq", 19, of("faq-"), "faq", other)
		}},
		"a few new documents beside another tool's": {fill: func(f *fixture.Sides) {
			f.Insert("odd", 19, nil)
			indexed(f, "faq", 500, of("faq-"), "faq", other)
		}},
		"a new content type": {types: map[string]string{"odd": "odd", "new": "new"}, fill: func(f *fixture.Sides) {
			indexed(f, "odd", 50, worded, "odd", asMapped)
			f.Insert("new", 50, nil)
		}},
		"a new content type whose documents have the same ids as another's": {types: map[string]string{"odd": "odd", "odd2": "odd2"}, fill: func(f *fixture.Sides) {
			indexed(f, "odd", 50, objectID, "odd", asMapped)
			for i := range 50 {
				f.Source.Insert("odd2", syncdtest.MemoryDoc{ID: objectID(i)})
			}
		}},
		"one collection of many": {types: map[string]string{"odd": "odd", "new": "new"}, only: "new", fill: func(f *fixture.Sides) {
			indexed(f, "odd", 50, worded, "odd", asMapped)
			f.Insert("new", 50, nil)
		}},
		"one collection of many, with the same ids": {types: map[string]string{"odd": "odd", "odd2": "odd2"}, only: "odd2", fill: func(f *fixture.Sides) {
			indexed(f, "odd", 50, worded, "odd", asMapped)
			for i := range 50 {
				f.Source.Insert("odd2", syncdtest.MemoryDoc{ID: worded(i)})
			}
		}},
		"another job's index": {fill: func(f *fixture.Sides) {
			f.Insert("odd", 50, nil)
			indexed(f, "invoice", 50, of("i-"), "invoice", asMapped)
		}},
		"another job's index with ids that are numbers": {fill: func(f *fixture.Sides) {
			for i := range 50 {
				f.Source.Insert("odd", syncdtest.MemoryDoc{ID: numbered(i)})
			}
			indexed(f, "invoice", 50, numbered, "invoice", asMapped)
		}},
		"another job's index of a like content type": {types: map[string]string{"task": "task"}, fill: func(f *fixture.Sides) {
			f.Insert("task", 50, nil)
			indexed(f, "tasks", 50, of("t-"), "tasks", asMapped)
		}},
		"another job's index whose points name documents": {types: map[string]string{"customer": "customer"}, fill: func(f *fixture.Sides) {
			for i := range 50 {
				f.Source.Insert("customer", syncdtest.MemoryDoc{ID: objectID(i)})
			}
			indexed(f, "invoice", 50, of("i-"), "invoice", func(ct, id string) map[string]any {
				p := asMapped(ct, id)
				p["customer_id"] = strings.TrimPrefix(id, "i-")
				return p
			})
		}},
		"a collection that is empty": {types: map[string]string{"odd": "Odd"}, fill: func(f *fixture.Sides) {
			f.Source.Create("odd")
			indexed(f, "faq", 500, of("faq-"), "faq", other)
		}},
		"points without payload": {fill: func(f *fixture.Sides) {
			f.Insert("odd", 50, nil)
			for range 100 {
				f.Checker.Add(uuid.New())
			}
		}},
		"other payload keys, but the same ids": {fill: func(f *fixture.Sides) { // so that nothing is sent again
			indexed(f, "odd", 50, worded, "odd", func(ct, id string) map[string]any { return map[string]any{"type": ct, "doc": id} })
		}},
		"a mapping whose seed has no content type": {types: map[string]string{"odd": "Odd"}, fill: func(f *fixture.Sides) {
			for i := range 50 {
				f.Source.Insert("odd", syncdtest.MemoryDoc{ID: worded(i)})
				f.Checker.Put(fixture.PointID("Odd", worded(i), 0), asMapped("odd", worded(i)))
			}
		}},
		"language codes": {types: map[string]string{"languages": "language"}, fill: func(f *fixture.Sides) { // all the same
			f.Source.Insert("languages", syncdtest.MemoryDoc{ID: "en"}, syncdtest.MemoryDoc{ID: "de"})
			for range 19 {
				f.Checker.Put(uuid.New(), map[string]any{"kind": "faq", "language": "en"})
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := fixture.New()
			c.fill(f)
			if c.types == nil {
				c.types = map[string]string{"odd": "odd"}
			}
			conf := mapping.Defaults()
			for n, contentType := range c.types {
				conf.Collections = append(conf.Collections, mapping.Collection{Name: n, ContentType: contentType})
			}
			rules := fixture.Compile(t, conf)
			if c.only != "" {
				m, err := (&mapping.Mapping{Rules: rules}).Select([]string{c.only})
				if err != nil {
					t.Fatal(err)
				}
				rules = m.Rules
			}
			if _, err := preflight(f, rules).Run(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestASurveyThatFailsIsAnError, and so is everything else that is asked for it.
func TestASurveyThatFailsIsAnError(t *testing.T) {
	boom := errors.New("boom")
	nth := func(n int) syncdtest.Schedule { return syncdtest.Nth(n, syncdtest.Fault{Err: boom}) }
	for name, spoil := range map[string]func(p *audit.Preflight){
		"survey": func(p *audit.Preflight) {
			p.Checker = syncdtest.FaultyChecker(p.Checker, syncdtest.CheckerFaults{Survey: nth(1)})
		},
		"whether a mapped type is there": func(p *audit.Preflight) {
			p.Checker = syncdtest.FaultyChecker(p.Checker, syncdtest.CheckerFaults{List: nth(2)})
		},
		"the points of another type": func(p *audit.Preflight) {
			p.Checker = syncdtest.FaultyChecker(p.Checker, syncdtest.CheckerFaults{List: nth(3)})
		},
		"read": func(p *audit.Preflight) {
			p.Source = syncdtest.FaultySource(p.Source, syncdtest.SourceFaults{Read: nth(1)})
		},
		"check": func(p *audit.Preflight) {
			p.Checker = syncdtest.FaultyChecker(p.Checker, syncdtest.CheckerFaults{Check: nth(1)})
		},
		"find": func(p *audit.Preflight) {
			p.Source = syncdtest.FaultySource(p.Source, syncdtest.SourceFaults{Find: nth(1)})
		},
	} {
		f := fixture.New()
		indexed(f, "odd", 50, worded, "odd", asMapped)
		p := preflight(f, typed(t, map[string]string{"odd": "Odd"}, "odd"))
		spoil(&p)
		if _, err := p.Run(t.Context()); !errors.Is(err, boom) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAnIndexThatNeedsNoSurvey, since all content types are there; one that can't be surveyed is not looked at, either.
func TestAnIndexThatNeedsNoSurvey(t *testing.T) {
	f := fixture.New()
	indexed(f, "odd", 50, worded, "odd", asMapped)
	rules := typed(t, map[string]string{"odd": "odd"}, "odd")
	p := preflight(f, rules)
	p.Checker = syncdtest.FaultyChecker(f.Checker, syncdtest.CheckerFaults{Survey: syncdtest.Always(syncdtest.Fault{Err: errors.New("asked")})})
	if held, err := p.Run(t.Context()); err != nil || !held[rules[0]] {
		t.Error(err)
	}
	can := f.Checker.Abilities()
	can.Survey = nil
	p = preflight(f, typed(t, map[string]string{"odd": "Odd"}, "odd"))
	p.Checker = fixture.CheckerFunc{Checker: f.Checker, Can: &can}
	if _, err := p.Run(t.Context()); err != nil {
		t.Error(err)
	}
}
