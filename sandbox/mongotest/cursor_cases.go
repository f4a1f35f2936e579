package mongotest

import (
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// reply is a find's or getMore's.
type reply struct {
	Cursor struct {
		ID         int64      `bson:"id"`
		FirstBatch []bson.Raw `bson:"firstBatch"`
		NextBatch  []bson.Raw `bson:"nextBatch"`
	} `bson:"cursor"`
	size int
}

// command sends a command as it stands. It has no deadline: the driver would add maxTimeMS, which getMore must not have.
func (f *fixture) command(t *testing.T, cmd bson.D) (reply, error) {
	t.Helper()
	var r reply
	raw, err := f.db.RunCommand(t.Context(), cmd).Raw()
	if err == nil {
		err = bson.Unmarshal(raw, &r)
	}
	r.size = len(raw)
	return r, err
}

func (f *fixture) mustCommand(t *testing.T, cmd bson.D) reply {
	t.Helper()
	r, err := f.command(t, cmd)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (f *fixture) findCommand(more ...bson.E) bson.D {
	return append(bson.D{{Key: "find", Value: f.Name()}, {Key: "sort", Value: byID}}, more...)
}

func (f *fixture) getMore(id int64, more ...bson.E) bson.D {
	return append(bson.D{{Key: "getMore", Value: id}, {Key: "collection", Value: f.Name()}}, more...)
}

func batches(t *testing.T, f *fixture) {
	const n = 250
	f.fill(t, numbered(n)...)
	// A driver's session would bind a cursor to it; commands without one are answered as well.
	r := f.mustCommand(t, f.findCommand())
	if len(r.Cursor.FirstBatch) != 101 || r.Cursor.ID == 0 {
		t.Errorf("without batchSize: %d documents, cursor %d; want 101 and a cursor", len(r.Cursor.FirstBatch), r.Cursor.ID)
	}
	rest := f.mustCommand(t, f.getMore(r.Cursor.ID))
	if len(rest.Cursor.NextBatch) != n-101 || rest.Cursor.ID != 0 {
		t.Errorf("getMore without batchSize: %d documents, cursor %d; want the other %d and no cursor", len(rest.Cursor.NextBatch), rest.Cursor.ID, n-101)
	}
	r = f.mustCommand(t, f.findCommand(bson.E{Key: "batchSize", Value: 0}))
	if len(r.Cursor.FirstBatch) != 0 || r.Cursor.ID == 0 {
		t.Errorf("batchSize 0: %d documents, cursor %d; want none and a cursor", len(r.Cursor.FirstBatch), r.Cursor.ID)
	}
	var got []bson.Raw
	for id := r.Cursor.ID; id != 0; {
		r := f.mustCommand(t, f.getMore(id, bson.E{Key: "batchSize", Value: 60}))
		if len(r.Cursor.NextBatch) > 60 {
			t.Fatalf("batchSize 60: %d documents", len(r.Cursor.NextBatch))
		}
		got, id = append(got, r.Cursor.NextBatch...), r.Cursor.ID
	}
	same(t, "in batches of 60", numbers(got, "n"), upTo(0, n))
	r = f.mustCommand(t, f.findCommand(bson.E{Key: "batchSize", Value: 10}, bson.E{Key: "singleBatch", Value: true}))
	if len(r.Cursor.FirstBatch) != 10 || r.Cursor.ID != 0 {
		t.Errorf("singleBatch: %d documents, cursor %d; want 10 and no cursor", len(r.Cursor.FirstBatch), r.Cursor.ID)
	}
	for _, size := range []int32{1, 7, n, n + 1} {
		same(t, "by the driver", numbers(f.find(t, bson.D{}, options.Find().SetSort(byID).SetBatchSize(size)), "n"), upTo(0, n))
	}
}

func limitAndSkip(t *testing.T, f *fixture) {
	f.fill(t, numbered(30)...)
	sorted := func() *options.FindOptionsBuilder { return options.Find().SetSort(byID).SetBatchSize(4) }
	same(t, "limit", numbers(f.find(t, bson.D{}, sorted().SetLimit(9)), "n"), upTo(0, 9))
	same(t, "limit 1", numbers(f.find(t, bson.D{}, sorted().SetLimit(1)), "n"), upTo(0, 1))
	same(t, "limit above all", numbers(f.find(t, bson.D{}, sorted().SetLimit(99)), "n"), upTo(0, 30))
	same(t, "skip", numbers(f.find(t, bson.D{}, sorted().SetSkip(25)), "n"), upTo(25, 30))
	same(t, "skip and limit", numbers(f.find(t, bson.D{}, sorted().SetSkip(10).SetLimit(10)), "n"), upTo(10, 20))
	same(t, "skip all", numbers(f.find(t, bson.D{}, sorted().SetSkip(30)), "n"), []int{})
}

// The server's time limit belongs to the command that made the cursor.
func getMoreMaxTime(t *testing.T, f *fixture) {
	f.fill(t, numbered(10)...)
	r := f.mustCommand(t, f.findCommand(bson.E{Key: "batchSize", Value: 2}))
	_, err := f.command(t, f.getMore(r.Cursor.ID, bson.E{Key: "maxTimeMS", Value: 1000}))
	hasCode(t, "getMore with maxTimeMS", err, 2)
}

func killCursors(t *testing.T, f *fixture) {
	f.fill(t, numbered(10)...)
	r := f.mustCommand(t, f.findCommand(bson.E{Key: "batchSize", Value: 2}))
	f.mustCommand(t, bson.D{{Key: "killCursors", Value: f.Name()}, {Key: "cursors", Value: bson.A{r.Cursor.ID}}})
	_, err := f.command(t, f.getMore(r.Cursor.ID))
	hasCode(t, "getMore of a killed cursor", err, 43)
}

// A reply of more than 16 MiB of documents ends early, whatever batchSize says.
func replyLimit(t *testing.T, f *fixture) {
	const n, size, most = 20, 1 << 20, 16 << 20
	body := strings.Repeat("x", size)
	for i := range n {
		f.fill(t, bson.D{{Key: "_id", Value: int32(i)}, {Key: "n", Value: int32(i)}, {Key: "body", Value: body}})
	}
	r := f.mustCommand(t, f.findCommand(bson.E{Key: "batchSize", Value: 1000}))
	if got := len(r.Cursor.FirstBatch); r.size > most+16<<10 || got < 2 || got > 15 || r.Cursor.ID == 0 {
		t.Errorf("the first reply has %d documents in %d bytes, cursor %d", got, r.size, r.Cursor.ID)
	}
	got := r.Cursor.FirstBatch
	for id := r.Cursor.ID; id != 0; {
		r := f.mustCommand(t, f.getMore(id))
		got, id = append(got, r.Cursor.NextBatch...), r.Cursor.ID
	}
	same(t, "all", numbers(got, "n"), upTo(0, n))
}

// Documents that exist throughout are seen exactly once, in order, whatever comes and goes between.
func insertDuringScan(t *testing.T, f *fixture) {
	const n = 60
	for i := range n {
		f.fill(t, bson.D{{Key: "_id", Value: float64(i)}, {Key: "n", Value: int32(i)}})
	}
	cur, err := f.Find(f.ctx, bson.D{}, options.Find().SetSort(byID).SetHint(byID).SetBatchSize(5))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cur.Close(f.ctx) }()
	var got []int
	for cur.Next(f.ctx) {
		v := cur.Current.Lookup("n").AsInt64()
		if v < 0 {
			continue // inserted meanwhile: it may be seen or not
		}
		got = append(got, int(v))
		if v%7 == 0 {
			f.fill(t, bson.D{{Key: "_id", Value: float64(v) - 0.5}, {Key: "n", Value: int32(-1)}}, bson.D{{Key: "_id", Value: float64(v) + 20.25}, {Key: "n", Value: int32(-1)}})
		}
	}
	if err := cur.Err(); err != nil {
		t.Fatal(err)
	}
	same(t, "those that were there throughout", got, upTo(0, n))
}

func deleteDuringScan(t *testing.T, f *fixture) {
	const n = 60
	f.fill(t, numbered(n)...)
	cur, err := f.Find(f.ctx, bson.D{}, options.Find().SetSort(byID).SetHint(byID).SetBatchSize(5))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cur.Close(f.ctx) }()
	var got []int
	for cur.Next(f.ctx) {
		v := int(cur.Current.Lookup("n").AsInt64())
		if v%10 != 3 {
			got = append(got, v)
		}
		if v%10 == 2 { // the next, which may be in this batch; and one that was seen
			for _, id := range []int{v + 1, v + 11, v - 9} {
				if _, err := f.DeleteOne(f.ctx, field("_id", int32(id))); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := cur.Err(); err != nil {
		t.Fatal(err)
	}
	same(t, "those that were there throughout", got, slices.DeleteFunc(upTo(0, n), func(v int) bool { return v%10 == 3 }))
}
