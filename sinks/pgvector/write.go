package pgvector

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/pg"
	"github.com/syncd-io/syncd/internal/points"
)

// Write implements syncd.Sink.
func (s *sink) Write(ctx context.Context, changes []syncd.Change) error {
	if _, err := s.known(ctx); err != nil {
		return err
	}
	err := s.writer.Write(ctx, changes)
	if size, is := errors.AsType[*points.SizeError](err); is {
		return syncd.Hint(fmt.Errorf("writing to the table %q: %w", s.conf.Table, err),
			"take a model of %d dimensions, or another table: sink.pgvector.table with create.enabled: true", size.Want)
	}
	return err
}

// errGone says that what is to stay has gone.
var errGone = errors.New("a row that it was to keep was deleted meanwhile; the next run writes it anew")

// statement is one of a transaction, whose parameters and answers are in binary form.
type statement struct {
	sql   string
	args  [][]byte
	types []uint32
}

// put writes documents in one transaction.
func (s *sink) put(ctx context.Context, docs []document, at []int, refused *syncd.BatchError) error {
	table, err := s.known(ctx)
	if err != nil {
		return err
	}
	var rows, kept []row
	var remove []uuid.UUID
	for i := range docs {
		rows, kept, remove = append(rows, docs[i].rows...), append(kept, docs[i].kept...), append(remove, docs[i].remove...)
	}
	var statements []statement
	if len(rows) > 0 {
		statements = append(statements, s.upsert(table, rows))
	}
	if len(remove) > 0 {
		statements = append(statements, statement{
			"DELETE FROM " + s.table.From() + " WHERE " + pg.Quote(s.conf.ID) + " = ANY ($1)",
			[][]byte{pg.UUIDs(len(remove), func(i int) uuid.UUID { return remove[i] })}, []uint32{pg.OIDUUIDs},
		})
	}
	if len(kept) > 0 {
		statements = append(statements, s.repay(kept))
	}
	if len(statements) == 0 {
		return nil
	}
	there := make(map[uuid.UUID]bool, len(kept))
	err = s.do(ctx, func(ctx context.Context, c *pgconn.PgConn) error {
		clear(there)
		var batch pgconn.Batch // statements up to its end are one transaction
		for _, st := range statements {
			formats := make([]int16, len(st.args))
			for i := range formats {
				formats[i] = 1
			}
			batch.ExecParams(st.sql, st.args, st.types, formats, []int16{1})
		}
		results := c.ExecBatch(ctx, &batch)
		for results.NextResult() {
			r := results.ResultReader()
			for r.NextRow() {
				if id, err := uuid.FromBytes(r.Values()[0]); err == nil {
					there[id] = true
				}
			}
			if _, err := r.Close(); err != nil {
				_ = results.Close()
				return err
			}
		}
		return results.Close()
	})
	if faulty, _ := judge(err); faulty && ctx.Err() == nil {
		return err
	}
	if err != nil {
		return s.explain(ctx, fmt.Sprintf("writing %d documents to %s", len(docs), s.at()), err)
	}
	for i := range docs {
		for _, r := range docs[i].kept {
			if !there[r.id] {
				refused.Fail(at[i], errGone)
			}
		}
	}
	return nil
}

