package qdrant

import (
	"fmt"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/points"
	"github.com/syncd-io/syncd/internal/qdrantconn"
	"github.com/syncd-io/syncd/spec"
)

// Config is the sink's configuration.
type Config struct {
	URL        string      `yaml:"url" env:"QDRANT_URL" example:"http://localhost:6333" doc:"Where Qdrant is: http(s)://host[:port], grpc://host[:port] or host[:port], localhost if it is not set; https turns TLS on, and the REST port 6333 stands for the gRPC port 6334."`
	Collection string      `yaml:"collection" env:"QDRANT_COLLECTION" doc:"The collection, or an alias of one." rule:"required,name,max=255"`
	Alias      string      `yaml:"alias" example:"documents" doc:"An alias that readers ask. It is pointed to the collection when a run has shown that it holds all documents, so that another model's vectors take the place of the old ones at one instant; the collection that it stood for is kept. Empty leaves aliases alone." rule:"name,max=255"`
	APIKey     spec.Secret `yaml:"api_key" doc:"The API key or JSON web token; it must be allowed to write."`
	TLS        TLS         `yaml:"tls" doc:"How to connect where TLS is on."`

	Vector    string        `yaml:"vector" doc:"The name of the vector that is written; empty is the collection's only one, which has no name." rule:"name"`
	Create    Create        `yaml:"create" doc:"How a collection is made that does not exist."`
	Payload   Payload       `yaml:"payload" doc:"The payload keys of each point."`
	UpdatedAt string        `yaml:"updated_at" doc:"The document's field that says when it changed, which is kept under its own name; mapping.version compares by it. Empty keeps none." rule:"name"`
	Fields    []string      `yaml:"fields" example:"[status, project.name]" doc:"Further fields of the document that are kept under their own names."`
	Ordering  Ordering      `yaml:"ordering" doc:"How Qdrant orders writes of several clients to several replicas." rule:"oneof=weak medium strong"`
	BatchSize int           `yaml:"batch_size" doc:"Points in a request; a document of more takes several, chunk 0 in the last." rule:"min=1,max=10000"`
	PoolSize  int           `yaml:"pool_size" doc:"Connections to open; 0 leaves it to the client library." rule:"min=0,max=64"`
	Timeout   time.Duration `yaml:"timeout" doc:"The time that one request may take." rule:"min=1ms,max=1h"`
	Connect   time.Duration `yaml:"connect_timeout" doc:"The time that connecting may take at start." rule:"min=1ms,max=10m"`
	Retry     Retry         `yaml:"retry" doc:"How requests are repeated that Qdrant could not answer."`
}

// Create is how a collection is made.
type Create struct {
	Enabled       bool         `yaml:"enabled" doc:"Make the collection if it does not exist, with the model's dimensions, and indexes of the keys that syncd looks for."`
	Distance      Distance     `yaml:"distance" doc:"How vectors are compared." rule:"oneof=cosine dot euclid manhattan"`
	OnDisk        bool         `yaml:"on_disk" doc:"Keep vectors on disk rather than in memory."`
	OnDiskPayload bool         `yaml:"on_disk_payload" doc:"Keep payload on disk rather than in memory."`
	Quantization  Quantization `yaml:"quantization" doc:"How vectors are made smaller in memory: none, scalar (a byte a number) or binary (a bit a number)." rule:"oneof=none scalar binary"`
	Indexes       []string     `yaml:"indexes" example:"[status]" doc:"Further payload keys that are indexed as keywords."`
	Shards        int          `yaml:"shards" doc:"Shards of the collection; 0 leaves it to Qdrant." rule:"min=0,max=1000"`
	Replicas      int          `yaml:"replicas" doc:"Copies of each shard; 0 leaves it to Qdrant." rule:"min=0,max=100"`
}

// Payload names the payload keys of points.
type Payload = points.Payload

// TLS is how a connection is encrypted.
type TLS = qdrantconn.TLS

// Retry is how requests are repeated that Qdrant could not answer.
type Retry = qdrantconn.Retry

// Distance is how vectors are compared.
type Distance string

// Quantization is how vectors are made smaller in memory.
type Quantization string

// Ordering is how writes are ordered.
type Ordering string

func defaults() Config {
	return Config{
		Collection: "pms_collection", Create: Create{Distance: "cosine", Quantization: "none"},
		Payload:   points.DefaultPayload(),
		UpdatedAt: "updatedAt", Ordering: "weak", BatchSize: 256, Timeout: 30 * time.Second, Connect: 5 * time.Second,
		Retry: qdrantconn.DefaultRetry,
	}
}

func (c *Config) endpoint() (qdrantconn.Endpoint, error) { return c.address().Endpoint() }

func (c *Config) address() qdrantconn.Address {
	return qdrantconn.Address{URL: c.URL, Port: qdrantconn.GRPCPort, TLS: c.TLS.Enabled}
}

// CheckConfig reports what the tags can't.
func (c *Config) CheckConfig(d *spec.Decoder, n *spec.Node) {
	if _, err := c.endpoint(); err != nil {
		at, _ := n.Nearest([]string{"url"})
		d.Errorf(at, spec.CodeBadValue, qdrantconn.AddressForms, "%s.url %v", d.Path(), err)
	}
	if c.Alias != "" && c.Alias == c.Collection {
		d.Errorf(n.Get("alias"), spec.CodeBadValue, "name the collection that is to be filled in collection, in the checker, too, and what readers ask in alias",
			"%s.alias is the collection itself", d.Path())
	}
	qdrantconn.Check(d, n, c.address(), c.APIKey, c.TLS, c.Retry)
	layout := c.layout()
	layout.Check(d, n, "payload")
}

func (c *Config) layout() points.Layout {
	return points.Layout{Payload: c.Payload, UpdatedAt: c.UpdatedAt, Fields: c.Fields}
}

// Switches implements syncd.Switcher.
func (c *Config) Switches() bool { return c.Alias != "" }

// PayloadKeys implements syncd.Indexer.
func (c *Config) PayloadKeys() syncd.PayloadKeys {
	layout := c.layout()
	return layout.PayloadKeys()
}

// IndexName implements syncd.Placed.
func (c *Config) IndexName() string {
	return fmt.Sprintf("collection %q at %s", c.Collection, c.Location())
}

// Location implements syncd.Locator.
func (c *Config) Location() string {
	ep, err := c.endpoint()
	if err != nil {
		return ""
	}
	return ep.Addr()
}

// Route implements syncd.Router: every target goes to the one collection.
func (c *Config) Route(syncd.Target) string { return "Qdrant collection " + c.Collection }
