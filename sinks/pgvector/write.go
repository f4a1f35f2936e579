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

// errMoved says that what was asked about before a transaction is not so any more.
var errMoved = fmt.Errorf("somebody else has written rows of the same documents meanwhile, or deleted them: %w", syncd.ErrUnavailable)

// statement is one of a transaction, whose parameters and answers are in binary form.
type statement struct {
	sql   string
	args  [][]byte
	types []uint32
	each  func(values [][]byte) // of each row of the answer
}

// send sends statements at once, and reads their answers.
func send(ctx context.Context, c *pgconn.PgConn, statements ...statement) error {
	var batch pgconn.Batch
	for _, st := range statements {
		formats := make([]int16, len(st.args))
		for i := range formats {
			formats[i] = 1
		}
		batch.ExecParams(st.sql, st.args, st.types, formats, []int16{1})
	}
	results := c.ExecBatch(ctx, &batch)
	for i := 0; results.NextResult(); i++ {
		r := results.ResultReader()
		for r.NextRow() {
			statements[i].each(r.Values())
		}
		if _, err := r.Close(); err != nil {
			_ = results.Close()
			return err
		}
	}
	return results.Close()
}

// put writes documents in one transaction.
func (s *sink) put(ctx context.Context, docs []document) error {
	table, err := s.known(ctx)
	if err != nil {
		return err
	}
	err = s.do(ctx, func(ctx context.Context, c *pgconn.PgConn) error {
		err := s.transact(ctx, c, table, docs)
		if err != nil && c.TxStatus() != 'I' && !c.IsClosed() {
			_ = pg.Exec(ctx, c, "ROLLBACK") // else the connection is closed, which does the same
		}
		return err
	})
	if faulty, _ := judge(err); faulty && ctx.Err() == nil {
		return err
	}
	return s.explain(ctx, fmt.Sprintf("writing %d documents to %s", len(docs), s.at()), err)
}

// transact makes the transaction of put. Since others may write the same documents, be it the last transaction of a process that was killed,
// chunk 0 of each is first there and locked, and then says how many chunks there are to be replaced.
func (s *sink) transact(ctx context.Context, c *pgconn.PgConn, table *found, docs []document) error {
	first := make(map[uuid.UUID]int, len(docs)) // the document by its chunk 0
	held := make([]int, len(docs))
	var begun, rows, kept []row
	for i := range docs {
		d := &docs[i]
		first[d.first] = i
		for _, r := range d.rows {
			if r.id == d.first {
				begun = append(begun, r)
			} else {
				rows = append(rows, r)
			}
		}
		kept = append(kept, d.kept...)
	}
	made := make(map[uuid.UUID]bool, len(begun))
	statements := []statement{{sql: "BEGIN"}}
	if len(begun) > 0 {
		st := s.insert(table, begun, "NOTHING")
		st.sql += " RETURNING " + pg.Quote(s.conf.ID)
		st.each = func(v [][]byte) { made[uuid.UUID(v[0])] = true }
		statements = append(statements, st)
	}
	statements = append(statements, statement{
		sql:  "SELECT p." + pg.Quote(s.conf.ID) + ", " + s.table.Key(s.conf.Keys.ChunkCount) + " FROM " + s.table.From() + " p WHERE p." + pg.Quote(s.conf.ID) + " = ANY ($1) FOR UPDATE",
		args: [][]byte{pg.UUIDs(len(docs), func(i int) uuid.UUID { return docs[i].first })}, types: []uint32{pg.OIDUUIDs},
		each: func(v [][]byte) {
			if i, asked := first[uuid.UUID(v[0])]; asked {
				held[i] = chunks(v[1])
			}
		},
	})
	if err := send(ctx, c, statements...); err != nil {
		return err
	}
	for _, r := range begun {
		if !made[r.id] {
			rows = append(rows, r)
		}
	}
	var remove []uuid.UUID
	for i := range docs {
		ids, err := docs[i].removed(held[i])
		if err != nil {
			return err
		}
		remove = append(remove, ids...)
	}
	statements = statements[:0]
	if len(rows) > 0 {
		columns := append([]string{s.conf.Vector}, s.written()...)
		sets := make([]string, len(columns))
		for i, c := range columns {
			sets[i] = pg.Quote(c) + " = excluded." + pg.Quote(c)
		}
		statements = append(statements, s.insert(table, rows, "UPDATE SET "+strings.Join(sets, ", ")))
	}
	if len(remove) > 0 {
		statements = append(statements, statement{
			sql:  "DELETE FROM " + s.table.From() + " WHERE " + pg.Quote(s.conf.ID) + " = ANY ($1)",
			args: [][]byte{pg.UUIDs(len(remove), func(i int) uuid.UUID { return remove[i] })}, types: []uint32{pg.OIDUUIDs},
		})
	}
	if len(kept) > 0 {
		there := 0
		st := s.repay(kept)
		st.each = func([][]byte) { there++ }
		if err := send(ctx, c, append(statements, st)...); err != nil {
			return err
		}
		if there != len(kept) {
			return errMoved
		}
		statements = statements[:0]
	}
	return send(ctx, c, append(statements, statement{sql: "COMMIT"})...)
}

