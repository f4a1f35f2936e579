package cli

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/syncdtest"
)

// TestPluginsLogWhileARunIsResumed: the id on their lines changes then. The race detector is the test.
func TestPluginsLogWhileARunIsResumed(t *testing.T) {
	w := newWorld()
	for _, id := range []string{"a", "b", "c"} {
		w.source.Insert("page", syncdtest.MemoryDoc{ID: id})
	}
	sink := syncdtest.NewMemorySink()
	w.sink = syncdtest.FaultySink(sink, syncdtest.SinkFaults{Write: syncdtest.Nth(2, syncdtest.Fault{Err: errors.New("cut off")})})
	more := "run: {attempts: {max: 0}, batch_size: 1, workers: 1, wait_timeout: 0s, state_dir: " + t.TempDir() + "}\n"
	if code, out := w.run(t, more, "run"); code != exitFailed {
		t.Fatalf("%d\n%s", code, out)
	}
	ended := make(chan struct{})
	var talking sync.WaitGroup
	w.env = func(env syncd.Env) {
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
	sink.Written = func(codec.Event) { // by then the run has its id, and the test's buffer is soon read
		sink.Written = nil
		close(ended)
		talking.Wait()
	}
	if code, out := w.run(t, more, "run"); code != exitDone || !strings.Contains(out, "Resuming") {
		t.Errorf("%d", code)
	}
}

// TestALineNamesItsRunOnce: also one that says itself whose it is.
func TestALineNamesItsRunOnce(t *testing.T) {
	var out strings.Builder
	var id atomic.Pointer[string]
	log := slog.New(runHandler{slog.NewTextHandler(&out, nil), &id})
	log.Info("before")
	now := "r1"
	id.Store(&now)
	log.Info("during")
	log.Info("of another", "run", "r2", "leader", "l")
	var got []string
	for line := range strings.Lines(out.String()) {
		_, attrs, _ := strings.Cut(strings.TrimSpace(line), "msg=")
		got = append(got, attrs)
	}
	if want := []string{"before", "during run=r1", `"of another" run=r2 leader=l`}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
