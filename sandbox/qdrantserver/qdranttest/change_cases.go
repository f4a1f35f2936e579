package qdranttest

import (
	"testing"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
)

func changeCases() []testCase {
	wait := qdrant.PtrOf(true)
	payload := func(values map[string]any) map[string]*qdrant.Value { return point(nil, values).GetPayload() }
	return []testCase{
		{51, "delete by id", func(t *testing.T, e *env) {
			collection := e.collection(t)
			e.load(t, collection, points(3)...)
			result, err := e.client.Delete(testContext(t), &qdrant.DeletePoints{
				CollectionName: collection, Wait: wait, Points: qdrant.NewPointsSelector(uuidID(1), uuidID(9)),
			})
			if err != nil || result.GetStatus() != qdrant.UpdateStatus_Completed {
				t.Errorf("got %v and error %v, want completed", result, err)
			}
			wantIDs(t, idsOf(e.get(t, collection, nil, uuidID(1), uuidID(2), uuidID(3))), u(2), u(3))
			wantIDs(t, e.matching(t, collection, nil), u(2), u(3))
		}},
		{52, "delete without a selector", func(t *testing.T, e *env) {
			collection := e.collection(t)
			_, err := e.client.GetPointsClient().Delete(testContext(t), &qdrant.DeletePoints{CollectionName: collection, Wait: wait})
			wantError(t, err, codes.InvalidArgument, "PointSelector is missing")
			_, err = e.client.GetPointsClient().Delete(testContext(t), &qdrant.DeletePoints{
				CollectionName: collection, Wait: wait, Points: &qdrant.PointsSelector{},
			})
			wantError(t, err, codes.InvalidArgument, "Malformed PointsSelector type")
		}},
		{53, "delete no ids", func(t *testing.T, e *env) {
			_, err := e.client.GetPointsClient().Delete(testContext(t), &qdrant.DeletePoints{
				CollectionName: e.collection(t), Wait: wait, Points: qdrant.NewPointsSelector(),
			})
			wantError(t, err, codes.InvalidArgument, "Bad request: Empty update request")
		}},
		{54, "delete by filter", func(t *testing.T, e *env) {
			collection := e.collection(t)
			e.load(t, collection, point(uuidID(1), map[string]any{"content_type": "x"}),
				point(uuidID(2), map[string]any{"content_type": "y"}), point(uuidID(3), nil))
			_, err := e.client.Delete(testContext(t), &qdrant.DeletePoints{
				CollectionName: collection, Wait: wait,
				Points: qdrant.NewPointsSelectorFilter(&qdrant.Filter{Must: []*qdrant.Condition{qdrant.NewMatch("content_type", "x")}}),
			})
			if err != nil {
				t.Fatal(err)
			}
			wantIDs(t, e.matching(t, collection, nil), u(2), u(3))
		}},
		{55, "set and overwrite payload", func(t *testing.T, e *env) {
			collection := e.collection(t)
			e.load(t, collection, point(uuidID(1), map[string]any{"a": 1, "updatedAt": "old"}))
			req := &qdrant.SetPayloadPoints{
				CollectionName: collection, Wait: wait, PointsSelector: qdrant.NewPointsSelector(uuidID(1)),
				Payload: payload(map[string]any{"updatedAt": "new"}),
			}
			if _, err := e.client.SetPayload(testContext(t), req); err != nil {
				t.Fatal(err)
			}
			got := e.get(t, collection, qdrant.NewWithPayload(true), uuidID(1))
			wantPayload(t, got, map[string]any{"a": int64(1), "updatedAt": "new"})
			if _, err := e.client.OverwritePayload(testContext(t), req); err != nil {
				t.Fatal(err)
			}
			got = e.get(t, collection, qdrant.NewWithPayload(true), uuidID(1))
			wantPayload(t, got, map[string]any{"updatedAt": "new"})
		}},
		{56, "set payload of a missing point", func(t *testing.T, e *env) {
			_, err := e.client.GetPointsClient().SetPayload(testContext(t), &qdrant.SetPayloadPoints{
				CollectionName: e.collection(t), Wait: wait, PointsSelector: qdrant.NewPointsSelector(uuidID(1)),
				Payload: payload(map[string]any{"a": 1}),
			})
			wantError(t, err, codes.NotFound, "Not found: No point with id "+u(1)+" found")
		}},
	}
}
