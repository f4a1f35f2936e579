package indexer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd/sandbox/indexer"
	"github.com/syncd-io/syncd/sandbox/kafkaserver"
	"github.com/syncd-io/syncd/sandbox/qdrantserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const collection = "pms_collection"

// world is a Kafka broker, a Qdrant server and clients of both.
type world struct {
	t      *testing.T
	ctx    context.Context
	kafka  *kafkaserver.Server
	qdrant *qdrantserver.Server
	send   *kgo.Client
	look   *qdrant.Client
}

func newWorld(t *testing.T, cfg qdrantserver.Config) *world {
	t.Helper()
	w := &world{t: t}
	var cancel context.CancelFunc
	w.ctx, cancel = context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	var err error
	if w.kafka, err = kafkaserver.Start(kafkaserver.Config{AutoCreateTopics: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.kafka.Close() })
	if w.qdrant, err = qdrantserver.Start(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.qdrant.Close() })
	if w.send, err = kgo.NewClient(kgo.SeedBrokers(w.kafka.Addr()), kgo.AllowAutoTopicCreation()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.send.Close)
	host, port := w.qdrantAddr()
	if w.look, err = qdrant.NewClient(&qdrant.Config{Host: host, Port: port, SkipCompatibilityCheck: true, PoolSize: 1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.look.Close() })
	return w
}

func (w *world) qdrantAddr() (string, int) {
	host, port, err := net.SplitHostPort(w.qdrant.Addr())
	if err != nil {
		w.t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		w.t.Fatal(err)
	}
	return host, n
}

func (w *world) start(cfg indexer.Config) *indexer.Indexer {
	w.t.Helper()
	cfg.Brokers = []string{w.kafka.Addr()}
	cfg.QdrantHost, cfg.QdrantPort = w.qdrantAddr()
	x, err := indexer.Start(w.ctx, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = x.Close() })
	return x
}

// event sends an event of a document; a nil document sends a delete.
func (w *world) event(operation, coll, id string, doc map[string]any, headers ...kgo.RecordHeader) {
	w.t.Helper()
	value := map[string]any{
		"operationType": operation,
		"ns":            map[string]string{"db": "ProjectManagement", "coll": coll},
		"documentKey":   map[string]string{"_id": id},
	}
	if doc != nil {
		value["fullDocument"] = doc
	}
	b, err := json.Marshal(value)
	if err != nil {
		w.t.Fatal(err)
	}
	w.record(&kgo.Record{Topic: "ProjectManagement." + coll, Key: []byte(id), Value: b, Headers: headers})
}

func (w *world) record(r *kgo.Record) {
	w.t.Helper()
	if err := w.send.ProduceSync(w.ctx, r).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

// until polls until a condition holds or the test's time is up.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-w.ctx.Done():
			w.t.Fatalf("waiting until %s: %v", what, w.ctx.Err())
		case <-tick.C:
		}
	}
}

// points returns the points of the index as "content type/mongo id/chunk of chunks".
func (w *world) points() []string {
	w.t.Helper()
	var out []string
	for _, p := range w.raw() {
		out = append(out, fmt.Sprintf("%s/%s/%d of %d", p.Payload["content_type"].GetStringValue(), p.Payload["mongo_id"].GetStringValue(),
			p.Payload["chunk_index"].GetIntegerValue(), p.Payload["chunk_count"].GetIntegerValue()))
	}
	slices.Sort(out)
	return out
}

