package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/store"
)

// maxCommit bounds the documents of a batch that is committed as one, since all are in memory until they are.
const maxCommit = 250

// transact delivers a batch together with the split's checkpoint behind it, in one transaction of the sink. Changes that the
// sink refuses become dead letters or references before the rest is committed, so that a committed checkpoint says that
// nothing before it is forgotten. Batches of one split are committed in their order.
type transact struct {
	e *Engine
	gate
	transform *transform // nil where a job has no stages
	letters   *writeDeadLetters
}

func (s *transact) deliver(ctx context.Context, b *batch, changes []syncd.Change) error {
	switch {
	case b.stop != nil:
		return b.stop // a committed checkpoint would pass over the document that ends the run
	case len(changes) == 0:
		return nil
	case b.offset == "":
		return fmt.Errorf("reading %s: the source gave documents without an offset behind them, which can't be sent exactly once", b.from())
	}
	if err := b.split.turn(ctx, b); err != nil {
		return err
	}
	changes, err := s.pass(ctx, b, changes)
	if err == nil && s.transform != nil && len(changes) > 0 {
		changes, err = s.transform.apply(ctx, b, changes)
	}
	if err != nil {
		return err
	}
	if b.stop != nil {
		return b.stop
	}
	for len(changes) > 0 {
		refused, err := s.commit(ctx, b, changes)
		if err != nil {
			return err
		}
		if refused == nil {
			if err := s.e.confirm(b, changes); err != nil {
				return err
			}
			return s.e.throttle.sent(ctx, len(changes), bytesOf(changes))
		}
		if changes, err = s.without(b, changes, refused); err != nil {
			return fmt.Errorf("sending events of %s: %w", b.from(), err)
		}
		if b.stop != nil {
			return b.stop
		}
	}
	return nil
}

// commit is one transaction.
func (s *transact) commit(ctx context.Context, b *batch, changes []syncd.Change) (*syncd.BatchError, error) {
	if err := s.letters.apply(ctx, b); err != nil {
		return nil, err
	}
	n := b.counts
	n.Acked += int64(len(changes))
	n.Referenced += int64(references(changes))
	b.split.keeping <- struct{}{} // the split is not divided meanwhile
	defer func() { <-b.split.keeping }()
	state := b.split.with(handled{offset: b.offset, counts: n, fails: b.failures})
	ctx, leave := b.clock.enter(ctx, StageWrite, len(changes))
	share, err := s.e.sending.take(ctx, writes, sent(changes))
	if err != nil {
		leave(err)
		return nil, fmt.Errorf("committing %d events of collection %s: %w", len(changes), b.collection(), err)
	}
	refused, err := refusals(s.e.committer.Commit(ctx, changes, b.split.col.kept, state), len(changes))
	share.release()
	leave(err)
	if err != nil {
		return nil, fmt.Errorf("committing %d events of %s: %w", len(changes), b.from(), err)
	}
	return refused, nil
}

// without takes refused changes out, or has them go without their documents.
func (s *transact) without(b *batch, changes []syncd.Change, refused *syncd.BatchError) ([]syncd.Change, error) {
	var outage error
	i := -1
	left := retain(changes, func(c *syncd.Change) bool {
		i++
		switch failed := refused.Of(i); {
		case failed == nil:
		case errors.Is(failed, syncd.ErrUnavailable):
			outage = failed
		case errors.Is(failed, syncd.ErrTooLarge) && s.e.Oversize == OversizeReference && !c.Reference:
			c.Reference = true
		default:
			s.e.refuse(b, c, failed)
			return false
		}
		return true
	})
	return left, outage
}

// committerOf returns the store as a committer, if its checkpoints are part of the sink's transactions.
func committerOf(c store.Checkpoints) store.Committer {
	committer, _ := c.(store.Committer)
	return committer
}
