package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/pipeline"
)

func (a *app) runCommand() *cobra.Command {
	var path, logFormat, logLevel string
	var noIncremental bool
	c := &cobra.Command{
		Use:   "run [-c] FILE",
		Short: "Read the collections and send what the index lacks",
		Example: `  syncd run -c configs/prod.yaml
  syncd run configs/dev.yaml --dry-run --collections page,workItem`,
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := configPath(path, args)
			if err != nil {
				return err
			}
			logger, err := a.logger(logFormat, logLevel)
			if err != nil {
				return err
			}
			overrides, err := runOverrides(cmd, noIncremental)
			if err != nil {
				return err
			}
			cfg, diags := config.Load(config.Input{
				Path: file, Environ: a.environ, Overrides: overrides, Registry: a.registry,
			})
			if a.printDiagnostics(diags) {
				return &codeError{exitInvalid, fmt.Errorf("%s can't be used: %s", file, plural(len(diags), "problem", "problems"))}
			}
			return a.backfill(cmd.Context(), cfg, logger)
		},
	}
	f := c.Flags()
	f.StringVarP(&path, "config", "c", "", "the configuration file")
	f.Bool("dry-run", false, "read and check, send nothing, and say what would be sent (run.dry_run)")
	f.String("collections", "", "only these collections, separated by commas (run.collections)")
	f.String("batch-size", "", "documents per batch (run.batch_size)")
	f.String("sleep", "", "pause after each batch, such as 500ms; a plain number is seconds (run.sleep)")
	f.String("mode", "", "incremental, or full to send every document (run.mode)")
	f.BoolVar(&noIncremental, "no-incremental", false, "the same as --mode full")
	f.String("wait-timeout", "", "how long to wait for the index to show what was sent (run.wait_timeout)")
	f.StringVar(&logFormat, "log-format", "text", "how notices are written: text or json")
	f.StringVar(&logLevel, "log-level", "info", "the least important notice to write: debug, info, warn or error")
	_ = c.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{"incremental", "full"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("log-format", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// runOverrides turns the flags that were given into settings.
func runOverrides(cmd *cobra.Command, noIncremental bool) ([]config.Override, error) {
	var out []config.Override
	for flag, field := range map[string]string{
		"dry-run": "dry_run", "collections": "collections", "batch-size": "batch_size",
		"sleep": "sleep", "mode": "mode", "wait-timeout": "wait_timeout",
	} {
		if f := cmd.Flags().Lookup(flag); f.Changed {
			out = append(out, config.Override{Flag: "--" + flag, Path: []string{"run", field}, Value: f.Value.String()})
		}
	}
	if noIncremental {
		if mode, _ := cmd.Flags().GetString("mode"); mode != "" && mode != string(config.Full) {
			return nil, usageError("--no-incremental and --mode %s contradict each other", mode)
		}
		out = append(out, config.Override{Flag: "--no-incremental", Path: []string{"run", "mode"}, Value: string(config.Full)})
	}
	return out, nil
}

func (a *app) logger(format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usageError("--log-level must be debug, info, warn or error, not %q", level)
	}
	opts := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(a.stderr, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(a.stderr, opts)), nil
	}
	return nil, usageError("--log-format must be text or json, not %q", format)
}

// backfill opens the plugins, runs the engine, and prints the report.
func (a *app) backfill(ctx context.Context, cfg *config.Config, logger *slog.Logger) (err error) {
	stop, opening, running := interrupts(ctx, logger)
	defer stop.end()
	env := syncd.Env{Logger: logger}

	defer func() {
		if sig := stop.signal(); sig != 0 && (err == nil || errors.Is(err, context.Canceled)) {
			err = &codeError{128 + int(sig), fmt.Errorf("interrupted by %s before everything was done: run it again to send the rest", signalName(sig))}
		}
	}()

	sink, err := a.openSink(opening, cfg, env)
	if err != nil {
		return failed(err)
	}
	if sink != nil {
		defer closing("closing the sink", sink.Close, &err)
	}
	source, err := cfg.Source.OpenSource(opening, cfg.Source.Settings, env)
	if err != nil {
		return failed(err)
	}
	defer closing("closing the source", source.Close, &err)
	checker, err := a.openChecker(opening, cfg, env)
	if err != nil {
		return failed(err)
	}
	if checker != nil {
		defer closing("closing the checker", checker.Close, &err)
	}

	out := newPrinter(a.stdout, cfg)
	report, err := pipeline.Run(running, pipeline.Options{
		RunID: uuid.NewString(), Source: source, Checker: checker, Sink: sink, Rules: cfg.Mapping.Rules,
		DryRun: cfg.Run.DryRun, BatchSize: cfg.Run.BatchSize, BatchBytes: cfg.Run.BatchBytes, Sleep: cfg.Run.Sleep,
		Readers: cfg.Run.Readers, Workers: cfg.Run.Workers,
		StopOnFailure: cfg.Errors.Tolerance == config.TolerateNone, WaitTimeout: cfg.Run.WaitTimeout,
		Drain: stop.drain, Observer: out, Logger: logger,
	})
	out.summary(report, err)
	var coverage *pipeline.CoverageError
	switch {
	case errors.As(err, &coverage):
		return &codeError{exitGuard, syncd.Hint(fmt.Errorf("the run can't prove that it saw every document: %w", err),
			"documents may have been deleted and inserted meanwhile; run it again, and report it if it happens on a quiet collection")}
	case err != nil:
		return failed(err)
	case report.Total.Failed() > 0:
		return &codeError{exitDocErrors, fmt.Errorf("%s could not be sent; all others were handled",
			plural(report.Total.Failed(), "document", "documents"))}
	}
	return nil
}

