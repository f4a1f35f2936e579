package fastmongo_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/syncd-io/syncd/sandbox/fastmongo"
)

// small starts a server with db.c, ten documents with the ids 0 to 9, and connects without retries, which would hide faults.
func small(t *testing.T, cfg fastmongo.Config) (*fastmongo.Server, *mongo.Collection) {
	t.Helper()
	s := start(t, cfg)
	var docs []any
	for i := range 10 {
		docs = append(docs, bson.D{{Key: "_id", Value: i}})
	}
	if err := s.Put("db.c", docs...); err != nil {
		t.Fatal(err)
	}
	c, err := mongo.Connect(options.Client().ApplyURI(s.URI()).SetRetryReads(false).SetServerSelectionTimeout(5 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Disconnect(context.Background()) })
	return s, c.Database("db").Collection("c")
}

// readAll finds everything in batches of three: a find and three or more getMores.
func readAll(ctx context.Context, c *mongo.Collection) (int, error) {
	cur, err := c.Find(ctx, bson.D{}, options.Find().SetSort(byID).SetBatchSize(3))
	if err != nil {
		return 0, err
	}
	n := 0
	for cur.Next(ctx) {
		n++
	}
	return n, errors.Join(cur.Err(), cur.Close(ctx))
}

func wantCode(t *testing.T, err error, code int) {
	t.Helper()
	if se, ok := errors.AsType[mongo.ServerError](err); !ok || !se.HasErrorCode(code) {
		t.Errorf("%v, want the code %d", err, code)
	}
}

func TestKillCursors(t *testing.T) {
	s, c := small(t, fastmongo.Config{})
	cur, err := c.Find(t.Context(), bson.D{}, options.Find().SetBatchSize(2))
	if err != nil {
		t.Fatal(err)
	}
	if open, killed := s.OpenCursors(), s.KillCursors(); open != 1 || killed != 1 {
		t.Errorf("%d open, %d killed", open, killed)
	}
	n := 0
	for cur.Next(t.Context()) {
		n++
	}
	wantCode(t, cur.Err(), 43)
	if n != 2 {
		t.Errorf("%d documents of a killed cursor", n)
	}
	if n, err := readAll(t.Context(), c); n != 10 || err != nil {
		t.Errorf("afterwards: %d, %v", n, err)
	}
}

func TestNotPrimary(t *testing.T) {
	s, c := small(t, fastmongo.Config{ReplicaSet: "rs"})
	s.Inject(fastmongo.NotPrimary(2))
	for range 2 {
		_, err := readAll(t.Context(), c)
		wantCode(t, err, 10107)
		if le, ok := errors.AsType[mongo.LabeledError](err); !ok || !le.HasErrorLabel("RetryableWriteError") {
			t.Errorf("%v has no label", err)
		}
	}
	if n, err := readAll(t.Context(), c); n != 10 || err != nil {
		t.Errorf("afterwards: %d, %v", n, err)
	}
}

func TestNamedCommandFails(t *testing.T) {
	s, c := small(t, fastmongo.Config{})
	remove := s.Inject(fastmongo.NotAuthorized("listCollections", "getMore"))
	for range 3 {
		_, err := c.Database().ListCollectionNames(t.Context(), bson.D{})
		wantCode(t, err, 13)
	}
	n, err := readAll(t.Context(), c)
	wantCode(t, err, 13)
	if n != 3 {
		t.Errorf("%d documents before the first getMore", n)
	}
	remove()
	remove()
	if n, err := readAll(t.Context(), c); n != 10 || err != nil {
		t.Errorf("afterwards: %d, %v", n, err)
	}
	s.Inject(fastmongo.Fault{Commands: []string{"getMore"}, After: 2, Code: 91, Message: "bye", Labels: []string{"ResumableChangeStreamError"}})
	n, err = readAll(t.Context(), c)
	wantCode(t, err, 91)
	if n != 9 {
		t.Errorf("%d documents before the third getMore", n)
	}
}

