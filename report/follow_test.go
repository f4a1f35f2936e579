package report

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/tally"
)

// TestFollowed: a report says what became of the streams, and why all documents were looked at again.
func TestFollowed(t *testing.T) {
	r := described(New(job.Report{RunID: "r"}))
	for range 300 {
		r.Reconciled(job.Reconcile{Cause: job.CauseSchedule})
	}
	r.Reconciled(job.Reconcile{Cause: job.CausePositionLost, Stream: "shop", Err: errors.New("mongodb://me:secret@db/: too\x1b old")})
	r.Followed([]job.StreamCounts{
		{Name: "shop", Counts: tally.Counts{Scanned: 12000, Unasked: 11000, Emitted: 11000, Acked: 10990, FailedWrite: 10, Unwatched: 900, Unmatched: 60, Gone: 40}},
		{Name: "h\x1br", Counts: tally.Counts{Scanned: 1, Emitted: 1, Acked: 1}},
	})
	r.End(tally.Complete, 0, "", "")
	path := filepath.Join(t.TempDir(), "r.json")
	if err := r.Write(path); err != nil {
		t.Fatal(err)
	}
	read, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.Streams, read[0].Streams); diff != "" || len(r.Reconciles) != 2 {
		t.Error(diff, r.Reconciles)
	}
	var out strings.Builder
	read[0].Text(&out)
	for _, want := range []string{
		"Complete: changes were followed; all documents had been looked at by an earlier process\n",
		"12,000 changes of shop since it began, 10,990 sent, 900 not watched, 60 not selected, 40 deleted since, 10 failed\n",
		" since it began, 1 sent\n", "300 times, schedule\n", "1 time, position lost; the last time: ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	page, err := HTML(read...)
	if err != nil || !strings.Contains(string(page), "10,990 sent") {
		t.Error(err)
	}
	if strings.Contains(out.String()+string(page), "secret") || strings.Contains(out.String(), "\x1b") {
		t.Errorf("a secret or an escape shows:\n%s", out.String())
	}
	r.End(tally.Failed, 1, "the stream ended", "")
	if r.Verdict != "Failed while changes were followed" {
		t.Error(r.Verdict)
	}
}
