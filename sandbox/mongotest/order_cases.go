package mongotest

import (
	"math/rand/v2"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// everyType fills the collection with a document for each id, {_id: id, n: its place}, in no order.
func (f *fixture) everyType(t *testing.T) []ID {
	t.Helper()
	ids := f.ids()
	r := rand.New(rand.NewPCG(1, 2))
	for _, i := range r.Perm(len(ids)) {
		// One by one, so that a value that a server can't take is named.
		if _, err := f.InsertOne(f.ctx, bson.D{{Key: "_id", Value: ids[i].Value}, {Key: "n", Value: int32(i)}}); err != nil {
			t.Fatalf("storing %v: %v", ids[i], err)
		}
	}
	return ids
}

func sortOrder(t *testing.T, f *fixture) {
	ids := f.everyType(t)
	up := f.find(t, bson.D{}, options.Find().SetSort(byID))
	same(t, "sorted by _id", numbers(up, "n"), upTo(0, len(ids)))
	for i, d := range up {
		if typ, data, err := bson.MarshalValue(ids[i].Value); err != nil || !d.Lookup("_id").Equal(bson.RawValue{Type: typ, Value: data}) {
			t.Errorf("%v came back as %v, %v", ids[i], d.Lookup("_id"), err)
		}
	}
	down := numbers(f.find(t, bson.D{}, options.Find().SetSort(field("_id", -1))), "n")
	slices.Reverse(down)
	same(t, "sorted by _id, descending, reversed", down, upTo(0, len(ids)))
	hinted := f.find(t, bson.D{}, options.Find().SetSort(byID).SetHint(byID))
	same(t, "hinted", numbers(hinted, "n"), upTo(0, len(ids)))
}

// Without a sort nothing is promised, but all documents.
func sortByField(t *testing.T, f *fixture) {
	f.fill(t, bson.D{{Key: "_id", Value: int32(3)}, {Key: "n", Value: int32(1)}}, bson.D{{Key: "_id", Value: int32(1)}, {Key: "n", Value: int32(2)}},
		bson.D{{Key: "_id", Value: int32(2)}, {Key: "n", Value: int32(0)}})
	same(t, "sorted by n", numbers(f.find(t, bson.D{}, options.Find().SetSort(field("n", 1))), "n"), upTo(0, 3))
	unsorted := numbers(f.find(t, bson.D{}), "n")
	slices.Sort(unsorted)
	same(t, "unsorted", unsorted, upTo(0, 3))
}

func bounded(lower, upper any) *options.FindOptionsBuilder {
	o := options.Find().SetHint(byID).SetSort(byID)
	if lower != none {
		o.SetMin(field("_id", lower))
	}
	if upper != none {
		o.SetMax(field("_id", upper))
	}
	return o
}

// none is no bound; nil is null.
var none = new(int)

// min is inclusive and max exclusive, and neither cares for types.
func minMax(t *testing.T, f *fixture) {
	ids := f.everyType(t)
	for i := 0; i < len(ids); i += 3 {
		for j := i + 1; j < len(ids); j += 4 {
			got := f.find(t, bson.D{}, bounded(ids[i].Value, ids[j].Value))
			same(t, "from "+ids[i].String()+" to "+ids[j].String(), numbers(got, "n"), upTo(i, j))
		}
	}
	end := len(ids)
	if ids[end-1].Type == "maxKey" {
		end-- // see min_max_leaves_out_max_key
	}
	for i := range ids[:end] {
		same(t, "from "+ids[i].String(), numbers(f.find(t, bson.D{}, bounded(ids[i].Value, none)), "n"), upTo(i, end))
	}
	for i := range ids {
		if ids[i].Type == "minKey" {
			continue // nothing is below it, which is an error
		}
		same(t, "to "+ids[i].String(), numbers(f.find(t, bson.D{}, bounded(none, ids[i].Value)), "n"), upTo(0, i))
	}
	// Ids alone, by the index alone, keep their own types.
	for i, d := range f.find(t, bson.D{}, bounded(none, ids[end-1].Value).SetProjection(byID)) {
		typ, data, err := bson.MarshalValue(ids[i].Value)
		if err != nil || !d.Lookup("_id").Equal(bson.RawValue{Type: typ, Value: data}) {
			t.Errorf("%v came back as %v, %v", ids[i], d.Lookup("_id"), err)
		}
	}
}

func minMaxDescending(t *testing.T, f *fixture) {
	f.fill(t, numbered(20)...)
	got := numbers(f.find(t, bson.D{}, bounded(int32(5), int32(9)).SetSort(field("_id", -1))), "n")
	slices.Reverse(got)
	same(t, "from 5 to 9, descending, reversed", got, upTo(5, 9))
}

func minMaxAbsent(t *testing.T, f *fixture) {
	f.fill(t, numbered(20)...)
	f.fill(t, bson.D{{Key: "_id", Value: "text"}, {Key: "n", Value: int32(20)}})
	same(t, "from 4.5 to 9.5", numbers(f.find(t, bson.D{}, bounded(4.5, 9.5)), "n"), upTo(5, 10))
	same(t, "from 18.5 to z", numbers(f.find(t, bson.D{}, bounded(18.5, "z")), "n"), upTo(19, 21))
	same(t, "from a to z, filtered", numbers(f.find(t, field("n", int32(20)), bounded("a", "z")), "n"), upTo(20, 21))
	same(t, "from 5, an int, to 7.0", numbers(f.find(t, bson.D{}, bounded(int64(5), 7.0)), "n"), upTo(5, 7))
}

// A missing max means MaxKey, and max is exclusive: a client that wants the last document of all has to ask for it.
func minMaxMaxKey(t *testing.T, f *fixture) {
	f.fill(t, bson.D{{Key: "_id", Value: int32(1)}, {Key: "n", Value: int32(0)}}, bson.D{{Key: "_id", Value: bson.MaxKey{}}, {Key: "n", Value: int32(1)}})
	same(t, "from 1", numbers(f.find(t, bson.D{}, bounded(int32(1), none)), "n"), upTo(0, 1))
	same(t, "to MaxKey", numbers(f.find(t, bson.D{}, bounded(none, bson.MaxKey{})), "n"), upTo(0, 1))
	same(t, "_id equal to MaxKey", numbers(f.find(t, field("_id", bson.MaxKey{})), "n"), upTo(1, 2))
	same(t, "without bounds", numbers(f.find(t, bson.D{}, options.Find().SetSort(byID).SetHint(byID)), "n"), upTo(0, 2))
}

// failed returns the error of a find, which may come with its first batch only.
func (f *fixture) failed(filter any, opts ...options.Lister[options.FindOptions]) error {
	cur, err := f.Find(f.ctx, filter, opts...)
	if err != nil {
		return err
	}
	defer func() { _ = cur.Close(f.ctx) }()
	for cur.Next(f.ctx) {
	}
	return cur.Err()
}

func minMaxErrors(t *testing.T, f *fixture) {
	f.fill(t, numbered(3)...)
	hasCode(t, "min without hint", f.failed(bson.D{}, options.Find().SetMin(field("_id", int32(1)))), 51173, 2)
	hasCode(t, "min of another field", f.failed(bson.D{}, options.Find().SetMin(field("n", int32(1))).SetHint(byID)), 51174, 2)
	hasCode(t, "min above max", f.failed(bson.D{}, bounded(int32(2), int32(1))), 51175, 2)
	hasCode(t, "min equal to max", f.failed(bson.D{}, bounded(int32(1), int32(1))), 51175, 2)
}

func unknownHint(t *testing.T, f *fixture) {
	f.fill(t, numbered(3)...)
	hasCode(t, "a key pattern without index", f.failed(bson.D{}, options.Find().SetHint(field("none", 1))), 2)
	hasCode(t, "a name without index", f.failed(bson.D{}, options.Find().SetHint("none_1")), 2)
	same(t, "hint by name", numbers(f.find(t, bson.D{}, options.Find().SetHint("_id_").SetSort(byID)), "n"), upTo(0, 3))
}

func equalNumbers(t *testing.T, f *fixture) {
	f.fill(t, bson.D{{Key: "_id", Value: int32(5)}, {Key: "n", Value: int32(5)}})
	for _, id := range []any{int32(5), int64(5), 5.0} {
		same(t, "_id == 5 in another type", numbers(f.find(t, field("_id", id)), "n"), []int{5})
		_, err := f.InsertOne(f.ctx, field("_id", id))
		if !mongo.IsDuplicateKeyError(err) {
			t.Errorf("inserting %T 5 beside int32 5: %v, want a duplicate key error", id, err)
		}
	}
	same(t, "_id == 5.5", numbers(f.find(t, field("_id", 5.5)), "n"), []int{})
	if _, excepted := f.Except["type:decimal"]; !excepted {
		same(t, "_id == 5.00", numbers(f.find(t, field("_id", decimal("5.00"))), "n"), []int{5})
	}
}

// Beyond 2^53 a double can't hold every integer: comparing in doubles takes neighbours for equal.
func exactNumbers(t *testing.T, f *fixture) {
	const big = int64(1) << 53
	f.fill(t, bson.D{{Key: "_id", Value: big}, {Key: "n", Value: int32(0)}}, bson.D{{Key: "_id", Value: big + 1}, {Key: "n", Value: int32(1)}})
	same(t, "_id == 2^53+1", numbers(f.find(t, field("_id", big+1)), "n"), []int{1})
	same(t, "_id == 2^53 as a double", numbers(f.find(t, field("_id", float64(big))), "n"), []int{0})
	same(t, "_id in both", numbers(f.find(t, field("_id", field("$in", bson.A{big, big + 1})), options.Find().SetSort(byID)), "n"), upTo(0, 2))
}