// source is rows as an SQL expression x, with the columns id, v, payload and cols as far as they are asked for, and r, the columns of their
// own as the table's types have them.
func (s *sink) source(rows []row, table *found) (st statement, values []string) {
	names := []string{"id"}
	st.args, st.types = [][]byte{pg.UUIDs(len(rows), func(i int) uuid.UUID { return rows[i].id })}, []uint32{pg.OIDUUIDs}
	if table != nil {
		names = append(names, "v")
		st.types = append(st.types, table.vectors)
		st.args = append(st.args, pg.Array(table.vector, len(rows), func(dst []byte, i int) []byte {
			if rows[i].vector == nil {
				return nil
			}
			return appendVector(dst, rows[i].vector)
		}))
		values = append(values, "CAST (x.v AS "+pg.Quote(table.schema)+"."+pg.Quote(table.kind)+")")
	}
	texts := make([][]byte, len(rows))
	texted := func(name string, of func(*row) []byte) {
		for i := range rows {
			texts[i] = of(&rows[i])
		}
		names = append(names, name)
		st.args, st.types = append(st.args, pg.JSONBs(texts)), append(st.types, pg.OIDJSONBs)
	}
	if s.conf.Payload != "" {
		texted("payload", func(r *row) []byte { return r.payload })
		values = append(values, "x.payload")
	}
	if len(s.columns) > 0 {
		texted("cols", func(r *row) []byte { return r.columns })
		for _, column := range s.columns {
			values = append(values, "r."+pg.Quote(column))
		}
	}
	params := make([]string, len(names))
	for i := range params {
		params[i] = "$" + strconv.Itoa(i+1)
	}
	st.sql = "unnest(" + strings.Join(params, ", ") + ") AS x(" + strings.Join(names, ", ") + ")"
	if len(s.columns) > 0 {
		st.sql += " CROSS JOIN LATERAL jsonb_populate_record(NULL::" + s.table.From() + ", x.cols) AS r"
	}
	return st, values
}

// written are the columns that hold the payload.
func (s *sink) written() []string {
	if s.conf.Payload == "" {
		return s.columns
	}
	return append([]string{s.conf.Payload}, s.columns...)
}

// upsert writes rows with their vectors.
func (s *sink) upsert(table *found, rows []row) statement {
	st, values := s.source(rows, table)
	columns := append([]string{s.conf.Vector}, s.written()...)
	sets := make([]string, len(columns))
	for i, c := range columns {
		sets[i] = pg.Quote(c) + " = excluded." + pg.Quote(c)
	}
	st.sql = "INSERT INTO " + s.table.From() + " (" + pg.Quote(s.conf.ID) + ", " + quoted("", columns) + ") SELECT x.id, " + strings.Join(values, ", ") +
		" FROM " + st.sql + " ON CONFLICT (" + pg.Quote(s.conf.ID) + ") DO UPDATE SET " + strings.Join(sets, ", ")
	return st
}

// repay writes the payload of rows that are there, and returns the ids of those.
func (s *sink) repay(rows []row) statement {
	st, values := s.source(rows, nil)
	sets := make([]string, len(values))
	for i, c := range s.written() {
		sets[i] = pg.Quote(c) + " = " + values[i]
	}
	id := "p." + pg.Quote(s.conf.ID)
	st.sql = "UPDATE " + s.table.From() + " p SET " + strings.Join(sets, ", ") + " FROM " + st.sql + " WHERE " + id + " = x.id RETURNING " + id
	return st
}

// held is the ability Held.
func (s *sink) held(ctx context.Context, changes []syncd.Change) error {
	q := points.Ask(changes)
	hash := "NULL"
	if s.conf.Keys.Hash != "" {
		hash = s.table.Key(s.conf.Keys.Hash)
	}
	sql := "SELECT k.n, " + s.table.Key(s.conf.Keys.ChunkCount) + ", " + hash + " FROM unnest($1) WITH ORDINALITY AS k(id, n) JOIN " +
		s.table.From() + " p ON p." + pg.Quote(s.conf.ID) + " = k.id"
	type answer struct {
		at     int
		chunks int64
		hash   string
	}
	const most = 1000
	for from := 0; from < len(q.IDs); from += most {
		some := q.IDs[from:min(from+most, len(q.IDs))]
		var answers []answer
		err := s.do(ctx, func(ctx context.Context, c *pgconn.PgConn) error {
			answers = answers[:0]
			rr := c.ExecParams(ctx, sql, [][]byte{pg.UUIDs(len(some), func(i int) uuid.UUID { return some[i] })}, []uint32{pg.OIDUUIDs}, []int16{1}, nil)
			for rr.NextRow() {
				v := rr.Values()
				n, err := strconv.Atoi(string(v[0]))
				if err != nil || n < 1 || n > len(some) {
					continue // it is no answer to this question; rr.Close says why
				}
				chunks, _ := strconv.ParseFloat(string(v[1]), 64) // what is no number says nothing
				answers = append(answers, answer{n - 1, int64(chunks), string(v[2])})
			}
			_, err := rr.Close()
			return err
		})
		if err != nil {
			return s.explain(ctx, fmt.Sprintf("asking %s about %d points", s.at(), len(some)), err)
		}
		for _, a := range answers {
			q.Held(from+a.at, a.chunks, a.hash)
		}
	}
	return nil
}

