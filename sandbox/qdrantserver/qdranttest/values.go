package qdranttest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// u is the text of the i-th UUID of the tests; they sort by i, and have letters, so that case matters.
func u(i int) string { return fmt.Sprintf("ab%06x-0000-4000-8000-abcdefabcdef", i) }

func uuidID(i int) *qdrant.PointId { return qdrant.NewIDUUID(u(i)) }

func numID(n uint64) *qdrant.PointId { return qdrant.NewIDNum(n) }

// point makes a point with a vector that fits the tests' collections.
func point(id *qdrant.PointId, payload map[string]any) *qdrant.PointStruct {
	values, err := qdrant.TryValueMap(payload)
	if err != nil {
		panic(err) // a mistake in the suite
	}
	return &qdrant.PointStruct{Id: id, Payload: values, Vectors: qdrant.NewVectors(1, 2, 3, 4)}
}

// points makes n points with UUIDs from 1.
func points(n int) []*qdrant.PointStruct {
	all := make([]*qdrant.PointStruct, n)
	for i := range all {
		all[i] = point(uuidID(i+1), nil)
	}
	return all
}

func idText(id *qdrant.PointId) string {
	if id == nil {
		return "none"
	}
	if _, ok := id.GetPointIdOptions().(*qdrant.PointId_Num); ok {
		return strconv.FormatUint(id.GetNum(), 10)
	}
	return id.GetUuid()
}

func idsOf(points []*qdrant.RetrievedPoint) []string {
	texts := []string{}
	for _, p := range points {
		texts = append(texts, idText(p.GetId()))
	}
	return texts
}

func wantIDs(t *testing.T, got []string, want ...string) {
	t.Helper()
	if want == nil {
		want = []string{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ids differ (-want +got):\n%s", diff)
	}
}

// plain turns a payload into Go values.
func plain(payload map[string]*qdrant.Value) map[string]any {
	values := map[string]any{}
	for key, value := range payload {
		values[key] = plainValue(value)
	}
	return values
}

func plainValue(value *qdrant.Value) any {
	switch kind := value.GetKind().(type) {
	case *qdrant.Value_StringValue:
		return kind.StringValue
	case *qdrant.Value_IntegerValue:
		return kind.IntegerValue
	case *qdrant.Value_DoubleValue:
		return kind.DoubleValue
	case *qdrant.Value_BoolValue:
		return kind.BoolValue
	case *qdrant.Value_StructValue:
		return plain(kind.StructValue.GetFields())
	case *qdrant.Value_ListValue:
		list := []any{}
		for _, child := range kind.ListValue.GetValues() {
			list = append(list, plainValue(child))
		}
		return list
	default:
		return nil
	}
}

func wantPayload(t *testing.T, points []*qdrant.RetrievedPoint, want ...map[string]any) {
	t.Helper()
	got := []map[string]any{}
	for _, p := range points {
		got = append(got, plain(p.GetPayload()))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("payloads differ (-want +got):\n%s", diff)
	}
}

// wantError compares code and text. Where Qdrant's text is long, the part that clients go by is enough, and ends
// in an ellipsis.
func wantError(t *testing.T, err error, code codes.Code, text string) {
	t.Helper()
	got, ok := status.FromError(err)
	if err == nil || !ok {
		t.Errorf("got error %v, want %v %q", err, code, text)
		return
	}
	part, shortened := strings.CutSuffix(text, "…")
	if got.Code() != code || got.Message() != text && !(shortened && strings.Contains(got.Message(), part)) {
		t.Errorf("got %v %q\nwant %v %q", got.Code(), got.Message(), code, text)
	}
}

func missing(name string) string {
	return fmt.Sprintf("Not found: Collection `%s` doesn't exist!", name)
}
