// Package syncd is the plugin API: what a source, a checker and a sink are, and how a plugin declares itself. Plugin
// authors import this package and no other of the module.
//
// The engine reads changes from a [Source], computes each document's point id, asks a [Checker] what the index holds,
// fetches the documents that it lacks, and hands the changes to a [Sink]. What flows is a [Change], one struct per document.
//
// What a plugin can do beyond its core methods is a struct of functions that it returns from Abilities; a nil field is
// something that it can't do.
//
// Invariants:
//   - plugins own no goroutine that outlives Close, and nothing they do outlives the context they were given;
//   - every method named safe for concurrent use is called concurrently;
//   - "could not ask" is an error, never a verdict: a Checker that can't tell returns an error;
//   - nothing here keeps global state; registries are values.
package syncd

import "log/slog"

// Env is what the host gives a plugin when it opens it.
type Env struct {
	// Logger takes notices about the connection (a port that was mapped, a missing collection). Plugins log nothing
	// per document, and never log what they return as an error. A plugin never gets nil: a host that sets none
	// discards them.
	Logger *slog.Logger
	// Retried is called each time that a plugin asks again after a failure, with the reason in a word or two that come
	// from a fixed set, such as an error code's name. It is safe for concurrent use. A plugin never gets nil.
	Retried func(reason string)
	// Adapted is called when a plugin changes how much it asks for at once, since a server takes no more or takes more again:
	// of what, in a few words that come from a fixed set, how much it is now, and the most that it may be. It is safe for
	// concurrent use. A plugin never gets nil.
	Adapted func(what string, now, most int)
	// Process tells this process from others that work on the same job; empty where there are none. What no two processes may have,
	// such as a transactional id, is to contain it.
	Process string

	// Splits is into how many splits a source is to divide a collection at least, where it divides it at all, so that several processes can
	// share it; 0 leaves it to the source.
	Splits int

	// Memory is how many bytes the plugin may keep at once beside what it is called with and what it returns: of answers that it
	// has not handed out yet, of events that wait for their acknowledgement. It bounds what grows with the documents' size or
	// number, not what a client takes anyway. 0 is no bound.
	Memory int64
}

// MemorySetter is implemented by a plugin's config type that has a setting for what [Env.Memory] bounds otherwise. It returns where
// that stands in the plugin's own section, and its value; 0 is not set.
type MemorySetter interface {
	MemorySetting() (path []string, bytes int64)
}
