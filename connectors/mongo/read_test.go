package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
)

// The next reply is asked for while the first batch of one is handled, and no sooner than that the one after it.
func TestReadPrefetches(t *testing.T) {
	server := newStub(t)
	var docs []any
	for i := range 60 {
		docs = append(docs, bson.D{{Key: "_id", Value: i}})
	}
	server.set(t, "c", docs...)
	asked := make(chan struct{}, 100)
	server.intercept = func(name string, _ bson.Raw) (bson.D, bool) {
		if name == "getMore" {
			asked <- struct{}{}
		}
		return nil, false
	}
	src, _ := openWith(t, server, func(c *Config) { c.BatchSize = 20 })
	req := syncd.ReadRequest{Split: syncd.Split{Collection: syncd.Collection{Name: "c"}}, BatchSize: 6}
	batches := 0
	for batch, err := range src.Read(t.Context(), req) {
		if err != nil {
			t.Fatal(err)
		}
		if batches++; batches == 1 {
			<-asked // would wait for ever if it came only when the 20 are used up
		}
		if len(batch.Changes) != 6 {
			t.Errorf("batch %d has %d changes; batches go across replies", batches, len(batch.Changes))
		}
	}
	if batches != 10 {
		t.Errorf("%d batches", batches)
	}
}

// As for a consumer that is so slow that every cursor has expired by the time it asks for more.
func TestReadWhoseCursorsAlwaysExpire(t *testing.T) {
	for _, documents := range []bool{false, true} {
		server := newStub(t)
		docs := mixed()
		for i := range 200 {
			docs = append(docs, bson.D{{Key: "_id", Value: fmt.Sprintf("text %04d", i)}})
		}
		server.set(t, "c", docs...)
		var lost atomic.Int32
		src, _ := openWith(t, server, withSplits(3))
		splits, err := splitsOf(t.Context(), src, syncd.Collection{Name: "c"})
		if err != nil {
			t.Fatal(err)
		}
		server.mu.Lock()
		server.intercept = func(name string, _ bson.Raw) (bson.D, bool) {
			if name != "getMore" {
				return nil, false
			}
			return failure([]int{43, 237, 206}[lost.Add(1)%3], "lost"), false
		}
		server.mu.Unlock()
		var got []syncd.Key
		for _, split := range splits {
			keys, err := readKeys(t.Context(), src, syncd.ReadRequest{Split: split, Documents: documents, BatchSize: 5})
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, keys...)
		}
		eachOnce(t, "with every cursor lost", docs, got)
		if lost.Load() < 20 {
			t.Errorf("only %d cursors were lost", lost.Load())
		}
	}
}

func TestReadLeavesNoCursorBehind(t *testing.T) {
	server := newStub(t)
	var docs []any
	for i := range 100 {
		docs = append(docs, bson.D{{Key: "_id", Value: i}})
	}
	server.set(t, "c", docs...)
	src, _ := openWith(t, server, nil)
	if keys, err := readKeys(t.Context(), src, syncd.ReadRequest{}); err != nil || len(keys) != 100 {
		t.Fatal(len(keys), err)
	}
	if n := len(server.sent("killCursors")); n != 0 {
		t.Errorf("a cursor that was read to its end was killed %d times", n)
	}
	req := syncd.ReadRequest{Split: syncd.Split{Collection: syncd.Collection{Name: "c"}}, BatchSize: 2}
	for range src.Read(t.Context(), req) {
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	for _, err := range src.Read(ctx, req) {
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	cancel()
	if n := len(server.sent("killCursors")); n != 2 {
		t.Errorf("of two reads left early, %d killed their cursor", n)
	}
}

// What is asked of the server: the index alone for ids, a hint with every bound, and a choice of index with a filter.
func TestReadHints(t *testing.T) {
	server := newStub(t)
	server.set(t, "c", bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "_id", Value: 2}}, bson.D{{Key: "_id", Value: 3}})
	one := key(value(t, 1))
	for name, c := range map[string]struct {
		req  syncd.ReadRequest
		hint bool
		size int32
	}{
		"ids":                {syncd.ReadRequest{}, true, idsAtOnce},
		"ids with a filter":  {syncd.ReadRequest{Split: syncd.Split{Collection: syncd.Collection{Filter: `{"_id": 1}`}}}, false, idsAtOnce},
		"fields":             {syncd.ReadRequest{Fields: []string{"f"}}, false, documentsAtOnce},
		"documents":          {syncd.ReadRequest{Documents: true}, false, firstAtOnce},
		"documents, resumed": {syncd.ReadRequest{Documents: true, After: syncd.Offset(one), Split: syncd.Split{Upper: behind + key(value(t, 3))}}, true, firstAtOnce},
		"fields of a split":  {syncd.ReadRequest{Fields: []string{"f"}, Split: syncd.Split{Upper: key(value(t, 3))}}, true, documentsAtOnce},
		"the only split":     {syncd.ReadRequest{Split: syncd.Split{Upper: behind + key(value(t, 3))}}, true, idsAtOnce},
	} {
		src, _ := openWith(t, server, func(c *Config) { c.BatchSize = 0 }) // which knows no sizes
		if _, err := readKeys(t.Context(), src, c.req); err != nil {
			t.Fatal(err)
		}
		finds := server.sent("find")
		find := finds[len(finds)-1]
		if _, err := find.LookupErr("hint"); (err == nil) != c.hint || find.Lookup("batchSize").AsInt64() != int64(c.size) {
			t.Errorf("%s: %v", name, find)
		}
	}
}

