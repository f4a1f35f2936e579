package syncdtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
)

// Received is an event as a reader of the sink's target finds it.
type Received struct {
	Target  string // the topic or file
	Key     []byte
	Value   []byte // nil is a tombstone
	Headers []syncd.Header
}

// SinkHarness tells TestSink how to reach a sink and how to read what it wrote.
type SinkHarness struct {
	// Open returns an open sink that can write to every one of SinkTargets. The suite closes it; what else Open started
	// ends with t.Cleanup.
	Open func(t *testing.T) syncd.Sink

	// OpenAgain returns another sink that writes where the last opened one does, as a later run opens it, while the other is
	// still open. It is needed where the sink is a syncd.Committer.
	OpenAgain func(t *testing.T) syncd.Sink

	// Read returns what the last opened sink has made durable so far, while that sink is still open; the order of events
	// with one key is kept. Of a Committer's events those count that are committed. Events of earlier cases may be among them: the suite never uses a key twice.
	Read func(t *testing.T) []Received

	// TooLarge is the size of a value that the sink must refuse with a BatchError; 0 skips the cases.
	TooLarge int

	// Except names cases that the sink can't pass, and why; they are skipped with that reason.
	Except map[string]string

	// Background names functions (as in a stack trace) of goroutines that a client library keeps for good.
	Background []string
}

// SinkTargets lists the targets that TestSink writes to, so that a harness can create topics for them.
func SinkTargets() []syncd.Target {
	return []syncd.Target{
		{Database: "conformance", Collection: "page", ContentType: "page"},
		{Database: "conformance", Collection: "workItem", ContentType: "work_item"},
		{Database: "conformance", Collection: "cycle", ContentType: "cycle", Topic: "conformance.own"},
	}
}

// TestSink tests that a sink does what [syncd.Sink] says, one subtest per case. Keys are text and values JSON without line
// breaks, except in the cases that say otherwise. A sink that is a syncd.Committer is tested as both.
func TestSink(t *testing.T, h SinkHarness) {
	t.Helper()
	runCases(t, h.cases(), h.Except, h.Background)
}

func (h SinkHarness) cases() []testCase {
	cases := []testCase{
		{"one_event", h.oneEvent},
		{"no_events", h.noEvents},
		{"many_sizes", h.manySizes},
		{"order_within_a_key", h.orderWithinKey},
		{"exact_text", h.exactText},
		{"headers", h.headers},
		{"tombstone", h.tombstone},
		{"empty_value", h.emptyValue},
		{"binary", h.binary},
		{"targets", h.targets},
		{"events_belong_to_the_caller", h.eventsBelongToTheCaller},
		{"events_are_not_changed", h.eventsAreNotChanged},
		{"too_large", h.tooLarge},
		{"context_that_has_ended", h.contextThatHasEnded},
		{"concurrent_writers", h.concurrentWriters},
		{"close_unused", func(t *testing.T) { closeLater(t, h.Open(t)) }},
	}
	return append(cases, h.commitCases()...)
}

// outlet is an open sink and what should have arrived through it.
type outlet struct {
	syncd.Sink
	h    SinkHarness
	run  string // begins every key
	sent []syncd.Event
}

func (h SinkHarness) open(t *testing.T) *outlet {
	t.Helper()
	o := &outlet{Sink: h.Open(t), h: h, run: uuid.NewString()}
	closeLater(t, o.Sink)
	if p, ok := o.Sink.(syncd.Preparer); ok {
		must(t, p.Prepare(t.Context(), SinkTargets()))
	}
	return o
}

// event returns an ordinary event with the given name in its key.
func (o *outlet) event(name string) syncd.Event {
	id := o.run + "/" + name
	return syncd.Event{
		Target:  SinkTargets()[0],
		ID:      id,
		PointID: uuid.NewSHA1(uuid.NameSpaceURL, []byte(id)),
		Key:     []byte(id),
		Value:   []byte(`{"name":"` + name + `"}`),
		Headers: []syncd.Header{{Name: "syncd-reason", Value: "missing"}, {Name: "name", Value: name}},
	}
}

func (o *outlet) events(from, to int) []syncd.Event {
	events := make([]syncd.Event, to-from)
	for i := range events {
		events[i] = o.event(fmt.Sprintf("event-%05d", from+i))
	}
	return events
}

// write writes events, which must be durable on return.
func (o *outlet) write(t *testing.T, events ...syncd.Event) {
	t.Helper()
	expected := cloneEvents(events)
	must(t, o.Write(t.Context(), events))
	o.sent = append(o.sent, expected...)
}

func cloneEvents(events []syncd.Event) []syncd.Event {
	out := slices.Clone(events)
	for i, e := range out {
		out[i] = cloneEvent(e)
	}
	return out
}

