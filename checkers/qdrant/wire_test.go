package qdrant

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/qdrantconn"
)

// asked is an ask about ids, as a checker makes it.
func asked(conf Config, s selection, ids ...uuid.UUID) *ask {
	c := &checker{conf: conf, buffers: qdrantconn.Buffers()}
	c.consistency, _ = conf.ReadConsistency.request()
	a := c.newAsk(s)
	a.fill(points(ids...))
	return a
}

// TestRequestsAreThoseOfTheClientLibrary, byte for byte.
func TestRequestsAreThoseOfTheClientLibrary(t *testing.T) {
	keys, err := selectKeys([]string{"updatedAt", "meta.version"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"c", "Ä 世界", string(bytes.Repeat([]byte("x"), 255))} {
		for _, consistency := range []ReadConsistency{"", "majority", "3"} {
			for _, s := range []selection{{}, keys} {
				for _, n := range []int{0, 1, 2, 1000} {
					conf := testConfig("127.0.0.1:1")
					conf.Collection, conf.ReadConsistency = name, consistency
					ids := pointIDs(0, n)
					a := asked(conf, s, append(slices.Clone(ids), ids...)...) // each is asked about once
					a.from, a.to = n/3, n
					got, err := a.Marshal(nil)
					if err != nil {
						t.Fatal(err)
					}
					want := qdrant.GetPoints{
						CollectionName: name, WithPayload: s.request(), WithVectors: qdrant.NewWithVectors(false), Timeout: new(seconds(conf.Timeout)),
					}
					want.ReadConsistency, _ = consistency.request()
					for _, id := range ids[n/3:] {
						want.Ids = append(want.Ids, qdrant.NewIDUUID(id.String()))
					}
					bytesWanted, err := proto.MarshalOptions{Deterministic: true}.Marshal(&want)
					if err != nil || !bytes.Equal(got.Materialize(), bytesWanted) {
						t.Errorf("collection %q, consistency %q, %d ids: %v\n%x\n%x", name, consistency, n, err, got.Materialize(), bytesWanted)
					}
				}
			}
		}
	}
}

func TestANameThatIsNoTextIsNotSent(t *testing.T) {
	conf := testConfig("127.0.0.1:1")
	conf.Collection = "\xff"
	if got, err := asked(conf, selection{}, pointIDs(0, 3)...).Marshal(nil); err == nil {
		t.Errorf("%x", got.Materialize())
	}
}

// foundIn is which of the ids an answer says are there.
func foundIn(ids []uuid.UUID, from, to int, r *qdrant.GetResponse) (found []bool, err error) {
	found = make([]bool, len(ids))
	for _, p := range r.GetResult() {
		id, err := uuid.Parse(p.GetId().GetUuid())
		at := slices.Index(ids, id)
		if err != nil || at < from || at >= to {
			return nil, fmt.Errorf("the point %v", p.GetId())
		}
		found[at] = true
	}
	return found, nil
}

// reread reads an answer into message, as the client library would if the answer and its points had no other fields than those that
// are read by hand: whatever else they hold is unknown then.
func reread(answer []byte, message proto.Message, ofPoint ...protowire.Number) error {
	result, others := protowire.Number(getResponsePoint), []protowire.Number(nil)
	if _, ok := message.(*qdrant.ScrollResponse); ok {
		result, others = scrollPoint, []protowire.Number{scrollOffset}
	}
	reduced, err := reduce(answer, append(others, result), func(number protowire.Number, value []byte) ([]byte, error) {
		if number == result {
			return reduce(value, ofPoint, func(_ protowire.Number, value []byte) ([]byte, error) { return value, nil })
		}
		return value, nil
	})
	if err != nil {
		return err
	}
	return proto.Unmarshal(reduced, message)
}

// reduce leaves the fields of a message that are kept and have a length. Its error is the library's for what is no message.
func reduce(message []byte, kept []protowire.Number, value func(protowire.Number, []byte) ([]byte, error)) (out []byte, err error) {
	if err := proto.Unmarshal(message, &emptypb.Empty{}); err != nil {
		return nil, err
	}
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeField(message)
		if kind == protowire.BytesType && slices.Contains(kept, number) {
			_, _, tag := protowire.ConsumeTag(message)
			of, _ := protowire.ConsumeBytes(message[tag:n])
			if of, err = value(number, of); err != nil {
				return nil, err
			}
			out = protowire.AppendBytes(protowire.AppendTag(out, number, kind), of)
		}
		message = message[n:]
	}
	return out, nil
}

