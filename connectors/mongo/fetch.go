package mongo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/connectors/internal/rows"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// A question for documents names at most this many, and this many bytes of ids: a query is a document itself, and those
// end at 16 MiB (Manual, "MongoDB Limits and Thresholds").
const (
	maxFetchKeys  = 1000
	maxFetchBytes = 4 << 20
)

// Fetch asks for documents by _id, with $in. It compares numbers by value, so a document whose _id has become another type
// of number (deleted and inserted again) is found by the server, but not under its key: it is left out.
func (s *source) Fetch(ctx context.Context, c syncd.Collection, keys []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return func(yield func(syncd.Fetched, error) bool) {
		err := s.fetch(ctx, c, keys, yield)
		if err != nil && !errors.Is(err, errStopped) {
			yield(syncd.Fetched{}, fmt.Errorf("fetching documents of collection %s: %w", c.Name, s.explain(ctx, err)))
		}
	}
}

func (s *source) fetch(ctx context.Context, c syncd.Collection, keys []syncd.Key, yield func(syncd.Fetched, error) bool) error {
	filter, err := parseFilter(c.Filter)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if _, err := bsondoc.ParseKey(string(k)); err != nil {
			return err
		}
	}
	for start := 0; start < len(keys); {
		end, size := start, 0
		for end < len(keys) && end-start < maxFetchKeys && (end == start || size+len(keys[end]) <= maxFetchBytes) {
			size += len(keys[end])
			end++
		}
		f := fetch{source: s, collection: c.Name, filter: filter, base: start, yield: yield, wanted: make(map[syncd.Key][]int, end-start)}
		for i, k := range keys[start:end] {
			f.wanted[k] = append(f.wanted[k], start+i)
		}
		if err := f.run(ctx, keys[start:end]); err != nil {
			return err
		}
		start = end
	}
	return nil
}

// fetch is one chunk of a Fetch.
type fetch struct {
	*source
	collection string
	filter     bson.Raw
	base       int
	yield      func(syncd.Fetched, error) bool
	wanted     map[syncd.Key][]int // the indices of each key that has not been yielded
	copies     rows.Copies
	key        []byte
}

func (f *fetch) run(ctx context.Context, keys []syncd.Key) error {
	for tries := newAttempts(); ; {
		before := len(f.wanted)
		err := f.pass(ctx, keys)
		if err == nil || errors.Is(err, errStopped) {
			return err
		}
		if len(f.wanted) < before {
			tries.progress()
		}
		if !tries.again(ctx, err) {
			return err
		}
	}
}

// pass asks once for all that is still wanted.
func (f *fetch) pass(ctx context.Context, keys []syncd.Key) error {
	c, err := f.finder.find(ctx, query{collection: f.collection, filter: all(f.filter, f.in(keys)), batchSize: len(keys)})
	if err != nil {
		return err
	}
	defer c.Close()
	for c.Next(ctx) {
		doc := c.Doc()
		id, ok := bsondoc.Lookup(doc, "_id")
		if !ok {
			continue
		}
		f.key = bsondoc.AppendKey(f.key[:0], id)
		indices, ok := f.wanted[syncd.Key(f.key)]
		if !ok {
			continue
		}
		delete(f.wanted, syncd.Key(f.key))
		if err := ctx.Err(); err != nil {
			return err
		}
		copied := f.copies.Document(doc)
		for _, i := range indices {
			if !f.yield(syncd.Fetched{Index: i, Document: copied}, nil) {
				return errStopped
			}
		}
	}
	return c.Err()
}

// in returns {_id: {$in: […]}} for the keys that are still wanted. A key is a BSON type and value, so the array is put
// together from the keys' own bytes.
func (f *fetch) in(keys []syncd.Key) bson.Raw {
	array := []byte{0, 0, 0, 0}
	n := 0
	for i, k := range keys {
		if indices := f.wanted[k]; len(indices) == 0 || indices[0] != f.base+i {
			continue // yielded, or a repeated key
		}
		array = append(array, k[0])
		array = strconv.AppendInt(array, int64(n), 10)
		array = append(append(array, 0), k[1:]...)
		n++
	}
	array = closed(array)
	in := element(bson.TypeArray, "$in", array)
	return element(bson.TypeEmbeddedDocument, "_id", in)
}

// element returns a document of one element.
func element(t bson.Type, name string, value []byte) bson.Raw {
	doc := []byte{0, 0, 0, 0, byte(t)}
	doc = append(append(doc, name...), 0)
	return closed(append(doc, value...))
}

// closed ends a document that began with four bytes for its length.
func closed(doc []byte) bson.Raw {
	doc = append(doc, 0)
	binary.LittleEndian.PutUint32(doc, uint32(len(doc)))
	return doc
}
