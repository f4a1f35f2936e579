package mongo

import (
	"context"
	"crypto/tls"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"
	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/connectors/internal/rows"
	"github.com/syncd-io/syncd/internal/coalesce"
	"github.com/syncd-io/syncd/internal/contact"
	"github.com/syncd-io/syncd/internal/retry"
)

// Plugin declares the source.
func Plugin() syncd.Plugin {
	return syncd.NewSource("mongo", "Reads the collections of a MongoDB database.", defaults(), open).
		WithLabel("MongoDB").WithVersion("1", syncd.Stable)
}

// source is an open connection. Its methods are safe for concurrent use.
type source struct {
	cfg    Config
	splits int // of a collection at least, where it is divided at all
	target target
	scrub  scrubber
	client *mongodriver.Client
	db     *mongodriver.Database
	finder finder
	// primary asks the primary where finder may ask another server, which lags behind; else it is nil.
	primary finder
	log     *slog.Logger
	retried func(reason string)
	contact *contact.Contact

	tls             *tls.Config // nil where TLS is off
	mechanism       string      // of logging in, where the connection string names one
	replicaSet      string      // that the servers must be of, where the connection string names one
	preference      *readpref.ReadPref
	heartbeatFailed chan struct{}
	answers         answers

	learned   learned
	looks     *coalesce.Questions[string, *traits]   // see look
	estimates *coalesce.Questions[string, estimated] // see estimate
	seen      sync.Map                               // set of collections, no views, that Identity saw, until Estimate is called
	small     sync.Map                               // set of collections that Estimate found to be small, until Splits is called
	ends      sync.Map                               // bson.RawValue by collection: see reading.freeze
	streams   streamsLearned

	awaitTime time.Duration // of a stream's server
	silence   time.Duration // of it, before it counts as lost
	clock     retry.Clock   // of pauses; tests have their own

	sizes      sizes
	builders   rows.Pool
	replyBytes int // of documents that a server is asked for at once
}

var (
	_ syncd.Source        = (*source)(nil)
	_ syncd.DatabaseNamer = (*Config)(nil)
	_ syncd.FilterChecker = (*Config)(nil)
)

// Abilities are all that a source can have. Whether the server has change streams is found out when they are asked for.
func (s *source) Abilities() syncd.SourceAbilities {
	return syncd.SourceAbilities{
		Count:       s.Count,
		Divide:      s.Divide,
		Estimate:    s.Estimate,
		Find:        s.Find,
		FindAll:     s.FindAll,
		Identity:    s.Identity,
		Collections: s.Collections,
		Stream:      s.streaming(),
		Probe:       s.Probe,
	}
}

// closeTimeout bounds the goodbye to the server, which frees its sessions sooner for it.
const closeTimeout = 5 * time.Second

func open(ctx context.Context, cfg Config, env syncd.Env) (syncd.Source, error) {
	uri := cfg.connectionString()
	s := &source{cfg: cfg, splits: env.Splits, scrub: newScrubber(uri), log: env.Logger, retried: env.Retried, heartbeatFailed: make(chan struct{}, 1), replyBytes: replyBytes, silence: firstSilence}
	if env.Memory > 0 {
		s.replyBytes = int(min(replyBytes, env.Memory/memoryReplies))
	}
	var err error
	if s.target, err = parseURI(uri); err != nil {
		return nil, fmt.Errorf("reading the MongoDB connection string: %w", err)
	}
	s.contact = contact.New(contact.Config{
		Log: env.Logger, Server: "MongoDB", Address: s.target.hosts, Verb: "asked",
		Trying: fmt.Sprintf("each question again, up to %d times, looking for a server for %s each time (source.mongo.connect_timeout)", maxAttempts, cfg.ConnectTimeout),
	})
	opts := options.Client().ApplyURI(uri)
	if err := opts.Validate(); err != nil && !is[net.Error](err) || is[*fs.PathError](err) {
		return nil, syncd.Hint(fmt.Errorf("preparing the connection to MongoDB: %w", s.scrub.scrub(err)),
			"check the files of source.mongo.tls, and of the tls options of source.mongo.uri, and the password of the key")
	}
	if s.tls = opts.TLSConfig; s.tls != nil {
		s.tls.ServerName = cfg.TLS.ServerName
	}
	if opts.Auth != nil {
		s.mechanism = strings.ToUpper(opts.Auth.AuthMechanism)
	}
	if s.mechanism == mechanismX509 && s.target.user == "" && s.tls != nil && len(s.tls.Certificates) > 0 {
		s.target.user = s.tls.Certificates[0].Leaf.Subject.String() // as MongoDB wants it to be named
	}
	s.preference = opts.ReadPreference
	if opts.ReplicaSet != nil {
		s.replicaSet = *opts.ReplicaSet
	}
	if s.awaitTime = awaitTime; opts.Timeout != nil && *opts.Timeout > 0 {
		s.awaitTime = min(awaitTime, *opts.Timeout/2)
	}
	opts.SetServerMonitor(s.monitor()).SetMonitor(&event.CommandMonitor{Failed: commandFailed})
	opts.SetServerSelectionTimeout(cfg.ConnectTimeout).SetConnectTimeout(cfg.ConnectTimeout)
	if opts.AppName == nil && cfg.AppName != "" {
		opts.SetAppName(cfg.AppName)
	}
	if s.client, err = mongodriver.Connect(opts); err != nil {
		return nil, fmt.Errorf("connecting to MongoDB: %w", s.explain(ctx, err))
	}
	if err := s.ping(ctx); err != nil {
		_ = s.Close() // the reason for not connecting is what counts
		return nil, fmt.Errorf("connecting to MongoDB: %w", err)
	}
	s.db = s.client.Database(cfg.Database)
	s.looks, s.estimates = coalesce.New(s.lookAt), coalesce.New(s.estimateAll)
	s.finder = databaseFinder{s.db}
	if p := opts.ReadPreference; p != nil && p.Mode() != readpref.PrimaryMode {
		s.primary = databaseFinder{s.client.Database(cfg.Database, options.Database().SetReadPreference(readpref.Primary()))}
	}
	return s, nil
}

// upToDate is the finder whose word counts that a document is not there.
func (s *source) upToDate() finder {
	if s.primary != nil {
		return s.primary
	}
	return s.finder
}

// Close ends the connection.
func (s *source) Close() error {
	s.contact.Close()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := s.client.Disconnect(ctx); err != nil {
		return fmt.Errorf("closing the connection to MongoDB: %w", s.scrub.scrub(err))
	}
	return nil
}
