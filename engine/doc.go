// Package engine reads splits of collections, asks the index about their documents, delivers what it lacks, and accounts for
// every document. It knows no YAML, no plugin, no encoding, no kind of store and no phase of a job.
//
//	planner ──splits──▶ R readers ──batches──▶ W workers: identify → check → select → fetch → deliver → dead letters → checkpoint
//
// A feed is a source, its collections and the stages that their batches go through. There are two: documents, and the deletes
// of orphans. Both are run by the same loop.
//
// Where to look, from above to below: engine.go puts the parts together and runs a feed; splits.go hands out splits; read.go reads
// them; worker.go takes a batch through its stages, which are in stage_*.go; checkpoint.go keeps how far a split came;
// split.go and collection.go account.
//
// Invariants:
//   - both channels are unbuffered, so at most R+W batches exist; memory does not grow with the collection;
//   - documents that are held and documents that are being written are bounded in bytes, see budget.go: whoever takes
//     some waits for nobody who may be waiting for them;
//   - a worker runs a batch to its end before it takes the next, and a document counts as sent only when the sink
//     confirmed it;
//   - a change in a batch is still on its way; a stage that takes one out counts why;
//   - a check that failed never becomes "missing": the run ends with that error;
//   - every document that was read ends as exactly one of present, sent, failed or gone, and a collection for which that
//     does not add up fails the run;
//   - every send selects on the context; when a method of Engine returns, all its goroutines have ended.
package engine
