package lanes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/marks"
	"github.com/syncd-io/syncd/tally"
)

// The names of the marks that are not those of package marks, behind their prefix.
const (
	nameOrder   = "order"
	nameOwner   = "owner/"
	nameTrouble = "trouble/"
	nameAsk     = "ask/"
	nameGrant   = "grant/"
	nameBarrier = "barrier/"
)

// View is what a process knows of the lanes of a job, and what it owns of them. All methods are safe for concurrent use.
type View struct {
	cluster syncd.Cluster
	job     string
	me      Owner

	caughtUp chan struct{}

	mu      sync.Mutex
	changed chan struct{} // closed and made again whenever anything below has changed
	marks   map[string]stored
	splits  map[string]*split // of all collections, by the name of their marks
	turns   map[string]int64  // of the collections
	run     int64             // the turn of the kept run
	info    store.Info        // of the kept run
	order   Order
	trouble []Trouble
	asks    map[string]allowance // by process
	grants  map[string]allowance // likewise
	owners  map[int]Owner
	barrier map[int]string // the last of each lane
	moves   int
	lanes   []lane
	load    []int64 // splits that are not done, by lane
	moved   map[*follower]bool
	others  map[string]*other
	parts   map[string]bool // marks of splits that are being made by dividing others
}

// stored is a mark, with its lane and its turn.
type stored struct {
	lane  int
	turn  int64
	value []byte
}

// split is the mark of a split.
type split struct {
	name       string
	collection string
	lane       int
	turn       int64
	state      store.Split
	work       *Assignment // what this process does with it; nil does nothing
	had        bool        // this process had it since it owns the lane: what it made of it may not have been read back
}

// lane is a lane as this process has it.
type lane struct {
	owned  bool
	tenure syncd.Tenure // the last one
	// leaving says that others are to have it: nothing is begun in it.
	leaving bool
	// open says that its splits may be worked on and kept: nothing is under way of an earlier time.
	open    bool
	leading *Leading // of whoever leads; only of lane 0
}

// Owner is the process that owns a lane.
type Owner struct {
	Process string    `json:"process"`
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Address string    `json:"address,omitempty"` // of its service, where it has one
	Since   time.Time `json:"since"`
}

// Order is what the leader has all do.
type Order struct {
	RunID       string        `json:"run_id"`
	Fingerprint string        `json:"fingerprint"` // of the work and its places; who has another one must not take part
	Outcome     tally.Outcome `json:"outcome"`     // Running: work on the splits
	Problem     string        `json:"problem,omitempty"`
	Hint        string        `json:"hint,omitempty"`
	Held        []string      `json:"held,omitempty"` // content types that the index held before
	Leader      Owner         `json:"leader"`
}

// Trouble is what ends the run of all: a guard, or a document where none may fail.
type Trouble struct {
	RunID   string        `json:"run_id"`
	Outcome tally.Outcome `json:"outcome"`
	Problem string        `json:"problem"`
	Hint    string        `json:"hint,omitempty"`
	Fresh   bool          `json:"fresh,omitempty"` // the run must not be resumed
	Owner   Owner         `json:"owner"`
}

// New makes the view of a job. Its Member must be told of the cluster.
func New(c syncd.Cluster, job string, me Owner) *View {
	return &View{
		cluster: c, job: job, me: me, caughtUp: make(chan struct{}), changed: make(chan struct{}), marks: map[string]stored{},
		splits: map[string]*split{}, turns: map[string]int64{}, owners: map[int]Owner{}, barrier: map[int]string{},
		asks: map[string]allowance{}, grants: map[string]allowance{}, lanes: make([]lane, c.Lanes()),
		load: make([]int64, c.Lanes()), moved: map[*follower]bool{}, parts: map[string]bool{}, others: map[string]*other{},
	}
}

// own begins the names of a job's marks that are not those of package marks. No prefix of theirs begins with it.
func own(job string) string { return "?" + url.PathEscape(job) + "/" }

// Member returns what the cluster is to tell.
func (v *View) Member() syncd.Member {
	return syncd.Member{
		Read:     v.read,
		CaughtUp: func() { close(v.caughtUp) },
		Own:      v.gain,
		Losing:   v.giveUp,
		Lost:     func(lanes []int) { v.lose(lanes) },
	}
}

// Info is what is kept of the last run.
func (v *View) Info() store.Info {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.info
}

