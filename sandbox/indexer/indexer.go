// Package indexer is the demo's stand-in for the consumer that a user of syncd already
// has: it reads change events from Kafka and keeps a Qdrant collection in step with them.
//
// It shares no code with syncd. That both arrive at the same point ids is what the
// sandbox shows; if they shared the code it would show nothing.
//
// Invariants:
//
//   - The point of a document's chunk n has the id
//     UUIDv5(NAMESPACE_URL, "{mongo_id}/{content_type}/{n}"). Chunk 0 always exists, even
//     of a document without text. So indexing an event again changes nothing.
//   - An offset is committed after Qdrant has confirmed what the event asks for, and never
//     before. While Qdrant can't be reached the indexer waits and tries again.
//   - Events of one document take effect in the order of their partition.
//   - An event that can't be read is counted, logged and passed over: no later event would
//     be indexed otherwise.
package indexer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

// DefaultCollection is the collection in Qdrant that Config names unless it is set.
const DefaultCollection = "pms_collection"

// Config says what an indexer reads, and where it writes. Only Brokers is required.
type Config struct {
	Brokers  []string // host:port
	User     string   // SASL/PLAIN login, if set
	Password string
	// Topics is a regular expression of topic names; the default is "^ProjectManagement\.".
	// A topic may appear later: it is then read from its start.
	Topics string
	// Group is the consumer group, which keeps the offsets; the default is "qdrant-consumer".
	Group string
	// Refresh is how often to look for new topics and partitions; the default is 250 ms.
	Refresh time.Duration

	QdrantHost string      // default localhost
	QdrantPort int         // of gRPC; default 6334
	APIKey     string      // if the server wants one
	TLS        *tls.Config // nil means no TLS
	// Collection is created if it is missing, also while running; the default is
	// "pms_collection".
	Collection string

	// ContentTypes maps a collection of MongoDB to a content type, for events without
	// the header syncd-content-type. The default is that of the demo's eight collections; a
	// collection that isn't named is its own content type.
	ContentTypes map[string]string
	VectorSize   int // default 32
	ChunkSize    int // characters; default 1,000
	BatchSize    int // points of one upsert; default 256

	// Drop, if set, is asked for every document's id: true leaves the document out, as an
	// indexer with a bug would do. It is called by one goroutine.
	Drop func(id string) bool

	// Logger gets what goes wrong. Nil means silence.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	set(&c.Topics, `^ProjectManagement\.`)
	set(&c.Group, "qdrant-consumer")
	set(&c.Refresh, 250*time.Millisecond)
	set(&c.QdrantHost, "localhost")
	set(&c.QdrantPort, 6334)
	set(&c.Collection, DefaultCollection)
	set(&c.VectorSize, 32)
	set(&c.ChunkSize, 1000)
	set(&c.BatchSize, 256)
	if c.ContentTypes == nil {
		c.ContentTypes = map[string]string{
			"page": "page", "workItem": "work_item", "project": "project", "cycle": "cycle",
			"module": "module", "epic": "epic", "features": "feature", "userStory": "user_story",
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func set[T comparable](v *T, byDefault T) {
	var zero T
	if *v == zero {
		*v = byDefault
	}
}

// Indexer is a running indexer. Its methods may be called from several goroutines.
type Indexer struct {
	cfg    Config
	kafka  *kgo.Client
	qdrant *qdrant.Client
	close  func() error

	indexed, deleted, dropped, failed atomic.Int64
}

// Start creates the Qdrant collection if it is missing and begins to consume. ctx bounds
// the start only; Close ends the indexer. Qdrant must be there; Kafka and the topics
// may come later.
func Start(ctx context.Context, cfg Config) (*Indexer, error) {
	x := &Indexer{cfg: cfg.withDefaults()}
	if _, err := regexp.Compile(x.cfg.Topics); err != nil {
		return nil, fmt.Errorf("starting the indexer: reading the topics: %w", err)
	}
	var err error
	x.qdrant, err = qdrant.NewClient(&qdrant.Config{
		Host: x.cfg.QdrantHost, Port: x.cfg.QdrantPort, APIKey: x.cfg.APIKey,
		UseTLS: x.cfg.TLS != nil, TLSConfig: x.cfg.TLS,
		PoolSize: 1, SkipCompatibilityCheck: true, Logger: x.cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("starting the indexer: %w", err)
	}
	startCtx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := x.ensureCollection(startCtx); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the indexer: %w", err), x.qdrant.Close())
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(x.cfg.Brokers...),
		kgo.ConsumerGroup(x.cfg.Group),
		kgo.ConsumeRegex(),
		kgo.ConsumeTopics(x.cfg.Topics),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.MetadataMaxAge(x.cfg.Refresh),
		kgo.MetadataMinAge(min(x.cfg.Refresh, 100*time.Millisecond)),
		kgo.FetchMaxWait(250 * time.Millisecond),
		kgo.DisableAutoCommit(),
		// A partition must not move on while its events are being indexed: two members
		// could then index two versions of one document in either order.
		kgo.BlockRebalanceOnPoll(),
	}
	if x.cfg.User != "" {
		opts = append(opts, kgo.SASL(plain.Auth{User: x.cfg.User, Pass: x.cfg.Password}.AsMechanism()))
	}
	x.kafka, err = kgo.NewClient(opts...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the indexer: %w", err), x.qdrant.Close())
	}

	runCtx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		x.run(runCtx)
	}()
	x.close = sync.OnceValue(func() error {
		stop()
		<-done
		x.kafka.CloseAllowingRebalance()
		return x.qdrant.Close()
	})
	return x, nil
}

// Indexed returns how many documents have been written to Qdrant, a document counting
// once for each of its events that wasn't overtaken by a later one in the same fetch.
func (x *Indexer) Indexed() int64 { return x.indexed.Load() }

// Deleted returns how many documents have been deleted from Qdrant.
func (x *Indexer) Deleted() int64 { return x.deleted.Load() }

// Dropped returns how many documents Config.Drop left out.
func (x *Indexer) Dropped() int64 { return x.dropped.Load() }

// Failed returns how many events couldn't be read.
func (x *Indexer) Failed() int64 { return x.failed.Load() }

// Close stops the indexer and waits until it has stopped. What was consumed but not
// confirmed by Qdrant is consumed again by the group's next member. Close may be called again.
func (x *Indexer) Close() error {
	if err := x.close(); err != nil {
		return fmt.Errorf("stopping the indexer: %w", err)
	}
	return nil
}

// maxPoll bounds the records in memory: with the largest documents some 100 MB.
const maxPoll = 1000

func (x *Indexer) run(ctx context.Context) {
	for {
		fetches := x.kafka.PollRecords(ctx, maxPoll)
		if ctx.Err() != nil {
			return
		}
		fetches.EachError(func(topic string, partition int32, err error) {
			x.cfg.Logger.Warn("consuming", "topic", topic, "partition", partition, "error", err)
		})
		records := fetches.Records()
		if len(records) > 0 {
			if err := x.apply(ctx, x.read(records)); err != nil {
				return // only ctx ends the attempts
			}
			x.commit(ctx, records)
		}
		x.kafka.AllowRebalance()
	}
}

// commit says that the records are done. It outlives Close by two seconds at most. A
// failure costs nothing but indexing the records again.
func (x *Indexer) commit(ctx context.Context, records []*kgo.Record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := x.kafka.CommitRecords(ctx, records...); err != nil {
		x.cfg.Logger.Warn("committing offsets", "error", err)
	}
}

// changes is what a fetch asks for: the last event of each document.
type changes struct {
	docs  map[docKey]document
	order []docKey
}

// document is what is to become of a document.
type document struct {
	event   event
	gone    bool
	replace bool // the index may hold an older version, perhaps of more chunks
}

// read reads records into changes. A document's events are in one partition, since its
// id is their key, so the last one of the fetch is the last one.
func (x *Indexer) read(records []*kgo.Record) changes {
	c := changes{docs: map[docKey]document{}}
	for _, r := range records {
		e, err := parse(r, x.cfg.ContentTypes)
		if err != nil {
			x.failed.Add(1)
			x.cfg.Logger.Warn("reading an event", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "error", err)
			continue
		}
		if x.cfg.Drop != nil && x.cfg.Drop(e.key.id) {
			x.dropped.Add(1)
			continue
		}
		_, overtakes := c.docs[e.key]
		if !overtakes {
			c.order = append(c.order, e.key)
		}
		c.docs[e.key] = document{
			event: e,
			gone:  e.operation == "delete",
			// An insert that overtakes a delete must still do the delete's work.
			replace: overtakes || e.operation != "insert",
		}
	}
	return c
}
