package engine

import (
	"testing"
	"time"
)

// TestTheLastMoveNeverGoesBack: a worker may read the clock before another and store the time after it.
func TestTheLastMoveNeverGoesBack(t *testing.T) {
	var a activity
	later := time.Now().Add(time.Hour)
	a.moved.Store(&later)
	a.move()
	if got := a.last(); !got.Equal(later) {
		t.Errorf("behind a move at %s the last was at %s", later, got)
	}
	earlier := time.Now().Add(-time.Hour)
	a.moved.Store(&earlier)
	a.move()
	if got := a.last(); !got.After(earlier) {
		t.Errorf("a move was not noted: %s", got)
	}
}
