package cli

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/syncdtest"

	"github.com/syncd-io/syncd/internal/schedule"
)

func TestScheduleFlags(t *testing.T) {
	for _, c := range []struct {
		flags  scheduleFlags
		ok     bool
		jitter time.Duration
		err    string
	}{
		{scheduleFlags{jitter: -1}, false, 0, ""},
		{scheduleFlags{every: 15 * time.Minute, jitter: -1}, true, 30 * time.Second, ""},
		{scheduleFlags{every: 10 * time.Second, jitter: -1}, true, time.Second, ""},
		{scheduleFlags{every: 10 * time.Second, jitter: 0}, true, 0, ""},
		{scheduleFlags{cron: "*/15 * * * *", jitter: -1}, true, 30 * time.Second, ""},
		{scheduleFlags{cron: "CRON_TZ=Europe/Berlin 0 3 * * *", jitter: time.Minute}, true, time.Minute, ""},
		{scheduleFlags{every: time.Millisecond, jitter: -1}, false, 0, "--every must be at least 1s"},
		{scheduleFlags{cron: "every day", jitter: -1}, false, 0, `--cron "every day" is not a cron expression`},
		{scheduleFlags{jitter: time.Second}, false, 0, "--jitter needs --every or --cron"},
	} {
		s, ok, err := c.flags.parse()
		if ok != c.ok || s.Jitter != c.jitter && c.err == "" || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%+v: %+v, %t, %v", c.flags, s, ok, err)
		}
	}
}

// scheduled is the log of a schedule whose runs take some time, until a signal after a while.
func scheduled(t *testing.T, s schedule.Schedule, takes func(n int) time.Duration, fail func(n int) error, stop time.Duration) (starts []time.Duration, log string, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		signals := make(chan os.Signal, 2)
		time.AfterFunc(stop, func() { signals <- syscall.SIGTERM })
		var out bytes.Buffer
		a := &app{}
		n := 0
		err = a.repeatUntil(t.Context(), s, slog.New(slog.NewTextHandler(&out, nil)), signals, func(context.Context) error {
			starts = append(starts, time.Since(began))
			time.Sleep(takes(n))
			n++
			return fail(n - 1)
		})
		log = out.String()
	})
	return starts, log, err
}

func TestScheduleRepeats(t *testing.T) {
	quick := func(int) time.Duration { return time.Second }
	fine := func(int) error { return nil }
	starts, log, err := scheduled(t, everyMinute(0), quick, fine, 150*time.Second)
	if err != nil || len(starts) != 3 || starts[0] != 0 || starts[1] != time.Minute || starts[2] != 2*time.Minute {
		t.Errorf("%v, %v", starts, err)
	}
	if !strings.Contains(log, "ending between two runs") {
		t.Error(log)
	}

	// A run that takes longer than the interval delays the next one, and none is made up for.
	starts, _, err = scheduled(t, everyMinute(0), func(n int) time.Duration {
		return time.Duration(3-2*min(n, 1)) * time.Minute / 2
	}, fine, 200*time.Second)
	if err != nil || len(starts) != 3 || starts[1] != 90*time.Second || starts[2] != 150*time.Second {
		t.Errorf("%v, %v", starts, err)
	}
}

func TestScheduleOutlivesFailures(t *testing.T) {
	boom := errors.New("broken")
	starts, log, err := scheduled(t, everyMinute(0), func(int) time.Duration { return 0 }, func(n int) error {
		if n == 0 {
			return &codeError{exitStopped, boom}
		}
		return nil
	}, 90*time.Second)
	if err != nil || len(starts) != 2 {
		t.Errorf("%v, %v", starts, err)
	}
	if !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "broken") || !strings.Contains(log, "exit_code=4") {
		t.Error(log)
	}
}

// TestScheduleEndsWithTheRun has the signal come while a run is under way: its error is the end's.
func TestScheduleEndsWithTheRun(t *testing.T) {
	cut := &codeError{143, job.ErrInterrupted}
	starts, _, err := scheduled(t, everyMinute(0), func(int) time.Duration { return 10 * time.Second }, func(int) error { return cut }, 5*time.Second)
	if !errors.Is(err, job.ErrInterrupted) || len(starts) != 1 {
		t.Errorf("%v, %v", starts, err)
	}
}

func TestScheduleJitter(t *testing.T) {
	s := everyMinute(10 * time.Second)
	now := time.Now()
	seen := map[time.Duration]bool{}
	for range 200 {
		d := s.Next(now, now).Sub(now)
		if d < time.Minute || d >= 70*time.Second {
			t.Fatalf("delayed by %s", d)
		}
		seen[d] = true
	}
	if len(seen) < 100 {
		t.Errorf("only %d different delays", len(seen))
	}
}

// TestACronExpressionThatNeverComes is refused: there would be no pause between its runs.
func TestACronExpressionThatNeverComes(t *testing.T) {
	f := scheduleFlags{cron: "0 0 30 2 *", jitter: -1}
	if s, _, err := f.parse(); err == nil {
		t.Errorf("it runs at %s", s.Next(time.Now(), time.Now()))
	}
}

// TestFreshOutlivesAFailure: a scheduled run that could not even open its plugins has not begun anew yet.
func TestFreshOutlivesAFailure(t *testing.T) {
	a := newWorld()
	for _, id := range []string{"a", "b", "c"} {
		a.source.Insert("page", syncdtest.MemoryDoc{ID: id})
	}
	sink := syncdtest.NewMemorySink()
	a.sink = syncdtest.FaultySink(sink, syncdtest.SinkFaults{Write: syncdtest.Nth(2, syncdtest.Fault{Err: errors.New("cut off")})})
	more := "run: {attempts: {max: 0}, batch_size: 1, workers: 1, wait_timeout: 0s, state_dir: " + t.TempDir() + "}\n"
	if code, out := a.run(t, more, "run"); code != exitFailed {
		t.Fatalf("%d\n%s", code, out)
	}
	opened := 0
	a.open = func(context.Context) (syncd.Checker, error) {
		if opened++; opened == 1 {
			return nil, errors.New("not yet")
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM) // it ends behind this run
		return a.checker, nil
	}
	_, out := a.run(t, more, "run", "--every", "1s", "--fresh")
	if opened != 2 || strings.Contains(out, "Resuming") {
		t.Errorf("opened %d times\n%s", opened, out)
	}
}

func everyMinute(jitter time.Duration) schedule.Schedule {
	s := schedule.Every(time.Minute)
	s.Jitter = jitter
	return s
}