// nearest is the ability Nearest. An index of vectors finds about the nearest, and of those the content types' may be few: then all rows are
// looked at.
func (s *sink) nearest(ctx context.Context, vector []float32, contentTypes []string, limit int) ([]syncd.Neighbour, error) {
	table, err := s.known(ctx)
	if err != nil {
		return nil, err
	}
	limit = max(limit, 1)
	keys := s.conf.Keys
	get := func(key string) string {
		if key == "" {
			return "NULL"
		}
		return s.table.Key(key)
	}
	distance := "p." + pg.Quote(s.conf.Vector) + " OPERATOR(" + pg.Quote(table.schema) + "." + distances[s.conf.Distance].operator + ") CAST ($1 AS " +
		pg.Quote(table.schema) + "." + pg.Quote(table.kind) + ")"
	args, types := [][]byte{appendVector(nil, vector)}, []uint32{table.vector}
	condition := "p." + pg.Quote(s.conf.Vector) + " IS NOT NULL"
	if len(contentTypes) > 0 {
		places := make([]string, len(contentTypes))
		for i, t := range contentTypes {
			args, types = append(args, []byte(t)), append(types, 0)
			places[i] = "$" + strconv.Itoa(len(args)) + "::text"
		}
		condition += " AND " + get(keys.ContentType) + " IN (" + strings.Join(places, ", ") + ")"
	}
	sql := "SELECT p." + pg.Quote(s.conf.ID) + "::text, " + distance + ", " + strings.Join([]string{
		get(keys.ID), get(keys.ContentType), get(keys.Title), get(keys.Text), get(keys.ChunkIndex), get(keys.ChunkCount),
	}, ", ") + " FROM " + s.table.From() + " p WHERE " + condition + " ORDER BY " + distance + " LIMIT " + strconv.Itoa(limit)
	formats := make([]int16, len(args))
	formats[0] = 1
	var out []syncd.Neighbour
	ask := func(setting string) error {
		return s.do(ctx, func(ctx context.Context, c *pgconn.PgConn) error {
			out = nil
			var batch pgconn.Batch // a transaction, at whose end the setting ends
			batch.ExecParams(setting, nil, nil, nil, nil)
			batch.ExecParams(sql, args, types, formats, nil)
			results := c.ExecBatch(ctx, &batch)
			for results.NextResult() {
				r := results.ResultReader()
				for r.NextRow() {
					v := r.Values()
					if len(v) < 8 {
						continue // of the setting
					}
					d, _ := strconv.ParseFloat(string(v[1]), 64)
					chunk, _ := strconv.Atoi(string(v[6]))
					chunks, _ := strconv.Atoi(string(v[7]))
					n := syncd.Neighbour{
						Score: s.conf.Distance.score(d), ID: string(v[2]), ContentType: string(v[3]), Title: string(v[4]), Text: string(v[5]), Chunk: chunk, Chunks: chunks,
					}
					n.PointID, _ = uuid.ParseBytes(v[0])
					out = append(out, n)
				}
				if _, err := r.Close(); err != nil {
					_ = results.Close()
					return err
				}
			}
			return results.Close()
		})
	}
	const most = 1000 // that hnsw.ef_search takes
	err = ask("SELECT set_config('hnsw.ef_search', '" + strconv.Itoa(min(max(limit, 40), most)) + "', true)")
	if err == nil && len(out) < limit {
		err = ask("SELECT set_config('enable_indexscan', 'off', true)")
	}
	if err != nil {
		return nil, s.explain(ctx, "searching "+s.at(), err)
	}
	return out, nil
}
