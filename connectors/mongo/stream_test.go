package mongo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
)

func noPause(ctx context.Context, _ time.Duration) error { return ctx.Err() }

func TestPositionsKeepAllThatTheyAre(t *testing.T) {
	odd, err := bson.Marshal(bson.D{{Key: "_data", Value: "82\x00"}, {Key: "_typeBits", Value: bson.Binary{Data: []byte{0x82, 0}}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []position{
		{token: token(1)}, {token: odd}, {time: bson.Timestamp{T: 1 << 31, I: 7}}, {token: token(1), told: true},
		{token: token(1), time: bson.Timestamp{T: 5, I: 6}, ended: true},
	} {
		o := p.offset()
		got, err := parsePosition(o)
		if err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%+v became %+v, %v", p, got, err)
		}
		for i := range o {
			damaged := []byte(o)
			damaged[i] ^= 0x10
			if _, err := parsePosition(syncd.Offset(damaged)); err == nil {
				t.Errorf("byte %d of %q may change", i, o)
			}
			if _, err := parsePosition(o[:i]); err == nil {
				t.Errorf("it may end after %d bytes", i)
			}
		}
	}
}

func FuzzPosition(f *testing.F) {
	f.Add([]byte(position{token: token(1), told: true}.offset()))
	f.Add([]byte(position{time: bson.Timestamp{T: 1}}.offset()))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePosition(syncd.Offset(b))
		if err == nil && p.offset() != syncd.Offset(b) {
			t.Errorf("%x became %x", b, p.offset())
		}
	})
}

func FuzzEvent(f *testing.F) {
	server := &feed{}
	server.change(opUpdate, "c", 1, full(1), bson.E{Key: "updateDescription", Value: bson.D{
		{Key: "updatedFields", Value: bson.D{{Key: "a.b", Value: 1}}}, {Key: "removedFields", Value: bson.A{"x"}},
		{Key: "truncatedArrays", Value: bson.A{bson.D{{Key: "field", Value: "l"}, {Key: "newSize", Value: 1}}}},
	}})
	server.change(opInsert, "c", 1, bson.E{Key: "splitEvent", Value: bson.D{{Key: "fragment", Value: 1}, {Key: "of", Value: 2}}})
	for _, e := range server.events {
		f.Add([]byte(e))
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		e, err := parseEvent(b)
		if err != nil {
			return
		}
		e.touched(func([]byte) {})
		e.id()
		e.at()
		_, _, _ = new(joiner).add(e)
	})
}

// lines shows changes to a person.
func lines(changes []syncd.Change) []string {
	var out []string
	for _, c := range changes {
		line := fmt.Sprintf("%s %s %s", c.Operation, c.Streamed.Collection, c.ID)
		for _, v := range c.Fields {
			line += fmt.Sprintf(" %q", v.Text)
		}
		if c.Document != nil {
			doc, err := c.Document.AppendJSON(nil, syncd.Canonical)
			line += fmt.Sprintf(" %s%v", doc, errOr(err))
		}
		if c.Err != nil {
			line += " error: " + c.Err.Error()
		}
		out = append(out, line)
	}
	return out
}

func errOr(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

func description(updated bson.D, removed, truncated bson.A) bson.E {
	return bson.E{Key: "updateDescription", Value: bson.D{
		{Key: "updatedFields", Value: updated}, {Key: "removedFields", Value: removed}, {Key: "truncatedArrays", Value: truncated},
	}}
}

func TestStreamYieldsChanges(t *testing.T) {
	f := newFeed(t)
	field := func(text string) bson.E { return bson.E{Key: "slug", Value: text} }
	f.change(opInsert, "page", "a", full("a", field("one")))
	f.change(opInsert, "other", "x", full("x"))
	f.change(opUpdate, "page", "a", full("a", field("two")), description(bson.D{{Key: "slug", Value: "two"}, {Key: "tags.0.name", Value: 1}}, bson.A{"old"},
		bson.A{bson.D{{Key: "field", Value: "list"}, {Key: "newSize", Value: int32(2)}}}))
	f.change("createIndexes", "page", nil)
	f.change("somethingNew", "page", "a")
	f.change(opReplace, "page", "a", full("a", field("three")))
	f.change(opUpdate, "blog", int64(5), bson.E{Key: "fullDocument", Value: nil}, description(bson.D{{Key: "n", Value: 1}}, nil, bson.A{}))
	f.change(opDelete, "blog", int64(5))
	f.change(opDelete, "page", "b", bson.E{Key: "fullDocumentBeforeChange", Value: bson.D{{Key: "_id", Value: "b"}, field("was")}})
	s, _ := openFeed(t, f)
	req := syncd.ReadRequest{Split: syncd.Split{Stream: whole("page", "blog")}, After: behindEvent(0), Fields: []string{"slug"}, Documents: true}
	got, batches, err := read(t, s, req, 6)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`insert page a "one" {"_id":"a","slug":"one"}`,
		`update page a "two" {"_id":"a","slug":"two"}`,
		`replace page a "three" {"_id":"a","slug":"three"}`,
		`update blog 5 ""`,
		`delete blog 5 ""`,
		`delete page b "was"`,
	}
	if diff := cmp.Diff(want, lines(got)); diff != "" {
		t.Error(diff)
	}
	for i, c := range got {
		n := []int{1, 3, 6, 7, 8, 9}[i]
		if at := time.UnixMilli(1_700_000_000_000 + 1000*int64(n) + 7); !c.Streamed.At.Equal(at) {
			t.Errorf("%s is of %s, not %s", lines(got)[i], c.Streamed.At, at)
		}
		if !slices.Equal(c.Streamed.Raw, f.events[n-1]) {
			t.Errorf("the event is %s", bson.Raw(c.Streamed.Raw))
		}
		if whole := i != 1 && i != 3; c.Streamed.Whole != whole {
			t.Errorf("%s: whole is %v", lines(got)[i], c.Streamed.Whole)
		}
	}
	for i, want := range map[int]string{5: "was", 4: "", 3: ""} { // what is known of documents that are gone
		v, err := got[i].Streamed.Before.Lookup("slug")
		id, idErr := got[i].Streamed.Before.Lookup("_id")
		if err != nil || idErr != nil || v.Text != want || id.Text != got[i].ID {
			t.Errorf("%s: it was %q of %q: %v, %v", lines(got)[i], v.Text, id.Text, err, idErr)
		}
	}
	if got[0].Streamed.Before != nil {
		t.Error("a document that is there is told twice")
	}
	if diff := cmp.Diff([]string{"slug", "tags.0.name", "old", "list"}, got[1].Streamed.Touched); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"n"}, got[3].Streamed.Touched); diff != "" {
		t.Error(diff)
	}
	doc, ok := got[0].Document.(syncd.BSONDocument)
	if !ok || bson.Raw(doc.BSON()).Validate() != nil {
		t.Error("the document is not BSON")
	}
	for _, b := range batches {
		if b.Offset == "" {
			t.Error("a batch without an offset")
		}
	}
}

