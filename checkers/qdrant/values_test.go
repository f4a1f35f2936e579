package qdrant

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/syncd-io/syncd"
)

// selections are keys of every kind that reading tells apart: at the top, below it, side by side in one object, one within another
// that is asked for as a whole, and one twice.
var selections = [][]string{{"a", "m.c", "m.d.e", "m.d.f", "a"}, {"m", "a", "m.d.e"}, {"a"}, {"m.d.e", "x"}}

// textsOf are what is selected of a payload.
func textsOf(s selection, payload map[string]*qdrant.Value) []syncd.Value {
	out := make([]syncd.Value, len(s.paths))
	for i, path := range s.paths {
		out[i] = valueText(lookupValue(payload, path))
	}
	return out
}

// comparePayload reads an answer to a lookup as compare does, with payload.
func comparePayload(t *testing.T, ids []uuid.UUID, answer []byte) {
	t.Helper()
	for _, keys := range selections {
		s, err := selectKeys(keys)
		if err != nil {
			t.Fatal(err)
		}
		a := asked(testConfig("127.0.0.1:1"), s, ids...)
		if err := a.Unmarshal(mem.BufferSlice{mem.SliceBuffer(answer)}, nil); err != nil {
			t.Fatal(err)
		}
		err = a.settle(0, len(ids))
		got := make([]syncd.Found, len(ids))
		a.read(got)
		expected := func(r *qdrant.GetResponse) (want []syncd.Found, err error) {
			present, err := foundIn(ids, 0, len(ids), r)
			if err != nil {
				return nil, err
			}
			for _, is := range present {
				want = append(want, syncd.Found{Present: is, Payload: make([]syncd.Value, len(keys))})
			}
			for _, p := range r.GetResult() {
				want[slices.Index(ids, uuid.MustParse(p.GetId().GetUuid()))].Payload = textsOf(s, p.GetPayload())
			}
			return want, nil
		}
		agree(t, answer, keys, got, err, expected)
	}
}

// agree compares what was read by hand with what is expected of the messages that the library reads.
func agree[V any, R any, M interface {
	*R
	proto.Message
}](t *testing.T, answer []byte, keys []string, got V, err error, expected func(M) (V, error)) {
	t.Helper()
	if err != nil && status.Code(err) != codes.Internal && status.Code(err) != codes.Unknown {
		t.Fatalf("%x, %q: %v", answer, keys, err)
	}
	var small, all R
	var want V
	wantErr := reread(answer, M(&small), retrievedID, retrievedPayload)
	if wantErr == nil {
		want, wantErr = expected(&small)
	}
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%x, %q: %v; want %v", answer, keys, err, wantErr)
	}
	if err == nil && !cmp.Equal(got, want) {
		t.Fatalf("%x, %q: %s", answer, keys, cmp.Diff(want, got))
	}
	if proto.Unmarshal(answer, M(&all)) != nil {
		return // it may refuse what lies in fields that nobody asked for
	}
	if want, wantErr := expected(&all); wantErr == nil && (err != nil || !cmp.Equal(got, want)) {
		t.Fatalf("%x, %q: %v, the client library differs: %s", answer, keys, err, cmp.Diff(want, got))
	}
}

// comparePage does so with an answer to a listing.
func comparePage(t *testing.T, answer []byte) {
	t.Helper()
	type read struct {
		Points []syncd.Listed
		Next   string
		More   bool
	}
	for _, keys := range selections {
		s, err := selectKeys(keys)
		if err != nil {
			t.Fatal(err)
		}
		l := listing{selected: s}
		l.answer.body = answer
		p, err := l.read()
		got := read{Points: p.points, Next: p.next.String(), More: p.more}
		agree(t, answer, keys, got, err, func(r *qdrant.ScrollResponse) (read, error) {
			want := read{Points: []syncd.Listed{}, Next: idText(r.GetNextPageOffset()), More: r.NextPageOffset != nil}
			for _, p := range r.GetResult() {
				if _, number := p.GetId().GetPointIdOptions().(*qdrant.PointId_Num); number {
					continue
				}
				id, err := uuid.Parse(p.GetId().GetUuid())
				if err != nil {
					return want, err
				}
				want.Points = append(want.Points, syncd.Listed{ID: id, Payload: textsOf(s, p.GetPayload())})
			}
			return want, nil
		})
	}
}

func idText(id *qdrant.PointId) string {
	if _, text := id.GetPointIdOptions().(*qdrant.PointId_Uuid); text {
		return fmt.Sprintf("%q", id.GetUuid())
	}
	return fmt.Sprint(id.GetNum())
}