func (w *world) raw() []*qdrant.RetrievedPoint {
	w.t.Helper()
	got, err := w.look.Scroll(w.ctx, &qdrant.ScrollPoints{
		CollectionName: collection, Limit: qdrant.PtrOf(uint32(10_000)),
		WithPayload: qdrant.NewWithPayload(true), WithVectors: qdrant.NewWithVectors(true),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

func (w *world) want(points ...string) {
	w.t.Helper()
	slices.Sort(points)
	if diff := cmp.Diff(points, w.points()); diff != "" {
		w.t.Errorf("points in Qdrant (-want +got):\n%s", diff)
	}
}

var long = strings.Repeat("twenty letters here ", 130) // 2,600 characters: 3 chunks

func TestIndex(t *testing.T) {
	t.Parallel()
	w := newWorld(t, qdrantserver.Config{})
	x := w.start(indexer.Config{}) // no topic exists yet

	w.event("insert", "workItem", "507f1f77bcf86cd799439011", map[string]any{"title": "Fix it", "description": "Now.", "updatedAt": "2024-05-01T10:00:00.000Z"})
	w.event("insert", "page", "p", map[string]any{"title": "Long", "content": long})
	w.event("insert", "other", "o", map[string]any{}, kgo.RecordHeader{Key: "syncd-content-type", Value: []byte("special")})
	w.until("three documents are indexed", func() bool { return x.Indexed() == 3 })
	w.want("work_item/507f1f77bcf86cd799439011/0 of 1", "page/p/0 of 3", "page/p/1 of 3", "page/p/2 of 3", "special/o/0 of 1")

	for _, p := range w.raw() {
		get := func(k string) string { return p.Payload[k].GetStringValue() }
		seed := fmt.Sprintf("%s/%s/%d", get("mongo_id"), get("content_type"), p.Payload["chunk_index"].GetIntegerValue())
		if want := uuid.NewSHA1(uuid.NameSpaceURL, []byte(seed)).String(); p.Id.GetUuid() != want {
			t.Errorf("point of %s is %s, want %s", seed, p.Id.GetUuid(), want)
		}
		if get("parent_id") != get("mongo_id") {
			t.Errorf("%s: parent_id is %q", seed, get("parent_id"))
		}
		if n := len(p.Vectors.GetVector().GetDense().GetData()); n != 32 {
			t.Errorf("%s: vector of %d components", seed, n)
		}
		if get("content_type") != "work_item" {
			continue
		}
		keys := []string{}
		for k := range p.Payload {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		if diff := cmp.Diff([]string{"chunk_count", "chunk_index", "content", "content_type", "mongo_id", "parent_id", "title", "updatedAt"}, keys); diff != "" {
			t.Errorf("payload (-want +got):\n%s", diff)
		}
		if get("title") != "Fix it" || get("content") != "Now." || get("updatedAt") != "2024-05-01T10:00:00.000Z" {
			t.Errorf("payload %v", p.Payload)
		}
	}

	info, err := w.look.GetCollectionInfo(w.ctx, collection)
	if err != nil {
		t.Fatal(err)
	}
	params := info.Config.Params.VectorsConfig.GetParams()
	if params.GetDistance() != qdrant.Distance_Cosine || params.GetSize() != 32 {
		t.Errorf("vectors are %v", params)
	}
	if got := info.PayloadSchema["content_type"].GetDataType(); got != qdrant.PayloadSchemaType_Keyword {
		t.Errorf("content_type is indexed as %v, want a keyword", got)
	}
}

func TestChangesOfADocument(t *testing.T) {
	t.Parallel()
	w := newWorld(t, qdrantserver.Config{})
	x := w.start(indexer.Config{ChunkSize: 10})
	w.event("insert", "page", "a", map[string]any{"content": "one two three four five"})
	w.event("insert", "workItem", "a", map[string]any{"description": "one two three four five"})
	w.event("insert", "page", "b", map[string]any{"content": "kept"})
	w.until("3 are indexed", func() bool { return x.Indexed() == 3 })
	w.want("page/a/0 of 3", "page/a/1 of 3", "page/a/2 of 3", "page/b/0 of 1",
		"work_item/a/0 of 3", "work_item/a/1 of 3", "work_item/a/2 of 3")

	w.event("replace", "page", "a", map[string]any{"content": "shorter"})
	w.until("the shorter version is indexed", func() bool { return x.Indexed() == 4 && len(w.points()) == 5 })
	w.want("page/a/0 of 1", "page/b/0 of 1", "work_item/a/0 of 3", "work_item/a/1 of 3", "work_item/a/2 of 3")

	w.event("delete", "page", "a", nil)
	w.record(&kgo.Record{Topic: "ProjectManagement.workItem", Key: []byte("a")})
	w.until("both are deleted", func() bool { return x.Deleted() == 2 })
	w.want("page/b/0 of 1")
}

func TestLastEventWins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, qdrantserver.Config{})
	// Sent before the indexer starts, so that one fetch gets them all.
	for i := range 20 {
		w.event("replace", "page", "a", map[string]any{"title": strconv.Itoa(i)})
	}
	w.event("insert", "page", "b", map[string]any{})
	w.event("delete", "page", "b", nil)
	w.event("delete", "page", "c", nil)
	w.event("insert", "page", "c", map[string]any{})
	x := w.start(indexer.Config{})
	w.until("all is done", func() bool { return len(w.points()) == 2 && x.Indexed() >= 2 && x.Deleted() >= 1 })
	w.until("the last title is there", func() bool {
		return slices.ContainsFunc(w.raw(), func(p *qdrant.RetrievedPoint) bool { return p.Payload["title"].GetStringValue() == "19" })
	})
	w.want("page/a/0 of 1", "page/c/0 of 1")
}

func TestManyDocuments(t *testing.T) {
	t.Parallel()
	w := newWorld(t, qdrantserver.Config{})
	x := w.start(indexer.Config{})
	const n = 3000
	for i := range n {
		w.send.Produce(w.ctx, &kgo.Record{
			Topic: fmt.Sprintf("ProjectManagement.c%d", i%4), Key: fmt.Append(nil, i),
			Value: fmt.Appendf(nil, `{"operationType":"insert","documentKey":{"_id":"%d"},"fullDocument":{"title":"%d"}}`, i, i),
		}, nil)
	}
	if err := w.send.Flush(w.ctx); err != nil {
		t.Fatal(err)
	}
	w.until("all are indexed", func() bool { return x.Indexed() == n })
	if got := len(w.points()); got != n {
		t.Errorf("%d points, want %d", got, n)
	}
}

func TestOffsetsOutliveTheIndexer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, qdrantserver.Config{})
	first := w.start(indexer.Config{})
	w.event("insert", "page", "a", map[string]any{})
	w.until("a is indexed", func() bool { return first.Indexed() == 1 })
	if err := errors.Join(first.Close(), first.Close()); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	if _, err := w.look.Delete(w.ctx, &qdrant.DeletePoints{CollectionName: collection, Wait: qdrant.PtrOf(true), Points: qdrant.NewPointsSelectorFilter(&qdrant.Filter{})}); err != nil {
		t.Fatal(err)
	}
	w.event("insert", "page", "b", map[string]any{})
	second := w.start(indexer.Config{})
	w.until("b is indexed", func() bool { return second.Indexed() == 1 })
	w.want("page/b/0 of 1") // a's offset was committed: it isn't read again
}