// A change's key and id must be those that a snapshot gives the document.
func TestStreamHasTheSnapshotsKeys(t *testing.T) {
	f := newFeed(t)
	f.set(t, "c", mixed()...)
	for _, d := range mixed() {
		id := d.(bson.D)[0].Value
		f.change(opInsert, "c", id, bson.E{Key: "fullDocument", Value: d})
		f.change(opDelete, "c", id)
		f.raw(bson.D{
			{Key: "_id", Value: token(10 * (len(f.events) + 1))}, {Key: "operationType", Value: opDelete}, {Key: "ns", Value: bson.D{{Key: "db", Value: "db"}, {Key: "coll", Value: "c"}}},
			{Key: "documentKey", Value: bson.D{{Key: "shard", Value: "s"}, {Key: "_id", Value: id}}}, // of a sharded collection
		})
	}
	s, _ := openFeed(t, f)
	type known struct {
		key syncd.Key
		id  string
	}
	snapshot := map[known]int{}
	for b, err := range s.Read(t.Context(), syncd.ReadRequest{Split: syncd.Split{Collection: syncd.Collection{Name: "c"}}, BatchSize: 100}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range b.Changes {
			snapshot[known{c.Key, c.ID}] = 0
		}
	}
	got, _, err := read(t, s, syncd.ReadRequest{Split: syncd.Split{Stream: whole("c")}, After: behindEvent(0)}, 3*len(mixed()))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range got {
		if _, there := snapshot[known{c.Key, c.ID}]; !there || c.Err != nil {
			t.Errorf("the snapshot has no %q %q (%v)", c.Key, c.ID, c.Err)
		}
		snapshot[known{c.Key, c.ID}]++
	}
	for k, n := range snapshot {
		if n != 3 {
			t.Errorf("%d changes of %q", n, k.id)
		}
	}
}

func TestEventsThatSayLess(t *testing.T) {
	f := newFeed(t)
	ns := bson.E{Key: "ns", Value: bson.D{{Key: "db", Value: "db"}, {Key: "coll", Value: "c"}}}
	f.raw(bson.D{{Key: "_id", Value: token(10)}, {Key: "operationType", Value: opInsert}, ns, full(1)})
	f.raw(bson.D{{Key: "_id", Value: token(20)}, {Key: "operationType", Value: opUpdate}, ns, full(2), {Key: "clusterTime", Value: bson.Timestamp{T: 77}}})
	f.raw(bson.D{{Key: "_id", Value: token(30)}, {Key: "operationType", Value: opDelete}, ns})
	s, _ := openFeed(t, f)
	got, _, err := read(t, s, syncd.ReadRequest{Split: syncd.Split{Stream: whole("c")}, After: behindEvent(0)}, 3)
	if err != nil {
		t.Fatal(err)
	}
	if c := got[0]; c.ID != "1" || !c.Streamed.At.IsZero() {
		t.Errorf("%+v", c)
	}
	if c := got[1]; c.ID != "2" || c.Streamed.At.Unix() != 77 || !c.Streamed.Whole {
		t.Errorf("%+v", c)
	}
	if c := got[2]; !errors.Is(c.Err, syncd.ErrNoID) || !strings.Contains(c.Err.Error(), "collection c") || c.Operation != syncd.Delete {
		t.Errorf("%+v", c)
	}
	f2 := newFeed(t)
	f2.raw(bson.D{{Key: "_id", Value: 5}, {Key: "operationType", Value: opInsert}, ns, full(1)})
	s, _ = openFeed(t, f2)
	if _, _, err := read(t, s, syncd.ReadRequest{Split: syncd.Split{Stream: whole("c")}, After: behindEvent(0)}, 1); err == nil {
		t.Error("an event without a token passes")
	}
}

func TestStreamBatchesAreBounded(t *testing.T) {
	f := newFeed(t)
	for i := range 100 {
		f.change(opInsert, "c", i, full(i, bson.E{Key: "pad", Value: strings.Repeat("x", 1000)}))
	}
	s, _ := openFeed(t, f)
	for _, c := range []struct{ size, bytes, most int }{{7, 0, 7}, {1, 0, 1}, {1000, 5000, 5}, {1000, 1, 1}, {100, 1 << 20, 100}} {
		req := syncd.ReadRequest{Split: syncd.Split{Stream: whole("c")}, After: behindEvent(0), BatchSize: c.size, BatchBytes: c.bytes}
		got, batches, err := read(t, s, req, 100)
		if err != nil || len(got) != 100 {
			t.Fatalf("%d changes, %v", len(got), err)
		}
		n := 0
		for _, b := range batches {
			if len(b.Changes) > c.most {
				t.Errorf("%+v: a batch of %d", c, len(b.Changes))
			}
			// Behind each offset the rest follows, nothing else.
			if n += len(b.Changes); n == 100 || n%9 != 0 {
				continue
			}
			rest, _, err := read(t, s, syncd.ReadRequest{Split: req.Split, After: b.Offset}, 100-n)
			if err != nil || len(rest) == 0 || rest[0].ID != fmt.Sprint(n) {
				t.Fatalf("behind %d changes: %q, %v", n, lines(rest), err)
			}
		}
	}
}

// Each of a quiet stream's batches has the server's newest token: with the last event's, its place would leave the oplog.
func TestEmptyBatchesMoveOn(t *testing.T) {
	f := newFeed(t)
	f.change(opInsert, "c", 1, full(1))
	s, _ := openFeed(t, f)
	places := map[string]bool{}
	n, batches := 0, 0
	for b, err := range s.Read(t.Context(), syncd.ReadRequest{Split: syncd.Split{Stream: whole("c")}, After: behindEvent(0), BatchSize: 10}) {
		if err != nil {
			t.Fatal(err)
		}
		n += len(b.Changes)
		if len(b.Changes) == 0 && n > 0 {
			places[string(mustPosition(t, b.Offset).token)] = true
			f.do(func() { f.change(opInsert, "other", n, full(n)) })
		}
		// A batch or two may have been asked for before the change.
		if batches++; len(places) == 5 || batches > 100 {
			break
		}
	}
	if n != 1 || len(places) < 5 {
		t.Errorf("%d places behind %d batches, with %d changes", len(places), batches, n)
	}
}

