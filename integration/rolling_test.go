package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/syncd-io/syncd/sandbox/fastmongo"
)

// ticker writes to documents by turns, each write with the next number.
type ticker struct {
	c    *mongo.Collection
	keys int

	mu sync.Mutex
	at []time.Time // when a number was written
}

// write writes until ctx ends.
func (w *ticker) write(ctx context.Context) error {
	for ctx.Err() == nil {
		w.mu.Lock()
		n := len(w.at)
		w.at = append(w.at, time.Now())
		w.mu.Unlock()
		id := fmt.Sprint(n % w.keys)
		if _, err := w.c.ReplaceOne(context.WithoutCancel(ctx), bson.D{{Key: "_id", Value: id}}, bson.D{{Key: "_id", Value: id}, {Key: "v", Value: int64(n)}}); err != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

// tickerEvents is what events say of a ticker's writes.
type tickerEvents struct {
	seen     map[int64]int
	last     map[string]int64
	repeats  int
	repeated map[int64]bool
	took     map[int64]time.Duration // from each write to its first event
}

// hardest is the longest that a write between two moments took to its event, and how many of these have several events.
func (w *ticker) hardest(got tickerEvents, from, to time.Time) (longest time.Duration, repeats int) {
	for v, at := range w.at {
		if at.Before(from) || !at.Before(to) {
			continue
		}
		longest = max(longest, got.took[int64(v)])
		if got.repeated[int64(v)] {
			repeats++
		}
	}
	return longest, repeats
}

// read reads the events of a ticker's writes.
func (w *ticker) read(t *testing.T, p *place) tickerEvents {
	t.Helper()
	f := tickerEvents{seen: map[int64]int{}, last: map[string]int64{}, repeated: map[int64]bool{}, took: map[int64]time.Duration{}}
	w.mu.Lock()
	defer w.mu.Unlock()
	p.consume(t, partitionOffsets{}, func(r *kgo.Record) {
		if header(r, "syncd-reason") != "changed" {
			return
		}
		var e struct {
			Document struct {
				V int64 `json:"v"`
			} `json:"fullDocument"`
		}
		if err := json.Unmarshal(r.Value, &e); err != nil {
			t.Fatal(err)
		}
		v := e.Document.V
		if f.seen[v]++; f.seen[v] > 1 {
			f.repeats++
			f.repeated[v] = true
			return
		}
		if last, there := f.last[string(r.Key)]; there && v < last {
			t.Errorf("the change %d of document %s comes behind %d", v, r.Key, last)
		}
		f.last[string(r.Key)] = v
		f.took[v] = r.Timestamp.Sub(w.at[v])
	})
	return f
}

// restartsEnv is for how many restarts of processes TestClusterRollingRestart measures.
const restartsEnv = "SYNCD_TEST_RESTARTS"

func restarts(t *testing.T) int {
	t.Helper()
	text := os.Getenv(restartsEnv)
	if text == "" {
		return 3
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 3 {
		t.Fatalf("%s must be a number, at least 3: %q", restartsEnv, text)
	}
	return n
}

// TestClusterRollingRestart ends and replaces each process of a cluster while it follows: no change is lost, those of a document keep their
// order, and none waits long.
func TestClusterRollingRestart(t *testing.T) {
	t.Run("at least once", func(t *testing.T) {
		testRollingRestart(t, func(*place) []string { return []string{createTopics} }, false)
	})
	t.Run("exactly once", func(t *testing.T) { testRollingRestart(t, (*place).exactlyOnce, true) })
}

func testRollingRestart(t *testing.T, settings func(*place) []string, exactly bool) {
	t.Parallel()
	s, err := fastmongo.Start(t.Context(), fastmongo.Config{ReplicaSet: "rs0", Oplog: fastmongo.Oplog{Noop: time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, s.Close)
	p := newPlace(t, s.URI(), kafkaAddr(t))
	w := &ticker{c: p.database(t).Collection("page"), keys: 50}
	for i := range w.keys {
		if _, err := w.c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: fmt.Sprint(i)}, {Key: "v", Value: int64(-1)}}); err != nil {
			t.Fatal(err)
		}
	}
	f := newFleet(t, p, 0, 6, settings(p))
	defer f.say(t)
	for range 3 {
		f.join(t, "--follow")
	}
	follows := func() bool { return slices.ContainsFunc(f.members, (*invocation).follows) }
	until(t, "one of them follows", follows)
	writing, stop := context.WithCancel(t.Context())
	defer stop()
	written := make(chan error, 1)
	go func() { written <- w.write(writing) }()
	var restarted []time.Time
	for i := range restarts(t) {
		time.Sleep(time.Second)
		k := i % len(f.members)
		old := f.members[k]
		restarted = append(restarted, time.Now())
		old.signal(t, syscall.SIGTERM)
		r := old.wait(t)
		t.Logf("process %d ended with %d after %s; it followed: %t", k, r.code, time.Since(restarted[i]).Round(time.Millisecond), old.follows())
		f.replace(t, k, "--follow")
		until(t, "one of them follows", follows)
	}
	time.Sleep(time.Second)
	restarted = append(restarted, time.Now())
	stop()
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	var got tickerEvents
	until(t, "the last change is followed", func() bool {
		got = w.read(t, p)
		return got.seen[int64(len(w.at)-1)] > 0
	})
	for _, i := range f.members {
		i.signal(t, syscall.SIGTERM)
	}
	for _, i := range f.members {
		i.wait(t)
	}
	got = w.read(t, p)
	if len(got.seen) != len(w.at) {
		t.Fatalf("of %d changes %d have an event", len(w.at), len(got.seen))
	}
	if exactly && got.repeats > 0 {
		t.Errorf("%d changes were sent again", got.repeats)
	}
	took := slices.Sorted(maps.Values(got.took))
	n := len(took)
	t.Logf("%d changes, %d sent again; from a write to its event: median %s, longest %s", n, got.repeats, took[n/2], took[n-1])
	for i, at := range restarted[:len(restarted)-1] {
		pause, repeats := w.hardest(got, at.Add(-time.Second), restarted[i+1].Add(-time.Second))
		t.Logf("restart %d: longest %s, %d sent again", i, pause.Round(time.Millisecond), repeats)
	}
	if pause := took[n-1]; pause > 10*time.Second {
		t.Errorf("a change waited %s for its event", pause)
	}
}
