package mongo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/connectors/internal/rows"
	"github.com/syncd-io/syncd/internal/bsondoc"
	"github.com/syncd-io/syncd/internal/text"
)

// Read reads a split in the order of _id, or a stream.
func (s *source) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	if req.Split.Stream != nil {
		return s.follow(ctx, req)
	}
	return func(yield func(syncd.Batch, error) bool) {
		r := reading{source: s, req: req, last: []byte(req.After), rows: s.builders.New(req), yield: yield}
		defer s.builders.Put(r.rows)
		r.rows.Place = r.place
		err := r.run(ctx)
		if err != nil && !errors.Is(err, errStopped) {
			yield(syncd.Batch{}, fmt.Errorf("reading collection %s: %w", req.Split.Collection.Name, s.explain(ctx, err)))
		}
	}
}

// idIsMaxKey is {_id: MaxKey}.
var idIsMaxKey = element(bson.TypeMaxKey, "_id", nil)

// errStopped ends a sequence that nobody reads any more. It never leaves this package.
var errStopped = errors.New("stopped")

// reading is one walk through a split, over as many cursors as it takes.
type reading struct {
	*source
	req    syncd.ReadRequest
	filter bson.Raw
	query  query
	yield  func(syncd.Batch, error) bool

	replies replies

	rows *rows.Builder
	key  []byte // of the current document; reused
	last []byte // the key of the last document that went into rows: the next cursor begins behind it

	unnamed cursor // over the documents without _id, whole; nil before the first that came with ids alone
}

func (r *reading) run(ctx context.Context) error {
	c := r.req.Split.Collection
	filter, err := parseFilter(c.Filter)
	if err != nil {
		return err
	}
	r.filter = filter
	r.query = query{collection: c.Name, filter: all(filter)}
	r.replies = r.source.replies(c.Name, r.req.Documents, len(r.req.Fields))
	if !r.req.Documents {
		r.query.projection = projection(r.req.Fields)
		// The index alone has the answer. With a filter, the server may know a better index.
		r.query.hint = filter == nil && len(r.query.projection) == 1
	}
	var from []byte
	for tries := r.retrier().Start(); ; {
		from = append(from[:0], r.last...)
		err := r.pass(ctx)
		if err == nil || errors.Is(err, errStopped) {
			return err
		}
		if !bytes.Equal(from, r.last) {
			tries.Progress()
		}
		if err := tries.Again(ctx, err); err != nil {
			return err
		}
	}
}

// pass reads from behind r.last to the end of the split.
func (r *reading) pass(ctx context.Context) error {
	defer r.leaveUnnamed()
	k, err := newKeyRange(r.req.Split, syncd.Key(r.last))
	if err != nil {
		return err
	}
	if len(r.last) > 0 && k.upper.Type == 0 {
		if err := r.freeze(ctx, k); err != nil {
			return err
		}
	}
	q, span := r.query, k.span()
	k.served = true
	if span.from.Type != 0 || span.to.Type != 0 {
		o, err := r.boundsOn(ctx, q.collection)
		if err != nil {
			return err
		}
		if k.served = o == obeys; k.served {
			q.min, q.max = span.from, span.to
		}
	}
	if !span.none {
		err = r.readCursor(ctx, q, k)
		if err == nil && k.lost() {
			// The document to continue behind was deleted, and the server can't tell where it was.
			if err = r.compare(ctx, k); err == nil {
				err = r.readCursor(ctx, q, k)
			}
		}
	}
	if err == nil && span.maxKey && k.served {
		q := r.query
		q.filter, q.hint = all(r.filter, idIsMaxKey), false
		err = r.readCursor(ctx, q, k)
	}
	if err == nil && r.rows.Len() > 0 {
		err = r.hand(ctx, r.rows.Take())
	}
	return err
}

// compare has the range look for its beginning by the order of ids.
func (r *reading) compare(ctx context.Context, k *keyRange) error {
	k.byOrder = true
	if k.served || !hasText(k.after) {
		return nil
	}
	t, err := r.look(ctx, r.query.collection)
	k.collated = !t.binary
	if errors.Is(err, syncd.ErrCollectionNotFound) {
		return nil // then there are no changes
	}
	return err
}

