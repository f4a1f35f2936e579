package verdict_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/verdict"
)

func ask(t *testing.T, checker syncd.Checker, rule *mapping.Rule, changes []syncd.Change) map[string]string {
	t.Helper()
	if err := verdict.New(checker).Ask(t.Context(), rule, changes); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, c := range changes {
		out[c.ID] = c.Verdict.String()
	}
	return out
}

func TestVerdicts(t *testing.T) {
	f := fixture.Truth()
	for name, c := range map[string]struct {
		rules []*mapping.Rule
		want  map[string]string
	}{
		"versions and chunks": {fixture.Versioned(t, "page"), map[string]string{
			"present": "present", "whole": "present", "timeless": "present", "stale": "stale", "fallback": "stale", "partial": "partial", "missing": "missing",
		}},
		"presence": {fixture.Rules(t, "page"), map[string]string{
			"present": "present", "whole": "present", "timeless": "present", "stale": "present", "fallback": "present", "partial": "present", "missing": "missing",
		}},
	} {
		changes, err := fixture.Read(t, f.Source, c.rules[0], 100)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, ask(t, f.Checker, c.rules[0], changes)); diff != "" {
			t.Errorf("%s: verdicts (-want +got)\n%s", name, diff)
		}
	}
}

func TestNewerPolicyLeavesALaterIndexAlone(t *testing.T) {
	f := fixture.New()
	f.Source.Insert("page", syncdtest.MemoryDoc{ID: "a", Fields: map[string]any{"updatedAt": fixture.Monday}})
	f.Index("page", "a", fixture.Tuesday, 1)
	for policy, want := range map[mapping.Policy]string{mapping.Differs: "stale", mapping.Newer: "present"} {
		c := mapping.Defaults()
		c.Version = &mapping.Version{Field: []string{"updatedAt"}, Payload: "updatedAt", Policy: policy}
		c.Collections = mapping.Collections{{Name: "page", ContentType: "page"}}
		rule := fixture.Compile(t, c)[0]
		changes, err := fixture.Read(t, f.Source, rule, 10)
		if err != nil {
			t.Fatal(err)
		}
		if got := ask(t, f.Checker, rule, changes); got["a"] != want {
			t.Errorf("%s: %v", policy, got)
		}
	}
}

// TestAnAskerTellsWhatItFound, of the last question only.
func TestAnAskerTellsWhatItFound(t *testing.T) {
	f := fixture.Truth()
	versioned, plain := fixture.Versioned(t, "page")[0], fixture.Rules(t, "page")[0]
	changes := func(rule *mapping.Rule, ids ...string) (out []syncd.Change) {
		for _, id := range ids {
			out = append(out, syncd.Change{ID: id, PointID: fixture.PointID("page", id, 0), Fields: make([]syncd.Value, len(rule.Fields()))})
		}
		return out
	}
	a := verdict.New(f.Checker)
	if err := a.Ask(t.Context(), versioned, changes(versioned, "whole", "missing", "partial")); err != nil {
		t.Fatal(err)
	}
	if found := a.Found(0); !found.Present || found.Payload[0].Text != "2024-05-06T07:08:09.010000+00:00" || found.Payload[1].Text != "5" {
		t.Errorf("whole: %+v", found)
	}
	if found := a.Found(1); found.Present {
		t.Errorf("missing: %+v", found)
	}
	for i, want := range [][2]int{{4, 4}, {0, 0}, {3, 2}} {
		if all, present := a.Chunks(i); all != want[0] || present != want[1] {
			t.Errorf("document %d: %d of %d chunks", i, present, all)
		}
	}
	first := changes(versioned, "partial", "missing")
	if err := a.AskFirst(t.Context(), versioned, first); err != nil || first[0].Verdict != syncd.Present || first[1].Verdict != syncd.Missing {
		t.Errorf("chunk 0 alone: %v, %v", first, err)
	}
	if all, _ := a.Chunks(0); all != 0 {
		t.Errorf("%d chunks", all)
	}
	if err := a.Ask(t.Context(), plain, changes(plain, "missing", "present")); err != nil {
		t.Fatal(err)
	}
	if a.Found(0).Present || !a.Found(1).Present || a.Found(1).Payload != nil {
		t.Errorf("%+v %+v", a.Found(0), a.Found(1))
	}
	if all, _ := a.Chunks(1); all != 0 {
		t.Errorf("%d chunks", all)
	}
}

// TestChunksAreAskedForInPortions: what an index says about chunks must not become a question of any size.
func TestChunksAreAskedForInPortions(t *testing.T) {
	f := fixture.New()
	rule := fixture.Versioned(t, "page")[0]
	const chunks = 3000
	var changes []syncd.Change
	for i := range 5 {
		id := fmt.Sprint(i)
		without := []int(nil)
		if i == 3 {
			without = []int{chunks - 2} // the last one is asked about first
		}
		f.Index("page", id, "", chunks, without...)
		changes = append(changes, syncd.Change{ID: id, PointID: fixture.PointID("page", id, 0), Fields: make([]syncd.Value, len(rule.Fields()))})
	}
	got := ask(t, f.Checker, rule, changes)
	if diff := cmp.Diff(map[string]string{"0": "present", "1": "present", "2": "present", "3": "partial", "4": "present"}, got); diff != "" {
		t.Error(diff)
	}
	asked := 0
	for _, n := range f.Checker.Calls() {
		asked += n
		if n > 5000 {
			t.Errorf("%d chunks at once", n)
		}
	}
	if asked != 5*(chunks-1) {
		t.Errorf("asked about %d chunks", asked)
	}
}

