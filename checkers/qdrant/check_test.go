package qdrant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/coalesce"
	"github.com/syncd-io/syncd/internal/qdrantconn"
	"github.com/syncd-io/syncd/internal/wait"
)

func TestCheckTellsPresentFromMissing(t *testing.T) {
	for _, n := range []int{1, 2, 3, 7, 10, 11, 50} {
		s := newStub(pointIDs(0, n/2)...)
		conf := testConfig(s.start(t))
		conf.BatchSize, conf.Concurrency = 10, 2
		c, _ := opened(t, conf)
		ids := pointIDs(0, n)
		slices.Reverse(ids)
		verdicts, err := check(t, c, ids...)
		if err != nil {
			t.Fatal(err)
		}
		for i, id := range ids {
			if got, want := verdicts[i] == syncd.Present, s.present[id.String()]; got != want || verdicts[i] == syncd.Unknown {
				t.Errorf("of %d: point %d is %v, present %t", n, i, verdicts[i], want)
			}
		}
		if got, want := len(s.requests()), (n+9)/10; got != want {
			t.Errorf("of %d: %d requests, want %d", n, got, want)
		}
	}
}

func TestCheckAsksForNothingButIDs(t *testing.T) {
	s := newStub()
	conf := testConfig(s.start(t))
	conf.Timeout, conf.ReadConsistency = 1500*time.Millisecond, "majority"
	c, _ := opened(t, conf)
	if _, err := check(t, c, pointIDs(0, 1)...); err != nil {
		t.Fatal(err)
	}
	want := &qdrant.GetPoints{
		CollectionName:  collection,
		Ids:             []*qdrant.PointId{qdrant.NewIDUUID(pointID(0).String())},
		WithPayload:     qdrant.NewWithPayload(false),
		WithVectors:     qdrant.NewWithVectors(false),
		ReadConsistency: qdrant.NewReadConsistencyType(qdrant.ReadConsistencyType_Majority),
		Timeout:         new(uint64(2)), // whole seconds, rounded up
	}
	if got := s.requests()[0]; !proto.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	if _, err := check(t, c); err != nil || len(s.requests()) != 1 {
		t.Errorf("no points: %v, %d requests", err, len(s.requests()))
	}
}

func TestCheckAsksDuplicatesOnce(t *testing.T) {
	a, b, absent := pointID(1), pointID(2), pointID(3)
	s := newStub(a, b)
	c, _ := opened(t, testConfig(s.start(t)))
	verdicts, err := check(t, c, a, absent, a, b, absent, a)
	if err != nil {
		t.Fatal(err)
	}
	p, m := syncd.Present, syncd.Missing
	if want := []syncd.Verdict{p, m, p, p, m, p}; !slices.Equal(verdicts, want) {
		t.Errorf("got %v, want %v", verdicts, want)
	}
	if n := len(s.requests()[0].GetIds()); n != 3 {
		t.Errorf("asked about %d ids, want 3", n)
	}
}

// TestCheckReusesNothingOfAnEarlierBatch asks batches of different lengths through the same scratch memory.
func TestCheckReusesNothingOfAnEarlierBatch(t *testing.T) {
	s := newStub(pointIDs(0, 20)...)
	c, _ := opened(t, testConfig(s.start(t)))
	for _, r := range [][2]int{{0, 30}, {20, 25}, {0, 3}, {19, 60}, {25, 26}} {
		ids := pointIDs(r[0], r[1])
		verdicts, err := check(t, c, ids...)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range verdicts {
			if (v == syncd.Present) != (r[0]+i < 20) {
				t.Errorf("points %v: %d is %v", r, r[0]+i, v)
			}
		}
	}
}

// answer makes a response that holds the ids as given.
func answer(ids ...*qdrant.PointId) *qdrant.GetResponse {
	r := &qdrant.GetResponse{}
	for _, id := range ids {
		r.Result = append(r.Result, &qdrant.RetrievedPoint{Id: id})
	}
	return r
}

