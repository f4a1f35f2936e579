package engine

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/panics"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/store"
)

// askedAtOnce is how many collections are asked about at once, while splits are handed out: a source may ask its server about many in one
// question.
const askedAtOnce = 64

// An answer is old when more documents than staleAfter were handed out since; those of a collection that can't be counted are taken to be
// uncounted.
const (
	staleAfter = 1_000_000
	uncounted  = staleAfter / 8
)

// planner hands out the splits of a feed's collections, in configuration order.
type planner struct {
	e    *Engine
	feed *feed
	out  chan<- *split
	// give takes the splits in place of out; nil where there is out.
	give func(ctx context.Context, c *collection, s store.Split) error
	// carry is told of kept splits before any of them is given; nil where give is.
	carry     func(c *collection, splits []store.Split)
	documents atomic.Int64 // of the collections that were handed out
	names     []string     // the collections that the source has, asked for when one is not there; nil: not asked
}

// run plans all collections, one after another, so that the first are done first, and it is the error of the first that ends the run.
// What the source knows by heart it is asked about many side by side, ahead of their turn, and again where that was long ago. reading ends
// with the drain, and with ctx; ctx alone bounds what is told to the store, since a checkpoint that is cut off may be kept or not, and a
// store that can't tell keeps nothing more.
func (p *planner) run(ctx, reading context.Context) error {
	var asking sync.WaitGroup
	defer asking.Wait()
	reading, stop := context.WithCancel(reading)
	defer stop()
	// ask puts the answers into channels with room for one each, and returns when all are there.
	ask := func(collections []*collection, answers []chan asked) {
		var group sync.WaitGroup
		for i, c := range collections {
			group.Go(func() {
				a := asked{at: p.documents.Load()}
				if err := panics.Caught(func() error { p.ask(reading, c, &a); return nil })(); err != nil {
					a.err = err
				}
				c.foretell(&a)
				answers[i] <- a
			})
		}
		group.Wait()
	}
	all := p.feed.collections
	first := channels(len(all))
	asking.Go(func() { // about all, so that the total is known early
		for from := 0; from < len(all) && reading.Err() == nil; from += askedAtOnce {
			to := min(from+askedAtOnce, len(all))
			ask(all[from:to], first[from:to])
		}
	})
	answers := slices.Clone(first) // an answer that is old gives way
	for i, c := range all {
		a, err := p.answer(reading, answers[i])
		if err != nil {
			return err
		}
		// Large collections in front of this one take their time, in which what was counted comes and goes.
		if p.documents.Load()-a.at > staleAfter {
			to := min(i-i%askedAtOnce+askedAtOnce, len(all))
			again := channels(to - i)
			copy(answers[i:to], again)
			asking.Go(func() { ask(all[i:to], again) })
			if a, err = p.answer(reading, answers[i]); err != nil {
				return err
			}
		}
		if err := p.collection(ctx, reading, c, a); err != nil {
			return err
		}
	}
	return nil
}

// answer waits for what the source says of a collection.
func (p *planner) answer(reading context.Context, from <-chan asked) (asked, error) {
	select {
	case a := <-from:
		return a, nil
	case <-reading.Done():
		return asked{}, reading.Err()
	}
}

func channels(n int) []chan asked {
	answers := make([]chan asked, n)
	for i := range answers {
		answers[i] = make(chan asked, 1)
	}
	return answers
}

// collection plans one collection.
func (p *planner) collection(ctx, reading context.Context, c *collection, a asked) error {
	c.begin()
	if err := p.plan(ctx, reading, c, a); err != nil {
		return err
	}
	n := c.progress().Before
	if n < 0 {
		n = uncounted
	}
	p.documents.Add(n)
	return p.e.releaseCollection(ctx, c)
}

