//go:build ferretdb_sqlite

package mongoserver_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"github.com/syncd-io/syncd/sandbox/mongoserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start starts a server and a client of it, and stops both in the end, the client first.
func start(t *testing.T, cfg mongoserver.Config) (*mongoserver.Server, *mongo.Client) {
	t.Helper()
	s, err := mongoserver.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, connect(t, s)
}

func connect(t *testing.T, s *mongoserver.Server) *mongo.Client {
	t.Helper()
	c, err := mongo.Connect(options.Client().ApplyURI(s.URI()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Disconnect(context.Background()) })
	return c
}

// short is a context for an operation that the server answers by hanging up.
func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

var (
	uuid4 = bson.Binary{Subtype: 4, Data: []byte("0123456789abcdef")}
	oid   = bson.ObjectID{0x50, 0x7f, 0x1f, 0x77, 0xbc, 0xf8, 0x6c, 0xd7, 0x99, 0x43, 0x90, 0x11}
)

func TestValuesSurvive(t *testing.T) {
	t.Parallel()
	_, c := start(t, mongoserver.Config{})
	coll := c.Database("types").Collection("values")
	doc := bson.D{
		{Key: "_id", Value: oid},
		{Key: "string", Value: "Zoë 😀"},
		{Key: "empty", Value: ""},
		{Key: "nul", Value: "a\x00b"},
		{Key: "int32", Value: int32(-7)},
		{Key: "int64", Value: int64(math.MaxInt64)},
		{Key: "double", Value: 1.5},
		{Key: "whole", Value: float64(7)},
		{Key: "large", Value: 1e300},
		{Key: "bool", Value: true},
		{Key: "null", Value: nil},
		{Key: "date", Value: bson.DateTime(1700000000123)},
		{Key: "before1970", Value: bson.DateTime(-5000)},
		{Key: "uuid4", Value: uuid4},
		{Key: "uuid3", Value: bson.Binary{Subtype: 3, Data: uuid4.Data}},
		{Key: "binary", Value: bson.Binary{Data: []byte{0, 1, 255}}},
		{Key: "user", Value: bson.Binary{Subtype: 0x80, Data: []byte{1}}},
		{Key: "regex", Value: bson.Regex{Pattern: "a.b", Options: "i"}},
		{Key: "timestamp", Value: bson.Timestamp{T: 5, I: 6}},
		{Key: "array", Value: bson.A{int32(1), "two", bson.D{{Key: "three", Value: 3.0}}}},
		{Key: "emptyArray", Value: bson.A{}},
		{Key: "nested", Value: bson.D{{Key: "b", Value: int32(1)}, {Key: "a", Value: bson.D{}}}},
	}
	if _, err := coll.InsertOne(t.Context(), doc); err != nil {
		t.Fatal(err)
	}
	want, err := bson.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	var got bson.Raw
	if err := coll.FindOne(t.Context(), bson.D{}).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(bson.Raw(want).String(), got.String()); diff != "" {
		t.Errorf("document changed (-inserted +found):\n%s", diff)
	}
}

