package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

// ErrDead is what a store that has died returns.
var ErrDead = errors.New("the process is dead")

// MemoryStore keeps the state of a job in memory. After its death it keeps nothing more, and what a later process finds is as little
// as a store may keep: Reborn. It refuses what no engine may tell. Its methods are safe for concurrent use.
type MemoryStore struct {
	mu         sync.Mutex
	told, kept memory // all that was told, and what of it a crash can't undo
	handled    int64
	dead       bool
}

var _ store.Store = (*MemoryStore)(nil)

// memory is a state.
type memory struct {
	info        store.Info
	collections map[string]*store.Collection
}

func (m memory) clone() memory {
	c := memory{m.info, map[string]*store.Collection{}}
	for name, s := range m.collections {
		clone := *s
		clone.Splits = slices.Clone(s.Splits)
		c.collections[name] = &clone
	}
	return c
}

// NewMemoryStore returns a store without a run.
func NewMemoryStore() *MemoryStore { return found(memory{}) }

func found(m memory) *MemoryStore {
	if m.info.Outcome == tally.Running {
		m.info.Outcome = tally.Interrupted
	}
	return &MemoryStore{told: m.clone(), kept: m.clone(), handled: store.Handled(m.collections)}
}

// Die ends the store as if its process was killed.
func (s *MemoryStore) Die() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
}

// Reborn is what the next process finds if this one is killed now, or was when it died: nothing but what had to be durable.
func (s *MemoryStore) Reborn() *MemoryStore {
	s.mu.Lock()
	defer s.mu.Unlock()
	return found(s.kept)
}

// Reopen is Reborn of a store that kept all that it was told.
func (s *MemoryStore) Reopen() *MemoryStore {
	s.mu.Lock()
	defer s.mu.Unlock()
	return found(s.told)
}

// Info implements store.Store.
func (s *MemoryStore) Info() store.Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told.info
}

// Handled implements store.Store.
func (s *MemoryStore) Handled() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handled
}

// Begin implements store.Store.
func (s *MemoryStore) Begin(_ context.Context, run store.Info) error {
	return s.tell(true, func() error {
		run.Started = time.Now()
		run.Enter()
		s.told.info, s.handled = run, 0
		maps.DeleteFunc(s.told.collections, func(name string, _ *store.Collection) bool { return !store.IsStream(name) })
		return nil
	})
}

// Resume implements store.Store.
func (s *MemoryStore) Resume(context.Context) error {
	return s.tell(true, func() error {
		s.told.info.Resumes++
		s.told.info.Enter()
		return nil
	})
}

// Close implements store.Store.
func (s *MemoryStore) Close(_ context.Context, end store.End) error {
	s.mu.Lock()
	ours := s.told.info.Outcome == tally.Running && !s.dead
	s.mu.Unlock()
	if !ours {
		return nil
	}
	return s.tell(true, func() error {
		s.told.info.Outcome, s.told.info.Resumable = end.Outcome, end.Resumable
		return nil
	})
}

// Recall implements store.Checkpoints. It returns what this process told, too.
func (s *MemoryStore) Recall(collection string) *store.Collection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told.clone().collections[collection]
}

// Collection implements store.Checkpoints.
func (s *MemoryStore) Collection(_ context.Context, name string, c store.Collection, begin bool) error {
	return s.tell(false, func() error {
		c.Splits = nil
		if old := s.told.collections[name]; old != nil && !begin {
			c.Splits = old.Splits
		}
		s.told.collections[name] = &c
		return nil
	})
}

// Split implements store.Checkpoints.
func (s *MemoryStore) Split(_ context.Context, collection string, p store.Split, durable bool) error {
	return s.tell(durable, func() error {
		c := s.told.collections[collection]
		switch {
		case c == nil || p.Index > len(c.Splits):
			return fmt.Errorf("split %d of collection %s comes before its collection, or before the split in front of it", p.Index, collection)
		case p.Index == len(c.Splits):
			c.Splits = append(c.Splits, p)
		case p.Counts.Scanned < c.Splits[p.Index].Counts.Scanned, c.Splits[p.Index].Done && !p.Done:
			return fmt.Errorf("split %d of collection %s goes back", p.Index, collection)
		default:
			c.Splits[p.Index] = p
		}
		return nil
	})
}

// tell is one change of the state.
func (s *MemoryStore) tell(durable bool, change func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return ErrDead
	}
	if err := change(); err != nil {
		return err
	}
	s.told.info.Updated = time.Now()
	if durable {
		s.kept = s.told.clone()
	}
	return nil
}
