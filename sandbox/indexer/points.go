package indexer

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd/sandbox/embedserver"
)

// ensureCollection creates the collection and the indexes of its payload where they are missing.
func (x *Indexer) ensureCollection(ctx context.Context) error {
	exists, err := x.qdrant.CollectionExists(ctx, x.cfg.Collection)
	if err != nil {
		return fmt.Errorf("looking for collection %s in Qdrant: %w", x.cfg.Collection, err)
	}
	if !exists {
		err := x.qdrant.CreateCollection(ctx, &qdrant.CreateCollection{
			CollectionName: x.cfg.Collection,
			VectorsConfig: qdrant.NewVectorsConfig(&qdrant.VectorParams{
				Size: uint64(x.cfg.VectorSize), Distance: qdrant.Distance_Cosine,
			}),
		})
		// Another member of the group may have been faster.
		if err != nil && status.Code(err) != codes.AlreadyExists {
			return fmt.Errorf("creating collection %s in Qdrant: %w", x.cfg.Collection, err)
		}
	}
	// content_type is what syncd counts and lists by; mongo_id is what deleting looks for.
	for _, field := range []string{"content_type", "mongo_id"} {
		if _, err := x.qdrant.CreateFieldIndex(ctx, &qdrant.CreateFieldIndexCollection{
			CollectionName: x.cfg.Collection, FieldName: field, Wait: qdrant.PtrOf(true),
			FieldType: qdrant.FieldType_FieldTypeKeyword.Enum(),
		}); err != nil {
			return fmt.Errorf("indexing %s in Qdrant: %w", field, err)
		}
	}
	return nil
}

// apply makes Qdrant hold what the changes say. It returns an error only when ctx ends.
//
// Points are written before the leftovers of a former, longer version are deleted: a
// document that is in the index never seems to be missing.
func (x *Indexer) apply(ctx context.Context, c changes) error {
	var points []*qdrant.PointStruct
	gone := map[string][]string{}          // content type → ids
	changed := map[string][]string{}       // content type → ids of documents that may have been there
	kept := map[string][]*qdrant.PointId{} // content type → points of those
	var indexed, deleted int64
	for _, key := range c.order {
		doc := c.docs[key]
		if doc.gone {
			gone[key.contentType] = append(gone[key.contentType], key.id)
			deleted++
			continue
		}
		indexed++
		made := x.points(doc.event)
		points = append(points, made...)
		if doc.replace {
			changed[key.contentType] = append(changed[key.contentType], key.id)
			for _, p := range made {
				kept[key.contentType] = append(kept[key.contentType], p.Id)
			}
		}
	}
	for batch := range slices.Chunk(points, x.cfg.BatchSize) {
		if err := x.retry(ctx, "upserting points", func() error {
			_, err := x.qdrant.Upsert(ctx, &qdrant.UpsertPoints{CollectionName: x.cfg.Collection, Wait: qdrant.PtrOf(true), Points: batch})
			return err
		}); err != nil {
			return err
		}
	}
	x.indexed.Add(indexed)
	for contentType, ids := range changed {
		if err := x.delete(ctx, contentType, ids, kept[contentType]); err != nil {
			return err
		}
	}
	for contentType, ids := range gone {
		if err := x.delete(ctx, contentType, ids, nil); err != nil {
			return err
		}
	}
	x.deleted.Add(deleted)
	return nil
}

// points makes the points of a document, one for each chunk.
func (x *Indexer) points(e event) []*qdrant.PointStruct {
	parts := chunks(e.text, x.cfg.ChunkSize)
	points := make([]*qdrant.PointStruct, len(parts))
	for i, part := range parts {
		payload := map[string]*qdrant.Value{
			"mongo_id":     qdrant.NewValueString(e.key.id),
			"parent_id":    qdrant.NewValueString(e.key.id),
			"chunk_index":  qdrant.NewValueInt(int64(i)),
			"chunk_count":  qdrant.NewValueInt(int64(len(parts))),
			"content_type": qdrant.NewValueString(e.key.contentType),
			"title":        qdrant.NewValueString(e.title),
			"content":      qdrant.NewValueString(part),
		}
		switch v := e.updatedAt.(type) {
		case string:
			payload["updatedAt"] = qdrant.NewValueString(v)
		case int64:
			payload["updatedAt"] = qdrant.NewValueInt(v)
		case float64:
			payload["updatedAt"] = qdrant.NewValueDouble(v)
		}
		points[i] = &qdrant.PointStruct{
			Id:      qdrant.NewID(pointID(e.key, i)),
			Vectors: qdrant.NewVectors(embedserver.Vector(e.title+" "+part, x.cfg.VectorSize)...),
			Payload: payload,
		}
	}
	return points
}

// delete deletes the points of documents of a content type, except those to keep.
func (x *Indexer) delete(ctx context.Context, contentType string, ids []string, keep []*qdrant.PointId) error {
	filter := &qdrant.Filter{Must: []*qdrant.Condition{
		qdrant.NewMatch("content_type", contentType),
		qdrant.NewMatchKeywords("mongo_id", ids...),
	}}
	if len(keep) > 0 {
		filter.MustNot = []*qdrant.Condition{qdrant.NewHasID(keep...)}
	}
	return x.retry(ctx, "deleting points", func() error {
		_, err := x.qdrant.Delete(ctx, &qdrant.DeletePoints{
			CollectionName: x.cfg.Collection, Wait: qdrant.PtrOf(true), Points: qdrant.NewPointsSelectorFilter(filter),
		})
		return err
	})
}

// retry does something until it works, for as long as ctx lasts: an event must not be
// lost, and none can be indexed before it.
func (x *Indexer) retry(ctx context.Context, what string, do func() error) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := do()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
		x.cfg.Logger.Warn(what, "error", err, "wait", wait)
		if status.Code(err) == codes.NotFound { // somebody deleted the collection
			if err := x.ensureCollection(ctx); err != nil {
				x.cfg.Logger.Warn(what, "error", err)
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%s: %w", what, ctx.Err())
		case <-timer.C:
		}
	}
}
