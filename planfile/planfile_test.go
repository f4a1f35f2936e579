package planfile_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/planfile"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/verdict"
)

func planText(text string) planfile.Plan {
	return planfile.Plan{Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}
}

// planOf writes a plan of what the index says of a collection, and of some orphans.
func planOf(t *testing.T, f *fixture.Sides, rule *mapping.Rule, all bool, orphans ...verdict.Item) planfile.Plan {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plan.ndjson")
	w, err := planfile.Create(path, planfile.Header{Plan: planfile.Version, RunID: "r", Fingerprint: "f", Sample: 0.5}, all)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := fixture.Read(t, f.Source, rule, 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := verdict.New(f.Checker).Ask(t.Context(), rule, changes); err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		w.Item(verdict.Item{Rule: rule, Verdict: c.Verdict, ID: c.ID, Key: c.Key, PointID: c.PointID})
	}
	for _, o := range orphans {
		w.Item(o)
	}
	if err := w.Close(true); err != nil {
		t.Fatal(err)
	}
	return planfile.File(path)
}

func orphan(rule *mapping.Rule, id string) verdict.Item {
	first := fixture.PointID("page", id, 0)
	return verdict.Item{Rule: rule, Verdict: syncd.Orphan, ID: id, PointID: first, Held: first}
}

// TestAPlanIsReadBack, after both sides have changed.
func TestAPlanIsReadBack(t *testing.T) {
	for _, all := range []bool{false, true} {
		f := fixture.Truth()
		rules := fixture.Versioned(t, "page", "epic")
		plan := planOf(t, f, rules[0], all, orphan(rules[0], "orphan"))
		if h, err := plan.Check(); err != nil || h != (planfile.Header{Plan: 2, RunID: "r", Fingerprint: "f", Sample: 0.5}) {
			t.Fatal(h, err)
		}
		f.Source.Delete("page", "partial")                          // deleted meanwhile
		f.Source.Insert("page", syncdtest.MemoryDoc{ID: "another"}) // not in the plan
		f.Source.Insert("page", syncdtest.MemoryDoc{ID: "stale", Fields: map[string]any{"updatedAt": "now"}})
		source := plan.Source(f.Source, rules)
		changes, err := fixture.Read(t, source, rules[0], 2)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, c := range changes {
			got[c.ID] = c.Fields[0].Text
			if c.Document == nil || c.Err != nil || c.PointID != fixture.PointID("page", c.ID, 0) {
				t.Errorf("%+v", c)
			}
			fetched := 0
			for f, err := range source.Fetch(t.Context(), rules[0].Collection, []syncd.Key{c.Key}) {
				fetched++
				if id, _ := f.Document.Lookup("_id"); err != nil || id.Text != c.ID {
					t.Errorf("key %q is of %v, %v", c.Key, id, err)
				}
			}
			if fetched != 1 {
				t.Errorf("no document has key %q", c.Key)
			}
		}
		if diff := cmp.Diff(map[string]string{"stale": "now", "fallback": "", "missing": fixture.Monday}, got); diff != "" {
			t.Errorf("read (-want +got)\n%s", diff)
		}
		if changes, err := fixture.Read(t, source, rules[1], 2); err != nil || len(changes) != 0 {
			t.Errorf("another collection: %v, %v", changes, err)
		}
		orphans, err := plan.Orphans(rules)
		if err != nil || !slices.Equal(orphans, []verdict.Item{orphan(rules[0], "orphan")}) {
			t.Errorf("orphans %+v, %v", orphans, err)
		}
	}
}

func TestAPlanWithoutOrphansHasNone(t *testing.T) {
	f := fixture.Truth()
	rules := fixture.Versioned(t, "page")
	if orphans, err := planOf(t, f, rules[0], false).Orphans(rules); err != nil || orphans == nil || len(orphans) != 0 {
		t.Errorf("%#v, %v", orphans, err) // nil would mean to search for them
	}
}