// TestIDs has an id of each type that can be one: found by equality and $in, and
// sorted in MongoDB's order of types.
func TestIDs(t *testing.T) {
	t.Parallel()
	_, c := start(t, mongoserver.Config{})
	coll := c.Database("types").Collection("ids")
	sorted := []any{
		nil, int32(5), 6.5, int64(7), "a", "b", bson.D{{Key: "k", Value: int32(1)}},
		uuid4, oid, true, bson.DateTime(1000), bson.Timestamp{T: 1},
	}
	for i := len(sorted) - 1; i >= 0; i-- {
		if _, err := coll.InsertOne(t.Context(), bson.D{{Key: "_id", Value: sorted[i]}}); err != nil {
			t.Fatalf("inserting _id %v: %v", sorted[i], err)
		}
	}
	for _, id := range sorted {
		for _, by := range []any{id, bson.D{{Key: "$in", Value: bson.A{id, "other"}}}} {
			if n, err := coll.CountDocuments(t.Context(), bson.D{{Key: "_id", Value: by}}); n != 1 || err != nil {
				t.Errorf("_id %v, by %v: counted %d, %v; want 1", id, by, n, err)
			}
		}
	}
	find := func(filter bson.D, o *options.FindOptionsBuilder) []any {
		t.Helper()
		cur, err := coll.Find(t.Context(), filter, o.SetProjection(bson.D{{Key: "_id", Value: 1}}))
		if err != nil {
			t.Fatal(err)
		}
		var docs []bson.D
		if err := cur.All(t.Context(), &docs); err != nil {
			t.Fatal(err)
		}
		ids := make([]any, len(docs))
		for i, d := range docs {
			ids[i] = d[0].Value
		}
		return ids
	}
	byID := bson.D{{Key: "_id", Value: 1}}
	if diff := cmp.Diff(sorted, find(bson.D{}, options.Find().SetSort(byID).SetBatchSize(5))); diff != "" {
		t.Errorf("sort by _id (-want +got):\n%s", diff)
	}
	in := bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: bson.A(sorted)}}}}
	if n := len(find(in, options.Find())); n != len(sorted) {
		t.Errorf("$in of all ids found %d documents, want %d", n, len(sorted))
	}
	// A range stays within its bracket of types.
	if diff := cmp.Diff([]any{"b"}, find(bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: "a"}}}}, options.Find())); diff != "" {
		t.Errorf(`_id > "a" (-want +got):%s`, diff)
	}
	// Numbers are equal across their types.
	if diff := cmp.Diff([]any{int32(5)}, find(bson.D{{Key: "_id", Value: 5.0}}, options.Find())); diff != "" {
		t.Errorf("_id == 5.0 (-want +got):%s", diff)
	}
	if _, err := coll.InsertOne(t.Context(), bson.D{{Key: "_id", Value: 5.0}}); !mongo.IsDuplicateKeyError(err) {
		t.Errorf("inserting 5.0 beside 5: %v, want a duplicate key error", err)
	}
	// min, max and hint are ignored: a client that bounds a scan by them must find out first.
	bounded := options.Find().SetMin(bson.D{{Key: "_id", Value: "a"}}).SetMax(bson.D{{Key: "_id", Value: "b"}}).SetHint(byID)
	if n := len(find(bson.D{}, bounded)); n != len(sorted) {
		t.Errorf("min and max: %d documents; this server used to ignore them and return all %d", n, len(sorted))
	}
	if n := len(find(bson.D{}, options.Find().SetHint(bson.D{{Key: "none", Value: 1}}))); n != len(sorted) {
		t.Errorf("hint without index: %d documents; this server used to ignore it and return all %d", n, len(sorted))
	}
}

