package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/integration/postgres"
	sink "github.com/syncd-io/syncd/sinks/pgvector"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestPGVectorSinkPlugin(t *testing.T) { syncdtest.TestPlugin(t, sink.Plugin()) }

// openPGVectorSink opens a sink that makes its table.
func openPGVectorSink(t *testing.T, dsn, table string, set func(*sink.Config)) syncd.Sink {
	t.Helper()
	plugin := sink.Plugin()
	cfg := plugin.Config().(*sink.Config)
	cfg.DSN, cfg.Table, cfg.BatchSize, cfg.MaxElapsed, cfg.Create.Enabled = spec.Secret(dsn), table, 4, 2*time.Second, true
	if set != nil {
		set(cfg)
	}
	s, err := plugin.OpenSink(t.Context(), cfg, syncd.Env{})
	if err != nil {
		t.Fatalf("%v (%s)", err, syncd.HintOf(err))
	}
	return s
}

// TestPGVectorIndexSuite holds the sink to the conformance suite: the payload in one column, or in columns of their own, and vectors of half
// the size, in another schema.
func TestPGVectorIndexSuite(t *testing.T) {
	for name, test := range map[string]struct {
		set     func(*sink.Config)
		payload string // of a row p, as one object
	}{
		"payload": {func(*sink.Config) {}, "p.payload"},
		"columns": {func(c *sink.Config) {
			c.Payload, c.Columns = "", map[string]string{"content": "Text of it", "a.b": "b"}
			c.Create.Type, c.Create.Index = "halfvec", "ivfflat"
		}, `to_jsonb(p) - 'id' - 'embedding' || jsonb_build_object('content', p."Text of it", 'a', jsonb_build_object('b', p.b))`},
		"both": {func(c *sink.Config) {
			c.ID, c.Vector, c.Payload, c.Create.Index = "Point", "v", "rest", "none"
			c.Columns = map[string]string{"content_type": "kind", "chunk_index": "n", "status": "status", "mongo_id": "doc"}
		}, `p.rest || jsonb_build_object('content_type', p.kind, 'chunk_index', p.n, 'status', p.status, 'mongo_id', p.doc)`},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDatabase(t, postgresServer(t, postgres.PGVector))
			d.exec(`CREATE SCHEMA ext`)
			d.exec(`CREATE SCHEMA "s o"`)
			d.exec(`CREATE EXTENSION vector SCHEMA ext`) // no session looks there
			tables, table := 0, ""
			var conf sink.Config
			halves := d.one(`SELECT count(*)::text FROM pg_type WHERE typname = 'halfvec'`) != "0" // pgvector 0.7 and newer
			syncdtest.TestIndex(t, syncdtest.IndexHarness{
				Transactional: true,
				Open: func(t *testing.T) syncd.Sink {
					d.t = t
					tables++
					table = fmt.Sprintf("s o.chunks %d", tables)
					return openPGVectorSink(t, d.dsn, table, func(c *sink.Config) {
						c.Fields = syncdtest.IndexFields()
						test.set(c)
						if !halves {
							c.Create.Type = "vector"
						}
						conf = *c
					})
				},
				Points: func(t *testing.T, id string) (out []syncdtest.IndexPoint) {
					ctx := context.Background()
					c, err := pgx.Connect(ctx, d.dsn)
					if err != nil {
						t.Error(err)
						return nil
					}
					defer c.Close(ctx)
					rows, err := c.Query(ctx, fmt.Sprintf(`SELECT q.id, q.j::text, q.v FROM (SELECT p.%s::text AS id, %s AS j, p.%s IS NOT NULL AS v FROM %s p) q WHERE q.j ->> 'mongo_id' = $1`,
						ident(conf.ID), test.payload, ident(conf.Vector), pgx.Identifier{"s o", table[len("s o."):]}.Sanitize()), id)
					if err != nil {
						t.Error(err)
						return nil
					}
					for rows.Next() {
						var p syncdtest.IndexPoint
						var point, payload string
						if err := rows.Scan(&point, &payload, &p.Vector); err != nil {
							t.Error(err)
						}
						p.ID = uuid.MustParse(point)
						if err := json.Unmarshal([]byte(payload), &p.Payload); err != nil {
							t.Error(err)
						}
						out = append(out, p)
					}
					if err := rows.Err(); err != nil {
						t.Error(err)
					}
					return out
				},
			})
		})
	}
}
