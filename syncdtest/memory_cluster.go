package syncdtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/syncd-io/syncd"
)

// MemoryBroker is what the members of a memory cluster share: the lanes, who owns them, and what is committed. The fields must be set
// before the first Process. Every method is safe for concurrent use.
type MemoryBroker struct {
	// Latency is how long a commit takes.
	Latency time.Duration
	// Lag is the longest time that a lane is read behind others, by chance; 0 reads all at once.
	Lag time.Duration
	// Reject says why a change is refused, or nil.
	Reject func(c *syncd.Change) error
	// Committed is told of changes that are committed, one call at a time; nil is told nothing.
	Committed func(changes []syncd.Change)
	// Unfenced takes commits from whoever asks, so that a test can show that it would see that.
	Unfenced bool

	mu      sync.Mutex
	moved   sync.Cond // anything below has changed
	lanes   []memoryLane
	members []*MemoryProcess   // of the group, in the order in which they joined
	logs    [][]syncd.LaneMark // of each lane, all marks that were ever committed
	changes []syncd.Change     // likewise
	moves   int
}

// memoryLane is a lane: whose it is, and what that process was told of it.
type memoryLane struct {
	owner  *MemoryProcess // nil: nobody's
	grant  int            // tells this ownership from earlier ones
	read   int            // marks that the owner must have read before it is told
	told   bool           // that it owns the lane
	losing bool           // the owner is to give it up
}

// NewMemoryBroker returns a broker of so many lanes.
func NewMemoryBroker(lanes int) *MemoryBroker {
	b := &MemoryBroker{lanes: make([]memoryLane, lanes), logs: make([][]syncd.LaneMark, lanes)}
	b.moved.L = &b.mu
	return b
}

// Changes returns the changes that are committed, in their order.
func (b *MemoryBroker) Changes() []syncd.Change {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.changes)
}

// Marks returns all marks that were ever committed, lane by lane.
func (b *MemoryBroker) Marks() []syncd.LaneMark {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Concat(b.logs...)
}

// Moves is how often a lane was given to a process.
func (b *MemoryBroker) Moves() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.moves
}

// Process returns the cluster as one process sees it.
func (b *MemoryBroker) Process(o syncd.ClusterOptions) *MemoryProcess {
	return &MemoryProcess{broker: b, o: o, read: make([]int, len(b.lanes)), later: make([]time.Time, len(b.lanes))}
}

// join takes a process into the group. One whose instance has been away has its lanes back. The caller holds mu.
func (b *MemoryBroker) join(p *MemoryProcess) {
	for i, m := range b.members {
		if !m.away || m.o.Instance != p.o.Instance {
			continue
		}
		b.members[i] = p
		for l := range b.lanes {
			if b.lanes[l].owner == m {
				b.moves++
				b.lanes[l] = memoryLane{owner: p, grant: b.moves, read: len(b.logs[l])}
			}
		}
		b.balance()
		return
	}
	b.members = append(b.members, p)
	b.balance()
}

// leave takes a process out of the group. The caller holds mu.
func (b *MemoryBroker) leave(p *MemoryProcess) {
	b.members = slices.DeleteFunc(b.members, func(m *MemoryProcess) bool { return m == p })
	for i := range b.lanes {
		if b.lanes[i].owner == p {
			b.lanes[i] = memoryLane{}
		}
	}
	b.balance()
}

// balance gives lanes to those who have the fewest, and has those with too many give some up. The caller holds mu.
func (b *MemoryBroker) balance() {
	defer b.moved.Broadcast()
	if len(b.members) == 0 {
		return
	}
	has := map[*MemoryProcess]int{}
	for _, l := range b.lanes {
		if l.owner != nil && !l.losing {
			has[l.owner]++
		}
	}
	poorest := func() *MemoryProcess {
		return slices.MinFunc(b.members, func(x, y *MemoryProcess) int { return has[x] - has[y] })
	}
	for i := range b.lanes {
		if l := &b.lanes[i]; l.owner == nil {
			p := poorest()
			b.moves++
			*l = memoryLane{owner: p, grant: b.moves, read: len(b.logs[i])}
			has[p]++
		}
	}
	for i := range b.lanes {
		l := &b.lanes[i]
		if p := poorest(); !l.losing && has[l.owner] > has[p]+1 {
			l.losing = true
			has[l.owner]--
			has[p]++ // it will get this one, or another
		}
	}
}