func TestCheckTakesAnyOrder(t *testing.T) {
	s := newStub()
	s.get = func(_ int, req *qdrant.GetPoints) (*qdrant.GetResponse, error) {
		ids := req.GetIds()
		// backwards, the last one in other spelling, the first one missing, one repeated
		return answer(qdrant.NewIDUUID(strings.ToUpper(ids[4].GetUuid())), ids[3], ids[1], ids[2], ids[1]), nil
	}
	c, _ := opened(t, testConfig(s.start(t)))
	verdicts, err := check(t, c, pointIDs(0, 5)...)
	if err != nil {
		t.Fatal(err)
	}
	p := syncd.Present
	if want := []syncd.Verdict{syncd.Missing, p, p, p, p}; !slices.Equal(verdicts, want) {
		t.Errorf("got %v, want %v", verdicts, want)
	}
}

func TestCheckRefusesAnAnswerToAnotherQuestion(t *testing.T) {
	for name, id := range map[string]*qdrant.PointId{
		"another UUID": qdrant.NewIDUUID(pointID(99).String()),
		"a number":     qdrant.NewIDNum(7),
		"no id":        nil,
		"no UUID":      qdrant.NewIDUUID("x"),
	} {
		t.Run(name, func(t *testing.T) {
			s := newStub()
			s.get = func(_ int, req *qdrant.GetPoints) (*qdrant.GetResponse, error) {
				return answer(req.GetIds()[0], id), nil
			}
			c, p := opened(t, testConfig(s.start(t)))
			_, err := check(t, c, pointIDs(0, 3)...)
			if err == nil || !strings.Contains(err.Error(), "not asked for") {
				t.Errorf("got %v", err)
			}
			if errors.Is(err, syncd.ErrUnavailable) || len(p.slept) > 0 {
				t.Errorf("taken for an outage: %v, slept %v", err, p.slept)
			}
		})
	}
}

// TestCheckRefusesAnotherPartsAnswer gives an id of the batch's other half, which the request did not hold.
func TestCheckRefusesAnotherPartsAnswer(t *testing.T) {
	s := newStub()
	s.get = func(_ int, req *qdrant.GetPoints) (*qdrant.GetResponse, error) {
		if len(req.GetIds()) > 2 {
			return nil, status.Error(codes.ResourceExhausted, "too many")
		}
		return answer(qdrant.NewIDUUID(pointID(3).String())), nil
	}
	c, _ := opened(t, testConfig(s.start(t)))
	if _, err := check(t, c, pointIDs(0, 4)...); err == nil || !strings.Contains(err.Error(), "not asked for") {
		t.Errorf("got %v", err)
	}
}

func TestCheckBoundsRequestsOverAllCalls(t *testing.T) {
	const concurrency = 3
	s := newStub()
	var mu sync.Mutex
	inFlight, most := 0, 0
	full, rest := make(chan struct{}), make(chan struct{})
	s.get = func(int, *qdrant.GetPoints) (*qdrant.GetResponse, error) {
		mu.Lock()
		inFlight++
		most = max(most, inFlight)
		if inFlight == concurrency && most == concurrency {
			select {
			case <-full:
			default:
				close(full)
			}
		}
		mu.Unlock()
		<-rest
		mu.Lock()
		inFlight--
		mu.Unlock()
		return nil, nil
	}
	conf := testConfig(s.start(t))
	conf.BatchSize, conf.Concurrency = 1, concurrency
	c, _ := opened(t, conf)
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			if _, err := check(t, c, pointIDs(0, 5)...); err != nil {
				t.Error(err)
			}
		})
	}
	<-full // all slots are taken, by however many calls
	close(rest)
	calls.Wait()
	if most != concurrency || len(s.requests()) != 20 {
		t.Errorf("%d in flight at most, %d requests", most, len(s.requests()))
	}
}

func TestCheckRetriesWhatMayPass(t *testing.T) {
	for _, code := range []codes.Code{codes.Unavailable, codes.DeadlineExceeded, codes.Canceled} {
		t.Run(code.String(), func(t *testing.T) {
			s := newStub(pointID(0))
			s.get = func(call int, _ *qdrant.GetPoints) (*qdrant.GetResponse, error) {
				if call < 6 {
					return nil, status.Error(code, "not now")
				}
				return nil, nil
			}
			c, p := opened(t, testConfig(s.start(t)))
			verdicts, err := check(t, c, pointID(0))
			if err != nil || verdicts[0] != syncd.Present {
				t.Fatalf("%v, %v", verdicts, err)
			}
			if len(p.slept) != 6 {
				t.Fatalf("slept %v", p.slept)
			}
			bound := c.conf.Retry.Initial
			for i, d := range p.slept {
				if d < 0 || d > bound {
					t.Errorf("pause %d is %v, more than %v", i, d, bound)
				}
				bound = min(2*bound, c.conf.Retry.Max)
			}
		})
	}
}

