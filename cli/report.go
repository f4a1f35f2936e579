package cli

import (
	"cmp"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/files"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/internal/wholefile"
	"github.com/syncd-io/syncd/job"
	runreport "github.com/syncd-io/syncd/report"
)

// runReport becomes the report of one run, which is written however the run ends. A nil one is no report; all its methods do
// nothing.
type runReport struct {
	path     string          // empty: nothing is written
	tell     func(any) error // prints it in one line; nil does not
	began    time.Time
	known    runreport.Report // what is known before the engine runs
	recorder *runreport.Recorder
}

// newRunReport begins the report that is to be written to path, before any plugin opens, or to be told to a program. It is nil if the path is
// empty and nobody is told. In a
// folder every run has a file of its own. That nothing can be written there is said now, rather than after a long run.
func newRunReport(path string, tell func(any) error, cfg *config.Config, plan bool) (*runReport, error) {
	if path == "" && tell == nil {
		return nil, nil //nolint:nilnil // no report
	}
	began := time.Now()
	if path != "" {
		var err error
		if path, err = runreport.Place(path, began); err == nil {
			err = files.Writable("the report", path)
		}
		if err != nil {
			return nil, &codeError{exitUsage, err}
		}
	}
	program, goVersion := built()
	r := &runReport{path: path, tell: tell, began: began, recorder: runreport.NewRecorder(), known: runreport.Report{
		Mode: string(cfg.Run.Mode), DryRun: cfg.Run.DryRun, Plan: plan, Version: program, Go: goVersion,
		Config: runreport.Config{Mapping: cfg.Mapping.Fingerprint()},
	}}
	if n := len(cfg.Files); n > 0 {
		r.known.Config.File = cfg.Files[n-1]
	}
	for _, p := range []struct {
		kind string
		config.Plugin
	}{
		{string(syncd.KindSource), cfg.Source},
		{string(syncd.KindChecker), cfg.Checker},
		{string(syncd.KindSink), cfg.Sink},
		{"dead_letter", cfg.DeadLetter},
	} {
		if p.Settings == nil || p.kind == string(syncd.KindChecker) && cfg.Run.Mode == config.Full {
			continue
		}
		plugin := runreport.Plugin{Kind: p.kind, Name: p.Name(), Label: p.Label()}
		if l, ok := p.Settings.(syncd.Locator); ok {
			plugin.Location = l.Location()
		}
		r.known.Plugins = append(r.known.Plugins, plugin)
	}
	return r, nil
}

// env is what a plugin is opened with: each time that it asks again is counted, and how much it asks for at once is kept.
func (r *runReport) env(env syncd.Env, p config.Plugin) syncd.Env {
	if r == nil {
		return env
	}
	plugin := string(p.Kind()) + " " + p.Name()
	env.Adapted = r.recorder.Adapted(plugin)
	count, told := r.recorder.Retried(plugin), env.Retried
	env.Retried = func(reason string) {
		count(reason)
		if told != nil {
			told(reason)
		}
	}
	return env
}

// watch follows the run that will have the options until stop is called, which must happen.
func (r *runReport) watch(o *job.Options) (stop func()) {
	if r == nil {
		return func() {}
	}
	r.known.RunID, r.known.Asked = o.RunID, o.Checker != nil
	return r.recorder.Watch(o)
}

// reconciled counts that following was interrupted to look at all documents again.
func (r *runReport) reconciled(why job.Reconcile) {
	if r != nil {
		r.known.Reconciled(why)
	}
}

// finish writes the report of a run that ended with err, and returns err, or that the report could not be written.
func (r *runReport) finish(result job.Result, err error) error {
	if r == nil {
		return err
	}
	rep := runreport.New(result.Report)
	rep.RunID = cmp.Or(rep.RunID, r.known.RunID)
	if rep.Started.IsZero() {
		rep.Started = r.began
	}
	rep.Started, rep.Ended = rep.Started.UTC().Round(time.Millisecond), time.Now().UTC().Round(time.Millisecond)
	rep.Seconds = rep.Ended.Sub(rep.Started).Seconds()
	rep.Mode, rep.DryRun, rep.Plan, rep.Asked = r.known.Mode, r.known.DryRun, r.known.Plan, r.known.Asked
	rep.Version, rep.Go, rep.Config, rep.Plugins = r.known.Version, r.known.Go, r.known.Config, r.known.Plugins
	rep.Config.Fingerprint, rep.Reconciles = result.Fingerprint, r.known.Reconciles
	rep.Followed(result.Streams)
	r.recorder.Fill(rep)
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	rep.End(job.OutcomeOf(err), codeOf(err), problem, syncd.HintOf(err))
	var werr error
	if r.path != "" {
		werr = rep.Write(r.path)
	}
	if r.tell != nil {
		rep.Series.Samples = []runreport.Sample{} // which a file has
		werr = errors.Join(werr, r.tell(rep))
	}
	if err == nil || werr == nil {
		return cmp.Or(err, werr)
	}
	return errors.Join(err, werr)
}

func (a *app) reportCommand() *cobra.Command {
	var html string
	c := &cobra.Command{
		Use:   "report FILE|FOLDER...",
		Short: "Print the report of a run, compare two, or make a page with plots",
		Long: `report reads files that syncd run --report has written. It prints one, says what changed between two, and lists
several, the run that began first on top. A folder stands for the reports in it. With --html it makes a page of the latest one, and of how it went over all of them.
The page is one file that needs nothing else.`,
		Example: `  syncd report last.json
  syncd report yesterday.json last.json
  syncd report runs/ --html history.html`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError("which report? name a file that syncd run --report FILE has written")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, named []string) error {
			runs, err := runreport.Read(named...)
			if err != nil {
				return &codeError{exitUsage, err} // as with all that the command line names and that is not there
			}
			if html != "" {
				if err := files.Writable("the page", html); err != nil {
					return &codeError{exitUsage, err}
				}
				page, err := runreport.HTML(runs...)
				if err != nil {
					return err
				}
				if err := wholefile.Write(html, page, true); err != nil {
					return files.WriteError("the page", html, err)
				}
				if !a.json {
					text.Fprintf(a.stdout, "The page is in %s\n", html)
					return nil
				}
			}
			if a.json {
				return a.tell(reportJSON(runs))
			}
			switch len(runs) {
			case 1:
				runs[0].Text(a.stdout)
			case 2:
				runreport.Compare(runs[0], runs[1]).Text(a.stdout)
			default:
				runreport.History(a.stdout, runs)
			}
			return nil
		},
	}
	a.formatFlag(c)
	a.jsonFlag(c)
	c.Flags().StringVar(&html, "html", "", "write a page to this file")
	return c
}

// reportJSON is what is printed of the runs as JSON.
func reportJSON(runs []*runreport.Report) any {
	switch len(runs) {
	case 1:
		return runs[0]
	case 2:
		return runreport.Compare(runs[0], runs[1])
	}
	return runs
}
