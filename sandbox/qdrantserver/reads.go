package qdrantserver

import (
	"context"
	"time"

	"github.com/qdrant/go-client/qdrant"
)

// projection says which parts of points a read returns.
type projection struct {
	payload payloadSelector
	vectors vectorSelector
}

func parseProjection(payload *qdrant.WithPayloadSelector, byDefault payloadMode, vectors *qdrant.WithVectorsSelector) (projection, error) {
	selector, err := parsePayloadSelector(payload, byDefault)
	return projection{payload: selector, vectors: parseVectorSelector(vectors)}, err
}

// checkConsistency accepts everything that names a consistency: there is one replica, which always agrees with
// itself.
func checkConsistency(pb *qdrant.ReadConsistency) error {
	if pb == nil {
		return nil
	}
	switch value := pb.GetValue().(type) {
	case *qdrant.ReadConsistency_Factor:
		if value.Factor == 0 {
			return invalidArgument(`factor: Validation error: range [{"value": Number(0), "min": Number(1)}]`)
		}
		return nil
	case *qdrant.ReadConsistency_Type:
		return nil
	default:
		return invalidArgument("invalid read consistency message: `ReadConsistency::value` field is `None`")
	}
}

// Get returns the points that exist, in the order in which they were asked for, each once.
func (ps pointsService) Get(_ context.Context, req *qdrant.GetPoints) (*qdrant.GetResponse, error) {
	started := time.Now()
	if err := validateName(req.GetCollectionName()); err != nil {
		return nil, err
	}
	ids, err := parseIDs(req.GetIds())
	if err != nil {
		return nil, err
	}
	shown, err := parseProjection(req.GetWithPayload(), payloadNone, req.GetWithVectors())
	if err != nil {
		return nil, err
	}
	if err := checkConsistency(req.GetReadConsistency()); err != nil {
		return nil, err
	}
	c, err := ps.s.lookup(req.GetCollectionName())
	if err != nil {
		return nil, err
	}
	if err := c.checkStrict(strictRequest{timeout: req.Timeout}); err != nil {
		return nil, err
	}
	if err := c.limiter.take(len(ids)); err != nil {
		return nil, err
	}
	found := c.find(ids)
	return &qdrant.GetResponse{Result: found.records(shown), Time: time.Since(started).Seconds()}, nil
}

// foundPoints pairs ids with their points. Points are immutable, so this can be read without the lock.
type foundPoints struct {
	ids    []pointID
	points []*point
}

func (f *foundPoints) add(id pointID, p *point) {
	f.ids = append(f.ids, id)
	f.points = append(f.points, p)
}

func (c *collection) find(ids []pointID) foundPoints {
	found := foundPoints{ids: make([]pointID, 0, len(ids)), points: make([]*point, 0, len(ids))}
	seen := newIDSet(ids)
	defer c.rlock()()
	for i := range ids {
		if p := c.points[ids[i]]; p != nil && seen.add(i) {
			found.add(ids[i], p)
		}
	}
	return found
}

// records makes the answer. It allocates in blocks, not per point: a Get of thousands of ids would otherwise
// spend more on the allocator than on its lookups.
func (f *foundPoints) records(shown projection) []*qdrant.RetrievedPoint {
	n := len(f.ids)
	if n == 0 {
		return nil
	}
	var (
		records  = make([]*qdrant.RetrievedPoint, n)
		block    = make([]qdrant.RetrievedPoint, n)
		ids      = make([]qdrant.PointId, n)
		uuids    = make([]qdrant.PointId_Uuid, n)
		numbers  []qdrant.PointId_Num // most collections have none
		allTexts = f.uuidTexts()
		bare     = shown.payload.mode == payloadNone && shown.vectors.none()
	)
	for i := range f.ids {
		record := &block[i]
		records[i], record.Id = record, &ids[i]
		if f.ids[i].isUUID() {
			uuids[i].Uuid = allTexts[i*uuidTextLen : (i+1)*uuidTextLen]
			ids[i].PointIdOptions = &uuids[i]
		} else {
			if numbers == nil {
				numbers = make([]qdrant.PointId_Num, n)
			}
			numbers[i].Num = f.ids[i].number()
			ids[i].PointIdOptions = &numbers[i]
		}
		if !bare {
			record.Payload = shown.payload.apply(f.points[i].payload)
			record.Vectors = shown.vectors.apply(f.points[i].vectors)
		}
	}
	return records
}

// uuidTexts is the text of all ids in one string, at equal distances; numbers leave nonsense in their places.
func (f *foundPoints) uuidTexts() string {
	text := make([]byte, 0, len(f.ids)*uuidTextLen)
	for i := range f.ids {
		text = appendUUID(text, f.ids[i][1:])
	}
	return string(text)
}

func (ps pointsService) Count(_ context.Context, req *qdrant.CountPoints) (*qdrant.CountResponse, error) {
	started := time.Now()
	if err := validateName(req.GetCollectionName()); err != nil {
		return nil, err
	}
	filter, err := ps.s.compileFilter(req.GetFilter())
	if err != nil {
		return nil, err
	}
	c, err := ps.s.lookup(req.GetCollectionName())
	if err != nil {
		return nil, err
	}
	exact := req.Exact == nil || req.GetExact()
	if err := c.checkStrict(strictRequest{timeout: req.Timeout, exact: exact, readFilter: filter}); err != nil {
		return nil, err
	}
	if err := checkConsistency(req.GetReadConsistency()); err != nil {
		return nil, err
	}
	if err := c.limiter.take(1 + filter.rateCost()); err != nil {
		return nil, err
	}
	return &qdrant.CountResponse{
		Result: &qdrant.CountResult{Count: c.count(filter)},
		Time:   time.Since(started).Seconds(),
	}, nil
}

// count is always exact; Qdrant's estimates are not imitated.
func (c *collection) count(f *filter) uint64 {
	defer c.rlock()()
	if f == nil {
		return uint64(len(c.points))
	}
	var n uint64
	matches := f.matcher()
	for id, p := range c.points {
		if matches(id, p) {
			n++
		}
	}
	return n
}
