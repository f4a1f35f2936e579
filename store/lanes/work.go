package lanes

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/marks"
	"github.com/syncd-io/syncd/tally"
)

// Assignment is a split that this process is to work on.
type Assignment struct {
	Collection string
	Kept       store.Collection // without splits
	State      store.Split
	Stop       <-chan struct{} // closed: the split is to be left, and its state to be kept as far as it has come
	// Divide keeps that whole ends at a key, and that what was behind is a split of its own; it returns whole as it is then.
	Divide func(ctx context.Context, whole store.Split, at syncd.Key) (store.Split, error)
	// Left must be called when all work on the split has ended, whether it is done or not, and its state has been kept. From then on another
	// process may be assigned the split. Where the work ended by an error, Worker.Close does the same.
	Left func()

	end    func()
	worker *Worker // that keeps its state
}

// Awaiting waits for an order of the leader to work, other than those of the runs that past has; ok is false when ctx has ended.
func (v *View) Awaiting(ctx context.Context, is func(Order) bool) (o Order, ok bool) {
	err := v.wait(ctx, func() bool {
		o = v.order
		return is(o)
	})
	return o, err == nil
}

// Work hands out the splits of a run that are this process's to work on, until ctx ends.
func (v *View) Work(ctx context.Context, o Order, w *Worker, hand func(Assignment)) error {
	for {
		var next []*split
		if err := v.wait(ctx, func() bool {
			if v.order.RunID != o.RunID || v.order.Outcome != tally.Running {
				return false
			}
			for _, s := range v.splits {
				if v.mine(s) {
					next = append(next, s)
				}
			}
			return len(next) > 0
		}); err != nil {
			return err
		}
		slices.SortFunc(next, func(a, b *split) int { return a.state.Index - b.state.Index })
		for _, s := range next {
			if a, ok := v.assign(s, w); ok {
				hand(a)
			}
		}
	}
}

// mine reports whether this process is to begin work on a split. The caller holds mu.
func (v *View) mine(s *split) bool {
	return !s.had && s.work == nil && !s.state.Done && v.counts(s) && v.lanes[s.lane].open && !v.lanes[s.lane].leaving
}

// counts reports whether a split is one of the kept run's that all work on; those of streams and of deletes are the leader's own. The caller
// holds mu.
func (v *View) counts(s *split) bool {
	return s.turn > v.run && s.turn == v.turns[s.collection] && !store.IsStream(s.collection) && !store.IsDeletes(s.collection)
}

// assign begins work on a split.
func (v *View) assign(s *split, w *Worker) (a Assignment, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.mine(s) {
		return a, false
	}
	value, err := marks.ParseValue(marks.CollectionName(s.collection), v.marks[marks.PrefixOf(v.job)+marks.CollectionName(s.collection)].value)
	if err != nil || value.Collection == nil {
		return a, false
	}
	stop := make(chan struct{})
	a = Assignment{
		Collection: s.collection, Kept: *value.Collection, State: s.state, Stop: stop, end: sync.OnceFunc(func() { close(stop) }),
		Left: sync.OnceFunc(func() {
			v.mu.Lock()
			defer v.mu.Unlock()
			s.work = nil
			v.open()
			v.change()
		}),
		worker: w,
	}
	a.Divide = func(ctx context.Context, whole store.Split, at syncd.Key) (store.Split, error) {
		index, name := v.newIndex(s)
		part := store.Split{Index: index, Lower: at, Upper: whole.Upper}
		whole.Upper, whole.Divided = at, append(slices.Clone(whole.Divided), part.Index)
		err := w.store.Divide(ctx, s.collection, whole, part)
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.parts, name)
		if of := v.splits[name]; err != nil && of != nil && of.turn < 0 {
			v.forget(of)
		}
		return whole, err
	}
	s.work, s.had = &a, true
	w.store.Drop(s.name) // what it was told when the lane was another's did not count
	w.store.Note(s.collection, s.turn)
	return a, true
}

// newIndex reserves an index for a part of a split, and returns the name of its mark. No other process gives it to another part: whoever owns
// a lane has the indexes of its own, and has read those that its former owners gave.
func (v *View) newIndex(of *split) (index int, name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	given := map[int]bool{}
	for _, s := range v.splits {
		if s.collection == of.collection {
			for _, i := range s.state.Divided {
				given[i] = true
			}
		}
	}
	for index = store.DividedFrom + of.lane; ; index += len(v.lanes) {
		name = marks.PrefixOf(v.job) + marks.SplitName(of.collection, index)
		// A part that was committed may not have been read back, but has its lane by then.
		if v.splits[name] == nil && !v.parts[name] && !given[index] {
			v.parts[name] = true
			return index, name
		}
	}
}

// Idle reports whether another process has nothing to do while this one has splits.
func (v *View) Idle() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	busy := map[string]bool{}
	for _, s := range v.splits {
		if !s.state.Done && v.counts(s) {
			busy[v.owners[s.lane].Process] = true
		}
	}
	if !busy[v.me.Process] {
		return false
	}
	for _, o := range v.owners {
		if !busy[o.Process] {
			return true
		}
	}
	return false
}

