package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/syncd-io/syncd/sandbox/fastmongo"
	"github.com/syncd-io/syncd/sandbox/qdrantserver"
)

// An indexingLoad is what a job finds that is the indexer itself: the servers are MongoDB, an embedding service and Qdrant.
type indexingLoad struct {
	Unit       string        // of stages.chunk
	Chunk      int           // its size
	Dimensions int           // of vectors
	AtOnce     int           // requests to the embedding service
	Delay      time.Duration // that it takes for each
}

const (
	embedBatch = 64 // texts in a request
	overlapped = 8  // a chunk's overlap is an eighth of its size
	dimensions = 384
)

// indexing measures the whole way from MongoDB to Qdrant beside a loop written by hand, and again with nothing changed.
func (b *bench) indexing(ctx context.Context) error {
	t := indexingTable()
	var decided []gate
	for _, i := range []indexingLoad{{Unit: "tokens", Chunk: 256}, {Unit: "characters", Chunk: 1200}} {
		i.Dimensions, i.AtOnce = dimensions, 8
		gates, err := b.indexed(ctx, load{Documents: b.indexedDocuments(), Size: 2000, Indexing: i}, t)
		if err != nil {
			return fmt.Errorf("chunks of %d %s: %w", i.Chunk, i.Unit, err)
		}
		decided = append(decided, gates...)
	}
	t.print(os.Stdout)
	for _, g := range decided {
		b.decide(g)
	}
	return nil
}

// indexedDocuments is fewer than the cases have, since each costs a hundred times as much.
func (b *bench) indexedDocuments() int { return min(100_000, max(1, b.most/10)) }

func indexingTable() *table {
	return &table{header: []string{"documents", "bytes", "case", "process", "CPU µs/document", "wall s", "documents/s", "peak MB"}}
}

// indexed runs the loop and syncd in turn, each into a collection of its own that does not exist yet, and syncd once more behind each of its
// runs. It adds their figures to a table.
func (b *bench) indexed(ctx context.Context, l load, t *table) (decided []gate, err error) {
	s, err := startServers(ctx, b.self, l)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	client, err := qdrantClient(s.endpoints)
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close() }()
	at, err := json.Marshal(s.endpoints)
	if err != nil {
		return nil, err
	}
	var again []figure
	texts := map[string]int64{} // that each had embedded
	figures, err := interleave(b.repeat,
		func() (figure, error) {
			return measureIndexing(ctx, client, s.Embed, "loop", l, texts, func() (figure, error) {
				return measure(exec.CommandContext(ctx, b.self, "floor", "index", string(at), strconv.Itoa(l.Documents)))
			})
		},
		func() (figure, error) {
			f, err := measureIndexing(ctx, client, s.Embed, "syncd", l, texts, func() (figure, error) {
				return measureProgram(ctx, b.syncd, indexingConfiguration(s.endpoints, l), "run", "--quiet")
			})
			if err != nil {
				return f, err
			}
			before, err := embedded(ctx, s.Embed)
			if err != nil {
				return f, err
			}
			repeated, err := measureProgram(ctx, b.syncd, indexingConfiguration(s.endpoints, l), "run", "--quiet")
			if err != nil {
				return f, err
			}
			again = append(again, repeated)
			after, err := embedded(ctx, s.Embed)
			if err == nil && after.Requests != before.Requests {
				err = fmt.Errorf("a run with nothing to do asked the embedding service %d times", after.Requests-before.Requests)
			}
			return f, err
		},
	)
	if err != nil {
		return nil, err
	}
	if loop, ours := texts["loop"], texts["syncd"]; ours < loop*95/100 || ours > loop*105/100 {
		return nil, fmt.Errorf("syncd had %d texts embedded, and the loop %d: they did not do the same work", ours, loop)
	}
	name := fmt.Sprintf("chunks of %d %s", l.Indexing.Chunk, l.Indexing.Unit)
	for i, process := range []string{"loop: index", "syncd"} {
		t.add(took(&result{benchCase: benchCase{name: name}, load: l}, process, figures[i], l.Documents)...)
	}
	t.add(took(&result{benchCase: benchCase{name: name}, load: l}, "syncd, nothing changed", again, l.Documents)...)
	return []gate{
		{name: fmt.Sprintf("indexing %d documents, %s: CPU ÷ the loop", l.Documents, name), limit: 1.3, values: ratios(figures[1], figures[0], cpuSeconds)},
		{name: fmt.Sprintf("indexing %d documents, %s: peak memory", l.Documents, name), unit: "MB", limit: (memoryBudget + memoryRest) / 1_000_000, values: each(figures[1], peakMB)},
	}, nil
}