func TestOnlyAWholePlanGetsItsName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plan.ndjson")
	for _, whole := range []bool{false, true} {
		w, err := planfile.Create(path, planfile.Header{Plan: planfile.Version}, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(whole); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); whole != (err == nil) {
			t.Errorf("whole %v: %v", whole, err)
		}
		if _, err := os.Stat(path + ".part"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("whole %v: a part is left: %v", whole, err)
		}
	}
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

// TestFetchIsNotTrusted: a source that breaks its word about what it fetched ends the read; nothing is lost behind it.
func TestFetchIsNotTrusted(t *testing.T) {
	for name, change := range map[string]func([]syncd.Fetched) []syncd.Fetched{
		"one twice, another never": func(f []syncd.Fetched) []syncd.Fetched { f[1] = f[0]; return f },
		"beyond the keys":          func(f []syncd.Fetched) []syncd.Fetched { f[0].Index = 1000; return f },
		"before the keys":          func(f []syncd.Fetched) []syncd.Fetched { f[0].Index = -1; return f },
		"no document":              func(f []syncd.Fetched) []syncd.Fetched { f[0].Document = nil; return f },
	} {
		f := fixture.New()
		f.Insert("page", 20, nil)
		rules := fixture.Rules(t, "page")
		source := planOf(t, f, rules[0], false).Source(refetch{f.Source, change}, rules)
		if changes, err := fixture.Read(t, source, rules[0], 10); err == nil {
			t.Errorf("%s: no error: %d changes", name, len(changes))
		}
	}
}

func TestPlansOfOtherFormatsAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"": "first line", "{}": "first line", "not json": "first line", `{"sigil":"+"}`: "first line",
		`{"syncd_plan":1}`:     "it has version 1, this program reads version 2",
		`{"syncd_plan":3}`:     "it has version 3, this program reads version 2",
		"{\n\"syncd_plan\":2}": "first line",
	} {
		if _, err := planText(text).Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
}