// compare reads an answer by hand and by the client library, which may refuse what lies in fields that nobody asked for: with what it
// makes of the rest, reading by hand agrees in everything.
func compare(t *testing.T, ids []uuid.UUID, from, to int, answer []byte) {
	t.Helper()
	a := asked(testConfig("127.0.0.1:1"), selection{}, ids...)
	half := len(answer) / 2
	if err := a.Unmarshal(mem.BufferSlice{mem.SliceBuffer(answer[:half]), mem.SliceBuffer(answer[half:])}, nil); err != nil {
		t.Fatal(err)
	}
	err := a.settle(from, to)
	var small, all qdrant.GetResponse
	var want []bool
	wantErr := reread(answer, &small, retrievedID)
	if wantErr == nil {
		want, wantErr = foundIn(ids, from, to, &small)
	}
	if (err == nil) != (wantErr == nil) || err == nil && !slices.Equal(a.found, want) {
		t.Fatalf("%x: %v, %v; want %v, %v", answer, a.found, err, want, wantErr)
	}
	if proto.Unmarshal(answer, &all) != nil {
		return
	}
	if want, wantErr := foundIn(ids, from, to, &all); wantErr == nil && (err != nil || !slices.Equal(a.found, want)) {
		t.Fatalf("%x: %v, %v; the client library finds %v", answer, a.found, err, want)
	}
}

// answers are answers about ids of every kind that matters: in order and not, with fields that were not asked for, unknown ones
// and known ones of other types, and an id given twice.
func answers(ids []uuid.UUID) [][]byte {
	point := func(id *qdrant.PointId, more ...byte) []byte {
		p, err := proto.Marshal(&qdrant.RetrievedPoint{Id: id})
		if err != nil {
			panic(err)
		}
		return protowire.AppendBytes(protowire.AppendTag(nil, getResponsePoint, protowire.BytesType), append(p, more...))
	}
	text := func(s string) []byte { return point(qdrant.NewIDUUID(s)) }
	var inOrder, backwards []byte
	for i := range ids {
		if i%3 > 0 {
			inOrder = append(inOrder, text(ids[i].String())...)
			backwards = append(text(ids[i].String()), backwards...)
		}
	}
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, 77, protowire.VarintType), 300)
	group := protowire.AppendTag(append(protowire.AppendTag(nil, 9, protowire.StartGroupType), unknown...), 9, protowire.EndGroupType)
	wrongType := protowire.AppendVarint(protowire.AppendTag(nil, retrievedID, protowire.VarintType), 5)
	second := protowire.AppendBytes(protowire.AppendTag(nil, retrievedID, protowire.BytesType),
		protowire.AppendString(protowire.AppendTag(nil, pointIDUUID, protowire.BytesType), ids[1].String()))
	tooLarge := protowire.AppendVarint(protowire.AppendVarint(nil, (1<<29)<<3), 1) // the number of no field
	whole, err := proto.Marshal(&qdrant.GetResponse{
		Result: []*qdrant.RetrievedPoint{{
			Id: qdrant.NewIDUUID(ids[2].String()), Payload: qdrant.NewValueMap(map[string]any{"a": 1, "b": []any{"x", nil}}),
			ShardKey: qdrant.NewShardKey("k"), Vectors: &qdrant.VectorsOutput{},
		}},
		Time: 0.5, Usage: &qdrant.Usage{},
	})
	if err != nil {
		panic(err)
	}
	return [][]byte{
		nil, inOrder, backwards, whole, slices.Concat(unknown, inOrder, group, whole), slices.Concat(inOrder, inOrder),
		text(ids[0].URN()), text("{" + ids[0].String() + "}"), text(fmt.Sprintf("%X", ids[0][:])), text("no id"), text(""), text(uuid.NewString()),
		point(qdrant.NewIDNum(0)), point(qdrant.NewIDNum(7)), point(nil), point(nil, wrongType...), point(nil, second...),
		point(qdrant.NewIDUUID(ids[0].String()), second...), point(qdrant.NewIDUUID(ids[0].String()), wrongType...),
		point(qdrant.NewIDUUID(ids[0].String()), group...), point(qdrant.NewIDNum(7), second...), {0xff}, {0x0a, 0x05}, {0x0b}, {0x0c}, {0},
		tooLarge, point(nil, tooLarge...), point(qdrant.NewIDUUID(ids[0].String()), tooLarge...),
	}
}

