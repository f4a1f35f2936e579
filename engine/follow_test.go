package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/marks"
	"github.com/syncd-io/syncd/store/storetest"
	"github.com/syncd-io/syncd/syncdtest"
)

// following is a fixture whose source is followed from where it stood when this was called.
func following(t testing.TB) (*fixture, engine.Following) {
	t.Helper()
	f := newFixture(t)
	f.source.Record()
	stream := syncd.Stream{Name: "memory", Collections: []syncd.Collection{f.rule.Collection}}
	at, err := f.source.Abilities().Stream.Now(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return f, engine.Following{Stream: stream, State: store.Split{After: at}}
}

// keep gives the fixture a store that knows the stream.
func (f *fixture) keep(t testing.TB, s engine.Following) *storetest.MemoryStore {
	t.Helper()
	st := storetest.NewMemoryStore()
	if err := st.Begin(t.Context(), store.Info{Job: "job", RunID: f.opts.RunID}); err != nil {
		t.Fatal(err)
	}
	f.opts.Checkpoints = st
	begin(t, st, s)
	return st
}

func begin(t testing.TB, st store.Store, s engine.Following) {
	t.Helper()
	name := store.StreamOf(s.Name)
	if err := st.Collection(t.Context(), name, store.Collection{Found: true, Before: -1}, true); err != nil {
		t.Fatal(err)
	}
	if err := st.Split(t.Context(), name, s.State, true); err != nil {
		t.Fatal(err)
	}
}

// follow follows until the drain, which whatever do does ends with.
func (f *fixture) follow(t testing.TB, s engine.Following, do func(e *engine.Engine)) error {
	t.Helper()
	drain := make(chan struct{})
	o := f.opts
	o.Drain = drain
	e := engine.New(o)
	done := make(chan error, 1)
	go func() { done <- e.Follow(t.Context(), []engine.Following{s}) }()
	do(e)
	synctest.Wait()
	close(drain)
	return <-done
}

// says is each event's operation, id and version.
func says(events []codec.Event) (out []string) {
	for _, e := range events {
		out = append(out, string(e.Value))
	}
	return out
}

func doc(id string, v int) syncdtest.MemoryDoc {
	return syncdtest.MemoryDoc{ID: id, Fields: map[string]any{"title": "t", "v": v}}
}

func event(op, id string, v int) string {
	if op == "delete" {
		return fmt.Sprintf(`{"operationType":"delete","ns":{"db":"db","coll":"page"},"documentKey":{"_id":%q}}`, id)
	}
	return fmt.Sprintf(`{"operationType":%q,"ns":{"db":"db","coll":"page"},"documentKey":{"_id":%q},"fullDocument":{"_id":%[2]q,"title":"t","v":%d}}`, op, id, v)
}

// TestFollow: every change is an event of its own operation, with the document, and the index is not asked.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := following(t)
		err := f.follow(t, s, func(*engine.Engine) {
			for _, change := range []func(){
				func() { f.source.Insert("page", doc("a", 1)) },
				func() { f.source.Update("page", doc("a", 2), "v") },
				func() { f.source.Insert("page", doc("a", 3)) },
				func() { f.source.Delete("page", "a") },
			} {
				change()
				synctest.Wait()
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		want := []string{event("insert", "a", 1), event("update", "a", 2), event("replace", "a", 3), event("delete", "a", 0)}
		if got := says(f.sink.Events()); !slices.Equal(got, want) {
			t.Errorf("sent\n%q, not\n%q", got, want)
		}
		for _, e := range f.sink.Events() {
			if !slices.Contains(e.Headers, codec.Header{Name: codec.HeaderReason, Value: "changed"}) {
				t.Errorf("headers %v", e.Headers)
			}
		}
	})
}

// TestTheLimitOfEventsIsARunsNotAStreams, which has no end.
func TestTheLimitOfEventsIsARunsNotAStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := following(t)
		f.opts.Limits.MaxEvents = 3
		f.insert(10)
		if err := f.follow(t, s, func(*engine.Engine) {}); err != nil || len(f.sink.Events()) != 10 {
			t.Errorf("%v, %d events", err, len(f.sink.Events()))
		}
	})
}