// TestAPlanThatIsNotWholeIsAnError: what is behind a cut would not be sent, what is there twice would be sent twice, what was
// edited is not what was looked at; and nobody would know.
func TestAPlanThatIsNotWholeIsAnError(t *testing.T) {
	f := fixture.New()
	f.Insert("page", 4, nil)
	rules := fixture.Rules(t, "page")
	plan := planOf(t, f, rules[0], false, orphan(rules[0], "orphan"))
	whole := readPlan(t, plan)
	lines := strings.SplitAfter(strings.TrimSuffix(whole, "\n"), "\n") // a header, four documents, an orphan, an end
	if len(lines) != 7 {
		t.Fatal(lines)
	}
	lines[6] += "\n"
	of := func(which ...int) string {
		var text strings.Builder
		for _, i := range which {
			text.WriteString(lines[i])
		}
		return text.String()
	}
	const cut, number, digest, behind = "was cut off behind document", "lines were left out or put in", "not those that were written", "behind the line that ends it"
	for name, c := range map[string]struct{ text, want string }{
		"whole":                            {whole, ""},
		"without its last line break":      {strings.TrimSuffix(whole, "\n"), ""},
		"cut at a line's end":              {of(0, 1, 2), cut + " 2"},
		"cut behind the header":            {of(0), cut + " 0"},
		"cut before the end":               {of(0, 1, 2, 3, 4, 5), cut + " 5"},
		"cut in a line":                    {whole[:len(of(0, 1))+9], "document 2: "},
		"cut in the end":                   {whole[:len(whole)-9], "document 6: "},
		"a line twice":                     {of(0, 1, 1, 2, 3, 4, 5, 6), number},
		"a line left out":                  {of(0, 1, 2, 4, 5, 6), number},
		"the last document left out":       {of(0, 1, 2, 3, 4, 6), number},
		"a line in another's place":        {of(0, 1, 2, 2, 4, 5, 6), digest},
		"lines in another order":           {of(0, 2, 1, 3, 4, 5, 6), digest},
		"another id":                       {strings.Replace(whole, `"id":"00002"`, `"id":"00003"`, 1), digest},
		"another verdict":                  {strings.Replace(whole, `"sigil":"+"`, `"sigil":"~"`, 1), digest},
		"another collection":               {strings.Replace(whole, `"collection":"page"`, `"collection":"epic"`, 1), digest},
		"another header":                   {strings.Replace(whole, `"run_id":"r"`, `"run_id":"s"`, 1), digest},
		"a blank more":                     {strings.Replace(whole, `"sigil":"+",`, `"sigil":"+", `, 1), digest},
		"Windows line ends":                {strings.ReplaceAll(whole, "\n", "\r\n"), digest},
		"an empty line":                    {of(0, 1) + "\n" + of(2, 3, 4, 5, 6), "document 2: "},
		"an empty line at its end":         {whole + "\n", behind},
		"another plan behind it":           {whole + whole, behind},
		"documents behind its end":         {whole + of(1), behind},
		"an end that says another number":  {of(0, 1, 2, 3, 4, 5) + strings.Replace(lines[6], `"syncd_plan_end":5`, `"syncd_plan_end":6`, 1), number},
		"an end without a digest":          {of(0, 1, 2, 3, 4, 5) + `{"syncd_plan_end":5}`, digest},
		"the end of another plan":          {of(0, 1, 2, 3, 4, 5) + strings.Replace(lines[6], `"sha256":"`, `"sha256":"0`, 1), digest},
		"an end in the middle of the plan": {of(0, 1, 2) + `{"syncd_plan_end":2}` + "\n" + of(3, 4, 5, 6), digest},
	} {
		plan := planText(c.text)
		_, checked := plan.Check()
		changes, read := fixture.Read(t, plan.Source(f.Source, rules), rules[0], 10)
		_, orphans := plan.Orphans(rules)
		for what, err := range map[string]error{"Check": checked, "Read": read, "Orphans": orphans} {
			switch {
			case c.want == "" && err != nil:
				t.Errorf("%s: %s: %v", name, what, err)
			case c.want != "" && err == nil:
				t.Errorf("%s: %s: no error", name, what)
			case c.want != "" && what == "Check" && !strings.Contains(err.Error(), c.want):
				t.Errorf("%s: %s: %v; want %q", name, what, err, c.want)
			}
		}
		if c.want == "" && len(changes) != 4 {
			t.Errorf("%s: %d documents", name, len(changes))
		}
	}
}

// readPlan is the text of a plan.
func readPlan(t *testing.T, p planfile.Plan) string {
	t.Helper()
	f, err := p.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestAnEmptyPlanIsWhole: there may be nothing to send.
func TestAnEmptyPlanIsWhole(t *testing.T) {
	f := fixture.New()
	f.Source.Create("page")
	rules := fixture.Rules(t, "page")
	plan := planOf(t, f, rules[0], false)
	if _, err := plan.Check(); err != nil {
		t.Error(err)
	}
	if changes, err := fixture.Read(t, plan.Source(f.Source, rules), rules[0], 10); err != nil || len(changes) != 0 {
		t.Error(changes, err)
	}
}

// FuzzPlan: whatever stands in a file, it is refused, or it is a plan that can be read as often as need be.
func FuzzPlan(f *testing.F) {
	f.Add(fixture.PlanText())
	f.Add(fixture.PlanText(`{"sigil":"+","verdict":"missing","collection":"page","id":"a","key":"YQ==","point_id":"aae7712e-a649-569d-8af6-5b11346bd61b"}`))
	f.Add("{\"syncd_plan\":2}\n{\"syncd_plan_end\":-1}\n")
	f.Add("{\"syncd_plan\":2}\n[]\nnull\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, err := planText(text).Check()
		if err != nil && err.Error() == "" {
			t.Error("an error without text")
		}
		if _, again := planText(text).Check(); (err == nil) != (again == nil) {
			t.Errorf("first %v, then %v", err, again)
		}
		// A plan has one end, and it is the last line.
		if n := strings.Count(text, "syncd_plan_end"); err == nil && n == 0 {
			t.Error("a plan without an end")
		}
		if err == nil && len(text) > 1 {
			if _, cut := planText(text[:len(text)-2]).Check(); cut == nil {
				t.Error("it is whole without its last bytes")
			}
		}
	})
}

