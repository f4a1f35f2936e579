package cli

import "runtime/debug"

// heapBase is what Go needs beside the documents: the servers' clients, the configuration, the program's own state.
const heapBase = 16 << 20

// limitHeap has Go collect garbage in time for run.memory to hold: by itself it lets the heap grow to twice of what is in use.
// A fourth of run.memory is left to what Go does not see, which is mostly the queue of librdkafka. Whoever sets GOMEMLIMIT or GOGC has
// decided otherwise. The limit ends with the call of undo.
func (a *app) limitHeap(memory int64) (undo func()) {
	if a.env("GOMEMLIMIT") != "" || a.env("GOGC") != "" {
		return func() {}
	}
	before := debug.SetMemoryLimit(memory - memory/4 + heapBase)
	return func() { debug.SetMemoryLimit(before) }
}