// readCursor reads one cursor to its end, or to the range's.
func (r *reading) readCursor(ctx context.Context, q query, k *keyRange) error {
	q.batchSize = r.replies.next
	c, err := r.open(ctx, q)
	if err != nil {
		return err
	}
	defer c.Close()
	replies := 0
	fill := func(ctx context.Context) ([][]syncd.Change, bool, error) {
		replies++
		return r.fill(ctx, c, k, replies > 1 && k.upper.Type == 0)
	}
	for batches, err := range prefetch(ctx, fill, r.ahead) {
		if err != nil {
			return err
		}
		for _, b := range batches {
			if err := r.hand(ctx, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// fill asks the server for one reply and makes batches of it; what is left over stays in rows. It runs ahead of whoever
// handles the batches. The changes are made here, not where they are handled, while the reply is in this core's cache. It looks for
// the end of a split without one if it is told to.
func (r *reading) fill(ctx context.Context, c cursor, k *keyRange, endless bool) (batches [][]syncd.Change, more bool, err error) {
	bytes := 0
	// What comes last needs no further question, so its end is looked for at once.
	for n, left := 0, 1; n < left || c.Last(); n++ {
		if !c.Next(ctx) {
			return batches, false, c.Err()
		}
		if n == 0 {
			left += c.Buffered()
			if endless {
				if err := r.freeze(ctx, k); err != nil {
					return nil, false, err
				}
			}
		}
		if bytes += len(c.Doc()); n == left-1 {
			c.SetBatchSize(r.replies.got(left, bytes))
			if r.req.Documents {
				r.sizes.note(r.query.collection, r.replies.next)
			}
		}
		if !r.add(ctx, c.Doc(), k) {
			return batches, false, nil
		}
		if r.rows.Full() {
			batches = append(batches, r.rows.Take())
		}
	}
	return batches, true, nil
}

// freeze has a split without an end end behind the last _id that there is when it is first called for the collection since its splits
// were made, where that can be told: see Splits.
func (r *reading) freeze(ctx context.Context, k *keyRange) error {
	name := r.query.collection
	end, known := r.ends.Load(name)
	if !known {
		t, err := r.look(ctx, name)
		switch {
		case errors.Is(err, syncd.ErrCollectionNotFound):
			return nil // there will be no more
		case err != nil || !t.ordinary:
			return err
		}
		last, err := r.lastID(ctx, name, t)
		if err != nil && !isServerRefusal(err) {
			return err
		}
		end, _ = r.ends.LoadOrStore(name, last)
	}
	if last, ok := end.(bson.RawValue); ok && last.Type != 0 {
		k.upper, k.inclusive = last, true
	}
	return nil
}

// ahead reports whether the next reply may be asked for while this one is handled: not where it would be larger than a reply should
// be, since it holds a single document.
func (r *reading) ahead() bool { return r.replies.next > 1 }

// open asks for q, and without its hint where the server refuses that: views have no index, and a hint is only there to
// spare the server work.
func (r *reading) open(ctx context.Context, q query) (cursor, error) {
	if !q.hint || q.bounded() {
		return r.finder.find(ctx, q)
	}
	q.hint = r.learned.takesHint(q.collection)
	c, err := r.finder.find(ctx, q)
	if !q.hint || !isServerRefusal(err) {
		return c, err
	}
	q.hint = false
	if c, err = r.finder.find(ctx, q); err == nil {
		r.learned.learnNoHint(q.collection)
	}
	return c, err
}

// add takes a document into the current batch if it belongs to the range, and reports whether the range goes on.
func (r *reading) add(ctx context.Context, doc bson.Raw, k *keyRange) bool {
	id, _ := bsondoc.ID(doc)
	r.key = r.key[:0]
	if id.Type != 0 {
		r.key = bsondoc.AppendKey(r.key, id)
	}
	if p := k.place(r.key, id); p != inside {
		return p != beyond
	}
	r.rows.Whole = false
	if id.Type == 0 && !r.req.Documents {
		doc, r.rows.Whole = r.nextUnnamed(ctx, doc)
	}
	r.rows.Add(r.key, id, doc)
	if len(r.key) > 0 { // only a view has documents without _id; nothing can continue behind those
		r.last = append(r.last[:0], r.key...)
	}
	return true
}

// isUnnamed is {_id: {$exists: false}}.
var isUnnamed = element(bson.TypeEmbeddedDocument, "_id", element(bson.TypeBoolean, "$exists", []byte{0}))

// nextUnnamed returns one of the documents without _id, whole: nobody can fetch such a document later, and which of them it is
// makes no difference. Where there is none to be had it returns doc, and false: its error has been told already.
func (r *reading) nextUnnamed(ctx context.Context, doc bson.Raw) (bson.Raw, bool) {
	if r.unnamed == nil {
		c, err := r.finder.find(ctx, query{collection: r.query.collection, filter: all(r.filter, isUnnamed), batchSize: firstAtOnce})
		if err != nil {
			return doc, false
		}
		r.unnamed = c
	}
	for r.unnamed.Next(ctx) {
		whole := r.unnamed.Doc()
		if _, named := bsondoc.ID(whole); !named {
			return whole, true
		}
	}
	return doc, false
}

func (r *reading) leaveUnnamed() {
	if r.unnamed != nil {
		r.unnamed.Close()
		r.unnamed = nil
	}
}

// place says where the current document stands: a server's documents have no other name than their _id.
func (r *reading) place() string {
	lower, inclusive := strings.CutPrefix(string(r.req.Split.Lower), behind)
	switch {
	case len(r.last) > 0:
		return "the document behind the one with _id " + describe(string(r.last))
	case inclusive:
		return "the document behind the one with _id " + describe(lower)
	case lower != "":
		return "the first document from _id " + describe(lower) + " on"
	}
	return "the first document"
}

// describe shows the _id of a key to a person.
func describe(key string) string {
	v, err := bsondoc.ParseKey(key)
	if err != nil {
		return "(unreadable)"
	}
	id, err := bsondoc.AppendIDText(nil, v)
	switch {
	case v.Type == bson.TypeObjectID || v.IsNumber() || v.Type == bson.TypeBoolean:
		return string(id)
	case err == nil:
		return text.Quote(string(id)) // in quotes, so that a report finds one reason in all of them
	case v.Type == bson.TypeString:
		return text.Quote(v.StringValue())
	}
	return v.Type.String() // null, say
}

// hand yields changes. Much may be at hand when ctx ends, so it is looked at here.
func (r *reading) hand(ctx context.Context, changes []syncd.Change) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for b := range syncd.KeyedBatches(changes) {
		if !r.yield(b, nil) {
			return errStopped
		}
	}
	return nil
}
