package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/syncd-io/syncd/sandbox/embedserver"
	"github.com/syncd-io/syncd/sandbox/fastmongo"
	"github.com/syncd-io/syncd/sandbox/kafkaserver"
	"github.com/syncd-io/syncd/sandbox/qdrantserver"
)

// reaper decides when an indexer dies: with a request to Qdrant that is never applied, between two operations of a request (where the client
// is gone, Qdrant leaves the rest undone), with a request to the embedder, or a moment behind a request to Qdrant.
type reaper struct {
	mu   sync.Mutex
	mode death
	left int           // steps of the mode before it dies; less than 0: it lives
	die  chan struct{} // closed when it is to die
	soon time.Duration // what soonAfterARequest means
}

type death int

const (
	beforeARequest death = iota
	betweenOperations
	whileEmbedding
	soonAfterARequest
	deaths
)

// arm chooses a death after so many steps, and returns what is closed when it is time. Of less than 0 steps it never is.
func (r *reaper) arm(mode death, steps int, soon time.Duration) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mode, r.left, r.die, r.soon = mode, steps, make(chan struct{}), soon
	return r.die
}

// step is taken by servers. If the indexer is to die now, it returns when its connection is gone, with an error.
func (r *reaper) step(ctx context.Context, mode death) error {
	r.mu.Lock()
	if r.left < 0 || r.mode != mode && (r.mode != soonAfterARequest || mode != beforeARequest) {
		r.mu.Unlock()
		return nil
	}
	r.left--
	now, die, soon, after := r.left < 0, r.die, r.mode == soonAfterARequest, r.soon
	r.mu.Unlock()
	switch {
	case !now:
		return nil
	case soon:
		time.AfterFunc(after, func() { close(die) })
		return nil
	}
	close(die)
	<-ctx.Done()
	return status.FromContextError(ctx.Err()).Err()
}

// world is what jobs that index talk to, and documents that change.
type world struct {
	mongo  *fastmongo.Server
	client *mongo.Client
	qdrant *qdrantserver.Server
	index  *qdrant.Client
	embed  *embedserver.Server
	reaper reaper
	random *rand.Rand

	documents int
	alive     []int // their numbers
	version   int
	state     string
}

const indexedCollection = "ProjectManagement.page"

func newWorld(t *testing.T, documents int) *world {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("INDEXED_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("INDEXED_SEED=%d", seed)
	w := &world{documents: documents, random: rand.New(rand.NewPCG(seed, 0)), state: t.TempDir()}
	w.reaper.arm(0, -1, 0)
	var err error
	if w.mongo, err = fastmongo.Start(t.Context(), fastmongo.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.mongo.Close() })
	if w.client, err = mongo.Connect(options.Client().ApplyURI(w.mongo.URI())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.client.Disconnect(context.Background()) })
	w.qdrant, err = qdrantserver.Start(qdrantserver.Config{
		Intercept: func(ctx context.Context, method string) error {
			switch method {
			case qdrant.Points_Upsert_FullMethodName, qdrant.Points_UpdateBatch_FullMethodName, qdrant.Points_Delete_FullMethodName, qdrant.Points_OverwritePayload_FullMethodName:
				return w.reaper.step(ctx, beforeARequest)
			}
			return nil
		},
		Between: func(ctx context.Context) error { return w.reaper.step(ctx, betweenOperations) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.qdrant.Close() })
	if w.embed, err = embedserver.Start(embedserver.Config{Dimensions: 16, Fault: func(_ http.ResponseWriter, r *http.Request, _ []string) bool {
		return w.reaper.step(r.Context(), whileEmbedding) != nil
	}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.embed.Close() })
	host, port, err := net.SplitHostPort(w.qdrant.Addr())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	if w.index, err = qdrant.NewClient(&qdrant.Config{Host: host, Port: n, SkipCompatibilityCheck: true, KeepAliveTime: -1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.index.Close() })
	docs := make([]any, documents)
	for i := range docs {
		docs[i] = w.document(i)
		w.alive = append(w.alive, i)
	}
	if err := w.mongo.Put(indexedCollection, docs...); err != nil {
		t.Fatal(err)
	}
	return w
}

// document is a document's next version: mostly of a few chunks, and sometimes of more than fit into a request.
func (w *world) document(i int) bson.D {
	w.version++
	sentences := w.random.IntN(8)
	if w.random.IntN(50) == 0 {
		sentences = 20 + w.random.IntN(60)
	}
	var b strings.Builder
	for s := range sentences {
		if w.random.IntN(3) == 0 {
			fmt.Fprintf(&b, "Sentence %d of document %d stays as it is, however often that is changed. ", s, i) // so that its hash does
		} else {
			fmt.Fprintf(&b, "Sentence %d of document %d was written as a part of version %d of all. ", s, i, w.version)
		}
	}
	return bson.D{
		{Key: "_id", Value: fmt.Sprintf("doc-%06d", i)}, {Key: "title", Value: "T"}, {Key: "content", Value: b.String()},
		{Key: "updatedAt", Value: time.UnixMilli(1_600_000_000_000 + int64(w.version)*1000)},
	}
}