func TestReset(t *testing.T) {
	s, c := small(t, fastmongo.Config{})
	if n, err := readAll(t.Context(), c); n != 10 || err != nil {
		t.Fatal(n, err)
	}
	s.Inject(fastmongo.ResetAfter(2))
	n, err := readAll(t.Context(), c)
	if n != 6 || !mongo.IsNetworkError(err) {
		t.Errorf("%d documents, %v; want 6 and a network error", n, err)
	}
	if n, err := readAll(t.Context(), c); n != 10 || err != nil {
		t.Errorf("afterwards: %d, %v", n, err)
	}
}

func TestDelay(t *testing.T) {
	s, c := small(t, fastmongo.Config{})
	s.Inject(fastmongo.Fault{Commands: []string{"find"}, Delay: time.Millisecond})
	if n, err := readAll(t.Context(), c); n != 10 || err != nil {
		t.Errorf("late: %d, %v", n, err)
	}
	s.Inject(fastmongo.Fault{Commands: []string{"count"}, Delay: time.Hour})
	err := c.Database().RunCommand(t.Context(), bson.D{{Key: "count", Value: "c"}, {Key: "maxTimeMS", Value: 1}}).Err()
	wantCode(t, err, 50)

	// Close does not wait for a delay.
	arrived := make(chan struct{})
	s.OnCommand(func(name string, _ bson.Raw) {
		if name == "count" {
			close(arrived)
		}
	})
	s.Inject(fastmongo.Fault{Commands: []string{"count"}, Delay: time.Hour})
	var asking sync.WaitGroup
	asking.Go(func() {
		if err := c.Database().RunCommand(t.Context(), bson.D{{Key: "count", Value: "c"}}).Err(); !mongo.IsNetworkError(err) {
			t.Errorf("a command that the server's end cuts off: %v", err)
		}
	})
	<-arrived
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	asking.Wait()
}

func TestQuirks(t *testing.T) {
	s, c := small(t, fastmongo.Config{})
	bounded := options.Find().SetHint(byID).SetMin(bson.D{{Key: "_id", Value: 3}}).SetMax(bson.D{{Key: "_id", Value: 5}})
	sample := bson.A{bson.D{{Key: "$sample", Value: bson.D{{Key: "size", Value: 2}}}}}
	cur, err := c.Find(t.Context(), bson.D{}, bounded)
	if n, _ := drain(t, cur, err); n != 2 {
		t.Errorf("bounds obeyed: %d", n)
	}
	s.SetQuirks(fastmongo.Quirks{IgnoreBounds: true})
	cur, err = c.Find(t.Context(), bson.D{}, bounded)
	if n, _ := drain(t, cur, err); n != 10 {
		t.Errorf("bounds ignored: %d", n)
	}
	cur, err = c.Aggregate(t.Context(), sample)
	if n, _ := drain(t, cur, err); n != 2 {
		t.Errorf("$sample: %d", n)
	}
	s.SetQuirks(fastmongo.Quirks{RejectBounds: true, NoSample: true})
	_, err = c.Find(t.Context(), bson.D{}, bounded)
	wantCode(t, err, 238)
	_, err = c.Aggregate(t.Context(), sample)
	wantCode(t, err, 40324)
}

func TestLogin(t *testing.T) {
	s, c := small(t, fastmongo.Config{User: "ada", Password: "s3cr@t"})
	if n, err := readAll(t.Context(), c); n != 10 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for name, uri := range map[string]string{
		"wrong password": strings.Replace(s.URI(), "s3cr%40t", "other", 1),
		"wrong user":     strings.Replace(s.URI(), "ada", "eve", 1),
		"wrong database": s.URI() + "?authSource=db",
	} {
		if err := connect(t, uri).Ping(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "AuthenticationFailed") {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := readAll(t.Context(), connect(t, "mongodb://"+s.Addr()).Database("db").Collection("c"))
	wantCode(t, err, 13)
}
