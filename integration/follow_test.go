package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// kills is how often a job that follows is killed.
const kills = 20

// TestFollow writes to two collections, while syncd backfills them, follows them, and is killed 20 times. In the end whoever applies
// the events in the order of their partitions has what the database has.
func TestFollow(t *testing.T) {
	t.Run("at least once", func(t *testing.T) { testFollow(t, func(*place) []string { return []string{createTopics} }, false) })
	t.Run("exactly once", func(t *testing.T) { testFollow(t, (*place).exactlyOnce, true) })
}

func testFollow(t *testing.T, settings func(*place) []string, exactly bool) {
	n := events(t) / 20
	uri := startSecantusWith(t, "--noop-heartbeat-seconds", "1", "--oplog-max-entries", "10000000", "--oplog-retention-seconds", "86400")
	p := newPlace(t, uri, kafkaAddr(t))
	w := &writer{db: p.database(t), collections: []string{"page", "epic"}, n: n}
	w.fill(t)
	config := p.config(t, map[string]string{"page": "page", "epic": "epic"}, settings(p)...)
	written := make(chan error, 1)
	began := time.Now()
	enough := make(chan struct{})
	go func() { written <- w.write(t.Context(), enough) }()
	r := rand.New(rand.NewPCG(1, 2))
	following := 0 // lives that came so far
	for k := range kills {
		i := start(t, "run", "--follow", "-c", config)
		if k%2 == 0 { // somewhere in the beginning, be it the start of the backfill or its middle
			time.Sleep(time.Duration(100+r.IntN(1500)) * time.Millisecond)
		} else {
			until(t, "it follows", func() bool { return !i.running() || i.follows() })
			time.Sleep(time.Duration(r.IntN(1000)) * time.Millisecond)
		}
		if !i.running() {
			t.Fatalf("life %d ended by itself:\n%s", k, i.wait(t).output)
		}
		if i.follows() {
			following++
		}
		i.kill(t)
	}
	close(enough)
	i := start(t, "run", "--follow", "-c", config)
	if err := <-written; err != nil {
		t.Fatalf("writing: %v", err)
	}
	until(t, "it follows", func() bool { return !i.running() || i.follows() })
	wrote := time.Since(began)
	w.mark(t)
	until(t, "the last writes are followed", func() bool {
		if !i.running() {
			t.Fatalf("it ended by itself:\n%s", i.wait(t).output)
		}
		return w.marked(t, p)
	})
	followed := time.Since(began)
	if err := i.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	i.wait(t).wants(t, 0, `^Stopped following: \d+ changes? read`)
	if following < kills/2 {
		t.Errorf("only %d lives followed", following)
	}
	made, repeats := applied(t, p)
	w.compare(t, made)
	t.Logf("%d documents, %d writes in %s, all followed after %s, %d kills, %d of them while it followed; %d inserts and replaces came again", 2*n, w.done, wrote.Round(time.Second), followed.Round(time.Second), kills, following, repeats)
	if exactly && repeats > 0 {
		t.Errorf("%d inserts and replaces came again", repeats)
	}
}

// follows reports whether a job has come to its streams.
func (i *invocation) follows() bool {
	return strings.Contains(i.output.String(), "Following the changes of")
}

// writer writes to collections. What it writes carries a number that no other write has.
type writer struct {
	db          *mongo.Database
	collections []string
	n           int // documents of each, and about so many writes to each

	mu      sync.Mutex
	version int64
	done    int
}

