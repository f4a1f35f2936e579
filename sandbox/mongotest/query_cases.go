package mongotest

import (
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func in(t *testing.T, f *fixture) {
	ids := f.everyType(t)
	ask := func(every int) (values bson.A, want []int) {
		for i := 0; i < len(ids); i += every {
			if ids[i].Type == "nan" || ids[i].Type == "null" {
				continue // null has a rule of its own, and not every server finds NaN
			}
			values, want = append(values, ids[i].Value), append(want, i)
		}
		return values, want
	}
	for _, every := range []int{1, 2, 3} {
		values, want := ask(every)
		slices.Reverse(values)
		got := numbers(f.find(t, field("_id", field("$in", values)), options.Find().SetSort(byID)), "n")
		same(t, "$in", got, want)
		unsorted := numbers(f.find(t, field("_id", field("$in", append(values, values[0], "absent", int32(77))))), "n")
		slices.Sort(unsorted)
		same(t, "$in, unsorted, with a repeated and absent ids", unsorted, want)
	}
	same(t, "$in nothing", numbers(f.find(t, field("_id", field("$in", bson.A{}))), "n"), []int{})
	one, want := ask(7)
	same(t, "$and of $in and a field",
		numbers(f.find(t, bson.D{{Key: "$and", Value: bson.A{field("n", field("$gt", int32(7))), field("_id", field("$in", one))}}}, options.Find().SetSort(byID)), "n"),
		slices.DeleteFunc(want, func(n int) bool { return n <= 7 }))
}

// A comparison holds within its operand's type only. That is why ranges of _id must not be asked for by $gt and $lt.
func typeBrackets(t *testing.T, f *fixture) {
	f.fill(t,
		bson.D{{Key: "_id", Value: int32(1)}, {Key: "n", Value: int32(0)}}, bson.D{{Key: "_id", Value: 2.5}, {Key: "n", Value: int32(1)}},
		bson.D{{Key: "_id", Value: int64(3)}, {Key: "n", Value: int32(2)}}, bson.D{{Key: "_id", Value: "a"}, {Key: "n", Value: int32(3)}},
		bson.D{{Key: "_id", Value: "b"}, {Key: "n", Value: int32(4)}}, bson.D{{Key: "_id", Value: bson.ObjectID{11: 1}}, {Key: "n", Value: int32(5)}},
		bson.D{{Key: "_id", Value: bson.DateTime(5)}, {Key: "n", Value: int32(6)}},
	)
	sorted := options.Find().SetSort(byID)
	for _, c := range []struct {
		op   string
		v    any
		want []int
	}{
		{"$gt", int32(1), []int{1, 2}}, {"$gte", 1.0, []int{0, 1, 2}}, {"$lt", int64(3), []int{0, 1}}, {"$lte", 3.0, []int{0, 1, 2}},
		{"$gt", "a", []int{4}}, {"$gte", "", []int{3, 4}}, {"$lt", "b", []int{3}}, {"$lte", "zz", []int{3, 4}},
		{"$gt", bson.ObjectID{}, []int{5}}, {"$lt", bson.ObjectID{}, []int{}}, {"$gte", bson.DateTime(5), []int{6}}, {"$lt", bson.DateTime(5), []int{}},
	} {
		same(t, c.op, numbers(f.find(t, field("_id", field(c.op, c.v)), sorted), "n"), c.want)
	}
	both := bson.D{{Key: "$gte", Value: int32(2)}, {Key: "$lt", Value: int32(3)}}
	same(t, "between 2 and 3", numbers(f.find(t, field("_id", both), sorted), "n"), []int{1})
}

func filters(t *testing.T, f *fixture) {
	f.fill(t,
		bson.D{{Key: "_id", Value: int32(0)}, {Key: "a", Value: int32(1)}, {Key: "b", Value: bson.D{{Key: "c", Value: "x"}}}},
		bson.D{{Key: "_id", Value: int32(1)}, {Key: "a", Value: 2.0}, {Key: "b", Value: bson.D{{Key: "c", Value: "y"}}}},
		bson.D{{Key: "_id", Value: int32(2)}, {Key: "a", Value: nil}},
		bson.D{{Key: "_id", Value: int32(3)}, {Key: "tags", Value: bson.A{"red", "blue"}}},
		bson.D{{Key: "_id", Value: int32(4)}, {Key: "b", Value: bson.A{bson.D{{Key: "c", Value: "x"}}, bson.D{{Key: "c", Value: "z"}}}}},
	)
	for _, c := range []struct {
		name   string
		filter bson.D
		want   []int
	}{
		{"equality", field("a", int32(2)), []int{1}},
		{"$eq", field("a", field("$eq", int64(1))), []int{0}},
		{"$ne", field("a", field("$ne", int32(1))), []int{1, 2, 3, 4}},
		{"null", field("a", nil), []int{2, 3, 4}},
		{"$exists", field("a", field("$exists", true)), []int{0, 1, 2}},
		{"$exists false", field("a", field("$exists", false)), []int{3, 4}},
		{"nested", field("b.c", "x"), []int{0, 4}},
		{"element of an array", field("tags", "red"), []int{3}},
		{"$in", field("b.c", field("$in", bson.A{"y", "z"})), []int{1, 4}},
		{"$or", bson.D{{Key: "$or", Value: bson.A{field("a", int32(1)), field("tags", "blue")}}}, []int{0, 3}},
		{"$and", bson.D{{Key: "$and", Value: bson.A{field("b.c", "x"), field("a", field("$exists", false))}}}, []int{4}},
		{"$gte", field("a", field("$gte", int32(2))), []int{1}},
	} {
		same(t, c.name, numbers(f.find(t, c.filter, options.Find().SetSort(byID)), "_id"), c.want)
	}
	hasCode(t, "an unknown operator", f.failed(field("a", field("$nosuch", 1))), 2)
}

// Negations hold if no element of an array is named.
func notInArray(t *testing.T, f *fixture) {
	f.fill(t,
		bson.D{{Key: "_id", Value: int32(0)}, {Key: "b", Value: bson.D{{Key: "c", Value: "y"}}}}, bson.D{{Key: "_id", Value: int32(1)}},
		bson.D{{Key: "_id", Value: int32(2)}, {Key: "b", Value: bson.A{bson.D{{Key: "c", Value: "x"}}, bson.D{{Key: "c", Value: "z"}}}}},
	)
	same(t, "$nin", numbers(f.find(t, field("b.c", field("$nin", bson.A{"x", "y"})), options.Find().SetSort(byID)), "_id"), []int{1})
	same(t, "$ne", numbers(f.find(t, field("b.c", field("$ne", "x")), options.Find().SetSort(byID)), "_id"), []int{0, 1})
}

func projection(t *testing.T, f *fixture) {
	doc := bson.D{
		{Key: "_id", Value: int32(1)}, {Key: "z", Value: "z"},
		{Key: "a", Value: bson.D{{Key: "b", Value: int32(2)}, {Key: "c", Value: int32(3)}}},
		{Key: "list", Value: bson.A{bson.D{{Key: "b", Value: int32(4)}, {Key: "c", Value: int32(5)}}, "scalar"}},
	}
	f.fill(t, doc)
	for _, c := range []struct {
		name    string
		project bson.D
		want    bson.D
	}{
		{"_id", byID, bson.D{doc[0]}},
		{"without _id", bson.D{{Key: "z", Value: 1}, {Key: "_id", Value: 0}}, bson.D{doc[1]}},
		{"a field", field("z", 1), bson.D{doc[0], doc[1]}},
		{"in the order of the document", bson.D{{Key: "a", Value: 1}, {Key: "z", Value: true}}, bson.D{doc[0], doc[1], doc[2]}},
		{"a nested field", field("a.b", 1), bson.D{doc[0], {Key: "a", Value: bson.D{{Key: "b", Value: int32(2)}}}}},
		{"in an array", field("list.b", 1), bson.D{doc[0], {Key: "list", Value: bson.A{bson.D{{Key: "b", Value: int32(4)}}}}}},
		{"of an absent field", field("none.at.all", 1), bson.D{doc[0]}},
		{"exclusion", bson.D{{Key: "a.b", Value: 0}, {Key: "list", Value: 0}}, bson.D{doc[0], doc[1], {Key: "a", Value: bson.D{{Key: "c", Value: int32(3)}}}}},
	} {
		got := f.find(t, bson.D{}, options.Find().SetProjection(c.project))
		want, err := bson.Marshal(c.want)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || string(got[0]) != string(want) {
			t.Errorf("%s: got %v, want %v", c.name, got, bson.Raw(want))
		}
	}
}

func projectionErrors(t *testing.T, f *fixture) {
	f.fill(t, numbered(1)...)
	hasCode(t, "a path and a longer one", f.failed(bson.D{}, options.Find().SetProjection(bson.D{{Key: "a", Value: 1}, {Key: "a.b", Value: 1}})), 31249)
	hasCode(t, "a path and a shorter one", f.failed(bson.D{}, options.Find().SetProjection(bson.D{{Key: "a.b", Value: 1}, {Key: "a", Value: 1}})), 31250, 31249)
	hasCode(t, "exclusion among inclusion", f.failed(bson.D{}, options.Find().SetProjection(bson.D{{Key: "a", Value: 1}, {Key: "b", Value: 0}})), 31254)
}

func distinct(t *testing.T, f *fixture) {
	f.fill(t, numbered(7)...)
	var got []int
	if err := f.Distinct(f.ctx, "_id", bson.D{}).Decode(&got); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	same(t, "distinct _id", got, upTo(0, 7))
}