// TestAnUpdateOfADeletedDocumentIsNotSent: its document is gone, and the delete follows. Nor does a sink send it that passes changes on in
// the source's own form, where the source has none.
func TestAnUpdateOfADeletedDocumentIsNotSent(t *testing.T) {
	for _, raw := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f, s := following(t)
			f.opts.Sink = passing{f.sink, raw}
			f.source.Insert("page", doc("a", 1))
			f.source.Update("page", doc("a", 2), "v")
			f.source.Delete("page", "a")
			var n engine.Snapshot
			if err := f.follow(t, s, func(e *engine.Engine) { synctest.Wait(); n = e.Snapshot() }); err != nil {
				t.Fatal(err)
			}
			if got, want := says(f.sink.Events()), []string{event("insert", "a", 1), event("delete", "a", 0)}; !slices.Equal(got, want) {
				t.Errorf("raw %t: sent\n%q, not\n%q", raw, got, want)
			}
			if c := n.Streams[0].Counts; c.Gone != 1 || c.Acked != 2 || c.Failed() != 0 || c.Problem() != "" {
				t.Errorf("raw %t: %+v %s", raw, c, c.Problem())
			}
		})
	}
}

// passing is a sink that can pass changes on in the source's own form.
type passing struct {
	*syncdtest.MemorySink
	raw bool
}

func (p passing) Abilities() syncd.SinkAbilities {
	a := p.MemorySink.Abilities()
	a.Raw = p.raw
	return a
}

// TestADeleteIsKnownByWhatTheDocumentWas, where its point id is made of fields; without that it is a dead letter.
func TestADeleteIsKnownByWhatTheDocumentWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := following(t)
		d := spec.NewDecoder()
		c := mapping.Defaults()
		c.Seed = "{mongo_id}/{fields.tenant}/{chunk_index}"
		c.Collections = []mapping.Collection{{Name: "page", ContentType: "page"}}
		f.opts.Rules = mapping.Compile(c, "db", d, nil).Rules
		letters := syncdtest.NewMemorySink()
		f.opts.DeadLetters = letters
		if err := f.follow(t, s, func(*engine.Engine) {
			f.source.Insert("page", syncdtest.MemoryDoc{ID: "a", Fields: map[string]any{"tenant": "t1"}}, syncdtest.MemoryDoc{ID: "b", Fields: map[string]any{"tenant": "t1"}})
			f.source.Insert("page", syncdtest.MemoryDoc{ID: "c"})
			f.source.Delete("page", "a")
			f.source.Delete("page", "c")
		}); err != nil {
			t.Fatal(err)
		}
		events, of := f.sink.Events(), map[string]int{} // events of each point: those of two documents may come in any order
		for _, e := range events {
			of[e.PointID.String()]++
		}
		if len(events) != 3 || len(of) != 2 {
			t.Errorf("%d events: %q", len(events), says(events))
		}
		var why string
		for _, c := range letters.Changes() {
			why += c.Err.Error() + "; "
		}
		if n := len(letters.Changes()); n != 2 || !strings.Contains(why, "which is gone") {
			t.Errorf("%d dead letters: %s", n, why)
		}
	})
}

// TestTheOffsetOfAnIdleStreamIsKept, or it would grow older than what the source remembers.
func TestTheOffsetOfAnIdleStreamIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := following(t)
		f.source.Create("other")
		st := f.keep(t, s)
		if err := f.follow(t, s, func(*engine.Engine) {
			for i := range 5 {
				f.source.Insert("other", doc(strconv.Itoa(i), 1)) // not followed
			}
			time.Sleep(3 * time.Second)
		}); err != nil {
			t.Fatal(err)
		}
		if c := st.Recall(store.StreamOf("memory")); len(c.Splits) != 1 || c.Splits[0].After != "#5" {
			t.Errorf("kept %+v", c)
		}
	})
}

// TestAStreamKnowsSinceWhenItIsBehind: the time of the last change says nothing about that after a silence.
func TestAStreamKnowsSinceWhenItIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := following(t)
		f.keep(t, s)
		f.opts.Sink = &slowSink{Sink: f.sink, for_: time.Minute}
		if err := f.follow(t, s, func(e *engine.Engine) {
			f.source.Insert("page", doc("a", 1))
			time.Sleep(time.Hour + time.Second/2) // the source says something at each full second
			if p := e.Snapshot().Streams[0]; time.Since(p.Since) > 3*time.Second || time.Since(p.At) < time.Hour-3*time.Second || !p.Current {
				t.Errorf("after an hour %+v", p)
			}
			f.source.Insert("page", doc("b", 1))
			time.Sleep(30 * time.Second)
			if p := e.Snapshot().Streams[0]; time.Since(p.Since) < 29*time.Second || time.Since(p.Since) > 33*time.Second || p.Current {
				t.Errorf("with a change under way %+v", p)
			}
		}); err != nil {
			t.Fatal(err)
		}
	})
}