func TestCheckGivesUp(t *testing.T) {
	s := newStub()
	s.get = func(int, *qdrant.GetPoints) (*qdrant.GetResponse, error) {
		return nil, status.Error(codes.Unavailable, "shard is down")
	}
	c, p := opened(t, testConfig(s.start(t)))
	c.conf.Retry.MaxElapsed = 20 * time.Second
	_, err := check(t, c, pointIDs(0, 3)...)
	if !errors.Is(err, syncd.ErrUnavailable) || !strings.Contains(err.Error(), "shard is down") || syncd.HintOf(err) == "" {
		t.Errorf("got %v, hint %q", err, syncd.HintOf(err))
	}
	if total := p.clock().Sub(time.Unix(0, 0)); total > 20*time.Second || len(p.slept) < 5 {
		t.Errorf("slept %v, %v in all", p.slept, total)
	}
	c.conf.Retry.MaxElapsed = 0
	before := len(s.requests())
	if _, err := check(t, c, pointID(0)); !errors.Is(err, syncd.ErrUnavailable) || len(s.requests()) != before+1 {
		t.Errorf("without retries: %v, %d requests", err, len(s.requests())-before)
	}
}

// TestCheckTimesOutAnAttempt has a server that answers only the second request.
func TestCheckTimesOutAnAttempt(t *testing.T) {
	s := newStub(pointID(0))
	silent := make(chan struct{})
	s.get = func(call int, _ *qdrant.GetPoints) (*qdrant.GetResponse, error) {
		if call == 0 {
			<-silent
		}
		return nil, nil
	}
	addr := s.start(t)
	t.Cleanup(func() { close(silent) }) // before the server stops
	conf := testConfig(addr)
	conf.Timeout = 50 * time.Millisecond
	c, p := opened(t, conf)
	verdicts, err := check(t, c, pointID(0))
	if err != nil || verdicts[0] != syncd.Present || len(p.slept) == 0 {
		t.Errorf("%v, %v, slept %v", verdicts, err, p.slept)
	}
}

func TestCheckNeverRetriesWhatCannotPass(t *testing.T) {
	for _, code := range []codes.Code{
		codes.InvalidArgument, codes.Unauthenticated, codes.PermissionDenied, codes.NotFound, codes.Unimplemented,
	} {
		t.Run(code.String(), func(t *testing.T) {
			s := newStub()
			s.get = func(int, *qdrant.GetPoints) (*qdrant.GetResponse, error) {
				return nil, status.Error(code, "no such luck")
			}
			c, p := opened(t, testConfig(s.start(t)))
			_, err := check(t, c, pointIDs(0, 3)...)
			if err == nil || errors.Is(err, syncd.ErrUnavailable) {
				t.Errorf("got %v", err)
			}
			if status.Code(err) != code {
				t.Errorf("the cause is lost: %v", err)
			}
			if len(s.requests()) != 1 || len(p.slept) != 0 {
				t.Errorf("%d requests, slept %v", len(s.requests()), p.slept)
			}
		})
	}
}

func TestCheckWaitsAsLongAsQdrantAsks(t *testing.T) {
	s := newStub(pointID(0))
	s.retryAfter = "49"
	s.get = func(call int, _ *qdrant.GetPoints) (*qdrant.GetResponse, error) {
		if call < 5 {
			return nil, status.Error(codes.ResourceExhausted, "Rate limiting exceeded: Read rate limit exceeded")
		}
		return nil, nil
	}
	c, p := opened(t, testConfig(s.start(t)))
	verdicts, err := check(t, c, pointID(0))
	if err != nil || verdicts[0] != syncd.Present {
		t.Fatalf("%v, %v", verdicts, err)
	}
	for _, d := range p.slept {
		if d < 49*time.Second || d > 49*time.Second+c.conf.Retry.Max {
			t.Errorf("waited %v", d)
		}
	}
	if len(p.slept) != 5 { // four minutes, though max_elapsed is one
		t.Errorf("slept %v", p.slept)
	}
	if n := c.limit.now(); n != 1000 {
		t.Errorf("the batch was made smaller: %d", n)
	}
}

