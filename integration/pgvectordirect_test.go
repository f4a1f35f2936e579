package integration

import (
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
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/integration/postgres"
	"github.com/syncd-io/syncd/sandbox/embedserver"
)

// direct is a job that writes a table of vectors itself, and what it writes from and to.
type direct struct {
	vectors *database
	embed   *embedserver.Server
	config  string
}

// newDirect writes a configuration with the source and the mapping given. Chunks are of 40 characters, and there are no texts between them.
func newDirect(t *testing.T, source, mapping string) *direct {
	t.Helper()
	d := &direct{vectors: newDatabase(t, postgresServer(t, postgres.PGVector))}
	var err error
	if d.embed, err = embedserver.Start(embedserver.Config{Dimensions: 64}); err != nil {
		t.Fatal(err)
	}
	closeAfter(t, d.embed.Close)
	d.config = filepath.Join(t.TempDir(), "direct.yaml")
	text := fmt.Sprintf(`
%s
checker: {pgvector: {dsn: %q, table: chunks}}
stages:
  chunk: {text: "{body}", title: "", unit: characters, size: 40, overlap: 0}
  embed: {url: %q, model: test}
sink: {pgvector: {dsn: %q, table: chunks, updated_at: n, create: {enabled: true}}}
mapping: %s
run: {batch_size: 100}
`, source, d.vectors.dsn, d.embed.URL(), d.vectors.dsn, mapping)
	if err := os.WriteFile(d.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

// indexed are the documents that the index holds, by their ids, as text and version; one that is not whole stands with what is wrong.
const indexed = `
SELECT payload ->> 'mongo_id', CASE
  WHEN count(*) <> max((payload ->> 'chunk_count')::int) OR count(DISTINCT payload ->> 'n') <> 1 OR max((payload ->> 'chunk_index')::int) <> count(*) - 1
    OR count(DISTINCT payload ->> 'chunk_count') <> 1 OR count(*) FILTER (WHERE embedding IS NULL AND payload ->> 'content' <> '') > 0
  THEN 'in pieces: ' || string_agg(payload::text, ' ')
  ELSE max(payload ->> 'n') || ' ' || string_agg(payload ->> 'content', ' ' ORDER BY (payload ->> 'chunk_index')::int) END
FROM chunks GROUP BY 1`

// watch asks again and again for all documents, in one question each time, until ctx ends, and fails the test where one is in pieces.
func (d *direct) watch(ctx context.Context, t *testing.T) {
	c, err := pgx.Connect(context.Background(), d.vectors.dsn)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close(context.Background())
	most, seen := 0, 0
	for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		rows, err := c.Query(context.Background(), `SELECT count(*), coalesce(min(q.s) FILTER (WHERE q.s LIKE 'in pieces%'), '') FROM (`+indexed+`) q(id, s)`)
		if err != nil {
			if strings.Contains(err.Error(), "42P01") {
				continue // nobody has made the table yet
			}
			t.Error(err)
			return
		}
		for rows.Next() {
			var wrong string
			if err := rows.Scan(&seen, &wrong); err != nil {
				t.Error(err)
			}
			most = max(most, seen)
			if wrong != "" {
				t.Errorf("a reader sees a document %s", wrong)
				return
			}
		}
		if err := rows.Err(); err != nil {
			t.Error(err)
			return
		}
	}
	if most == 0 {
		t.Error("the reader saw nothing")
	}
}

// holds waits until the index is what the source has.
func (d *direct) holds(t *testing.T, want func() map[string]string, running *invocation) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		have, want := d.vectors.pages(indexed), want()
		if maps.Equal(have, want) {
			return
		}
		if !running.running() || time.Now().After(deadline) {
			shown := 0
			for id, text := range want {
				if have[id] != text && shown < 3 {
					shown++
					t.Errorf("%s is %q in the index, want %q", id, have[id], text)
				}
			}
			t.Fatalf("the index holds %d documents, the source has %d\n%s", len(have), len(want), running.output.String())
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// interrupt ends a job that follows, in order.
func (i *invocation) interrupt(t *testing.T) result {
	t.Helper()
	if err := i.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	return i.wait(t)
}

// body is the text of a version, of one to nine chunks.
func body(n int) string {
	words := make([]string, 1+n*7%36)
	for i := range words {
		words[i] = fmt.Sprintf("version%d.%d", n, i)
	}
	return strings.Join(words, " ")
}

// TestPGVectorDirectKilled: from PostgreSQL to pgvector, killed twenty times while programs write and readers look: no reader ever sees a
// part of a document, and in the end the index is the table. Then it is verified, damaged, repaired, pruned and searched.
func TestPGVectorDirectKilled(t *testing.T) {
	s := newDatabase(t, postgresServer(t, postgres.Debian))
	s.exec("CREATE FUNCTION body(n integer) RETURNS text LANGUAGE sql AS $$ SELECT string_agg('version' || n || '.' || i, ' ' ORDER BY i) FROM generate_series(0, n * 7 % 36) i $$")
	s.exec("CREATE TABLE page (tenant text, id bigint, n integer, body text, PRIMARY KEY (tenant, id))")
	const rows = 1000
	s.exec("INSERT INTO page SELECT 't,' || g % 3, g, g % 20, body(g % 20) FROM generate_series(1, $1) g", rows)
	d := newDirect(t, fmt.Sprintf("source: {postgres: {dsn: %q, splits: 3, stream: {slot: %s, publication: pages}}}", s.dsn, s.name), "{collections: {page: page}}")

	ctx, stop := context.WithCancel(t.Context())
	var others sync.WaitGroup
	others.Go(func() { d.watch(ctx, t) })
	others.Go(func() {
		c, err := pgx.Connect(context.Background(), s.dsn)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close(context.Background())
		random := rand.New(rand.NewPCG(1, 1))
		for i := 0; ctx.Err() == nil; i++ {
			kinds := 5
			if i > 2000 {
				kinds = 2 // a slow machine has time for more, and rows are to be left
			}
			sql := []string{
				"UPDATE page SET n = n + 1, body = body(n + 1) WHERE id = $1", "UPDATE page SET n = n + 1, body = body(n + 1) WHERE id BETWEEN $1 AND $1 + 5",
				"DELETE FROM page WHERE id = $1", "INSERT INTO page VALUES ('new', $1, 0, body(0)) ON CONFLICT DO NOTHING", "UPDATE page SET tenant = 'moved', n = n + 1, body = body(n + 1) WHERE id = $1",
			}[i%kinds]
			if _, err := c.Exec(context.Background(), sql, random.IntN(rows)+1); err != nil && !strings.Contains(err.Error(), "23505") {
				t.Errorf("%s: %v", sql, err)
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	run := func() *invocation { return start(t, "run", "-c", d.config, "--follow", "--progress", "none") }
	random := rand.New(rand.NewPCG(7, 7))
	for range kills {
		before := d.embed.Texts()
		syncd := run()
		until(t, "it writes", func() bool { return d.embed.Texts() > before || !syncd.running() })
		time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
		if !syncd.running() {
			t.Fatalf("it ended by itself:\n%s", syncd.output.String())
		}
		syncd.kill(t)
	}
	last := run()
	until(t, "there is something to be seen", func() bool { return d.vectors.one("SELECT count(*)::text FROM chunks") != "0" })
	time.Sleep(200 * time.Millisecond)
	stop()
	others.Wait()
	table := func() map[string]string {
		return s.pages("SELECT replace(replace(tenant, '%', '%25'), ',', '%2C') || ',' || id, n || ' ' || body FROM page")
	}
	d.holds(t, table, last)
	last.interrupt(t).wants(t, 0)
	verify := func(code int) { t.Helper(); invoke(t, "verify", "-c", d.config, "--min-age", "0s").wants(t, code) }
	verify(0)

	// Nothing is to do, and so nothing is embedded.
	before := d.embed.Texts()
	invoke(t, "run", "-c", d.config, "--fresh").wants(t, 0)
	if n := d.embed.Texts() - before; n != 0 {
		t.Errorf("%d texts were embedded though nothing had changed", n)
	}
	// What is lost, what is in pieces, and what is nobody's.
	d.vectors.exec(`DELETE FROM chunks WHERE payload ->> 'mongo_id' IN (SELECT payload ->> 'mongo_id' FROM chunks WHERE payload ->> 'chunk_index' = '0' ORDER BY id LIMIT 5)`)
	d.vectors.exec(`DELETE FROM chunks WHERE id IN (SELECT id FROM chunks WHERE payload ->> 'chunk_index' = '2' ORDER BY id LIMIT 5)`)
	orphan := uuid.NewSHA1(uuid.NameSpaceURL, []byte("none,1/page/0"))
	d.vectors.exec(`INSERT INTO chunks SELECT $1::uuid, embedding, payload || '{"mongo_id": "none,1", "chunk_count": 1}' FROM chunks WHERE payload ->> 'chunk_index' = '0' LIMIT 1`, orphan.String())
	verify(4)
	invoke(t, "run", "-c", d.config, "--prune", "--fresh").wants(t, 0)
	if have, want := d.vectors.pages(indexed), table(); !maps.Equal(have, want) {
		t.Errorf("after a run that prunes the index holds %d documents, and the table %d", len(have), len(want))
	}
	verify(0)

	// A row that becomes shorter leaves no chunk, and only what is new is embedded; one that is asked for is found.
	s.exec("INSERT INTO page VALUES ('own', 1, 5, body(5))")
	invoke(t, "run", "-c", d.config).wants(t, 0)
	s.exec("UPDATE page SET n = n + 1, body = left(body, 130) || ' the beginning stayed' WHERE tenant = 'own'")
	before = d.embed.Texts()
	invoke(t, "run", "-c", d.config).wants(t, 0)
	if n := d.embed.Texts() - before; n < 1 || n > 2 {
		t.Errorf("%d chunks of a row were embedded, whose end alone is new", n)
	}
	d.holds(t, table, run()) // whitespace between chunks is one blank
	r := invoke(t, "search", "-c", d.config, "--limit", "3", "-o", "json", "the beginning stayed")
	r.wants(t, 0)
	var hits []struct {
		Score    float64
		ID, Text string
	}
	if err := json.Unmarshal([]byte(r.output), &hits); err != nil || len(hits) != 3 || !strings.Contains(hits[0].Text, "stayed") || hits[0].ID != "own,1" {
		t.Errorf("%v: %s", err, r.output)
	}
}

// TestPGVectorFromMongo: from MongoDB to pgvector: backfill, follow, verify, prune and search.
func TestPGVectorFromMongo(t *testing.T) {
	uri := startSecantusWith(t)
	const name = "direct"
	pages := connect(t, uri).Database(name).Collection("page")
	var docs []any
	for i := range 300 {
		docs = append(docs, bson.D{{Key: "_id", Value: bson.NewObjectID()}, {Key: "n", Value: i}, {Key: "body", Value: body(i)}})
	}
	if _, err := pages.InsertMany(t.Context(), docs); err != nil {
		t.Fatal(err)
	}
	d := newDirect(t, fmt.Sprintf("source: {mongo: {uri: %q, database: %s}}", uri, name), `{collections: {page: page}}`)
	have := func() map[string]string {
		out := map[string]string{}
		cur, err := pages.Find(t.Context(), bson.D{})
		if err != nil {
			t.Fatal(err)
		}
		var all []struct {
			ID   bson.ObjectID `bson:"_id"`
			N    int
			Body string
		}
		if err := cur.All(t.Context(), &all); err != nil {
			t.Fatal(err)
		}
		for _, p := range all {
			out[p.ID.Hex()] = fmt.Sprint(p.N, " ", p.Body)
		}
		return out
	}
	ctx, stop := context.WithCancel(t.Context())
	var reader sync.WaitGroup
	reader.Go(func() { d.watch(ctx, t) })
	follow := start(t, "run", "-c", d.config, "--follow", "--progress", "none")
	until(t, "the table is made", func() bool {
		return !follow.running() || d.vectors.one("SELECT (to_regclass('chunks') IS NOT NULL)::text") == "true"
	})
	d.holds(t, have, follow)
	for i, p := range docs[:60] {
		id := bson.D{p.(bson.D)[0]}
		var err error
		if i%3 == 0 {
			_, err = pages.DeleteOne(t.Context(), id)
		} else {
			_, err = pages.UpdateOne(t.Context(), id, bson.D{{Key: "$set", Value: bson.D{{Key: "n", Value: 1000 + i}, {Key: "body", Value: body(i + 3)}}}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	d.holds(t, have, follow)
	stop()
	reader.Wait()
	follow.interrupt(t).wants(t, 0)
	invoke(t, "verify", "-c", d.config, "--min-age", "0s").wants(t, 0)
	if _, err := pages.DeleteOne(t.Context(), bson.D{{Key: "n", Value: 299}}); err != nil {
		t.Fatal(err)
	}
	invoke(t, "verify", "-c", d.config, "--min-age", "0s").wants(t, 4)
	invoke(t, "run", "-c", d.config, "--prune", "--fresh").wants(t, 0)
	if !maps.Equal(d.vectors.pages(indexed), have()) {
		t.Error("the index is not the collection")
	}
	invoke(t, "search", "-c", d.config, "--type", "page", body(1001)[:9]).wants(t, 0, `^[\d.]+  page [0-9a-f]{24}`)
}
