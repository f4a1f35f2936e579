package metrics_test

import (
	"slices"
	"testing"

	"github.com/syncd-io/syncd/metrics"
	"github.com/syncd-io/syncd/tally"
)

// TestService shows two jobs side by side; what one has done is not the other's, and what is left of one that is no more is nothing.
func TestService(t *testing.T) {
	states := []metrics.JobState{{Job: "pages", State: "running"}, {Job: "notes", State: "failed"}}
	s := metrics.NewService("v1", func() []metrics.JobState { return states })
	shown := func() (all []string) {
		t.Helper()
		families, err := s.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if name := f.GetName(); name == "syncd_runs_total" || name == "syncd_job_state" {
				for _, m := range f.GetMetric() {
					if m.GetCounter().GetValue()+m.GetGauge().GetValue() > 0 {
						all = append(all, name+labels(m))
					}
				}
			}
		}
		slices.Sort(all)
		return all
	}
	check := func(want ...string) {
		t.Helper()
		if got := shown(); !slices.Equal(got, want) {
			t.Errorf("%q\nwant %q", got, want)
		}
	}
	s.Job("pages").End(metrics.End{Outcome: tally.Complete})
	s.Job("notes").End(metrics.End{Outcome: tally.Failed, ExitCode: 1})
	check(`syncd_job_state{state="failed",syncd_job="notes"}`, `syncd_job_state{state="running",syncd_job="pages"}`,
		`syncd_runs_total{outcome="complete",syncd_job="pages"}`, `syncd_runs_total{outcome="failed",syncd_job="notes"}`)
	if before := s.Job("pages"); s.Job("pages") != before {
		t.Error("the metrics of a job do not outlive its runs")
	}
	states = states[:1]
	check(`syncd_job_state{state="running",syncd_job="pages"}`, `syncd_runs_total{outcome="complete",syncd_job="pages"}`)
	states = []metrics.JobState{{Job: "notes", State: "running"}} // another of that name
	check(`syncd_job_state{state="running",syncd_job="notes"}`)
}