func mustPosition(t *testing.T, o syncd.Offset) position {
	t.Helper()
	p, err := parsePosition(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestStreamBeginsNow(t *testing.T) {
	for name, set := range map[string]func(*feed){
		"with a token":       func(*feed) {},
		"without one":        func(f *feed) { f.noToken = true },
		"late with a token":  func(f *feed) { f.noTokenInFirst = true },
		"without any answer": func(f *feed) { f.always["aggregate"] = failure(26, "NamespaceNotFound") },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFeed(t)
			f.change(opInsert, "c", 1, full(1))
			f.change(opInsert, "c", 2, full(2))
			set(f)
			f.always["hello"] = helloWith(bson.E{Key: "operationTime", Value: bson.Timestamp{T: 1_700_000_002, I: 1}})
			s, _ := openFeed(t, f)
			now, err := s.Now(t.Context(), *whole("c"))
			if err != nil {
				t.Fatal(err)
			}
			f.do(func() {
				delete(f.always, "aggregate")
				f.change(opInsert, "c", 3, full(3))
				f.noToken, f.noTokenInFirst = false, false
			})
			got, _, err := read(t, s, syncd.ReadRequest{Split: syncd.Split{Stream: whole("c")}, After: now}, 1)
			if err != nil {
				t.Fatal(err)
			}
			// A time is inclusive: the server's last change may be repeated, and none is missing.
			if got[0].ID != "3" && (got[0].ID != "2" || mustPosition(t, now).token != nil) {
				t.Errorf("it begins with %q", got[0].ID)
			}
		})
	}
	t.Run("with nothing", func(t *testing.T) {
		f := newFeed(t)
		f.noToken = true
		s, _ := openFeed(t, f)
		if _, err := s.Now(t.Context(), *whole("c")); err == nil || !strings.Contains(syncd.HintOf(err), "--every") {
			t.Errorf("%v (%s)", err, syncd.HintOf(err))
		}
	})
}

func helloWith(more bson.E) bson.D {
	return bson.D{
		{Key: "ismaster", Value: true}, {Key: "isWritablePrimary", Value: true}, {Key: "helloOk", Value: true},
		{Key: "maxBsonObjectSize", Value: 16 << 20}, {Key: "maxMessageSizeBytes", Value: 48000000}, {Key: "maxWriteBatchSize", Value: 100000},
		{Key: "minWireVersion", Value: 0}, {Key: "maxWireVersion", Value: 25}, {Key: "ok", Value: 1}, more,
	}
}

func TestStreamAsksForWhatIsConfigured(t *testing.T) {
	f := newFeed(t)
	s, _ := openFeed(t, f, func(c *Config) {
		c.URI = secret("mongodb://" + f.addr() + "/?readConcernLevel=local")
		c.Stream.FullDocument, c.Stream.Before = required, whenAvailable
	})
	if _, _, err := read(t, s, syncd.ReadRequest{Split: syncd.Split{Stream: whole("a", "b")}, After: behindEvent(3)}, 0); err != nil {
		t.Fatal(err)
	}
	cmd := f.sent("aggregate")[0]
	want := `[{"$changeStream":{"fullDocument":"required","fullDocumentBeforeChange":"whenAvailable","startAfter":{"_data":"00000030"}}},` +
		`{"$match":{"$or":[{"ns.coll":{"$in":["a","b"]}},{"to.coll":{"$in":["a","b"]}},{"operationType":"invalidate"}]}},{"$changeStreamSplitLargeEvent":{}}]`
	if got := extJSON(t, cmd.Lookup("pipeline")); got != want {
		t.Errorf("%s\nnot %s", got, want)
	}
	if _, err := cmd.LookupErr("readConcern", "level"); err == nil {
		t.Error("the read concern of finds is asked of a stream, which the server refuses")
	}
}

func extJSON(t *testing.T, v bson.RawValue) string {
	t.Helper()
	out, err := bson.MarshalExtJSON(bson.D{{Key: "v", Value: v}}, false, false)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(out), `{"v":`), "}")
}

func TestServersThatKnowLess(t *testing.T) {
	f := newFeed(t)
	f.noSplit, f.noStartAfter = true, true
	f.change(opInsert, "c", 1, full(1))
	f.change(opInsert, "c", 2, full(2))
	f.change(opDrop, "c", nil)
	f.change(opInvalidate, "", nil)
	f.change(opInsert, "c", 3, full(3))
	s, _ := openFeed(t, f)
	st := &syncd.Stream{Name: "collection c", Collections: []syncd.Collection{{Name: "c"}}}
	got, batches, err := read(t, s, syncd.ReadRequest{Split: syncd.Split{Stream: st}, After: behindEvent(1)}, 9)
	var gone *syncd.CollectionGoneError
	if !errors.As(err, &gone) || len(got) != 1 || got[0].ID != "2" {
		t.Fatalf("%q, %v", lines(got), err)
	}
	// Until that is dealt with, it is told again: what was handed on before it is behind the last batch, and the drop is not.
	last := batches[len(batches)-1].Offset
	if got, _, err := read(t, s, syncd.ReadRequest{Split: syncd.Split{Stream: st}, After: last}, 9); !errors.As(err, &gone) || len(got) != 0 {
		t.Errorf("%q, %v", lines(got), err)
	}
	got, _, err = read(t, s, syncd.ReadRequest{Split: syncd.Split{Stream: st}, After: gone.After}, 1)
	if err != nil || len(got) != 1 || got[0].ID != "3" {
		t.Fatalf("%q, %v", lines(got), err)
	}
	opened := f.sent("aggregate")
	reopened := opened[len(opened)-1].Lookup("pipeline", "0", "$changeStream").Document()
	if _, err := reopened.LookupErr("startAtOperationTime"); err != nil {
		t.Errorf("behind an invalidate event without startAfter: %s", reopened)
	}
	if n := len(opened); n != 3+1+1+1 { // what was learned is not asked again
		t.Errorf("%d streams were opened", n)
	}
}

