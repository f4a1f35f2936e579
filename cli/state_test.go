package cli

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

// exactlyOnce is the configuration of a sink that keeps the state of its job.
type exactlyOnce struct{}

func (exactlyOnce) Transactional() bool { return true }

// TestStateInTheSink: the state of a job that delivers exactly once is shown from the sink, and only a run forgets it.
func TestStateInTheSink(t *testing.T) {
	w := newWorld()
	for _, id := range []string{"a", "b", "c"} {
		w.source.Insert("page", syncdtest.MemoryDoc{ID: id})
	}
	sink := syncdtest.NewMemoryCommitter()
	opened := 0
	w.sinkPlugin = syncd.NewSink("memory", "Keeps.", exactlyOnce{}, func(context.Context, exactlyOnce, syncd.Env) (syncd.Sink, error) {
		opened++
		sink = sink.Reopen()
		return sink, nil
	})
	more := "name: pages\nrun: {attempts: {max: 0}, batch_size: 1, workers: 1, wait_timeout: 0s, state_dir: " + t.TempDir() + "}\n"
	if code, out := w.run(t, more, "state", "list"); code != exitDone || !strings.HasPrefix(out, "There are no jobs in ") {
		t.Errorf("before the first run: %d\n%s", code, out)
	}
	sink.Before = func(_ context.Context, changes []syncd.Change, _ []syncd.Mark) error {
		if len(changes) > 0 && changes[0].ID == "b" {
			return errors.New("cut off")
		}
		return nil
	}
	if code, out := w.run(t, more, "run"); code != exitFailed {
		t.Fatalf("%d\n%s", code, out)
	}
	for _, c := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"state", "list"}, exitDone, []string{"JOB ", "pages  ", " incremental  page  ", "  1  "}},
		{[]string{"state", "list", "--json"}, exitDone, []string{`"job":"pages"`, `"handled":1`}},
		{[]string{"state", "show"}, exitDone, []string{"Job pages: ", "  source         memory\n", "  index          memory", "\npage "}},
		{[]string{"state", "clear", "pages"}, exitFailed, []string{"the state of pages is in the transactions of the sink", "hint: syncd run --fresh starts from the beginning"}},
		{[]string{"state", "clear", "--all"}, exitFailed, []string{"hint: syncd run --fresh starts from the beginning"}},
		{[]string{"state", "clear", "others"}, exitFailed, []string{"there is no job others in "}},
	} {
		code, out := w.run(t, more, c.args...)
		if code != c.code {
			t.Errorf("%v: %d", c.args, code)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%v: %q is not in\n%s", c.args, want, out)
			}
		}
	}
	sink.Before = nil
	if code, out := w.run(t, more, "run"); code != exitDone || !strings.Contains(out, "Resuming the run that was interrupted on ") || !strings.Contains(out, ": 1 document was handled by then") {
		t.Errorf("looking has done something: %d\n%s", code, out)
	}
	if code, out := w.run(t, more, "state", "list"); code != exitDone || !strings.Contains(out, "pages  complete ") {
		t.Errorf("%d\n%s", code, out)
	}
	if n := len(sink.Committed()); n != 3 {
		t.Errorf("%d events", n)
	}
	if opened != 2+1+3+1 {
		t.Errorf("the sink was opened %d times", opened)
	}
}

func TestPrintState(t *testing.T) {
	e := store.Entry{Name: "pages", Info: store.Info{
		Job: "pages", RunID: "r", Outcome: tally.Interrupted, Config: "c.yaml",
		Scope: store.Scope{Source: "mongo a", Sink: "kafka b", Mode: "full", Collections: []string{"page", "epic"}},
	}, Collections: map[string]*store.Collection{
		"page": {Before: 10, Planned: true, Splits: []store.Split{
			{Done: true, Counts: tally.Counts{Scanned: 4, Emitted: 3, Acked: 3}}, {Index: 1, Counts: tally.Counts{Scanned: 1, FailedRead: 1}},
		}},
		"epic":                  {Before: -1},
		store.DeletesOf("page"): {Before: 2, Planned: true, Splits: []store.Split{{Counts: tally.Counts{Scanned: 1, Emitted: 1, Acked: 1}}}},
	}}
	var out strings.Builder
	printState(&out, e)
	want := `Job pages: interrupted
  run            r
  configuration  c.yaml
  source         mongo a
  index          not asked
  sink           kafka b
  mode           full
  collections    page, epic
  started        -
  updated        -
  resumed        0 times

COLLECTION     DOCUMENTS  HANDLED  SENT  FAILED     SPLITS DONE
epic                   ?        0     0       0  0 of 0 so far
page                  10        5     3       1          1 of 2
page, deletes          2        1     1       0          0 of 1
`
	if got := squeezed(out.String()); got != squeezed(want) {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	printState(&out, store.Entry{Name: "pages", Info: store.Info{Outcome: tally.Running, PID: 7, Host: "h"}})
	if out.String() != "Job pages: running, process 7 on h\n" {
		t.Error(out.String())
	}
	out.Reset()
	printState(&out, store.Entry{Name: "pages", Problem: errors.New("broken")})
	if out.String() != "pages: broken\n" {
		t.Error(out.String())
	}
	if s := shownEntries([]store.Entry{e})[0]; s.Collections["page, deletes"] == nil || len(s.Collections) != 3 {
		t.Errorf("as JSON: %v", s.Collections)
	}
}

// squeezed leaves the width of columns out.
func squeezed(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	return b.String()
}

func TestCollectionsAreShortened(t *testing.T) {
	for want, names := range map[string][]string{
		"": nil, "a": {"a"}, "a, b, c": {"a", "b", "c"}, "a, b, c and 1 more": {"a", "b", "c", "d"},
	} {
		if got := shortened(names); got != want {
			t.Errorf("%v: %q", names, got)
		}
	}
}
