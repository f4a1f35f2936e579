// Package pipeline is the engine: it plans collections into splits, scans them, asks the index, fetches what it lacks, sends
// events, and accounts for every document. It knows no YAML and no plugin.
//
//	planner ──splits──▶ R readers ──batches──▶ W workers: point ids → check → fetch → encode → write → account
//
// Invariants:
//   - both channels are unbuffered, so at most R+W batches exist; memory does not grow with the collection;
//   - a worker runs a batch to its end before it takes the next, and a document counts as sent only when the sink
//     acknowledged its event;
//   - a check that failed never becomes "missing": the run ends with that error;
//   - every document that was read ends as exactly one of present, sent, failed or gone, and a collection for which that
//     does not add up fails the run;
//   - every send selects on the context; when Run returns, all its goroutines have ended.
package pipeline
