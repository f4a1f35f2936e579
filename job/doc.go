// Package job runs jobs: it opens a configuration's plugins and store, decides whether an interrupted run is resumed, leads a run
// through its phases, and says how it ended. The command line prints what it returns, and nothing of what it decides.
//
// Where to look: run.go leads open plugins through the phases of a run; backfill.go, plan.go and verify.go are what a
// configuration can be used for; plugins.go opens and closes plugins and has the policy for an index that can't be reached;
// state.go opens the store and decides about resuming; outcome.go is the only definition of how a run ended; monitor.go shows
// a run under way.
//
// Invariants:
//   - nothing here prints: what there is to say is a value, an error with a hint, or a call of an Observer;
//   - whatever was opened is closed, in the order source, checker, sink, dead letters, also on errors;
//   - when a function returns, all its goroutines have ended.
package job
