package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/qdrant/go-client/qdrant"
	"golang.org/x/sync/errgroup"

	"github.com/syncd-io/syncd/integration/postgres"
)

// postgresEnv names a database to measure with, in which the tables bench_docs and bench_points are made; else Debian's server is started.
const postgresEnv = "SYNCD_BENCH_POSTGRES_DSN"

// postgres measures a run over a table of PostgreSQL, all of whose rows are indexed, beside the loop that one would write with pgx: in Qdrant,
// and in a table of points of the same server.
func (b *bench) postgres(ctx context.Context) (err error) {
	const documents, limit = 1_000_000, 1.2
	kinds := []string{"Qdrant", "pgvector"}
	gateOf := func(kind string) gate {
		return gate{name: fmt.Sprintf("PostgreSQL, %d rows in %s: CPU ÷ loop", documents, kind), limit: limit}
	}
	dsn, stop, err := postgresServer(ctx)
	if err != nil {
		for _, kind := range kinds {
			g := gateOf(kind)
			g.reason = err.Error() + "; or name a database: " + postgresEnv
			b.decide(g)
		}
		return nil // the gate says why it is not decided
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := fillPostgres(ctx, dsn, documents); err != nil {
		return fmt.Errorf("filling PostgreSQL: %w", err)
	}
	s, err := startServers(ctx, b.self, load{Documents: 1000, Size: 350})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	e := s.endpoints
	e.Postgres = dsn
	at, err := json.Marshal(e)
	if err != nil {
		return err
	}
	var gates []gate
	t := &table{header: []string{"documents", "bytes", "case", "CPU µs/document", "wall s", "documents/s", "peak MB"}}
	for i, checker := range []string{
		fmt.Sprintf("{qdrant: {url: %q, collection: c}}", e.Qdrant), fmt.Sprintf("{pgvector: {dsn: %q, table: bench_points}}", dsn),
	} {
		config := fmt.Sprintf(`source: {postgres: {dsn: %q}}
checker: %s
sink: {kafka: {bootstrap_servers: %q, topic: bench.docs}}
mapping: {collections: {bench_docs: doc}}
run: {wait_timeout: 0}
`, dsn, checker, e.Kafka)
		figures, err := interleave(b.repeat,
			func() (figure, error) { return measureProgram(ctx, b.syncd, config, "run") },
			func() (figure, error) {
				return measure(exec.CommandContext(ctx, b.self, "floor", "postgres "+kinds[i], string(at), strconv.Itoa(documents)))
			},
		)
		if err != nil {
			return err
		}
		for k, who := range []string{"syncd", "the loop"} {
			t.add(took(&result{benchCase: benchCase{name: kinds[i] + ", " + who}, load: load{Size: postgresSize}}, "", figures[k], documents)...)
		}
		g := gateOf(kinds[i])
		g.values = ratios(figures[0], figures[1], cpuSeconds)
		gates = append(gates, g)
	}
	fmt.Print("PostgreSQL, all rows are indexed:\n\n")
	t.print(os.Stdout)
	for _, g := range gates {
		b.decide(g)
	}
	return nil
}

// postgresSize is about how many bytes a row has.
const postgresSize = 350

// postgresServer is the server of the environment, or Debian's.
func postgresServer(ctx context.Context) (dsn string, stop func() error, err error) {
	if dsn = os.Getenv(postgresEnv); dsn != "" {
		return dsn, func() error { return nil }, nil
	}
	s, err := postgres.Start(ctx, postgres.Debian)
	if err != nil {
		return "", nil, err
	}
	return s.DSN("postgres"), s.Close, nil
}

func fillPostgres(ctx context.Context, dsn string, documents int) error {
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	for _, sql := range []string{
		"DROP TABLE IF EXISTS bench_docs, bench_points",
		"CREATE TABLE bench_docs (id bigint PRIMARY KEY, updated timestamptz, title text, body text)",
		"INSERT INTO bench_docs SELECT g, now(), 'Title of ' || g, repeat('x', 300) FROM generate_series(1, " + strconv.Itoa(documents) + ") g",
		"CREATE TABLE bench_points (id uuid PRIMARY KEY, payload jsonb)",
	} {
		if _, err := c.Exec(ctx, sql); err != nil {
			return err
		}
	}
	_, err = c.CopyFrom(ctx, pgx.Identifier{"bench_points"}, []string{"id", "payload"}, pgx.CopyFromSlice(documents, func(i int) ([]any, error) {
		return []any{[16]byte(postgresPoint(int64(i + 1))), `{"content_type": "doc", "chunk_index": 0}`}, nil
	}))
	if err == nil {
		_, err = c.Exec(ctx, "VACUUM ANALYZE bench_docs, bench_points")
	}
	return err
}

func postgresPoint(id int64) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%d/doc/0", id))
}