// TestALostPositionEndsTheStream, and so does a collection that is gone, once all before it is delivered and kept.
func TestWhatEndsAStreamComesAfterWhatWasReadBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := following(t)
		st := f.keep(t, s)
		f.sink = syncdtest.NewMemorySink()
		slow := &slowSink{Sink: f.sink, for_: time.Minute}
		f.opts.Sink = slow
		f.insert(25)
		f.source.Drop("page")
		err := engine.New(f.opts).Follow(t.Context(), []engine.Following{s})
		gone, ok := errors.AsType[*syncd.CollectionGoneError](err)
		if !ok || gone.Collection != "page" || gone.After != "#26" {
			t.Fatalf("%v", err)
		}
		if n := len(f.sink.Events()); n != 25 {
			t.Errorf("%d events", n)
		}
		if c := st.Recall(store.StreamOf("memory")); c.Splits[0].After != "#25" || c.Splits[0].Counts.Acked != 25 {
			t.Errorf("kept %+v", c.Splits)
		}
		f.source.Forget(0)
		if err := engine.New(f.opts).Follow(t.Context(), []engine.Following{s}); !errors.Is(err, syncd.ErrPositionLost) {
			t.Errorf("%v", err)
		}
	})
}

type slowSink struct {
	syncd.Sink
	for_ time.Duration
}

func (s *slowSink) Write(ctx context.Context, changes []syncd.Change) error {
	time.Sleep(s.for_)
	return s.Sink.Write(ctx, changes)
}

// TestTheDrainTakesABatchWholeOrNot: what is followed again behind the drain, as after a reconcile, brings no change twice, though the
// changes of a batch go to several workers of which some are busy.
func TestTheDrainTakesABatchWholeOrNot(t *testing.T) {
	for _, busy := range strings.Split("abcdefgh", "") { // their lanes differ from one process to another
		synctest.Test(t, func(t *testing.T) {
			f, s := following(t)
			st := f.keep(t, s)
			f.opts.Workers, f.opts.Sink = 4, &slowSink{Sink: f.sink, for_: time.Second}
			if err := f.follow(t, s, func(*engine.Engine) {
				f.source.Insert("page", doc(busy, 1))
				synctest.Wait()
				f.insert(10)
			}); err != nil {
				t.Fatal(err)
			}
			s.State = st.Recall(store.StreamOf("memory")).Splits[0]
			if err := f.follow(t, s, func(*engine.Engine) { time.Sleep(10 * time.Second) }); err != nil {
				t.Fatal(err)
			}
			sent := says(f.sink.Events())
			slices.Sort(sent)
			if once := slices.Compact(slices.Clone(sent)); len(sent) != 11 || len(once) != 11 {
				t.Errorf("%d events, of which %d differ", len(sent), len(once))
			}
		})
	}
}

// TestDebounce: of a document's changes within the time only the last is sent, and their offsets are not passed before.
func TestDebounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := following(t)
		st := f.keep(t, s)
		s.Debounce = 10 * time.Second
		after := func() syncd.Offset { return st.Recall(store.StreamOf("memory")).Splits[0].After }
		if err := f.follow(t, s, func(e *engine.Engine) {
			for i := range 9 {
				f.source.Insert("page", doc("a", i), doc("b", i))
				time.Sleep(time.Second)
			}
			f.source.Delete("page", "b")
			synctest.Wait()
			if n := len(f.sink.Events()); n != 0 || after() != "#0" {
				t.Errorf("%d events before the time, at %s", n, after())
			}
			time.Sleep(2 * time.Second)
			if want := []string{event("insert", "a", 8), event("delete", "b", 0)}; !sameSet(says(f.sink.Events()), want) || after() != "#19" {
				t.Errorf("sent %q, at %s", says(f.sink.Events()), after())
			}
			if n := e.Snapshot().Merged; n != 17 {
				t.Errorf("%d were left out", n)
			}
			f.source.Insert("page", doc("c", 1)) // is under way when the drain comes: it is read again
		}); err != nil {
			t.Fatal(err)
		}
		if n := len(f.sink.Events()); n != 2 || after() != "#19" {
			t.Errorf("%d events, at %s", n, after())
		}
	})
}

