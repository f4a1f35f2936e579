package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/arrival"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/tally"
)

func TestWhatIsToldBeforeAnythingIsRead(t *testing.T) {
	at := time.Date(2026, 11, 24, 2, 0, 0, 0, time.UTC)
	for want, tell := range map[string]func(job.Observer){
		"Resuming the run that was interrupted on 2026-11-24 02:00:00 UTC: 4 documents were handled by then (--fresh starts from the beginning)\n": func(o job.Observer) {
			o.State(job.Decision{Resumed: true, Interrupted: at, Handled: 4})
		},
		"Took over run r1 from process pod-2: 4 documents were handled by then\n": func(o job.Observer) {
			o.State(job.Decision{Resumed: true, Interrupted: at, Handled: 4, RunID: "r1", From: "pod-2"})
		},
		"The interrupted run of 2026-11-24 02:00:00 UTC is not resumed: it had another mode (full); starting from the beginning\n": func(o job.Observer) {
			o.State(job.Decision{Interrupted: at, Why: "it had another mode (full)"})
		},
		"Waiting for consumer group g: 7 events to read\n":         func(o job.Observer) { o.Lag(arrival.Lag{Group: "g", Unread: 7, Known: true}, false) },
		"Waiting for consumer group g: 1 event to read after 2s\n": func(o job.Observer) { o.Lag(arrival.Lag{Group: "g", Unread: 1, Waited: 2 * time.Second}, false) },
		"Consumer group g has read everything after 2s\n":          func(o job.Observer) { o.Lag(arrival.Lag{Group: "g", Known: true, Waited: 2 * time.Second}, true) },
		"Consumer group g has 0 events to read\n":                  func(o job.Observer) { o.Lag(arrival.Lag{Group: "g", Known: true}, true) },
		"Consumer group g has 7 events to read; until then their documents look as if they were missing\n": func(o job.Observer) {
			o.Lag(arrival.Lag{Group: "g", Unread: 7, Known: true}, true)
		},
		"Consumer group g has 7 events to read; until then their documents look as if they were missing; it has confirmed none, so it may be another group's name\n": func(o job.Observer) {
			o.Lag(arrival.Lag{Group: "g", Unread: 7}, true)
		},
	} {
		var out strings.Builder
		tell((&printer{w: &out}).observer())
		if out.String() != want {
			t.Errorf("got  %swant %s", out.String(), want)
		}
	}
}

// ended is a run that has sent two of three events, of which one has not arrived.
func ended(change func(*job.Result)) job.Result {
	rule := &mapping.Rule{Collection: syncd.Collection{Name: "page"}, ContentType: "page"}
	n := tally.Counts{Scanned: 3, Missing: 3, Emitted: 3, Acked: 2}
	r := job.Result{Ended: true, Report: job.Report{
		Report:   engine.Report{Collections: []engine.CollectionReport{{Rule: rule, Found: true, Counts: n}}, Total: n},
		Arrivals: &arrival.Arrivals{Sent: 2, Arrived: 1, Known: true, Open: []arrival.NotArrived{{Rule: rule, ID: "b", PointID: uuid.Nil}}},
	}}
	change(&r)
	return r
}

// TestPart: a process that led no run says whose run it was, and what it did of it.
func TestPart(t *testing.T) {
	var out strings.Builder
	part := job.Part{Leader: "pod-2", RunID: "r1", Splits: 3, Counts: tally.Counts{Scanned: 1200, Acked: 1}}
	(&printer{w: &out}).summary(job.Result{Part: &part}, nil)
	if want := "Part in run r1, which pod-2 led and reports: 3 splits, 1200 documents, 1 event\n"; out.String() != want {
		t.Errorf("got  %swant %s", out.String(), want)
	}
}

// TestSummary: it says complete only of a run that is, and names what has not arrived only of one that came to its end.
func TestSummary(t *testing.T) {
	const never = "Sent, but not in The list:"
	for name, c := range map[string]struct {
		change func(*job.Result)
		err    error
		want   string
		named  bool
	}{
		"some refused": {func(r *job.Result) { r.Report.Total.FailedWrite = 1 }, &job.EndError{Outcome: tally.Failures}, "NOT complete: 2 events sent, all confirmed; 1 document could not be sent; 1 of them not seen in The list\n", true},
		"interrupted": {
			func(r *job.Result) { r.Ended, r.Report.Interrupted = false, true }, job.ErrInterrupted,
			"NOT complete: 2 events confirmed, 1 more sent and perhaps arrived; run it again to send the rest\n", false,
		},
		"resumable": {
			func(r *job.Result) { r.Ended, r.Resumable = false, true }, &job.EndError{Outcome: tally.Failed},
			"NOT complete: 2 events confirmed, 1 more sent and perhaps arrived; run it again to resume it\n", false,
		},
		"a guard": {
			func(r *job.Result) { r.Ended, r.Resumable = false, true }, &job.EndError{Outcome: tally.Stopped, Err: &tally.GuardError{}},
			"NOT complete: 2 events confirmed, 1 more sent and perhaps arrived\n", false,
		},
		"not arrived": {func(r *job.Result) { r.Report.Total.Emitted = 2 }, &job.EndError{Outcome: tally.NotArrived}, "NOT complete: 2 events sent, all confirmed; 1 of them not seen in The list\n", true},
		"deletes": {
			func(r *job.Result) {
				r.Report.Total, r.Report.Deleted = tally.Counts{Scanned: 3, Present: 3}, tally.Counts{Emitted: 4, Acked: 4}
			}, nil,
			"Complete: no document had to be sent; 4 deletes sent, all confirmed\n", true,
		},
		"deletes that are refused": {
			func(r *job.Result) {
				r.Report.Total, r.Report.Deleted = tally.Counts{Scanned: 3, Present: 3}, tally.Counts{Emitted: 4, Acked: 3, FailedWrite: 1}
			}, &job.EndError{Outcome: tally.Failures}, "NOT complete: no document had to be sent; 3 deletes sent, all confirmed; 1 document could not be sent; 1 of them not seen in The list\n", true,
		},
		"a dry run": {
			func(r *job.Result) { r.Report.DryRun, r.Report.Total = true, tally.Counts{Scanned: 3, WouldSend: 3} }, nil,
			"Dry run: nothing was sent; a run would send 3 events\n", true,
		},
	} {
		var out strings.Builder
		(&printer{w: &out, index: "The list"}).summary(ended(c.change), c.err)
		if !strings.HasSuffix(out.String(), c.want) || strings.Contains(out.String(), never) != c.named {
			t.Errorf("%s:\n%s", name, out.String())
		}
	}
}
