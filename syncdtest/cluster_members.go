package syncdtest

import (
	"bytes"
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

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
)

// clusterLook is how often a case looks whether what it waits for is there.
const clusterLook = 5 * time.Millisecond

// clusterCase is the cluster of one case, as somebody sees it who hears of everything that its processes are told.
type clusterCase struct {
	h       ClusterHarness
	t       *testing.T
	options syncd.ClusterOptions

	mu        sync.Mutex
	wrong     []string
	owners    map[int]*clusterMember // by lane, of those that may commit in its name
	committed map[int]map[string]int // by lane and name, the number of the last value whose Commit has succeeded
	number    int                    // of the last value
	processes int
}

// clusterMember is a process of a case.
type clusterMember struct {
	ClusterProcess
	c    *clusterCase
	name string

	// losing is called by Losing; nil returns at once. It is set before the process joins.
	losing func(ctx context.Context, lanes []int)

	leave  context.CancelFunc
	left   chan struct{} // closed when Join has returned err
	err    error
	closed bool
	killed bool // it was cut off for longer than a session, so that Join may end with an error

	// c.mu guards these.
	calling  string           // the function of syncd.Member that runs
	read     []syncd.LaneMark // all that Read was told
	values   map[int]map[string]int
	state    map[string]string
	caughtUp int
	owned    map[int]bool
	tenures  map[int]syncd.Tenure // the last of each lane, over or not
	dead     bool                 // cut off for longer than a session: it owns nothing, though it does not know that yet
	owns     int                  // calls of Own
	losses   int                  // lanes that Losing was told of
	lost     int                  // lanes that Lost was told of
}

// cluster begins a case. A session of 0 is one that no case waits for the end of.
func (h ClusterHarness) cluster(t *testing.T, lanes int, session time.Duration) *clusterCase {
	t.Helper()
	if session == 0 {
		session = max(2*patience, 3*h.Session)
	}
	name := fmt.Sprintf("%s-%s", caseName(t), uuid.NewString()[:8])
	c := &clusterCase{
		h: h, t: t, owners: map[int]*clusterMember{}, committed: map[int]map[string]int{},
		options: syncd.ClusterOptions{Group: name, Topic: name, Lanes: lanes, Replicas: 1, Session: session, Leave: patience / 4},
	}
	t.Cleanup(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, w := range c.wrong {
			t.Error(w)
		}
	})
	return c
}

// open starts a process that does not join yet.
func (c *clusterCase) open(change func(*syncd.ClusterOptions)) *clusterMember {
	c.t.Helper()
	c.processes++
	o := c.options
	o.ProcessName = fmt.Sprintf("%s-p%d", o.Group, c.processes)
	if change != nil {
		change(&o)
	}
	m := &clusterMember{
		ClusterProcess: c.h.Open(c.t, o), c: c, name: fmt.Sprintf("process %d", c.processes), left: make(chan struct{}),
		values: map[int]map[string]int{}, state: map[string]string{}, owned: map[int]bool{}, tenures: map[int]syncd.Tenure{},
	}
	c.t.Cleanup(func() {
		inTime(c.t, 2*patience, "Close", func() error {
			if m.leave != nil {
				m.leave()
				<-m.left
				if m.err != nil && !m.killed {
					return fmt.Errorf("Join of %s: %w", m.name, m.err)
				}
			}
			return m.close()
		})
	})
	return m
}

// close closes a process that has left, if it is not closed yet.
func (m *clusterMember) close() error {
	if m.closed {
		return nil
	}
	m.closed = true
	if err := m.Close(); err != nil {
		return fmt.Errorf("Close of %s: %w", m.name, err)
	}
	return nil
}

// join opens a process, which takes part from now on.
func (c *clusterCase) join() *clusterMember {
	c.t.Helper()
	m := c.open(nil)
	m.join()
	return m
}

// join has a process take part until the case ends, or m.leave is called.
func (m *clusterMember) join() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(m.c.t.Context()))
	m.leave = cancel
	go func() {
		defer close(m.left)
		m.err = m.Join(ctx, m.member())
		m.c.mu.Lock()
		defer m.c.mu.Unlock()
		if len(m.owned) > 0 {
			m.c.fault("%s: Join returned, and nobody was told that lanes %v are not owned any more", m.name, slices.Sorted(maps.Keys(m.owned)))
		}
	}()
}

// fault notes what is wrong. The caller holds mu.
func (c *clusterCase) fault(format string, args ...any) {
	if len(c.wrong) < 10 {
		c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
	}
}

// call notes that a function of syncd.Member runs, until the function that it returns is called. The caller holds mu.
func (m *clusterMember) call(what string) (end func()) {
	if m.calling != "" {
		m.c.fault("%s: %s was called while %s runs", m.name, what, m.calling)
	}
	m.calling = what
	return func() { m.calling = "" }
}

