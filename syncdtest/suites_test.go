package syncdtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
)

// memoryHarness is the harness of a MemorySource, seen through wrap.
func memoryHarness(splits int, wrap func(syncd.Source) syncd.Source) SourceHarness {
	var last *MemorySource
	return SourceHarness{
		Open: func(_ *testing.T, collection string, docs []Doc) syncd.Source {
			last = NewMemorySource()
			last.SetSplits(splits)
			stored := make([]MemoryDoc, len(docs))
			for i, d := range docs {
				fields := d.Map()
				delete(fields, "_id")
				stored[i] = MemoryDoc{ID: d.ID, Fields: fields}
			}
			last.Insert(collection, stored...)
			return wrap(last)
		},
		Delete: func(t *testing.T, collection, id string) {
			if !last.Delete(collection, id) {
				t.Errorf("%q was not there to delete", id)
			}
		},
		Drop:   func(_ *testing.T, collection string) { last.Drop(collection) },
		Filter: func(field, text string) string { return fmt.Sprintf("{%q:%q}", field, text) },
	}
}

func asIs[T any](v T) T { return v }

func TestMemorySource(t *testing.T) {
	for _, splits := range []int{1, 7} {
		t.Run(fmt.Sprint(splits), func(t *testing.T) { TestSource(t, memoryHarness(splits, asIs[syncd.Source])) })
	}
}

// checkerHarness is the harness of a MemoryChecker, seen through wrap.
func checkerHarness(wrap func(syncd.Checker) syncd.Checker) CheckerHarness {
	gone := Always(Fault{Err: fmt.Errorf("asking the index: %w", syncd.ErrUnavailable)})
	return CheckerHarness{
		Open: func(_ *testing.T, present []uuid.UUID) syncd.Checker { return wrap(NewMemoryChecker(present...)) },
		OpenPayload: func(_ *testing.T, points map[uuid.UUID]map[string]string) syncd.Checker {
			c := NewMemoryChecker()
			for id, payload := range points {
				c.Put(id, tree(payload))
			}
			return wrap(c)
		},
		Empty: func(*testing.T) syncd.Checker {
			c := NewMemoryChecker()
			c.Drop()
			return wrap(c)
		},
		Unreachable: func(*testing.T) syncd.Checker {
			return wrap(FaultyChecker(NewMemoryChecker(), CheckerFaults{Check: gone, Inspect: gone, Read: gone, List: gone, Survey: gone}))
		},
	}
}

func TestMemoryChecker(t *testing.T) { TestChecker(t, checkerHarness(asIs[syncd.Checker])) }

const tooLarge = 100_000

func refuseLarge(e codec.Event) error {
	if len(e.Value) > tooLarge {
		return fmt.Errorf("an event of %d bytes: %w", len(e.Value), syncd.ErrTooLarge)
	}
	return nil
}

// The forms of events that sinks are tested with.
var (
	plain      = codec.Config{}
	mongoKafka = codec.Config{Profile: codec.MongoKafka}
	tombstones = codec.Config{DeleteFormat: codec.DeleteTombstone}
	bsonWire   = codec.Config{Profile: codec.MongoKafka, Wire: codec.WireBSON, DeleteFormat: codec.DeleteTombstone}
)

func eachForm(t *testing.T, test func(t *testing.T, event codec.Config)) {
	for name, event := range map[string]codec.Config{
		"plain": plain, "mongo_kafka": mongoKafka, "tombstones": tombstones, "bson": bsonWire, "defaults": codec.Defaults(),
	} {
		t.Run(name, func(t *testing.T) { test(t, event) })
	}
}

func received(events []codec.Event) []Received {
	out := make([]Received, len(events))
	for i, e := range events {
		out[i] = Received{
			Target: memoryRoute(e.Target), Key: e.Key, Value: e.Value, Headers: e.Headers,
			Placement: syncd.Placement{Offset: int64(i), Known: true},
		}
	}
	return out
}

