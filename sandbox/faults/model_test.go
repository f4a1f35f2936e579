package faults

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	qdrantclient "github.com/qdrant/go-client/qdrant"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// key names a document.
type key struct{ collection, id string }

func (d document) key() key { return key{d.collection, d.id} }

// stored is the document as MongoDB has it.
func (d document) stored() bson.D {
	body := "text"
	if d.condition == oversize {
		body = strings.Repeat("text", 2000)
	}
	out := bson.D{{Key: "_id", Value: d.id}, {Key: "updatedAt", Value: bson.NewDateTimeFromTime(d.version)}, {Key: "chunks", Value: d.chunks}, {Key: "body", Value: body}}
	if d.condition == nameless {
		out[0].Value = nil
	}
	return out
}

// load fills the source and the index as the schedule says.
func (w *world) load(s schedule) {
	w.t.Helper()
	docs := map[string][]any{}
	var points []*qdrantclient.PointStruct
	for _, d := range s.documents {
		docs[d.collection] = append(docs[d.collection], d.stored())
		version := d.version.Format(time.RFC3339)
		switch d.condition {
		case present:
			points = append(points, pointsOf(d.key(), version, d.chunks, d.chunks)...)
		case stale:
			points = append(points, pointsOf(d.key(), d.version.Add(-time.Hour).Format(time.RFC3339), d.chunks, d.chunks)...)
		case partial:
			points = append(points, pointsOf(d.key(), version, d.chunks, d.chunks-1)...)
		}
	}
	for _, d := range s.orphans {
		points = append(points, pointsOf(d.key(), d.version.Format(time.RFC3339), d.chunks, d.chunks)...)
	}
	for name, some := range docs {
		w.must(w.mongo.Put(database+"."+name, some...))
	}
	w.upsert(points)
}

// pointsOf are the points of a document of so many chunks, of which only the first few are there.
func pointsOf(k key, version string, chunks, there int) []*qdrantclient.PointStruct {
	out := make([]*qdrantclient.PointStruct, there)
	for i := range out {
		contentType := k.collection + "_type"
		id := uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%s/%s/%d", k.id, contentType, i))
		out[i] = &qdrantclient.PointStruct{
			Id: qdrantclient.NewID(id.String()), Vectors: qdrantclient.NewVectors(1),
			Payload: qdrantclient.NewValueMap(map[string]any{
				"mongo_id": k.id, "content_type": contentType, "chunk_index": i, "chunk_count": chunks, "updatedAt": version,
			}),
		}
	}
	return out
}

func (w *world) upsert(points []*qdrantclient.PointStruct) {
	w.t.Helper()
	if len(points) == 0 {
		return
	}
	_, err := w.index.Upsert(w.t.Context(), &qdrantclient.UpsertPoints{CollectionName: collection, Wait: qdrantclient.PtrOf(true), Points: points})
	w.must(err)
}

func (w *world) remove(points []*qdrantclient.PointId) {
	w.t.Helper()
	if len(points) == 0 {
		return
	}
	_, err := w.index.Delete(w.t.Context(), &qdrantclient.DeletePoints{
		CollectionName: collection, Wait: qdrantclient.PtrOf(true), Points: qdrantclient.NewPointsSelectorIDs(points),
	})
	w.must(err)
}

// journal is what is on the topics, and is the indexer: it reads what there is when it is asked to.
type journal struct {
	world     *world
	committed bool        // see only what is committed
	events    map[key]int // of documents
	deletes   map[key]int // events that delete
	total     int         // of both
	letters   map[key]int
	read      map[position]bool
	unindexed []*kgo.Record
}

type position struct {
	topic     string
	partition int32
	offset    int64
}

