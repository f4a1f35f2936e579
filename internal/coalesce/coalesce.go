// Package coalesce has questions of many callers asked together: for a server, one question about many things is little more than
// one about one.
package coalesce

import (
	"context"
	"sync"
)

// Questions asks one question at a time, about all keys that callers have come with since the last one was asked. So a caller who is
// alone does not wait, and an answer is never older than the call. It is safe for concurrent use.
type Questions[K comparable, V any] struct {
	ask  func(ctx context.Context, keys []K) ([]V, error)
	turn chan struct{} // has room for who asks

	mu   sync.Mutex
	next *question[K, V] // which callers join; nil if the next caller begins one
}

// question is one question about some keys.
type question[K comparable, V any] struct {
	keys []K
	at   map[K]int

	answered chan struct{} // closed when the fields below are set
	answers  []V
	err      error
	left     bool // whoever was to ask it was called off
}

// New returns Questions that are asked by ask, whose answers are aligned with the keys, all different; an error is that of all keys.
func New[K comparable, V any](ask func(ctx context.Context, keys []K) ([]V, error)) *Questions[K, V] {
	return &Questions[K, V]{ask: ask, turn: make(chan struct{}, 1)}
}

// Ask returns the answer for a key. Whoever comes first asks for all that join, in its context; where that ends, the others ask anew.
func (q *Questions[K, V]) Ask(ctx context.Context, key K) (answer V, err error) {
	for {
		joined, at, first := q.join(key)
		if first {
			q.lead(ctx, joined)
		}
		select {
		case <-joined.answered:
		case <-ctx.Done():
			return answer, ctx.Err()
		}
		switch {
		case joined.left && ctx.Err() == nil:
		case joined.err != nil:
			return answer, joined.err
		default:
			return joined.answers[at], nil
		}
	}
}

// join adds a key to the next question. first is whoever must ask it.
func (q *Questions[K, V]) join(key K) (joined *question[K, V], at int, first bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if first = q.next == nil; first {
		q.next = &question[K, V]{at: map[K]int{}, answered: make(chan struct{})}
	}
	joined = q.next
	at, known := joined.at[key]
	if !known {
		at = len(joined.keys)
		joined.at[key] = at
		joined.keys = append(joined.keys, key)
	}
	return joined, at, first
}

// lead asks a question when the one before it is answered; until then callers join.
func (q *Questions[K, V]) lead(ctx context.Context, own *question[K, V]) {
	defer close(own.answered)
	select {
	case q.turn <- struct{}{}:
		defer func() { <-q.turn }()
	case <-ctx.Done():
	}
	q.mu.Lock()
	q.next = nil
	q.mu.Unlock()
	if own.err = ctx.Err(); own.err == nil {
		own.err = errNoAnswer // should ask panic
		own.answers, own.err = q.ask(ctx, own.keys)
	}
	own.left = own.err != nil && ctx.Err() != nil
}
