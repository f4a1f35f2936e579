// Package pgvector is the sink that writes documents as rows of a table of PostgreSQL, as pgvector keeps them: a row for each chunk, with
// its vector.
//
// Invariants:
//   - all that a document asks of the table happens in one transaction: a reader sees all chunks of its old version or all of its new one;
//   - a change is confirmed when its transaction is durable, also where sessions are set to commit without waiting for the disk;
//   - of several changes of one document in a Write the last counts;
//   - rows are deleted by their ids only;
//   - one document that PostgreSQL refuses does not keep the others of its transaction from being written;
//   - a vector of another size than the column's ends the run, and is nobody's document error;
//   - columns that are not the sink's are left as they are; Close leaves no goroutine and no connection behind.
package pgvector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/contact"
	"github.com/syncd-io/syncd/internal/pg"
	"github.com/syncd-io/syncd/internal/points"
	"github.com/syncd-io/syncd/internal/retry"
	"github.com/syncd-io/syncd/internal/text"
)

// Plugin declares the sink.
func Plugin() syncd.Plugin {
	return syncd.NewSink("pgvector", "Writes documents to a table of PostgreSQL with pgvector, a row with its vector for each chunk.", defaults(),
		func(ctx context.Context, conf Config, env syncd.Env) (syncd.Sink, error) {
			s, err := open(ctx, conf, env)
			if err != nil {
				return nil, err
			}
			return s, nil
		}).WithLabel("pgvector").WithVersion("1", syncd.Experimental)
}

type sink struct {
	conf    Config
	connect *pgconn.Config
	pool    pg.Pool
	log     *slog.Logger
	contact *contact.Contact
	retried func(string)
	table   *pg.Points
	layout  *points.Layout
	writer  points.Writer[document]
	columns []string // of their own, that payload keys have
	column  map[string]string
	found   atomic.Pointer[found] // the table, as it was found
}

func open(ctx context.Context, conf Config, env syncd.Env) (*sink, error) {
	connect, err := pg.Parse(conf.DSN, conf.ConnectTimeout, "sink.pgvector.dsn")
	if err != nil {
		return nil, err
	}
	connect.RuntimeParams["statement_timeout"] = strconv.FormatInt(conf.Timeout.Milliseconds(), 10)
	connect.AfterConnect = func(ctx context.Context, c *pgconn.PgConn) error {
		return pg.Exec(ctx, c, "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'")
	}
	s := &sink{
		conf: conf, connect: connect, pool: pg.Pool{Config: connect}, log: env.Logger, retried: env.Retried, table: conf.table(), layout: conf.layout(),
		contact: contact.New(contact.Config{
			Log: env.Logger, Server: "PostgreSQL", Address: pg.Address(connect), Verb: "written to", Patience: time.Second,
			Trying: fmt.Sprintf("each transaction again, for up to %s (sink.pgvector.max_elapsed)", conf.MaxElapsed),
		}),
		column: map[string]string{},
	}
	seen := map[string]bool{}
	for _, key := range s.layout.Keys() {
		column := s.table.Column(key)
		if column == "" {
			continue
		}
		s.column[key] = column
		if !seen[column] {
			seen[column] = true
			s.columns = append(s.columns, column)
		}
	}
	s.writer = points.Writer[document]{Most: conf.BatchSize, Make: s.document, Put: s.put, Faulty: judge}
	if err := s.pool.With(ctx, func(*pgconn.PgConn) error { return nil }); err != nil {
		s.pool.Close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("connecting to PostgreSQL: %w", ctx.Err())
		}
		return nil, fmt.Errorf("connecting to PostgreSQL: %w", pg.Explain(err, connect, "sink.pgvector.dsn"))
	}
	return s, nil
}

// Abilities implements syncd.Sink.
func (s *sink) Abilities() syncd.SinkAbilities {
	return syncd.SinkAbilities{Prepare: s.prepare, Route: s.conf.Route, Held: s.held, Nearest: s.nearest, Probe: s.probe}
}

// Close ends the connections. Closing again does nothing.
func (s *sink) Close() error {
	s.contact.Close()
	s.pool.Close()
	return nil
}