// TestUnknownIsNeverMissing: a checker that leaves a verdict out has said nothing.
func TestUnknownIsNeverMissing(t *testing.T) {
	f := fixture.Truth()
	forgetful := fixture.CheckerFunc{Checker: f.Checker, Func: func(ctx context.Context, points []syncd.Point, verdicts []syncd.Verdict) error {
		err := f.Checker.Check(ctx, points, verdicts)
		verdicts[len(verdicts)-1] = syncd.Unknown
		return err
	}}
	changes := []syncd.Change{
		{ID: "present", PointID: fixture.PointID("page", "present", 0)},
		{ID: "missing", PointID: fixture.PointID("page", "missing", 0), Verdict: syncd.Missing}, // of an earlier question
	}
	if got := ask(t, forgetful, fixture.Rules(t, "page")[0], changes); got["present"] != "present" || got["missing"] != "unknown" {
		t.Errorf("points: %v", got)
	}
	whole := []syncd.Change{{ID: "whole", PointID: fixture.PointID("page", "whole", 0)}}
	if got := ask(t, forgetful, fixture.Versioned(t, "page")[0], whole); got["whole"] != "unknown" {
		t.Errorf("chunks: %v", got)
	}
}

func TestAnIndexThatCannotBeAskedIsAnError(t *testing.T) {
	boom := errors.New("boom")
	first := syncdtest.Nth(1, syncdtest.Fault{Err: boom})
	f := fixture.Truth()
	for name, c := range map[string]struct {
		faults syncdtest.CheckerFaults
		rules  []*mapping.Rule
	}{
		"presence": {syncdtest.CheckerFaults{Check: first}, fixture.Rules(t, "page")},
		"payloads": {syncdtest.CheckerFaults{Read: first}, fixture.Versioned(t, "page")},
		"chunks":   {syncdtest.CheckerFaults{Check: first}, fixture.Versioned(t, "page")},
	} {
		changes, err := fixture.Read(t, f.Source, c.rules[0], 100)
		if err != nil {
			t.Fatal(err)
		}
		if err := verdict.New(syncdtest.FaultyChecker(f.Checker, c.faults)).Ask(t.Context(), c.rules[0], changes); !errors.Is(err, boom) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPayloadsAreNeeded(t *testing.T) {
	blind := fixture.CheckerFunc{Checker: syncdtest.NewMemoryChecker(), Can: &syncd.CheckerAbilities{}}
	plain, versioned := fixture.Rules(t, "page"), fixture.Versioned(t, "page")
	for name, c := range map[string]struct {
		rules   []*mapping.Rule
		checker syncd.Checker
		want    error
	}{
		"plain rules": {plain, blind, nil}, "versions": {versioned, blind, verdict.ErrNoPayload},
		"a checker that can": {versioned, syncdtest.NewMemoryChecker(), nil}, "no checker": {versioned, nil, nil},
	} {
		if err := verdict.CheckAbilities(c.rules, c.checker); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := verdict.New(blind).Ask(t.Context(), versioned[0], nil); !errors.Is(err, verdict.ErrNoPayload) {
		t.Error(err)
	}
}

// counted is an index of one document for each number of chunks, by which it is called, of which chunks 0 to held are there.
func counted(held map[string]int, counts map[string]any) (*fixture.Sides, []syncd.Change) {
	f := fixture.New()
	var changes []syncd.Change
	for id, count := range counts {
		f.Index("page", id, "", held[id]+1)
		f.Checker.Put(fixture.PointID("page", id, 0), map[string]any{"content_type": "page", "mongo_id": id, "chunk_index": 0, "chunk_count": count})
		changes = append(changes, syncd.Change{ID: id, PointID: fixture.PointID("page", id, 0), Fields: make([]syncd.Value, 2)})
	}
	return f, changes
}

// TestChunkCountsThatCannotBeRead are not taken for complete, and are told of.
func TestChunkCountsThatCannotBeRead(t *testing.T) {
	f, changes := counted(map[string]int{"whole": 2, "fraction": 1, "text": 2}, map[string]any{
		"whole": 3, "text": "3", "negative": -1, "fraction": 1.5, "word": "many", "switch": true, "list": []any{1, 2}, "object": map[string]any{"n": 1}, "huge": 1e300, "none": nil,
	})
	rule := fixture.Versioned(t, "page")[0]
	a := verdict.New(f.Checker)
	if err := a.Ask(t.Context(), rule, changes); err != nil {
		t.Fatal(err)
	}
	readable := map[string]bool{"whole": true, "text": true, "none": true}
	for i, c := range changes {
		if unread := slices.Contains(a.Unread(), i); unread == readable[c.ID] || (c.Verdict == syncd.Present) != readable[c.ID] || unread && c.Verdict != syncd.Partial {
			t.Errorf("%s: %v, unread: %t", c.ID, c.Verdict, unread)
		}
	}
	if err := a.AskFirst(t.Context(), rule, changes); err != nil || slices.ContainsFunc(changes, func(c syncd.Change) bool { return c.Verdict != syncd.Present }) {
		t.Errorf("chunk 0 alone: %v, %v", err, changes)
	}
	if err := a.Ask(t.Context(), fixture.Rules(t, "page")[0], changes); err != nil || len(a.Unread()) > 0 {
		t.Errorf("where chunks don't matter: %v, %d", err, len(a.Unread()))
	}
}

// TestAChunkThatIsLeftOver makes a document partial, where the job writes the index itself: a run that was killed left it.
func TestAChunkThatIsLeftOver(t *testing.T) {
	held := map[string]int{"whole": 2, "one": 0, "left": 3, "left of one": 1, "lacking and left": 3, "uncounted": 4}
	counts := map[string]any{"whole": 3, "one": 1, "left": 3, "left of one": 1, "lacking and left": 3, "uncounted": nil}
	f, changes := counted(held, counts)
	f.Checker.Remove(fixture.PointID("page", "lacking and left", 1))
	changes = append(changes, syncd.Change{ID: "missing", PointID: fixture.PointID("page", "missing", 0), Fields: make([]syncd.Value, 2)})
	for _, c := range []struct {
		rule *mapping.Rule
		want map[string]string
		left []string
	}{
		{fixture.Indexed(t, "page")[0], map[string]string{
			"whole": "present", "one": "present", "left": "partial", "left of one": "partial", "lacking and left": "partial", "uncounted": "present", "missing": "missing",
		}, []string{"lacking and left", "left", "left of one"}},
		{fixture.Versioned(t, "page")[0], map[string]string{ // another indexer may leave what it likes
			"whole": "present", "one": "present", "left": "present", "left of one": "present", "lacking and left": "partial", "uncounted": "present", "missing": "missing",
		}, nil},
	} {
		a := verdict.New(f.Checker)
		if err := a.Ask(t.Context(), c.rule, changes); err != nil {
			t.Fatal(err)
		}
		got, left := map[string]string{}, []string(nil)
		for i := range changes {
			got[changes[i].ID] = changes[i].Verdict.String()
			if a.LeftOver(i) {
				left = append(left, changes[i].ID)
			}
			if all, present := a.Chunks(i); present > all {
				t.Errorf("%s: %d of %d chunks", changes[i].ID, present, all)
			}
		}
		slices.Sort(left)
		if diff := cmp.Diff(c.want, got); diff != "" || !slices.Equal(left, c.left) {
			t.Errorf("verdicts (-want +got)\n%s\nleft over: %v", diff, left)
		}
		if err := a.AskFirst(t.Context(), c.rule, changes); err != nil || slices.ContainsFunc(changes, func(c syncd.Change) bool { return c.Verdict == syncd.Partial }) {
			t.Errorf("chunk 0 alone: %v, %v", err, changes)
		}
	}
}

// TestAWrongNumberOfChunksCostsOneQuestion, not one for each chunk that never was. A right one is believed.
func TestAWrongNumberOfChunksCostsOneQuestion(t *testing.T) {
	const documents = 200
	held, counts := map[string]int{"right": 39, "hole": 39, "last": 16, "few": 15}, map[string]any{"right": 40, "hole": 40, "last": 18, "few": 16}
	for i := range documents {
		id := fmt.Sprint(i)
		held[id], counts[id] = 2, 9_000+i
	}
	f, changes := counted(held, counts)
	f.Checker.Remove(fixture.PointID("page", "hole", 7))
	a := verdict.New(f.Checker)
	if err := a.Ask(t.Context(), fixture.Versioned(t, "page")[0], changes); err != nil {
		t.Fatal(err)
	}
	want := map[string]syncd.Verdict{"right": syncd.Present, "hole": syncd.Partial, "last": syncd.Partial, "few": syncd.Present}
	for i, c := range changes {
		w, named := want[c.ID]
		if !named {
			w = syncd.Partial
		}
		if all, present := a.Chunks(i); c.Verdict != w || present > all {
			t.Errorf("%s: %v, %d of %d chunks", c.ID, c.Verdict, present, all)
		}
	}
	asked := 0
	for _, n := range f.Checker.Calls() {
		asked += n
	}
	if most := documents + 39 + 39 + 1 + 15; asked != most {
		t.Errorf("asked about %d chunks, want %d", asked, most)
	}
	// Of one document all are told of.
	i := slices.IndexFunc(changes, func(c syncd.Change) bool { return c.ID == "last" })
	one := changes[i : i+1]
	if err := a.Ask(t.Context(), fixture.Versioned(t, "page")[0], one); err != nil {
		t.Fatal(err)
	}
	if all, present := a.Chunks(0); all != 17 || present != 16 || one[0].Verdict != syncd.Partial {
		t.Errorf("%d of %d, %v", present, all, one[0].Verdict)
	}
}
