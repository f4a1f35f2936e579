package cli

import (
	"fmt"
	"strings"
	"testing"

	"github.com/syncd-io/syncd/syncdtest"
)

// TestVersionsOfAnotherFormStopARun, with both of them shown, before anything is sent; a user who means it sends all the same.
func TestVersionsOfAnotherFormStopARun(t *testing.T) {
	w := newWorld()
	sink := syncdtest.NewMemorySink()
	w.sink = sink
	for i := range 30 {
		id := fmt.Sprintf("%02d", i)
		w.source.Insert("page", syncdtest.MemoryDoc{ID: id, Fields: map[string]any{"updatedAt": fmt.Sprintf("2024-05-06T07:08:%02d.000Z", i)}})
		w.checker.Put(point(id, "0"), map[string]any{"content_type": "page", "mongo_id": id, "chunk_index": 0, "updatedAt": i})
	}
	state := fmt.Sprintf("run: {state_dir: %q, wait_timeout: 0s}\n", t.TempDir())
	code, printed := w.run(t, state, "run")
	for _, want := range []string{
		"the versions have drifted: for document 00 of", `a date and time, "2024-05-06T07:08:00.000Z"`, `under updatedAt a number, "0"`, "--allow-drift", "NOT complete",
	} {
		if !strings.Contains(printed, want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	if strings.Contains(printed, "run it again") {
		t.Errorf("it advises to run it again as it is\n%s", printed)
	}
	if code != 4 || len(sink.Events()) != 0 {
		t.Errorf("exit code %d, %d events\n%s", code, len(sink.Events()), printed)
	}
	if code, printed := w.run(t, state, "run", "--allow-drift"); code != 0 || len(sink.Events()) != 30 {
		t.Errorf("with leave to drift: exit code %d, %d events\n%s", code, len(sink.Events()), printed)
	}
}