// MemoryProcess is a process that may take part in a memory cluster, once. It implements syncd.Cluster.
type MemoryProcess struct {
	broker *MemoryBroker
	o      syncd.ClusterOptions

	// broker.mu protects these.
	read   []int       // of each lane's log: what it was told
	later  []time.Time // likewise: when the rest is read
	member bool        // by its own knowledge
	out    bool        // it was put out of the group, and does not know
	still  bool        // it does nothing, as behind SIGSTOP
	dead   bool        // it does nothing, and never will
	away   bool        // it has left, and its instance may come back
	put    error       // why it was put out, as it knows
}

var _ syncd.Cluster = (*MemoryProcess)(nil)

// Stop has the process stand still, as SIGSTOP does. After the session's time it is put out of the group.
func (p *MemoryProcess) Stop() { p.cut(&p.still) }

// errDead ends the calls of a process that was killed.
var errDead = errors.New("the process was killed")

// Kill ends the process without a word, as SIGKILL does: whatever it does fails, and commits nothing.
func (p *MemoryProcess) Kill() { p.cut(&p.dead) }

// Evict ends the membership, with why as the error of Join; what the process commits fails. syncd.ErrFenced is that of one whose transaction
// took too long.
func (p *MemoryProcess) Evict(why error) {
	p.broker.mu.Lock()
	defer p.broker.mu.Unlock()
	p.put = why
	p.broker.moved.Broadcast()
}

// errUndecided ends the commits of a process that was put out.
var errUndecided = errors.New("it is not known whether it is committed")

func (p *MemoryProcess) cut(how *bool) {
	b := p.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	*how = true
	b.moved.Broadcast()
	p.expire(func() bool { return *how })
}

// expire puts the process out of the group after a session, if it is still so.
func (p *MemoryProcess) expire(still func() bool) {
	b := p.broker
	time.AfterFunc(p.o.Session, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if still() && slices.Contains(b.members, p) {
			p.out = true
			b.leave(p)
		}
	})
}

// Continue ends Stop.
func (p *MemoryProcess) Continue() {
	p.broker.mu.Lock()
	defer p.broker.mu.Unlock()
	p.still = false
	p.broker.moved.Broadcast()
}

// Lanes implements syncd.Cluster.
func (p *MemoryProcess) Lanes() int { return len(p.broker.lanes) }

// Close implements syncd.Cluster. What stands still ends.
func (p *MemoryProcess) Close() error {
	p.broker.mu.Lock()
	defer p.broker.mu.Unlock()
	if p.still {
		p.dead = true
		p.broker.moved.Broadcast()
	}
	return nil
}

// wake has those who wait look at ctx when it ends.
func (b *MemoryBroker) wake(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.moved.Broadcast()
	})
}

// lanesOf returns the lanes of which is is true. The caller holds mu.
func (b *MemoryBroker) lanesOf(is func(l int) bool) (lanes []int) {
	for i := range b.lanes {
		if is(i) {
			lanes = append(lanes, i)
		}
	}
	return lanes
}