func cloneEvent(e syncd.Event) syncd.Event {
	e.Key, e.Value, e.Headers = bytes.Clone(e.Key), bytes.Clone(e.Value), slices.Clone(e.Headers)
	return e
}

// verify compares what arrived with what was sent: every event once, to the byte, in order within a key.
func (o *outlet) verify(t *testing.T) {
	t.Helper()
	want := make([]Received, len(o.sent))
	for i, e := range o.sent {
		want[i] = Received{Key: e.Key, Value: e.Value, Headers: e.Headers}
		if r, ok := o.Sink.(syncd.Router); ok {
			want[i].Target = r.Route(e.Target)
		}
	}
	var got []Received
	for _, r := range o.h.Read(t) {
		if bytes.HasPrefix(r.Key, []byte(o.run)) {
			if _, ok := o.Sink.(syncd.Router); !ok {
				r.Target = ""
			}
			got = append(got, r)
		}
	}
	byKey := func(a, b Received) int { return bytes.Compare(a.Key, b.Key) }
	slices.SortStableFunc(want, byKey)
	slices.SortStableFunc(got, byKey)
	if len(want) != len(got) {
		t.Errorf("%d events arrived where %d were sent", len(got), len(want))
	}
	for i := range min(len(want), len(got)) {
		if !want[i].equal(got[i]) {
			t.Fatalf("an event differs, the first by key (-sent +arrived):\n%s", cmp.Diff(want[i], got[i]))
		}
	}
}

func (r Received) equal(other Received) bool {
	return r.Target == other.Target && bytes.Equal(r.Key, other.Key) && slices.Equal(r.Headers, other.Headers) &&
		bytes.Equal(r.Value, other.Value) && (r.Value == nil) == (other.Value == nil) // a tombstone is not an empty value
}

func (h SinkHarness) oneEvent(t *testing.T) {
	o := h.open(t)
	o.write(t, o.event("only"))
	o.verify(t)
}

func (h SinkHarness) noEvents(t *testing.T) {
	o := h.open(t)
	must(t, o.Write(t.Context(), nil))
	must(t, o.Write(t.Context(), []syncd.Event{}))
	o.verify(t)
}

func (h SinkHarness) manySizes(t *testing.T) {
	o := h.open(t)
	from := 0
	for _, n := range []int{1, 2, 99, 100, 1000} {
		o.write(t, o.events(from, from+n)...)
		o.verify(t) // durable when Write returns, not when the next one does
		from += n
	}
}

func (h SinkHarness) orderWithinKey(t *testing.T) {
	o := h.open(t)
	for batch := range 20 {
		var events []syncd.Event
		for i := range 15 {
			e := o.event(fmt.Sprintf("key-%d", i%3))
			e.Value = fmt.Appendf(nil, `{"batch":%d,"i":%d}`, batch, i)
			events = append(events, e)
		}
		o.write(t, events...)
	}
	o.verify(t)
}

func (h SinkHarness) exactText(t *testing.T) {
	o := h.open(t)
	for i, text := range []string{
		"žluťoučký 漢字 🐎", `"quoted" \ / <b>&amp;`, "a b", "line\u2028separator", "%s%20", " edges ", strings.Repeat("long ", 10_000),
	} {
		e := o.event("text")
		e.Key = append(e.Key, text[:min(len(text), 100)]...)
		value, err := marshal(map[string]string{"text": text})
		must(t, err)
		e.Value = value
		e.Headers[0].Value = text
		spaced := o.event(fmt.Sprintf("spaced-%d", i))
		spaced.Value = []byte(`{"_id": {"$oid": "507f1f77bcf86cd799439011"}, "n": 1.0,  "big":12345678901234567890}`)
		o.write(t, e, spaced)
	}
	o.verify(t)
}

func (h SinkHarness) headers(t *testing.T) {
	o := h.open(t)
	none, empty, repeated := o.event("none"), o.event("empty"), o.event("repeated")
	none.Headers = nil
	empty.Headers = []syncd.Header{{Name: "b", Value: ""}, {Name: "a", Value: " "}}
	repeated.Headers = []syncd.Header{{Name: "b", Value: "1"}, {Name: "a", Value: "2"}, {Name: "b", Value: "3"}}
	o.write(t, none, empty, repeated)
	o.verify(t)
}

func (h SinkHarness) tombstone(t *testing.T) {
	o := h.open(t)
	e := o.event("deleted")
	o.write(t, e)
	e.Value = nil
	o.write(t, e, o.event("other"))
	o.verify(t)
}

func (h SinkHarness) emptyValue(t *testing.T) {
	o := h.open(t)
	e := o.event("empty")
	e.Value = []byte{}
	o.write(t, e)
	o.verify(t)
}

