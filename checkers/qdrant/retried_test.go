package qdrant

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd"
)

// reasons collects what Env.Retried is told.
type reasons struct {
	mu   sync.Mutex
	told []string
}

func (r *reasons) add(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, reason)
}

func TestRetriedIsTold(t *testing.T) {
	for want, err := range map[string]error{
		"unavailable":       status.Error(codes.Unavailable, "x"),
		"deadline exceeded": status.Error(codes.DeadlineExceeded, "x"),
		"canceled":          status.Error(codes.Canceled, "x"),
		"internal":          status.Error(codes.Internal, "Service internal error: 1 of 1 read operations failed"),
		"unknown":           status.Error(codes.Unknown, "x"),
		"aborted":           status.Error(codes.Aborted, "x"),
		"rate limited":      status.Error(codes.ResourceExhausted, "x"),
		"too large":         status.Error(codes.ResourceExhausted, "y"),
	} {
		t.Run(want, func(t *testing.T) {
			s := newStub(pointID(0))
			if want == "rate limited" {
				s.retryAfter = "1"
			}
			s.get = func(call int, _ *qdrant.GetPoints) (*qdrant.GetResponse, error) {
				if call < 2 {
					return nil, err
				}
				return nil, nil
			}
			c, _ := opened(t, testConfig(s.start(t)))
			var r reasons
			c.retried = r.add
			if v, err := check(t, c, pointIDs(0, 4)...); err != nil || v[0] != syncd.Present {
				t.Fatalf("%v, %v", v, err)
			}
			if !slices.Equal(r.told, []string{want, want}) {
				t.Errorf("told %q", r.told)
			}
		})
	}
	t.Run("the plugin's", func(t *testing.T) {
		s := newStub(pointID(0))
		s.get = func(call int, _ *qdrant.GetPoints) (*qdrant.GetResponse, error) {
			if call == 0 {
				return nil, status.Error(codes.Unavailable, "x")
			}
			return nil, nil
		}
		conf := Plugin().Config().(*Config)
		conf.URL, conf.Retry.Initial = s.start(t), 1
		var r reasons
		c, err := Plugin().OpenChecker(t.Context(), conf, syncd.Env{Retried: r.add})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := check(t, c, pointID(0)); err != nil || !slices.Equal(r.told, []string{"unavailable"}) {
			t.Errorf("told %q, %v", r.told, err)
		}
	})
}

func TestRetriedIsToldOfSmallerPages(t *testing.T) {
	s := newStub()
	s.scroll = func(call int, _ *qdrant.ScrollPoints) (*qdrant.ScrollResponse, error) {
		if call == 0 {
			return nil, status.Error(codes.ResourceExhausted, "too much")
		}
		return nil, nil
	}
	c, _ := opened(t, testConfig(s.start(t)))
	var r reasons
	c.retried = r.add
	if _, err := list(t, c, syncd.ListRequest{Parts: 1}); err != nil || !slices.Equal(r.told, []string{"too large"}) {
		t.Errorf("told %q, %v", r.told, err)
	}
}

// An error without a name is worth a few more requests, and no more; then it is what it was.
func TestCheckRetriesWhatHasNoName(t *testing.T) {
	for _, code := range []codes.Code{codes.Internal, codes.Unknown, codes.Aborted} {
		t.Run(code.String(), func(t *testing.T) {
			s := newStub()
			s.get = func(int, *qdrant.GetPoints) (*qdrant.GetResponse, error) {
				return nil, status.Error(code, "Service internal error: it is broken")
			}
			c, p := opened(t, testConfig(s.start(t)))
			var r reasons
			c.retried = r.add
			_, err := check(t, c, pointIDs(0, 3)...)
			if status.Code(err) != code || errors.Is(err, syncd.ErrUnavailable) {
				t.Errorf("got %v", err)
			}
			if len(s.requests()) != 1+doubts || len(p.slept) != doubts || len(r.told) != doubts {
				t.Errorf("%d requests, slept %v, told %q", len(s.requests()), p.slept, r.told)
			}
		})
	}
}
