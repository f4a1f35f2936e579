package cli

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestCloseUntil checks that the second signal ends the wait for a plugin that does not close, and that nothing else does.
func TestCloseUntil(t *testing.T) {
	broken := errors.New("broken")
	if err := closeUntil(t.Context(), func() error { time.Sleep(time.Millisecond); return broken }); !errors.Is(err, broken) {
		t.Errorf("a close that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	held := make(chan struct{})
	defer close(held)
	if err := closeUntil(ctx, func() error { <-held; return broken }); err != nil {
		t.Errorf("a close that hangs: %v", err)
	}
}
