package fastmongo_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/syncd-io/syncd/sandbox/fastmongo"
)

func TestStartRefuses(t *testing.T) {
	s := start(t, fastmongo.Config{})
	for name, c := range map[string]struct {
		cfg  fastmongo.Config
		want string
	}{
		"a taken address":         {fastmongo.Config{Addr: s.Addr()}, "address already in use"},
		"a user without password": {fastmongo.Config{User: "ada"}, "belong together"},
	} {
		got, err := fastmongo.Start(t.Context(), c.cfg)
		if err == nil {
			_ = got.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPutRefuses(t *testing.T) {
	s := start(t, fastmongo.Config{})
	doc := func(id any) bson.D { return bson.D{{Key: "_id", Value: id}} }
	for name, err := range map[string]error{
		"no namespace":         s.Put("c", doc(1)),
		"no _id":               s.Put("db.c", bson.D{}),
		"equal _ids":           s.Put("db.c", doc(1), doc(1.0)),
		"not a document":       s.Put("db.c", 1),
		"no functions":         s.Generate("db.c", fastmongo.Generated{N: 1}),
		"another _id":          s.Generate("db.c", fastmongo.Generated{N: 1, ID: fastmongo.Documents(2, 100).ID, Document: secondFirst}),
		"ids that descend":     s.Generate("db.c", descending(3)),
		"writing to generated": func() error { _ = s.Generate("db.g", fastmongo.Documents(3, 100)); return s.Insert("db.g", doc(1)) }(),
	} {
		if err == nil {
			t.Errorf("%s passed", name)
		}
	}
}

func secondFirst(i int, dst []byte) []byte { return fastmongo.Documents(2, 100).Document(1-i, dst) }

func descending(n int) fastmongo.Generated {
	g := fastmongo.Documents(n, 100)
	return fastmongo.Generated{
		N:        n,
		ID:       func(i int, dst []byte) (bson.Type, []byte) { return g.ID(n-1-i, dst) },
		Document: func(i int, dst []byte) []byte { return g.Document(n-1-i, dst) },
	}
}

// The functions of the server do what the commands do.
func TestStored(t *testing.T) {
	s := start(t, fastmongo.Config{})
	doc := func(id any) bson.D { return bson.D{{Key: "_id", Value: id}} }
	if err := s.Insert("db.c", doc("b"), doc(2), doc(1.5)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Delete("db.c", 2.0, "absent"); n != 1 || err != nil {
		t.Errorf("Delete: %d, %v", n, err)
	}
	if n, err := s.Delete("db.absent", 1); n != 0 || err != nil {
		t.Errorf("Delete from nothing: %d, %v", n, err)
	}
	if got := fmt.Sprint(s.Stored("db.c")); got != `[{"_id": {"$numberDouble":"1.5"}} {"_id": "b"}]` {
		t.Error(got)
	}
	if s.Drop("db.absent") || !s.Drop("db.c") || s.Stored("db.c") != nil {
		t.Error("Drop")
	}
}

// A client that forgets to sort gets an order that is not that of _id.
func TestOrderOfInsertion(t *testing.T) {
	s := start(t, fastmongo.Config{})
	if err := s.Put("db.c", bson.D{{Key: "_id", Value: 3}}, bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "_id", Value: 2}}); err != nil {
		t.Fatal(err)
	}
	c := connect(t, s.URI()).Database("db").Collection("c")
	for want, o := range map[string]*options.FindOptionsBuilder{
		"312": options.Find(), "123": options.Find().SetSort(byID), "321": options.Find().SetSort(bson.D{{Key: "_id", Value: -1}}),
	} {
		cur, err := c.Find(t.Context(), bson.D{}, o.SetBatchSize(1))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for cur.Next(t.Context()) {
			got += fmt.Sprint(cur.Current.Lookup("_id").Int32())
		}
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// A covered scan reads no document; anything that _id can't answer does.
func TestCovered(t *testing.T) {
	s, c := small(t, fastmongo.Config{})
	for name, q := range map[string]struct {
		filter    bson.D
		opts      *options.FindOptionsBuilder
		documents int64
	}{
		"hint and projection":      {bson.D{}, options.Find().SetHint(byID).SetProjection(byID), 0},
		"sort and projection":      {bson.D{}, options.Find().SetSort(byID).SetProjection(byID), 0},
		"min and projection":       {bson.D{}, options.Find().SetHint(byID).SetMin(bson.D{{Key: "_id", Value: 0}}).SetProjection(byID), 0},
		"filter on _id":            {bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: 0}}}}, options.Find().SetProjection(byID), 0},
		"no index":                 {bson.D{}, options.Find().SetProjection(byID), 10},
		"no projection":            {bson.D{}, options.Find().SetHint(byID), 10},
		"another field":            {bson.D{}, options.Find().SetHint(byID).SetProjection(bson.D{{Key: "a", Value: 1}}), 10},
		"filter on another field":  {bson.D{{Key: "a", Value: nil}}, options.Find().SetHint(byID).SetProjection(byID), 10},
		"min, and a filter on _id": {bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: 0}}}}, options.Find().SetHint(byID).SetMin(bson.D{{Key: "_id", Value: 0}}).SetProjection(byID), 10},
	} {
		s.ResetCounters()
		cur, err := c.Find(t.Context(), q.filter, q.opts)
		if n, _ := drain(t, cur, err); n != 10 {
			t.Errorf("%s: %d documents", name, n)
		}
		if got := s.Counters(); got.Documents != q.documents || got.Returned != 10 {
			t.Errorf("%s: %d documents examined, want %d; %d returned", name, got.Documents, q.documents, got.Returned)
		}
	}
	s.ResetCounters()
	if n, err := c.CountDocuments(t.Context(), bson.D{}, options.Count().SetHint(byID)); n != 10 || err != nil || s.Counters().Documents != 0 {
		t.Errorf("counting by hint: %d, %v, %+v", n, err, s.Counters())
	}
	if n, err := c.CountDocuments(t.Context(), bson.D{}); n != 10 || err != nil || s.Counters().Documents != 10 {
		t.Errorf("counting without: %d, %v, %+v", n, err, s.Counters())
	}
}

