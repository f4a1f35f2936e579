package qdranttest

import (
	"strings"
	"testing"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
)

func upsertCases() []testCase {
	upsert := func(t *testing.T, e *env, collection string, wait *bool, points ...*qdrant.PointStruct) (*qdrant.UpdateResult, error) {
		t.Helper()
		resp, err := e.client.GetPointsClient().Upsert(testContext(t), &qdrant.UpsertPoints{
			CollectionName: collection, Wait: wait, Points: points,
		})
		return resp.GetResult(), err
	}
	wait, noWait := qdrant.PtrOf(true), qdrant.PtrOf(false)
	return []testCase{
		{13, "upsert and wait", func(t *testing.T, e *env) {
			result, err := upsert(t, e, e.collection(t), wait, points(3)...)
			if err != nil {
				t.Fatal(err)
			}
			if result.GetStatus() != qdrant.UpdateStatus_Completed || result.OperationId == nil {
				t.Errorf("got %v, want completed with an operation id", result)
			}
		}},
		{14, "upsert without waiting", func(t *testing.T, e *env) {
			result, err := upsert(t, e, e.collection(t), nil, points(3)...)
			if err != nil {
				t.Fatal(err)
			}
			if result.GetStatus() != qdrant.UpdateStatus_Acknowledged {
				t.Errorf("got %v, want acknowledged", result.GetStatus())
			}
		}},
		{15, "upsert nothing", func(t *testing.T, e *env) {
			_, err := upsert(t, e, e.collection(t), wait)
			wantError(t, err, codes.InvalidArgument, "Bad request: Empty update request")
		}},
		{16, "upsert with a wrong dimension fails, waiting or not", func(t *testing.T, e *env) {
			collection := e.collection(t)
			for _, w := range []*bool{wait, noWait, nil} {
				_, err := upsert(t, e, collection, w, &qdrant.PointStruct{Id: uuidID(1), Vectors: qdrant.NewVectors(1, 2, 3)})
				wantError(t, err, codes.InvalidArgument, "Wrong input: Vector dimension error: expected dim: 4, got 3")
			}
		}},
		{17, "upsert with an unknown vector name", func(t *testing.T, e *env) {
			vectors := qdrant.NewVectorsMap(map[string]*qdrant.Vector{"foo": qdrant.NewVector(1, 2, 3, 4)})
			_, err := upsert(t, e, e.collection(t), wait, &qdrant.PointStruct{Id: uuidID(1), Vectors: vectors})
			wantError(t, err, codes.InvalidArgument, "Wrong input: Not existing vector name error: foo")
		}},
		{18, "upsert without vectors or id", func(t *testing.T, e *env) {
			collection := e.collection(t)
			_, err := upsert(t, e, collection, wait, &qdrant.PointStruct{Id: uuidID(1)})
			wantError(t, err, codes.InvalidArgument, "Expected some vectors")
			_, err = upsert(t, e, collection, wait, &qdrant.PointStruct{Vectors: qdrant.NewVectors(1, 2, 3, 4)})
			wantError(t, err, codes.InvalidArgument, "Empty ID is not allowed")
		}},
		{19, "upsert makes ids canonical", func(t *testing.T, e *env) {
			collection := e.collection(t)
			e.load(t, collection, point(qdrant.NewIDUUID("urn:uuid:"+strings.ToUpper(u(1))), nil))
			wantIDs(t, idsOf(e.get(t, collection, nil, uuidID(1))), u(1))
			wantIDs(t, e.matching(t, collection, nil), u(1))
		}},
		{20, "the last of equal ids wins", func(t *testing.T, e *env) {
			collection := e.collection(t)
			e.load(t, collection, point(uuidID(1), map[string]any{"v": 1}), point(uuidID(1), map[string]any{"v": 2}))
			wantPayload(t, e.get(t, collection, qdrant.NewWithPayload(true), uuidID(1)), map[string]any{"v": int64(2)})
		}},
		{21, "upsert replaces the whole payload", func(t *testing.T, e *env) {
			collection := e.collection(t)
			e.load(t, collection, point(uuidID(1), map[string]any{"a": 1, "b": 2}))
			e.load(t, collection, point(uuidID(1), map[string]any{"a": 3}))
			wantPayload(t, e.get(t, collection, qdrant.NewWithPayload(true), uuidID(1)), map[string]any{"a": int64(3)})
		}},
		{22, "upsert into a missing collection", func(t *testing.T, e *env) {
			name := e.newName()
			_, err := upsert(t, e, name, wait, points(1)...)
			wantError(t, err, codes.NotFound, missing(name))
		}},
	}
}
