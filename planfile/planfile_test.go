package planfile_test

import (
	"context"
	"encoding/base64"
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
		if h, err := plan.Header(); err != nil || h != (planfile.Header{Plan: 1, RunID: "r", Fingerprint: "f", Sample: 0.5}) {
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
	for _, text := range []string{"", "{}", "not json", `{"syncd_plan":2}`, `{"sigil":"+"}`} {
		if _, err := planText(text).Header(); err == nil {
			t.Errorf("%q is taken for a plan", text)
		}
	}
}

// TestAPlanThatIsCutOffIsAnError: what is behind the cut would not be sent, and nobody would know.
func TestAPlanThatIsCutOffIsAnError(t *testing.T) {
	rules := fixture.Rules(t, "page")
	plan := planText("{\"syncd_plan\":1}\n{\"sigil\":\"=\",\"collection\":\"page\",\"id\":\"a\"}\n{\"sigil\":\"+\",\"coll")
	if _, err := fixture.Read(t, plan.Source(fixture.New().Source, rules), rules[0], 10); err == nil {
		t.Error("its documents are taken")
	}
	if _, err := plan.Orphans(rules); err == nil {
		t.Error("its orphans are taken")
	}
}

// TestAPlanOfUnknownCollectionsIsRefused: its lines would not be sent, and nobody would know.
func TestAPlanOfUnknownCollectionsIsRefused(t *testing.T) {
	f := fixture.New()
	f.Insert("page", 3, nil)
	rules := fixture.Rules(t, "page")
	plan := planText(`{"syncd_plan":1}
{"sigil":"+","verdict":"missing","collection":"pgae","id":"00001","key":"dDAwMDAx","point_id":"` + fixture.PointID("page", "00001", 0).String() + `"}
`)
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
	for name, line := range map[string]planfile.Line{
		"another id": {Sigil: "+", Collection: "page", ID: "00002", Key: []byte(keys[0]), PointID: fixture.PointID("page", "00001", 0)},
		"no key":     {Sigil: "+", Collection: "page", ID: "00001", PointID: fixture.PointID("page", "00001", 0)},
	} {
		plan := planText(fmt.Sprintf("{\"syncd_plan\":1}\n{\"sigil\":%q,\"collection\":%q,\"id\":%q,\"key\":\"%s\",\"point_id\":%q}\n",
			line.Sigil, line.Collection, line.ID, base64.StdEncoding.EncodeToString(line.Key), line.PointID))
		if changes, err := fixture.Read(t, plan.Source(f.Source, rules), rules[0], 10); err == nil {
			t.Errorf("%s: %+v", name, changes)
		}
	}
}

// TestPlannedOrphansAreMadeAgain: an edited id must not delete another document, and a seed with fields deletes none.
func TestPlannedOrphansAreMadeAgain(t *testing.T) {
	line := func(id string, point uuid.UUID) planfile.Plan {
		return planText(fmt.Sprintf("{\"syncd_plan\":1}\n{\"sigil\":\"-\",\"verdict\":\"orphan\",\"collection\":\"page\",\"id\":%q,\"point_id\":%q}\n", id, point))
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
	source := planText(`{"syncd_plan":1}`).Source(f.Source, rules)
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