// TestWhatIsCollectedIsInTheAccount of memory, with what documents were before, and is sent early where it would be too much.
func TestWhatIsCollectedIsInTheAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := following(t)
		f.opts.Memory.Documents = 200_000
		s.Debounce = time.Minute
		large := func(from, n int) {
			for i := range n {
				f.source.Insert("page", syncdtest.MemoryDoc{ID: strconv.Itoa(from + i), Fields: map[string]any{"title": strings.Repeat("x", 10_000)}})
			}
			synctest.Wait()
		}
		var e *engine.Engine
		if err := f.follow(t, s, func(running *engine.Engine) {
			e = running
			large(0, 3)
			if held := e.Held(); held < 30_000 || held > 60_000 {
				t.Errorf("%d bytes are in the account of 3 documents of 10,000 that were collected", held)
			}
			large(0, 3)
			if held := e.Held(); held < 60_000 || held > 70_000 { // with what they were before
				t.Errorf("%d bytes are in the account of 3 documents of 10,000 that took others' places", held)
			}
			for i := range 3 {
				f.source.Delete("page", strconv.Itoa(i))
			}
			synctest.Wait()
			if held := e.Held(); held < 30_000 || held > 60_000 {
				t.Errorf("%d bytes are in the account of what 3 documents of 10,000 were before", held)
			}
			if n := len(f.sink.Events()); n != 0 {
				t.Errorf("%d events before the time", n)
			}
			large(10, 60)
			if n := len(f.sink.Events()); n < 30 {
				t.Errorf("%d events of 600,000 bytes, of which 200,000 may be held", n)
			}
		}); err != nil {
			t.Fatal(err)
		}
		if held := e.Held(); held != 0 {
			t.Errorf("%d bytes were not given back", held)
		}
	})
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// TestWatchedFields: updates that touch none of them are passed over, and replaces that leave them as they were.
func TestWatchedFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := following(t)
		f.rule.Watch = []string{"body.text", "v"}
		steps := []struct {
			do   func()
			sent bool
		}{
			{func() { f.source.Insert("page", doc("a", 1)) }, true},
			{func() { f.source.Update("page", doc("a", 1), "views") }, false},
			{func() { f.source.Update("page", doc("a", 1), "views", "body") }, true},
			{func() { f.source.Update("page", doc("a", 1), "body.text.0") }, true},
			{func() { f.source.Update("page", doc("a", 1), "body.textual") }, false},
			{func() { f.source.Insert("page", doc("a", 1)) }, false}, // a replace
			{func() { f.source.Insert("page", doc("a", 2)) }, true},
			{func() { f.source.Delete("page", "a") }, true},
			{func() { f.source.Insert("page", doc("a", 2)) }, true}, // the same as before the delete
			{func() { f.source.Insert("page", doc("b", 2)) }, true},
		}
		want := 0
		var n engine.Snapshot
		if err := f.follow(t, s, func(e *engine.Engine) {
			for i, step := range steps {
				step.do()
				synctest.Wait()
				if step.sent {
					want++
				}
				if got := len(f.sink.Events()); got != want {
					t.Errorf("after step %d %d events, not %d", i, got, want)
					want = got
				}
			}
			n = e.Snapshot()
		}); err != nil {
			t.Fatal(err)
		}
		if c := n.Streams[0].Counts; c.Unwatched != 3 || c.Problem() != "" {
			t.Errorf("%+v %s", c, c.Problem())
		}
	})
}

// TestWatchRemembersNothingItCanBeWrongAbout: a document that was deleted and came back is sent, merged or not, and so is one whose
// changes several workers see.
func TestWatchRemembersNothingItCanBeWrongAbout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := following(t)
		f.rule.Watch = []string{"v"}
		s.Debounce = 5 * time.Second
		if err := f.follow(t, s, func(*engine.Engine) {
			f.source.Insert("page", doc("a", 1))
			time.Sleep(6 * time.Second)
			f.source.Delete("page", "a")
			time.Sleep(6 * time.Second)
			f.source.Insert("page", doc("a", 1))
			f.source.Insert("page", doc("a", 1))
			time.Sleep(6 * time.Second)
		}); err != nil {
			t.Fatal(err)
		}
		if got, want := says(f.sink.Events()), []string{event("insert", "a", 1), event("delete", "a", 0), event("insert", "a", 1)}; !slices.Equal(got, want) {
			t.Errorf("sent\n%q, not\n%q", got, want)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f, s := following(t)
		f.rule.Watch = []string{"v"}
		c := f.commit(t)
		begin(t, f.opts.Checkpoints.(store.Store), s)
		f.source.Insert("page", doc("a", 0))
		s.State.After = "#1"
		if err := f.follow(t, s, func(*engine.Engine) {
			for i := range 40 {
				f.source.Insert("page", doc("a", 1+i%2))
				synctest.Wait()
			}
		}); err != nil {
			t.Fatal(err)
		}
		if n := len(c.Committed()); n != 40 {
			t.Errorf("%d of 40 replaces were sent", n)
		}
	})
}

