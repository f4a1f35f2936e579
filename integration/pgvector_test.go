package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/syncd-io/syncd"
	checker "github.com/syncd-io/syncd/checkers/pgvector"
	"github.com/syncd-io/syncd/integration/postgres"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
)

func openPGVector(t *testing.T, dsn, table string, set func(*checker.Config)) syncd.Checker {
	t.Helper()
	plugin := checker.Plugin()
	cfg := plugin.Config().(*checker.Config)
	cfg.DSN, cfg.Table, cfg.BatchSize, cfg.MaxElapsed = spec.Secret(dsn), table, 100, 200*time.Millisecond
	if set != nil {
		set(cfg)
	}
	c, err := plugin.OpenChecker(t.Context(), cfg, syncd.Env{})
	if err != nil {
		t.Fatalf("%v (%s)", err, syncd.HintOf(err))
	}
	return c
}

// nested makes of paths the objects that they lead through.
func nested(texts map[string]string) map[string]any {
	out := map[string]any{}
	for path, text := range texts {
		at := out
		names := strings.Split(path, ".")
		for _, name := range names[:len(names)-1] {
			if at[name] == nil {
				at[name] = map[string]any{}
			}
			at = at[name].(map[string]any)
		}
		at[names[len(names)-1]] = text
	}
	return out
}

// fillPoints makes a table of points as an indexer would, with vectors of pgvector.
func (d *database) fillPoints(table string, points map[uuid.UUID]map[string]string) {
	d.t.Helper()
	d.in(func(ctx context.Context, c *pgx.Conn) error {
		for _, sql := range []string{
			"CREATE EXTENSION IF NOT EXISTS vector", "CREATE TABLE " + ident(table) + " (id uuid PRIMARY KEY, embedding vector(2), payload jsonb)",
		} {
			if _, err := c.Exec(ctx, sql); err != nil {
				return err
			}
		}
		var ids []uuid.UUID
		var payloads []string
		for id, texts := range points {
			b, err := json.Marshal(nested(texts))
			if err != nil {
				return err
			}
			ids, payloads = append(ids, id), append(payloads, string(b))
		}
		_, err := c.Exec(ctx, "INSERT INTO "+ident(table)+" SELECT i, '[1,2]', p::jsonb FROM unnest($1::text[], $2::text[]) q(s, p), LATERAL (SELECT s::uuid AS i) x", texts(ids), payloads)
		return err
	})
}

func texts(ids []uuid.UUID) (out []string) {
	for _, id := range ids {
		out = append(out, id.String())
	}
	return out
}

// gate lets connections through to a server until it is shut.
type gate struct {
	net.Listener
	to    string
	mu    sync.Mutex
	conns []net.Conn
	done  sync.WaitGroup
}

func newGate(t *testing.T, dsn string) (*gate, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{Listener: l, to: u.Host}
	u.Host = l.Addr().String()
	g.done.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", g.to)
			if err != nil {
				_ = in.Close()
				continue
			}
			g.mu.Lock()
			g.conns = append(g.conns, in, out)
			g.mu.Unlock()
			g.done.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
			g.done.Go(func() { _, _ = io.Copy(in, out); _ = in.Close() })
		}
	})
	return g, u.String()
}

func (g *gate) shut() {
	_ = g.Close()
	g.mu.Lock()
	for _, c := range g.conns {
		_ = c.Close()
	}
	g.mu.Unlock()
	g.done.Wait()
}

func TestPGVectorSuite(t *testing.T) {
	server := postgresServer(t, postgres.PGVector)
	d := newDatabase(t, server)
	n := 0
	fill := func(t *testing.T, points map[uuid.UUID]map[string]string) string {
		d.t = t
		n++
		table := fmt.Sprintf("points %d", n)
		d.fillPoints(table, points)
		return table
	}
	syncdtest.TestChecker(t, syncdtest.CheckerHarness{
		Open: func(t *testing.T, present []uuid.UUID) syncd.Checker {
			points := map[uuid.UUID]map[string]string{}
			for _, id := range present {
				points[id] = nil
			}
			return openPGVector(t, d.dsn, fill(t, points), nil)
		},
		OpenPayload: func(t *testing.T, points map[uuid.UUID]map[string]string) syncd.Checker {
			return openPGVector(t, d.dsn, fill(t, points), nil)
		},
		Empty: func(t *testing.T) syncd.Checker { return openPGVector(t, d.dsn, "nothing", nil) },
		Unreachable: func(t *testing.T) syncd.Checker {
			g, dsn := newGate(t, d.dsn)
			c := openPGVector(t, dsn, fill(t, nil), nil)
			g.shut()
			return c
		},
	})
}

