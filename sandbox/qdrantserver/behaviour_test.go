package qdrantserver_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/syncd-io/syncd/sandbox/qdrantserver"
)

// These tests are about behaviour that the conformance suite does not number.

func wantStatus(t *testing.T, err error, code codes.Code, text string) {
	t.Helper()
	if got := status.Convert(err); got.Code() != code || got.Message() != text {
		t.Errorf("got %v %q\nwant %v %q", got.Code(), got.Message(), code, text)
	}
}

func TestFilters(t *testing.T) {
	client := dial(t, start(t, qdrantserver.Config{}), nil)
	upsert(t, client, true,
		point(1, map[string]any{"text": "alpha beta", "n": 1, "flag": true, "at": "2024-01-01T00:00:00Z"}),
		point(2, map[string]any{"text": "gamma", "n": 2.5, "flag": false, "at": "2024-06-01 12:00:00"}),
		point(3, map[string]any{"text": []any{"alpha beta", "delta"}, "n": []any{1, 7}, "empty": []any{}, "null": nil}),
		point(4, map[string]any{"nested": []any{map[string]any{"a": 1, "b": 1}, map[string]any{"a": 2, "b": 2}}, "null": []any{nil}}),
		point(5, map[string]any{"n": 2.0, "meta": map[string]any{"n": 3, "list": []any{4, 5}}}),
	)
	all := func(conditions ...*qdrant.Condition) *qdrant.Filter { return &qdrant.Filter{Must: conditions} }
	isEmpty, isNull := func(value bool) *qdrant.Condition {
		return &qdrant.Condition{ConditionOneOf: &qdrant.Condition_Field{Field: &qdrant.FieldCondition{Key: "n", IsEmpty: &value}}}
	}, func(value bool) *qdrant.Condition {
		return &qdrant.Condition{ConditionOneOf: &qdrant.Condition_Field{Field: &qdrant.FieldCondition{Key: "null", IsNull: &value}}}
	}
	date := func(year int, month time.Month) *timestamppb.Timestamp {
		return timestamppb.New(time.Date(year, month, 1, 0, 0, 0, 0, time.UTC))
	}
	for name, c := range map[string]struct {
		filter *qdrant.Filter
		want   []uint64
	}{
		"none":             {nil, []uint64{1, 2, 3, 4, 5}},
		"empty":            {&qdrant.Filter{}, []uint64{1, 2, 3, 4, 5}},
		"keyword":          {all(qdrant.NewMatch("text", "alpha beta")), []uint64{1, 3}},
		"keywords":         {all(qdrant.NewMatchKeywords("text", "gamma", "delta")), []uint64{2, 3}},
		"no keywords":      {all(qdrant.NewMatchKeywords("text")), []uint64{}},
		"except keywords":  {all(qdrant.NewMatchExcept("text", "alpha beta")), []uint64{2, 3}},
		"text":             {all(qdrant.NewMatchText("text", "beta")), []uint64{1, 3}},
		"any text":         {all(qdrant.NewMatchTextAny("text", "beta gam")), []uint64{1, 2, 3}},
		"prefix":           {all(qdrant.NewMatchPrefix("text", "de")), []uint64{3}},
		"integer":          {all(qdrant.NewMatchInt("n", 1)), []uint64{1, 3}},
		"no whole double":  {all(qdrant.NewMatchInt("n", 2)), []uint64{}},
		"integers":         {all(qdrant.NewMatchInts("n", 7, 8)), []uint64{3}},
		"except integers":  {all(qdrant.NewMatchExceptInts("n", 1)), []uint64{2, 3, 5}},
		"bool":             {all(qdrant.NewMatchBool("flag", true)), []uint64{1}},
		"range":            {all(qdrant.NewRange("n", &qdrant.Range{Gt: qdrant.PtrOf(1.0), Lte: qdrant.PtrOf(2.5)})), []uint64{2, 5}},
		"range of element": {all(qdrant.NewRange("n", &qdrant.Range{Gte: qdrant.PtrOf(7.0)})), []uint64{3}},
		"datetime":         {all(qdrant.NewDatetimeRange("at", &qdrant.DatetimeRange{Gte: date(2024, 1), Lt: date(2024, 6)})), []uint64{1}},
		"datetime forms":   {all(qdrant.NewDatetimeRange("at", &qdrant.DatetimeRange{Gt: date(2024, 1)})), []uint64{2}},
		"is empty":         {all(qdrant.NewIsEmpty("empty"), qdrant.NewIsEmpty("null")), []uint64{1, 2, 3, 5}},
		"is null":          {all(qdrant.NewIsNull("null")), []uint64{3}},
		"field is empty":   {all(isEmpty(true)), []uint64{4}},
		"field not empty":  {all(isEmpty(false)), []uint64{1, 2, 3, 5}},
		"field is null":    {all(isNull(true)), []uint64{3, 4}},
		"field not null":   {all(isNull(false)), []uint64{1, 2, 5}},
		"count":            {all(qdrant.NewValuesCount("n", &qdrant.ValuesCount{Gte: qdrant.PtrOf(uint64(2))})), []uint64{3}},
		"count of absent":  {all(qdrant.NewValuesCount("n", &qdrant.ValuesCount{Lt: qdrant.PtrOf(uint64(1))})), []uint64{4}},
		"path":             {all(qdrant.NewMatchInt("meta.n", 3)), []uint64{5}},
		"path to element":  {all(qdrant.NewMatchInt("meta.list[1]", 5)), []uint64{5}},
		"path to elements": {all(qdrant.NewMatchInt("nested[].a", 2)), []uint64{4}},
		"no implicit list": {all(qdrant.NewMatchInt("nested.a", 2)), []uint64{}},
		"two elements": {
			all(qdrant.NewMatchInt("nested[].a", 1), qdrant.NewMatchInt("nested[].b", 2)), []uint64{4},
		},
		"not in one element": {
			all(qdrant.NewNestedFilter("nested", all(qdrant.NewMatchInt("a", 1), qdrant.NewMatchInt("b", 2)))), []uint64{},
		},
		"in one element": {
			all(qdrant.NewNestedFilter("nested[]", all(qdrant.NewMatchInt("a", 2), qdrant.NewMatchInt("b", 2)))), []uint64{4},
		},
		"no id in a nested object": {
			all(qdrant.NewNestedFilter("nested", all(qdrant.NewHasID(qdrant.NewIDNum(4))))), []uint64{},
		},
		"should": {&qdrant.Filter{Should: []*qdrant.Condition{qdrant.NewMatchInt("n", 7), qdrant.NewMatchBool("flag", false)}}, []uint64{2, 3}},
		"min should": {&qdrant.Filter{MinShould: &qdrant.MinShould{MinCount: 2, Conditions: []*qdrant.Condition{
			qdrant.NewMatchInt("n", 1), qdrant.NewMatch("text", "alpha beta"), qdrant.NewMatchBool("flag", true),
		}}}, []uint64{1, 3}},
		"must not":         {&qdrant.Filter{MustNot: []*qdrant.Condition{qdrant.NewIsEmpty("n")}}, []uint64{1, 2, 3, 5}},
		"sub-filter":       {all(qdrant.NewFilterAsCondition(&qdrant.Filter{MustNot: []*qdrant.Condition{qdrant.NewMatchInt("n", 1)}})), []uint64{2, 4, 5}},
		"empty condition":  {&qdrant.Filter{MustNot: []*qdrant.Condition{{}}, Should: []*qdrant.Condition{{}}}, []uint64{1, 2, 3, 4, 5}},
		"has vector":       {all(qdrant.NewHasVector("")), []uint64{1, 2, 3, 4, 5}},
		"has other vector": {all(qdrant.NewHasVector("x")), []uint64{}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, matching(t, client, c.filter)); diff != "" {
				t.Errorf("points differ (-want +got):\n%s", diff)
			}
			n, err := client.Count(t.Context(), &qdrant.CountPoints{CollectionName: "c", Filter: c.filter})
			if err != nil || n != uint64(len(c.want)) {
				t.Errorf("counted %d with error %v, want %d", n, err, len(c.want))
			}
		})
	}
	for name, c := range map[string]struct {
		condition *qdrant.Condition
		code      codes.Code
		text      string
	}{
		"bad path":     {qdrant.NewMatch("a[", "x"), codes.InvalidArgument, "Invalid json path: 'a['"},
		"no match":     {&qdrant.Condition{ConditionOneOf: &qdrant.Condition_Field{Field: &qdrant.FieldCondition{Key: "a", Match: &qdrant.Match{}}}}, codes.InvalidArgument, "Malformed Match condition"},
		"empty nested": {qdrant.NewNestedFilter("a", nil), codes.InvalidArgument, "Nested condition must have a filter"},
		"geo":          {qdrant.NewGeoRadius("a", 1, 2, 3), codes.Unimplemented, "geo conditions are not imitated"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.GetPointsClient().Count(t.Context(), &qdrant.CountPoints{CollectionName: "c", Filter: all(c.condition)})
			wantStatus(t, err, c.code, c.text)
		})
	}
}

