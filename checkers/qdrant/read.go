package qdrant

import (
	"context"
	"fmt"

	"github.com/syncd-io/syncd"
)

// Read asks as Check does, for payload as well. That costs Qdrant the reading of each found point's payload, from disk
// where payload is kept there, so Read is for those points of which more than presence must be known.
func (c *checker) Read(ctx context.Context, points []syncd.Point, keys []string, found []syncd.Found) error {
	if len(points) != len(found) {
		return fmt.Errorf("asking Qdrant: %d places for %d points", len(found), len(points))
	}
	selected, err := selectKeys(keys)
	if err != nil {
		return err
	}
	return c.inBatches(ctx, len(points), &c.reads, func(ctx context.Context, from, to int) error {
		a := c.newAsk(selected)
		defer c.putAsk(a)
		if err := c.lookup(ctx, a, points[from:to], &c.reads); err != nil {
			return err
		}
		a.read(found[from:to])
		return nil
	})
}

// read sets found to what was found, with the values that are selected.
func (a *ask) read(found []syncd.Found) {
	n := len(a.selected.paths)
	lacking := 0
	for i := range found {
		if cap(found[i].Payload) < n {
			lacking++
		}
	}
	memory := make([]syncd.Value, lacking*n)
	for i, slot := range a.slots {
		f := &found[i]
		f.Present = a.found[slot]
		if cap(f.Payload) < n {
			f.Payload, memory = memory[:n:n], memory[n:]
		}
		f.Payload = append(f.Payload[:0], a.valuesOf(int(slot))...)
	}
}
