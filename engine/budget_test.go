package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// taker takes shares in goroutines of its own and says who got one.
type taker struct {
	t      *testing.T
	of     *budget
	mu     sync.Mutex
	got    []string
	shares map[string]*share
}

func (h *taker) take(ctx context.Context, name string, k kind, n int64) {
	go func() {
		s, err := h.of.take(ctx, k, n)
		h.mu.Lock()
		defer h.mu.Unlock()
		if err != nil {
			h.got = append(h.got, name+" "+err.Error())
			return
		}
		h.got = append(h.got, name)
		h.shares[name] = &s
	}()
	synctest.Wait()
}

func (h *taker) expect(want ...string) {
	h.t.Helper()
	synctest.Wait()
	slices.Sort(h.got)
	if fmt.Sprint(h.got) != fmt.Sprint(want) {
		h.t.Errorf("got %q, want %q", h.got, want)
	}
	h.got = nil
}

func (h *taker) release(name string) {
	h.mu.Lock()
	s := h.shares[name]
	h.mu.Unlock()
	s.release()
	s.release() // is none by now
}

func (h *taker) holds(n int64) {
	h.t.Helper()
	if h.of.held != n {
		h.t.Errorf("%d bytes are held, want %d", h.of.held, n)
	}
}

func TestBudget(t *testing.T) {
	for name, f := range map[string]func(h *taker){
		"what fits is given at once": func(h *taker) {
			h.take(h.t.Context(), "a", reads, 60)
			h.take(h.t.Context(), "b", reads, 40)
			h.expect("a", "b")
			h.holds(100)
		},
		"what does not fit waits, in order": func(h *taker) {
			h.take(h.t.Context(), "a", reads, 60)
			h.take(h.t.Context(), "b", reads, 60)
			h.take(h.t.Context(), "c", reads, 10) // would fit, but b would wait for ever behind such
			h.take(h.t.Context(), "d", reads, 50)
			h.expect("a")
			h.release("a")
			h.expect("b", "c")
			h.holds(70)
			h.release("c")
			h.expect()
			h.release("b")
			h.expect("d")
		},
		"what is larger than the budget passes alone": func(h *taker) {
			h.take(h.t.Context(), "a", writes, 500)
			h.take(h.t.Context(), "b", writes, 1)
			h.expect("a")
			h.release("a")
			h.expect("b")
			h.take(h.t.Context(), "c", writes, 500)
			h.expect()
			h.release("b")
			h.expect("c")
		},
		"a kind of which nobody holds anything is let in": func(h *taker) {
			h.take(h.t.Context(), "batch", reads, 100)
			h.take(h.t.Context(), "fetch", fetches, 30)
			h.take(h.t.Context(), "fetch 2", fetches, 30)
			h.take(h.t.Context(), "batch 2", reads, 30)
			h.expect("batch", "fetch")
			h.holds(130)
			h.release("fetch")
			h.expect("fetch 2")
			h.release("batch")
			h.expect("batch 2")
			h.holds(60)
		},
		"a share may grow beyond the budget, and others wait for it": func(h *taker) {
			h.take(h.t.Context(), "a", reads, 50)
			h.shares["a"].resize(150)
			h.take(h.t.Context(), "b", reads, 10)
			h.expect("a")
			h.shares["a"].resize(90)
			h.expect("b")
			h.holds(100)
			h.release("a")
			h.release("b")
			h.holds(0)
		},
		"who stops waiting takes nothing, and lets others pass": func(h *taker) {
			ctx, cancel := context.WithCancel(h.t.Context())
			h.take(h.t.Context(), "a", reads, 60)
			h.take(ctx, "b", reads, 60)
			h.take(h.t.Context(), "c", reads, 40)
			h.expect("a")
			cancel()
			h.expect("b context canceled", "c")
			h.holds(100)
		},
		"who stops waiting just when it is served gives it back": func(h *taker) {
			ctx, cancel := context.WithCancel(h.t.Context())
			h.take(h.t.Context(), "a", reads, 60)
			h.take(ctx, "b", reads, 60)
			cancel()
			h.release("a") // before b has run
			synctest.Wait()
			h.shares = map[string]*share{"b": h.shares["b"]}
			if b := h.shares["b"]; b != nil {
				b.release()
			}
			h.holds(0)
			h.take(h.t.Context(), "c", reads, 100)
			h.holds(100)
		},
		"nothing costs nothing": func(h *taker) {
			h.take(h.t.Context(), "a", reads, 100)
			h.take(h.t.Context(), "b", reads, 0)
			h.expect("a", "b")
			h.release("b")
			h.holds(100)
		},
		"without a bound nobody waits": func(h *taker) {
			h.of.most = 0
			h.take(h.t.Context(), "a", reads, 1<<40)
			h.take(h.t.Context(), "b", reads, 1<<40)
			h.expect("a", "b")
			h.shares["a"].resize(5)
			h.release("a")
			h.holds(0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f(&taker{t: t, of: &budget{most: 100}, shares: map[string]*share{}})
			})
		})
	}
}

