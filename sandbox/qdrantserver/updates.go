package qdrantserver

import (
	"context"
	"time"

	"github.com/qdrant/go-client/qdrant"
)

// pointsService is Qdrant's Points service, without search.
type pointsService struct {
	qdrant.UnimplementedPointsServer
	s *Server
}

// operate checks write access and submits an update: the last steps of every writing method.
func (c *collection) operate(ctx context.Context, started time.Time, wait bool, apply update) (*qdrant.PointsOperationResponse, error) {
	if err := requireWrite(ctx); err != nil {
		return nil, err
	}
	result, err := c.submit(wait, apply)
	if err != nil {
		return nil, err
	}
	return &qdrant.PointsOperationResponse{Result: result, Time: time.Since(started).Seconds()}, nil
}

func emptyUpdate() error { return badRequest("Empty update request") }

func (ps pointsService) Upsert(ctx context.Context, req *qdrant.UpsertPoints) (*qdrant.PointsOperationResponse, error) {
	started := time.Now()
	if err := validateName(req.GetCollectionName()); err != nil {
		return nil, err
	}
	ids, points, err := parsePoints(req.GetPoints())
	if err != nil {
		return nil, err
	}
	filter, err := ps.s.compileFilter(req.GetUpdateFilter())
	if err != nil {
		return nil, err
	}
	c, err := ps.s.lookup(req.GetCollectionName())
	if err != nil {
		return nil, err
	}
	batch := uint64(len(points))
	if err := c.checkStrict(strictRequest{timeout: req.Timeout, upsertBatch: &batch}); err != nil {
		return nil, err
	}
	for _, p := range points {
		if err := c.checkDimensions(p.vectors); err != nil {
			return nil, err
		}
	}
	if err := requireWrite(ctx); err != nil {
		return nil, err
	}
	if len(points) == 0 {
		return nil, emptyUpdate()
	}
	mode := req.GetUpdateMode()
	return c.operate(ctx, started, req.GetWait(), func(c *collection) error {
		for _, p := range points {
			if err := c.storeVectors(p.vectors); err != nil {
				return err
			}
		}
		matches := filter.matcher()
		for i, id := range ids {
			old := c.points[id]
			switch {
			case old == nil && mode == qdrant.UpdateMode_UpdateOnly:
			case old != nil && mode == qdrant.UpdateMode_InsertOnly:
			case old != nil && !matches(id, old):
			default:
				c.put(id, points[i])
			}
		}
		return nil
	})
}

func parsePoints(pbs []*qdrant.PointStruct) ([]pointID, []*point, error) {
	ids, points := make([]pointID, len(pbs)), make([]*point, len(pbs))
	for i, pb := range pbs {
		if err := acceptPayload(pb.GetPayload()); err != nil {
			return nil, nil, err
		}
		if pb.GetVectors() == nil {
			return nil, nil, invalidArgument("Expected some vectors")
		}
		vectors, err := parseVectors(pb.GetVectors())
		if err != nil {
			return nil, nil, err
		}
		if pb.GetId() == nil {
			return nil, nil, invalidArgument("Empty ID is not allowed")
		}
		if ids[i], err = parseID(pb.GetId()); err != nil {
			return nil, nil, err
		}
		points[i] = &point{payload: pb.GetPayload(), vectors: vectors}
	}
	return ids, points, nil
}

// selector names the points of an update, by id or by filter.
type selector struct {
	ids    []pointID
	filter *filter // nil: by id
}

func (ps pointsService) parseSelector(pb *qdrant.PointsSelector, missing string) (sel selector, err error) {
	if pb == nil {
		return sel, invalidArgument("%s", missing)
	}
	switch one := pb.GetPointsSelectorOneOf().(type) {
	case *qdrant.PointsSelector_Points:
		sel.ids, err = parseIDs(one.Points.GetIds())
	case *qdrant.PointsSelector_Filter:
		sel.filter, err = ps.s.compileFilter(one.Filter)
	default:
		err = invalidArgument("Malformed PointsSelector type")
	}
	return sel, err
}

// empty selectors by id are refused; a filter that matches nothing is fine.
func (sel *selector) empty() bool { return sel.filter == nil && len(sel.ids) == 0 }

// change replaces the payload of the selected points. Selecting an id that does not exist is an error, but only
// after the others have been changed. The lock is held.
func (sel *selector) change(c *collection, payload func(old map[string]*qdrant.Value) map[string]*qdrant.Value) error {
	if sel.filter != nil {
		matches := sel.filter.matcher()
		for id, p := range c.points {
			if matches(id, p) {
				c.points[id] = &point{payload: payload(p.payload), vectors: p.vectors}
			}
		}
		return nil
	}
	var missing *pointID
	for i, id := range sel.ids {
		p := c.points[id]
		if p == nil {
			if missing == nil {
				missing = &sel.ids[i]
			}
			continue
		}
		c.points[id] = &point{payload: payload(p.payload), vectors: p.vectors}
	}
	if missing != nil {
		return notFound("No point with id %s found", missing)
	}
	return nil
}

