package cli

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/syncdtest"
)

// TestVerifySeesYoungDocuments: what a run leaves alone for now is not in the index all the same.
func TestVerifySeesYoungDocuments(t *testing.T) {
	w := newWorld()
	w.source.Insert("page", syncdtest.MemoryDoc{ID: "new", Fields: map[string]any{"updatedAt": time.Now().UTC().Format(time.RFC3339Nano)}})
	if code, out := w.run(t, "run: {min_age: 1h, attempts: {max: 0}}\n", "verify", "--min-age", "0s"); code != exitStopped {
		t.Errorf("%d\n%s", code, out)
	}
}

// TestVerifySeesOrphansWithoutTheirFirstChunk, at the second look as well.
func TestVerifySeesOrphansWithoutTheirFirstChunk(t *testing.T) {
	w := newWorld()
	w.checker.Put(point("gone", "2"), map[string]any{"content_type": "page", "mongo_id": "gone", "chunk_index": 2})
	if code, out := w.run(t, "run: {attempts: {max: 0}}\n", "verify", "--min-age", "1ms"); code != exitStopped {
		t.Errorf("%d\n%s", code, out)
	}
}

// TestVerifyCountsWhatBreaksAtTheSecondLook: a document that can't be read any more is no document that is there.
func TestVerifyCountsWhatBreaksAtTheSecondLook(t *testing.T) {
	w := newWorld()
	w.source.Insert("page", syncdtest.MemoryDoc{ID: "a", Fields: map[string]any{"x": "1"}})
	seen := false
	w.open = func(context.Context) (syncd.Checker, error) {
		return syncdtest.FaultyChecker(w.checker, syncdtest.CheckerFaults{Read: func(int) syncdtest.Fault {
			if !seen { // the first look has read the document
				seen = true
				w.source.Insert("page", syncdtest.MemoryDoc{ID: "a", Fields: map[string]any{"updatedAt": map[string]any{"x": func() {}}}})
			}
			return syncdtest.Fault{}
		}}), nil
	}
	code, out := w.run(t, "run: {attempts: {max: 0}}\n", "verify", "--min-age", "1ms")
	if code != exitStopped {
		t.Errorf("%d\n%s", code, out)
	}
}

// TestVerifySaysWhatItDidNotLookAt instead of claiming that there is nothing.
func TestVerifySaysWhatItDidNotLookAt(t *testing.T) {
	w := newWorld()
	if code, out := w.run(t, "run: {attempts: {max: 0}}\n", "verify"); code != exitDone || !strings.Contains(out, "and nothing else") {
		t.Errorf("%d\n%s", code, out)
	}
	w.checker.Put(uuid.New(), map[string]any{"content_type": "page"})
	if code, out := w.run(t, "run: {attempts: {max: 0}}\n", "verify"); code != exitDone || strings.Contains(out, "nothing else") {
		t.Errorf("%d\n%s", code, out)
	}
	w.open = func(context.Context) (syncd.Checker, error) {
		return readsOnly{w.checker}, nil
	}
	if code, out := w.run(t, "run: {attempts: {max: 0}}\n", "verify"); code != exitDone || strings.Contains(out, "nothing else") {
		t.Errorf("%d\n%s", code, out)
	}
}

// readsOnly is a checker that can't list its points.
type readsOnly struct{ *syncdtest.MemoryChecker }

func (c readsOnly) Abilities() syncd.CheckerAbilities { return syncd.CheckerAbilities{Read: c.Read} }