func TestCollectionsThatGo(t *testing.T) {
	type told struct {
		name    string
		renamed bool
	}
	for name, c := range map[string]struct {
		event func(f *feed)
		want  []told
	}{
		"dropped":                     {func(f *feed) { f.change(opDrop, "page", nil) }, []told{{"page", false}}},
		"another is dropped":          {func(f *feed) { f.change(opDrop, "other", nil) }, nil},
		"renamed":                     {func(f *feed) { f.change(opRename, "page", nil, to("old")) }, []told{{"page", true}}},
		"replaced":                    {func(f *feed) { f.change(opRename, "other", nil, to("page")) }, []told{{"page", true}}},
		"renamed to another of these": {func(f *feed) { f.change(opRename, "page", nil, to("blog")) }, []told{{"page", true}, {"blog", true}}},
		"another database has the name": {func(f *feed) {
			f.change(opRename, "other", nil, bson.E{Key: "to", Value: bson.D{{Key: "db", Value: "elsewhere"}, {Key: "coll", Value: "page"}}})
		}, nil},
		"others are renamed": {func(f *feed) { f.change(opRename, "other", nil, to("old")) }, nil},
		"the database is dropped": {func(f *feed) {
			f.change(opDrop, "page", nil)
			f.change(opDrop, "blog", nil)
			f.change("dropDatabase", "", nil)
			f.change(opInvalidate, "", nil)
		}, []told{{"page", false}, {"blog", false}}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFeed(t)
			f.change(opInsert, "page", 1, full(1))
			c.event(f)
			f.change(opInsert, "page", 2, full(2))
			s, r := openFeed(t, f)
			req := syncd.ReadRequest{Split: syncd.Split{Stream: whole("page", "blog")}, After: behindEvent(0)}
			var ids []string
			var got []told
			for len(ids) < 2 {
				changes, _, err := read(t, s, req, 2-len(ids))
				for _, c := range changes {
					ids = append(ids, c.ID)
				}
				var gone *syncd.CollectionGoneError
				switch {
				case errors.As(err, &gone):
					if len(ids) != 1 {
						t.Errorf("%s was told behind %q", gone.Collection, ids)
					}
					got = append(got, told{gone.Collection, gone.Renamed})
					req.After = gone.After
				case err != nil:
					t.Fatal(err)
				}
			}
			if !slices.Equal(ids, []string{"1", "2"}) || !slices.Equal(got, c.want) {
				t.Errorf("%q and %+v, want %+v", ids, got, c.want)
			}
			if len(r.told) > 0 {
				t.Errorf("%q", r.told)
			}
		})
	}
}

// A server that leaves nothing out is not believed either.
func TestChangesOfOthersAreLeftOut(t *testing.T) {
	f := newFeed(t)
	f.noMatch = true
	f.change(opInsert, "other", 1, full(1))
	f.change(opDrop, "other", nil)
	f.change(opRename, "another", nil, to("old"))
	f.change("dropDatabase", "", nil)
	f.change(opInsert, "page", 2, full(2))
	s, _ := openFeed(t, f)
	got, _, err := read(t, s, syncd.ReadRequest{Split: syncd.Split{Stream: whole("page")}, After: behindEvent(0)}, 1)
	if err != nil || len(got) != 1 || got[0].ID != "2" {
		t.Errorf("%q, %v", lines(got), err)
	}
}

// What a server answers, and what comes of it. Each stream has three changes; the fault hits the second reply, or the opening.
func TestStreamErrors(t *testing.T) {
	const (
		goesOn = iota
		lost
		final
		unavailable
	)
	for _, c := range []struct {
		code     int
		labels   []string
		opening  bool
		times    int
		want     int
		hint     string
		retries  int
		fresh    bool // and every opening that has no place fails too
		withUser bool
	}{
		{code: 286, times: 1, want: lost},
		{code: 286, times: 1, opening: true, want: lost},
		{code: 286, labels: []string{"NonResumableChangeStreamError"}, times: 1, want: lost},
		{code: 464, times: 1, want: lost},
		{code: 464, times: 1, opening: true, want: lost},
		{code: 280, times: 1, want: goesOn, retries: 1},
		{code: 280, times: 9, opening: true, want: lost, retries: 1},
		{code: 280, times: 1, opening: true, want: goesOn, retries: 1},
		{code: 99999, labels: []string{"NonResumableChangeStreamError"}, times: 9, opening: true, want: lost, retries: 1},
		{code: 260, times: 1, opening: true, want: lost},
		{code: 260, times: 1, want: goesOn, retries: 1},
		{code: 50811, times: 1, opening: true, want: lost},
		{code: 50811, times: 1, want: goesOn, retries: 1},
		{code: 9, times: 3, opening: true, want: lost}, // as SecantusDB says it; without the place the stream opens
		{code: 136, times: 1, want: goesOn, retries: 1},
		{code: 43, times: 1, want: goesOn, retries: 1},
		{code: 237, times: 1, want: goesOn, retries: 1},
		{code: 136, times: 5, opening: true, want: lost, retries: 4},
		{code: 136, times: 99, opening: true, fresh: true, want: final, hint: "modifyChangeStreams", retries: 8},
		{code: 11600, labels: []string{"ResumableChangeStreamError"}, times: 1, want: goesOn, retries: 1},
		{code: 99999, labels: []string{"ResumableChangeStreamError"}, times: 1, want: goesOn, retries: 1},
		{code: 91, times: 1, opening: true, want: goesOn}, // which the driver repeats
		{code: 10107, times: 99, opening: true, want: unavailable, retries: 4},
		{code: 26, times: 3, opening: true, want: goesOn},
		{code: 13, times: 1, want: final},
		{code: 13, times: 1, want: final, withUser: true},
		{code: 13, times: 9, opening: true, fresh: true, want: final},
		{code: 18, times: 1, want: final, hint: "authSource"},
		{code: 72, times: 1, opening: true, want: final, hint: "enableMajorityReadConcern"},
		{code: 40415, times: 99, opening: true, fresh: true, want: final, hint: "MongoDB 4.4"},
		{code: 47, times: 1, want: final, hint: "changeStreamPreAndPostImages"},
		{code: 40573, times: 9, opening: true, want: final, hint: "rs.initiate"},
		{code: 40324, times: 99, opening: true, fresh: true, want: final, hint: "--every"},
		{code: 238, times: 99, opening: true, fresh: true, want: final, hint: "--every"},
		{code: 59, times: 99, opening: true, fresh: true, want: final, hint: "--every"},
		{code: 20, times: 99, opening: true, fresh: true, want: final, hint: "--every"},
	} {
		t.Run(fmt.Sprintf("%d %v opening=%v", c.code, c.labels, c.opening), func(t *testing.T) {
			f := newFeed(t)
			for i := range 3 {
				f.change(opInsert, "c", i, full(i))
			}
			s, r := openFeed(t, f, func(cfg *Config) { cfg.BatchSize = 1 })
			if c.withUser {
				s.target.user = "mia"
			}
			fault := labelled(c.code, c.labels...)
			command := "getMore"
			var faults []bson.D
			if c.opening {
				command = "aggregate"
			} else {
				faults = append(faults, nil)
			}
			for range c.times {
				faults = append(faults, fault)
			}
			f.do(func() {
				f.faults[command] = faults
				if c.fresh {
					f.always[command] = fault
				}
			})
			got, _, err := read(t, s, syncd.ReadRequest{Split: syncd.Split{Stream: whole("c")}, After: behindEvent(0)}, 3)
			isLost, isUnavailable := errors.Is(err, syncd.ErrPositionLost), errors.Is(err, syncd.ErrUnavailable)
			outcome := goesOn
			switch {
			case isLost:
				outcome = lost
			case isUnavailable:
				outcome = unavailable
			case err != nil:
				outcome = final
			}
			if outcome != c.want || isLost && isUnavailable {
				t.Fatalf("%v (%s)", err, syncd.HintOf(err))
			}
			if err != nil && (!strings.HasPrefix(err.Error(), "following database db: ") || c.code != 18 && !strings.Contains(err.Error(), "by the stub")) {
				t.Errorf("the error says: %v", err)
			}
			if !strings.Contains(syncd.HintOf(err), c.hint) {
				t.Errorf("the hint is %q", syncd.HintOf(err))
			}
			if c.withUser && !strings.Contains(syncd.HintOf(err), `find and changeStream on {db: "db", collection: ""}`) {
				t.Errorf("the hint is %q", syncd.HintOf(err))
			}
			if len(r.told) != c.retries {
				t.Errorf("retries were told for %q", r.told)
			}
			var ids []string
			for _, c := range got {
				ids = append(ids, c.ID)
			}
			want := []string{"0", "1", "2"}
			switch {
			case err != nil && c.opening:
				want = nil
			case err != nil:
				want = want[:1]
			}
			if !slices.Equal(ids, want) {
				t.Errorf("%q, not %q", ids, want)
			}
		})
	}
}

