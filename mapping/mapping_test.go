package mapping

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

// TestGoldenPointIDs holds point ids to vectors that another implementation (Python's uuid.uuid5) made.
func TestGoldenPointIDs(t *testing.T) {
	f, err := os.Open("testdata/point_ids.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for s := bufio.NewScanner(f); s.Scan(); n++ {
		var g struct {
			Namespace, Seed string
			PointID         string `json:"point_id"`
		}
		if err := json.Unmarshal(s.Bytes(), &g); err != nil {
			t.Fatal(err)
		}
		ns, err := ParseNamespace(g.Namespace)
		if err != nil {
			t.Fatal(err)
		}
		// A template of an id alone renders any seed whatever.
		tmpl, terr := compile("{id}", nil)
		if terr != nil {
			t.Fatal(terr)
		}
		r := Rule{namespace: ns, seed: tmpl}
		var buf []byte
		got, err := r.PointID(&buf, &syncd.Change{ID: g.Seed}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got.String() != g.PointID {
			t.Errorf("namespace %s, seed %q: point id %s, want %s", g.Namespace, g.Seed, got, g.PointID)
		}
		if lib := uuid.NewSHA1(ns, []byte(g.Seed)); lib != got {
			t.Errorf("seed %q: %s, but the uuid library says %s", g.Seed, got, lib)
		}
	}
	if n < 30 {
		t.Fatalf("only %d golden vectors were read", n)
	}
}

func compiled(t testing.TB, c Config, database string) (*Mapping, spec.Diagnostics) {
	t.Helper()
	d := spec.NewDecoder("mapping")
	m := Compile(c, database, d, nil)
	return m, d.Diagnostics()
}

// described is the defaults with the user's eight collections.
func described() Config {
	c := Defaults()
	c.Collections = Collections{
		{Name: "page", ContentType: "page"}, {Name: "workItem", ContentType: "work_item"},
		{Name: "project", ContentType: "project"}, {Name: "cycle", ContentType: "cycle"},
		{Name: "module", ContentType: "module"}, {Name: "epic", ContentType: "epic"},
		{Name: "features", ContentType: "feature"}, {Name: "userStory", ContentType: "user_story"},
	}
	return c
}

// TestDefaultSeed checks the user's eight collections end to end against golden seeds.
func TestDefaultSeed(t *testing.T) {
	if c := Defaults(); c.Collections != nil {
		t.Errorf("which collections there are only a configuration can say, not %v", c.Collections)
	}
	m, diags := compiled(t, described(), "ProjectManagement")
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	want := map[string]string{
		"page": "page", "workItem": "work_item", "project": "project", "cycle": "cycle",
		"module": "module", "epic": "epic", "features": "feature", "userStory": "user_story",
	}
	if len(m.Rules) != len(want) {
		t.Fatalf("%d rules, want %d", len(m.Rules), len(want))
	}
	const id = "507f1f77bcf86cd799439011"
	for _, r := range m.Rules {
		seed, err := r.AppendSeed(nil, &syncd.Change{ID: id}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if w := id + "/" + want[r.Collection.Name] + "/0"; string(seed) != w {
			t.Errorf("collection %s: seed %q, want %q", r.Collection.Name, seed, w)
		}
	}
	var buf []byte
	got, err := m.Rules[0].PointID(&buf, &syncd.Change{ID: id}, 0)
	if err != nil || got.String() != "7b619d45-93e1-5724-b96f-63c3ab25907c" {
		t.Errorf("point id of a page: %s, %v", got, err)
	}
}

func TestCompileTemplate(t *testing.T) {
	constants := map[string]string{"content_type": "work_item", "collection": "workItem", "database": "PM"}
	rec := &syncd.Change{ID: "42", Fields: []syncd.Value{{Text: "T", Set: true}, {Text: "U", Set: true}}}
	for _, c := range []struct{ template, want string }{
		{"{mongo_id}/{content_type}/{chunk_index}", "42/work_item/7"},
		{"{id}", "42"},
		{"{database}.{collection}:{id}", "PM.workItem:42"},
		{"{fields.tenant}/{id}/{fields.a.b}/{fields.tenant}", "T/42/U/T"},
		{"{{{id}}}", "{42}"},
		{"é{id}日", "é42日"},
	} {
		tmpl, terr := compile(c.template, constants)
		if terr != nil {
			t.Errorf("%s: %v", c.template, terr)
			continue
		}
		got, err := tmpl.append(nil, rec, 7)
		if err != nil || string(got) != c.want {
			t.Errorf("%s renders %q, %v; want %q", c.template, got, err, c.want)
		}
	}
	for _, c := range []struct {
		template, message string
		offset            int
	}{
		{"{mongo_id}/{content_typ}", "unknown placeholder {content_typ}", 11},
		{"x/{content_type}/0", "the seed has no {mongo_id}", -1},
		{"", "the seed has no {mongo_id}", -1},
		{"{mongo_id", `"{" without "}"`, 0},
		{"{mongo_id}/}", `"}" without "{"`, 11},
		{"{id}{fields.}", "unknown placeholder {fields.}", 4},
		{"{id}{fields.a..b}", "unknown placeholder {fields.a..b}", 4},
		{"{id}{}", "unknown placeholder {}", 4},
	} {
		_, terr := compile(c.template, constants)
		if terr == nil {
			t.Errorf("%q compiles", c.template)
			continue
		}
		if !strings.HasPrefix(terr.message, c.message) || terr.offset != c.offset {
			t.Errorf("%q: %q at %d, want %q at %d", c.template, terr.message, terr.offset, c.message, c.offset)
		}
	}
}

func TestMissingFieldIsAnError(t *testing.T) {
	tmpl, _ := compile("{id}/{fields.tenant}", nil)
	for _, fields := range [][]syncd.Value{nil, {{}}, {{Text: "x"}}} {
		if seed, err := tmpl.append(nil, &syncd.Change{ID: "1", Fields: fields}, 0); err == nil {
			t.Errorf("fields %v: seed %q without an error", fields, seed)
		}
	}
}

func TestCollisions(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"{id}/page/{chunk_index}", "{id}/work_item/{chunk_index}", false},
		{"{id}/page/{chunk_index}", "{id}/page/{chunk_index}", true},
		{"{id}/page/0", "{id}/page/{chunk_index}", true},
		{"{id}/page/x", "{id}/page/{chunk_index}", false},
		{"page/{id}", "pages/{id}", false},
		{"page{id}", "pages{id}", true},
		{"{id}", "x{id}", true},
		{"{id}a", "{id}b", false},
		{"a{id}b{fields.x}c", "ab{id}bc", true},
		{"{id}{chunk_index}", "{id}", true},
	} {
		ta, e1 := compile(c.a, nil)
		tb, e2 := compile(c.b, nil)
		if e1 != nil || e2 != nil {
			t.Fatal(e1, e2)
		}
		languages := [][]symbol{ta.language(), tb.language()}
		found, _ := collisions(languages)
		if got := len(found) == 1; got != c.want || got != canCollide(languages[0], languages[1]) {
			t.Errorf("%s and %s: collide = %v, want %v", c.a, c.b, got, c.want)
		}
	}
	_, diags := compiled(t, Config{Namespace: "url", Seed: DefaultSeed, Collections: Collections{
		{Name: "page", ContentType: "page"}, {Name: "pages", ContentType: "page"}, {Name: "epic", ContentType: "epic"},
	}}, "db")
	if len(diags) != 1 || diags[0].Code != spec.CodeSeedCollision {
		t.Errorf("two collections of one content type: %v", diags)
	}
}

