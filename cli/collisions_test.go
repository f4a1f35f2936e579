package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/syncd-io/syncd/syncdtest"
)

// collidingWorld has 7 and "7", whose texts are one, beside documents that have nothing to do with each other. The index holds all
// points.
func collidingWorld() *world {
	w := newWorld()
	for _, id := range []any{7, "7", 8, "9", "seven"} {
		w.source.Insert("page", syncdtest.MemoryDoc{ID: id, Fields: map[string]any{"tenant": "t"}})
	}
	for _, id := range []string{"7", "8", "9", "seven"} {
		w.checker.Put(point(id, "0"), map[string]any{"mongo_id": id, "content_type": "page", "chunk_index": 0})
	}
	return w
}

const unversioned = "mapping: {version: null}\n"

// TestDocumentsWithOnePointIDAreNeverEqual: the index can hold only one of 7 and "7", so no command may say that all is well.
func TestDocumentsWithOnePointIDAreNeverEqual(t *testing.T) {
	named := `page 7 and "7": point ` + point("7", "0").String()
	for name, c := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"run":     {[]string{"run"}, exitFailures, []string{named, "1 document has the point id of another document"}},
		"dry run": {[]string{"run", "--dry-run"}, exitFailures, []string{named}},
		"plan":    {[]string{"plan"}, exitFailures, []string{named}},
		"verify":  {[]string{"verify", "--min-age", "0"}, exitStopped, []string{named, "80.00%", "1 document has the point id of another document"}},
		"explain": {[]string{"explain", "page", "7"}, exitStopped, []string{"same point id", `"7"`}},
	} {
		code, printed := collidingWorld().runExtended(t, unversioned, c.args...)
		for _, want := range c.want {
			if !strings.Contains(printed, want) {
				t.Errorf("%s: %q is not in\n%s", name, want, printed)
			}
		}
		if code != c.code || strings.Contains(printed, "Equal") || strings.Contains(printed, "Complete:") {
			t.Errorf("%s: exit code %d\n%s", name, code, printed)
		}
	}
}

func TestAReportCountsDocumentsWithOnePointID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	if code, printed := collidingWorld().runExtended(t, unversioned, "run", "--report", path); code != exitFailures {
		t.Fatalf("exit code %d\n%s", code, printed)
	}
	text, err := os.ReadFile(path)
	if err != nil || strings.Count(string(text), `"collisions": 1,`) != 2 { // of the collection, and in all
		t.Errorf("%v\n%s", err, text)
	}
	var out bytes.Buffer
	program{args: []string{"report", path}, stdout: &out, stderr: &out}.run(t.Context())
	shown := out.String()
	if want := `2 documents of page have the point id ` + point("7", "0").String() + `, with the ids 7 and "7"`; !strings.Contains(shown, want) {
		t.Errorf("%q is not in\n%s", want, shown)
	}
}

// TestAnIndexOfDifferentPointsIsEqual: ids whose texts differ, and ids of one text that a field tells apart, are no collision.
func TestAnIndexOfDifferentPointsIsEqual(t *testing.T) {
	w := collidingWorld()
	w.source.Delete("page", "7")
	if code, printed := w.runExtended(t, unversioned, "verify", "--min-age", "0"); code != 0 || !strings.Contains(printed, "Equal") {
		t.Errorf("exit code %d\n%s", code, printed)
	}
	w = collidingWorld()
	w.source.Insert("page", syncdtest.MemoryDoc{ID: 7, Fields: map[string]any{"tenant": "u"}})
	seeded := "mapping: {version: null, seed: '{fields.tenant}/{mongo_id}/{chunk_index}'}\nrun: {allow_drift: true, wait_timeout: 0s}\n"
	if code, printed := w.runExtended(t, seeded, "run"); code != 0 {
		t.Errorf("exit code %d\n%s", code, printed)
	}
}

// TestVerifyOfNothingIsNotEqual: a wrong database has none of the collections, and an index without points of theirs, or with points
// of others alone, would equal that.
func TestVerifyOfNothingIsNotEqual(t *testing.T) {
	const twoCollections = "mapping: {version: null, owner: {payload: source_db}, collections: {page: page, note: note}}\n"
	others := func(w *world) {
		w.checker.Put(point("x", "0"), map[string]any{"content_type": "page", "mongo_id": "x", "chunk_index": 0, "source_db": "another"})
	}
	ours := func(w *world) { // the first look at the source says that there is no collection, the search says so again
		w.checker.Put(point("x", "0"), map[string]any{"content_type": "page", "mongo_id": "x", "chunk_index": 0, "source_db": "t1"})
	}
	for name, c := range map[string]struct {
		index  func(*world)
		create []string
		code   int
		want   string
		hint   string
	}{
		"an empty index":             {func(*world) {}, nil, exitStopped, "error: the source has none of the collections", "look at the collections' spelling"},
		"points of others":           {others, nil, exitStopped, "error: the source has none of the collections", "look at the collections' spelling"},
		"one of two, an empty index": {func(*world) {}, []string{"note"}, exitDone, "Equal", ""},
		"one of two, points of ours": {ours, []string{"note"}, exitFailed, "collection not found", "empty it rather than drop it"},
		"both are there and empty":   {func(*world) {}, []string{"note", "page"}, exitDone, "Equal", ""},
	} {
		w := newWorld()
		w.source = syncdtest.NewMemorySource()
		for _, collection := range c.create {
			w.source.Create(collection)
		}
		c.index(w)
		code, printed := w.runExtended(t, inT1+twoCollections, "verify", "--min-age", "0s")
		if code != c.code || !strings.Contains(printed, c.want) || !strings.Contains(printed, c.hint) || code != exitDone && strings.Contains(printed, "Equal") {
			t.Errorf("%s: exit code %d\n%s", name, code, printed)
		}
	}
}
