// Package faults runs the built program while its servers, its network, its disk and its clock fail, and checks afterwards
// that nothing was lost: after however many interruptions, a run that comes to its end leaves the index equal to the source.
//
// The tests of schedules (TestSchedules) make a run's failures out of a seed, so that a failing one can be run again:
//
//	go test ./faults -run 'TestSchedules/seed=123$' -v
//
// The other tests each hold one thing that goes wrong and what syncd does about it.
package faults
