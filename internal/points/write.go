package points

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
)

// Errors of documents that no stage has prepared for an index.
var (
	ErrNoContent = fmt.Errorf("no stage has divided it into chunks: %w", syncd.ErrNotEncodable)
	ErrNoVector  = fmt.Errorf("no stage has made a vector of one of its chunks: %w", syncd.ErrNotEncodable)
	errLetter    = fmt.Errorf("an index of vectors holds no dead letters: %w", syncd.ErrNotEncodable)
)

// SizeError says that a vector does not fit into the index: a model that was set wrong, and no document's fault.
type SizeError struct {
	Have, Want int
	Index      string // `the collection "x"`
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("a vector of %d dimensions, where %s has %d", e.Have, e.Index, e.Want)
}

// Writer writes documents in requests of a bounded size. D is what a change asks of an index.
type Writer[D any] struct {
	// Most is how many points are written together; a document of more is written alone.
	Most int
	// Make makes what a change asks of the index, of so many points. Its error refuses the change, unless it is a *SizeError, which
	// ends the Write.
	Make func(c *syncd.Change) (document D, points int, err error)
	// Put writes documents in one request, of which the index takes all, or none if it refuses one.
	Put func(ctx context.Context, documents []D) error
	// Faulty reports whether an error of Put may be one document's fault, and what its refusal then says.
	Faulty func(err error) (faulty bool, refusal error)
}

// Write does what [syncd.Sink] says of it. Of several changes of a document the last counts. Where a request is refused that may be the
// fault of one document, each half of it is written on its own.
func (w *Writer[D]) Write(ctx context.Context, changes []syncd.Change) error {
	var refused syncd.BatchError
	last := make(map[uuid.UUID]int, len(changes))
	for i := range changes {
		if changes[i].Err == nil {
			last[changes[i].PointID] = i
		}
	}
	docs, at, sizes := make([]D, 0, len(last)), make([]int, 0, len(last)), make([]int, 0, len(last))
	for i := range changes {
		c := &changes[i]
		if c.Err != nil {
			refused.Fail(i, errLetter)
			continue
		}
		if last[c.PointID] != i {
			continue // a later change of the document counts
		}
		d, size, err := w.Make(c)
		if err != nil {
			if _, wrong := errors.AsType[*SizeError](err); wrong {
				return err
			}
			refused.Fail(i, err)
			continue
		}
		c.Bytes = int32(min(c.Content.Size(), math.MaxInt32))
		docs, at, sizes = append(docs, d), append(at, i), append(sizes, size)
	}
	for from := 0; from < len(docs); {
		to, size := from, 0
		for to < len(docs) && (to == from || size+sizes[to] <= w.Most) {
			size += sizes[to]
			to++
		}
		if err := w.put(ctx, docs[from:to], at[from:to], &refused); err != nil {
			return err
		}
		from = to
	}
	// What was left out for a later change of the same document is as durable as that.
	for i := range changes {
		if at := last[changes[i].PointID]; at != i && refused.Of(at) != nil && refused.Of(i) == nil {
			refused.Fail(i, refused.Of(at))
		}
	}
	return refused.OrNil()
}

func (w *Writer[D]) put(ctx context.Context, docs []D, at []int, refused *syncd.BatchError) error {
	err := w.Put(ctx, docs)
	if err == nil {
		return nil
	}
	faulty, refusal := w.Faulty(err)
	switch {
	case ctx.Err() != nil || !faulty:
		return err
	case len(docs) > 1:
		half := len(docs) / 2
		if err := w.put(ctx, docs[:half], at[:half], refused); err != nil {
			return err
		}
		return w.put(ctx, docs[half:], at[half:], refused)
	}
	refused.Fail(at[0], refusal)
	return nil
}

// Question is what [syncd.SinkAbilities.Held] asks an index: about all chunks of changes and the points behind them, and of deletes about chunk 0.
type Question struct {
	IDs     []uuid.UUID
	changes []syncd.Change
	places  []spot
}

// spot is where an answer belongs. Chunk -1 is a delete's chunk 0, and further a point behind the chunks.
type spot struct{ change, chunk int }

const further = -2

// Ask makes the question about changes, of which nothing is known to be held until it is answered.
func Ask(changes []syncd.Change) *Question {
	q := &Question{changes: changes}
	for i := range changes {
		c := &changes[i]
		c.Content.Held = 0
		if len(c.Content.Chunks) == 0 {
			q.IDs, q.places = append(q.IDs, c.PointID), append(q.places, spot{i, -1})
		}
		for k := range c.Content.Chunks {
			c.Content.Chunks[k].Kept = false
			q.IDs, q.places = append(q.IDs, c.Content.Chunks[k].PointID), append(q.places, spot{i, k})
		}
		for _, id := range c.Content.Further {
			q.IDs, q.places = append(q.IDs, id), append(q.places, spot{i, further})
		}
		c.Content.Further = c.Content.Further[:0]
	}
	return q
}

// MostHeld bounds what a number of chunks may make of one document: a number that somebody got wrong must not become a million deletes.
const MostHeld = 10_000

// Held takes the answer about the id at a place: the index holds it, with that hash, and says that its document has so many chunks.
func (q *Question) Held(i int, chunks int64, hash string) {
	p := q.places[i]
	content := q.changes[p.change].Content
	if p.chunk == further {
		content.Further = append(content.Further, q.IDs[i])
		return
	}
	if p.chunk <= 0 {
		content.Held = int(min(max(chunks, 1), MostHeld))
	}
	if p.chunk >= 0 {
		content.Chunks[p.chunk].Kept = hash != "" && hash == content.Chunks[p.chunk].Hash
	}
}
