package marks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/store"
)

const (
	// lazily is how long a state that need not be durable at once may wait for others.
	lazily = time.Second
	// most is how many marks are sent at once.
	most = 1000
)

// Store implements store.Committer.
type Store struct {
	job    string
	prefix string
	commit func(ctx context.Context, changes []syncd.Change, marks []syncd.Mark) error
	now    func() time.Time

	mu       sync.Mutex
	returned sync.Cond        // a call of commit has returned
	state                     // its collections are those that were found; they are not kept up to date
	entered  bool             // this process began or resumed the run
	waiting  map[string]*mark // what the sink does not have yet, by name
	flying   map[string]*mark // on their way to the sink, by name
	carrying bool             // a call is under way that took marks from waiting; there is one at a time
	last     time.Time        // when marks were last taken from waiting
	broken   error            // why nothing more is sent
	due      chan struct{}    // holds one where something waits
}

var _ store.Committer = (*Store)(nil)

// Open opens the state of a job. It shuts out whoever used the sink's transactions before.
func Open(ctx context.Context, can syncd.SinkAbilities, job string) (*Store, error) {
	return open(ctx, can, job, parse)
}

// OpenFresh is Open for a job that starts from the beginning: it takes no interest in the marks that are there, which may not even be readable.
func OpenFresh(ctx context.Context, can syncd.SinkAbilities, job string) (*Store, error) {
	return open(ctx, can, job, func(prefix string, all map[string][]byte) (*state, error) {
		s, err := parse(prefix, nil)
		for name, text := range all {
			s.there[name] = &mark{name: name, value: text}
			var v Value
			_ = json.Unmarshal(text, &v) // what can't be read has no turn
			s.lastTurn = max(s.lastTurn, v.Turn)
		}
		return s, err
	})
}

func open(ctx context.Context, can syncd.SinkAbilities, job string, parse func(string, map[string][]byte) (*state, error)) (*Store, error) {
	if can.Marks == nil || can.Commit == nil {
		return nil, errors.New("the sink can't commit changes together with marks")
	}
	prefix := PrefixOf(job)
	all, err := can.Marks(ctx, prefix)
	if err != nil {
		return nil, fmt.Errorf("reading the marks of job %s: %w", job, err)
	}
	found, err := parse(prefix, all)
	if err != nil {
		return nil, err
	}
	found.interrupt() // whoever ran it is shut out
	s := &Store{
		job: job, prefix: prefix, commit: can.Commit, now: time.Now, state: *found,
		waiting: map[string]*mark{}, flying: map[string]*mark{}, due: make(chan struct{}, 1),
	}
	s.returned.L = &s.mu
	return s, nil
}

// Join opens the state of a job for a process that works on its splits, in a run that another process began. It shuts nobody out, and
// neither Begin nor Resume nor Close are for it. It must be told of the collections by Note before their splits are kept.
func Join(can syncd.SinkAbilities, job string) *Store {
	found, _ := parse(PrefixOf(job), nil)
	s := &Store{job: job, prefix: PrefixOf(job), commit: can.Commit, now: time.Now, state: *found, waiting: map[string]*mark{}, flying: map[string]*mark{}, due: make(chan struct{}, 1)}
	s.returned.L = &s.mu
	return s
}

// Note tells of the turn of a collection, which is that of the marks of its splits.
func (s *Store) Note(collection string, turn int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turns[collection] = turn
}

// Drop forgets what it was told of a mark, since others have kept it meanwhile. Nothing of it may be on its way to the sink.
func (s *Store) Drop(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, name)
	delete(s.there, name)
}

// Flush returns when all that waits is committed.
func (s *Store) Flush(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 && !s.carrying {
		return s.broken
	}
	return s.flush(ctx)
}

// ErrNothing is wrapped by the error of a commit that came to nothing, and that breaks nothing: others can follow it.
var ErrNothing = errors.New("nothing is committed")

// Peek returns what the sink holds of a job, and shuts nobody out. A job without a state has an entry without a run. Whether a
// run that did not end is still under way can't be seen: it is Running.
func Peek(ctx context.Context, can syncd.SinkAbilities, job string) (store.Entry, error) {
	e := store.Entry{Name: job}
	if can.PeekMarks == nil {
		return e, errors.New("the sink can't show its marks")
	}
	all, err := can.PeekMarks(ctx, PrefixOf(job))
	if err != nil {
		return e, fmt.Errorf("reading the marks of job %s: %w", job, err)
	}
	s, err := parse(PrefixOf(job), all)
	e.Info, e.Handled, e.Collections, e.Problem = s.info, s.handled, s.collections, err
	return e, nil
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
	return s.handled
}

