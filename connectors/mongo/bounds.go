package mongo

import (
	"context"
	"fmt"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// bounds remembers where min and max can be relied on. Some servers that speak MongoDB's protocol reject them, and some
// ignore them without a word; no view takes them. So it is asked, once for each collection that a scan is to continue in.
type bounds struct {
	mu          sync.Mutex
	ignored     bool            // a collection was returned whole in spite of min: no point in asking about others
	collections map[string]bool // known answers
}

func (b *bounds) known(collection string) (obeyed, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ignored {
		return false, true
	}
	obeyed, ok = b.collections[collection]
	return obeyed, ok
}

func (b *bounds) learn(collection string, obeyed, ignored bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.collections == nil {
		b.collections = make(map[string]bool)
	}
	b.collections[collection] = obeyed
	b.ignored = b.ignored || ignored
}

// obeysBounds reports whether finds on this collection obey min and max. It asks for what follows the last _id: a server
// that obeys begins with that one, and one that ignores it begins with the first. Real ids are used, since not every server
// can read MinKey and MaxKey.
func (s *source) obeysBounds(ctx context.Context, collection string) (bool, error) {
	if obeyed, ok := s.bounds.known(collection); ok {
		return obeyed, nil
	}
	q := query{collection: collection, filter: everything, projection: byID, limit: 1}
	down := q
	down.descending = true
	// The last document may be deleted, or followed by another, between the questions; three times in a row hardly.
	for range 3 {
		first, err := s.oneID(ctx, q)
		if err != nil {
			return false, err
		}
		last, err := s.oneID(ctx, down)
		if err != nil {
			return false, err
		}
		if first.Type == 0 || last.Type == 0 || first.Equal(last) {
			return false, nil // too few documents to tell, and to care
		}
		from := q
		from.min = last
		got, err := s.oneID(ctx, from)
		refused := isServerRefusal(err)
		if err != nil && !refused {
			return false, err
		}
		switch {
		case refused:
			s.bounds.learn(collection, false, false)
			return false, nil
		case got.Equal(last):
			s.bounds.learn(collection, true, false)
			return true, nil
		case got.Equal(first):
			s.bounds.learn(collection, false, true)
			return false, nil
		}
	}
	return false, nil
}

// oneID returns the _id of the first document that q finds, or the zero value.
func (s *source) oneID(ctx context.Context, q query) (bson.RawValue, error) {
	c, err := s.finder.find(ctx, q)
	if err != nil {
		return bson.RawValue{}, err
	}
	defer c.Close()
	if !c.Next(ctx) {
		return bson.RawValue{}, c.Err()
	}
	id, _ := bsondoc.Lookup(c.Doc(), "_id")
	return bson.RawValue{Type: id.Type, Value: append([]byte(nil), id.Value...)}, nil
}

// window picks the records of a scan that belong to it.
type window struct {
	lower, upper bson.RawValue
	after        bson.RawValue
	afterKey     string

	obeyed  bool // the server was given the bounds and obeys them
	byOrder bool // the record with the key after is gone: compare instead of waiting for it
	begun   bool // past after
}

func newWindow(split syncd.Split, after syncd.Key) (*window, error) {
	w := &window{afterKey: string(after), begun: after == ""}
	for _, k := range []struct {
		key  syncd.Key
		into *bson.RawValue
	}{{split.Lower, &w.lower}, {split.Upper, &w.upper}, {after, &w.after}} {
		if k.key == "" {
			continue
		}
		v, err := bsondoc.ParseKey(string(k.key))
		if err != nil {
			return nil, fmt.Errorf("reading a split: %w", err)
		}
		*k.into = v
	}
	return w, nil
}

// whole reports whether the window is the whole collection.
func (w *window) whole() bool { return w.after.Type == 0 && w.lower.Type == 0 && w.upper.Type == 0 }

// apply gives the bounds to a server that obeys them. min is inclusive, so the record at after comes once more.
func (w *window) apply(q *query) {
	w.obeyed = true
	q.min, q.max = w.lower, w.upper
	if w.after.Type != 0 {
		q.min = w.after
	}
}

// admits reports whether the record belongs to the window; records come in the server's order.
func (w *window) admits(key []byte, id bson.RawValue) bool {
	if w.obeyed {
		return string(key) != w.afterKey || w.afterKey == ""
	}
	if !w.begun {
		if w.byOrder {
			return compareValues(id, w.after) > 0 && w.inside(id)
		}
		w.begun = string(key) == w.afterKey
		return false
	}
	return w.inside(id)
}

func (w *window) inside(id bson.RawValue) bool {
	return (w.lower.Type == 0 || compareValues(id, w.lower) >= 0) && (w.upper.Type == 0 || compareValues(id, w.upper) < 0)
}

// lost reports, at the end of a pass, that it found no record because the one at after no longer exists.
func (w *window) lost() bool { return !w.obeyed && !w.begun && !w.byOrder }
