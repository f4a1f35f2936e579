package qdrant

import (
	"context"
	"fmt"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd"
)

// exactUpTo is the number of points up to which Inspect has them counted. Qdrant counts by collecting every id of a shard
// in one tree on one core, in time and memory that grow with the collection: right for a display while it is small.
const exactUpTo = 1_000_000

// Inspect describes the collection. Points is exact up to about a million; beyond, or where the collection's strict mode
// forbids exact counts, it is Qdrant's own estimate, which counts a point twice while Qdrant reorganises it.
func (c *checker) Inspect(ctx context.Context) (syncd.Index, error) {
	index := syncd.Index{Name: c.conf.Collection}
	if c.done.Load() {
		return index, errClosed
	}
	if err := c.acquire(ctx); err != nil {
		return index, err
	}
	defer c.release()

	var info *qdrant.CollectionInfo
	err := c.retry(ctx, 1, func(ctx context.Context) (err error) {
		info, err = c.info(ctx)
		return err
	})
	switch {
	case err == nil:
	case status.Code(err) == codes.NotFound:
		return index, nil
	default:
		return index, c.cannotInspect(ctx, err)
	}
	index.Exists = true
	index.Points = int64(info.GetPointsCount())
	if index.Points > exactUpTo {
		return index, nil
	}

	err = c.retry(ctx, 1, func(ctx context.Context) error {
		r, err := c.client.GetPointsClient().Count(ctx, &qdrant.CountPoints{
			CollectionName:  c.conf.Collection,
			Exact:           new(true),
			ReadConsistency: c.consistency,
			Timeout:         new(seconds(c.conf.Timeout)),
		})
		if err == nil {
			index.Points = int64(r.GetResult().GetCount())
		}
		return err
	})
	if err != nil && status.Code(err) != codes.InvalidArgument { // what strict mode answers to an exact count
		return index, c.cannotInspect(ctx, err)
	}
	return index, nil
}

func (c *checker) cannotInspect(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("inspecting the collection %q: %w", c.conf.Collection, ctx.Err())
	}
	return c.explain(fmt.Sprintf("inspecting the collection %q at %s", c.conf.Collection, c.ep.Addr()), err)
}
