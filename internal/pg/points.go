package pg

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncd-io/syncd/spec"
)

// Points is a table whose rows are points, as checkers and sinks are told of it.
type Points struct {
	Table   string // with its schema, unless the session finds it without
	ID      string // the column of the ids
	Payload string // the column of the payload, of type jsonb; "" where all of it is in columns of their own
	Columns map[string]string
}

// From is the table in SQL.
func (t *Points) From() string {
	if schema, table, dotted := strings.Cut(t.Table, "."); dotted {
		return Quote(schema) + "." + Quote(table)
	}
	return Quote(t.Table)
}

// Column is the column of its own that a payload key has, or "".
func (t *Points) Column(key string) string {
	if column, ok := t.Columns[key]; ok || t.Payload != "" {
		return column
	}
	name, _, _ := strings.Cut(key, ".")
	return cmp.Or(t.Columns[name], name)
}

// Key is the text of a payload key as an SQL expression of the row p. A path leads through jsonb.
func (t *Points) Key(path string) string {
	switch column, inside := t.Column(path), strings.Contains(path, "."); {
	case column != "" && (t.Columns[path] != "" || !inside):
		return "to_jsonb(p." + Quote(column) + ") #>> '{}'"
	case column != "":
		_, rest, _ := strings.Cut(path, ".")
		return "to_jsonb(p." + Quote(column) + ") #>> " + steps(rest)
	case inside:
		return "p." + Quote(t.Payload) + " #>> " + steps(path)
	}
	return "p." + Quote(t.Payload) + " ->> " + Literal(path) // as an index of expressions has it
}

// steps is a dotted path as an array of texts.
func steps(path string) string {
	names := strings.Split(path, ".")
	for i, name := range names {
		names[i] = Literal(name)
	}
	return "ARRAY[" + strings.Join(names, ", ") + "]::text[]"
}

// Literal is a text in SQL.
func Literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// Check reports columns without a name, and a connection string that can't be read.
func (t *Points) Check(d *spec.Decoder, n *spec.Node, dsn spec.Secret) {
	d.In("dsn", func() {
		if dsn == "" {
			return
		}
		if _, err := pgconn.ParseConfig(dsn.Reveal()); err != nil {
			d.Errorf(n.Get("dsn"), spec.CodeBadValue, "the form is postgres://user:password@host:5432/database", "%s is not a connection string of PostgreSQL: %v", d.Path(), WithoutText(err))
		}
	})
	d.In("columns", func() {
		for _, key := range slices.Sorted(maps.Keys(t.Columns)) {
			if strings.TrimSpace(t.Columns[key]) == "" {
				d.Errorf(n.Get("columns").Get(key), spec.CodeBadValue, "", "%s.%s must name a column", d.Path(), key)
			}
		}
	})
}

// Location is the server of a connection string, or "".
func Location(dsn spec.Secret) string {
	parsed, err := pgconn.ParseConfig(dsn.Reveal())
	if err != nil {
		return ""
	}
	return Address(parsed)
}

// IndexName is the table with its database and its server.
func (t *Points) IndexName(dsn spec.Secret) string {
	parsed, err := pgconn.ParseConfig(dsn.Reveal())
	if err != nil {
		return ""
	}
	return fmt.Sprintf("table %q of the database %q at %s", t.Table, parsed.Database, Address(parsed))
}

// Parse reads a connection string, for sessions whose texts are those of SessionParameters. setting is where it stands.
func Parse(dsn spec.Secret, connectTimeout time.Duration, setting string) (*pgconn.Config, error) {
	parsed, err := pgconn.ParseConfig(dsn.Reveal())
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", setting, WithoutText(err))
	}
	parsed.ConnectTimeout = connectTimeout
	if parsed.RuntimeParams["application_name"] == "" {
		parsed.RuntimeParams["application_name"] = "syncd"
	}
	maps.Copy(parsed.RuntimeParams, SessionParameters)
	return parsed, nil
}

// The types of PostgreSQL whose binary form is written here.
const (
	OIDText   = 25
	OIDTexts  = 1009
	OIDUUID   = 2950
	OIDUUIDs  = 2951
	OIDJSONB  = 3802
	OIDJSONBs = 3807
)

// Array is an array of a type in PostgreSQL's binary form (array_recv). each appends an element's own form, or returns nil for NULL.
func Array(oid uint32, n int, each func(dst []byte, i int) []byte) []byte {
	if n == 0 {
		return binary.BigEndian.AppendUint32(make([]byte, 8, 12), oid)
	}
	b := binary.BigEndian.AppendUint32(nil, 1) // dimension
	b = binary.BigEndian.AppendUint32(b, 1)    // there may be NULLs
	b = binary.BigEndian.AppendUint32(b, oid)
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	b = binary.BigEndian.AppendUint32(b, 1) // the lower bound
	for i := range n {
		at := len(b)
		b = append(b, 0xff, 0xff, 0xff, 0xff)
		if whole := each(b, i); whole != nil {
			b = whole
			binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
		}
	}
	return b
}

// UUIDs is an array of ids in PostgreSQL's binary form.
func UUIDs(n int, id func(i int) uuid.UUID) []byte {
	return Array(OIDUUID, n, func(dst []byte, i int) []byte {
		u := id(i)
		return append(dst, u[:]...)
	})
}

// JSONBs is an array of JSON texts in PostgreSQL's binary form.
func JSONBs(texts [][]byte) []byte {
	return Array(OIDJSONB, len(texts), func(dst []byte, i int) []byte {
		return append(append(dst, 1), texts[i]...) // the version of the form
	})
}