func payloadOf(t *testing.T, client *qdrant.Client, selector *qdrant.WithPayloadSelector) map[string]*qdrant.Value {
	t.Helper()
	found, err := client.Get(t.Context(), &qdrant.GetPoints{CollectionName: "c", Ids: []*qdrant.PointId{qdrant.NewIDNum(1)}, WithPayload: selector})
	if err != nil || len(found) != 1 {
		t.Fatalf("got %v and error %v, want one point", found, err)
	}
	return found[0].GetPayload()
}

func wantPayload(t *testing.T, got map[string]*qdrant.Value, want map[string]any) {
	t.Helper()
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if diff := cmp.Diff(qdrant.NewValueMap(want), got, protocmp.Transform()); diff != "" {
		t.Errorf("payload differs (-want +got):\n%s", diff)
	}
}

func TestPayloadSelectors(t *testing.T) {
	client := dial(t, start(t, qdrantserver.Config{}), nil)
	upsert(t, client, true, point(1, map[string]any{
		"a": 1, "list": []any{map[string]any{"x": 1, "y": 2}, 5}, "deep": map[string]any{"b": map[string]any{"c": 1, "d": 2.0}},
	}))
	for name, c := range map[string]struct {
		selector *qdrant.WithPayloadSelector
		want     map[string]any
	}{
		"include":           {qdrant.NewWithPayloadInclude("a", "deep.b.d"), map[string]any{"a": 1, "deep": map[string]any{"b": map[string]any{"d": 2.0}}}},
		"include below":     {qdrant.NewWithPayloadInclude("a.z"), map[string]any{"a": 1}},
		"include elements":  {qdrant.NewWithPayloadInclude("list[].x"), map[string]any{"list": []any{map[string]any{"x": 1}, 5}}},
		"include no index":  {qdrant.NewWithPayloadInclude("list[0]"), map[string]any{"list": []any{}}},
		"include nothing":   {qdrant.NewWithPayloadInclude(), map[string]any{}},
		"exclude":           {qdrant.NewWithPayloadExclude("list", "deep.b.c"), map[string]any{"a": 1, "deep": map[string]any{"b": map[string]any{"d": 2.0}}}},
		"exclude elements":  {qdrant.NewWithPayloadExclude("a", "deep", "list[].y"), map[string]any{"list": []any{map[string]any{"x": 1}, 5}}},
		"explicitly none":   {qdrant.NewWithPayload(false), map[string]any{}},
		"include bad paths": {qdrant.NewWithPayloadInclude("nope.x"), map[string]any{}},
	} {
		t.Run(name, func(t *testing.T) { wantPayload(t, payloadOf(t, client, c.selector), c.want) })
	}
	_, err := client.GetPointsClient().Get(t.Context(), &qdrant.GetPoints{CollectionName: "c", WithPayload: qdrant.NewWithPayloadInclude("a[")})
	wantStatus(t, err, codes.InvalidArgument, "Invalid json path: 'a['")
}

