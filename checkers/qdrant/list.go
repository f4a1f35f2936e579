package qdrant

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"math/bits"
	"slices"
	"strconv"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/qdrantconn"
)

// Sizes of a page. Qdrant keeps updates waiting while it puts a page together, so the largest is what takes it some ten
// milliseconds. With a filter it collects all that matches for every page and keeps the first of them, so that many small
// pages cost the square of what one costs.
const (
	smallestPage         = 1_000
	smallestFilteredPage = 5_000
	largestPage          = 10_000
)

// List scrolls through the collection in the order of ids, page by page, each asked again by itself where that may help.
//
// Qdrant orders numbers before UUIDs and UUIDs by their bytes, and a page begins at any id, there or not. So a listing
// begins at the first UUID of its part, which leaves the numbers out, and ends at the first of the next part. Parts are
// equal ranges of the first 8 bytes, over which a UUIDv5 is spread evenly. (Qdrant's "slice" condition would divide as
// well, but a release before 1.19 ignores it in silence, and every part walks all ids.)
//
// What matches has the text as a string; a whole number, true or false is looked for as a value of that type, too.
// An array matches by each of its elements.
func (c *checker) List(ctx context.Context, req syncd.ListRequest) iter.Seq2[[]syncd.Listed, error] {
	return func(yield func([]syncd.Listed, error) bool) {
		l, err := c.newListing(req)
		for err == nil && !l.ended {
			var batch []syncd.Listed
			if batch, err = l.next(ctx); err == nil && len(batch) > 0 && !yield(batch, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// listing is what is left of one part.
type listing struct {
	*checker
	request  qdrant.ScrollPoints
	selected selection
	answer   scrolled
	size     sizer     // points to ask for at once
	left     int       // points that may still be listed; negative: any number
	from     uuid.UUID // the first id of the next page
	last     uuid.UUID // the last id that was listed, if any was
	any      bool      // something was listed
	end      uuid.UUID // the first id behind the part, if bounded
	bounded  bool
	ended    bool
}

func (c *checker) newListing(req syncd.ListRequest) (*listing, error) {
	switch {
	case c.done.Load():
		return nil, errClosed
	case req.Part < 0 || req.Part >= req.Parts:
		return nil, fmt.Errorf("listing the points of Qdrant: there is no part %d of %d", req.Part, req.Parts)
	}
	l := &listing{checker: c, answer: scrolled{CodecV2: encoding.GetCodecV2(proto.Name)}, left: req.Limit, from: partStart(req.Part, req.Parts)}
	if l.left <= 0 {
		l.left = -1
	}
	if req.Part+1 < req.Parts {
		l.end, l.bounded = partStart(req.Part+1, req.Parts), true
	}
	var err error
	if l.selected, err = selectKeys(req.Keys); err != nil {
		return nil, err
	}
	smallest := smallestPage
	if len(req.Match) > 0 {
		smallest = smallestFilteredPage
	}
	l.size.start(min(max(c.conf.BatchSize, smallest), largestPage), func(now, most int) { c.adapted(sizeOfPages, now, most) })
	l.request = qdrant.ScrollPoints{
		CollectionName:  c.conf.Collection,
		WithPayload:     l.selected.request(),
		WithVectors:     qdrant.NewWithVectors(false),
		ReadConsistency: c.consistency,
		Timeout:         new(seconds(c.conf.Timeout)),
	}
	l.request.Filter, err = matching(req.Match)
	return l, err
}

// partStart is the first id of a part.
func partStart(part, parts int) (id uuid.UUID) {
	prefix, _ := bits.Div64(uint64(part), 0, uint64(parts)) // part × 2⁶⁴ / parts
	binary.BigEndian.PutUint64(id[:], prefix)
	return id
}

// matching makes the filter; nil lets everything pass.
func matching(match map[string]string) (*qdrant.Filter, error) {
	if len(match) == 0 {
		return nil, nil //nolint:nilnil // no filter is not an error
	}
	f := &qdrant.Filter{}
	for _, key := range slices.Sorted(maps.Keys(match)) {
		_, written, err := parseKey(key)
		if err != nil {
			return nil, err
		}
		text := match[key]
		condition := qdrant.NewMatchKeyword(written, text)
		if typed := typedMatch(written, text); typed != nil {
			condition = qdrant.NewFilterAsCondition(&qdrant.Filter{Should: []*qdrant.Condition{condition, typed}})
		}
		f.Must = append(f.Must, condition)
	}
	return f, nil
}

// typedMatch looks for a value of another type that has the text, or is nil if none could. Fractions are left out: Qdrant
// has no exact match for them.
func typedMatch(key, text string) *qdrant.Condition {
	switch n, err := strconv.ParseInt(text, 10, 64); {
	case err == nil && strconv.FormatInt(n, 10) == text:
		return qdrant.NewMatchInt(key, n)
	case text == "true" || text == "false":
		return qdrant.NewMatchBool(key, text == "true")
	}
	return nil
}

// scrolled is gRPC's codec of a call of Points.Scroll, which keeps the answer: that is read by hand. The request, one for a page, is
// written as ever.
type scrolled struct {
	encoding.CodecV2
	body body
}

// Unmarshal implements encoding.CodecV2.
func (s *scrolled) Unmarshal(data mem.BufferSlice, v any) error { return s.body.Unmarshal(data, v) }

// page is an answer of Points.Scroll.
type page struct {
	points []syncd.Listed // without those whose ids are numbers
	next   foundPoint     // the first id of the next page
	more   bool           // there is one
}

// next reads a page and takes over what belongs to the listing.
func (l *listing) next(ctx context.Context) ([]syncd.Listed, error) {
	p, err := l.scroll(ctx)
	if err != nil {
		return nil, err
	}
	batch := p.points[:0]
	for _, point := range p.points {
		switch {
		case !l.inOrder(point.ID):
			return nil, l.fail("", fmt.Sprintf("listing the points of Qdrant at %s: they are not in the order of their ids: %v comes after %v", l.ep.Addr(), point.ID, l.first()))
		case l.any && point.ID == l.last:
			continue // shards by key can hold the same id, each its own point of it
		case l.bounded && bytes.Compare(point.ID[:], l.end[:]) >= 0:
			l.ended = true
			return batch, nil
		}
		l.last, l.any = point.ID, true
		if batch = append(batch, point); len(batch) == l.left {
			l.ended = true
			return batch, nil
		}
	}
	if l.left > 0 {
		l.left -= len(batch)
	}
	if !p.more {
		l.ended = true
		return batch, nil
	}
	return batch, l.advance(p.next)
}

// inOrder reports whether a point stands where it should: the listing relies on the order for its end.
func (l *listing) inOrder(id uuid.UUID) bool {
	first := l.first()
	return bytes.Compare(id[:], first[:]) >= 0
}

// first is the first id that may come now.
func (l *listing) first() uuid.UUID {
	if l.any && bytes.Compare(l.last[:], l.from[:]) > 0 {
		return l.last
	}
	return l.from
}

// read reads the page that was answered.
func (l *listing) read() (p page, err error) {
	points := 0
	if err := eachField(l.answer.body, func(number protowire.Number, _ []byte) error {
		if number == scrollPoint {
			points++
		}
		return nil
	}); err != nil {
		return p, err
	}
	n := len(l.selected.paths)
	values := make([]syncd.Value, n*points)
	p.points = make([]syncd.Listed, 0, points)
	err = eachField(l.answer.body, func(number protowire.Number, value []byte) (err error) {
		switch number {
		case scrollOffset:
			var ok bool
			if p.next, ok = readPointID(value, p.next); !ok {
				return errNoMessage
			}
			p.more = true
		case scrollPoint:
			id, ok := retrieved(value)
			if !ok {
				return errNoMessage
			}
			listed := syncd.Listed{Payload: values[:n:n]}
			values = values[n:]
			if err := l.selected.read(value, listed.Payload); err != nil || id.numbered {
				return err
			}
			if listed.ID, err = uuid.ParseBytes(id.text); err != nil {
				return fmt.Errorf("a point has the id %v", id)
			}
			p.points = append(p.points, listed)
		}
		return nil
	})
	return p, err
}

// advance goes to the page that begins at offset.
func (l *listing) advance(offset foundPoint) error {
	id, err := uuid.ParseBytes(offset.text)
	if err != nil || bytes.Compare(id[:], l.from[:]) <= 0 {
		return l.fail("", fmt.Sprintf("listing the points of Qdrant at %s: the page after %v begins at %v", l.ep.Addr(), l.from, offset))
	}
	l.from = id
	l.ended = l.bounded && bytes.Compare(id[:], l.end[:]) >= 0
	return nil
}

// scroll asks for the page at l.from, and for a smaller one where Qdrant does not give so much at once.
func (l *listing) scroll(ctx context.Context) (page, error) {
	l.request.Offset = qdrant.NewIDUUID(l.from.String())
	for {
		size := l.size.now()
		if l.left > 0 {
			size = min(size, l.left)
		}
		l.request.Limit = new(uint32(size))
		p, err := l.scrollOnce(ctx)
		if err == nil {
			l.size.pass(size)
			return p, nil
		}
		if !l.shrink(ctx, size, err) {
			return page{}, l.cannotList(ctx, err)
		}
		l.log.Info("Qdrant does not list so many points at once: asking for smaller pages for now",
			"points", size, "next", l.size.now(), "reason", l.redact(qdrantconn.Reason(err)))
		l.retried(retryTooLarge)
	}
}

// scrollOnce asks for one page, over and over while Qdrant can't be asked.
func (l *listing) scrollOnce(ctx context.Context) (p page, err error) {
	if err := l.acquire(ctx); err != nil {
		return p, err
	}
	defer l.release()
	err = l.retry(ctx, int(l.request.GetLimit()), func(ctx context.Context) (err error) {
		if _, err = l.client.GetPointsClient().Scroll(ctx, &l.request, grpc.ForceCodecV2(&l.answer)); err == nil {
			p, err = l.read()
		}
		return err
	})
	switch {
	case err == nil:
		l.seen.Store(true)
	case l.isEmpty(err):
		return page{}, nil // that of no collection
	}
	return p, err
}

// shrink makes pages smaller where size was refused with err, and reports whether that may help.
func (l *listing) shrink(ctx context.Context, size int, err error) bool {
	switch {
	case size < 2 || ctx.Err() != nil:
	case l.tooMany(ctx, size, err):
		l.size.refuse(size)
		return true
	case status.Code(err) == codes.InvalidArgument:
		// Strict mode can limit a page (max_query_limit), and does not say so by a code of its own.
		strict := l.strictMode(ctx)
		if most := int(strict.GetMaxQueryLimit()); strict.GetEnabled() && most > 0 && most < size {
			l.size.limit(most)
			return true
		}
	}
	return false
}

// strictMode looks up what the collection allows; nil where it can't be told.
func (l *listing) strictMode(ctx context.Context) *qdrant.StrictModeConfig {
	ctx, cancel := context.WithTimeout(ctx, l.conf.Timeout)
	defer cancel()
	info, err := l.info(ctx)
	if err != nil {
		return nil // what it was to explain is reported as it is
	}
	return info.GetConfig().GetStrictModeConfig()
}

func (l *listing) cannotList(ctx context.Context, err error) error {
	explained := l.cannotAsk(ctx, "listing the points of Qdrant at "+l.ep.Addr(), err)
	if status.Code(err) == codes.InvalidArgument && l.request.Filter != nil {
		return syncd.Hint(explained, "create a keyword index on the payload keys that are matched: strict mode may demand it, and it makes listing faster")
	}
	return explained
}
