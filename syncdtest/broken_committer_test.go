package syncdtest

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/syncd-io/syncd"
)

// brokenCommitter is a MemoryCommitter with another Marks, PeekMarks or Commit.
type brokenCommitter struct {
	*MemoryCommitter
	marks  spoiltMarks
	peek   spoiltMarks
	commit func(c *MemoryCommitter, ctx context.Context, changes []syncd.Change, marks []syncd.Mark) error
}

func (b brokenCommitter) Abilities() syncd.SinkAbilities {
	a := b.MemoryCommitter.Abilities()
	if b.marks != nil {
		a.Marks = func(ctx context.Context, prefix string) (map[string][]byte, error) {
			return b.marks(b.MemoryCommitter, ctx, prefix)
		}
	}
	if b.peek != nil {
		a.PeekMarks = func(ctx context.Context, prefix string) (map[string][]byte, error) {
			return b.peek(b.MemoryCommitter, ctx, prefix)
		}
	}
	if b.commit != nil {
		a.Commit = func(ctx context.Context, changes []syncd.Change, marks []syncd.Mark) error {
			return b.commit(b.MemoryCommitter, ctx, changes, marks)
		}
	}
	return a
}

type spoiltMarks = func(c *MemoryCommitter, ctx context.Context, prefix string) (map[string][]byte, error)

func breakMarks(marks spoiltMarks) func(*MemoryCommitter) syncd.Sink {
	return func(c *MemoryCommitter) syncd.Sink { return brokenCommitter{MemoryCommitter: c, marks: marks} }
}

func breakPeek(peek spoiltMarks) func(*MemoryCommitter) syncd.Sink {
	return func(c *MemoryCommitter) syncd.Sink { return brokenCommitter{MemoryCommitter: c, peek: peek} }
}

func breakCommit(commit func(c *MemoryCommitter, ctx context.Context, changes []syncd.Change, marks []syncd.Mark) error) func(*MemoryCommitter) syncd.Sink {
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
	{"keeps what is forgotten", "commit_marks", breakCommit(func(c *MemoryCommitter, ctx context.Context, e []syncd.Change, m []syncd.Mark) error {
		return c.Commit(ctx, e, slices.DeleteFunc(slices.Clone(m), func(m syncd.Mark) bool { return m.Value == nil }))
	})},
	{"forgets empty marks", "commit_marks", breakCommit(func(c *MemoryCommitter, ctx context.Context, e []syncd.Change, m []syncd.Mark) error {
		return c.Commit(ctx, e, slices.DeleteFunc(slices.Clone(m), func(m syncd.Mark) bool { return len(m.Value) == 0 && m.Value != nil }))
	})},
	{"marks what it does not write", "commit_changes_and_marks", breakCommit(func(c *MemoryCommitter, ctx context.Context, e []syncd.Change, m []syncd.Mark) error {
		return c.Commit(ctx, e[:max(0, len(e)-1)], m)
	})},
	{"commits no marks without changes", "commit_marks", breakCommit(func(c *MemoryCommitter, ctx context.Context, e []syncd.Change, m []syncd.Mark) error {
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
	{"does not say that it is shut out", "commit_fenced", breakCommit(func(c *MemoryCommitter, ctx context.Context, e []syncd.Change, m []syncd.Mark) error {
		err := c.Commit(ctx, e, m)
		if errors.Is(err, syncd.ErrFenced) {
			return errFault
		}
		return err
	})},
	{"loses marks of overlapping calls", "commit_overlapping", func() func(*MemoryCommitter) syncd.Sink {
		var mu sync.Mutex
		var pending []syncd.Mark
		return breakCommit(func(c *MemoryCommitter, ctx context.Context, e []syncd.Change, m []syncd.Mark) error {
			mu.Lock()
			pending = m
			mu.Unlock()
			letOthersRun()
			mu.Lock()
			defer mu.Unlock()
			return c.Commit(ctx, e, pending)
		})
	}()},
	{"commits what is left without a refused change", "commit_too_large", breakCommit(commitTheRest)},
	{"commits what is left without a change that has no form", "commit_not_encodable", breakCommit(commitTheRest)},
	{"shuts out others when it peeks", "commit_and_peek", breakPeek(func(c *MemoryCommitter, ctx context.Context, prefix string) (map[string][]byte, error) {
		return c.Marks(ctx, prefix)
	})},
	{"peeks at old marks", "commit_and_peek", func() func(*MemoryCommitter) syncd.Sink {
		var mu sync.Mutex
		var first map[string][]byte
		return breakPeek(func(c *MemoryCommitter, ctx context.Context, prefix string) (map[string][]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			if first == nil {
				first, _ = c.PeekMarks(ctx, prefix)
			}
			return first, nil
		})
	}()},
	{"ignores a context that has ended", "commit_whose_context_has_ended", breakCommit(func(c *MemoryCommitter, ctx context.Context, e []syncd.Change, m []syncd.Mark) error {
		return c.Commit(context.WithoutCancel(ctx), e, m)
	})},
	{"marks and writes one after another", "commit_whose_context_ends", breakCommit(func(c *MemoryCommitter, ctx context.Context, e []syncd.Change, m []syncd.Mark) error {
		if err := c.Commit(ctx, nil, m); err != nil {
			return err
		}
		return c.Commit(ctx, e, nil)
	})},
	{"keeps the caller's marks", "commit_changes_and_marks", breakCommit(func(c *MemoryCommitter, ctx context.Context, e []syncd.Change, m []syncd.Mark) error {
		err := c.Commit(ctx, e, m)
		c.ledger.mu.Lock()
		defer c.ledger.mu.Unlock()
		for _, m := range m {
			c.ledger.marks[m.Name] = m.Value
		}
		return err
	})},
}

func commitTheRest(c *MemoryCommitter, ctx context.Context, e []syncd.Change, m []syncd.Mark) error { //nolint:revive // it stands for a method
	c.mu.Lock()
	epoch := c.epoch
	c.mu.Unlock()
	return c.apply(ctx, epoch, e, m, false)
}