func TestSelect(t *testing.T) {
	m, _ := compiled(t, described(), "db")
	got, err := m.Select([]string{"epic", "page"})
	if err != nil || len(got.Rules) != 2 || got.Rules[0].Collection.Name != "page" {
		t.Errorf("selecting epic and page: %v, %v", got, err)
	}
	_, err = m.Select([]string{"workitems"})
	if err == nil || syncd.HintOf(err) != `did you mean "workItem"? known: cycle, epic, features, module, page, project, userStory, workItem` {
		t.Errorf("selecting workitems: %v, hint %q", err, syncd.HintOf(err))
	}
}

// FuzzSeed checks that any template either is refused or renders the same text twice, and never panics.
func FuzzSeed(f *testing.F) {
	f.Add("{mongo_id}/{content_type}/{chunk_index}", "507f1f77bcf86cd799439011", 0)
	f.Add("{{}}{id}{fields.a.b}", "é", 3)
	f.Add("{", "", -1)
	f.Fuzz(func(t *testing.T, text, id string, chunk int) {
		tmpl, terr := compile(text, map[string]string{"content_type": "x"})
		if terr != nil {
			if terr.offset < -1 || terr.offset > len(text) {
				t.Fatalf("offset %d is outside of %q", terr.offset, text)
			}
			return
		}
		rec := &syncd.Change{ID: id, Fields: make([]syncd.Value, len(tmpl.fields))}
		for i := range rec.Fields {
			rec.Fields[i] = syncd.Value{Text: id, Set: true}
		}
		a, err1 := tmpl.append(nil, rec, chunk)
		b, err2 := tmpl.append([]byte("prefix"), rec, chunk)
		if err1 != nil || err2 != nil || "prefix"+string(a) != string(b) {
			t.Fatalf("%q renders %q (%v), then %q (%v)", text, a, err1, b, err2)
		}
		if !strings.Contains(string(a), id) {
			t.Fatalf("%q renders %q, which lacks the id %q", text, a, id)
		}
	})
}

func BenchmarkPointID(b *testing.B) {
	m, _ := compiled(b, described(), "db")
	rec := &syncd.Change{ID: "507f1f77bcf86cd799439011"}
	b.Run("syncd", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			if _, err := m.Rules[0].PointID(&buf, rec, 0); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("floor", func(b *testing.B) { // the loop one would write by hand
		b.ReportAllocs()
		for b.Loop() {
			uuid.NewSHA1(uuid.NameSpaceURL, []byte(rec.ID+"/page/0"))
		}
	})
}
