// Package change changes the data of a running sandbox, as the applications and the indexer of a real system would: so that what
// syncd finds can be learnt by making it.
package change

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/syncd-io/syncd/sandbox/sample"
)

// Data is the data of a sandbox.
type Data struct {
	Mongo      string // its connection string
	Qdrant     string // the address of its gRPC port, with or without http://
	Collection string // in Qdrant
}

// in opens a collection of MongoDB for one piece of work.
func (d Data) in(ctx context.Context, collection string, work func(*mongo.Collection) error) (err error) {
	if !slices.Contains(sample.Collections(), collection) {
		return fmt.Errorf("there is no collection %q; there are: %s", collection, strings.Join(sample.Collections(), ", "))
	}
	client, err := mongo.Connect(options.Client().ApplyURI(d.Mongo).SetServerSelectionTimeout(3 * time.Second))
	if err != nil {
		return fmt.Errorf("connecting to MongoDB: %w", err)
	}
	defer func() { err = errors.Join(err, client.Disconnect(context.WithoutCancel(ctx))) }()
	if err := work(client.Database(sample.Database).Collection(collection)); err != nil {
		return fmt.Errorf("in %s: %w", collection, err)
	}
	return nil
}

// ids are those of n documents, the first by _id or the last.
func ids(ctx context.Context, c *mongo.Collection, n int, last bool) (out []any, err error) {
	direction := 1
	if last {
		direction = -1
	}
	cursor, err := c.Find(ctx, bson.D{}, options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}).
		SetSort(bson.D{{Key: "_id", Value: direction}}).SetLimit(int64(n)))
	if err != nil {
		return nil, err
	}
	var found []struct {
		ID any `bson:"_id"`
	}
	if err := cursor.All(ctx, &found); err != nil {
		return nil, err
	}
	for _, f := range found {
		out = append(out, f.ID)
	}
	return out, nil
}

// Add inserts n documents: they are missing in the index until they are sent.
func (d Data) Add(ctx context.Context, collection string, n int) (added []any, err error) {
	err = d.in(ctx, collection, func(c *mongo.Collection) error {
		g := sample.Generator{Seed: sample.DefaultSeed}
		for i := 0; len(added) < n; i++ {
			doc := g.Document(i)
			if doc.Collection != collection {
				continue
			}
			id := bson.NewObjectID()
			doc.Body[0].Value = id
			for k := range doc.Body {
				if doc.Body[k].Key == "updatedAt" {
					doc.Body[k].Value = time.Now()
				}
			}
			if _, err := c.InsertOne(ctx, doc.Body); err != nil {
				return err
			}
			added = append(added, id)
		}
		return nil
	})
	return added, err
}

// Change gives the first n documents another title and updatedAt: the index holds them stale.
func (d Data) Change(ctx context.Context, collection string, n int) (changed []any, err error) {
	err = d.in(ctx, collection, func(c *mongo.Collection) error {
		if changed, err = ids(ctx, c, n, false); err != nil {
			return err
		}
		for i, id := range changed {
			now := time.Now()
			if _, err := c.UpdateByID(ctx, id, bson.D{{Key: "$set", Value: bson.D{
				{Key: "title", Value: fmt.Sprintf("Changed %d at %s", i, now.Format(time.TimeOnly))}, {Key: "updatedAt", Value: now},
			}}}); err != nil {
				return err
			}
		}
		return nil
	})
	return changed, err
}

// Delete deletes the last n documents: the index holds orphans of them.
func (d Data) Delete(ctx context.Context, collection string, n int) (gone []any, err error) {
	err = d.in(ctx, collection, func(c *mongo.Collection) error {
		if gone, err = ids(ctx, c, n, true); err != nil || len(gone) == 0 {
			return err
		}
		_, err = c.DeleteMany(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: gone}}}})
		return err
	})
	return gone, err
}

// Lose deletes the last chunk of n documents from the index, as an indexer does that fails in the middle of a document: the index
// holds them partly. Documents of one chunk are passed over.
func (d Data) Lose(ctx context.Context, collection string, n int) (lost []any, err error) {
	err = d.in(ctx, collection, func(c *mongo.Collection) (err error) {
		client, err := d.index()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, client.Close()) }()
		all, err := ids(ctx, c, 1_000_000, false)
		if err != nil {
			return err
		}
		for _, id := range all {
			if len(lost) == n {
				return nil
			}
			of := []*qdrant.Condition{qdrant.NewMatch("mongo_id", Text(id))}
			points, err := client.Scroll(ctx, &qdrant.ScrollPoints{
				CollectionName: d.Collection, Filter: &qdrant.Filter{Must: of}, WithPayload: qdrant.NewWithPayload(true), Limit: qdrant.PtrOf(uint32(1000)),
			})
			if err != nil {
				return fmt.Errorf("asking Qdrant: %w", err)
			}
			if len(points) < 2 {
				continue
			}
			last := slices.MaxFunc(points, func(a, b *qdrant.RetrievedPoint) int {
				return int(a.GetPayload()["chunk_index"].GetIntegerValue() - b.GetPayload()["chunk_index"].GetIntegerValue())
			})
			if _, err := client.Delete(ctx, &qdrant.DeletePoints{
				CollectionName: d.Collection, Wait: qdrant.PtrOf(true), Points: qdrant.NewPointsSelector(last.GetId()),
			}); err != nil {
				return fmt.Errorf("deleting a point: %w", err)
			}
			lost = append(lost, id)
		}
		return nil
	})
	if err == nil && len(lost) == 0 && n > 0 {
		return nil, fmt.Errorf("the index holds no document of %s in several chunks: start the sandbox with small ones (sandbox up -chunk 200), and index the collection", collection)
	}
	return lost, err
}

// Indexed says whether the index is there.
func (d Data) Indexed(ctx context.Context) (there bool, err error) {
	client, err := d.index()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	return client.CollectionExists(ctx, d.Collection)
}

// Titles are those of the documents that the index holds of a content type.
func (d Data) Titles(ctx context.Context, contentType string) (titles []string, err error) {
	client, err := d.index()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	points, err := client.Scroll(ctx, &qdrant.ScrollPoints{
		CollectionName: d.Collection, Limit: qdrant.PtrOf(uint32(100_000)), WithPayload: qdrant.NewWithPayloadInclude("title"),
		Filter: &qdrant.Filter{Must: []*qdrant.Condition{qdrant.NewMatch("content_type", contentType), qdrant.NewMatchInt("chunk_index", 0)}},
	})
	if err != nil {
		return nil, fmt.Errorf("asking Qdrant: %w", err)
	}
	for _, p := range points {
		titles = append(titles, p.GetPayload()["title"].GetStringValue())
	}
	return titles, nil
}

func (d Data) index() (*qdrant.Client, error) {
	address := d.Qdrant
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		address = u.Host
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("reading the address of Qdrant: %w", err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("reading the port of Qdrant: %w", err)
	}
	client, err := qdrant.NewClient(&qdrant.Config{Host: host, Port: number, SkipCompatibilityCheck: true})
	if err != nil {
		return nil, fmt.Errorf("connecting to Qdrant: %w", err)
	}
	return client, nil
}

// Text is an id as commands of syncd take it.
func Text(id any) string {
	switch v := id.(type) {
	case bson.ObjectID:
		return v.Hex()
	case bson.Binary:
		if len(v.Data) == 16 {
			return fmt.Sprintf("%x-%x-%x-%x-%x", v.Data[:4], v.Data[4:6], v.Data[6:8], v.Data[8:10], v.Data[10:])
		}
	}
	return fmt.Sprint(id)
}
