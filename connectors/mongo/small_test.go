package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"github.com/syncd-io/syncd"
)

func numbered(n int) (docs []any) {
	for i := range n {
		docs = append(docs, bson.D{{Key: "_id", Value: i}})
	}
	return docs
}

// TestASmallCollectionCostsAFewQuestions: what it is, how many documents it has, and those.
func TestASmallCollectionCostsAFewQuestions(t *testing.T) {
	for name, c := range map[string]struct{ documents, finds, lists int }{
		"in one reply":    {7, 1, 1},
		"in more replies": {20, 2, 2}, // it is looked for the end, too
	} {
		server := newStub(t)
		server.set(t, "c", numbered(c.documents)...)
		src, _ := openWith(t, server, nil) // 7 documents in a reply
		col := syncd.Collection{Name: "c"}
		if id, err := src.Identity(t.Context(), col); id == "" || err != nil {
			t.Fatal(id, err)
		}
		if n, ok, err := src.Estimate(t.Context(), col); n != int64(c.documents) || !ok || err != nil {
			t.Fatal(n, ok, err)
		}
		splits, err := splitsOf(t.Context(), src, col)
		if err != nil || len(splits) != 1 || splits[0] != (syncd.Split{Collection: col}) {
			t.Fatalf("%+v, %v", splits, err)
		}
		got, err := readSplits(t.Context(), src, splits, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		eachOnce(t, name, numbered(c.documents), got)
		if finds, lists, counts := len(server.sent("find")), len(server.sent("listCollections")), len(server.sent("count")); finds != c.finds || lists != c.lists || counts != 1 {
			t.Errorf("%s: %d finds, %d lists, %d counts; want %d, %d and 1", name, finds, lists, counts, c.finds, c.lists)
		}
	}
}

// TestWhatIsGoneMeanwhileIsNotFound: of a collection that is not there nothing is missing.
func TestWhatIsGoneMeanwhileIsNotFound(t *testing.T) {
	server := newStub(t)
	server.set(t, "c", numbered(3)...)
	server.set(t, "empty")
	src, _ := openWith(t, server, nil)
	for _, name := range []string{"c", "empty"} {
		if _, err := src.Identity(t.Context(), syncd.Collection{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	server.drop("c")
	if n, _, err := src.Estimate(t.Context(), syncd.Collection{Name: "c"}); !errors.Is(err, syncd.ErrCollectionNotFound) {
		t.Errorf("%d documents of what is gone, %v", n, err)
	}
	if n, ok, err := src.Estimate(t.Context(), syncd.Collection{Name: "empty"}); n != 0 || !ok || err != nil {
		t.Errorf("%d documents of an empty collection, %t, %v", n, ok, err)
	}
}

// TestWhatWasSmallIsLookedAtAgain: an estimate counts for the next Splits alone.
func TestWhatWasSmallIsLookedAtAgain(t *testing.T) {
	server := newStub(t)
	server.set(t, "c", numbered(100)...)
	src, _ := openWith(t, server, nil)
	col := syncd.Collection{Name: "c"}
	estimate := func(n int64) (splits int) {
		server.mu.Lock()
		server.estimates = map[string]int64{"c": n}
		server.mu.Unlock()
		if _, _, err := src.Estimate(t.Context(), col); err != nil {
			t.Fatal(err)
		}
		parts, err := splitsOf(t.Context(), src, col)
		if err != nil {
			t.Fatal(err)
		}
		return len(parts)
	}
	if n := estimate(unsplitBelow - 1); n != 1 {
		t.Errorf("%d splits of a small collection", n)
	}
	server.mu.Lock()
	server.estimates = map[string]int64{"c": 1e6}
	server.mu.Unlock()
	if parts, err := splitsOf(t.Context(), src, col); len(parts) < 2 || err != nil {
		t.Errorf("%d splits of what has grown, %v", len(parts), err)
	}
	if n := estimate(unsplitBelow); n < 2 {
		t.Errorf("%d splits of a large collection", n)
	}
}

func TestSplitsThatAreAskedForAreMade(t *testing.T) {
	server := newStub(t)
	server.set(t, "c", numbered(100)...)
	src, _ := openWith(t, server, withSplits(4))
	if _, _, err := src.Estimate(t.Context(), syncd.Collection{Name: "c"}); err != nil {
		t.Fatal(err)
	}
	if parts, err := splitsOf(t.Context(), src, syncd.Collection{Name: "c"}); len(parts) != 4 || err != nil {
		t.Errorf("%d splits, %v", len(parts), err)
	}
}

// TestEachPlanHasItsOwnEnd: what was the end for one plan is not for the next.
func TestEachPlanHasItsOwnEnd(t *testing.T) {
	server := newStub(t)
	src, _ := openWith(t, server, withSplits(1))
	for _, n := range []int{50, 90} {
		server.set(t, "c", numbered(n)...)
		parts, err := splitsOf(t.Context(), src, syncd.Collection{Name: "c"})
		if err != nil {
			t.Fatal(err)
		}
		got, err := readSplits(t.Context(), src, parts, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		eachOnce(t, fmt.Sprint(n), numbered(n), got)
	}
}

// TestTheEndIsKnownWhereTheOrderIs: text in a collation has an order of the server's.
func TestTheEndIsKnownWhereTheOrderIs(t *testing.T) {
	server := newStub(t)
	server.set(t, "c", bson.D{{Key: "_id", Value: "a"}}, bson.D{{Key: "_id", Value: "b"}})
	server.set(t, "n", numbered(2)...)
	src, _ := openWith(t, server, nil)
	for _, c := range []struct {
		collection string
		binary     bool
		want       bool
	}{{"c", true, true}, {"c", false, false}, {"n", false, true}} {
		last, err := src.lastID(t.Context(), c.collection, traits{binary: c.binary})
		if known := last.Type != 0; known != c.want || err != nil {
			t.Errorf("%+v: %v, %v", c, last, err)
		}
	}
}

// TestManyCollectionsAreLookedAtTogether, whatever the server makes of a question about several.
func TestManyCollectionsAreLookedAtTogether(t *testing.T) {
	for name, c := range map[string]struct {
		intercept func(name string, cmd bson.Raw) (bson.D, bool)
		nameOnly  bool
	}{
		"understood": {},
		"refused": {intercept: func(name string, cmd bson.Raw) (bson.D, bool) {
			if _, one := cmd.Lookup("filter", "name").StringValueOK(); name == "listCollections" && !one {
				return failure(2, "BadValue"), false
			}
			return nil, false
		}},
		"names only": {nameOnly: true, intercept: func(name string, cmd bson.Raw) (bson.D, bool) {
			if only, _ := cmd.Lookup("nameOnly").BooleanOK(); name == "listCollections" && !only {
				return failure(codeUnauthorized, "Unauthorized"), false
			}
			return nil, false
		}},
	} {
		t.Run(name, func(t *testing.T) {
			server := newStub(t)
			var names []string
			for i := range 30 {
				names = append(names, fmt.Sprintf("c%02d", i))
				server.set(t, names[i], numbered(i)...)
			}
			names = append(names, "no")
			src, _ := openWith(t, server, nil)
			server.mu.Lock()
			server.intercept = c.intercept
			server.mu.Unlock()
			ids, errs := make([]string, len(names)), make([]error, len(names))
			var g sync.WaitGroup
			for i, n := range names {
				g.Go(func() { ids[i], errs[i] = src.Identity(t.Context(), syncd.Collection{Name: n}) })
			}
			g.Wait()
			if !errors.Is(errs[30], syncd.ErrCollectionNotFound) || !strings.Contains(errs[30].Error(), "identifying collection no: ") {
				t.Errorf("of none: %v", errs[30])
			}
			if err := errors.Join(errs[:30]...); err != nil {
				t.Fatal(err)
			}
			different := len(slices.Compact(slices.Sorted(slices.Values(ids[:30]))))
			if want := map[bool]int{true: 1, false: 30}[c.nameOnly]; different != want || (ids[0] == "") != c.nameOnly {
				t.Errorf("%d different identities, such as %q; want %d", different, ids[0], want)
			}
		})
	}
}

// TestSizesOfManyCollectionsAreOneQuestion, and of each where the server does not answer that, or not as it should.
func TestSizesOfManyCollectionsAreOneQuestion(t *testing.T) {
	sizes := func(docs ...any) func(name string, cmd bson.Raw) (bson.D, bool) {
		return func(name string, _ bson.Raw) (bson.D, bool) {
			if name != "aggregate" {
				return nil, false
			}
			return cursorReply(0, "firstBatch", docs), false
		}
	}
	size := func(ns string, n any) bson.D { return bson.D{{Key: "ns", Value: ns}, {Key: "count", Value: n}} }
	refused := func(code int) func(name string, cmd bson.Raw) (bson.D, bool) {
		return func(name string, _ bson.Raw) (bson.D, bool) {
			if name != "aggregate" {
				return nil, false
			}
			return failure(code, "No"), false
		}
	}
	for name, c := range map[string]struct {
		intercept func(name string, cmd bson.Raw) (bson.D, bool)
		ask       int // collections of 0, 1, 2, … documents
		gone      bool
		kind      string // of the server
		together  int    // questions
		alone     int
	}{
		"answered":                  {ask: 3, together: 1},
		"more than a question has":  {ask: 250, together: 3},
		"one":                       {ask: 1, alone: 1},
		"one of them is gone":       {ask: 3, gone: true, together: 1, alone: 4},
		"stages that are not known": {ask: 3, intercept: refused(40324), together: 1, alone: 3},
		"not allowed":               {ask: 3, intercept: refused(codeUnauthorized), together: 1, alone: 3},
		"one is not told":           {ask: 3, intercept: sizes(size("db.c000", 0), size("db.c002", int64(2))), together: 1, alone: 1},
		"one comes twice":           {ask: 3, intercept: sizes(size("db.c000", 0), size("db.c001", 7), size("db.c001", 1), size("db.c002", 2)), together: 1, alone: 3},
		"no number":                 {ask: 2, intercept: sizes(size("db.c000", "0"), size("db.c001", 1)), together: 1, alone: 2},
		"less than nothing":         {ask: 2, intercept: sizes(size("db.c000", -1), size("db.c001", 1)), together: 1, alone: 2},
		"of another database":       {ask: 2, intercept: sizes(size("other.c000", 9), size("db.c001", 1)), together: 1, alone: 2},
		"a mongos":                  {ask: 3, kind: kindMongos, alone: 3},
	} {
		t.Run(name, func(t *testing.T) {
			server := newStub(t)
			var names []string
			for i := range c.ask {
				names = append(names, fmt.Sprintf("c%03d", i))
				server.set(t, names[i], numbered(i)...)
			}
			if c.gone {
				names = append(names, "gone")
			}
			src, _ := openWith(t, server, nil)
			if c.kind != "" {
				src.answers.keep(&event.ServerHeartbeatSucceededEvent{Reply: event.ServerDescription{Addr: "h:1", Kind: c.kind}})
			}
			server.mu.Lock()
			server.intercept = c.intercept
			server.mu.Unlock()
			got, err := src.estimateAll(t.Context(), names)
			if err != nil || len(got) != len(names) {
				t.Fatal(got, err)
			}
			for i, e := range got {
				if want := int64(i % c.ask); (e.n != want && names[i] != "gone") || e.err != nil {
					t.Errorf("%s: %d documents, %v", names[i], e.n, e.err)
				}
			}
			if together, alone := len(server.sent("aggregate")), len(server.sent("count")); together != c.together || alone != c.alone {
				t.Errorf("%d questions about many and %d about one; want %d and %d", together, alone, c.together, c.alone)
			}
		})
	}
}

// lastAnswer is a server that answers with all documents at once, and perhaps with damage behind them.
type lastAnswer struct {
	docs
	finds, closed int
}

func (s *lastAnswer) find(context.Context, query) (cursor, error) {
	s.finds++
	return s, nil
}

func (s *lastAnswer) Close() { s.closed++ }

// TestTheLastAnswerIsLookedThrough: what a server says last holds all documents only if it can be read to its end.
func TestTheLastAnswerIsLookedThrough(t *testing.T) {
	damage := errors.New("malformed BSON")
	for name, end := range map[string]error{"whole": nil, "with damage at its end": damage} {
		server := &lastAnswer{docs: docs{err: end}}
		for i := range 3 {
			server.list = append(server.list, element(bson.TypeInt32, "_id", []byte{byte(i), 0, 0, 0}))
		}
		stub := newStub(t)
		stub.set(t, "c")
		src := openAndClose(t, stub)
		src.finder = server
		n := 0
		var got error
		for b, err := range src.Read(t.Context(), syncd.ReadRequest{Split: syncd.Split{Collection: syncd.Collection{Name: "c"}}, BatchSize: 2}) {
			if err != nil {
				got = err
				break
			}
			n += len(b.Changes)
		}
		if !errors.Is(got, end) || end == nil && n != 3 || server.finds != 1 || server.closed != 1 {
			t.Errorf("%s: %d documents, %v, after %d finds, %d of them closed", name, n, got, server.finds, server.closed)
		}
	}
}
