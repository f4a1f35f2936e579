package syncdtest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math/bits"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
)

// MemoryChecker is a checker whose index is held in memory. Every method is safe for concurrent use, so points may appear
// while a run goes on.
type MemoryChecker struct {
	mu      sync.Mutex
	present map[uuid.UUID]map[string]any // each point's payload
	absent  bool                         // the index does not exist
	calls   []int
	reads   []int
	closes  int
}

// NewMemoryChecker returns a checker whose index exists and holds the given points.
func NewMemoryChecker(present ...uuid.UUID) *MemoryChecker {
	c := &MemoryChecker{present: map[uuid.UUID]map[string]any{}}
	c.Add(present...)
	return c
}

// Add puts points without payload into the index, which exists from then on. A point that is there keeps its payload.
func (c *MemoryChecker) Add(points ...uuid.UUID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.absent = false
	for _, id := range points {
		if _, ok := c.present[id]; !ok {
			c.present[id] = nil
		}
	}
}

// Put puts a point into the index, which exists from then on, in place of the point that has the same id. A payload is
// like the fields of a MemoryDoc and must not change afterwards.
func (c *MemoryChecker) Put(point uuid.UUID, payload map[string]any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.absent = false
	c.present[point] = payload
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

// Reads returns how many points each call of Read asked for, in the order of the calls.
func (c *MemoryChecker) Reads() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.reads)
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
		if _, ok := c.present[p.ID]; ok {
			verdicts[i] = syncd.Present
		}
	}
	return nil
}

// Abilities implements syncd.Checker.
func (c *MemoryChecker) Abilities() syncd.CheckerAbilities {
	return syncd.CheckerAbilities{Read: c.Read, List: c.List, Sample: c.Sample, Inspect: c.Inspect, Survey: c.Survey}
}

// Read is the ability of that name.
func (c *MemoryChecker) Read(ctx context.Context, points []syncd.Point, keys []string, found []syncd.Found) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads = append(c.reads, len(points))
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("reading %d points: %w", len(points), err)
	}
	for i, p := range points {
		payload, ok := c.present[p.ID]
		found[i].Present = ok
		found[i].Payload = appendValues(found[i].Payload[:0], payload, keys)
	}
	return nil
}

// appendValues appends the text of each key. A value that has no text is like one that is not there.
func appendValues(dst []syncd.Value, payload map[string]any, keys []string) []syncd.Value {
	dst = slices.Grow(dst, len(keys))
	for _, key := range keys {
		v, err := lookupText(payload, key)
		if err != nil {
			v = syncd.Value{}
		}
		dst = append(dst, v)
	}
	return dst
}

// memoryPage is how many points a batch of List has at most: few, so that what is listed spans many batches.
const memoryPage = 100

// List is the ability of that name, in the order of ids. The index may change between two batches.
func (c *MemoryChecker) List(ctx context.Context, req syncd.ListRequest) iter.Seq2[[]syncd.Listed, error] {
	return func(yield func([]syncd.Listed, error) bool) {
		if req.Part < 0 || req.Part >= req.Parts {
			yield(nil, fmt.Errorf("listing points: there is no part %d of %d", req.Part, req.Parts))
			return
		}
		ids, err := c.ids(ctx, req)
		left := len(ids)
		if req.Limit > 0 {
			left = req.Limit
		}
		for err == nil && len(ids) > 0 && left > 0 {
			var batch []syncd.Listed
			batch, ids, err = c.page(ctx, req, ids, min(left, memoryPage))
			left -= len(batch)
			if err == nil && len(batch) > 0 && !yield(batch, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, fmt.Errorf("listing points: %w", err))
		}
	}
}

// Sample is the ability of that name.
func (c *MemoryChecker) Sample(ctx context.Context, reqs []syncd.ListRequest) ([][]syncd.Listed, error) {
	out := make([][]syncd.Listed, len(reqs))
	for i, req := range reqs {
		for batch, err := range c.List(ctx, req) {
			if err != nil {
				return nil, err
			}
			out[i] = append(out[i], batch...)
		}
	}
	return out, nil
}

// ids returns the sorted ids of a part.
func (c *MemoryChecker) ids(ctx context.Context, req syncd.ListRequest) ([]uuid.UUID, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []uuid.UUID
	for id := range c.present {
		part, _ := bits.Mul64(binary.BigEndian.Uint64(id[:]), uint64(req.Parts)) // the first 64 bits × parts / 2⁶⁴
		if int(part) == req.Part {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	return ids, ctx.Err()
}

// page lists up to n of the points with these ids that are still there, and returns the ids that are left.
func (c *MemoryChecker) page(ctx context.Context, req syncd.ListRequest, ids []uuid.UUID, n int) ([]syncd.Listed, []uuid.UUID, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	var batch []syncd.Listed
	for i, id := range ids {
		if len(batch) == n {
			return batch, ids[i:], nil
		}
		payload, ok := c.present[id]
		lookup := func(path string) (syncd.Value, error) { return lookupText(payload, path) }
		if ok && hasTexts(lookup, req.Match) {
			batch = append(batch, syncd.Listed{ID: id, Payload: appendValues(nil, payload, req.Keys)})
		}
	}
	return batch, nil, nil
}

// Inspect is the ability of that name.
func (c *MemoryChecker) Inspect(ctx context.Context) (syncd.Index, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return syncd.Index{Name: "index", Exists: !c.absent, Points: int64(len(c.present))}, ctx.Err()
}

// surveySample is how many points a Survey shows.
const surveySample = 100

// Survey is the ability of that name. Of the payload it shows what has a text.
func (c *MemoryChecker) Survey(ctx context.Context, key string) (s syncd.Survey, err error) {
	ids, err := c.ids(ctx, syncd.ListRequest{Parts: 1})
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := map[string]int64{}
	for _, id := range ids {
		payload, ok := c.present[id]
		if !ok {
			continue
		}
		if v, err := lookupText(payload, key); err == nil && v.Set {
			counts[v.Text]++
		}
		if len(s.Sample) < surveySample {
			texts := map[string]string{}
			payloadTexts(texts, payload, payload, "")
			s.Sample = append(s.Sample, texts)
		}
	}
	for text, n := range counts {
		s.Texts = append(s.Texts, syncd.TextCount{Text: text, Points: n})
	}
	slices.SortFunc(s.Texts, func(a, b syncd.TextCount) int {
		return cmp.Or(cmp.Compare(b.Points, a.Points), cmp.Compare(a.Text, b.Text))
	})
	s.Whole = true
	return s, err
}

// payloadTexts adds the texts of what stands below a path of a payload.
func payloadTexts(dst map[string]string, payload, at map[string]any, path string) {
	for name, v := range at {
		if inner, ok := v.(map[string]any); ok {
			payloadTexts(dst, payload, inner, path+name+".")
			continue
		}
		text, err := lookupText(payload, path+name)
		if err != nil {
			text = syncd.Value{}
		}
		dst[path+name] = text.Text
	}
}

// Close implements syncd.Checker.
func (c *MemoryChecker) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closes++
	return nil
}