func TestPGVectorPlugin(t *testing.T) { syncdtest.TestPlugin(t, checker.Plugin()) }

// TestPGVectorTables: payload in columns of their own, in another schema, and tables that can't be asked.
func TestPGVectorTables(t *testing.T) {
	d := newDatabase(t, postgresServer(t, postgres.PGVector))
	d.exec(`CREATE SCHEMA search`)
	d.exec(`CREATE EXTENSION vector`)
	d.exec(`CREATE TABLE search.chunks ("Point" uuid PRIMARY KEY, kind text, at timestamptz, n integer, meta jsonb, embedding vector(3))`)
	const id = "6ba7b811-9dad-11d1-80b4-00c04fd430c8"
	d.exec(`INSERT INTO search.chunks VALUES ('` + id + `', 'page', '2024-01-02 03:04:05.678+02', 7, '{"lang": "de", "tags": ["a"]}', '[1,2,3]')`)
	columns := func(c *checker.Config) {
		c.ID, c.Payload, c.Columns = "Point", "", map[string]string{"content_type": "kind"}
	}
	c := openPGVector(t, d.dsn, "search.chunks", columns)
	closeAfter(t, c.Close)
	found := make([]syncd.Found, 1)
	keys := []string{"content_type", "at", "n", "meta.lang", "meta.tags.0", "meta.none"}
	if err := c.Abilities().Read(t.Context(), []syncd.Point{{ID: uuid.MustParse(id)}}, keys, found); err != nil {
		t.Fatalf("%v (%s)", err, syncd.HintOf(err))
	}
	var got []string
	for _, v := range found[0].Payload {
		got = append(got, v.Text)
	}
	if want := []string{"page", "2024-01-02T01:04:05.678+00:00", "7", "de", "a", ""}; !slices.Equal(got, want) {
		t.Errorf("the payload is %q, want %q", got, want)
	}
	for page, err := range c.Abilities().List(t.Context(), syncd.ListRequest{Parts: 1, Match: map[string]string{"content_type": "page", "n": "7"}}) {
		if err != nil || len(page) != 1 {
			t.Errorf("%v, %v", page, err)
		}
	}
	s, err := c.Abilities().Survey(t.Context(), "content_type")
	if err != nil || len(s.Sample) != 1 || s.Sample[0]["meta.lang"] != "de" || s.Sample[0]["content_type"] != "page" || !s.Whole {
		t.Errorf("the survey is %+v, %v", s, err)
	}
	index, err := c.Abilities().Inspect(t.Context())
	if err != nil || !index.Exists || index.Points != 1 {
		t.Errorf("%+v, %v", index, err)
	}
	probe := func(c syncd.Checker, keys ...string) string {
		f := c.Abilities().Probe(t.Context(), []syncd.ProbeTarget{{PayloadKeys: keys}})[0]
		return fmt.Sprintf("%s %s | %s", f.Status, f.Detail, f.Hint)
	}
	d.exec(`CREATE TABLE loose (id uuid, payload jsonb)`)
	d.exec(`CREATE TABLE texts (id text PRIMARY KEY, payload jsonb)`)
	for _, test := range []struct {
		table string
		set   func(*checker.Config)
		keys  []string
		want  string
	}{
		{"search.chunks", columns, []string{"content_type"}, "ok about 1 points"},
		{"search.chunks", columns, []string{"nothing"}, `failed reading points: ERROR: column p.nothing does not exist`},
		{"loose", nil, []string{"a"}, "warning about 0 points | without an index"},
		{"nothing", nil, nil, "warning does not exist"},
		{"nothing", func(c *checker.Config) { c.OnMissingTable = "fail" }, nil, "failed inspecting"},
		{"texts", nil, nil, "checker.pgvector.id must be of type uuid"},
	} {
		c := openPGVector(t, d.dsn, test.table, test.set)
		closeAfter(t, c.Close)
		if got := probe(c, test.keys...); !strings.Contains(got, test.want) {
			t.Errorf("%s: %s; want %s", test.table, got, test.want)
		}
	}
	strict := openPGVector(t, d.dsn, "nothing", func(c *checker.Config) { c.OnMissingTable = "fail" })
	closeAfter(t, strict.Close)
	verdicts := make([]syncd.Verdict, 1)
	if err := strict.Check(t.Context(), make([]syncd.Point, 1), verdicts); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("a table that does not exist, which fails: %v, %v", verdicts, err)
	}
}
