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
		// The moment between two operations is short, and readers are to see it.
		s, err := qdrantserver.Start(qdrantserver.Config{Between: func(context.Context) error { time.Sleep(time.Millisecond); return nil }})
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
	s := x.open(t, change)
	t.Cleanup(func() { _ = s.Close() })
	vectors := &syncd.Vectors{Dimensions: func(context.Context) (int, error) { return 4, nil }}
	if err := s.Abilities().Prepare(t.Context(), syncd.Run{Vectors: vectors}); err != nil {
		t.Fatal(err)
	}
	return s
}

// open opens a sink that may make the collection.
func (x *index) open(t *testing.T, change func(c *qdrantsink.Config)) syncd.Sink {
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

// TestIndexSuite holds the sink to the conformance suite, with documents in one request and in several.
func TestIndexSuite(t *testing.T) {
	for name, most := range map[string]int{"one request": 256, "several requests": 4} {
		t.Run(name, func(t *testing.T) { testIndexSuite(t, most) })
	}
}

func testIndexSuite(t *testing.T, most int) {
	var x *index
	h := syncdtest.IndexHarness{
		Open: func(t *testing.T) syncd.Sink {
			x = newIndex(t)
			return x.open(t, func(c *qdrantsink.Config) { c.Fields, c.BatchSize = syncdtest.IndexFields(), most })
		},
		Points: func(t *testing.T, id string) (out []syncdtest.IndexPoint) {
			points, err := x.client.Scroll(t.Context(), &qdrant.ScrollPoints{
				CollectionName: x.collection, Limit: qdrant.PtrOf(uint32(10_000)), WithPayload: qdrant.NewWithPayload(true), WithVectors: qdrant.NewWithVectors(true),
				Filter: &qdrant.Filter{Must: []*qdrant.Condition{qdrant.NewMatch("mongo_id", id)}},
			})
			if err != nil {
				t.Error(err)
			}
			for _, p := range points {
				q := syncdtest.IndexPoint{ID: uuid.MustParse(p.GetId().GetUuid()), Payload: map[string]any{}, Vector: p.GetVectors().GetVector() != nil}
				for key, v := range p.GetPayload() {
					q.Payload[key] = plain(v)
				}
				out = append(out, q)
			}
			return out
		},
	}
	if most < 10 {
		h.Except = map[string]string{"readers_never_see_a_hole": "between two requests there are chunks of both versions: TestNoHoleWhereverItEnds"}
	}
	syncdtest.TestIndex(t, h)
}

// plain is a value of a payload as encoding/json reads it.
func plain(v *qdrant.Value) any {
	switch k := v.GetKind().(type) {
	case *qdrant.Value_StringValue:
		return k.StringValue
	case *qdrant.Value_IntegerValue:
		return float64(k.IntegerValue)
	case *qdrant.Value_DoubleValue:
		return k.DoubleValue
	case *qdrant.Value_StructValue:
		out := map[string]any{}
		for name, f := range k.StructValue.GetFields() {
			out[name] = plain(f)
		}
		return out
	}
	return nil
}

// TestAChangeIsConfirmedWhenItIsApplied, and not when Qdrant has only taken it.
func TestAChangeIsConfirmedWhenItIsApplied(t *testing.T) {
	if os.Getenv("SYNCD_TEST_QDRANT") != "" {
		t.Skip("a real Qdrant can't be made slow")
	}
	server, err := qdrantserver.Start(qdrantserver.Config{VisibilityDelay: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	x := indexAt(t, server)
	s := x.sink(t, func(c *qdrantsink.Config) { c.BatchSize = 4 })
	partly := version("1", 3, 2)
	partly.Content.Chunks[0].Text, partly.Content.Chunks[0].Hash = "version 2 chunk 0", "version 2 chunk 0"
	gone := version("1", 0, 0)
	gone.Operation, gone.Document = syncd.Delete, nil
	for _, c := range []syncd.Change{version("1", 1, 1), version("1", 2, 9), partly, gone} {
		if err := write(t, s, c); err != nil {
			t.Fatal(err)
		}
		if texts, _ := x.held(t, "1"); len(texts) != len(c.Content.Chunks) {
			t.Errorf("%d chunks are there when %d are confirmed", len(texts), len(c.Content.Chunks))
		}
	}
}

// TestNoHoleWhereverItEnds: of a document that takes several requests the points have no hole, whichever of them was the last before the
// process was killed, so that what is left over is found behind the last chunk; and the next write makes it right.
func TestNoHoleWhereverItEnds(t *testing.T) {
	if os.Getenv("SYNCD_TEST_QDRANT") != "" {
		t.Skip("a real Qdrant can't be told which request is the last")
	}
	var left atomic.Int64 // requests, and operations behind the first of a request, that are still taken
	step := func(context.Context) error {
		if left.Add(-1) < 0 {
			return status.Error(codes.PermissionDenied, "killed")
		}
		return nil
	}
	s, err := qdrantserver.Start(qdrantserver.Config{Between: step, Intercept: func(ctx context.Context, method string) error {
		switch method {
		case qdrant.Points_Upsert_FullMethodName, qdrant.Points_UpdateBatch_FullMethodName, qdrant.Points_Delete_FullMethodName, qdrant.Points_OverwritePayload_FullMethodName:
			return step(ctx)
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
		for steps, ended := int64(0), errors.New("not yet"); ended != nil; steps++ {
			id := fmt.Sprintf("%s-%d", name, steps)
			left.Store(1000)
			if err := write(t, sink, version(id, 1, 19)); err != nil {
				t.Fatal(err)
			}
			left.Store(steps)
			ended = write(t, sink, to(id))
			texts, count := x.held(t, id)
			highest := int64(-1)
			for k := range texts {
				highest = max(highest, k)
			}
			if int64(len(texts)) != highest+1 {
				t.Errorf("%s ended behind %d steps (%v): of %d chunks %d are there", name, steps, ended, highest+1, len(texts))
			}
			if int64(len(texts)) < count && name != "gone" {
				t.Errorf("%s ended behind %d steps: %d chunks, and chunk 0 says %d", name, steps, len(texts), count)
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
