package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
)

// counting returns a next for ahead that gives 1, 2, … n, and then err; ask, if not nil, is called with each number before.
func counting(n int, err error, ask func(ctx context.Context, i int) error) func(context.Context) (int, bool, error) {
	i := 0
	return func(ctx context.Context) (int, bool, error) {
		i++
		if ask != nil {
			if err := ask(ctx, i); err != nil {
				return 0, true, err
			}
		}
		if i < n {
			return i, true, nil
		}
		return i, false, err
	}
}

func TestAheadAsksOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, handled := 0, 0
		next := counting(4, nil, func(_ context.Context, i int) error {
			asked = i
			return nil
		})
		for v, err := range ahead(t.Context(), next) {
			handled++
			synctest.Wait()
			if want := min(handled+1, 4); err != nil || v != handled || asked != want {
				t.Errorf("value %d, %v; while it is handled, %d were asked for, want %d", v, err, asked, want)
			}
		}
		if handled != 4 {
			t.Errorf("%d values", handled)
		}
	})
}

func TestAheadEnds(t *testing.T) {
	broken := errors.New("broken")
	waits := func(ctx context.Context, i int) error {
		if i < 2 {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}
	for name, c := range map[string]struct {
		next   func(context.Context) (int, bool, error)
		stop   bool // leave after the first value
		cancel bool // the context, then
		values int
		want   error
	}{
		"with the last":                  {next: counting(3, nil, nil), values: 3},
		"with the first":                 {next: counting(1, nil, nil), values: 1},
		"at an error":                    {next: counting(3, broken, nil), values: 3, want: broken},
		"at an error at once":            {next: counting(1, broken, nil), values: 1, want: broken},
		"when left":                      {next: counting(3, nil, nil), stop: true, values: 1},
		"when left, with a question out": {next: counting(3, nil, waits), stop: true, values: 1},
		"when cancelled":                 {next: counting(3, nil, waits), cancel: true, values: 1, want: context.Canceled},
		"when left and cancelled":        {next: counting(3, nil, waits), cancel: true, stop: true, values: 1},
	} {
		t.Run(name, func(t *testing.T) {
			// A goroutine that stays behind makes the bubble fail.
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var got error
				values := 0
				for v, err := range ahead(ctx, c.next) {
					if got = err; err == nil && v > 0 {
						values++
					}
					synctest.Wait()
					if c.cancel {
						cancel()
					}
					if c.stop {
						break
					}
				}
				if values != c.values || !errors.Is(got, c.want) {
					t.Errorf("%d values, then %v; want %d, then %v", values, got, c.values, c.want)
				}
			})
		})
	}
}

// A cursor is closed as soon as its scan is left, so nobody may be using it then.
func TestAheadWaitsForItsQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asking := false
		next := counting(3, nil, func(ctx context.Context, i int) error {
			if i == 2 {
				asking = true
				<-ctx.Done()
				time.Sleep(time.Second) // of the bubble: it takes no time, but others come first
				asking = false
			}
			return nil
		})
		for range ahead(t.Context(), next) {
			synctest.Wait()
			if !asking {
				t.Error("no question is out")
			}
			break
		}
		if asking {
			t.Error("the sequence has ended before its question")
		}
	})
}

// A reader whose context ends just when everything has been asked for must not take that for the end: it can't know.
func TestAheadIsNotSilentAboutItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var got error
	for _, err := range ahead(ctx, counting(1, nil, nil)) {
		got = err
	}
	if !errors.Is(got, context.Canceled) {
		t.Errorf("%v", got)
	}
}

func TestAheadSurvivesAPanicOfItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		for range ahead(t.Context(), counting(3, nil, nil)) {
			panic("as a reader may")
		}
	})
}

// The next reply is asked for while the first batch of one is handled, and no sooner than that the one after it.
func TestScanReadsAhead(t *testing.T) {
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
	req := syncd.ScanRequest{Split: syncd.Split{Collection: syncd.Collection{Name: "c"}}, BatchSize: 6}
	batches := 0
	for batch, err := range src.Scan(t.Context(), req) {
		if err != nil {
			t.Fatal(err)
		}
		if batches++; batches == 1 {
			<-asked // would wait for ever if it came only when the 20 are used up
		}
		if len(batch) != 6 {
			t.Errorf("batch %d has %d records; batches go across replies", batches, len(batch))
		}
	}
	if batches != 10 {
		t.Errorf("%d batches", batches)
	}
}

