package qdrantserver

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Query finds the points nearest to a dense vector, by looking at each: the only query that is imitated. Points without the vector are
// never found.
func (ps pointsService) Query(_ context.Context, req *qdrant.QueryPoints) (*qdrant.QueryResponse, error) {
	started := time.Now()
	if err := validateName(req.GetCollectionName()); err != nil {
		return nil, err
	}
	near := req.GetQuery().GetNearest().GetDense()
	if near == nil || len(req.GetPrefetch()) > 0 || req.GetOffset() > 0 || req.ScoreThreshold != nil {
		return nil, status.Error(codes.Unimplemented, "only queries for what is nearest to a dense vector are imitated")
	}
	f, err := ps.s.compileFilter(req.GetFilter())
	if err != nil {
		return nil, err
	}
	shown, err := parseProjection(req.GetWithPayload(), payloadNone, req.GetWithVectors())
	if err != nil {
		return nil, err
	}
	c, err := ps.s.lookup(req.GetCollectionName())
	if err != nil {
		return nil, err
	}
	if err := c.checkStrict(strictRequest{limit: req.Limit, timeout: req.Timeout, readFilter: f}); err != nil {
		return nil, err
	}
	spec, known := c.vectors[req.GetUsing()]
	if !known {
		return nil, wrongInput("Not existing vector name error: %s", req.GetUsing())
	}
	if len(near.GetData()) != spec.size {
		return nil, wrongInput("Vector dimension error: expected dim: %d, got %d", spec.size, len(near.GetData()))
	}
	limit := 10
	if req.Limit != nil {
		limit = int(req.GetLimit())
	}
	query := slices.Clone(near.GetData())
	if spec.cosine {
		normalise(query)
	}
	type hit struct {
		id    pointID
		point *point
		score float32
	}
	var hits []hit
	matches := f.matcher()
	unlock := c.rlock()
	for id, p := range c.points {
		stored := p.vectors[req.GetUsing()].GetDense()
		if stored == nil || !matches(id, p) {
			continue
		}
		var score float32
		for i, x := range stored.GetData() {
			score += x * query[i]
		}
		hits = append(hits, hit{id, p, score})
	}
	unlock()
	slices.SortFunc(hits, func(a, b hit) int { return cmp.Or(cmp.Compare(b.score, a.score), compareIDs(a.id, b.id)) })
	var found foundPoints
	hits = hits[:min(limit, len(hits))]
	for _, h := range hits {
		found.add(h.id, h.point)
	}
	out := &qdrant.QueryResponse{}
	for i, r := range found.records(shown) {
		out.Result = append(out.Result, &qdrant.ScoredPoint{Id: r.GetId(), Payload: r.GetPayload(), Vectors: r.GetVectors(), Score: hits[i].score})
	}
	out.Time = time.Since(started).Seconds()
	return out, nil
}
