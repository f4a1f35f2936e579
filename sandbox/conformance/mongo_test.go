//go:build ferretdb_sqlite

package conformance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/connectors/mongo"
	"github.com/syncd-io/syncd/sandbox/mongoserver"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
)

// mongoURIEnv points these tests at a server of your own; they write to the database mongoDatabase there.
const (
	mongoURIEnv   = "SYNCD_TEST_MONGO_URI"
	mongoDatabase = "syncd_conformance"
)

// mongoDB is a database to test against, with a client beside the source.
type mongoDB struct {
	uri string
	*mongodriver.Database
}

func startMongo(t *testing.T) mongoDB {
	t.Helper()
	uri := os.Getenv(mongoURIEnv)
	if uri == "" {
		s, err := mongoserver.Start(t.Context(), mongoserver.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		uri = s.URI()
	}
	client, err := mongodriver.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	// Now, so that the client's own goroutines are there before a suite looks for what a source leaves.
	if err := client.Ping(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	db := mongoDB{uri, client.Database(mongoDatabase)}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(db.Drop(ctx), client.Disconnect(ctx)); err != nil {
			t.Error(err)
		}
	})
	return db
}

func (db mongoDB) open(t *testing.T, change func(*mongo.Config)) syncd.Source {
	t.Helper()
	return db.openLogged(t, change, slog.DiscardHandler)
}

func (db mongoDB) openLogged(t *testing.T, change func(*mongo.Config), log slog.Handler) syncd.Source {
	t.Helper()
	p := mongo.Plugin()
	cfg := p.Config().(*mongo.Config)
	cfg.URI, cfg.Database = spec.Secret(db.uri), mongoDatabase
	if change != nil {
		change(cfg)
	}
	s, err := p.OpenSource(t.Context(), cfg, syncd.Env{Logger: slog.New(log)})
	if err != nil {
		t.Fatalf("%v (%s)", err, syncd.HintOf(err))
	}
	return s
}