// MongoDB takes a missing max for MaxKey, exclusive: the document with that _id must be asked for by name, but only where it
// can be in the split.
func TestMaxKeyIsAskedForWhereItMayBe(t *testing.T) {
	server := newStub(t)
	server.set(t, "c", bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "_id", Value: "a"}}, bson.D{{Key: "_id", Value: bson.MaxKey{}}})
	src, _ := openWith(t, server, nil)
	one, last := key(value(t, 1)), key(value(t, bson.MaxKey{}))
	for name, c := range map[string]struct {
		req         syncd.ReadRequest
		want, named int // changes, and questions for MaxKey
	}{
		"everything":           {syncd.ReadRequest{}, 3, 0},
		"resumed":              {syncd.ReadRequest{After: syncd.Offset(one)}, 2, 1},
		"resumed before a cut": {syncd.ReadRequest{After: syncd.Offset(one), Split: syncd.Split{Upper: last}}, 1, 0},
		"resumed to the end":   {syncd.ReadRequest{After: syncd.Offset(one), Split: syncd.Split{Upper: behind + last}}, 2, 1},
		"resumed to another":   {syncd.ReadRequest{After: syncd.Offset(one), Split: syncd.Split{Upper: behind + key(value(t, "b"))}}, 1, 0},
		"behind it":            {syncd.ReadRequest{After: syncd.Offset(last)}, 0, 0},
		"from it":              {syncd.ReadRequest{Split: syncd.Split{Lower: last}}, 1, 1},
		// A run that ended between keeping its last split and keeping that it was the last goes on behind its end.
		"behind a last split": {syncd.ReadRequest{Split: syncd.Split{Lower: behind + one}}, 2, 1},
		"resumed in such":     {syncd.ReadRequest{After: syncd.Offset(key(value(t, "b"))), Split: syncd.Split{Lower: behind + one}}, 1, 1},
		"behind the very end": {syncd.ReadRequest{Split: syncd.Split{Lower: behind + last}}, 0, 0},
		"documents":           {syncd.ReadRequest{After: syncd.Offset(one), Documents: true}, 2, 1},
		"with a filter":       {syncd.ReadRequest{After: syncd.Offset(one), Split: syncd.Split{Collection: syncd.Collection{Filter: `{"_id": "a"}`}}}, 1, 1},
	} {
		before := len(server.sent("find"))
		keys, err := readKeys(t.Context(), src, c.req)
		named := 0
		for _, find := range server.sent("find")[before:] {
			if strings.Contains(find.Lookup("filter").String(), "maxKey") {
				named++
			}
		}
		if err != nil || len(keys) != c.want || named != c.named {
			t.Errorf("%s: %d changes, %v, and %d questions for MaxKey; want %d and %d", name, len(keys), err, named, c.want, c.named)
		}
	}
}

func TestReadWithoutHint(t *testing.T) {
	server := newStub(t)
	server.noHint = true
	server.set(t, "c", bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "_id", Value: 2}})
	src, _ := openWith(t, server, nil)
	for range 3 {
		if keys, err := readKeys(t.Context(), src, syncd.ReadRequest{}); err != nil || len(keys) != 2 {
			t.Fatal(len(keys), err)
		}
	}
	if n := len(server.sent("find")); n != 4 {
		t.Errorf("%d finds for three reads; a refused hint is tried once", n)
	}
}

