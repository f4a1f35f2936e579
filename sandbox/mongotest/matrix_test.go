package mongotest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/sandbox/fastmongo"
)

// matrix is a source with a collection whose documents are {_id, n: a number of its own}.
type matrix struct {
	server
	source syncd.Source
	coll   syncd.Collection
	null   int // the n of the document whose _id is null, or -1
}

// role is what becomes of a document while it is read.
type role int

const (
	stays role = iota // there throughout: must be seen exactly once
	goes              // deleted at some time
	comes             // inserted at some time
)

// actor is a document, or one to be.
type actor struct {
	id   any
	role role
}

func (a actor) doc(n int) bson.D {
	return bson.D{{Key: "_id", Value: a.id}, {Key: "n", Value: int32(n)}}
}

// cast makes up to perType documents of each type, of which some come and go if there are changes. Of types with few ids all
// stay.
func cast(types []string, perType int, changes bool) []actor {
	var out []actor
	for _, typ := range types {
		scarce := variants[typ](3) == nil
		for i := range perType {
			id := variants[typ](i)
			if id == nil {
				break
			}
			a := actor{id: id}
			if changes && !scarce {
				a.role = role(i % 3)
			}
			out = append(out, a)
		}
	}
	return out
}

// fillWith stores all documents that are there at the start, in no order of theirs.
func (m *matrix) fillWith(t *testing.T, actors []actor) {
	t.Helper()
	m.null = slices.IndexFunc(actors, func(a actor) bool { return a.id == bson.Null{} })
	var docs []any
	for i := range actors {
		n := i * 7919 % len(actors) // each once, unless 7919 divides the number
		if actors[n].role != comes {
			docs = append(docs, actors[n].doc(n))
		}
	}
	m.fill(t, m.coll.Name, docs)
}

// read reads every split of the collection, giving up after every k-th batch and resuming behind it. It calls between after
// each batch. It returns how often each document was seen, by its n.
func (m *matrix) read(ctx context.Context, k int, documents bool, between func() error) (seen map[int]int, splits int, err error) {
	seen = map[int]int{}
	for split, err := range m.source.Splits(ctx, m.coll) {
		if err != nil {
			return seen, splits, err
		}
		if split.Index != splits {
			return seen, splits, fmt.Errorf("split %d has the index %d", splits, split.Index)
		}
		splits++
		req := syncd.ReadRequest{Split: split, Fields: []string{"n"}, Documents: documents, BatchSize: 3}
		for done := false; !done; {
			if req.After, done, err = m.upToBatch(ctx, req, k, seen, between); err != nil {
				return seen, splits, fmt.Errorf("split %d: %w", split.Index, err)
			}
		}
	}
	return seen, splits, nil
}

// upToBatch reads k batches. It returns where to resume, and true at the end of the split.
func (m *matrix) upToBatch(ctx context.Context, req syncd.ReadRequest, k int, seen map[int]int, between func() error) (syncd.Offset, bool, error) {
	last, n := req.After, 0
	for batch, err := range m.source.Read(ctx, req) {
		if err != nil {
			return last, false, err
		}
		for _, c := range batch.Changes {
			number, err := m.number(c)
			if err != nil {
				return last, false, fmt.Errorf("change %q: %w", c.ID, err)
			}
			seen[number]++
		}
		if last = batch.Offset; last == "" {
			return last, false, errors.New("a batch has no offset")
		}
		if err := between(); err != nil {
			return last, false, err
		}
		if n++; n == k {
			return last, false, nil
		}
	}
	return last, true, nil
}

// number tells which document a change is of. One whose _id is null has no id text, so it comes as an error of its own, once.
func (m *matrix) number(c syncd.Change) (int, error) {
	switch {
	case c.Key == "":
		return 0, fmt.Errorf("it has no key: %w", c.Err)
	case c.Err != nil && m.null >= 0:
		return m.null, nil
	case c.Err != nil:
		return 0, c.Err
	}
	return strconv.Atoi(c.Fields[0].Text)
}

// check reports what was lost, repeated or made up.
func check(t *testing.T, what string, actors []actor, seen map[int]int) {
	t.Helper()
	for n, a := range actors {
		if got := seen[n]; got > 1 || (got == 0 && a.role == stays) {
			t.Errorf("%s: the document with _id %T %v was seen %d times", what, a.id, a.id, got)
		}
		delete(seen, n)
	}
	for n := range seen {
		t.Errorf("%s: a document with n: %d was seen, which was never stored", what, n)
	}
}

// changes lets actors come and go, one of each with every call.
func (m *matrix) changes(ctx context.Context, actors []actor) func() error {
	at := 0
	return func() error {
		for changed := map[role]bool{}; at < len(actors) && len(changed) < 2; at++ {
			// From everywhere: some places are read by then, some are not.
			n := (at*31 + 7) % len(actors)
			a := actors[n]
			var err error
			switch a.role {
			case goes:
				_, err = m.Collection(m.coll.Name).DeleteOne(ctx, bson.D{{Key: "_id", Value: a.id}})
			case comes:
				_, err = m.Collection(m.coll.Name).InsertOne(ctx, a.doc(n))
			default:
				continue
			}
			if err != nil {
				return fmt.Errorf("changing _id %v: %w", a.id, err)
			}
			changed[a.role] = true
		}
		return nil
	}
}

func never() error { return nil }