// writer writes answers at random, as Qdrant would and, where odd, as nobody would: fields in any order, repeated, left out, of
// other types and unknown, groups, and texts that are none.
type writer struct {
	*rand.Rand
	odd int // one in so many is; 0: none
}

const topDepth = 3 // of a payload's entries

func (w writer) oddly() bool { return w.odd > 0 && w.IntN(w.odd) == 0 }

func (w writer) field(b []byte, number protowire.Number, value []byte) []byte {
	switch {
	case !w.oddly():
	case w.IntN(4) == 0:
		return b // left out
	case w.IntN(3) == 0:
		b = w.unknown(b)
	case w.IntN(3) == 0:
		b = protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), w.Uint64()>>w.IntN(64))
	case w.IntN(3) == 0:
		b = protowire.AppendFixed32(protowire.AppendTag(b, number, protowire.Fixed32Type), w.Uint32())
	default:
		b = protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), value)
	}
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), value)
}

// unknown is a field that no message here has, or one that is not read.
func (w writer) unknown(b []byte) []byte {
	switch number := protowire.Number(3 + w.IntN(20)); w.IntN(4) {
	case 0:
		return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), w.Uint64())
	case 1:
		return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), "x\xff")
	case 2:
		return protowire.AppendFixed64(protowire.AppendTag(b, number, protowire.Fixed64Type), w.Uint64())
	}
	b = w.unknown(protowire.AppendTag(b, 30, protowire.StartGroupType))
	return protowire.AppendTag(b, 30+protowire.Number(w.IntN(8)/7), protowire.EndGroupType)
}

func (w writer) text() []byte {
	texts := [][]byte{{}, []byte("x"), []byte("ä 世界"), []byte("2024-06-10T06:13:20.123Z"), []byte(`"<>\u2028`), bytes.Repeat([]byte("y"), 200)}
	if w.oddly() && w.IntN(4) == 0 {
		return []byte("\xc3(")
	}
	return texts[w.IntN(len(texts))]
}

// name is one that some selection has there, most of the time.
func (w writer) name(depth int) []byte {
	names := [][]string{{"a", "m", "m", "m", "x"}, {"c", "d", "d"}, {"e", "f", "a"}}[min(topDepth-depth, 2)]
	if w.oddly() {
		return w.text()
	}
	return []byte(names[w.IntN(len(names))])
}

func (w writer) entry(depth int) []byte {
	key, value := w.name(depth), w.value(depth)
	if w.oddly() && w.IntN(2) == 0 {
		return w.field(w.field(nil, 2, value), 1, key)
	}
	b := w.field(w.field(nil, 1, key), 2, value)
	if w.oddly() && w.IntN(2) == 0 {
		b = w.field(b, 2, w.value(depth)) // is merged with the first
	}
	return b
}

func (w writer) value(depth int) (b []byte) {
	for again := true; again; again = w.oddly() {
		kind := w.IntN(7)
		if depth <= 0 {
			kind = w.IntN(5)
		}
		varint := func(number protowire.Number, v uint64) []byte {
			return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), v)
		}
		switch kind {
		case 0:
			b = varint(1, uint64(w.IntN(2)*w.IntN(3)))
		case 1:
			doubles := []float64{0, math.Copysign(0, -1), 1, -1.5, 1e21, 1e-7, math.NaN(), math.Inf(1), math.MaxFloat64}
			b = protowire.AppendFixed64(protowire.AppendTag(b, 2, protowire.Fixed64Type), math.Float64bits(doubles[w.IntN(len(doubles))]))
		case 2:
			b = varint(3, w.Uint64()>>w.IntN(64))
		case 3:
			b = w.field(b, 4, w.text())
		case 4:
			b = varint(5, uint64(w.IntN(3)))
		case 5:
			var object []byte
			for range w.IntN(4) {
				object = w.field(object, 1, w.entry(depth-1))
			}
			b = w.field(b, 6, object)
		case 6:
			var list []byte
			for range w.IntN(3) {
				list = w.field(list, 1, w.value(depth-1))
			}
			b = w.field(b, 7, list)
		}
	}
	return b
}

func (w writer) pointID(ids []uuid.UUID) (id []byte) {
	if w.oddly() {
		id = protowire.AppendVarint(protowire.AppendTag(nil, pointIDNumber, protowire.VarintType), uint64(w.IntN(3)))
		if w.IntN(2) == 0 {
			return id
		}
	}
	text := ids[w.IntN(len(ids))].String()
	if w.oddly() {
		text = string(w.text())
	}
	id = w.field(id, pointIDUUID, []byte(text))
	if w.oddly() && w.IntN(2) == 0 {
		id = protowire.AppendVarint(protowire.AppendTag(id, pointIDNumber, protowire.VarintType), uint64(w.IntN(3)))
	}
	return id
}

