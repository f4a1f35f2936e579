package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"
)

// A floor is one stage of the work, written by hand with the client library that syncd uses, and nothing around it.

// scanIDs reads all ids, in batches that make round trips rare.
func scanIDs(ctx context.Context, e endpoints, each func(bson.ObjectID)) (int, error) {
	client, err := mongo.Connect(options.Client().ApplyURI(e.Mongo))
	if err != nil {
		return 0, err
	}
	defer func() { _ = client.Disconnect(ctx) }()
	cur, err := client.Database(database).Collection(collection).Find(ctx, bson.D{},
		options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}).SetSort(bson.D{{Key: "_id", Value: 1}}).
			SetHint(bson.D{{Key: "_id", Value: 1}}).SetBatchSize(10_000))
	if err != nil {
		return 0, err
	}
	defer func() { _ = cur.Close(ctx) }()
	n := 0
	for cur.Next(ctx) {
		id, ok := cur.Current.Lookup("_id").ObjectIDOK()
		if !ok {
			return n, fmt.Errorf("document %d has another id", n)
		}
		each(id)
		n++
	}
	return n, cur.Err()
}

// floorScan is reading the ids.
func floorScan(ctx context.Context, e endpoints, _ int) (int, error) {
	return scanIDs(ctx, e, func(bson.ObjectID) {})
}

// floorUUID is making point ids.
func floorUUID(_ context.Context, _ endpoints, n int) (int, error) {
	var last uuid.UUID
	for i := range n {
		last = uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%024x/doc/0", i))
	}
	if last == uuid.Nil {
		return 0, errors.New("no id")
	}
	return n, nil
}

// floorGet is asking Qdrant, 1,000 ids at a time, four requests at once.
func floorGet(ctx context.Context, e endpoints, n int) (int, error) {
	client, err := qdrantClient(e)
	if err != nil {
		return 0, err
	}
	defer func() { _ = client.Close() }()
	const batch = 1000
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for start := 0; start < n; start += batch {
		g.Go(func() error {
			size := min(batch, n-start)
			ids := make([]*qdrant.PointId, size)
			for i := range ids {
				var u uuid.UUID
				copy(u[:], strconv.AppendInt(nil, int64(start+i), 10))
				u[15] = 0xff
				ids[i] = qdrant.NewIDUUID(u.String())
			}
			found, err := client.Get(ctx, &qdrant.GetPoints{
				CollectionName: "c", Ids: ids, WithPayload: qdrant.NewWithPayload(false), WithVectors: qdrant.NewWithVectors(false),
			})
			if err != nil {
				return err
			}
			there := make(map[string]struct{}, len(found))
			for _, p := range found {
				there[p.GetId().GetUuid()] = struct{}{}
			}
			missing := 0
			for _, id := range ids {
				if _, ok := there[id.GetUuid()]; !ok {
					missing++
				}
			}
			if missing > size {
				return errors.New("more are missing than were asked about")
			}
			return nil
		})
	}
	return n, g.Wait()
}

func qdrantClient(e endpoints) (*qdrant.Client, error) {
	u, err := url.Parse(e.Qdrant)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		return nil, err
	}
	return qdrant.NewClient(&qdrant.Config{Host: u.Hostname(), Port: port, SkipCompatibilityCheck: true})
}

// readDocuments reads whole documents.
func readDocuments(ctx context.Context, e endpoints, each func(bson.Raw) error) (int, error) {
	client, err := mongo.Connect(options.Client().ApplyURI(e.Mongo))
	if err != nil {
		return 0, err
	}
	defer func() { _ = client.Disconnect(ctx) }()
	cur, err := client.Database(database).Collection(collection).Find(ctx, bson.D{}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetBatchSize(2000))
	if err != nil {
		return 0, err
	}
	defer func() { _ = cur.Close(ctx) }()
	n := 0
	for cur.Next(ctx) {
		if err := each(cur.Current); err != nil {
			return n, err
		}
		n++
	}
	return n, cur.Err()
}

// floorRead is reading whole documents.
func floorRead(ctx context.Context, e endpoints, _ int) (int, error) {
	return readDocuments(ctx, e, func(bson.Raw) error { return nil })
}