func TestDrop(t *testing.T) {
	t.Parallel()
	w := newWorld(t, qdrantserver.Config{})
	x := w.start(indexer.Config{Drop: func(id string) bool { return id == "b" }})
	for _, id := range []string{"a", "b", "c"} {
		w.event("insert", "page", id, map[string]any{})
	}
	w.until("all are seen", func() bool { return x.Indexed()+x.Dropped() == 3 })
	w.want("page/a/0 of 1", "page/c/0 of 1")
}

func TestUnreadableEventsArePassedOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, qdrantserver.Config{})
	x := w.start(indexer.Config{})
	for _, v := range []string{"no JSON", `{"operationType":"insert"}`, `[]`} {
		w.record(&kgo.Record{Topic: "ProjectManagement.page", Key: []byte("k"), Value: []byte(v)})
	}
	w.event("insert", "page", "a", map[string]any{})
	w.until("the good one is indexed", func() bool { return x.Indexed() == 1 && x.Failed() == 3 })
	w.want("page/a/0 of 1")
}

// TestQdrantOutage has Qdrant fail for a while: nothing is committed, nothing lost.
func TestQdrantOutage(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	var refused atomic.Int64
	w := newWorld(t, qdrantserver.Config{Intercept: func(_ context.Context, method string) error {
		if down.Load() && strings.HasSuffix(method, "Upsert") {
			refused.Add(1)
			return status.Error(codes.Unavailable, "down for a test")
		}
		return nil
	}})
	x := w.start(indexer.Config{})
	down.Store(true)
	w.event("insert", "page", "a", map[string]any{})
	w.until("it has tried three times", func() bool { return refused.Load() >= 3 })
	if x.Indexed() != 0 {
		t.Errorf("%d documents indexed while Qdrant is down", x.Indexed())
	}
	// An indexer that is stopped now leaves the event to the next one.
	if err := x.Close(); err != nil {
		t.Error(err)
	}
	x = w.start(indexer.Config{})
	down.Store(false)
	w.until("a is indexed", func() bool { return x.Indexed() == 1 })
	w.want("page/a/0 of 1")
}

func TestCollectionIsCreatedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, qdrantserver.Config{})
	x := w.start(indexer.Config{})
	if err := w.look.DeleteCollection(w.ctx, collection); err != nil {
		t.Fatal(err)
	}
	w.event("insert", "page", "a", map[string]any{})
	w.until("a is indexed", func() bool { return x.Indexed() == 1 })
	w.want("page/a/0 of 1")
}

func TestCloseWithoutBroker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, qdrantserver.Config{})
	x := w.start(indexer.Config{})
	w.event("insert", "page", "a", map[string]any{})
	w.until("a is indexed", func() bool { return x.Indexed() == 1 })
	if err := w.kafka.Close(); err != nil {
		t.Error(err)
	}
	begun := time.Now()
	if err := x.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 8*time.Second {
		t.Errorf("closing took %v without a broker", took)
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, qdrantserver.Config{APIKey: "right"})
	host, port := w.qdrantAddr()
	for name, tc := range map[string]struct {
		cfg  indexer.Config
		want string
	}{
		"wrong key":  {indexer.Config{QdrantHost: host, QdrantPort: port, APIKey: "se3cret"}, "looking for collection"},
		"no Qdrant":  {indexer.Config{QdrantHost: host, QdrantPort: 1}, "looking for collection"},
		"bad topics": {indexer.Config{QdrantHost: host, QdrantPort: port, APIKey: "right", Topics: "("}, "reading the topics"},
	} {
		tc.cfg.Brokers = []string{w.kafka.Addr()}
		x, err := indexer.Start(w.ctx, tc.cfg)
		if err == nil {
			_ = x.Close()
			t.Errorf("%s: started", name)
		} else if !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "se3cret") {
			t.Errorf("%s: %v, want %q and no key", name, err, tc.want)
		}
	}
}