func TestCheckDoesNotWaitForHours(t *testing.T) {
	s := newStub()
	s.retryAfter = "3600"
	s.get = func(int, *qdrant.GetPoints) (*qdrant.GetResponse, error) {
		return nil, status.Error(codes.ResourceExhausted, "come back later")
	}
	c, p := opened(t, testConfig(s.start(t)))
	_, err := check(t, c, pointIDs(0, 2)...)
	if !errors.Is(err, syncd.ErrUnavailable) || len(p.slept) != 0 || len(s.requests()) != 1 {
		t.Errorf("%v, slept %v, %d requests", err, p.slept, len(s.requests()))
	}
	if hint := syncd.HintOf(err); !strings.Contains(hint, "Qdrant asks to wait for 3600 s") {
		t.Errorf("the hint does not say how long to wait: %q", hint)
	}
}

func TestCheckHalvesWhatIsTooMuch(t *testing.T) {
	s := newStub(pointIDs(0, 50)...)
	s.get = func(_ int, req *qdrant.GetPoints) (*qdrant.GetResponse, error) {
		if len(req.GetIds()) > 7 {
			return nil, status.Error(codes.ResourceExhausted, "request larger than rate limiter capacity, please try to split your request")
		}
		return nil, nil
	}
	conf := testConfig(s.start(t))
	conf.Concurrency = 1
	c, p := opened(t, conf)
	for range 2 {
		verdicts, err := check(t, c, pointIDs(0, 100)...)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range verdicts {
			if (v == syncd.Present) != (i < 50) {
				t.Fatalf("point %d is %v", i, v)
			}
		}
	}
	var sizes []int
	for _, r := range s.requests() {
		sizes = append(sizes, len(r.GetIds()))
	}
	if want := []int{100, 50, 25, 13, 7, 10, 7, 8, 7, 7}; !slices.Equal(sizes[:len(want)], want) {
		t.Errorf("sizes %v, want them to begin with %v", sizes, want)
	}
	for _, n := range sizes[8:] {
		if n > 7 {
			t.Errorf("the smaller size was forgotten: %v", sizes)
			break
		}
	}
	if len(p.slept) != 0 {
		t.Errorf("slept %v", p.slept)
	}
}

// TestCheckStopsHalvingAtOne: what is refused of one id is asked again for as long as an outage would be.
func TestCheckStopsHalvingAtOne(t *testing.T) {
	s := newStub()
	s.get = func(int, *qdrant.GetPoints) (*qdrant.GetResponse, error) {
		return nil, status.Error(codes.ResourceExhausted, "no")
	}
	c, p := opened(t, testConfig(s.start(t)))
	_, err := check(t, c, pointIDs(0, 5)...)
	if err == nil || errors.Is(err, syncd.ErrUnavailable) || syncd.HintOf(err) == "" {
		t.Errorf("got %v", err)
	}
	if n := len(s.requests()); n != 4+len(p.slept) || len(p.slept) < 5 { // 5, 3, 2, 1
		t.Errorf("%d requests, slept %v", n, p.slept)
	}
	if took := p.clock().Sub(time.Unix(0, 0)); took > c.conf.Retry.MaxElapsed {
		t.Errorf("it took %v", took)
	}
}

