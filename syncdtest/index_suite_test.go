package syncdtest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	pointsink "github.com/syncd-io/syncd/internal/points"
)

// memoryIndex is a sink that keeps points in memory, a document in one step. broken is what it does wrong.
type memoryIndex struct {
	broken string
	layout pointsink.Layout
	mu     sync.Mutex
	points map[uuid.UUID]memoryPoint
}

type memoryPoint struct {
	payload map[string]any
	vector  []float32
}

func newMemoryIndex(broken string) *memoryIndex {
	return &memoryIndex{
		broken: broken, points: map[uuid.UUID]memoryPoint{},
		layout: pointsink.Layout{Payload: pointsink.DefaultPayload(), UpdatedAt: "updatedAt", Fields: IndexFields()},
	}
}

func (x *memoryIndex) Close() error { return nil }

func (x *memoryIndex) Abilities() syncd.SinkAbilities {
	return syncd.SinkAbilities{Prepare: func(context.Context, syncd.Run) error { return nil }, Held: x.held, Nearest: x.nearest}
}

type memoryDocument struct {
	change *syncd.Change
	chunks []memoryPoint
}

func (x *memoryIndex) Write(ctx context.Context, changes []syncd.Change) error {
	w := pointsink.Writer[memoryDocument]{
		Most: 10, Make: x.document, Faulty: func(err error) (bool, error) { return false, err },
		Put: func(ctx context.Context, docs []memoryDocument) error {
			x.mu.Lock()
			defer x.mu.Unlock()
			if err := ctx.Err(); err != nil && x.broken != "context" {
				return err
			}
			return x.put(docs)
		},
	}
	err := w.Write(ctx, changes)
	if _, is := errors.AsType[*pointsink.SizeError](err); is {
		return syncd.Hint(err, "take another model")
	}
	return err
}

func (x *memoryIndex) document(c *syncd.Change) (d memoryDocument, size int, err error) {
	d.change = c
	if c.Operation == syncd.Delete {
		return d, 1, nil
	}
	if c.Content == nil {
		return d, 0, pointsink.ErrNoContent
	}
	payload, err := x.layout.Shared(c)
	if err != nil {
		return d, 0, err
	}
	for k := range c.Content.Chunks {
		chunk := &c.Content.Chunks[k]
		p := memoryPoint{payload: maps.Clone(payload), vector: slices.Clone(chunk.Vector)}
		x.layout.Chunk(k, chunk, func(key string, v any) { p.payload[key] = v })
		switch {
		case chunk.Text == "":
			p.vector = nil
		case !chunk.Kept && len(chunk.Vector) == 0:
			return d, 0, pointsink.ErrNoVector
		case !chunk.Kept && len(chunk.Vector) != IndexDimensions && x.broken != "dimensions":
			return d, 0, &pointsink.SizeError{Have: len(chunk.Vector), Want: IndexDimensions, Index: "the index"}
		}
		d.chunks = append(d.chunks, p)
	}
	return d, len(d.chunks), nil
}

// put is called with mu held. Nothing is written where a chunk that is to stay has changed.
func (x *memoryIndex) put(docs []memoryDocument) error {
	for _, d := range docs {
		for k := range d.chunks {
			chunk := &d.change.Content.Chunks[k]
			if p, there := x.points[chunk.PointID]; chunk.Kept && (!there || p.payload["content_hash"] != chunk.Hash) && x.broken != "kept" {
				return fmt.Errorf("chunk %d has changed: %w", k, syncd.ErrUnavailable)
			}
		}
	}
	for _, d := range docs {
		c := d.change
		held := 0
		if first, there := x.points[c.PointID]; there {
			n, _ := first.payload["chunk_count"].(int64)
			held = int(n)
		}
		for k, p := range d.chunks {
			id := c.Content.Chunks[k].PointID
			if c.Content.Chunks[k].Kept {
				p.vector = x.points[id].vector
				if x.broken == "payload of kept" {
					continue
				}
			}
			x.points[id] = p
		}
		if c.Operation == syncd.Delete && x.broken != "deletes" {
			delete(x.points, c.PointID)
		}
		for _, id := range c.Content.Left {
			if x.broken != "left" {
				delete(x.points, id)
			}
		}
		for k := max(len(d.chunks), 1); k < held && x.broken != "meanwhile" && x.broken != "left"; k++ {
			id, err := c.Content.Point(k)
			if err != nil {
				return err
			}
			delete(x.points, id)
		}
	}
	return nil
}

func (x *memoryIndex) held(ctx context.Context, changes []syncd.Change) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	q := pointsink.Ask(changes)
	for i, id := range q.IDs {
		p, there := x.points[id]
		if !there {
			continue
		}
		n, _ := p.payload["chunk_count"].(int64)
		hash, _ := p.payload["content_hash"].(string)
		if x.broken == "held" {
			n--
		}
		q.Held(i, n, hash)
	}
	return nil
}

func (x *memoryIndex) nearest(_ context.Context, vector []float32, types []string, limit int) (out []syncd.Neighbour, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, p := range x.points {
		kind, _ := p.payload["content_type"].(string)
		if p.vector == nil && x.broken != "without vector" || len(types) > 0 && !slices.Contains(types, kind) && x.broken != "types" {
			continue
		}
		get := func(key string) string { s, _ := p.payload[key].(string); return s }
		k, _ := p.payload["chunk_index"].(int64)
		n, _ := p.payload["chunk_count"].(int64)
		out = append(out, syncd.Neighbour{
			PointID: id, Score: cosine(vector, p.vector), ID: get("mongo_id"), ContentType: kind, Title: get("title"), Text: get("content"), Chunk: int(k), Chunks: int(n),
		})
	}
	slices.SortFunc(out, func(a, b syncd.Neighbour) int { return cmp.Compare(b.Score, a.Score) })
	return out[:min(limit, len(out))], nil
}

func cosine(a, b []float32) float32 {
	var product, la, lb float64
	for i := range b {
		product, la, lb = product+float64(a[i]*b[i]), la+float64(a[i]*a[i]), lb+float64(b[i]*b[i])
	}
	if la == 0 || lb == 0 {
		return 0
	}
	return float32(product / math.Sqrt(la*lb))
}

func memoryIndexHarness(broken string) IndexHarness {
	var x *memoryIndex
	return IndexHarness{
		Transactional: true,
		Open: func(*testing.T) syncd.Sink {
			x = newMemoryIndex(broken)
			return x
		},
		Points: func(t *testing.T, id string) (out []IndexPoint) {
			x.mu.Lock()
			defer x.mu.Unlock()
			for point, p := range x.points {
				if p.payload["mongo_id"] != id {
					continue
				}
				text, err := json.Marshal(p.payload)
				q := IndexPoint{ID: point, Vector: p.vector != nil}
				if err == nil {
					err = json.Unmarshal(text, &q.Payload)
				}
				if err != nil {
					t.Error(err)
				}
				out = append(out, q)
			}
			return out
		},
	}
}

// brokenIndexes say what they do wrong, and which case finds it.
var brokenIndexes = map[string]string{
	"left": "shrinks_and_grows", "meanwhile": "what_comes_meanwhile", "kept": "what_comes_meanwhile", "payload of kept": "kept_chunks", "deletes": "deletes",
	"held": "what_is_held_is_counted_from_the_index", "without vector": "document_without_text", "types": "nearest", "dimensions": "dimensions",
	"context": "context_that_has_ended",
}

func TestMemoryIndex(t *testing.T) { TestIndex(t, memoryIndexHarness("")) }
