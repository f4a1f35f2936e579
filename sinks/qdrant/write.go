package qdrant

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/points"
	"github.com/syncd-io/syncd/internal/qdrantconn"
	"github.com/syncd-io/syncd/internal/text"
)

// document is what a change asks of the collection. Of its chunks those with another vector are points, and of the others only the
// payload is written, each in ascending order, with chunk 0 behind them.
type document struct {
	points  []*qdrant.PointStruct
	payload []*qdrant.SetPayloadPoints
	first   *qdrant.SetPayloadPoints // payload, too, of chunk 0, which comes last
	remove  []*qdrant.PointId        // the last chunk first
}

func (d *document) size() int { return len(d.points) + len(d.payload) + len(d.remove) + 1 }

// Write implements syncd.Sink.
func (s *sink) Write(ctx context.Context, changes []syncd.Change) error {
	err := s.writer.Write(ctx, changes)
	if size, is := errors.AsType[*points.SizeError](err); is {
		return syncd.Hint(fmt.Errorf("writing to the collection %q: %w", s.conf.Collection, err),
			"take a model of %d dimensions, or another collection: sink.qdrant.collection with create.enabled: true", size.Want)
	}
	return err
}

// put writes documents in one request.
func (s *sink) put(ctx context.Context, docs []document) error {
	var err error
	if len(docs) == 1 && docs[0].size() > s.conf.BatchSize+1 {
		err = s.large(ctx, &docs[0])
	} else {
		err = s.send(ctx, docs)
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("writing to Qdrant: %w", ctx.Err())
	}
	if what, _ := qdrantconn.Classify(err); !faulty(err) && what != qdrantconn.TooMuch {
		return s.explain(fmt.Sprintf("writing %d documents to the collection %q", len(docs), s.conf.Collection), err)
	}
	return err
}

// judge is [points.Writer.Faulty].
func (s *sink) judge(err error) (bool, error) {
	reason := text.Line(s.scrub.Replace(qdrantconn.Reason(err)))
	if what, _ := qdrantconn.Classify(err); what == qdrantconn.TooMuch {
		return true, fmt.Errorf("%w: %s", syncd.ErrTooLarge, reason)
	}
	return faulty(err), fmt.Errorf("refused by Qdrant: %s", reason)
}

// faulty reports whether an error may be one document's fault. A collection that is not there is not.
func faulty(err error) bool {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.OutOfRange, codes.FailedPrecondition:
		return true
	}
	return false
}

// send writes documents in one request. Qdrant applies its operations one after another.
func (s *sink) send(ctx context.Context, docs []document) error {
	var points []*qdrant.PointStruct
	var remove []*qdrant.PointId
	var before, behind []*qdrant.SetPayloadPoints
	for i := range docs {
		d := &docs[i]
		points, remove, before = append(points, d.points...), append(remove, d.remove...), append(before, d.payload...)
		if d.first != nil {
			behind = append(behind, d.first)
		}
	}
	var ops []*qdrant.PointsUpdateOperation
	for _, p := range before {
		ops = append(ops, overwrite(p))
	}
	if len(points) > 0 {
		ops = append(ops, &qdrant.PointsUpdateOperation{Operation: &qdrant.PointsUpdateOperation_Upsert{
			Upsert: &qdrant.PointsUpdateOperation_PointStructList{Points: points},
		}})
	}
	for _, p := range behind {
		ops = append(ops, overwrite(p))
	}
	if len(remove) > 0 {
		ops = append(ops, &qdrant.PointsUpdateOperation{Operation: &qdrant.PointsUpdateOperation_DeletePoints_{
			DeletePoints: &qdrant.PointsUpdateOperation_DeletePoints{Points: qdrant.NewPointsSelectorIDs(remove)},
		}})
	}
	return s.operate(ctx, ops)
}

func overwrite(p *qdrant.SetPayloadPoints) *qdrant.PointsUpdateOperation {
	return &qdrant.PointsUpdateOperation{Operation: &qdrant.PointsUpdateOperation_OverwritePayload_{
		OverwritePayload: &qdrant.PointsUpdateOperation_OverwritePayload{Payload: p.Payload, PointsSelector: p.PointsSelector},
	}}
}

// operate has Qdrant apply operations, and waits until it has.
func (s *sink) operate(ctx context.Context, ops []*qdrant.PointsUpdateOperation) error {
	if len(ops) == 0 {
		return nil
	}
	wait := true
	return s.call(ctx, func(ctx context.Context) error {
		var err error
		points := s.client.GetPointsClient()
		if len(ops) > 1 {
			_, err = points.UpdateBatch(ctx, &qdrant.UpdateBatchPoints{CollectionName: s.conf.Collection, Wait: &wait, Operations: ops, Ordering: s.ordering})
			return err
		}
		switch op := ops[0].Operation.(type) {
		case *qdrant.PointsUpdateOperation_Upsert:
			_, err = points.Upsert(ctx, &qdrant.UpsertPoints{CollectionName: s.conf.Collection, Wait: &wait, Points: op.Upsert.Points, Ordering: s.ordering})
		case *qdrant.PointsUpdateOperation_DeletePoints_:
			_, err = points.Delete(ctx, &qdrant.DeletePoints{CollectionName: s.conf.Collection, Wait: &wait, Points: op.DeletePoints.Points, Ordering: s.ordering})
		case *qdrant.PointsUpdateOperation_OverwritePayload_:
			_, err = points.OverwritePayload(ctx, &qdrant.SetPayloadPoints{
				CollectionName: s.conf.Collection, Wait: &wait, Payload: op.OverwritePayload.Payload, PointsSelector: op.OverwritePayload.PointsSelector, Ordering: s.ordering,
			})
		}
		return err
	})
}

