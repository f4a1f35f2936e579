package syncdtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// Received is an event as a reader of the sink's target finds it.
type Received struct {
	Target    string // the topic or file
	Key       []byte
	Value     []byte // nil is a tombstone
	Headers   []codec.Header
	Placement syncd.Placement // where the reader found it; not known where readers can't tell
}

// SinkHarness tells TestSink how to reach a sink and how to read what it wrote.
type SinkHarness struct {
	// Event is the form of events that the opened sinks are configured with. The zero value is codec.Defaults. A sink is best
	// tested with several.
	Event codec.Config

	// Open returns an open sink that can write to every one of SinkTargets. The suite closes it; what else Open started
	// ends with t.Cleanup.
	Open func(t *testing.T) syncd.Sink

	// OpenAgain returns another sink that writes where the last opened one does, as a later run opens it, while the other is
	// still open. It is needed where the sink can commit.
	OpenAgain func(t *testing.T) syncd.Sink

	// Read returns what the last opened sink has made durable so far, while that sink is still open; the order of events with
	// one key is kept. Where the sink can commit, those count that are committed. Events of earlier cases may be among them: the
	// suite never uses an id twice.
	Read func(t *testing.T) []Received

	// TooLarge is the size of a document that the sink must refuse with a BatchError; 0 skips the cases.
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

// TestSink tests that a sink which writes bytes does what [syncd.Sink] says, one subtest per case. What arrives is compared with
// the events that package codec makes of the changes. A sink that can commit is tested as both.
func TestSink(t *testing.T, h SinkHarness) {
	t.Helper()
	runCases(t, h.cases(), h.Except, h.Background)
}

func (h SinkHarness) cases() []testCase {
	cases := []testCase{
		{"one_change", h.oneChange},
		{"no_changes", h.noChanges},
		{"many_sizes", h.manySizes},
		{"order_within_a_key", h.orderWithinKey},
		{"exact_text", h.exactText},
		{"headers", h.headers},
		{"operations", h.operations},
		{"references", h.references},
		{"dead_letters", h.deadLetters},
		{"targets", h.targets},
		{"changes_belong_to_the_caller", h.changesBelongToTheCaller},
		{"changes_are_not_changed", h.changesAreNotChanged},
		{"not_encodable", h.notEncodable},
		{"too_large", h.tooLarge},
		{"context_that_has_ended", h.contextThatHasEnded},
		{"concurrent_writers", h.concurrentWriters},
		{"abilities", h.abilities},
		{"close_unused", func(t *testing.T) { closeLater(t, h.Open(t)) }},
	}
	return append(cases, h.commitCases()...)
}

// outlet is an open sink and what should have arrived through it.
type outlet struct {
	syncd.Sink
	h       SinkHarness
	name    string // is in every id
	run     string // the id of the sink's run, which begins with name; "" for a sink that is not told
	targets []syncd.Target
	sent    []Received
}

func (h SinkHarness) open(t *testing.T) *outlet {
	t.Helper()
	o := &outlet{Sink: h.Open(t), h: h, name: uuid.NewString(), targets: SinkTargets()}
	closeLater(t, o.Sink)
	o.prepare(t, o.name)
	return o
}

func (o *outlet) prepare(t *testing.T, run string) {
	t.Helper()
	if prepare := o.Abilities().Prepare; prepare != nil {
		o.run = run
		must(t, prepare(t.Context(), syncd.Run{ID: run, Targets: SinkTargets()}))
	}
}

// suiteDoc is a document that sees to it that nobody changes its bytes.
type suiteDoc struct {
	syncd.BSONDocument
	copied []byte
}

func newSuiteDoc(fields bson.D) *suiteDoc {
	raw, err := bson.Marshal(fields)
	if err != nil {
		panic(err) // the suite's own documents can be encoded
	}
	return &suiteDoc{BSONDocument: bsondoc.NewDocument(raw), copied: bytes.Clone(raw)}
}

// unwritable is a document that has no form in any profile: it can't be written as JSON, and has no BSON.
type unwritable struct{ syncd.Document }

var errUnwritable = errors.New("a corrupt field")

func (unwritable) AppendJSON(dst []byte, _ syncd.Dialect) ([]byte, error) { return dst, errUnwritable }

// change returns an ordinary change with the given name in its id. fields are those of its document beside _id.
func (o *outlet) change(name string, fields ...bson.E) syncd.Change {
	id := o.name + "/" + name
	return syncd.Change{
		Key: syncd.Key("key of " + id), ID: id, Fields: []syncd.Value{{Text: name, Set: true}},
		Document: newSuiteDoc(append(bson.D{{Key: "_id", Value: id}, {Key: "name", Value: name}}, fields...)),
		Target:   &o.targets[0], PointID: uuid.NewSHA1(uuid.NameSpaceURL, []byte(id)), Verdict: syncd.Missing,
		ReadAt: time.Date(2024, 5, 6, 7, 8, 9, len(name)*1000, time.UTC).UnixNano(),
	}
}

func (o *outlet) changes(from, to int) []syncd.Change {
	changes := make([]syncd.Change, to-from)
	for i := range changes {
		changes[i] = o.change(fmt.Sprintf("change-%05d", from+i))
	}
	return changes
}

// padded is change with a document of more than so many bytes.
func (o *outlet) padded(name string, size int) syncd.Change {
	return o.change(name, bson.E{Key: "text", Value: strings.Repeat("x", size)})
}

// expect returns what a reader of the target should find of changes.
func (o *outlet) expect(changes ...syncd.Change) []Received {
	var batch codec.Batch
	batch.Encode(o.h.Event.Encoder(), o.run, changes)
	out := make([]Received, len(batch.Events))
	for i, e := range batch.Events {
		out[i] = Received{Key: bytes.Clone(e.Key), Value: bytes.Clone(e.Value), Headers: slices.Clone(e.Headers)}
		if route := o.Abilities().Route; route != nil {
			out[i].Target = route(e.Target)
		}
	}
	return out
}

// write writes changes, which must be durable on return.
func (o *outlet) write(t *testing.T, changes ...syncd.Change) {
	t.Helper()
	expected, before := o.expect(changes...), slices.Clone(changes)
	must(t, o.Write(t.Context(), changes))
	for i := range expected {
		if size := len(expected[i].Key) + len(expected[i].Value); int(changes[i].Bytes) < size {
			t.Fatalf("Write has set Bytes of change %d of %d, whose event has %d, to %d", i, len(changes), size, changes[i].Bytes)
		}
		expected[i].Placement = changes[i].Placement
	}
	mustBeUnchanged(t, before, changes)
	o.sent = append(o.sent, expected...)
}

// writeRefused writes changes, of which the one at the given index must be refused alone and all others must be durable. It returns
// the refusal.
func (o *outlet) writeRefused(t *testing.T, at int, changes ...syncd.Change) error {
	t.Helper()
	before := slices.Clone(changes)
	own, err := refusalOf(at, o.Write(t.Context(), changes))
	must(t, err)
	if changes[at].Placement != (syncd.Placement{}) || changes[at].Bytes != 0 {
		t.Errorf("change %d was refused, and has the placement %+v and %d bytes", at, changes[at].Placement, changes[at].Bytes)
	}
	mustBeUnchanged(t, before, changes)
	o.sent = append(o.sent, o.expect(slices.Delete(before, at, at+1)...)...)
	return own
}

// refusalOf returns the error of the one change that err must refuse.
func refusalOf(at int, err error) (own, wrong error) {
	if err == nil {
		return nil, fmt.Errorf("change %d is to be refused, and all of them were taken", at)
	}
	failed, ok := errors.AsType[*syncd.BatchError](err)
	if !ok || !slices.Equal(failed.Failed(), []int{at}) {
		return nil, fmt.Errorf("change %d is to be refused: %w; want a BatchError of that change alone", at, err)
	}
	if own = failed.Of(at); errors.Is(own, syncd.ErrUnavailable) {
		return nil, fmt.Errorf("change %d is refused for its own fault, and the error is that of an outage: %w", at, own)
	}
	return own, nil
}

// mustBeUnchanged compares all that a sink may not set.
func mustBeUnchanged(t *testing.T, before, after []syncd.Change) {
	t.Helper()
	for i, b := range before {
		a := after[i]
		if d, ok := a.Document.(*suiteDoc); ok && !bytes.Equal(d.BSON(), d.copied) {
			t.Fatalf("the sink has written into the document of change %d", i)
		}
		if !slices.Equal(a.Fields, b.Fields) || a.Key != b.Key || a.ID != b.ID || a.Document != b.Document || !sameError(a.Err, b.Err) ||
			a.Target != b.Target || a.PointID != b.PointID || a.Operation != b.Operation || a.Reason != b.Reason ||
			a.Verdict != b.Verdict || a.Reference != b.Reference || a.ReadAt != b.ReadAt {
			t.Fatalf("the sink has changed change %d, from\n%+v to\n%+v", i, b, a)
		}
	}
}

// sameError compares errors as values: the same one, not one like it.
func sameError(a, b error) bool { return a == b }

// verify compares what arrived with what was sent: every event once, to the byte, in order within a key.
func (o *outlet) verify(t *testing.T) {
	t.Helper()
	want := slices.Clone(o.sent)
	var got []Received
	for _, r := range o.h.Read(t) {
		if o.mine(r) {
			if o.Abilities().Route == nil {
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
		// A sink need not say where an event is. What it says must be true, where the reader can tell.
		if w, g := want[i].Placement, got[i].Placement; w.Known && g.Known && w != g {
			t.Fatalf("the event with the key %q is at %+v, and the sink said %+v", got[i].Key, g, w)
		}
	}
}

// mine reports whether an event is of this case. A dead letter may have no id to tell it by.
func (o *outlet) mine(r Received) bool {
	return bytes.Contains(r.Key, []byte(o.name)) || slices.ContainsFunc(r.Headers, func(h codec.Header) bool {
		return h.Name == codec.HeaderRunID && strings.HasPrefix(h.Value, o.name)
	})
}

func (r Received) equal(other Received) bool {
	return r.Target == other.Target && bytes.Equal(r.Key, other.Key) && slices.Equal(r.Headers, other.Headers) &&
		bytes.Equal(r.Value, other.Value) && (r.Value == nil) == (other.Value == nil) // a tombstone is not an empty value
}

func (h SinkHarness) oneChange(t *testing.T) {
	o := h.open(t)
	o.write(t, o.change("only"))
	o.verify(t)
}

func (h SinkHarness) noChanges(t *testing.T) {
	o := h.open(t)
	must(t, o.Write(t.Context(), nil))
	must(t, o.Write(t.Context(), []syncd.Change{}))
	o.verify(t)
}

func (h SinkHarness) manySizes(t *testing.T) {
	o := h.open(t)
	from := 0
	for _, n := range []int{1, 2, 99, 100, 1000} {
		o.write(t, o.changes(from, from+n)...)
		o.verify(t) // durable when Write returns, not when the next one does
		from += n
	}
}

func (h SinkHarness) orderWithinKey(t *testing.T) {
	o := h.open(t)
	for batch := range 20 {
		var changes []syncd.Change
		for i := range 15 {
			changes = append(changes, o.change(fmt.Sprintf("key-%d", i%3), bson.E{Key: "batch", Value: batch}, bson.E{Key: "i", Value: i}))
		}
		o.write(t, changes...)
	}
	o.verify(t)
}

func (h SinkHarness) exactText(t *testing.T) {
	o := h.open(t)
	for _, text := range []string{
		"žluťoučký 漢字 🐎", `"quoted" \ / <b>&amp;`, "a b", "line\u2028separator", "%s%20", " edges ", "two: colons,  two spaces",
		"control \x00\x01\x1f\x7f", "lines\r\n\n\t", strings.Repeat("long ", 10_000),
	} {
		short := text[:min(len(text), 100)]
		c := o.change(short, bson.E{Key: "text", Value: text}, bson.E{Key: strings.Fields(text)[0], Value: bson.A{1.5, nil, short}})
		target := o.targets[0]
		target.ContentType = text[:min(len(text), 1000)] // a header
		c.Target = &target
		o.write(t, c)
	}
	o.verify(t)
}

// headers differ from change to change, also in number, and a value may be empty.
func (h SinkHarness) headers(t *testing.T) {
	o := h.open(t)
	none := o.targets[0]
	none.ContentType = ""
	changes := o.changes(0, 5)
	changes[1].Target = &none
	changes[2].Reference = true
	changes[3].Reason, changes[3].ReadAt = syncd.ReasonFull, changes[3].ReadAt+time.Hour.Nanoseconds()
	changes[4].Err = &syncd.DocumentError{Stage: syncd.FailedWrite, Cause: errors.New("")}
	o.write(t, changes...)
	o.verify(t)
}

// operations are inserts, replaces and deletes of the same documents, for every reason that there is.
func (h SinkHarness) operations(t *testing.T) {
	o := h.open(t)
	for i, op := range []struct {
		operation syncd.Operation
		reason    syncd.Reason
	}{
		{syncd.Insert, syncd.ReasonMissing}, {syncd.Replace, syncd.ReasonStale}, {syncd.Delete, syncd.ReasonOrphan},
		{syncd.Insert, syncd.ReasonFull}, {syncd.Replace, syncd.ReasonPartial}, {syncd.Delete, syncd.ReasonOrphan},
	} {
		changes := o.changes(0, 3)
		for k := range changes {
			changes[k].Operation, changes[k].Reason = op.operation, op.reason
			if op.operation == syncd.Delete {
				changes[k].Key, changes[k].Fields, changes[k].Document = "", nil, nil
			}
		}
		o.write(t, append(changes, o.change(fmt.Sprintf("other-%d", i)))...)
	}
	o.verify(t)
}

// references have documents that are not written, whatever their size.
func (h SinkHarness) references(t *testing.T) {
	o := h.open(t)
	changes := append(o.changes(0, 3), o.padded("large", max(h.TooLarge, 10_000)))
	changes[1].Reference, changes[3].Reference = true, true
	changes[1].Operation, changes[1].Reason = syncd.Replace, syncd.ReasonStale
	o.write(t, changes...)
	o.verify(t)
}

// deadLetters are written as far as there is something of them.
func (h SinkHarness) deadLetters(t *testing.T) {
	o := h.open(t)
	dead := func(c syncd.Change, stage syncd.FailedStage, cause error) syncd.Change {
		c.Err = &syncd.DocumentError{Stage: stage, Route: "where it would have gone", Split: 7, Cause: cause}
		return c
	}
	unreadable := o.change("unreadable")
	unreadable.Document, unreadable.Fields = nil, nil
	nothing := syncd.Change{Target: &o.targets[0], ReadAt: unreadable.ReadAt}
	corrupt := o.change("corrupt")
	corrupt.Document = &unwritable{corrupt.Document}
	changes := []syncd.Change{
		o.change("alive"),
		dead(unreadable, syncd.FailedRead, errors.New("a field that can't be read")),
		dead(o.change("not encoded"), syncd.FailedEncode, fmt.Errorf("encoding: %w", syncd.ErrNotEncodable)),
		dead(corrupt, syncd.FailedEncode, errUnwritable),
		dead(o.change("not written"), syncd.FailedWrite, errors.New("žluť, \"refused\"\nfor good")),
		dead(o.padded("large", max(h.TooLarge, 10_000)), syncd.FailedWrite, fmt.Errorf("refused: %w", syncd.ErrTooLarge)),
		o.change("alive as well"),
	}
	if o.run != "" { // else nobody could tell whose it is
		changes = append(changes, dead(nothing, syncd.FailedRead, errors.New("the document has no _id")))
	}
	o.write(t, changes...)
	o.verify(t)
}

func (h SinkHarness) targets(t *testing.T) {
	o := h.open(t)
	var changes []syncd.Change
	for i := range o.targets {
		c := o.change(fmt.Sprintf("target-%d", i))
		c.Target = &o.targets[i]
		changes = append(changes, c)
		if route := o.Abilities().Route; route != nil {
			if name := route(o.targets[i]); name == "" || name != route(o.targets[i]) {
				t.Errorf("Route(%+v) = %q, which is no name or not always the same", o.targets[i], name)
			}
		}
	}
	o.write(t, changes...)
	o.verify(t)
}

func (h SinkHarness) changesBelongToTheCaller(t *testing.T) {
	o := h.open(t)
	reused := make([]syncd.Change, 10)
	for batch := range 20 {
		copy(reused, o.changes(10*batch, 10*batch+10))
		o.write(t, reused...)
		for i := range reused {
			clear(reused[i].Fields)
		}
		clear(reused)
	}
	o.verify(t)
}

func (h SinkHarness) changesAreNotChanged(t *testing.T) {
	o := h.open(t)
	all := o.changes(0, 60)
	before := slices.Clone(all)
	o.write(t, all[:50]...) // which compares the 50
	mustBeUnchanged(t, before, all)
	for i, c := range all[50:] {
		if c.Placement != (syncd.Placement{}) || c.Bytes != 0 {
			t.Errorf("Write has set fields of change %d, which it was not given", 50+i)
		}
	}
	if !slices.Equal(o.targets, SinkTargets()) {
		t.Errorf("Write has changed the targets: %+v", o.targets)
	}
	o.verify(t)
}

func (h SinkHarness) notEncodable(t *testing.T) {
	o := h.open(t)
	for _, at := range []int{0, 1, 2} {
		changes := o.changes(10*at, 10*at+3)
		changes[at].Document = &unwritable{changes[at].Document}
		if own := o.writeRefused(t, at, changes...); !errors.Is(own, syncd.ErrNotEncodable) {
			t.Errorf("change %d of 3 has no form: %v; want an error that wraps ErrNotEncodable", at, own)
		}
	}
	all := o.changes(100, 103)
	for i := range all {
		all[i].Document = &unwritable{all[i].Document}
	}
	failed, _ := errors.AsType[*syncd.BatchError](o.Write(t.Context(), all))
	if failed == nil || len(failed.Failed()) != len(all) {
		t.Errorf("no change of a Write has a form: %v; want a BatchError of all", failed)
	}
	o.write(t, o.change("afterwards"))
	o.verify(t)
}

func (h SinkHarness) tooLarge(t *testing.T) {
	if h.TooLarge == 0 {
		t.Skip("the harness has no TooLarge")
	}
	o := h.open(t)
	for _, at := range []int{0, 1, 2} {
		changes := o.changes(10*at, 10*at+3)
		changes[at] = o.padded(fmt.Sprintf("large-%d", at), h.TooLarge)
		if own := o.writeRefused(t, at, changes...); !errors.Is(own, syncd.ErrTooLarge) {
			t.Errorf("change %d of 3 is too large: %v; want an error that wraps ErrTooLarge", at, own)
		}
		changes[at].Reference = true
		o.write(t, changes[at])
	}
	both := []syncd.Change{o.padded("large", h.TooLarge), o.change("corrupt"), o.change("beside them")}
	both[1].Document = &unwritable{both[1].Document}
	failed, _ := errors.AsType[*syncd.BatchError](o.Write(t.Context(), both))
	if failed == nil || !slices.Equal(failed.Failed(), []int{0, 1}) || !errors.Is(failed.Of(0), syncd.ErrTooLarge) ||
		!errors.Is(failed.Of(1), syncd.ErrNotEncodable) {
		t.Errorf("one change is too large, the next has no form, the third is good: %v", failed)
	}
	o.sent = append(o.sent, o.expect(both[2])...)
	o.write(t, o.change("afterwards"))
	o.verify(t)
}

func (h SinkHarness) contextThatHasEnded(t *testing.T) {
	o := h.open(t)
	never := &outlet{name: uuid.NewString(), targets: SinkTargets()}
	fails(t, "Write", func(ctx context.Context) error { return o.Write(ctx, never.changes(0, 1)) })
	o.write(t, o.change("afterwards"))
	read := o.h.Read
	o.h.Read = func(t *testing.T) []Received { // nothing is known about what was written too late
		return slices.DeleteFunc(read(t), func(r Received) bool { return bytes.Contains(r.Key, []byte(never.name)) })
	}
	o.verify(t)
}

func (h SinkHarness) concurrentWriters(t *testing.T) {
	o := h.open(t)
	const writers, batches, size = 8, 10, 20
	ctx := t.Context()
	together(t, writers, func(w int) error {
		for b := range batches {
			from := (w*batches + b) * size
			if err := o.Write(ctx, o.changes(from, from+size)); err != nil {
				return fmt.Errorf("Write: %w", err)
			}
		}
		return nil
	})
	o.sent = o.expect(o.changes(0, writers*batches*size)...)
	o.verify(t)
}

// abilities are the same at any moment, and those that belong together are.
func (h SinkHarness) abilities(t *testing.T) {
	s := h.Open(t)
	closeLater(t, s)
	first := abilitiesOf(s.Abilities())
	must(t, sameAbilities(first, s.Abilities()))
	a := s.Abilities()
	if (a.Marks == nil) != (a.Commit == nil) || a.PeekMarks != nil && a.Marks == nil {
		t.Errorf("Abilities are %q; Marks and Commit are both there or neither, and PeekMarks only beside them", first)
	}
	if a.Prepare != nil {
		must(t, a.Prepare(t.Context(), syncd.Run{ID: "run", Targets: SinkTargets()}))
	}
	must(t, sameAbilities(first, s.Abilities()))
	must(t, s.Write(t.Context(), (&outlet{name: uuid.NewString(), targets: SinkTargets()}).changes(0, 3)))
	must(t, sameAbilities(first, s.Abilities()))
	together(t, 8, func(int) error { return sameAbilities(first, s.Abilities()) })
}
