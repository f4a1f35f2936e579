package runlog_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/tally"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func run(job, id string) runlog.Run {
	next, began := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC), time.Date(2026, 2, 3, 4, 0, 0, 0, time.UTC)
	return runlog.Run{
		Job: job, RunID: id, Started: began, Ended: began.Add(time.Minute), Outcome: tally.Failed, Error: "a\nb", Hint: "c", Mode: "full", Collections: []string{"page"},
		Planned: true, Resumed: true, Follows: true, Total: tally.Counts{Scanned: 3, Acked: 2}, Deleted: tally.Counts{Acked: 1}, Orphans: 4, Followed: &tally.Counts{Scanned: 5},
		Config: "x", Next: &next, Freshness: &began,
	}
}

func add(t *testing.T, dir string, runs ...runlog.Run) {
	t.Helper()
	for _, r := range runs {
		if err := runlog.Append(dir, r); err != nil {
			t.Fatal(err)
		}
	}
}

func ids(t *testing.T, dir, job string, most int) (ids []string) {
	t.Helper()
	runs, err := runlog.Read(dir, job, most)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range runs {
		ids = append(ids, r.RunID)
	}
	return ids
}

// file is the one file of the folder with that ending.
func file(t *testing.T, dir, suffix string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	return found[0]
}

func TestRunsAreReadBackTheNewestFirst(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there")
	if got := ids(t, dir, "a", 5); got != nil {
		t.Error(got)
	}
	if jobs, err := runlog.Jobs(dir); err != nil || jobs != nil {
		t.Error(jobs, err)
	}
	before := runlog.Stamp(dir, "a")
	add(t, dir, run("a", "1"), run("a", "2"), run("b", "3"), run("a", "4"))
	if after := runlog.Stamp(dir, "a"); before != "" || after == "" {
		t.Errorf("%q, then %q", before, after)
	}
	if got := ids(t, dir, "a", 2); !cmp.Equal(got, []string{"4", "2"}) {
		t.Error(got)
	}
	runs, err := runlog.Read(dir, "a", 10)
	if err != nil || len(runs) != 3 {
		t.Fatal(runs, err)
	}
	if diff := cmp.Diff(run("a", "1"), runs[2]); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(file(t, dir, "a.runs.jsonl")); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
}

