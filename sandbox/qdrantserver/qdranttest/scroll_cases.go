package qdranttest

import (
	"slices"
	"testing"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
)

func scrollCases() []testCase {
	mixed := func(t *testing.T, e *env) string {
		t.Helper()
		collection := e.collection(t)
		e.load(t, collection, point(uuidID(2), nil), point(numID(2), nil), point(uuidID(1), nil), point(numID(1), nil))
		return collection
	}
	return []testCase{
		{37, "scroll returns ten points with payload by default", func(t *testing.T, e *env) {
			collection := e.collection(t)
			var all []*qdrant.PointStruct
			for i := range 25 {
				all = append(all, point(uuidID(i+1), map[string]any{"i": i}))
			}
			e.load(t, collection, all...)
			resp := e.scroll(t, &qdrant.ScrollPoints{CollectionName: collection})
			if got := len(resp.GetResult()); got != 10 {
				t.Fatalf("got %d points, want 10", got)
			}
			if got := idText(resp.GetNextPageOffset()); got != u(11) {
				t.Errorf("the next page begins at %s, want %s", got, u(11))
			}
			wantPayload(t, resp.GetResult()[:1], map[string]any{"i": int64(0)})
			if resp.GetResult()[0].GetVectors() != nil {
				t.Error("got vectors that were not asked for")
			}
		}},
		{38, "scroll with limit 0", func(t *testing.T, e *env) {
			_, err := e.client.GetPointsClient().Scroll(testContext(t), &qdrant.ScrollPoints{
				CollectionName: e.collection(t), Limit: qdrant.PtrOf(uint32(0)),
			})
			wantError(t, err, codes.InvalidArgument, "Validation error in body: [limit: value 0 invalid, must be 1 or larger]")
		}},
		{39, "scroll returns numbers before UUIDs", func(t *testing.T, e *env) {
			wantIDs(t, e.matching(t, mixed(t, e), nil), "1", "2", u(1), u(2))
		}},
		{40, "scroll from an offset, which need not exist", func(t *testing.T, e *env) {
			collection := mixed(t, e)
			for _, offset := range []*qdrant.PointId{qdrant.NewIDUUID("ab000001-0000-4000-8000-abcdefabcdf0"), uuidID(2)} {
				wantIDs(t, idsOf(e.scroll(t, &qdrant.ScrollPoints{CollectionName: collection, Offset: offset}).GetResult()), u(2))
			}
		}},
		{41, "scroll to exactly the end", func(t *testing.T, e *env) {
			collection := mixed(t, e)
			resp := e.scroll(t, &qdrant.ScrollPoints{CollectionName: collection, Offset: uuidID(1), Limit: qdrant.PtrOf(uint32(2))})
			wantIDs(t, idsOf(resp.GetResult()), u(1), u(2))
			if resp.GetNextPageOffset() != nil {
				t.Errorf("got a next page at %s", idText(resp.GetNextPageOffset()))
			}
		}},
		{42, "scroll page by page", func(t *testing.T, e *env) {
			collection := e.collection(t)
			e.load(t, collection, points(25)...)
			var got, want []string
			var offset *qdrant.PointId
			for {
				resp := e.scroll(t, &qdrant.ScrollPoints{CollectionName: collection, Offset: offset, Limit: qdrant.PtrOf(uint32(7))})
				got = append(got, idsOf(resp.GetResult())...)
				if offset = resp.GetNextPageOffset(); offset == nil || len(got) > 25 {
					break
				}
			}
			for i := range 25 {
				want = append(want, u(i+1))
			}
			wantIDs(t, got, want...)
		}},
		{46, "order by a key without an index", func(t *testing.T, e *env) {
			_, err := e.client.GetPointsClient().Scroll(testContext(t), &qdrant.ScrollPoints{
				CollectionName: e.collection(t), OrderBy: &qdrant.OrderBy{Key: "updatedAt"},
			})
			wantError(t, err, codes.InvalidArgument, "Wrong input: No range index for `order_by` key: `updatedAt`…")
		}},
		{47, "order by a key from an offset", func(t *testing.T, e *env) {
			_, err := e.client.GetPointsClient().Scroll(testContext(t), &qdrant.ScrollPoints{
				CollectionName: e.collection(t), OrderBy: &qdrant.OrderBy{Key: "updatedAt"}, Offset: uuidID(1),
			})
			wantError(t, err, codes.InvalidArgument, "Wrong input: Cannot use an `offset` when using `order_by`…")
		}},
	}
}