// asked is what the source says of a collection ahead of its turn.
type asked struct {
	at       int64             // documents of the collections that were handed out when it was asked
	identity string            // "" where the source can't tell
	resumed  *store.Collection // what is kept of it, to take up; nil plans it anew
	anew     func()            // says why what is kept is not taken up; nil if there is nothing to say
	before   int64             // documents, if known
	known    bool
	err      error
}

// ask asks about a collection what can be told at once.
func (p *planner) ask(ctx context.Context, c *collection, a *asked) {
	can, name := p.feed.source.Abilities(), c.rule.Collection.Name
	if p.e.Checkpoints != nil {
		if can.Identity != nil {
			a.identity, a.err = can.Identity(ctx, c.rule.Collection)
		}
		switch {
		case errors.Is(a.err, syncd.ErrCollectionNotFound): // the count will meet it, too
		case a.err != nil:
			a.err = text.Doing(a.err, "identifying collection %s", name)
			return
		default:
			if a.resumed, a.anew, a.err = p.resumable(c, a.identity); a.resumed != nil || a.err != nil {
				return
			}
		}
	}
	a.err = nil
	if can.Estimate != nil {
		a.before, a.known, a.err = can.Estimate(ctx, c.rule.Collection)
		if a.err != nil && !errors.Is(a.err, syncd.ErrCollectionNotFound) {
			a.err = text.Doing(a.err, "counting collection %s", name)
		}
	}
}

// plan hands out the splits of one collection.
func (p *planner) plan(ctx, reading context.Context, c *collection, a asked) error {
	c.identity = a.identity
	if a.anew != nil {
		a.anew()
	}
	switch {
	case errors.Is(a.err, syncd.ErrCollectionNotFound):
		return p.notFound(ctx, c, a.err)
	case a.err != nil:
		return a.err
	case a.resumed != nil:
		return p.resume(ctx, reading, c, a.resumed)
	}
	n, err := p.countBefore(reading, c, a)
	switch {
	case errors.Is(err, syncd.ErrCollectionNotFound):
		return p.notFound(ctx, c, err)
	case err != nil:
		return text.Doing(err, "counting collection %s", c.rule.Collection.Name)
	}
	if c.absent {
		return p.notFound(ctx, c, errors.New("it appeared after the run had begun; the next run reads it"))
	}
	c.setFound(true, n)
	p.e.compare(c, n)
	if err := p.start(ctx, c); err != nil {
		return err
	}
	for s, err := range p.feed.source.Splits(reading, c.rule.Collection) {
		switch {
		case errors.Is(err, syncd.ErrCollectionNotFound):
			return p.notFound(ctx, c, err)
		case err != nil:
			return text.Doing(err, "splitting collection %s", c.rule.Collection.Name)
		}
		if err := p.begin(ctx, reading, c, store.Split{Index: s.Index, Lower: s.Lower, Upper: s.Upper}); err != nil {
			return err
		}
	}
	if err := reading.Err(); err != nil {
		return err // a source may end quietly when its context does, and then there are more splits
	}
	return p.planned(ctx, c)
}

// start keeps that a collection is begun, from its start.
func (p *planner) start(ctx context.Context, c *collection) error {
	if p.e.Checkpoints == nil {
		return nil
	}
	return keeping(p.e.Checkpoints.Collection(ctx, c.kept, c.state(false, false), true))
}

// countBefore is how many documents a collection holds before it is read, so that one inserted meanwhile can't make the proof fail: what
// was told at once where that was possible, since nothing is sent before it is done. An estimate that is too high costs an exact count
// afterwards; one that is too low makes that proof weaker, not wrong. It is -1 if the source can't count.
func (p *planner) countBefore(ctx context.Context, c *collection, a asked) (int64, error) {
	if a.known {
		return a.before, nil
	}
	if count := p.feed.source.Abilities().Count; count != nil {
		return count(ctx, c.rule.Collection)
	}
	return -1, nil
}

