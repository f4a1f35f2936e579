package mongo

import (
	"context"
	"iter"
	"sync"
)

// prefetch yields what next returns, until next says that no more follows. While one value is handled, next is called for one
// more, by a goroutine that has ended when the sequence has; so there are at most two values. next is given a context that
// ends with ctx and when the sequence is left early: a request under way is cut off rather than waited for. A value that
// comes with an error is yielded before the error. Where ahead says no after a value, the next one waits until that was handled.
func prefetch[T any](ctx context.Context, next func(context.Context) (value T, more bool, err error), ahead func() bool) iter.Seq2[T, error] {
	type result struct {
		value T
		err   error
		alone bool
	}
	return func(yield func(T, error) bool) {
		asking, stop := context.WithCancel(ctx)
		results, handled := make(chan result), make(chan struct{})
		var asker sync.WaitGroup
		asker.Go(func() {
			defer close(results)
			for more := true; more; {
				var r result
				r.value, more, r.err = next(asking)
				more = more && r.err == nil
				r.alone = more && !ahead()
				select {
				case results <- r:
				case <-asking.Done():
					return
				}
				if r = (result{alone: r.alone}); r.alone {
					select {
					case <-handled:
					case <-asking.Done():
						return
					}
				}
			}
		})
		defer asker.Wait()
		defer stop()
		var none T
		for r := range results {
			if !yield(r.value, nil) {
				return
			}
			if r.err != nil {
				yield(none, r.err)
				return
			}
			if r.alone {
				r.value = none // so that it can be freed
				select {
				case handled <- struct{}{}:
				case <-asking.Done():
				}
			}
		}
		if err := ctx.Err(); err != nil { // what was asked for may not have been handed over
			yield(none, err)
		}
	}
}