// As for a consumer that is so slow that every cursor has expired by the time it asks for more.
func TestScanWhoseCursorsAlwaysExpire(t *testing.T) {
	for _, documents := range []bool{false, true} {
		server := newStub(t)
		docs := mixed()
		for i := range 200 {
			docs = append(docs, bson.D{{Key: "_id", Value: fmt.Sprintf("text %04d", i)}})
		}
		server.set(t, "c", docs...)
		var lost atomic.Int32
		src, _ := openWith(t, server, withSplits(3))
		splits, err := planned(t.Context(), src, syncd.Collection{Name: "c"})
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
			keys, err := scanKeys(t.Context(), src, syncd.ScanRequest{Split: split, Documents: documents, BatchSize: 5})
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

func TestScanLeavesNoCursorBehind(t *testing.T) {
	server := newStub(t)
	var docs []any
	for i := range 100 {
		docs = append(docs, bson.D{{Key: "_id", Value: i}})
	}
	server.set(t, "c", docs...)
	src, _ := openWith(t, server, nil)
	if keys, err := scanKeys(t.Context(), src, syncd.ScanRequest{}); err != nil || len(keys) != 100 {
		t.Fatal(len(keys), err)
	}
	if n := len(server.sent("killCursors")); n != 0 {
		t.Errorf("a cursor that was read to its end was killed %d times", n)
	}
	req := syncd.ScanRequest{Split: syncd.Split{Collection: syncd.Collection{Name: "c"}}, BatchSize: 2}
	for range src.Scan(t.Context(), req) {
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	for _, err := range src.Scan(ctx, req) {
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	cancel()
	if n := len(server.sent("killCursors")); n != 2 {
		t.Errorf("of two scans left early, %d killed their cursor", n)
	}
}

// What is asked of the server: the index alone for ids, a hint with every bound, and a choice of index with a filter.
func TestScanHints(t *testing.T) {
	server := newStub(t)
	server.set(t, "c", bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "_id", Value: 2}}, bson.D{{Key: "_id", Value: 3}})
	src, _ := openWith(t, server, func(c *Config) { c.BatchSize = 0 })
	one := key(value(t, 1))
	for name, c := range map[string]struct {
		req  syncd.ScanRequest
		hint bool
		size int32
	}{
		"ids":                {syncd.ScanRequest{}, true, idsAtOnce},
		"ids with a filter":  {syncd.ScanRequest{Split: syncd.Split{Collection: syncd.Collection{Filter: `{"_id": 1}`}}}, false, idsAtOnce},
		"fields":             {syncd.ScanRequest{Fields: []string{"f"}}, false, idsAtOnce},
		"documents":          {syncd.ScanRequest{Documents: true}, false, documentsAtOnce},
		"documents, resumed": {syncd.ScanRequest{Documents: true, After: one, Split: syncd.Split{Upper: behind + key(value(t, 3))}}, true, documentsAtOnce},
		"fields of a split":  {syncd.ScanRequest{Fields: []string{"f"}, Split: syncd.Split{Upper: key(value(t, 3))}}, true, idsAtOnce},
		"the only split":     {syncd.ScanRequest{Split: syncd.Split{Upper: behind + key(value(t, 3))}}, true, idsAtOnce},
	} {
		if _, err := scanKeys(t.Context(), src, c.req); err != nil {
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
		req         syncd.ScanRequest
		want, named int // records, and questions for MaxKey
	}{
		"everything":           {syncd.ScanRequest{}, 3, 0},
		"resumed":              {syncd.ScanRequest{After: one}, 2, 1},
		"resumed before a cut": {syncd.ScanRequest{After: one, Split: syncd.Split{Upper: last}}, 1, 0},
		"resumed to the end":   {syncd.ScanRequest{After: one, Split: syncd.Split{Upper: behind + last}}, 2, 1},
		"resumed to another":   {syncd.ScanRequest{After: one, Split: syncd.Split{Upper: behind + key(value(t, "b"))}}, 1, 0},
		"behind it":            {syncd.ScanRequest{After: last}, 0, 0},
		"from it":              {syncd.ScanRequest{Split: syncd.Split{Lower: last}}, 1, 1},
		// A run that ended between keeping its last split and keeping that it was the last goes on behind its end.
		"behind a last split": {syncd.ScanRequest{Split: syncd.Split{Lower: behind + one}}, 2, 1},
		"resumed in such":     {syncd.ScanRequest{After: key(value(t, "b")), Split: syncd.Split{Lower: behind + one}}, 1, 1},
		"behind the very end": {syncd.ScanRequest{Split: syncd.Split{Lower: behind + last}}, 0, 0},
		"documents":           {syncd.ScanRequest{After: one, Documents: true}, 2, 1},
		"with a filter":       {syncd.ScanRequest{After: one, Split: syncd.Split{Collection: syncd.Collection{Filter: `{"_id": "a"}`}}}, 1, 1},
	} {
		before := len(server.sent("find"))
		keys, err := scanKeys(t.Context(), src, c.req)
		named := 0
		for _, find := range server.sent("find")[before:] {
			if strings.Contains(find.Lookup("filter").String(), "maxKey") {
				named++
			}
		}
		if err != nil || len(keys) != c.want || named != c.named {
			t.Errorf("%s: %d records, %v, and %d questions for MaxKey; want %d and %d", name, len(keys), err, named, c.want, c.named)
		}
	}
}

func TestScanWithoutHint(t *testing.T) {
	server := newStub(t)
	server.noHint = true
	server.set(t, "c", bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "_id", Value: 2}})
	src, _ := openWith(t, server, nil)
	for range 3 {
		if keys, err := scanKeys(t.Context(), src, syncd.ScanRequest{}); err != nil || len(keys) != 2 {
			t.Fatal(len(keys), err)
		}
	}
	if n := len(server.sent("find")); n != 4 {
		t.Errorf("%d finds for three scans; a refused hint is tried once", n)
	}
}

// In a view with a collation text has an order that is not known here: where the record to continue behind is gone, text may
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
		keys, err := scanKeys(t.Context(), src, syncd.ScanRequest{After: key(value(t, "c"))}) // between C and d, or behind all capitals
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

func TestDamagedSplits(t *testing.T) {
	src := openAndClose(t, newStub(t))
	for _, split := range []syncd.Split{{Lower: "\x07x"}, {Upper: "\x07x"}, {Upper: behind}, {Upper: behind + behind + "\x07x"}, {Lower: behind}, {Lower: behind + behind + "\x07x"}} {
		if _, err := scanKeys(t.Context(), src, syncd.ScanRequest{Split: split}); err == nil || !strings.Contains(err.Error(), "reading a split") {
			t.Errorf("%+v: %v", split, err)
		}
	}
}
