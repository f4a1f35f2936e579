package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/contact"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/internal/wait"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/tally"
	"github.com/syncd-io/syncd/verdict"
)

// sample takes out all but a share of the documents: point ids are hashes, so their last bytes choose evenly, and the same
// documents in every run.
type sample float64

func (s sample) apply(_ context.Context, b *batch) error {
	b.keep(func(c *syncd.Change) bool {
		in := float64(binary.BigEndian.Uint64(c.PointID[8:])&(1<<62-1)) < float64(s)*(1<<62)
		if !in {
			b.counts.Unsampled++
		}
		return in
	})
	return nil
}

// unasked stands in for the check where no index is asked: every document is to be sent.
type unasked struct{}

func (unasked) apply(_ context.Context, b *batch) error {
	for i := range b.changes {
		b.changes[i].Verdict, b.changes[i].Reason = syncd.Missing, syncd.ReasonFull
	}
	return nil
}

// check asks the index about every document of a batch. Where the run is to wait for an index that can't be asked, it is
// asked until it answers or the run ends: what could not be asked is never missing.
type check struct {
	asker *verdict.Asker
	wait  *contact.Contact // tells of an index that is waited for; nil does not wait
}

func newCheck(e *Engine) *check {
	return &check{asker: verdict.New(e.Checker), wait: e.waiting}
}

func (s *check) apply(ctx context.Context, b *batch) error {
	if len(b.changes) == 0 {
		return nil
	}
	if err := s.ask(ctx, b, b.changes); err != nil {
		b.counts.Scanned -= int64(len(b.changes)) // read, but not looked at: they are not accounted for
		return fmt.Errorf("checking %d documents of collection %s: %w", len(b.changes), b.collection(), err)
	}
	b.counts.Unread += int64(len(s.asker.Unread()))
	for i := range b.changes {
		c := &b.changes[i]
		switch c.Verdict {
		case syncd.Present:
		case syncd.Missing:
			c.Operation, c.Reason = syncd.Insert, syncd.ReasonMissing
		case syncd.Stale:
			c.Operation, c.Reason = syncd.Replace, syncd.ReasonStale
			if found := s.asker.Found(i); b.rule().OtherModel(&found) {
				c.Reason = syncd.ReasonModel
			}
		case syncd.Partial:
			c.Operation, c.Reason = syncd.Replace, syncd.ReasonPartial
		default:
			return fmt.Errorf("checking collection %s: the checker gave no verdict for document %s", b.collection(), text.Of(c.ID))
		}
	}
	return nil
}

// ask sets the verdicts of the changes.
func (s *check) ask(ctx context.Context, b *batch, changes []syncd.Change) (err error) {
	ctx, leave := b.clock.enter(ctx, StageCheck, len(changes))
	defer func() { leave(err) }()
	for pause := firstRepeat; ; pause = min(2*pause, longestRepeat) {
		err = s.asker.Ask(ctx, b.rule(), changes)
		if err == nil {
			b.asked = time.Now()
			s.wait.Answered()
			return nil
		}
		if s.wait == nil || !errors.Is(err, syncd.ErrUnavailable) || errors.Is(err, context.Canceled) || ctx.Err() != nil {
			return err
		}
		s.wait.Failed(err.Error(), pause)
		if ended := wait.Pause(ctx, pause); ended != nil {
			return fmt.Errorf("%w: %w", ended, err)
		}
	}
}

// The pauses between questions to an index that does not answer, beside those of the checker itself.
const (
	firstRepeat   = time.Second
	longestRepeat = 30 * time.Second
)

// leaveYoung leaves documents alone that the index lacks and that changed just now: an indexer may be at work on them. The
// sense of a change that lies in the future is not known, so it counts by its distance as well.
type leaveYoung time.Duration

func (s leaveYoung) apply(_ context.Context, b *batch) error {
	for i := range b.changes {
		c := &b.changes[i]
		if c.Verdict == syncd.Present {
			continue
		}
		if changed, ok := b.rule().ChangedAt(c); ok && b.asked.Sub(changed).Abs() < time.Duration(s) {
			b.counts.Young++
			c.Verdict = syncd.Unknown
		}
	}
	return nil
}

// leaveUnindexed leaves documents alone that were sent often enough and never appeared.
type leaveUnindexed struct{ ledger Ledger }

func (s leaveUnindexed) apply(_ context.Context, b *batch) error {
	for i := range b.changes {
		c := &b.changes[i]
		if c.Verdict == syncd.Unknown {
			continue
		}
		leave, err := s.ledger.Judge(b.rule(), c)
		if err != nil {
			return fmt.Errorf("reading the record of attempts: %w", err)
		}
		if leave {
			b.counts.Unindexed++
			c.Verdict = syncd.Unknown
		}
	}
	return nil
}

// countVerdicts counts what the index said. Unknown is the verdict of documents that a stage before left alone and counted.
type countVerdicts struct{ full bool }

func (s countVerdicts) apply(_ context.Context, b *batch) error {
	if s.full {
		b.counts.Unasked += int64(len(b.changes))
		return nil
	}
	for i := range b.changes {
		switch b.changes[i].Verdict {
		case syncd.Present:
			b.counts.Present++
		case syncd.Missing:
			b.counts.Missing++
			if changed, ok := b.rule().ChangedAt(&b.changes[i]); ok && (b.oldest.IsZero() || changed.Before(b.oldest)) {
				b.oldest = changed
			}
		case syncd.Stale:
			b.counts.Stale++
			if b.changes[i].Reason == syncd.ReasonModel {
				b.counts.OtherModel++
			}
		case syncd.Partial:
			b.counts.Partial++
		case syncd.Orphan:
			b.counts.Orphan++
		}
	}
	b.split.col.weigh(b.counts)
	return nil
}

// guard stops the run before a batch is sent, by what was found in its collection so far, this batch included.
type guard func(rule *mapping.Rule, n tally.Counts) error

func (s guard) apply(_ context.Context, b *batch) error {
	n := b.split.col.snapshot()
	n.Add(b.counts)
	return s(b.rule(), n)
}

// reportItems tells of every document that was looked at.
type reportItems struct{ e *Engine }

func (s reportItems) apply(_ context.Context, b *batch) error {
	s.e.telling.Lock()
	defer s.e.telling.Unlock()
	for i := range b.changes {
		c := &b.changes[i]
		if c.Verdict != syncd.Unknown {
			s.e.Hooks.Item(verdict.Item{Rule: b.rule(), Verdict: c.Verdict, ID: c.ID, Key: c.Key, PointID: c.PointID, OtherModel: c.Verdict == syncd.Stale && c.Reason == syncd.ReasonModel})
		}
	}
	return nil
}

// toSend takes out what needs nothing.
type toSend struct{}

func (toSend) apply(_ context.Context, b *batch) error {
	b.keep(func(c *syncd.Change) bool {
		if c.Verdict == syncd.Present || c.Verdict == syncd.Unknown {
			return false
		}
		b.complete(c)
		return true
	})
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
