package cli

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/pipeline"
	"github.com/syncd-io/syncd/state"
)

// TestAdopt: a run is gone on with unless it is done, contradicts itself, or is too old to say anything about now.
func TestAdopt(t *testing.T) {
	for name, tc := range map[string]struct {
		left    state.Status // "" is no run at all
		within  time.Duration
		resumes bool
		says    string
	}{
		"none":              {"", time.Hour, false, ""},
		"interrupted":       {state.Interrupted, time.Hour, true, "Resuming the run"},
		"killed":            {state.Running, time.Hour, true, "Resuming the run"},
		"complete":          {state.Complete, time.Hour, false, ""},
		"failed":            {state.Failed, time.Hour, false, ""},
		"interrupted, old":  {state.Interrupted, time.Nanosecond, false, "older than run.resume_within, 1ns: beginning anew"},
		"complete, and old": {state.Complete, time.Nanosecond, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "run.db")
			job := state.Info{Job: "db", Fingerprint: "f"}
			if tc.left != "" {
				st, err := state.Open(path, job)
				if err != nil {
					t.Fatal(err)
				}
				old := job
				old.RunID = "old"
				if err := st.Begin(old); err != nil {
					t.Fatal(err)
				}
				if err := st.Close(tc.left); err != nil {
					t.Fatal(err)
				}
			}
			st, err := state.Open(path, job)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			a := &app{program: program{stdout: &out}}
			cfg := &config.Config{}
			cfg.Run.ResumeWithin = tc.within
			o := pipeline.Options{RunID: "new"}
			if err := a.adopt(st, job, cfg, &o); err != nil {
				t.Fatal(err)
			}
			want := "new"
			if tc.resumes {
				want = "old"
			}
			if o.RunID != want || st.Info().RunID != want || st.Info().Status != state.Running || (st.Info().Resumes == 1) != tc.resumes {
				t.Errorf("run %s, %+v", o.RunID, st.Info())
			}
			if !strings.Contains(out.String(), tc.says) || tc.says == "" && out.Len() > 0 {
				t.Errorf("it says %q", out.String())
			}
			if err := st.Close(state.Complete); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestEndOf: what contradicts itself is not gone on with.
func TestEndOf(t *testing.T) {
	for name, tc := range map[string]struct {
		report pipeline.Report
		err    error
		want   state.Status
	}{
		"done":          {want: state.Complete},
		"drained":       {report: pipeline.Report{Interrupted: true}, want: state.Interrupted},
		"an error":      {err: pipeline.ErrStopped, want: state.Interrupted},
		"a guard":       {err: &pipeline.GuardError{}, want: state.Interrupted},
		"coverage":      {err: &pipeline.CoverageError{}, want: state.Failed},
		"not resumable": {err: pipeline.ErrNotResumable, want: state.Failed},
	} {
		if got := endOf(tc.report, tc.err); got != tc.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}
