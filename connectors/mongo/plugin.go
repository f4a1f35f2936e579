package mongo

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/syncd-io/syncd"
)

// Plugin declares the source.
func Plugin() syncd.Plugin {
	return syncd.NewSource("mongo", "Reads the collections of a MongoDB database.", defaults(), open).WithLabel("MongoDB")
}

// source is an open connection. Its methods are safe for concurrent use.
type source struct {
	cfg    Config
	target target
	scrub  scrubber
	client *mongodriver.Client
	db     *mongodriver.Database
	finder finder
	// primary asks the primary where finder may ask another server, which lags behind; else it is nil.
	primary finder
	log     *slog.Logger

	abilities abilities
}

var (
	_ syncd.Source           = (*source)(nil)
	_ syncd.Counter          = (*source)(nil)
	_ syncd.Estimator        = (*source)(nil)
	_ syncd.CollectionLister = (*source)(nil)
	_ syncd.DatabaseNamer    = (*Config)(nil)
	_ syncd.FilterChecker    = (*Config)(nil)
)

// closeTimeout bounds the goodbye to the server, which frees its sessions sooner for it.
const closeTimeout = 5 * time.Second

func open(ctx context.Context, cfg Config, env syncd.Env) (syncd.Source, error) {
	uri := cfg.URI.Reveal()
	s := &source{cfg: cfg, scrub: newScrubber(uri), log: env.Logger}
	var err error
	if s.target, err = parseURI(uri); err != nil {
		return nil, fmt.Errorf("reading the MongoDB connection string: %w", err)
	}
	opts := options.Client().ApplyURI(uri)
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

// ping asks a server that the connection string's read preference allows. The driver gives up the search for one after
// connect_timeout; logging in to it and the answer get as long again.
func (s *source) ping(ctx context.Context) error {
	pingCtx, cancel := context.WithTimeout(ctx, 2*s.cfg.ConnectTimeout)
	defer cancel()
	return s.explain(ctx, s.client.Ping(pingCtx, nil))
}

// Close ends the connection.
func (s *source) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := s.client.Disconnect(ctx); err != nil {
		return fmt.Errorf("closing the connection to MongoDB: %w", s.scrub.scrub(err))
	}
	return nil
}
