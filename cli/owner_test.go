package cli

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd/syncdtest"
)

// shared is an index that two databases share: of the first the source has the document "one", of the other the index holds
// "two". Both are of content type page and were made with the default seed.
func shared(owner func(database string) map[string]any) (w *world, sink *syncdtest.MemorySink) {
	w = newWorld()
	sink = syncdtest.NewMemorySink()
	w.sink = sink
	put := func(id, database string) {
		payload := map[string]any{"content_type": "page", "mongo_id": id, "chunk_index": 0}
		for k, v := range owner(database) {
			payload[k] = v
		}
		w.checker.Put(point(id, "0"), payload)
	}
	w.source.Insert("page", syncdtest.MemoryDoc{ID: "one"})
	put("one", "t1")
	put("two", "t2")
	return w, sink
}

const inT1 = "source: {memory: {database: t1}}\n"

// TestPruneLeavesAnotherDatabaseAlone: that an id can be made again does not say whose the point is.
func TestPruneLeavesAnotherDatabaseAlone(t *testing.T) {
	nameless := func(string) map[string]any { return nil }
	names := func(database string) map[string]any { return map[string]any{"source_db": database} }
	for name, c := range map[string]struct {
		owner   func(string) map[string]any
		mapping string
		gone    bool // a document of t1 is gone, too
		code    int
		says    []string
		deleted string
	}{
		"nothing says whose it is": {
			owner: nameless, code: exitStopped,
			says: []string{"it is not known whose the points of content type", `add to mapping: "owner: {payload: source_db}"`, `"owner: {exclusive: true}"`},
		},
		"a seed without the database": {
			owner: nameless, mapping: "mapping: {seed: \"{mongo_id}/{content_type}/{chunk_index}\"}\n", code: exitStopped,
		},
		"a payload key": {
			owner: names, mapping: "mapping: {owner: {payload: source_db}}\n", says: []string{"1 point is of others"},
		},
		"a payload key, and one is gone": {
			owner: names, mapping: "mapping: {owner: {payload: source_db}}\n", gone: true, deleted: "three", says: []string{"1 delete sent", "1 point is of others"},
		},
		"a payload key that nobody wrote": {
			owner: nameless, mapping: "mapping: {owner: {payload: source_db}}\n", gone: true, says: []string{"3 points are not syncd's to judge"},
		},
		"a seed that names the database": { // nobody's points are in it yet
			owner: nameless, mapping: "mapping: {seed: \"{database}/{mongo_id}/{content_type}/{chunk_index}\"}\n",
			says: []string{"2 points are not syncd's to judge"},
		},
		"exclusive": { // which is not true here; the user has said so
			owner: nameless, mapping: "mapping: {owner: {exclusive: true}}\n", deleted: "two", says: []string{"1 delete sent"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, sink := shared(c.owner)
			if c.gone {
				w.checker.Put(point("three", "0"), merge(map[string]any{"content_type": "page", "mongo_id": "three", "chunk_index": 0}, c.owner("t1")))
			}
			code, out := w.runExtended(t, inT1+"run: {wait_timeout: 0s}\n"+c.mapping, "run", "--prune", "--allow-drift")
			if code != c.code {
				t.Errorf("exit code %d\n%s", code, out)
			}
			for _, want := range c.says {
				if !strings.Contains(out, want) {
					t.Errorf("it does not say %q:\n%s", want, out)
				}
			}
			deleted := ""
			for _, e := range sink.Events() {
				if strings.Contains(string(e.Value), `"delete"`) {
					deleted += e.ID
				}
			}
			if deleted != c.deleted {
				t.Errorf("deleted %q\n%s", deleted, out)
			}
		})
	}
}

func merge(a, b map[string]any) map[string]any {
	for k, v := range b {
		a[k] = v
	}
	return a
}

// TestVerifyCountsTheOthersBesideDifferences, not only where all is equal.
func TestVerifyCountsTheOthersBesideDifferences(t *testing.T) {
	w, _ := shared(func(database string) map[string]any { return map[string]any{"source_db": database} })
	w.source.Insert("page", syncdtest.MemoryDoc{ID: "new"})
	code, out := w.runExtended(t, inT1+"mapping: {version: null, owner: {payload: source_db}}\n", "verify", "--min-age", "0s")
	if code != exitStopped || !strings.Contains(out, "\nOf what else the index holds, 1 point is of others\n") {
		t.Errorf("%d\n%s", code, out)
	}
}

