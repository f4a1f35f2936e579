package integration

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncd-io/syncd"
	source "github.com/syncd-io/syncd/connectors/postgres"
	"github.com/syncd-io/syncd/integration/postgres"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
)

// postgresServers are those that tests share; the first of them starts each.
var postgresServers = map[postgres.Kind]func() (*postgres.Server, error){
	postgres.Debian:   sync.OnceValues(func() (*postgres.Server, error) { return postgres.Start(context.Background(), postgres.Debian) }),
	postgres.PGVector: sync.OnceValues(func() (*postgres.Server, error) { return postgres.Start(context.Background(), postgres.PGVector) }),
}

// startedPostgres are to be closed at the end.
var startedPostgres struct {
	sync.Mutex
	all map[*postgres.Server]bool
}

func postgresServer(t *testing.T, kind postgres.Kind) *postgres.Server {
	t.Helper()
	s, err := postgresServers[kind]()
	if err != nil {
		t.Fatal(err)
	}
	startedPostgres.Lock()
	if startedPostgres.all == nil {
		startedPostgres.all = map[*postgres.Server]bool{}
	}
	startedPostgres.all[s] = true
	startedPostgres.Unlock()
	logOnFailure(t, string(kind), s.Log)
	return s
}

func ownPostgres(t *testing.T, kind postgres.Kind, settings ...string) *postgres.Server {
	t.Helper()
	s, err := postgres.Start(t.Context(), kind, settings...)
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, s.Close)
	logOnFailure(t, string(kind), s.Log)
	return s
}

// database is a database of its own for one test.
type database struct {
	t    *testing.T
	name string
	dsn  string
}

var databases struct {
	sync.Mutex
	n int
}

func newDatabase(t *testing.T, s *postgres.Server) *database {
	t.Helper()
	databases.Lock()
	databases.n++
	d := &database{t: t, name: fmt.Sprintf("test_%d", databases.n)}
	databases.Unlock()
	admin := &database{t: t, dsn: s.DSN("postgres")}
	admin.exec("CREATE DATABASE " + d.name)
	d.dsn = s.DSN(d.name)
	return d
}

// in connects for one moment: the suite looks for goroutines that a source leaves.
func (d *database) in(f func(ctx context.Context, c *pgx.Conn) error) {
	d.t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, d.dsn)
	if err != nil {
		d.t.Fatal(err)
	}
	err = f(ctx, c)
	_ = c.Close(ctx)
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *database) exec(sql string, args ...any) {
	d.t.Helper()
	d.in(func(ctx context.Context, c *pgx.Conn) error {
		if _, err := c.Exec(ctx, sql, args...); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
		return nil
	})
}

// one asks for one text.
func (d *database) one(sql string, args ...any) (text string) {
	d.t.Helper()
	d.in(func(ctx context.Context, c *pgx.Conn) error { return c.QueryRow(ctx, sql, args...).Scan(&text) })
	return text
}

func ident(name string) string { return pgx.Identifier{name}.Sanitize() }

// fillTable makes a table that holds docs: a column for each field at the top, jsonb where it has fields inside.
func (d *database) fillTable(name string, docs []syncdtest.Doc) {
	d.t.Helper()
	columns := map[string]string{}
	for _, doc := range docs {
		for field, v := range doc.Map() {
			columns[field] = "text"
			if _, inside := v.(map[string]any); inside {
				columns[field] = "jsonb"
			}
		}
	}
	columns["_id"] = "text PRIMARY KEY"
	order := slices.Sorted(maps.Keys(columns))
	var defs, list []string
	for _, c := range order {
		defs, list = append(defs, ident(c)+" "+columns[c]), append(list, ident(c))
	}
	d.in(func(ctx context.Context, c *pgx.Conn) error {
		if _, err := c.Exec(ctx, "CREATE TABLE "+ident(name)+" ("+strings.Join(defs, ", ")+")"); err != nil {
			return err
		}
		_, err := c.CopyFrom(ctx, pgx.Identifier{name}, order, pgx.CopyFromSlice(len(docs), func(i int) ([]any, error) {
			var values []any
			m := docs[i].Map()
			for _, c := range order {
				values = append(values, m[c])
			}
			return values, nil
		}))
		if err == nil {
			_, err = c.Exec(ctx, "ANALYZE "+ident(name))
		}
		_ = list
		return err
	})
}

func openPostgres(t *testing.T, dsn string, set func(*source.Config)) syncd.Source {
	t.Helper()
	plugin := source.Plugin()
	cfg := plugin.Config().(*source.Config)
	cfg.DSN = spec.Secret(dsn)
	if set != nil {
		set(cfg)
	}
	s, err := plugin.OpenSource(t.Context(), cfg, syncd.Env{})
	if err != nil {
		t.Fatalf("%v (%s)", err, syncd.HintOf(err))
	}
	return s
}

// TestPostgresSourceSuite holds the source to the conformance suite, a table read as one and in parts.
func TestPostgresSourceSuite(t *testing.T) {
	for name, set := range map[string]func(*source.Config){
		"one split":   nil,
		"five splits": func(c *source.Config) { c.Splits = 5 },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDatabase(t, postgresServer(t, postgres.Debian))
			filled := map[string]string{}
			syncdtest.TestSource(t, syncdtest.SourceHarness{
				Open: func(t *testing.T, collection string, docs []syncdtest.Doc) syncd.Source {
					d.t = t
					if fill := fmt.Sprint(docs); filled[collection] != fill {
						d.exec("DROP TABLE IF EXISTS " + ident(collection))
						d.fillTable(collection, docs)
						filled[collection] = fill
					}
					return openPostgres(t, d.dsn, set)
				},
				Delete: func(t *testing.T, collection, id string) {
					d.t = t
					delete(filled, collection)
					d.exec("DELETE FROM "+ident(collection)+` WHERE "_id" = $1`, id)
				},
				Drop: func(t *testing.T, collection string) {
					d.t = t
					delete(filled, collection)
					d.exec("DROP TABLE " + ident(collection))
				},
				Filter: func(field, text string) string { return ident(field) + " = '" + text + "'" },
			})
		})
	}
}

func TestPostgresPlugin(t *testing.T) { syncdtest.TestPlugin(t, source.Plugin()) }

var _ = time.Second