// TestAPlanInAPipeIsRefused: what is read to check it is not there to be sent.
func TestAPlanInAPipeIsRefused(t *testing.T) {
	for _, path := range []string{os.DevNull, t.TempDir()} {
		if _, err := planfile.File(path).Check(); err == nil || !strings.Contains(err.Error(), "is no regular file") {
			t.Error(path, err)
		}
	}
}

// TestAPlanThatCannotBeRead is an error of its own, not an end.
func TestAPlanThatCannotBeRead(t *testing.T) {
	broken := errors.New("the disk is gone")
	for _, text := range []string{"", fixture.PlanText()} {
		plan := planfile.Plan{Open: func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken))), nil
		}}
		if _, err := plan.Check(); !errors.Is(err, broken) {
			t.Error(err)
		}
	}
}

// TestAPlanOfUnknownCollectionsIsRefused: its lines would not be sent, and nobody would know.
func TestAPlanOfUnknownCollectionsIsRefused(t *testing.T) {
	f := fixture.New()
	f.Insert("page", 3, nil)
	rules := fixture.Rules(t, "page")
	plan := planText(fixture.PlanText(`{"sigil":"+","verdict":"missing","collection":"pgae","id":"00001","key":"dDAwMDAx","point_id":"` + fixture.PointID("page", "00001", 0).String() + `"}`))
	if changes, err := fixture.Read(t, plan.Source(f.Source, rules), rules[0], 10); err == nil {
		t.Errorf("%+v", changes)
	}
	if _, err := plan.Orphans(rules); err == nil {
		t.Error("its orphans are taken")
	}
}

// TestEditedLinesAreRefused: an edited id must not send another document.
func TestEditedLinesAreRefused(t *testing.T) {
	f := fixture.New()
	f.Insert("page", 3, nil)
	rules := fixture.Rules(t, "page")
	keys, err := f.Source.Find(t.Context(), syncd.Collection{Name: "page"}, []string{"00001"})
	if err != nil {
		t.Fatal(err)
	}
	first, second := fixture.PointID("page", "00001", 0), fixture.PointID("page", "00002", 0)
	for name, line := range map[string]planfile.Line{
		"another id":               {Sigil: "+", Collection: "page", ID: "00002", Key: []byte(keys[0]), PointID: first},
		"another id and its point": {Sigil: "+", Collection: "page", ID: "00002", Key: []byte(keys[0]), PointID: second},
		"an id that is nowhere":    {Sigil: "+", Collection: "page", ID: "x", Key: []byte(keys[0]), PointID: fixture.PointID("page", "x", 0)},
		"no id":                    {Sigil: "+", Collection: "page", Key: []byte(keys[0]), PointID: fixture.PointID("page", "", 0)},
		"another point":            {Sigil: "+", Collection: "page", ID: "00001", Key: []byte(keys[0]), PointID: second},
		"no key":                   {Sigil: "+", Collection: "page", ID: "00001", PointID: first},
	} {
		text, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		plan := planText(fixture.PlanText(string(text)))
		if changes, err := fixture.Read(t, plan.Source(f.Source, rules), rules[0], 10); err == nil || !strings.Contains(err.Error(), "make the plan anew") {
			t.Errorf("%s: %+v, %v", name, changes, err)
		}
	}
}

