package qdrant

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd"
)

// TestSamplesAreWhatListingsGive, whatever Qdrant makes of a question for several.
func TestSamplesAreWhatListingsGive(t *testing.T) {
	result := func(ids ...*qdrant.PointId) *qdrant.BatchResult {
		r := &qdrant.BatchResult{}
		for _, id := range ids {
			r.Result = append(r.Result, &qdrant.ScoredPoint{Id: id})
		}
		return r
	}
	id := func(i int) *qdrant.PointId { return qdrant.NewIDUUID(sorted(pointIDs(0, 40))[i].String()) }
	answer := func(results ...*qdrant.BatchResult) func(*qdrant.QueryBatchPoints) (*qdrant.QueryBatchResponse, error) {
		return func(*qdrant.QueryBatchPoints) (*qdrant.QueryBatchResponse, error) {
			return &qdrant.QueryBatchResponse{Result: results}, nil
		}
	}
	refuse := func(code codes.Code) func(*qdrant.QueryBatchPoints) (*qdrant.QueryBatchResponse, error) {
		return func(*qdrant.QueryBatchPoints) (*qdrant.QueryBatchResponse, error) {
			return nil, status.Error(code, "no")
		}
	}
	for name, c := range map[string]struct {
		query            func(*qdrant.QueryBatchPoints) (*qdrant.QueryBatchResponse, error)
		samples          int
		batches, scrolls int // requests
	}{
		"answered":                     {nil, 40, 2, 0},
		"one alone":                    {nil, 1, 0, 1},
		"not known":                    {refuse(codes.Unimplemented), 40, 1, 40},
		"too many":                     {refuse(codes.InvalidArgument), 3, 1, 3},
		"late":                         {refuse(codes.DeadlineExceeded), 3, 1, 3},
		"too few answers":              {answer(result(id(0))), 2, 1, 2},
		"too many answers":             {answer(result(id(0)), result(id(0)), result(id(0))), 2, 1, 2},
		"more points than wanted":      {answer(result(id(0), id(1), id(2), id(3)), result(id(0), id(1), id(2))), 2, 1, 1},
		"ids that are numbers":         {answer(result(qdrant.NewIDNum(1), qdrant.NewIDNum(2), id(0)), result(id(0), id(1), id(2))), 2, 1, 1},
		"not in the order of ids":      {answer(result(id(0), id(1), id(2)), result(id(1), id(0), id(2))), 2, 1, 1},
		"an id twice":                  {answer(result(id(0), id(0), id(1)), result(id(0), id(1), id(2))), 2, 1, 1},
		"an id that is none":           {answer(result(qdrant.NewIDUUID("x")), result(id(0), id(1), id(2))), 2, 1, 2},
		"as asked, with a few of each": {answer(result(id(0), id(1), id(2)), result(id(0), id(1), id(2))), 2, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStub(pointIDs(0, 40)...)
			s.query = c.query
			conf := testConfig(s.start(t))
			conf.ReadConsistency = "majority"
			checker, _ := opened(t, conf)
			reqs := slices.Repeat([]syncd.ListRequest{{Parts: 1, Limit: 3}}, c.samples)
			got, err := checker.Sample(t.Context(), reqs)
			if err != nil {
				t.Fatal(err)
			}
			if batches, scrolls := len(s.batches), len(s.pages()); batches != c.batches || scrolls != c.scrolls {
				t.Errorf("%d requests for many and %d for one; want %d and %d", batches, scrolls, c.batches, c.scrolls)
			}
			for _, b := range s.batches {
				if n := len(b.GetQueryPoints()); n > sampledAtOnce || b.GetReadConsistency() == nil || b.GetTimeout() == 0 {
					t.Errorf("%d queries, %v", n, b)
				}
			}
			want, err := list(t, checker, reqs[0])
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(slices.Repeat([][]syncd.Listed{want}, c.samples), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSampleOfAClosedChecker(t *testing.T) {
	c, _ := opened(t, testConfig(newStub().start(t)))
	_ = c.Close()
	if _, err := c.Sample(t.Context(), make([]syncd.ListRequest, 2)); !errors.Is(err, errClosed) {
		t.Errorf("got %v", err)
	}
}

// TestChecksOfFewPointsAreAskedTogether: while one request is under way, calls about few points join the next, until that is full.
func TestChecksOfFewPointsAreAskedTogether(t *testing.T) {
	s := newStub(pointIDs(0, 500)...)
	under, answered := make(chan struct{}), make(chan struct{})
	s.get = func(call int, _ *qdrant.GetPoints) (*qdrant.GetResponse, error) {
		if call == 0 {
			close(under)
			<-answered
		}
		return nil, nil
	}
	conf := testConfig(s.start(t))
	conf.BatchSize = 100
	c, _ := opened(t, conf)
	var g sync.WaitGroup
	ask := func(from, to int) {
		g.Go(func() {
			verdicts := make([]syncd.Verdict, to-from)
			if err := c.Check(t.Context(), points(pointIDs(from, to)...), verdicts); err != nil {
				t.Error(err)
			}
			for i, v := range verdicts {
				if (v == syncd.Present) != (from+i < 500) {
					t.Errorf("point %d: %v", from+i, v)
				}
			}
		})
	}
	ask(0, 10)
	<-under
	ask(100, 140) // two of these three fill a request, which does not wait
	ask(140, 180)
	ask(480, 520)
	asked := func(want ...int) {
		var sizes []int
		for len(sizes) < len(want) {
			sizes = sizes[:0]
			for _, r := range s.requests() {
				sizes = append(sizes, len(r.GetIds()))
			}
			time.Sleep(time.Millisecond)
		}
		if !slices.Equal(sizes, want) {
			t.Errorf("requests for %d points; want %d", sizes, want)
		}
	}
	asked(10, 80)
	ask(200, 251) // more than half of what a request has room for is one of its own, at once
	asked(10, 80, 51)
	close(answered)
	g.Wait()
	asked(10, 80, 51, 40)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Check(ctx, points(pointID(0)), make([]syncd.Verdict, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
