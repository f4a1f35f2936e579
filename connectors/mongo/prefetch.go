package mongo

import (
	"context"
	"iter"
	"runtime/debug"
	"sync"

	"github.com/syncd-io/syncd/internal/panics"
)

// prefetch yields what next returns, until next says that no more follows. While one value is handled, next is called for one
// more, by a goroutine that has ended when the sequence has; so there are at most two values. Nothing can be handled before the first
// value is there, so that is asked for in place, and where no more follow there is no goroutine. next is given a context that
// ends with ctx and when the sequence is left early: a request under way is cut off rather than waited for. A value that
// comes with an error is yielded before the error. Where ahead says no after a value, the next one waits until that was handled.
func prefetch[T any](ctx context.Context, next func(context.Context) (value T, more bool, err error), ahead func() bool) iter.Seq2[T, error] {
	type result struct {
		value T
		err   error
		more  bool
		alone bool
	}
	ask := func(ctx context.Context) (r result) {
		r.value, r.more, r.err = next(ctx)
		r.more = r.more && r.err == nil
		r.alone = r.more && !ahead()
		return r
	}
	askBeside := func(ctx context.Context) (r result) {
		defer func() {
			if value := recover(); value != nil { // it would end the process, and with it other jobs
				r = result{err: &panics.Error{Value: value, Stack: debug.Stack()}}
			}
		}()
		return ask(ctx)
	}
	var none T
	// askOn sends results, the first of which is r.
	askOn := func(ctx context.Context, r result, results chan<- result, handled <-chan struct{}) {
		defer close(results)
		for {
			select {
			case results <- r:
			case <-ctx.Done():
				return
			}
			more, alone := r.more, r.alone
			r.value = none // so that it can be freed
			if !more {
				return
			}
			if alone {
				select {
				case <-handled:
				case <-ctx.Done():
					return
				}
			}
			r = askBeside(ctx)
		}
	}
	return func(yield func(T, error) bool) {
		give := func(r result) (on bool) {
			if on = yield(r.value, nil); on && r.err != nil {
				yield(none, r.err)
				on = false
			}
			return on
		}
		over := func() {
			if err := ctx.Err(); err != nil { // what was asked for may not have been handed over
				yield(none, err)
			}
		}
		first := ask(ctx)
		if !first.more {
			if give(first) {
				over()
			}
			return
		}
		asking, stop := context.WithCancel(ctx)
		results, handled := make(chan result), make(chan struct{})
		var asker sync.WaitGroup
		asker.Go(func() {
			r := first
			first = result{} // this function lives as long as the goroutine
			askOn(asking, r, results, handled)
		})
		defer asker.Wait()
		defer stop()
		for r := range results {
			alone := r.alone
			if !give(r) {
				return
			}
			r.value = none // so that it can be freed
			if alone {
				select {
				case handled <- struct{}{}:
				case <-asking.Done():
				}
			}
		}
		over()
	}
}
