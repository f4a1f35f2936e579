package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd"
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

// TestAdoptWithAClockThatWasWrong: a run of a far future is as little one of now as that of a far past.
func TestAdoptWithAClockThatWasWrong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.db")
	job := state.Info{Job: "db", Fingerprint: "f", RunID: "old"}
	st, err := state.Open(path, job)
	if err == nil {
		err = errors.Join(st.Begin(job), st.Close(state.Interrupted))
	}
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) { // whose clock is decades behind
		st, err := state.Open(path, job)
		if err != nil {
			t.Fatal(err)
		}
		a := &app{program: program{stdout: &bytes.Buffer{}}}
		cfg := &config.Config{}
		cfg.Run.ResumeWithin = 24 * time.Hour
		o := pipeline.Options{RunID: "new"}
		if err := errors.Join(a.adopt(st, job, cfg, &o), st.Close(state.Complete)); err != nil {
			t.Fatal(err)
		}
		if o.RunID != "new" {
			t.Error("it is gone on with")
		}
	})
}

// jobWith is the job of a configuration.
func jobWith(t *testing.T, mapping, run string) state.Info {
	t.Helper()
	a := newAudit()
	registry, err := syncd.NewRegistry(
		a.source.Plugin("memory"),
		syncd.NewChecker("memory", "Asks.", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Checker, error) { return a.checker, nil }),
		syncd.NewSink("memory", "Keeps.", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Sink, error) { return a.sink, nil }),
	)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "syncd.yaml")
	text := "source: {memory: {}}\nchecker: {memory: {}}\nsink: {memory: {}}\nmapping: {" + mapping + "collections: {page: page}}\nrun: {" + run + "}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, diags := config.Load(config.Input{Path: path, Registry: registry})
	if cfg == nil {
		t.Fatal(diags)
	}
	job, err := jobOf(t.Context(), cfg, session{source: a.source, checker: a.checker, sink: a.sink})
	if err != nil {
		t.Fatal(err)
	}
	return job
}

// TestJobOf: what a run found out says nothing to one that would have asked another question, or done something else about the
// answer. How it works makes no difference.
func TestJobOf(t *testing.T) {
	const version = "version: {field: updatedAt, payload: updatedAt}, "
	base := jobWith(t, version, "").Fingerprint
	for name, tc := range map[string]struct {
		mapping, run string
		same         bool
	}{
		"nothing":        {version, "", true},
		"speed":          {version, "batch_size: 7, readers: 1, sleep: 1s", true},
		"no version":     {"", "", false},
		"another field":  {"version: {field: changedAt, payload: updatedAt}, ", "", false},
		"another key":    {"version: {field: updatedAt, payload: changedAt}, ", "", false},
		"min age":        {version, "min_age: 1h", false},
		"retry attempts": {version, "attempts: {retry: true}", false},
	} {
		if got := jobWith(t, tc.mapping, tc.run).Fingerprint; (got == base) != tc.same {
			t.Errorf("%s: %s, and %s before", name, got, base)
		}
	}
}

// forgetful is the settings of a sink that keeps nothing of an interrupted run.
type forgetful struct{}

func (forgetful) Continues() bool { return false }

// TestWhatIsNotKeptIsNotGoneOnWith: documents that failed before the interruption are not read again, so their dead letters must
// still be there.
func TestWhatIsNotKeptIsNotGoneOnWith(t *testing.T) {
	for name, set := range map[string]func(c *config.Config){
		"events":       func(c *config.Config) { c.Sink.Settings = forgetful{} },
		"dead letters": func(c *config.Config) { c.DeadLetter.Settings = forgetful{} },
	} {
		cfg := &config.Config{Run: config.Run{Resume: true, StateDir: t.TempDir()}}
		set(cfg)
		a := &app{program: program{stdout: &bytes.Buffer{}}}
		st, err := a.openState(cfg, session{}, state.Info{Job: "db", Fingerprint: "f"}, new(bool), &pipeline.Options{RunID: "new"}, nil)
		if st != nil || err != nil {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
}
