package syncdtest

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/syncd-io/syncd"
)

// memoryChange is an entry of a MemorySource's record of changes.
type memoryChange struct {
	collection string
	operation  syncd.Operation
	key        syncd.Key
	id         string
	err        error
	doc        *memoryDoc // of an insert and a replace; that of an update is looked up when it is read
	before     *memoryDoc
	touched    []string
	at         time.Time
	gone       bool // the collection was dropped or, with renamed, renamed
	renamed    bool
}

// Record has the source record its changes from now on, which makes it one that can be followed. It has one stream of all
// collections; an offset is the number of a change.
func (s *MemorySource) Record() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.grown == nil {
		s.grown = make(chan struct{})
	}
}

// Update stores a document in place of the one with its id, as an update of the given fields.
func (s *MemorySource) Update(collection string, d MemoryDoc, touched ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := newMemoryDoc(d)
	docs := slices.Clone(s.collections[collection])
	i, found := findKey(docs, m.key)
	if !found {
		return
	}
	before := docs[i]
	docs[i] = m
	s.collections[collection] = docs
	s.record(memoryChange{collection: collection, operation: syncd.Update, key: m.key, id: m.id, err: m.err, before: before, touched: touched})
}

// Rename gives a collection another name.
func (s *MemorySource) Rename(collection, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.collections[to] = s.collections[collection]
	delete(s.collections, collection)
	s.record(memoryChange{collection: collection, gone: true, renamed: true})
}

// Forget drops all but the newest n recorded changes: offsets before them are lost.
func (s *MemorySource) Forget(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	drop := max(0, len(s.changes)-n)
	s.changes = slices.Clone(s.changes[drop:])
	s.forgotten += drop
}

// record adds a change to the record, if there is one. The caller holds mu.
func (s *MemorySource) record(c memoryChange) {
	if s.grown == nil {
		return
	}
	c.at = time.Now()
	s.changes = append(s.changes, c)
	close(s.grown)
	s.grown = make(chan struct{})
}

// streaming is the ability Stream, which only a source has that records.
func (s *MemorySource) streaming() *syncd.Streaming {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.grown == nil {
		return nil
	}
	return &syncd.Streaming{
		Streams: func(_ context.Context, collections []syncd.Collection) ([]syncd.Stream, error) {
			return []syncd.Stream{{Name: "memory", Collections: collections}}, nil
		},
		Now: func(ctx context.Context, _ syncd.Stream) (syncd.Offset, error) {
			s.mu.RLock()
			defer s.mu.RUnlock()
			return memoryOffset(s.forgotten + len(s.changes)), ctx.Err()
		},
		Window: func(ctx context.Context, _ syncd.Stream) (syncd.Window, error) {
			s.mu.RLock()
			defer s.mu.RUnlock()
			if len(s.changes) == 0 {
				return syncd.Window{}, ctx.Err()
			}
			w := syncd.Window{First: s.changes[0].at, Last: s.changes[len(s.changes)-1].at}
			for _, c := range s.changes {
				if c.doc != nil {
					w.Retained += int64(c.doc.Size())
				}
			}
			return w, ctx.Err()
		},
	}
}

func memoryOffset(n int) syncd.Offset { return syncd.Offset("#" + strconv.Itoa(n)) }

// readStream is Read of the stream.
func (s *MemorySource) readStream(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	return func(yield func(syncd.Batch, error) bool) {
		at, err := strconv.Atoi(strings.TrimPrefix(string(req.After), "#"))
		if err != nil {
			yield(syncd.Batch{}, fmt.Errorf("reading the offset %q: %w", req.After, err))
			return
		}
		for {
			b, next, grown, err := s.streamBatch(req, at)
			if len(b.Changes) > 0 && !yield(b, nil) {
				return
			}
			if err == nil && len(b.Changes) == 0 {
				select {
				case <-grown:
				case <-time.After(time.Second):
					if !yield(syncd.Batch{Offset: memoryOffset(next)}, nil) {
						return
					}
				case <-ctx.Done():
				}
			}
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(syncd.Batch{}, err)
				return
			}
			at = next
		}
	}
}

// streamBatch returns the changes from one on, and the number of the next; grown is closed when there are more. An error comes behind
// the changes.
func (s *MemorySource) streamBatch(req syncd.ReadRequest, at int) (b syncd.Batch, next int, grown <-chan struct{}, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if at < s.forgotten {
		return b, at, nil, fmt.Errorf("change %d is no longer recorded: %w", at, syncd.ErrPositionLost)
	}
	for next = at; next < s.forgotten+len(s.changes) && len(b.Changes) < req.BatchSize; next++ {
		c := &s.changes[next-s.forgotten]
		if !slices.ContainsFunc(req.Split.Stream.Collections, func(of syncd.Collection) bool { return of.Name == c.collection }) {
			continue
		}
		if c.gone {
			err = &syncd.CollectionGoneError{Collection: c.collection, Renamed: c.renamed, After: memoryOffset(next + 1)}
			break
		}
		streamed := s.streamed(c)
		for _, of := range req.Split.Stream.Collections {
			filter, _ := parseFilter(of.Filter) // CheckFilter has looked at it
			for _, path := range c.touched {
				if _, selects := filter[path]; selects && of.Name == c.collection {
					streamed.Streamed.Whole = true
				}
			}
		}
		b.Changes = append(b.Changes, streamed)
	}
	b.Offset = memoryOffset(next)
	return b, next, s.grown, err
}

// streamed makes a change of an entry. The caller holds mu.
func (s *MemorySource) streamed(e *memoryChange) syncd.Change {
	c := syncd.Change{Key: e.key, ID: e.id, Err: e.err, Operation: e.operation, Streamed: &syncd.Streamed{
		Collection: e.collection, At: e.at, Touched: e.touched, Whole: e.operation != syncd.Update,
	}}
	if e.before != nil {
		c.Streamed.Before = e.before
	}
	doc := e.doc
	if e.operation == syncd.Update {
		docs := s.collections[e.collection]
		if i, found := findKey(docs, e.key); found {
			doc = docs[i]
		}
	}
	if doc != nil && doc.err == nil {
		c.Document = doc
	}
	return c
}
