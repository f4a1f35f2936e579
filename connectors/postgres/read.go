package postgres

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/pg"
)

// Read reads a split in the order of its key, by one statement, or a stream.
func (s *source) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	if req.Split.Stream != nil {
		return s.follow(ctx, req)
	}
	return func(yield func(syncd.Batch, error) bool) {
		r := reading{source: s, req: req, yield: yield, last: syncd.Key(req.After)}
		err := r.run(ctx)
		switch {
		case err == nil, errors.Is(err, errStopped):
		case errors.Is(err, syncd.ErrCollectionNotFound) && ctx.Err() == nil: // it has no changes any more
		default:
			yield(syncd.Batch{}, fmt.Errorf("reading collection %s: %w", req.Split.Collection.Name, s.explain(ctx, err)))
		}
	}
}

// errStopped ends a sequence that nobody reads any more. It never leaves this package.
var errStopped = errors.New("stopped")

// errSnapshotGone means that what readers share is there no more: the connection that held it has ended.
var errSnapshotGone = errors.New("the exported snapshot is gone")

// reading is one walk through a split, over as many statements as it takes.
type reading struct {
	*source
	req   syncd.ReadRequest
	table *table
	rows  *builder // nil before the first row
	last  syncd.Key
	yield func(syncd.Batch, error) bool
}

func (r *reading) run(ctx context.Context) (err error) {
	split := r.req.Split
	if r.table, err = r.look(ctx, split.Collection.Name); err != nil {
		return err
	}
	of := part{split.Collection.Name, split.Index}
	var held *snapshot
	if r.req.After == "" {
		held = r.join(of)
	}
	if held != nil {
		defer func() { r.leave(held, of, err == nil) }()
	}
	shared := held
	for tries := r.retrier().Start(); ; {
		from := r.last
		err := r.pass(ctx, shared)
		if err == nil || errors.Is(err, errStopped) {
			return err
		}
		if r.last != from {
			tries.Progress()
		}
		if errors.Is(err, errSnapshotGone) {
			r.log.Warn("the snapshot that readers share is gone: the rest of a part is read as it is now", "collection", of.collection)
			shared = nil
			continue
		}
		if err := tries.Again(ctx, notFound(err)); err != nil {
			return err
		}
	}
}

// pass reads from behind r.last to the end of the split.
func (r *reading) pass(ctx context.Context, shared *snapshot) error {
	c, err := r.pool.Get(ctx)
	if err != nil {
		return err
	}
	defer func() { r.pool.Put(c) }()
	if shared != nil {
		switch err := pg.Exec(ctx, c, beginRead+"; SET TRANSACTION SNAPSHOT '"+shared.id+"'"); {
		case pg.CodeOf(err) != "" && pg.Transient(err) == "":
			return errSnapshotGone
		case err != nil:
			return err
		}
	}
	// Rows without a whole key come last, where nothing is read behind them.
	err = r.statement(ctx, c, false)
	if err == nil && r.table.nullable && r.req.Split.Upper == "" {
		err = r.statement(ctx, c, true)
	}
	if err == nil && r.rows != nil && len(r.rows.entries) > 0 {
		err = r.hand(ctx)
	}
	if err == nil && shared != nil {
		err = pg.Exec(ctx, c, "COMMIT")
	}
	if errors.Is(err, errStopped) || ctx.Err() != nil {
		pg.Discard(c) // the server may have much more to say
	}
	return err
}

