package qdrantserver

import (
	"context"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// UpdateBatch applies operations one after another, each as a request of its own; the first that fails ends it, and what was done before
// it stays.
func (ps pointsService) UpdateBatch(ctx context.Context, req *qdrant.UpdateBatchPoints) (*qdrant.UpdateBatchResponse, error) {
	started := time.Now()
	if err := validateName(req.GetCollectionName()); err != nil {
		return nil, err
	}
	if _, err := ps.s.lookup(req.GetCollectionName()); err != nil {
		return nil, err
	}
	out := &qdrant.UpdateBatchResponse{}
	for i, op := range req.GetOperations() {
		if i > 0 && ps.s.cfg.Between != nil {
			if err := ps.s.cfg.Between(ctx); err != nil {
				return nil, err
			}
		}
		r, err := ps.operation(ctx, req, op)
		if err != nil {
			return nil, err
		}
		out.Result = append(out.Result, r.GetResult())
	}
	out.Time = time.Since(started).Seconds()
	return out, nil
}

func (ps pointsService) operation(ctx context.Context, req *qdrant.UpdateBatchPoints, op *qdrant.PointsUpdateOperation) (*qdrant.PointsOperationResponse, error) {
	name, wait, timeout := req.GetCollectionName(), req.Wait, req.Timeout
	switch op := op.GetOperation().(type) {
	case *qdrant.PointsUpdateOperation_Upsert:
		return ps.Upsert(ctx, &qdrant.UpsertPoints{
			CollectionName: name, Wait: wait, Timeout: timeout, Points: op.Upsert.GetPoints(), UpdateFilter: op.Upsert.GetUpdateFilter(),
		})
	case *qdrant.PointsUpdateOperation_DeletePoints_:
		return ps.Delete(ctx, &qdrant.DeletePoints{CollectionName: name, Wait: wait, Timeout: timeout, Points: op.DeletePoints.GetPoints()})
	case *qdrant.PointsUpdateOperation_SetPayload_:
		return ps.SetPayload(ctx, &qdrant.SetPayloadPoints{
			CollectionName: name, Wait: wait, Timeout: timeout, Payload: op.SetPayload.GetPayload(), PointsSelector: op.SetPayload.GetPointsSelector(), Key: op.SetPayload.Key,
		})
	case *qdrant.PointsUpdateOperation_OverwritePayload_:
		return ps.OverwritePayload(ctx, &qdrant.SetPayloadPoints{
			CollectionName: name, Wait: wait, Timeout: timeout, Payload: op.OverwritePayload.GetPayload(), PointsSelector: op.OverwritePayload.GetPointsSelector(),
		})
	case *qdrant.PointsUpdateOperation_DeletePayload_:
		return ps.DeletePayload(ctx, &qdrant.DeletePayloadPoints{
			CollectionName: name, Wait: wait, Timeout: timeout, Keys: op.DeletePayload.GetKeys(), PointsSelector: op.DeletePayload.GetPointsSelector(),
		})
	case *qdrant.PointsUpdateOperation_ClearPayload_:
		return ps.ClearPayload(ctx, &qdrant.ClearPayloadPoints{CollectionName: name, Wait: wait, Timeout: timeout, Points: op.ClearPayload.GetPoints()})
	}
	return nil, status.Error(codes.Unimplemented, "this operation of a batch is not imitated")
}
