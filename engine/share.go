package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/panics"
	"github.com/syncd-io/syncd/internal/wait"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

// Assigned is a split that this process is to work on, in a run that another process may have planned.
type Assigned struct {
	Collection string
	Kept       store.Collection // without splits
	State      store.Split
	Stop       <-chan struct{} // closed: leave it, with its state kept as far as it has come; never nil
	Gone       func()          // is called when nothing of it is under way any more and its state is durable, be it done or left
	// Divide keeps that whole ends at a key from now on, and that what was behind is a split of its own, for whoever has time. It returns
	// whole as it is then.
	Divide func(ctx context.Context, whole store.Split, at syncd.Key) (store.Split, error)
}

// Work works on splits until the channel is closed, ctx ends, or an error does. It proves each split, and leaves it to others to prove
// collections. Prepare must have been called.
func (e *Engine) Work(ctx context.Context, splits <-chan Assigned) error {
	f := e.snapshot(&e.documents)
	collections := map[string]*collection{}
	for _, c := range f.collections {
		collections[c.kept] = c
		c.begin() // and never released: that is the leader's
	}
	f.plan = func(_, reading context.Context, out chan<- *split) error {
		for {
			select {
			case a, open := <-splits:
				if !open {
					return nil
				}
				c := collections[a.Collection]
				if c == nil {
					return fmt.Errorf("working on collection %s: it is not in this configuration", a.Collection)
				}
				c.setFound(a.Kept.Found, a.Kept.Before)
				c.addSplit()
				s := newSplit(c, a.State)
				s.stop, s.gone, s.divide = a.Stop, a.Gone, a.Divide
				e.under.add(s)
				select {
				case out <- s:
				case <-reading.Done():
					return reading.Err()
				}
			case <-reading.Done():
				return reading.Err()
			}
		}
	}
	return e.run(ctx, f)
}

// under are the splits under way that may be divided.
type under struct {
	mu     sync.Mutex
	splits map[*split]bool
}

func (u *under) add(s *split) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.splits == nil {
		u.splits = map[*split]bool{}
	}
	u.splits[s] = true
}

func (u *under) remove(s *split) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.splits, s)
}

// Divide has the split under way of which least is done divided, since others have nothing to do. It is safe for concurrent use.
func (e *Engine) Divide() {
	if e.Source.Abilities().Divide == nil {
		return
	}
	e.under.mu.Lock()
	defer e.under.mu.Unlock()
	var least *split
	var done int64
	for s := range e.under.splits {
		s.mu.Lock()
		n := s.scanned
		s.mu.Unlock()
		if least == nil || n < done {
			least, done = s, n
		}
	}
	if least != nil {
		least.wanted.Store(true)
	}
}

