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
	lane   int // of the workers, all of which share one for snapshots
	offset syncd.Offset
	at     time.Time     // when the last change of a stream was made
	idle   time.Time     // when the source of a stream had nothing, if it had
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
	share    share           // of the documents that may be held

	clock clock
}

// rule is the rule of the batch's collection; nil in a stream, whose changes may be of several collections.
func (b *batch) rule() *mapping.Rule { return b.split.col.rule }

// collection names the batch's collection; a stream has none.
func (b *batch) collection() string { return b.split.Collection.Name }

// from says in words what the batch was read from.
func (b *batch) from() string {
	if s := b.split.Stream; s != nil {
		return "stream " + s.Name
	}
	return "collection " + b.split.Collection.Name
}

// collectionOf names the collection of one of the batch's changes.
func (b *batch) collectionOf(c *syncd.Change) string {
	if c.Streamed != nil {
		return c.Streamed.Collection
	}
	return b.split.Collection.Name
}

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
	at     time.Time
	idle   time.Time // when the source had nothing, if it had
}

// stage is one step of a batch's way. A stage belongs to one worker and keeps its buffers from batch to batch.
type stage interface {
	apply(ctx context.Context, b *batch) error
}