// points writes RetrievedPoints as the fields of that number of an answer.
func (w writer) points(ids []uuid.UUID, number protowire.Number) (answer []byte) {
	for range w.IntN(5) {
		point := w.field(nil, retrievedID, w.pointID(ids))
		for range w.IntN(5) {
			point = w.field(point, retrievedPayload, w.entry(topDepth))
		}
		answer = w.field(answer, number, point)
	}
	answer = protowire.AppendFixed64(protowire.AppendTag(answer, number+1, protowire.Fixed64Type), w.Uint64())
	if w.oddly() && len(answer) > 0 {
		if w.IntN(2) == 0 {
			return answer[:w.IntN(len(answer))]
		}
		answer[w.IntN(len(answer))] = byte(w.Uint32())
	}
	return answer
}

func (w writer) page(ids []uuid.UUID) []byte {
	answer := w.points(ids, scrollPoint)
	if w.IntN(2) == 0 {
		answer = w.field(answer, scrollOffset, w.pointID(ids))
	}
	if w.oddly() {
		answer = w.field(answer, scrollOffset, w.unknown(nil)) // is merged with the first
	}
	return answer
}

// TestPayloadIsReadAsTheClientLibraryReadsIt: the same values, and an error where it has one.
func TestPayloadIsReadAsTheClientLibraryReadsIt(t *testing.T) {
	ids := pointIDs(0, 7)
	for seed := range uint64(400) {
		w := writer{rand.New(rand.NewPCG(seed, 0)), []int{0, 8, 20, 60}[seed%4]}
		comparePayload(t, ids, w.points(ids, getResponsePoint))
		comparePage(t, w.page(ids))
	}
	for seed := range uint64(3) { // cut at every byte
		w := writer{rand.New(rand.NewPCG(seed, 1)), 0}
		answer, page := w.points(ids, getResponsePoint), w.page(ids)
		for i := range answer {
			comparePayload(t, ids, answer[:i])
		}
		for i := range page {
			comparePage(t, page[:i])
		}
	}
}

// TestDeepPayload: a value may be as deep as the client library takes it, and no deeper.
func TestDeepPayload(t *testing.T) {
	inList := func(value []byte) []byte {
		list := protowire.AppendBytes([]byte{1<<3 | byte(protowire.BytesType)}, value)
		return protowire.AppendBytes([]byte{7<<3 | byte(protowire.BytesType)}, list)
	}
	inObject := func(value []byte) []byte {
		entry := protowire.AppendBytes([]byte{entryKey, 1, 'k', entryValue}, value)
		return protowire.AppendBytes([]byte{valueStruct}, protowire.AppendBytes([]byte{structEntry}, entry))
	}
	null := []byte{valueNull, 0}
	for _, value := range [][]byte{null, inObject(null)} { // an array counts for two levels, an object for three
		for range 4994 {
			value = inList(value)
		}
		read := map[bool]int{}
		for more := range 5 {
			value = inList(value)
			for _, key := range []byte("ax") { // asked for, and not
				entry := protowire.AppendBytes([]byte{entryKey, 1, key, entryValue}, value)
				point := encode(&qdrant.RetrievedPoint{Id: qdrant.NewIDUUID(pointID(0).String())})
				point = protowire.AppendBytes(append(point, retrievedPayload<<3|byte(protowire.BytesType)), entry)
				var l listing
				l.selected, _ = selectKeys([]string{"a"})
				l.answer.body = protowire.AppendBytes([]byte{scrollPoint<<3 | byte(protowire.BytesType)}, point)
				_, err := l.read()
				want := proto.Unmarshal(l.answer.body, &qdrant.ScrollResponse{})
				if read[err == nil]++; (err == nil) != (want == nil) {
					t.Errorf("%d more levels: %v; the client library says %v", more, err, want)
				}
			}
		}
		if len(read) != 2 {
			t.Errorf("read: %v", read)
		}
	}
}

// FuzzPayload reads any bytes as an answer to a lookup of payload, by hand and with the client library.
func FuzzPayload(f *testing.F) {
	ids := pointIDs(0, 7)
	for seed := range uint64(200) {
		f.Add(writer{rand.New(rand.NewPCG(seed, 2)), []int{0, 10, 40}[seed%3]}.points(ids, getResponsePoint))
	}
	f.Fuzz(func(t *testing.T, answer []byte) { comparePayload(t, ids, answer) })
}

// FuzzPage reads any bytes as an answer to a listing, by hand and with the client library.
func FuzzPage(f *testing.F) {
	ids := pointIDs(0, 7)
	for seed := range uint64(200) {
		f.Add(writer{rand.New(rand.NewPCG(seed, 3)), []int{0, 10, 40}[seed%3]}.page(ids))
	}
	f.Fuzz(func(t *testing.T, answer []byte) { comparePage(t, answer) })
}

