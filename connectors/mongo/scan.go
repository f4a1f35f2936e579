package mongo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/connectors/internal/rows"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// What a server is asked for at once where the configuration does not say. Ids are about 30 bytes each, so 10,000 of them
// are a fifth of a megabyte and a round trip for many batches of the engine; documents of 2 kB are 2 MB.
const (
	idsAtOnce       = 10_000
	documentsAtOnce = 1_000
)

// Scan reads a split in the order of _id.
func (s *source) Scan(ctx context.Context, req syncd.ScanRequest) iter.Seq2[[]syncd.Record, error] {
	return func(yield func([]syncd.Record, error) bool) {
		sc := scan{source: s, req: req, last: []byte(req.After), rows: rows.New(req), yield: yield}
		err := sc.run(ctx)
		if err != nil && !errors.Is(err, errStopped) {
			yield(nil, fmt.Errorf("reading collection %s: %w", req.Split.Collection.Name, s.explain(ctx, err)))
		}
	}
}

// idIsMaxKey is {_id: MaxKey}.
var idIsMaxKey = element(bson.TypeMaxKey, "_id", nil)

// errStopped ends a scan that nobody reads any more. It never leaves this file.
var errStopped = errors.New("stopped")

// scan is one run through a split, over as many cursors as it takes.
type scan struct {
	*source
	req    syncd.ScanRequest
	filter bson.Raw
	query  query
	yield  func([]syncd.Record, error) bool

	rows *rows.Builder
	key  []byte // of the current record; reused
	last []byte // the key of the last record that went into rows: the next cursor begins behind it
}

func (sc *scan) run(ctx context.Context) error {
	c := sc.req.Split.Collection
	filter, err := parseFilter(c.Filter)
	if err != nil {
		return err
	}
	sc.filter = filter
	sc.query = query{collection: c.Name, filter: all(filter), batchSize: sc.cfg.BatchSize}
	if !sc.req.Documents {
		sc.query.projection = projection(sc.req.Fields)
		// The index alone has the answer. With a filter, the server may know a better index.
		sc.query.hint = filter == nil && len(sc.query.projection) == 1
	}
	switch {
	case sc.query.batchSize > 0:
	case sc.req.Documents:
		sc.query.batchSize = documentsAtOnce
	default:
		sc.query.batchSize = idsAtOnce
	}
	var from []byte
	for tries := sc.retrier().Start(); ; {
		from = append(from[:0], sc.last...)
		err := sc.pass(ctx)
		if err == nil || errors.Is(err, errStopped) {
			return err
		}
		if !bytes.Equal(from, sc.last) {
			tries.Progress()
		}
		if err := tries.Again(ctx, err); err != nil {
			return err
		}
	}
}

// pass reads from behind sc.last to the end.
func (sc *scan) pass(ctx context.Context) error {
	w, err := newWindow(sc.req.Split, syncd.Key(sc.last))
	if err != nil {
		return err
	}
	q, span := sc.query, w.span()
	w.served = true
	if span.from.Type != 0 || span.to.Type != 0 {
		o, err := sc.boundsOn(ctx, q.collection)
		if err != nil {
			return err
		}
		if w.served = o == obeys; w.served {
			q.min, q.max = span.from, span.to
		}
	}
	if !span.none {
		err = sc.read(ctx, q, w)
		if err == nil && w.lost() {
			// The record to continue behind was deleted, and the server can't tell where it was.
			if err = sc.compare(ctx, w); err == nil {
				err = sc.read(ctx, q, w)
			}
		}
	}
	if err == nil && span.maxKey && w.served {
		q := sc.query
		q.filter, q.hint = all(sc.filter, idIsMaxKey), false
		err = sc.read(ctx, q, w)
	}
	if err == nil && sc.rows.Len() > 0 {
		err = sc.hand(ctx, sc.rows.Take())
	}
	return err
}

// compare has the window look for its beginning by the order of ids.
func (sc *scan) compare(ctx context.Context, w *window) error {
	w.byOrder = true
	if w.served || !hasText(w.after) {
		return nil
	}
	t, err := sc.look(ctx, sc.query.collection)
	w.collated = !t.binary
	if errors.Is(err, syncd.ErrCollectionNotFound) {
		return nil // then there are no records
	}
	return err
}

// read reads one cursor to its end, or to the window's.
func (sc *scan) read(ctx context.Context, q query, w *window) error {
	c, err := sc.open(ctx, q)
	if err != nil {
		return err
	}
	defer c.Close()
	fill := func(ctx context.Context) ([][]syncd.Record, bool, error) { return sc.fill(ctx, c, w) }
	for batches, err := range ahead(ctx, fill) {
		if err != nil {
			return err
		}
		for _, b := range batches {
			if err := sc.hand(ctx, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// fill asks the server for one reply and makes batches of it; what is left over stays in rows. It runs ahead of whoever
// handles the batches. The records are made here, not where they are handled, while the reply is in this core's cache.
func (sc *scan) fill(ctx context.Context, c cursor, w *window) (batches [][]syncd.Record, more bool, err error) {
	for n, left := 0, 1; n < left; n++ {
		if !c.Next(ctx) {
			return batches, false, c.Err()
		}
		if n == 0 {
			left += c.Buffered()
		}
		if !sc.add(c.Doc(), w) {
			return batches, false, nil
		}
		if sc.rows.Full() {
			batches = append(batches, sc.rows.Take())
		}
	}
	return batches, true, nil
}

// open asks for q, and without its hint where the server refuses that: views have no index, and a hint is only there to
// spare the server work.
func (sc *scan) open(ctx context.Context, q query) (cursor, error) {
	if !q.hint || q.bounded() {
		return sc.finder.find(ctx, q)
	}
	q.hint = sc.abilities.takesHint(q.collection)
	c, err := sc.finder.find(ctx, q)
	if !q.hint || !isServerRefusal(err) {
		return c, err
	}
	q.hint = false
	if c, err = sc.finder.find(ctx, q); err == nil {
		sc.abilities.learnNoHint(q.collection)
	}
	return c, err
}

// add takes a document into the current batch if it belongs to the window, and reports whether the window goes on.
func (sc *scan) add(doc bson.Raw, w *window) bool {
	id, _ := bsondoc.Lookup(doc, "_id")
	sc.key = sc.key[:0]
	if id.Type != 0 {
		sc.key = bsondoc.AppendKey(sc.key, id)
	}
	if p := w.place(sc.key, id); p != inside {
		return p != beyond
	}
	sc.rows.Add(sc.key, id, doc)
	if len(sc.key) > 0 { // only a view has documents without _id; nothing can continue behind those
		sc.last = append(sc.last[:0], sc.key...)
	}
	return true
}

// hand yields a batch. Much may be at hand when ctx ends, so it is looked at here.
func (sc *scan) hand(ctx context.Context, batch []syncd.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !sc.yield(batch, nil) {
		return errStopped
	}
	return nil
}