// member is what the process does with what it is told.
func (m *clusterMember) member() syncd.Member {
	c := m.c
	return syncd.Member{
		Read: func(mark syncd.LaneMark) {
			c.mu.Lock()
			defer c.mu.Unlock()
			defer m.call("Read")()
			m.read = append(m.read, syncd.LaneMark{Lane: mark.Lane, Mark: syncd.Mark{Name: mark.Name, Value: bytes.Clone(mark.Value)}})
			m.note(mark)
		},
		CaughtUp: func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			defer m.call("CaughtUp")()
			if m.caughtUp++; m.caughtUp > 1 {
				c.fault("%s: CaughtUp was called again", m.name)
			}
		},
		Own: func(tenures []syncd.Tenure) {
			c.mu.Lock()
			defer c.mu.Unlock()
			defer m.call("Own")()
			m.owns++
			if len(tenures) == 0 {
				c.fault("%s: Own of no lane", m.name)
			}
			for _, t := range tenures {
				m.own(t)
			}
		},
		Losing: func(ctx context.Context, lanes []int) {
			c.mu.Lock()
			end := m.call("Losing")
			for _, l := range lanes {
				if !m.owned[l] {
					c.fault("%s: Losing of lane %d, which it was not told to own", m.name, l)
				}
			}
			m.losses += len(lanes)
			c.mu.Unlock()
			if m.losing != nil {
				m.losing(ctx, lanes)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			defer end()
			m.disown(lanes)
		},
		Lost: func(lanes []int) {
			c.mu.Lock()
			defer c.mu.Unlock()
			defer m.call("Lost")()
			for _, l := range lanes {
				if !m.owned[l] {
					c.fault("%s: Lost of lane %d, which it was not told to own", m.name, l)
				}
			}
			m.lost += len(lanes)
			m.disown(lanes)
		},
	}
}

// note keeps the number of a value that set made. The caller holds mu.
func (m *clusterMember) note(mark syncd.LaneMark) {
	n := 0
	if mark.Value == nil {
		delete(m.state, mark.Name)
	} else {
		m.state[mark.Name] = string(mark.Value)
		if text, numbered := strings.CutPrefix(string(mark.Value), "#"); numbered {
			n, _ = strconv.Atoi(text)
		}
	}
	if n == 0 {
		return
	}
	lane := m.values[mark.Lane]
	if lane == nil {
		lane = map[string]int{}
		m.values[mark.Lane] = lane
	}
	if n <= lane[mark.Name] {
		m.c.fault("%s: Read was told value %d of %q after value %d", m.name, n, mark.Name, lane[mark.Name])
	}
	lane[mark.Name] = n
}

// own is what Own says of a lane. The caller holds mu.
func (m *clusterMember) own(t syncd.Tenure) {
	c, lane := m.c, t.Lane
	if last, had := m.tenures[lane]; had && last == t {
		c.fault("%s: Own of lane %d by the tenure of before", m.name, lane)
	}
	m.tenures[lane] = t
	if lane < 0 || lane >= m.Lanes() {
		c.fault("%s: Own of lane %d of %d", m.name, lane, m.Lanes())
	}
	if other := c.owners[lane]; other != nil && !other.dead {
		c.fault("%s: Own of lane %d, which %s owns", m.name, lane, other.name)
	}
	for name, n := range c.committed[lane] {
		if m.values[lane][name] < n {
			c.fault("%s: Own of lane %d before Read was told value %d of %q", m.name, lane, n, name)
		}
	}
	m.dead = false
	m.owned[lane], c.owners[lane] = true, m
}

// disown is what Losing and Lost say of lanes. The caller holds mu.
func (m *clusterMember) disown(lanes []int) {
	for _, l := range lanes {
		delete(m.owned, l)
		if m.c.owners[l] == m {
			delete(m.c.owners, l)
		}
	}
}

// kill cuts a process off for good, or until mend is called: what it owned others may have from now on.
func (m *clusterMember) kill() (mend func()) {
	m.c.mu.Lock()
	m.dead, m.killed = true, true
	m.c.mu.Unlock()
	return m.Cut()
}

// wait waits until the condition holds, which is looked at with mu held.
func (c *clusterCase) wait(what string, condition func() bool) {
	c.t.Helper()
	c.waitFor(patience, what, condition)
}

func (c *clusterCase) waitFor(limit time.Duration, what string, condition func() bool) {
	c.t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(clusterLook) {
		c.mu.Lock()
		done := condition()
		c.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(end) {
			c.t.Fatalf("waited for %v in vain: %s", limit, what)
		}
	}
}

// lanesOf are the lanes that a process owns, sorted. The caller holds mu.
func (m *clusterMember) lanesOf() []int { return slices.Sorted(maps.Keys(m.owned)) }

