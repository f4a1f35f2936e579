package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/tally"
	"github.com/syncd-io/syncd/verdict"
)

// What finding documents with one point id may cost. A collection gets a word of 8 bytes per document, up to half of what the
// run has left; with a word each, one document in a million is looked up in vain, with 12 documents a word about one in 40.
const (
	collisionWords  = 16 << 20 // of all collections together where memory has no bound: 128 MiB
	bytesAWord      = 8
	leastWords      = 1 << 7  // of one collection
	defaultWords    = 1 << 20 // of a collection that can't be counted
	documentsAWord  = 16      // more are not compared: (nearly) every one would be looked up
	suspectsAtOnce  = 1000    // looked up by one question
	maxCollidingIDs = 100_000 // remembered, so that each counts once
)

// collisions finds the documents of a collection that have the point id of another one. A filter of bits remembers the point ids;
// whose bits are all set already is a suspect, and the source is asked for all documents that share its id's text. So memory is
// bounded and what is reported is certain. What is compared are the documents that this run reads. Its methods are safe for
// concurrent use.
type collisions struct {
	rule   *mapping.Rule
	source syncd.Source
	told   func(tally.Counts) // is told how many more were found
	words  []atomic.Uint64
	budget *atomic.Int64 // where words came from

	room     int64 // documents that are compared at most
	compared atomic.Int64

	mu       sync.Mutex
	suspects []verdict.Made
	counted  map[uuid.UUID]bool
	examples []tally.Collision
}

// newCollisions returns nil where the source can't be asked.
func newCollisions(source syncd.Source, rule *mapping.Rule, documents int64, budget *atomic.Int64, told func(tally.Counts)) *collisions {
	if source.Abilities().FindAll == nil {
		return nil
	}
	want := documents
	if want < 0 {
		want = defaultWords
	}
	for {
		left := budget.Load()
		n := max(leastWords, min(want, left/2))
		if budget.CompareAndSwap(left, left-n) {
			return &collisions{
				rule: rule, source: source, told: told, words: make([]atomic.Uint64, n), budget: budget, room: documentsAWord * n,
			}
		}
	}
}

// word is where a point id is remembered. A point id is a hash: its bits are random, those of its end most of all.
func (c *collisions) word(id *uuid.UUID) *atomic.Uint64 {
	at, _ := bits.Mul64(binary.LittleEndian.Uint64(id[8:]), uint64(len(c.words)))
	return &c.words[at]
}

// add remembers a point id, and reports whether it may have been remembered before.
func (c *collisions) add(id *uuid.UUID) bool {
	b := binary.LittleEndian.Uint32(id[:])
	mask := uint64(1)<<(b&63) | 1<<(b>>6&63) | 1<<(b>>12&63) | 1<<(b>>18&63)
	return c.word(id).Or(mask)&mask == mask
}

// collide is the stage that compares point ids.
type collide struct{}

func (collide) apply(ctx context.Context, b *batch) error {
	c := b.split.col.collisions
	if c == nil {
		return nil
	}
	if c.compared.Add(int64(len(b.changes))) > c.room {
		return nil
	}
	var suspects []verdict.Made
	for i := range b.changes {
		if c.add(&b.changes[i].PointID) {
			suspects = append(suspects, verdict.Made{ID: b.changes[i].ID, PointID: b.changes[i].PointID})
		}
	}
	if len(suspects) == 0 {
		return nil
	}
	c.mu.Lock()
	c.suspects = append(c.suspects, suspects...)
	due := c.suspects
	if len(due) < suspectsAtOnce {
		due = nil
	} else {
		c.suspects = nil
	}
	c.mu.Unlock()
	return c.lookUp(ctx, due)
}

// settle looks up the last suspects, once all documents of the collection have been compared, and gives the filter back.
func (c *collisions) settle(ctx context.Context) error {
	if c == nil {
		return nil
	}
	c.budget.Add(int64(len(c.words)))
	c.words = nil
	c.mu.Lock()
	due := c.suspects
	c.suspects = nil
	c.mu.Unlock()
	return c.lookUp(ctx, due)
}

// lookUp asks the source whose documents the suspects are.
func (c *collisions) lookUp(ctx context.Context, suspects []verdict.Made) error {
	if len(suspects) == 0 {
		return nil
	}
	found, err := verdict.SamePoint(ctx, c.source, c.rule, suspects)
	if err != nil {
		return fmt.Errorf("looking for documents with one point id: %w", err)
	}
	var n int64
	for i, s := range suspects {
		if len(found[i]) > 1 {
			n += c.note(s, found[i])
		}
	}
	c.told(tally.Counts{Collisions: n})
	return nil
}

// note keeps a collision and returns how many documents it adds: each counts once, however many of its documents were suspects.
func (c *collisions) note(s verdict.Made, same []syncd.FoundID) (more int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	more = int64(len(same)) - 1
	switch {
	case c.counted[s.PointID]:
		return 0
	case len(c.counted) == maxCollidingIDs: // from here on each suspect is one document
		more = 1
	case c.counted == nil:
		c.counted = map[uuid.UUID]bool{s.PointID: true}
	default:
		c.counted[s.PointID] = true
	}
	if len(c.examples) < maxFailures {
		c.examples = append(c.examples, tally.Collision{
			PointID: s.PointID, ID: s.ID, IDs: []string{same[0].Text, same[1].Text}, Documents: len(same),
		})
	}
	return more
}

// result is the first of the collisions, and how many documents were not compared because there are too many.
func (c *collisions) result() (first []tally.Collision, left int64) {
	if c == nil {
		return nil, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.examples, max(0, c.compared.Load()-c.room)
}