// TestCheckHalvesMessagesTooLong has the client's own limit, and the server's, refuse a batch.
// TestCheckAsksForLessWhereAnswersAreLate has a server that can't answer about more than 60 ids in time.
func TestCheckAsksForLessWhereAnswersAreLate(t *testing.T) {
	s := newStub(pointIDs(0, 200)...)
	s.get = func(_ int, req *qdrant.GetPoints) (*qdrant.GetResponse, error) {
		if len(req.GetIds()) > 60 {
			return nil, status.Error(codes.DeadlineExceeded, "Timeout: Timeout error: Operation 'retrieve' timed out after 10s")
		}
		return nil, nil
	}
	conf := testConfig(s.start(t))
	conf.Concurrency = 1
	c, _ := opened(t, conf)
	verdicts, err := check(t, c, pointIDs(0, 200)...)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range verdicts {
		if v != syncd.Present {
			t.Fatalf("point %d is %v", i, v)
		}
	}
	var sizes []int
	for _, r := range s.requests() {
		sizes = append(sizes, len(r.GetIds()))
	}
	if want := []int{200, 200, 100, 100, 50, 65, 65, 50, 57, 43}; !slices.Equal(sizes, want) {
		t.Errorf("sizes %v, want %v", sizes, want)
	}
}

func TestCheckHalvesMessagesTooLong(t *testing.T) {
	t.Run("request", func(t *testing.T) {
		s := newStub(pointIDs(0, 500)...)
		c, _ := opened(t, testConfig(s.start(t, grpc.MaxRecvMsgSize(4096))))
		halves(t, c)
	})
	t.Run("answer", func(t *testing.T) {
		s := newStub(pointIDs(0, 500)...)
		s.get = func(_ int, req *qdrant.GetPoints) (*qdrant.GetResponse, error) {
			if len(req.GetIds()) > 125 {
				// longer than the client takes, at little cost: a point with a payload that was not asked for
				r := answer(req.GetIds()...)
				r.Result[0].Payload = map[string]*qdrant.Value{"x": qdrant.NewValueString(strings.Repeat("x", qdrantconn.MaxReceive))}
				return r, nil
			}
			return nil, nil
		}
		c, _ := opened(t, testConfig(s.start(t)))
		halves(t, c)
	})
}

func halves(t *testing.T, c *checker) {
	t.Helper()
	verdicts, err := check(t, c, pointIDs(0, 1000)...)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range verdicts {
		if (v == syncd.Present) != (i < 500) {
			t.Fatalf("point %d is %v", i, v)
		}
	}
	if n := c.limit.now(); n >= 500 {
		t.Errorf("the limit is still %d", n)
	}
}

