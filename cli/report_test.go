package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/mapping"
	runreport "github.com/syncd-io/syncd/report"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

// reported is a configuration, and a run of some documents that it describes.
func reported(t *testing.T) (*config.Config, job.Options) {
	t.Helper()
	d := spec.NewDecoder()
	m := mapping.Defaults()
	m.Collections = mapping.Collections{{Name: "page", ContentType: "page"}}
	source, sink := syncdtest.NewMemorySource(), syncdtest.NewMemorySink()
	for i := range 30 {
		source.Insert("page", syncdtest.MemoryDoc{ID: fmt.Sprint(i)})
	}
	cfg := &config.Config{
		Mapping: mapping.Compile(m, "db", d, nil), Files: []string{"base.yaml", "dev.yaml"}, Run: config.Run{Work: config.Work{Mode: config.Incremental}},
		Source: config.Plugin{Plugin: source.Plugin("memory"), Settings: source.Plugin("memory").Config()},
		Sink:   config.Plugin{Plugin: sink.Plugin("memory"), Settings: place{}},
	}
	return cfg, job.Options{Options: engine.Options{
		RunID: "the run", Source: source, Checker: syncdtest.NewMemoryChecker(), Sink: sink, Rules: cfg.Mapping.Rules, BatchSize: 10, BatchBytes: 1 << 20,
		Logger: slog.New(slog.DiscardHandler),
	}}
}

// place is the configuration of a plugin that says where it works.
type place struct{}

func (place) Location() string { return "here" }

// TestRunReport: a report is written for every end of a run, and it does not change the run's error.
func TestRunReport(t *testing.T) {
	drained := make(chan struct{})
	close(drained)
	for name, c := range map[string]struct {
		change  func(*job.Options)
		end     func(error) error // what the error of the run becomes
		want    tally.Outcome
		code    int
		verdict string
	}{
		"complete": {nil, func(err error) error { return err }, tally.Complete, exitDone, "Complete: 30 documents checked, 30 sent, all confirmed"},
		"interrupted": {
			func(o *job.Options) { o.Drain = drained },
			func(error) error { return &codeError{exitTerminated, job.ErrInterrupted} },
			tally.Interrupted, exitTerminated, "Interrupted: ",
		},
		"guard": {func(o *job.Options) { o.Limits.MaxEvents = 5 }, func(err error) error { return err }, tally.Stopped, exitStopped, "Stopped by a guard: "},
		"failed": {
			func(o *job.Options) { o.Checker = noIndex{} }, func(err error) error { return err },
			tally.Failed, exitFailed, "Failed before anything was read",
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, o := reported(t)
			if c.change != nil {
				c.change(&o)
			}
			path := filepath.Join(t.TempDir(), "r.json")
			r, err := newRunReport(path, nil, cfg, false)
			if err != nil {
				t.Fatal(err)
			}
			env := r.env(syncd.Env{}, cfg.Source)
			env.Retried("timeout")
			env.Adapted("ids per request", 250, 1000)
			stop := r.watch(&o)
			rep, err := job.Run(t.Context(), o)
			stop()
			err = c.end(err)
			if got := r.finish(job.Result{Report: rep, Fingerprint: "f1"}, err); !errors.Is(got, err) {
				t.Errorf("%v became %v", err, got)
			}
			got, rerr := runreport.Read(path)
			if rerr != nil {
				t.Fatal(rerr)
			}
			g := got[0]
			if g.Outcome != c.want || !strings.HasPrefix(g.Verdict, c.verdict) || g.Exit != c.code || (g.Error == "") != (err == nil) {
				t.Errorf("%s, %q, exit code %d, %q", g.Outcome, g.Verdict, g.Exit, g.Error)
			}
			if g.RunID != "the run" || g.Config.File != "dev.yaml" || g.Config.Fingerprint != "f1" || g.Version == "" || g.Started.IsZero() || g.Ended.Before(g.Started) {
				t.Errorf("%+v", g)
			}
			if p := g.Plugins; len(p) != 2 || p[0].Kind != "source" || p[1].Location != "here" {
				t.Errorf("plugins: %+v", p)
			}
			if p := g.Retries; len(p) != 1 || p[0] != (runreport.Retry{Plugin: "source memory", Reason: "timeout", Count: 1}) {
				t.Errorf("retries: %+v", p)
			}
			if p := g.Sizes; len(p) != 1 || p[0] != (runreport.Size{Plugin: "source memory", What: "ids per request", Ended: 250, Least: 250, Most: 1000}) {
				t.Errorf("sizes: %+v", p)
			}
		})
	}
}