// TestLinesThatCannotBeRead are passed over: what was cut off, what a later version wrote, what is another's, and what is no text.
func TestLinesThatCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		with string
		want []string
	}{
		"cut off":          {`{"job":"a","run_id":"torn","total":{"sca`, []string{"2", "1"}},
		"cut off at once":  {`{`, []string{"2", "1"}},
		"another's":        {`{"job":"b","run_id":"x"}` + "\n", []string{"2", "1"}},
		"of a later kind":  {`{"job":"a","run_id":7}` + "\n", []string{"2", "1"}},
		"of a later field": {`{"job":"a","run_id":"x","new":{}}` + "\n", []string{"2", "x", "1"}},
		"no text":          {"\x00\xff\x1b\n\n\n", []string{"2", "1"}},
		"without an end":   {`{"job":"a","run_id":"x"}`, []string{"2", "x", "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			add(t, dir, run("a", "1"))
			f, err := os.OpenFile(file(t, dir, ".runs.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString(c.with); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			add(t, dir, run("a", "2"))
			if got := ids(t, dir, "a", 10); !cmp.Equal(got, c.want) {
				t.Errorf("%v, not %v", got, c.want)
			}
		})
	}
}

// TestTheOldestRunsAreDropped when the file has become large, and no others.
func TestTheOldestRunsAreDropped(t *testing.T) {
	dir := t.TempDir()
	add(t, dir, run("a", "0"))
	path := file(t, dir, ".runs.jsonl")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var many strings.Builder
	n := (1<<20)/len(text) + 2
	for i := range n {
		many.WriteString(strings.Replace(string(text), `"run_id":"0"`, fmt.Sprintf(`"run_id":"%d"`, i), 1))
	}
	if err := os.WriteFile(path, []byte(many.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	add(t, dir, run("a", "last"))
	got := ids(t, dir, "a", 10_000)
	if len(got) < 499 || len(got) > 501 || got[0] != "last" || got[1] != fmt.Sprint(n-1) {
		t.Errorf("%d runs: %v", len(got), got[:2])
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".tmp-*")); err != nil || left != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
	add(t, dir, run("a", "more"))
	if again := ids(t, dir, "a", 10_000); len(again) != len(got)+1 {
		t.Errorf("%d runs after one more", len(again))
	}
}

func TestNamesOfJobs(t *testing.T) {
	names := []string{"a", "A b/c", "../x", "ü", strings.Repeat("long", 100), strings.Repeat("long", 101), "a.live", "\x1b[2J"}
	dir := t.TempDir()
	for i, name := range names {
		if i%2 == 0 {
			add(t, dir, run(name, "1"))
		} else if err := runlog.Publish(dir, runlog.Live{Job: name, RunID: "1"}); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"job-odd.db": "", "other.runs.jsonl": "{}", "job-cut.live.json": `{"jo`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	jobs, err := runlog.Jobs(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"cut": true}
	for _, name := range names {
		want[name] = true
	}
	got := map[string]bool{}
	for _, name := range jobs {
		got[name] = true
	}
	if diff := cmp.Diff(want, got); diff != "" || len(jobs) != len(want) {
		t.Error(diff)
	}
	for i, name := range names {
		_, under, err := runlog.Current(dir, name)
		if runs := ids(t, dir, name, 5); err != nil || (i%2 == 0) != (len(runs) == 1) || (i%2 == 1) != under {
			t.Errorf("%q: %v, %v, %v", name, runs, under, err)
		}
	}
}

func TestWhatIsUnderWay(t *testing.T) {
	dir := t.TempDir()
	if _, under, err := runlog.Current(dir, "a"); under || err != nil {
		t.Error(under, err)
	}
	if err := runlog.Withdraw(dir, "a"); err != nil {
		t.Error(err)
	}
	expected, eta := int64(5), 2.5
	now := runlog.Live{
		Job: "a", RunID: "1", PID: 7, Host: "h", Phase: "reading", Expected: &expected, ETA: &eta, Counts: tally.Counts{Scanned: 1},
		Collections: []runlog.Collection{{Name: "page", Expected: &expected}}, Streams: []runlog.Stream{{Name: "s", Lag: &eta}},
	}
	for range 2 {
		if err := runlog.Publish(dir, now); err != nil {
			t.Fatal(err)
		}
		got, under, err := runlog.Current(dir, "a")
		if diff := cmp.Diff(now, got); diff != "" || !under || err != nil {
			t.Error(diff, under, err)
		}
		now.Counts.Scanned++
	}
	if err := os.WriteFile(file(t, dir, ".live.json"), []byte(`{"job":"a`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, under, err := runlog.Current(dir, "a"); under || err == nil {
		t.Error("half a word is taken for one")
	}
	if err := runlog.Withdraw(dir, "a"); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Error(left, err)
	}
}

// TestReadersSeeWholeWords while others are written.
func TestReadersSeeWholeWords(t *testing.T) {
	dir := t.TempDir()
	add(t, dir, run("a", "0"))
	if err := runlog.Publish(dir, runlog.Live{Job: "a"}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			last := 0
			for {
				select {
				case <-done:
					return
				default:
				}
				runs, err := runlog.Read(dir, "a", 10_000)
				if err != nil || len(runs) < last {
					t.Errorf("%d runs behind %d, %v", len(runs), last, err)
				}
				last = len(runs)
				if _, under, err := runlog.Current(dir, "a"); err != nil || !under {
					t.Errorf("under way: %v, %v", under, err)
				}
			}
		})
	}
	for i := range 200 {
		add(t, dir, run("a", fmt.Sprint(i)))
		if err := runlog.Publish(dir, runlog.Live{Job: "a", RunID: strings.Repeat("x", i)}); err != nil {
			t.Error(err)
		}
	}
	close(done)
	readers.Wait()
	if got := ids(t, dir, "a", 10_000); len(got) != 201 {
		t.Errorf("%d runs", len(got))
	}
}

func TestAFolderThatCannotBeUsed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := runlog.Append(path, run("a", "1")); err == nil || !strings.Contains(err.Error(), "keeping the run") {
		t.Error(err)
	}
	if err := runlog.Publish(path, runlog.Live{Job: "a"}); err == nil {
		t.Error("no error")
	}
	if _, err := runlog.Jobs(path); err == nil {
		t.Error("no error")
	}
}
