// Package marks is the store of a job in the transactions of its sink, for exactly-once delivery: changes and the checkpoint
// behind them are committed together, so there is no second record that could disagree.
//
// Everything is a mark of the sink, under the job's name: what is known of the run, its collections, and its splits. A split's
// mark names the run and the turn of its collection that it belongs to; marks of other runs and turns are ignored, so that to
// remove them is mere tidying.
//
// Invariants:
//   - a mark is never overwritten by an older one: of each name one value at a time is on its way to the sink, and a newer one
//     waits;
//   - what is not durable yet goes to the sink with the next commit, or after a second at the next opportunity;
//   - after an error that leaves open what was committed, nothing more is sent.
package marks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

const (
	// lazily is how long a state that need not be durable may wait for a commit.
	lazily = time.Second
	// most is how many marks are written at once.
	most = 1000
)

// The names of marks, behind the job's prefix: a collection's name may hold anything, so it comes last.
const (
	nameInfo       = "info"
	nameCollection = "collection/"
	nameSplit      = "split/"
)

// Store implements store.Committer.
type Store struct {
	commit func(ctx context.Context, changes []syncd.Change, marks []syncd.Mark) error
	prefix string
	now    func() time.Time

	mu          sync.Mutex
	free        *sync.Cond // some names are no longer on their way
	info        store.Info
	collections map[string]*store.Collection // what was found; not kept up to date
	turns       map[string]int               // of each collection: how often its splits were forgotten
	known       map[string]bool              // every mark that the sink may hold
	pending     map[string][]byte            // what the sink does not have yet
	busy        map[string]bool              // on their way to the sink
	scanned     map[string]int64             // documents of the newest state of each split
	last        time.Time                    // when something was last sent
	broken      error
}

var _ store.Committer = (*Store)(nil)

// storedCollection is the value of a collection's mark.
type storedCollection struct {
	RunID string           `json:"run_id"`
	Turn  int              `json:"turn"`
	State store.Collection `json:"state"`
}

// storedSplit is the value of a split's mark.
type storedSplit struct {
	RunID string      `json:"run_id"`
	Turn  int         `json:"turn"`
	State store.Split `json:"state"`
}

// Open takes the job's marks over from whoever used them before: see syncd.SinkAbilities.Marks.
func Open(ctx context.Context, can syncd.SinkAbilities, job string) (*Store, error) {
	s := &Store{
		commit: can.Commit, prefix: prefixOf(job), now: time.Now, turns: map[string]int{}, known: map[string]bool{},
		pending: map[string][]byte{}, busy: map[string]bool{}, scanned: map[string]int64{},
	}
	s.free = sync.NewCond(&s.mu)
	all, err := can.Marks(ctx, s.prefix)
	if err != nil {
		return nil, err
	}
	for name := range all {
		s.known[name] = true
	}
	s.info, s.collections, s.turns, err = parse(s.prefix, all)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Peek returns what the sink holds of a job, and shuts nobody out. A job without a state has an entry without a run.
func Peek(ctx context.Context, can syncd.SinkAbilities, job string) (store.Entry, error) {
	e := store.Entry{Name: job}
	if can.PeekMarks == nil {
		return e, errors.New("the sink can't show its marks")
	}
	all, err := can.PeekMarks(ctx, prefixOf(job))
	if err != nil {
		return e, err
	}
	e.Info, e.Collections, _, e.Problem = parse(prefixOf(job), all)
	e.Handled = store.Handled(e.Collections)
	return e, nil
}

// prefixOf begins the names of a job's marks. No job's prefix begins another's.
func prefixOf(job string) string { return url.PathEscape(job) + "/" }

// parse reads the marks of the run that info names.
func parse(prefix string, all map[string][]byte) (info store.Info, collections map[string]*store.Collection, turns map[string]int, err error) {
	collections, turns = map[string]*store.Collection{}, map[string]int{}
	broken := func(name string, err error) error {
		return fmt.Errorf("%w: the committed position %q is not one that a run wrote: %w", store.ErrNotResumable, name, err)
	}
	if text := all[prefix+nameInfo]; text != nil {
		if err := json.Unmarshal(text, &info); err != nil {
			return info, collections, turns, broken(prefix+nameInfo, err)
		}
	}
	for name, text := range all {
		collection, ok := strings.CutPrefix(name, prefix+nameCollection)
		if !ok {
			continue
		}
		var c storedCollection
		if err := json.Unmarshal(text, &c); err != nil {
			return info, collections, turns, broken(name, err)
		}
		if c.RunID == info.RunID {
			collections[collection], turns[collection] = &c.State, c.Turn
		}
	}
	for name, text := range all {
		rest, ok := strings.CutPrefix(name, prefix+nameSplit)
		if !ok {
			continue
		}
		number, collection, _ := strings.Cut(rest, "/")
		var s storedSplit
		if err := json.Unmarshal(text, &s); err != nil {
			return info, collections, turns, broken(name, err)
		}
		if strconv.Itoa(s.State.Index) != number {
			return info, collections, turns, broken(name, errors.New("it is about another split"))
		}
		if c := collections[collection]; c != nil && s.RunID == info.RunID && s.Turn == turns[collection] {
			c.Splits = append(c.Splits, s.State)
		}
	}
	for _, c := range collections {
		slices.SortFunc(c.Splits, func(a, b store.Split) int { return a.Index - b.Index })
	}
	return info, collections, turns, nil
}

// Info implements store.Store.
func (s *Store) Info() store.Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info
}

