package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/syncdtest"
)

// TestCloseUntil checks that the end of the context ends the wait for a plugin that does not close, and that nothing else does.
func TestCloseUntil(t *testing.T) {
	broken := errors.New("broken")
	synctest.Test(t, func(t *testing.T) {
		if err := closeUntil(t.Context(), func() error { return broken }); !errors.Is(err, broken) {
			t.Errorf("a close that fails: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		held := make(chan struct{})
		defer close(held)
		start := time.Now()
		if err := closeUntil(ctx, func() error { <-held; return broken }); err != nil || time.Since(start) != closeAtOnce {
			t.Errorf("a close that hangs: %v after %s", err, time.Since(start))
		}
	})
}

// slow takes a second to close, and fails.
type slow string

func (s slow) Close() error {
	time.Sleep(time.Second)
	return errors.New(string(s))
}

type (
	slowSource struct {
		syncd.Source
		slow
	}
	slowChecker struct {
		syncd.Checker
		slow
	}
	slowSink struct {
		syncd.Sink
		slow
	}
)

func (s slowSource) Close() error  { return s.slow.Close() }
func (c slowChecker) Close() error { return c.slow.Close() }
func (s slowSink) Close() error    { return s.slow.Close() }

// TestPluginsCloseSideBySide, and all that fail are told of, the source first.
func TestPluginsCloseSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Plugins{
			Source: slowSource{slow: "a"}, Checker: slowChecker{slow: "b"}, Sink: slowSink{slow: "c"}, DeadLetters: slowSink{slow: "d"},
		}
		began := time.Now()
		err := p.close()
		if want := "closing the source: a\nclosing the checker: b\nclosing the sink: c\nclosing the dead letters: d"; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// opened counts what is opened and closed.
type opened struct {
	mu   sync.Mutex
	open []string
}

func (o *opened) add(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open = append(o.open, name)
}

// close removes name, so that what is left was not closed.
func (o *opened) close(name string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := slices.Index(o.open, name)
	if i < 0 {
		return errors.New(name + " is not open")
	}
	o.open = slices.Delete(o.open, i, i+1)
	return nil
}

type (
	countedSource struct {
		syncd.Source
		close func() error
	}
	countedChecker struct {
		syncd.Checker
		close func() error
	}
	countedSink struct {
		syncd.Sink
		close func() error
	}
)

func (s countedSource) Close() error  { return s.close() }
func (c countedChecker) Close() error { return c.close() }
func (s countedSink) Close() error    { return s.close() }

// takes is an opening that takes so long, and then ends with err.
func takes(d time.Duration, err error) func(context.Context) error {
	return func(ctx context.Context) error {
		at := time.Now().Add(d)
		select {
		case <-time.After(d):
			return err
		case <-ctx.Done():
			if !time.Now().Before(at) { // another one has failed at the very same moment
				return err
			}
			return fmt.Errorf("connecting: %w", ctx.Err())
		}
	}
}

// openingJob has the plugins source, checker, sink and dead, which open as said.
func openingJob(t *testing.T, run string, left *opened, how map[string]func(context.Context) error) *Job {
	t.Helper()
	f := fixture.New()
	f.Insert("page", 3, func(int) bool { return true })
	try := func(ctx context.Context, name string) (func() error, error) {
		if open := how[name]; open != nil {
			if err := open(ctx); err != nil {
				return nil, err
			}
		}
		left.add(name)
		return func() error { return left.close(name) }, nil
	}
	sink := func(name string) syncd.Plugin {
		return syncd.NewSink(name, "A sink.", stuckConfig{}, func(ctx context.Context, _ stuckConfig, _ syncd.Env) (syncd.Sink, error) {
			end, err := try(ctx, name)
			return countedSink{syncdtest.NewMemorySink(), end}, err
		})
	}
	registry, err := syncd.NewRegistry(
		syncd.NewSource("source", "A source.", placed{}, func(ctx context.Context, _ placed, _ syncd.Env) (syncd.Source, error) {
			end, err := try(ctx, "source")
			return countedSource{f.Source, end}, err
		}),
		syncd.NewChecker("checker", "A checker.", stuckConfig{}, func(ctx context.Context, _ stuckConfig, _ syncd.Env) (syncd.Checker, error) {
			end, err := try(ctx, "checker")
			return countedChecker{f.Checker, end}, err
		}),
		sink("sink"), sink("dead"),
	)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "syncd.yaml")
	text := "source: {source: {}}\nchecker: {checker: {}}\nsink: {sink: {}}\nerrors: {dead_letter: {dead: {}}}\n" +
		"mapping: {collections: {page: page}}\nrun: {" + run + "state_dir: " + t.TempDir() + "}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, diags := config.Load(config.Input{Path: path, Registry: registry})
	if cfg == nil {
		t.Fatal(diags)
	}
	return &Job{Config: cfg, Logger: slog.New(slog.DiscardHandler)}
}

// TestServersThatAreSlowToAnswerAreNamed once, after a second, and those that have answered or failed by then are not.
func TestServersThatAreSlowToAnswerAreNamed(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		how  map[string]func(context.Context) error
		want string
	}{
		"all are quick":      {map[string]func(context.Context) error{"source": takes(999*time.Millisecond, nil)}, ""},
		"one fails at once":  {map[string]func(context.Context) error{"source": takes(time.Minute, nil), "sink": takes(0, broken)}, ""},
		"one is slow":        {map[string]func(context.Context) error{"checker": takes(time.Minute, nil)}, `time=1s level=INFO msg="connecting to checker"` + "\n"},
		"one never answers":  {map[string]func(context.Context) error{"sink": takes(time.Minute, broken), "source": takes(2*time.Second, nil)}, `time=1s level=INFO msg="connecting to sink, source at mongodb://u:[redacted]@h:1"` + "\n"},
		"each place is once": {map[string]func(context.Context) error{"sink": takes(time.Minute, nil), "dead": takes(time.Minute, nil), "source": takes(time.Minute, nil), "checker": takes(time.Minute, nil)}, `time=1s level=INFO msg="connecting to sink, source at mongodb://u:[redacted]@h:1, checker"` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var said strings.Builder
				j := openingJob(t, "", &opened{}, c.how)
				if name == "each place is once" {
					j.Config.DeadLetter = j.Config.Sink
				}
				began := time.Now()
				j.Logger = slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
					if a.Key == slog.TimeKey {
						a.Value = slog.DurationValue(time.Since(began))
					}
					return a
				}}))
				_ = j.With(t.Context(), true, func(context.Context, *Plugins) error { return nil })
				time.Sleep(time.Hour)
				if said.String() != c.want {
					t.Errorf("said %q, want %q", said.String(), c.want)
				}
			})
		})
	}
}

