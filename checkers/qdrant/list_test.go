package qdrant

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/syncd-io/syncd"
)

// list reads a listing to its end.
func list(t testing.TB, c syncd.Checker, req syncd.ListRequest) ([]syncd.Listed, error) {
	t.Helper()
	req.Parts = max(req.Parts, 1)
	var out []syncd.Listed
	for batch, err := range c.Abilities().List(t.Context(), req) {
		if err != nil {
			return out, err
		}
		if len(batch) == 0 {
			t.Error("an empty batch")
		}
		out = append(out, batch...)
	}
	return out, nil
}

func listedIDs(points []syncd.Listed) []uuid.UUID {
	out := make([]uuid.UUID, len(points))
	for i, p := range points {
		out[i] = p.ID
	}
	return out
}

func sorted(ids []uuid.UUID) []uuid.UUID {
	return slices.SortedFunc(slices.Values(ids), func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
}

func TestListPages(t *testing.T) {
	s := newStub(pointIDs(0, 2500)...)
	conf := testConfig(s.start(t))
	conf.ReadConsistency = "majority"
	c, _ := opened(t, conf)
	got, err := list(t, c, syncd.ListRequest{})
	if err != nil || !slices.Equal(listedIDs(got), sorted(pointIDs(0, 2500))) {
		t.Fatalf("%d points, %v", len(got), err)
	}
	pages := s.pages()
	want := &qdrant.ScrollPoints{
		CollectionName:  collection,
		Offset:          qdrant.NewIDUUID(uuid.Nil.String()), // behind the ids that are numbers
		Limit:           new(uint32(1000)),
		WithPayload:     qdrant.NewWithPayload(false),
		WithVectors:     qdrant.NewWithVectors(false),
		ReadConsistency: qdrant.NewReadConsistencyType(qdrant.ReadConsistencyType_Majority),
		Timeout:         new(uint64(10)),
	}
	if len(pages) != 3 || !proto.Equal(pages[0], want) {
		t.Errorf("%d pages, the first %v\nwant %v", len(pages), pages[0], want)
	}
}

func TestListPageSizes(t *testing.T) {
	for _, test := range []struct {
		batch, limit int
		match        map[string]string
		want         []uint32 // of 12,000 points
	}{
		{1, 0, nil, []uint32{1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000}},
		{6000, 0, nil, []uint32{6000, 6000}},
		{50_000, 0, nil, []uint32{10_000, 10_000}},
		{1000, 0, map[string]string{"a": "x"}, []uint32{5000, 5000, 5000}},
		{1000, 100, nil, []uint32{100}},
		{1000, 100, map[string]string{"a": "x"}, []uint32{100}},
		{1000, 1500, nil, []uint32{1000, 500}},
		{1000, -1, map[string]string{"a": "y"}, []uint32{5000}},
	} {
		s := newStub()
		for i := range 12_000 {
			s.put(pointID(i), payloadOf(map[string]string{"a": "x"}))
		}
		conf := testConfig(s.start(t))
		conf.BatchSize = test.batch
		c, _ := opened(t, conf)
		got, err := list(t, c, syncd.ListRequest{Limit: test.limit, Match: test.match})
		want := 12_000
		switch {
		case test.limit > 0:
			want = test.limit
		case test.match["a"] == "y":
			want = 0
		}
		if err != nil || len(got) != want {
			t.Errorf("%+v: %d points, %v", test, len(got), err)
		}
		var sizes []uint32
		for _, p := range s.pages() {
			sizes = append(sizes, p.GetLimit())
		}
		if !slices.Equal(sizes, test.want) {
			t.Errorf("%+v: pages of %v", test, sizes)
		}
	}
}

func TestListPartsAskForTheirOwnOnly(t *testing.T) {
	s := newStub(pointIDs(0, 9000)...)
	c, _ := opened(t, testConfig(s.start(t)))
	const parts = 3
	var all []uuid.UUID
	for part := range parts {
		before := len(s.pages())
		got, err := list(t, c, syncd.ListRequest{Part: part, Parts: parts})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, listedIDs(got)...)
		if n := len(s.pages()) - before; n > 4 { // about 3,000 points each, and one page may reach into the next part
			t.Errorf("part %d took %d pages", part, n)
		}
	}
	if !slices.Equal(all, sorted(pointIDs(0, 9000))) {
		t.Errorf("%d points", len(all))
	}
	for _, r := range [][2]int{{-1, 2}, {2, 2}, {0, 0}} {
		for _, err := range c.List(t.Context(), syncd.ListRequest{Part: r[0], Parts: r[1]}) {
			if err == nil {
				t.Errorf("listed part %d of %d", r[0], r[1])
			}
		}
	}
}

