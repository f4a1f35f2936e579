package storetest

import (
	"sync"
	"testing"

	"github.com/syncd-io/syncd/store"
)

// memories is a place of stores in memory; next is what a later process finds of one.
func memories(next func(s *MemoryStore) *MemoryStore) func(t *testing.T) Place {
	return func(*testing.T) Place {
		var mu sync.Mutex
		jobs := map[string]*MemoryStore{}
		return Place{
			Open: func(job string) (store.Store, error) {
				mu.Lock()
				defer mu.Unlock()
				if jobs[job] == nil {
					jobs[job] = NewMemoryStore()
				} else {
					jobs[job] = next(jobs[job])
				}
				return jobs[job], nil
			},
			Crash: func(s store.Store) { s.(*MemoryStore).Die() },
		}
	}
}

func TestMemoryStore(t *testing.T) {
	for name, next := range map[string]func(*MemoryStore) *MemoryStore{"forgetting": (*MemoryStore).Reborn, "remembering": (*MemoryStore).Reopen} {
		t.Run(name, func(t *testing.T) { Harness{New: memories(next), Unowned: true}.Run(t) })
	}
}