// sinkHarness is the harness of a MemorySink, seen through wrap.
func sinkHarness(event codec.Config, wrap func(syncd.Sink) syncd.Sink) SinkHarness {
	var last *MemorySink
	return SinkHarness{
		Event: event,
		Open: func(*testing.T) syncd.Sink {
			last = NewMemorySink()
			last.Event, last.Reject, last.Placed = event, refuseLarge, true
			return wrap(last)
		},
		Read:     func(*testing.T) []Received { return received(last.Events()) },
		TooLarge: tooLarge,
	}
}

func TestMemorySink(t *testing.T) {
	eachForm(t, func(t *testing.T, event codec.Config) { TestSink(t, sinkHarness(event, asIs[syncd.Sink])) })
}

// committerHarness is the harness of a MemoryCommitter, seen through wrap.
func committerHarness(event codec.Config, wrap func(*MemoryCommitter) syncd.Sink) SinkHarness {
	var last *MemoryCommitter
	return SinkHarness{
		Event: event,
		Open: func(*testing.T) syncd.Sink {
			last = NewMemoryCommitter()
			last.Event, last.Reject = event, refuseLarge
			return wrap(last)
		},
		OpenAgain: func(*testing.T) syncd.Sink { return wrap(last.Reopen()) },
		Read:      func(*testing.T) []Received { return received(last.Committed()) },
		TooLarge:  tooLarge,
	}
}

func TestMemoryCommitter(t *testing.T) {
	eachForm(t, func(t *testing.T, event codec.Config) {
		TestSink(t, committerHarness(event, func(c *MemoryCommitter) syncd.Sink { return c }))
	})
}

func TestMemoryCommitterCrashes(t *testing.T) {
	mark := func(v string) []syncd.Mark { return []syncd.Mark{{Name: "m", Value: []byte(v)}} }
	crash := func(context.Context, []syncd.Change, []syncd.Mark) error { return errFault }
	for name, c := range map[string]struct {
		change func(*MemoryCommitter)
		err    error
		events int
		mark   string
	}{
		"never":         {func(*MemoryCommitter) {}, nil, 1, "new"},
		"before it":     {func(c *MemoryCommitter) { c.Before = crash }, errFault, 0, ""},
		"after it":      {func(c *MemoryCommitter) { c.After = crash }, errFault, 1, "new"},
		"shut out":      {func(c *MemoryCommitter) { c.Fence() }, syncd.ErrFenced, 0, ""},
		"by a next run": {func(c *MemoryCommitter) { _, _ = c.Reopen().Marks(context.Background(), "") }, syncd.ErrFenced, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewMemoryCommitter()
			if err := s.Commit(t.Context(), nil, nil); err == nil {
				t.Error("committed before the marks were asked for")
			}
			_, err := s.Marks(t.Context(), "")
			must(t, err)
			c.change(s)
			err = s.Commit(t.Context(), deletes(1), mark("new"))
			if !errors.Is(err, c.err) || len(s.Committed()) != c.events || string(s.Ledger()["m"]) != c.mark {
				t.Errorf("%v, %d events, marks %q", err, len(s.Committed()), s.Ledger())
			}
		})
	}
}

func TestMemoryPlugins(t *testing.T) {
	for _, p := range []syncd.Plugin{
		NewMemorySource().Plugin("memory"), NewMemoryChecker().Plugin("memory"), NewMemorySink().Plugin("memory"),
		NewMemoryCommitter().Plugin("memory"),
	} {
		t.Run(string(p.Kind()), func(t *testing.T) { TestPlugin(t, p) })
	}
}