// Small replies: one document always fits.
func TestReplyBytes(t *testing.T) {
	s := start(t, fastmongo.Config{ReplyBytes: 5000})
	if err := s.Generate("db.c", fastmongo.Documents(100, 2000)); err != nil {
		t.Fatal(err)
	}
	if err := s.Generate("db.large", fastmongo.Documents(5, 20_000)); err != nil {
		t.Fatal(err)
	}
	db := connect(t, s.URI()).Database("db")
	for coll, want := range map[string]struct{ n, getMores int }{"c": {100, 50}, "large": {5, 5}} {
		s.ResetCounters()
		cur, err := db.Collection(coll).Find(t.Context(), bson.D{})
		n, _ := drain(t, cur, err)
		if got := int(s.Counters().Commands["getMore"]); n != want.n || got < want.getMores-1 || got > want.getMores {
			t.Errorf("%s: %d documents by %d getMores", coll, n, got)
		}
	}
}

func TestGeneratedDescendingAndSkipped(t *testing.T) {
	s := start(t, fastmongo.Config{})
	g := fastmongo.Documents(5000, 200)
	if err := s.Generate("db.c", g); err != nil {
		t.Fatal(err)
	}
	id := func(i int) bson.RawValue {
		typ, data := g.ID(i, nil)
		return bson.RawValue{Type: typ, Value: data}
	}
	c := connect(t, s.URI()).Database("db").Collection("c")
	for name, q := range map[string]struct {
		filter      bson.D
		opts        *options.FindOptionsBuilder
		first, last int
		n           int
	}{
		"descending":  {bson.D{}, options.Find().SetSort(bson.D{{Key: "_id", Value: -1}}), 4999, 0, 5000},
		"skip, limit": {bson.D{}, options.Find().SetSort(byID).SetSkip(1500).SetLimit(1000), 1500, 2499, 1000},
		"range":       {bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: id(1023)}, {Key: "$lte", Value: id(2048)}}}}, options.Find().SetSort(byID), 1024, 2048, 1025},
		"points, descending": {bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: bson.A{id(7), id(4000), id(1024), "x", bson.ObjectID{}}}}}},
			options.Find().SetSort(bson.D{{Key: "_id", Value: -1}}), 4000, 7, 3},
		"of another type": {bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: ""}}}}, options.Find().SetSort(byID), -1, -1, 0},
		"filtered":        {bson.D{{Key: "title", Value: "Document 000003333"}}, options.Find().SetSort(byID), 3333, 3333, 1},
	} {
		cur, err := c.Find(t.Context(), q.filter, q.opts.SetBatchSize(300))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		var last bson.RawValue
		for cur.Next(t.Context()) {
			v := cur.Current.Lookup("_id")
			last = bson.RawValue{Type: v.Type, Value: append([]byte(nil), v.Value...)}
			if n == 0 && !v.Equal(id(q.first)) {
				t.Errorf("%s: begins with %v", name, v)
			}
			n++
		}
		if err := cur.Err(); err != nil || n != q.n || (n > 0 && !last.Equal(id(q.last))) {
			t.Errorf("%s: %d documents, the last %v, %v", name, n, last, err)
		}
	}
}

// Readers and writers at once, for the race detector; whole documents stay whole.
func TestConcurrentUse(t *testing.T) {
	s := start(t, fastmongo.Config{})
	c := connect(t, s.URI()).Database("db").Collection("c")
	put := func(i int) bson.D {
		return bson.D{{Key: "_id", Value: i}, {Key: "x", Value: strings.Repeat("x", i%50)}, {Key: "n", Value: i % 50}}
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 100 {
				id := i*4 + w
				if _, err := c.InsertOne(t.Context(), put(id)); err != nil {
					t.Error(err)
				}
				if i%3 == 0 {
					if _, err := c.DeleteOne(t.Context(), bson.D{{Key: "_id", Value: id}}); err != nil {
						t.Error(err)
					}
				}
			}
		})
		wg.Go(func() {
			for range 10 {
				cur, err := c.Find(t.Context(), bson.D{}, options.Find().SetSort(byID).SetBatchSize(7))
				if err != nil {
					t.Error(err)
					return
				}
				last := int32(-1)
				for cur.Next(t.Context()) {
					id := cur.Current.Lookup("_id").Int32()
					if id <= last || len(cur.Current.Lookup("x").StringValue()) != int(cur.Current.Lookup("n").Int32()) {
						t.Errorf("%v behind %d", cur.Current, last)
					}
					last = id
				}
				if cur.Err() != nil {
					t.Error(cur.Err())
				}
			}
		})
	}
	wg.Wait()
	if n := len(s.Stored("db.c")); n != 4*66 {
		t.Errorf("%d documents are left", n)
	}
}