// floorJSON is writing documents as JSON with the driver.
func floorJSON(_ context.Context, _ endpoints, n int) (int, error) {
	raw, err := sampleDocument()
	if err != nil {
		return 0, err
	}
	for range n {
		if _, err := bson.MarshalExtJSON(raw, false, false); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// floorProduce is a bare produce loop that reads delivery reports, of values as large as syncd's events.
func floorProduce(_ context.Context, e endpoints, n int) (int, error) {
	raw, err := sampleDocument()
	if err != nil {
		return 0, err
	}
	value, err := bson.MarshalExtJSON(raw, false, false)
	if err != nil {
		return 0, err
	}
	return n, produce(e, n, func(i int) (key, val []byte) { return fmt.Appendf(nil, "%024x", i), value })
}

func newProducer(e endpoints) (*kafka.Producer, error) {
	return kafka.NewProducer(&kafka.ConfigMap{
		"bootstrap.servers": e.Kafka, "enable.idempotence": true, "acks": "all", "compression.type": "lz4",
		"partitioner": "murmur2_random", "linger.ms": 5, "queue.buffering.max.kbytes": 65536,
		"enable.metrics.push": false, // its notices would stand among the figures
	})
}

func produce(e endpoints, n int, event func(i int) (key, value []byte)) error {
	p, err := newProducer(e)
	if err != nil {
		return err
	}
	defer p.Close()
	reports := make(chan error, 1)
	go func() {
		for range n {
			m, ok := (<-p.Events()).(*kafka.Message)
			if ok && m.TopicPartition.Error != nil {
				reports <- m.TopicPartition.Error
				return
			}
		}
		reports <- nil
	}()
	name := topic
	for i := range n {
		key, value := event(i)
		for {
			err := p.Produce(&kafka.Message{TopicPartition: kafka.TopicPartition{Topic: &name, Partition: kafka.PartitionAny}, Key: key, Value: value}, nil)
			if ke, ok := err.(kafka.Error); ok && ke.Code() == kafka.ErrQueueFull { //nolint:errorlint // the library returns it bare
				p.Flush(10)
				continue
			}
			if err != nil {
				return err
			}
			break
		}
	}
	return <-reports
}

// baseline is the described system's algorithm in Go with the same clients: all documents into a list, then batch by batch
// of 1,000: ids, one check, and one produce at a time.
func baseline(ctx context.Context, e endpoints, _ int) (int, error) {
	var docs []bson.Raw
	n, err := readDocuments(ctx, e, func(r bson.Raw) error {
		docs = append(docs, append(bson.Raw(nil), r...))
		return nil
	})
	if err != nil {
		return n, err
	}
	client, err := qdrantClient(e)
	if err != nil {
		return n, err
	}
	defer func() { _ = client.Close() }()
	p, err := newProducer(e)
	if err != nil {
		return n, err
	}
	defer p.Close()
	name := topic
	for start := 0; start < len(docs); start += 1000 {
		batch := docs[start:min(start+1000, len(docs))]
		ids := make([]*qdrant.PointId, len(batch))
		for i, d := range batch {
			ids[i] = qdrant.NewIDUUID(uuid.NewSHA1(uuid.NameSpaceURL, []byte(d.Lookup("_id").ObjectID().Hex()+"/doc/0")).String())
		}
		found, err := client.Get(ctx, &qdrant.GetPoints{CollectionName: "c", Ids: ids, WithPayload: qdrant.NewWithPayload(false), WithVectors: qdrant.NewWithVectors(false)})
		if err != nil {
			return n, err
		}
		there := make(map[string]struct{}, len(found))
		for _, f := range found {
			there[f.GetId().GetUuid()] = struct{}{}
		}
		for i, d := range batch {
			if _, ok := there[ids[i].GetUuid()]; ok {
				continue
			}
			value, err := bson.MarshalExtJSON(d, false, false)
			if err != nil {
				return n, err
			}
			done := make(chan kafka.Event, 1)
			if err := p.Produce(&kafka.Message{
				TopicPartition: kafka.TopicPartition{Topic: &name, Partition: kafka.PartitionAny},
				Key:            []byte(d.Lookup("_id").ObjectID().Hex()), Value: value,
			}, done); err != nil {
				return n, err
			}
			if m, ok := (<-done).(*kafka.Message); ok && m.TopicPartition.Error != nil {
				return n, m.TopicPartition.Error
			}
		}
	}
	return n, nil
}
