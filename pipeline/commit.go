package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/syncd-io/syncd"
)

// maxCommit bounds the documents of a batch whose events are committed as one, since all are in memory until they are.
const maxCommit = 250

// ErrNoCommits says that a run that is to commit can't.
var ErrNoCommits = errors.New("the sink can't commit events and positions together")

// recallCommitted gets the positions that were committed with events, which are ahead of the journal's after a crash.
func (r *run) recallCommitted(ctx context.Context) error {
	if !r.Commit || r.DryRun {
		return nil
	}
	committer, ok := r.Sink.(syncd.Committer)
	if !ok || r.Journal == nil {
		return ErrNoCommits
	}
	marks, err := committer.Marks(ctx, r.markPrefix())
	if err != nil {
		return fmt.Errorf("reading the committed positions: %w", err)
	}
	r.committer, r.committed = committer, map[string]map[int]SplitState{}
	for name, value := range marks {
		collection, index, err := parseMark(strings.TrimPrefix(name, r.markPrefix()))
		if err != nil {
			return err
		}
		var s SplitState
		if err := json.Unmarshal(value, &s); err != nil || s.Index != index {
			return fmt.Errorf("%w: the committed position %q is not one that a run wrote", ErrNotResumable, name)
		}
		if r.committed[collection] == nil {
			r.committed[collection] = map[int]SplitState{}
		}
		r.committed[collection][index] = s
	}
	return nil
}

// A run's marks are named by its id, the split's number and the collection, which may hold anything.
func (r *run) markPrefix() string { return r.RunID + "/" }

func (r *run) mark(collection string, index int) string {
	return r.markPrefix() + strconv.Itoa(index) + "/" + collection
}

func parseMark(rest string) (collection string, index int, err error) {
	number, collection, ok := strings.Cut(rest, "/")
	index, err = strconv.Atoi(number)
	if !ok || err != nil || index < 0 {
		return "", 0, fmt.Errorf("%w: a committed position has the name %q", ErrNotResumable, rest)
	}
	return collection, index, nil
}

// ahead replaces what the journal says of splits by what was committed of them, where that is further on. A split is kept
// before anything of it is committed: if it is not there, the state is not this run's, and what was sent would be sent again.
func (r *run) ahead(collection string, splits []SplitState) error {
	for i, c := range r.committed[collection] {
		switch {
		case i >= len(splits):
			return fmt.Errorf("%w: events of split %d of collection %s are committed, but the split is not there", ErrNotResumable, i, collection)
		case c.Lower != splits[i].Lower || c.Upper != splits[i].Upper:
			return fmt.Errorf("%w: events of split %d of collection %s are committed, but the split is another one", ErrNotResumable, i, collection)
		case !splits[i].Done && c.Counts.Scanned > splits[i].Counts.Scanned:
			splits[i] = c
		}
	}
	return nil
}

// forgetMarks drops the marks of a collection that begins anew: they would be taken for those of its new splits.
func (r *run) forgetMarks(ctx context.Context, collection string) error {
	var marks []syncd.Mark
	for i := range r.committed[collection] {
		marks = append(marks, syncd.Mark{Name: r.mark(collection, i)})
	}
	if len(marks) == 0 {
		return nil
	}
	if err := r.committer.Commit(ctx, nil, marks); err != nil {
		return fmt.Errorf("forgetting the committed positions of collection %s: %w", collection, err)
	}
	return nil
}

// commit hands the batch's events to the sink together with how far the split has come then. Events that the sink refuses
// become dead letters or references before the rest is committed, so that nothing is forgotten in between.
func (w *worker) commit(ctx context.Context, b *batch) error {
	defer w.reset()
	switch {
	case w.failure != nil:
		return w.failure // a committed position would pass over the document that ends the run
	case len(w.events) == 0:
		return nil
	}
	if err := b.split.turn(ctx, b); err != nil {
		return err
	}
	if err := w.ready(ctx, b); err != nil || len(w.events) == 0 {
		return err
	}
	w.counts.Emitted += int64(len(w.events))
	references := make([]bool, len(w.events)) // which events go without their documents
	for len(w.events) > 0 {
		refused, err := w.commitAll(ctx, b, references)
		if err != nil {
			return err
		}
		if refused == nil {
			w.acked = w.acked[:0]
			for i := range w.events {
				w.confirm(b, i)
				if references[i] {
					w.counts.Referenced++
				}
			}
			return w.remember(b)
		}
		if err := w.dropRefused(b, refused, &references); err != nil {
			return fmt.Errorf("sending events of collection %s: %w", b.col.rule.Collection.Name, err)
		}
		if w.failure != nil {
			return w.failure
		}
	}
	return nil
}

// commitAll is one Commit of the events at hand.
func (w *worker) commitAll(ctx context.Context, b *batch, references []bool) (*syncd.BatchError, error) {
	if err := w.bury(ctx, b); err != nil { // a mark that stands says that nothing before it is forgotten
		return nil, err
	}
	n := w.counts
	n.Acked += int64(len(w.events))
	for _, r := range references {
		if r {
			n.Referenced++
		}
	}
	state := b.split.with(b.handledAs(n, w.fails))
	value, err := json.Marshal(state)
	if err != nil {
		return nil, fmt.Errorf("writing the position of split %d of collection %s: %w", state.Index, b.col.rule.Collection.Name, err)
	}
	ctx, leave := w.stage(ctx, StageWrite, len(w.events))
	refused, err := refusals(w.committer.Commit(ctx, w.events, []syncd.Mark{{Name: w.mark(b.col.rule.Collection.Name, state.Index), Value: value}}), len(w.events))
	leave(err)
	if err != nil {
		return nil, fmt.Errorf("committing %d events of collection %s: %w", len(w.events), b.col.rule.Collection.Name, err)
	}
	return refused, nil
}

// dropRefused takes refused events out, or their documents out of them.
func (w *worker) dropRefused(b *batch, refused *syncd.BatchError, references *[]bool) error {
	var drop []int
	for _, i := range refused.Failed() {
		err := refused.Of(i)
		switch {
		case errors.Is(err, syncd.ErrUnavailable):
			return err
		case errors.Is(err, syncd.ErrTooLarge) && w.Oversize == OversizeReference && !(*references)[i]:
			e, err := w.reference(i)
			if err != nil {
				return err
			}
			w.events[i], (*references)[i] = e, true
		default:
			w.refuse(b, i, err)
			drop = append(drop, i)
		}
	}
	slices.Reverse(drop)
	for _, i := range drop {
		w.events, w.picks, w.docs = slices.Delete(w.events, i, i+1), slices.Delete(w.picks, i, i+1), slices.Delete(w.docs, i, i+1)
		*references = slices.Delete(*references, i, i+1)
	}
	return nil
}

// forgetCommitted drops the marks of a run that is complete.
func (r *run) forgetCommitted(ctx context.Context) error {
	if r.committer == nil {
		return nil
	}
	var marks []syncd.Mark
	for _, c := range r.collections {
		for i := range c.handed {
			marks = append(marks, syncd.Mark{Name: r.mark(c.rule.Collection.Name, i)})
		}
	}
	for chunk := range slices.Chunk(marks, 1000) {
		if err := r.committer.Commit(ctx, nil, chunk); err != nil {
			return fmt.Errorf("forgetting the committed positions: %w", err)
		}
	}
	return nil
}