func TestCheckEndsWithItsContext(t *testing.T) {
	t.Run("before", func(t *testing.T) {
		s := newStub()
		conf := testConfig(s.start(t))
		conf.BatchSize = 1
		c, _ := opened(t, conf)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, n := range []int{1, 9} {
			if err := c.Check(ctx, points(pointIDs(0, n)...), make([]syncd.Verdict, n)); !errors.Is(err, context.Canceled) {
				t.Errorf("of %d: %v", n, err)
			}
		}
	})
	t.Run("in a request", func(t *testing.T) {
		s := newStub()
		ctx, cancel := context.WithCancel(t.Context())
		hold := make(chan struct{})
		s.get = func(int, *qdrant.GetPoints) (*qdrant.GetResponse, error) {
			cancel()
			<-hold
			return nil, nil
		}
		conf := testConfig(s.start(t))
		t.Cleanup(func() { close(hold) })
		conf.BatchSize = 2
		c, p := opened(t, conf)
		err := c.Check(ctx, points(pointIDs(0, 9)...), make([]syncd.Verdict, 9))
		if !errors.Is(err, context.Canceled) || errors.Is(err, syncd.ErrUnavailable) || len(p.slept) != 0 {
			t.Errorf("%v, slept %v", err, p.slept)
		}
	})
	t.Run("in a pause", func(t *testing.T) {
		s := newStub()
		s.get = func(int, *qdrant.GetPoints) (*qdrant.GetResponse, error) {
			return nil, status.Error(codes.Unavailable, "no")
		}
		c, _ := opened(t, testConfig(s.start(t)))
		ctx, cancel := context.WithCancel(t.Context())
		c.clock.Sleep = func(ctx context.Context, _ time.Duration) error {
			cancel()
			return wait.Pause(ctx, time.Hour) // the real one
		}
		err := c.Check(ctx, points(pointID(0)), make([]syncd.Verdict, 1))
		if !errors.Is(err, context.Canceled) || errors.Is(err, syncd.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("waiting for its turn", func(t *testing.T) {
		c := &checker{slots: make(chan struct{})}
		c.together = coalesce.NewBatches(c.check)
		c.limit.start(10, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := c.Check(ctx, points(pointID(0)), make([]syncd.Verdict, 1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCheckOfAMissingCollection(t *testing.T) {
	s := newStub(pointID(0))
	s.missing = true
	c, _ := opened(t, testConfig(s.start(t)))
	verdicts, err := check(t, c, pointIDs(0, 3)...)
	if err != nil || slices.ContainsFunc(verdicts, func(v syncd.Verdict) bool { return v != syncd.Missing }) {
		t.Fatalf("%v, %v", verdicts, err)
	}

	s.mu.Lock()
	s.missing = false // the indexer has created it
	s.mu.Unlock()
	if verdicts, err = check(t, c, pointID(0)); err != nil || verdicts[0] != syncd.Present {
		t.Fatalf("%v, %v", verdicts, err)
	}

	s.mu.Lock()
	s.missing = true // and now it is deleted, which does not mean that everything must be sent again
	s.mu.Unlock()
	if _, err = check(t, c, pointID(0)); err == nil || !strings.Contains(err.Error(), "is gone") || syncd.HintOf(err) == "" {
		t.Errorf("got %v", err)
	}
}

func TestCheckRefusesWhatItCannotAnswer(t *testing.T) {
	s := newStub()
	c, _ := opened(t, testConfig(s.start(t)))
	if err := c.Check(t.Context(), points(pointID(0)), nil); err == nil {
		t.Error("took points without verdicts")
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := check(t, c, pointID(0)); err == nil {
		t.Error("answered after Close")
	}
	if _, err := c.Inspect(t.Context()); err == nil {
		t.Error("inspected after Close")
	}
}

func TestErrorsNeverShowTheKey(t *testing.T) {
	const key = "s3cret-key"
	s := newStub()
	s.key = key
	s.get = func(int, *qdrant.GetPoints) (*qdrant.GetResponse, error) {
		return nil, status.Error(codes.Internal, "upstream refused api-key: "+key)
	}
	conf := testConfig(s.start(t))
	conf.APIKey = key
	c, _ := opened(t, conf)
	_, err := check(t, c, pointID(0))
	if err == nil || strings.Contains(fmt.Sprintf("%v %+v %s", err, err, syncd.HintOf(err)), key) {
		t.Errorf("got %v", err)
	}
}

func TestInspect(t *testing.T) {
	inspect := func(t *testing.T, s *stub) (syncd.Index, error) {
		c, _ := opened(t, testConfig(s.start(t)))
		return c.Inspect(t.Context())
	}
	label := syncd.Index{Name: collection}
	t.Run("small", func(t *testing.T) {
		s := newStub(pointIDs(0, 5)...)
		s.points = 8 // an estimate: three are counted twice
		got, err := inspect(t, s)
		want := label
		want.Exists, want.Points = true, 5
		if err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
		if len(s.counts) != 1 || !s.counts[0].GetExact() {
			t.Errorf("counted by %v", s.counts)
		}
	})
	t.Run("large", func(t *testing.T) {
		s := newStub()
		s.points = exactUpTo + 1
		got, err := inspect(t, s)
		if err != nil || got.Points != exactUpTo+1 || len(s.counts) != 0 {
			t.Errorf("got %+v, %v, counted by %v", got, err, s.counts)
		}
	})
	t.Run("exact counts forbidden", func(t *testing.T) {
		s := newStub()
		s.points = 8
		s.count = status.Error(codes.InvalidArgument, "Bad request: Exact search disabled!. Help: Set exact=false.")
		got, err := inspect(t, s)
		if err != nil || got.Points != 8 {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	t.Run("missing", func(t *testing.T) {
		s := newStub()
		s.missing = true
		got, err := inspect(t, s)
		if err != nil || got != label {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	t.Run("unavailable", func(t *testing.T) {
		s := newStub()
		s.count = status.Error(codes.Unavailable, "no")
		if _, err := inspect(t, s); !errors.Is(err, syncd.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		s := newStub()
		c, _ := opened(t, testConfig(s.start(t)))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Inspect(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