func (m *clusterMember) lanes() []int {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.lanesOf()
}

// settled waits until the processes own all lanes, each its share.
func (c *clusterCase) settled(members ...*clusterMember) {
	c.t.Helper()
	c.settledWithin(patience, members...)
}

func (c *clusterCase) settledWithin(limit time.Duration, members ...*clusterMember) {
	c.t.Helper()
	lanes := members[0].Lanes()
	var ended *clusterMember
	c.waitFor(limit, fmt.Sprintf("%d processes to own %d lanes", len(members), lanes), func() bool {
		sum := 0
		for _, m := range members {
			select {
			case <-m.left:
				ended = m
				return true
			default:
			}
			if len(m.owned) < lanes/len(members) {
				return false
			}
			sum += len(m.owned)
		}
		return sum == lanes
	})
	if ended != nil {
		c.t.Fatalf("%s: Join returned: %v", ended.name, ended.err)
	}
}

// set makes a mark whose value has a number.
func (c *clusterCase) set(lane int, name string) syncd.LaneMark {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.number++
	return syncd.LaneMark{Lane: lane, Mark: syncd.Mark{Name: name, Value: fmt.Appendf(nil, "#%d", c.number)}}
}

// done notes marks whose Commit has succeeded.
func (c *clusterCase) done(marks ...syncd.LaneMark) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range marks {
		n, err := strconv.Atoi(strings.TrimPrefix(string(m.Value), "#"))
		if err != nil {
			continue
		}
		if c.committed[m.Lane] == nil {
			c.committed[m.Lane] = map[string]int{}
		}
		c.committed[m.Lane][m.Name] = max(c.committed[m.Lane][m.Name], n)
	}
}

// commit commits in the name of the marks' lanes.
func (m *clusterMember) commit(ctx context.Context, changes []syncd.Change, marks ...syncd.LaneMark) error {
	var lanes []int
	for _, mark := range marks {
		if !slices.Contains(lanes, mark.Lane) {
			lanes = append(lanes, mark.Lane)
		}
	}
	return m.commitAs(ctx, m.tenuresOf(lanes...), changes, marks...)
}

// commitAs commits in the name of tenures.
func (m *clusterMember) commitAs(ctx context.Context, tenures []syncd.Tenure, changes []syncd.Change, marks ...syncd.LaneMark) error {
	err := m.Commit(ctx, tenures, changes, marks)
	if err == nil {
		m.c.done(marks...)
	}
	return err
}

// tenuresOf are the process's last ones of lanes. One that it never had is no tenure of anybody's.
func (m *clusterMember) tenuresOf(lanes ...int) (tenures []syncd.Tenure) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	for _, l := range lanes {
		t, had := m.tenures[l]
		if !had {
			t = syncd.Tenure{Lane: l, Number: -1}
		}
		tenures = append(tenures, t)
	}
	return tenures
}

// commits is commit, which must succeed.
func (m *clusterMember) commits(changes []syncd.Change, marks ...syncd.LaneMark) {
	m.c.t.Helper()
	inTime(m.c.t, patience, "Commit", func() error {
		if err := m.commit(m.c.t.Context(), changes, marks...); err != nil {
			return fmt.Errorf("Commit: %w", err)
		}
		return nil
	})
}

// fenced is commit, which must be refused since the lanes are not the process's.
func (m *clusterMember) fenced(marks ...syncd.LaneMark) {
	m.c.t.Helper()
	inTime(m.c.t, 2*patience, "Commit of a lane that is not owned", func() error {
		if err := m.commit(m.c.t.Context(), nil, marks...); !errors.Is(err, syncd.ErrFenced) {
			return fmt.Errorf("Commit of a lane that %s does not own: %w, want one that wraps ErrFenced", m.name, err)
		}
		return nil
	})
}

// agree waits until Read has told the processes of all that was committed, and the marks given.
func (c *clusterCase) agree(members ...*clusterMember) {
	c.t.Helper()
	for _, m := range members {
		c.wait(m.name+" to read all that was committed", func() bool {
			for lane, names := range c.committed {
				for name, n := range names {
					if m.values[lane][name] < n {
						return false
					}
				}
			}
			return true
		})
	}
}

// unseen fails the case if a process was told of one of the names.
func (c *clusterCase) unseen(m *clusterMember, names ...string) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range m.read {
		if slices.Contains(names, r.Name) {
			c.fault("%s: Read was told of %q, which was not committed", m.name, r.Name)
		}
	}
}

// leaves ends a process's part, which must be without an error.
func (m *clusterMember) leaves() {
	m.c.t.Helper()
	m.leave()
	inTime(m.c.t, patience, "Join, whose context has ended,", func() error {
		<-m.left
		if m.err != nil {
			return fmt.Errorf("Join of %s: %w", m.name, m.err)
		}
		return nil
	})
}