// chunks reads the number of chunks that a row names; a row without one is one.
func chunks(text []byte) int {
	n, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return 1
	}
	return int(min(max(n, 1), points.MostHeld))
}

// source is rows as an SQL expression x, with the columns id, v or without a table hash, payload and cols as far as there are such, and r,
// the columns of their own as the table's types have them; and what values of these are written.
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
	} else {
		names = append(names, "hash")
		st.types = append(st.types, pg.OIDTexts)
		st.args = append(st.args, pg.Array(pg.OIDText, len(rows), func(dst []byte, i int) []byte { return append(dst, rows[i].hash...) }))
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

// insert writes rows with their vectors; conflict is what becomes of one that is there.
func (s *sink) insert(table *found, rows []row, conflict string) statement {
	st, values := s.source(rows, table)
	st.sql = "INSERT INTO " + s.table.From() + " (" + pg.Quote(s.conf.ID) + ", " + quoted("", append([]string{s.conf.Vector}, s.written()...)) +
		") SELECT x.id, " + strings.Join(values, ", ") + " FROM " + st.sql + " ON CONFLICT (" + pg.Quote(s.conf.ID) + ") DO " + conflict
	return st
}

// repay writes the payload of rows that are there with the vectors that they are to keep, and returns the ids of those.
func (s *sink) repay(rows []row) statement {
	st, values := s.source(rows, nil)
	sets := make([]string, len(values))
	for i, c := range s.written() {
		sets[i] = pg.Quote(c) + " = " + values[i]
	}
	id := "p." + pg.Quote(s.conf.ID)
	st.sql = "UPDATE " + s.table.From() + " p SET " + strings.Join(sets, ", ") + " FROM " + st.sql + " WHERE " + id + " = x.id AND " + s.table.Key(s.conf.Keys.Hash) + " = x.hash RETURNING " + id
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
				answers = append(answers, answer{n - 1, int64(chunks(v[1])), string(v[2])})
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

// nearest is the ability Nearest. An index of vectors finds about the nearest, and of those the content types' may be few; so all rows are
// looked at where they are not too many, or too few were found.
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
	const exactly = "SELECT set_config('enable_indexscan', 'off', true)"
	const few = 100_000 // rows that are looked at soon enough
	if table.rows < few {
		err = ask(exactly)
	} else {
		const least, most = 400, 1000 // candidates of hnsw: it matters more that the nearest is among them than how long it takes
		err = ask("SELECT set_config('hnsw.ef_search', '" + strconv.Itoa(min(max(limit, least), most)) + "', true)")
		if err == nil && len(out) < limit {
			err = ask(exactly)
		}
	}
	if err != nil {
		return nil, s.explain(ctx, "searching "+s.at(), err)
	}
	return out, nil
}
