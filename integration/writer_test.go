package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// writer writes to collections. What it writes carries a number that no other write has. Its methods are safe for concurrent use.
type writer struct {
	db          *mongo.Database
	collections []string
	each        int // documents of a collection
	n           int // writes in all, about

	mu      sync.Mutex
	version int64
	allowed int
	done    int
	applied applied
}

// applied is what writes have changed, by the server's word.
type applied struct {
	whole            map[int64]bool // numbers of inserted and replaced documents
	updated, deleted int64
	transactions     int
}

func (a applied) String() string {
	return fmt.Sprintf("%d inserts and replaces, %d updates, %d deletes, %d transactions", len(a.whole), a.updated, a.deleted, a.transactions)
}

// newWriter makes a writer of n documents, and of about as many writes.
func newWriter(db *mongo.Database, n, collections int) *writer {
	w := &writer{db: db, each: n / collections, n: n, applied: applied{whole: map[int64]bool{}}}
	for i := range collections {
		w.collections = append(w.collections, fmt.Sprintf("c%02d", i))
	}
	return w
}

func (w *writer) documents() int { return w.each * len(w.collections) }

func (w *writer) next() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.version++
	return w.version
}

// allow lets the clients go on until so many writes are done.
func (w *writer) allow(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.allowed = n
}

func (w *writer) wrote() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done
}

// idOf is an id of one of several types, whose texts differ.
func idOf(i int) any {
	switch i % 4 {
	case 0:
		return int64(i)
	case 1:
		return fmt.Sprintf("page-%d", i)
	case 2:
		return bson.ObjectID{0xff, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}
	}
	return float64(i) + 0.5
}

func (w *writer) fill(t *testing.T) {
	t.Helper()
	const batch = 5000
	for _, c := range w.collections {
		for from := 0; from < w.each; from += batch {
			var docs []any
			for i := from; i < min(from+batch, w.each); i++ {
				docs = append(docs, bson.D{{Key: "_id", Value: idOf(i)}, {Key: "v", Value: w.next()}, {Key: "s", Value: strings.Repeat("x", 100)}})
			}
			if _, err := w.db.Collection(c).InsertMany(t.Context(), docs, options.InsertMany().SetOrdered(false)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// write writes with four clients at once, each to documents of its own, until about n writes are done.
func (w *writer) write(ctx context.Context) error {
	const clients = 4
	errs := make(chan error, clients)
	for k := range clients {
		go func() { errs <- w.client(ctx, k, clients) }()
	}
	var first error
	for range clients {
		first = errors.Join(first, <-errs)
	}
	return first
}

func (w *writer) client(ctx context.Context, k, clients int) error {
	r := rand.New(rand.NewPCG(uint64(k), 7))
	pick := func(n int) int { return r.IntN(n/clients)*clients + k }
	fresh := 2*w.each + k // no document has had this id
	for {
		for w.wrote() >= w.mayWrite() {
			if w.wrote() >= w.n {
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(5 * time.Millisecond):
			}
		}
		if r.IntN(20) == 0 {
			if err := w.transaction(ctx, r, pick); err != nil {
				return fmt.Errorf("in a transaction: %w", err)
			}
		}
		var models []mongo.WriteModel
		var whole []int64
		replaces := int64(0)
		for range 100 {
			i := pick(w.each * 11 / 10)
			key := bson.D{{Key: "_id", Value: idOf(i)}}
			v := w.next()
			rest := bson.D{{Key: "v", Value: v}, {Key: "s", Value: "y"}}
			switch r.IntN(8) {
			case 0:
				models = append(models, mongo.NewDeleteOneModel().SetFilter(key))
			case 1:
				models = append(models, mongo.NewInsertOneModel().SetDocument(append(bson.D{{Key: "_id", Value: idOf(fresh)}}, rest...)))
				whole = append(whole, v)
				fresh += clients
			case 2, 3:
				models = append(models, mongo.NewReplaceOneModel().SetFilter(key).SetReplacement(rest).SetUpsert(true))
				whole = append(whole, v)
				replaces++
			default:
				models = append(models, mongo.NewUpdateOneModel().SetFilter(key).SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "v", Value: v}}}}))
			}
		}
		done, err := w.db.Collection(w.collections[r.IntN(len(w.collections))]).BulkWrite(ctx, models, options.BulkWrite().SetOrdered(r.IntN(4) == 0))
		if err != nil {
			return err
		}
		w.add(whole, done.ModifiedCount-(replaces-done.UpsertedCount), done.DeletedCount, len(models))
	}
}

func (w *writer) mayWrite() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.allowed
}

func (w *writer) add(whole []int64, updated, deleted int64, writes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range whole {
		w.applied.whole[v] = true
	}
	w.applied.updated += updated
	w.applied.deleted += deleted
	w.done += writes
}

