package e2e

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/sandbox"
	"github.com/syncd-io/syncd/sandbox/embedserver"
)

// direct is a sandbox whose only indexer is syncd.
func direct(t *testing.T, cfg sandbox.Config) *sandbox.Sandbox {
	t.Helper()
	cfg.Streams = true
	return start(t, cfg)
}

func qdrantOf(t *testing.T, s *sandbox.Sandbox) *qdrant.Client {
	t.Helper()
	host, port, err := net.SplitHostPort(s.Qdrant.Addr())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	c, err := qdrant.NewClient(&qdrant.Config{Host: host, Port: n, SkipCompatibilityCheck: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// points are all points of the collection by their ids.
func points(t *testing.T, c *qdrant.Client) map[string]*qdrant.RetrievedPoint {
	t.Helper()
	out := map[string]*qdrant.RetrievedPoint{}
	var offset *qdrant.PointId
	for {
		r, err := c.GetPointsClient().Scroll(t.Context(), &qdrant.ScrollPoints{
			CollectionName: "pms_collection", Limit: qdrant.PtrOf(uint32(1000)), Offset: offset,
			WithPayload: qdrant.NewWithPayload(true), WithVectors: qdrant.NewWithVectors(true),
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r.GetResult() {
			out[p.GetId().GetUuid()] = p
		}
		if offset = r.GetNextPageOffset(); offset == nil {
			return out
		}
	}
}

// TestDirect: the way from MongoDB to Qdrant without Kafka. What is there has the ids of the described consumer; what did not change is
// not embedded again; an edit that shortens a document leaves no chunk behind.
func TestDirect(t *testing.T) {
	s := direct(t, sandbox.Config{})
	if err := s.Load(t.Context(), 0, 1500); err != nil {
		t.Fatal(err)
	}
	config := []string{"-c", "configs/direct.yaml"}
	run := func(args ...string) result { return syncd(t, s.Environ(), append(args, config...)...) }
	run("run").wants(t, 0)
	c := qdrantOf(t, s)
	held := points(t, c)
	documents := 0
	for id, p := range held {
		get := func(key string) string { return p.GetPayload()[key].GetStringValue() }
		chunk := p.GetPayload()["chunk_index"].GetIntegerValue()
		if chunk == 0 {
			documents++
		}
		want := uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%s/%s/%d", get("mongo_id"), get("content_type"), chunk)).String()
		if id != want || get("parent_id") != get("mongo_id") || get("database") != "ProjectManagement" || get("embedding_model") != "all-minilm" {
			t.Fatalf("point %s of chunk %d: %v", id, chunk, p.GetPayload())
		}
	}
	if documents != 1500 {
		t.Fatalf("the index holds %d documents", documents)
	}
	run("verify").wants(t, 0)

	asked := s.Embed.Requests()
	run("run").wants(t, 0)
	if n := s.Embed.Requests() - asked; n != 0 {
		t.Errorf("a run with nothing to do asked the embedder %d times", n)
	}

	// A long document, and then a short one.
	db := database(t, s, "ProjectManagement")
	long := strings.Repeat("Every sentence of this page says something of its own. ", 400)
	insert(t, db, "page", bson.D{{Key: "_id", Value: "shrinking"}, {Key: "title", Value: "Shrinking"}, {Key: "content", Value: long}, {Key: "updatedAt", Value: time.Now()}})
	run("run").wants(t, 0)
	if n := len(points(t, c)) - len(held); n < 5 {
		t.Fatalf("a long document has %d chunks", n)
	}
	if _, err := db.Collection("page").UpdateOne(t.Context(), bson.D{{Key: "_id", Value: "shrinking"}}, bson.D{{Key: "$set", Value: bson.D{
		{Key: "content", Value: long[:2*len(long)/3]}, {Key: "updatedAt", Value: time.Now().Add(time.Second)},
	}}}); err != nil {
		t.Fatal(err)
	}
	texts := s.Embed.Texts()
	run("run").wants(t, 0)
	if n := s.Embed.Texts() - texts; n != 1 {
		t.Errorf("%d chunks were embedded again, where all but the last stayed as they were", n)
	}
	complete(t, c, "shrinking")
	run("verify").wants(t, 0)
}

// complete fails the test unless the index holds just the chunks that chunk 0 of a page names.
func complete(t *testing.T, c *qdrant.Client, id string) {
	t.Helper()
	count, chunks := int64(-1), map[int64]bool{}
	for _, p := range points(t, c) {
		if p.GetPayload()["mongo_id"].GetStringValue() == id {
			k := p.GetPayload()["chunk_index"].GetIntegerValue()
			chunks[k] = true
			if k == 0 {
				count = p.GetPayload()["chunk_count"].GetIntegerValue()
			}
		}
	}
	if int64(len(chunks)) != count {
		t.Errorf("%s has %d chunks, and chunk 0 says %d", id, len(chunks), count)
	}
}

// TestIndexFromKafka: events that syncd sends and syncd indexes give the same points as the direct way, and deletes take all chunks.
func TestIndexFromKafka(t *testing.T) {
	s := direct(t, sandbox.Config{})
	if err := s.Load(t.Context(), 0, 300); err != nil {
		t.Fatal(err)
	}
	syncd(t, s.Environ(), "run", "-c", "configs/direct.yaml").wants(t, 0, `^Qdrant points: 0 -> \d+ \(\+\d+\)$`, `Embedded: \d+ texts of \d+ tokens`)
	c := qdrantOf(t, s)
	want := points(t, c)
	if err := c.DeleteCollection(t.Context(), "pms_collection"); err != nil {
		t.Fatal(err)
	}

	syncd(t, s.Environ(), "run", "-c", "configs/sandbox.yaml", "--mode", "full").wants(t, 0)
	indexer, stdout, stderr := command(t.Context(), s.Environ(), "run", "-c", "configs/index.yaml")
	if err := indexer.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- indexer.Wait() }()
	await := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s never came\n%s\n%s", what, stdout, stderr)
			}
		}
	}
	exists := func() bool { ok, err := c.CollectionExists(t.Context(), "pms_collection"); return ok && err == nil }
	await("the collection", exists)
	await("all points", func() bool { return len(points(t, c)) == len(want) })
	for id, p := range points(t, c) {
		w, there := want[id]
		if !there {
			t.Fatalf("point %s is only there by way of Kafka", id)
		}
		for key, v := range w.GetPayload() {
			if got := p.GetPayload()[key]; got.String() != v.String() {
				t.Errorf("point %s: %s is %v by way of Kafka, and %v directly", id, key, got, v)
			}
		}
		if p.GetVectors().String() != w.GetVectors().String() {
			t.Errorf("point %s has another vector by way of Kafka", id)
		}
	}
	if err := indexer.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("stopping: %v\n%s", err, stderr)
	}
	syncd(t, s.Environ(), "verify", "-c", "configs/direct.yaml").wants(t, 0)
}

