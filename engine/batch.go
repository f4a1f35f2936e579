package engine

import (
	"context"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/tally"
)

// batch is some changes of a split on their way through the stages, and all that is known of them. One worker has it at a time.
type batch struct {
	split  *split
	number int // in the split, from 0
	offset syncd.Offset
	read   time.Time     // no later than the changes were read
	took   time.Duration // that the source needed

	changes  []syncd.Change // still on their way
	dead     []syncd.Change // failed, and not among the dead letters yet
	counts   tally.Counts
	failures []tally.Failure // the first of them
	stop     error           // set when a failed document ends the run
	asked    time.Time       // when the index was last asked
	oldest   time.Time       // change of the oldest missing document; zero if none is known
	bytes    int64           // written

	clock clock
}

func (b *batch) rule() *mapping.Rule { return b.split.col.rule }
func (b *batch) collection() string  { return b.split.Collection.Name }

// complete sets what a change needs to be sent, which most are not.
func (b *batch) complete(c *syncd.Change) {
	c.Target, c.ReadAt = &b.split.col.target, b.read.UnixNano()
}

// keep takes out of the batch every change for which keep is false. The order stays.
func (b *batch) keep(keep func(c *syncd.Change) bool) { b.changes = retain(b.changes, keep) }

// retain drops changes in place.
func retain(changes []syncd.Change, keep func(c *syncd.Change) bool) []syncd.Change {
	n := 0
	for i := range changes {
		if !keep(&changes[i]) {
			continue
		}
		if n != i {
			changes[n] = changes[i]
		}
		n++
	}
	return changes[:n]
}

// handled is what a batch adds to its split once everything in it is done.
type handled struct {
	offset syncd.Offset
	counts tally.Counts
	fails  []tally.Failure
}

// stage is one step of a batch's way. A stage belongs to one worker and keeps its buffers from batch to batch.
type stage interface {
	apply(ctx context.Context, b *batch) error
}
