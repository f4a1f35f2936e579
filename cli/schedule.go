package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/schedule"
)

// scheduleFlags say when a run is repeated.
type scheduleFlags struct {
	every  time.Duration
	cron   string
	jitter time.Duration
	given  func(flag string) bool // on the command line; nil: none is
}

func (f *scheduleFlags) add(c *cobra.Command) {
	fs := c.Flags()
	f.given = fs.Changed
	spanVar(fs, &f.every, "every", 0, "run again and again, so long after the last start, such as 15m; a run that takes longer delays the next")
	fs.StringVar(&f.cron, "cron", "", `run at the times of this cron expression, such as "*/15 * * * *"; CRON_TZ=Europe/Berlin in front sets the time zone`)
	spanVar(fs, &f.jitter, "jitter", -1, "delay each scheduled run by a random time up to this; by default a tenth of the interval, at most 30s")
}

// parse returns the schedule, or ok false where there is none.
func (f *scheduleFlags) parse() (s schedule.Schedule, ok bool, err error) {
	switch {
	case f.cron != "" && f.every != 0:
		return s, false, usageError("--every and --cron are two schedules: keep one")
	case f.every < time.Second && (f.every != 0 || f.given != nil && f.given("every")):
		return s, false, usageError("--every must be at least 1s, not %s", f.every)
	case f.every > 0:
		s = schedule.Every(f.every)
	case f.cron != "":
		if s, err = schedule.Cron(f.cron); err != nil {
			return s, false, usageError("--cron %w", err)
		}
	default:
		if f.jitter >= 0 {
			return s, false, usageError("--jitter needs --every or --cron")
		}
		return s, false, nil
	}
	if f.jitter >= 0 {
		s.Jitter = f.jitter
	}
	return s, true, nil
}

// set makes the schedule of the flags, where one was given, that of the configuration.
func (f *scheduleFlags) set(s *config.Schedule, given bool) {
	if given {
		s.Every, s.Cron, s.Jitter = f.every, f.cron, nil
		if f.jitter >= 0 {
			s.Jitter = &f.jitter
		}
	}
}

// repeat runs f by the schedule until a signal comes. A run that fails does not end it: it is logged, and the next one comes.
// Runs never overlap. f is told nothing of signals; it sees to them itself while it runs.
func (a *app) repeat(ctx context.Context, s schedule.Schedule, logger *slog.Logger, f func(context.Context) error) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	return a.repeatUntil(ctx, s, logger, signals, f)
}

func (a *app) repeatUntil(ctx context.Context, s schedule.Schedule, logger *slog.Logger, signals <-chan os.Signal, f func(context.Context) error) error {
	var last time.Time
	for {
		at := s.Next(last, time.Now())
		if wait := time.Until(at); wait > 0 {
			level := slog.LevelDebug // each run has a line of its own
			if last.IsZero() {
				level = slog.LevelInfo
			}
			logger.Log(ctx, level, "waiting for the next run", "at", at.UTC().Format(time.RFC3339))
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case sig := <-signals:
				timer.Stop()
				logger.Info("ending between two runs", "signal", sig.String())
				return nil
			case <-ctx.Done():
				timer.Stop()
				return nil
			}
		}
		last = time.Now()
		err := f(ctx)
		select {
		case <-signals: // the run saw it, too
			return err
		default:
		}
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			a.logFailure(logger, err)
		}
	}
}

// logFailure says in the log what would have ended a single run.
func (a *app) logFailure(logger *slog.Logger, err error) {
	code := codeOf(err)
	args := []any{"exit_code", code}
	if hint := syncd.HintOf(err); hint != "" {
		args = append(args, "hint", hint)
	}
	level := slog.LevelError
	if code == exitFailures {
		level = slog.LevelWarn
	}
	logger.Log(context.Background(), level, fmt.Sprintf("the run ended with an error, the next one comes by the schedule: %v", err), args...)
}
