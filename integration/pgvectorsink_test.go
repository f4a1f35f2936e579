package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
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

// prepared tells a sink of vectors of four numbers.
func prepared(t *testing.T, s syncd.Sink) error {
	t.Helper()
	vectors := &syncd.Vectors{Dimensions: func(context.Context) (int, error) { return 4, nil }}
	return s.Abilities().Prepare(t.Context(), syncd.Run{Vectors: vectors})
}

// point is a document of one chunk.
func point(id, title string) syncd.Change {
	c := syncd.Change{
		ID: id, PointID: pagePoint(id), Operation: syncd.Replace, Target: &syncd.Target{Database: "db", Collection: "page", ContentType: "page"},
		Document: syncdtest.Document(syncdtest.MemoryDoc{ID: id}), Content: &syncd.Content{Title: title, Model: "m"},
	}
	c.Content.Chunks = []syncd.Chunk{{Text: "text", Hash: "h", PointID: c.PointID, Vector: []float32{1, 2, 3, 4}}}
	c.Content.Point = func(chunk int) (uuid.UUID, error) { return pagePoint(fmt.Sprint(id, "#", chunk)), nil }
	return c
}

// TestPGVectorSinkRefusals: what the server refuses of one document does not keep the others from being written; a commit waits for the disk
// though the database would not; columns of others are left alone.
func TestPGVectorSinkRefusals(t *testing.T) {
	d := newDatabase(t, postgresServer(t, postgres.PGVector))
	d.exec(`CREATE EXTENSION vector`)
	d.exec(`ALTER DATABASE ` + d.name + ` SET synchronous_commit = off`)
	d.exec(`CREATE TABLE chunks (id uuid PRIMARY KEY, embedding vector, payload jsonb, title text CHECK (title <> 'forbidden'), waits text DEFAULT current_setting('synchronous_commit'), note text DEFAULT 'ours')`)
	d.exec(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the trigger says no'; END $$`)
	d.exec(`CREATE TRIGGER t BEFORE INSERT ON chunks FOR EACH ROW WHEN (NEW.title = 'triggered') EXECUTE FUNCTION refuse()`)
	s := openPGVectorSink(t, d.dsn, "chunks", func(c *sink.Config) {
		c.Columns, c.BatchSize, c.Fields = map[string]string{"title": "title"}, 100, []string{"f"}
	})
	closeAfter(t, s.Close)
	if err := prepared(t, s); err != nil {
		t.Fatal(err)
	}
	var changes []syncd.Change
	for i := range 20 {
		changes = append(changes, point(fmt.Sprint(i), "fine"))
	}
	changes[3].Content.Title, changes[11].Content.Title = "forbidden", "triggered"
	changes[7].Document = syncdtest.Document(syncdtest.MemoryDoc{ID: "7", Fields: map[string]any{"f": "a\x00b"}})
	refused, ok := errors.AsType[*syncd.BatchError](s.Write(t.Context(), changes))
	if !ok || fmt.Sprint(refused.Failed()) != "[3 7 11]" {
		t.Fatalf("refused are %v", refused)
	}
	for i, want := range map[int]string{3: "23514", 7: "22P05", 11: "the trigger says no"} {
		if !strings.Contains(refused.Of(i).Error(), want) {
			t.Errorf("document %d: %v", i, refused.Of(i))
		}
	}
	if got := d.one(`SELECT string_agg(DISTINCT waits || ' ' || note, ',') || count(*) FROM chunks`); got != "on ours17" {
		t.Errorf("the table holds %s", got)
	}
	d.exec(`UPDATE chunks SET note = 'theirs'`)
	if err := s.Write(t.Context(), []syncd.Change{point("1", "again")}); err != nil {
		t.Fatal(err)
	}
	if got := d.one(`SELECT title || ' ' || note || ' ' || (payload ? 'title')::text FROM chunks WHERE payload ->> 'mongo_id' = '1'`); got != "again theirs false" {
		t.Errorf("the row is %s", got)
	}
}

// TestPGVectorSinkTables: what can't be written to is said before anything is; those who make a table at one time do not fail.
func TestPGVectorSinkTables(t *testing.T) {
	d := newDatabase(t, postgresServer(t, postgres.PGVector))
	var makers sync.WaitGroup
	for range 6 {
		s := openPGVectorSink(t, d.dsn, "made", nil)
		closeAfter(t, s.Close)
		makers.Go(func() {
			if err := prepared(t, s); err != nil {
				t.Error(err)
			}
		})
	}
	makers.Wait()
	if got := d.one(`SELECT string_agg(indexdef, '; ' ORDER BY indexname) FROM pg_indexes WHERE tablename = 'made'`); !strings.Contains(got, "hnsw (embedding vector_cosine_ops) WITH (m='16', ef_construction='64')") || !strings.Contains(got, "payload ->> 'content_type'") {
		t.Error(got)
	}
	d.exec(`CREATE TABLE loose (id uuid, embedding vector(4), payload jsonb)`)
	d.exec(`CREATE TABLE words (id uuid PRIMARY KEY, embedding text, payload jsonb)`)
	d.exec(`CREATE TABLE bare (id uuid PRIMARY KEY, embedding vector(4))`)
	guestRole := "guest_of_" + d.name
	d.exec(`CREATE ROLE ` + guestRole + ` LOGIN`)
	d.exec(`GRANT SELECT ON made TO ` + guestRole)
	guest := strings.Replace(d.dsn, "postgres@", guestRole+"@", 1)
	off := func(c *sink.Config) { c.Create.Enabled = false }
	for _, test := range []struct {
		dsn, table string
		set        func(*sink.Config)
		want, hint string
	}{
		{d.dsn, "nothing", off, "does not exist", "create.enabled"},
		{d.dsn, "loose", nil, "not unique", "primary key"},
		{d.dsn, "words", nil, "is of type text", "sink.pgvector.vector"},
		{d.dsn, "made", func(c *sink.Config) { c.Vector = "v" }, `no column "v"`, "sink.pgvector.vector"},
		{d.dsn, "bare", nil, `column p.payload does not exist`, "columns of sink.pgvector"},
		{guest, "made", nil, `may not read and write`, "GRANT"},
		{guest, "new", nil, `permission denied`, "GRANT CREATE"},
		{d.dsn, "none.new", nil, `schema "none" does not exist`, "sink.pgvector.table"},
		{d.dsn, "large", func(c *sink.Config) { c.Create.Type = "vector" }, "more than 2000 dimensions", "halfvec"},
	} {
		s := openPGVectorSink(t, test.dsn, test.table, test.set)
		closeAfter(t, s.Close)
		err := s.Abilities().Prepare(t.Context(), syncd.Run{Vectors: &syncd.Vectors{Dimensions: func(context.Context) (int, error) { return 3000, nil }}})
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(syncd.HintOf(err), test.hint) {
			t.Errorf("%s: %v (%s), want %q (%q)", test.table, err, syncd.HintOf(err), test.want, test.hint)
		}
		f := s.Abilities().Probe(t.Context(), nil)[0]
		if ok := f.Status == syncd.StatusOK; ok != (test.set == nil && strings.Contains(test.table, "new") || test.table == "large") {
			t.Errorf("%s: the probe says %s: %s", test.table, f.Status, f.Detail)
		}
	}
	if d.one(`SELECT (to_regclass('large') IS NULL)::text`) != "true" {
		t.Error("a table without its index was left")
	}
}

// TestPGVectorSinkOutage: what passes is waited for, and told; what lasts is no document's error.
func TestPGVectorSinkOutage(t *testing.T) {
	d := newDatabase(t, postgresServer(t, postgres.PGVector))
	g, dsn := newGate(t, d.dsn)
	s := openPGVectorSink(t, dsn, "chunks", func(c *sink.Config) { c.MaxElapsed, c.Timeout = 20*time.Second, 500*time.Millisecond })
	closeAfter(t, s.Close)
	if err := prepared(t, s); err != nil {
		t.Fatal(err)
	}
	// Connections that the server ends, and a lock that is held for longer than a transaction may take.
	d.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'syncd'`, d.name)
	d.in(func(ctx context.Context, c *pgx.Conn) error {
		tx, err := c.Begin(ctx)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `LOCK TABLE chunks`); err != nil {
			return err
		}
		written := make(chan error, 1)
		go func() { written <- s.Write(t.Context(), []syncd.Change{point("1", "waited")}) }()
		time.Sleep(time.Second)
		if err := tx.Rollback(ctx); err != nil {
			return err
		}
		return <-written
	})
	if got := d.one(`SELECT count(*)::text FROM chunks`); got != "1" {
		t.Errorf("%s rows", got)
	}
	_ = s.Close()
	s = openPGVectorSink(t, dsn, "chunks", func(c *sink.Config) { c.MaxElapsed = 300 * time.Millisecond })
	closeAfter(t, s.Close)
	if err := prepared(t, s); err != nil {
		t.Fatal(err)
	}
	g.shut()
	if err := s.Write(t.Context(), []syncd.Change{point("2", "never")}); !errors.Is(err, syncd.ErrUnavailable) || syncd.HintOf(err) == "" {
		t.Errorf("%v (%s)", err, syncd.HintOf(err))
	}
}

// TestPGVectorSinkWaitsForOthers: a transaction of another process that is under way, be it the last one of a process that was killed, leaves no
// chunk of its version, whether it began with the document or found it.
func TestPGVectorSinkWaitsForOthers(t *testing.T) {
	d := newDatabase(t, postgresServer(t, postgres.PGVector))
	s := openPGVectorSink(t, d.dsn, "chunks", nil)
	closeAfter(t, s.Close)
	if err := prepared(t, s); err != nil {
		t.Fatal(err)
	}
	const other = `INSERT INTO chunks (id, embedding, payload) VALUES ($1, '[1,2,3,4]', '{"mongo_id": "theirs", "chunk_count": 3}')
		ON CONFLICT (id) DO UPDATE SET payload = excluded.payload`
	for name, test := range map[string]struct {
		there  bool
		writes func(c *syncd.Change)
		rows   string
	}{
		"a new version of a document":          {true, func(*syncd.Change) {}, "1"},
		"the same document for the first time": {false, func(*syncd.Change) {}, "1"},
		"a delete":                             {true, func(c *syncd.Change) { c.Operation, c.Content.Chunks = syncd.Delete, nil }, "0"},
		"a chunk that is kept":                 {true, func(c *syncd.Change) { c.Content.Chunks[0].Kept, c.Content.Chunks[0].Vector = true, nil }, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			d.t = t
			d.exec(`DELETE FROM chunks`)
			if test.there {
				if err := s.Write(t.Context(), []syncd.Change{point("1", "of one chunk")}); err != nil {
					t.Fatal(err)
				}
			}
			c := point("1", "of one chunk, again")
			test.writes(&c)
			written := make(chan error, 1)
			d.in(func(ctx context.Context, conn *pgx.Conn) error {
				tx, err := conn.Begin(ctx)
				if err != nil {
					return err
				}
				for chunk := range 3 {
					id := pagePoint("1")
					if chunk > 0 {
						id = pagePoint(fmt.Sprint("1#", chunk))
					}
					payload := other
					if chunk == 0 && c.Content.Chunks != nil && c.Content.Chunks[0].Kept { // with what it is kept by
						payload = strings.Replace(other, `"theirs"`, `"theirs", "content_hash": "h"`, 1)
					}
					if _, err := tx.Exec(ctx, payload, id); err != nil {
						return err
					}
				}
				go func() { written <- s.Write(t.Context(), []syncd.Change{c}) }()
				for waits := 0; waits == 0; time.Sleep(10 * time.Millisecond) {
					if len(written) > 0 {
						return fmt.Errorf("it did not wait: %w", <-written)
					}
					if err := tx.QueryRow(ctx, `SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.datname = current_database() AND a.application_name = 'syncd' AND NOT l.granted`).Scan(&waits); err != nil {
						return err
					}
				}
				return tx.Commit(ctx)
			})
			if err := <-written; err != nil {
				t.Fatal(err)
			}
			if got := d.one(`SELECT count(*)::text FROM chunks`); got != test.rows {
				t.Errorf("%s rows are left, want %s", got, test.rows)
			}
		})
	}
}