func TestStreamSurvivesWhatPasses(t *testing.T) {
	resumable := labelled(11600, "ResumableChangeStreamError")
	for name, faults := range map[string][]bson.D{
		"cut":             {nil, cutting, nil, cutting, cutting},
		"labelled":        {resumable, nil, resumable, resumable, resumable},
		"cursor lost":     {nil, failure(43, "CursorNotFound"), nil, nil, failure(237, "CursorKilled")},
		"position capped": {failure(136, "CappedPositionLost")},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFeed(t)
			for i := range 20 {
				f.change(opInsert, "c", i, full(i))
			}
			f.faults["getMore"] = faults
			s, r := openFeed(t, f, func(c *Config) { c.BatchSize = 3 })
			got, _, err := read(t, s, syncd.ReadRequest{Split: syncd.Split{Stream: whole("c")}, After: behindEvent(0), BatchSize: 2}, 20)
			if err != nil {
				t.Fatal(err)
			}
			for i, c := range got {
				if c.ID != fmt.Sprint(i) {
					t.Fatalf("%q", lines(got))
				}
			}
			failed := 0
			for _, d := range faults {
				if d != nil {
					failed++
				}
			}
			if len(r.told) != failed {
				t.Errorf("%d faults, of which %q were told", failed, r.told)
			}
			for _, cmd := range f.sent("aggregate") {
				if _, err := cmd.LookupErr("pipeline", "0", "$changeStream", "startAfter"); err != nil {
					t.Errorf("a stream was opened with %s", cmd.Lookup("pipeline", "0"))
				}
			}
		})
	}
}

// Where a server opens streams and then never reads on, the driver alone would try for ever.
func TestStreamThatNeverReadsOnEnds(t *testing.T) {
	f := newFeed(t)
	f.always["getMore"] = labelled(11600, "ResumableChangeStreamError")
	s, r := openFeed(t, f)
	_, _, err := read(t, s, syncd.ReadRequest{Split: syncd.Split{Stream: whole("c")}, After: behindEvent(0)}, 1)
	if !errors.Is(err, syncd.ErrUnavailable) || len(r.told) != maxAttempts-1 {
		t.Errorf("%v; told %q", err, r.told)
	}
}

func TestStreamThatRepeatsItsEnd(t *testing.T) {
	f := newFeed(t)
	f.change(opInvalidate, "", nil)
	s, _ := openFeed(t, f)
	f.do(func() {
		f.intercept = func(name string, cmd bson.Raw) (bson.D, bool) {
			if name == "getMore" {
				return cursorReply(0, "nextBatch", bson.A{f.events[0]}), false
			}
			return f.answer(name, cmd)
		}
	})
	if _, _, err := read(t, s, syncd.ReadRequest{Split: syncd.Split{Stream: whole("c")}, After: behindEvent(0)}, 1); err == nil {
		t.Error("no error")
	}
}

func TestDamagedOffsetIsALostPosition(t *testing.T) {
	f := newFeed(t)
	s, _ := openFeed(t, f)
	for _, o := range []syncd.Offset{"x", behindEvent(1)[1:], behindEvent(1) + "x"} {
		_, _, err := read(t, s, syncd.ReadRequest{Split: syncd.Split{Stream: whole("c")}, After: o}, 1)
		if !errors.Is(err, syncd.ErrPositionLost) {
			t.Errorf("%v", err)
		}
	}
	if len(f.sent("aggregate")) > 0 {
		t.Error("the server was asked")
	}
}

