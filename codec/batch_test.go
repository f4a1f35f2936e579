package codec_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
)

// memory is a document that knows its JSON; an empty text is an error.
type memory struct{ plain, relaxed string }

var errUnwritable = syncd.Hint(errors.New("not UTF-8"), "mend it")

func (m memory) Lookup(string) (syncd.Value, error) { return syncd.Value{}, nil }
func (m memory) Size() int                          { return len(m.plain) }
func (m memory) AppendJSON(dst []byte, dialect syncd.Dialect) ([]byte, error) {
	text := m.plain
	if dialect == syncd.Relaxed {
		text = m.relaxed
	}
	if text == "" {
		return dst, errUnwritable
	}
	return append(dst, text...), nil
}

func text(h []codec.Header) string {
	var b bytes.Buffer
	b.WriteByte('[')
	for i, x := range h {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString("{" + x.Name + " " + x.Value + "}")
	}
	b.WriteByte(']')
	return b.String()
}

// TestOmittedHeaders: whatever is omitted, the others are as they are without it, and what an event means is told all the same.
func TestOmittedHeaders(t *testing.T) {
	page := syncd.Target{ContentType: "page"}
	in := []syncd.Change{
		{Target: &page, ID: "a", Document: memory{plain: "{}"}, Reason: syncd.ReasonMissing, PointID: uuid.New(), ReadAt: 1},
		{Target: &page, ID: "b", Document: memory{plain: "{}"}, Reason: syncd.ReasonStale, PointID: uuid.New(), ReadAt: 2, Reference: true},
		{Target: &page, ID: "c", Document: memory{plain: "{}"}, PointID: uuid.New(), ReadAt: 2, Err: &syncd.DocumentError{Cause: errUnwritable}},
	}
	var all codec.Batch
	all.Encode(codec.Encoder{}, "run", in)
	names := codec.Headers()
	for set := range 1 << len(names) {
		var sent []string
		for i, name := range names {
			if set&(1<<i) != 0 {
				sent = append(sent, name)
			}
		}
		b := codec.Batch{Omit: codec.Only(sent), OmitLetters: codec.Only(sent)}
		for range 2 { // the second time in used memory
			b.Encode(codec.Encoder{}, "run", in)
			for i, e := range all.Events {
				want := slices.DeleteFunc(slices.Clone(e.Headers), func(h codec.Header) bool {
					return slices.Contains(names, h.Name) && !slices.Contains(sent, h.Name)
				})
				if got := b.Events[i].Headers; text(got) != text(want) || i > 0 && len(got) == len(sent) {
					t.Errorf("only %q: %s, want %s", sent, text(got), text(want))
				}
				if !bytes.Equal(b.Events[i].Value, e.Value) || !bytes.Equal(b.Events[i].Key, e.Key) {
					t.Errorf("only %q: key or value differ", sent)
				}
			}
		}
	}
}

// TestHeadersOfLetters: what is omitted from events and from dead letters is said apart, whichever of them are in a batch.
func TestHeadersOfLetters(t *testing.T) {
	page := syncd.Target{ContentType: "page"}
	event := syncd.Change{Target: &page, ID: "a", Document: memory{plain: "{}"}, PointID: uuid.MustParse("74738ff5-5367-5958-9aee-98fffdcd1876")}
	letter := event
	letter.PointID, letter.Err = uuid.MustParse("1a738ff5-5367-5958-9aee-98fffdcd1876"), &syncd.DocumentError{Cause: errUnwritable}
	var all codec.Batch
	all.Encode(codec.Encoder{}, "run", []syncd.Change{event, letter})
	named := func(h []codec.Header, names []string) string {
		return text(slices.DeleteFunc(slices.Clone(h), func(h codec.Header) bool {
			return slices.Contains(codec.Headers(), h.Name) && !slices.Contains(names, h.Name)
		}))
	}
	for _, sets := range [][2][]string{
		{codec.ConsumerHeaders(), codec.Headers()}, {codec.Headers(), codec.ConsumerHeaders()},
		{nil, codec.Headers()}, {codec.Headers(), nil}, {{codec.HeaderReason}, {codec.HeaderPointID}}, {{codec.HeaderPointID}, {codec.HeaderReadTime}},
	} {
		b := codec.Batch{Omit: codec.Only(sets[0]), OmitLetters: codec.Only(sets[1])}
		for _, in := range [][]syncd.Change{{event, letter, event}, {letter, event, letter, letter}, {event}, {letter}} {
			b.Encode(codec.Encoder{}, "run", in)
			for i, c := range in {
				full, names := all.Events[0].Headers, sets[0]
				if c.Err != nil {
					full, names = all.Events[1].Headers, sets[1]
				}
				if got, want := text(b.Events[i].Headers), named(full, names); got != want {
					t.Errorf("events with %q, letters with %q: %s, want %s", sets[0], sets[1], got, want)
				}
			}
		}
	}
}

