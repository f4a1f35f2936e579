package retry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/syncd-io/syncd/internal/retry"
	"github.com/syncd-io/syncd/internal/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errPassing, errLasting = errors.New("passing"), errors.New("lasting")

func TestPauses(t *testing.T) {
	ms := func(n ...int) (out []time.Duration) {
		for _, n := range n {
			out = append(out, time.Duration(n)*time.Millisecond)
		}
		return out
	}
	for name, c := range map[string]struct {
		policy  retry.Policy
		longest []time.Duration
	}{
		"doubling":       {retry.Policy{First: 50 * time.Millisecond, Max: time.Second}, ms(50, 100, 200, 400, 800, 1000, 1000)},
		"by a factor":    {retry.Policy{First: 100 * time.Millisecond, Factor: 3, Max: time.Second}, ms(100, 300, 900, 1000)},
		"constant":       {retry.Policy{First: 100 * time.Millisecond}, ms(100, 100, 100)},
		"factor of 1":    {retry.Policy{First: 100 * time.Millisecond, Factor: 1, Max: time.Second}, ms(100, 100, 100)},
		"none":           {retry.Policy{Max: time.Second}, ms(0, 0)},
		"half is random": {retry.Policy{First: 100 * time.Millisecond, Max: time.Second, Jitter: 0.5}, ms(100, 200, 400, 800, 1000, 1000)},
		"all is random":  {retry.Policy{First: 100 * time.Millisecond, Max: time.Second, Jitter: 1}, ms(100, 200, 400, 800, 1000, 1000)},
	} {
		t.Run(name, func(t *testing.T) {
			p := retry.Pauses{Policy: c.policy}
			for range 100 {
				for i, longest := range c.longest {
					least := time.Duration((1 - c.policy.Jitter) * float64(longest))
					if got := p.Next(); got > longest || got < least {
						t.Fatalf("pause %d is %v, not from %v to %v", i, got, least, longest)
					}
				}
				p.Reset()
			}
		})
	}
}

func TestJitterSpreads(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 100 {
		seen[(&retry.Pauses{Policy: retry.Policy{First: time.Hour, Jitter: 1}}).Next()/(6*time.Minute)] = true
	}
	if len(seen) < 8 { // of 10 parts of the hour
		t.Errorf("100 pauses are in %d parts", len(seen))
	}
}

// classify has errPassing tried again, and nothing else.
func classify(err error) retry.Decision { return retry.Decision{Again: errors.Is(err, errPassing)} }

func TestDo(t *testing.T) {
	delay := func(d time.Duration) func(error) retry.Decision {
		return func(error) retry.Decision { return retry.Decision{Again: true, Delay: d} }
	}
	const s = time.Second
	for name, c := range map[string]struct {
		policy   retry.Policy
		classify func(error) retry.Decision
		errs     []error // of the attempts; the last for ever
		want     error
		attempts int
		took     time.Duration
	}{
		"success":              {retry.Policy{First: s}, classify, []error{nil}, nil, 1, 0},
		"success in the end":   {retry.Policy{First: s, Max: 8 * s}, classify, []error{errPassing, errPassing, errPassing, nil}, nil, 4, 7 * s},
		"a lasting error":      {retry.Policy{First: s}, classify, []error{errPassing, errLasting}, errLasting, 2, s},
		"attempts":             {retry.Policy{First: s, Max: 8 * s, Attempts: 4}, classify, []error{errPassing}, errPassing, 4, 7 * s},
		"one attempt":          {retry.Policy{First: s, Attempts: 1}, classify, []error{errPassing}, errPassing, 1, 0},
		"elapsed":              {retry.Policy{First: s, Elapsed: 3 * s}, classify, []error{errPassing}, errPassing, 4, 3 * s},
		"no wait in vain":      {retry.Policy{First: s, Max: 8 * s, Elapsed: 6 * s}, classify, []error{errPassing}, errPassing, 3, 3 * s},
		"no time":              {retry.Policy{First: s, Elapsed: 1}, classify, []error{errPassing}, errPassing, 1, 0},
		"delay":                {retry.Policy{First: s}, delay(9 * s), []error{errPassing, errPassing, nil}, nil, 3, 20 * s},
		"delay beyond elapsed": {retry.Policy{First: s, Elapsed: 5 * s}, delay(9 * s), []error{errPassing, errPassing, nil}, nil, 3, 20 * s},
		"delay too long":       {retry.Policy{First: s, MaxDelay: 8 * s}, delay(9 * s), []error{errPassing}, errPassing, 1, 0},
		"longest delay":        {retry.Policy{First: s, MaxDelay: 9 * s}, delay(9 * s), []error{errPassing, nil}, nil, 2, 10 * s},
		"delay of nothing":     {retry.Policy{First: s, Elapsed: 2 * s}, delay(0), []error{errPassing}, errPassing, 3, 2 * s},
		"delay into the past":  {retry.Policy{First: s}, delay(-9 * s), []error{errPassing, nil}, nil, 2, s},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var waited time.Duration
				attempts, told := 0, 0
				v, err := retry.Do(t.Context(), retry.Retrier{
					Policy: c.policy, Classify: c.classify,
					Waiting:  func(_ error, wait time.Duration) { waited += wait },
					Retrying: func(error) { told++ },
				}, func() (int, error) {
					attempts++
					return attempts, c.errs[min(attempts, len(c.errs))-1]
				})
				if fmt.Sprint(err) != fmt.Sprint(c.want) || v != attempts || attempts != c.attempts || told != attempts-1 {
					t.Errorf("%v, %d after %d attempts, told %d times", err, v, attempts, told)
				}
				if took := time.Since(began); took != c.took || waited != took {
					t.Errorf("it took %v and told of %v, want %v", took, waited, c.took)
				}
			})
		})
	}
}

func TestTheEndOfTheContextEndsAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		began := time.Now()
		attempts := 0
		_, err := retry.Do(ctx, retry.Retrier{Policy: retry.Policy{First: time.Hour}, Classify: classify}, func() (int, error) { attempts++; return 0, errPassing })
		if !errors.Is(err, context.Canceled) || !errors.Is(err, errPassing) || attempts != 1 || time.Since(began) != time.Millisecond {
			t.Errorf("%v after %d attempts and %v", err, attempts, time.Since(began))
		}
		// Where it has ended before, the attempt's own error says why.
		if err := (retry.Retrier{}).Start().Again(ctx, errPassing); err == nil || err.Error() != errPassing.Error() {
			t.Error(err)
		}
	})
}

func TestTheDrainEndsAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drain := make(chan struct{})
		ctx := wait.WithDrain(t.Context(), drain)
		time.AfterFunc(time.Millisecond, func() { close(drain) })
		began := time.Now()
		attempts := 0
		asked := func(error) retry.Decision { return retry.Decision{Again: true, Delay: time.Hour} }
		_, err := retry.Do(ctx, retry.Retrier{Policy: retry.Policy{First: time.Hour}, Classify: asked}, func() (int, error) { attempts++; return 0, errPassing })
		if !errors.Is(err, context.Canceled) || !errors.Is(err, errPassing) || attempts != 1 || time.Since(began) != time.Millisecond {
			t.Errorf("%v after %d attempts and %v", err, attempts, time.Since(began))
		}
	})
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := retry.Retrier{Policy: retry.Policy{First: time.Second, Max: time.Hour, Attempts: 3, Elapsed: 4 * time.Second}, Classify: classify}.Start()
		for range 5 {
			time.Sleep(time.Hour) // of work without a failure
			a.Progress()
			began := time.Now()
			for a.Again(t.Context(), errPassing) == nil {
			}
			if took := time.Since(began); took != 3*time.Second {
				t.Errorf("it took %v", took)
			}
		}
	})
}

func TestAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := retry.Retrier{Policy: retry.Policy{First: time.Second}, Classify: func(error) retry.Decision {
			return retry.Decision{Again: true, AtOnce: true}
		}}.Start()
		began := time.Now()
		for range 9 {
			a.Progress()
			if err := a.Again(t.Context(), errPassing); err != nil || time.Since(began) != 0 {
				t.Fatalf("%v after %v", err, time.Since(began))
			}
		}
		if err := a.Again(t.Context(), errPassing); err != nil || time.Since(began) != time.Second {
			t.Errorf("the second in a row: %v after %v", err, time.Since(began))
		}
	})
}

func TestClock(t *testing.T) {
	now := time.Unix(0, 0)
	var slept []time.Duration
	_, err := retry.Do(t.Context(), retry.Retrier{
		Policy:   retry.Policy{First: time.Hour, Max: 24 * time.Hour, Elapsed: 8 * time.Hour},
		Classify: classify,
		Clock: retry.Clock{
			Now: func() time.Time { return now },
			Sleep: func(ctx context.Context, d time.Duration) error {
				slept, now = append(slept, d), now.Add(d)
				return ctx.Err()
			},
		},
	}, func() (int, error) { return 0, errPassing })
	if !errors.Is(err, errPassing) || !slices.Equal(slept, []time.Duration{time.Hour, 2 * time.Hour, 4 * time.Hour}) {
		t.Errorf("%v, slept %v", err, slept)
	}
}
