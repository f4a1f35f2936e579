package qdrant

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/syncd-io/syncd"
)

// ask is one batch: its ids as a request carries them, and what was found. It is reused, since building and reading messages as
// objects is what a check costs most: the bytes are written and read by hand, see wire.go.
type ask struct {
	wire
	selects bool // asks for payload

	ids     []uuid.UUID                // each once
	slots   []int32                    // of a point: the index of its id in ids
	found   []bool                     // aligned with ids
	payload []map[string]*qdrant.Value // aligned with ids; empty where none is asked for
	table   []int32                    // a hash table of ids: an index in ids and 1, or 0
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
	a.selects = len(s.paths) > 0
	return a
}

// putAsk keeps a for later, without what was found.
func (c *checker) putAsk(a *ask) {
	clear(a.payload)
	a.payload = a.payload[:0]
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
	if a.selects {
		a.payload = slices.Grow(a.payload, len(a.ids))[:len(a.ids)]
	}
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

// settle notes the points of the answer, which is about the ids from:to. Qdrant returns them in the order in which they were
// asked, so walking along both finds each; another order costs a lookup for each.
func (a *ask) settle(from, to int) error {
	at := from
	note := func(id foundPoint) (int, error) {
		for at < to && !bytes.Equal(a.text(at), id.text) {
			at++
		}
		if at < to {
			at++
			a.found[at-1] = true
			return at - 1, nil
		}
		parsed, err := uuid.ParseBytes(id.text)
		if err != nil || len(a.table) == 0 {
			return 0, fmt.Errorf("it returned the point %v, which was not asked for", id)
		}
		slot := int(*a.place(&parsed)) - 1
		if slot < from || slot >= to {
			return 0, fmt.Errorf("it returned the point %v, which was not asked for", id)
		}
		a.found[slot] = true
		return slot, nil
	}
	if !a.selects {
		return a.eachFound(func(id foundPoint) error {
			_, err := note(id)
			return err
		})
	}
	var answer qdrant.GetResponse
	if err := proto.Unmarshal(a.answer, &answer); err != nil {
		return unreadable(err)
	}
	for _, p := range answer.GetResult() {
		slot, err := note(foundPoint{text: []byte(p.GetId().GetUuid()), number: p.GetId().GetNum()})
		if err != nil {
			return err
		}
		a.payload[slot] = p.GetPayload()
	}
	return nil
}

// unreadable is the error that gRPC gives for an answer that is no message.
func unreadable(err error) error {
	return status.Error(codes.Internal, "an answer that can't be read: "+err.Error())
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
