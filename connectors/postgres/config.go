package postgres

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/pg"
	"github.com/syncd-io/syncd/spec"
)

// Config is what stands under source.postgres.
type Config struct {
	DSN            spec.Secret       `yaml:"dsn" env:"POSTGRES_DSN" rule:"required" doc:"Connection string: postgres://user:password@host:5432/database?sslmode=verify-full, or host=… dbname=…. TLS is set by its options sslmode, sslrootcert, sslcert and sslkey."`
	Schema         string            `yaml:"schema" rule:"required,name" doc:"The schema of collections that are named without one. A collection of another schema is named schema.table."`
	Keys           map[string]string `yaml:"keys" example:"{invoice_view: tenant number}" doc:"The columns that tell the rows of a collection apart, separated by spaces, where it has no primary key, such as a view, or another key than that is to make ids. No two rows may have the same."`
	Splits         int               `yaml:"splits" rule:"min=0,max=10000" doc:"How many parts a table is divided into, to be read in parallel. 0 is automatic: 1 below 50000 rows, else 1 for every 250000, at least 4 for each CPU, in a cluster also 4 for each of its partitions, and at most 1024. A view is read as one."`
	Snapshot       string            `yaml:"snapshot" rule:"oneof=shared each" doc:"What the readers of a table see: all of them one moment, by an exported snapshot, which keeps VACUUM from cleaning up what was deleted since, until the table is read (shared); or each part its own moment (each)."`
	ConnectTimeout time.Duration     `yaml:"connect_timeout" rule:"min=1ms,max=10m" doc:"How long to wait for a connection."`
	AppName        string            `yaml:"app_name" rule:"max=63" doc:"Name of this client in pg_stat_activity, unless the connection string has application_name."`
	Stream         StreamConfig      `yaml:"stream" doc:"How changes are followed, by logical replication."`
}

// StreamConfig is what stands under source.postgres.stream.
type StreamConfig struct {
	Slot        string `yaml:"slot" rule:"required,max=63" doc:"The replication slot, one for each job: the server keeps its log for a slot until it was read, so drop the slot of a job that is gone (syncd does not)."`
	Publication string `yaml:"publication" rule:"required,max=63" doc:"The publication of the tables that are followed."`
	Create      bool   `yaml:"create" doc:"Whether to make the publication and the slot where they do not exist, and add tables to the publication."`
}

const (
	snapshotShared = "shared"
	snapshotEach   = "each"
)

func defaults() Config {
	return Config{
		Schema:         "public",
		Snapshot:       snapshotShared,
		ConnectTimeout: 10 * time.Second,
		AppName:        "syncd",
		Stream:         StreamConfig{Slot: "syncd", Publication: "syncd", Create: true},
	}
}

// parse reads the connection string, without connecting.
func (c *Config) parse() (*pgconn.Config, error) {
	parsed, err := pgconn.ParseConfig(c.DSN.Reveal())
	if err != nil {
		return nil, fmt.Errorf("%s is not a connection string of PostgreSQL: %w", "source.postgres.dsn", pg.WithoutText(err))
	}
	return parsed, nil
}

// DatabaseName is the database that events, topics and seeds name.
func (c *Config) DatabaseName() string {
	if c.DSN == "" {
		return ""
	}
	parsed, err := c.parse()
	if err != nil {
		return ""
	}
	return parsed.Database
}

// Location is the server of the connection string.
func (c *Config) Location() string {
	parsed, err := c.parse()
	if err != nil {
		return ""
	}
	return pg.Address(parsed)
}

// CheckFilter says what is wrong with a collection's filter.
func (c *Config) CheckFilter(filter string) error { return checkFilter(filter) }

// CheckConfig checks what tags can't say.
func (c *Config) CheckConfig(d *spec.Decoder, n *spec.Node) {
	d.In("dsn", func() {
		parsed, err := pgconn.ParseConfig(c.DSN.Reveal())
		switch {
		case c.DSN == "":
		case err != nil:
			d.Errorf(n.Get("dsn"), spec.CodeBadValue, "the form is postgres://user:password@host:5432/database", "%s is not a connection string of PostgreSQL: %v", d.Path(), pg.WithoutText(err))
		case parsed.Database == "":
			d.Errorf(n.Get("dsn"), spec.CodeMissingField, "the form is postgres://user:password@host:5432/database", "%s names no database", d.Path())
		}
	})
	d.In("keys", func() {
		for _, name := range slices.Sorted(maps.Keys(c.Keys)) {
			columns := strings.Fields(c.Keys[name])
			slices.Sort(columns)
			if len(columns) == 0 || len(slices.Compact(slices.Clone(columns))) < len(columns) {
				d.Errorf(n.Get("keys").Get(name), spec.CodeBadValue, "", "%s.%s must name one or more columns, each once", d.Path(), name)
			}
		}
	})
	for name, value := range map[string]string{"slot": c.Stream.Slot, "publication": c.Stream.Publication} {
		d.In("stream", func() {
			d.In(name, func() {
				if name == "slot" && strings.Trim(value, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
					d.Errorf(n.Get("stream").Get(name), spec.CodeBadValue, "", "%s may hold lower case letters, digits and underscores only", d.Path())
				}
				if strings.ContainsRune(value, 0) {
					d.Errorf(n.Get("stream").Get(name), spec.CodeBadValue, "", "%s can't hold a NUL character", d.Path())
				}
			})
		})
	}
}

var (
	_ syncd.DatabaseNamer = (*Config)(nil)
	_ syncd.FilterChecker = (*Config)(nil)
	_ syncd.Locator       = (*Config)(nil)
)
