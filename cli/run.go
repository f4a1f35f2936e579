package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/pipeline"
)

func (a *app) runCommand() *cobra.Command {
	var common commonFlags
	var noIncremental bool
	var planFile string
	var fresh bool
	var progress, reportFile string
	var when scheduleFlags
	c := &cobra.Command{
		Use:   "run [-c] FILE",
		Short: "Read the collections and send what the index lacks",
		Example: `  syncd run -c configs/prod.yaml
  syncd run configs/dev.yaml --dry-run --collections page,workItem`,
		RunE: func(cmd *cobra.Command, args []string) error {
			overrides, err := runOverrides(cmd, noIncremental)
			if err != nil {
				return err
			}
			if err := checkProgress(progress); err != nil {
				return err
			}
			ignoreProgressSignal()
			times, repeated, err := when.parse()
			if err != nil {
				return err
			}
			cfg, logger, err := a.load(&common, args, overrides)
			if err != nil {
				return err
			}
			b := backfillOptions{fresh: &fresh, progress: common.progressForm(progress), narrate: common.narrates(cmd), report: reportFile}
			if common.logFormat == "json" {
				b.log = logger
			}
			if planFile != "" {
				if repeated {
					return usageError("a plan is sent once: leave --every and --cron out")
				}
				plan, err := openPlan(planFile, cfg)
				if err != nil {
					return err
				}
				b.plan = &plan
			}
			if b.observer, err = a.observe(cmd.Context(), cfg, logger); err != nil {
				return failed(err)
			}
			defer b.observer.close()
			if !repeated {
				return a.backfill(cmd.Context(), cfg, logger, b)
			}
			first := true
			return a.repeat(cmd.Context(), times, logger, func(ctx context.Context) error {
				if !first { // the file may have changed
					if cfg, logger, err = a.load(&common, args, overrides); err != nil {
						b.observer.begin(ctx, &pipeline.Monitor{}, false)
						b.observer.ended(ctx, pipeline.Report{}, err)
						return err
					}
				}
				first = false
				return a.backfill(ctx, cfg, logger, b)
			})
		},
	}
	common.add(c)
	f := c.Flags()
	f.StringVar(&planFile, "plan", "", "send exactly what this plan says, after asking the index again (see syncd plan)")
	when.add(c)
	f.String("http", "", "serve metrics and health at this address, such as 127.0.0.1:9090 (observe.http.listen)")
	f.Bool("pprof", false, "serve profiles of the process, too (observe.http.pprof)")
	f.StringVar(&reportFile, "report", "", "write a report to this file when the run ends, however it ends; in a folder each run has a file of its own (see syncd report)")
	f.StringVar(&progress, "progress", progressAuto, "how to show progress on standard error: auto (bars on a terminal, else plain), bars, plain (a line every 30s), json (every second) or none; SIGUSR1 prints it at once")
	_ = c.RegisterFlagCompletionFunc("progress", cobra.FixedCompletions([]string{progressAuto, progressBars, progressPlain, progressJSON, progressNone}, cobra.ShellCompDirectiveNoFileComp))
	f.BoolVar(&fresh, "fresh", false, "begin anew, even if there is an interrupted run to go on with")
	f.Bool("dry-run", false, "read and check, send nothing, and say what would be sent (run.dry_run)")
	f.String("collections", "", "only these collections, separated by commas (run.collections)")
	f.String("batch-size", "", "documents per batch (run.batch_size)")
	f.String("sleep", "", "pause after each batch, such as 500ms; a plain number is seconds (run.sleep)")
	f.String("mode", "", "incremental, or full to send every document (run.mode)")
	f.Bool("prune", false, "send delete events for points whose documents are gone (run.orphans: prune)")
	f.Bool("allow-drift", false, "send even where the computed ids differ from the index's (run.allow_drift)")
	f.BoolVar(&noIncremental, "no-incremental", false, "the same as --mode full")
	f.Bool("wait", false, "wait until the index shows everything that was sent, and name what never appeared (run.wait)")
	f.String("wait-timeout", "", "how long to wait for the index to show what was sent (run.wait_timeout)")
	f.Bool("retry-unindexed", false, "send once more what was sent often enough and never appeared (run.attempts.retry)")
	_ = c.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{"incremental", "full"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// runOverrides turns the flags that were given into settings.
func runOverrides(cmd *cobra.Command, noIncremental bool) ([]config.Override, error) {
	var out []config.Override
	for flag, field := range map[string]string{
		"dry-run": "dry_run", "collections": "collections", "batch-size": "batch_size",
		"sleep": "sleep", "mode": "mode", "wait": "wait", "wait-timeout": "wait_timeout", "allow-drift": "allow_drift",
	} {
		if f := cmd.Flags().Lookup(flag); f.Changed {
			out = append(out, config.Override{Flag: "--" + flag, Path: []string{"run", field}, Value: f.Value.String()})
		}
	}
	for flag, field := range map[string]string{"http": "listen", "pprof": "pprof"} {
		if f := cmd.Flags().Lookup(flag); f.Changed {
			out = append(out, config.Override{Flag: "--" + flag, Path: []string{"observe", "http", field}, Value: f.Value.String()})
		}
	}
	if prune, _ := cmd.Flags().GetBool("prune"); prune {
		out = append(out, config.Override{Flag: "--prune", Path: []string{"run", "orphans"}, Value: string(pipeline.OrphansPrune)})
	}
	if retry, _ := cmd.Flags().GetBool("retry-unindexed"); retry {
		out = append(out, config.Override{Flag: "--retry-unindexed", Path: []string{"run", "attempts", "retry"}, Value: "true"})
	}
	if noIncremental {
		if mode, _ := cmd.Flags().GetString("mode"); mode != "" && mode != string(config.Full) {
			return nil, usageError("--no-incremental and --mode %s contradict each other", mode)
		}
		out = append(out, config.Override{Flag: "--no-incremental", Path: []string{"run", "mode"}, Value: string(config.Full)})
	}
	return out, nil
}

// backfillOptions are what a run is told beside its configuration.
type backfillOptions struct {
	plan     *pipeline.Plan // send what it says; nil looks for itself
	fresh    *bool          // begin anew; taken back as soon as the old state is gone
	progress string         // form
	log      *slog.Logger   // takes lines of progress; nil: standard error does
	narrate  bool           // tell the log of the start, each collection, and the end
	report   string         // file to write a report to
	observer *observer
}

// backfill is one run, from opening the plugins to its report.
func (a *app) backfill(ctx context.Context, cfg *config.Config, logger *slog.Logger, b backfillOptions) (err error) {
	written, err := newRunReport(b.report, cfg, b.plan != nil)
	if err != nil {
		return err
	}
	var report pipeline.Report
	monitor := &pipeline.Monitor{}
	inside := b.observer.begin(ctx, monitor, b.plan != nil)
	defer func() {
		err = written.finish(err)
		b.observer.ended(ctx, report, err)
	}()
	env := func(p config.Plugin) syncd.Env {
		return written.env(b.observer.env(syncd.Env{Logger: logger}, p), p)
	}
	return a.connected(inside, cfg, logger, env, !cfg.Run.DryRun, func(ctx context.Context, drain <-chan struct{}, s session) (err error) {
		out := newPrinter(a.stdout, cfg)
		out.paint = a.painter(a.stdout)
		o := options(cfg, s, out, logger)
		o.Drain, o.Monitor = drain, monitor
		a.logRun(o.RunID)
		job, err := jobOf(ctx, cfg, s)
		if err != nil {
			return failed(err)
		}
		var engineErr error
		switch {
		case b.plan != nil:
			if err := follow(*b.plan, cfg, &o); err != nil {
				return err
			}
			out.source = "the plan" // what is read, and counted
		case !cfg.Run.DryRun:
			st, err := a.openState(cfg, s, job, b.fresh, &o, logger)
			if err != nil {
				return failed(err)
			}
			if out.resumable = st != nil; st != nil {
				defer closing("keeping the state of the run", func() error { return st.Close(endOf(report, engineErr)) }, &err)
			}
		}
		a.logRun(o.RunID) // it may be that of an interrupted run
		if b.narrate {
			o.Observer = &narrator{out, logger}
		}
		b.observer.into(&o)
		unwatch := written.watch(&o, job.Fingerprint)
		shown := a.showProgress(b.progress, o.Monitor, b.log)
		out.w = shown.writer(a.stdout)
		var late error
		report, late, engineErr = a.engine(ctx, cfg, s, out, o)
		shown.stop()
		unwatch()
		out.w = a.stdout
		written.ran(report, out.arrivals)
		out.summary(report, engineErr)
		err = verdict(report, len(cfg.Run.Collections) == 0, late, engineErr)
		if b.narrate {
			narrateEnd(logger, report, err)
		}
		return err
	})
}

// verdict turns what became of a run into an error with an exit code. whole says that every collection of the mapping was read.
func verdict(report pipeline.Report, whole bool, late, engineErr error) error {
	switch {
	case engineErr != nil:
		return runError(engineErr)
	case report.Interrupted:
		return errInterrupted
	case whole && nothingFound(report):
		return &codeError{exitGuard, syncd.Hint(errors.New("the source has none of the collections"),
			"check the database's name and the collections' spelling; upper and lower case count")}
	case late != nil:
		return late
	case report.Total.Failed() > 0:
		hint := "mend what is named above and run it again; errors.dead_letter keeps such documents with their reasons"
		if report.Total.DeadLettered > 0 {
			hint = "mend what the dead letters say and run it again"
		}
		return &codeError{exitDocErrors, syncd.Hint(fmt.Errorf("%s could not be sent%s; all others were handled",
			plural(report.Total.Failed(), "document", "documents"), buried(report)), "%s", hint)}
	}
	return nil
}

// nothingFound reports whether none of the collections exists, which is hardly what was meant.
func nothingFound(r pipeline.Report) bool {
	return len(r.Collections) > 0 && !slices.ContainsFunc(r.Collections, func(c pipeline.CollectionReport) bool { return c.Found })
}

// buried says how many of the failed documents are among the dead letters.
func buried(r pipeline.Report) string {
	if n := r.Total.DeadLettered; n > 0 {
		return fmt.Sprintf(" (%d in the dead letters)", n)
	}
	return ""
}

// runError gives the error of a run its exit code, and a guard's its advice.
func runError(err error) error {
	var coverage *pipeline.CoverageError
	var guard *pipeline.GuardError
	var drift *pipeline.DriftError
	if lag := lagError(err); lag != nil {
		return lag
	}
	var usage *codeError
	if errors.Is(err, pipeline.ErrNotResumable) {
		return failed(syncd.Hint(err, "run it again: it begins anew; and report this"))
	}
	switch {
	case errors.As(err, &usage):
		return usage
	case errors.As(err, &coverage):
		return &codeError{exitGuard, syncd.Hint(fmt.Errorf("the run can't prove that it saw every document: %w", err),
			"documents may have been deleted and inserted meanwhile; run it again, and report it if it happens on a quiet collection")}
	case errors.As(err, &drift):
		return &codeError{exitGuard, syncd.Hint(fmt.Errorf("stopped before anything was sent: %w", err),
			"make mapping.seed, mapping.namespace and the collection's content type what the indexer uses; --allow-drift sends all the same")}
	case errors.As(err, &guard):
		return &codeError{exitGuard, syncd.Hint(fmt.Errorf("stopped by a guard: %w", err), "%s", guard.Advice)}
	}
	return failed(err)
}

// failed gives err the exit code of a failed run.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return &codeError{exitFailed, err}
}
