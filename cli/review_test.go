package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/pipeline"
	"github.com/syncd-io/syncd/syncdtest"
)

// audit is a program over memory plugins.
type audit struct {
	source  *syncdtest.MemorySource
	checker *syncdtest.MemoryChecker
	sink    syncd.Sink
	open    func(context.Context) (syncd.Checker, error) // nil opens checker
	env     func(syncd.Env)                              // is told what a checker is opened with; nil is told nothing
}

func newAudit() *audit {
	a := &audit{source: syncdtest.NewMemorySource(), checker: syncdtest.NewMemoryChecker(), sink: syncdtest.NewMemorySink()}
	a.source.Create("page")
	return a
}

func point(id, chunk string) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(id+"/page/"+chunk))
}

// run runs a command and returns its exit code and what it printed.
func (a *audit) run(t *testing.T, more string, args ...string) (code int, printed string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "syncd.yaml")
	text := "source: {memory: {}}\nchecker: {memory: {}}\nsink: {memory: {}}\n" +
		"mapping: {version: {field: updatedAt, payload: updatedAt}, collections: {page: page}}\n" + more
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	open := a.open
	if open == nil {
		open = func(context.Context) (syncd.Checker, error) { return a.checker, nil }
	}
	var stdout, stderr bytes.Buffer
	code = program{
		args: append(args, "-c", path), stdout: &stdout, stderr: &stderr,
		plugins: []syncd.Plugin{
			a.source.Plugin("memory"),
			syncd.NewChecker("memory", "Asks.", struct{}{}, func(ctx context.Context, _ struct{}, env syncd.Env) (syncd.Checker, error) {
				if a.env != nil {
					a.env(env)
				}
				return open(ctx)
			}),
			syncd.NewSink("memory", "Keeps.", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Sink, error) { return a.sink, nil }),
		},
	}.run(t.Context())
	return code, stdout.String() + stderr.String()
}

// TestVerifySeesYoungDocuments: what a run leaves alone for now is not in the index all the same.
func TestVerifySeesYoungDocuments(t *testing.T) {
	a := newAudit()
	a.source.Insert("page", syncdtest.MemoryDoc{ID: "new", Fields: map[string]any{"updatedAt": time.Now().UTC().Format(time.RFC3339Nano)}})
	if code, out := a.run(t, "run: {min_age: 1h, attempts: {max: 0}}\n", "verify", "--min-age", "0s"); code != exitGuard {
		t.Errorf("%d\n%s", code, out)
	}
}

// TestVerifySeesOrphansWithoutTheirFirstChunk, at the second look as well.
func TestVerifySeesOrphansWithoutTheirFirstChunk(t *testing.T) {
	a := newAudit()
	a.checker.Put(point("gone", "2"), map[string]any{"content_type": "page", "mongo_id": "gone", "chunk_index": 2})
	if code, out := a.run(t, "run: {attempts: {max: 0}}\n", "verify", "--min-age", "1ms"); code != exitGuard {
		t.Errorf("%d\n%s", code, out)
	}
}

// TestVerifyCountsWhatBreaksAtTheSecondLook: a document that can't be read any more is no document that is there.
func TestVerifyCountsWhatBreaksAtTheSecondLook(t *testing.T) {
	a := newAudit()
	a.source.Insert("page", syncdtest.MemoryDoc{ID: "a", Fields: map[string]any{"x": "1"}})
	seen := false
	a.open = func(context.Context) (syncd.Checker, error) {
		return syncdtest.FaultyChecker(a.checker, syncdtest.CheckerFaults{Read: func(int) syncdtest.Fault {
			if !seen { // the first look has read the document
				seen = true
				a.source.Insert("page", syncdtest.MemoryDoc{ID: "a", Fields: map[string]any{"updatedAt": map[string]any{"x": func() {}}}})
			}
			return syncdtest.Fault{}
		}}), nil
	}
	code, out := a.run(t, "run: {attempts: {max: 0}}\n", "verify", "--min-age", "1ms")
	if code != exitGuard {
		t.Errorf("%d\n%s", code, out)
	}
}

