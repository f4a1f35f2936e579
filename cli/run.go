package cli

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/cli/progress"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/planfile"
)

func (a *app) runCommand() *cobra.Command {
	var common commonFlags
	var noIncremental bool
	var planPath string
	var fresh, once bool
	var reportFile, detail string
	var shown progressFlag
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
			if err := shown.check(); err != nil {
				return err
			}
			if !slices.Contains([]string{detailAuto, detailFull, detailCompact}, detail) {
				return usageError("--detail must be auto, full or compact, not %q", detail)
			}
			times, repeated, err := when.parse()
			if err != nil {
				return err
			}
			cfg, logger, err := a.load(&common, args, overrides)
			if err != nil {
				return err
			}
			b := backfillOptions{fresh: &fresh, progress: shown.formFor(&common), narrate: common.narrates(cmd), report: reportFile}
			if common.logFormat == "json" {
				b.log = logger
			}
			if when.set(&cfg.Schedule, repeated); !repeated && !once && planPath == "" && !cfg.Run.DryRun {
				times = cfg.Schedule.Runs()
				repeated = !times.IsZero()
			}
			if repeated && cfg.Run.Follow {
				return usageError("--follow runs until it is told to stop: leave --every and --cron out; schedule.reconcile looks at all documents again meanwhile")
			}
			if planPath != "" {
				if repeated {
					return usageError("a plan is sent once: leave --every and --cron out")
				}
				plan, err := (&job.Job{Config: cfg}).OpenPlan(planPath)
				if err != nil {
					return err
				}
				prune, _ := cmd.Flags().GetBool("prune")
				plan.WithoutDeletes = cmd.Flags().Changed("prune") && !prune
				b.plan = &plan
			}
			if b.observer, err = a.observe(cmd.Context(), cfg, logger); err != nil {
				return err
			}
			defer b.observer.close()
			b.detail, b.scheduled = a.detailOf(detail, common.quiet, cfg, a.stdout), repeated
			if repeated && b.detail == detailCompact && detail == detailAuto {
				b.detail = detailLast
			}
			if !repeated {
				return a.backfill(cmd.Context(), cfg, logger, b)
			}
			first := true
			return a.repeat(cmd.Context(), times, logger, func(ctx context.Context) error {
				if !first { // the file may have changed
					if cfg, logger, err = a.load(&common, args, overrides); err != nil {
						b.observer.begin(ctx, &job.Monitor{}, false)
						b.observer.ended(ctx, job.Report{}, err)
						return err
					}
				}
				first = false
				defer func() { b.announced = true }()
				return a.backfill(ctx, cfg, logger, b)
			})
		},
	}
	common.add(c)
	a.formatFlag(c)
	f := c.Flags()
	f.StringVar(&planPath, "plan", "", "send exactly what this plan says, its deletes among it, after asking the index again (see syncd plan); --prune=false leaves the deletes out")
	when.add(c)
	f.String("http", "", "serve metrics and health at this address, such as 127.0.0.1:9090 (observe.http.listen)")
	f.Bool("pprof", false, "serve profiles of the process, too (observe.http.pprof)")
	f.StringVar(&reportFile, "report", "", "write a report to this file when the run ends, however it ends; in a folder each run has a file of its own, and a name that ends with / is a folder, which is made if need be (see syncd report)")
	f.StringVar(&detail, "detail", detailAuto, "how much to print: full (a block for each collection), compact (a line for each that needed something), or auto: full for a job's first run on a terminal and for a dry run, else compact, and of scheduled runs one line each")
	_ = c.RegisterFlagCompletionFunc("detail", cobra.FixedCompletions([]string{detailAuto, detailFull, detailCompact}, cobra.ShellCompDirectiveNoFileComp))
	shown.add(c)
	f.BoolVar(&fresh, "fresh", false, "begin anew, even if there is an interrupted run to resume")
	f.BoolVar(&once, "once", false, "run once, whatever the configuration's schedule says")
	f.Bool("follow", false, "after the run, follow changes as they happen, until told to stop (run.follow)")
	f.Bool("dry-run", false, "read and check, send nothing, and say what would be sent (run.dry_run)")
	f.String("collections", "", collectionsUsage)
	f.String("batch-size", "", "documents per batch (run.batch_size)")
	spanVar(f, new(time.Duration), "sleep", 0, "pause after each batch, such as 500ms (run.sleep)")
	f.String("mode", "", "incremental, or full to send every document (run.mode)")
	f.Bool("prune", false, "send delete events for points whose documents are gone (run.orphans: prune)")
	f.Bool("allow-drift", false, "send even where the computed ids differ from the index's (run.allow_drift)")
	f.BoolVar(&noIncremental, "no-incremental", false, "the same as --mode full")
	f.Bool("wait", false, "wait until the index shows everything that was sent, and name what never appeared (run.wait)")
	spanVar(f, new(time.Duration), "wait-timeout", 0, "how long to wait for the index to show what was sent; without it, and without --wait, a run waits only on a terminal (run.wait_timeout)")
	f.Bool("retry-unindexed", false, "send once more what was sent often enough and never appeared (run.attempts.retry)")
	_ = c.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{"incremental", "full"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// reconciling says in the log why all documents are looked at again.
func reconciling(logger *slog.Logger, r job.Reconcile) {
	switch r.Cause {
	case job.CauseSchedule:
		logger.Info("looking at all documents again, by schedule.reconcile")
	case job.CauseRequest:
		logger.Info("looking at all documents again, as was asked for")
	case job.CausePositionLost:
		logger.Warn("the position in the stream is lost: looking at all documents again", "stream", r.Stream, "error", r.Err.Error(),
			"hint", "the source keeps its changes for less time than this job was down or behind; what was changed meanwhile is found by mapping.version, what was deleted by run.orphans: report or prune")
	case job.CauseCollectionGone:
		logger.Warn("a collection is gone: looking at all documents again", "stream", r.Stream, "error", r.Err.Error(),
			"hint", "there are no deletes of its documents; their points are orphans, which run.orphans: prune deletes behind its guards")
	}
}

// runOverrides turns the flags that were given into settings.
func runOverrides(cmd *cobra.Command, noIncremental bool) ([]config.Override, error) {
	var out []config.Override
	for flag, field := range map[string]string{
		"follow": "follow", "dry-run": "dry_run", "collections": "collections", "batch-size": "batch_size",
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
		out = append(out, config.Override{Flag: "--prune", Path: []string{"run", "orphans"}, Value: string(config.OrphansPrune)})
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

// waitTimeout is how long a run waits for the point count: nobody reads it in a job that runs by itself, which is to end when its
// work ends, unless it was asked to wait.
func waitTimeout(w *config.Waiting, stdout io.Writer) time.Duration {
	if w.WaitTimeoutSetting == nil && progress.IsTerminal(stdout) {
		return config.TerminalWait
	}
	return w.WaitTimeout
}

// backfillOptions are what a run is told beside its configuration.
type backfillOptions struct {
	plan     *planfile.Plan // send what it says; nil looks for itself
	fresh    *bool          // begin anew; taken back as soon as the old state is gone
	progress string         // form
	log      *slog.Logger   // takes lines of progress; nil: standard error does
	narrate  bool           // tell the log of the start, each collection, and the end
	report   string         // file to write a report to
	observer *observer

	detail    string // how much is printed
	scheduled bool   // it is one of many
	announced bool   // where it reads, asks and sends was said by an earlier one
}

// backfill is one run, from opening the plugins to its report.
func (a *app) backfill(ctx context.Context, cfg *config.Config, logger *slog.Logger, b backfillOptions) (err error) {
	stdout, tell := a.stdout, a.tell
	if a.json { // people are told nothing
		stdout = io.Discard
	} else {
		tell = nil
	}
	written, err := newRunReport(b.report, tell, cfg, b.plan != nil)
	if err != nil {
		return err
	}
	var result job.Result
	monitor := &job.Monitor{}
	inside := b.observer.begin(ctx, monitor, b.plan != nil)
	running := true // a run: what follows it is none
	again := func(r job.Reconcile) {
		reconciling(logger, r)
		b.observer.reconciles(r.Cause)
		written.reconciled(r)
		b.observer.begin(ctx, monitor, false)
		running = true
	}
	cfg.Run.WaitTimeout = waitTimeout(&cfg.Run.Waiting, a.stdout)
	defer func() {
		err = written.finish(result, err)
		if running || err != nil {
			b.observer.ended(ctx, result.Report, err)
		}
	}()
	env := func(env syncd.Env, p config.Plugin) syncd.Env { return written.env(b.observer.env(env, p), p) }
	return a.connected(inside, cfg, logger, env, func(ctx context.Context, j *job.Job) error {
		out := newPrinter(stdout, cfg)
		out.paint = a.painter(a.stdout)
		out.detail, out.scheduled, out.announced = b.detail, b.scheduled, b.announced
		if out.sent = b.plan; out.sent != nil {
			out.source = "the plan" // what is read, and counted
		}
		told := out.observer()
		if b.narrate {
			told = narrated(told, logger)
		}
		told.RunID = a.logRun
		var err error
		result, err = j.Backfill(ctx, job.Request{
			Plan: b.plan, Fresh: b.fresh, Monitor: monitor, Observer: told,
			Following: job.Following{
				Began: func(streams []syncd.Stream) {
					out.following(streams)
					if running { // an earlier process has done the run
						b.observer.ended(ctx, job.Report{}, nil)
						running = false
					}
					b.observer.follows(monitor, cfg.Run.StallAfter+2*cfg.Stream.Debounce)
				},
				Backfill: func(res job.Result, err error) {
					out.summary(res, err)
					b.observer.ended(ctx, res.Report, err)
					running = false
				},
				Reconciling: again,
			},
			Working: func(o *engine.Options, leader string) {
				b.observer.intoWork(o)
				working(logger, o.RunID, leader)
			},
			Watch: func(o *job.Options) (stop func()) {
				b.observer.into(o)
				unwatch := written.watch(o)
				shown := progress.Show(progress.Options{Form: b.progress, Monitor: o.Monitor, Output: a.notices, Log: b.log})
				out.w = shown.Writer(stdout)
				return func() {
					shown.Stop()
					unwatch()
					out.w = stdout
				}
			},
		})
		if result.Followed != nil && !running {
			out.followed(result.Followed)
			return err
		}
		out.summary(result, err)
		if b.narrate {
			narrateEnd(logger, result.Report, err)
		}
		return err
	})
}