// Handled implements store.Store.
func (s *Store) Handled() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return store.Handled(s.collections)
}

// Begin implements store.Store.
func (s *Store) Begin(ctx context.Context, run store.Info) error {
	s.mu.Lock()
	run.Started = s.now()
	s.collections, s.turns, s.pending = map[string]*store.Collection{}, map[string]int{}, map[string][]byte{}
	s.enter(run)
	s.mu.Unlock()
	if err := s.send(ctx, nil, "", nil); err != nil {
		return err
	}
	return s.forget(ctx)
}

// Resume implements store.Store.
func (s *Store) Resume(ctx context.Context) error {
	s.mu.Lock()
	run := s.info
	run.Resumes++
	s.enter(run)
	s.mu.Unlock()
	return s.send(ctx, nil, "", nil)
}

// enter notes whose run it is now. The caller holds mu.
func (s *Store) enter(run store.Info) {
	run.PID, run.Host, run.Outcome, run.Resumable = os.Getpid(), store.Host(), tally.Running, true
	s.setInfo(run)
}

// setInfo has the info sent with the next commit. The caller holds mu.
func (s *Store) setInfo(run store.Info) {
	run.Updated = s.now()
	s.info = run
	text, err := json.Marshal(run)
	if err == nil { // it always can be
		s.pending[s.prefix+nameInfo] = text
	}
}

// forget removes the marks that are not of the run, which are ignored in any case.
func (s *Store) forget(ctx context.Context) error {
	s.mu.Lock()
	var stale []syncd.Mark
	for name := range s.known {
		if name != s.prefix+nameInfo && s.pending[name] == nil {
			stale = append(stale, syncd.Mark{Name: name})
		}
	}
	s.known = map[string]bool{s.prefix + nameInfo: true}
	s.mu.Unlock()
	for chunk := range slices.Chunk(stale, most) {
		if err := s.commit(ctx, nil, chunk); err != nil {
			return s.breakBy(fmt.Errorf("forgetting the committed positions: %w", err))
		}
	}
	return nil
}

// Recall implements store.Checkpoints.
func (s *Store) Recall(collection string) *store.Collection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.collections[collection]
}

// Collection implements store.Checkpoints.
func (s *Store) Collection(ctx context.Context, name string, c store.Collection, begin bool) error {
	c.Splits = nil
	s.mu.Lock()
	if begin {
		s.turns[name]++
		for n := range s.pending {
			if rest, ok := strings.CutPrefix(n, s.prefix+nameSplit); ok && strings.HasSuffix(rest, "/"+name) {
				delete(s.pending, n)
			}
		}
	}
	text, err := json.Marshal(storedCollection{RunID: s.info.RunID, Turn: s.turns[name], State: c})
	if err != nil {
		s.mu.Unlock()
		return fmt.Errorf("writing the state of collection %s: %w", name, err)
	}
	s.pending[s.prefix+nameCollection+name] = text
	s.mu.Unlock()
	return s.sendSoon(ctx)
}