func TestMemorySourceHandlesIDsOfEveryKind(t *testing.T) {
	id := uuid.MustParse("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
	s := NewMemorySource()
	broken := errors.New("a corrupt field")
	s.Insert("page",
		MemoryDoc{ID: "text"}, MemoryDoc{ID: 10}, MemoryDoc{ID: int64(9)}, MemoryDoc{ID: -1}, MemoryDoc{ID: id}, MemoryDoc{},
		MemoryDoc{ID: "corrupt", Err: broken}, MemoryDoc{ID: "secret", EncodeErr: broken}, MemoryDoc{ID: "deep", Fields: map[string]any{
			"n": 1, "a": map[string]any{"b": true, "html": "<&>"}, "null": nil,
		}})
	s.Insert("page", MemoryDoc{ID: 10, Fields: map[string]any{"new": true}}) // in place of the other
	c := collection{Source: s, Collection: syncd.Collection{Name: "page"}}
	splits, err := c.split(t.Context())
	must(t, err)
	var got []string
	for batch, err := range s.Read(t.Context(), syncd.ReadRequest{Split: splits[0], BatchSize: 4, Documents: true}) {
		must(t, err)
		if batch.Offset == "" {
			t.Error("a batch has no offset to resume behind")
		}
		for _, r := range batch.Changes {
			if r.Key == "" {
				t.Errorf("change %q has no key", r.ID)
			}
			text := r.ID
			if r.Err != nil {
				text += " error: " + r.Err.Error()
			} else if b, err := r.Document.AppendJSON(nil, syncd.Plain); err != nil {
				text += " encoding: " + err.Error()
			} else if !json.Valid(b) {
				t.Errorf("not JSON: %s", b)
			} else {
				text = string(b)
			}
			got = append(got, text)
		}
	}
	want := []string{
		" error: the _id is missing: no usable id", `{"_id":"-1"}`, `{"_id":"9"}`, `{"_id":"10","new":true}`,
		`{"_id":"6ba7b811-9dad-11d1-80b4-00c04fd430c8"}`, "corrupt error: a corrupt field",
		`{"_id":"deep","a":{"b":true,"html":"<&>"},"n":1,"null":null}`, "secret encoding: a corrupt field", `{"_id":"text"}`,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestMemorySourceFilters(t *testing.T) {
	s := NewMemorySource()
	s.SetSplits(2)
	for i := range 10 {
		s.Insert("page", MemoryDoc{ID: i, Fields: map[string]any{"even": fmt.Sprint(i%2 == 0)}})
	}
	c := collection{Source: s, Collection: syncd.Collection{Name: "page", Filter: `{"even":"true"}`}, docs: map[string]Doc{
		"0": {}, "2": {}, "4": {}, "6": {}, "8": {},
	}}
	if _, err := c.complete(t.Context(), syncd.ReadRequest{BatchSize: 2}); err != nil {
		t.Error(err)
	}
	if n, err := s.Count(t.Context(), c.Collection); n != 5 || err != nil {
		t.Errorf("Count = %d, %v", n, err)
	}
	c.Filter = `{`
	if _, err := c.split(t.Context()); err == nil {
		t.Error("a filter that can't be read was accepted")
	}
}

func TestMemoryCheckerHoldsPayload(t *testing.T) {
	c := NewMemoryChecker()
	c.Put(point(0), map[string]any{"n": 1, "f": 1.5, "ok": true, "null": nil, "a": map[string]any{"b": "c"}})
	c.Add(point(0), point(1)) // does not take payload away
	keys := []string{"n", "f", "ok", "null", "a.b", "a", "none"}
	texts := func() string {
		found := make([]syncd.Found, 2)
		must(t, c.Read(t.Context(), points(0, 2), keys, found))
		return fmt.Sprint(found)
	}
	want := `[{true [{1 true} {1.5 true} {true true} { false} {c true} {{"b":"c"} true} { false}]} ` +
		`{true [{ false} { false} { false} { false} { false} { false} { false}]}]`
	if got := texts(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	c.Put(point(0), map[string]any{"n": 2})
	c.Remove(point(1))
	want = `[{true [{2 true} { false} { false} { false} { false} { false} { false}]} ` +
		`{false [{ false} { false} { false} { false} { false} { false} { false}]}]`
	if got := texts(); got != want || fmt.Sprint(c.Reads()) != "[2 2]" {
		t.Errorf("got  %s\nwant %s\nreads %v", got, want, c.Reads())
	}
	for _, err := range c.List(t.Context(), syncd.ListRequest{Part: 1, Parts: 1}) {
		if err == nil {
			t.Error("listed a part that does not exist")
		}
	}
}

func TestMemorySinkTellsTheIndexer(t *testing.T) {
	index, s := NewMemoryChecker(), NewMemorySink()
	s.Written = func(e codec.Event) { index.Add(e.PointID) }
	must(t, s.Write(t.Context(), deletes(3)[1:]))
	verdicts := make([]syncd.Verdict, 3)
	must(t, index.Check(t.Context(), points(0, 3), verdicts))
	if !slices.Equal(verdicts, []syncd.Verdict{syncd.Missing, syncd.Present, syncd.Present}) {
		t.Error(verdicts)
	}
	if fmt.Sprint(index.Calls(), s.Batches()) != "[3] [2]" {
		t.Error(index.Calls(), s.Batches())
	}
}

// What a sink in memory keeps as a change is what it keeps as an event, and the caller may use the changes again.
func TestMemorySinksKeepChanges(t *testing.T) {
	sink, committer := NewMemorySink(), NewMemoryCommitter()
	for _, s := range []interface {
		syncd.Sink
		Changes() []syncd.Change
	}{sink, committer} {
		changes := deletes(3)
		changes[1].Operation = syncd.Insert // without a document, which no sink can write
		changes[2].Fields = []syncd.Value{{Text: "kept", Set: true}}
		failed, _ := errors.AsType[*syncd.BatchError](s.Write(t.Context(), changes))
		if failed == nil || fmt.Sprint(failed.Failed()) != "[1]" || !errors.Is(failed, syncd.ErrNotEncodable) {
			t.Errorf("%T: %v", s, failed)
		}
		clear(changes[2].Fields)
		clear(changes)
		kept := s.Changes()
		if len(kept) != 2 || kept[0].ID != "0" || kept[1].ID != "2" || kept[1].Fields[0].Text != "kept" || kept[1].Bytes == 0 {
			t.Errorf("%T keeps %+v", s, kept)
		}
	}
	for _, events := range [][]codec.Event{sink.Events(), committer.Committed()} {
		if len(events) != 2 || events[0].ID != "0" || events[1].ID != "2" || string(events[1].Key) != "2" {
			t.Errorf("%+v", events)
		}
	}
}

// TestMemorySinkPlugin: the configuration chooses the form of events, and shows it without connecting.
func TestMemorySinkPlugin(t *testing.T) {
	for _, s := range []interface {
		Plugin(name string) syncd.Plugin
	}{NewMemorySink(), NewMemoryCommitter()} {
		p := s.Plugin("memory")
		config := p.Config().(*memorySinkConfig)
		config.Event.Profile = codec.MongoKafka
		sink, err := p.OpenSink(t.Context(), config, syncd.Env{})
		must(t, err)
		c := deletes(1)
		key, value, err := config.Preview(&c[0])
		must(t, err)
		must(t, sink.Write(t.Context(), c))
		if route, target := sink.Abilities().Route, SinkTargets()[2]; route(target) != config.Route(target) {
			t.Errorf("Route of %+v: %q, %q", target, route(target), config.Route(target))
		}
		var events []codec.Event
		switch sink := sink.(type) {
		case *MemorySink:
			events = sink.Events()
		case *MemoryCommitter:
			events = sink.Committed()
		}
		if len(events) != 1 || string(events[0].Key) != string(key) || string(events[0].Value) != string(value) || string(key) != `{"_id": "0"}` {
			t.Errorf("%s %s, but %+v", key, value, events)
		}
	}
}
