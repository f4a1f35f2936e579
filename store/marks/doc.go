// Package marks is the store of a job in the transactions of its sink, for exactly-once delivery: changes and the checkpoint
// behind them are committed together, so there is no second record that could disagree.
//
// Everything is a mark of the sink whose name begins with the job's: what is known of the run, its collections, and its splits.
// Marks that are left over from an earlier run, or from a collection before it began anew, are recognised by their numbers
// ([Value]) and ignored, so that to remove them is mere tidying.
//
// Invariants:
//   - of each mark one value at a time is on its way to the sink, since the order of commits that overlap is not defined, and a
//     value is never replaced by an older one;
//   - a split's mark is sent when its collection's is committed, or together with it;
//   - a state that need not be durable at once goes with the next commit, or within a second of work;
//   - after an error that leaves open what is committed, nothing more is sent.
package marks
