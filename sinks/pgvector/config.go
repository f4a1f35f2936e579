package pgvector

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/pg"
	"github.com/syncd-io/syncd/internal/points"
	"github.com/syncd-io/syncd/spec"
)

// Config is what stands under sink.pgvector.
type Config struct {
	DSN     spec.Secret       `yaml:"dsn" env:"PGVECTOR_DSN" rule:"required" doc:"Connection string: postgres://user:password@host:5432/database?sslmode=verify-full, or host=… dbname=…. TLS is set by its options sslmode, sslrootcert, sslcert and sslkey."`
	Table   string            `yaml:"table" rule:"required,name" example:"chunks" doc:"The table of the points, with its schema if that is not public."`
	ID      string            `yaml:"id" rule:"required,name" doc:"The column of the point ids, of type uuid, its primary key."`
	Vector  string            `yaml:"vector" rule:"required,name" doc:"The column of the vectors, of pgvector's type vector or halfvec; it must allow NULL, for documents without text."`
	Payload string            `yaml:"payload" rule:"name" doc:"The column of the payload, of type jsonb, which is written as a whole; empty where all of it is in columns of their own."`
	Columns map[string]string `yaml:"columns" example:"{content_type: kind}" doc:"Payload keys that are columns of their own, and their columns, of any type that their JSON can be read as. Without payload, a key that is not named here is the column of its name."`

	Keys      points.Payload `yaml:"keys" doc:"The payload keys of each point."`
	UpdatedAt string         `yaml:"updated_at" doc:"The document's field that says when it changed, which is kept under its own name; mapping.version compares by it. Empty keeps none." rule:"name"`
	Fields    []string       `yaml:"fields" example:"[status, project.name]" doc:"Further fields of the document that are kept under their own names."`

	Distance Distance `yaml:"distance" doc:"How vectors are compared, by the index that is made and by syncd search." rule:"oneof=cosine dot euclid manhattan"`
	Create   Create   `yaml:"create" doc:"How a table is made that does not exist."`

	BatchSize      int           `yaml:"batch_size" doc:"Points written in one transaction; a document of more is written in one of its own." rule:"min=1,max=10000"`
	ConnectTimeout time.Duration `yaml:"connect_timeout" rule:"min=1ms,max=10m" doc:"How long to wait for a connection."`
	Timeout        time.Duration `yaml:"timeout" doc:"The time that one transaction may take." rule:"min=1ms,max=1h"`
	MaxElapsed     time.Duration `yaml:"max_elapsed" rule:"min=0s,max=24h" doc:"The time after which a transaction is given up that the server could not make; 0 never repeats."`
}

// Create is how a table is made.
type Create struct {
	Enabled        bool   `yaml:"enabled" doc:"Make the table if it does not exist, with the model's dimensions, and indexes of the keys that syncd looks for; and pgvector's extension in its database."`
	Type           Type   `yaml:"type" doc:"The type of the vectors: vector, or halfvec, which takes half of the room." rule:"oneof=vector halfvec"`
	Index          Method `yaml:"index" doc:"The index of the vectors: hnsw, ivfflat or none. hnsw takes vector of up to 2000 dimensions and halfvec of up to 4000. ivfflat learns from what is there when it is made, so REINDEX it when the table is full." rule:"oneof=hnsw ivfflat none"`
	M              int    `yaml:"m" doc:"Connections of a point in hnsw." rule:"min=2,max=100"`
	EFConstruction int    `yaml:"ef_construction" doc:"Candidates when a point is put into hnsw; at least twice m." rule:"min=4,max=1000"`
	Lists          int    `yaml:"lists" doc:"Lists of ivfflat: about rows ÷ 1000, and for more than a million their square root." rule:"min=1,max=32768"`
}

// Distance is how vectors are compared.
type Distance string

// Type is a type of vectors.
type Type string

// Method is a kind of index.
type Method string

func defaults() Config {
	return Config{
		ID: "id", Vector: "embedding", Payload: "payload", Keys: points.DefaultPayload(), UpdatedAt: "updatedAt", Distance: "cosine",
		Create:    Create{Type: "vector", Index: "hnsw", M: 16, EFConstruction: 64, Lists: 100},
		BatchSize: 256, ConnectTimeout: 10 * time.Second, Timeout: 30 * time.Second, MaxElapsed: time.Minute,
	}
}

func (c *Config) table() *pg.Points {
	return &pg.Points{Table: c.Table, ID: c.ID, Payload: c.Payload, Columns: c.Columns}
}

func (c *Config) layout() *points.Layout {
	return &points.Layout{Payload: c.Keys, UpdatedAt: c.UpdatedAt, Fields: c.Fields}
}

// CheckConfig reports what the tags can't.
func (c *Config) CheckConfig(d *spec.Decoder, n *spec.Node) {
	table, layout := c.table(), c.layout()
	table.Check(d, n, c.DSN)
	layout.Check(d, n, "keys")
	keys := layout.Keys()
	own := map[string]string{c.ID: "id", c.Vector: "vector", c.Payload: "payload"}
	if c.ID == c.Vector || c.ID == c.Payload || c.Vector == c.Payload {
		d.Errorf(n, spec.CodeBadValue, "give each a column of its own", "%s: two of id, vector and payload have one column", d.Path())
	}
	for _, key := range slices.Sorted(maps.Keys(c.Columns)) {
		if !slices.Contains(keys, key) {
			d.Errorf(n.Get("columns").Get(key), spec.CodeBadValue, "name one of "+strings.Join(keys, ", ")+", or keep the field: fields",
				"%s.columns: %q is no payload key that is written", d.Path(), key)
		}
	}
	for _, key := range keys {
		column := table.Column(key)
		if column == "" {
			continue
		}
		by := fmt.Sprintf("%q", key)
		if top, _, inside := strings.Cut(key, "."); inside && c.Columns[key] == "" {
			by = fmt.Sprintf("%q", top) // fields of one object share its column
		}
		if other, taken := own[column]; taken && other != by {
			at, _ := n.Nearest([]string{"columns", key})
			d.Errorf(at, spec.CodeBadValue, "give it a column of its own: columns", "%s: %s and %s have one column, %q", d.Path(), by, other, column)
		}
		own[column] = by
	}
	if c.Create.Index == "ivfflat" && c.Distance == "manhattan" {
		d.Errorf(n.Get("distance"), spec.CodeBadValue, "take hnsw", "%s: ivfflat can't compare by the distance manhattan", d.Path())
	}
	if c.Create.Index == "hnsw" && c.Create.EFConstruction < 2*c.Create.M {
		d.Errorf(n.Get("create"), spec.CodeBadValue, "", "%s.create.ef_construction must be at least twice m, which is %d", d.Path(), c.Create.M)
	}
}

// PayloadKeys implements syncd.Indexer.
func (c *Config) PayloadKeys() syncd.PayloadKeys { return c.layout().PayloadKeys() }

// IndexName implements syncd.Placed.
func (c *Config) IndexName() string { return c.table().IndexName(c.DSN) }

// Location implements syncd.Locator.
func (c *Config) Location() string { return pg.Location(c.DSN) }

// Route implements syncd.Router: every target goes to the one table.
func (c *Config) Route(syncd.Target) string { return "PostgreSQL table " + c.Table }

var (
	_ syncd.Indexer = (*Config)(nil)
	_ syncd.Placed  = (*Config)(nil)
	_ syncd.Locator = (*Config)(nil)
	_ syncd.Router  = (*Config)(nil)
)
