package pipeline

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/syncd-io/syncd"
)

// plan hands out the splits of every collection, in configuration order. The count comes first, so that a document inserted
// during the scan can't make the proof fail.
func (r *run) plan(ctx context.Context) error {
	for _, c := range r.collections {
		c.begin()
		if err := r.planCollection(ctx, c); err != nil {
			return err
		}
		if err := r.releaseCollection(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) planCollection(ctx context.Context, c *collection) error {
	name := c.rule.Collection.Name
	if resumed, err := r.resume(ctx, c); resumed || err != nil {
		return err
	}
	n, err := r.countBefore(ctx, c.rule.Collection)
	switch {
	case errors.Is(err, syncd.ErrCollectionNotFound):
		return r.notFound(ctx, c)
	case err != nil:
		return fmt.Errorf("counting collection %s: %w", name, err)
	}
	c.setFound(true, n)
	if err := r.start(ctx, c); err != nil {
		return err
	}
	for s, err := range r.Source.Plan(ctx, c.rule.Collection) {
		switch {
		case errors.Is(err, syncd.ErrCollectionNotFound):
			return r.notFound(ctx, c)
		case err != nil:
			return fmt.Errorf("planning collection %s: %w", name, err)
		}
		if err := r.begin(ctx, c, SplitState{Index: s.Index, Lower: s.Lower, Upper: s.Upper}); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err // a source may end quietly when its context does, and then there are more splits
	}
	return r.planned(c)
}

// start keeps that a collection is begun, from its start.
func (r *run) start(ctx context.Context, c *collection) error {
	if r.Journal == nil {
		return nil
	}
	if err := r.forgetMarks(ctx, c.rule.Collection.Name); err != nil {
		return err
	}
	return keeping(r.Journal.Collection(c.rule.Collection.Name, c.state(false, false), true))
}

// countBefore counts a collection before its scan: at once where the source can, since nothing is sent before it is done. An
// estimate that is too high costs an exact count after the scan; one that is too low makes that proof weaker, not wrong.
// It is -1 if the source can't count.
func (r *run) countBefore(ctx context.Context, c syncd.Collection) (int64, error) {
	if e, ok := r.Source.(syncd.Estimator); ok {
		if n, known, err := e.EstimateCount(ctx, c); known || err != nil {
			return n, err
		}
	}
	if counter, ok := r.Source.(syncd.Counter); ok {
		return counter.Count(ctx, c)
	}
	return -1, nil
}

func (r *run) notFound(ctx context.Context, c *collection) error {
	c.setFound(false, 0)
	if err := r.start(ctx, c); err != nil {
		return err
	}
	r.Logger.Warn("the source has no such collection: it counts as empty; check its spelling, upper and lower case count", "collection", c.rule.Collection.Name)
	return nil
}

// read scans splits until there are no more.
func (r *run) read(ctx context.Context) error {
	for {
		select {
		case s, ok := <-r.splits:
			if !ok {
				return nil
			}
			if err := r.scan(ctx, s); err != nil {
				return fmt.Errorf("reading collection %s: %w", s.Collection.Name, err)
			}
			if err := r.release(ctx, s); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// scan reads one split to its end. Whether it brings ids or whole documents follows what the workers find: on a change it
// starts again behind the last key it handed on.
func (r *run) scan(ctx context.Context, s *split) error {
	after := s.after
	for {
		whole := !r.DryRun && s.col.wantsWhole()
		changed := false
		read := time.Now() // a source may read a batch while the one before it is handled, but hardly sooner
		r.enter(StageScan)
		scanning := true
		resting := func() { // not the source's time
			if scanning {
				r.leave(StageScan)
				scanning = false
			}
		}
		err := func() error {
			defer resting()
			asked := time.Now()
			for records, err := range r.Source.Scan(ctx, syncd.ScanRequest{
				Split: s.Split, After: after, Fields: s.col.rule.Fields(), Documents: whole,
				BatchSize: r.batchSize(), BatchBytes: r.BatchBytes,
			}) {
				if err != nil {
					return err
				}
				if len(records) == 0 {
					continue
				}
				resting()
				b := &batch{split: s, col: s.col, records: records, read: read, took: time.Since(asked)}
				r.times[StageScan].Add(int64(b.took))
				r.move()
				read = time.Now()
				last := records[len(records)-1].Key
				if err := r.handOn(ctx, b); err != nil {
					return err
				}
				// A record without a key can't be continued behind.
				if last != "" && !r.DryRun && s.col.wantsWhole() != whole {
					after, changed = last, true
					return nil
				}
				r.enter(StageScan)
				scanning, asked = true, time.Now()
			}
			return ctx.Err() // a source may end quietly when its context does
		}()
		if err != nil || !changed {
			return err
		}
	}
}

// handOn gives a batch to whichever worker is free, and makes the pauses that the run is to make.
func (r *run) handOn(ctx context.Context, b *batch) error {
	select {
	case r.window <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	b.split.read(b) // and hold the split until the batch is accounted for
	select {
	case r.batches <- b:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := r.limits.documents(ctx, len(b.records), r.move); err != nil {
		return err
	}
	return r.rest(ctx, r.Sleep)
}

// rest makes a pause that is wanted, and so is no standstill.
func (r *run) rest(ctx context.Context, d time.Duration) error {
	for portion := d; d > 0; d -= portion {
		if r.StallAfter > 0 {
			portion = min(d, max(r.StallAfter/2, time.Millisecond))
		}
		if err := pause(ctx, portion); err != nil {
			return err
		}
		r.move()
	}
	return nil
}

// batchSize is how many documents a batch holds at most. A batch that is committed as one is kept in memory as one.
func (r *run) batchSize() int {
	if r.committer != nil {
		return min(r.BatchSize, maxCommit)
	}
	return r.BatchSize
}

// fetch is the source's Fetch, held to its word: a key that came twice would hide one that never came.
func fetch(ctx context.Context, source syncd.Source, c syncd.Collection, keys []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return func(yield func(syncd.Fetched, error) bool) {
		came := make([]bool, len(keys))
		for f, err := range source.Fetch(ctx, c, keys) {
			switch {
			case err != nil:
			case f.Index < 0 || f.Index >= len(keys):
				err = fmt.Errorf("the source yielded document %d of %d", f.Index, len(keys))
			case came[f.Index]:
				err = fmt.Errorf("the source yielded document %d twice", f.Index)
			case f.Document == nil:
				err = fmt.Errorf("the source yielded nothing for document %d", f.Index)
			}
			if err != nil {
				yield(syncd.Fetched{}, err)
				return
			}
			came[f.Index] = true
			if !yield(f, nil) {
				return
			}
		}
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
