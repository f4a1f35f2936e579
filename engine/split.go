package engine

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

// split is a range under way. Its batches are handled in any order; its checkpoint advances in theirs.
type split struct {
	syncd.Split
	col   *collection
	after syncd.Offset // where an earlier run left off

	mu      sync.Mutex
	holds   int   // its reading, and its batches that are not yet accounted for
	scanned int64 // changes that the source yielded
	counts  tally.Counts

	next    int             // the number of the next batch that is read
	low     int             // all batches before this one are handled and in state
	waiting map[int]handled // handled, but one before them is not
	state   store.Split
	rest    tally.Counts  // handled documents that state does not hold yet, since no offset follows them
	changed chan struct{} // closed and made again whenever low or took advances
	sent    int           // batches before this one sent something
	took    int           // batches before this one were in order: see inOrder
	at      time.Time     // of a stream: when the last change that was handled was made
	current time.Time     // of a stream: when the source had nothing and everything was handled, last
	heard   time.Time     // of a stream: when the source last answered
	idle    bool          // of a stream: it had nothing then

	stop <-chan struct{} // closed: others are to go on with the split; nil never is
	gone func()          // is called when nothing of it is under way any more; nil: nobody asks
	left bool            // it was stopped
	// divide is that of Assigned; nil where nobody else would take a part. wanted asks the reader for it.
	divide func(ctx context.Context, whole store.Split, at syncd.Key) (store.Split, error)
	wanted atomic.Bool
	over   bool // gone was called: nothing more is kept; under keeping

	keeping chan struct{} // holds one while state is kept, so that a newer one is never replaced by an older one
	kept    int           // low as it was kept
	durable int           // likewise, so that a crash can't undo it
}

// newSplit makes a split of a collection's keys that continues from a state, perhaps its very beginning.
func newSplit(c *collection, s store.Split) *split {
	return continued(syncd.Split{Collection: c.rule.Collection, Index: s.Index, Lower: s.Lower, Upper: s.Upper}, c, s)
}

// newStream is newSplit of a stream.
func newStream(s Following) *split {
	c := &collection{kept: store.StreamOf(s.Name), before: -1}
	return continued(syncd.Split{Stream: &s.Stream}, c, s.State)
}

func continued(what syncd.Split, c *collection, s store.Split) *split {
	return &split{
		Split: what,
		col:   c, holds: 1, after: s.After, state: s, counts: s.Counts, scanned: s.Counts.Scanned,
		waiting: map[int]handled{}, changed: make(chan struct{}), keeping: make(chan struct{}, 1),
	}
}

// read notes a batch that the source yielded, numbers it, and holds the split until the batch is accounted for.
func (s *split) read(b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds++
	s.scanned += int64(len(b.changes))
	b.number = s.next
	s.next++
	s.heard, s.idle = b.read, len(b.changes) == 0
}

// unread takes back what read noted of the batch that was read last, which nobody took.
func (s *split) unread(b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds--
	s.scanned -= int64(len(b.changes))
	s.next--
}

// settled waits until everything that was read is handled.
func (s *split) settled(ctx context.Context) error {
	for {
		s.mu.Lock()
		all, changed := s.low == s.next, s.changed
		s.mu.Unlock()
		if all {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// account adds what became of a batch, handled or not.
func (s *split) account(n tally.Counts) {
	s.mu.Lock()
	s.counts.Add(n)
	s.mu.Unlock()
	s.col.account(n)
}

// turn waits until every batch before this one was handled.
func (s *split) turn(ctx context.Context, b *batch) error {
	return s.await(ctx, func() bool { return s.low == b.number })
}

// inOrder has the batches of the split take shares in their order.
func (s *split) inOrder(ctx context.Context, b *batch, take func() (share, error)) (share, error) {
	if err := s.await(ctx, func() bool { return s.took == b.number }); err != nil {
		return share{}, err
	}
	taken, err := take()
	if err == nil {
		s.mu.Lock()
		s.took++
		s.change()
		s.mu.Unlock()
	}
	return taken, err
}

// await waits for something that mu protects.
func (s *split) await(ctx context.Context, is func() bool) error {
	for {
		s.mu.Lock()
		first, changed := is(), s.changed
		s.mu.Unlock()
		if first {
			return nil
		}
		select {
		case <-changed:
		case <-s.stop:
			return errLeft
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// advance moves a state on by one batch. Documents without an offset behind them, which a resumed read would meet again, are
// left in rest: they count once there is one, or the split is done.
func advance(state *store.Split, h handled, rest *tally.Counts) {
	if len(state.Failures) < maxFailures {
		state.Failures = append(state.Failures[:len(state.Failures):len(state.Failures)], h.fails...)
	}
	if h.offset == "" {
		rest.Add(h.counts)
		return
	}
	state.After = h.offset
	state.Counts.Add(*rest)
	state.Counts.Add(h.counts)
	*rest = tally.Counts{}
}

// with is the state that the split will have once the batch, whose turn it is, is handled.
func (s *split) with(h handled) store.Split {
	s.mu.Lock()
	defer s.mu.Unlock()
	state, rest := s.state, s.rest
	advance(&state, h, &rest)
	return state
}

// handled notes that a batch was handled to its end. It returns how many batches the split advanced by.
func (s *split) handled(number int, h handled) (advanced int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[number] = h
	for {
		h, ok := s.waiting[s.low]
		if !ok {
			break
		}
		delete(s.waiting, s.low)
		advance(&s.state, h, &s.rest)
		s.low++
		advanced++
		if !h.at.IsZero() {
			s.at = h.at
		}
		if !h.idle.IsZero() {
			s.current = h.idle
		}
		if h.counts.Emitted+h.counts.DeadLettered > 0 {
			s.sent = s.low
		}
	}
	if advanced > 0 {
		s.change()
	}
	return advanced
}

// change wakes those that wait for something. The caller holds mu.
func (s *split) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// release ends one hold and reports whether it was the last, with the state of the split that is done. It must have handled
// what was read.
func (s *split) release() (done bool, state store.Split, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holds--; s.holds > 0 || s.left {
		return false, state, nil
	}
	problem := s.counts.Problem()
	if problem == "" && s.scanned != s.counts.Scanned {
		problem = fmt.Sprintf("the source gave %d documents, but %d were handled", s.scanned, s.counts.Scanned)
	}
	s.state.Counts.Add(s.rest)
	s.rest, s.state.Done = tally.Counts{}, true
	if problem == "" && s.state.Counts != s.counts {
		problem = fmt.Sprintf("%d documents were handled, but %d are kept as handled", s.counts.Scanned, s.state.Counts.Scanned)
	}
	if problem != "" {
		return true, state, &tally.CoverageError{Collection: s.Collection.Name, Problem: fmt.Sprintf("split %d: %s", s.Index, problem)}
	}
	s.col.splitDone()
	return true, s.state, nil
}
