// Package pgvector is the checker that asks a table of PostgreSQL, as it is kept for pgvector: a row is a point, with its id of type
// uuid, its vector, and its payload as jsonb or in columns.
//
// Invariants:
//   - a question names its points by their places, so that an answer can't be taken for another's;
//   - a table that does not exist is an empty index only where the configuration says so; a column that does not exist is an error;
//   - a listing goes on behind the last id, by statements of their own, so that none holds a moment of the database for long;
//   - vectors are never read.
package pgvector

import (
	"errors"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/pg"
	"github.com/syncd-io/syncd/spec"
)

// Config is what stands under checker.pgvector.
type Config struct {
	DSN            spec.Secret       `yaml:"dsn" env:"PGVECTOR_DSN" rule:"required" doc:"Connection string: postgres://user:password@host:5432/database?sslmode=verify-full, or host=… dbname=…. TLS is set by its options sslmode, sslrootcert, sslcert and sslkey."`
	Table          string            `yaml:"table" rule:"required,name" example:"chunks" doc:"The table of the points, with its schema if that is not public."`
	ID             string            `yaml:"id" rule:"required,name" doc:"The column of the point ids, of type uuid, with an index."`
	Payload        string            `yaml:"payload" rule:"name" doc:"The column of the payload, of type jsonb; empty where all of it is in columns of their own."`
	Columns        map[string]string `yaml:"columns" example:"{content_type: kind}" doc:"Payload keys that are columns of their own, and their columns. Without payload, a key that is not named here is the column of its name."`
	BatchSize      int               `yaml:"batch_size" rule:"min=1,max=100000" doc:"Ids asked in one statement."`
	ConnectTimeout time.Duration     `yaml:"connect_timeout" rule:"min=1ms,max=10m" doc:"How long to wait for a connection."`
	MaxElapsed     time.Duration     `yaml:"max_elapsed" rule:"min=0s,max=24h" doc:"The time after which a question is given up that the server could not answer; 0 never repeats."`
	OnMissingTable string            `yaml:"on_missing_table" rule:"oneof=empty fail" doc:"What a table that does not exist means: empty (nothing is indexed yet) or fail."`
}

const (
	missingIsEmpty = "empty"
	missingFails   = "fail"
)

func defaults() Config {
	return Config{
		ID: "id", Payload: "payload", BatchSize: 1000, ConnectTimeout: 10 * time.Second, MaxElapsed: time.Minute, OnMissingTable: missingIsEmpty,
	}
}

func (c *Config) points() *pg.Points {
	return &pg.Points{Table: c.Table, ID: c.ID, Payload: c.Payload, Columns: c.Columns}
}

// Location is the server of the connection string.
func (c *Config) Location() string { return pg.Location(c.DSN) }

// IndexName implements syncd.Placed.
func (c *Config) IndexName() string { return c.points().IndexName(c.DSN) }

// CheckConfig checks what tags can't say.
func (c *Config) CheckConfig(d *spec.Decoder, n *spec.Node) { c.points().Check(d, n, c.DSN) }

var (
	_ syncd.Locator = (*Config)(nil)
	_ syncd.Placed  = (*Config)(nil)
)

var errTable = errors.New("the table of the points does not exist")
