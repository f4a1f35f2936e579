package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/sentences"
	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"github.com/tiktoken-go/tokenizer/codec"
	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/sync/errgroup"
)

// floorIndex is an indexer as one would write it by hand with the libraries that syncd uses: it reads all documents, divides them, and for
// each 64 chunks has their vectors made and writes their points, several at once. It asks nothing, keeps no position and repeats nothing.
func floorIndex(ctx context.Context, e endpoints, _ int) (int, error) {
	client, err := qdrantClient(e)
	if err != nil {
		return 0, err
	}
	defer func() { _ = client.Close() }()
	if err := client.CreateCollection(ctx, &qdrant.CreateCollection{
		CollectionName: indexCollection, VectorsConfig: qdrant.NewVectorsConfig(&qdrant.VectorParams{Size: uint64(e.Load.Indexing.Dimensions), Distance: qdrant.Distance_Cosine}),
	}); err != nil {
		return 0, err
	}
	measure := utf8.RuneCountInString
	if e.Load.Indexing.Unit == "tokens" {
		c := codec.NewCl100kBase()
		measure = func(s string) int {
			n, err := c.Count(s)
			if err != nil {
				panic(err)
			}
			return n
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = e.Load.Indexing.AtOnce
	w := &handIndexer{qdrant: client, http: &http.Client{Transport: transport}, url: e.Embed + "/embeddings"}
	defer w.http.CloseIdleConnections()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(e.Load.Indexing.AtOnce)
	var batch []handChunk
	send := func() {
		full := batch
		batch = nil
		g.Go(func() error { return w.write(ctx, full) })
	}
	n, err := readDocuments(ctx, e, func(doc bson.Raw) error {
		id, title := doc.Lookup("_id").ObjectID().Hex(), doc.Lookup("title").StringValue()
		changed := doc.Lookup("updatedAt").Time().UTC().Format("2006-01-02T15:04:05.000Z")
		texts := handDivide(title+"\n\n", doc.Lookup("content").StringValue(), measure, e.Load.Indexing.Chunk)
		for i, text := range texts {
			batch = append(batch, handChunk{id, title, text, changed, i, len(texts)})
			if len(batch) == embedBatch {
				send()
			}
		}
		return ctx.Err()
	})
	if err == nil && len(batch) > 0 {
		send()
	}
	if failed := g.Wait(); failed != nil {
		return n, failed
	}
	return n, err
}

// handChunk is a chunk of a document.
type handChunk struct {
	id, title, text, changed string
	index, count             int
}

// handDivide packs sentences into chunks, which begin with the last sentences of the one before.
func handDivide(prefix, text string, measure func(string) int, size int) (chunks []string) {
	type sentence struct{ from, to, size int }
	room := size - measure(prefix)
	var held []sentence
	sum, at := 0, 0
	flush := func() { chunks = append(chunks, strings.TrimSpace(text[held[0].from:held[len(held)-1].to])) }
	for all := sentences.FromString(text); all.Next(); {
		next := sentence{at, at + len(all.Value()), measure(all.Value())}
		at = next.to
		if sum+next.size > room && len(held) > 0 {
			flush()
			keep, kept := len(held), 0
			for keep > 0 && kept+held[keep-1].size <= size/overlapped {
				keep--
				kept += held[keep].size
			}
			held, sum = held[keep:], kept
		}
		held, sum = append(held, next), sum+next.size
	}
	if len(held) > 0 {
		flush()
	}
	return chunks
}

// handIndexer has chunks embedded and written.
type handIndexer struct {
	qdrant *qdrant.Client
	http   *http.Client
	url    string
}

func (w *handIndexer) write(ctx context.Context, chunks []handChunk) error {
	texts := make([]string, len(chunks))
	for i, c := range chunks {
		texts[i] = c.title + "\n\n" + c.text
	}
	vectors, err := w.embed(ctx, texts)
	if err != nil {
		return err
	}
	points := make([]*qdrant.PointStruct, len(chunks))
	for i, c := range chunks {
		hash := sha256.Sum256([]byte(texts[i]))
		points[i] = &qdrant.PointStruct{
			Id:      qdrant.NewIDUUID(uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%s/doc/%d", c.id, c.index)).String()),
			Vectors: qdrant.NewVectorsDense(vectors[i]),
			Payload: qdrant.NewValueMap(map[string]any{
				"mongo_id": c.id, "parent_id": c.id, "content_type": "doc", "chunk_index": c.index, "chunk_count": c.count, "title": c.title, "content": c.text,
				"updatedAt": c.changed, "database": database, "embedding_model": "m", "content_hash": hex.EncodeToString(hash[:16]),
			}),
		}
	}
	within, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err = w.qdrant.Upsert(within, &qdrant.UpsertPoints{CollectionName: indexCollection, Wait: qdrant.PtrOf(true), Points: points})
	return err
}

func (w *handIndexer) embed(ctx context.Context, texts []string) (_ [][]float32, err error) {
	body, err := json.Marshal(map[string]any{"model": "m", "input": texts})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := w.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Data []struct {
			Index     int       `json:"index"`
			Embedding []float32 `json:"embedding"`
		} `json:"data"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK || len(answer.Data) != len(texts) {
		return nil, fmt.Errorf("the embedding service answered %s with %d vectors for %d texts", resp.Status, len(answer.Data), len(texts))
	}
	vectors := make([][]float32, len(texts))
	for _, d := range answer.Data {
		vectors[d.Index] = d.Embedding
	}
	return vectors, nil
}
