package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/pipeline"
)

// session is a set of open plugins.
type session struct {
	source  syncd.Source
	checker syncd.Checker // nil: nothing is asked
	sink    syncd.Sink    // nil where nothing is sent
	dead    syncd.Sink    // takes the documents that can't be sent; nil if there is no such place
}

// envOf gives each plugin what it is opened with.
type envOf func(config.Plugin) syncd.Env

// plainEnv is nothing but the log.
func plainEnv(logger *slog.Logger) envOf {
	return func(config.Plugin) syncd.Env { return syncd.Env{Logger: logger} }
}

// open opens the plugins that a command needs, the sink first, so that nothing is read that can't be sent. On error nothing
// is left open.
func (a *app) open(ctx context.Context, cfg *config.Config, env envOf, withSink bool) (s session, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if withSink {
		if s.sink, err = cfg.Sink.OpenSink(ctx, cfg.Sink.Settings, env(cfg.Sink)); err != nil {
			return session{}, err
		}
		if cfg.DeadLetter.Settings != nil {
			if s.dead, err = cfg.DeadLetter.OpenSink(ctx, cfg.DeadLetter.Settings, env(cfg.DeadLetter)); err != nil {
				return s, fmt.Errorf("opening errors.dead_letter: %w", err)
			}
		}
	}
	if s.source, err = cfg.Source.OpenSource(ctx, cfg.Source.Settings, env(cfg.Source)); err != nil {
		return s, err
	}
	s.checker, err = openChecker(ctx, cfg, env(cfg.Checker))
	return s, err
}

// close closes what is open, the source first.
func (s session) close() error {
	var errs []error
	if s.source != nil {
		if err := s.source.Close(); err != nil {
			errs = append(errs, fmt.Errorf("closing the source: %w", err))
		}
	}
	if s.checker != nil {
		if err := s.checker.Close(); err != nil {
			errs = append(errs, fmt.Errorf("closing the checker: %w", err))
		}
	}
	if s.sink != nil {
		if err := s.sink.Close(); err != nil {
			errs = append(errs, fmt.Errorf("closing the sink: %w", err))
		}
	}
	if s.dead != nil {
		if err := s.dead.Close(); err != nil {
			errs = append(errs, fmt.Errorf("closing the dead letters: %w", err))
		}
	}
	return errors.Join(errs...)
}

// closing closes a plugin and keeps its error if there is none yet.
func closing(what string, f func() error, err *error) {
	if cerr := f(); cerr != nil && *err == nil {
		*err = failed(fmt.Errorf("%s: %w", what, cerr))
	}
}

// openChecker opens the checker, or returns nil when every document is to be sent: in full mode, or where the policy says so
// about an index that can't be reached.
func openChecker(ctx context.Context, cfg *config.Config, env syncd.Env) (syncd.Checker, error) {
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
	why := strings.TrimPrefix(err.Error(), "could not connect to "+label+" ") // it is said below
	switch cfg.Run.OnCheckUnavailable {
	case config.OutageFull:
		env.Logger.Warn(fmt.Sprintf("could not connect to %s (%v): falling back to full backfill", label, why), policy,
			slog.String("hint", "if every document must not be sent again, set run.on_check_unavailable: fail"))
		return nil, nil //nolint:nilnil // nothing is asked
	case config.OutageWait:
		env.Logger.Warn(fmt.Sprintf("could not connect to %s (%v): waiting for it", label, why), policy, slog.String("hint", syncd.HintOf(err)))
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

// commonFlags are those of every command that connects.
type commonFlags struct {
	path, logFormat, logLevel string
	quiet, verbose            bool
}

func (f *commonFlags) add(c *cobra.Command) {
	configFlag(c, &f.path)
	c.Flags().StringVar(&f.logFormat, "log-format", "text", "how notices are written: text or json")
	c.Flags().StringVar(&f.logLevel, "log-level", "info", "the least important notice to write: debug, info, warn or error")
	c.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "no progress, and no notices but warnings and errors")
	c.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "the same as --log-level debug")
	c.MarkFlagsMutuallyExclusive("quiet", "verbose", "log-level")
	_ = c.RegisterFlagCompletionFunc("log-format", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp))
}

func (f *commonFlags) level() string {
	switch {
	case f.quiet:
		return "warn"
	case f.verbose:
		return "debug"
	}
	return f.logLevel
}

// narrates reports whether the log tells how a run goes: for programs that read it, and for people who ask for it. Standard
// output tells it to all others.
func (f *commonFlags) narrates(c *cobra.Command) bool {
	return !f.quiet && (f.logFormat == "json" || f.verbose || c.Flags().Changed("log-level"))
}

// progressForm is the form of progress that was asked for, if any is to be shown.
func (f *commonFlags) progressForm(form string) string {
	if f.quiet && form == progressAuto {
		return progressNone
	}
	return form
}

// load reads the configuration that the flags and the command's one free argument name.
func (a *app) load(f *commonFlags, args []string, overrides []config.Override) (*config.Config, *slog.Logger, error) {
	file, err := configPath(f.path, args)
	if err != nil {
		return nil, nil, err
	}
	logger, err := a.logger(f.logFormat, f.level())
	if err != nil {
		return nil, nil, err
	}
	cfg, diags := config.Load(config.Input{Path: file, Environ: a.environ, Overrides: overrides, Registry: a.registry})
	if a.printDiagnostics(diags) {
		return nil, nil, &codeError{exitInvalid, fmt.Errorf("%s can't be used: %s", file, plural(len(diags), "problem", "problems"))}
	}
	return cfg, logger, nil
}

// options are a run's, from its configuration.
func options(cfg *config.Config, s session, observer pipeline.Observer, logger *slog.Logger) pipeline.Options {
	return pipeline.Options{
		RunID: uuid.NewString(), Source: s.source, Checker: s.checker, Sink: s.sink, Rules: cfg.Mapping.Rules,
		DryRun: cfg.Run.DryRun, BatchSize: cfg.Run.BatchSize, BatchBytes: cfg.Run.BatchBytes, Sleep: cfg.Run.Sleep,
		Readers: cfg.Run.Readers, Workers: cfg.Run.Workers,
		Limits:  pipeline.Limits{DocumentsPerSecond: cfg.Limits.DocumentsPerSecond, BytesPerSecond: cfg.Limits.BytesPerSecond},
		Orphans: pipeline.OrphanMode(cfg.Run.Orphans), Tombstones: cfg.Run.DeleteFormat == "tombstone", MinAge: cfg.Run.MinAge,
		Guards: pipeline.Guards{
			AllowDrift: cfg.Run.AllowDrift, MaxEvents: cfg.Limits.MaxEvents,
			MaxMissingRatio: cfg.Limits.MaxMissingRatio, MaxDeletes: cfg.Limits.MaxDeletes,
		},
		StopOnFailure: cfg.Errors.Tolerance == config.TolerateNone, MaxFailures: cfg.Errors.Max, DeadLetters: s.dead,
		Oversize: pipeline.Oversize(cfg.Errors.Oversize), WaitForIndex: cfg.Run.OnCheckUnavailable == config.OutageWait,
		WaitTimeout: cfg.Run.WaitTimeout, StallAfter: cfg.Run.StallAfter,
		Events: cfg.Event.Encoder(), Observer: observer, Logger: logger,
	}
}
