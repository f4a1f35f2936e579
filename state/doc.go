// Package state keeps, in one file per job, how far a run came, so that an interrupted one can be gone on with.
//
// Invariants:
//   - a position is kept only after the sink confirmed everything before it; it may lag behind, never lead;
//   - a file belongs to one configuration (its fingerprint) and to one process at a time, which holds its lock;
//   - a run that is complete is never resumed: the next one begins anew;
//   - whatever happens to the program or the machine, the file holds one of the states that it was told to keep.
package state
