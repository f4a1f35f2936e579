package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/syncd-io/syncd/integration/postgres"
)

// pgIndexer does what a consumer does: it applies the events of a file to a table of points.
type pgIndexer struct {
	d    *database
	file string
	at   int64
	rest []byte
}

func pagePoint(id string) uuid.UUID { return uuid.NewSHA1(uuid.NameSpaceURL, []byte(id+"/page/0")) }

// apply applies what has come since, in its order, and returns how many events that were.
func (x *pgIndexer) apply() int {
	x.d.t.Helper()
	f, err := os.Open(x.file)
	if os.IsNotExist(err) {
		return 0
	}
	if err != nil {
		x.d.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(x.at, 0); err != nil {
		x.d.t.Fatal(err)
	}
	var b bytes.Buffer
	n, err := b.ReadFrom(f)
	if err != nil {
		x.d.t.Fatal(err)
	}
	x.at += n
	x.rest = append(x.rest, b.Bytes()...)
	last := map[string]*string{} // payload by id; nil is deleted
	events := 0
	for {
		line, rest, whole := bytes.Cut(x.rest, []byte("\n"))
		if !whole {
			break
		}
		x.rest = rest
		var e struct {
			OperationType string
			DocumentKey   struct {
				ID string `json:"_id"`
			}
			FullDocument struct{ N int }
		}
		if json.Unmarshal(line, &e) != nil {
			continue // half of a line, whose writer was killed: the whole one comes again
		}
		events++
		last[e.DocumentKey.ID] = nil
		if e.OperationType != "delete" {
			last[e.DocumentKey.ID] = new(fmt.Sprintf(`{"content_type": "page", "mongo_id": "%s", "chunk_index": 0, "n": %d}`, e.DocumentKey.ID, e.FullDocument.N))
		}
	}
	var gone, ids, payloads []string
	for id, payload := range last {
		if payload == nil {
			gone = append(gone, pagePoint(id).String())
		} else {
			ids, payloads = append(ids, pagePoint(id).String()), append(payloads, *payload)
		}
	}
	if events > 0 {
		x.d.in(func(ctx context.Context, c *pgx.Conn) error {
			_, err := c.Exec(ctx, `INSERT INTO points SELECT i::uuid, '[1,2]', p::jsonb FROM unnest($1::text[], $2::text[]) q(i, p) ON CONFLICT (id) DO UPDATE SET payload = excluded.payload`, ids, payloads)
			if err == nil {
				_, err = c.Exec(ctx, `DELETE FROM points WHERE id = ANY ($1::text[]::uuid[])`, gone)
			}
			return err
		})
	}
	return events
}

// pages are the versions of rows, or of points, by the id.
func (d *database) pages(sql string) map[string]string {
	d.t.Helper()
	out := map[string]string{}
	d.in(func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, sql)
		if err != nil {
			return err
		}
		for rows.Next() {
			var id, n string
			if err := rows.Scan(&id, &n); err != nil {
				return err
			}
			out[id] = n
		}
		return rows.Err()
	})
	return out
}

// TestPostgresKilled: a job that reads a table, follows it and is killed twenty times, while programs write, leaves an index that is the table.
// Then nothing is left to do, what is not the table's is found and deleted, and verify says so.
func TestPostgresKilled(t *testing.T) {
	d := newDatabase(t, postgresServer(t, postgres.Debian))
	vectors := newDatabase(t, postgresServer(t, postgres.PGVector))
	vectors.fillPoints("points", nil)
	const rows = 20_000
	d.exec("CREATE TABLE page (id bigint PRIMARY KEY, n integer, body text)")
	d.exec("INSERT INTO page SELECT g, 0, repeat('x', 200) FROM generate_series(1, $1) g", rows)
	d.exec("ANALYZE page")
	dir := t.TempDir()
	file := filepath.Join(dir, "events.ndjson")
	config := filepath.Join(dir, "pages.yaml")
	if err := os.WriteFile(config, []byte(fmt.Sprintf(`
source: {postgres: {dsn: %q, splits: 6, stream: {slot: %s, publication: pages}}}
checker: {pgvector: {dsn: %q, table: points}}
sink: {file: {path: %q}}
mapping:
  version: {field: n, payload: n}
  owner: {exclusive: true}
  collections: {page: page}
run: {batch_size: 200}
`, d.dsn, d.name, vectors.dsn, file)), 0o600); err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			c, err := pgx.Connect(context.Background(), d.dsn)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close(context.Background())
			random := rand.New(rand.NewPCG(uint64(w), 1))
			for i := 0; ctx.Err() == nil; i++ {
				id := random.IntN(rows) + 1
				sql := []string{
					"UPDATE page SET n = n + 1 WHERE id = $1", "UPDATE page SET n = n + 1 WHERE id BETWEEN $1 AND $1 + 20", "DELETE FROM page WHERE id = $1",
					"INSERT INTO page VALUES ($1 + 1000000, 0, 'new') ON CONFLICT (id) DO UPDATE SET n = page.n + 1", "UPDATE page SET id = id + 2000000, n = n + 1 WHERE id = $1",
				}[i%5]
				if _, err := c.Exec(context.Background(), sql, id); err != nil && !strings.Contains(err.Error(), "23505") && !strings.Contains(err.Error(), "40P01") {
					t.Errorf("%s: %v", sql, err)
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	indexer := &pgIndexer{d: vectors, file: file}
	run := func() *invocation { return start(t, "run", "-c", config, "--follow", "--progress", "none") }
	random := rand.New(rand.NewPCG(7, 7))
	for range 20 {
		syncd := run()
		for until := time.Now().Add(time.Duration(100+random.IntN(400)) * time.Millisecond); time.Now().Before(until); {
			indexer.apply()
			time.Sleep(50 * time.Millisecond)
		}
		if !syncd.running() {
			t.Fatalf("it ended by itself:\n%s", syncd.output.String())
		}
		syncd.kill(t)
	}
	stop()
	writers.Wait()
	last := run()
	same := func() bool {
		indexer.apply()
		return maps.Equal(d.pages("SELECT id::text, n::text FROM page"), vectors.pages("SELECT payload ->> 'mongo_id', payload ->> 'n' FROM points"))
	}
	deadline := time.Now().Add(patience)
	for !same() {
		if !last.running() || time.Now().After(deadline) {
			t.Fatalf("the index is not the table:\n%s", last.output.String())
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err := last.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	last.wait(t).wants(t, 0)
	invoke(t, "verify", "-c", config, "--min-age", "0s").wants(t, 0)

	// What is not there any more, and what never was sent.
	vectors.exec(`INSERT INTO points SELECT $1::uuid, '[1,2]', '{"content_type": "page", "mongo_id": "123456789", "chunk_index": 0, "n": 1}'`, pagePoint("123456789").String())
	vectors.exec(`DELETE FROM points WHERE payload ->> 'mongo_id' IN (SELECT payload ->> 'mongo_id' FROM points LIMIT 10)`)
	invoke(t, "verify", "-c", config, "--min-age", "0s").wants(t, 4)
	invoke(t, "run", "-c", config, "--prune", "--fresh").wants(t, 0)
	if !same() {
		t.Error("the index is not the table after a run that prunes")
	}
	invoke(t, "verify", "-c", config, "--min-age", "0s").wants(t, 0)
	slot := d.one("SELECT slot_name FROM pg_replication_slots WHERE slot_name = $1 AND NOT active", d.name)
	if slot != d.name {
		t.Error("the slot is still read")
	}
}
