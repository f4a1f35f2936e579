package mongotest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// database is where the cases write. It is dropped when the suite ends.
const database = "syncd_mongotest"

// patience bounds one case. A driver repeats a read that failed by a lost connection until its context ends.
const patience = time.Minute

// Target is a server to test.
type Target struct {
	URI string

	// Except names what the server can't do, and why: the name of a case, which is skipped with that reason, or
	// "type:" and the name of a BSON type (see IDs), of which no value is sent to it.
	Except map[string]string
}

// typePrefix begins an exception that is about a BSON type.
const typePrefix = "type:"

// suite is a connection to a target. Its collections are named after the running case.
type suite struct {
	Target
	db *mongo.Database
}

type testCase struct {
	name string
	run  func(t *testing.T, c *fixture)
}

var cases = []testCase{
	{"sort_order", sortOrder},
	{"sort_order_without_index_key", sortByField},
	{"min_max", minMax},
	{"min_max_descending", minMaxDescending},
	{"min_max_of_absent_ids", minMaxAbsent},
	{"min_max_leaves_out_max_key", minMaxMaxKey},
	{"min_max_errors", minMaxErrors},
	{"unknown_hint", unknownHint},
	{"equal_numbers", equalNumbers},
	{"exact_numbers", exactNumbers},
	{"in", in},
	{"type_brackets", typeBrackets},
	{"filters", filters},
	{"not_in_an_array", notInArray},
	{"projection", projection},
	{"projection_errors", projectionErrors},
	{"batches", batches},
	{"get_more_max_time", getMoreMaxTime},
	{"limit_and_skip", limitAndSkip},
	{"kill_cursors", killCursors},
	{"reply_limit", replyLimit},
	{"insert_during_scan", insertDuringScan},
	{"delete_during_scan", deleteDuringScan},
	{"count", count},
	{"sample", sample},
	{"sample_projected_and_sorted", sampleSorted},
	{"coll_stats", collStats},
	{"distinct", distinct},
	{"list_collections", listCollections},
	{"list_indexes", listIndexes},
	{"missing_collection", missingCollection},
	{"writes", writes},
	{"error_codes", errorCodes},
	{"unknown_stage", unknownStage},
}

// Run tests that a server behaves as syncd needs it to, one subtest per case.
func Run(t *testing.T, target Target) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(target.Except)) {
		if typ, ok := strings.CutPrefix(name, typePrefix); ok {
			if !slices.ContainsFunc(IDs(), func(id ID) bool { return id.Type == typ }) {
				t.Errorf("Except names the type %q, which no id has", typ)
			}
		} else if !slices.ContainsFunc(cases, func(c testCase) bool { return c.name == name }) {
			t.Errorf("Except names %q, which is not a case of this suite", name)
		}
	}
	client, err := mongo.Connect(options.Client().ApplyURI(target.URI).SetServerSelectionTimeout(10 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	s := &suite{target, client.Database(database)}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(s.db.Drop(ctx), client.Disconnect(ctx)); err != nil {
			t.Error(err)
		}
	}()
	if err := client.Ping(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if reason, ok := target.Except[c.name]; ok {
				t.Skip("excepted: " + reason)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			c.run(t, s.fixture(ctx, t, c.name))
		})
	}
}

// fixture is what a case works with.
type fixture struct {
	*suite
	*mongo.Collection
	ctx context.Context // the case's deadline
}

func (s *suite) fixture(ctx context.Context, t *testing.T, name string) *fixture {
	t.Helper()
	c := s.db.Collection(name)
	if err := c.Drop(ctx); err != nil {
		t.Fatal(err)
	}
	return &fixture{s, c, ctx}
}

// ids are those that the target can hold, in order.
func (f *fixture) ids() []ID {
	return slices.DeleteFunc(IDs(), func(id ID) bool {
		_, excepted := f.Except[typePrefix+id.Type]
		return excepted
	})
}

// fill makes the collection hold documents.
func (f *fixture) fill(t *testing.T, docs ...any) {
	t.Helper()
	if len(docs) == 0 {
		return
	}
	if _, err := f.InsertMany(f.ctx, docs); err != nil {
		t.Fatal(err)
	}
}

// numbered are n documents {_id: i, n: i}.
func numbered(n int) []any {
	docs := make([]any, n)
	for i := range docs {
		docs[i] = bson.D{{Key: "_id", Value: int32(i)}, {Key: "n", Value: int32(i)}}
	}
	return docs
}

// all reads a cursor to its end.
func (f *fixture) all(t *testing.T, cur *mongo.Cursor, err error) []bson.Raw {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var docs []bson.Raw
	for cur.Next(f.ctx) {
		docs = append(docs, slices.Clone(cur.Current))
	}
	if err := errors.Join(cur.Err(), cur.Close(f.ctx)); err != nil {
		t.Fatal(err)
	}
	return docs
}

func (f *fixture) find(t *testing.T, filter any, opts ...options.Lister[options.FindOptions]) []bson.Raw {
	t.Helper()
	cur, err := f.Find(f.ctx, filter, opts...)
	return f.all(t, cur, err)
}

// numbers are the values of field in order.
func numbers(docs []bson.Raw, field string) []int {
	out := make([]int, len(docs))
	for i, d := range docs {
		n, ok := d.Lookup(field).AsInt64OK()
		if !ok {
			n = -1
		}
		out[i] = int(n)
	}
	return out
}

// upTo is from, from+1, … to-1.
func upTo(from, to int) []int {
	out := make([]int, 0, max(0, to-from))
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

func same(t *testing.T, what string, got, want []int) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %d, want %d", what, got, want)
	}
}

// hasCode checks the code of a server's error.
func hasCode(t *testing.T, what string, err error, codes ...int) {
	t.Helper()
	se, ok := errors.AsType[mongo.ServerError](err)
	if !ok || !slices.ContainsFunc(codes, se.HasErrorCode) {
		t.Errorf("%s: %v; want an error with code %d", what, err, codes)
	}
}

var byID = bson.D{{Key: "_id", Value: 1}}

func field(name string, v any) bson.D { return bson.D{{Key: name, Value: v}} }