func (h SinkHarness) binary(t *testing.T) {
	o := h.open(t)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	e := o.event("binary")
	e.Key, e.Value = append(e.Key, all...), all
	lines := o.event("lines")
	lines.Value = []byte("{\n  \"a\": 1\r\n}\n")
	o.write(t, e, lines)
	o.verify(t)
}

func (h SinkHarness) targets(t *testing.T) {
	o := h.open(t)
	var events []syncd.Event
	for i, target := range SinkTargets() {
		e := o.event(fmt.Sprintf("target-%d", i))
		e.Target = target
		events = append(events, e)
		if r, ok := o.Sink.(syncd.Router); ok {
			route := r.Route(target)
			if route == "" || route != r.Route(target) {
				t.Errorf("Route(%+v) = %q, which is no name or not always the same", target, route)
			}
		}
	}
	o.write(t, events...)
	o.verify(t)
}

func (h SinkHarness) eventsBelongToTheCaller(t *testing.T) {
	o := h.open(t)
	for batch := range 20 {
		events := o.events(10*batch, 10*batch+10)
		o.write(t, events...)
		for _, e := range events {
			for i := range e.Key {
				e.Key[i] = '#'
			}
			for i := range e.Value {
				e.Value[i] = '#'
			}
			clear(e.Headers)
		}
		clear(events)
	}
	o.verify(t)
}

func (h SinkHarness) eventsAreNotChanged(t *testing.T) {
	o := h.open(t)
	// As in an engine that encodes a whole batch into one buffer: behind each event's bytes are those of the next.
	var arena []byte
	events := o.events(0, 50)
	cut := func(b []byte) []byte {
		from := len(arena)
		arena = append(arena, b...)
		return arena[from:]
	}
	arena = make([]byte, 0, 1<<16)
	for i, e := range events {
		events[i].Key, events[i].Value = cut(e.Key), cut(e.Value)
		events[i].Headers = e.Headers[:1]
	}
	before, copied := cloneEvents(events), bytes.Clone(arena[:cap(arena)])
	o.write(t, events...)
	for i := range events {
		events[i].Position = syncd.Position{} // the one field that a sink may set
	}
	if diff := cmp.Diff(before, events); diff != "" {
		t.Errorf("Write has changed the events (-before +after):\n%s", diff)
	}
	if !bytes.Equal(copied, arena[:cap(arena)]) {
		t.Error("Write has written behind an event's bytes")
	}
	if want := (syncd.Header{Name: "name", Value: "event-00000"}); events[0].Headers[:2][1] != want {
		t.Error("Write has written behind an event's headers")
	}
	o.verify(t)
}

func (h SinkHarness) tooLarge(t *testing.T) {
	if h.TooLarge == 0 {
		t.Skip("the harness has no TooLarge")
	}
	o := h.open(t)
	for _, at := range []int{0, 1, 2} {
		events := o.events(10*at, 10*at+3)
		events[at].Value = []byte(`{"text":"` + strings.Repeat("x", h.TooLarge) + `"}`)
		err := o.Write(t.Context(), events)
		failed, ok := errors.AsType[*syncd.BatchError](err)
		if !ok || !slices.Equal(failed.Failed(), []int{at}) {
			t.Fatalf("event %d of 3 is too large: %v; want a BatchError of that event alone", at, err)
		}
		if own := failed.Of(at); !errors.Is(own, syncd.ErrTooLarge) || errors.Is(own, syncd.ErrUnavailable) {
			t.Errorf("event %d of 3 is too large, which is its own fault: %v", at, own)
		}
		o.sent = append(o.sent, slices.Delete(events, at, at+1)...)
	}
	o.write(t, o.event("afterwards"))
	o.verify(t)
}

func (h SinkHarness) contextThatHasEnded(t *testing.T) {
	o := h.open(t)
	for _, ctx := range []context.Context{canceled(t), expired(t)} {
		events := []syncd.Event{o.event("never")}
		events[0].Key = []byte(uuid.NewString()) // not looked for: nothing is known about it
		inTime(t, patience, "Write, whose context had ended,", func() error {
			if o.Write(ctx, events) == nil {
				return errors.New("the context had ended, and Write returned nil")
			}
			return nil
		})
	}
	o.write(t, o.event("afterwards"))
	o.verify(t)
}

func (h SinkHarness) concurrentWriters(t *testing.T) {
	o := h.open(t)
	const writers, batches, size = 8, 10, 20
	ctx := t.Context()
	together(t, writers, func(w int) error {
		for b := range batches {
			from := (w*batches + b) * size
			if err := o.Write(ctx, o.events(from, from+size)); err != nil {
				return fmt.Errorf("Write: %w", err)
			}
		}
		return nil
	})
	o.sent = o.events(0, writers*batches*size)
	o.verify(t)
}