func filterCases() []testCase {
	typed := func(t *testing.T, e *env) string {
		t.Helper()
		collection := e.collection(t)
		e.load(t, collection,
			point(uuidID(1), map[string]any{"content_type": "x"}), point(uuidID(2), map[string]any{"content_type": "y"}),
			point(uuidID(3), map[string]any{"content_type": []any{"y", "x"}}), point(uuidID(4), nil))
		return collection
	}
	isX := qdrant.NewMatch("content_type", "x")
	must := func(conditions ...*qdrant.Condition) *qdrant.Filter { return &qdrant.Filter{Must: conditions} }
	return []testCase{
		{43, "filter by a keyword, without and with an index", func(t *testing.T, e *env) {
			collection := typed(t, e)
			wantIDs(t, e.matching(t, collection, must(isX)), u(1), u(3))
			_, err := e.client.CreateFieldIndex(testContext(t), &qdrant.CreateFieldIndexCollection{
				CollectionName: collection, Wait: qdrant.PtrOf(true), FieldName: "content_type", FieldType: qdrant.FieldType_FieldTypeKeyword.Enum(),
			})
			if err != nil {
				t.Fatal(err)
			}
			wantIDs(t, e.matching(t, collection, must(isX)), u(1), u(3))
		}},
		{44, "must_not includes points without the key", func(t *testing.T, e *env) {
			wantIDs(t, e.matching(t, typed(t, e), &qdrant.Filter{MustNot: []*qdrant.Condition{isX}}), u(2), u(4))
		}},
		{45, "filter by ids", func(t *testing.T, e *env) {
			collection := typed(t, e)
			wantIDs(t, e.matching(t, collection, must(qdrant.NewHasID(uuidID(1), uuidID(9)))), u(1))
			_, err := e.client.GetPointsClient().Scroll(testContext(t), &qdrant.ScrollPoints{
				CollectionName: collection, Filter: must(qdrant.NewHasID(qdrant.NewIDUUID("x"))),
			})
			wantError(t, err, codes.InvalidArgument, "Unable to parse UUID: x")
		}},
		{48, "slices are disjoint and complete", func(t *testing.T, e *env) {
			collection := e.collection(t)
			all := points(50)
			for i := range 50 {
				all = append(all, point(numID(uint64(i)), nil))
			}
			e.load(t, collection, all...)
			var got, want []string
			for index := range uint32(4) {
				slice := e.matching(t, collection, must(qdrant.NewSlice(4, index)))
				if len(slice) == 0 || len(slice) == len(all) {
					t.Errorf("slice %d has %d of %d points", index, len(slice), len(all))
				}
				got = append(got, slice...)
			}
			for _, p := range all {
				want = append(want, idText(p.GetId()))
			}
			slices.Sort(got)
			slices.Sort(want)
			wantIDs(t, got, want...)
			for _, bad := range []struct {
				total, index uint32
				text         string
			}{
				{0, 0, "Slice total must be greater than 0"},
				{4, 4, "Slice index must be less than the total number of slices"},
			} {
				_, err := e.client.GetPointsClient().Scroll(testContext(t), &qdrant.ScrollPoints{
					CollectionName: collection, Filter: must(qdrant.NewSlice(bad.total, bad.index)),
				})
				wantError(t, err, codes.InvalidArgument, bad.text)
			}
		}},
		{49, "an empty condition is ignored", func(t *testing.T, e *env) {
			wantIDs(t, e.matching(t, typed(t, e), must(&qdrant.Condition{})), u(1), u(2), u(3), u(4))
		}},
		{50, "count", func(t *testing.T, e *env) {
			collection := typed(t, e)
			for _, c := range []struct {
				filter *qdrant.Filter
				want   uint64
			}{{nil, 4}, {must(isX), 2}} {
				n, err := e.client.Count(testContext(t), &qdrant.CountPoints{CollectionName: collection, Filter: c.filter})
				if err != nil || n != c.want {
					t.Errorf("got %d and error %v, want %d", n, err, c.want)
				}
			}
			name := e.newName()
			_, err := e.client.GetPointsClient().Count(testContext(t), &qdrant.CountPoints{CollectionName: name})
			wantError(t, err, codes.NotFound, missing(name))
		}},
	}
}