// transaction writes to two collections at once.
func (w *writer) transaction(ctx context.Context, r *rand.Rand, pick func(int) int) error {
	s, err := w.db.Client().StartSession()
	if err != nil {
		return err
	}
	defer s.EndSession(ctx)
	first := r.IntN(len(w.collections))
	var whole []int64
	_, err = s.WithTransaction(ctx, func(ctx context.Context) (any, error) {
		whole = nil // of an attempt that came to nothing
		for _, at := range []int{first, (first + 1) % len(w.collections)} {
			for range 5 {
				v := w.next()
				rest := bson.D{{Key: "v", Value: v}, {Key: "s", Value: "in a transaction"}}
				if _, err := w.db.Collection(w.collections[at]).ReplaceOne(ctx, bson.D{{Key: "_id", Value: idOf(pick(w.each))}}, rest, options.Replace().SetUpsert(true)); err != nil {
					return nil, err
				}
				whole = append(whole, v)
			}
		}
		return nil, nil
	})
	if err == nil {
		w.add(whole, 0, 0, len(whole))
		w.mu.Lock()
		w.applied.transactions++
		w.mu.Unlock()
	}
	return err
}

const lastID = "the last write"

func (w *writer) mark(t *testing.T) {
	t.Helper()
	for _, c := range w.collections {
		v := w.next()
		if _, err := w.db.Collection(c).InsertOne(t.Context(), bson.D{{Key: "_id", Value: lastID}, {Key: "v", Value: v}}); err != nil {
			t.Fatal(err)
		}
		w.add([]int64{v}, 0, 0, 1)
	}
}

// model is a consumer that applies events in the order of their partitions.
type model struct {
	p    *place
	from partitionOffsets // what it has read

	made  map[string]int64 // the number that each document carries, by topic and key
	whole map[int64]int    // how often an insert or a replace of this number was followed
	// Followed updates and deletes. An update carries the document as it is later, so that its number tells nothing.
	updated, deleted int64
	marks            int
}

func newModel(p *place) *model {
	return &model{p: p, from: partitionOffsets{}, made: map[string]int64{}, whole: map[int64]int{}}
}

// catchUp applies what has come.
func (m *model) catchUp(t *testing.T) {
	t.Helper()
	m.p.consume(t, m.from, func(r *kgo.Record) {
		if !strings.HasSuffix(r.Topic, ".state") {
			m.apply(t, r)
		}
	})
}

func (m *model) apply(t *testing.T, r *kgo.Record) {
	t.Helper()
	var e struct {
		Operation string `json:"operationType"`
		Document  *struct {
			V int64 `json:"v"`
		} `json:"fullDocument"`
	}
	if err := json.Unmarshal(r.Value, &e); err != nil {
		t.Fatal(err)
	}
	changed := header(r, "syncd-reason") == "changed"
	at := r.Topic + " " + string(r.Key)
	if e.Operation == "delete" {
		delete(m.made, at)
	} else {
		m.made[at] = e.Document.V
	}
	switch {
	case !changed:
	case e.Operation == "delete":
		m.deleted++
	case e.Operation == "update":
		m.updated++
	default:
		if m.whole[e.Document.V]++; m.whole[e.Document.V] == 1 && string(r.Key) == lastID {
			m.marks++
		}
	}
}

// repeats are the inserts, replaces and deletes that came again.
func (m *model) repeats(w *writer) int64 {
	n := m.deleted - w.applied.deleted
	for _, times := range m.whole {
		n += int64(times) - 1
	}
	return n
}

// compare fails the test unless the model is what the database is, and every write had an event. An update of a document that was
// deleted since has none.
func (m *model) compare(t *testing.T, w *writer, exactly bool) {
	t.Helper()
	want, wrong := 0, 0
	for _, name := range w.collections {
		cur, err := w.db.Collection(name).Find(t.Context(), bson.D{})
		if err != nil {
			t.Fatal(err)
		}
		for cur.Next(t.Context()) {
			want++
			v, _ := cur.Current.Lookup("v").Int64OK()
			key := keyText(cur.Current.Lookup("_id"))
			got, there := m.made[w.db.Name()+"."+name+" "+key]
			if got != v || !there {
				if wrong++; wrong <= 5 {
					t.Errorf("document %s of %s carries %d, the events %d (%t)", key, name, v, got, there)
				}
			}
		}
		if err := cur.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if wrong > 0 || len(m.made) != want {
		t.Errorf("%d documents differ; the events make %d, the database has %d", wrong, len(m.made), want)
	}
	var lost []int64
	for v := range w.applied.whole {
		if m.whole[v] == 0 {
			lost = append(lost, v)
		}
	}
	if len(lost) > 0 || len(m.whole) != len(w.applied.whole) {
		slices.Sort(lost)
		t.Errorf("of %d inserts and replaces %d have no event; of %d there is one; lost are %d", len(w.applied.whole), len(lost), len(m.whole), lost[:min(5, len(lost))])
	}
	if m.deleted < w.applied.deleted {
		t.Errorf("of %d deletes there are %d events", w.applied.deleted, m.deleted)
	}
	if exactly && (m.repeats(w) > 0 || m.updated > w.applied.updated) {
		twice := maps.Clone(m.whole)
		maps.DeleteFunc(twice, func(_ int64, times int) bool { return times == 1 })
		t.Errorf("%d inserts, replaces and deletes came again, such as %v; of %d updates there are %d events", m.repeats(w), twice, w.applied.updated, m.updated)
	}
}

// keyText is the text of an id in keys of plain events.
func keyText(v bson.RawValue) string {
	switch v.Type {
	case bson.TypeInt64:
		return fmt.Sprint(v.Int64())
	case bson.TypeObjectID:
		return v.ObjectID().Hex()
	case bson.TypeDouble:
		return fmt.Sprint(v.Double())
	}
	return v.StringValue()
}
