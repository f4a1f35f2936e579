package qdrant

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"

	"github.com/syncd-io/syncd"
)

// ask is one batch: its ids as a request carries them, and what was found. It is reused, since building and reading messages as
// objects is what a check costs most: the bytes are written and read by hand, see wire.go.
type ask struct {
	wire
	selected selection

	ids    []uuid.UUID   // each once
	slots  []int32       // of a point: the index of its id in ids
	found  []bool        // aligned with ids
	values []syncd.Value // what is selected of each id, one after another
	table  []int32       // a hash table of ids: an index in ids and 1, or 0
}

const textLen = 36 // of a UUID

// newAsk returns an ask, used before or not, whose points are to carry what is selected.
func (c *checker) newAsk(s selection) *ask {
	a, ok := c.asks.Get().(*ask)
	if !ok {
		a = &ask{wire: wire{pool: c.buffers}}
	}
	a.begin(&qdrant.GetPoints{
		CollectionName:  c.conf.Collection,
		WithPayload:     s.request(),
		WithVectors:     qdrant.NewWithVectors(false),
		ReadConsistency: c.consistency,
		Timeout:         new(seconds(c.conf.Timeout)),
	})
	a.selected = s
	return a
}

// putAsk keeps a for later, without what was found.
func (c *checker) putAsk(a *ask) {
	clear(a.values)
	a.values = a.values[:0]
	c.asks.Put(a)
}

// fill takes points over, each id once.
func (a *ask) fill(points []syncd.Point) {
	n := len(points)
	a.ids, a.slots = a.ids[:0], slices.Grow(a.slots[:0], n)[:n]
	size := 1 << bits.Len(uint(2*n)) // at most half full
	a.table = slices.Grow(a.table[:0], size)[:size]
	clear(a.table)
	a.elements = a.elements[:0]
	for i := range points {
		id := &points[i].ID
		at := a.place(id)
		if *at == 0 {
			a.ids = append(a.ids, *id)
			*at = int32(len(a.ids))
			a.add(id)
		}
		a.slots[i] = *at - 1
	}
	a.found = slices.Grow(a.found[:0], len(a.ids))[:len(a.ids)]
	clear(a.found)
	values := len(a.ids) * len(a.selected.paths)
	a.values = slices.Grow(a.values[:0], values)[:values]
}

// valuesOf are the places of what is selected of an id.
func (a *ask) valuesOf(slot int) []syncd.Value {
	n := len(a.selected.paths)
	return a.values[slot*n : (slot+1)*n : (slot+1)*n]
}

// place is where the table has an id, or where it belongs. Point ids are hashes, so some of their bits will do as a hash; others
// only make the walk longer.
func (a *ask) place(id *uuid.UUID) *int32 {
	mask := uint64(len(a.table) - 1)
	for at := binary.LittleEndian.Uint64(id[:]) ^ binary.LittleEndian.Uint64(id[8:]); ; at++ {
		if p := &a.table[at&mask]; *p == 0 || a.ids[*p-1] == *id {
			return p
		}
	}
}

// settle notes the points of the answer, which is about the ids from:to; what an answer before said of them counts no more.
func (a *ask) settle(from, to int) error {
	clear(a.found[from:to])
	n := len(a.selected.paths)
	clear(a.values[from*n : to*n])
	at := from
	return eachFound(a.body, func(id foundPoint, point []byte) error {
		slot, err := a.slot(id, &at, from, to)
		if err != nil {
			return err
		}
		a.found[slot] = true
		if n == 0 {
			return nil
		}
		return a.selected.read(point, a.valuesOf(slot))
	})
}

// slot finds the id of a point among from:to. Qdrant returns them in the order in which they were asked, so walking along both
// from at finds each; another order costs a lookup for each.
func (a *ask) slot(id foundPoint, at *int, from, to int) (int, error) {
	for *at < to && !bytes.Equal(a.text(*at), id.text) {
		*at++
	}
	if *at < to {
		*at++
		return *at - 1, nil
	}
	parsed, err := uuid.ParseBytes(id.text)
	if err != nil || len(a.table) == 0 {
		return 0, fmt.Errorf("it returned the point %v, which was not asked for", id)
	}
	slot := int(*a.place(&parsed)) - 1
	if slot < from || slot >= to {
		return 0, fmt.Errorf("it returned the point %v, which was not asked for", id)
	}
	return slot, nil
}

// verdicts sets what was found of each point.
func (a *ask) verdicts(verdicts []syncd.Verdict) {
	for i, slot := range a.slots {
		if a.found[slot] {
			verdicts[i] = syncd.Present
		} else {
			verdicts[i] = syncd.Missing
		}
	}
}
