package cli

import (
	"runtime"
	"runtime/debug"
)

// heapBase is what Go needs beside the documents: the servers' clients, the configuration, the program's own state.
const heapBase = 16 << 20

// heapFloor is memory that is never touched, so the system gives none for it. To Go it is heap in use, by which it lets the heap grow
// further before it collects garbage: from a few megabytes on that would be all the time, for little.
const heapFloor = 8 << 20

// limitHeap has Go collect garbage in time for run.memory to hold: by itself it lets the heap grow to twice of what is in use.
// A fourth of run.memory is left to what Go does not see, which is mostly the queue of librdkafka. Whoever sets GOMEMLIMIT or GOGC has
// decided otherwise. The limit ends with the call of undo.
func (a *app) limitHeap(memory int64) (undo func()) {
	if a.env("GOMEMLIMIT") != "" || a.env("GOGC") != "" {
		return func() {}
	}
	ballast := make([]byte, heapFloor)
	before := debug.SetMemoryLimit(memory - memory/4 + heapBase + heapFloor)
	return func() {
		debug.SetMemoryLimit(before)
		runtime.KeepAlive(ballast)
	}
}