func (ps pointsService) Delete(ctx context.Context, req *qdrant.DeletePoints) (*qdrant.PointsOperationResponse, error) {
	started := time.Now()
	if err := validateName(req.GetCollectionName()); err != nil {
		return nil, err
	}
	sel, err := ps.parseSelector(req.GetPoints(), "PointSelector is missing")
	if err != nil {
		return nil, err
	}
	return ps.updateSelected(ctx, started, req, sel, func(c *collection) error {
		for _, id := range sel.ids {
			c.remove(id)
		}
		if sel.filter != nil {
			matches := sel.filter.matcher()
			for id, p := range c.points {
				if matches(id, p) {
					c.remove(id)
				}
			}
		}
		return nil
	})
}

func (ps pointsService) SetPayload(ctx context.Context, req *qdrant.SetPayloadPoints) (*qdrant.PointsOperationResponse, error) {
	var at jsonPath
	if req.Key != nil {
		var err error
		if err = validateName(req.GetCollectionName()); err != nil {
			return nil, err
		}
		if at, err = parsePath(req.GetKey()); err != nil {
			return nil, err
		}
	}
	return ps.setPayload(ctx, req, func(old map[string]*qdrant.Value) map[string]*qdrant.Value {
		return mergePayloadAt(old, at, req.GetPayload())
	})
}

// OverwritePayload ignores the request's key, as Qdrant does.
func (ps pointsService) OverwritePayload(ctx context.Context, req *qdrant.SetPayloadPoints) (*qdrant.PointsOperationResponse, error) {
	return ps.setPayload(ctx, req, func(map[string]*qdrant.Value) map[string]*qdrant.Value { return req.GetPayload() })
}

func (ps pointsService) setPayload(ctx context.Context, req *qdrant.SetPayloadPoints, payload func(old map[string]*qdrant.Value) map[string]*qdrant.Value) (*qdrant.PointsOperationResponse, error) {
	started := time.Now()
	if err := validateName(req.GetCollectionName()); err != nil {
		return nil, err
	}
	sel, err := ps.parseSelector(req.GetPointsSelector(), "points_selector is expected")
	if err != nil {
		return nil, err
	}
	if err := acceptPayload(req.GetPayload()); err != nil {
		return nil, err
	}
	return ps.updateSelected(ctx, started, req, sel, func(c *collection) error { return sel.change(c, payload) })
}

func (ps pointsService) DeletePayload(ctx context.Context, req *qdrant.DeletePayloadPoints) (*qdrant.PointsOperationResponse, error) {
	started := time.Now()
	if err := validateName(req.GetCollectionName()); err != nil {
		return nil, err
	}
	paths := make([]jsonPath, len(req.GetKeys()))
	for i, key := range req.GetKeys() {
		var err error
		if paths[i], err = parsePath(key); err != nil {
			return nil, err
		}
	}
	sel, err := ps.parseSelector(req.GetPointsSelector(), "points_selector is expected")
	if err != nil {
		return nil, err
	}
	return ps.updateSelected(ctx, started, req, sel, func(c *collection) error {
		return sel.change(c, func(old map[string]*qdrant.Value) map[string]*qdrant.Value {
			for _, path := range paths {
				old = removePayloadAt(old, path)
			}
			return old
		})
	})
}

func (ps pointsService) ClearPayload(ctx context.Context, req *qdrant.ClearPayloadPoints) (*qdrant.PointsOperationResponse, error) {
	started := time.Now()
	if err := validateName(req.GetCollectionName()); err != nil {
		return nil, err
	}
	sel, err := ps.parseSelector(req.GetPoints(), "PointSelector is missing")
	if err != nil {
		return nil, err
	}
	return ps.updateSelected(ctx, started, req, sel, func(c *collection) error {
		return sel.change(c, func(map[string]*qdrant.Value) map[string]*qdrant.Value { return nil })
	})
}

// selectedUpdate is what the requests of updates with a selector have in common.
type selectedUpdate interface {
	GetCollectionName() string
	GetWait() bool
	GetTimeout() uint64
}

func (ps pointsService) updateSelected(ctx context.Context, started time.Time, req selectedUpdate, sel selector, apply update) (*qdrant.PointsOperationResponse, error) {
	c, err := ps.s.lookup(req.GetCollectionName())
	if err != nil {
		return nil, err
	}
	timeout := req.GetTimeout() // unset reads as zero, which no limit can refuse
	if err := c.checkStrict(strictRequest{timeout: &timeout, writeFilter: sel.filter}); err != nil {
		return nil, err
	}
	if err := requireWrite(ctx); err != nil {
		return nil, err
	}
	if sel.empty() {
		return nil, emptyUpdate()
	}
	return c.operate(ctx, started, req.GetWait(), apply)
}