func (p *planner) notFound(ctx context.Context, c *collection, why error) error {
	c.setFound(false, 0)
	if err := p.start(ctx, c); err != nil {
		return err
	}
	name, hint := c.rule.Collection.Name, []any(nil)
	if list := p.feed.source.Abilities().Collections; list != nil && p.names == nil {
		names, _ := list(ctx) // a login may be allowed to read and not to list
		p.names = append([]string{}, names...)
	}
	if near := spec.Nearest(name, p.names); near != "" && near != name {
		hint = []any{"hint", "did you mean " + strconv.Quote(near) + "?"}
	}
	p.e.Logger.Warn("the source has no such collection: it counts as empty; check its spelling, upper and lower case count",
		append([]any{"collection", name, "reason", why.Error()}, hint...)...)
	return nil
}

// resumable returns what is kept of a collection if it can be taken up; nil means from the start, and anew says why, if that is not as
// expected. What is kept may no longer mean the same.
func (p *planner) resumable(c *collection, identity string) (s *store.Collection, anew func(), err error) {
	name := c.rule.Collection.Name
	s = p.e.Checkpoints.Recall(c.kept)
	warn := func(message string, more ...any) func() {
		return func() { p.e.Logger.Warn(message, append([]any{"collection", name}, more...)...) }
	}
	switch {
	case s == nil:
		return nil, nil, nil
	case s.Rule != c.fingerprint:
		return nil, warn("the collection's mapping changed since the interrupted run: it is read from its start"), nil
	case s.Identity != identity:
		return nil, warn("the collection was made anew since the interrupted run: it is read from its start"), nil
	case differ(s.Sunk, c.sunk):
		return nil, warn("the place of the collection's events was made anew since the interrupted run, and what was sent there is gone: the collection is read from its start",
			"place", p.e.placeOf(c)), nil
	}
	if err := s.Check(name); err != nil || p.e.forgetful {
		return nil, nil, err
	}
	return s, nil, nil
}

// resume takes up a collection where an earlier run left it.
func (p *planner) resume(ctx, reading context.Context, c *collection, s *store.Collection) error {
	c.setFound(s.Found, s.Before)
	p.e.compare(c, s.Before)
	c.carry(s.Splits)
	if p.carry != nil {
		p.carry(c, s.Splits)
	}
	if s.Complete {
		c.proved = true
		return nil
	}
	for _, kept := range s.Splits {
		if kept.Done {
			continue
		}
		if err := p.hand(reading, c, kept); err != nil {
			return err
		}
	}
	if s.Planned {
		return nil
	}
	// The run ended while the collection was planned. A new plan would have other bounds: the rest is one split.
	n, end := s.Made()
	rest := store.Split{Index: n, Lower: end}
	if n == 0 || rest.Lower != "" {
		if err := p.begin(ctx, reading, c, rest); err != nil {
			return err
		}
	}
	return p.planned(ctx, c)
}

// begin keeps a new split and hands it out. Where checkpoints are part of the sink's transactions, the split must be kept
// before anything of it is committed.
func (p *planner) begin(ctx, reading context.Context, c *collection, s store.Split) error {
	if p.e.Checkpoints != nil {
		if err := p.e.Checkpoints.Split(ctx, c.kept, s, p.e.committer != nil); err != nil {
			return keeping(err)
		}
	}
	return p.hand(reading, c, s)
}

// hand gives a split to whichever reader is free.
func (p *planner) hand(reading context.Context, c *collection, s store.Split) error {
	if p.give != nil {
		return p.give(reading, c, s)
	}
	c.addSplit()
	select {
	case p.out <- newSplit(c, s):
		return nil
	case <-reading.Done():
		return reading.Err()
	}
}

// planned keeps that all splits of a collection are known.
func (p *planner) planned(ctx context.Context, c *collection) error {
	if p.e.Checkpoints == nil {
		return nil
	}
	return keeping(p.e.Checkpoints.Collection(ctx, c.kept, c.state(true, false), false))
}