// look takes in what came since the last time.
func (y *journal) look() {
	y.world.t.Helper()
	for _, r := range y.world.records(y.committed) {
		at := position{r.Topic, r.Partition, r.Offset}
		if y.read[at] {
			continue
		}
		y.read[at] = true
		switch name, ours := strings.CutPrefix(r.Topic, database+"."); {
		case ours:
			y.event(name, r)
		case r.Topic == letters:
			y.letters[key{strings.TrimSuffix(header(r, "syncd-content-type"), "_type"), string(r.Key)}]++
		}
	}
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// tail is what was read of all topics so far.
type tail struct {
	next    map[string]map[int32]int64 // offsets
	open    map[producing][]*kgo.Record
	records []*kgo.Record
}

// producing is a producer's share of a partition.
type producing struct {
	topic     string
	partition int32
	producer  int64
}

// records reads all topics up to where they end now, in the order of each partition. It tells what is committed by the
// markers, rather than have the broker leave the rest out: then it would have to wait for transactions that a run left open.
func (w *world) records(committed bool) []*kgo.Record {
	w.t.Helper()
	if w.tails[committed] == nil {
		w.tails[committed] = &tail{next: map[string]map[int32]int64{}, open: map[producing][]*kgo.Record{}}
	}
	s := w.tails[committed]
	client, err := kgo.NewClient(kgo.SeedBrokers(w.kafka.Addr()), kgo.SASL(plain.Auth{User: "writer", Pass: kafkaPassword}.AsMechanism()),
		kgo.KeepControlRecords(), kgo.FetchMaxWait(ms(50)))
	w.must(err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	admin := kadm.NewClient(client)
	topics, err := admin.ListTopics(ctx)
	w.must(err)
	if len(topics) == 0 {
		return nil
	}
	ends, err := admin.ListEndOffsets(ctx, topics.Names()...)
	w.must(err)
	from := map[string]map[int32]kgo.Offset{}
	left := map[position]bool{}
	ends.Each(func(o kadm.ListedOffset) {
		w.must(o.Err)
		if at := s.next[o.Topic][o.Partition]; o.Offset > at {
			if from[o.Topic] == nil {
				from[o.Topic] = map[int32]kgo.Offset{}
			}
			from[o.Topic][o.Partition] = kgo.NewOffset().At(at)
			left[position{o.Topic, o.Partition, o.Offset - 1}] = true
		}
	})
	client.AddConsumePartitions(from)
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		w.must(fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			delete(left, position{r.Topic, r.Partition, r.Offset})
			if s.next[r.Topic] == nil {
				s.next[r.Topic] = map[int32]int64{}
			}
			s.next[r.Topic][r.Partition] = r.Offset + 1
			by := producing{r.Topic, r.Partition, r.ProducerID}
			switch {
			case r.Attrs.IsControl():
				if len(r.Key) == 4 && r.Key[3] == 1 { // version 0, type 1: commit
					s.records = append(s.records, s.open[by]...)
				}
				delete(s.open, by)
			case committed && r.Attrs.IsTransactional():
				s.open[by] = append(s.open[by], r)
			default:
				s.records = append(s.records, r)
			}
		})
	}
	return s.records
}

func (y *journal) event(name string, r *kgo.Record) {
	k := key{name, string(r.Key)}
	if deletes(r) {
		y.deletes[k]++
	} else {
		y.events[k]++
	}
	y.total++
	y.unindexed = append(y.unindexed, r)
}

// repeats is how many events are there more than once.
func (y *journal) repeats() int { return y.total - len(y.events) - len(y.deletes) }

// distinct is how many documents there are events of.
func (y *journal) distinct() int { return len(y.events) + len(y.deletes) }

func deletes(r *kgo.Record) bool { return header(r, "syncd-reason") == "orphan" }

// index does what the indexer does with the events that were read: what it says must be there is then there.
func (y *journal) index() {
	y.world.t.Helper()
	var points []*qdrantclient.PointStruct
	var gone []*qdrantclient.PointId
	for _, r := range y.unindexed {
		var e struct {
			OperationType string `json:"operationType"`
			NS            struct {
				Coll string `json:"coll"`
			} `json:"ns"`
			DocumentKey struct {
				ID string `json:"_id"`
			} `json:"documentKey"`
			FullDocument struct {
				ID        string `json:"_id"`
				UpdatedAt string `json:"updatedAt"`
				Chunks    int    `json:"chunks"`
			} `json:"fullDocument"`
		}
		if deletes(r) {
			if r.Value != nil {
				if err := json.Unmarshal(r.Value, &e); err != nil || e.OperationType != "delete" || e.DocumentKey.ID != string(r.Key) {
					y.world.t.Errorf("the delete %s %s: %v", r.Key, r.Value, err)
					continue
				}
			}
			for _, p := range pointsOf(key{strings.TrimPrefix(r.Topic, database+"."), string(r.Key)}, "", maxChunks, maxChunks) {
				gone = append(gone, p.GetId())
			}
			continue
		}
		if err := json.Unmarshal(r.Value, &e); err != nil || e.FullDocument.ID != string(r.Key) {
			y.world.t.Errorf("the event %s %s: %v", r.Key, r.Value, err)
			continue
		}
		points = append(points, pointsOf(key{e.NS.Coll, e.FullDocument.ID}, e.FullDocument.UpdatedAt, e.FullDocument.Chunks, e.FullDocument.Chunks)...)
	}
	y.unindexed = nil
	y.world.upsert(points)
	y.world.remove(gone)
}

// readLetters takes in the dead letters of the file.
func (y *journal) readLetters() {
	text, err := os.ReadFile(y.world.lettersFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	y.world.must(err)
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var e struct {
			Collection string `json:"collection"`
			ID         string `json:"id"`
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			y.world.t.Errorf("the dead letter %s: %v", lines.Bytes(), err)
			continue
		}
		y.letters[key{e.Collection, e.ID}]++
	}
}
