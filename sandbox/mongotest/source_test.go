package mongotest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/connectors/mongo"
	"github.com/syncd-io/syncd/sandbox/fastmongo"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
)

// sourceDatabase is where the tests of the source keep their collections.
const sourceDatabase = "syncd_source"

// server is a database to point a source at, with a client beside it.
type server struct {
	uri string
	*mongodriver.Database
}

func connectTo(t testing.TB, uri string) server {
	t.Helper()
	client, err := mongodriver.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	// Now, so that the client's own goroutines are there before a suite looks for what a source leaves.
	if err := client.Ping(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	s := server{uri, client.Database(sourceDatabase)}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(s.Drop(ctx), client.Disconnect(ctx)); err != nil {
			t.Error(err)
		}
	})
	return s
}

// open opens a source. settings are texts of source.mongo's, by their names in YAML, with a dot in front of what stands in a block.
func (s server) open(t testing.TB, settings ...string) syncd.Source {
	t.Helper()
	node := &spec.Node{Kind: spec.Map}
	settings = append(settings, "uri", s.uri, "database", sourceDatabase)
	for pair := range slices.Chunk(settings, 2) {
		value := &spec.Node{Text: pair[1]}
		if _, err := strconv.Atoi(pair[1]); err == nil {
			value.Type = spec.Int
		}
		in, name := node, pair[0]
		if block, inner, nested := strings.Cut(name, "."); nested {
			i := slices.IndexFunc(node.Entries, func(e spec.Entry) bool { return e.Name == block })
			if i < 0 {
				i = len(node.Entries)
				node.Entries = append(node.Entries, spec.Entry{Name: block, Value: &spec.Node{Kind: spec.Map}})
			}
			in, name = node.Entries[i].Value, inner
		}
		in.Entries = append(in.Entries, spec.Entry{Name: name, Value: value})
	}
	p := mongo.Plugin()
	cfg := p.Config()
	if diags := spec.Decode(node, cfg, "source", "mongo"); diags.HasErrors() {
		t.Fatal(diags)
	}
	src, err := p.OpenSource(t.Context(), cfg, syncd.Env{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatalf("%v (%s)", err, syncd.HintOf(err))
	}
	return src
}

// fill makes the collection hold exactly docs.
func (s server) fill(t testing.TB, collection string, docs []any) {
	t.Helper()
	c := s.Collection(collection)
	if err := c.Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateCollection(t.Context(), collection); err != nil {
		t.Fatal(err)
	}
	for part := range slices.Chunk(docs, 1000) {
		if _, err := c.InsertMany(t.Context(), part); err != nil {
			t.Fatal(err)
		}
	}
}

// harness fills collections by the protocol.
func (s server) harness(background []string, settings ...string) syncdtest.SourceHarness {
	return syncdtest.SourceHarness{
		Open: func(t *testing.T, collection string, docs []syncdtest.Doc) syncd.Source {
			if n, err := s.Collection(collection).CountDocuments(t.Context(), bson.D{}); err != nil || n == 0 || n != int64(len(docs)) {
				all := make([]any, len(docs))
				for i, d := range docs {
					all[i] = d.Map()
				}
				s.fill(t, collection, all)
			}
			return s.open(t, settings...)
		},
		Delete: func(t *testing.T, collection, id string) {
			if _, err := s.Collection(collection).DeleteOne(t.Context(), bson.D{{Key: "_id", Value: id}}); err != nil {
				t.Fatal(err)
			}
		},
		Drop: func(t *testing.T, collection string) {
			if err := s.Collection(collection).Drop(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		Filter:     func(field, text string) string { return fmt.Sprintf("{%q: %q}", field, text) },
		Background: background,
	}
}

func TestSourceOnFastmongo(t *testing.T) {
	for name, c := range map[string]struct {
		quirks   fastmongo.Quirks
		settings []string
	}{
		"defaults":       {},
		"three splits":   {settings: []string{"splits", "3", "batch_size", "7"}},
		"ignores bounds": {quirks: fastmongo.Quirks{IgnoreBounds: true}, settings: []string{"splits", "3"}},
		"rejects bounds": {quirks: fastmongo.Quirks{RejectBounds: true, NoSample: true}, settings: []string{"splits", "3"}},
	} {
		t.Run(name, func(t *testing.T) {
			fast := startFast(t, fastmongo.Config{})
			fast.SetQuirks(c.quirks)
			syncdtest.TestSource(t, connectTo(t, fast.URI()).harness(fastmongo.Background(), c.settings...))
		})
	}
}

func TestSourceOnJavaServer(t *testing.T) {
	syncdtest.TestSource(t, connectTo(t, startJava(t).URI()).harness(nil, "splits", "3", "batch_size", "50"))
}
