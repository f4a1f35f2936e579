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
	f := fetch{source: s, collection: c.Name, filter: filter, yield: yield, wanted: make(map[syncd.Key]int, min(len(keys), maxFetchKeys))}
	for start := 0; start < len(keys); {
		end, size := start, 0
		for end < len(keys) && end-start < maxFetchKeys && (end == start || size+len(keys[end]) <= maxFetchBytes) {
			size += len(keys[end])
			end++
		}
		f.begin(keys[start:end], start)
		if err := f.run(ctx); err != nil {
			return err
		}
		start = end
	}
	return nil
}

// fetch is a Fetch, chunk by chunk; all but what it yields is reused from one to the next.
type fetch struct {
	*source
	collection string
	filter     bson.Raw
	yield      func(syncd.Fetched, error) bool
	copies     rows.Copies
	key        []byte

	keys   []syncd.Key       // of this chunk
	base   int               // the index of its first key
	wanted map[syncd.Key]int // where each key stands in keys
	found  []bool            // aligned with keys: yielded, or the repetition of another
	left   int               // keys not found
}

func (f *fetch) begin(keys []syncd.Key, base int) {
	f.keys, f.base, f.left = keys, base, len(keys)
	clear(f.wanted)
	f.found = append(f.found[:0], make([]bool, len(keys))...)
	for i, k := range keys {
		if _, repeated := f.wanted[k]; repeated {
			f.found[i] = true
			f.left--
			continue
		}
		f.wanted[k] = i
	}
}

func (f *fetch) run(ctx context.Context) error {
	at, again := f.finder, f.primary
	for tries := f.retrier().Start(); ; {
		before := f.left
		err := f.pass(ctx, at)
		if err == nil && f.left > 0 && again != nil {
			at, again = again, nil
			tries.Progress()
			continue
		}
		if err == nil || errors.Is(err, errStopped) {
			return err
		}
		if f.left < before {
			tries.Progress()
		}
		if err := tries.Again(ctx, err); err != nil {
			return err
		}
	}
}

// pass asks once for all that is still wanted.
func (f *fetch) pass(ctx context.Context, at finder) error {
	if f.left == 0 {
		return nil
	}
	asked := f.replies(f.collection, true, 0)
	c, err := at.find(ctx, query{collection: f.collection, filter: all(f.filter, f.in()), batchSize: min(f.left, asked.next)})
	if err != nil {
		return err
	}
	defer c.Close()
	defer func() { f.sizes.note(f.collection, asked.next) }()
	documents, bytes := 0, 0
	for c.Next(ctx) {
		doc := c.Doc()
		documents, bytes = documents+1, bytes+len(doc)
		if c.Buffered() == 0 {
			c.SetBatchSize(asked.got(documents, bytes))
			documents, bytes = 0, 0
		}
		id, ok := bsondoc.ID(doc)
		if !ok {
			continue
		}
		f.key = bsondoc.AppendKey(f.key[:0], id)
		i, ok := f.wanted[syncd.Key(f.key)]
		if !ok || f.found[i] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		f.found[i] = true
		f.left--
		if !f.yield(syncd.Fetched{Index: f.base + i, Document: f.copies.Document(doc)}, nil) {
			return errStopped
		}
	}
	return c.Err()
}

// in returns {_id: {$in: […]}} for the keys that are still wanted. A key is a BSON type and value, so the array is put
// together from the keys' own bytes.
func (f *fetch) in() bson.Raw {
	size := 64
	for _, k := range f.keys {
		size += len(k) + 5 // a position of up to four digits, and its end
	}
	array := append(make([]byte, 0, size), 0, 0, 0, 0)
	n := 0
	for i, k := range f.keys {
		if f.found[i] {
			continue
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