// Whatever comes and goes, what is held is what holders have, and all of them come to their turn.
func TestBudgetAddsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &budget{most: 100}
		peak := int64(0)
		done := make(chan int, 300)
		for i := range cap(done) {
			go func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if i%7 == 0 {
					ctx, cancel = context.WithTimeout(t.Context(), time.Duration(i%13)*time.Millisecond)
					defer cancel()
				}
				s, err := b.take(ctx, kind(i)%kinds, int64(1+i*31%90))
				if err == nil {
					b.mu.Lock()
					peak = max(peak, b.held)
					b.mu.Unlock()
					time.Sleep(time.Duration(i%5) * time.Millisecond)
					s.release()
				}
				done <- i
			}()
		}
		for range cap(done) {
			<-done
		}
		if b.held != 0 || b.holders != [kinds]int{} {
			t.Errorf("%d bytes of %d holders are left", b.held, b.holders)
		}
		if most := int64(100 + 90*(kinds-1)); peak > most || peak < 90 {
			t.Errorf("%d bytes were held at once, want at most %d, and most of the budget", peak, most)
		}
	})
}

func TestSizes(t *testing.T) {
	var s sizes
	if s.known() || s.document(1000) != 1000 || s.document(1<<40) != unknownSize {
		t.Errorf("nothing was seen, but a document has %d bytes", s.document(1<<40))
	}
	s.note(0)
	if s.known() {
		t.Error("no document is none")
	}
	s.note(100)
	s.note(900)
	if got := s.document(1 << 40); got != 900 {
		t.Errorf("the largest has 900 bytes, not %d", got)
	}
	for range 40 {
		s.note(100)
		s.note(0)
	}
	if got := s.document(1 << 40); got < 100 || got > 110 {
		t.Errorf("the large one is long gone, but still expected: %d bytes", got)
	}
}

// A batch that is delivered as one may wait for those before it, so it must not take what they still need.
func TestBatchesOfASplitTakeSharesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &split{changed: make(chan struct{})}
		var took []int
		take := func(ctx context.Context, number int, err error) {
			go func() {
				_, got := s.inOrder(ctx, &batch{number: number}, func() (share, error) {
					took = append(took, number)
					return share{}, err
				})
				if !errors.Is(got, err) && !errors.Is(got, ctx.Err()) {
					t.Errorf("batch %d: %v, want %v", number, got, err)
				}
			}()
			synctest.Wait()
		}
		cut, cancel := context.WithCancel(t.Context())
		take(t.Context(), 1, nil)
		take(t.Context(), 2, errors.New("stop"))
		take(cut, 3, nil)
		if len(took) > 0 {
			t.Errorf("%d took their shares before the first did", took)
		}
		take(t.Context(), 0, nil)
		if fmt.Sprint(took) != "[0 1 2]" {
			t.Errorf("%d took their shares: one that failed is not passed over", took)
		}
		cancel()
	})
}