func TestPayloadChanges(t *testing.T) {
	client := dial(t, start(t, qdrantserver.Config{}), nil)
	wait, one, all := qdrant.PtrOf(true), qdrant.NewPointsSelector(qdrant.NewIDNum(1)), qdrant.NewWithPayload(true)
	set := func(key *string, payload map[string]any) func() error {
		return func() error {
			_, err := client.SetPayload(t.Context(), &qdrant.SetPayloadPoints{
				CollectionName: "c", Wait: wait, PointsSelector: one, Key: key, Payload: qdrant.NewValueMap(payload),
			})
			return err
		}
	}
	remove := func(keys ...string) func() error {
		return func() error {
			_, err := client.DeletePayload(t.Context(), &qdrant.DeletePayloadPoints{CollectionName: "c", Wait: wait, PointsSelector: one, Keys: keys})
			return err
		}
	}
	before := map[string]any{"a": 1, "o": map[string]any{"x": 1}, "l": []any{map[string]any{"x": 1}, map[string]any{"x": 2}}}
	for name, c := range map[string]struct {
		change func() error
		want   map[string]any
	}{
		"null removes": {set(nil, map[string]any{"a": nil, "b": 2}), map[string]any{"b": 2, "o": before["o"], "l": before["l"]}},
		"at a key":     {set(qdrant.PtrOf("o"), map[string]any{"y": 2}), map[string]any{"a": 1, "o": map[string]any{"x": 1, "y": 2}, "l": before["l"]}},
		"at a new key": {set(qdrant.PtrOf("n.m"), map[string]any{"y": 2}), map[string]any{"a": 1, "o": before["o"], "l": before["l"], "n": map[string]any{"m": map[string]any{"y": 2}}}},
		"at an element": {set(qdrant.PtrOf("l[1]"), map[string]any{"y": 2}), map[string]any{
			"a": 1, "o": before["o"], "l": []any{map[string]any{"x": 1}, map[string]any{"x": 2, "y": 2}},
		}},
		"remove key":      {remove("a", "o.x", "nope"), map[string]any{"o": map[string]any{}, "l": before["l"]}},
		"remove elements": {remove("l[]"), map[string]any{"a": 1, "o": before["o"], "l": []any{}}},
		"remove within elements": {remove("l[].x", "l[0]"), map[string]any{
			"a": 1, "o": before["o"], "l": []any{map[string]any{}, map[string]any{}},
		}},
		"clear": {func() error {
			_, err := client.ClearPayload(t.Context(), &qdrant.ClearPayloadPoints{CollectionName: "c", Wait: wait, Points: one})
			return err
		}, map[string]any{}},
	} {
		t.Run(name, func(t *testing.T) {
			upsert(t, client, true, point(1, before))
			if err := c.change(); err != nil {
				t.Fatal(err)
			}
			wantPayload(t, payloadOf(t, client, all), c.want)
		})
	}
	_, err := client.GetPointsClient().SetPayload(t.Context(), &qdrant.SetPayloadPoints{CollectionName: "c"})
	wantStatus(t, err, codes.InvalidArgument, "points_selector is expected")
}

