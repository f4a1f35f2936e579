package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/sandbox/qdrantserver"
	qdrantsink "github.com/syncd-io/syncd/sinks/qdrant"
	"github.com/syncd-io/syncd/syncdtest"
)

// index is a Qdrant, and a sink that writes to a collection of its own there: that of the address in SYNCD_TEST_QDRANT, or the sandbox's.
type index struct {
	server     *qdrantserver.Server // nil for a real one
	addr       string
	client     *qdrant.Client
	collection string
}

func newIndex(t *testing.T) *index {
	t.Helper()
	x := &index{addr: os.Getenv("SYNCD_TEST_QDRANT"), collection: "t_" + strings.ReplaceAll(uuid.NewString(), "-", "")}
	if x.addr == "" {
		s, err := qdrantserver.Start(qdrantserver.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		x.server, x.addr = s, s.Addr()
	}
	x.connect(t)
	return x
}

// indexAt is an index at a server of the test's own.
func indexAt(t *testing.T, s *qdrantserver.Server) *index {
	t.Helper()
	x := &index{server: s, addr: s.Addr(), collection: "t"}
	x.connect(t)
	return x
}

func (x *index) connect(t *testing.T) {
	t.Helper()
	host, port, err := net.SplitHostPort(x.addr)
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscan(port, &n); err != nil {
		t.Fatal(err)
	}
	if x.client, err = qdrant.NewClient(&qdrant.Config{Host: host, Port: n, SkipCompatibilityCheck: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = x.client.DeleteCollection(context.Background(), x.collection)
		_ = x.client.Close()
	})
}

// sink opens a sink, whose collection has vectors of four numbers.
func (x *index) sink(t *testing.T, change func(c *qdrantsink.Config)) syncd.Sink {
	t.Helper()
	conf := qdrantsink.Plugin().Config().(*qdrantsink.Config)
	conf.URL, conf.Collection, conf.Create.Enabled = "http://"+x.addr, x.collection, true
	conf.Retry.MaxElapsed, conf.Retry.Initial, conf.Retry.Max = time.Second, time.Millisecond, 10*time.Millisecond
	if change != nil {
		change(conf)
	}
	s, err := qdrantsink.Plugin().OpenSink(t.Context(), conf, syncd.Env{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	vectors := &syncd.Vectors{Dimensions: func(context.Context) (int, error) { return 4, nil }}
	if err := s.Abilities().Prepare(t.Context(), syncd.Run{Vectors: vectors}); err != nil {
		t.Fatal(err)
	}
	return s
}

func pointOf(id string, chunk int) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%s/page/%d", id, chunk))
}

// version is a document's version of so many chunks.
func version(id string, number, chunks int) syncd.Change {
	doc := syncdtest.Document(syncdtest.MemoryDoc{ID: id, Fields: map[string]any{"updatedAt": fmt.Sprint("v", number), "status": "open", "a": map[string]any{"b": number}}})
	c := syncd.Change{
		ID: id, PointID: pointOf(id, 0), Operation: syncd.Replace, Document: doc,
		Target:  &syncd.Target{Database: "db", Collection: "page", ContentType: "page"},
		Content: &syncd.Content{Title: "Title", Model: "model"},
	}
	for k := range chunks {
		text := fmt.Sprintf("version %d chunk %d", number, k)
		c.Content.Chunks = append(c.Content.Chunks, syncd.Chunk{PointID: pointOf(id, k), Text: text, Hash: text, Vector: []float32{1, float32(k), float32(number), 1}})
	}
	return c
}

// write is what the engine does around a Write: it asks what is held, and which of the points behind the last chunk are there.
func write(t *testing.T, s syncd.Sink, changes ...syncd.Change) error {
	t.Helper()
	for i := range changes {
		if changes[i].Operation == syncd.Delete {
			changes[i].Content = &syncd.Content{}
		}
		c := changes[i].Content
		for k := max(len(c.Chunks), 1); k < mostChunks; k++ {
			c.Further = append(c.Further, pointOf(changes[i].ID, k))
		}
	}
	if err := s.Abilities().Held(t.Context(), changes); err != nil {
		return err
	}
	for i := range changes {
		changes[i].Content.Left = changes[i].Content.Further
	}
	return s.Write(t.Context(), changes)
}

// mostChunks is more than any version here has.
const mostChunks = 40

// held is what the index holds of a document: the text of each chunk, and the count that chunk 0 names.
func (x *index) held(t *testing.T, id string) (texts map[int64]string, count int64) {
	t.Helper()
	points, err := x.client.Scroll(t.Context(), &qdrant.ScrollPoints{
		CollectionName: x.collection, Limit: qdrant.PtrOf(uint32(10_000)), WithPayload: qdrant.NewWithPayload(true),
		Filter: &qdrant.Filter{Must: []*qdrant.Condition{qdrant.NewMatch("mongo_id", id)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	texts = map[int64]string{}
	for _, p := range points {
		k := p.GetPayload()["chunk_index"].GetIntegerValue()
		texts[k] = p.GetPayload()["content"].GetStringValue()
		if k == 0 {
			count = p.GetPayload()["chunk_count"].GetIntegerValue()
		}
	}
	return texts, count
}

func TestIndexPayload(t *testing.T) {
	x := newIndex(t)
	s := x.sink(t, func(c *qdrantsink.Config) { c.Fields = []string{"status", "a.b", "lacking"} })
	if err := write(t, s, version("1", 7, 2)); err != nil {
		t.Fatal(err)
	}
	points, err := x.client.Get(t.Context(), &qdrant.GetPoints{
		CollectionName: x.collection, Ids: []*qdrant.PointId{qdrant.NewIDUUID(pointOf("1", 1).String())}, WithPayload: qdrant.NewWithPayload(true), WithVectors: qdrant.NewWithVectors(true),
	})
	if err != nil || len(points) != 1 {
		t.Fatalf("%v, %v", points, err)
	}
	p := points[0].GetPayload()
	for key, want := range map[string]string{
		"mongo_id": "1", "parent_id": "1", "content_type": "page", "title": "Title", "content": "version 7 chunk 1", "embedding_model": "model",
		"content_hash": "version 7 chunk 1", "database": "db", "updatedAt": "v7", "status": "open",
	} {
		if got := p[key].GetStringValue(); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if p["chunk_index"].GetIntegerValue() != 1 || p["chunk_count"].GetIntegerValue() != 2 || p["a"].GetStructValue().GetFields()["b"].GetIntegerValue() != 7 || p["lacking"] != nil {
		t.Errorf("%v", p)
	}
}

// TestIndexShrinksAndGrows: whatever came before, what is left is the last version and no more; a chunk that did not change keeps its
// vector and gets its new payload.
func TestIndexShrinksAndGrows(t *testing.T) {
	x := newIndex(t)
	s := x.sink(t, func(c *qdrantsink.Config) { c.BatchSize = 4 }) // some versions take several requests
	for number, chunks := range []int{3, 11, 2, 1, 5, 4} {
		if err := write(t, s, version("1", number, chunks), version("2", number, 12-chunks)); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[string]int{"1": chunks, "2": 12 - chunks} {
			texts, count := x.held(t, id)
			if len(texts) != want || count != int64(want) || texts[0] != fmt.Sprintf("version %d chunk 0", number) {
				t.Fatalf("version %d of %s has %d chunks, and chunk 0 says %d: %v", number, id, len(texts), count, texts)
			}
		}
	}
	same := version("1", 5, 4)
	same.Content.Chunks[2].Text, same.Content.Chunks[2].Hash = "changed", "changed"
	same.Content.Title = "Another"
	if err := s.Abilities().Held(t.Context(), []syncd.Change{same}); err != nil {
		t.Fatal(err)
	}
	for k := range same.Content.Chunks {
		if c := &same.Content.Chunks[k]; c.Kept != (k != 2) {
			t.Errorf("chunk %d is kept: %t", k, c.Kept)
		} else if c.Kept {
			c.Vector = nil // it was not embedded
		}
	}
	if err := s.Write(t.Context(), []syncd.Change{same}); err != nil {
		t.Fatal(err)
	}
	points, err := x.client.Scroll(t.Context(), &qdrant.ScrollPoints{
		CollectionName: x.collection, WithPayload: qdrant.NewWithPayload(true), WithVectors: qdrant.NewWithVectors(true),
		Filter: &qdrant.Filter{Must: []*qdrant.Condition{qdrant.NewMatch("mongo_id", "1")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range points {
		if p.GetPayload()["title"].GetStringValue() != "Another" || p.GetVectors().GetVector() == nil {
			t.Errorf("%v", p)
		}
	}
}

// TestReadersNeverSeeAHole: a reader, while a document changes, finds all chunks of the version that chunk 0 names, or of the other.
func TestReadersNeverSeeAHole(t *testing.T) {
	x := newIndex(t)
	s := x.sink(t, nil)
	if err := write(t, s, version("1", 0, 6)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				texts, count := x.held(t, "1")
				whole := map[string]int{}
				for _, text := range texts {
					whole[strings.Fields(text)[1]]++
				}
				fine := false
				for number, n := range whole {
					fine = fine || number == strings.Fields(texts[0])[1] && int64(n) >= count
				}
				if !fine {
					t.Errorf("a reader sees %v, and chunk 0 says %d", texts, count)
					return
				}
			}
		})
	}
	for number := range 60 {
		if err := write(t, s, version("1", number, 1+number*5%9)); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	readers.Wait()
}

// TestNoHoleWhereverItEnds: of a document that takes several requests the points have no hole, whichever of them was the last before the
// process was killed, so that what is left over is found behind the last chunk; and the next write makes it right.
func TestNoHoleWhereverItEnds(t *testing.T) {
	if os.Getenv("SYNCD_TEST_QDRANT") != "" {
		t.Skip("a real Qdrant can't be told which request is the last")
	}
	var left atomic.Int64 // updates that are still taken
	s, err := qdrantserver.Start(qdrantserver.Config{Intercept: func(_ context.Context, method string) error {
		switch method {
		case qdrant.Points_Upsert_FullMethodName, qdrant.Points_UpdateBatch_FullMethodName, qdrant.Points_Delete_FullMethodName, qdrant.Points_OverwritePayload_FullMethodName:
			if left.Add(-1) < 0 {
				return status.Error(codes.PermissionDenied, "killed")
			}
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	x := indexAt(t, s)
	sink := x.sink(t, func(c *qdrantsink.Config) { c.BatchSize = 4 })
	gone := func(id string) syncd.Change {
		c := version(id, 0, 0)
		c.Operation, c.Document = syncd.Delete, nil
		return c
	}
	for name, to := range map[string]func(id string) syncd.Change{
		"longer":  func(id string) syncd.Change { return version(id, 2, 30) },
		"shorter": func(id string) syncd.Change { return version(id, 2, 6) },
		"one":     func(id string) syncd.Change { return version(id, 2, 1) },
		"gone":    gone,
		"partly the same": func(id string) syncd.Change {
			c := version(id, 2, 30)
			for k := 0; k < 19; k += 2 {
				c.Content.Chunks[k].Text, c.Content.Chunks[k].Hash = fmt.Sprintf("version 1 chunk %d", k), fmt.Sprintf("version 1 chunk %d", k)
			}
			return c
		},
	} {
		for requests := range int64(12) {
			id := fmt.Sprintf("%s-%d", name, requests)
			left.Store(1000)
			if err := write(t, sink, version(id, 1, 19)); err != nil {
				t.Fatal(err)
			}
			left.Store(requests)
			ended := write(t, sink, to(id))
			texts, count := x.held(t, id)
			highest := int64(-1)
			for k := range texts {
				highest = max(highest, k)
			}
			if int64(len(texts)) != highest+1 {
				t.Errorf("%s ended behind %d requests (%v): of %d chunks %d are there", name, requests, ended, highest+1, len(texts))
			}
			if int64(len(texts)) < min(count, 19) && name != "gone" {
				t.Errorf("%s ended behind %d requests: %d chunks, and chunk 0 says %d", name, requests, len(texts), count)
			}
			left.Store(1000)
			if err := write(t, sink, to(id)); err != nil {
				t.Fatal(err)
			}
			want := len(to(id).Content.Chunks)
			if texts, count := x.held(t, id); len(texts) != want || count != int64(want) {
				t.Errorf("%s, written again: %d chunks, and chunk 0 says %d, want %d", name, len(texts), count, want)
			}
		}
	}
}

func TestIndexDeletes(t *testing.T) {
	x := newIndex(t)
	s := x.sink(t, nil)
	if err := write(t, s, version("1", 0, 5), version("2", 0, 1)); err != nil {
		t.Fatal(err)
	}
	gone := version("1", 0, 0)
	gone.Operation, gone.Document = syncd.Delete, nil
	if err := write(t, s, gone); err != nil {
		t.Fatal(err)
	}
	if texts, _ := x.held(t, "1"); len(texts) != 0 {
		t.Errorf("%v is left of a deleted document", texts)
	}
	if texts, _ := x.held(t, "2"); len(texts) != 1 {
		t.Errorf("%v is left of the other", texts)
	}
	if err := write(t, s, gone); err != nil { // once more, as after a crash
		t.Error(err)
	}
}

// TestTheLastChangeOfADocumentCounts: several of one document in a Write leave what the last one says.
func TestTheLastChangeOfADocumentCounts(t *testing.T) {
	x := newIndex(t)
	s := x.sink(t, nil)
	gone := version("1", 0, 0)
	gone.Operation, gone.Document = syncd.Delete, nil
	for _, c := range []struct {
		changes []syncd.Change
		want    int
	}{
		{[]syncd.Change{version("1", 1, 3), gone, version("1", 2, 2)}, 2},
		{[]syncd.Change{version("1", 3, 4), gone}, 0},
		{[]syncd.Change{gone, version("1", 4, 1)}, 1},
	} {
		if err := write(t, s, c.changes...); err != nil {
			t.Fatal(err)
		}
		if texts, _ := x.held(t, "1"); len(texts) != c.want {
			t.Errorf("%v, want %d chunks", texts, c.want)
		}
	}
}

// TestADocumentWithoutText has a point that says so, without a vector: it is there, and nothing is near to it.
func TestADocumentWithoutText(t *testing.T) {
	x := newIndex(t)
	s := x.sink(t, nil)
	empty := version("1", 0, 1)
	empty.Content.Chunks[0].Text, empty.Content.Chunks[0].Vector = "", nil
	if err := write(t, s, empty, version("2", 0, 1)); err != nil {
		t.Fatal(err)
	}
	if texts, count := x.held(t, "1"); len(texts) != 1 || count != 1 || texts[0] != "" {
		t.Errorf("%v, %d", texts, count)
	}
	found, err := s.Abilities().Nearest(t.Context(), []float32{1, 0, 0, 1}, nil, 10)
	if err != nil || len(found) != 1 || found[0].ID != "2" || found[0].Text != "version 0 chunk 0" || found[0].PointID != pointOf("2", 0) {
		t.Errorf("%+v, %v", found, err)
	}
	if found, err := s.Abilities().Nearest(t.Context(), []float32{1, 0, 0, 1}, []string{"other"}, 10); err != nil || len(found) != 0 {
		t.Errorf("%+v, %v", found, err)
	}
}

// TestOneRefusedPoint does not keep the others of its request from being written.
func TestOneRefusedPoint(t *testing.T) {
	x := newIndex(t)
	if x.server == nil {
		t.Skip("a real Qdrant refuses nothing that the sink can send")
	}
	s := x.sink(t, nil)
	var changes []syncd.Change
	for i := range 20 {
		changes = append(changes, version(fmt.Sprint(i), 0, 1))
	}
	changes[13].ID = "\xff"
	changes[3].Content.Chunks[0].Vector = nil
	changes[4].Content = nil
	asked := make([]syncd.Change, 0, 20)
	for _, c := range changes {
		if c.Content != nil {
			asked = append(asked, c)
		}
	}
	if err := s.Abilities().Held(t.Context(), asked); err != nil {
		t.Fatal(err)
	}
	refused, ok := errors.AsType[*syncd.BatchError](s.Write(t.Context(), changes))
	if !ok || fmt.Sprint(refused.Failed()) != "[3 4 13]" {
		t.Errorf("%v", refused)
	}
	if texts, _ := x.held(t, "19"); len(texts) != 1 {
		t.Error("the last document was not written")
	}
	// What the server refuses is found by halves.
	x.server.FailNext(qdrant.Points_Upsert_FullMethodName, 1, status.Error(codes.InvalidArgument, "too wide"))
	if err := s.Write(t.Context(), []syncd.Change{version("a", 0, 1), version("b", 0, 1)}); err != nil {
		t.Errorf("a refusal of both together: %v", err)
	}
	x.server.FailNext(qdrant.Points_Upsert_FullMethodName, 2, status.Error(codes.InvalidArgument, "too wide"))
	refused, ok = errors.AsType[*syncd.BatchError](s.Write(t.Context(), []syncd.Change{version("c", 0, 1), version("d", 0, 1)}))
	if !ok || fmt.Sprint(refused.Failed()) != "[0]" || !strings.Contains(refused.Error(), "too wide") {
		t.Errorf("%v", refused)
	}
}

func TestIndexFaults(t *testing.T) {
	x := newIndex(t)
	s := x.sink(t, nil)
	wide := version("1", 0, 1)
	wide.Content.Chunks[0].Vector = make([]float32, 7)
	if err := write(t, s, wide); err == nil || !strings.Contains(err.Error(), "a vector of 7 dimensions, where the collection has 4") {
		t.Errorf("another dimension: %v", err)
	}
	if x.server != nil {
		x.server.FailNext(qdrant.Points_Upsert_FullMethodName, 2, status.Error(codes.Unavailable, "restarting"))
		if err := write(t, s, version("1", 0, 1)); err != nil {
			t.Errorf("an outage that passes: %v", err)
		}
		x.server.FailNext(qdrant.Points_Upsert_FullMethodName, 1_000_000, status.Error(codes.Unavailable, "down"))
		if err := write(t, s, version("1", 1, 1)); !errors.Is(err, syncd.ErrUnavailable) {
			t.Errorf("an outage that lasts: %v", err)
		}
	}
	if err := x.client.DeleteCollection(t.Context(), x.collection); err != nil {
		t.Fatal(err)
	}
	if err := write(t, s, version("1", 2, 1)); err == nil || !strings.Contains(err.Error(), x.collection) {
		t.Errorf("a collection that is gone: %v", err)
	}
}

// TestAnIndexThatIsAwayIsToldOnce, whatever the number of requests, and that it is back.
func TestAnIndexThatIsAwayIsToldOnce(t *testing.T) {
	t.Parallel()
	x := newIndex(t)
	if x.server == nil {
		t.Skip("a real Qdrant fails when it wants to")
	}
	_ = x.sink(t, nil) // makes the collection
	conf := qdrantsink.Plugin().Config().(*qdrantsink.Config)
	conf.URL, conf.Collection = "http://"+x.addr, x.collection
	conf.Retry.Initial, conf.Retry.Max = 300*time.Millisecond, 300*time.Millisecond
	var log bytes.Buffer
	s, err := qdrantsink.Plugin().OpenSink(t.Context(), conf, syncd.Env{Logger: slog.New(slog.NewTextHandler(&log, nil)), Retried: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Abilities().Prepare(t.Context(), syncd.Run{}); err != nil {
		t.Fatal(err)
	}
	const each, writers = 25, 4 // of pauses up to 300 ms
	x.server.FailNext(qdrant.Points_Upsert_FullMethodName, each*writers, status.Error(codes.Unavailable, "restarting"))
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			if err := s.Write(t.Context(), []syncd.Change{version(fmt.Sprint(i), 0, 1)}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "level=WARN"); n < 1 || n > 2 || strings.Count(log.String(), "can't be written to: trying again") != 1 || strings.Count(log.String(), "can be written to again") != 1 {
		t.Errorf("%s", log.String())
	}
}

// TestIndexProbe tells what a run would find: of vectors how many numbers, so that they can be compared with the model's.
func TestIndexProbe(t *testing.T) {
	x := newIndex(t)
	open := func(change func(*qdrantsink.Config)) syncd.Sink {
		conf := qdrantsink.Plugin().Config().(*qdrantsink.Config)
		conf.URL, conf.Collection = "http://"+x.addr, x.collection
		if change != nil {
			change(conf)
		}
		s, err := qdrantsink.Plugin().OpenSink(t.Context(), conf, syncd.Env{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	wants := func(s syncd.Sink, status syncd.Status, dimensions int, detail, hint string) {
		t.Helper()
		f := s.Abilities().Probe(t.Context(), nil)
		if len(f) != 1 || f[0].Status != status || f[0].Dimensions != dimensions || !strings.Contains(f[0].Detail, detail) || !strings.Contains(f[0].Hint, hint) {
			t.Errorf("%+v, want %s, %d, %q, %q", f, status, dimensions, detail, hint)
		}
	}
	wants(open(nil), syncd.StatusFailed, 0, "it does not exist", "sink.qdrant.create.enabled")
	creates := open(func(c *qdrantsink.Config) { c.Create.Enabled = true })
	wants(creates, syncd.StatusOK, 0, "a run makes it", "")
	if there, err := x.client.CollectionExists(t.Context(), x.collection); there || err != nil {
		t.Errorf("looking made the collection, %v", err)
	}
	if err := open(nil).Abilities().Prepare(t.Context(), syncd.Run{}); err == nil || !strings.Contains(err.Error(), "has no collection") || !strings.Contains(syncd.HintOf(err), "create.enabled") {
		t.Errorf("a run without the collection: %v", err)
	}
	_ = x.sink(t, nil)
	wants(creates, syncd.StatusOK, 4, "its vectors have 4 numbers", "")
	wants(open(func(c *qdrantsink.Config) { c.Vector = "text" }), syncd.StatusFailed, 0, `no vector named "text"`, "sink.qdrant.vector")
	syncdtest.TestProber(t, creates.Abilities().Probe, nil)
}

// TestIndexWithNamedVectors writes the vector of that name, and says which there are where there is none.
func TestIndexWithNamedVectors(t *testing.T) {
	x := newIndex(t)
	s := x.sink(t, func(c *qdrantsink.Config) { c.Vector = "text" })
	if err := write(t, s, version("1", 0, 2)); err != nil {
		t.Fatal(err)
	}
	if found, err := s.Abilities().Nearest(t.Context(), []float32{1, 0, 0, 1}, nil, 10); err != nil || len(found) != 2 {
		t.Errorf("%+v, %v", found, err)
	}
	conf := qdrantsink.Plugin().Config().(*qdrantsink.Config)
	conf.URL, conf.Collection = "http://"+x.addr, x.collection
	other, err := qdrantsink.Plugin().OpenSink(t.Context(), conf, syncd.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	if err := other.Abilities().Prepare(t.Context(), syncd.Run{}); err == nil || !strings.Contains(syncd.HintOf(err), `"text"`) {
		t.Errorf("%v", err)
	}
}