// A point whose id is the first of a part belongs to that part alone, even where it begins a page.
func TestListPartBounds(t *testing.T) {
	edges := []uuid.UUID{uuid.Nil, uuid.Max}
	for part := range 7 {
		at := partStart(part, 7)
		before := at
		for i := len(before) - 1; part > 0; i-- { // minus one
			before[i]--
			if before[i] != 0xff {
				break
			}
		}
		edges = append(edges, at, before)
	}
	edges = slices.Compact(sorted(edges))
	s := newStub(edges...)
	c, _ := opened(t, testConfig(s.start(t)))
	var all []uuid.UUID
	for part := range 7 {
		got, err := list(t, c, syncd.ListRequest{Part: part, Parts: 7})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range got {
			if bytes.Compare(p.ID[:], edges[0][:]) < 0 || part < 6 && p.ID == partStart(part+1, 7) {
				t.Errorf("part %d has %v", part, p.ID)
			}
		}
		all = append(all, listedIDs(got)...)
	}
	if diff := cmp.Diff(edges, all); diff != "" {
		t.Error(diff)
	}
}

func TestListMatches(t *testing.T) {
	s := newStub()
	s.put(pointID(0), map[string]*qdrant.Value{"t": qdrant.NewValueString("page"), "n": qdrant.NewValueInt(5)})
	s.put(pointID(1), map[string]*qdrant.Value{"t": qdrant.NewValueString("page"), "n": qdrant.NewValueString("5")})
	s.put(pointID(2), map[string]*qdrant.Value{"t": qdrant.NewValueString("epic"), "n": qdrant.NewValueBool(true)})
	s.put(pointID(3), map[string]*qdrant.Value{"t": qdrant.NewValueString("page"), "n": qdrant.NewValueString("05")})
	c, _ := opened(t, testConfig(s.start(t)))
	for _, test := range []struct {
		match map[string]string
		want  []uuid.UUID
	}{
		{map[string]string{"t": "page"}, []uuid.UUID{pointID(0), pointID(1), pointID(3)}},
		{map[string]string{"t": "page", "n": "5"}, []uuid.UUID{pointID(0), pointID(1)}},
		{map[string]string{"n": "05"}, []uuid.UUID{pointID(3)}},
		{map[string]string{"n": "true"}, []uuid.UUID{pointID(2)}},
		{map[string]string{"n": "false"}, nil},
	} {
		got, err := list(t, c, syncd.ListRequest{Match: test.match, Keys: []string{"t"}})
		if err != nil || !slices.Equal(listedIDs(got), sorted(test.want)) {
			t.Errorf("%v: %v, %v", test.match, got, err)
		}
	}
	if _, err := list(t, c, syncd.ListRequest{Match: map[string]string{"": "x"}}); err == nil {
		t.Error("matched a key without a name")
	}
	if _, err := list(t, c, syncd.ListRequest{Keys: []string{""}}); err == nil {
		t.Error("listed a key without a name")
	}
}

func TestListRetriesAPage(t *testing.T) {
	s := newStub(pointIDs(0, 3000)...)
	failed := map[string]bool{}
	s.scroll = func(_ int, req *qdrant.ScrollPoints) (*qdrant.ScrollResponse, error) {
		if at := req.GetOffset().GetUuid(); !failed[at] {
			failed[at] = true
			return nil, status.Error(codes.Unavailable, "not now")
		}
		return nil, nil
	}
	c, p := opened(t, testConfig(s.start(t)))
	got, err := list(t, c, syncd.ListRequest{})
	if err != nil || !slices.Equal(listedIDs(got), sorted(pointIDs(0, 3000))) || len(p.slept) != 3 {
		t.Errorf("%d points, %v, slept %v", len(got), err, p.slept)
	}
}