// pieces adds a large event as a server sends it that splits.
func (f *feed) pieces(operation, collection string, id any, fields ...bson.D) {
	for i, d := range fields {
		e := bson.D{{Key: "_id", Value: token(10 * (len(f.events) + 1))}, {Key: "splitEvent", Value: bson.D{{Key: "fragment", Value: i + 1}, {Key: "of", Value: len(fields)}}}}
		if i == 0 {
			e = append(e, bson.E{Key: "operationType", Value: operation}, bson.E{Key: "documentKey", Value: bson.D{{Key: "_id", Value: id}}})
		}
		e = append(e, bson.E{Key: "ns", Value: bson.D{{Key: "db", Value: "db"}, {Key: "coll", Value: collection}}})
		f.raw(append(e, d...))
	}
}

func TestLargeEventsInPieces(t *testing.T) {
	f := newFeed(t)
	f.change(opInsert, "c", 1, full(1))
	f.pieces(opUpdate, "c", 2, bson.D{description(bson.D{{Key: "big", Value: 1}}, nil, nil)}, bson.D{full(2, bson.E{Key: "big", Value: 1})}, bson.D{{Key: "fullDocumentBeforeChange", Value: bson.D{{Key: "_id", Value: 2}}}})
	f.change(opInsert, "c", 3, full(3))
	for _, size := range []int{1, 2, 3, 4, 100} {
		s, _ := openFeed(t, f, func(c *Config) { c.BatchSize = size })
		got, batches, err := read(t, s, syncd.ReadRequest{Split: syncd.Split{Stream: whole("c")}, After: behindEvent(0), BatchSize: 1}, 3)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{`insert c 1 {"_id":{"$numberInt":"1"}}`, `update c 2 {"_id":{"$numberInt":"2"},"big":{"$numberInt":"1"}}`, `insert c 3 {"_id":{"$numberInt":"3"}}`}, lines(got)); diff != "" {
			t.Errorf("%d at once: %s", size, diff)
		}
		if raw := bson.Raw(got[1].Streamed.Raw); raw.Validate() != nil || tokenNumber(raw.Lookup("_id")) != 40 || !slices.Equal(got[1].Streamed.Touched, []string{"big"}) {
			t.Errorf("the event is %s", raw)
		}
		// No place lies within an event: behind each, what follows is whole.
		n := 0
		for _, b := range batches {
			n += len(b.Changes)
			if at := tokenNumber(bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: mustPosition(t, b.Offset).token}); at > 10 && at < 40 {
				t.Errorf("%d at once: an offset of %d, behind %d changes", size, at, n)
			}
		}
	}
}

func TestTornEventsAreReadAgain(t *testing.T) {
	f := newFeed(t)
	f.change(opInsert, "c", 1, full(1))
	f.pieces(opInsert, "c", 2, bson.D{{Key: "a", Value: 1}}, bson.D{full(2)})
	s, _ := openFeed(t, f, func(c *Config) { c.BatchSize = 1 })
	answers := 0
	f.do(func() {
		f.intercept = func(name string, cmd bson.Raw) (bson.D, bool) {
			if name == "getMore" {
				if answers++; answers == 2 { // the second piece comes first
					return cursorReply(cmd.Lookup("getMore").AsInt64(), "nextBatch", bson.A{f.events[2]}), false
				}
			}
			return f.answer(name, cmd)
		}
	})
	got, _, err := read(t, s, syncd.ReadRequest{Split: syncd.Split{Stream: whole("c")}, After: behindEvent(0)}, 2)
	if err != nil || len(got) != 2 || got[1].ID != "2" || got[1].Document == nil {
		t.Errorf("%q, %v", lines(got), err)
	}
}

// Without pieces an event that is too large stops the stream. Its document is read by its key, or the place is lost.
func TestEventsTooLargeToBeSent(t *testing.T) {
	f := newFeed(t)
	f.set(t, "c", bson.D{{Key: "_id", Value: 3}, {Key: "now", Value: true}})
	for i := range 5 {
		f.change(opUpdate, "c", i, full(i), description(bson.D{{Key: "a", Value: i}}, nil, nil))
	}
	f.change(opInsert, "c", 9, full(9)) // it is deleted since
	f.change(opInsert, "c", 5, full(5))
	f.large[4], f.large[6] = true, true
	s, _ := openFeed(t, f)
	req := syncd.ReadRequest{Split: syncd.Split{Stream: whole("c")}, After: behindEvent(0)}
	got, _, err := read(t, s, req, 7)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`update c 0 {"_id":{"$numberInt":"0"}}`, `update c 1 {"_id":{"$numberInt":"1"}}`, `update c 2 {"_id":{"$numberInt":"2"}}`,
		`update c 3 {"_id":{"$numberInt":"3"},"now":true}`,
		`update c 4 {"_id":{"$numberInt":"4"}}`, `replace c 9`, `insert c 5 {"_id":{"$numberInt":"5"}}`,
	}
	if diff := cmp.Diff(want, lines(got)); diff != "" {
		t.Error(diff)
	}
	if c := got[3].Streamed; !c.Whole || c.Raw != nil {
		t.Errorf("%+v", c)
	}
	if c := got[4].Streamed; c.Whole || c.Raw == nil {
		t.Errorf("%+v", c)
	}
	// Where even its key can't be sent.
	f.do(func() {
		f.intercept = func(name string, cmd bson.Raw) (bson.D, bool) {
			if name == "getMore" {
				return failure(10334, "BSONObjectTooLarge"), false
			}
			return f.answer(name, cmd)
		}
	})
	if _, _, err := read(t, s, req, 1); !errors.Is(err, syncd.ErrPositionLost) || !strings.Contains(err.Error(), "BSONObjectTooLarge") {
		t.Errorf("%v", err)
	}
}

