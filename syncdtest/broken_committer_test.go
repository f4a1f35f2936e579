package syncdtest

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/syncd-io/syncd"
)

// brokenCommitter is a MemoryCommitter with another Marks or Commit.
type brokenCommitter struct {
	*MemoryCommitter
	marks  func(c *MemoryCommitter, ctx context.Context, prefix string) (map[string][]byte, error)
	commit func(c *MemoryCommitter, ctx context.Context, events []syncd.Event, marks []syncd.Mark) error
}

func (b brokenCommitter) Marks(ctx context.Context, prefix string) (map[string][]byte, error) {
	if b.marks != nil {
		return b.marks(b.MemoryCommitter, ctx, prefix)
	}
	return b.MemoryCommitter.Marks(ctx, prefix)
}

func (b brokenCommitter) Commit(ctx context.Context, events []syncd.Event, marks []syncd.Mark) error {
	if b.commit != nil {
		return b.commit(b.MemoryCommitter, ctx, events, marks)
	}
	return b.MemoryCommitter.Commit(ctx, events, marks)
}

func breakMarks(marks func(c *MemoryCommitter, ctx context.Context, prefix string) (map[string][]byte, error)) func(*MemoryCommitter) syncd.Sink {
	return func(c *MemoryCommitter) syncd.Sink { return brokenCommitter{MemoryCommitter: c, marks: marks} }
}

func breakCommit(commit func(c *MemoryCommitter, ctx context.Context, events []syncd.Event, marks []syncd.Mark) error) func(*MemoryCommitter) syncd.Sink {
	return func(c *MemoryCommitter) syncd.Sink { return brokenCommitter{MemoryCommitter: c, commit: commit} }
}

var brokenCommitters = []struct {
	name, caught string
	wreck        func(*MemoryCommitter) syncd.Sink
}{
	{"ignores the prefix", "commit_marks", breakMarks(func(c *MemoryCommitter, ctx context.Context, _ string) (map[string][]byte, error) {
		return c.Marks(ctx, "")
	})},
	{"forgets the marks", "commit_marks", breakMarks(func(c *MemoryCommitter, ctx context.Context, prefix string) (map[string][]byte, error) {
		_, err := c.Marks(ctx, prefix)
		return nil, err
	})},
	{"keeps what is forgotten", "commit_marks", breakCommit(func(c *MemoryCommitter, ctx context.Context, e []syncd.Event, m []syncd.Mark) error {
		return c.Commit(ctx, e, slices.DeleteFunc(slices.Clone(m), func(m syncd.Mark) bool { return m.Value == nil }))
	})},
	{"forgets empty marks", "commit_marks", breakCommit(func(c *MemoryCommitter, ctx context.Context, e []syncd.Event, m []syncd.Mark) error {
		return c.Commit(ctx, e, slices.DeleteFunc(slices.Clone(m), func(m syncd.Mark) bool { return len(m.Value) == 0 && m.Value != nil }))
	})},
	{"marks what it does not write", "commit_events_and_marks", breakCommit(func(c *MemoryCommitter, ctx context.Context, e []syncd.Event, m []syncd.Mark) error {
		return c.Commit(ctx, e[:max(0, len(e)-1)], m)
	})},
	{"commits no marks without events", "commit_marks", breakCommit(func(c *MemoryCommitter, ctx context.Context, e []syncd.Event, m []syncd.Mark) error {
		if len(e) == 0 {
			return nil
		}
		return c.Commit(ctx, e, m)
	})},
	{"shuts nobody out", "commit_fenced", breakMarks(func(c *MemoryCommitter, ctx context.Context, prefix string) (map[string][]byte, error) {
		c.ledger.mu.Lock()
		epoch := c.ledger.epoch
		c.ledger.epoch = 0
		c.ledger.mu.Unlock()
		m, err := c.Marks(ctx, prefix)
		if epoch > 0 {
			c.ledger.mu.Lock()
			c.ledger.epoch, c.epoch = epoch, epoch
			c.ledger.mu.Unlock()
		}
		return m, err
	})},
	{"does not say that it is shut out", "commit_fenced", breakCommit(func(c *MemoryCommitter, ctx context.Context, e []syncd.Event, m []syncd.Mark) error {
		err := c.Commit(ctx, e, m)
		if errors.Is(err, syncd.ErrFenced) {
			return errFault
		}
		return err
	})},
	{"loses marks of overlapping calls", "commit_overlapping", func() func(*MemoryCommitter) syncd.Sink {
		var mu sync.Mutex
		var pending []syncd.Mark
		return breakCommit(func(c *MemoryCommitter, ctx context.Context, e []syncd.Event, m []syncd.Mark) error {
			mu.Lock()
			pending = m
			mu.Unlock()
			letOthersRun()
			mu.Lock()
			defer mu.Unlock()
			return c.Commit(ctx, e, pending)
		})
	}()},
	{"commits what is left without a refused event", "commit_too_large", breakCommit(func(c *MemoryCommitter, ctx context.Context, e []syncd.Event, m []syncd.Mark) error {
		c.mu.Lock()
		epoch := c.epoch
		c.mu.Unlock()
		return c.apply(ctx, epoch, e, m, false)
	})},
	{"ignores a context that has ended", "commit_whose_context_has_ended", breakCommit(func(c *MemoryCommitter, ctx context.Context, e []syncd.Event, m []syncd.Mark) error {
		return c.Commit(context.WithoutCancel(ctx), e, m)
	})},
	{"marks and writes one after another", "commit_whose_context_ends", breakCommit(func(c *MemoryCommitter, ctx context.Context, e []syncd.Event, m []syncd.Mark) error {
		if err := c.Commit(ctx, nil, m); err != nil {
			return err
		}
		return c.Commit(ctx, e, nil)
	})},
	{"keeps the caller's marks", "commit_events_and_marks", breakCommit(func(c *MemoryCommitter, ctx context.Context, e []syncd.Event, m []syncd.Mark) error {
		err := c.Commit(ctx, e, m)
		c.ledger.mu.Lock()
		defer c.ledger.mu.Unlock()
		for _, m := range m {
			c.ledger.marks[m.Name] = m.Value
		}
		return err
	})},
}
