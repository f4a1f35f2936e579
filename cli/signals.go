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

	"github.com/syncd-io/syncd/config"
)

// errInterrupted says that a signal ended the work before it was done.
var errInterrupted = errors.New("interrupted")

// connected opens the plugins, calls f with them, and closes them. The first signal closes drain, which asks f to finish what
// is under way; the second ends f's context.
func (a *app) connected(ctx context.Context, cfg *config.Config, logger *slog.Logger, env envOf, withSink bool,
	f func(ctx context.Context, drain <-chan struct{}, s session) error,
) (err error) {
	stop, opening, running := interrupts(ctx, logger)
	defer stop.end()
	defer func() {
		if sig := stop.signal(); sig != 0 && err != nil &&
			// A plugin that was cut off by the second signal may not say so in its error.
			(errors.Is(err, errInterrupted) || errors.Is(err, context.Canceled) || running.Err() != nil) {
			err = &codeError{128 + int(sig), fmt.Errorf("interrupted by %s before everything was done: run it again to do the rest", signalName(sig))}
		}
	}()
	s, err := a.open(opening, cfg, env, withSink)
	if err != nil {
		if opening.Err() != nil {
			err = errors.Join(errInterrupted, err)
		}
		return failed(err)
	}
	defer func() {
		if cerr := closeUntil(running, s.close); cerr != nil && err == nil {
			err = failed(cerr)
		}
	}()
	return f(running, stop.drain, s)
}

// closeAtOnce is how long plugins may still take to close after the second signal; servers that do not answer are not waited for.
const closeAtOnce = time.Second

// closeUntil closes, and gives up soon after ctx has ended.
func closeUntil(ctx context.Context, f func() error) error {
	closed := make(chan error, 1)
	go func() { closed <- f() }()
	select {
	case err := <-closed:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-closed:
		return err
	case <-time.After(closeAtOnce):
		return nil
	}
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
