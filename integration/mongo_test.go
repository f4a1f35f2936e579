package integration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/syncd-io/syncd"
	source "github.com/syncd-io/syncd/connectors/mongo"
	"github.com/syncd-io/syncd/sandbox/mongotest"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
)

// TestSecantus says which behaviours that syncd relies on SecantusDB has. (The sandbox's tests say so of mongo-java-server and,
// with SYNCD_TEST_MONGO_URI, of a server of yours.)
func TestSecantus(t *testing.T) {
	const order = "embedded documents, binaries of different lengths and denormal doubles have another order"
	mongotest.Run(t, mongotest.Target{URI: startSecantus(t), Except: map[string]string{
		"type:decimal":               "the double 0.1 equals the decimal 0.1",
		"type:dbPointer":             "it can't be stored",
		"type:javascript":            "it equals a string of that text",
		"type:symbol":                "it comes back as a string",
		"type:md5":                   "binaries are ordered by their bytes before their subtypes",
		"sort_order":                 order,
		"min_max":                    order,
		"min_max_leaves_out_max_key": "without an upper bound MaxKey is among what is found",
		"min_max_errors":             "bounds that exclude each other find nothing and are no error",
		"batches":                    "singleBatch sends all documents",
		"coll_stats":                 "sizes are 0",
		"error_codes":                "arrays, regular expressions and undefined are stored as _id",
	}})
}

// TestSourceSuite runs the source's conformance suite on SecantusDB or, with SYNCD_TEST_MONGO_URI, on a server of yours. (The
// sandbox's tests run it on mongo-java-server.)
func TestSourceSuite(t *testing.T) {
	servers := mongoServers()
	delete(servers, javaName)
	for name, server := range servers {
		t.Run(name, func(t *testing.T) { testSourceSuite(t, newPlace(t, server(t), kafkaAddr(t))) })
	}
}

func testSourceSuite(t *testing.T, p *place) {
	// in connects for one moment: the suite looks for goroutines that a source leaves, and a client has such goroutines too.
	in := func(t *testing.T, collection string, f func(c *mongo.Collection) error) {
		t.Helper()
		client, err := mongo.Connect(options.Client().ApplyURI(p.mongoURI))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f(client.Database(p.name).Collection(collection)), client.Disconnect(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	defer in(t, "any", func(c *mongo.Collection) error { return c.Database().Drop(t.Context()) })
	syncdtest.TestSource(t, syncdtest.SourceHarness{
		Open: func(t *testing.T, collection string, docs []syncdtest.Doc) syncd.Source {
			in(t, collection, func(c *mongo.Collection) error { return fill(t.Context(), c, docs) })
			plugin := source.Plugin()
			cfg := plugin.Config().(*source.Config)
			cfg.URI, cfg.Database, cfg.Splits, cfg.BatchSize = spec.Secret(p.mongoURI), p.name, 3, 50
			s, err := plugin.OpenSource(t.Context(), cfg, syncd.Env{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatalf("%v (%s)", err, syncd.HintOf(err))
			}
			return s
		},
		Delete: func(t *testing.T, collection, id string) {
			in(t, collection, func(c *mongo.Collection) error {
				_, err := c.DeleteOne(t.Context(), bson.D{{Key: "_id", Value: id}})
				return err
			})
		},
		Filter: func(field, text string) string { return fmt.Sprintf("{%q: %q}", field, text) },
	})
}

// fill makes a collection hold exactly docs, unless it has as many.
func fill(ctx context.Context, c *mongo.Collection, docs []syncdtest.Doc) error {
	if n, err := c.CountDocuments(ctx, bson.D{}); err == nil && n > 0 && n == int64(len(docs)) {
		return nil
	}
	if err := errors.Join(c.Drop(ctx), c.Database().CreateCollection(ctx, c.Name())); err != nil {
		return err
	}
	for part := range slices.Chunk(docs, 1000) {
		all := make([]any, len(part))
		for i, d := range part {
			all[i] = d.Map()
		}
		if _, err := c.InsertMany(ctx, all); err != nil {
			return err
		}
	}
	return nil
}