// Join implements syncd.Cluster.
func (p *MemoryProcess) Join(ctx context.Context, m syncd.Member) error {
	b := p.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.wake(ctx)()
	outside := func(f func()) { // it must not hold mu
		b.mu.Unlock()
		defer b.mu.Lock()
		f()
	}
	caughtUp, all := false, make([]int, len(b.logs))
	for l := range all {
		all[l] = len(b.logs[l])
	}
	behind := func(ends []int) bool {
		for l := range ends {
			if p.read[l] < ends[l] {
				return true
			}
		}
		return false
	}
	var owned []int // of which the member was told
	for {
		switch {
		case p.dead:
			return errDead
		case p.put != nil && !p.still:
			b.leave(p)
			if len(owned) > 0 {
				outside(func() { m.Lost(owned) })
			}
			return p.why()
		case p.still && ctx.Err() != nil:
			if len(owned) > 0 {
				outside(func() { m.Lost(owned) })
			}
			return p.why() // the group will see
		case p.still:
			b.moved.Wait()
			continue
		case p.out:
			p.out, p.member = false, false
			if lost := owned; len(lost) > 0 {
				owned = nil
				outside(func() { m.Lost(lost) })
			}
			continue
		case ctx.Err() != nil:
			if len(owned) > 0 {
				losing, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.o.Leave)
				outside(func() { m.Losing(losing, owned) })
				cancel()
			}
			switch {
			case p.out:
			case p.o.Instance != "":
				p.away = true
				p.expire(func() bool { return p.away })
			default:
				b.leave(p)
			}
			return p.why()
		case !p.member:
			p.member = true
			b.join(p)
			continue
		case !caughtUp && !behind(all):
			caughtUp = true
			outside(m.CaughtUp)
			continue
		}
		gained := b.lanesOf(func(l int) bool {
			lane := &b.lanes[l]
			return lane.owner == p && !lane.told && !lane.losing && lane.read <= p.read[l]
		})
		losing := b.lanesOf(func(l int) bool { return b.lanes[l].owner == p && b.lanes[l].losing })
		now := time.Now()
		unread := b.lanesOf(func(l int) bool { return p.read[l] < len(b.logs[l]) && !p.later[l].After(now) })
		switch {
		case len(losing) > 0:
			told := slices.DeleteFunc(slices.Clone(losing), func(l int) bool { return !b.lanes[l].told })
			if len(told) > 0 {
				within, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.o.Leave)
				outside(func() { m.Losing(within, told) })
				cancel()
			}
			owned = slices.DeleteFunc(owned, func(l int) bool { return slices.Contains(told, l) })
			for _, l := range losing {
				if b.lanes[l].owner == p {
					b.lanes[l] = memoryLane{}
				}
			}
			b.balance()
		case len(unread) > 0 && (len(gained) == 0 || rand.IntN(2) == 0):
			l := unread[rand.IntN(len(unread))] // lanes are read side by side
			mark := b.logs[l][p.read[l]]
			p.read[l]++
			if b.Lag > 0 && rand.IntN(4) == 0 {
				lag := rand.N(b.Lag)
				p.later[l] = now.Add(lag)
				time.AfterFunc(lag, func() {
					b.mu.Lock()
					defer b.mu.Unlock()
					b.moved.Broadcast()
				})
			}
			outside(func() { m.Read(mark) })
		case len(gained) > 0:
			var tenures []syncd.Tenure
			for _, l := range gained {
				b.lanes[l].told = true
				tenures = append(tenures, syncd.Tenure{Lane: l, Number: b.lanes[l].grant})
			}
			owned = append(owned, gained...)
			outside(func() { m.Own(tenures) })
		default:
			b.moved.Wait()
		}
	}
}

// why is the error of Join of a process that was put out, also where it was to leave meanwhile; else nil. The caller holds mu.
func (p *MemoryProcess) why() error {
	if p.put == nil {
		return nil
	}
	return fmt.Errorf("taking part: %w", p.put)
}

// Commit implements syncd.Cluster.
func (p *MemoryProcess) Commit(ctx context.Context, tenures []syncd.Tenure, changes []syncd.Change, marks []syncd.LaneMark) error {
	b := p.broker
	if len(tenures) == 0 {
		return errors.New("committing in the name of no lane")
	}
	for _, t := range tenures {
		if t.Lane < 0 || t.Lane >= len(b.lanes) {
			return fmt.Errorf("committing in lane %d: there are %d", t.Lane, len(b.lanes))
		}
	}
	for _, wait := range []time.Duration{b.Latency, 0} {
		if err := p.Alive(ctx); err != nil {
			return err
		}
		if wait > 0 {
			time.Sleep(wait)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range tenures {
		if l := &b.lanes[t.Lane]; !b.Unfenced && (l.owner != p || !l.told || l.grant != t.Number) {
			return fmt.Errorf("committing in lane %d: %w", t.Lane, syncd.ErrFenced)
		}
	}
	var refused syncd.BatchError
	for i := range changes {
		if b.Reject != nil {
			if err := b.Reject(&changes[i]); err != nil {
				refused.Fail(i, err)
			}
		}
	}
	if err := refused.OrNil(); err != nil {
		return err
	}
	for _, m := range marks {
		if m.Lane < 0 || m.Lane >= len(b.lanes) {
			return fmt.Errorf("a mark in lane %d: there are %d", m.Lane, len(b.lanes))
		}
	}
	b.changes = append(b.changes, changes...)
	if b.Committed != nil && len(changes) > 0 {
		b.Committed(changes)
	}
	for _, m := range marks {
		m.Value = bytes.Clone(m.Value)
		b.logs[m.Lane] = append(b.logs[m.Lane], m)
	}
	b.moved.Broadcast()
	return nil
}

// Alive waits until the process does not stand still any more. It is an error where it was killed.
func (p *MemoryProcess) Alive(ctx context.Context) error {
	b := p.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.wake(ctx)()
	for p.still && !p.dead && ctx.Err() == nil {
		b.moved.Wait()
	}
	switch {
	case p.dead:
		return errDead
	case p.put != nil:
		return errUndecided
	}
	return ctx.Err()
}
