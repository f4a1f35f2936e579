package mongo

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/syncd-io/syncd"
)

// Plan gives one split, the whole collection.
func (s *source) Plan(ctx context.Context, c syncd.Collection) iter.Seq2[syncd.Split, error] {
	return func(yield func(syncd.Split, error) bool) {
		if err := s.exists(ctx, c.Name); err != nil {
			yield(syncd.Split{}, fmt.Errorf("planning collection %s: %w", c.Name, err))
			return
		}
		yield(syncd.Split{Collection: c}, nil)
	}
}

// Count counts by reading: the server's fast count comes from metadata and is wrong after a crash and on shards.
func (s *source) Count(ctx context.Context, c syncd.Collection) (int64, error) {
	n, err := s.count(ctx, c)
	if err != nil {
		return 0, fmt.Errorf("counting collection %s: %w", c.Name, err)
	}
	return n, nil
}

func (s *source) count(ctx context.Context, c syncd.Collection) (int64, error) {
	filter, err := parseFilter(c.Filter)
	if err != nil {
		return 0, err
	}
	if err := s.exists(ctx, c.Name); err != nil {
		return 0, err
	}
	coll := s.db.Collection(c.Name)
	plain := func() (int64, error) { return coll.CountDocuments(ctx, all(filter)) }
	ask := plain
	if filter == nil {
		// Without the hint every document is read, not only the _id index. A view has none, so it may be refused.
		ask = func() (int64, error) {
			n, err := coll.CountDocuments(ctx, everything, options.Count().SetHint(byID))
			if err != nil && isServerRefusal(err) {
				return plain()
			}
			return n, err
		}
	}
	n, err := retried(ctx, ask)
	return n, s.explain(ctx, err)
}

// Collections lists the collections and views of the database by name.
func (s *source) Collections(ctx context.Context) ([]string, error) {
	names, err := s.names(ctx, everything)
	if err != nil {
		return nil, fmt.Errorf("listing collections: %w", s.explain(ctx, err))
	}
	slices.Sort(names)
	return names, nil
}

// exists returns ErrCollectionNotFound if there is no such collection or view. Where the user may not ask, it is taken to
// exist: reading it needs another privilege.
func (s *source) exists(ctx context.Context, name string) error {
	names, err := s.names(ctx, bson.D{{Key: "name", Value: name}})
	switch {
	case hasCode(err, codeUnauthorized) && ctx.Err() == nil:
		return nil
	case err != nil:
		return s.explain(ctx, err)
	case !slices.Contains(names, name):
		return fmt.Errorf("%w in database %s", syncd.ErrCollectionNotFound, s.cfg.Database)
	}
	return nil
}

func (s *source) names(ctx context.Context, filter any) ([]string, error) {
	return retried(ctx, func() ([]string, error) { return s.db.ListCollectionNames(ctx, filter) })
}