// noIndex can't be looked at.
type noIndex struct{ syncd.Checker }

func (noIndex) Abilities() syncd.CheckerAbilities {
	return syncd.CheckerAbilities{Inspect: func(context.Context) (syncd.Index, error) { return syncd.Index{}, errors.New("no") }}
}

func TestNoRunReport(t *testing.T) {
	cfg, o := reported(t)
	r, err := newRunReport("", nil, cfg, false)
	if r != nil || err != nil {
		t.Fatal(r, err)
	}
	if env := r.env(syncd.Env{}, cfg.Source); env.Retried != nil {
		t.Error("there is nobody to tell")
	}
	r.watch(&o)()
	if err := r.finish(job.Result{}, job.ErrInterrupted); !errors.Is(err, job.ErrInterrupted) || o.Monitor != nil {
		t.Error(err)
	}
	if _, err := newRunReport(filepath.Join(t.TempDir(), "no", "r.json"), nil, cfg, true); codeOf(err) != exitUsage {
		t.Error(err)
	}
}

// TestRunReportThatCanNotBeWritten: the run's own error and exit code stay, and a run that went well did not.
func TestRunReportThatCanNotBeWritten(t *testing.T) {
	cfg, _ := reported(t)
	dir := filepath.Join(t.TempDir(), "runs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r, err := newRunReport(dir, nil, cfg, false)
	if err != nil || filepath.Dir(r.path) != dir {
		t.Fatal(r, err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := r.finish(job.Result{}, nil); codeOf(err) != exitFailed || !strings.Contains(err.Error(), "writing the report") {
		t.Error(err)
	}
	guard := &codeError{exitStopped, errors.New("too many")}
	if err := r.finish(job.Result{}, guard); codeOf(err) != exitStopped || !strings.Contains(err.Error(), "too many\nwriting the report") {
		t.Error(err)
	}
}

func TestReportCommand(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for i := range 3 {
		r := runreport.New(job.Report{Started: time.Date(2026, 11, 24+i, 2, 0, 0, 0, time.UTC)})
		r.End(tally.Complete, exitDone, "", "")
		files = append(files, filepath.Join(dir, fmt.Sprint(i)))
		if err := r.Write(files[i]); err != nil {
			t.Fatal(err)
		}
	}
	page := filepath.Join(dir, "page.html")
	for _, c := range []struct {
		args []string
		want string
	}{
		{files[:1], "Complete: there was nothing to do\n"},
		{files[:2], "Older  2026-11-24 02:00:00 UTC"},
		{[]string{files[1], files[0]}, "Older  2026-11-24 02:00:00 UTC"},
		{files, "Started  "},
		{append([]string{"--json"}, files[:1]...), "{\"syncd_report\":1"},
		{append([]string{"--json"}, files[:2]...), "{\"older\":{"},
		{append([]string{"--json"}, files...), "[{\"syncd_report\":1"},
		{append([]string{"--html", page}, files...), "The page is in " + page},
		{append([]string{"--html", page, "--json"}, files[0]), "{\"syncd_report\":1"},
	} {
		var out bytes.Buffer
		cmd := (&app{program: program{stdout: &out}}).reportCommand()
		cmd.SetArgs(c.args)
		if err := cmd.ExecuteContext(t.Context()); err != nil || !strings.HasPrefix(out.String(), c.want) {
			t.Errorf("%v: %v\n%s", c.args, err, out.String())
		}
	}
	if b, err := os.ReadFile(page); err != nil || !bytes.HasPrefix(b, []byte("<!DOCTYPE html>")) {
		t.Error(err)
	}
	for _, args := range [][]string{nil, {filepath.Join(dir, "nowhere")}, {page}, {files[0], "--html", filepath.Join(dir, "no", "page")}} {
		cmd := (&app{program: program{stdout: &bytes.Buffer{}}}).reportCommand()
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs(append([]string{}, args...))
		if err := cmd.ExecuteContext(t.Context()); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}
