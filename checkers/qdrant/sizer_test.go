package qdrant

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd"
)

// ask takes n things in requests of the size that s gives, refused says which. It returns how many requests that took.
func (s *sizer) ask(n int, refused func(request, size int) bool) (requests int) {
	for n > 0 {
		size := min(s.now(), n)
		requests++
		if refused(requests, size) {
			s.refuse(size)
			continue
		}
		s.pass(size)
		n -= size
	}
	return requests
}

func TestSizerGrowsAgain(t *testing.T) {
	const n = 400_000
	above := func(limit int) func(int, int) bool { return func(_, size int) bool { return size > limit } }
	at := func(requests ...int) func(int, int) bool {
		return func(request, _ int) bool { return slices.Contains(requests, request) }
	}
	for name, c := range map[string]struct {
		most    int
		refused func(request, size int) bool
		atMost  int // requests
		ended   int // least size
	}{
		"nothing refused":        {1000, at(), 400, 1000},
		"ten single refusals":    {1000, at(20, 40, 60, 80, 110, 160, 250, 400, 700, 1200), 600, 1000},
		"ten at the start":       {1000, at(1, 2, 3, 4, 5, 6, 7, 8, 9, 10), 600, 1000},
		"ten in a row":           {1000, at(100, 101, 102, 103, 104, 105, 106, 107, 108, 109), 600, 1000},
		"every hundredth":        {1000, func(request, _ int) bool { return request%100 == 0 }, 520, 500},
		"every third":            {1000, func(request, _ int) bool { return request%3 == 0 }, 1500, 400},
		"every second":           {1000, func(request, _ int) bool { return request%2 == 0 }, 20_000, 10},
		"a limit of 999":         {1000, above(999), 560, 499},
		"a limit of 500":         {1000, above(500), 900, 440},
		"a limit of 60":          {1000, above(60), 7700, 53},
		"a limit of 7":           {1000, above(7), 64_000, 6},
		"a limit of one":         {1000, above(1), 460_000, 1},
		"for a while":            {1000, func(request, size int) bool { return request < 300 && size > 10 }, 900, 1000},
		"one at a time at most":  {1, at(), n, 1},
		"fifty thousand at once": {50_000, at(2, 3), 30, 12_500},
	} {
		t.Run(name, func(t *testing.T) {
			var s sizer
			told := c.most
			s.start(c.most, func(now, most int) {
				if told = now; most != c.most {
					t.Errorf("told of %d at most", most)
				}
			})
			requests := s.ask(n, c.refused)
			if requests > c.atMost || s.now() < c.ended || s.now() > c.most || told != s.now() {
				t.Errorf("%d requests, want at most %d; the size is %d, told %d, want at least %d", requests, c.atMost, s.now(), told, c.ended)
			}
			t.Log(requests, s.now())
		})
	}
}

// TestSizerIsLoweredOnceByRequestsSideBySide, which were of one size.
func TestSizerIsLoweredOnceByRequestsSideBySide(t *testing.T) {
	var s sizer
	s.start(1000, func(int, int) {})
	for i := range 4 {
		if now, changed := s.refuse(1000); now != 500 || changed != (i == 0) {
			t.Errorf("refusal %d: %d, %t", i, now, changed)
		}
	}
	s.pass(10) // says nothing of 500
	if s.now() != 500 {
		t.Errorf("%d after a request for 10", s.now())
	}
	s.limit(300)
	for range 100 {
		s.pass(s.now())
	}
	if s.now() != 300 {
		t.Errorf("%d, though 300 are never exceeded", s.now())
	}
}

// TestRefusalsCostLittle: ten RESOURCE_EXHAUSTED answers once turned 400 requests into 337,000.
func TestRefusalsCostLittle(t *testing.T) {
	for name, c := range map[string]struct {
		refused []int
		atMost  int
		ended   string
	}{
		"single": {[]int{20, 40, 60, 80, 110, 160, 250, 400, 700, 1200}, 408, "map[]"},
		"pairs":  {[]int{20, 21, 60, 61, 110, 111, 160, 161, 250, 251}, 550, "map[ids per request:[100 100]]"},
	} {
		t.Run(name, func(t *testing.T) { refusalsCost(t, c.refused, c.atMost, c.ended) })
	}
}

func refusalsCost(t *testing.T, refused []int, atMost int, want string) {
	s := newStub(pointIDs(0, 100)...)
	s.get = func(call int, _ *qdrant.GetPoints) (*qdrant.GetResponse, error) {
		if slices.Contains(refused, call) {
			return nil, status.Error(codes.ResourceExhausted, "short of memory")
		}
		return nil, nil
	}
	conf := testConfig(s.start(t))
	conf.BatchSize, conf.Concurrency = 100, 1
	c, _ := opened(t, conf)
	ended := map[string][2]int{}
	c.adapted = func(what string, now, most int) { ended[what] = [2]int{now, most} }
	for range 40 {
		verdicts, err := check(t, c, pointIDs(0, 1000)...)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range verdicts {
			if (v == syncd.Present) != (i < 100) {
				t.Fatalf("point %d is %v", i, v)
			}
		}
	}
	if n := len(s.requests()); n > atMost {
		t.Errorf("%d requests in place of 400", n)
	}
	if got := fmt.Sprint(ended); got != want {
		t.Errorf("told of %s, want %s", got, want)
	}
}

