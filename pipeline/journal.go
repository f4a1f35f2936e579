package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/syncd-io/syncd"
)

// Journal keeps how far a run came, so that the next one can go on there. It is safe for concurrent use. What it is told of
// a split is never ahead of what the sink confirmed; it may be behind, and then the documents between are looked at again.
type Journal interface {
	// Recall returns what was kept of a collection by the run that is resumed, or nil.
	Recall(collection string) *CollectionState
	// Collection keeps the state of a collection, but for its splits; it forgets them if the state is a new one.
	Collection(name string, s CollectionState, begin bool) error
	// Split keeps the state of a split. It returns only when a crash can't undo it, if durable, nor what came before it, of
	// whatever split or collection; else soon after is enough. A split's states come one after another.
	Split(collection string, s SplitState, durable bool) error
}

// CollectionState is how far a run came with a collection.
type CollectionState struct {
	Identity string       `json:"identity"` // of the collection when its splits were made, as syncd.Identifier gives it
	Found    bool         `json:"found"`
	Before   int64        `json:"before"`   // documents before the scan; -1 if the source can't count
	Planned  bool         `json:"planned"`  // all splits are known
	Complete bool         `json:"complete"` // read to its end, and proved
	Splits   []SplitState `json:"splits,omitempty"`
}

// SplitState is how far a run came with a split: everything up to and with After was handled, as Counts says.
type SplitState struct {
	Index    int
	Lower    syncd.Key
	Upper    syncd.Key
	After    syncd.Key // "" is before the first
	Done     bool
	Counts   Counts
	Failures []Failure // the first of them
}