// Begin implements store.Store.
func (s *Store) Begin(ctx context.Context, run store.Info) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handled = 0
	maps.DeleteFunc(s.collections, func(name string, _ *store.Collection) bool { return !store.IsStream(name) })
	maps.DeleteFunc(s.turns, func(name string, _ int64) bool { return !store.IsStream(name) })
	s.info = run
	s.info.Job, s.info.Started = s.job, s.now()
	s.forget()
	return s.enter(ctx)
}

// Resume implements store.Store.
func (s *Store) Resume(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info.Resumes++
	return s.enter(ctx)
}

// enter has the run be this process's. The caller holds mu.
func (s *Store) enter(ctx context.Context) error {
	s.entered = true
	s.info.Enter()
	return s.sendInfo(ctx, 0)
}

// sendInfo sends the info and all that waits. The caller holds mu.
func (s *Store) sendInfo(ctx context.Context, handled int64) error {
	s.info.Updated = s.now()
	if err := s.put(nameInfo, Value{Turn: s.infoTurn, Info: &s.info, Handled: handled}); err != nil {
		return err
	}
	return s.flush(ctx)
}

// forget has all marks forgotten but streams' and the info, by whose new turn they do not count any more, and behind which they are sent. The
// caller holds mu.
func (s *Store) forget() {
	s.lastTurn++
	s.infoTurn = s.lastTurn
	stream := func(name string) bool { // that this store knows
		of := CollectionOf(strings.TrimPrefix(name, s.prefix))
		return store.IsStream(of) && s.turns[of] != 0
	}
	maps.DeleteFunc(s.waiting, func(name string, _ *mark) bool { return !stream(name) })
	for name := range s.there {
		if name != s.prefix+nameInfo && !stream(name) {
			s.waiting[name] = &mark{name: name, turn: s.lastTurn}
		}
	}
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
	defer s.mu.Unlock()
	if begin || s.turns[name] == 0 {
		s.lastTurn++
		s.turns[name] = s.lastTurn
	}
	if err := s.put(nameCollection+name, Value{Turn: s.turns[name], Collection: &c}); err != nil {
		return err
	}
	return s.flushSoon(ctx)
}

// Split implements store.Checkpoints. A state that is behind a committed one is passed over.
func (s *Store) Split(ctx context.Context, collection string, p store.Split, durable bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.splitMark(collection, p)
	if err != nil {
		return err
	}
	if kept := s.there[m.name]; kept == nil || !m.behind(kept) {
		s.wait(m)
	}
	if durable {
		return s.flush(ctx)
	}
	return s.flushSoon(ctx)
}

// Commit implements store.Committer. It takes along what waits, unless another call does.
func (s *Store) Commit(ctx context.Context, changes []syncd.Change, collection string, p store.Split) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.splitMark(collection, p)
	if err != nil {
		return err
	}
	if c := s.prefix + nameCollection + collection; s.waiting[c] != nil || s.flying[c] != nil {
		if err := s.flush(ctx); err != nil {
			return err
		}
	}
	for s.flying[m.name] != nil {
		s.returned.Wait()
	}
	var along []string
	if !s.carrying && len(s.waiting) > 0 {
		along = slices.DeleteFunc(slices.Sorted(maps.Keys(s.waiting)), func(name string) bool { return name == m.name || s.flying[name] != nil })
		s.carry()
		defer s.carried()
	}
	return s.send(ctx, changes, m, along[:min(len(along), most-1)])
}

// Divide keeps, in one commit, that a split was divided: its state, and the new split.
func (s *Store) Divide(ctx context.Context, collection string, whole, part store.Split) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.splitMark(collection, whole)
	if err != nil {
		return err
	}
	p, err := s.splitMark(collection, part)
	if err != nil {
		return err
	}
	for s.flying[m.name] != nil {
		s.returned.Wait()
	}
	delete(s.waiting, m.name) // it is older
	s.waiting[p.name] = p
	err = s.send(ctx, nil, m, []string{p.name})
	if err != nil {
		delete(s.waiting, p.name)
	}
	return err
}

// splitMark makes a split's mark. The caller holds mu.
func (s *Store) splitMark(collection string, p store.Split) (*mark, error) {
	if s.broken != nil {
		return nil, s.broken
	}
	turn := s.turns[collection]
	if turn == 0 {
		return nil, fmt.Errorf("keeping split %d of collection %s: the collection was not begun", p.Index, collection)
	}
	return s.markOf(SplitName(collection, p.Index), Value{Turn: turn, Split: &p})
}

