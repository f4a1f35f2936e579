// Package faults runs the built program while its servers, its network, its disk and its clock fail, and checks afterwards
// that nothing was lost: after however many interruptions, a run that comes to its end leaves the index equal to the source.
//
// The tests of schedules (TestSchedules) make a run's failures out of a seed, so that a failing one can be run again:
//
//	go test ./faults -run 'TestSchedules/seed=123$' -v
//
// Those of TestFollow are of a job that follows a replica set to which others write, drop and rename; FOLLOWED says how many seeds it
// runs where that is not the usual number. What must hold is a consumer that applies the events in their order: in the end it has what
// the database has, no change is missing, exactly once none comes twice, and no document goes back without a restart.
//
// The other tests each hold one thing that goes wrong and what syncd does about it.
package faults