// slowService measures how near syncd comes to what so many requests at once allow, where the embedding service takes its time. Their wall
// time is what counts here: it is spent waiting.
func (b *bench) slowService(ctx context.Context) (err error) {
	// Servers and client are on one machine: more requests at once would measure its processors.
	l := load{Documents: b.indexedDocuments() / 2, Size: 400, Indexing: indexingLoad{Unit: "characters", Chunk: 1200, Dimensions: dimensions, AtOnce: 4, Delay: 50 * time.Millisecond}}
	s, err := startServers(ctx, b.self, l)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	client, err := qdrantClient(s.endpoints)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	texts := map[string]int64{}
	figures, err := interleave(b.repeat, func() (figure, error) {
		return measureIndexing(ctx, client, s.Embed, "syncd", l, texts, func() (figure, error) {
			return measureProgram(ctx, b.syncd, indexingConfiguration(s.endpoints, l), "run", "--quiet")
		})
	})
	if err != nil {
		return err
	}
	allowed := time.Duration((texts["syncd"]+embedBatch-1)/embedBatch) * l.Indexing.Delay / time.Duration(l.Indexing.AtOnce)
	name := fmt.Sprintf("%v for a request of %d", l.Indexing.Delay, embedBatch)
	t := indexingTable()
	t.add(took(&result{benchCase: benchCase{name: name}, load: l}, "syncd", figures[0], l.Documents)...)
	t.print(os.Stdout)
	b.decide(gate{
		name: fmt.Sprintf("indexing %d documents, %s: the time that %d requests at once take ÷ wall", l.Documents, name, l.Indexing.AtOnce), limit: 0.9, least: true,
		values: each(figures[0], func(f figure) float64 { return allowed.Seconds() / f.wall.Seconds() }),
	})
	return nil
}

// measureIndexing measures what fills the collection, which is empty before and must be whole behind it. It notes how many texts that took.
func measureIndexing(ctx context.Context, client *qdrant.Client, embed, name string, l load, texts map[string]int64, run func() (figure, error)) (figure, error) {
	if there, err := client.CollectionExists(ctx, indexCollection); err != nil {
		return figure{}, err
	} else if there {
		if err := client.DeleteCollection(ctx, indexCollection); err != nil {
			return figure{}, err
		}
	}
	before, err := embedded(ctx, embed)
	if err != nil {
		return figure{}, err
	}
	f, err := run()
	if err != nil {
		return f, err
	}
	after, err := embedded(ctx, embed)
	if err != nil {
		return f, err
	}
	texts[name] = after.Texts - before.Texts
	n, err := client.Count(ctx, &qdrant.CountPoints{
		CollectionName: indexCollection, Exact: qdrant.PtrOf(true), Filter: &qdrant.Filter{Must: []*qdrant.Condition{qdrant.NewMatchInt("chunk_index", 0)}},
	})
	if err == nil && n != uint64(l.Documents) {
		err = fmt.Errorf("%s indexed %d documents, not %d", name, n, l.Documents)
	}
	return f, err
}

// indexCollection is where points are written to.
const indexCollection = "indexed"

// indexingConfiguration is that of a job which is the indexer. What it does not mention has its default.
func indexingConfiguration(e endpoints, l load) string {
	i := l.Indexing
	return fmt.Sprintf(`source: {mongo: {uri: %q, database: %s}}
checker: {qdrant: {url: %q, collection: %s}}
stages:
  chunk: {title: "{title}", text: "{content}", unit: %s, size: %d, overlap: %d}
  embed: {url: %q, model: m, batch_size: %d, concurrency: %d}
sink: {qdrant: {url: %q, collection: %s, create: {enabled: true}}}
mapping: {collections: {%s: doc}}
`, e.Mongo, database, e.Qdrant, indexCollection, i.Unit, i.Chunk, i.Chunk/overlapped, e.Embed, embedBatch, i.AtOnce, e.Qdrant, indexCollection, collection)
}

