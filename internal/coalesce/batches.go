package coalesce

import (
	"context"
	"errors"
	"sync"
)

// Batches asks about the batches of many callers together, as Questions does about keys, and each batch as a whole: while one question
// is under way, batches join the next one, which is asked when the one before it is answered, or at once when the next batch would not
// fit into it. So a caller who is alone does not wait, no caller waits for more than one question before his own, and an answer is
// never older than the call. It is safe for concurrent use.
type Batches[K, V any] struct {
	ask  func(ctx context.Context, keys []K, answers []V) error
	turn chan struct{} // has room for who asks

	mu   sync.Mutex
	next *joint[K, V] // which batches join; nil if the next one begins one
	used []K          // memory of keys that were asked about
}

// joint is one question about some batches.
type joint[K, V any] struct {
	keys []K
	full chan struct{} // closed when nothing joins any more, since there is no room

	answered chan struct{} // closed when the fields below are set
	answers  []V           // aligned with keys
	err      error
	left     bool // whoever was to ask it was called off
}

// NewBatches returns Batches that are asked by ask, which sets answers[i] for keys[i]; an error is that of all batches. The slices
// are not the callers'.
func NewBatches[K, V any](ask func(ctx context.Context, keys []K, answers []V) error) *Batches[K, V] {
	return &Batches[K, V]{ask: ask, turn: make(chan struct{}, 1)}
}

// Ask sets answers[i] for keys[i], in a question about at most so many keys, unless the batch alone has more. Whoever comes first
// asks for all that join, in its context; where that ends, the others ask anew. The slices are the caller's again when it returns.
func (b *Batches[K, V]) Ask(ctx context.Context, keys []K, answers []V, most int) error {
	for {
		joined, at, first := b.join(keys, most)
		if first {
			b.lead(ctx, joined)
		}
		select {
		case <-joined.answered:
		case <-ctx.Done():
			return ctx.Err()
		}
		switch {
		case joined.left && ctx.Err() == nil:
		case joined.err != nil:
			return joined.err
		default:
			copy(answers, joined.answers[at:])
			return nil
		}
	}
}

var errNoAnswer = errors.New("whoever asked ended without an answer")

// join adds a batch to the next question. first is whoever must ask it.
func (b *Batches[K, V]) join(keys []K, most int) (joined *joint[K, V], at int, first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next != nil && len(b.next.keys)+len(keys) > most {
		close(b.next.full)
		b.next = nil
	}
	if first = b.next == nil; first {
		b.next = &joint[K, V]{keys: b.used[:0], full: make(chan struct{}), answered: make(chan struct{})}
		b.used = nil
	}
	joined = b.next
	at = len(joined.keys)
	joined.keys = append(joined.keys, keys...)
	return joined, at, first
}

// lead asks a question when it is its turn, or when it is full; until then batches join.
func (b *Batches[K, V]) lead(ctx context.Context, own *joint[K, V]) {
	defer close(own.answered)
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-own.full:
	case <-ctx.Done():
	}
	b.mu.Lock()
	if b.next == own {
		b.next = nil
	}
	b.mu.Unlock()
	if own.err = ctx.Err(); own.err == nil {
		own.err = errNoAnswer // should ask panic
		own.answers = make([]V, len(own.keys))
		own.err = b.ask(ctx, own.keys, own.answers)
	}
	own.left = own.err != nil && ctx.Err() != nil
	b.mu.Lock()
	b.used, own.keys = own.keys, nil
	b.mu.Unlock()
}
