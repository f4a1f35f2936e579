package fastmongo_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"github.com/syncd-io/syncd/sandbox/fastmongo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t testing.TB, cfg fastmongo.Config) *fastmongo.Server {
	t.Helper()
	s, err := fastmongo.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func connect(t testing.TB, uri string) *mongo.Client {
	t.Helper()
	c, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Disconnect(context.Background()) })
	return c
}

var byID = bson.D{{Key: "_id", Value: 1}}

func idsOnly() *options.FindOptionsBuilder {
	return options.Find().SetSort(byID).SetHint(byID).SetProjection(byID)
}

func drain(t testing.TB, cur *mongo.Cursor, err error) (n, bytes int) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for cur.Next(t.Context()) {
		n++
		bytes += len(cur.Current)
	}
	if err := errors.Join(cur.Err(), cur.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	return n, bytes
}

func TestGeneratedScan(t *testing.T) {
	const n = 25_000
	s := start(t, fastmongo.Config{})
	if err := s.Generate("db.c", fastmongo.Documents(n, 2000)); err != nil {
		t.Fatal(err)
	}
	coll := connect(t, s.URI()).Database("db").Collection("c")
	cur, err := coll.Find(t.Context(), bson.D{}, idsOnly().SetBatchSize(1000))
	if got, _ := drain(t, cur, err); got != n {
		t.Errorf("%d ids", got)
	}
	if c := s.Counters(); c.Documents != 0 || c.Keys != n || c.Returned != n || c.Commands["getMore"] != n/1000 {
		t.Errorf("a covered scan: %+v", c)
	}
	s.ResetCounters()
	cur, err = coll.Find(t.Context(), bson.D{}, options.Find().SetSort(byID))
	got, bytes := drain(t, cur, err)
	if got != n || bytes != n*2000 {
		t.Errorf("%d documents, %d bytes", got, bytes)
	}
	if c := s.Counters(); c.Documents != n || c.Bytes < n*2000 {
		t.Errorf("a scan of documents: %+v", c)
	}
	if count, err := coll.CountDocuments(t.Context(), bson.D{}, options.Count().SetHint(byID)); count != n || err != nil {
		t.Errorf("CountDocuments: %d, %v", count, err)
	}
	var ids []bson.RawValue
	cur, err = coll.Aggregate(t.Context(), bson.A{bson.D{{Key: "$sample", Value: bson.D{{Key: "size", Value: 100}}}}, bson.D{{Key: "$project", Value: byID}}, bson.D{{Key: "$sort", Value: byID}}})
	if err != nil {
		t.Fatal(err)
	}
	for cur.Next(t.Context()) {
		v := cur.Current.Lookup("_id")
		ids = append(ids, bson.RawValue{Type: v.Type, Value: append([]byte(nil), v.Value...)})
	}
	if len(ids) != 100 {
		t.Fatalf("sampled %d", len(ids))
	}
	total := 0
	for i := range len(ids) + 1 {
		o := idsOnly()
		if i > 0 {
			o.SetMin(bson.D{{Key: "_id", Value: ids[i-1]}})
		}
		if i < len(ids) {
			o.SetMax(bson.D{{Key: "_id", Value: ids[i]}})
		}
		cur, err := coll.Find(t.Context(), bson.D{}, o)
		got, _ := drain(t, cur, err)
		total += got
	}
	if total != n {
		t.Errorf("splits hold %d", total)
	}
	s.ResetCounters()
	cur, err = coll.Find(t.Context(), bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}})
	if got, _ := drain(t, cur, err); got != len(ids) {
		t.Errorf("$in found %d", got)
	}
	if c := s.Counters(); c.InKeys != int64(len(ids)) || c.Documents != int64(len(ids)) {
		t.Errorf("%+v", c)
	}
}

// TestWritesFindTheirDocuments: what an update or a delete takes is what its whole filter selects, in the order of _id.
func TestWritesFindTheirDocuments(t *testing.T) {
	type d = bson.D
	from := func(n int) d { return d{{Key: "$gte", Value: n}} }
	for name, c := range map[string]struct {
		filter d
		many   bool
		want   []int32 // that are left
	}{
		"one by _id":           {d{{Key: "_id", Value: 3}}, false, []int32{1, 2, 4, 5}},
		"several by _id":       {d{{Key: "_id", Value: d{{Key: "$in", Value: bson.A{5, 1, 9}}}}}, true, []int32{2, 3, 4}},
		"the first of several": {d{{Key: "_id", Value: from(3)}}, false, []int32{1, 2, 4, 5}},
		"a range":              {d{{Key: "_id", Value: from(3)}}, true, []int32{1, 2}},
		"a range and a field":  {d{{Key: "_id", Value: from(2)}, {Key: "even", Value: true}}, true, []int32{1, 3, 5}},
		"an _id and a field":   {d{{Key: "_id", Value: 3}, {Key: "even", Value: true}}, true, []int32{1, 2, 3, 4, 5}},
		"an _id and a range":   {d{{Key: "_id", Value: d{{Key: "$in", Value: bson.A{1, 4}}, {Key: "$gte", Value: 2}}}}, true, []int32{1, 2, 3, 5}},
		"a field":              {d{{Key: "even", Value: false}}, true, []int32{2, 4}},
		"everything":           {d{}, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, fastmongo.Config{})
			for i := range 5 {
				if err := s.Insert("db.c", d{{Key: "_id", Value: int32(i + 1)}, {Key: "even", Value: i%2 == 1}}); err != nil {
					t.Fatal(err)
				}
			}
			coll := connect(t, s.URI()).Database("db").Collection("c")
			set := d{{Key: "$set", Value: d{{Key: "taken", Value: true}}}}
			var err error
			if c.many {
				_, err = coll.UpdateMany(t.Context(), c.filter, set)
			} else {
				_, err = coll.UpdateOne(t.Context(), c.filter, set)
			}
			if err != nil {
				t.Fatal(err)
			}
			var left []int32
			for _, doc := range s.Stored("db.c") {
				if _, err := doc.LookupErr("taken"); err != nil {
					left = append(left, doc.Lookup("_id").Int32())
				}
			}
			if !slices.Equal(left, c.want) {
				t.Errorf("the update leaves %v, want %v", left, c.want)
			}
			if c.many {
				_, err = coll.DeleteMany(t.Context(), c.filter)
			} else {
				_, err = coll.DeleteOne(t.Context(), c.filter)
			}
			if err != nil {
				t.Fatal(err)
			}
			left = nil
			for _, doc := range s.Stored("db.c") {
				left = append(left, doc.Lookup("_id").Int32())
			}
			if !slices.Equal(left, c.want) {
				t.Errorf("the delete leaves %v, want %v", left, c.want)
			}
		})
	}
}