// large writes one document in several requests: its chunks in their order, and chunk 0, which says how many there are, in the last.
func (s *sink) large(ctx context.Context, d *document) error {
	most := s.conf.BatchSize
	for rest := d.payload; len(rest) > 0; {
		n := min(most, len(rest))
		if err := s.send(ctx, []document{{payload: rest[:n]}}); err != nil {
			return err
		}
		rest = rest[n:]
	}
	for rest := d.points; len(rest) > 0; {
		n := min(most, len(rest))
		if err := s.send(ctx, []document{{points: rest[:n]}}); err != nil {
			return err
		}
		rest = rest[n:]
	}
	if d.first != nil {
		if err := s.send(ctx, []document{{first: d.first}}); err != nil {
			return err
		}
	}
	for rest := d.remove; len(rest) > 0; {
		n := min(most, len(rest))
		if err := s.send(ctx, []document{{remove: rest[:n]}}); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// held is the ability Held.
func (s *sink) held(ctx context.Context, changes []syncd.Change) error {
	q := points.Ask(changes)
	keys := []string{s.conf.Payload.ChunkCount}
	if s.conf.Payload.Hash != "" {
		keys = append(keys, s.conf.Payload.Hash)
	}
	selected := qdrant.NewWithPayloadInclude(keys...)
	const most = 1000
	for from := 0; from < len(q.IDs); from += most {
		some := q.IDs[from:min(from+most, len(q.IDs))]
		ids := make([]*qdrant.PointId, len(some))
		for i, id := range some {
			ids[i] = qdrant.NewIDUUID(id.String())
		}
		found := make(map[string]*qdrant.RetrievedPoint, len(ids))
		err := s.call(ctx, func(ctx context.Context) error {
			r, err := s.client.GetPointsClient().Get(ctx, &qdrant.GetPoints{CollectionName: s.conf.Collection, Ids: ids, WithPayload: selected})
			for _, p := range r.GetResult() {
				found[p.GetId().GetUuid()] = p
			}
			return err
		})
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return s.explain(fmt.Sprintf("asking Qdrant at %s about %d points", s.ep.Addr(), len(ids)), err)
		}
		for i, id := range ids {
			if p, there := found[id.GetUuid()]; there {
				q.Held(from+i, heldChunks(p.GetPayload()[s.conf.Payload.ChunkCount]), p.GetPayload()[s.conf.Payload.Hash].GetStringValue())
			}
		}
	}
	return nil
}

// heldChunks reads the number of chunks of a document.
func heldChunks(v *qdrant.Value) int64 {
	if n := v.GetIntegerValue(); n != 0 {
		return n
	}
	return int64(v.GetDoubleValue())
}

// nearest is the ability Nearest.
func (s *sink) nearest(ctx context.Context, vector []float32, contentTypes []string, limit int) ([]syncd.Neighbour, error) {
	q := &qdrant.QueryPoints{
		CollectionName: s.conf.Collection, Query: qdrant.NewQueryDense(vector), Limit: qdrant.PtrOf(uint64(max(limit, 1))), WithPayload: qdrant.NewWithPayload(true),
	}
	if s.conf.Vector != "" {
		q.Using = &s.conf.Vector
	}
	if len(contentTypes) > 0 {
		q.Filter = &qdrant.Filter{Must: []*qdrant.Condition{qdrant.NewMatchKeywords(s.conf.Payload.ContentType, contentTypes...)}}
	}
	var found []*qdrant.ScoredPoint
	err := s.call(ctx, func(ctx context.Context) error {
		r, err := s.client.GetPointsClient().Query(ctx, q)
		found = r.GetResult()
		return err
	})
	if err != nil {
		return nil, s.explain(fmt.Sprintf("searching the collection %q in Qdrant at %s", s.conf.Collection, s.ep.Addr()), err)
	}
	out := make([]syncd.Neighbour, 0, len(found))
	for _, p := range found {
		payload := p.GetPayload()
		get := func(key string) string { return payload[key].GetStringValue() }
		n := syncd.Neighbour{
			Score: p.GetScore(), ID: get(s.conf.Payload.ID), ContentType: get(s.conf.Payload.ContentType), Title: get(s.conf.Payload.Title), Text: get(s.conf.Payload.Text),
			Chunk: int(payload[s.conf.Payload.ChunkIndex].GetIntegerValue()), Chunks: int(payload[s.conf.Payload.ChunkCount].GetIntegerValue()),
		}
		n.PointID, _ = uuid.Parse(p.GetId().GetUuid()) // a number is no point of syncd's
		out = append(out, n)
	}
	return out, nil
}
