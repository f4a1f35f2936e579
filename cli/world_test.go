package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/syncdtest"
)

// world is a program over memory plugins.
type world struct {
	source  *syncdtest.MemorySource
	checker *syncdtest.MemoryChecker
	sink    syncd.Sink
	open    func(context.Context) (syncd.Checker, error) // nil opens checker
	env     func(syncd.Env)                              // is told what a checker is opened with; nil is told nothing

	sinkPlugin syncd.Plugin // the zero value opens sink
}

func newWorld() *world {
	w := &world{source: syncdtest.NewMemorySource(), checker: syncdtest.NewMemoryChecker(), sink: syncdtest.NewMemorySink()}
	w.source.Create("page")
	return w
}

func point(id, chunk string) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(id+"/page/"+chunk))
}

// run runs a command and returns its exit code and what it printed.
func (w *world) run(t *testing.T, more string, args ...string) (code int, printed string) {
	t.Helper()
	return w.runFile(t, write(t, t.TempDir(), "syncd.yaml", worldConfig+more), args...)
}

// runExtended is run with settings that are merged over the others.
func (w *world) runExtended(t *testing.T, more string, args ...string) (code int, printed string) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "base.yaml", worldConfig)
	return w.runFile(t, write(t, dir, "syncd.yaml", "extends: base.yaml\n"+more), args...)
}

const worldConfig = "source: {memory: {}}\nchecker: {memory: {}}\nsink: {memory: {}}\n" +
	"mapping: {version: {field: updatedAt, payload: updatedAt}, collections: {page: page}}\n"

func write(t *testing.T, dir, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (w *world) runFile(t *testing.T, path string, args ...string) (code int, printed string) {
	t.Helper()
	open := w.open
	if open == nil {
		open = func(context.Context) (syncd.Checker, error) { return w.checker, nil }
	}
	sink := w.sinkPlugin
	if sink.Name() == "" {
		sink = syncd.NewSink("memory", "Keeps.", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Sink, error) { return w.sink, nil })
	}
	var stdout, stderr bytes.Buffer
	code = program{
		args: append(args, "-c", path), stdout: &stdout, stderr: &stderr,
		plugins: []syncd.Plugin{
			w.source.Plugin("memory"),
			syncd.NewChecker("memory", "Asks.", struct{}{}, func(ctx context.Context, _ struct{}, env syncd.Env) (syncd.Checker, error) {
				if w.env != nil {
					w.env(env)
				}
				return open(ctx)
			}),
			sink,
		},
	}.run(t.Context())
	return code, stdout.String() + stderr.String()
}
