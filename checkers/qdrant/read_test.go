package qdrant

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/qdrant/go-client/qdrant"
	"go.mongodb.org/mongo-driver/v2/bson"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

func set(text string) syncd.Value { return syncd.Value{Text: text, Set: true} }

func TestReadAsksForTheKeysAndNothingElse(t *testing.T) {
	s := newStub(pointID(0))
	c, _ := opened(t, testConfig(s.start(t)))
	for _, test := range []struct {
		keys []string
		want *qdrant.WithPayloadSelector
	}{
		{[]string{"updatedAt", "meta.a-b.c_1"}, qdrant.NewWithPayloadInclude("updatedAt", "meta.a-b.c_1")},
		{[]string{"content type", "a[0].ß.b"}, qdrant.NewWithPayloadInclude(`"content type"`, `"a[0]"."ß".b`)},
		{nil, qdrant.NewWithPayload(false)},
	} {
		before := len(s.requests())
		found := make([]syncd.Found, 1)
		if err := c.Read(t.Context(), points(pointID(0)), test.keys, found); err != nil {
			t.Fatal(err)
		}
		req := s.requests()[before]
		if !proto.Equal(req.GetWithPayload(), test.want) || !proto.Equal(req.GetWithVectors(), qdrant.NewWithVectors(false)) {
			t.Errorf("%q: asked for %v, %v", test.keys, req.GetWithPayload(), req.GetWithVectors())
		}
		if !found[0].Present || len(found[0].Payload) != len(test.keys) {
			t.Errorf("%q: %+v", test.keys, found[0])
		}
	}
	for _, key := range []string{"", "a.", ".a", "a..b", `a"b`, `a\b`} {
		if err := c.Read(t.Context(), points(pointID(0)), []string{key}, make([]syncd.Found, 1)); err == nil {
			t.Errorf("took the key %q", key)
		}
	}
	if err := c.Read(t.Context(), points(pointID(0)), nil, nil); err == nil {
		t.Error("took points without places")
	}
}

// TestReadAndCheckShareNothingThatDiffers asks in turn through the same scratch memory.
func TestReadAndCheckShareNothingThatDiffers(t *testing.T) {
	s := newStub()
	s.put(pointID(0), payloadOf(map[string]string{"a": "1"}))
	c, _ := opened(t, testConfig(s.start(t)))
	for range 3 {
		if v, err := check(t, c, pointIDs(0, 2)...); err != nil || !slices.Equal(v, []syncd.Verdict{syncd.Present, syncd.Missing}) {
			t.Error(v, err)
		}
		if req := s.requests()[len(s.requests())-1]; req.GetWithPayload().GetEnable() || req.GetWithPayload().GetInclude() != nil {
			t.Errorf("a check asks for %v", req.GetWithPayload())
		}
		found := make([]syncd.Found, 2)
		if err := c.Read(t.Context(), points(pointIDs(0, 2)...), []string{"a"}, found); err != nil {
			t.Fatal(err)
		}
		want := []syncd.Found{{Present: true, Payload: []syncd.Value{set("1")}}, {Payload: []syncd.Value{{}}}}
		if diff := cmp.Diff(want, found); diff != "" {
			t.Error(diff)
		}
	}
}

