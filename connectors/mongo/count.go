package mongo

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// Count counts by reading the _id index, or the documents where there is a filter: the server's fast count comes from
// metadata and is wrong after a crash and on shards. It takes as long as that takes, seconds for ten million documents.
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
	if _, err := s.look(ctx, c.Name); err != nil {
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
	n, err := retried(ctx, s, ask)
	return n, s.explain(ctx, err)
}

// Estimate returns what the server's metadata says, at once. That is exact on a server that never crashed and has no
// shards. After a crash it may be wrong by what was written since the last checkpoint, either way, until somebody
// validates the collection; with shards it has too many while chunks move (Manual, "count"). A filter, and a view, have no
// such metadata. That a collection is small is remembered for the next call of Splits, which need not ask then.
func (s *source) Estimate(ctx context.Context, c syncd.Collection) (n int64, ok bool, err error) {
	n, ok, err = s.estimateOf(ctx, c)
	if err != nil {
		return 0, false, fmt.Errorf("estimating the size of collection %s: %w", c.Name, err)
	}
	return n, ok, nil
}

func (s *source) estimateOf(ctx context.Context, c syncd.Collection) (int64, bool, error) {
	if c.Filter != "" {
		return 0, false, nil
	}
	// What Identity has just seen need not be looked at again, unless it may be gone.
	_, seen := s.seen.LoadAndDelete(c.Name)
	if !seen {
		if t, err := s.look(ctx, c.Name); err != nil || !t.ordinary {
			return 0, false, err
		}
	}
	n, err := s.estimate(ctx, c.Name)
	if err == nil && n == 0 && seen {
		if _, err := s.look(ctx, c.Name); err != nil {
			return 0, false, err
		}
	}
	if isServerRefusal(err) {
		return 0, false, nil
	}
	if err == nil && s.cfg.Splits == 0 && n < unsplitBelow {
		s.small.Store(c.Name, true)
	}
	return n, err == nil, s.explain(ctx, err)
}

// estimate asks for the size of a collection together with others that are asked for meanwhile.
func (s *source) estimate(ctx context.Context, name string) (int64, error) {
	e, err := s.estimates.Ask(ctx, name)
	if err != nil {
		return 0, err
	}
	return e.n, e.err
}

// estimated is what a server says of the size of a collection.
type estimated struct {
	n   int64
	err error
}

// statsAtOnce is how many collections are counted in one pipeline, which MongoDB limits to 1,000 stages.
const statsAtOnce = 100

// estimateAll asks for the sizes of collections.
func (s *source) estimateAll(ctx context.Context, names []string) ([]estimated, error) {
	out := make([]estimated, 0, len(names))
	for some := range slices.Chunk(names, statsAtOnce) {
		known, err := s.statsOf(ctx, some)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		for _, name := range some {
			n, ok := known[name]
			if !ok || err != nil { // it is gone, or the server does not answer such a question
				var e estimated
				e.n, e.err = retried(ctx, s, func() (int64, error) { return s.db.Collection(name).EstimatedDocumentCount(ctx) })
				out = append(out, e)
				continue
			}
			out = append(out, estimated{n: n})
		}
	}
	return out, nil
}

// statsOf asks for the sizes of several collections at once, which are those of the server's own records ($collStats) as with one
// collection. It knows nothing of one collection, which has a question of its own, and asks no mongos, where the records are many.
func (s *source) statsOf(ctx context.Context, names []string) (map[string]int64, error) {
	if len(names) == 1 || !s.answers.areOfData() {
		return nil, nil //nolint:nilnil // nothing is known
	}
	size := bson.D{{Key: "$collStats", Value: bson.D{{Key: "count", Value: bson.D{}}}}}
	pipeline := []bson.D{size}
	for _, name := range names[1:] {
		pipeline = append(pipeline, bson.D{{Key: "$unionWith", Value: bson.D{{Key: "coll", Value: name}, {Key: "pipeline", Value: []bson.D{size}}}}})
	}
	c, err := s.db.Collection(names[0]).Aggregate(ctx, pipeline)
	if err != nil {
		return nil, err
	}
	defer driverCursor{c}.Close()
	out := make(map[string]int64, len(names))
	for c.Next(ctx) {
		ns, _ := bsondoc.Lookup(c.Current, "ns")
		text, _ := ns.StringValueOK()
		name, ours := strings.CutPrefix(text, s.cfg.Database+".")
		count, _ := bsondoc.Lookup(c.Current, "count")
		n, ok := count.AsInt64OK()
		if _, twice := out[name]; !ours || !ok || n < 0 || twice {
			return nil, fmt.Errorf("a size of %s that can't be read", text)
		}
		out[name] = n
	}
	return out, c.Err()
}
