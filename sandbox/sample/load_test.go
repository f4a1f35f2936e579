//go:build ferretdb_sqlite

package sample_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"github.com/syncd-io/syncd/sandbox/mongoserver"
	"github.com/syncd-io/syncd/sandbox/sample"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLoad(t *testing.T) {
	t.Parallel()
	s, err := mongoserver.Start(t.Context(), mongoserver.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	client, err := mongo.Connect(options.Client().ApplyURI(s.URI()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })

	total := map[string]int64{}
	for _, part := range []struct{ from, count int }{{0, 1500}, {1500, 100}, {1600, 0}} {
		counts, err := sample.Load(t.Context(), s.URI(), "", part.from, part.count)
		if err != nil {
			t.Fatal(err)
		}
		sum := 0
		for c, n := range counts {
			total[c] += int64(n)
			sum += n
		}
		if sum != part.count {
			t.Errorf("loading %d from %d: %d documents", part.count, part.from, sum)
		}
	}
	db := client.Database(sample.Database)
	for _, c := range sample.Collections() {
		n, err := db.Collection(c).CountDocuments(t.Context(), bson.D{})
		if err != nil || n != total[c] || n == 0 {
			t.Errorf("%s holds %d documents, want %d (%v)", c, n, total[c], err)
		}
	}
	// The server gives back what was made, byte for byte.
	for _, d := range sample.Documents(1500, 25) {
		var got bson.Raw
		if err := db.Collection(d.Collection).FindOne(t.Context(), bson.D{{Key: "_id", Value: d.ID()}}).Decode(&got); err != nil {
			t.Fatal(err)
		}
		want, err := bson.Marshal(d.Body)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(bson.Raw(want).String(), got.String()); diff != "" {
			t.Errorf("%s changed (-made +found):\n%s", d.Collection, diff)
		}
	}
	if _, err := sample.Load(t.Context(), s.URI(), "", 1599, 1); !mongo.IsDuplicateKeyError(err) {
		t.Errorf("loading a document again: %v, want a duplicate key error", err)
	}
}
