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

	"github.com/syncd-io/syncd/codec"
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
func floorJSON(_ context.Context, e endpoints, n int) (int, error) {
	raw, err := sampleDocument(e.Load)
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

// floorProduce is a bare produce loop that reads delivery reports, of events as large as syncd's and with as many headers.
func floorProduce(_ context.Context, e endpoints, n int) (int, error) {
	raw, err := sampleDocument(e.Load)
	if err != nil {
		return 0, err
	}
	sample, err := event(raw, samplePoint)
	if err != nil {
		return 0, err
	}
	p, err := newProducer(e)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	reports := make(chan error, 1)
	go func() {
		for range n {
			if err := delivered(<-p.Events()); err != nil {
				reports <- err
				return
			}
		}
		reports <- nil
	}()
	for i := range n {
		if err := whenQueued(p, message(fmt.Appendf(nil, "%024x", i), sample.Value, samplePoint), nil); err != nil {
			return i, err
		}
	}
	return n, <-reports
}

func newProducer(e endpoints) (*kafka.Producer, error) {
	return kafka.NewProducer(&kafka.ConfigMap{
		"bootstrap.servers": e.Kafka, "enable.idempotence": true, "acks": "all", "compression.type": "lz4",
		"partitioner": "murmur2_random", "linger.ms": 2, "queue.buffering.max.kbytes": 65536, "message.max.bytes": 16 << 20,
		"enable.metrics.push": false, // its notices would stand among the figures
	})
}

// samplePoint is as long as any point id.
const samplePoint = "6ba7b811-9dad-51d1-80b4-00c04fd430c8"

// message is an event with the headers that syncd sends unless it is told otherwise. Their values are as long as syncd's.
func message(key, value []byte, point string) *kafka.Message {
	name := topic
	return &kafka.Message{
		TopicPartition: kafka.TopicPartition{Topic: &name, Partition: kafka.PartitionAny}, Key: key, Value: value,
		Headers: []kafka.Header{
			{Key: codec.HeaderPointID, Value: []byte(point)},
			{Key: codec.HeaderContentType, Value: []byte("doc")},
		},
	}
}

// whenQueued produces, as soon as there is room in the producer's queue.
func whenQueued(p *kafka.Producer, m *kafka.Message, done chan kafka.Event) error {
	for {
		err := p.Produce(m, done)
		if ke, ok := err.(kafka.Error); !ok || ke.Code() != kafka.ErrQueueFull { //nolint:errorlint // the library returns it bare
			return err
		}
		p.Flush(10)
	}
}

// delivered is what a delivery report says.
func delivered(report kafka.Event) error {
	switch r := report.(type) {
	case *kafka.Message:
		return r.TopicPartition.Error
	case kafka.Error:
		return r
	}
	return fmt.Errorf("the producer reports %s", report)
}