// TestAnswersAreReadAsTheClientLibraryReadsThem, whole, cut at every byte, and with every byte changed: an answer that is not whole is
// an error, never a verdict.
func TestAnswersAreReadAsTheClientLibraryReadsThem(t *testing.T) {
	ids := pointIDs(0, 7)
	random := rand.New(rand.NewPCG(1, 2))
	for _, answer := range answers(ids) {
		compare(t, ids, 0, len(ids), answer)
		compare(t, ids, 1, 3, answer)
		for i := range answer {
			compare(t, ids, 0, len(ids), answer[:i])
			changed := slices.Clone(answer)
			changed[i] = byte(random.UintN(256))
			compare(t, ids, 0, len(ids), changed)
		}
	}
}

// FuzzAnswer reads any bytes as an answer, by hand and with the client library.
func FuzzAnswer(f *testing.F) {
	ids := pointIDs(0, 7)
	for _, answer := range answers(ids) {
		f.Add(answer)
	}
	f.Fuzz(func(t *testing.T, answer []byte) { compare(t, ids, 0, len(ids), answer) })
}

// TestManyIDsOfOneHash: ids that look alike cost time, not truth.
func TestManyIDsOfOneHash(t *testing.T) {
	var ids []uuid.UUID
	for i := range 500 {
		var id uuid.UUID
		id[15], id[7], id[14], id[6] = byte(i), byte(i), byte(i>>8), byte(i>>8)
		ids = append(ids, id)
	}
	a := asked(testConfig("127.0.0.1:1"), selection{}, slices.Concat(ids, ids[:250])...)
	if len(a.ids) != 500 || len(a.slots) != 750 {
		t.Fatal(len(a.ids), len(a.slots))
	}
	for i, slot := range a.slots {
		if a.ids[slot] != ids[i%500] {
			t.Errorf("point %d has slot %d", i, slot)
		}
	}
	a.found[3] = true
	verdicts := make([]syncd.Verdict, 750)
	a.verdicts(verdicts)
	for i, v := range verdicts {
		if (v == syncd.Present) != (i%500 == 3) {
			t.Errorf("point %d is %s", i, v)
		}
	}
}

// TestTheUsualPointIsReadAsAnyOther: what is recognised by its head is what the general reader makes of it, damage included.
func TestTheUsualPointIsReadAsAnyOther(t *testing.T) {
	point, err := proto.Marshal(&qdrant.GetResponse{Result: []*qdrant.RetrievedPoint{{Id: qdrant.NewIDUUID(pointID(1).String())}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := usual(point); !ok || len(point) != usualLen {
		t.Fatalf("a point with nothing but its id is not recognised: %x", point)
	}
	for i := range point {
		for value := range 256 {
			changed := slices.Clone(point)
			changed[i] = byte(value)
			got, ok := usual(append(changed, point...))
			if !ok {
				continue
			}
			number, body, n := field(changed)
			want, readable := retrieved(body)
			if number != getResponsePoint || n != usualLen || !readable || string(got.text) != string(want.text) || cap(got.text) != textLen {
				t.Errorf("%x: %v, not %v", changed, got, want)
			}
		}
		if _, ok := usual(point[:i]); ok {
			t.Errorf("%x is recognised", point[:i])
		}
	}
}
