package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/fetch"
)

// writeDeadLetters writes the batch's failed documents to the dead letters, which must take them all: a document is accounted
// for only when something remembers it.
type writeDeadLetters struct{ e *Engine }

func (s *writeDeadLetters) apply(ctx context.Context, b *batch) (err error) {
	if len(b.dead) == 0 {
		return nil
	}
	letters, n := b.dead, len(b.dead)
	b.dead = nil
	ctx, leave := b.clock.enter(ctx, StageWrite, len(letters))
	defer func() { leave(err) }()
	for i := range letters {
		s.address(&letters[i])
	}
	if err := s.fetch(ctx, b.split.Collection, letters); err != nil {
		return err
	}
	refused, err := refusals(s.e.write(ctx, s.e.DeadLetters, letters), len(letters))
	if err == nil && refused != nil {
		// What is too large for its topic is too large for this one; its id is enough to find it again.
		i := -1
		var outage error
		again := retain(letters, func(c *syncd.Change) bool {
			i++
			failed := refused.Of(i)
			if failed != nil && errors.Is(failed, syncd.ErrUnavailable) {
				outage = failed
			}
			c.Document = nil
			if r, ok := errors.AsType[*syncd.RecordError](c.Err); ok {
				r.Value = nil
			}
			return failed != nil
		})
		if outage != nil {
			return fmt.Errorf("writing dead letters of %s: %w", b.from(), outage)
		}
		err = s.e.write(ctx, s.e.DeadLetters, again)
	}
	if err != nil {
		return syncd.Hint(fmt.Errorf("writing dead letters of %s: %w", b.from(), err),
			"the run stops, so that no failed document is forgotten; see to errors.dead_letter and run it again")
	}
	b.counts.DeadLettered += int64(n)
	return nil
}

// fetch completes letters of documents that have no usable id and were read without their content: whoever gets such a letter
// has nothing else to find the document by. A letter whose document does not come goes without it.
func (s *writeDeadLetters) fetch(ctx context.Context, c syncd.Collection, letters []syncd.Change) error {
	var keys []syncd.Key
	var of []int // which letter each key is of
	for i := range letters {
		if l := &letters[i]; l.Document == nil && l.Key != "" && errors.Is(l.Err, syncd.ErrNoID) {
			keys, of = append(keys, l.Key), append(of, i)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	for f, err := range fetch.Documents(ctx, s.e.Source, c, keys) {
		if err != nil {
			s.e.Logger.Warn("documents without a usable id can't be fetched for the dead letters, which go without them", "collection", c.Name, "error", err)
			break
		}
		letters[of[f.Index]].Document = f.Document
	}
	return ctx.Err()
}

// address says where the change would have gone, and completes what failed before the index was asked.
func (s *writeDeadLetters) address(c *syncd.Change) {
	failure, _ := errors.AsType[*syncd.DocumentError](c.Err)
	failure.Route = c.Target.Collection
	if s.e.route != nil {
		failure.Route = s.e.route(*c.Target)
	}
	if s.e.Checker == nil && c.Operation != syncd.Delete {
		c.Reason = syncd.ReasonFull
	}
}
