package postgres

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/pg"
)

// table is what a reader must know about a table or view.
type table struct {
	oid      uint32
	kind     byte   // pg_class.relkind
	schema   string // as it is, not quoted
	name     string
	rows     int64    // about
	pages    int64    // about
	columns  []string // in their order
	key      []keyColumn
	nullable bool   // a column of the key may be NULL
	covered  []bool // which columns, aligned with columns, the replica identity holds
}

type keyColumn struct {
	name string
	kind kind
	// base is the name of the type, or of the one that a domain is of, for casts.
	base string
}

// from is the table's name in SQL.
func (t *table) from() string { return pg.Quote(t.schema) + "." + pg.Quote(t.name) }

// isTable reports whether rows lie in pages of which some can be read: of a table, a partitioned one or a materialised view.
func (t *table) isTable() bool { return t.kind == 'r' || t.kind == 'p' || t.kind == 'm' }

// keyList is the key's columns, of the table as t.
func (t *table) keyList() string {
	names := make([]string, len(t.key))
	for i, k := range t.key {
		names[i] = "t." + pg.Quote(k.name)
	}
	return strings.Join(names, ", ")
}

func (t *table) kinds() []kind {
	out := make([]kind, len(t.key))
	for i, k := range t.key {
		out[i] = k.kind
	}
	return out
}

// compared is a condition of the key and parameters, the first of which is $n.
func (t *table) compared(operator string, n int) string {
	params := make([]string, len(t.key))
	for i := range t.key {
		params[i] = "$" + strconv.Itoa(n+i)
	}
	if len(t.key) == 1 {
		return t.keyList() + " " + operator + " " + params[0]
	}
	return "(" + t.keyList() + ") " + operator + " (" + strings.Join(params, ", ") + ")"
}

// lookSQL finds a table, in the schema of the configuration or, behind a dot, in the one that is named. Partitions count with the table
// that is made of them.
const lookSQL = `
SELECT c.oid, c.relkind, n.nspname, c.relname,
  (SELECT coalesce(sum(CASE WHEN p.reltuples >= 0 THEN p.reltuples ELSE pg_relation_size(p.oid) / 100 END), 0)::bigint FROM pg_class p
    WHERE p.oid = c.oid OR p.oid IN (SELECT relid FROM pg_partition_tree(c.oid))),
  (SELECT coalesce(sum(pg_relation_size(p.oid)), 0)::bigint / 8192 FROM pg_class p
    WHERE p.oid = c.oid AND c.relkind IN ('r','m') OR c.relkind = 'p' AND p.oid IN (SELECT relid FROM pg_partition_tree(c.oid) WHERE isleaf))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r','p','v','m','f') AND (n.nspname = $1 AND c.relname = $2 OR n.nspname = $3 AND c.relname = $4)
ORDER BY n.nspname = $1 AND c.relname = $2 DESC LIMIT 1`

// columnsSQL lists a table's columns, and each one's place in the primary key or, without one, in the index of the replica identity,
// and whether the replica identity holds it.
const columnsSQL = `
WITH k AS (
  SELECT i.indrelid, i.indkey, i.indnkeyatts FROM pg_index i
  WHERE i.indrelid = $1::oid AND i.indisvalid AND i.indislive AND (i.indisprimary OR i.indisreplident)
  ORDER BY i.indisprimary DESC LIMIT 1
), r AS (
  SELECT i.indkey FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
  WHERE i.indrelid = $1::oid AND (c.relreplident = 'd' AND i.indisprimary OR c.relreplident = 'i' AND i.indisreplident)
)
SELECT a.attname, a.atttypid, a.attnotnull,
  coalesce((SELECT min(p.n) FROM k, unnest(k.indkey::int2[]) WITH ORDINALITY p(num, n) WHERE p.num = a.attnum AND p.n <= k.indnkeyatts), 0),
  c.relreplident = 'f' OR EXISTS (SELECT 1 FROM r WHERE a.attnum = ANY (r.indkey::int2[]))
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`