// A server without an image says null, as of a document that was deleted.
func TestImagesThatAreNotThere(t *testing.T) {
	f := newFeed(t)
	f.set(t, "c", bson.D{{Key: "_id", Value: "a"}, {Key: "n", Value: "now"}})
	null := bson.E{Key: "fullDocument", Value: nil}
	for range 40 {
		f.change(opUpdate, "c", "a", null, description(bson.D{{Key: "n", Value: 1}}, nil, nil))
	}
	f.change(opUpdate, "c", "gone", null, description(bson.D{{Key: "n", Value: 1}}, nil, nil))
	f.change(opUpdate, "c", "kept", full("kept"), description(bson.D{{Key: "n", Value: 1}}, nil, nil))
	for setting, found := range map[string]bool{whenAvailable: true, fullLookup: false} {
		s, _ := openFeed(t, f, func(c *Config) { c.Stream.FullDocument = setting })
		got, _, err := read(t, s, syncd.ReadRequest{Split: syncd.Split{Stream: whole("c")}, After: behindEvent(0), Fields: []string{"n"}}, 42)
		if err != nil || len(got) != 42 {
			t.Fatalf("%d, %v", len(got), err)
		}
		want := `update c a ""`
		if found {
			want = `update c a "now" {"_id":"a","n":"now"}`
		}
		for i, line := range lines(got)[:40] {
			if line != want {
				t.Errorf("%s: %s, not %s", setting, line, want)
			}
			if raw := bson.Raw(got[i].Streamed.Raw); raw.Lookup("fullDocument").Type != bson.TypeNull {
				t.Errorf("%s: the server's event became %s", setting, raw)
			}
		}
		if diff := cmp.Diff([]string{`update c gone ""`, `update c kept "" {"_id":"kept"}`}, lines(got)[40:]); diff != "" {
			t.Error(diff)
		}
	}
}

func TestStreamsAreFew(t *testing.T) {
	two := []syncd.Collection{{Name: "page", Filter: `{"a": 1}`}, {Name: "blog"}}
	f := newFeed(t)
	s, _ := openFeed(t, f)
	got, err := s.Streams(t.Context(), two)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]syncd.Stream{{Name: "database db", Collections: two}}, got); diff != "" {
		t.Error(diff)
	}
	if got, err := s.Streams(t.Context(), nil); err != nil || len(got) > 0 {
		t.Errorf("%v, %v", got, err)
	}
	// Without the right to the database.
	var told strings.Builder
	s.log = slog.New(slog.NewTextHandler(&told, nil))
	f.do(func() {
		f.intercept = func(name string, cmd bson.Raw) (bson.D, bool) {
			if _, one := cmd.Lookup("aggregate").StringValueOK(); name == "aggregate" && !one {
				return failure(codeUnauthorized, "Unauthorized"), false
			}
			return f.answer(name, cmd)
		}
	})
	if got, err = s.Streams(t.Context(), two); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]syncd.Stream{{Name: "collection page", Collections: two[:1]}, {Name: "collection blog", Collections: two[1:]}}, got); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(told.String(), "level=INFO") || !strings.Contains(told.String(), "changeStream") {
		t.Errorf("the user was told %q", told.String())
	}
	f.do(func() { f.change(opInsert, "page", 1, full(1)) })
	changes, _, err := read(t, s, syncd.ReadRequest{Split: syncd.Split{Stream: &got[0]}, After: behindEvent(0)}, 1)
	if err != nil || len(changes) != 1 {
		t.Errorf("%v, %v", changes, err)
	}
	// Nor to a collection.
	f.do(func() { f.always["aggregate"] = failure(codeUnauthorized, "Unauthorized") })
	s.target.user = "mia"
	_, err = s.Streams(t.Context(), two)
	if err == nil || !strings.HasPrefix(err.Error(), "following collection page: not authorized") || !strings.Contains(syncd.HintOf(err), `{db: "db", collection: "page"}`) {
		t.Errorf("%v (%s)", err, syncd.HintOf(err))
	}
}

func TestWhatCanNotBeFollowed(t *testing.T) {
	f := newFeed(t)
	f.set(t, "view", bson.D{{Key: "_id", Value: 1}})
	f.set(t, "series", bson.D{{Key: "_id", Value: 1}})
	f.kinds = map[string]bson.D{
		"view":   {{Key: "type", Value: "view"}, {Key: "options", Value: bson.D{{Key: "viewOn", Value: "page"}, {Key: "pipeline", Value: bson.A{}}}}},
		"series": {{Key: "type", Value: "timeseries"}},
	}
	s, _ := openFeed(t, f)
	for name, want := range map[string]string{"view": "view of page", "series": "time series", "system.buckets.series": "its own"} {
		_, err := s.Streams(t.Context(), []syncd.Collection{{Name: "page"}, {Name: name}})
		if err == nil || !strings.HasPrefix(err.Error(), "following collection "+name+": ") || !strings.Contains(err.Error(), want) || !strings.Contains(syncd.HintOf(err), "--every") {
			t.Errorf("%v (%s)", err, syncd.HintOf(err))
		}
	}
	for hosts, want := range map[string]string{
		"mine.mongo.cosmos.azure.com:10255":                    "Cosmos",
		"mine.documents.azure.com:10255":                       "Cosmos",
		"a.cluster-x.eu-west-1.docdb.amazonaws.com:27017,b.c:": "",
	} {
		s.target.hosts = hosts
		_, err := s.Streams(t.Context(), []syncd.Collection{{Name: "page"}})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(syncd.HintOf(err), "--every")) {
			t.Errorf("%s: %v", hosts, err)
		}
	}
}

func TestStreamsTellWhatIsMissing(t *testing.T) {
	for code, hint := range map[int]string{40573: "--replSet", 40324: "--every", 238: "--every", 59: "--every", 304: "--every", 9: "--every", 136: "modifyChangeStreams", 26: ""} {
		f := newFeed(t)
		f.always["aggregate"] = failure(code, "refused")
		f.always["hello"] = helloWith(bson.E{Key: "operationTime", Value: bson.Timestamp{T: 1}})
		s, _ := openFeed(t, f)
		_, err := s.Streams(t.Context(), []syncd.Collection{{Name: "page"}})
		if hint == "" {
			if err != nil {
				t.Errorf("%d: %v", code, err)
			}
			continue
		}
		if err == nil || errors.Is(err, syncd.ErrUnavailable) || !strings.Contains(syncd.HintOf(err), hint) || !strings.Contains(err.Error(), "refused by the stub") {
			t.Errorf("%d: %v (%s)", code, err, syncd.HintOf(err))
		}
	}
	f := newFeed(t)
	f.always["aggregate"] = failure(2, "BadValue")
	s, _ := openFeed(t, f, func(c *Config) { c.Stream.FullDocument, c.Stream.Before = whenAvailable, required })
	_, err := s.Now(t.Context(), *whole("c"))
	if h := syncd.HintOf(err); !strings.Contains(h, "source.mongo.stream.full_document: when_available") || !strings.Contains(h, "source.mongo.stream.before: required") {
		t.Errorf("%v (%s)", err, h)
	}
}

