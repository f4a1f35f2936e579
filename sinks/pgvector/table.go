package pgvector

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/pg"
)

// found is what is known of a table.
type found struct {
	size    int     // of its vectors; 0 is any
	schema  string  // that pgvector is in
	kind    string  // the type of the column
	vector  uint32  // the object id of the type vector
	vectors uint32  // and of its array
	rows    float64 // about; less than 0 is not known
}

// prepare is the ability Prepare: it makes the table where it is to be made, and finds out how large its vectors are.
func (s *sink) prepare(ctx context.Context, run syncd.Run) error {
	f, err := s.look(ctx)
	if errors.Is(err, errTable) && s.conf.Create.Enabled {
		if run.Vectors == nil {
			return fmt.Errorf("creating the table %s: no stage says how many dimensions its vectors have", s.conf.Table)
		}
		var size int
		if size, err = run.Vectors.Dimensions(ctx); err != nil {
			return err
		}
		if err = s.create(ctx, size); err != nil {
			return err
		}
		s.log.Info("created the table", "table", s.conf.Table, "dimensions", size, "distance", string(s.conf.Distance), "index", string(s.conf.Create.Index))
		f, err = s.look(ctx)
	}
	if err != nil {
		return err
	}
	s.found.Store(f)
	return nil
}

// look finds out what there is to know of the table, and what is wrong with it.
func (s *sink) look(ctx context.Context) (*found, error) {
	var f *found
	var exists, allowed, unique, textual bool
	err := s.do(ctx, func(ctx context.Context, c *pgconn.PgConn) error {
		f, exists = nil, false
		number := func(b []byte) uint32 {
			n, _ := strconv.ParseUint(string(b), 10, 32) // NULL is 0
			return uint32(n)
		}
		err := pg.Query(ctx, c, `SELECT a.atttypmod, t.typname, n.nspname, v.oid, v.typarray,
has_table_privilege(r.oid, 'SELECT') AND has_table_privilege(r.oid, 'INSERT') AND has_table_privilege(r.oid, 'UPDATE') AND has_table_privilege(r.oid, 'DELETE'),
EXISTS (SELECT 1 FROM pg_index i JOIN pg_attribute k ON k.attrelid = i.indrelid AND k.attnum = i.indkey[0]
  WHERE i.indrelid = r.oid AND i.indisunique AND i.indnkeyatts = 1 AND i.indpred IS NULL AND i.indisvalid AND k.attname = $3),
a.attname IS NOT NULL, (SELECT reltuples FROM pg_class WHERE oid = r.oid)
FROM (SELECT to_regclass($1) AS oid) r LEFT JOIN pg_attribute a ON a.attrelid = r.oid AND a.attname = $2 AND NOT a.attisdropped
LEFT JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_type v ON v.typname = 'vector' AND v.typnamespace = t.typnamespace
WHERE r.oid IS NOT NULL`, pg.Texts(s.table.From(), s.conf.Vector, s.conf.ID), func(v [][]byte) error {
			size, _ := strconv.Atoi(string(v[0])) // of a column without a limit it is -1
			f = &found{size: max(size, 0), kind: string(v[1]), schema: string(v[2]), vector: number(v[3]), vectors: number(v[4])}
			f.rows, _ = strconv.ParseFloat(string(v[8]), 64) // a number it is
			exists, allowed, unique, textual = string(v[7]) == "t", string(v[5]) == "t", string(v[6]) == "t", f.kind != "vector" && f.kind != "halfvec"
			return nil
		})
		if err != nil || f == nil {
			return err
		}
		names := append([]string{s.conf.ID}, s.columns...)
		if s.conf.Payload != "" {
			names = append(names, s.conf.Payload)
		}
		return pg.Query(ctx, c, "SELECT "+quoted("p.", names)+" FROM "+s.table.From()+" p LIMIT 0", nil, func([][]byte) error { return nil })
	})
	switch {
	case err != nil:
		return nil, s.explain(ctx, "looking at "+s.at(), err)
	case f == nil:
		return nil, syncd.Hint(fmt.Errorf("looking at %s: %w", s.at(), errTable), "make it, correct sink.pgvector.table, or set sink.pgvector.create.enabled: true")
	case !exists:
		return nil, syncd.Hint(fmt.Errorf("the table %s has no column %q", s.conf.Table, s.conf.Vector), "set sink.pgvector.vector to the column of its vectors")
	case textual:
		return nil, syncd.Hint(fmt.Errorf("the column %q of the table %s is of type %s, not vector or halfvec", s.conf.Vector, s.conf.Table, f.kind),
			"set sink.pgvector.vector to the column of its vectors")
	case !allowed:
		return nil, syncd.Hint(fmt.Errorf("user %q may not read and write the table %s", s.connect.User, s.conf.Table), "GRANT SELECT, INSERT, UPDATE, DELETE ON %s", s.table.From())
	case !unique:
		return nil, syncd.Hint(fmt.Errorf("the column %q of the table %s is not unique", s.conf.ID, s.conf.Table), "make it the primary key")
	}
	return f, nil
}

// quoted is a list of names in SQL.
func quoted(prefix string, names []string) string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = prefix + pg.Quote(name)
	}
	return strings.Join(out, ", ")
}

// codeInternal is what pgvector's own errors have that name none.
const codeInternal = "XX000"