// CaughtUp is closed when everything was read that there was.
func (v *View) CaughtUp() <-chan struct{} { return v.caughtUp }

// change wakes all that wait. The caller holds mu.
func (v *View) change() {
	close(v.changed)
	v.changed = make(chan struct{})
}

// wait waits until is is true, which it asks under mu.
func (v *View) wait(ctx context.Context, is func() bool) error {
	for {
		v.mu.Lock()
		ok, changed := is(), v.changed
		v.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// read takes a mark in.
func (v *View) read(m syncd.LaneMark) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if name, mine := strings.CutPrefix(m.Name, own(v.job)); mine {
		v.readOwn(name, m)
		v.change()
		return
	}
	name, mine := strings.CutPrefix(m.Name, marks.PrefixOf(v.job))
	if !mine {
		v.readOther(m.Name, m.Value)
		return
	}
	// A later run may have put the name into another lane, which may be read first. What this lane says of it then is older.
	kept, there := v.marks[m.Name]
	elsewhere := there && kept.lane != m.Lane
	old := v.splits[m.Name]
	if m.Value == nil {
		if old != nil && old.lane == m.Lane {
			v.forget(old)
		}
		if !elsewhere {
			delete(v.marks, m.Name)
		}
		return
	}
	value, err := marks.ParseValue(name, m.Value)
	if elsewhere && value.Turn < kept.turn {
		return
	}
	v.marks[m.Name] = stored{m.Lane, value.Turn, m.Value}
	if old != nil && old.lane != m.Lane {
		if old.turn < 0 && value.Turn != v.turns[old.collection] {
			return // this process is making a split of that name
		}
		v.forget(old)
	}
	if err != nil {
		return // whoever opens the store is told
	}
	switch {
	case value.Info != nil:
		v.run, v.info = value.Turn, *value.Info
	case value.Collection != nil:
		v.turns[marks.CollectionOf(name)] = value.Turn
	case value.Split != nil:
		v.readSplit(name, m, value)
	}
	v.change()
}

// readSplit takes the state of a split in. The caller holds mu.
func (v *View) readSplit(name string, m syncd.LaneMark, value marks.Value) {
	s := v.splits[m.Name]
	if s == nil {
		s = &split{name: m.Name, collection: marks.CollectionOf(name), lane: m.Lane}
		v.splits[m.Name] = s
	} else if !s.state.Done {
		v.load[s.lane]--
	}
	s.had = s.had && s.turn == value.Turn
	s.turn, s.state = value.Turn, *value.Split
	if !s.state.Done {
		v.load[s.lane]++
	}
	for f := range v.moved {
		f.changed[s] = true
	}
}

// forget takes a split out. The caller holds mu.
func (v *View) forget(s *split) {
	delete(v.splits, s.name)
	if !s.state.Done {
		v.load[s.lane]--
	}
	v.stop(s)
}

// stop has the work on a split end. The caller holds mu.
func (v *View) stop(s *split) {
	if s.work != nil {
		s.work.end()
	}
}

func parseOrder(value []byte) (o Order, ok bool) {
	err := json.Unmarshal(value, &o)
	return o, err == nil
}

// readOwn takes a mark in that is this package's. The caller holds mu.
func (v *View) readOwn(name string, m syncd.LaneMark) {
	switch {
	case name == nameOrder:
		if o, ok := parseOrder(m.Value); ok {
			v.order = o
		}
	case strings.HasPrefix(name, nameBarrier):
		v.barrier[m.Lane] = string(m.Value)
	case strings.HasPrefix(name, nameOwner):
		var o Owner
		if json.Unmarshal(m.Value, &o) == nil {
			if v.owners[m.Lane].Process != o.Process {
				v.moves++
			}
			v.owners[m.Lane] = o
		}
	case strings.HasPrefix(name, nameAsk):
		var a allowance
		if json.Unmarshal(m.Value, &a) == nil {
			v.asks[a.Process] = a
		}
	case strings.HasPrefix(name, nameGrant):
		var a allowance
		if json.Unmarshal(m.Value, &a) == nil {
			v.grants[a.Process] = a
		}
	case strings.HasPrefix(name, nameTrouble):
		var t Trouble
		if json.Unmarshal(m.Value, &t) == nil {
			v.trouble = append(v.trouble, t)
		}
	}
}

// gain notes lanes that are this process's, and says so in them.
func (v *View) gain(tenures []syncd.Tenure) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, t := range tenures {
		v.lanes[t.Lane].owned, v.lanes[t.Lane].tenure = true, t
	}
	v.open()
	v.change()
}