func (s *Store) markOf(name string, v Value) (*mark, error) {
	v.At = s.now()
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("writing the mark %q: %w", s.prefix+name, err)
	}
	return &mark{name: s.prefix + name, turn: v.Turn, split: v.Split, value: text}, nil
}

// put has a mark wait. The caller holds mu.
func (s *Store) put(name string, v Value) error {
	m, err := s.markOf(name, v)
	if err == nil {
		s.wait(m)
	}
	return err
}

// wait has a mark wait. The caller holds mu.
func (s *Store) wait(m *mark) {
	s.waiting[m.name] = m
	select {
	case s.due <- struct{}{}:
	default:
	}
}

// Due yields where something may wait to be sent.
func (s *Store) Due() <-chan struct{} { return s.due }

// flushSoon sends what waits if it is time, and nobody does already. The caller holds mu.
func (s *Store) flushSoon(ctx context.Context) error {
	if s.broken == nil && (s.carrying || s.now().Sub(s.last) < lazily) {
		return nil
	}
	return s.flush(ctx)
}

// flush returns when all that waits now, or is on its way with a call that took it, is committed. The caller holds mu, which is
// released meanwhile. It waits for other calls of this store only, which end with their contexts.
func (s *Store) flush(ctx context.Context) error {
	for s.carrying {
		s.returned.Wait()
	}
	s.carry()
	defer s.carried()
	for names := range slices.Chunk(slices.Sorted(maps.Keys(s.waiting)), most) {
		for slices.ContainsFunc(names, func(name string) bool { return s.flying[name] != nil && s.waiting[name] != nil }) {
			s.returned.Wait() // for the commit of that split
		}
		if err := s.send(ctx, nil, nil, names); err != nil {
			return err
		}
	}
	return s.broken
}

// carry begins a call that takes marks from waiting, and carried ends it. The caller holds mu.
func (s *Store) carry() { s.carrying, s.last = true, s.now() }

func (s *Store) carried() {
	s.carrying = false
	s.returned.Broadcast()
}

// send is one commit: of changes, of own, which may be nil, and of those of names that wait. The caller holds mu, which is released
// meanwhile.
func (s *Store) send(ctx context.Context, changes []syncd.Change, own *mark, names []string) error {
	if s.broken != nil {
		return s.broken
	}
	var sent []*mark
	if own != nil {
		sent = append(sent, own)
	}
	for _, name := range names {
		if m := s.waiting[name]; m != nil {
			delete(s.waiting, name)
			sent = append(sent, m)
		}
	}
	if len(sent) == 0 {
		return nil // something newer was committed meanwhile
	}
	marks := make([]syncd.Mark, len(sent))
	for i, m := range sent {
		s.flying[m.name] = m
		marks[i] = syncd.Mark{Name: m.name, Value: m.value}
	}
	s.mu.Unlock()
	err := s.commit(ctx, changes, marks)
	s.mu.Lock()
	defer s.returned.Broadcast()
	if _, refused := errors.AsType[*syncd.BatchError](err); err != nil && !refused && !errors.Is(err, ErrNothing) && s.broken == nil {
		s.broken = err
	}
	for _, m := range sent {
		delete(s.flying, m.name)
		newer := s.waiting[m.name]
		switch {
		case err != nil && newer == nil && m != own: // nothing is committed
			s.waiting[m.name] = m
		case err != nil:
		case m.value == nil:
			delete(s.there, m.name)
		default:
			s.there[m.name] = m
			if newer != nil && newer.behind(m) { // it came meanwhile, and late
				delete(s.waiting, m.name)
			}
		}
	}
	return err
}

// Close implements store.Store. Of a run that can't be resumed only the info is left.
func (s *Store) Close(ctx context.Context, end store.End) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil || !s.entered {
		return nil // what is committed says how far the run came
	}
	s.entered = false
	s.info.Outcome, s.info.Resumable = end.Outcome, end.Resumable
	var handled int64
	if !end.Resumable {
		handled = s.sum()
		s.forget()
	}
	return s.sendInfo(ctx, handled)
}

// sum is how many documents the run has handled. The caller holds mu.
func (s *Store) sum() (n int64) {
	current := map[int64]bool{}
	for name, turn := range s.turns {
		if !store.IsStream(name) {
			current[turn] = true
		}
	}
	all := maps.Clone(s.there)
	maps.Copy(all, s.waiting)
	for _, m := range all {
		if m.split != nil && current[m.turn] {
			n += m.split.Counts.Scanned
		}
	}
	return n
}
