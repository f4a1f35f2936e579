package mongo

import (
	"context"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/internal/bsondoc"
)

// obedience says what a server does with min and max on a collection. Some servers that speak MongoDB's protocol reject
// them, and some ignore them without a word; no view takes them. So it is asked, once for each collection.
type obedience uint8

const (
	untold  obedience = iota // too few documents to tell, and to care
	obeys                    // and in the order of ids, across types
	refuses                  // or does something else with them
	ignores
)

// learned remembers what was found out about collections.
type learned struct {
	mu       sync.Mutex
	ignored  bool                 // a collection was returned whole in spite of min: no point in asking about others
	bounds   map[string]obedience // known answers
	unhinted map[string]bool      // collections that take no hint
}

func (l *learned) knownBounds(collection string) obedience {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ignored {
		return ignores
	}
	return l.bounds[collection]
}

func (l *learned) learnBounds(collection string, o obedience) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bounds == nil {
		l.bounds = make(map[string]obedience)
	}
	l.bounds[collection] = o
	l.ignored = l.ignored || o == ignores
}

func (l *learned) takesHint(collection string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.unhinted[collection]
}

func (l *learned) learnNoHint(collection string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unhinted == nil {
		l.unhinted = make(map[string]bool)
	}
	l.unhinted[collection] = true
}

// boundsOn reports what finds on this collection do with min and max.
func (s *source) boundsOn(ctx context.Context, collection string) (obedience, error) {
	if o := s.learned.knownBounds(collection); o != untold {
		return o, nil
	}
	// The first or last document may be deleted, or preceded or followed by another, between the questions; three times
	// in a row hardly, except where the answers make no sense.
	last := untold
	for range 3 {
		o, sure, err := s.tryBounds(ctx, collection)
		if err != nil {
			return untold, err
		}
		if sure {
			if o != untold {
				s.learned.learnBounds(collection, o)
			}
			return o, nil
		}
		last = o
	}
	s.learned.learnBounds(collection, last)
	return last, nil
}

// tryBounds asks for what lies around the first and the last _id. Real ids are used, since not every server can read MinKey
// and MaxKey. It is not sure of an answer that documents coming and going may have caused.
func (s *source) tryBounds(ctx context.Context, collection string) (o obedience, sure bool, err error) {
	up := query{collection: collection, filter: everything, projection: byID, limit: 1}
	down := up
	down.descending = true
	first, err := s.oneID(ctx, up)
	if err != nil {
		return untold, false, err
	}
	// MaxKey is no lower bound for a server: nothing is behind it. At most one document has it.
	downFromMaxKey := down
	downFromMaxKey.limit = 2
	lastTwo, err := s.ids(ctx, downFromMaxKey)
	if err != nil {
		return untold, false, err
	}
	var last bson.RawValue
	for _, id := range lastTwo {
		if id.Type != bson.TypeMaxKey {
			last = id
			break
		}
	}
	if first.Type == 0 || last.Type == 0 || first.Equal(last) {
		return untold, true, nil
	}
	fromFirst, fromLast, untilLast, downFromLast := down, up, up, down
	fromFirst.min, fromLast.min, untilLast.max, downFromLast.max = first, last, last, last
	for _, c := range []struct {
		q  query
		of func(got bson.RawValue) obedience
	}{
		{fromLast, func(got bson.RawValue) obedience {
			if got.Equal(first) {
				return ignores
			}
			return obeysIf(got.Equal(last))
		}},
		{downFromLast, func(got bson.RawValue) obedience {
			if got.Equal(last) {
				return ignores
			}
			return obeysIf(got.Type != 0 && compareValues(got, last) < 0)
		}},
		// A server that turned bounds into $gte and $lt would lose ids of other types here.
		{untilLast, func(got bson.RawValue) obedience { return obeysIf(got.Equal(first)) }},
		{fromFirst, func(got bson.RawValue) obedience {
			return obeysIf(got.Equal(last) || got.Type != 0 && compareValues(got, last) > 0)
		}},
	} {
		got, err := s.oneID(ctx, c.q)
		if isServerRefusal(err) {
			return refuses, true, nil
		}
		if err != nil {
			return untold, false, err
		}
		if o := c.of(got); o != obeys {
			return o, o == ignores, nil
		}
	}
	return obeys, true, nil
}

func obeysIf(ok bool) obedience {
	if ok {
		return obeys
	}
	return refuses
}

// oneID returns the _id of the first document that q finds, or the zero value.
func (s *source) oneID(ctx context.Context, q query) (bson.RawValue, error) {
	ids, err := s.ids(ctx, q)
	if len(ids) == 0 || err != nil {
		return bson.RawValue{}, err
	}
	return ids[0], nil
}

// ids returns the _ids of the few documents that q finds.
func (s *source) ids(ctx context.Context, q query) ([]bson.RawValue, error) {
	c, err := s.finder.find(ctx, q)
	if err != nil {
		return nil, err
	}
	return readIDs(ctx, c)
}

// readIDs reads a cursor to its end, and closes it.
func readIDs(ctx context.Context, c cursor) ([]bson.RawValue, error) {
	defer c.Close()
	var out []bson.RawValue
	for c.Next(ctx) {
		id, _ := bsondoc.ID(c.Doc())
		out = append(out, bson.RawValue{Type: id.Type, Value: append([]byte(nil), id.Value...)})
	}
	return out, c.Err()
}