func TestStreamEndsWithItsContext(t *testing.T) {
	f := newFeed(t)
	s, _ := openFeed(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	var last error
	for _, err := range s.Read(ctx, syncd.ReadRequest{Split: syncd.Split{Stream: whole("c")}, BatchSize: 1}) {
		if last = err; err != nil {
			break
		}
		if n++; n == 3 {
			cancel()
		}
	}
	cancel()
	if !errors.Is(last, context.Canceled) || errors.Is(last, syncd.ErrUnavailable) {
		t.Errorf("%v", last)
	}
}

func TestWindow(t *testing.T) {
	f := newFeed(t)
	f.set(t, "oplog.rs", bson.D{{Key: "_id", Value: 1}, {Key: "ts", Value: bson.Timestamp{T: 1000, I: 1}}}, bson.D{{Key: "_id", Value: 2}, {Key: "ts", Value: bson.Timestamp{T: 3000, I: 1}}})
	s, _ := openFeed(t, f)
	f.do(func() {
		f.intercept = func(name string, cmd bson.Raw) (bson.D, bool) {
			if order, err := cmd.LookupErr("sort", "$natural"); name == "find" && err == nil {
				docs := slices.Clone(f.collections["oplog.rs"])
				if order.AsInt64() < 0 {
					slices.Reverse(docs)
				}
				return cursorReply(0, "firstBatch", bson.A{docs[0]}), false
			}
			return nil, false
		}
	})
	w, err := s.Window(t.Context(), *whole("c"))
	if err != nil || w.First.Unix() != 1000 || w.Last.Unix() != 3000 {
		t.Errorf("%+v, %v", w, err)
	}
	f.do(func() { f.intercept = nil })
	for _, reply := range []bson.D{cursorReply(0, "firstBatch", nil), failure(26, "NamespaceNotFound"), cursorReply(0, "firstBatch", bson.A{bson.D{{Key: "x", Value: 1}}})} {
		f.do(func() {
			f.intercept = func(name string, _ bson.Raw) (bson.D, bool) {
				if name == "find" {
					return reply, false
				}
				return nil, false
			}
		})
		if w, err := s.Window(t.Context(), *whole("c")); err != nil || !w.First.IsZero() || !w.Last.IsZero() {
			t.Errorf("%+v, %v", w, err)
		}
	}
	f.do(func() { f.always["find"] = failure(13, "Unauthorized"); f.intercept = f.answer })
	if _, err := s.Window(t.Context(), *whole("c")); err == nil || !strings.Contains(syncd.HintOf(err), "local") {
		t.Errorf("%v", err)
	}
}

// muteProxy passes connections on to a server, until it falls silent on all those that it has: as a network does that drops packets.
type muteProxy struct {
	mu    sync.Mutex
	muted int // connections of before; those that were made since pass
	made  int
}

func (p *muteProxy) serve(t *testing.T, to string) func(net.Conn) {
	return func(c net.Conn) {
		up, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", to)
		if err != nil {
			_ = c.Close()
			return
		}
		t.Cleanup(func() { _ = up.Close() })
		p.mu.Lock()
		p.made++
		mine := p.made
		p.mu.Unlock()
		pipe := func(to, from net.Conn) {
			buf := make([]byte, 64<<10)
			for {
				n, err := from.Read(buf)
				p.mu.Lock()
				muted := mine <= p.muted
				p.mu.Unlock()
				if err != nil {
					return
				}
				if muted {
					continue
				}
				if _, err := to.Write(buf[:n]); err != nil {
					return
				}
			}
		}
		go pipe(up, c)
		go pipe(c, up)
	}
}

func (p *muteProxy) mute() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.muted = p.made
}

func TestStreamOverASilentNetwork(t *testing.T) {
	f := newFeed(t)
	for i := range 2 {
		f.change(opInsert, "c", i, full(i))
	}
	var proxy muteProxy
	addr := listen(t, proxy.serve(t, f.addr()))
	s, r := openFeed(t, f, func(c *Config) {
		c.URI, c.ConnectTimeout = secret("mongodb://"+addr+"/?heartbeatFrequencyMS=500"), 300*time.Millisecond
	})
	s.silence = 300 * time.Millisecond
	n := 0
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for b, err := range s.Read(ctx, syncd.ReadRequest{Split: syncd.Split{Stream: whole("c")}, After: behindEvent(0), BatchSize: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range b.Changes {
			if c.ID != fmt.Sprint(n) {
				t.Errorf("%q instead of %d", c.ID, n)
			}
			if n++; n == 2 {
				proxy.mute()
				f.do(func() { f.change(opInsert, "c", 2, full(2)) })
			}
		}
		if n == 3 {
			break
		}
	}
	if n != 3 || len(r.told) == 0 || slices.Contains(r.told, retryOther) {
		t.Errorf("%d changes, retries %q", n, r.told)
	}
}

// TestWhatMayBringADocumentIntoTheFilter: of an update that does, nobody may say that only what it touched has changed.
func TestWhatMayBringADocumentIntoTheFilter(t *testing.T) {
	for filter, touches := range map[string][3]bool{ // title, tags.0.name, n
		`{}`:                                {},
		`{"n": {"$gt": 1}}`:                 {false, false, true},
		`{"tags.name": "x"}`:                {false, true, false},
		`{"$comment": "title", "tags": []}`: {false, true, false},
		`{"$or": [{"title": "x"}, {"$and": [{"n": 1}]}], "other": 1}`: {true, false, true},
		`{"$expr": {"$eq": ["$n", 1]}}`:                               {true, true, true},
		`{"$or": [{"$where": "true"}]}`:                               {true, true, true},
	} {
		f := newFeed(t)
		f.change(opInsert, "page", "a", full("a"))
		paths := []string{"title", "tags.0.name", "n"}
		for _, path := range paths {
			f.change(opUpdate, "page", "a", full("a"), description(bson.D{{Key: path, Value: 1}}, nil, bson.A{}))
		}
		s, _ := openFeed(t, f)
		stream := whole("page")
		stream.Collections[0].Filter = filter
		got, _, err := read(t, s, syncd.ReadRequest{Split: syncd.Split{Stream: stream}, After: behindEvent(0)}, 4)
		if err != nil {
			t.Fatal(err)
		}
		for i, path := range paths {
			c := got[i+1].Streamed
			if c.Whole != touches[i] || !c.Whole && !slices.Equal(c.Touched, []string{path}) {
				t.Errorf("of filter %s, an update of %s: whole %t, touched %q", filter, path, c.Whole, c.Touched)
			}
		}
	}
}