func TestListFailsInTheMiddle(t *testing.T) {
	s := newStub(pointIDs(0, 3000)...)
	s.scroll = func(call int, _ *qdrant.ScrollPoints) (*qdrant.ScrollResponse, error) {
		if call > 0 {
			return nil, status.Error(codes.Unavailable, "shard is down")
		}
		return nil, nil
	}
	c, _ := opened(t, testConfig(s.start(t)))
	got, err := list(t, c, syncd.ListRequest{})
	if len(got) != 1000 || !errors.Is(err, syncd.ErrUnavailable) || !strings.Contains(err.Error(), "shard is down") {
		t.Errorf("%d points, %v", len(got), err)
	}
}

func TestListTakesSmallerPages(t *testing.T) {
	t.Run("too long", func(t *testing.T) {
		s := newStub(pointIDs(0, 2000)...)
		s.scroll = func(_ int, req *qdrant.ScrollPoints) (*qdrant.ScrollResponse, error) {
			if req.GetLimit() > 300 {
				return nil, status.Error(codes.ResourceExhausted, "message larger than max")
			}
			return nil, nil
		}
		c, _ := opened(t, testConfig(s.start(t)))
		got, err := list(t, c, syncd.ListRequest{})
		if err != nil || len(got) != 2000 || len(s.pages()) != 2+9 { // 1000, 500 and 310 are refused
			t.Errorf("%d points in %d pages, %v", len(got), len(s.pages()), err)
		}
	})
	t.Run("strict mode", func(t *testing.T) {
		s := newStub(pointIDs(0, 500)...)
		s.strict = &qdrant.StrictModeConfig{Enabled: new(true), MaxQueryLimit: new(uint32(100))}
		s.scroll = func(_ int, req *qdrant.ScrollPoints) (*qdrant.ScrollResponse, error) {
			if req.GetLimit() > 100 {
				return nil, status.Error(codes.InvalidArgument, "Limit exceeded")
			}
			return nil, nil
		}
		c, _ := opened(t, testConfig(s.start(t)))
		got, err := list(t, c, syncd.ListRequest{})
		if err != nil || len(got) != 500 || len(s.pages()) != 1+5 {
			t.Errorf("%d points in %d pages, %v", len(got), len(s.pages()), err)
		}
	})
	t.Run("not at all", func(t *testing.T) {
		s := newStub(pointIDs(0, 5)...)
		s.strict = &qdrant.StrictModeConfig{Enabled: new(true), MaxQueryLimit: new(uint32(100_000))}
		s.scroll = func(int, *qdrant.ScrollPoints) (*qdrant.ScrollResponse, error) {
			return nil, status.Error(codes.InvalidArgument, `Index required but not found for "a"`)
		}
		c, _ := opened(t, testConfig(s.start(t)))
		got, err := list(t, c, syncd.ListRequest{Match: map[string]string{"a": "x"}})
		if len(got) != 0 || status.Code(err) != codes.InvalidArgument || !strings.Contains(syncd.HintOf(err), "keyword index") {
			t.Errorf("%d points, %v, hint %q", len(got), err, syncd.HintOf(err))
		}
		if len(s.pages()) != 1 {
			t.Errorf("%d pages", len(s.pages()))
		}
	})
}