// failed gives err the exit code of a failed run.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return &codeError{exitFailed, err}
}

// closing closes a plugin and keeps its error if there is none yet.
func closing(what string, f func() error, err *error) {
	if cerr := f(); cerr != nil && *err == nil {
		*err = failed(fmt.Errorf("%s: %w", what, cerr))
	}
}

func (a *app) openSink(ctx context.Context, cfg *config.Config, env syncd.Env) (syncd.Sink, error) {
	if cfg.Run.DryRun {
		return nil, nil //nolint:nilnil // a dry run has no sink
	}
	return cfg.Sink.OpenSink(ctx, cfg.Sink.Settings, env)
}

// openChecker opens the checker, or returns nil when every document is to be sent: in full mode, or where the policy says so
// about an index that can't be reached.
func (a *app) openChecker(ctx context.Context, cfg *config.Config, env syncd.Env) (syncd.Checker, error) {
	if cfg.Run.Mode == config.Full {
		return nil, nil //nolint:nilnil // nothing is asked
	}
	open := func() (syncd.Checker, error) {
		return cfg.Checker.OpenChecker(ctx, cfg.Checker.Settings, env)
	}
	checker, err := open()
	if err == nil || !errors.Is(err, syncd.ErrUnavailable) || ctx.Err() != nil {
		return checker, err
	}
	policy := slog.String("policy", "run.on_check_unavailable: "+string(cfg.Run.OnCheckUnavailable))
	label := cfg.Checker.Label()
	switch cfg.Run.OnCheckUnavailable {
	case config.OutageFull:
		env.Logger.Warn(fmt.Sprintf("could not connect to %s (%v): falling back to full backfill", label, err), policy)
		return nil, nil //nolint:nilnil // nothing is asked
	case config.OutageWait:
		env.Logger.Warn(fmt.Sprintf("could not connect to %s (%v): waiting for it", label, err), policy)
		return backoff.Retry(ctx, func() (syncd.Checker, error) {
			c, err := open()
			if err != nil && !errors.Is(err, syncd.ErrUnavailable) {
				return nil, backoff.Permanent(err)
			}
			return c, err
		}, backoff.WithBackOff(&backoff.ExponentialBackOff{
			InitialInterval: 500 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: 15 * time.Second,
		}), backoff.WithMaxElapsedTime(0))
	}
	return nil, err
}

// interruption turns signals into an orderly end: the first lets the run finish what is under way, the second ends it.
type interruption struct {
	drain chan struct{} // closed at the first signal
	end   func()

	mu    sync.Mutex
	first syscall.Signal
}

// interrupts begins to watch. The context opening ends at the first signal, since nothing is under way while plugins open,
// and running at the second.
func interrupts(ctx context.Context, logger *slog.Logger) (s *interruption, opening, running context.Context) {
	running, hard := context.WithCancel(ctx)
	opening, soft := context.WithCancel(running)
	s = &interruption{drain: make(chan struct{})}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case sig := <-signals:
			s.mu.Lock()
			s.first, _ = sig.(syscall.Signal)
			s.mu.Unlock()
			logger.Warn("interrupted: finishing what is under way; a second signal stops at once", "signal", sig.String())
			soft()
			close(s.drain)
		case <-running.Done():
			return
		}
		select {
		case <-signals:
			hard()
		case <-running.Done():
		}
	})
	s.end = func() {
		signal.Stop(signals)
		soft()
		hard()
		watch.Wait()
	}
	return s, opening, running
}

// signal returns the signal that interrupted the run, or 0.
func (s *interruption) signal() syscall.Signal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first
}

func signalName(s syscall.Signal) string {
	switch s {
	case syscall.SIGINT:
		return "SIGINT"
	case syscall.SIGTERM:
		return "SIGTERM"
	}
	return s.String()
}
