package job

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/arrival"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

// TestHowRunsEnd: what became of a run gives one outcome, what it says, and what to do about it; and whether the next run resumes
// it.
func TestHowRunsEnd(t *testing.T) {
	collection := func(found bool, n tally.Counts) Report {
		return Report{Report: engine.Report{Collections: []engine.CollectionReport{{Found: found, Counts: n}}, Total: n}}
	}
	deletes := collection(true, tally.Counts{})
	deletes.Deleted = tally.Counts{Scanned: 1, Orphan: 1, Emitted: 1, FailedWrite: 1}
	interrupted := collection(true, tally.Counts{})
	interrupted.Interrupted = true
	arrived := func(a arrival.Arrivals) Report {
		r := collection(true, tally.Counts{})
		r.Arrivals = &a
		return r
	}
	guard := &tally.GuardError{Problem: "too many", Advice: "raise it"}
	coverage := &tally.CoverageError{Collection: "page", Problem: "one is missing"}
	for name, c := range map[string]struct {
		report     Report
		err        error
		outcome    tally.Outcome
		text, hint string
		resumable  bool // as endOf says of err
	}{
		"all was done": {report: collection(true, tally.Counts{}), outcome: tally.Complete},
		"documents failed": {
			report:  collection(true, tally.Counts{FailedRead: 2}),
			outcome: tally.Failures, text: "2 documents could not be sent;", hint: "errors.dead_letter keeps such documents",
		},
		"and are dead letters": {
			report:  collection(true, tally.Counts{FailedRead: 2, DeadLettered: 1}),
			outcome: tally.Failures, text: "(1 in the dead letters)", hint: "mend what the dead letters say",
		},
		"a delete failed": {
			report:  deletes,
			outcome: tally.Failures, text: "1 document could not be sent",
		},
		"no collection is there": {
			report:  collection(false, tally.Counts{}),
			outcome: tally.Stopped, text: "the source has none of the collections", hint: "spelling",
		},
		"it was drained": {report: interrupted, outcome: tally.Interrupted},
		"a guard": {
			err:     fmt.Errorf("reading: %w", guard),
			outcome: tally.Stopped, text: "stopped by a guard: reading: too many", hint: "raise it", resumable: true,
		},
		"coverage": {
			err:     coverage,
			outcome: tally.Stopped, text: "can't prove that it saw every document", hint: "run it again",
		},
		"drift": {
			err:     &audit.DriftError{},
			outcome: tally.Stopped, text: "stopped before anything was sent", hint: "mapping.seed", resumable: true,
		},
		"consumers are behind": {
			err:     &arrival.LagError{Lag: arrival.Lag{Group: "g", Unread: 3, Known: true}, Timeout: time.Minute},
			outcome: tally.Stopped, text: "3 events to read", hint: "run it again when the consumers have caught up", resumable: true,
		},
		"nobody knows the consumers": {
			err:     &arrival.LagError{Lag: arrival.Lag{Group: "g"}},
			outcome: tally.Stopped, hint: "check that run.consumer_group is the name", resumable: true,
		},
		"the state does not fit": {
			err:     fmt.Errorf("%w: so", store.ErrNotResumable),
			outcome: tally.Failed, hint: "report this",
		},
		"what the sink confirmed is not there": {
			err:     syncd.Hint(fmt.Errorf("%w: so", syncd.ErrLost), "begin anew"),
			outcome: tally.Failed, hint: "begin anew",
		},
		"a server is away": {
			err:     syncd.Hint(syncd.ErrUnavailable, "start it"),
			outcome: tally.Failed, text: "unavailable", hint: "start it", resumable: true,
		},
		"it was cut off": {err: context.Canceled, outcome: tally.Failed, resumable: true},
		"it says so itself": {
			err:     end(tally.NotArrived, nil),
			outcome: tally.NotArrived, text: "not_arrived",
		},
		"all has arrived": {
			report:  arrived(arrival.Arrivals{Sent: 2, Arrived: 2, Known: true}),
			outcome: tally.Complete,
		},
		"some has not": {
			report:  arrived(arrival.Arrivals{Sent: 2, Arrived: 1, Known: true}),
			outcome: tally.NotArrived, text: "1 of 2 events sent did not appear in Qdrant within 1m0s", hint: "--wait-timeout",
		},
		"the index failed": {
			report:  arrived(arrival.Arrivals{Sent: 1, Known: true, Err: errors.New("boom")}),
			outcome: tally.Failed, text: "whether the 1 event sent have all arrived is not known: boom",
		},
		"the index was not asked": {
			report:  arrived(arrival.Arrivals{Sent: 1}),
			outcome: tally.Failed, text: "Qdrant was not asked", hint: "run it again when Qdrant can be reached",
		},
		"the wait was interrupted": {
			report:  arrived(arrival.Arrivals{Sent: 3, Arrived: 1, Known: true, Interrupted: true}),
			outcome: tally.Interrupted, text: "2 of 3 events sent are not in Qdrant yet",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := conclude(&c.report, true, "MongoDB", "Qdrant", time.Minute, "", c.err)
			if got := OutcomeOf(err); got != c.outcome {
				t.Errorf("the outcome is %s, not %s: %v", got, c.outcome, err)
			}
			if err != nil && !strings.Contains(err.Error(), c.text) || err == nil && c.text != "" {
				t.Errorf("it says %v, without %q", err, c.text)
			}
			if !strings.Contains(syncd.HintOf(err), c.hint) {
				t.Errorf("the hint is %q, without %q", syncd.HintOf(err), c.hint)
			}
			if c.err != nil && (!errors.Is(err, c.err) || endOf(c.err, true).Resumable != c.resumable) {
				t.Errorf("%v is not of %v, or %+v", err, c.err, endOf(c.err, true))
			}
		})
	}
}

// TestHowAnIndexWithoutANameIsCalled in a message.
func TestHowAnIndexWithoutANameIsCalled(t *testing.T) {
	err := late(&arrival.Arrivals{Sent: 1, Known: true}, "", time.Second)
	if err == nil || !strings.Contains(err.Error(), "did not appear in the index") {
		t.Error(err)
	}
}
