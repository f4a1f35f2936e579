package runlog_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/syncd-io/syncd/runlog"
)

// TestTheLastRunsAreRead, wherever a piece of the file ends, and whatever was cut off in it.
func TestTheLastRunsAreRead(t *testing.T) {
	for _, long := range []int{0, 100, 5000, 40 << 10} {
		dir := t.TempDir()
		for i := range 60 {
			r := runlog.Run{Job: "pages", RunID: fmt.Sprint(i), Error: strings.Repeat("x", long+i*37)}
			if err := runlog.Append(dir, r); err != nil {
				t.Fatal(err)
			}
			files, _ := filepath.Glob(filepath.Join(dir, "*.runs.jsonl"))
			if i == 20 { // a line that was cut off
				f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprint(f, `{"job":"pages","run`)
				f.Close()
			}
		}
		for _, most := range []int{1, 7, 20, 1000} {
			runs, err := runlog.Read(dir, "pages", most)
			if err != nil {
				t.Fatal(err)
			}
			var want, got []string
			for i := 59; i >= 0 && len(want) < most; i-- {
				want = append(want, fmt.Sprint(i))
			}
			for _, r := range runs {
				got = append(got, r.RunID)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) && long < 40<<10 { // the oldest of a large file are dropped
				t.Errorf("%d bytes, %d runs: got %v, want %v", long, most, got, want)
			}
			if len(got) == 0 || got[0] != "59" {
				t.Errorf("%d bytes, %d runs: the newest is not the first of %v", long, most, got)
			}
		}
	}
}

// TestTheFirstFileOfAFolder: a job that keeps its state in the sink has made no folder for it.
func TestTheFirstFileOfAFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := runlog.Publish(dir, runlog.Live{Job: "job"}); err != nil {
		t.Fatal(err)
	}
	if now, ok, err := runlog.Current(dir, "job"); err != nil || !ok || now.Job != "job" {
		t.Errorf("%+v, %t, %v", now, ok, err)
	}
}