// placed are settings with the address of a server, and a password that nobody is to see.
type placed struct{ stuckConfig }

func (placed) Location() string { return "mongodb://u:secret@h:1" }

// TestPluginsAreOpenedSideBySide: all take as long as the slowest; one that fails ends the wait for all, and what was opened is
// closed.
func TestPluginsAreOpenedSideBySide(t *testing.T) {
	broken := func(name string) error { return syncd.Hint(errors.New(name+" is broken"), "mend %s", name) }
	away := fmt.Errorf("could not connect: %w", syncd.ErrUnavailable)
	type how map[string]func(context.Context) error
	const slow = time.Hour
	late := func(context.Context) error { time.Sleep(5 * time.Second); return nil } // whatever its context says
	cases := map[string]struct {
		how       how
		run       string
		took      time.Duration
		err, hint string // empty: all are open
		noChecker bool
	}{
		"all are open at once": {
			how: how{"source": takes(time.Second, nil), "checker": takes(time.Second, nil), "sink": takes(time.Second, nil), "dead": takes(2*time.Second, nil)}, took: 2 * time.Second,
		},
		"two that fail at the same time are both told of, the sink first": {
			how:  how{"source": takes(time.Second, broken("the source")), "sink": takes(time.Second, broken("the sink")), "dead": takes(slow, nil), "checker": takes(slow, nil)},
			took: time.Second, err: "the sink is broken; the source is broken", hint: "mend the sink; mend the source",
		},
		"one opens though another has failed": {
			how: how{"source": takes(time.Second, broken("the source")), "sink": late}, took: 5 * time.Second, err: "the source is broken", hint: "mend the source",
		},
		"the wait for an index ends too": {
			how: how{"checker": takes(0, away), "source": takes(3*time.Second, broken("the source"))}, run: "on_check_unavailable: wait, ",
			took: 3 * time.Second, err: "the source is broken", hint: "mend the source",
		},
		"an index that is away and not needed": {how: how{"checker": takes(0, away), "source": takes(time.Second, nil)}, took: time.Second, noChecker: true},
		"an index that is away and needed": {
			how: how{"checker": takes(time.Second, away), "source": takes(slow, nil)}, run: "on_check_unavailable: fail, ",
			took: time.Second, err: "could not connect: unavailable",
		},
		"full mode asks no index": {how: how{"checker": takes(slow, nil)}, run: "mode: full, ", noChecker: true},
	}
	for _, name := range []string{"source", "checker", "sink", "dead"} {
		all := how{}
		for _, other := range []string{"source", "checker", "sink", "dead"} {
			all[other] = takes(slow, nil)
		}
		all[name] = takes(time.Second, broken(name))
		want := name + " is broken"
		if name == "dead" {
			want = "opening errors.dead_letter: " + want
		}
		cases["the others are not waited for when it fails: "+name] = struct {
			how       how
			run       string
			took      time.Duration
			err, hint string
			noChecker bool
		}{how: all, took: time.Second, err: want, hint: "mend " + name}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var left opened
			j := openingJob(t, c.run, &left, c.how)
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				err := j.With(t.Context(), true, func(_ context.Context, p *Plugins) error {
					if c.err != "" {
						t.Error("it was used")
					}
					if p.Source == nil || p.Sink == nil || p.DeadLetters == nil || (p.Checker == nil) != c.noChecker {
						t.Errorf("open: %+v", p)
					}
					return nil
				})
				if took := time.Since(start); took != c.took {
					t.Errorf("it took %s, want %s", took, c.took)
				}
				if got := fmt.Sprint(err); c.err == "" && err != nil || c.err != "" && got != c.err || syncd.HintOf(err) != c.hint {
					t.Errorf("%q with hint %q, want %q with %q", got, syncd.HintOf(err), c.err, c.hint)
				}
				if errors.Is(err, context.Canceled) {
					t.Error("what was cut off is told of")
				}
			})
			if len(left.open) > 0 {
				t.Errorf("left open: %s", strings.Join(left.open, ", "))
			}
		})
	}
}