// TestAStreamThatEndsDoesNotHangAnother, which is held up by a slow sink, with a batch that nobody takes.
func TestAStreamThatEndsDoesNotHangAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := following(t)
		f.keep(t, s)
		other := s
		other.Name = "other"
		begin(t, f.opts.Checkpoints.(store.Store), other)
		f.opts.Workers, f.opts.BatchSize = 1, 1
		f.opts.Sink = &slowSink{Sink: f.sink, for_: time.Minute}
		f.opts.Source = twoStreams{f.source}
		f.insert(20)
		done := make(chan error, 1)
		go func() { done <- engine.New(f.opts).Follow(t.Context(), []engine.Following{s, other}) }()
		select {
		case err := <-done:
			if !errors.Is(err, syncd.ErrPositionLost) {
				t.Errorf("%v", err)
			}
		case <-time.After(time.Hour):
			t.Error("it hangs")
		}
	})
}

// twoStreams is a source whose stream "other" loses its position after a while.
type twoStreams struct{ *syncdtest.MemorySource }

func (s twoStreams) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	if req.Split.Stream == nil || req.Split.Stream.Name != "other" {
		return s.MemorySource.Read(ctx, req)
	}
	return func(yield func(syncd.Batch, error) bool) {
		time.Sleep(90 * time.Second)
		yield(syncd.Batch{}, syncd.ErrPositionLost)
	}
}

// TestDebouncedChangesTouchWhatAllDid: the last alone may touch nothing that is watched.
func TestDebouncedChangesTouchWhatAllDid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := following(t)
		f.rule.Watch = []string{"v"}
		f.source.Insert("page", doc("a", 1))
		s.State.After = "#1"
		s.Debounce = 5 * time.Second
		if err := f.follow(t, s, func(*engine.Engine) {
			f.source.Update("page", doc("a", 2), "v")
			f.source.Update("page", doc("a", 2), "views")
			time.Sleep(6 * time.Second)
		}); err != nil {
			t.Fatal(err)
		}
		if n := len(f.sink.Events()); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}

// TestFilteredCollections: a change of a document that the filter does not select is passed over; deletes pass.
func TestFilteredCollections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := following(t)
		f.rule.Collection.Filter = `{"v":"1"}`
		f.source.Insert("page", doc("a", 1), doc("b", 2))
		f.source.Update("page", doc("b", 2), "v")
		f.source.Insert("page", doc("c", 1))
		f.source.Update("page", doc("c", 1), "w")
		f.source.Delete("page", "b")
		var n engine.Snapshot
		if err := f.follow(t, s, func(e *engine.Engine) { synctest.Wait(); n = e.Snapshot() }); err != nil {
			t.Fatal(err)
		}
		want := []string{event("insert", "a", 1), event("insert", "c", 1), event("update", "c", 1), event("delete", "b", 0)}
		if got := says(f.sink.Events()); !sameSet(got, want) {
			t.Errorf("sent\n%q, not\n%q", got, want)
		}
		if c := n.Streams[0].Counts; c.Unmatched != 2 || c.Acked != 4 || c.Problem() != "" {
			t.Errorf("%+v %s", c, c.Problem())
		}
	})
}

// TestWatchedFieldsOfAFilteredCollection: what brings a document into the filter is sent, though it touches nothing that is watched, or
// leaves it as it was when the filter did not select it.
func TestWatchedFieldsOfAFilteredCollection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := following(t)
		f.rule.Collection.Filter = `{"v":"1"}`
		s.Collections = []syncd.Collection{f.rule.Collection}
		f.rule.Watch = []string{"title"}
		want := []string{}
		if err := f.follow(t, s, func(*engine.Engine) {
			for _, step := range []struct {
				do   func()
				sent string
			}{
				{func() { f.source.Insert("page", doc("a", 2)) }, ""},
				{func() { f.source.Update("page", doc("a", 1), "v") }, event("update", "a", 1)},
				{func() { f.source.Update("page", doc("a", 1), "views") }, ""},
				{func() { f.source.Update("page", doc("a", 2), "v") }, ""},
				{func() { f.source.Insert("page", doc("a", 1)) }, event("replace", "a", 1)},
			} {
				step.do()
				synctest.Wait()
				if step.sent != "" {
					want = append(want, step.sent)
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
		if got := says(f.sink.Events()); !slices.Equal(got, want) {
			t.Errorf("sent\n%q, not\n%q", got, want)
		}
	})
}

// TestFollowingThroughDeaths: a source is written to at random while it is followed by processes that die at random moments, with
// as little kept as a crash may leave. Whoever applies the events in their order has the source's documents in the end, no document's
// events are out of order but for repeats from where a process died, and exactly once there are none.
func TestFollowingThroughDeaths(t *testing.T) {
	for seed := range uint64(60) {
		for _, exactly := range []bool{false, true} {
			t.Run(fmt.Sprintf("seed=%d,exactly_once=%t", seed, exactly), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { followThroughDeaths(t, rand.New(rand.NewPCG(seed, 1)), exactly) })
			})
		}
	}
}