func TestPayloadValues(t *testing.T) {
	client := dial(t, start(t, qdrantserver.Config{}), nil)
	p := point(1, map[string]any{"whole": 2.0, "int": int64(math.MaxInt64), "null": nil})
	p.Payload["kindless"] = &qdrant.Value{}
	upsert(t, client, true, p)
	wantPayload(t, payloadOf(t, client, qdrant.NewWithPayload(true)), map[string]any{
		"whole": 2.0, "int": int64(math.MaxInt64), "null": nil, "kindless": nil,
	})
	for _, bad := range []float64{math.NaN(), math.Inf(1)} {
		_, err := client.GetPointsClient().Upsert(t.Context(), &qdrant.UpsertPoints{
			CollectionName: "c", Points: []*qdrant.PointStruct{point(1, map[string]any{"list": []any{bad}})},
		})
		wantStatus(t, err, codes.InvalidArgument, "cannot convert to json number")
	}
}

func TestVectors(t *testing.T) {
	client := dial(t, start(t, qdrantserver.Config{}), nil)
	err := client.CreateCollection(t.Context(), &qdrant.CreateCollection{
		CollectionName: "named",
		VectorsConfig: qdrant.NewVectorsConfigMap(map[string]*qdrant.VectorParams{
			"dot": {Size: 2, Distance: qdrant.Distance_Dot}, "cosine": {Size: 2, Distance: qdrant.Distance_Cosine},
		}),
		SparseVectorsConfig: qdrant.NewSparseVectorsConfig(map[string]*qdrant.SparseVectorParams{"sparse": {}}),
	})
	if err != nil {
		t.Fatal(err)
	}
	upsert(t, client, true, point(1, nil))
	get := func(collection string, with *qdrant.WithVectorsSelector) *qdrant.VectorsOutput {
		t.Helper()
		found, err := client.Get(t.Context(), &qdrant.GetPoints{CollectionName: collection, Ids: []*qdrant.PointId{qdrant.NewIDNum(1)}, WithVectors: with})
		if err != nil || len(found) != 1 {
			t.Fatalf("got %v and error %v, want one point", found, err)
		}
		return found[0].GetVectors()
	}
	if got := get("c", qdrant.NewWithVectors(true)).GetVector().GetDense().GetData(); !cmp.Equal(got, []float32{0.6, 0.8}) {
		t.Errorf("the vector (3, 4) is returned as %v, want it normalised", got)
	}
	store := func(name string, vector *qdrant.Vector, wait bool) error {
		_, err := client.GetPointsClient().Upsert(t.Context(), &qdrant.UpsertPoints{CollectionName: "named", Wait: &wait, Points: []*qdrant.PointStruct{{
			Id: qdrant.NewIDNum(1), Vectors: qdrant.NewVectorsMap(map[string]*qdrant.Vector{name: vector, "cosine": qdrant.NewVector(3, 4)}),
		}}})
		return err
	}
	if err := store("dot", qdrant.NewVector(3, 4), true); err != nil {
		t.Fatal(err)
	}
	named := get("named", qdrant.NewWithVectorsInclude("dot", "nope")).GetVectors().GetVectors()
	if len(named) != 1 || !cmp.Equal(named["dot"].GetDense().GetData(), []float32{3, 4}) {
		t.Errorf("got vectors %v, want dot alone", named)
	}
	if err := store("sparse", qdrant.NewVectorSparse([]uint32{7}, []float32{1}), true); err != nil {
		t.Fatal(err)
	}
	named = get("named", qdrant.NewWithVectors(true)).GetVectors().GetVectors()
	if len(named) != 2 || !cmp.Equal(named["sparse"].GetSparse().GetIndices(), []uint32{7}) || !cmp.Equal(named["cosine"].GetDense().GetData(), []float32{0.6, 0.8}) {
		t.Errorf("got vectors %v, want sparse and cosine: an upsert replaces all vectors", named)
	}
	wantStatus(t, store("dot", qdrant.NewVector(1), false), codes.InvalidArgument, "Wrong input: Vector dimension error: expected dim: 2, got 1 for vector 'dot'")
	// An unknown name is noticed when the update is applied; without waiting, nobody hears of it.
	if err := store("nope", qdrant.NewVector(1), false); err != nil {
		t.Errorf("without waiting: %v", err)
	}
	wantStatus(t, store("nope", qdrant.NewVector(1), true), codes.InvalidArgument, "Wrong input: Not existing vector name error: nope")
	if named := get("named", qdrant.NewWithVectors(true)).GetVectors().GetVectors(); len(named) != 2 {
		t.Errorf("refused updates left the vectors %v", named)
	}
}