// do calls f with a connection, and again while that may help: f begins anew each time. The error is the last one as it was.
func (s *sink) do(ctx context.Context, f func(context.Context, *pgconn.PgConn) error) error {
	policy := retry.Policy{First: 200 * time.Millisecond, Max: 5 * time.Second, Jitter: 0.5, Elapsed: s.conf.MaxElapsed}
	if s.conf.MaxElapsed == 0 {
		policy.Attempts = 1
	}
	_, err := retry.Do(ctx, retry.Retrier{
		Policy:   policy,
		Classify: func(err error) retry.Decision { return retry.Decision{Again: passing(err) != ""} },
		Waiting:  func(err error, pause time.Duration) { s.contact.Failed(passing(err)+": "+err.Error(), pause) },
		Retrying: func(err error) { s.retried(passing(err)) },
		Answered: s.contact.Answered,
	}, func() (struct{}, error) {
		within, cancel := context.WithTimeout(ctx, s.conf.ConnectTimeout+s.conf.Timeout+grace)
		defer cancel()
		return struct{}{}, s.pool.With(within, func(c *pgconn.PgConn) error { return f(within, c) })
	})
	return err
}

// grace is how long the server may take to say that time is up.
const grace = 5 * time.Second

const codeCanceled = "57014"

// passing is why a transaction may go well later, or "".
func passing(err error) string {
	if pg.CodeOf(err) == codeCanceled {
		return "timeout"
	}
	return pg.Transient(err)
}

// judge is [points.Writer.Faulty]: data, constraints, limits, and what a trigger raises.
func judge(err error) (bool, error) {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || len(pe.Code) != 5 {
		return false, err
	}
	refusal := fmt.Errorf("refused by PostgreSQL: %s (SQLSTATE %s)", text.Line(pe.Message), pe.Code)
	switch {
	case strings.HasPrefix(pe.Code, "54"):
		return true, fmt.Errorf("%w: %w", syncd.ErrTooLarge, refusal)
	case strings.HasPrefix(pe.Code, "22"), strings.HasPrefix(pe.Code, "23"), strings.HasPrefix(pe.Code, "21"), pe.Code == "P0001":
		return true, refusal
	}
	return false, err
}

// explain turns the error of do into one for people; doing is a gerund phrase. The end of ctx comes before all else.
func (s *sink) explain(ctx context.Context, doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
	hint := ""
	switch code := pg.CodeOf(err); code {
	case pg.CodeUndefinedTable, pg.CodeUndefinedSchema:
		hint = "correct sink.pgvector.table, or set sink.pgvector.create.enabled: true and run again"
	case pg.CodeUndefinedColumn:
		hint = "correct id, vector, payload or columns of sink.pgvector, or add the column to the table"
	case pg.CodePrivilege:
		hint = fmt.Sprintf("give user %q the privileges: GRANT USAGE ON SCHEMA … and GRANT SELECT, INSERT, UPDATE, DELETE ON %s", s.connect.User, s.table.From())
	case "42P10":
		hint = "make the column " + s.conf.ID + " the primary key of " + s.table.From()
	case "42804", "42846":
		hint = "the columns' types must be those that the settings say: id uuid, vector vector or halfvec, payload jsonb"
	case codeCanceled:
		err = fmt.Errorf("%w: %w", syncd.ErrUnavailable, err)
		hint = "look what the table is locked by, or set sink.pgvector.timeout"
	}
	if hint == "" {
		err = pg.Explain(err, s.connect, "sink.pgvector.dsn")
		hint = syncd.HintOf(err)
	}
	err = fmt.Errorf("%s: %w", doing, err)
	if hint == "" {
		return err
	}
	return syncd.Hint(err, "%s", hint)
}

// at is where the table is, for messages.
func (s *sink) at() string { return "the table " + s.conf.Table + " at " + pg.Address(s.connect) }

// known is the table as it was found, which is looked for where nobody has.
func (s *sink) known(ctx context.Context) (*found, error) {
	if f := s.found.Load(); f != nil {
		return f, nil
	}
	f, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	s.found.Store(f)
	return f, nil
}

// column and opclass names follow from these.
var distances = map[Distance]struct{ operator, class string }{
	"cosine": {"<=>", "cosine"}, "dot": {"<#>", "ip"}, "euclid": {"<->", "l2"}, "manhattan": {"<+>", "l1"},
}

// score is a distance in terms of nearness, as Qdrant has it: of cosine and dot the product, else the distance itself.
func (d Distance) score(distance float64) float32 {
	switch d {
	case "cosine":
		return float32(1 - distance)
	case "dot":
		return float32(-distance)
	}
	return float32(distance)
}

var errTable = errors.New("the table of the points does not exist")