// open opens the owned lanes in which nothing of an earlier tenure is under way, so that what this process knew of them then can't
// come behind what others have kept since. The caller holds mu.
func (v *View) open() {
	under := map[int]bool{0: v.lanes[0].leading != nil}
	for _, s := range v.splits {
		if s.work != nil {
			under[s.lane] = true
		}
	}
	for l := range v.lanes {
		if v.lanes[l].owned && !v.lanes[l].open && !under[l] {
			v.lanes[l].open = true
		}
	}
}

// giveUp ends the work in lanes that others are to have, and returns when nothing is under way.
func (v *View) giveUp(ctx context.Context, lanes []int) {
	v.mu.Lock()
	for _, l := range lanes {
		v.lanes[l].leaving = true
	}
	for _, s := range v.splits {
		if slices.Contains(lanes, s.lane) {
			v.stop(s)
		}
	}
	if slices.Contains(lanes, 0) && v.lanes[0].leading != nil {
		v.lanes[0].leading.drain()
	}
	v.mu.Unlock()
	_ = v.wait(ctx, func() bool {
		for _, s := range v.splits {
			if s.work != nil && slices.Contains(lanes, s.lane) {
				return false
			}
		}
		return !slices.Contains(lanes, 0) || v.lanes[0].leading == nil
	}) // what is still under way then is refused
	v.lose(lanes)
}

// lose notes that lanes are others'.
func (v *View) lose(lanes []int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.loseNow(lanes)
}

// loseNow is lose for a caller that holds mu.
func (v *View) loseNow(lanes []int) {
	for _, l := range lanes {
		v.lanes[l].owned, v.lanes[l].open, v.lanes[l].leaving = false, false, false
		if l == 0 && v.lanes[0].leading != nil {
			v.lanes[0].leading.drain()
			v.lanes[0].leading.lose()
		}
	}
	for _, s := range v.splits {
		if slices.Contains(lanes, s.lane) {
			v.stop(s)
			s.had = false
		}
	}
	v.change()
}

// errLost is the error of what was to be kept in a lane that is another process's by now.
var errLost = fmt.Errorf("%w: the lane is another process's by now: %w", marks.ErrNothing, syncd.ErrFenced)

// commit commits in the name of lanes.
func (v *View) commit(ctx context.Context, lanes []int, changes []syncd.Change, all []syncd.LaneMark) error {
	v.mu.Lock()
	tenures := make([]syncd.Tenure, len(lanes))
	for i, l := range lanes {
		if !v.lanes[l].open {
			v.mu.Unlock()
			return errLost
		}
		tenures[i] = v.lanes[l].tenure
	}
	v.mu.Unlock()
	return v.commitAs(ctx, tenures, changes, all)
}

// commitAs commits in the name of lanes as this process has or had them.
func (v *View) commitAs(ctx context.Context, tenures []syncd.Tenure, changes []syncd.Change, all []syncd.LaneMark) error {
	err := v.cluster.Commit(ctx, tenures, changes, all)
	if !errors.Is(err, syncd.ErrFenced) {
		return err
	}
	if len(tenures) == 1 {
		v.mu.Lock()
		if l := tenures[0].Lane; v.lanes[l].tenure == tenures[0] { // otherwise the lane was lost and gained again meanwhile
			v.loseNow([]int{l}) // which the cluster has yet to tell
		}
		v.mu.Unlock()
	}
	return fmt.Errorf("%w: %w", marks.ErrNothing, err)
}

// laneMarks gives marks of package marks their lanes: lane 0 for what is of the run and of collections, and of splits that of their
// marks, or for new ones the lane with the least to do.
func (v *View) laneMarks(all []syncd.Mark) []syncd.LaneMark {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := make([]syncd.LaneMark, len(all))
	for i, m := range all {
		out[i] = syncd.LaneMark{Lane: v.laneOf(m.Name), Mark: m}
	}
	return out
}