// create makes the extension, the table and its indexes, all or nothing.
func (s *sink) create(ctx context.Context, size int) error {
	doing := "creating the table " + s.conf.Table + " at " + pg.Address(s.connect)
	err := s.do(ctx, func(ctx context.Context, c *pgconn.PgConn) error {
		schema := ""
		where := func() error {
			return pg.Query(ctx, c, "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'", nil, func(v [][]byte) error {
				schema = string(v[0])
				return nil
			})
		}
		err := where()
		if err == nil && schema == "" {
			// The lock holds up those who would make it at the same time, who would fail.
			if err = pg.Exec(ctx, c, lock("syncd: extension vector")+"CREATE EXTENSION IF NOT EXISTS vector"); err == nil {
				err = where()
			}
		}
		if err != nil {
			return err
		}
		return pg.Exec(ctx, c, s.definition(schema, size))
	})
	hint := ""
	switch code := pg.CodeOf(err); {
	case strings.HasPrefix(code, "54"), code == codeInternal: // of pgvector 0.8, and of older ones
		hint = "take sink.pgvector.create.type: halfvec, or index: none"
	case code == "0A000", code == "58P01":
		hint = "install pgvector on the server"
	case code == pg.CodeUndefinedObject:
		hint = "this needs a newer pgvector: halfvec and the distance manhattan came with 0.7"
	case code == pg.CodePrivilege:
		hint = "have somebody make the extension who may: CREATE EXTENSION vector; and GRANT CREATE ON SCHEMA … TO " + pg.Quote(s.connect.User)
	}
	if err = s.explain(ctx, doing, err); hint != "" && ctx.Err() == nil {
		return syncd.Hint(err, "%s", hint)
	}
	return err
}

// lock has one transaction after another make what is named.
func lock(what string) string {
	return "SELECT pg_advisory_xact_lock(hashtextextended(" + pg.Literal(what) + ", 0)); "
}

// definition makes the table and its indexes, in one transaction.
func (s *sink) definition(schema string, size int) string {
	c := s.conf.Create
	typ := pg.Quote(schema) + "." + pg.Quote(string(c.Type))
	columns := []string{pg.Quote(s.conf.ID) + " uuid PRIMARY KEY", fmt.Sprintf("%s %s(%d)", pg.Quote(s.conf.Vector), typ, size)}
	if s.conf.Payload != "" {
		columns = append(columns, pg.Quote(s.conf.Payload)+" jsonb NOT NULL")
	}
	types := map[string]string{}
	for _, key := range s.layout.Keys() {
		types[s.column[key]] = "text"
	}
	for _, field := range s.conf.Fields {
		types[s.column[field]] = "jsonb"
	}
	types[s.column[s.conf.Keys.ChunkIndex]], types[s.column[s.conf.Keys.ChunkCount]] = "integer", "integer"
	for _, column := range s.columns {
		columns = append(columns, pg.Quote(column)+" "+types[column])
	}
	sql := lock("syncd: "+s.table.From()) + "CREATE TABLE IF NOT EXISTS " + s.table.From() + " (" + strings.Join(columns, ", ") + ")"
	_, table, dotted := strings.Cut(s.conf.Table, ".")
	if !dotted {
		table = s.conf.Table
	}
	const most = 40 // bytes of a name, of which PostgreSQL takes 63
	index := func(name, on string) {
		sql += "; CREATE INDEX IF NOT EXISTS " + pg.Quote(strings.ToValidUTF8(table[:min(len(table), most)], "")+"_"+name) + " ON " + s.table.From() + " " + on
	}
	keyed := func(name, key string) {
		if column := s.column[key]; column != "" {
			index(name, "("+pg.Quote(column)+")")
		} else {
			index(name, "(("+pg.Quote(s.conf.Payload)+" ->> "+pg.Literal(key)+"))")
		}
	}
	keyed("content_type", s.conf.Keys.ContentType)
	keyed("id_text", s.conf.Keys.ID)
	class := pg.Quote(schema) + "." + pg.Quote(string(c.Type)+"_"+distances[s.conf.Distance].class+"_ops")
	switch c.Index {
	case "hnsw":
		index("vector", fmt.Sprintf("USING hnsw (%s %s) WITH (m = %d, ef_construction = %d)", pg.Quote(s.conf.Vector), class, c.M, c.EFConstruction))
	case "ivfflat":
		index("vector", fmt.Sprintf("USING ivfflat (%s %s) WITH (lists = %d)", pg.Quote(s.conf.Vector), class, c.Lists))
	}
	return sql
}

func (s *sink) probe(ctx context.Context, _ []syncd.ProbeTarget) []syncd.Finding {
	f := syncd.Finding{Subject: "table " + s.conf.Table, Status: syncd.StatusOK}
	table, err := s.look(ctx)
	switch {
	case err == nil && table.size == 0:
		f.Detail = "its vectors may have any number of dimensions"
	case err == nil:
		f.Detail, f.Dimensions = fmt.Sprintf("its vectors have %d numbers", table.size), table.size
	case errors.Is(err, errTable) && s.conf.Create.Enabled:
		f.Detail = "it does not exist, and a run makes it"
	default:
		f.Status, f.Detail, f.Hint = syncd.StatusFailed, err.Error(), syncd.HintOf(err)
		if ctx.Err() != nil {
			f.Detail = "no answer in time"
		}
	}
	return []syncd.Finding{f}
}