// TestOneRefusalAtOneID does not end the run.
func TestOneRefusalAtOneID(t *testing.T) {
	s := newStub(pointID(0))
	s.get = func(call int, _ *qdrant.GetPoints) (*qdrant.GetResponse, error) {
		if call == 0 {
			return nil, status.Error(codes.ResourceExhausted, "not now")
		}
		return nil, nil
	}
	c, p := opened(t, testConfig(s.start(t)))
	var r reasons
	c.retried = r.add
	verdicts, err := check(t, c, pointID(0))
	if err != nil || verdicts[0] != syncd.Present || len(p.slept) != 1 || !slices.Equal(r.told, []string{retryTooLarge}) {
		t.Errorf("%v, %v, slept %v, told %q", verdicts, err, p.slept, r.told)
	}
}

// TestPagesGrowAgain: what a listing is refused once must not make it slow to its end.
func TestPagesGrowAgain(t *testing.T) {
	s := newStub(pointIDs(0, 40_000)...)
	s.scroll = func(call int, _ *qdrant.ScrollPoints) (*qdrant.ScrollResponse, error) {
		if call < 8 {
			return nil, status.Error(codes.ResourceExhausted, "not now")
		}
		return nil, nil
	}
	c, _ := opened(t, testConfig(s.start(t)))
	var sizes []int
	c.adapted = func(what string, now, most int) {
		if what != sizeOfPages || most != smallestPage {
			t.Errorf("told of %d %s", most, what)
		}
		sizes = append(sizes, now)
	}
	listed, err := list(t, c, syncd.ListRequest{Parts: 1})
	if err != nil || len(listed) != 40_000 {
		t.Fatalf("%d points, %v", len(listed), err)
	}
	if n := len(s.scrolls); n > 150 || slices.Min(sizes) != 4 || sizes[len(sizes)-1] != smallestPage {
		t.Errorf("%d pages, sizes %v", n, sizes)
	}
}

// TestTimesOfServersAreBounded on both sides: none makes a busy loop, or a wait of hours.
func TestTimesOfServersAreBounded(t *testing.T) {
	for after, c := range map[string]struct {
		waits bool          // so long; false asks at the pauses of an outage, and gives up as one
		never bool          // it is not waited for
		least time.Duration // of each wait
	}{
		"-5": {}, "-1": {}, "0": {}, "-9223372036854775808": {}, "-300": {}, "-18446744069": {}, // which would wrap to 4.7 s
		"1": {waits: true, least: time.Second}, "300": {waits: true, least: 300 * time.Second},
		"301": {never: true}, "3600": {never: true}, "9223372037": {never: true}, "9223372036854775807": {never: true},
	} {
		t.Run(after, func(t *testing.T) {
			s := newStub(pointID(0))
			s.retryAfter = after
			s.get = func(call int, _ *qdrant.GetPoints) (*qdrant.GetResponse, error) {
				if c.waits && call == 3 || call == 1000 {
					return nil, nil
				}
				return nil, status.Error(codes.ResourceExhausted, "Rate limiting exceeded")
			}
			c2, p := opened(t, testConfig(s.start(t)))
			_, err := check(t, c2, pointID(0))
			took, pauses := p.clock().Sub(time.Unix(0, 0)), len(p.slept)
			switch {
			case c.waits:
				if err != nil || pauses != 3 || took < 3*c.least || took > 3*(c.least+c2.conf.Retry.Max) {
					t.Errorf("%v after %v", err, p.slept)
				}
			case c.never:
				if err == nil || pauses != 0 {
					t.Errorf("%v after %v", err, p.slept)
				}
			default:
				// Pauses double from the first on, so there can't be many; a busy loop would ask thousands of times.
				if err == nil || took > c2.conf.Retry.MaxElapsed || pauses > 300 || took < c2.conf.Retry.MaxElapsed/4 {
					t.Errorf("%v after %d pauses and %v", err, pauses, took)
				}
				if hint := syncd.HintOf(err); strings.Contains(hint, "that time") {
					t.Errorf("hint %q", hint)
				}
			}
		})
	}
}

// TestOneRequestIsRefusedWhileOthersPass: one that is too large by itself gets smaller all the same.
func TestOneRequestIsRefusedWhileOthersPass(t *testing.T) {
	s := newStub(pointIDs(0, 64)...)
	bad := pointID(5).String()
	s.get = func(_ int, req *qdrant.GetPoints) (*qdrant.GetResponse, error) {
		has := slices.ContainsFunc(req.GetIds(), func(id *qdrant.PointId) bool { return id.GetUuid() == bad })
		if has && len(req.GetIds()) > 3 {
			return nil, status.Error(codes.ResourceExhausted, "message larger than max")
		}
		return nil, nil
	}
	conf := testConfig(s.start(t))
	conf.BatchSize = 32
	c, _ := opened(t, conf)
	for range 3 {
		c.limit.pass(32) // by another call
		if _, err := check(t, c, pointIDs(0, 64)...); err != nil {
			t.Fatal(err)
		}
		before := len(s.requests())
		var a sizer // of which all others take as much as ever
		a.start(32, func(int, int) {})
		k := c.newAsk(selection{})
		done := make(chan error, 1)
		go func() { done <- c.lookup(t.Context(), k, points(pointIDs(0, 32)...), &a) }()
		for waiting := true; waiting; {
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
				waiting = false
			default:
				a.pass(32)
			}
		}
		if n := len(s.requests()) - before; n > 40 {
			t.Errorf("%d requests", n)
		}
	}
}
