package mongo

import (
	"strings"
	"time"

	"github.com/syncd-io/syncd/spec"
)

// Config is what stands under source.mongo.
type Config struct {
	URI            spec.Secret   `yaml:"uri" env:"MONGODB_URI" rule:"required" doc:"Connection string, mongodb:// or mongodb+srv://. TLS, authentication, read preference and read concern are its options."`
	TLS            TLS           `yaml:"tls" doc:"How to connect where TLS is on; the same as the tls options of the connection string, of which each may stand in one place only."`
	Database       string        `yaml:"database" env:"MONGODB_DATABASE" rule:"required,name" doc:"The database that holds the collections."`
	BatchSize      int           `yaml:"batch_size" rule:"min=0,max=100000" doc:"Documents that the server returns at once, at most. It changes the number of round trips, not what is read. 0 is automatic: 10000 ids, or 1000 whole documents. Of large documents it is fewer, so that an answer has about 2 MiB."`
	Splits         int           `yaml:"splits" rule:"min=0,max=10000" doc:"How many parts a collection is divided into, to be read in parallel. 0 is automatic: 1 below 50000 documents, else 1 for every 250000, at least 4 for each CPU, in a cluster also 4 for each of its partitions, and at most 1024. There may be fewer, and there is 1 where the server can't read from the middle of a collection."`
	ConnectTimeout time.Duration `yaml:"connect_timeout" rule:"min=1ms,max=10m" doc:"How long to look for a usable server before giving up; it replaces serverSelectionTimeoutMS and connectTimeoutMS of the connection string."`
	AppName        string        `yaml:"app_name" rule:"max=128" doc:"Name of this client in the server's log and in currentOp, unless the connection string has appName."`
	Stream         StreamConfig  `yaml:"stream" doc:"How changes are followed."`
}

// StreamConfig is what stands under source.mongo.stream.
type StreamConfig struct {
	FullDocument string `yaml:"full_document" rule:"oneof=update_lookup when_available required" doc:"Which document an update carries: as it is when the server sends the event (update_lookup), or as the update left it (MongoDB 6.0 or newer, with changeStreamPreAndPostImages on for the collection); where that image is missing, the document is read (when_available), or following stops (required)."`
	Before       string `yaml:"before" rule:"oneof=off when_available required" doc:"Whether events carry the document as it was before, from which a delete gets the fields that a seed needs beside _id: never (off), where there is such an image (when_available), or following stops where there is none (required). It takes MongoDB 6.0 or newer, and changeStreamPreAndPostImages."`
}

// Values of StreamConfig.
const (
	fullLookup    = "update_lookup"
	beforeOff     = "off"
	whenAvailable = "when_available"
	required      = "required"
)

func defaults() Config {
	return Config{
		ConnectTimeout: 10 * time.Second,
		AppName:        "syncd",
		Stream:         StreamConfig{FullDocument: fullLookup, Before: beforeOff},
	}
}

// DatabaseName is the database that events, topics and seeds name.
func (c *Config) DatabaseName() string { return c.Database }

// CheckFilter says what is wrong with a collection's filter.
func (c *Config) CheckFilter(filter string) error {
	query, err := parseFilter(filter)
	if err != nil || query == nil {
		return err
	}
	return checkOperators(query)
}

// CheckConfig checks what tags can't say.
func (c *Config) CheckConfig(d *spec.Decoder, n *spec.Node) {
	const form = "the form is mongodb://host:27017/?options, with a login in front of the host where one is needed"
	d.In("uri", func() {
		if _, err := parseURI(c.URI.Reveal()); err != nil {
			d.Errorf(n.Get("uri"), spec.CodeBadValue, form, "%s is not a MongoDB connection string: %v", d.Path(), err)
			return
		}
		for _, p := range checkOptions(c.URI.Reveal()) {
			d.Report(p.severity, n.Get("uri"), p.code, p.hint, "%s %s", d.Path(), p.message)
		}
	})
	d.In("database", func() {
		// Manual, "MongoDB Limits and Thresholds": restrictions on database names, of which those for Windows are the strictest.
		if i := strings.IndexAny(c.Database, "/\\. \"$*<>:|?\x00"); i >= 0 {
			d.Errorf(n.Get("database"), spec.CodeBadValue, "", "%s can't hold the character %q", d.Path(), c.Database[i:i+1])
		} else if len(c.Database) > 63 {
			d.Errorf(n.Get("database"), spec.CodeBadValue, "", "%s can't be longer than 63 bytes", d.Path())
		}
	})
	c.checkTLS(d, n)
}