// divided divides a split behind an offset, before which the reader has read all. That it can't be is no error: another moment will do.
func (r *reader) divided(ctx context.Context, s *split, after syncd.Offset) error {
	at, err := r.feed.source.Abilities().Divide(ctx, s.Split, after)
	if err != nil || at == "" {
		return ctx.Err()
	}
	s.keeping <- struct{}{}
	defer func() { <-s.keeping }()
	s.mu.Lock()
	state := s.state
	s.mu.Unlock()
	whole, err := s.divide(ctx, state, at)
	if err != nil {
		return keeping(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Upper, s.state.Divided = whole.Upper, whole.Divided
	s.Upper = whole.Upper
	return nil
}

// errLeft says that a split is to be left to others.
var errLeft = errors.New("the split is others' by now")

// stopped reports whether others are to go on with the split.
func (s *split) stopped() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// isLeft reports whether the split was stopped, and nothing of it is under way any more.
func (s *split) isLeft() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left && s.holds == 0
}

// leave gives up a hold on a split that others go on with.
func (e *Engine) leave(ctx context.Context, s *split) error {
	s.mu.Lock()
	s.left = true
	s.mu.Unlock()
	return e.release(ctx, s)
}

// ended has what is kept of a split kept once more where it was left, and says that nothing of it is under way.
func (e *Engine) ended(ctx context.Context, s *split, left bool) error {
	var err error
	if left {
		s.mu.Lock()
		unpassed := s.next - s.low
		s.mu.Unlock()
		err = keeping(s.keep(ctx, e.Checkpoints, true))
		for range unpassed {
			<-e.inFlight
		}
	}
	if s.gone != nil {
		e.under.remove(s)
		s.keeping <- struct{}{}
		s.over = true
		<-s.keeping
		s.gone()
	}
	return err
}

// sharing is what a run knows of splits that others work on.
type sharing struct {
	e *Engine

	mu     sync.Mutex
	splits map[string]map[int]*sharedSplit // by collection
}

// sharedSplit is one of them. latest is what was last told of it; counts and failures are what of that is in its collection.
type sharedSplit struct {
	handed, done bool
	latest       *store.Split
	counts       tally.Counts
	failures     int
}

// share is Backfill for a run whose splits others work on.
func (e *Engine) share(ctx context.Context) error {
	f := &e.documents
	s := &sharing{e: e, splits: map[string]map[int]*sharedSplit{}}
	ctx, stop := wait.Drained(ctx, e.Drain)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	following, end := context.WithCancel(ctx)
	defer end()
	collections := map[string]*collection{}
	for _, c := range f.collections {
		collections[c.kept] = c
		s.splits[c.kept] = map[int]*sharedSplit{}
	}
	g.Go(panics.Caught(func() error {
		p := planner{e: e, feed: f, carry: s.carry, give: func(_ context.Context, c *collection, kept store.Split) error { return s.hand(ctx, c, kept) }}
		if err := p.run(ctx, ctx); err != nil {
			return err
		}
		for _, c := range f.collections {
			if err := c.awaitClosed(ctx); err != nil {
				return err
			}
		}
		end()
		return nil
	}))
	g.Go(panics.Caught(func() error {
		err := e.Shared(following, e.RunID, func(collection string, state store.Split) error {
			if c := collections[collection]; c != nil {
				return s.moved(ctx, c, state)
			}
			return nil
		})
		if following.Err() != nil && errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	}))
	err := g.Wait()
	if isClosed(e.Drain) && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// of returns what is known of a split. The caller holds mu.
func (s *sharing) of(c *collection, index int) *sharedSplit {
	all := s.splits[c.kept]
	if all[index] == nil {
		all[index] = &sharedSplit{}
	}
	return all[index]
}

// carry takes over what is kept of a collection's splits, which its counts have already.
func (s *sharing) carry(c *collection, splits []store.Split) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, kept := range splits {
		sp := s.of(c, kept.Index)
		sp.handed, sp.done, sp.counts, sp.failures = true, kept.Done, kept.Counts, len(kept.Failures)
		if !kept.Done {
			c.addSplit()
		}
	}
}

// hand holds a collection for a split.
func (s *sharing) hand(ctx context.Context, c *collection, kept store.Split) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.of(c, kept.Index)
	if !sp.handed {
		c.addSplit()
		sp.handed = true
	}
	if sp.latest == nil {
		return nil
	}
	return s.apply(ctx, c, sp)
}

// moved takes in how far a split is. One that nobody was handed is not of this run, or will be handed.
func (s *sharing) moved(ctx context.Context, c *collection, state store.Split) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.of(c, state.Index)
	sp.latest = &state
	if !sp.handed {
		return nil
	}
	return s.apply(ctx, c, sp)
}

// apply adds to a collection what is new of a split. The caller holds mu.
func (s *sharing) apply(ctx context.Context, c *collection, sp *sharedSplit) error {
	if sp.done {
		return nil
	}
	state := sp.latest
	for _, index := range state.Divided {
		part := s.of(c, index)
		if part.handed {
			continue
		}
		part.handed = true
		c.addSplit()
		if part.latest != nil {
			if err := s.apply(ctx, c, part); err != nil {
				return err
			}
		}
	}
	more := state.Counts
	more.Sub(sp.counts)
	sp.counts = state.Counts
	c.account(more)
	s.e.events.sent.Add(more.Emitted)
	for _, f := range state.Failures[min(sp.failures, len(state.Failures)):] {
		c.fail(f)
		if told := s.e.Hooks.Failed; told != nil {
			told(c.rule.Collection.Name, f)
		}
	}
	sp.failures = len(state.Failures)
	s.e.activity.move()
	if n := s.e.failures.seen.Add(more.Failed()); s.e.failures.max > 0 && n > s.e.failures.max {
		return tooManyFailed(s.e.failures.max)
	}
	if s.e.Guard != nil {
		if err := s.e.Guard(c.rule, c.snapshot()); err != nil {
			return err
		}
	}
	if !state.Done {
		return nil
	}
	sp.done = true
	if problem := state.Counts.Problem(); problem != "" {
		return &tally.CoverageError{Collection: c.rule.Collection.Name, Problem: fmt.Sprintf("split %d: %s", state.Index, problem)}
	}
	c.splitDone()
	return s.e.releaseCollection(ctx, c)
}