// TestPayloadOfQdrantIsReadByHand: what Qdrant writes never needs the library, or reading would cost three times as much.
func TestPayloadOfQdrantIsReadByHand(t *testing.T) {
	payload := qdrant.NewValueMap(map[string]any{"a": "x", "n": 5, "d": 1.5, "t": true, "z": nil, "m": map[string]any{"c": "y", "d": map[string]any{"e": -1}}})
	s, err := selectKeys([]string{"a", "n", "d", "t", "z", "m.c", "m.d.e", "m.no", "no"})
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]syncd.Value, len(s.paths))
	entries := 0
	if err := eachField(encode(&qdrant.RetrievedPoint{Payload: payload}), func(_ protowire.Number, entry []byte) error {
		entries++
		if !readEntry(s.names, entry, dst) {
			t.Errorf("%x is not read by hand", entry)
		}
		return nil
	}); err != nil || entries != len(payload) {
		t.Error(entries, err)
	}
	want := []syncd.Value{set("x"), set("5"), set("1.5"), set("true"), {}, set("y"), set("-1"), {}, {}}
	if diff := cmp.Diff(want, dst); diff != "" {
		t.Error(diff)
	}
}

// TestAnUnreadableAnswerCountsForNothing, even where a part of it could be read: it is asked again.
func TestAnUnreadableAnswerCountsForNothing(t *testing.T) {
	ids := sorted(pointIDs(0, 3))
	point := func(i int) *qdrant.RetrievedPoint {
		return &qdrant.RetrievedPoint{Id: qdrant.NewIDUUID(ids[i].String()), Payload: qdrant.NewValueMap(map[string]any{"a": fmt.Sprint(i)})}
	}
	var calls atomic.Int32
	c, p := opened(t, testConfig(serveBytes(t, func(method string) encoded {
		first := calls.Add(1) == 1
		switch {
		case method == qdrant.Points_Scroll_FullMethodName && first:
			return append(encode(&qdrant.ScrollResponse{Result: []*qdrant.RetrievedPoint{point(0), point(2)}}), 0xff)
		case method == qdrant.Points_Scroll_FullMethodName:
			return encode(&qdrant.ScrollResponse{Result: []*qdrant.RetrievedPoint{point(0), point(1)}})
		case first:
			return append(encode(&qdrant.GetResponse{Result: []*qdrant.RetrievedPoint{point(0), point(2)}}), 0xff)
		}
		return encode(&qdrant.GetResponse{Result: []*qdrant.RetrievedPoint{point(1)}})
	})))
	got, err := list(t, c, syncd.ListRequest{Keys: []string{"a"}})
	want := []syncd.Listed{{ID: ids[0], Payload: []syncd.Value{set("0")}}, {ID: ids[1], Payload: []syncd.Value{set("1")}}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	calls.Store(0)
	found := make([]syncd.Found, 3)
	err = c.Read(t.Context(), points(ids...), []string{"a"}, found)
	lookedUp := []syncd.Found{{Payload: []syncd.Value{{}}}, {Present: true, Payload: []syncd.Value{set("1")}}, {Payload: []syncd.Value{{}}}}
	if diff := cmp.Diff(lookedUp, found); err != nil || diff != "" {
		t.Error(err, diff)
	}
	calls.Store(0)
	if v, err := check(t, c, ids...); err != nil || !slices.Equal(v, []syncd.Verdict{syncd.Missing, syncd.Present, syncd.Missing}) {
		t.Error(v, err)
	}
	if len(p.slept) != 3 {
		t.Errorf("slept %v", p.slept)
	}
}

// TestAskForAPageAsTheClientLibraryDoes, byte for byte.
func TestAskForAPageAsTheClientLibraryDoes(t *testing.T) {
	c := &checker{conf: testConfig("127.0.0.1:1")}
	l, err := c.newListing(syncd.ListRequest{Match: map[string]string{"t": "page", "n": "5"}, Keys: []string{"a", "m.c"}, Part: 1, Parts: 4})
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.answer.Marshal(&l.request)
	if err != nil {
		t.Fatal(err)
	}
	want, err := encoding.GetCodecV2(protocodec.Name).Marshal(&l.request)
	if err != nil || !bytes.Equal(got.Materialize(), want.Materialize()) || l.answer.Name() != protocodec.Name {
		t.Errorf("%v: %x, want %x", err, got.Materialize(), want.Materialize())
	}
	var asked qdrant.ScrollPoints
	if err := proto.Unmarshal(got.Materialize(), &asked); err != nil || !proto.Equal(&asked, &l.request) {
		t.Error(err, &asked)
	}
}