// In a view with a collation text has an order that is not known here: where the document to continue behind is gone, text may
// come twice, and must not be lost.
func TestLostPlaceInACollation(t *testing.T) {
	for collated, want := range map[bool][]string{true: {"b", "C", "d"}, false: {"d"}} {
		server := newStub(t)
		server.rejectBounds = true
		kind := bson.D{{Key: "type", Value: "view"}}
		if collated {
			kind = append(kind, bson.E{Key: "options", Value: bson.D{{Key: "collation", Value: bson.D{{Key: "locale", Value: "en"}}}}})
		}
		server.kinds = map[string]bson.D{"c": kind}
		var docs []bson.Raw
		for _, id := range []any{1, "b", "C", "d"} {
			docs = append(docs, element(value(t, id).Type, "_id", value(t, id).Value))
		}
		server.collections["c"] = docs
		src := openAndClose(t, server)
		keys, err := readKeys(t.Context(), src, syncd.ReadRequest{After: syncd.Offset(key(value(t, "c")))}) // between C and d, or behind all capitals
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, k := range keys {
			v, err := bound(k)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, v.StringValue())
		}
		if !slices.Equal(got, want) {
			t.Errorf("collated %v: %q, want %q", collated, got, want)
		}
	}
}

// Nothing can be resumed behind a document without _id, which only a view has.
func TestNoOffsetBehindADocumentWithoutID(t *testing.T) {
	s := &source{cfg: defaults(), finder: listFinder{docs: []any{
		bson.D{{Key: "n", Value: 1}}, bson.D{{Key: "_id", Value: "a"}}, // an offset behind both
		bson.D{{Key: "_id", Value: "b"}}, bson.D{{Key: "n", Value: 2}},
		bson.D{{Key: "n", Value: 3}}, bson.D{{Key: "n", Value: 4}},
		bson.D{{Key: "_id", Value: "c"}},
	}}}
	type batch struct {
		Changes, WithErr int
		Offset           syncd.Offset
	}
	at := func(id string) syncd.Offset { return syncd.Offset(key(value(t, id))) }
	want := []batch{{2, 1, at("a")}, {1, 0, at("b")}, {1, 1, ""}, {2, 2, ""}, {1, 0, at("c")}}
	var got []batch
	for b, err := range s.Read(t.Context(), syncd.ReadRequest{BatchSize: 2, Split: syncd.Split{Collection: syncd.Collection{Name: "c"}}}) {
		if err != nil {
			t.Fatal(err)
		}
		failed := 0
		for _, c := range b.Changes {
			if c.Err != nil {
				failed++
			}
		}
		got = append(got, batch{len(b.Changes), failed, b.Offset})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A look at a collection before a run reads it as one split without bounds, and asks for no splits.
func TestReadingWithoutSplits(t *testing.T) {
	for name, setup := range map[string]func(*stub){
		"bounds obeyed":   func(*stub) {},
		"bounds ignored":  func(s *stub) { s.ignoreBounds = true },
		"bounds rejected": func(s *stub) { s.rejectBounds = true },
	} {
		server := newStub(t)
		setup(server)
		server.set(t, "c", mixed()...)
		for _, step := range []int{0, 1, 3} {
			src, notices := openWith(t, server, withSplits(4))
			got, err := readSplits(t.Context(), src, []syncd.Split{{Collection: syncd.Collection{Name: "c"}}}, step, nil)
			if err != nil {
				t.Fatal(err)
			}
			eachOnce(t, fmt.Sprintf("%s, resumed after every batch %d", name, step), mixed(), got)
			if notices() != "" {
				t.Error(notices())
			}
			got, err = readSplits(t.Context(), src, []syncd.Split{{Collection: syncd.Collection{Name: "absent"}}}, step, nil)
			if err != nil || len(got) > 0 {
				t.Errorf("a collection that does not exist: %q, %v", got, err)
			}
		}
	}
}

func TestDamagedSplits(t *testing.T) {
	src := openAndClose(t, newStub(t))
	for _, split := range []syncd.Split{{Lower: "\x07x"}, {Upper: "\x07x"}, {Upper: behind}, {Upper: behind + behind + "\x07x"}, {Lower: behind}, {Lower: behind + behind + "\x07x"}} {
		if _, err := readKeys(t.Context(), src, syncd.ReadRequest{Split: split}); err == nil || !strings.Contains(err.Error(), "reading a split") {
			t.Errorf("%+v: %v", split, err)
		}
	}
}
