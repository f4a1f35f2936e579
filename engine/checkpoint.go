package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/syncd-io/syncd/store"
)

// advanced is a split whose checkpoint moved on past some batches.
type advanced struct {
	split   *split
	batches int
}

// checkpointPause is the longest that an advance waits for others to share its write, which may have to reach a disk.
const checkpointPause = 50 * time.Millisecond

// keepCheckpoints has the states of splits kept as they advance, so that no worker waits for a disk, and frees the in-flight
// slots of the batches that they passed only then: whatever a crash may repeat holds a slot. Advances share a write: those that
// came meanwhile, and those of a short while, unless they hold a fourth of the slots. It ends when checkpoints is closed.
func (e *Engine) keepCheckpoints(ctx context.Context, checkpoints <-chan advanced) error {
	for first := range checkpoints {
		batches, splits := e.gather(first, checkpoints)
		if err := e.keepSplits(ctx, splits); err != nil {
			return keeping(err)
		}
		for range batches {
			<-e.inFlight
		}
	}
	return nil
}

// gather returns the splits whose advances share a write, each once, and by how many batches they advanced.
func (e *Engine) gather(first advanced, checkpoints <-chan advanced) (batches int, splits []*split) {
	seen := map[*split]bool{}
	add := func(a advanced) {
		batches += a.batches
		if !seen[a.split] {
			seen[a.split] = true
			splits = append(splits, a.split)
		}
	}
	add(first)
	pause := time.NewTimer(checkpointPause)
	defer pause.Stop()
	for due := false; !due && batches < cap(e.inFlight)/4; {
		select {
		case a, open := <-checkpoints:
			if !open {
				return batches, splits
			}
			add(a)
		case <-pause.C:
			due = true
		}
	}
	for range len(checkpoints) {
		add(<-checkpoints)
	}
	return batches, splits
}

// keepSplits has the states of splits kept, in one write: so that a crash can't undo it, if anything was sent on their way. What
// was committed with a checkpoint is durable already.
func (e *Engine) keepSplits(ctx context.Context, splits []*split) error {
	owed := false
	for _, s := range splits {
		owed = owed || e.committer == nil && s.owes()
	}
	for i, s := range splits {
		if err := s.keep(ctx, e.Checkpoints, owed && i == len(splits)-1); err != nil {
			return err
		}
	}
	if owed {
		for _, s := range splits {
			s.settle()
		}
	}
	return nil
}

// owes reports whether something was sent behind what was durably kept.
func (s *split) owes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent > s.durable
}

// keep has the state kept if it advanced since, or must be durable.
func (s *split) keep(ctx context.Context, c store.Checkpoints, durable bool) error {
	s.keeping <- struct{}{}
	defer func() { <-s.keeping }()
	s.mu.Lock()
	state, low := s.state, s.low
	s.mu.Unlock()
	if low == s.kept && !durable || s.over {
		return nil
	}
	if err := c.Split(ctx, s.col.kept, state, durable); err != nil {
		return err
	}
	s.kept = low
	return nil
}

// settle notes that what was kept last is durable.
func (s *split) settle() {
	s.keeping <- struct{}{}
	defer func() { <-s.keeping }()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.durable = s.kept
}

// keepDone has the state of a split kept that is done. Nothing older comes after it. Whoever asks when nothing is under way any more may
// count on it.
func (s *split) keepDone(ctx context.Context, c store.Checkpoints, state store.Split) error {
	s.keeping <- struct{}{}
	defer func() { <-s.keeping }()
	return c.Split(ctx, s.col.kept, state, s.gone != nil)
}

// keeping says of an error that it is the store's.
func keeping(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("keeping the state of the run: %w", err)
}
