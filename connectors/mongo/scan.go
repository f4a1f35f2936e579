package mongo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/connectors/internal/rows"
	"github.com/syncd-io/syncd/internal/bsondoc"
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

// errStopped ends a scan that nobody reads any more. It never leaves this file.
var errStopped = errors.New("stopped")

// scan is one run through a split, over as many cursors as it takes.
type scan struct {
	*source
	req   syncd.ScanRequest
	query query
	yield func([]syncd.Record, error) bool

	rows *rows.Builder
	key  []byte // of the current record; reused
	last []byte // the key of the last record that is in rows or was yielded: the next cursor begins behind it
}

func (sc *scan) run(ctx context.Context) error {
	c := sc.req.Split.Collection
	filter, err := parseFilter(c.Filter)
	if err != nil {
		return err
	}
	sc.query = query{collection: c.Name, filter: all(filter), batchSize: sc.cfg.BatchSize}
	if !sc.req.Documents {
		sc.query.projection = projection(sc.req.Fields)
	}
	var from []byte
	for tries := newAttempts(); ; {
		from = append(from[:0], sc.last...)
		err := sc.pass(ctx)
		if err == nil || errors.Is(err, errStopped) {
			return err
		}
		if !bytes.Equal(from, sc.last) {
			tries.progress()
		}
		if !tries.again(ctx, err) {
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
	q := sc.query
	if !w.whole() {
		obeyed, err := sc.obeysBounds(ctx, q.collection)
		if err != nil {
			return err
		}
		if obeyed {
			w.apply(&q)
		}
	}
	err = sc.read(ctx, q, w)
	if err == nil && w.lost() {
		// The record to continue behind was deleted, and the server can't begin where it was.
		w.byOrder = true
		err = sc.read(ctx, q, w)
	}
	if err == nil && sc.rows.Len() > 0 {
		err = sc.hand(ctx)
	}
	return err
}

// read reads one cursor to its end.
func (sc *scan) read(ctx context.Context, q query, w *window) error {
	c, err := sc.finder.find(ctx, q)
	if err != nil {
		return err
	}
	defer c.Close()
	for c.Next(ctx) {
		doc := c.Doc()
		id, _ := bsondoc.Lookup(doc, "_id")
		sc.key = sc.key[:0]
		if id.Type != 0 {
			sc.key = bsondoc.AppendKey(sc.key, id)
		}
		if !w.admits(sc.key, id) {
			continue
		}
		sc.rows.Add(sc.key, id, doc)
		if len(sc.key) > 0 { // only a view has documents without _id; nothing can continue behind those
			sc.last = append(sc.last[:0], sc.key...)
		}
		if sc.rows.Full() {
			if err := sc.hand(ctx); err != nil {
				return err
			}
		}
	}
	return c.Err()
}

// hand yields what has been read. A cursor serves what it holds without looking at ctx, so it is looked at here.
func (sc *scan) hand(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !sc.yield(sc.rows.Take(), nil) {
		return errStopped
	}
	return nil
}
