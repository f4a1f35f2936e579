package cli

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/syncdtest"
)

// cutOff is a sink whose writes end with an error of their own when they are cut off, as those of some clients do.
type cutOff struct {
	*syncdtest.MemorySink
	writing, ended chan struct{}
}

func (d cutOff) Write(ctx context.Context, _ []syncd.Change) error {
	close(d.writing)
	<-ctx.Done()
	close(d.ended)
	return errors.New("rpc: the client is closing")
}

// TestTwoSignalsAreAnInterruption, whatever the plugins call it.
func TestTwoSignalsAreAnInterruption(t *testing.T) {
	w := newWorld()
	w.source.Insert("page", syncdtest.MemoryDoc{ID: "a"})
	d := cutOff{syncdtest.NewMemorySink(), make(chan struct{}), make(chan struct{})}
	w.sink = d
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
	if code, out := w.run(t, "run: {attempts: {max: 0}}\n", "run"); code != exitTerminated {
		t.Errorf("%d\n%s", code, out)
	}
}

// TestASignalWhileOpeningIsAnInterruption, too.
func TestASignalWhileOpeningIsAnInterruption(t *testing.T) {
	w := newWorld()
	w.open = func(ctx context.Context) (syncd.Checker, error) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGINT)
		<-ctx.Done()
		return nil, errors.New("rpc: the client is closing")
	}
	if code, out := w.run(t, "", "run"); code != exitInterrupted {
		t.Errorf("%d\n%s", code, out)
	}
}