// TestAnotherDocumentAtAKeyIsRefused with a seed that has fields too, by which nobody could tell the documents apart.
func TestAnotherDocumentAtAKeyIsRefused(t *testing.T) {
	f := fixture.New()
	rules := fixture.Seeded(t, "{mongo_id}/{fields.a}", "page", "page")
	f.Source.Insert("page", syncdtest.MemoryDoc{ID: "one", Fields: map[string]any{"a": 1}}, syncdtest.MemoryDoc{ID: "two", Fields: map[string]any{"a": 2}})
	plan := planOf(t, f, rules[0], false)
	if changes, err := fixture.Read(t, plan.Source(f.Source, rules), rules[0], 10); err != nil || len(changes) != 2 {
		t.Fatal(changes, err)
	}
	other := refetch{f.Source, func(found []syncd.Fetched) []syncd.Fetched {
		found[0].Document, found[1].Document = found[1].Document, found[0].Document
		return found
	}}
	if changes, err := fixture.Read(t, plan.Source(other, rules), rules[0], 10); err == nil || !strings.Contains(err.Error(), `at its place in the source is document "`) {
		t.Errorf("%+v, %v", changes, err)
	}
}

// TestPlannedOrphansAreMadeAgain: an edited id must not delete another document, and a seed with fields deletes none.
func TestPlannedOrphansAreMadeAgain(t *testing.T) {
	line := func(id string, point uuid.UUID) planfile.Plan {
		return planText(fixture.PlanText(fmt.Sprintf("{\"sigil\":\"-\",\"verdict\":\"orphan\",\"collection\":\"page\",\"id\":%q,\"point_id\":%q}", id, point)))
	}
	gone := fixture.PointID("page", "gone", 0)
	if _, err := line("edited", gone).Orphans(fixture.Rules(t, "page")); err == nil {
		t.Error("an edited id")
	}
	if o, err := line("gone", gone).Orphans(fixture.Rules(t, "page")); err != nil || len(o) != 1 {
		t.Error(o, err)
	}
	if _, err := line("gone", gone).Orphans(fixture.Seeded(t, "{mongo_id}/{fields.a}", "page", "page")); err == nil {
		t.Error("a seed with fields")
	}
}

// TestPlannedDocumentsChange: a seed's field that changed, or is gone, is the document's affair and not the plan's.
func TestPlannedDocumentsChange(t *testing.T) {
	f := fixture.New()
	rules := fixture.Seeded(t, "{mongo_id}/{fields.a}", "page", "page")
	for _, id := range []string{"changed", "lost", "same"} {
		f.Source.Insert("page", syncdtest.MemoryDoc{ID: id, Fields: map[string]any{"a": 1}})
	}
	plan := planOf(t, f, rules[0], false)
	f.Source.Insert("page", syncdtest.MemoryDoc{ID: "changed", Fields: map[string]any{"a": 2}}, syncdtest.MemoryDoc{ID: "lost"})
	changes, err := fixture.Read(t, plan.Source(f.Source, rules), rules[0], 10)
	if err != nil || len(changes) != 3 {
		t.Fatal(changes, err)
	}
	var buf []byte
	for _, c := range changes {
		if _, err := rules[0].PointID(&buf, &c, 0); (err == nil) != (c.ID != "lost") {
			t.Errorf("%s: %v", c.ID, err)
		}
	}
}

// TestAPlanKnowsOnlyWhetherACollectionIsThere: not how much it holds, which is more than the plan.
func TestAPlanKnowsOnlyWhetherACollectionIsThere(t *testing.T) {
	f := fixture.Truth()
	rules := fixture.Versioned(t, "page")
	source := planText(fixture.PlanText()).Source(f.Source, rules)
	can := source.Abilities()
	if can.Count != nil || can.Find == nil || can.Collections == nil || can.Identity == nil {
		t.Errorf("%+v", can)
	}
	if _, ok, err := can.Estimate(t.Context(), rules[0].Collection); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	f.Source.Drop("page")
	if _, _, err := can.Estimate(t.Context(), rules[0].Collection); !errors.Is(err, syncd.ErrCollectionNotFound) {
		t.Error(err)
	}
	for b, err := range planOf(t, fixture.Truth(), rules[0], false).Source(fixture.Truth().Source, rules).Read(t.Context(), syncd.ReadRequest{Split: syncd.Split{Collection: rules[0].Collection}, BatchSize: 10}) {
		if err != nil || b.Offset != "" {
			t.Errorf("offset %q, %v", b.Offset, err)
		}
	}
}
