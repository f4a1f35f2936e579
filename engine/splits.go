package engine

import (
	"context"
	"errors"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/store"
)

// planner hands out the splits of a feed's collections, in configuration order.
type planner struct {
	e    *Engine
	feed *feed
	out  chan<- *split
}

// run plans all collections. reading ends with the drain, and with ctx; ctx alone bounds what is told to the store, since a
// checkpoint that is cut off may be kept or not, and a store that can't tell keeps nothing more.
func (p *planner) run(ctx, reading context.Context) error {
	for _, c := range p.feed.collections {
		c.begin()
		if err := p.collection(ctx, reading, c); err != nil {
			return err
		}
		if err := p.e.releaseCollection(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// collection hands out the splits of one collection. The count comes first, so that a document inserted during the reading
// can't make the proof fail.
func (p *planner) collection(ctx, reading context.Context, c *collection) error {
	name := c.rule.Collection.Name
	if resumed, err := p.resume(ctx, reading, c); resumed || err != nil {
		return err
	}
	n, err := p.countBefore(reading, c)
	switch {
	case errors.Is(err, syncd.ErrCollectionNotFound):
		return p.notFound(ctx, c, err)
	case err != nil:
		return text.Doing(err, "counting collection %s", name)
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
			return text.Doing(err, "splitting collection %s", name)
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

// countBefore counts a collection before it is read: at once where the source can, since nothing is sent before it is done. An
// estimate that is too high costs an exact count afterwards; one that is too low makes that proof weaker, not wrong.
// It is -1 if the source can't count.
func (p *planner) countBefore(ctx context.Context, c *collection) (int64, error) {
	can := p.feed.source.Abilities()
	if can.Estimate != nil {
		if n, known, err := can.Estimate(ctx, c.rule.Collection); known || err != nil {
			return n, err
		}
	}
	if can.Count != nil {
		return can.Count(ctx, c.rule.Collection)
	}
	return -1, nil
}

func (p *planner) notFound(ctx context.Context, c *collection, why error) error {
	c.setFound(false, 0)
	if err := p.start(ctx, c); err != nil {
		return err
	}
	p.e.Logger.Warn("the source has no such collection: it counts as empty; check its spelling, upper and lower case count",
		"collection", c.rule.Collection.Name, "reason", why.Error())
	return nil
}

// resume takes up a collection where an earlier run left it. ok is false where there is nothing to take up, or what is kept
// no longer means the same; then the collection is read from its start.
func (p *planner) resume(ctx, reading context.Context, c *collection) (ok bool, err error) {
	if p.e.Checkpoints == nil {
		return false, nil
	}
	name := c.rule.Collection.Name
	if identity := p.feed.source.Abilities().Identity; identity != nil {
		c.identity, err = identity(reading, c.rule.Collection)
		if errors.Is(err, syncd.ErrCollectionNotFound) {
			return false, nil // the count will meet it, too
		}
		if err != nil {
			return false, text.Doing(err, "identifying collection %s", name)
		}
	}
	s := p.e.Checkpoints.Recall(c.kept)
	switch {
	case s == nil:
		return false, nil
	case s.Rule != c.rule.Fingerprint():
		p.e.Logger.Warn("the collection's mapping changed since the interrupted run: it is read from its start", "collection", name)
		return false, nil
	case s.Identity != c.identity:
		p.e.Logger.Warn("the collection was made anew since the interrupted run: it is read from its start", "collection", name)
		return false, nil
	case differ(s.Sunk, c.sunk):
		p.e.Logger.Warn("the place of the collection's events was made anew since the interrupted run, and what was sent there is gone: the collection is read from its start",
			"collection", name, "place", p.e.placeOf(c))
		return false, nil
	}
	if err := s.Check(name); err != nil {
		return false, err
	}
	if p.e.forgetful {
		return false, nil
	}
	c.setFound(s.Found, s.Before)
	p.e.compare(c, s.Before)
	c.carry(s.Splits)
	if s.Complete {
		c.proved = true
		return true, nil
	}
	for _, kept := range s.Splits {
		if kept.Done {
			continue
		}
		if err := p.hand(reading, c, kept); err != nil {
			return true, err
		}
	}
	if s.Planned {
		return true, nil
	}
	// The run ended while the collection was planned. A new plan would have other bounds: the rest is one split.
	rest := store.Split{Index: len(s.Splits)}
	if n := len(s.Splits); n > 0 {
		rest.Lower = s.Splits[n-1].Upper
	}
	if len(s.Splits) == 0 || rest.Lower != "" {
		if err := p.begin(ctx, reading, c, rest); err != nil {
			return true, err
		}
	}
	return true, p.planned(ctx, c)
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