func TestHeaders(t *testing.T) {
	read := time.Date(2024, 5, 6, 9, 8, 9, 0, time.FixedZone("", 2*60*60))
	page := syncd.Target{ContentType: "page"}
	change := syncd.Change{Target: &page, ID: "a", Document: memory{plain: "{}"}, Reason: syncd.ReasonFull, ReadAt: read.UnixNano()}
	later, point := change, uuid.MustParse("74738ff5-5367-5958-9aee-98fffdcd1876")
	later.ReadAt, later.PointID, later.Reason, later.Reference = read.Add(time.Millisecond).UnixNano(), point, syncd.ReasonStale, true
	deleted := later
	deleted.Operation, deleted.Reason = syncd.Delete, syncd.ReasonOrphan
	var b codec.Batch
	for range 2 { // the second time in used memory
		b.Encode(codec.Encoder{}, "run", []syncd.Change{change, later, deleted})
		if b.Refused() != nil || len(b.Events) != 3 {
			t.Fatalf("%d events, %v", len(b.Events), b.Refused())
		}
		for i, want := range []string{
			"[{syncd-point-id 00000000-0000-0000-0000-000000000000} {syncd-content-type page} {syncd-read-time 2024-05-06T07:08:09Z} {syncd-run-id run} {syncd-reason full}]",
			"[{syncd-point-id 74738ff5-5367-5958-9aee-98fffdcd1876} {syncd-content-type page} {syncd-read-time 2024-05-06T07:08:09.001Z} {syncd-run-id run} {syncd-reason stale} {syncd-document reference}]",
			"[{syncd-point-id 74738ff5-5367-5958-9aee-98fffdcd1876} {syncd-content-type page} {syncd-read-time 2024-05-06T07:08:09.001Z} {syncd-run-id run} {syncd-reason orphan}]",
		} {
			if got := text(b.Events[i].Headers); got != want {
				t.Errorf("headers %s, want %s", got, want)
			}
		}
	}
}

// changes are n changes of which every seventh can't be encoded.
func changes(n int) []syncd.Change {
	out := make([]syncd.Change, n)
	for i := range out {
		id := fmt.Sprintf("id-%d", i)
		out[i] = syncd.Change{Target: &target, ID: id, PointID: uuid.NewSHA1(uuid.NameSpaceURL, []byte(id)), Operation: syncd.Operation(i % 3)}
		switch {
		case i%7 == 3:
			out[i].Document, out[i].Operation = memory{}, syncd.Insert
		case out[i].Operation != syncd.Delete:
			out[i].Document = memory{plain: `{"id":"` + id + `"}`}
		}
	}
	return out
}

// TestBatch encodes batches of different sizes in the same memory. Each event must be what its change's is by itself.
func TestBatch(t *testing.T) {
	for _, format := range []codec.DeleteFormat{codec.DeleteEvent, codec.DeleteTombstone} {
		e := codec.Config{DeleteFormat: format}.Encoder()
		var b codec.Batch
		for _, n := range []int{3, 100, 0, 20, 1000} {
			in := changes(n)
			b.Encode(e, "run", in)
			next := 0
			for i := range in {
				key, value, err := e.Preview(&in[i])
				if (err != nil) != (i%7 == 3) {
					t.Fatalf("change %d: %v", i, err)
				}
				if err != nil {
					continue
				}
				got := b.Events[next]
				next++
				if !bytes.Equal(got.Key, key) || !bytes.Equal(got.Value, value) || (got.Value == nil) != (value == nil) ||
					got.ID != in[i].ID || got.PointID != in[i].PointID || got.Target != target || got.Headers[0].Value != in[i].PointID.String() {
					t.Fatalf("change %d is %+v, want %s %s", i, got, key, value)
				}
				if tombstone := in[i].Operation == syncd.Delete && format == codec.DeleteTombstone; tombstone != (value == nil) {
					t.Fatalf("change %d: %s", i, value)
				}
				if cap(got.Key) != len(got.Key) || cap(got.Value) != len(got.Value) || cap(got.Headers) != len(got.Headers) {
					t.Fatalf("change %d: what is appended to it would change the next", i)
				}
			}
			if next != len(b.Events) {
				t.Errorf("%d events, want %d", len(b.Events), next)
			}
		}
	}
}

