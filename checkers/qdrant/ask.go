package qdrant

import (
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"

	"github.com/syncd-io/syncd"
)

// ask is one batch: its ids as a request carries them, and what was found. It is reused, since ids make most of the
// garbage of a check: a request's id is a message, a oneof and a string.
type ask struct {
	request qdrant.GetPoints
	selects bool // asks for payload
	nodes   []node
	ids     []*qdrant.PointId          // one per different id; points into nodes
	found   []bool                     // aligned with ids
	payload []map[string]*qdrant.Value // aligned with ids; empty where none is asked for
	slots   []int32                    // of a point: the index of its id in ids
	index   map[uuid.UUID]int32        // of an id: its index in ids
	text    []byte
}

type node struct {
	id   qdrant.PointId
	uuid qdrant.PointId_Uuid
}

const textLen = 36 // of a UUID

// newAsk returns an ask, used before or not, whose points are to carry what is selected.
func (c *checker) newAsk(s selection) *ask {
	a, ok := c.asks.Get().(*ask)
	if !ok {
		a = &ask{
			index: map[uuid.UUID]int32{},
			request: qdrant.GetPoints{
				CollectionName:  c.conf.Collection,
				WithVectors:     qdrant.NewWithVectors(false),
				ReadConsistency: c.consistency,
				Timeout:         new(seconds(c.conf.Timeout)),
			},
		}
	}
	a.request.WithPayload = s.request()
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
	a.grow(len(points))
	clear(a.index)
	for i, p := range points {
		slot, again := a.index[p.ID]
		if !again {
			slot = int32(len(a.index))
			a.index[p.ID] = slot
			a.text = appendUUID(a.text, p.ID)
		}
		a.slots[i] = slot
	}
	text := string(a.text) // one string; the ids are parts of it
	a.ids, a.found = a.ids[:len(a.index)], a.found[:len(a.index)]
	for i := range a.ids {
		a.nodes[i].uuid.Uuid = text[i*textLen : (i+1)*textLen]
	}
	clear(a.found)
	if a.selects {
		a.payload = slices.Grow(a.payload, len(a.ids))[:len(a.ids)]
	}
}

// grow makes room for n points.
func (a *ask) grow(n int) {
	if n > len(a.nodes) {
		a.nodes = make([]node, n)
		a.ids = make([]*qdrant.PointId, n)
		for i := range a.nodes {
			a.nodes[i].id.PointIdOptions = &a.nodes[i].uuid
			a.ids[i] = &a.nodes[i].id
		}
		a.found = make([]bool, n)
		a.slots = make([]int32, n)
		a.text = make([]byte, 0, n*textLen)
	}
	a.slots = a.slots[:n]
	a.text = a.text[:0]
}

// settle notes the points that Qdrant returned for the ids from:to. It returns them in the order in which they were
// asked, so walking along both finds each; another order costs a lookup for each.
func (a *ask) settle(from, to int, points []*qdrant.RetrievedPoint) error {
	at := from
	for _, p := range points {
		text := p.GetId().GetUuid()
		for at < to && a.nodes[at].uuid.Uuid != text {
			at++
		}
		if at < to {
			a.note(at, p)
			at++
			continue
		}
		id, err := uuid.Parse(text)
		slot, asked := a.index[id]
		if err != nil || !asked || int(slot) < from || int(slot) >= to {
			return fmt.Errorf("it returned the point %v, which was not asked for", p.GetId())
		}
		a.note(int(slot), p)
	}
	return nil
}

func (a *ask) note(at int, p *qdrant.RetrievedPoint) {
	a.found[at] = true
	if a.selects {
		a.payload[at] = p.GetPayload()
	}
}

func (a *ask) answer(verdicts []syncd.Verdict) {
	for i, slot := range a.slots {
		if a.found[slot] {
			verdicts[i] = syncd.Present
		} else {
			verdicts[i] = syncd.Missing
		}
	}
}

// appendUUID appends id as Qdrant writes it: in lower case, with hyphens.
func appendUUID(b []byte, id uuid.UUID) []byte {
	b = append(hex.AppendEncode(b, id[:4]), '-')
	b = append(hex.AppendEncode(b, id[4:6]), '-')
	b = append(hex.AppendEncode(b, id[6:8]), '-')
	b = append(hex.AppendEncode(b, id[8:10]), '-')
	return hex.AppendEncode(b, id[10:])
}