// serveIndexing runs the servers of a job that is the indexer until standard input closes.
func serveIndexing(ctx context.Context, l load) error {
	mongo, err := fastmongo.Start(ctx, fastmongo.Config{})
	if err != nil {
		return fmt.Errorf("starting MongoDB: %w", err)
	}
	if err := mongo.Generate(topic, articles(l.Documents, l.Size)); err != nil {
		return fmt.Errorf("making documents: %w", err)
	}
	index, err := qdrantserver.Start(qdrantserver.Config{})
	if err != nil {
		return fmt.Errorf("starting Qdrant: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("starting the embedding service: %w", err)
	}
	service := &http.Server{Handler: newEmbedder(l.Indexing), ReadHeaderTimeout: time.Minute}
	go func() { _ = service.Serve(listener) }()
	e := endpoints{Mongo: mongo.URI(), Qdrant: "http://" + index.Addr(), Embed: "http://" + listener.Addr().String() + "/v1", Load: l}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(e); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return out.Encode(e)
}

// articles is a collection of n documents of about size bytes each: _id, title, updatedAt, and content in sentences, which differs from
// document to document.
func articles(n, size int) fastmongo.Generated {
	g := fastmongo.Documents(n, size)
	text := proseInSentences(1<<16 + size)
	g.Document = func(i int, dst []byte) []byte {
		start, dst := bsoncore.AppendDocumentStart(dst)
		dst = bsoncore.AppendHeader(dst, bsoncore.TypeObjectID, "_id")
		_, dst = g.ID(i, dst)
		dst = bsoncore.AppendStringElement(dst, "title", "Document "+strconv.Itoa(i))
		dst = bsoncore.AppendDateTimeElement(dst, "updatedAt", int64(1_600_000_000+i)*1000)
		at := i * 7919 & (1<<16 - 1)
		dst = bsoncore.AppendStringElement(dst, "content", strconv.Itoa(i)+" "+text[at:at+max(1, size-100)])
		dst, _ = bsoncore.AppendDocumentEnd(dst, start)
		return dst
	}
	return g
}

// proseInSentences is n bytes of sentences, always the same.
func proseInSentences(n int) string {
	words := strings.Fields("a project plan needs an owner and every page of it names what the team has agreed on before the next " +
		"cycle starts so that search can find decisions tasks risks milestones and notes about customers orders or releases later")
	r := rand.New(rand.NewPCG(2, 3))
	var b strings.Builder
	for b.Len() < n {
		word := words[r.IntN(len(words))]
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		for range 4 + r.IntN(16) {
			b.WriteString(" " + words[r.IntN(len(words))])
		}
		b.WriteString(". ")
	}
	return b.String()[:n]
}

// embedder is an embedding service with OpenAI's API that has its answers ready: a service that really computes would be all that there is to
// measure.
type embedder struct {
	delay           time.Duration
	answers         [embedBatch + 1][]byte // by the number of texts
	requests, texts atomic.Int64
}

// embeddedSoFar is what the service was asked for.
type embeddedSoFar struct{ Requests, Texts int64 }

func newEmbedder(l indexingLoad) *embedder {
	e := &embedder{delay: l.Delay}
	r := rand.New(rand.NewPCG(4, 5))
	vectors := make([][]float32, embedBatch)
	for i := range vectors {
		vectors[i] = make([]float32, l.Dimensions)
		for k := range vectors[i] {
			vectors[i][k] = r.Float32()/5 - 0.1
		}
	}
	for n := range e.answers {
		data := make([]map[string]any, n)
		for i := range data {
			data[i] = map[string]any{"object": "embedding", "index": i, "embedding": vectors[i]}
		}
		e.answers[n], _ = json.Marshal(map[string]any{"object": "list", "data": data, "model": "m", "usage": map[string]int{"prompt_tokens": 200 * n, "total_tokens": 200 * n}})
	}
	return e
}

// ServeHTTP implements http.Handler. A GET asks what the service did so far.
func (e *embedder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodGet {
		_ = json.NewEncoder(w).Encode(embeddedSoFar{e.requests.Load(), e.texts.Load()})
		return
	}
	var q struct {
		Input []string `json:"input"`
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil || len(q.Input) > embedBatch {
		http.Error(w, fmt.Sprintf("%d texts: %v", len(q.Input), err), http.StatusBadRequest)
		return
	}
	e.requests.Add(1)
	e.texts.Add(int64(len(q.Input)))
	time.Sleep(e.delay)
	_, _ = w.Write(e.answers[len(q.Input)])
}

// embedded asks the service what it did so far.
func embedded(ctx context.Context, at string) (n embeddedSoFar, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return n, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return n, err
	}
	defer func() { err = cmp.Or(err, resp.Body.Close()) }()
	return n, json.NewDecoder(resp.Body).Decode(&n)
}