// change replaces a twentieth of the documents and deletes a few.
func (w *world) change(t *testing.T) {
	t.Helper()
	w.random.Shuffle(len(w.alive), func(i, k int) { w.alive[i], w.alive[k] = w.alive[k], w.alive[i] })
	models := make([]mongo.WriteModel, 0, w.documents/20)
	for _, i := range w.alive[:w.documents/20] {
		doc := w.document(i)
		models = append(models, mongo.NewUpdateOneModel().SetFilter(doc[:1]).SetUpdate(bson.D{{Key: "$set", Value: doc[1:]}}))
	}
	if _, err := w.client.Database("ProjectManagement").Collection("page").BulkWrite(t.Context(), models); err != nil {
		t.Fatal(err)
	}
	const gone = 3
	for _, i := range w.alive[len(w.alive)-gone:] {
		if n, err := w.mongo.Delete(indexedCollection, fmt.Sprintf("doc-%06d", i)); err != nil || n != 1 {
			t.Fatal(n, err)
		}
	}
	w.alive = w.alive[:len(w.alive)-gone]
}

// file writes a configuration that extends one of the repository's.
func (w *world) file(t *testing.T, extends, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "syncd.yaml")
	if err := os.WriteFile(file, []byte("extends: "+filepath.Join(root, extends)+"\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// small cuts documents into many small chunks, and writes into small requests.
const small = `
stages:
  chunk: {title: "{title}", text: "{content}", unit: characters, size: 100, overlap: 0}
  embed: {batch_size: 16}
sink: {qdrant: {batch_size: 24}}
`

func (w *world) environ(collection string, more ...string) []string {
	return append([]string{
		"MONGODB_URI=" + w.mongo.URI(), "QDRANT_URL=http://" + w.qdrant.Addr(), "QDRANT_COLLECTION=" + collection, "EMBEDDING_URL=" + w.embed.URL(),
		"BACKFILL_COLLECTIONS=page", "XDG_STATE_HOME=" + filepath.Join(w.state, collection),
	}, more...)
}

// kill starts a program and kills it at a moment that chance chooses, but at the latest after so long. It returns whether it did not end by
// itself before that.
func (w *world) kill(t *testing.T, latest time.Duration, environ []string, args ...string) bool {
	t.Helper()
	mode := death(w.random.IntN(int(deaths)))
	steps := map[death]int{beforeARequest: w.documents / 100, betweenOperations: w.documents / 200, whileEmbedding: w.documents / 50, soonAfterARequest: w.documents / 100}[mode]
	if w.random.IntN(2) == 0 {
		steps = 8
	}
	die := w.reaper.arm(mode, w.random.IntN(steps+1), time.Duration(w.random.IntN(10_000))*time.Microsecond)
	cmd, stdout, stderr := command(t.Context(), environ, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-die:
	case <-time.After(latest):
	case err := <-ended:
		w.reaper.arm(0, -1, 0)
		if err != nil {
			t.Fatalf("a run that was not killed: %v\n%s\n%s", err, stdout, stderr)
		}
		return false
	}
	kill(t, cmd)
	<-ended
	w.reaper.arm(0, -1, 0)
	return true
}

// points are all points of a collection by their ids.
func (w *world) points(t *testing.T, collection string) map[string]*qdrant.RetrievedPoint {
	t.Helper()
	out := map[string]*qdrant.RetrievedPoint{}
	var offset *qdrant.PointId
	for {
		r, err := w.index.GetPointsClient().Scroll(t.Context(), &qdrant.ScrollPoints{
			CollectionName: collection, Limit: qdrant.PtrOf(uint32(1000)), Offset: offset, WithPayload: qdrant.NewWithPayload(true), WithVectors: qdrant.NewWithVectors(true),
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

// undisturbed is what a run gives into which nothing comes.
func (w *world) undisturbed(t *testing.T) map[string]*qdrant.RetrievedPoint {
	t.Helper()
	syncd(t, w.environ("undisturbed"), "run", "-c", w.file(t, "configs/direct.yaml", small)).wants(t, 0)
	return w.points(t, "undisturbed")
}

// differences describes how points differ, the first few of them.
func differences(got, want map[string]*qdrant.RetrievedPoint) (all []string) {
	for id, p := range got {
		if w, there := want[id]; !there {
			all = append(all, fmt.Sprintf("point %s should not be there: chunk %v of %v of %v", id, p.GetPayload()["chunk_index"].GetIntegerValue(), p.GetPayload()["chunk_count"].GetIntegerValue(), p.GetPayload()["mongo_id"].GetStringValue()))
		} else if !proto.Equal(p, w) {
			all = append(all, fmt.Sprintf("point %s is %v, want %v", id, p, w))
		}
	}
	for id, p := range want {
		if _, there := got[id]; !there {
			all = append(all, fmt.Sprintf("point %s is not there: chunk %v of %v", id, p.GetPayload()["chunk_index"].GetIntegerValue(), p.GetPayload()["mongo_id"].GetStringValue()))
		}
	}
	return all
}

func indexedDocuments(t *testing.T, usual int) int {
	t.Helper()
	if text := os.Getenv("INDEXED_DOCUMENTS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return usual
}

// TestIndexingKilled kills an indexer twenty times while documents change and go, each time at another moment. In the end the index holds what a
// run gives into which nothing comes: the same points, payloads and vectors, and no chunk of an older version. INDEXED_DOCUMENTS is how many
// documents there are, where that is not the usual number, and INDEXED_SEED what chance follows from.
func TestIndexingKilled(t *testing.T) {
	const kills = 20
	w := newWorld(t, indexedDocuments(t, 2000))
	file, environ := w.file(t, "configs/direct.yaml", small+"run: {batch_size: 100}\n"), w.environ("pms_collection")
	killed := 0
	for round := 0; killed < kills; round++ {
		if round == 10*kills {
			t.Fatalf("of %d runs only %d came to be killed", round, killed)
		}
		w.change(t)
		if w.kill(t, time.Hour, environ, "run", "-c", file) {
			killed++
		}
	}
	syncd(t, environ, "run", "-c", file).wants(t, 0) // goes on where the last one was killed
	syncd(t, environ, "run", "-c", file, "--prune").wants(t, 0)
	got, want := w.points(t, "pms_collection"), w.undisturbed(t)
	if all := differences(got, want); len(all) > 0 {
		t.Errorf("%d differences, such as\n%s", len(all), strings.Join(all[:min(len(all), 10)], "\n"))
	}
	asked := w.embed.Requests()
	syncd(t, environ, "run", "-c", file).wants(t, 0)
	if n := w.embed.Requests() - asked; n != 0 {
		t.Errorf("a run with nothing to do asked the embedder %d times", n)
	}
	syncd(t, environ, "verify", "-c", file).wants(t, 0)
	t.Logf("%d documents in %d points", len(w.alive), len(got))
}

// TestIndexingFromKafkaKilled is the same where another job sends events, and the indexer reads them.
func TestIndexingFromKafkaKilled(t *testing.T) {
	kills := 3
	if os.Getenv("INDEXED_DOCUMENTS") != "" {
		kills = 20
	}
	w := newWorld(t, indexedDocuments(t, 600))
	kafka, err := kafkaserver.Start(kafkaserver.Config{MinSession: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kafka.Close() })
	environ := w.environ("pms_collection", "KAFKA_BOOTSTRAP_SERVERS="+kafka.Addr())
	producer := w.file(t, "configs/base.yaml", `
name: producer
sink: {kafka: {create_topics: {partitions: 3, replication_factor: 1}}}
mapping: {version: {field: updatedAt, payload: updatedAt}, chunks: {payload: chunk_count}, owner: {payload: database}}
run: {wait_timeout: 0}
`)
	indexer := w.file(t, "configs/index.yaml", "name: indexer\nsource: {kafka: {session_timeout: 2s, properties: {heartbeat.interval.ms: 300}}}\n"+small)
	syncd(t, environ, "run", "-c", producer, "--no-incremental").wants(t, 0) // the collection is not there yet
	for range kills {
		w.change(t)
		syncd(t, environ, "run", "-c", producer).wants(t, 0)
		w.kill(t, 6*time.Second, environ, "run", "-c", indexer) // it never ends by itself
	}
	last, stdout, stderr := command(t.Context(), environ, "run", "-c", indexer)
	if err := last.Start(); err != nil {
		t.Fatal(err)
	}
	want := w.undisturbed(t)
	deadline := time.Now().Add(time.Duration(180+w.documents/100) * time.Second)
	for {
		syncd(t, environ, "run", "-c", producer, "--prune").wants(t, 0) // what is inserted late is an orphan once more
		all := differences(w.points(t, "pms_collection"), want)
		if len(all) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("%d differences, such as\n%s\n%s\n%s", len(all), strings.Join(all[:min(len(all), 10)], "\n"), stdout, stderr)
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err := last.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := last.Wait(); err != nil {
		t.Errorf("stopping: %v\n%s", err, stderr)
	}
}