// TestOrphansOfUnknownOwnersAreSaidToBe, in everything that counts them.
func TestOrphansOfUnknownOwnersAreSaidToBe(t *testing.T) {
	for command, c := range map[string]struct {
		code int
		says string
	}{
		"plan":                {exitDone, "1 of 2 indexed documents; not known whose, see mapping.owner"},
		"verify --min-age 0s": {exitStopped, "It is not known whose the orphans are"},
		"run":                 {exitDone, "1 of 2 indexed documents; not known whose, see mapping.owner"},
		"explain page two":    {exitStopped, "it is not known whose the point is"},
	} {
		w, _ := shared(func(string) map[string]any { return nil })
		const more = "run: {orphans: report, wait_timeout: 0s}\n"
		code, out := w.runExtended(t, inT1+more, strings.Fields(command)...)
		if code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%s: %d\n%s", command, code, out)
		}
	}
	for command, c := range map[string]struct {
		code int
		says string
	}{
		"plan":                {exitDone, "0 of 1 indexed document; 1 point is of others\n"},
		"verify --min-age 0s": {exitDone, "Equal: the index holds every document, in its version; 1 point is of others\n"},
		"explain page two":    {exitStopped, `its payload key "source_db" holds "t2"`},
	} {
		w, _ := shared(func(database string) map[string]any { return map[string]any{"source_db": database} })
		code, out := w.runExtended(t, inT1+"mapping: {owner: {payload: source_db}}\n", strings.Fields(command)...)
		if code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%s with an owner: %d\n%s", command, code, out)
		}
	}
}

// TestACollectionThatWasReplacedIsNotPruned: 400 documents became one, the index is this job's alone, and yet it is hardly meant.
func TestACollectionThatWasReplacedIsNotPruned(t *testing.T) {
	for _, documents := range []int{6, 20, 400} {
		w := newWorld()
		sink := syncdtest.NewMemorySink()
		w.sink = sink
		w.source.Insert("page", syncdtest.MemoryDoc{ID: "the one"})
		for i := range documents {
			id := fmt.Sprint(i)
			w.checker.Put(point(id, "0"), map[string]any{"content_type": "page", "mongo_id": id, "chunk_index": 0})
		}
		const more = inT1 + "run: {wait_timeout: 0s}\nmapping: {owner: {exclusive: true}}\n"
		args := []string{"run", "--prune", "--allow-drift"}
		code, out := w.runExtended(t, more, args...)
		if code != exitStopped || len(sink.Events()) != 1 || !strings.Contains(out, fmt.Sprintf("%d of %d documents of content type", documents, documents)) {
			t.Errorf("of %d: %d, %d events\n%s", documents, code, len(sink.Events()), out)
		}
		if code, out := w.runExtended(t, more+fmt.Sprintf("limits: {max_deletes: %d}\n", documents), args...); code != exitDone || len(sink.Events()) != 2+documents {
			t.Errorf("of %d, as the limit says: %d, %d events\n%s", documents, code, len(sink.Events()), out)
		}
	}
}

// TestTwoJobsThatShareAContentType each hold half of its documents.
func TestTwoJobsThatShareAContentType(t *testing.T) {
	for owner, c := range map[string]struct{ code, deletes int }{
		"{exclusive: true}": {exitStopped, 0}, // it is not, and the share says so
		"{payload: from, value: \"{database}.{collection}\"}": {exitDone, 3},
	} {
		w := newWorld()
		sink := syncdtest.NewMemorySink()
		w.sink = sink
		put := func(id, from string) {
			w.checker.Put(point(id, "0"), map[string]any{"content_type": "page", "mongo_id": id, "chunk_index": 0, "from": from})
		}
		for i := range 50 {
			w.source.Insert("page", syncdtest.MemoryDoc{ID: fmt.Sprint(i)})
			put(fmt.Sprint(i), "t1.page")
			put(uuid.NewString(), "t1.draft")
		}
		for i := range 3 {
			put(fmt.Sprint("gone", i), "t1.page")
		}
		code, out := w.runExtended(t, inT1+"run: {wait_timeout: 0s}\nmapping: {owner: "+owner+"}\n", "run", "--prune")
		deletes := 0
		for _, e := range sink.Events() {
			if strings.Contains(string(e.Value), `"delete"`) {
				deletes++
			}
		}
		if code != c.code || deletes != c.deletes {
			t.Errorf("%s: %d, %d deletes\n%s", owner, code, deletes, out)
		}
	}
}
