package job

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
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