// Split implements store.Checkpoints.
func (s *Store) Split(ctx context.Context, collection string, state store.Split, durable bool) error {
	name, text, err := s.encode(collection, state)
	if err != nil {
		return err
	}
	s.mu.Lock()
	key := s.turnOf(collection, name)
	if newest, ok := s.scanned[key]; ok && (state.Counts.Scanned < newest || state.Counts.Scanned == newest && !state.Done) {
		s.mu.Unlock()
		return nil // a commit was newer
	}
	s.scanned[key] = state.Counts.Scanned
	s.pending[name] = text
	s.mu.Unlock()
	if durable {
		return s.send(ctx, nil, "", nil)
	}
	return s.sendSoon(ctx)
}

// Commit implements store.Committer.
func (s *Store) Commit(ctx context.Context, changes []syncd.Change, collection string, state store.Split) error {
	name, text, err := s.encode(collection, state)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.scanned[s.turnOf(collection, name)] = state.Counts.Scanned
	s.mu.Unlock()
	return s.send(ctx, changes, name, text)
}

// turnOf is a split's name in the turn of its collection. The caller holds mu.
func (s *Store) turnOf(collection, name string) string {
	return strconv.Itoa(s.turns[collection]) + " " + name
}

func (s *Store) encode(collection string, state store.Split) (name string, text []byte, err error) {
	s.mu.Lock()
	stored := storedSplit{RunID: s.info.RunID, Turn: s.turns[collection], State: state}
	s.mu.Unlock()
	if text, err = json.Marshal(stored); err != nil {
		return "", nil, fmt.Errorf("writing the position of split %d of collection %s: %w", state.Index, collection, err)
	}
	return s.prefix + nameSplit + strconv.Itoa(state.Index) + "/" + collection, text, nil
}

// sendSoon sends what waits if it has waited long enough.
func (s *Store) sendSoon(ctx context.Context) error {
	s.mu.Lock()
	due := s.now().Sub(s.last) >= lazily && len(s.pending) > 0
	s.mu.Unlock()
	if !due {
		return nil
	}
	return s.send(ctx, nil, "", nil)
}

// send commits changes, the mark name with its value if there is one, and all that waits, but for names that are on their way.
func (s *Store) send(ctx context.Context, changes []syncd.Change, name string, value []byte) error {
	s.mu.Lock()
	for name != "" && s.busy[name] {
		s.free.Wait() // until whoever sends it has its answer
	}
	if s.broken != nil {
		defer s.mu.Unlock()
		return s.broken
	}
	taken := map[string][]byte{}
	if name != "" {
		delete(s.pending, name) // it is older
		taken[name] = value
	}
	for n, v := range s.pending {
		if !s.busy[n] && len(taken) < most {
			taken[n] = v
			delete(s.pending, n)
		}
	}
	marks := make([]syncd.Mark, 0, len(taken))
	for n, v := range taken {
		s.busy[n], s.known[n] = true, true
		marks = append(marks, syncd.Mark{Name: n, Value: v})
	}
	s.last = s.now()
	s.mu.Unlock()

	err := s.commit(ctx, changes, marks)

	s.mu.Lock()
	defer s.mu.Unlock()
	for n, v := range taken {
		delete(s.busy, n)
		if _, newer := s.pending[n]; err != nil && n != name && !newer {
			s.pending[n] = v
		}
	}
	s.free.Broadcast()
	if refused, ok := errors.AsType[*syncd.BatchError](err); ok {
		return refused // nothing is committed
	}
	if err != nil && s.broken == nil {
		s.broken = err
	}
	return err
}

func (s *Store) breakBy(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
	return err
}

// Close implements store.Store.
func (s *Store) Close(ctx context.Context, end store.End) error {
	s.mu.Lock()
	broken := s.broken != nil || s.info.RunID == ""
	if !broken && s.info.Outcome == tally.Running {
		run := s.info
		run.Outcome, run.Resumable = end.Outcome, end.Resumable
		s.setInfo(run)
	}
	s.mu.Unlock()
	if broken { // what is committed says how far the run came
		return nil
	}
	if err := s.send(ctx, nil, "", nil); err != nil {
		return err
	}
	if end.Resumable {
		return nil
	}
	s.mu.Lock()
	s.pending = map[string][]byte{}
	s.mu.Unlock()
	return s.forget(ctx)
}