func TestReadGivesTexts(t *testing.T) {
	list := func(values ...*qdrant.Value) *qdrant.Value {
		return qdrant.NewValueList(&qdrant.ListValue{Values: values})
	}
	object := func(fields map[string]*qdrant.Value) *qdrant.Value {
		return qdrant.NewValueStruct(&qdrant.Struct{Fields: fields})
	}
	for _, test := range []struct {
		value *qdrant.Value
		want  syncd.Value
	}{
		{qdrant.NewValueString("Ä \"x\"\n"), set("Ä \"x\"\n")},
		{qdrant.NewValueString(""), set("")},
		{qdrant.NewValueInt(math.MinInt64), set("-9223372036854775808")},
		{qdrant.NewValueInt(1718000000123), set("1718000000123")},
		{qdrant.NewValueDouble(1718000000123), set("1718000000123")},
		{qdrant.NewValueDouble(1.5), set("1.5")},
		{qdrant.NewValueDouble(1e21), set("1e+21")},
		{qdrant.NewValueBool(true), set("true")},
		{qdrant.NewValueBool(false), set("false")},
		{qdrant.NewValueNull(), syncd.Value{}},
		{&qdrant.Value{}, syncd.Value{}},
		{object(nil), set("{}")},
		{list(), set("[]")},
		{object(map[string]*qdrant.Value{
			"z": qdrant.NewValueInt(1), "$date": qdrant.NewValueString("<2024> & \u2028"),
			"a": list(qdrant.NewValueDouble(0.25), qdrant.NewValueNull(), qdrant.NewValueBool(true), object(nil),
				qdrant.NewValueDouble(math.NaN()), qdrant.NewValueDouble(-1e-7), qdrant.NewValueDouble(3)),
		}), set(`{"$date":"<2024> & \u2028","a":[0.25,null,true,{},"NaN",-1e-7,3],"z":1}`)},
	} {
		s := newStub()
		s.put(pointID(0), map[string]*qdrant.Value{"k": test.value})
		c, _ := opened(t, testConfig(s.start(t)))
		found := make([]syncd.Found, 1)
		if err := c.Read(t.Context(), points(pointID(0)), []string{"k"}, found); err != nil || found[0].Payload[0] != test.want {
			t.Errorf("%v: %+v, %v; want %+v", test.value, found[0], err, test.want)
		}
	}
}

// A double has the same text in a payload as in a document, or versions would differ that are equal.
func TestDoubleText(t *testing.T) {
	same := func(f float64) {
		t.Helper()
		want, err := bsondoc.AppendIDText(nil, bson.RawValue{
			Type: bson.TypeDouble, Value: binary.LittleEndian.AppendUint64(nil, math.Float64bits(f)),
		})
		if got := doubleText(f); err != nil || got != string(want) {
			t.Fatalf("%v is %s in a payload and %s in a document (%v)", f, got, want, err)
		}
	}
	for _, f := range []float64{
		0, math.Copysign(0, -1), 5, -0.5, 1.0 / 3, 1 << 53, 1 << 63, 1e20, 1e21, math.Nextafter(1e21, 0), 1e-6, 9.5e-7, 1e-7, 1e-10,
		5e-324, math.MaxFloat64, math.NaN(), math.Inf(1), math.Inf(-1),
	} {
		same(f)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		same(math.Float64frombits(r.Uint64()))
		same(float64(int64(r.Uint64())>>r.IntN(64)) / math.Pow(10, float64(r.IntN(30))))
	}
}

func TestReadHalvesByItself(t *testing.T) {
	s := newStub(pointIDs(0, 100)...)
	s.get = func(_ int, req *qdrant.GetPoints) (*qdrant.GetResponse, error) {
		if req.GetWithPayload().GetInclude() != nil && len(req.GetIds()) > 30 {
			return nil, status.Error(codes.ResourceExhausted, "message too large")
		}
		return nil, nil
	}
	c, _ := opened(t, testConfig(s.start(t)))
	found := make([]syncd.Found, 100)
	if err := c.Read(t.Context(), points(pointIDs(0, 100)...), []string{"a"}, found); err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(found, func(f syncd.Found) bool { return !f.Present }); i >= 0 {
		t.Errorf("point %d is missing", i)
	}
	if n := c.reads.now(); n < 25 || n > 30 || c.limit.now() != 1000 {
		t.Errorf("reads of %d and checks of %d ids", c.reads.now(), c.limit.now())
	}
}

func TestReadFails(t *testing.T) {
	s := newStub(pointID(0))
	s.get = func(int, *qdrant.GetPoints) (*qdrant.GetResponse, error) {
		return nil, status.Error(codes.Unavailable, "no")
	}
	c, p := opened(t, testConfig(s.start(t)))
	err := c.Read(t.Context(), points(pointID(0)), []string{"a"}, make([]syncd.Found, 1))
	if !errors.Is(err, syncd.ErrUnavailable) || len(p.slept) == 0 {
		t.Errorf("%v, slept %v", err, p.slept)
	}
	s.get = nil
	s.mu.Lock()
	s.missing = true
	s.mu.Unlock()
	err = c.Read(t.Context(), points(pointID(0)), []string{"a"}, make([]syncd.Found, 1))
	if err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("a collection that was there: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Read(t.Context(), nil, nil, nil); err == nil {
		t.Error("read after Close")
	}
}
