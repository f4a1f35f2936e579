package coalesce

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// batchServer answers each key with its double after a second, and keeps what it was asked.
type batchServer struct {
	mu    sync.Mutex
	asked [][]int
	err   error
}

func (s *batchServer) ask(ctx context.Context, keys, answers []int) error {
	s.mu.Lock()
	s.asked = append(s.asked, slices.Clone(keys))
	s.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	for i, k := range keys {
		answers[i] = 2 * k
	}
	return s.err
}

// asking are batches that are asked about side by side, in their order.
type asking struct {
	t *testing.T
	b *Batches[int, int]
	g sync.WaitGroup
}

func (a *asking) ask(ctx context.Context, most int, wantErr error, keys ...int) {
	a.g.Go(func() {
		own, answers := slices.Clone(keys), make([]int, len(keys))
		err := a.b.Ask(ctx, own, answers, most)
		clear(own) // they are the caller's again
		if !errors.Is(err, wantErr) {
			a.t.Errorf("asking about %d: %v; want %v", keys, err, wantErr)
		}
		for i, k := range keys {
			if err == nil && answers[i] != 2*k {
				a.t.Errorf("asking about %d gave %d", keys, answers)
			}
		}
		if err != nil {
			time.Sleep(time.Hour)
			if slices.Max(answers) > 0 {
				a.t.Errorf("answers to %d came after the call", keys)
			}
		}
	})
	synctest.Wait()
}

func TestBatchesThatComeMeanwhileAreAskedAsOne(t *testing.T) {
	for name, c := range map[string]struct {
		most  int
		took  time.Duration
		asked [][]int
	}{
		"with room for all": {10, 2 * time.Second, [][]int{{1, 2}, {3, 4, 5, 3, 6}}},
		"with less room":    {3, 2 * time.Second, [][]int{{1, 2}, {3, 4, 5}, {3, 6}}},
		"with none":         {1, 2 * time.Second, [][]int{{1, 2}, {3, 4}, {5}, {3}, {6}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s batchServer
				a := asking{t: t, b: NewBatches(s.ask)}
				began := time.Now()
				for _, keys := range [][]int{{1, 2}, {3, 4}, {5}, {3}, {6}} {
					a.ask(t.Context(), c.most, nil, keys...)
				}
				a.g.Wait()
				if took := time.Since(began); took != c.took || !slices.EqualFunc(s.asked, c.asked, slices.Equal) {
					t.Errorf("asked %d in %s; want %d in %s", s.asked, took, c.asked, c.took)
				}
				// Nobody waits for a question that is over.
				began = time.Now()
				a.ask(t.Context(), c.most, nil, 7)
				if a.g.Wait(); time.Since(began) != time.Second {
					t.Errorf("alone it took %s", time.Since(began))
				}
			})
		})
	}
}

func TestAnErrorIsThatOfAllBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := batchServer{err: errors.New("no")}
		a := asking{t: t, b: NewBatches(s.ask)}
		for i := range 3 {
			a.ask(t.Context(), 10, s.err, i+1)
		}
		if a.g.Wait(); len(s.asked) != 2 {
			t.Errorf("asked %d; an error is no reason to ask again", s.asked)
		}
	})
}

func TestWhoLeavesTakesNoBatchAlong(t *testing.T) {
	for name, after := range map[string]time.Duration{"while it is asked": 1500 * time.Millisecond, "before it may be asked": 500 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s batchServer
				a := asking{t: t, b: NewBatches(s.ask)}
				leaving, leave := context.WithTimeout(t.Context(), after)
				defer leave()
				a.ask(t.Context(), 10, nil, 1)
				a.ask(leaving, 10, context.DeadlineExceeded, 2) // whoever asks for the next
				a.ask(t.Context(), 10, nil, 3)
				a.ask(leaving, 10, context.DeadlineExceeded, 4) // and one who only joins it
				a.ask(t.Context(), 10, nil, 5)
				a.g.Wait()
			})
		})
	}
}

// TestAPanicIsNoAnswer: callers that joined the question get an error.
func TestAPanicIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := asking{t: t, b: NewBatches(func(context.Context, []int, []int) error { time.Sleep(time.Second); panic("a fault") })}
		for i := range 3 {
			a.g.Go(func() {
				defer func() { _ = recover() }()
				if err := a.b.Ask(t.Context(), []int{i}, []int{0}, 10); !errors.Is(err, errNoAnswer) {
					t.Errorf("got %v", err)
				}
			})
			synctest.Wait()
		}
		a.g.Wait()
	})
}
