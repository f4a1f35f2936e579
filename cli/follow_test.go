package cli

import (
	"strings"
	"testing"

	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

// TestASourceThatCantBeFollowed is refused, with what to do instead.
func TestASourceThatCantBeFollowed(t *testing.T) {
	w := newWorld()
	code, out := w.run(t, "run: {state_dir: "+t.TempDir()+"}\n", "run", "--follow")
	if code != exitInvalid || !strings.Contains(out, "error: the source memory can't be followed\n") ||
		!strings.Contains(out, "hint: leave run.follow out, and repeat the run: --every 15m") {
		t.Errorf("%d\n%s", code, out)
	}
}

// TestStateOfStreams: a stream is shown by its name beside the collections, and its changes are no documents.
func TestStateOfStreams(t *testing.T) {
	at := func(n int64) *store.Collection {
		return &store.Collection{Before: -1, Planned: true, Splits: []store.Split{{After: "0", Counts: tally.Counts{Scanned: n, Emitted: n - 1, Acked: n - 2, FailedWrite: 1}}}}
	}
	e := store.Entry{Name: "pages", Info: store.Info{Job: "pages", RunID: "r", Outcome: tally.Complete, Resumable: true, Follows: true, Scope: store.Scope{Collections: []string{"page"}}}, Collections: map[string]*store.Collection{
		"page": at(5), store.StreamOf("shop"): at(1000), store.StreamOf("hr"): at(20),
	}}
	e.Handled = store.Handled(e.Collections)
	var out strings.Builder
	printState(&out, e)
	if !strings.HasPrefix(out.String(), "Job pages: stopped following\n") {
		t.Error(out.String())
	}
	_, tables, _ := strings.Cut(squeezed(out.String()), "\n\n")
	if want := "COLLECTION DOCUMENTS HANDLED SENT FAILED SPLITS DONE\npage ? 5 3 1 0 of 1\n\nSTREAM CHANGES SENT FAILED\nhr 20 18 1\nshop 1000 998 1\n"; tables != want {
		t.Errorf("got\n%s\nwant\n%s", tables, want)
	}
	var asJSON strings.Builder
	s := shownEntries([]store.Entry{e})[0]
	if err := printJSON(&asJSON, s, ""); err != nil {
		t.Fatal(err)
	}
	if s.Handled != 5 || len(s.Collections) != 1 || len(s.Streams) != 2 || s.Streams["shop"] == nil || strings.Contains(asJSON.String()+out.String(), "\x00") || strings.Contains(asJSON.String(), `u0000`) {
		t.Error(asJSON.String())
	}
}