// floorPostgres reads the ids of a table, makes point ids of them, and asks the index about a thousand at a time, four requests at once.
func floorPostgres(ctx context.Context, e endpoints, ask func(ctx context.Context, ids []uuid.UUID) (int, error)) (int, error) {
	c, err := pgx.Connect(ctx, e.Postgres)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close(ctx) }()
	rows, err := c.Query(ctx, "SELECT id FROM bench_docs ORDER BY id")
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	g, asking := errgroup.WithContext(ctx)
	g.SetLimit(4)
	n := 0
	var batch []int64
	send := func() {
		some := batch
		batch = make([]int64, 0, batchSize)
		g.Go(func() error {
			ids := make([]uuid.UUID, len(some))
			for i, id := range some {
				ids[i] = postgresPoint(id)
			}
			found, err := ask(asking, ids)
			if err == nil && found != len(ids) {
				err = fmt.Errorf("%d of %d points are there", found, len(ids))
			}
			return err
		})
	}
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return n, err
		}
		n++
		if batch = append(batch, id); len(batch) == batchSize {
			send()
		}
	}
	if len(batch) > 0 {
		send()
	}
	return n, errors.Join(rows.Err(), g.Wait())
}

// floorPostgresQdrant has the points in Qdrant.
func floorPostgresQdrant(ctx context.Context, e endpoints, _ int) (int, error) {
	client, err := qdrantClient(e)
	if err != nil {
		return 0, err
	}
	defer func() { _ = client.Close() }()
	return floorPostgres(ctx, e, func(ctx context.Context, all []uuid.UUID) (int, error) {
		ids := make([]*qdrant.PointId, len(all))
		for i, id := range all {
			ids[i] = qdrant.NewIDUUID(id.String())
		}
		found, err := client.Get(ctx, &qdrant.GetPoints{
			CollectionName: "c", Ids: ids, WithPayload: qdrant.NewWithPayload(false), WithVectors: qdrant.NewWithVectors(false),
		})
		if err != nil {
			return 0, err
		}
		there := make(map[string]struct{}, len(found))
		for _, p := range found {
			there[p.GetId().GetUuid()] = struct{}{}
		}
		n := 0
		for _, id := range ids {
			if _, ok := there[id.GetUuid()]; ok {
				n++
			}
		}
		return n, nil
	})
}

// floorPostgresPGVector has the points in a table.
func floorPostgresPGVector(ctx context.Context, e endpoints, _ int) (int, error) {
	pool, err := pgxpool.New(ctx, e.Postgres)
	if err != nil {
		return 0, err
	}
	defer pool.Close()
	return floorPostgres(ctx, e, func(ctx context.Context, all []uuid.UUID) (int, error) {
		ids := make([][16]byte, len(all))
		for i, id := range all {
			ids[i] = id
		}
		rows, err := pool.Query(ctx, "SELECT id FROM bench_points WHERE id = ANY ($1)", ids)
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		there := make(map[uuid.UUID]struct{}, len(all))
		for rows.Next() {
			var id [16]byte
			if err := rows.Scan(&id); err != nil {
				return 0, err
			}
			there[id] = struct{}{}
		}
		n := 0
		for _, id := range all {
			if _, ok := there[id]; ok {
				n++
			}
		}
		return n, rows.Err()
	})
}