// testMatrix mixes every two types of _id in one collection.
func testMatrix(t *testing.T, s server, splits string, types []string) {
	t.Helper()
	const perType = 11
	source := s.open(t, "splits", splits, "batch_size", "5")
	t.Cleanup(func() {
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	})
	most := 0
	for i, one := range types {
		for _, other := range types[i:] {
			pair := []string{one}
			if other != one {
				pair = append(pair, other)
			}
			m := &matrix{server: s, source: source, coll: syncd.Collection{Name: "matrix_" + splits + "_" + strings.Join(pair, "_")}}
			actors := cast(pair, perType, false)
			m.fillWith(t, actors)
			for k := 1; k <= 3; k++ {
				what := fmt.Sprintf("%s, %s splits, resumed after every %d", strings.Join(pair, " and "), splits, k)
				seen, n, err := m.read(t.Context(), k, k == 2, never)
				if err != nil {
					t.Errorf("%s: %v", what, err)
				}
				check(t, what, actors, seen)
				most = max(most, n)
			}
			actors = cast(pair, perType, true)
			for k := 1; k <= 2; k++ {
				m.fillWith(t, actors)
				what := fmt.Sprintf("%s, %s splits, changing, resumed after every %d", strings.Join(pair, " and "), splits, k)
				seen, _, err := m.read(t.Context(), k, k == 2, m.changes(t.Context(), actors))
				if err != nil {
					t.Errorf("%s: %v", what, err)
				}
				check(t, what, actors, seen)
			}
			if err := m.Collection(m.coll.Name).Drop(t.Context()); err != nil {
				t.Error(err)
			}
			if t.Failed() {
				return // one pair says enough
			}
		}
	}
	t.Logf("%d types, up to %d splits", len(types), most)
}

func TestMatrixOnFastmongo(t *testing.T) {
	// Where there can be one split only, fewer types do: they are told apart by the source itself, in one way.
	some := []string{"minKey", "null", "int", "double", "decimal", "string", "object", "uuid", "objectId", "date", "maxKey"}
	for name, c := range map[string]struct {
		quirks fastmongo.Quirks
		splits string
		types  []string
	}{
		"3 splits":        {splits: "3", types: idTypes()},
		"16 splits":       {splits: "16", types: idTypes()},
		"ignores bounds":  {fastmongo.Quirks{IgnoreBounds: true}, "3", some},
		"rejects bounds":  {fastmongo.Quirks{RejectBounds: true}, "3", some},
		"without $sample": {fastmongo.Quirks{NoSample: true}, "3", some},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fast := startFast(t, fastmongo.Config{})
			fast.SetQuirks(c.quirks)
			testMatrix(t, connectTo(t, fast.URI()), c.splits, c.types)
		})
	}
}

func TestMatrixOnJavaServer(t *testing.T) {
	testMatrix(t, connectTo(t, startJava(t).URI()), "3",
		idTypes("decimal", "bigLong", "md5", "symbol", "dbPointer", "javascript", "javascriptWithScope", "nan", "infinity"))
}

func TestMatrixOnRealServer(t *testing.T) {
	testMatrix(t, connectTo(t, realURI(t)), "16", idTypes())
}

// A range without an upper bound ends before MaxKey (see mongotest's min_max_leaves_out_max_key). What a source has learnt
// about a collection before there was such an _id must not make it lose the document.
func TestMaxKeyArrivesBetweenRuns(t *testing.T) {
	fast := startFast(t, fastmongo.Config{})
	s := connectTo(t, fast.URI())
	source := s.open(t, "splits", "3", "batch_size", "5")
	t.Cleanup(func() {
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	})
	m := &matrix{server: s, source: source, coll: syncd.Collection{Name: "late"}}
	actors := cast([]string{"int", "maxKey"}, 30, false)
	last := len(actors) - 1
	m.fillWith(t, actors[:last])
	for round, present := range [][]actor{actors[:last], actors} {
		seen, _, err := m.read(t.Context(), 2, false, never)
		if err != nil {
			t.Fatal(err)
		}
		check(t, fmt.Sprintf("round %d", round), present, seen)
		if round == 0 {
			if _, err := s.Collection("late").InsertOne(t.Context(), actors[last].doc(last)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Documents come and go at any time, not only between batches.
func TestReadUnderConcurrentChanges(t *testing.T) {
	fast := startFast(t, fastmongo.Config{})
	s := connectTo(t, fast.URI())
	source := s.open(t, "splits", "4", "batch_size", "10")
	t.Cleanup(func() {
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	})
	m := &matrix{server: s, source: source, coll: syncd.Collection{Name: "busy"}}
	actors := cast([]string{"int", "double", "decimal", "string", "object", "objectId", "date", "minKey", "maxKey"}, 200, true)
	for round := range 3 {
		m.fillWith(t, actors)
		change := m.changes(t.Context(), actors)
		ctx, cancel := context.WithCancel(t.Context())
		var changer sync.WaitGroup
		changer.Go(func() {
			for ctx.Err() == nil {
				if err := change(); err != nil {
					t.Error(err)
					return
				}
			}
		})
		seen, _, err := m.read(t.Context(), 5, round%2 == 0, never)
		cancel()
		changer.Wait()
		if err != nil {
			t.Fatal(err)
		}
		check(t, fmt.Sprintf("round %d", round), actors, seen)
	}
}
