package coalesce

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// server answers a question after a second, with the keys in capitals, and keeps what it was asked.
type server struct {
	mu    sync.Mutex
	asked [][]string
	err   error
}

func (s *server) ask(ctx context.Context, keys []string) ([]string, error) {
	s.mu.Lock()
	s.asked = append(s.asked, slices.Clone(keys))
	s.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.err != nil {
		return nil, s.err
	}
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = strings.ToUpper(k)
	}
	return out, nil
}

// all asks about keys side by side, in their order, and returns what each was told.
func all(ctx context.Context, q *Questions[string, string], keys ...string) ([]string, []error) {
	answers, errs := make([]string, len(keys)), make([]error, len(keys))
	var g sync.WaitGroup
	for i, k := range keys {
		g.Go(func() { answers[i], errs[i] = q.Ask(ctx, k) })
		synctest.Wait()
	}
	g.Wait()
	return answers, errs
}

func TestQuestionsThatComeMeanwhileAreAskedAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s server
		q := New(s.ask)
		began := time.Now()
		answers, errs := all(t.Context(), q, "a", "b", "c", "b")
		if got := strings.Join(answers, " "); got != "A B C B" || errors.Join(errs...) != nil {
			t.Errorf("got %s, %v", got, errs)
		}
		if took := time.Since(began); took != 2*time.Second || len(s.asked) != 2 || !slices.Equal(s.asked[1], []string{"b", "c"}) {
			t.Errorf("asked %q in %s; want a at once, then b and c together", s.asked, took)
		}
		// An answer is never of a question that was asked before the call.
		if _, err := q.Ask(t.Context(), "b"); err != nil || len(s.asked) != 3 {
			t.Errorf("asked %q, %v; want b once more", s.asked, err)
		}
	})
}

func TestAnErrorIsThatOfAllWhoAskedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := server{err: errors.New("no")}
		_, errs := all(t.Context(), New(s.ask), "a", "b", "c")
		for i, err := range errs {
			if !errors.Is(err, s.err) {
				t.Errorf("caller %d got %v", i, err)
			}
		}
		if len(s.asked) != 2 {
			t.Errorf("asked %q; an error is no reason to ask again", s.asked)
		}
	})
}

func TestWhoLeavesTakesNobodyAlong(t *testing.T) {
	for name, after := range map[string]time.Duration{"while it asks": 1500 * time.Millisecond, "before it may ask": 500 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s server
				q := New(s.ask)
				leaving, leave := context.WithTimeout(t.Context(), after)
				defer leave()
				var g sync.WaitGroup
				ask := func(ctx context.Context, key string, want string, wantErr error) {
					g.Go(func() {
						if got, err := q.Ask(ctx, key); got != want || !errors.Is(err, wantErr) {
							t.Errorf("asking about %s gave %q, %v; want %q, %v", key, got, err, want, wantErr)
						}
					})
					synctest.Wait()
				}
				ask(t.Context(), "a", "A", nil)
				ask(leaving, "b", "", context.DeadlineExceeded) // who asks for the next
				ask(t.Context(), "c", "C", nil)
				ask(t.Context(), "d", "D", nil)
				g.Wait()
			})
		})
	}
}

// TestWhoOnlyJoinedLeavesAtOnce: its own context ends its wait, and the answer is for the others.
func TestWhoOnlyJoinedLeavesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s server
		q := New(s.ask)
		leaving, leave := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer leave()
		var g sync.WaitGroup
		g.Go(func() { _, _ = q.Ask(t.Context(), "a") })
		synctest.Wait()
		g.Go(func() { _, _ = q.Ask(t.Context(), "b") })
		synctest.Wait()
		began := time.Now()
		if _, err := q.Ask(leaving, "c"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 500*time.Millisecond {
			t.Errorf("left with %v after %s", err, time.Since(began))
		}
		g.Wait()
	})
}

// TestAPanicIsNoAnswerToAQuestion: callers that joined the question get an error.
func TestAPanicIsNoAnswerToAQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(func(context.Context, []string) ([]string, error) { time.Sleep(time.Second); panic("a fault") })
		var g sync.WaitGroup
		for _, key := range []string{"a", "b", "c"} {
			g.Go(func() {
				var err error
				defer func() {
					if p := recover(); p != nil && p != "a fault" || p == nil && !errors.Is(err, errNoAnswer) {
						t.Errorf("%s got %v, %v", key, p, err)
					}
				}()
				_, err = q.Ask(t.Context(), key)
			})
			synctest.Wait()
		}
		g.Wait()
	})
}