func TestUpsertModes(t *testing.T) {
	client := dial(t, start(t, qdrantserver.Config{}), nil)
	upsert(t, client, true, point(1, map[string]any{"v": 1}), point(2, map[string]any{"v": 2}))
	for _, req := range []*qdrant.UpsertPoints{
		{UpdateMode: qdrant.UpdateMode_InsertOnly.Enum(), Points: []*qdrant.PointStruct{point(1, map[string]any{"v": 10}), point(3, map[string]any{"v": 3})}},
		{UpdateMode: qdrant.UpdateMode_UpdateOnly.Enum(), Points: []*qdrant.PointStruct{point(2, map[string]any{"v": 20}), point(4, nil)}},
		{UpdateFilter: &qdrant.Filter{Must: []*qdrant.Condition{qdrant.NewMatchInt("v", 1)}}, Points: []*qdrant.PointStruct{point(1, map[string]any{"v": 100}), point(3, map[string]any{"v": 30})}},
	} {
		req.CollectionName, req.Wait = "c", qdrant.PtrOf(true)
		if _, err := client.Upsert(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	found, err := client.Scroll(t.Context(), &qdrant.ScrollPoints{CollectionName: "c"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[uint64]int64{}
	for _, p := range found {
		got[p.GetId().GetNum()] = p.GetPayload()["v"].GetIntegerValue()
	}
	if diff := cmp.Diff(map[uint64]int64{1: 100, 2: 20, 3: 3}, got); diff != "" {
		t.Errorf("points differ (-want +got):\n%s", diff)
	}
}

func index(t *testing.T, client *qdrant.Client, field string, kind qdrant.FieldType) {
	t.Helper()
	_, err := client.CreateFieldIndex(t.Context(), &qdrant.CreateFieldIndexCollection{CollectionName: "c", Wait: qdrant.PtrOf(true), FieldName: field, FieldType: &kind})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFacetAndIndexes(t *testing.T) {
	client := dial(t, start(t, qdrantserver.Config{}), nil)
	upsert(t, client, true, point(1, map[string]any{"type": "b"}), point(2, map[string]any{"type": []any{"a", "a", "b"}}),
		point(3, map[string]any{"type": "c", "skip": true}), point(4, map[string]any{"type": 5}), point(5, nil))
	req := &qdrant.FacetCounts{CollectionName: "c", Key: "type", Filter: &qdrant.Filter{MustNot: []*qdrant.Condition{qdrant.NewMatchBool("skip", true)}}}
	_, err := client.GetPointsClient().Facet(t.Context(), req)
	wantStatus(t, err, codes.InvalidArgument, "Wrong input: No appropriate index for faceting: `type`. Please create one to facet on this field. "+
		"Check https://qdrant.tech/documentation/concepts/indexing/#payload-index to see which payload schemas support Match conditions")
	index(t, client, "type", qdrant.FieldType_FieldTypeKeyword)
	hits, err := client.Facet(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	want := []*qdrant.FacetHit{{Value: qdrant.NewFacetValue("b"), Count: 2}, {Value: qdrant.NewFacetValue("a"), Count: 1}}
	if diff := cmp.Diff(want, hits, protocmp.Transform()); diff != "" {
		t.Errorf("hits differ (-want +got):\n%s", diff)
	}
	info, err := client.GetCollectionInfo(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	if got := info.GetPayloadSchema()["type"]; got.GetDataType() != qdrant.PayloadSchemaType_Keyword || got.GetPoints() != 4 {
		t.Errorf("the index is described as %v", got)
	}
	if _, err := client.DeleteFieldIndex(t.Context(), &qdrant.DeleteFieldIndexCollection{CollectionName: "c", Wait: qdrant.PtrOf(true), FieldName: "type"}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Facet(t.Context(), req); status.Code(err) != codes.InvalidArgument {
		t.Errorf("without the index: %v", err)
	}
}

func TestOrderBy(t *testing.T) {
	client := dial(t, start(t, qdrantserver.Config{}), nil)
	upsert(t, client, true, point(1, map[string]any{"n": 30}), point(2, map[string]any{"n": []any{10, 40}}), point(3, nil), point(4, map[string]any{"n": 20.5}))
	index(t, client, "n", qdrant.FieldType_FieldTypeFloat)
	for _, c := range []struct {
		order *qdrant.OrderBy
		want  []uint64
	}{
		{&qdrant.OrderBy{Key: "n"}, []uint64{2, 4, 1, 2}},
		{&qdrant.OrderBy{Key: "n", Direction: qdrant.Direction_Desc.Enum()}, []uint64{2, 1, 4, 2}},
		{&qdrant.OrderBy{Key: "n", StartFrom: qdrant.NewStartFromInt(30)}, []uint64{1, 2}},
	} {
		resp, err := client.GetPointsClient().Scroll(t.Context(), &qdrant.ScrollPoints{CollectionName: "c", OrderBy: c.order})
		if err != nil {
			t.Fatal(err)
		}
		got := []uint64{}
		for _, p := range resp.GetResult() {
			got = append(got, p.GetId().GetNum())
		}
		if diff := cmp.Diff(c.want, got); diff != "" || resp.GetNextPageOffset() != nil {
			t.Errorf("%v: next page at %v, points differ (-want +got):\n%s", c.order, resp.GetNextPageOffset(), diff)
		}
	}
}

func TestStrictMode(t *testing.T) {
	client := dial(t, start(t, qdrantserver.Config{}), nil)
	update := func(strict *qdrant.StrictModeConfig) {
		t.Helper()
		if err := client.UpdateCollection(t.Context(), &qdrant.UpdateCollection{CollectionName: "c", StrictModeConfig: strict}); err != nil {
			t.Fatal(err)
		}
	}
	// Limits without "enabled" do nothing, and a later update keeps them.
	update(&qdrant.StrictModeConfig{
		UnindexedFilteringRetrieve: qdrant.PtrOf(false), UnindexedFilteringUpdate: qdrant.PtrOf(false), MaxTimeout: qdrant.PtrOf(uint32(30)),
		SearchAllowExact: qdrant.PtrOf(false), ConditionMaxSize: qdrant.PtrOf(uint64(2)), FilterMaxConditions: qdrant.PtrOf(uint64(3)),
		UpsertMaxBatchsize: qdrant.PtrOf(uint64(1)),
	})
	upsert(t, client, true, point(1, nil), point(2, nil))
	update(&qdrant.StrictModeConfig{Enabled: qdrant.PtrOf(true)})
	index(t, client, "t", qdrant.FieldType_FieldTypeKeyword)

	points, ctx := client.GetPointsClient(), t.Context()
	with := func(conditions ...*qdrant.Condition) *qdrant.Filter { return &qdrant.Filter{Must: conditions} }
	scroll := func(filter *qdrant.Filter, timeout *uint64) error {
		_, err := points.Scroll(ctx, &qdrant.ScrollPoints{CollectionName: "c", Filter: filter, Timeout: timeout})
		return err
	}
	indexed := qdrant.NewMatch("t", "x")
	if err := scroll(with(indexed), nil); err != nil {
		t.Errorf("a filter with an index: %v", err)
	}
	bad := func(err error, text string) {
		t.Helper()
		wantStatus(t, err, codes.InvalidArgument, "Bad request: "+text)
	}
	const createIndex = " Help: Create an index for this key or use a different filter."
	bad(scroll(with(qdrant.NewMatch("k", "x")), nil), `Index required but not found for "k" of one of the following types: [keyword].`+createIndex)
	bad(scroll(with(qdrant.NewRange("k", &qdrant.Range{})), nil), `Index required but not found for "k" of one of the following types: [float, integer].`+createIndex)
	bad(scroll(with(qdrant.NewNestedFilter("a", with(qdrant.NewMatch("k", "x")))), nil), `Index required but not found for "a[].k" of one of the following types: [keyword].`+createIndex)
	bad(scroll(with(indexed, indexed, indexed, indexed), nil), "Filter condition limit reached (4 > 3). Help: Reduce the amount of conditions of your filter.")
	bad(scroll(with(qdrant.NewHasID(qdrant.NewIDNum(1), qdrant.NewIDNum(2), qdrant.NewIDNum(3))), nil), "Condition size limit reached (3 > 2). Help: Reduce the size of your condition.")
	bad(scroll(nil, qdrant.PtrOf(uint64(100))), `Limit exceeded 100 > 30 for "timeout". Help: Reduce the "timeout" parameter to or below 30.`)
	_, err := points.Count(ctx, &qdrant.CountPoints{CollectionName: "c"})
	bad(err, "Exact search disabled!. Help: Set exact=false.")
	if _, err := points.Count(ctx, &qdrant.CountPoints{CollectionName: "c", Exact: qdrant.PtrOf(false)}); err != nil {
		t.Errorf("an approximate count: %v", err)
	}
	_, err = points.Delete(ctx, &qdrant.DeletePoints{CollectionName: "c", Points: qdrant.NewPointsSelectorFilter(with(qdrant.NewMatch("k", "x")))})
	bad(err, `Index required but not found for "k" of one of the following types: [keyword].`+createIndex)
	_, err = points.Upsert(ctx, &qdrant.UpsertPoints{CollectionName: "c", Points: []*qdrant.PointStruct{point(1, nil), point(2, nil)}})
	bad(err, `Limit exceeded 2 > 1 for "upsert limit". Help: Reduce the "upsert limit" parameter to or below 1.`)
}

func TestAliases(t *testing.T) {
	client := dial(t, start(t, qdrantserver.Config{}), nil)
	ctx := t.Context()
	if err := client.CreateAlias(ctx, "a", "c"); err != nil {
		t.Fatal(err)
	}
	if exists, err := client.CollectionExists(ctx, "a"); err != nil || !exists {
		t.Errorf("the alias exists: %v, %v", exists, err)
	}
	aliases, err := client.ListCollectionAliases(ctx, "c")
	if err != nil || !cmp.Equal(aliases, []string{"a"}) {
		t.Errorf("got aliases %v and error %v", aliases, err)
	}
	if err := client.RenameAlias(ctx, "a", "b"); err != nil {
		t.Fatal(err)
	}
	collections := client.GetCollectionsClient()
	change := func(action *qdrant.AliasOperations) error {
		_, err := collections.UpdateAliases(ctx, &qdrant.ChangeAliases{Actions: []*qdrant.AliasOperations{action}})
		return err
	}
	wantStatus(t, change(qdrant.NewAliasRename("a", "z")), codes.NotFound, "Not found: Alias a does not exists!")
	wantStatus(t, change(qdrant.NewAliasCreate("z", "nope")), codes.NotFound, "Not found: Collection `nope` doesn't exist!")
	wantStatus(t, change(qdrant.NewAliasCreate("c", "c")), codes.AlreadyExists, "Wrong input: Collection `c` already exists!")
	_, err = collections.Create(ctx, &qdrant.CreateCollection{CollectionName: "b"})
	wantStatus(t, err, codes.InvalidArgument, "Wrong input: Can't create collection with name b. Alias with the same name already exists")
	if err := client.DeleteCollection(ctx, "c"); err != nil {
		t.Fatal(err)
	}
	if exists, err := client.CollectionExists(ctx, "b"); err != nil || exists {
		t.Errorf("the alias outlives its collection: %v, %v", exists, err)
	}
}

func TestReadOnlyKey(t *testing.T) {
	server := start(t, qdrantserver.Config{APIKey: "rw", ReadOnlyAPIKey: "ro"})
	dial(t, server, func(config *qdrant.Config) { config.APIKey = "rw" })
	reader, err := newClient(server.Addr(), func(config *qdrant.Config) { config.APIKey = "ro" })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Close() })
	ctx, points, collections := t.Context(), reader.GetPointsClient(), reader.GetCollectionsClient()
	one := qdrant.NewPointsSelector(qdrant.NewIDNum(1))
	for name, call := range map[string]func() error{
		"create collection": func() error {
			_, err := collections.Create(ctx, &qdrant.CreateCollection{CollectionName: "new"})
			return err
		},
		"update collection": func() error {
			_, err := collections.Update(ctx, &qdrant.UpdateCollection{CollectionName: "c"})
			return err
		},
		"delete collection": func() error {
			_, err := collections.Delete(ctx, &qdrant.DeleteCollection{CollectionName: "c"})
			return err
		},
		"aliases": func() error {
			_, err := collections.UpdateAliases(ctx, &qdrant.ChangeAliases{})
			return err
		},
		"delete": func() error {
			_, err := points.Delete(ctx, &qdrant.DeletePoints{CollectionName: "c", Points: one})
			return err
		},
		"set payload": func() error {
			_, err := points.SetPayload(ctx, &qdrant.SetPayloadPoints{CollectionName: "c", PointsSelector: one})
			return err
		},
		"create index": func() error {
			_, err := points.CreateFieldIndex(ctx, &qdrant.CreateFieldIndexCollection{CollectionName: "c", FieldName: "a", FieldType: qdrant.FieldType_FieldTypeBool.Enum()})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			wantStatus(t, call(), codes.PermissionDenied, "Forbidden: Global manage access is required")
		})
	}
	if _, err := reader.GetCollectionInfo(ctx, "c"); err != nil {
		t.Error(err)
	}
	if _, err := reader.Scroll(ctx, &qdrant.ScrollPoints{CollectionName: "c"}); err != nil {
		t.Error(err)
	}
}

func TestConsistency(t *testing.T) {
	client := dial(t, start(t, qdrantserver.Config{}), nil)
	get := func(consistency *qdrant.ReadConsistency) error {
		_, err := client.GetPointsClient().Get(t.Context(), &qdrant.GetPoints{CollectionName: "c", ReadConsistency: consistency})
		return err
	}
	if err := get(qdrant.NewReadConsistencyType(qdrant.ReadConsistencyType_Majority)); err != nil {
		t.Error(err)
	}
	if err := get(qdrant.NewReadConsistencyFactor(0)); status.Code(err) != codes.InvalidArgument {
		t.Errorf("factor 0: %v", err)
	}
	wantStatus(t, get(&qdrant.ReadConsistency{}), codes.InvalidArgument, "invalid read consistency message: `ReadConsistency::value` field is `None`")
}