func (w *writer) next() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.version++
	return w.version
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
	for _, c := range w.collections {
		for from := 0; from < w.n; from += 5000 {
			var docs []any
			for i := from; i < min(from+5000, w.n); i++ {
				docs = append(docs, bson.D{{Key: "_id", Value: idOf(i)}, {Key: "v", Value: w.next()}, {Key: "s", Value: strings.Repeat("x", 100)}})
			}
			if _, err := w.db.Collection(c).InsertMany(t.Context(), docs); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// write writes with four clients at once, each to documents of its own: 2n times, and on until it is enough.
func (w *writer) write(ctx context.Context, enough <-chan struct{}) error {
	const clients = 4
	errs := make(chan error, clients)
	for k := range clients {
		go func() { errs <- w.client(ctx, enough, k, clients) }()
	}
	var first error
	for range clients {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (w *writer) client(ctx context.Context, enough <-chan struct{}, k, clients int) error {
	r := rand.New(rand.NewPCG(uint64(k), 7))
	const batch = 100
	for done := 0; ; done += batch {
		if done >= 2*w.n/clients {
			select {
			case <-enough:
				return nil
			default:
			}
		}
		var models []mongo.WriteModel
		for range batch {
			i := r.IntN(w.n*11/10/clients)*clients + k
			key := bson.D{{Key: "_id", Value: idOf(i)}}
			whole := bson.D{{Key: "_id", Value: idOf(i)}, {Key: "v", Value: w.next()}, {Key: "s", Value: "y"}}
			switch r.IntN(6) {
			case 0:
				models = append(models, mongo.NewDeleteOneModel().SetFilter(key))
			case 1, 2:
				models = append(models, mongo.NewReplaceOneModel().SetFilter(key).SetReplacement(whole).SetUpsert(true))
			default:
				models = append(models, mongo.NewUpdateOneModel().SetFilter(key).SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "v", Value: w.next()}}}}))
			}
		}
		c := w.db.Collection(w.collections[r.IntN(len(w.collections))])
		if r.IntN(20) == 0 {
			if err := w.transaction(ctx, r, k, clients); err != nil {
				return err
			}
		}
		if _, err := c.BulkWrite(ctx, models); err != nil {
			return err
		}
		w.mu.Lock()
		w.done += batch
		w.mu.Unlock()
	}
}

// transaction writes to all collections at once.
func (w *writer) transaction(ctx context.Context, r *rand.Rand, k, clients int) error {
	s, err := w.db.Client().StartSession()
	if err != nil {
		return err
	}
	defer s.EndSession(ctx)
	_, err = s.WithTransaction(ctx, func(ctx context.Context) (any, error) {
		for _, name := range w.collections {
			for range 5 {
				i := r.IntN(w.n/clients)*clients + k
				whole := bson.D{{Key: "v", Value: w.next()}, {Key: "s", Value: "in a transaction"}}
				if _, err := w.db.Collection(name).ReplaceOne(ctx, bson.D{{Key: "_id", Value: idOf(i)}}, whole, options.Replace().SetUpsert(true)); err != nil {
					return nil, err
				}
			}
		}
		return nil, nil
	})
	return err
}

const lastID = "the last write"

func (w *writer) mark(t *testing.T) {
	t.Helper()
	for _, c := range w.collections {
		if _, err := w.db.Collection(c).InsertOne(t.Context(), bson.D{{Key: "_id", Value: lastID}, {Key: "v", Value: w.next()}}); err != nil {
			t.Fatal(err)
		}
	}
}

// marked reports whether the events of mark are there.
func (w *writer) marked(t *testing.T, p *place) bool {
	t.Helper()
	n := 0
	p.read(t, func(r *kgo.Record) {
		if string(r.Key) == lastID {
			n++
		}
	})
	return n == len(w.collections)
}

// applied is what the events of a place come to: the number that each document carries, by topic and key.
func applied(t *testing.T, p *place) (made map[string]int64, repeats int) {
	t.Helper()
	made = map[string]int64{}
	seen := map[int64]bool{}
	p.read(t, func(r *kgo.Record) {
		if strings.HasSuffix(r.Topic, ".state") {
			return
		}
		var e struct {
			Operation string `json:"operationType"`
			Document  *struct {
				V int64 `json:"v"`
			} `json:"fullDocument"`
		}
		if err := json.Unmarshal(r.Value, &e); err != nil {
			t.Fatal(err)
		}
		at := r.Topic + " " + string(r.Key)
		if e.Operation == "delete" {
			delete(made, at)
			return
		}
		made[at] = e.Document.V
		if e.Operation == "insert" || e.Operation == "replace" { // an update's document may be that of a later change
			for _, h := range r.Headers {
				if h.Key == "syncd-reason" && string(h.Value) == "changed" {
					if seen[e.Document.V] {
						repeats++
					}
					seen[e.Document.V] = true
				}
			}
		}
	})
	return made, repeats
}

func (w *writer) compare(t *testing.T, made map[string]int64) {
	t.Helper()
	want := 0
	wrong := 0
	for _, name := range w.collections {
		cur, err := w.db.Collection(name).Find(t.Context(), bson.D{})
		if err != nil {
			t.Fatal(err)
		}
		for cur.Next(t.Context()) {
			want++
			v, _ := cur.Current.Lookup("v").Int64OK()
			key := keyText(cur.Current.Lookup("_id"))
			got, there := made[w.db.Name()+"."+name+" "+key]
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
	if wrong > 0 || len(made) != want {
		t.Errorf("%d documents differ; the events make %d, the database has %d", wrong, len(made), want)
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
