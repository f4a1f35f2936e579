package cli

import (
	"math"
	"runtime/debug"
	"testing"
)

func TestLimitHeap(t *testing.T) {
	now := func() int64 { return debug.SetMemoryLimit(-1) }
	before := now()
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	for name, c := range map[string]struct {
		env  []string
		want int64
	}{
		"by run.memory":                     {want: 112<<20 + heapFloor},
		"GOMEMLIMIT is the user's":          {env: []string{"GOMEMLIMIT=1GiB"}, want: math.MaxInt64},
		"GOGC is the user's, and off stays": {env: []string{"GOGC=off"}, want: math.MaxInt64},
	} {
		debug.SetMemoryLimit(math.MaxInt64)
		a := &app{program: program{environ: c.env}}
		undo := a.limitHeap(128 << 20)
		if got := now(); got != c.want {
			t.Errorf("%s: the limit is %d, want %d", name, got, c.want)
		}
		undo()
		if got := now(); got != math.MaxInt64 {
			t.Errorf("%s: the limit is still %d", name, got)
		}
	}
}

func TestFloorHeap(t *testing.T) {
	for name, c := range map[string]struct {
		env  []string
		want int
	}{
		"by itself":                {want: heapFloor},
		"GOMEMLIMIT is the user's": {env: []string{"GOMEMLIMIT=1GiB"}},
		"GOGC is the user's":       {env: []string{"GOGC=off"}},
	} {
		a := &app{program: program{environ: c.env}}
		a.floorHeap()
		if got := len(a.floor); got != c.want {
			t.Errorf("%s: %d bytes, want %d", name, got, c.want)
		}
	}
}
