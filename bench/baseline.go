package main

import (
	"context"
	"fmt"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// A backfill is what the algorithms of whole programs need: clients of the index and of the broker.
type backfill struct {
	qdrant   *qdrant.Client
	producer *kafka.Producer
}

// batchSize is how many documents a backfill asks the index about at once.
const batchSize = 1000

func newBackfill(e endpoints) (*backfill, func(), error) {
	client, err := qdrantClient(e)
	if err != nil {
		return nil, nil, err
	}
	p, err := newProducer(e)
	if err != nil {
		_ = client.Close()
		return nil, nil, err
	}
	return &backfill{client, p}, func() { p.Close(); _ = client.Close() }, nil
}

// missing calls send for each document of a batch that the index lacks.
func (b *backfill) missing(ctx context.Context, batch []bson.Raw, send func(doc bson.Raw, point string) error) error {
	ids := make([]*qdrant.PointId, len(batch))
	for i, d := range batch {
		ids[i] = qdrant.NewIDUUID(uuid.NewSHA1(uuid.NameSpaceURL, []byte(d.Lookup("_id").ObjectID().Hex()+"/doc/0")).String())
	}
	found, err := b.qdrant.Get(ctx, &qdrant.GetPoints{
		CollectionName: "c", Ids: ids, WithPayload: qdrant.NewWithPayload(false), WithVectors: qdrant.NewWithVectors(false),
	})
	if err != nil {
		return err
	}
	there := make(map[string]struct{}, len(found))
	for _, f := range found {
		there[f.GetId().GetUuid()] = struct{}{}
	}
	for i, d := range batch {
		point := ids[i].GetUuid()
		if _, ok := there[point]; ok {
			continue
		}
		if err := send(d, point); err != nil {
			return err
		}
	}
	return nil
}

// event is a document's, of the shape of syncd's.
func event(doc bson.Raw, point string) (*kafka.Message, error) {
	value, err := bson.MarshalExtJSON(doc, false, false)
	if err != nil {
		return nil, err
	}
	id := doc.Lookup("_id").ObjectID().Hex()
	value = fmt.Appendf(nil, `{"operationType":"insert","ns":{"db":%q,"coll":%q},"documentKey":{"_id":%q},"fullDocument":%s}`,
		database, collection, id, value)
	return message([]byte(id), value, point), nil
}

// baseline is the described system's algorithm in Go with the same clients: all documents into a list, then batch by batch
// ids, one check, and one produce at a time.
func baseline(ctx context.Context, e endpoints, _ int) (int, error) {
	var docs []bson.Raw
	n, err := readDocuments(ctx, e, func(r bson.Raw) error {
		docs = append(docs, append(bson.Raw(nil), r...))
		return nil
	})
	if err != nil {
		return n, err
	}
	b, closed, err := newBackfill(e)
	if err != nil {
		return n, err
	}
	defer closed()
	for start := 0; start < len(docs); start += batchSize {
		err := b.missing(ctx, docs[start:min(start+batchSize, len(docs))], func(doc bson.Raw, point string) error {
			m, err := event(doc, point)
			if err != nil {
				return err
			}
			done := make(chan kafka.Event, 1)
			if err := b.producer.Produce(m, done); err != nil {
				return err
			}
			return delivered(<-done)
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// script is the same as a script would do it that keeps no list: it reads a batch, checks it, produces what is missing of it,
// and waits for all of that before the next batch.
func script(ctx context.Context, e endpoints, _ int) (int, error) {
	b, closed, err := newBackfill(e)
	if err != nil {
		return 0, err
	}
	defer closed()
	done := make(chan kafka.Event, batchSize)
	send := func(batch []bson.Raw) error {
		sent := 0
		if err := b.missing(ctx, batch, func(doc bson.Raw, point string) error {
			m, err := event(doc, point)
			if err != nil {
				return err
			}
			sent++
			return whenQueued(b.producer, m, done)
		}); err != nil {
			return err
		}
		for range sent {
			if err := delivered(<-done); err != nil {
				return err
			}
		}
		return nil
	}
	batch := make([]bson.Raw, 0, batchSize)
	n, err := readDocuments(ctx, e, func(r bson.Raw) error {
		batch = append(batch, append(bson.Raw(nil), r...))
		if len(batch) < batchSize {
			return nil
		}
		defer func() { batch = batch[:0] }()
		return send(batch)
	})
	if err != nil {
		return n, err
	}
	return n, send(batch)
}