// storedSplit is a split's state as it is kept: keys are bytes, not text.
type storedSplit struct {
	Index    int       `json:"index"`
	Lower    []byte    `json:"lower,omitempty"`
	Upper    []byte    `json:"upper,omitempty"`
	After    []byte    `json:"after,omitempty"`
	Done     bool      `json:"done,omitempty"`
	Counts   Counts    `json:"counts"`
	Failures []Failure `json:"failures,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (s SplitState) MarshalJSON() ([]byte, error) {
	return json.Marshal(storedSplit{
		Index: s.Index, Lower: []byte(s.Lower), Upper: []byte(s.Upper), After: []byte(s.After), Done: s.Done, Counts: s.Counts, Failures: s.Failures,
	})
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *SplitState) UnmarshalJSON(data []byte) error {
	var t storedSplit
	if err := json.Unmarshal(data, &t); err != nil {
		return err
	}
	*s = SplitState{
		Index: t.Index, Lower: syncd.Key(t.Lower), Upper: syncd.Key(t.Upper), After: syncd.Key(t.After), Done: t.Done, Counts: t.Counts, Failures: t.Failures,
	}
	return nil
}

// ErrNotResumable says that a state can't be gone on from.
var ErrNotResumable = errors.New("the state does not fit")

// check refuses a state that can't be the product of a run, whatever happened to it.
func (s *CollectionState) check(name string) error {
	last := syncd.Key("")
	for i, p := range s.Splits {
		switch {
		case s.Complete && !p.Done:
			return fmt.Errorf("%w: collection %s is complete, but its split %d is not", ErrNotResumable, name, i)
		case p.Index != i:
			return fmt.Errorf("%w: split %d of collection %s is not there", ErrNotResumable, i, name)
		case i > 0 && (p.Lower == "" || p.Lower != last):
			return fmt.Errorf("%w: split %d of collection %s does not begin where the one before it ends", ErrNotResumable, i, name)
		case p.Done && p.Counts.problem() != "":
			return fmt.Errorf("%w: split %d of collection %s: %s", ErrNotResumable, i, name, p.Counts.problem())
		}
		last = p.Upper
	}
	return nil
}

// resume takes up a collection where an earlier run left it. ok is false where there is nothing to take up, or what is kept
// no longer means the same; then the collection begins anew.
func (r *run) resume(ctx context.Context, c *collection) (ok bool, err error) {
	if r.Journal == nil {
		return false, nil
	}
	name := c.rule.Collection.Name
	if i, can := r.Source.(syncd.Identifier); can {
		c.identity, err = i.Identity(ctx, c.rule.Collection)
		if errors.Is(err, syncd.ErrCollectionNotFound) {
			return false, nil // the count will meet it, too
		}
		if err != nil {
			return false, fmt.Errorf("looking at collection %s: %w", name, err)
		}
	}
	s := r.Journal.Recall(name)
	if s == nil {
		return false, r.ahead(name, nil)
	}
	if s.Identity != c.identity {
		r.Logger.Warn("the collection was made anew since the interrupted run: it is read from its start", "collection", name)
		return false, nil
	}
	if err := s.check(name); err != nil {
		return false, err
	}
	if r.anew {
		return false, nil
	}
	if err := r.ahead(name, s.Splits); err != nil {
		return false, err
	}
	c.setFound(s.Found, s.Before)
	c.carry(s.Splits)
	if s.Complete {
		c.proved = true
		return true, nil
	}
	for _, p := range s.Splits {
		if p.Done {
			continue
		}
		if err := r.hand(ctx, c, resumedSplit(c, p)); err != nil {
			return true, err
		}
	}
	if s.Planned {
		return true, nil
	}
	// The run ended while the collection was planned. A new plan would have other bounds: the rest is one split.
	rest := SplitState{Index: len(s.Splits)}
	if n := len(s.Splits); n > 0 {
		rest.Lower = s.Splits[n-1].Upper
	}
	if len(s.Splits) == 0 || rest.Lower != "" {
		if err := r.begin(ctx, c, rest); err != nil {
			return true, err
		}
	}
	return true, r.planned(c)
}

// begin keeps a new split and hands it out.
func (r *run) begin(ctx context.Context, c *collection, s SplitState) error {
	if r.Journal != nil {
		if err := r.Journal.Split(c.rule.Collection.Name, s, r.committer != nil); err != nil {
			return keeping(err)
		}
	}
	return r.hand(ctx, c, resumedSplit(c, s))
}

// hand gives a split to whichever reader is free.
func (r *run) hand(ctx context.Context, c *collection, s *split) error {
	c.hold() // until the split is done
	c.addSplit()
	select {
	case r.splits <- s:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// planned keeps that all splits of a collection are known.
func (r *run) planned(c *collection) error {
	if r.Journal == nil {
		return nil
	}
	return keeping(r.Journal.Collection(c.rule.Collection.Name, c.state(true, false), false))
}

// resumedSplit makes a split that goes on from a state, perhaps its very beginning.
func resumedSplit(c *collection, s SplitState) *split {
	return &split{
		Split: syncd.Split{Collection: c.rule.Collection, Index: s.Index, Lower: s.Lower, Upper: s.Upper},
		col:   c, holds: 1, after: s.After, state: s, counts: s.Counts, scanned: s.Counts.Scanned,
		waiting: map[int]handled{}, changed: make(chan struct{}),
	}
}

// recall looks at what the run did before it was interrupted. It counts against the run's limits: to be gone on with is no way
// around them. And where the index holds fewer points by now than documents were found in it, what it said then is not true any
// more, so nothing of the run is gone on with.
func (r *run) recall(ctx context.Context, index IndexReport) error {
	if r.Journal == nil {
		return nil
	}
	var present int64
	var known []string
	for _, c := range r.collections {
		name := c.rule.Collection.Name
		s := r.Journal.Recall(name)
		if s == nil {
			continue
		}
		known = append(known, name)
		for i, p := range s.Splits {
			n := p.Counts
			if m, ok := r.committed[name][i]; ok && m.Counts.Scanned > n.Scanned {
				n = m.Counts
			}
			r.events.sent.Add(n.Emitted)
			r.failures.seen.Add(n.Failed())
			present += n.Present + n.Overtaken
		}
	}
	if r.anew = index.Known && index.Before.Points < present; !r.anew {
		return nil
	}
	r.Logger.Warn("the index holds less than the interrupted run found in it: everything is looked at anew",
		"points", index.Before.Points, "found", present)
	r.failures.seen.Store(0) // they are met again
	for _, name := range known {
		// All at once: a run that is interrupted again, before it comes to the last of them, must not go on with that one.
		if err := r.forgetMarks(ctx, name); err != nil {
			return err
		}
		if err := r.Journal.Collection(name, CollectionState{Found: true, Before: -1}, true); err != nil {
			return keeping(err)
		}
	}
	return nil
}

// keeping says of an error that it is the journal's.
func keeping(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("keeping the state of the run: %w", err)
}

// handled is a batch that was accounted for.
type handled struct {
	last    syncd.Key // the last key that a scan can go on behind; "" if the batch has none
	keyless int64     // documents after it
	counts  Counts
	fails   []Failure
}

// end returns the last key of the batch that a scan can go on behind, and how many records follow it.
func (b *batch) end() (last syncd.Key, keyless int64) {
	for i := len(b.records) - 1; i >= 0; i-- {
		if k := b.records[i].Key; k != "" {
			return k, keyless
		}
		keyless++
	}
	return "", keyless
}

// handledAs is what a batch adds to its split.
func (b *batch) handledAs(n Counts, fails []Failure) handled {
	last, keyless := b.end()
	return handled{last: last, keyless: keyless, counts: n, fails: fails}
}

// add moves the state on by one batch. Documents after the last key, which a scan that goes on would meet again, are left in
// rest: they count once a key behind them is reached, or the split is done.
func (s *SplitState) add(h handled, rest *Counts) {
	if len(s.Failures) < maxFailures {
		s.Failures = append(s.Failures[:len(s.Failures):len(s.Failures)], h.fails...)
	}
	if h.last == "" {
		rest.Add(h.counts)
		return
	}
	s.After = h.last
	s.Counts.Add(*rest)
	s.Counts.Add(h.counts)
	*rest = Counts{Scanned: h.keyless, FailedRead: h.keyless}
	if h.counts.DeadLettered > 0 { // then all that failed are
		rest.DeadLettered = h.keyless
	}
	s.Counts.Scanned -= rest.Scanned
	s.Counts.FailedRead -= rest.FailedRead
	s.Counts.DeadLettered -= rest.DeadLettered
}

// finish marks the split as read to its end.
func (s *SplitState) finish(rest *Counts) {
	s.Counts.Add(*rest)
	*rest = Counts{}
	s.Done = true
}
