package qdrant

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd"
)

// Check asks in batches of batch_size, of which concurrency are in flight over all calls.
func (c *checker) Check(ctx context.Context, points []syncd.Point, verdicts []syncd.Verdict) error {
	switch {
	case len(points) != len(verdicts):
		return fmt.Errorf("asking Qdrant: %d verdicts for %d points", len(verdicts), len(points))
	case c.done.Load():
		return errClosed
	}
	size := int(c.limit.Load())
	if len(points) <= size { // the usual case needs no goroutine
		if err := c.acquire(ctx); err != nil {
			return err
		}
		defer c.release()
		return c.checkBatch(ctx, points, verdicts)
	}
	group, gctx := errgroup.WithContext(ctx)
	for from := 0; from < len(points); from += size {
		to := min(from+size, len(points))
		// A slot before the goroutine, so that a long call does not start them all.
		if err := c.acquire(gctx); err != nil {
			break // ctx has ended, or a batch has failed: Wait tells which
		}
		group.Go(func() error {
			defer c.release()
			return c.checkBatch(gctx, points[from:to], verdicts[from:to])
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return interrupted(ctx)
}

func (c *checker) acquire(ctx context.Context) error {
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return interrupted(ctx)
	}
}

func (c *checker) release() { <-c.slots }

func interrupted(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("asking Qdrant: %w", err)
	}
	return nil
}

// checkBatch asks about points in one request, or in several if Qdrant does not take so many ids at once.
func (c *checker) checkBatch(ctx context.Context, points []syncd.Point, verdicts []syncd.Verdict) error {
	if len(points) == 0 {
		return nil
	}
	a := c.asks.Get().(*ask)
	defer c.asks.Put(a)
	a.fill(points)

	for from := 0; from < len(a.ids); {
		to := min(from+int(c.limit.Load()), len(a.ids))
		err := c.get(ctx, a, from, to)
		if n := to - from; err != nil && n > 1 && c.tooMany(ctx, err) {
			c.shrink(n, err)
			continue
		}
		if err != nil {
			return c.cannotCheck(ctx, to-from, err)
		}
		from = to
	}
	a.answer(verdicts)
	return nil
}

// tooMany reports whether a request failed because of its size.
func (c *checker) tooMany(ctx context.Context, err error) bool {
	what, _ := classify(err)
	return ctx.Err() == nil && what == tooMuch
}

// shrink lowers the ids per request to half of what was refused, for the rest of the checker's life.
func (c *checker) shrink(refused int, err error) {
	half := int64(refused+1) / 2
	for {
		old := c.limit.Load()
		if old <= half {
			return // another request has been there
		}
		if c.limit.CompareAndSwap(old, half) {
			c.log.Info("Qdrant does not take so many ids at once: asking for fewer from now on",
				"ids", refused, "next", half, "reason", c.redact(reason(err)))
			return
		}
	}
}

// get asks about the ids from:to of a and notes which were found.
func (c *checker) get(ctx context.Context, a *ask, from, to int) error {
	a.request.Ids = a.ids[from:to]
	err := c.retry(ctx, func(ctx context.Context) error {
		r, err := c.client.GetPointsClient().Get(ctx, &a.request)
		if err != nil {
			return err
		}
		return a.settle(from, to, r.GetResult())
	})
	switch {
	case err == nil:
		c.seen.Store(true)
	case status.Code(err) == codes.NotFound && c.conf.OnMissingCollection == missingIsEmpty && !c.seen.Load():
		return nil // of no collection: nothing is found
	}
	return err
}

// seconds is d as Qdrant's timeouts count it. A timeout of 0 would expire at once.
func seconds(d time.Duration) uint64 { return uint64(max((d+time.Second-1)/time.Second, 1)) }

func (c *checker) cannotCheck(ctx context.Context, n int, err error) error {
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	if status.Code(err) == codes.NotFound {
		if c.seen.Load() {
			return c.fail("see who deleted or renamed it; run again when it is there",
				fmt.Sprintf("asking Qdrant at %s: the collection %q was there and is gone", c.ep.addr(), c.conf.Collection), err)
		}
		return c.noCollection(err)
	}
	return c.explain(fmt.Sprintf("asking Qdrant at %s about %d points", c.ep.addr(), n), err)
}

// ask is one batch: its ids as a request carries them, and what was found. It is reused, since ids make most of the
// garbage of a check: a request's id is a message, a oneof and a string.
type ask struct {
	request qdrant.GetPoints
	nodes   []node
	ids     []*qdrant.PointId   // one per different id; points into nodes
	found   []bool              // aligned with ids
	slots   []int32             // of a point: the index of its id in ids
	index   map[uuid.UUID]int32 // of an id: its index in ids
	text    []byte
}

type node struct {
	id   qdrant.PointId
	uuid qdrant.PointId_Uuid
}

const textLen = 36 // of a UUID

func (c *checker) newAsk() *ask {
	return &ask{
		index: map[uuid.UUID]int32{},
		request: qdrant.GetPoints{
			CollectionName: c.conf.Collection,
			// Said expressly, since what Qdrant takes an absent selector for differs from call to call.
			WithPayload:     qdrant.NewWithPayload(false),
			WithVectors:     qdrant.NewWithVectors(false),
			ReadConsistency: c.consistency,
			Timeout:         new(seconds(c.conf.Timeout)),
		},
	}
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
			a.found[at] = true
			at++
			continue
		}
		id, err := uuid.Parse(text)
		slot, asked := a.index[id]
		if err != nil || !asked || int(slot) < from || int(slot) >= to {
			return fmt.Errorf("it returned the point %v, which was not asked for", p.GetId())
		}
		a.found[slot] = true
	}
	return nil
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
