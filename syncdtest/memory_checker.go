package syncdtest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
)

// MemoryChecker is a checker whose index is a set in memory. Every method is safe for concurrent use, so points may
// appear while a run goes on.
type MemoryChecker struct {
	mu      sync.Mutex
	present map[uuid.UUID]bool
	absent  bool // the index does not exist
	calls   []int
	closes  int
}

// NewMemoryChecker returns a checker whose index exists and holds the given points.
func NewMemoryChecker(present ...uuid.UUID) *MemoryChecker {
	c := &MemoryChecker{present: map[uuid.UUID]bool{}}
	c.Add(present...)
	return c
}

// Add puts points into the index, which exists from then on.
func (c *MemoryChecker) Add(points ...uuid.UUID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.absent = false
	for _, id := range points {
		c.present[id] = true
	}
}

// Remove takes points out of the index.
func (c *MemoryChecker) Remove(points ...uuid.UUID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range points {
		delete(c.present, id)
	}
}

// Drop removes the whole index, as if it had never been made.
func (c *MemoryChecker) Drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.present)
	c.absent = true
}

// Calls returns how many points each call of Check asked for, in the order of the calls.
func (c *MemoryChecker) Calls() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls)
}

// Closes says how often Close was called.
func (c *MemoryChecker) Closes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closes
}

// Plugin declares a checker of that name; opening it gives c itself.
func (c *MemoryChecker) Plugin(name string) syncd.Plugin {
	return syncd.NewChecker(name, "Asks an index that is held in memory.", struct{}{},
		func(context.Context, struct{}, syncd.Env) (syncd.Checker, error) { return c, nil })
}

// Check implements syncd.Checker.
func (c *MemoryChecker) Check(ctx context.Context, points []syncd.Point, verdicts []syncd.Verdict) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, len(points))
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("checking %d points: %w", len(points), err)
	}
	for i, p := range points {
		verdicts[i] = syncd.Missing
		if c.present[p.ID] {
			verdicts[i] = syncd.Present
		}
	}
	return nil
}

// Inspect implements syncd.Inspector.
func (c *MemoryChecker) Inspect(ctx context.Context) (syncd.Index, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return syncd.Index{Name: "index", Exists: !c.absent, Points: int64(len(c.present))}, ctx.Err()
}

// Close implements syncd.Checker.
func (c *MemoryChecker) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closes++
	return nil
}
