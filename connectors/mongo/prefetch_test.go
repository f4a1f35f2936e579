package mongo

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd/internal/panics"
)

// counting returns a next for prefetch that gives 1, 2, … n, and then err; ask, if not nil, is called with each number before.
func counting(n int, err error, ask func(ctx context.Context, i int) error) func(context.Context) (int, bool, error) {
	i := 0
	return func(ctx context.Context) (int, bool, error) {
		i++
		if ask != nil {
			if err := ask(ctx, i); err != nil {
				return 0, true, err
			}
		}
		if i < n {
			return i, true, nil
		}
		return i, false, err
	}
}

func always() bool { return true }

func TestPrefetchWaitsForWhatIsLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, handled := 0, 0
		next := counting(4, nil, func(_ context.Context, i int) error {
			asked = i
			return nil
		})
		large := func() bool { return asked != 2 } // the second
		for v, err := range prefetch(t.Context(), next, large) {
			handled++
			synctest.Wait()
			want := min(handled+1, 4)
			if handled == 2 {
				want = 2
			}
			if err != nil || v != handled || asked != want {
				t.Errorf("value %d, %v; while it is handled, %d were asked for, want %d", v, err, asked, want)
			}
		}
		if handled != 4 {
			t.Errorf("%d values", handled)
		}
		for range prefetch(t.Context(), counting(4, nil, nil), func() bool { return false }) {
			break // the asker waits for this one to be handled, and ends
		}
	})
}

func TestPrefetchAsksOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, handled := 0, 0
		next := counting(4, nil, func(_ context.Context, i int) error {
			asked = i
			return nil
		})
		for v, err := range prefetch(t.Context(), next, always) {
			handled++
			synctest.Wait()
			if want := min(handled+1, 4); err != nil || v != handled || asked != want {
				t.Errorf("value %d, %v; while it is handled, %d were asked for, want %d", v, err, asked, want)
			}
		}
		if handled != 4 {
			t.Errorf("%d values", handled)
		}
	})
}

func TestPrefetchEnds(t *testing.T) {
	broken := errors.New("broken")
	waits := func(ctx context.Context, i int) error {
		if i < 2 {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}
	for name, c := range map[string]struct {
		next   func(context.Context) (int, bool, error)
		stop   bool // leave after the first value
		cancel bool // the context, then
		values int
		want   error
	}{
		"with the last":                  {next: counting(3, nil, nil), values: 3},
		"with the first":                 {next: counting(1, nil, nil), values: 1},
		"at an error":                    {next: counting(3, broken, nil), values: 3, want: broken},
		"at an error at once":            {next: counting(1, broken, nil), values: 1, want: broken},
		"when left":                      {next: counting(3, nil, nil), stop: true, values: 1},
		"when left, with a question out": {next: counting(3, nil, waits), stop: true, values: 1},
		"when cancelled":                 {next: counting(3, nil, waits), cancel: true, values: 1, want: context.Canceled},
		"when left and cancelled":        {next: counting(3, nil, waits), cancel: true, stop: true, values: 1},
	} {
		t.Run(name, func(t *testing.T) {
			// A goroutine that stays behind makes the bubble fail.
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var got error
				values := 0
				for v, err := range prefetch(ctx, c.next, always) {
					if got = err; err == nil && v > 0 {
						values++
					}
					synctest.Wait()
					if c.cancel {
						cancel()
					}
					if c.stop {
						break
					}
				}
				if values != c.values || !errors.Is(got, c.want) {
					t.Errorf("%d values, then %v; want %d, then %v", values, got, c.values, c.want)
				}
			})
		})
	}
}

// A cursor is closed as soon as its reading is left, so nobody may be using it then.
func TestPrefetchWaitsForItsQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asking := false
		next := counting(3, nil, func(ctx context.Context, i int) error {
			if i == 2 {
				asking = true
				<-ctx.Done()
				time.Sleep(time.Second) // of the bubble: it takes no time, but others come first
				asking = false
			}
			return nil
		})
		for range prefetch(t.Context(), next, always) {
			synctest.Wait()
			if !asking {
				t.Error("no question is out")
			}
			break
		}
		if asking {
			t.Error("the sequence has ended before its question")
		}
	})
}

// A reader whose context ends just when everything has been asked for must not take that for the end: it can't know.
func TestPrefetchIsNotSilentAboutItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var got error
	for _, err := range prefetch(ctx, counting(1, nil, nil), always) {
		got = err
	}
	if !errors.Is(got, context.Canceled) {
		t.Errorf("%v", got)
	}
}

func TestPrefetchSurvivesAPanicOfItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		for range prefetch(t.Context(), counting(3, nil, nil), always) {
			panic("as a reader may")
		}
	})
}

// A small collection comes with one answer: that must not cost a goroutine, whose stack has to grow for the driver.
func TestPrefetchAsksForTheFirstInPlace(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("it was asked for elsewhere")
		}
	}()
	panics := counting(1, nil, func(context.Context, int) error { panic("in place") })
	for range prefetch(t.Context(), panics, always) {
		t.Error("a value")
	}
}

func TestPrefetchHasAPanicBesideAsAnError(t *testing.T) {
	next := counting(3, nil, func(_ context.Context, i int) error {
		if i == 2 {
			panic("a broken answer")
		}
		return nil
	})
	var last error
	for _, err := range prefetch(t.Context(), next, always) {
		last = err
	}
	if p, ok := errors.AsType[*panics.Error](last); !ok || p.Value != "a broken answer" || len(p.Stack) == 0 {
		t.Errorf("%v", last)
	}
}