// statement reads what one statement finds: the split's rows or, with keyless, those whose key holds NULL.
func (r *reading) statement(ctx context.Context, c *pgconn.PgConn, keyless bool) error {
	sql, args, l, err := r.sql(keyless)
	if err != nil {
		return err
	}
	columns := func(fields []pgconn.FieldDescription) error {
		r.contact.Answered()
		if l.columns, err = r.columnsOf(ctx, fields); err != nil {
			return err
		}
		if r.rows == nil {
			l.complete(r.req)
			r.rows = newBuilder(l, r.req)
		}
		return nil
	}
	err = pg.QueryColumns(ctx, c, sql, args, columns, func(values [][]byte) error {
		r.rows.add(values)
		if r.rows.full() {
			return r.hand(ctx)
		}
		return nil
	})
	if r.rows != nil {
		if n := len(r.rows.entries); n > 0 && !keyless {
			// The next statement begins behind what waits to be handed over.
			e := r.rows.entries[n-1]
			r.last = syncd.Key(r.rows.text[e.key.from:e.key.to])
		}
	}
	return err
}

// hand yields a batch. Much may be at hand when ctx ends, so it is looked at here.
func (r *reading) hand(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.contact.Answered()
	for b := range syncd.KeyedBatches(r.rows.take()) {
		if b.Offset != "" {
			r.last = syncd.Key(b.Offset)
		}
		if !r.yield(b, nil) {
			return errStopped
		}
	}
	return nil
}

// sql is the statement that reads on, and what its columns are.
func (r *reading) sql(keyless bool) (string, [][]byte, *layout, error) {
	t, split := r.table, r.req.Split
	l := &layout{key: t.kinds(), whole: -1}
	l.plain = len(l.key) == 1 && (l.key[0].form == formText || l.key[0].form == formNumber)
	list := []string{t.keyList()}
	if r.req.Documents {
		l.whole = len(t.key)
		list = append(list, "t.*")
	} else {
		for _, name := range neededColumns(t, r.req.Fields) {
			list = append(list, "t."+pg.Quote(name))
		}
	}
	var args [][]byte
	var conditions []string
	bound := func(operator string, key syncd.Key) error {
		parts, err := parseKey(key, len(t.key))
		if err != nil {
			return err
		}
		conditions = append(conditions, t.compared(operator, len(args)+1))
		args = append(args, pg.Texts(parts...)...)
		return nil
	}
	order := ""
	switch {
	case keyless:
		conditions = append(conditions, "NOT (("+t.keyList()+") IS NOT NULL)")
	default:
		var err error
		switch {
		case r.last != "":
			err = bound(">", r.last)
		case split.Lower != "":
			err = bound(">=", split.Lower)
		}
		if err == nil && split.Upper != "" {
			err = bound("<", split.Upper)
		}
		if err != nil {
			return "", nil, nil, err
		}
		if t.nullable {
			conditions = append(conditions, "("+t.keyList()+") IS NOT NULL")
		}
		order = " ORDER BY " + t.keyList()
	}
	conditions = append(conditions, condition(split.Collection.Filter))
	return "SELECT " + strings.Join(list, ", ") + " FROM " + t.from() + " t" + where(conditions...) + order, args, l, nil
}

// neededColumns are the columns, of those that there are, that fields are found in and the key lacks.
func neededColumns(t *table, fields []string) []string {
	var out []string
	for _, path := range fields {
		name := path
		if !slices.Contains(t.columns, name) {
			name, _, _ = strings.Cut(path, ".")
		}
		inKey := slices.ContainsFunc(t.key, func(k keyColumn) bool { return k.name == name })
		if name != idName && !inKey && slices.Contains(t.columns, name) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// complete says where fields are found, once the columns are known.
func (l *layout) complete(req syncd.ReadRequest) {
	for _, path := range req.Fields {
		f := field{path: path, column: -1}
		if path == idName {
			f.column = isID
			l.fields = append(l.fields, f)
			continue
		}
		for i := range l.columns {
			if l.columns[i].name == path {
				f.column = i
			}
		}
		if head, rest, more := strings.Cut(path, "."); f.column < 0 && more && head != idName {
			for i := range l.columns {
				if l.columns[i].name == head {
					f.column, f.rest = i, rest
				}
			}
		}
		l.fields = append(l.fields, f)
	}
}