func TestRefusedValues(t *testing.T) {
	t.Parallel()
	_, c := start(t, mongoserver.Config{})
	db := c.Database("types")
	decimal, err := bson.ParseDecimal128("1.25")
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{
		"decimal128": decimal,
		"code":       bson.JavaScript("x"),
		"scope":      bson.CodeWithScope{Code: "x", Scope: bson.D{}},
		"minkey":     bson.MinKey{},
		"maxkey":     bson.MaxKey{},
		"symbol":     bson.Symbol("x"),
		"undefined":  bson.Undefined{},
		"dbpointer":  bson.DBPointer{DB: "x", Pointer: oid},
		"nan":        math.NaN(),
		"infinity":   math.Inf(1),
		"matrix":     bson.A{bson.A{1}},
	} {
		if _, err := db.Collection(name).InsertOne(short(t), bson.D{{Key: "v", Value: v}}); err == nil {
			t.Errorf("%s was stored: correct the package comment", name)
		}
	}
	for stage, spec := range map[string]any{"$sample": bson.D{{Key: "size", Value: 1}}, "$changeStream": bson.D{}} {
		cur, err := db.Collection("any").Aggregate(t.Context(), bson.A{bson.D{{Key: stage, Value: spec}}})
		if err == nil {
			t.Errorf("%s worked: correct the package comment", stage)
			_ = cur.Close(t.Context())
		}
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	s, _ := start(t, mongoserver.Config{})
	c, err := mongo.Connect(options.Client().ApplyURI("mongodb://ada:secret@" + s.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Disconnect(context.Background()) }()
	if err := c.Ping(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "AuthenticationFailed") {
		t.Errorf("logging in: %v, want AuthenticationFailed", err)
	}
}

func TestServersAreSeparate(t *testing.T) {
	t.Parallel()
	clients := make([]*mongo.Client, 2)
	for i := range clients {
		_, clients[i] = start(t, mongoserver.Config{})
		if _, err := clients[i].Database("d").Collection("c").InsertOne(t.Context(), bson.D{{Key: "_id", Value: i}}); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range clients {
		var got struct {
			ID int `bson:"_id"`
		}
		n, err := c.Database("d").Collection("c").CountDocuments(t.Context(), bson.D{})
		if err == nil {
			err = c.Database("d").Collection("c").FindOne(t.Context(), bson.D{}).Decode(&got)
		}
		if err != nil || n != 1 || got.ID != i {
			t.Errorf("server %d: %d documents, the first %d, %v; want only its own", i, n, got.ID, err)
		}
	}
}

func TestDirIsKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "with space", "data")
	for i := range 2 {
		s, err := mongoserver.Start(t.Context(), mongoserver.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		c := connect(t, s)
		coll := c.Database("kept").Collection("c")
		if n, err := coll.CountDocuments(t.Context(), bson.D{}); n != int64(i) || err != nil {
			t.Errorf("start %d: %d documents, %v", i, n, err)
		}
		if _, err := coll.InsertOne(t.Context(), bson.D{}); err != nil {
			t.Error(err)
		}
		if err := errors.Join(c.Disconnect(t.Context()), s.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestCloseRemovesFiles can't be parallel: it redirects the temporary directory.
func TestCloseRemovesFiles(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	s, err := mongoserver.Start(t.Context(), mongoserver.Config{})
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, s)
	if _, err := c.Database("d").Collection("c").InsertOne(t.Context(), bson.D{}); err != nil {
		t.Error(err)
	}
	if files, _ := os.ReadDir(tmp); len(files) != 1 {
		t.Errorf("%d entries in the temporary directory, want 1", len(files))
	}
	if err := errors.Join(c.Disconnect(t.Context()), s.Close(), s.Close()); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	if files, _ := os.ReadDir(tmp); len(files) != 0 {
		t.Errorf("%d entries left in the temporary directory", len(files))
	}
	if conn, err := net.Dial("tcp", s.Addr()); err == nil {
		_ = conn.Close()
		t.Error("the server still listens")
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tc := range map[string]struct {
		ctx  context.Context
		cfg  mongoserver.Config
		want string
		is   error
	}{
		"every interface": {t.Context(), mongoserver.Config{Addr: ":0"}, "not a loopback address", nil},
		"other interface": {t.Context(), mongoserver.Config{Addr: "192.0.2.1:0"}, "not a loopback address", nil},
		"no port":         {t.Context(), mongoserver.Config{Addr: "127.0.0.1"}, "missing port", nil},
		"taken":           {t.Context(), mongoserver.Config{Addr: l.Addr().String()}, "address already in use", nil},
		"file":            {t.Context(), mongoserver.Config{Dir: file}, "creating a data directory", nil},
		"query":           {t.Context(), mongoserver.Config{Dir: file + "?x"}, "contains one of", nil},
		"canceled":        {canceled, mongoserver.Config{}, "", context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := mongoserver.Start(tc.ctx, tc.cfg)
			if err == nil {
				_ = s.Close()
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), tc.want) || (tc.is != nil && !errors.Is(err, tc.is)) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
	if _, err := os.Stat(file + "?x"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(fmt.Errorf("a refused directory was created: %w", err))
	}
}
