package syncdtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
)

// changes makes changes of documents whose ids begin with the case's name.
func (c *clusterCase) changes(name string, n int) []syncd.Change {
	o := outlet{name: c.options.Group, targets: SinkTargets()}
	changes := make([]syncd.Change, n)
	for i := range changes {
		changes[i] = o.change(fmt.Sprintf("%s-%03d", name, i))
	}
	return changes
}

// wantChanges wants the changes to be all that were committed of the case, each once.
func (c *clusterCase) wantChanges(changes ...[]syncd.Change) {
	c.t.Helper()
	var want, got []string
	for _, batch := range changes {
		for i := range batch {
			want = append(want, batch[i].ID)
		}
	}
	for _, id := range c.h.Committed(c.t) {
		if strings.HasPrefix(id, c.options.Group+"/") {
			got = append(got, id)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		c.t.Errorf("changes that are committed (-want +got):\n%s", cmp.Diff(want, got))
	}
}

// takesChanges skips a case with changes where the cluster takes none.
func (h ClusterHarness) takesChanges(t *testing.T) {
	t.Helper()
	if h.Committed == nil {
		t.Skip("the cluster takes no changes")
	}
}

func (h ClusterHarness) clusterMarks(t *testing.T) {
	c := h.cluster(t, 3, 0)
	a, b := c.join(), c.join()
	c.settled(a, b)
	var want [3][]string
	for i := range 20 {
		for _, m := range []*clusterMember{a, b} {
			lane := m.lanes()[0]
			marks := []syncd.LaneMark{c.set(lane, "first"), c.set(lane, fmt.Sprintf("other-%d", i)), c.set(lane, "first")}
			m.commits(nil, marks...)
			for _, mark := range marks {
				want[lane] = append(want[lane], fmt.Sprintf("%s=%s", mark.Name, mark.Value))
			}
		}
	}
	c.agree(a, b)
	for _, m := range []*clusterMember{a, b} {
		var got [3][]string
		c.mu.Lock()
		for _, r := range m.read {
			got[r.Lane] = append(got[r.Lane], fmt.Sprintf("%s=%s", r.Name, r.Value))
		}
		c.mu.Unlock()
		for lane := range want {
			if !slices.Equal(want[lane], got[lane]) {
				t.Errorf("what %s read of lane %d (-committed +read):\n%s", m.name, lane, cmp.Diff(want[lane], got[lane]))
			}
		}
	}
}

func (h ClusterHarness) clusterLate(t *testing.T) {
	c := h.cluster(t, 4, 0)
	a := c.join()
	c.settled(a)
	forgotten := c.set(1, "forgotten")
	a.commits(nil, forgotten)
	for i := range 50 {
		a.commits(nil, c.set(i%4, fmt.Sprintf("lane-%d/name-%d", i%4, i%8)))
	}
	forgotten.Value = nil
	a.commits(nil, forgotten)
	b := c.open(nil)
	b.join()
	c.wait("a late process to catch up", func() bool { return b.caughtUp == 1 })
	c.mu.Lock()
	state := maps.Clone(b.state)
	for lane, names := range c.committed {
		for name, n := range names {
			if got := b.values[lane][name]; got < n && name != "forgotten" {
				c.fault("CaughtUp was called before value %d of %q was read; the last was %d", n, name, got)
			}
		}
	}
	c.mu.Unlock()
	delete(c.committed[1], "forgotten") // a log may have dropped it
	if _, there := state["forgotten"]; there {
		t.Errorf("a name that was forgotten is there: %q", state)
	}
	c.settled(a, b)
	a.leaves()
	b.leaves()
	last := c.join()
	c.settled(last)
	c.agree(last)
	c.wait("the last process to have the same state", func() bool { return maps.Equal(state, last.state) })
}

func (h ClusterHarness) clusterBytes(t *testing.T) {
	c := h.cluster(t, 1, 0)
	a := c.join()
	c.settled(a)
	want := map[string]string{"empty": "", "binary \x00\xff": "\x00\xff\n", "žluťoučký": "漢字", "long": strings.Repeat("x", 100_000)}
	var marks []syncd.LaneMark
	for name, value := range want {
		marks = append(marks, syncd.LaneMark{Mark: syncd.Mark{Name: name, Value: []byte(value)}})
	}
	marks = append(marks, syncd.LaneMark{Mark: syncd.Mark{Name: "never"}})
	a.commits(nil, marks...)
	for i := range marks {
		clear(marks[i].Value) // the bytes are the caller's again
	}
	b := c.join()
	for _, m := range []*clusterMember{a, b} {
		c.wait(m.name+" to read the marks", func() bool { return len(m.state) >= len(want) })
		c.mu.Lock()
		if !maps.Equal(want, m.state) {
			c.fault("marks of %s (-want +got):\n%s", m.name, cmp.Diff(want, m.state))
		}
		c.mu.Unlock()
	}
}

func (h ClusterHarness) clusterOwners(t *testing.T) {
	c := h.cluster(t, 7, 0)
	members := []*clusterMember{c.join(), c.join(), c.join()}
	c.settled(members...)
	var lanes []int
	for _, m := range members {
		lanes = append(lanes, m.lanes()...)
	}
	slices.Sort(lanes)
	if !slices.Equal(lanes, []int{0, 1, 2, 3, 4, 5, 6}) {
		t.Errorf("the processes own the lanes %v", lanes)
	}
	for _, m := range members {
		for _, l := range m.lanes() {
			m.commits(nil, c.set(l, strconv.Itoa(l)))
		}
	}
	c.agree(members...)
}

func (h ClusterHarness) clusterJoins(t *testing.T) {
	c := h.cluster(t, 4, 0)
	a := c.open(nil)
	var during []syncd.LaneMark
	var bound time.Duration
	a.losing = func(ctx context.Context, lanes []int) {
		if end, ok := ctx.Deadline(); ok {
			bound = time.Until(end)
		}
		for _, l := range lanes {
			mark := c.set(l, "during")
			if err := a.commit(ctx, nil, mark); err != nil {
				c.mu.Lock()
				c.fault("Commit while Losing runs: %v", err)
				c.mu.Unlock()
			}
			during = append(during, mark)
		}
	}
	a.join()
	c.settled(a)
	a.commits(nil, c.set(0, "before"), c.set(1, "before"), c.set(2, "before"), c.set(3, "before"))
	b := c.join()
	c.settled(a, b)
	if len(during) != 2 || bound <= 0 || bound > c.options.Leave {
		t.Errorf("Losing was told of %d lanes, 2 were given away, and had %v; Leave is %v", len(during), bound, c.options.Leave)
	}
	a.fenced(c.set(b.lanes()[0], "late"))
	c.agree(a, b)
	c.unseen(b, "late")
}

func (h ClusterHarness) clusterSlowLoss(t *testing.T) {
	c := h.cluster(t, 2, h.Session)
	c.options.Leave = 2*h.Session + patience/2
	a := c.open(nil)
	var begin, end time.Time
	a.losing = func(ctx context.Context, lanes []int) {
		if begin.IsZero() {
			begin = time.Now()
			_ = pause(ctx, h.Session+h.Session/2)
			for _, l := range lanes {
				if err := a.commit(ctx, nil, c.set(l, "at last")); err != nil {
					c.mu.Lock()
					c.fault("Commit while Losing runs: %v", err)
					c.mu.Unlock()
				}
			}
			end = time.Now()
		}
	}
	a.join()
	c.settled(a)
	b := c.join()
	c.settledWithin(2*patience+2*h.Session, a, b)
	if end.Sub(begin) < h.Session {
		t.Errorf("Losing had %v", end.Sub(begin))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.lost+b.lost > 0 || a.losses != 1 {
		t.Errorf("%d lanes were lost, and %d given away where 1 was to be", a.lost+b.lost, a.losses)
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h ClusterHarness) clusterLeaves(t *testing.T) {
	c := h.cluster(t, 4, 0) // whose session is longer than the case waits
	a := c.open(nil)
	a.losing = func(ctx context.Context, lanes []int) {
		for _, l := range lanes {
			if err := a.commit(ctx, nil, c.set(l, "last")); err != nil {
				c.mu.Lock()
				c.fault("Commit while Losing runs: %v", err)
				c.mu.Unlock()
			}
		}
	}
	a.join()
	c.settled(a)
	b := c.join()
	c.settled(a, b)
	lanes := a.lanes()
	a.leaves()
	c.settled(b)
	c.mu.Lock()
	if a.lost > 0 || a.losses < len(lanes) {
		c.fault("one who left was told that %d lanes are lost, and that others are to have %d", a.lost, a.losses)
	}
	c.mu.Unlock()
	for l := range 4 {
		b.commits(nil, c.set(l, "after"))
	}
	c.agree(b)
}

func (h ClusterHarness) clusterKilled(t *testing.T) {
	c := h.cluster(t, 4, h.Session)
	a, b := c.join(), c.join()
	c.settled(a, b)
	for i := range 20 {
		l := a.lanes()[i%2]
		a.commits(nil, c.set(l, fmt.Sprintf("%d/%d", l, i)))
	}
	c.mu.Lock()
	before := b.losses
	c.mu.Unlock()
	a.kill()
	c.waitFor(3*h.Session+patience, "the other to own all lanes", func() bool { return len(b.owned) == 4 })
	for l := range 4 {
		b.commits(nil, c.set(l, "after"))
	}
	c.agree(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.lost > 0 || b.losses > before {
		t.Errorf("who lives lost %d lanes and gave %d away", b.lost, b.losses-before)
	}
}

func (h ClusterHarness) clusterZombie(t *testing.T) {
	c := h.cluster(t, 4, h.Session)
	a, b := c.join(), c.join()
	c.settled(a, b)
	lane := a.lanes()[0]
	var sent [][]syncd.Change
	changes := func(name string) []syncd.Change {
		if h.Committed == nil {
			return nil
		}
		return c.changes(name, 5)
	}
	first := changes("first")
	a.commits(first, c.set(lane, "progress"))
	mend := a.kill()
	c.waitFor(3*h.Session+patience, "the other to own all lanes", func() bool { return len(b.owned) == 4 })
	// The zombie goes on with what it had begun, and the other does its work anew.
	stale := make(chan error, 1)
	tenures, begun, mark := a.tenuresOf(lane), changes("stale"), c.set(lane, "stale") // as of now, whenever the goroutine starts
	go func() { stale <- a.commitAs(context.WithoutCancel(t.Context()), tenures, begun, mark) }()
	again := changes("again")
	b.commits(again, c.set(lane, "progress"))
	mend()
	inTime(t, 3*h.Session+2*patience, "Commit of one who was taken for dead", func() error {
		if err := <-stale; err == nil {
			return errors.New("Commit of one who was taken for dead has succeeded")
		}
		return nil
	})
	c.waitFor(3*h.Session+patience, "one who was taken for dead to be told", func() bool { return a.lost >= 2 })
	last := changes("last")
	inTime(t, 3*h.Session+2*patience, "committing what comes after", func() error {
		for {
			c.mu.Lock()
			owner := c.owners[lane]
			c.mu.Unlock()
			if owner == nil {
				time.Sleep(clusterLook)
				continue
			}
			switch err := owner.commit(t.Context(), last, c.set(lane, "progress")); {
			case err == nil:
				return nil
			case !errors.Is(err, syncd.ErrFenced):
				return err
			}
		}
	})
	c.agree(b)
	c.unseen(b, "stale")
	if h.Committed != nil {
		sent = append(sent, first, again, last)
		c.wantChanges(sent...)
	}
	fresh := c.join()
	c.wait("a fresh process to catch up", func() bool { return fresh.caughtUp == 1 })
	c.unseen(fresh, "stale")
}

func (h ClusterHarness) clusterAway(t *testing.T) {
	c := h.cluster(t, 2, 0)
	a, b := c.join(), c.join()
	c.settled(a, b)
	c.mu.Lock()
	before := a.owns + b.owns + a.losses + b.losses
	c.mu.Unlock()
	mend := a.Cut()
	lane := a.lanes()[0]
	late := make(chan error, 1)
	tenures, mark := a.tenuresOf(lane), c.set(lane, "late") // as of now, whenever the goroutine starts
	go func() { late <- a.commitAs(context.WithoutCancel(t.Context()), tenures, nil, mark) }()
	_ = pause(t.Context(), h.Session/3)
	b.commits(nil, c.set(b.lanes()[0], "meanwhile"))
	mend()
	inTime(t, 2*patience, "Commit of one who was away", func() error { return <-late })
	c.agree(a, b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := a.owns + b.owns + a.losses + b.losses; now != before || a.lost+b.lost > 0 {
		t.Errorf("lanes moved while one was away for less than a session")
	}
}

func (h ClusterHarness) clusterInstance(t *testing.T) {
	c := h.cluster(t, 4, 0)
	instance := func(name string) func(*syncd.ClusterOptions) {
		return func(o *syncd.ClusterOptions) { o.Instance = name }
	}
	a, b := c.open(instance("one")), c.open(instance("two"))
	a.join()
	b.join()
	c.settled(a, b)
	lanes := a.lanes()
	a.commits(nil, c.set(lanes[0], "progress"))
	c.mu.Lock()
	before := b.owns + b.losses
	c.mu.Unlock()
	a.leaves()
	next := c.open(instance("one"))
	next.join()
	c.settled(next, b)
	if got := next.lanes(); !slices.Equal(lanes, got) {
		t.Errorf("an instance that had the lanes %v has %v", lanes, got)
	}
	c.mu.Lock()
	if b.owns+b.losses != before {
		c.fault("the other was told of lanes while an instance was away")
	}
	c.mu.Unlock()
	next.commits(nil, c.set(lanes[0], "progress"))
	c.agree(next, b)
}

func (h ClusterHarness) clusterForeign(t *testing.T) {
	c := h.cluster(t, 4, 0)
	a, b := c.join(), c.join()
	c.settled(a, b)
	own, foreign := a.lanes()[0], b.lanes()[0]
	a.fenced(c.set(foreign, "stale"))
	a.fenced(c.set(own, "stale"), c.set(foreign, "stale"))
	together(t, 12, func(i int) error { // one call's lane that is not owned is no harm to those that share a transaction with it
		if i%3 > 0 {
			return a.commit(t.Context(), nil, c.set(own, fmt.Sprintf("own-%d", i)))
		}
		if err := a.commit(t.Context(), nil, c.set(foreign, "stale")); !errors.Is(err, syncd.ErrFenced) {
			return fmt.Errorf("Commit of a lane that is not owned: %w, want one that wraps ErrFenced", err)
		}
		return nil
	})
	for what, err := range map[string]error{
		"in the name of no lane":        a.Commit(t.Context(), nil, nil, []syncd.LaneMark{c.set(own, "stale")}),
		"of a lane that does not exist": a.Commit(t.Context(), a.tenuresOf(4), nil, []syncd.LaneMark{c.set(4, "stale")}),
	} {
		if err == nil {
			t.Errorf("Commit %s has succeeded", what)
		}
	}
	// In the name of its own lane a process may write into others', whose owners read it.
	if err := a.Commit(t.Context(), a.tenuresOf(own), nil, []syncd.LaneMark{c.set(foreign, "told")}); err != nil {
		t.Errorf("Commit into the lane of another: %v", err)
	}
	outsider := c.open(nil)
	outsider.fenced(c.set(own, "stale")) // before Join it owns nothing
	a.commits(nil, c.set(own, "fence"))
	b.commits(nil, c.set(foreign, "fence"))
	c.agree(a, b)
	c.unseen(a, "stale")
	c.unseen(b, "stale")
}

func (h ClusterHarness) clusterTenures(t *testing.T) {
	c := h.cluster(t, 2, 0)
	a := c.join()
	c.settled(a)
	before := map[int]syncd.Tenure{}
	for _, l := range a.tenuresOf(0, 1) {
		before[l.Lane] = l
	}
	b := c.join()
	c.settled(a, b)
	lane, kept := b.lanes()[0], a.lanes()[0]
	b.commits(nil, c.set(lane, "progress"))
	b.leaves()
	c.settled(a)
	mark := c.set(lane, "stale")
	for what, tenures := range map[string][]syncd.Tenure{"a tenure": {before[lane]}, "two tenures of which one": {before[kept], before[lane]}} {
		if err := a.Commit(t.Context(), tenures, nil, []syncd.LaneMark{mark}); !errors.Is(err, syncd.ErrFenced) {
			t.Errorf("Commit in the name of %s is over: %v, want an error that wraps ErrFenced", what, err)
		}
	}
	if now := a.tenuresOf(kept)[0]; now != before[kept] {
		t.Errorf("a lane that the process had ever since has the tenure %+v, before it was %+v", now, before[kept])
	}
	a.commits(nil, c.set(lane, "progress"), c.set(kept, "progress"))
	c.agree(a)
	c.unseen(a, "stale")
}

func (h ClusterHarness) clusterOverlapping(t *testing.T) {
	c := h.cluster(t, 6, 0)
	a, b := c.join(), c.join()
	c.settled(a, b)
	const writers, batches = 8, 8
	var mu sync.Mutex
	var sent [][]syncd.Change
	together(t, writers, func(w int) error {
		m := []*clusterMember{a, b}[w%2]
		lanes := m.lanes()
		for i := range batches {
			var changes []syncd.Change
			if h.Committed != nil {
				changes = c.changes(fmt.Sprintf("writer-%d-%d", w, i), 3)
				mu.Lock()
				sent = append(sent, changes)
				mu.Unlock()
			}
			one, other := lanes[(w+i)%len(lanes)], lanes[w%len(lanes)]
			if err := m.commit(t.Context(), changes, c.set(one, fmt.Sprintf("%d/writer-%d-%d", one, w, i)), c.set(other, fmt.Sprintf("%d/writer-%d", other, w))); err != nil {
				return fmt.Errorf("Commit: %w", err)
			}
		}
		return nil
	})
	c.agree(a, b)
	if h.Committed != nil {
		c.wantChanges(sent...)
	}
}

// clusterMoving has processes come and go while all commit in the name of what they own: nothing that was committed may be missing
// when a lane is owned anew, which own sees.
func (h ClusterHarness) clusterMoving(t *testing.T) {
	c := h.cluster(t, 6, 0)
	writing, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	t.Cleanup(func() {
		stop()
		writers.Wait()
	})
	write := func(m *clusterMember) {
		writers.Go(func() {
			for i := 0; writing.Err() == nil; i++ {
				select {
				case <-m.left:
					return
				default:
				}
				lanes := m.lanes()
				if len(lanes) == 0 {
					time.Sleep(clusterLook)
					continue
				}
				lane := lanes[i%len(lanes)]
				err := m.commit(writing, nil, c.set(lane, fmt.Sprintf("lane-%d", lane)))
				if err != nil && !errors.Is(err, syncd.ErrFenced) && writing.Err() == nil {
					c.mu.Lock()
					c.fault("%s: Commit while lanes move: %v", m.name, err)
					c.mu.Unlock()
					return
				}
			}
		})
	}
	enter := func() *clusterMember {
		m := c.join()
		write(m)
		return m
	}
	a := enter()
	c.settled(a)
	b := enter()
	c.settled(a, b)
	d := enter()
	c.settled(a, b, d)
	a.leaves()
	c.settled(b, d)
	e := enter()
	b.leaves()
	c.settled(d, e)
	stop()
	writers.Wait()
	c.agree(d, e)
}

func (h ClusterHarness) clusterRefused(t *testing.T) {
	h.takesChanges(t)
	if h.TooLarge == 0 {
		t.Skip("the harness has no TooLarge")
	}
	c := h.cluster(t, 2, 0)
	a := c.join()
	c.settled(a)
	o := outlet{name: c.options.Group, targets: SinkTargets()}
	var mu sync.Mutex
	var sent [][]syncd.Change
	together(t, 6, func(i int) error {
		changes := c.changes(fmt.Sprintf("call-%d", i), 3)
		if i%2 == 0 {
			changes[1] = o.change(fmt.Sprintf("large-%d", i), bson.E{Key: "text", Value: strings.Repeat("x", h.TooLarge)})
			own, err := refusalOf(1, a.commit(t.Context(), changes, c.set(0, "refused")))
			if err != nil {
				return err
			}
			if !errors.Is(own, syncd.ErrTooLarge) {
				return fmt.Errorf("change 1 is refused: %w; want an error that wraps ErrTooLarge", own)
			}
			changes = slices.Delete(changes, 1, 2)
		}
		mu.Lock()
		sent = append(sent, changes)
		mu.Unlock()
		return a.commit(t.Context(), changes, c.set(i%2, fmt.Sprintf("call-%d", i)))
	})
	c.agree(a)
	c.unseen(a, "refused")
	c.wantChanges(sent...)
}

// clusterContextEnds ends contexts at moments at which a cluster may look at one.
func (h ClusterHarness) clusterContextEnds(t *testing.T) {
	c := h.cluster(t, 1, 0)
	var sent [][]syncd.Change
	for _, looks := range []int{0, 2, 4, 7} {
		m := c.join()
		c.settled(m)
		name := fmt.Sprintf("mark-%d", looks)
		var changes []syncd.Change
		if h.Committed != nil {
			changes = c.changes(name, 5)
		}
		mark := c.set(0, name)
		var err error
		inTime(t, patience, "Commit, whose context ended,", func() error {
			err = m.commit(newFragileContext(t, looks), changes, mark)
			return nil
		})
		m.leaves()
		must(t, m.close()) // which settles what is undecided
		next := c.join()
		c.settled(next)
		c.mu.Lock()
		_, there := next.state[name]
		c.mu.Unlock()
		if err == nil && !there {
			t.Errorf("Commit returned nil, and the mark is not there")
		}
		if there {
			sent = append(sent, changes)
		}
		if h.Committed != nil {
			c.wantChanges(sent...)
		}
		next.leaves()
	}
}

func (h ClusterHarness) clusterManyLanes(t *testing.T) {
	c := h.cluster(t, 64, 0)
	a := c.join()
	c.settled(a)
	marks := make([]syncd.LaneMark, 64)
	for l := range marks {
		marks[l] = c.set(l, strconv.Itoa(l))
	}
	a.commits(nil, marks...)
	b, d := c.join(), c.join()
	c.settled(a, b, d)
	for _, m := range []*clusterMember{a, b, d} {
		var own []syncd.LaneMark
		for _, l := range m.lanes() {
			own = append(own, c.set(l, strconv.Itoa(l)))
		}
		m.commits(nil, own...)
	}
	c.agree(a, b, d)
}

func (h ClusterHarness) clusterLanes(t *testing.T) {
	c := h.cluster(t, 3, 0)
	a := c.open(nil)
	b := c.open(func(o *syncd.ClusterOptions) { o.Lanes = 5 }) // of a topic that is there already
	if a.Lanes() != 3 || b.Lanes() != 3 {
		t.Errorf("a cluster of 3 lanes has %d, and %d for one who wants 5", a.Lanes(), b.Lanes())
	}
	a.join()
	b.join()
	c.settled(a, b)
}

func (h ClusterHarness) clusterEnded(t *testing.T) {
	c := h.cluster(t, 2, 0)
	a := c.open(nil)
	a.join()
	a.leaves() // at whatever moment of its joining
	b := c.open(nil)
	b.leave, b.left = func() {}, make(chan struct{})
	close(b.left)
	inTime(t, patience, "Join, whose context had ended,", func() error { return b.Join(canceled(t), b.member()) })
	unused := c.open(nil)
	last := c.join()
	c.settled(last)
	unused.fenced(c.set(0, "stale"))
	a.fenced(c.set(0, "stale"))
	last.commits(nil, c.set(0, "progress"))
	c.agree(last)
	c.unseen(last, "stale")
}