// laneOf returns the lane of a mark. The caller holds mu.
func (v *View) laneOf(name string) int {
	if s := v.splits[name]; s != nil {
		return s.lane
	}
	if m, there := v.marks[name]; there {
		return m.lane
	}
	behind := strings.TrimPrefix(name, marks.PrefixOf(v.job))
	if collection := marks.CollectionOf(behind); collection == "" || !marks.IsSplit(behind) || store.IsStream(collection) || store.IsDeletes(collection) {
		return 0
	}
	least := 0
	for l := range v.load {
		if v.load[l] < v.load[least] {
			least = l
		}
	}
	v.load[least]++
	// It counts from now on, not only when it is read back.
	v.splits[name] = &split{name: name, collection: marks.CollectionOf(behind), lane: least, turn: -1}
	return least
}

// say commits a mark of this package in a lane that this process owns.
func (v *View) say(ctx context.Context, lane int, name string, what any) error {
	text, err := json.Marshal(what)
	if err != nil {
		return fmt.Errorf("writing the mark %q: %w", name, err)
	}
	return v.commit(ctx, []int{lane}, nil, []syncd.LaneMark{{Lane: lane, Mark: syncd.Mark{Name: own(v.job) + name, Value: text}}})
}

// Sign says in lanes that this process gained that they are its own, until ctx ends. It is for those who look.
func (v *View) Sign(ctx context.Context) error {
	for {
		var unsigned []int
		if err := v.wait(ctx, func() bool {
			unsigned = nil
			for l := range v.lanes {
				if v.lanes[l].open && v.owners[l].Process != v.me.Process {
					unsigned = append(unsigned, l)
				}
			}
			return len(unsigned) > 0
		}); err != nil {
			return nil //nolint:nilerr // ctx has ended
		}
		me := v.me
		me.Since = time.Now()
		var all []syncd.LaneMark
		for _, l := range unsigned {
			text, err := json.Marshal(me)
			if err != nil {
				return fmt.Errorf("writing the owner of a lane: %w", err)
			}
			all = append(all, syncd.LaneMark{Lane: l, Mark: syncd.Mark{Name: own(v.job) + nameOwner + strconv.Itoa(l), Value: text}})
		}
		err := v.commit(ctx, unsigned, nil, all)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // whatever the commit says of it
		case errors.Is(err, marks.ErrNothing):
		case err != nil:
			return err
		default:
			v.mu.Lock()
			for _, l := range unsigned {
				if v.owners[l].Process != me.Process {
					v.moves++
				}
				v.owners[l] = me
			}
			v.mu.Unlock()
		}
	}
}

// Status is a cluster as a process sees it.
type Status struct {
	Me     Owner // this process, since it takes part
	Lanes  []LaneStatus
	Moves  int // how often lanes were seen to go to another process
	Order  Order
	Owners []OwnerStatus // of lanes, each once, by their names
}

// LaneStatus is one lane.
type LaneStatus struct {
	Owner  Owner // none where this process has lost it, and nobody has said that it is theirs
	Mine   bool
	Splits int // that are not done
}

// OwnerStatus is one process that owns lanes.
type OwnerStatus struct {
	Owner  // as it said of the lane that it gained last
	Lanes  []int
	Splits map[string]int // that are not done, by collection
}

// Leads reports whether this process owns the lane of whoever leads.
func (s *Status) Leads() bool { return s.Lanes[0].Mine }

// Owned is how many lanes this process owns.
func (s *Status) Owned() (n int) {
	for i := range s.Lanes {
		if s.Lanes[i].Mine {
			n++
		}
	}
	return n
}

// Status returns how the cluster stands.
func (v *View) Status() Status {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := Status{Me: v.me, Moves: v.moves, Order: v.order}
	seen := map[string]*OwnerStatus{}
	for l := range v.lanes {
		o, mine := v.owners[l], v.lanes[l].owned
		switch {
		case mine && o.Process != v.me.Process:
			o = v.me // it has yet to say so
		case !mine && o.Process == v.me.Process:
			o = Owner{}
		}
		s.Lanes = append(s.Lanes, LaneStatus{Owner: o, Mine: mine, Splits: int(v.load[l])})
		if o.Process == "" {
			continue
		}
		process := seen[o.Process]
		if process == nil {
			process = &OwnerStatus{Owner: o, Splits: map[string]int{}}
			seen[o.Process] = process
		}
		if o.Since.After(process.Since) {
			process.Owner = o
		}
		process.Lanes = append(process.Lanes, l)
	}
	for _, split := range v.splits {
		if process := seen[s.Lanes[split.lane].Owner.Process]; process != nil && !split.state.Done {
			process.Splits[split.collection]++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		s.Owners = append(s.Owners, *seen[name])
	}
	return s
}