// What breaks the order that the end of a part depends on is an error, never an end.
func TestListRefusesDisorder(t *testing.T) {
	ids := sorted(pointIDs(0, 4))
	page := func(next *qdrant.PointId, ids ...*qdrant.PointId) *qdrant.ScrollResponse {
		r := &qdrant.ScrollResponse{NextPageOffset: next}
		for _, id := range ids {
			r.Result = append(r.Result, &qdrant.RetrievedPoint{Id: id})
		}
		return r
	}
	id := func(i int) *qdrant.PointId { return qdrant.NewIDUUID(ids[i].String()) }
	for name, test := range map[string]struct {
		pages []*qdrant.ScrollResponse
		want  int // points before the error; negative: no error
	}{
		"backwards":              {[]*qdrant.ScrollResponse{page(nil, id(1), id(0))}, 0},
		"backwards across pages": {[]*qdrant.ScrollResponse{page(id(2), id(1)), page(nil, id(0))}, 1},
		"before its page":        {[]*qdrant.ScrollResponse{page(id(2), id(0)), page(nil, id(1))}, 1},
		"the same page again":    {[]*qdrant.ScrollResponse{page(qdrant.NewIDUUID(uuid.Nil.String()), id(0))}, 0},
		"a page of numbers":      {[]*qdrant.ScrollResponse{page(qdrant.NewIDNum(3), id(0))}, 0},
		"no id":                  {[]*qdrant.ScrollResponse{page(nil, id(0), nil)}, 0},
		"no UUID":                {[]*qdrant.ScrollResponse{page(nil, qdrant.NewIDUUID("x"))}, 0},
		"numbers are left out":   {[]*qdrant.ScrollResponse{page(nil, qdrant.NewIDNum(3), id(0), id(1))}, -2},
		"an id twice":            {[]*qdrant.ScrollResponse{page(id(1), id(0), id(1)), page(nil, id(1), id(1), id(2))}, -3},
		"an empty page":          {[]*qdrant.ScrollResponse{page(id(1)), page(nil, id(1))}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStub()
			s.scroll = func(call int, _ *qdrant.ScrollPoints) (*qdrant.ScrollResponse, error) {
				if call < len(test.pages) {
					return test.pages[call], nil
				}
				return nil, status.Error(codes.Internal, "too many pages")
			}
			c, _ := opened(t, testConfig(s.start(t)))
			got, err := list(t, c, syncd.ListRequest{})
			if want := max(test.want, -test.want); len(got) != want || (err == nil) != (test.want < 0) || status.Code(err) == codes.Internal {
				t.Errorf("%d points, %v", len(got), err)
			}
		})
	}
}

func TestListOfAMissingCollection(t *testing.T) {
	s := newStub()
	s.missing = true
	c, _ := opened(t, testConfig(s.start(t)))
	if got, err := list(t, c, syncd.ListRequest{}); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	c.seen.Store(true)
	if _, err := list(t, c, syncd.ListRequest{}); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("a collection that was there: %v", err)
	}
	c.seen.Store(false)
	c.conf.OnMissingCollection = missingFails
	if _, err := list(t, c, syncd.ListRequest{}); err == nil || syncd.HintOf(err) == "" {
		t.Errorf("a collection that must be there: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := list(t, c, syncd.ListRequest{}); err == nil {
		t.Error("listed after Close")
	}
}

// No slot is held while the caller works: it may ask the same checker meanwhile.
func TestListHoldsNoSlotBetweenPages(t *testing.T) {
	s := newStub(pointIDs(0, 2500)...)
	conf := testConfig(s.start(t))
	conf.Concurrency = 1
	c, _ := opened(t, conf)
	next, stop := iter.Pull2(c.List(t.Context(), syncd.ListRequest{Parts: 1}))
	defer stop()
	for range 2 {
		if batch, err, ok := next(); !ok || err != nil || len(batch) != 1000 {
			t.Fatal(len(batch), err, ok)
		}
		if _, err := check(t, c, pointID(0)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestListEndsWithItsContext(t *testing.T) {
	s := newStub(pointIDs(0, 2500)...)
	c, _ := opened(t, testConfig(s.start(t)))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	n := 0
	for batch, err := range c.List(ctx, syncd.ListRequest{Parts: 1}) {
		n += len(batch)
		last = err
		cancel()
	}
	if n != 1000 || !errors.Is(last, context.Canceled) || errors.Is(last, syncd.ErrUnavailable) {
		t.Errorf("%d points, then %v", n, last)
	}
}