func followThroughDeaths(t *testing.T, r *rand.Rand, exactly bool) {
	f, s := following(t)
	f.opts.BatchSize = 1 + r.IntN(20)
	f.opts.Workers = 1 + r.IntN(6)
	if r.IntN(3) == 0 {
		s.Debounce = time.Duration(1+r.IntN(3000)) * time.Millisecond
	}
	var memory *storetest.MemoryStore
	var committer *syncdtest.MemoryCommitter
	if exactly {
		committer = f.commit(t)
		begin(t, f.opts.Checkpoints.(store.Store), s)
	} else {
		memory = f.keep(t, s)
		f.opts.Sink = &slowSink{Sink: f.sink, for_: time.Duration(r.IntN(300)) * time.Millisecond}
	}
	version := 0
	writes := func() {
		for range r.IntN(40) {
			version++
			id := strconv.Itoa(r.IntN(12))
			switch r.IntN(4) {
			case 0:
				f.source.Delete("page", id)
			case 1:
				f.source.Update("page", doc(id, version), "v")
			default:
				f.source.Insert("page", doc(id, version))
			}
			if r.IntN(3) == 0 {
				time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
			}
		}
	}
	for life := range 5 {
		ctx, kill := context.WithCancel(t.Context())
		done := make(chan error, 1)
		e := engine.New(f.opts)
		go func() { done <- e.Follow(ctx, []engine.Following{s}) }()
		writes()
		if life == 4 {
			time.Sleep(time.Minute)
			if c := e.Snapshot().Streams[0]; c.Waiting != 0 || c.Counts.Problem() != "" {
				t.Errorf("%+v %s", c, c.Counts.Problem())
			}
		}
		if memory != nil {
			memory.Die()
		}
		kill()
		<-done
		if exactly {
			st, err := marks.Open(t.Context(), committer.Abilities(), "job")
			if err == nil {
				err = st.Resume(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			f.opts.Checkpoints = st
			s.State = st.Recall(store.StreamOf("memory")).Splits[0]
		} else {
			memory = memory.Reborn()
			if err := memory.Resume(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.opts.Checkpoints = memory
			s.State = memory.Recall(store.StreamOf("memory")).Splits[0]
		}
	}
	events := f.sink.Events()
	if exactly {
		events = committer.Committed()
	}
	index := map[string]string{}
	inserted := map[string]int{}
	for _, e := range events {
		var v struct {
			Operation string          `json:"operationType"`
			Document  json.RawMessage `json:"fullDocument"`
		}
		if err := json.Unmarshal(e.Value, &v); err != nil {
			t.Fatal(err)
		}
		if v.Operation == "delete" {
			delete(index, e.ID)
			continue
		}
		index[e.ID] = string(v.Document)
		// The document of an update, and of an insert that is merged with updates behind it, may be that of a later change.
		if v.Operation == "replace" || v.Operation == "insert" && s.Debounce == 0 {
			inserted[string(v.Document)]++
		}
	}
	want := map[string]string{}
	for b, err := range f.source.Read(t.Context(), syncd.ReadRequest{
		Split: syncd.Split{Collection: f.rule.Collection}, Documents: true, BatchSize: 100,
	}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range b.Changes {
			text, err := c.Document.AppendJSON(nil, syncd.Plain)
			if err != nil {
				t.Fatal(err)
			}
			want[c.ID] = string(text)
		}
	}
	if diff := cmp.Diff(want, index); diff != "" {
		t.Errorf("what the events made is not what the source has (-source +made):\n%s", diff)
	}
	for document, n := range inserted {
		if exactly && n > 1 {
			t.Errorf("%s was sent %d times", document, n)
		}
	}
}