// TestRefusal: the error of a change that can't be encoded is the document's own, and tells what it means.
func TestRefusal(t *testing.T) {
	var b codec.Batch
	b.Encode(codec.Encoder{}, "run", []syncd.Change{
		{Target: &target, ID: "a", Document: memory{plain: "{}"}},
		{Target: &target, ID: "b", Document: memory{}},
		{Target: &target, ID: "c"},
	})
	refused, ok := errors.AsType[*syncd.BatchError](b.Refused())
	if !ok || !slices.Equal(refused.Failed(), []int{1, 2}) {
		t.Fatalf("refused %v", b.Refused())
	}
	own := refused.Of(1)
	if own.Error() != "not UTF-8" || !errors.Is(own, errUnwritable) || !errors.Is(own, syncd.ErrNotEncodable) || errors.Is(own, syncd.ErrUnavailable) || syncd.HintOf(own) != "mend it" {
		t.Errorf("%v, hint %q", own, syncd.HintOf(own))
	}
	if own = refused.Of(2); !errors.Is(own, syncd.ErrNotEncodable) || own.Error() != "the change has no document" {
		t.Errorf("%v", own)
	}
	// It stays as it is when the batch is used again.
	b.Encode(codec.Encoder{}, "run", nil)
	if b.Refused() != nil || len(refused.Failed()) != 2 {
		t.Errorf("refused %v, before %v", b.Refused(), refused)
	}
}

func TestSettle(t *testing.T) {
	boom := errors.New("boom")
	placed := func(changes []syncd.Change) []int64 {
		var out []int64
		for i, c := range changes {
			if c.Placement.Known != (c.Bytes > 0) {
				t.Errorf("change %d: %+v, %d bytes", i, c.Placement, c.Bytes)
			}
			if c.Placement.Known {
				out = append(out, int64(i), c.Placement.Offset)
			}
		}
		return out
	}
	for name, tc := range map[string]struct {
		sink   func(*syncd.BatchError) error
		failed []int
		placed []int64 // index of the change, offset
	}{
		"all":  {func(*syncd.BatchError) error { return nil }, []int{3}, []int64{0, 0, 1, 1, 2, 2, 4, 3, 5, 4}},
		"some": {func(e *syncd.BatchError) error { e.Fail(1, boom); e.Fail(3, boom); return e }, []int{1, 3, 4}, []int64{0, 0, 2, 2, 5, 4}},
		"none": {func(*syncd.BatchError) error { return boom }, nil, nil},
	} {
		in := changes(6)
		var b codec.Batch
		b.Encode(codec.Encoder{}, "run", in)
		for i := range b.Events {
			b.Events[i].Placement = syncd.Placement{Offset: int64(i), Known: true}
		}
		err := b.Settle(in, tc.sink(&syncd.BatchError{}))
		failed, partial := errors.AsType[*syncd.BatchError](err)
		if partial != (tc.failed != nil) || partial && !slices.Equal(failed.Failed(), tc.failed) || !partial && !errors.Is(err, boom) {
			t.Errorf("%s: %v", name, err)
		}
		if partial && !errors.Is(failed.Of(3), syncd.ErrNotEncodable) {
			t.Errorf("%s: %v", name, failed.Of(3))
		}
		if diff := cmp.Diff(tc.placed, placed(in)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	in := changes(3)
	var b codec.Batch
	b.Encode(codec.Encoder{}, "run", in)
	if err := b.Settle(in, nil); err != nil {
		t.Error(err)
	}
}

// typed are changes of documents with BSON's types, as most runs have them.
func typed(t testing.TB, n int) []syncd.Change {
	out := make([]syncd.Change, n)
	now := time.Now()
	for i := range out {
		id := bson.NewObjectID()
		out[i] = syncd.Change{
			Target: &target, ID: id.Hex(), PointID: uuid.New(), ReadAt: now.UnixNano(),
			Document: document(t, bson.D{{Key: "_id", Value: id}, {Key: "title", Value: "a \"quoted\" title"}, {Key: "n", Value: 1.5}}),
		}
	}
	return out
}

// TestBatchAllocations: an event costs none, and a batch a handful.
func TestBatchAllocations(t *testing.T) {
	in := typed(t, 1000)
	for _, e := range []codec.Encoder{{}, mongoKafka(nil)} {
		var b codec.Batch
		n := testing.AllocsPerRun(20, func() {
			b.Encode(e, "run", in)
			if err := b.Settle(in, nil); err != nil {
				t.Fatal(err)
			}
		})
		if n > 4 {
			t.Errorf("%v allocations", n)
		}
	}
}

func BenchmarkBatch(b *testing.B) {
	in := typed(b, 1000)
	b.ReportAllocs()
	var batch codec.Batch
	for b.Loop() {
		batch.Encode(codec.Encoder{}, "0190163d-8694-739b-aea5-966c26f8ad90", in)
		if err := batch.Settle(in, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N*len(in)), "ns/event")
}
