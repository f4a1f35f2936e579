// Package bolt is the store of a job in a file of a folder: one file per job, so that two jobs run side by side on one machine.
//
// Invariants:
//   - a file belongs to one job and to one process at a time, which holds its lock;
//   - a checkpoint is kept only after the sink confirmed everything before it; it may lag behind, never lead;
//   - whatever happens to the program or the machine, the file holds one of the states that it was told to keep.
package bolt
