// Package sandbox runs everything that syncd talks to inside one process, over the real wire protocols: a MongoDB, a Qdrant and a Kafka
// server, and an embedding service. Beside it the built syncd runs as the indexing consumer that makes points of events. It is for the
// demo, for trying syncd out, and for end-to-end tests.
//
// Invariants:
//   - all servers listen on the loopback interface only;
//   - data lives in memory or in a temporary folder and is gone after Close;
//   - it needs the build tag ferretdb_sqlite (see package mongoserver).
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/syncd-io/syncd/sandbox/change"
	"github.com/syncd-io/syncd/sandbox/embedserver"
	"github.com/syncd-io/syncd/sandbox/fastmongo"
	"github.com/syncd-io/syncd/sandbox/kafkaserver"
	"github.com/syncd-io/syncd/sandbox/mongoserver"
	"github.com/syncd-io/syncd/sandbox/qdrantserver"
	"github.com/syncd-io/syncd/sandbox/sample"
)

// Config says where the servers listen. An empty address is a free port.
type Config struct {
	MongoAddr, QdrantAddr, KafkaAddr, EmbedAddr string

	Embed  embedserver.Config  // Addr is EmbedAddr
	Qdrant qdrantserver.Config // Addr is QdrantAddr

	Streams bool // MongoDB is fastmongo, a replica set with change streams, rather than FerretDB, which has none
	Indexer IndexerConfig
}

// Sandbox is a set of running servers.
type Sandbox struct {
	Mongo   MongoDB
	Qdrant  *qdrantserver.Server
	Embed   *embedserver.Server
	Kafka   *kafkaserver.Server
	Indexer *Indexer // nil without a program

	closers []io.Closer
}

// MongoDB is a running MongoDB server.
type MongoDB interface {
	Addr() string // host:port
	URI() string
	io.Closer
}

func startMongo(ctx context.Context, cfg Config) (MongoDB, error) {
	if cfg.Streams {
		return fastmongo.Start(ctx, fastmongo.Config{Addr: cfg.MongoAddr, ReplicaSet: "sandbox", Oplog: fastmongo.Oplog{Noop: time.Second}})
	}
	return mongoserver.Start(ctx, mongoserver.Config{Addr: cfg.MongoAddr})
}

// Start starts the servers and the indexer. On error nothing is left running.
func Start(ctx context.Context, cfg Config) (_ *Sandbox, err error) {
	s := &Sandbox{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.Mongo, err = startMongo(ctx, cfg); err != nil {
		return nil, fmt.Errorf("starting MongoDB: %w", err)
	}
	s.closers = append(s.closers, s.Mongo)
	index := cfg.Qdrant
	index.Addr = cfg.QdrantAddr
	if s.Qdrant, err = qdrantserver.Start(index); err != nil {
		return nil, fmt.Errorf("starting Qdrant: %w", err)
	}
	s.closers = append(s.closers, s.Qdrant)
	embed := cfg.Embed
	embed.Addr = cfg.EmbedAddr
	if s.Embed, err = embedserver.Start(embed); err != nil {
		return nil, fmt.Errorf("starting the embedding service: %w", err)
	}
	s.closers = append(s.closers, s.Embed)
	if s.Kafka, err = kafkaserver.Start(kafkaserver.Config{Addr: cfg.KafkaAddr}); err != nil {
		return nil, fmt.Errorf("starting Kafka: %w", err)
	}
	s.closers = append(s.closers, s.Kafka)
	if cfg.Indexer.Syncd == "" {
		return s, nil
	}
	for _, collection := range sample.Collections() { // an indexer whose pattern matches no topic is taken to be misconfigured
		if err := s.Kafka.CreateTopic(sample.Database+"."+collection, 3); err != nil {
			return nil, err
		}
	}
	if s.Indexer, err = startIndexer(cfg.Indexer, s.Environ()); err != nil {
		return nil, fmt.Errorf("starting the indexer: %w", err)
	}
	s.closers = append(s.closers, s.Indexer)
	if err := s.Indexer.ready(ctx, s.Data()); err != nil {
		return nil, fmt.Errorf("starting the indexer: %w", err)
	}
	return s, nil
}

// Close stops everything, the indexer first.
func (s *Sandbox) Close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i].Close())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// Environ lists the environment variables that point syncd at the sandbox.
func (s *Sandbox) Environ() []string {
	return []string{
		"MONGODB_URI=" + s.Mongo.URI(),
		"QDRANT_URL=http://" + s.Qdrant.Addr(),
		"KAFKA_BOOTSTRAP_SERVERS=" + s.Kafka.Addr(),
		"EMBEDDING_URL=" + s.Embed.URL(),
	}
}

// Load inserts the sample documents with index from up to from+count into the database ProjectManagement.
func (s *Sandbox) Load(ctx context.Context, from, count int) error {
	if _, err := sample.Load(ctx, s.Mongo.URI(), "", from, count); err != nil {
		return fmt.Errorf("loading sample documents: %w", err)
	}
	return nil
}

// Data is what the sandbox holds, to be changed.
func (s *Sandbox) Data() change.Data {
	return change.Data{Mongo: s.Mongo.URI(), Qdrant: s.Qdrant.Addr(), Collection: Collection}
}

// Sent counts the events on all topics.
func (s *Sandbox) Sent(ctx context.Context) (int, error) {
	records, _, err := s.Kafka.Consume(ctx, kafkaserver.ConsumeConfig{})
	if err != nil {
		return 0, fmt.Errorf("reading the topics: %w", err)
	}
	return len(records), nil
}
