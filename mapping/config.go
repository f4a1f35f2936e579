package mapping

import (
	"strings"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

// DefaultSeed is the seed that the described indexing consumer hashes.
const DefaultSeed = "{mongo_id}/{content_type}/{chunk_index}"

// Config is the `mapping` section of a configuration.
type Config struct {
	Namespace   string      `yaml:"namespace" doc:"UUID namespace of the point ids: url, dns, oid, x500, or a UUID of your own."`
	Seed        string      `yaml:"seed" doc:"Template of the text whose UUIDv5 is a document's point id; it must be the indexer's, byte for byte."`
	Version     *Version    `yaml:"version" doc:"How to find documents that the index holds in another version; without it an indexed document is never stale."`
	Chunks      *Chunks     `yaml:"chunks" doc:"How to find documents of which the index holds only some chunks; without it they are not looked for."`
	Owner       *Owner      `yaml:"owner" doc:"What makes a point in the index this source's: without it, or {database} in the seed, nothing is deleted from the index."`
	Payload     Payload     `yaml:"payload" doc:"The payload keys under which the indexer keeps what a point belongs to."`
	model       *Model      // set by Indexed
	cleaned     bool        // likewise: whoever writes the index leaves no chunk of an older version behind
	Collections Collections `yaml:"collections" example:"{workItem: work_item}" doc:"The collections to read, one or more, each with the content type that the index calls its documents."`
}

// Version says where a document's version is, on both sides.
type Version struct {
	Field   []string `yaml:"field" rule:"required,min=1,dive,min=1" doc:"The document's field, such as updatedAt; of several, the first that a document has."`
	Payload string   `yaml:"payload" rule:"required,name" doc:"The payload key that holds the indexed document's version."`
	Policy  Policy   `yaml:"policy" rule:"oneof=differs newer" doc:"Stale is what differs (the default), or only what is newer in the source."`
}

// Chunks says how complete a document is in the index.
type Chunks struct {
	Payload string `yaml:"payload" rule:"required,name" doc:"The payload key of chunk 0 that holds the number of the document's chunks."`
}

// Payload names the payload keys that the indexer writes.
type Payload struct {
	ContentType string `yaml:"content_type" rule:"required,name" doc:"The key that holds the content type."`
	ID          string `yaml:"id" rule:"required,name" doc:"The key that holds the text of the document's id."`
	ChunkIndex  string `yaml:"chunk_index" rule:"required,name" doc:"The key that holds the chunk's index."`
}

// Indexed completes what a mapping does not say by what is known where a job writes the index itself, under these keys: which version,
// model, database and number of chunks a point has.
func (c *Config) Indexed(keys syncd.PayloadKeys, model string) {
	if c.Chunks == nil {
		c.Chunks = &Chunks{Payload: keys.ChunkCount}
	}
	c.cleaned = true
	if c.Version == nil && keys.UpdatedAt != "" {
		c.Version = &Version{Field: []string{keys.UpdatedAt}, Payload: keys.UpdatedAt}
	}
	if c.Owner == nil && keys.Database != "" {
		c.Owner = &Owner{Payload: keys.Database}
	}
	if keys.Model != "" {
		c.model = &Model{Payload: keys.Model, Name: model}
	}
}

// Defaults makes point ids and names payload keys as the described indexing consumer does. It has no collections: which there
// are only a configuration can say.
func Defaults() Config {
	return Config{
		Namespace: "url",
		Seed:      DefaultSeed,
		Payload:   Payload{ContentType: "content_type", ID: "mongo_id", ChunkIndex: "chunk_index"},
	}
}

// Collections is a list of collections in the order in which a configuration names them.
type Collections []Collection

// Collection is what one collection's entry says.
type Collection struct {
	Name string // the entry's key

	ContentType string     `yaml:"content_type" rule:"required,name" doc:"What the index calls this collection's documents."`
	Seed        string     `yaml:"seed" doc:"The seed template of this collection, where it differs from mapping.seed."`
	Topic       string     `yaml:"topic" rule:"name" doc:"The topic of this collection's events, where it differs from the sink's rule."`
	Version     *Version   `yaml:"version" doc:"The version of this collection's documents, where it differs from mapping.version."`
	Watch       []string   `yaml:"watch" example:"[title, content]" doc:"With run.follow, the fields whose changes are sent: an update that touches none of them is passed over and counted."`
	Filter      *spec.Node `yaml:"filter" doc:"A query that selects the documents to read, in the language of the source: for MongoDB Extended JSON, as text or the same in YAML; for PostgreSQL an SQL expression."`
}

// DecodeNode reads the block of collections: each entry is a content type, or a block of fields.
func (cs *Collections) DecodeNode(d *spec.Decoder, n *spec.Node) {
	if n.IsNull() {
		return
	}
	if n.Kind != spec.Map {
		d.Errorf(n, spec.CodeWrongType, "write one line a collection, such as: workItem: work_item",
			"%s must be a block of collections", d.Path())
		return
	}
	out := Collections{}
	for _, e := range n.Entries {
		c := Collection{Name: e.Name}
		d.In(e.Name, func() {
			if d.CheckKey(e) {
				return
			}
			if strings.TrimSpace(e.Name) == "" || strings.ContainsAny(e.Name, "\x00$") {
				d.Errorf(e.Value, spec.CodeBadValue, "", "%q can't be the name of a collection", e.Name)
				return
			}
			c.decode(d, e.Value)
		})
		out = append(out, c)
	}
	*cs = out
}

// decode reads one entry: `workItem: work_item`, or a block.
func (c *Collection) decode(d *spec.Decoder, n *spec.Node) {
	if n.Broken {
		return // a variable that is not set: reported, or not to be
	}
	if n.Kind == spec.Scalar && !n.IsNull() {
		if n.Type != spec.Text {
			d.Errorf(n, spec.CodeWrongType, "quote it if it really is the name", "the content type of %s must be text, not %s", c.Name, n.Text)
			return
		}
		if n.Text == "" {
			d.Errorf(n, spec.CodeMissingField, "", "the content type of %s must not be empty", c.Name)
			return
		}
		if !d.CheckName(n, n.Text) {
			c.ContentType = n.Text
		}
		return
	}
	d.Decode(n, (*collectionFields)(c))
	c.Filter = withDates(d, c.Filter, "")
}

// collectionFields is Collection as a plain block of fields.
type collectionFields Collection
