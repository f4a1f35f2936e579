package syncdtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"path"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long a call may take that has nothing to wait for: far longer than any working plugin needs, so that
// it only ever ends one that hangs. The tests of this package shorten it.
var patience = 20 * time.Second

// testCase is one property of a suite.
type testCase struct {
	name string
	run  func(t *testing.T)
}

// runCases runs a suite's cases one after another, and last the search for goroutines that they left.
func runCases(t *testing.T, cases []testCase, except map[string]string, background []string) {
	t.Helper()
	leaks := []goleak.Option{goleak.IgnoreCurrent()}
	for _, f := range background {
		leaks = append(leaks, goleak.IgnoreAnyFunction(f))
	}
	cases = append(cases, testCase{"leaves_no_goroutine", func(t *testing.T) { goleak.VerifyNone(t, leaks...) }})
	for _, name := range slices.Sorted(maps.Keys(except)) {
		if !slices.ContainsFunc(cases, func(c testCase) bool { return c.name == name }) {
			t.Errorf("Except names %q, which is not a case of this suite", name)
		}
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if reason, ok := except[c.name]; ok {
				t.Skip("excepted: " + reason)
			}
			c.run(t)
		})
	}
}

// caseName is the name of the running case.
func caseName(t *testing.T) string { return path.Base(t.Name()) }

// inTime runs f, whose error fails the test, and ends the test if f takes longer than limit: a plugin that hangs should be
// named by the case that found it rather than end the whole test binary. f must not use t, which may have ended before it.
func inTime(t *testing.T, limit time.Duration, what string, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-timer.C:
		t.Fatalf("%s did not return within %v", what, limit)
	}
}

// closeLater closes a plugin when the case has ended.
func closeLater(t *testing.T, c io.Closer) {
	t.Helper()
	if c == nil {
		t.Fatal("the harness opened nothing")
	}
	t.Cleanup(func() {
		inTime(t, patience, "Close", func() error {
			if err := c.Close(); err != nil {
				return fmt.Errorf("Close: %w", err)
			}
			return nil
		})
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// canceled returns a context that has ended.
func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// expired returns a context whose deadline has passed.
func expired(t *testing.T) context.Context {
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	t.Cleanup(cancel)
	return ctx
}

// ended calls f with contexts that have ended, and the error of each.
func ended(t *testing.T, what string, f func(ctx context.Context, want error) error) {
	t.Helper()
	for want, ctx := range map[error]context.Context{context.Canceled: canceled(t), context.DeadlineExceeded: expired(t)} {
		inTime(t, patience, what+", whose context had ended,", func() error { return f(ctx, want) })
	}
}

// fails wants an error of a call whose context has ended.
func fails(t *testing.T, what string, call func(context.Context) error) {
	t.Helper()
	ended(t, what, func(ctx context.Context, _ error) error {
		if call(ctx) == nil {
			return fmt.Errorf("the context had ended, and %s returned nil", what)
		}
		return nil
	})
}

// together runs f(0) to f(n-1) at the same time.
func together(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	inTime(t, time.Minute, "concurrent use", func() error {
		errs := make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { errs[i] = f(i) })
		}
		wg.Wait()
		return errors.Join(errs...)
	})
}

// errWentOn is a sequence that breaks the rules of iter.Seq2: with a range loop it would be a panic.
var errWentOn = errors.New("the sequence went on after its end")

// read reads a sequence until each returns false, and returns the error that ended it. It reads on after an error, to
// see that nothing follows.
func read[T any](seq iter.Seq2[T, error], each func(T) bool) error {
	var ended, wentOn bool
	var end error
	seq(func(v T, err error) bool {
		switch {
		case ended:
			wentOn = true
			return false
		case err != nil:
			ended, end = true, err
			return true
		}
		ended = !each(v)
		return !ended
	})
	if wentOn {
		return fmt.Errorf("%w (with: %v)", errWentOn, end)
	}
	return end
}

// abilitiesOf names the abilities that a struct of them has.
func abilitiesOf(abilities any) []string {
	var names []string
	v := reflect.ValueOf(abilities)
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			names = append(names, v.Type().Field(i).Name)
		}
	}
	return names
}

// sameAbilities compares abilities with those that abilitiesOf named before.
func sameAbilities(before []string, abilities any) error {
	if now := abilitiesOf(abilities); !slices.Equal(before, now) {
		return fmt.Errorf("Abilities were %q and are %q; they must be the same for as long as the plugin is open", before, now)
	}
	return nil
}
