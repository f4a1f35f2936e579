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
	"github.com/syncd-io/syncd/codec"
)

// MemoryCommitter is a sink that keeps changes, and their events, together with marks. What is committed is kept by a ledger: each
// MemoryCommitter that Reopen returns is another user of the same ledger, as a later run is, and Marks shuts out all the others.
// Every method is safe for concurrent use; the fields must be set before Plugin and the first Commit.
type MemoryCommitter struct {
	// Event is the form of events. The zero value is the plain form.
	Event codec.Config
	// Reject says why an event is refused, or nil. The refused events make the BatchError: of a Write, which keeps the others,
	// or of a Commit, of which nothing is kept.
	Reject func(e codec.Event) error
	// Before is called at the beginning of a Commit or a Write: its error ends the call, and nothing has happened. It is a
	// place for a crash, or to wait.
	Before func(ctx context.Context, changes []syncd.Change, marks []syncd.Mark) error
	// After is called when a Commit or a Write took effect: its error is what the call returns in place of its own. It is a
	// place for a crash between the commit and the return.
	After func(ctx context.Context, changes []syncd.Change, marks []syncd.Mark) error

	// Written is called with the copy of every event that was committed, one at a time, as that of a MemorySink.
	Written func(e codec.Event)

	ledger *ledger

	mu     sync.Mutex
	run    string // the id that Prepare was given
	epoch  int    // 0 before Marks
	closes int
}

// ledger is what is committed.
type ledger struct {
	mu      sync.Mutex
	epoch   int // that of the last Marks; older ones are shut out
	kept    record
	marks   map[string][]byte
	targets []syncd.Target
}

// NewMemoryCommitter returns a sink that refuses nothing which can be encoded, over an empty ledger.
func NewMemoryCommitter() *MemoryCommitter {
	return &MemoryCommitter{ledger: &ledger{marks: map[string][]byte{}}}
}

// Reopen returns another user of the same ledger, with the same fields. Nothing changes for c until the other one's Marks.
func (c *MemoryCommitter) Reopen() *MemoryCommitter {
	return &MemoryCommitter{Event: c.Event, Reject: c.Reject, Before: c.Before, After: c.After, Written: c.Written, ledger: c.ledger}
}

// Committed returns the events that are committed, in the order in which they were.
func (c *MemoryCommitter) Committed() []codec.Event {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	return slices.Clone(c.ledger.kept.events)
}

// Changes returns the changes that are committed, one for each of Committed.
func (c *MemoryCommitter) Changes() []syncd.Change {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	return slices.Clone(c.ledger.kept.changes)
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

// Plugin declares a sink of that name; opening it gives c itself, with the form of events that the configuration says.
func (c *MemoryCommitter) Plugin(name string) syncd.Plugin {
	return syncd.NewSink(name, "Keeps events and marks in memory.", newMemorySinkConfig(c.Event),
		func(_ context.Context, config memorySinkConfig, _ syncd.Env) (syncd.Sink, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.Event = config.Event
			return c, nil
		})
}

// Abilities implements syncd.Sink.
func (c *MemoryCommitter) Abilities() syncd.SinkAbilities {
	return syncd.SinkAbilities{Prepare: c.Prepare, Route: c.Route, Marks: c.Marks, PeekMarks: c.PeekMarks, Commit: c.Commit}
}

// Prepare is the ability of that name. It may be called again.
func (c *MemoryCommitter) Prepare(ctx context.Context, run syncd.Run) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	c.run = run.ID
	c.ledger.targets = append(c.ledger.targets, run.Targets...)
	return ctx.Err()
}

// Route is the ability of that name, as that of a MemorySink.
func (c *MemoryCommitter) Route(t syncd.Target) string { return memoryRoute(t) }

// Marks is the ability of that name.
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
	return c.ledger.under(prefix), nil
}

// PeekMarks is the ability of that name.
func (c *MemoryCommitter) PeekMarks(ctx context.Context, prefix string) (map[string][]byte, error) {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	return c.ledger.under(prefix), ctx.Err()
}

// under copies the marks whose names begin with prefix.
func (l *ledger) under(prefix string) map[string][]byte {
	out := map[string][]byte{}
	for name, value := range l.marks {
		if strings.HasPrefix(name, prefix) {
			out[name] = bytes.Clone(value)
		}
	}
	return out
}

// Commit is the ability of that name. A call is a transaction of its own.
func (c *MemoryCommitter) Commit(ctx context.Context, changes []syncd.Change, marks []syncd.Mark) error {
	c.mu.Lock()
	epoch := c.epoch
	c.mu.Unlock()
	if epoch == 0 {
		return fmt.Errorf("committing %d changes: the marks were not asked for before", len(changes))
	}
	return c.apply(ctx, epoch, changes, marks, true)
}

// Write implements syncd.Sink: a transaction without marks, which is no less shut out.
func (c *MemoryCommitter) Write(ctx context.Context, changes []syncd.Change) error {
	c.mu.Lock()
	if c.epoch == 0 { // nobody asked for marks: this is the first that is heard of this user
		c.ledger.mu.Lock()
		c.ledger.epoch++
		c.epoch = c.ledger.epoch
		c.ledger.mu.Unlock()
	}
	epoch := c.epoch
	c.mu.Unlock()
	return c.apply(ctx, epoch, changes, nil, false)
}

// apply is a transaction, which commits all or nothing if whole, else what is not refused.
func (c *MemoryCommitter) apply(ctx context.Context, epoch int, changes []syncd.Change, marks []syncd.Mark, whole bool) error {
	if c.Before != nil {
		if err := c.Before(ctx, changes, marks); err != nil {
			return err
		}
	}
	err := c.commit(ctx, epoch, changes, marks, whole)
	if _, partial := errors.AsType[*syncd.BatchError](err); err == nil || partial && !whole {
		if c.After != nil {
			if err := c.After(ctx, changes, marks); err != nil {
				return err
			}
		}
	}
	return err
}

func (c *MemoryCommitter) commit(ctx context.Context, epoch int, changes []syncd.Change, marks []syncd.Mark, whole bool) error {
	c.mu.Lock()
	event, run := c.Event, c.run
	c.mu.Unlock()
	l := c.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("committing %d changes: %w", len(changes), err)
	}
	if epoch != l.epoch {
		return fmt.Errorf("committing %d changes: %w", len(changes), syncd.ErrFenced)
	}
	w := writing{event: event, run: run, reject: c.Reject, written: c.Written, whole: whole}
	err := l.kept.add(w, changes)
	if whole && err != nil {
		return err
	}
	for _, m := range marks {
		if m.Value == nil {
			delete(l.marks, m.Name)
		} else {
			l.marks[m.Name] = bytes.Clone(m.Value)
		}
	}
	return err
}

// Close implements syncd.Sink.
func (c *MemoryCommitter) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closes++
	return nil
}
