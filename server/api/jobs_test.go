package api_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/server/api"
	"github.com/syncd-io/syncd/tally"
)

func TestFreshness(t *testing.T) {
	at := func(hour int) *time.Time { at := time.Date(2026, 1, 2, hour, 0, 0, 0, time.UTC); return &at }
	n := func(n int64) *int64 { return &n }
	x := func(x float64) *float64 { return &x }
	complete := runlog.Run{RunID: "whole", Started: *at(3), Outcome: tally.Complete, Freshness: at(3), Total: tally.Counts{Scanned: 10, Present: 6, Missing: 4, Acked: 3, Gone: 1}}
	withFailures := runlog.Run{RunID: "most", Started: *at(4), Outcome: tally.Failures, Total: tally.Counts{Scanned: 10, Present: 6, Missing: 4, Acked: 2, FailedWrite: 2}}
	failed := runlog.Run{RunID: "none", Started: *at(5), Outcome: tally.Failed}
	some := runlog.Run{RunID: "some", Started: *at(6), Outcome: tally.Complete, Collections: []string{"page"}, Total: tally.Counts{Scanned: 1, Present: 1}}
	planned := runlog.Run{RunID: "plan", Started: *at(7), Outcome: tally.Complete, Planned: true, Total: tally.Counts{Scanned: 1, Missing: 1, Acked: 1}}
	looked := func(hour int, failed int64) runlog.Run { // again, by a job whose stream had had failures
		return runlog.Run{RunID: "again", Outcome: tally.Complete, Freshness: at(hour), Total: tally.Counts{Scanned: 10, Present: 10}, Followed: &tally.Counts{FailedWrite: failed}}
	}
	for name, c := range map[string]struct {
		live *runlog.Live
		runs []runlog.Run
		want api.Freshness
	}{
		"nothing is known":        {nil, nil, api.Freshness{}},
		"it failed at once":       {nil, []runlog.Run{failed}, api.Freshness{}},
		"complete":                {nil, []runlog.Run{complete}, api.Freshness{CompleteAt: at(3), CompleteRun: "whole", Behind: n(0), Coverage: x(1)}},
		"behind a whole one":      {nil, []runlog.Run{planned, some, failed, complete}, api.Freshness{CompleteAt: at(3), CompleteRun: "whole", Behind: n(0), Coverage: x(1)}},
		"some could not be sent":  {nil, []runlog.Run{withFailures, complete}, api.Freshness{CompleteAt: at(3), CompleteRun: "whole", Behind: n(2), Coverage: x(0.8)}},
		"a run has just begun":    {&runlog.Live{}, []runlog.Run{withFailures}, api.Freshness{Behind: n(2), Coverage: x(0.8)}},
		"a run has found nothing": {&runlog.Live{Counts: tally.Counts{Scanned: 2, Present: 2}}, nil, api.Freshness{}},
		"a run has found some": {
			&runlog.Live{
				Counts: tally.Counts{Scanned: 9, Missing: 3, Stale: 2, Acked: 1, Overtaken: 1}, Deleted: tally.Counts{Orphan: 2, Acked: 1},
				Collections: []runlog.Collection{{OldestMissing: at(2)}, {OldestMissing: at(1)}, {}},
			},
			[]runlog.Run{complete}, api.Freshness{CompleteAt: at(3), CompleteRun: "whole", Behind: n(4), Coverage: x(1), OldestMissing: at(1)},
		},
		"all that it found is sent": {
			&runlog.Live{Counts: tally.Counts{Scanned: 9, Missing: 3, Acked: 3}, Collections: []runlog.Collection{{OldestMissing: at(2)}}},
			[]runlog.Run{complete}, api.Freshness{CompleteAt: at(3), CompleteRun: "whole", Behind: n(0), Coverage: x(1)},
		},
		"it only followed since": {
			nil, []runlog.Run{{Outcome: tally.Complete, Followed: &tally.Counts{Scanned: 9, Acked: 5, FailedWrite: 4}}, looked(4, 3)},
			api.Freshness{CompleteAt: at(4), CompleteRun: "again", Behind: n(1), Coverage: x(1)},
		},
		"what failed before all was looked at again is found by that": {
			&runlog.Live{Counts: tally.Counts{Scanned: 10, Present: 10}, Streams: []runlog.Stream{{Counts: tally.Counts{FailedWrite: 3}}}},
			[]runlog.Run{looked(4, 3), complete}, api.Freshness{CompleteAt: at(4), CompleteRun: "again", Behind: n(0), Coverage: x(1)},
		},
		"it goes on following, with what a look has left": {
			&runlog.Live{Streams: []runlog.Stream{{Waiting: 1, Counts: tally.Counts{FailedWrite: 1}}}},
			[]runlog.Run{{Outcome: tally.Failed, Followed: &tally.Counts{FailedWrite: 1}}, withFailures, complete},
			api.Freshness{CompleteAt: at(3), CompleteRun: "whole", Behind: n(4), Coverage: x(0.8)},
		},
		"following": {
			&runlog.Live{Streams: []runlog.Stream{{Waiting: 3, Lag: x(1.5)}, {Waiting: 1, Lag: x(40), Counts: tally.Counts{FailedWrite: 2}}, {}}},
			[]runlog.Run{complete}, api.Freshness{CompleteAt: at(3), CompleteRun: "whole", Behind: n(6), Coverage: x(1), Lag: x(40)},
		},
	} {
		if diff := cmp.Diff(c.want, api.FreshnessOf(c.live, c.runs)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}
