package qdranttest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func getCases() []testCase {
	getError := func(t *testing.T, e *env, req *qdrant.GetPoints, code codes.Code, text string) {
		t.Helper()
		_, err := e.client.GetPointsClient().Get(testContext(t), req)
		wantError(t, err, code, text)
	}
	return []testCase{
		{23, "get in the order asked for", func(t *testing.T, e *env) {
			collection := e.collection(t)
			e.load(t, collection, points(2)...)
			wantIDs(t, idsOf(e.get(t, collection, nil, uuidID(2), uuidID(1))), u(2), u(1))
		}},
		{24, "get omits missing and repeated ids", func(t *testing.T, e *env) {
			collection := e.collection(t)
			e.load(t, collection, point(uuidID(1), nil), point(numID(1), nil))
			wantIDs(t, idsOf(e.get(t, collection, nil, uuidID(1), uuidID(9), uuidID(1), numID(1))), u(1), "1")
		}},
		{25, "get nothing", func(t *testing.T, e *env) {
			wantIDs(t, idsOf(e.get(t, e.collection(t), nil)))
		}},
		{26, "get by every form of a UUID", func(t *testing.T, e *env) {
			collection := e.collection(t)
			e.load(t, collection, point(uuidID(1), nil))
			for _, text := range []string{
				strings.ReplaceAll(u(1), "-", ""), "{" + u(1) + "}", strings.ToUpper(u(1)), "urn:uuid:" + u(1),
			} {
				wantIDs(t, idsOf(e.get(t, collection, nil, qdrant.NewIDUUID(text))), u(1))
			}
		}},
		{27, "get by what is no UUID", func(t *testing.T, e *env) {
			collection := e.collection(t)
			for _, text := range []string{"{" + strings.ReplaceAll(u(1), "-", "") + "}", "(" + u(1) + ")", "URN:UUID:" + u(1), "not-a-uuid", "42"} {
				getError(t, e, &qdrant.GetPoints{CollectionName: collection, Ids: []*qdrant.PointId{qdrant.NewIDUUID(text)}},
					codes.InvalidArgument, "Unable to parse UUID: "+text)
			}
		}},
		{28, "get by an empty id", func(t *testing.T, e *env) {
			getError(t, e, &qdrant.GetPoints{CollectionName: e.collection(t), Ids: []*qdrant.PointId{{}}},
				codes.InvalidArgument, "No ID options provided")
		}},
		{29, "a bad id is noticed before a missing collection", func(t *testing.T, e *env) {
			getError(t, e, &qdrant.GetPoints{CollectionName: e.newName(), Ids: []*qdrant.PointId{qdrant.NewIDUUID("x")}},
				codes.InvalidArgument, "Unable to parse UUID: x")
		}},
		{30, "get returns no payload and no vectors by default", func(t *testing.T, e *env) {
			collection := e.collection(t)
			e.load(t, collection, point(uuidID(1), map[string]any{"a": 1}))
			got := e.get(t, collection, nil, uuidID(1))
			wantPayload(t, got, map[string]any{})
			if got[0].GetVectors() != nil {
				t.Errorf("got vectors %v", got[0].GetVectors())
			}
		}},
		{31, "get some keys of the payload", func(t *testing.T, e *env) {
			collection := e.collection(t)
			e.load(t, collection, point(uuidID(1), map[string]any{"a": 1, "updatedAt": "x"}), point(uuidID(2), map[string]any{"a": 1}))
			wantPayload(t, e.get(t, collection, qdrant.NewWithPayloadInclude("updatedAt"), uuidID(1), uuidID(2)),
				map[string]any{"updatedAt": "x"}, map[string]any{})
		}},
		{32, "get a nested key of the payload", func(t *testing.T, e *env) {
			collection := e.collection(t)
			e.load(t, collection, point(uuidID(1), map[string]any{"b": 1, "meta": map[string]any{"a": 1, "c": 2.0}}))
			wantPayload(t, e.get(t, collection, qdrant.NewWithPayloadInclude("meta.a"), uuidID(1)),
				map[string]any{"meta": map[string]any{"a": int64(1)}})
			wantPayload(t, e.get(t, collection, qdrant.NewWithPayloadExclude("meta.a"), uuidID(1)),
				map[string]any{"b": int64(1), "meta": map[string]any{"c": 2.0}})
		}},
		{33, "get with an empty payload selector", func(t *testing.T, e *env) {
			getError(t, e, &qdrant.GetPoints{CollectionName: e.collection(t), WithPayload: &qdrant.WithPayloadSelector{}},
				codes.InvalidArgument, "No PayloadSelector")
		}},
		{34, "get by an alias", func(t *testing.T, e *env) {
			collection, alias := e.collection(t), e.newName()
			e.load(t, collection, points(1)...)
			if err := e.client.CreateAlias(testContext(t), alias, collection); err != nil {
				t.Fatal(err)
			}
			wantIDs(t, idsOf(e.get(t, alias, nil, uuidID(1))), u(1))
		}},
		{35, "get many ids, half of them present", func(t *testing.T, e *env) {
			collection := e.collection(t)
			var present []*qdrant.PointStruct
			var ids []*qdrant.PointId
			var want []string
			for i := 10_000; i > 0; i-- {
				ids = append(ids, uuidID(i))
				if i%2 == 0 {
					present, want = append(present, point(uuidID(i), nil)), append(want, u(i))
				}
			}
			e.load(t, collection, present...)
			if diff := cmp.Diff(want, idsOf(e.get(t, collection, nil, ids...))); diff != "" {
				t.Errorf("ids differ (-want +got):\n%.2000s", diff)
			}
		}},
		{36, "get more than a client takes by default", func(t *testing.T, e *env) {
			const n = 100_000
			collection, present := e.collection(t), points(n)
			ids := make([]*qdrant.PointId, n)
			for i, p := range present {
				ids[i] = p.GetId()
			}
			e.load(t, collection, present...)
			req := &qdrant.GetPoints{CollectionName: collection, Ids: ids}
			_, err := e.client.GetPointsClient().Get(testContext(t), req)
			if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "received message larger than max") {
				t.Errorf("got error %v, want the client's refusal of a large message", err)
			}
			resp, err := e.dial(t, largeAnswers).GetPointsClient().Get(testContext(t), req)
			if err != nil || len(resp.GetResult()) != n {
				t.Errorf("got %d points and error %v, want %d", len(resp.GetResult()), err, n)
			}
		}},
	}
}
