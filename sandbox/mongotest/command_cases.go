package mongotest

import (
	"fmt"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func count(t *testing.T, f *fixture) {
	f.fill(t, numbered(150)...)
	for name, ask := range map[string]func() (int64, error){
		"CountDocuments": func() (int64, error) { return f.CountDocuments(f.ctx, bson.D{}) },
		"CountDocuments with a hint": func() (int64, error) {
			return f.CountDocuments(f.ctx, bson.D{}, options.Count().SetHint(byID))
		},
		"EstimatedDocumentCount": func() (int64, error) { return f.EstimatedDocumentCount(f.ctx) },
	} {
		if n, err := ask(); n != 150 || err != nil {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	if n, err := f.CountDocuments(f.ctx, field("n", field("$lt", int32(40)))); n != 40 || err != nil {
		t.Errorf("CountDocuments with a filter: %d, %v", n, err)
	}
	if n, err := f.CountDocuments(f.ctx, field("n", int32(-7))); n != 0 || err != nil {
		t.Errorf("CountDocuments of none: %d, %v", n, err)
	}
	if n, err := f.CountDocuments(f.ctx, bson.D{}, options.Count().SetSkip(140).SetLimit(100)); n != 10 || err != nil {
		t.Errorf("CountDocuments with skip and limit: %d, %v", n, err)
	}
}

func stage(name string, spec any) bson.D { return field(name, spec) }

func (f *fixture) aggregate(t *testing.T, stages ...any) []bson.Raw {
	t.Helper()
	cur, err := f.Aggregate(f.ctx, bson.A(stages))
	return f.all(t, cur, err)
}

// A sample of a twentieth or more of a collection has no document twice; a smaller one may, but is from the collection too.
func sample(t *testing.T, f *fixture) {
	const n = 200
	f.fill(t, numbered(n)...)
	for _, c := range []struct{ size, want int }{{1, 1}, {50, 50}, {n, n}, {2 * n, n}} {
		got := numbers(f.aggregate(t, stage("$sample", field("size", c.size))), "n")
		slices.Sort(got)
		if len(got) != c.want || len(slices.Compact(got)) != c.want || got[0] < 0 || got[len(got)-1] >= n {
			t.Errorf("a sample of %d of %d: %d", c.size, n, got)
		}
	}
	first := numbers(f.aggregate(t, stage("$sample", field("size", 50))), "n")
	slices.Sort(first)
	for range 20 {
		next := numbers(f.aggregate(t, stage("$sample", field("size", 50))), "n")
		slices.Sort(next)
		if !slices.Equal(first, next) {
			return
		}
	}
	t.Error("twenty samples are all the same")
}

func sampleSorted(t *testing.T, f *fixture) {
	const n = 200
	f.fill(t, numbered(n)...)
	got := f.aggregate(t, stage("$sample", field("size", 40)), stage("$project", byID), stage("$sort", byID))
	ids := numbers(got, "_id")
	if len(ids) != 40 || !slices.IsSorted(ids) {
		t.Errorf("sampled and sorted: %d", ids)
	}
	for _, d := range got {
		if e, err := d.Elements(); err != nil || len(e) != 1 {
			t.Fatalf("projected: %v, %v", d, err)
		}
	}
}

func collStats(t *testing.T, f *fixture) {
	f.fill(t, numbered(30)...)
	got := f.aggregate(t, stage("$collStats", bson.D{{Key: "count", Value: bson.D{}}, {Key: "storageStats", Value: bson.D{}}}))
	if len(got) != 1 || got[0].Lookup("count").AsInt64() != 30 || got[0].Lookup("storageStats", "count").AsInt64() != 30 ||
		got[0].Lookup("storageStats", "size").AsInt64() < 30*20 {
		t.Errorf("$collStats: %v", got)
	}
}

func listCollections(t *testing.T, f *fixture) {
	other := f.db.Collection(f.Name() + "_other")
	for _, c := range []*mongo.Collection{f.Collection, other} {
		if _, err := c.InsertOne(f.ctx, byID); err != nil {
			t.Fatal(err)
		}
	}
	names, err := f.db.ListCollectionNames(f.ctx, bson.D{})
	if err != nil || !slices.Contains(names, f.Name()) || !slices.Contains(names, other.Name()) {
		t.Errorf("all: %q, %v", names, err)
	}
	for name, want := range map[string][]string{f.Name(): {f.Name()}, "absent": {}} {
		if got, err := f.db.ListCollectionNames(f.ctx, field("name", name)); err != nil || !slices.Equal(got, want) {
			t.Errorf("named %q: %q, %v", name, got, err)
		}
	}
	specs, err := f.db.ListCollectionSpecifications(f.ctx, field("name", f.Name()))
	if err != nil || len(specs) != 1 || specs[0].Type != "collection" {
		t.Errorf("specification: %+v, %v", specs, err)
	}
}

func listIndexes(t *testing.T, f *fixture) {
	f.fill(t, numbered(1)...)
	specs, err := f.Indexes().ListSpecifications(f.ctx)
	if err != nil || len(specs) != 1 || specs[0].Name != "_id_" {
		t.Errorf("%+v, %v", specs, err)
	}
}

func missingCollection(t *testing.T, f *fixture) {
	if got := f.find(t, bson.D{}, options.Find().SetSort(byID)); len(got) != 0 {
		t.Errorf("find: %v", got)
	}
	if got := f.find(t, bson.D{}, options.Find().SetSort(byID).SetHint(byID).SetMin(field("_id", int32(1)))); len(got) != 0 {
		t.Errorf("find from 1: %v", got)
	}
	if n, err := f.CountDocuments(f.ctx, bson.D{}); n != 0 || err != nil {
		t.Errorf("CountDocuments: %d, %v", n, err)
	}
	if got := f.aggregate(t, stage("$match", bson.D{}), stage("$sort", byID)); len(got) != 0 {
		t.Errorf("aggregate: %v", got)
	}
}

// writes are what tests need to change a collection under a reader.
func writes(t *testing.T, f *fixture) {
	f.fill(t, numbered(10)...)
	if _, err := f.InsertOne(f.ctx, bson.D{{Key: "n", Value: int32(10)}}); err != nil {
		t.Error(err)
	}
	if got := f.find(t, field("n", int32(10))); len(got) != 1 || got[0].Lookup("_id").Type != bson.TypeObjectID {
		t.Errorf("a document that came without _id: %v", got)
	}
	if r, err := f.DeleteOne(f.ctx, field("_id", int32(3))); err != nil || r.DeletedCount != 1 {
		t.Errorf("DeleteOne: %+v, %v", r, err)
	}
	if r, err := f.DeleteMany(f.ctx, field("n", field("$gte", int32(8)))); err != nil || r.DeletedCount != 3 {
		t.Errorf("DeleteMany: %+v, %v", r, err)
	}
	if r, err := f.UpdateOne(f.ctx, field("_id", int32(1)), field("$set", field("n", int32(100)))); err != nil || r.ModifiedCount != 1 {
		t.Errorf("UpdateOne: %+v, %v", r, err)
	}
	if r, err := f.ReplaceOne(f.ctx, field("_id", int32(2)), field("n", int32(200))); err != nil || r.ModifiedCount != 1 {
		t.Errorf("ReplaceOne: %+v, %v", r, err)
	}
	if r, err := f.ReplaceOne(f.ctx, field("_id", int32(9)), field("n", int32(900)), options.Replace().SetUpsert(true)); err != nil || r.UpsertedCount != 1 {
		t.Errorf("ReplaceOne, upserting: %+v, %v", r, err)
	}
	got := f.find(t, bson.D{}, options.Find().SetSort(byID))
	same(t, "ids", numbers(got, "_id"), []int{0, 1, 2, 4, 5, 6, 7, 9})
	same(t, "what they hold", numbers(got, "n"), []int{0, 100, 200, 4, 5, 6, 7, 900})
	docs := []any{field("_id", int32(20)), field("_id", int32(0)), field("_id", int32(21))}
	_, err := f.InsertMany(f.ctx, docs)
	if !mongo.IsDuplicateKeyError(err) {
		t.Errorf("InsertMany with a repeated _id: %v", err)
	}
	same(t, "an ordered insert ends at its first error", numbers(f.find(t, field("_id", field("$gte", int32(20)))), "_id"), []int{20})
}

func errorCodes(t *testing.T, f *fixture) {
	f.fill(t, numbered(3)...)
	_, err := f.command(t, f.getMore(1234567890123456789))
	hasCode(t, "getMore of no cursor", err, 43)
	_, err = f.command(t, bson.D{{Key: "nosuchcommand", Value: 1}})
	hasCode(t, "an unknown command", err, 59)
	_, err = f.InsertOne(f.ctx, field("_id", int32(1)))
	hasCode(t, "a repeated _id", err, 11000)
	hasCode(t, "an unknown top-level operator", f.failed(bson.D{{Key: "$nosuch", Value: 1}}), 2)
	for _, id := range []any{bson.A{int32(1)}, bson.Regex{Pattern: "a"}, bson.Undefined{}} {
		if _, err := f.InsertOne(f.ctx, field("_id", id)); err == nil {
			t.Errorf("an _id of type %T was stored", id)
		}
	}
}

func unknownStage(t *testing.T, f *fixture) {
	f.fill(t, numbered(3)...)
	cur, err := f.Aggregate(f.ctx, bson.A{stage("$nosuch", bson.D{})})
	if err == nil {
		_ = cur.Close(f.ctx)
	}
	hasCode(t, fmt.Sprintf("an unknown stage: %v", err), err, 40324)
}