// TestVerifySaysWhatItDidNotLookAt instead of claiming that there is nothing.
func TestVerifySaysWhatItDidNotLookAt(t *testing.T) {
	a := newAudit()
	if code, out := a.run(t, "run: {attempts: {max: 0}}\n", "verify"); code != exitDone || !strings.Contains(out, "and nothing else") {
		t.Errorf("%d\n%s", code, out)
	}
	a.checker.Put(uuid.New(), map[string]any{"content_type": "page"})
	if code, out := a.run(t, "run: {attempts: {max: 0}}\n", "verify"); code != exitDone || strings.Contains(out, "nothing else") {
		t.Errorf("%d\n%s", code, out)
	}
	a.open = func(context.Context) (syncd.Checker, error) {
		return struct {
			syncd.Checker
			syncd.PayloadReader
		}{a.checker, a.checker}, nil
	}
	if code, out := a.run(t, "run: {attempts: {max: 0}}\n", "verify"); code != exitDone || strings.Contains(out, "nothing else") {
		t.Errorf("%d\n%s", code, out)
	}
}

// deaf is a sink whose writes end with an error of their own when they are cut off, as those of some clients do.
type deaf struct {
	*syncdtest.MemorySink
	writing, ended chan struct{}
}

func (d deaf) Write(ctx context.Context, _ []syncd.Event) error {
	close(d.writing)
	<-ctx.Done()
	close(d.ended)
	return errors.New("rpc: the client is closing")
}

// TestTwoSignalsAreAnInterruption, whatever the plugins call it.
func TestTwoSignalsAreAnInterruption(t *testing.T) {
	a := newAudit()
	a.source.Insert("page", syncdtest.MemoryDoc{ID: "a"})
	d := deaf{syncdtest.NewMemorySink(), make(chan struct{}), make(chan struct{})}
	a.sink = d
	go func() {
		<-d.writing
		// The system may take two signals that come close together for one, so they go on until they had their effect.
		again := time.NewTicker(100 * time.Millisecond)
		defer again.Stop()
		for {
			_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
			select {
			case <-d.ended:
				return
			case <-again.C:
			}
		}
	}()
	if code, out := a.run(t, "run: {attempts: {max: 0}}\n", "run"); code != exitTerminated {
		t.Errorf("%d\n%s", code, out)
	}
}

// TestASignalWhileOpeningIsAnInterruption, too.
func TestASignalWhileOpeningIsAnInterruption(t *testing.T) {
	a := newAudit()
	a.open = func(ctx context.Context) (syncd.Checker, error) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGINT)
		<-ctx.Done()
		return nil, errors.New("rpc: the client is closing")
	}
	if code, out := a.run(t, "", "run"); code != exitInterrupted {
		t.Errorf("%d\n%s", code, out)
	}
}

// TestVerifyCountsMoreThanItKeeps: the table says how many differ, not how many it can name.
func TestVerifyCountsMoreThanItKeeps(t *testing.T) {
	v := &verification{}
	v.reset()
	if v.tooMany() {
		t.Error("none are too many")
	}
	rule := &mapping.Rule{Collection: syncd.Collection{Name: "page"}}
	for range maxRecheck + 5 {
		v.see(pipeline.Item{Rule: rule, Verdict: syncd.Missing})
	}
	if n := v.counts["page"][syncd.Missing]; n != maxRecheck+5 || !v.tooMany() || len(v.differences) != maxRecheck {
		t.Errorf("counted %d, kept %d", n, len(v.differences))
	}
}

// TestPluginsLogWhileARunIsTakenUp: the id on their lines changes then. The race detector is the test.
func TestPluginsLogWhileARunIsTakenUp(t *testing.T) {
	a := newAudit()
	for _, id := range []string{"a", "b", "c"} {
		a.source.Insert("page", syncdtest.MemoryDoc{ID: id})
	}
	sink := syncdtest.NewMemorySink()
	a.sink = syncdtest.FaultySink(sink, syncdtest.SinkFaults{Write: syncdtest.Nth(2, syncdtest.Fault{Err: errors.New("cut off")})})
	more := "run: {attempts: {max: 0}, batch_size: 1, workers: 1, wait_timeout: 0s, state_dir: " + t.TempDir() + "}\n"
	if code, out := a.run(t, more, "run"); code != exitFailed {
		t.Fatalf("%d\n%s", code, out)
	}
	ended := make(chan struct{})
	var talking sync.WaitGroup
	a.env = func(env syncd.Env) {
		talking.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
					env.Logger.Info("still here")
				}
			}
		})
	}
	sink.Written = func(syncd.Event) { // by then the run has its id, and the test's buffer is soon read
		sink.Written = nil
		close(ended)
		talking.Wait()
	}
	if code, out := a.run(t, more, "run"); code != exitDone || !strings.Contains(out, "Resuming") {
		t.Errorf("%d", code)
	}
}
