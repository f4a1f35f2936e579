package cli

import "runtime/debug"

// heapBase is what Go needs beside the documents: the servers' clients, the configuration, the program's own state.
const heapBase = 16 << 20

// heapFloor is memory that is never touched, so the system gives none for it. To Go it is heap in use, by which it lets the heap grow
// further before it collects garbage: from a few megabytes on that would be all the time, for little, and first while the program starts.
const heapFloor = 8 << 20

// floorHeap takes heapFloor, to be kept for as long as the program runs, unless the environment decides when Go collects garbage.
// Commands that may take long call it before they read the configuration; short ones end before there is garbage to collect.
func (a *app) floorHeap() {
	if a.floor == nil && !decided(a.env) {
		a.floor = make([]byte, heapFloor)
	}
}

// decided reports whether somebody decided when Go collects garbage.
func decided(env func(string) string) bool { return env("GOMEMLIMIT") != "" || env("GOGC") != "" }

// limitHeap has Go collect garbage in time for run.memory to hold: by itself it lets the heap grow to twice of what is in use.
// A fourth of run.memory is left to what Go does not see, which is mostly the queue of librdkafka. The limit ends with the call of undo.
func (a *app) limitHeap(memory int64) (undo func()) {
	if decided(a.env) {
		return func() {}
	}
	before := debug.SetMemoryLimit(memory - memory/4 + heapBase + heapFloor)
	return func() { debug.SetMemoryLimit(before) }
}