// Working reports whether this process has splits to work on.
func (v *View) Working() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.splits {
		if s.work != nil {
			return true
		}
	}
	return false
}

// Shares calls share with this process's share of all that work, above 0 and at most 1, now and whenever it changes, until ctx ends.
func (v *View) Shares(ctx context.Context, share func(float64)) {
	last := 0
	for {
		n := 0
		if err := v.wait(ctx, func() bool {
			processes := map[string]bool{v.me.Process: true}
			for _, o := range v.owners {
				processes[o.Process] = true
			}
			n = len(processes)
			return n != last
		}); err != nil {
			return // it has ended
		}
		last = n
		share(1 / float64(n))
	}
}

// Worker keeps the states of the splits that a process works on, in their lanes. It implements store.Checkpoints; Committing gives it as a
// store.Committer.
type Worker struct {
	view  *View
	store *marks.Store
	stop  func()
}

// Worker makes what keeps the states of a run's splits until Close.
func (v *View) Worker(ctx context.Context) *Worker {
	w := &Worker{view: v}
	w.store = marks.Join(syncd.SinkAbilities{Commit: w.commit}, v.job)
	w.stop = flushing(ctx, w.store)
	return w
}

// Close ends the keeping. Nothing may be under way any more of the splits whose states it kept.
func (w *Worker) Close() {
	w.stop()
	v := w.view
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.splits {
		if w.works(s) {
			s.work = nil
		}
	}
	v.open()
	v.change()
}

// works reports whether it keeps the state of a split. The caller holds mu.
func (w *Worker) works(s *split) bool { return s != nil && s.work != nil && s.work.worker == w }

// commit commits in the name of the splits' own lanes. Marks of lanes that are others' by now are left out, unless changes depend on them, and
// so are those of a run that is over.
func (w *Worker) commit(ctx context.Context, changes []syncd.Change, all []syncd.Mark) error {
	v := w.view
	var tenures []syncd.Tenure
	var mine []syncd.LaneMark
	divided := false
	v.mu.Lock()
	for i, mark := range all {
		s := v.splits[mark.Name]
		switch {
		case v.parts[mark.Name]: // a new one, for whoever has its lane
			mine, divided = append(mine, syncd.LaneMark{Lane: v.laneOf(mark.Name), Mark: mark}), true
		case w.works(s) && v.lanes[s.lane].open:
			mine = append(mine, syncd.LaneMark{Lane: s.lane, Mark: mark})
			if t := v.lanes[s.lane].tenure; !slices.Contains(tenures, t) {
				tenures = append(tenures, t)
			}
		case i == 0 && len(changes) > 0:
			v.mu.Unlock()
			return errLost
		}
	}
	v.mu.Unlock()
	if len(tenures) == 0 {
		if divided {
			return errLost
		}
		return nil
	}
	err := v.commitAs(ctx, tenures, changes, mine)
	if !errors.Is(err, marks.ErrNothing) || divided || len(tenures) == 1 && len(changes) > 0 {
		return err
	}
	if len(tenures) == 1 {
		return nil // it is another process's, and so is what is kept of it
	}
	// One of several lanes is lost. Which one it was is known to the cluster alone, so each is tried by itself.
	for _, t := range tenures {
		var part []syncd.LaneMark
		for _, m := range mine {
			if m.Lane == t.Lane {
				part = append(part, m)
			}
		}
		own := changes
		if t.Lane != mine[0].Lane {
			own = nil
		}
		if err := v.commitAs(ctx, []syncd.Tenure{t}, own, part); err != nil && (!errors.Is(err, marks.ErrNothing) || len(own) > 0) {
			return err
		}
	}
	return nil
}

// Recall implements store.Checkpoints; splits come with their states.
func (w *Worker) Recall(string) *store.Collection { return nil }

// Collection implements store.Checkpoints: collections are the leader's.
func (w *Worker) Collection(context.Context, string, store.Collection, bool) error { return nil }

// Split implements store.Checkpoints.
func (w *Worker) Split(ctx context.Context, collection string, s store.Split, durable bool) error {
	return w.store.Split(ctx, collection, s, durable)
}

// Committing returns the worker as a committer, for a sink whose transactions the cluster shares.
func (w *Worker) Committing() store.Committer { return committing{w} }

type committing struct{ *Worker }

// Commit implements the method of store.Committer.
func (c committing) Commit(ctx context.Context, changes []syncd.Change, collection string, s store.Split) error {
	return c.store.Commit(ctx, changes, collection, s)
}

// Report has the run of all end by the trouble of this process. It says so in a lane that this process owns.
func (v *View) Report(ctx context.Context, t Trouble) error {
	t.Owner = v.me
	for {
		switch err := v.report(ctx, t); {
		case err == nil:
			return nil
		case !errors.Is(err, marks.ErrNothing):
			return text.Doing(err, "telling the cluster of trouble")
		}
	}
}

func (v *View) report(ctx context.Context, t Trouble) error {
	at := -1
	if err := v.wait(ctx, func() bool {
		for l := range v.lanes {
			if v.lanes[l].open {
				at = l
			}
		}
		return at >= 0
	}); err != nil {
		return err
	}
	return v.say(ctx, at, nameTrouble+strconv.Itoa(at), t)
}
