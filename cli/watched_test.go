package cli

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/cli/progress"
	"github.com/syncd-io/syncd/syncdtest"
)

// lockedBuffer is written to by a command, and read meanwhile.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// heldChecker answers when the output shows what is awaited.
type heldChecker struct {
	*syncdtest.MemoryChecker
	until func(context.Context)
}

func (c *heldChecker) Check(ctx context.Context, points []syncd.Point, verdicts []syncd.Verdict) error {
	c.until(ctx)
	return c.MemoryChecker.Check(ctx, points, verdicts)
}

// shows waits until the output has a text.
func (b *lockedBuffer) shows(t *testing.T, what string) func(context.Context) {
	return func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		for tick := time.NewTicker(5 * time.Millisecond); !strings.Contains(b.String(), what); {
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Errorf("%q is not shown:\n%s", what, b.String())
				return
			}
		}
	}
}

// TestWhatLooksAtAllDocumentsShowsItsProgress: while the index is asked, standard error says how far it is.
func TestWhatLooksAtAllDocumentsShowsItsProgress(t *testing.T) {
	for _, command := range []string{"run", "plan", "verify"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.source.Insert("page", syncdtest.MemoryDoc{ID: "a"})
			w.checker.Put(point("a", "0"), nil)
			var stdout, stderr lockedBuffer
			code := program{
				args:   []string{command, "--progress", "json", "-c", write(t, t.TempDir(), "syncd.yaml", worldConfig)},
				stdout: &stdout, stderr: &stderr,
				plugins: []syncd.Plugin{
					w.source.Plugin("memory"),
					syncd.NewChecker("memory", "Asks.", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Checker, error) {
						return &heldChecker{w.checker, stderr.shows(t, `"phase":"reading"`)}, nil
					}),
					syncd.NewSink("memory", "Keeps.", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Sink, error) { return w.sink, nil }),
				},
			}.run(t.Context())
			if code != 0 && code != exitStopped || strings.Contains(stdout.String(), `"phase"`) {
				t.Errorf("ended with %d: %s%s", code, stdout.String(), stderr.String())
			}
		})
	}
}

// TestSlowServersAreNamedOnStandardError, and not with -q.
func TestSlowServersAreNamedOnStandardError(t *testing.T) {
	t.Parallel()
	w := newWorld()
	var stdout, stderr lockedBuffer
	const line = `msg="connecting to memory"`
	code := program{
		args: []string{"plan", "-c", write(t, t.TempDir(), "syncd.yaml", worldConfig)}, stdout: &stdout, stderr: &stderr,
		plugins: []syncd.Plugin{
			w.source.Plugin("memory"),
			syncd.NewChecker("memory", "Asks.", struct{}{}, func(ctx context.Context, _ struct{}, _ syncd.Env) (syncd.Checker, error) {
				stderr.shows(t, line)(ctx)
				return w.checker, nil
			}),
			syncd.NewSink("memory", "Keeps.", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Sink, error) { return w.sink, nil }),
		},
	}.run(t.Context())
	if strings.Contains(stdout.String(), "connecting") || strings.Count(stderr.String(), line) != 1 {
		t.Errorf("ended with %d: %s%s", code, stdout.String(), stderr.String())
	}
	a := newApp(program{stderr: &stderr}, nil)
	logger, err := a.logger("text", (&commonFlags{quiet: true}).level())
	if err != nil {
		t.Fatal(err)
	}
	if logger.Info("a notice"); strings.Contains(stderr.String(), "a notice") {
		t.Error("-q leaves notices")
	}
}

// TestQuietShowsNoProgress that was not asked for.
func TestQuietShowsNoProgress(t *testing.T) {
	for _, c := range []struct {
		quiet      bool
		form, want string
	}{{true, progress.Auto, progress.None}, {true, progress.JSON, progress.JSON}, {false, progress.Auto, progress.Auto}} {
		if got := (&progressFlag{c.form}).formFor(&commonFlags{quiet: c.quiet}); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
