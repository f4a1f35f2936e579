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

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/tally"
)

// connected calls f with the job of a configuration. The first signal asks the job to finish what is under way, the second ends
// f's context; either gives the program the signal's exit code, if the job did not come to its end. env may be nil: see job.Job.
func (a *app) connected(ctx context.Context, cfg *config.Config, logger *slog.Logger, env func(syncd.Env, config.Plugin) syncd.Env,
	f func(ctx context.Context, j *job.Job) error,
) error {
	stop, running := interrupts(ctx, logger)
	defer stop.end()
	defer a.limitHeap(cfg.Run.Memory)()
	err := f(running, &job.Job{Config: cfg, Logger: logger, Getenv: a.env, Env: env, Drain: stop.drain})
	sig := stop.signal()
	// A plugin that was cut off by the second signal may not say so in its error.
	if sig == 0 || err == nil || job.OutcomeOf(err) != tally.Interrupted && !errors.Is(err, context.Canceled) && running.Err() == nil {
		return err
	}
	return &codeError{128 + int(sig), &job.EndError{
		Outcome: tally.Interrupted, Err: fmt.Errorf("interrupted by %s before everything was done: run it again to do the rest", signalName(sig)),
	}}
}

// interruption turns signals into an orderly end: the first lets the run finish what is under way, the second ends it.
type interruption struct {
	drain chan struct{} // closed at the first signal
	end   func()

	mu    sync.Mutex
	first syscall.Signal
}

// interrupts begins to watch. The context running ends at the second signal.
func interrupts(ctx context.Context, logger *slog.Logger) (s *interruption, running context.Context) {
	running, hard := context.WithCancel(ctx)
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
		hard()
		watch.Wait()
	}
	return s, running
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
