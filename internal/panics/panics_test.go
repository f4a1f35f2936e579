package panics

import (
	"errors"
	"strings"
	"testing"
)

func TestCaught(t *testing.T) {
	err := Caught(func() error { panic("no such index") })()
	if p, ok := errors.AsType[*Error](err); !ok || !strings.HasSuffix(err.Error(), "panic: no such index") || !strings.Contains(string(p.Stack), "TestCaught") {
		t.Errorf("%v", err)
	}
	failed := errors.New("failed")
	if err := Caught(func() error { return failed })(); !errors.Is(err, failed) {
		t.Errorf("%v", err)
	}
	if err := Caught(func() error { return nil })(); err != nil {
		t.Errorf("%v", err)
	}
}