// fill makes the collection hold exactly docs.
func (db mongoDB) fill(t *testing.T, collection string, docs []any) {
	t.Helper()
	c := db.Collection(collection)
	if err := c.Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.CreateCollection(t.Context(), collection); err != nil {
		t.Fatal(err)
	}
	for part := range slices.Chunk(docs, 1000) {
		if _, err := c.InsertMany(t.Context(), part); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMongoSource(t *testing.T) {
	db := startMongo(t)
	syncdtest.TestSource(t, syncdtest.SourceHarness{
		Open: func(t *testing.T, collection string, docs []syncdtest.Doc) syncd.Source {
			if n, err := db.Collection(collection).CountDocuments(t.Context(), bson.D{}); err != nil || n == 0 || n != int64(len(docs)) {
				all := make([]any, len(docs))
				for i, d := range docs {
					all[i] = d.Map()
				}
				db.fill(t, collection, all)
			}
			return db.open(t, func(c *mongo.Config) { c.BatchSize = 50 })
		},
		Drop: func(t *testing.T, collection string) {
			if err := db.Collection(collection).Drop(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		Delete: func(t *testing.T, collection, id string) {
			if _, err := db.Collection(collection).DeleteOne(t.Context(), bson.D{{Key: "_id", Value: id}}); err != nil {
				t.Fatal(err)
			}
		},
		Filter:     func(field, text string) string { return fmt.Sprintf("{%q: %q}", field, text) },
		Background: serverGoroutines,
	})
}

// serverGoroutines belong to the embedded server, which runs in this process: some for each connection, until the client
// has hung up and it has noticed, and one for each database.
var serverGoroutines = []string{
	"github.com/FerretDB/FerretDB/internal/clientconn.(*conn).run",
	"github.com/FerretDB/FerretDB/internal/clientconn.(*conn).run.func2",
	"github.com/FerretDB/FerretDB/internal/util/ctxutil.WithDelay.func1",
	"database/sql.(*DB).connectionOpener",
}

func readAll(t *testing.T, s syncd.Source, req syncd.ReadRequest) ([]syncd.Change, error) {
	t.Helper()
	req.BatchSize = max(req.BatchSize, 3)
	var out []syncd.Change
	for batch, err := range s.Read(t.Context(), req) {
		if err != nil {
			return out, err
		}
		out = append(out, batch.Changes...)
	}
	return out, nil
}

func changeIDs(changes []syncd.Change) []string {
	var out []string
	for _, c := range changes {
		out = append(out, c.ID)
	}
	return out
}

// Ids of every type that the embedded server stores, in one collection: a read sees each once, resumes behind each,
// behind each that was deleted too, and fetches each.
func TestMongoMixedIDs(t *testing.T) {
	db := startMongo(t)
	oid, _ := bson.ObjectIDFromHex("507f1f77bcf86cd799439011")
	ids := []any{
		int32(1), int64(1) << 60, 1.5, -2.25, "", "a", "b", "5", int32(5), oid, bson.ObjectID{},
		bson.Binary{Subtype: 4, Data: []byte("0123456789abcdef")}, bson.Binary{Data: []byte{1, 2}},
		true, false, bson.DateTime(0), bson.DateTime(-1), bson.Timestamp{T: 7, I: 1},
		bson.D{{Key: "a", Value: int32(1)}}, bson.D{{Key: "a", Value: "x"}, {Key: "b", Value: int32(2)}},
	}
	docs := make([]any, len(ids))
	for i, id := range ids {
		docs[i] = bson.D{{Key: "_id", Value: id}, {Key: "n", Value: int32(i)}}
	}
	db.fill(t, "mixed", docs)
	s := db.open(t, nil)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	coll := syncd.Collection{Name: "mixed"}
	req := syncd.ReadRequest{Split: syncd.Split{Collection: coll}, Fields: []string{"n"}}
	all, err := readAll(t, s, req)
	if err != nil || len(all) != len(ids) {
		t.Fatalf("%d of %d documents, %v", len(all), len(ids), err)
	}
	keys := make([]syncd.Key, len(all))
	for i, c := range all {
		if c.Err != nil {
			t.Fatal(c.Err)
		}
		keys[i] = c.Key
	}
	found := 0
	for f, err := range s.Fetch(t.Context(), coll, keys) {
		if err != nil {
			t.Fatal(err)
		}
		if v, err := f.Document.Lookup("n"); err != nil || v != all[f.Index].Fields[0] {
			t.Errorf("key %d fetched another document: %v, %v", f.Index, v, err)
		}
		found++
	}
	if found != len(keys) {
		t.Errorf("fetched %d of %d", found, len(keys))
	}
	for i, c := range all {
		req.After = syncd.Offset(c.Key)
		rest, err := readAll(t, s, req)
		if diff := cmp.Diff(changeIDs(all[i+1:]), changeIDs(rest)); diff != "" || err != nil {
			t.Errorf("after %q: %v\n%s", c.ID, err, diff)
		}
		n := 0
		if _, err := fmt.Sscan(c.Fields[0].Text, &n); err != nil {
			t.Fatal(err)
		}
		mixed := db.Collection("mixed")
		if _, err := mixed.DeleteOne(t.Context(), bson.D{{Key: "_id", Value: ids[n]}}); err != nil {
			t.Fatal(err)
		}
		rest, err = readAll(t, s, req)
		if diff := cmp.Diff(changeIDs(all[i+1:]), changeIDs(rest)); diff != "" || err != nil {
			t.Errorf("after the deleted %q: %v\n%s", c.ID, err, diff)
		}
		if _, err := mixed.InsertOne(t.Context(), docs[n]); err != nil {
			t.Fatal(err)
		}
	}
}

// A collection with ids of mixed types, divided as far as the server can: the splits together give each document once, and
// no document that came after they were made keeps them from ending.
func TestMongoSplits(t *testing.T) {
	db := startMongo(t)
	var docs []any
	for i := range 300 {
		docs = append(docs, bson.D{{Key: "_id", Value: int32(i)}}, bson.D{{Key: "_id", Value: float64(i) + 0.5}},
			bson.D{{Key: "_id", Value: fmt.Sprintf("text %03d", i)}}, bson.D{{Key: "_id", Value: bson.NewObjectID()}})
	}
	db.fill(t, "split", docs)
	var log strings.Builder
	const want = 8
	s := db.openLogged(t, func(c *mongo.Config) { c.Splits, c.BatchSize = want, 20 }, slog.NewTextHandler(&log, nil))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	var splits []syncd.Split
	for split, err := range s.Splits(t.Context(), syncd.Collection{Name: "split"}) {
		if err != nil {
			t.Fatal(err)
		}
		splits = append(splits, split)
	}
	if os.Getenv(mongoURIEnv) == "" { // the embedded server ignores min and max
		if len(splits) != 1 || !strings.Contains(log.String(), "one reader reads all of it") {
			t.Errorf("%d splits; log: %s", len(splits), log.String())
		}
	} else if len(splits) != want {
		t.Errorf("%d splits; log: %s", len(splits), log.String())
	}
	seen := map[syncd.Key]int{}
	for _, split := range splits {
		req := syncd.ReadRequest{Split: split}
		for resumed := false; ; resumed = true {
			changes, err := readAll(t, s, req)
			if err != nil {
				t.Fatal(err)
			}
			if resumed || len(changes) < 2 {
				for _, c := range changes {
					seen[c.Key]++
				}
				break
			}
			// The first half, then the rest behind it.
			changes = changes[:len(changes)/2]
			for _, c := range changes {
				seen[c.Key]++
			}
			req.After = syncd.Offset(changes[len(changes)-1].Key)
		}
	}
	for k, n := range seen {
		if n != 1 {
			t.Errorf("%q was seen %d times", k, n)
		}
	}
	if len(seen) != len(docs) {
		t.Errorf("%d of %d documents", len(seen), len(docs))
	}
}

func TestMongoFilter(t *testing.T) {
	db := startMongo(t)
	var docs []any
	for i := range 50 {
		docs = append(docs, bson.D{{Key: "_id", Value: bson.NewObjectID()}, {Key: "archived", Value: i%5 == 0}})
	}
	db.fill(t, "filtered", docs)
	s := db.open(t, nil)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	coll := syncd.Collection{Name: "filtered", Filter: `{"archived": false}`}
	req := syncd.ReadRequest{Split: syncd.Split{Collection: coll}}
	all, err := readAll(t, s, req)
	if err != nil || len(all) != 40 {
		t.Fatalf("%d documents, %v", len(all), err)
	}
	if n, err := s.Abilities().Count(t.Context(), coll); err != nil || n != 40 {
		t.Errorf("Count = %d, %v", n, err)
	}
	req.After = syncd.Offset(all[19].Key)
	if rest, err := readAll(t, s, req); err != nil || !slices.Equal(changeIDs(rest), changeIDs(all[20:])) {
		t.Errorf("resumed: %q, %v", changeIDs(rest), err)
	}
	req.Split.Collection.Filter = `{"$nosuch": 1}`
	if _, err := readAll(t, s, req); err == nil {
		t.Error("a filter that the server refuses passed")
	}
}

// The embedded server knows no login, so any user is refused: as for a wrong password.
func TestMongoWrongPassword(t *testing.T) {
	if os.Getenv(mongoURIEnv) != "" {
		t.Skip("needs the embedded server")
	}
	db := startMongo(t)
	p := mongo.Plugin()
	cfg := p.Config().(*mongo.Config)
	cfg.URI, cfg.Database = spec.Secret(strings.Replace(db.uri, "mongodb://", "mongodb://mia:s3cr%40t@", 1)), mongoDatabase
	cfg.ConnectTimeout = 3 * time.Second
	_, err := p.OpenSource(t.Context(), cfg, syncd.Env{Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), `authentication failed for user "mia"`) || syncd.HintOf(err) == "" {
		t.Errorf("%v; hint %q", err, syncd.HintOf(err))
	}
	if err != nil && (strings.Contains(err.Error(), "s3cr%40t") || strings.Contains(err.Error(), "s3cr@t")) {
		t.Errorf("the password is in: %v", err)
	}
}

// The embedded server drops the connection at the sight of a Decimal128.
func TestMongoFindsNoFraction(t *testing.T) {
	db := startMongo(t)
	db.fill(t, "fractions", []any{bson.D{{Key: "_id", Value: 1.5}}, bson.D{{Key: "_id", Value: "a"}}})
	src := db.open(t, nil)
	defer func() {
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}()
	keys, err := src.Abilities().Find(t.Context(), syncd.Collection{Name: "fractions"}, []string{"2.5", "1.5", "1.50", "a"})
	if err != nil || keys[0] != "" || keys[1] == "" || keys[2] != "" || keys[3] == "" {
		t.Errorf("%q, %v", keys, err)
	}
}
