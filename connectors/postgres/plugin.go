package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/contact"
	"github.com/syncd-io/syncd/internal/pg"
)

// Plugin declares the source.
func Plugin() syncd.Plugin {
	return syncd.NewSource("postgres", "Reads the tables and views of a PostgreSQL database.", defaults(), open).
		WithLabel("PostgreSQL").WithVersion("1", syncd.Experimental)
}

// source is an open database. Its methods are safe for concurrent use.
type source struct {
	cfg     Config
	splits  int // of a table at least, where it is divided at all
	connect *pgconn.Config
	pool    pg.Pool
	log     *slog.Logger
	retried func(reason string)
	contact *contact.Contact

	mu        sync.Mutex
	tables    map[string]*table      // by collection, as last looked at
	kinds     map[uint32]kind        // of types that are not builtin
	snapshots map[string]*snapshot   // by collection, while its splits are read
	handover  *snapshot              // the slot's, of the moment from which on changes are followed
	confirmed map[string]confirmable // by stream

	slotUseless bool // what the slot was made for can't be told from where it stands
}

var _ syncd.Source = (*source)(nil)

func open(ctx context.Context, cfg Config, env syncd.Env) (syncd.Source, error) {
	s, err := newSource(cfg, env)
	if err != nil {
		return nil, err
	}
	if err := s.pool.With(ctx, func(*pgconn.PgConn) error { return nil }); err != nil {
		return nil, fmt.Errorf("connecting to PostgreSQL: %w", s.explain(ctx, err))
	}
	return s, nil
}

// newSource prepares a source that has not connected yet.
func newSource(cfg Config, env syncd.Env) (*source, error) {
	parsed, err := cfg.parse()
	if err != nil {
		return nil, err
	}
	parsed.ConnectTimeout = cfg.ConnectTimeout
	if parsed.RuntimeParams["application_name"] == "" && cfg.AppName != "" {
		parsed.RuntimeParams["application_name"] = cfg.AppName
	}
	maps.Copy(parsed.RuntimeParams, pg.SessionParameters)
	parsed.RuntimeParams["search_path"] = pg.Quote(cfg.Schema) + ", public"
	return &source{
		cfg: cfg, splits: env.Splits, connect: parsed, pool: pg.Pool{Config: parsed}, log: env.Logger, retried: env.Retried,
		tables: map[string]*table{}, kinds: map[uint32]kind{}, snapshots: map[string]*snapshot{}, confirmed: map[string]confirmable{},
		contact: contact.New(contact.Config{
			Log: env.Logger, Server: "PostgreSQL", Address: pg.Address(parsed), Verb: "asked", Patience: time.Second,
			Trying: fmt.Sprintf("each question again, up to %d times", maxAttempts),
		}),
	}, nil
}

// Abilities are all that a source can have but Estimate: what the server remembers of a table's size is only about right.
func (s *source) Abilities() syncd.SourceAbilities {
	return syncd.SourceAbilities{
		Count:       s.Count,
		Find:        s.Find,
		FindAll:     s.FindAll,
		Identity:    s.Identity,
		Collections: s.Collections,
		Stream:      s.streaming(),
		Probe:       s.Probe,
	}
}

// Close ends the connections.
func (s *source) Close() error {
	s.contact.Close()
	s.endSnapshots()
	s.pool.Close()
	return nil
}