// TestSearch finds the document that a question has words in common with.
func TestSearch(t *testing.T) {
	s := direct(t, sandbox.Config{Embed: embedserver.Config{Dimensions: 256}})
	db := database(t, s, "ProjectManagement")
	insert(t, db, "page",
		bson.D{{Key: "_id", Value: "password"}, {Key: "title", Value: "Accounts"}, {Key: "content", Value: "How to reset a forgotten password of your account."}},
		bson.D{{Key: "_id", Value: "export"}, {Key: "title", Value: "Reports"}, {Key: "content", Value: "Export a report as a table, once a week."}},
		bson.D{{Key: "_id", Value: "empty"}, {Key: "title", Value: "Nothing"}, {Key: "content", Value: ""}})
	insert(t, db, "epic", bson.D{{Key: "_id", Value: "e"}, {Key: "name", Value: "An epic"}, {Key: "description", Value: "Reset everything, password included."}})
	syncd(t, s.Environ(), "run", "-c", "configs/direct.yaml").wants(t, 0)
	search := func(args ...string) result {
		return syncd(t, s.Environ(), append([]string{"search", "-c", "configs/direct.yaml"}, args...)...)
	}
	search("--limit", "1", "how", "to", "reset", "a", "password").wants(t, 0, `^\d\.\d+  page password  Accounts\n +How to reset`)
	search("--type", "epic", "-o", "json", "password").wants(t, 0, `"id":"e"`)
	search("export", "a", "report").wantsNot(t, "Nothing") // nothing is near to a document without text
	syncd(t, s.Environ(), "search", "-c", "configs/base.yaml", "x").wants(t, 2, "only a job that writes the index itself")
	asked := s.Embed.Texts()
	syncd(t, s.Environ(), "run", "-c", "configs/direct.yaml").wants(t, 0, "4 documents")
	if n := s.Embed.Texts() - asked; n != 0 {
		t.Errorf("%d texts were embedded again", n)
	}
}
