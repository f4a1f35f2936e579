// Package lanes is the store of a job that several processes work on: the marks of package marks, in the lanes of a cluster.
//
// The owner of lane 0 leads: it begins and resumes runs, plans, proves, and says how a run ended; its store is that of package marks,
// over lane 0. Each split has a lane, whose owner works on it and keeps its state there. Every process reads all lanes, so each knows
// how far all splits are.
//
// Invariants:
//   - a mark is committed in the name of a lane that its writer owns: lane 0 for what the leader writes, wherever it stands, and the
//     split's own for its state. The cluster refuses everything else, so that nothing of a process that was taken for dead counts;
//   - a lane is opened, for its splits to be worked on and kept, when it was read to its end and nothing is under way any more of what the
//     process did in it when it owned it before. Until then no mark of a split is committed, and a split's marks are committed by whom it is
//     assigned to, from the assignment until it has left. So nothing that a process knew in one tenure of a lane is committed in
//     another, behind what others have kept meanwhile;
//   - nothing is worked on without the leader's order for the run.
package lanes
