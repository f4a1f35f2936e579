package syncdtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/syncd-io/syncd"
)

// MemoryCommitter is a sink that keeps events together with marks. What is committed is kept by a ledger: each MemoryCommitter
// that Reopen returns is another user of the same ledger, as a later run is, and Marks shuts out all the others. Every method is
// safe for concurrent use; the fields must be set before the first Commit.
type MemoryCommitter struct {
	// Reject says why an event is refused, or nil. The refused events make the BatchError: of a Write, which keeps the others,
	// or of a Commit, of which nothing is kept.
	Reject func(e syncd.Event) error
	// Before is called at the beginning of a Commit or a Write: its error ends the call, and nothing has happened. It is a
	// place for a crash, or to wait.
	Before func(ctx context.Context, events []syncd.Event, marks []syncd.Mark) error
	// After is called when a Commit or a Write took effect: its error is what the call returns in place of its own. It is a
	// place for a crash between the commit and the return.
	After func(ctx context.Context, events []syncd.Event, marks []syncd.Mark) error

	// Written is called with the copy of every event that was committed, one at a time, as that of a MemorySink.
	Written func(e syncd.Event)

	ledger *ledger

	mu     sync.Mutex
	epoch  int // 0 before Marks
	calls  int
	closes int
}

// ledger is what is committed.
type ledger struct {
	mu      sync.Mutex
	epoch   int // that of the last Marks; older ones are shut out
	events  []syncd.Event
	marks   map[string][]byte
	targets []syncd.Target
}

// NewMemoryCommitter returns a sink that refuses nothing, over an empty ledger.
func NewMemoryCommitter() *MemoryCommitter {
	return &MemoryCommitter{ledger: &ledger{marks: map[string][]byte{}}}
}

// Reopen returns another user of the same ledger, with the same fields. Nothing changes for c until the other one's Marks.
func (c *MemoryCommitter) Reopen() *MemoryCommitter {
	return &MemoryCommitter{Reject: c.Reject, Before: c.Before, After: c.After, Written: c.Written, ledger: c.ledger}
}

// Committed returns the events that are committed, in the order in which they were.
func (c *MemoryCommitter) Committed() []syncd.Event {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	return slices.Clone(c.ledger.events)
}

// Ledger returns the marks that are committed.
func (c *MemoryCommitter) Ledger() map[string][]byte {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	return maps.Clone(c.ledger.marks)
}

// Fence shuts out every user of the ledger, as another run's Marks does.
func (c *MemoryCommitter) Fence() {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	c.ledger.epoch++
}

// Commits says how often Commit or Write was called.
func (c *MemoryCommitter) Commits() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls
}

// Closes says how often Close was called.
func (c *MemoryCommitter) Closes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closes
}

// Prepared returns the targets that Prepare was given.
func (c *MemoryCommitter) Prepared() []syncd.Target {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	return slices.Clone(c.ledger.targets)
}

// Plugin declares a sink of that name; opening it gives c itself.
func (c *MemoryCommitter) Plugin(name string) syncd.Plugin {
	return syncd.NewSink(name, "Keeps events and marks in memory.", struct{}{},
		func(context.Context, struct{}, syncd.Env) (syncd.Sink, error) { return c, nil })
}

// Prepare implements syncd.Preparer.
func (c *MemoryCommitter) Prepare(ctx context.Context, targets []syncd.Target) error {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	c.ledger.targets = append(c.ledger.targets, targets...)
	return ctx.Err()
}

// Route implements syncd.Router as MemorySink does.
func (c *MemoryCommitter) Route(t syncd.Target) string { return memoryRoute(t) }

// Marks implements syncd.Committer.
func (c *MemoryCommitter) Marks(ctx context.Context, prefix string) (map[string][]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("reading marks: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	c.ledger.epoch++
	c.epoch = c.ledger.epoch
	out := map[string][]byte{}
	for name, value := range c.ledger.marks {
		if strings.HasPrefix(name, prefix) {
			out[name] = bytes.Clone(value)
		}
	}
	return out, nil
}

// Commit implements syncd.Committer. A call is a transaction of its own.
func (c *MemoryCommitter) Commit(ctx context.Context, events []syncd.Event, marks []syncd.Mark) error {
	c.mu.Lock()
	c.calls++
	epoch := c.epoch
	c.mu.Unlock()
	if epoch == 0 {
		return fmt.Errorf("committing %d events: the marks were not asked for before", len(events))
	}
	return c.apply(ctx, epoch, events, marks, true)
}

// Write implements syncd.Sink: a transaction without marks, which is no less shut out.
func (c *MemoryCommitter) Write(ctx context.Context, events []syncd.Event) error {
	c.mu.Lock()
	c.calls++
	if c.epoch == 0 { // nobody asked for marks: this is the first that is heard of this user
		c.ledger.mu.Lock()
		c.ledger.epoch++
		c.epoch = c.ledger.epoch
		c.ledger.mu.Unlock()
	}
	epoch := c.epoch
	c.mu.Unlock()
	return c.apply(ctx, epoch, events, nil, false)
}

// apply is a transaction, which commits all or nothing if whole, else what is not refused.
func (c *MemoryCommitter) apply(ctx context.Context, epoch int, events []syncd.Event, marks []syncd.Mark, whole bool) error {
	if c.Before != nil {
		if err := c.Before(ctx, events, marks); err != nil {
			return err
		}
	}
	err := c.commit(ctx, epoch, events, marks, whole)
	if _, partial := errors.AsType[*syncd.BatchError](err); err == nil || partial && !whole {
		if c.After != nil {
			if err := c.After(ctx, events, marks); err != nil {
				return err
			}
		}
	}
	return err
}

func (c *MemoryCommitter) commit(ctx context.Context, epoch int, events []syncd.Event, marks []syncd.Mark, whole bool) error {
	l := c.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("committing %d events: %w", len(events), err)
	}
	if epoch != l.epoch {
		return fmt.Errorf("committing %d events: %w", len(events), syncd.ErrFenced)
	}
	var failed syncd.BatchError
	for i, e := range events {
		if c.Reject != nil {
			if err := c.Reject(e); err != nil {
				failed.Fail(i, err)
			}
		}
	}
	if err := failed.OrNil(); whole && err != nil {
		return err
	}
	for i, e := range events {
		if failed.Of(i) != nil {
			continue
		}
		e = cloneEvent(e)
		l.events = append(l.events, e)
		if c.Written != nil {
			c.Written(e)
		}
	}
	for _, m := range marks {
		if m.Value == nil {
			delete(l.marks, m.Name)
		} else {
			l.marks[m.Name] = bytes.Clone(m.Value)
		}
	}
	return failed.OrNil()
}

// Close implements syncd.Sink.
func (c *MemoryCommitter) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closes++
	return nil
}