// look asks for a table. It returns ErrCollectionNotFound where there is none.
func (s *source) look(ctx context.Context, name string) (*table, error) {
	t, err := retried(ctx, s, func() (t *table, err error) {
		err = s.pool.With(ctx, func(c *pgconn.PgConn) error {
			t, err = s.lookOn(ctx, c, name)
			return err
		})
		return t, err
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.tables[name] = t
	s.mu.Unlock()
	return t, nil
}

// known is look, or what it said last.
func (s *source) known(ctx context.Context, name string) (*table, error) {
	s.mu.Lock()
	t := s.tables[name]
	s.mu.Unlock()
	if t != nil {
		return t, nil
	}
	return s.look(ctx, name)
}

// forget has a table be looked at again: what is known of it was refused.
func (s *source) forget(name string) {
	s.mu.Lock()
	delete(s.tables, name)
	s.mu.Unlock()
}

func (s *source) lookOn(ctx context.Context, c *pgconn.PgConn, name string) (*table, error) {
	schema, bare, dotted := strings.Cut(name, ".")
	if !dotted {
		schema, bare = s.cfg.Schema, name
	}
	if strings.ContainsRune(name, 0) {
		return nil, fmt.Errorf("%w in database %s", syncd.ErrCollectionNotFound, s.connect.Database)
	}
	var t *table
	err := pg.Query(ctx, c, lookSQL, pg.Texts(s.cfg.Schema, name, schema, bare), func(v [][]byte) error {
		oid, err := strconv.ParseUint(string(v[0]), 10, 32)
		if err != nil {
			return err
		}
		t = &table{oid: uint32(oid), kind: v[1][0], schema: string(v[2]), name: string(v[3])}
		t.rows, _ = strconv.ParseInt(string(v[4]), 10, 64)
		t.pages, _ = strconv.ParseInt(string(v[5]), 10, 64)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, fmt.Errorf("%w in schema %s of database %s", syncd.ErrCollectionNotFound, schema, s.connect.Database)
	}
	type described struct {
		typ     uint32
		notNull bool
	}
	columns := map[string]described{}
	places := map[int]string{}
	err = pg.Query(ctx, c, columnsSQL, pg.Texts(strconv.FormatUint(uint64(t.oid), 10)), func(v [][]byte) error {
		typ, err := strconv.ParseUint(string(v[1]), 10, 32)
		if err != nil {
			return err
		}
		column := string(v[0])
		t.columns = append(t.columns, column)
		t.covered = append(t.covered, string(v[4]) == "t")
		columns[column] = described{uint32(typ), string(v[2]) == "t"}
		if place, _ := strconv.Atoi(string(v[3])); place > 0 {
			places[place] = column
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var key []string
	if chosen, ok := s.cfg.Keys[name]; ok {
		key = strings.Fields(chosen)
	} else {
		for i := 1; i <= len(places); i++ {
			key = append(key, places[i])
		}
	}
	if len(key) == 0 {
		return nil, syncd.Hint(fmt.Errorf("%s has no primary key, so nothing tells its rows apart", t.from()),
			"name the columns that do: source.postgres.keys: {%s: id}", name)
	}
	for _, column := range key {
		d, ok := columns[column]
		if !ok {
			return nil, syncd.Hint(fmt.Errorf("%s has no column %q", t.from(), column), "correct source.postgres.keys.%s", name)
		}
		k, base, err := s.kindOf(ctx, c, d.typ)
		if err != nil {
			return nil, err
		}
		t.key = append(t.key, keyColumn{name: column, kind: k, base: base})
		t.nullable = t.nullable || !d.notNull
	}
	return t, nil
}

// typeSQL describes a type, or the one that a domain is of.
const typeSQL = `
WITH RECURSIVE b(oid, typtype, base) AS (
  SELECT oid, typtype, typbasetype FROM pg_type WHERE oid = $1::oid
  UNION ALL SELECT t.oid, t.typtype, t.typbasetype FROM pg_type t JOIN b ON t.oid = b.base AND b.typtype = 'd'
)
SELECT t.oid, t.typcategory, t.typelem, t.typname, t.oid::regtype FROM b JOIN pg_type t ON t.oid = b.oid WHERE b.typtype <> 'd'`

// kindOf returns the kind of a type, and the name that it has in SQL.
func (s *source) kindOf(ctx context.Context, c *pgconn.PgConn, oid uint32) (k kind, name string, err error) {
	var category, typname string
	var base, element uint32
	err = pg.Query(ctx, c, typeSQL, pg.Texts(strconv.FormatUint(uint64(oid), 10)), func(v [][]byte) error {
		b, err := strconv.ParseUint(string(v[0]), 10, 32)
		if err != nil {
			return err
		}
		e, err := strconv.ParseUint(string(v[2]), 10, 32)
		base, element = uint32(b), uint32(e)
		category, typname, name = string(v[1]), string(v[3]), string(v[4])
		return err
	})
	if err != nil {
		return kind{}, "", err
	}
	switch base {
	case oidBPChar: // character is the type of one character, in a cast
		name = "pg_catalog.bpchar"
	case oidBit:
		name = `pg_catalog."bit"`
	}
	known, ok := builtin[base]
	switch {
	case ok:
		k = known
	case typname == "vector" || typname == "halfvec":
		k = kind{form: formJSON} // its text is that of an array in JSON
	case category == "A" && element != 0:
		of, _, err := s.kindOf(ctx, c, element)
		if err != nil {
			return kind{}, "", err
		}
		k = kind{form: formArray, of: of.form}
		if of.form == formArray { // of a domain that is an array: its elements are texts
			k.of = formText
		}
	}
	s.mu.Lock()
	s.kinds[oid] = k
	s.mu.Unlock()
	return k, name, nil
}

// kindsOf returns the kinds of types, asking for those that are not known on a connection of the pool.
func (s *source) kindsOf(ctx context.Context, oids []uint32) ([]kind, error) {
	out := make([]kind, len(oids))
	for i, oid := range oids {
		k, ok := builtin[oid]
		if !ok {
			s.mu.Lock()
			k, ok = s.kinds[oid]
			s.mu.Unlock()
		}
		if !ok {
			err := s.pool.With(ctx, func(c *pgconn.PgConn) (err error) {
				k, _, err = s.kindOf(ctx, c, oid)
				return err
			})
			if err != nil {
				return nil, err
			}
		}
		out[i] = k
	}
	return out, nil
}

// columnsOf makes columns of a result's description.
func (s *source) columnsOf(ctx context.Context, fields []pgconn.FieldDescription) ([]column, error) {
	oids := make([]uint32, len(fields))
	for i, f := range fields {
		oids[i] = f.DataTypeOID
	}
	kinds, err := s.kindsOf(ctx, oids)
	if err != nil {
		return nil, err
	}
	out := make([]column, len(fields))
	for i, f := range fields {
		if out[i], err = newColumn(f.Name, kinds[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Collections lists the tables and views of the configured schema, and those of others with their schema.
func (s *source) Collections(ctx context.Context) ([]string, error) {
	var names []string
	err := s.ask(ctx, `SELECT CASE WHEN n.nspname = $1 THEN c.relname ELSE n.nspname || '.' || c.relname END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r','p','v','m','f') AND NOT c.relispartition AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'`,
		pg.Texts(s.cfg.Schema), func() { names = nil }, func(v [][]byte) error {
			names = append(names, string(v[0]))
			return nil
		})
	if err != nil {
		return nil, fmt.Errorf("listing collections: %w", s.explain(ctx, err))
	}
	slices.Sort(names)
	return names, nil
}

// Count counts the rows that the filter selects.
func (s *source) Count(ctx context.Context, c syncd.Collection) (int64, error) {
	n, err := s.count(ctx, c)
	if err != nil {
		return 0, fmt.Errorf("counting collection %s: %w", c.Name, s.explain(ctx, err))
	}
	return n, nil
}

func (s *source) count(ctx context.Context, c syncd.Collection) (n int64, err error) {
	t, err := s.look(ctx, c.Name)
	if err != nil {
		return 0, err
	}
	sql := "SELECT count(*) FROM " + t.from() + " t" + where(condition(c.Filter))
	err = s.ask(ctx, sql, nil, func() {}, func(v [][]byte) (err error) {
		n, err = strconv.ParseInt(string(v[0]), 10, 64)
		return err
	})
	return n, notFound(err)
}

// where makes a clause of the conditions that are not empty.
func where(conditions ...string) string {
	out := ""
	for _, c := range conditions {
		switch {
		case c == "":
		case out == "":
			out = " WHERE " + c
		default:
			out += " AND " + c
		}
	}
	return out
}

// notFound tells a table that is gone by now.
func notFound(err error) error {
	if code := pg.CodeOf(err); code == pg.CodeUndefinedTable || code == pg.CodeUndefinedSchema {
		return fmt.Errorf("%w: %w", syncd.ErrCollectionNotFound, err)
	}
	return err
}

// Identity is the table's OID, which lasts as long as the table does, with the key's columns and types, of which keys are made. That of
// a view is made of its definition as well. The database's OID tells databases of one server apart.
func (s *source) Identity(ctx context.Context, c syncd.Collection) (string, error) {
	id, err := s.identity(ctx, c.Name)
	if err != nil {
		return "", fmt.Errorf("identifying collection %s: %w", c.Name, s.explain(ctx, err))
	}
	return id, nil
}

func (s *source) identity(ctx context.Context, name string) (string, error) {
	t, err := s.look(ctx, name)
	if err != nil {
		return "", err
	}
	var database, definition string
	err = s.ask(ctx, `SELECT d.oid, coalesce(CASE WHEN $2 = 'v' THEN pg_get_viewdef($1::oid) END, '') FROM pg_database d WHERE d.datname = current_database()`,
		pg.Texts(strconv.FormatUint(uint64(t.oid), 10), string(t.kind)), func() {}, func(v [][]byte) error {
			database, definition = string(v[0]), string(v[1])
			return nil
		})
	if err != nil {
		return "", err
	}
	parts := []string{fmt.Sprintf("%s/%d", database, t.oid)}
	for _, k := range t.key {
		parts = append(parts, pg.Quote(k.name), k.base)
	}
	if definition != "" {
		parts = append(parts, fmt.Sprintf("%.8x", sha256.Sum256([]byte(definition))))
	}
	return strings.Join(parts, " "), nil
}
