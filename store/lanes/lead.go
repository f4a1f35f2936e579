package lanes

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/wait"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/marks"
	"github.com/syncd-io/syncd/tally"
)

// Leading is a time in which this process leads.
type Leading struct {
	Drain <-chan struct{} // closed when another process is to lead: what is under way is to be ended in good order
	Lost  <-chan struct{} // closed when the lane is another process's: nothing that this one does counts any more
	// End must be called when nothing of the leading is under way any more.
	End func()

	drain, lose func()
}

// Turn waits until this process is to lead, or until over says of the leader's order that it ends this process's part, when leading is
// nil. over is told as well whether this process is one of several, and another one leads.
//
// A process whose work has another fingerprint than a run that goes on leads only where it has all lanes, so that there is nobody else; where
// others have some for as long as otherWork, it counts as one that follows.
func (v *View) Turn(ctx context.Context, fingerprint string, over func(o Order, follows bool) bool) (leading *Leading, o Order, err error) {
	ended := false
	var since time.Time // when lane 0 was this process's first, with others beside it whose work may be another
	if err := v.wait(ctx, func() bool {
		first := v.lanes[0].owned
		follows := !first && slices.ContainsFunc(v.lanes, func(l lane) bool { return l.owned })
		other := v.order.Outcome == tally.Running && v.order.RunID != "" && v.order.Fingerprint != fingerprint
		beside := other && first && slices.ContainsFunc(v.lanes, func(l lane) bool { return !l.owned })
		switch {
		case !beside:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
			time.AfterFunc(otherWork, func() {
				v.mu.Lock()
				defer v.mu.Unlock()
				v.change()
			})
		case time.Since(since) >= otherWork:
			follows = true
		}
		o, ended = v.order, over(v.order, follows)
		return ended || !beside && v.lanes[0].open && !v.lanes[0].leaving && v.lanes[0].leading == nil
	}); err != nil {
		return nil, o, err
	}
	if ended {
		return nil, o, nil
	}
	drain, lost := make(chan struct{}), make(chan struct{})
	leading = &Leading{
		Drain: drain, Lost: lost, drain: sync.OnceFunc(func() { close(drain) }), lose: sync.OnceFunc(func() { close(lost) }),
		End: func() {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.lanes[0].leading = nil
			v.open()
			v.change()
		},
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lanes[0].leading = leading
	switch { // since it was looked
	case !v.lanes[0].open:
		leading.drain()
		leading.lose()
	case v.lanes[0].leaving:
		leading.drain()
	}
	return leading, o, nil
}

// otherWork is how long a process that was given lane 0 waits for all others, where its work is not that of the run.
const otherWork = 5 * time.Second

// flushEvery is how long the leader's new splits wait for others to share a transaction.
const flushEvery = 20 * time.Millisecond

// leader is the leader's store.
type leader struct {
	*marks.Store
	stop func()
}

// Close implements store.Store.
func (l *leader) Close(ctx context.Context, end store.End) error {
	l.stop()
	return l.Store.Close(ctx, end)
}

// Store opens the leader's store. It is a store.Committer as well. What it is told reaches the other processes within moments.
func (v *View) Store(ctx context.Context, fresh bool) (store.Store, error) {
	can := syncd.SinkAbilities{
		Marks: v.caughtUpWith,
		Commit: func(ctx context.Context, changes []syncd.Change, all []syncd.Mark) error {
			return v.commit(ctx, []int{0}, changes, v.laneMarks(all))
		},
	}
	open := marks.Open
	if fresh {
		open = marks.OpenFresh
	}
	m, err := open(ctx, can, v.job)
	if err != nil {
		return nil, err
	}
	return &leader{m, flushing(ctx, m)}, nil
}

// caughtUpWith returns the marks whose names begin with prefix, when this process has read all that leaders before it have committed, in
// whatever lane. What is written into every lane now is behind all that. Of what others commit meanwhile lanes are read at different times, so
// they are returned at a moment at which each divided split of the run is there with all its parts, and each part with its whole.
func (v *View) caughtUpWith(ctx context.Context, prefix string) (all map[string][]byte, err error) {
	id := uuid.NewString()
	barriers := make([]syncd.LaneMark, v.cluster.Lanes())
	for l := range barriers {
		barriers[l] = syncd.LaneMark{Lane: l, Mark: syncd.Mark{Name: own(v.job) + nameBarrier + strconv.Itoa(l), Value: []byte(id)}}
	}
	if err := v.commit(ctx, []int{0}, nil, barriers); err != nil {
		return nil, err
	}
	leaving := false
	err = v.wait(ctx, func() bool {
		if leaving = v.lanes[0].leaving; leaving { // nothing is read before the lane is given up
			return true
		}
		for l := range barriers {
			if v.barrier[l] != id {
				return false
			}
		}
		if !v.whole() {
			return false
		}
		all = map[string][]byte{}
		for name, m := range v.marks {
			if strings.HasPrefix(name, prefix) {
				all[name] = m.value
			}
		}
		return true
	})
	if leaving {
		return nil, errLost
	}
	return all, err
}

// whole reports whether what was read of the run's divided splits is of one moment. The caller holds mu.
func (v *View) whole() bool {
	parts := map[string]int64{} // turns, by name
	for name, s := range v.splits {
		if v.counts(s) && s.state.Index >= store.DividedFrom {
			parts[name] = s.turn
		}
	}
	n := 0
	for _, s := range v.splits {
		if !v.counts(s) {
			continue
		}
		for _, i := range s.state.Divided {
			if parts[marks.PrefixOf(v.job)+marks.SplitName(s.collection, i)] != s.turn {
				return false
			}
			n++
		}
	}
	return n == len(parts)
}

// flushing flushes a store until stop. Its errors are met by whoever uses the store next.
func flushing(ctx context.Context, m *marks.Store) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-m.Due():
			case <-ctx.Done():
				return
			}
			if wait.Pause(ctx, flushEvery) != nil {
				return
			}
			if err := m.Flush(ctx); err != nil && !errors.Is(err, marks.ErrNothing) {
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// Give has all do what the order says. It is for the leader.
func (v *View) Give(ctx context.Context, o Order) error {
	o.Leader = v.me
	if err := v.say(ctx, 0, nameOrder, o); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.order = o // whoever gave it need not wait until it is read back
	v.change()
	return nil
}

// follower is told of splits that changed.
type follower struct{ changed map[*split]bool }

// Follow calls moved with the states of the run's splits, whoever works on them, as they change: first with all of them as they are. It
// ends with ctx, an error of moved, or when some process has reported trouble, which is a *TroubleError. Streams and deletes are the leader's
// own, and left out.
func (v *View) Follow(ctx context.Context, runID string, moved func(collection string, s store.Split) error) error {
	f := &follower{changed: map[*split]bool{}}
	v.mu.Lock()
	for _, s := range v.splits {
		f.changed[s] = true
	}
	v.moved[f] = true
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.moved, f)
	}()
	type told struct {
		collection string
		state      store.Split
	}
	for {
		var news []told
		var trouble *TroubleError
		if err := v.wait(ctx, func() bool {
			for s := range f.changed {
				if v.counts(s) {
					news = append(news, told{s.collection, s.state})
					delete(f.changed, s)
				} else if s.turn >= 0 && s.turn < v.turns[s.collection] || v.splits[s.name] != s {
					delete(f.changed, s) // it is of an earlier run
				}
			}
			for _, t := range v.trouble {
				if t.RunID == runID {
					trouble = &TroubleError{t}
				}
			}
			return len(news) > 0 || trouble != nil
		}); err != nil {
			return err
		}
		for _, n := range news {
			if err := moved(n.collection, n.state); err != nil {
				return err
			}
		}
		if trouble != nil {
			return trouble
		}
	}
}

// TroubleError is the error that another process's trouble is for the run.
type TroubleError struct{ Trouble }

func (e *TroubleError) Error() string { return e.Problem + " (process " + e.Owner.Process + ")" }

// Unwrap returns store.ErrNotResumable where the run must not be resumed.
func (e *TroubleError) Unwrap() error {
	if e.Fresh {
		return store.ErrNotResumable
	}
	return nil
}
