package marks

import (
	"bytes"
	"context"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/syncd-io/syncd"
)

// ledger is what sinks commit to. Commits that overlap share a transaction, in which their order is anything. Each user of it shuts
// out those before of the same name.
type ledger struct {
	before, after func(changes []syncd.Change, marks []syncd.Mark) error // the error ends the commit, and is its outcome
	reject        string                                                 // the change that is refused

	mu      sync.Mutex
	rnd     *rand.Rand
	epochs  map[string]int
	marks   map[string][]byte
	sent    []string // ids of changes
	commits int
	group   []func()

	leading sync.Mutex
}

func newLedger() *ledger {
	return &ledger{rnd: rand.New(rand.NewPCG(1, 2)), epochs: map[string]int{}, marks: map[string][]byte{}}
}

// user is a sink of a process. It refuses what a store must not do: to have two values of a mark on their way at once, or more marks
// than may be.
func (l *ledger) user(t testing.TB, name string) syncd.SinkAbilities {
	epoch := 0
	flying := map[string]bool{}
	peek := func(_ context.Context, prefix string) (map[string][]byte, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		found := maps.Clone(l.marks)
		maps.DeleteFunc(found, func(name string, _ []byte) bool { return !strings.HasPrefix(name, prefix) })
		return found, nil
	}
	commit := func(changes []syncd.Change, marks []syncd.Mark) error { // with mu held
		if epoch != l.epochs[name] {
			return syncd.ErrFenced
		}
		var refused syncd.BatchError
		for i := range changes {
			if changes[i].ID == l.reject {
				refused.Fail(i, errBoom)
			}
		}
		if err := refused.OrNil(); err != nil {
			return err
		}
		for i := range changes {
			l.sent = append(l.sent, changes[i].ID)
		}
		for _, m := range marks {
			if m.Value == nil {
				delete(l.marks, m.Name)
			} else {
				l.marks[m.Name] = bytes.Clone(m.Value)
			}
		}
		return nil
	}
	return syncd.SinkAbilities{
		PeekMarks: peek,
		Marks: func(ctx context.Context, prefix string) (map[string][]byte, error) {
			l.mu.Lock()
			l.epochs[name]++
			epoch = l.epochs[name]
			l.mu.Unlock()
			return peek(ctx, prefix)
		},
		Commit: func(_ context.Context, changes []syncd.Change, marks []syncd.Mark) (err error) {
			done := make(chan struct{})
			l.mu.Lock()
			for _, m := range marks {
				if flying[m.Name] {
					t.Errorf("two values of the mark %q are on their way", m.Name)
				}
				flying[m.Name] = true
			}
			if len(marks) > most || len(marks) == 0 {
				t.Errorf("%d marks at once", len(marks))
			}
			l.commits++
			l.mu.Unlock()
			defer func() {
				l.mu.Lock()
				defer l.mu.Unlock()
				for _, m := range marks {
					delete(flying, m.Name)
				}
			}()
			if l.before != nil {
				if err := l.before(changes, marks); err != nil {
					return err
				}
			}
			l.mu.Lock()
			l.group = append(l.group, func() {
				err = commit(changes, marks)
				close(done)
			})
			l.mu.Unlock()
			runtime.Gosched() // for others to join
			l.lead()
			<-done
			if err == nil && l.after != nil {
				return l.after(changes, marks)
			}
			return err
		},
	}
}

// lead commits what waits as one.
func (l *ledger) lead() {
	l.leading.Lock()
	defer l.leading.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	group := l.group
	l.group = nil
	l.rnd.Shuffle(len(group), func(i, j int) { group[i], group[j] = group[j], group[i] })
	for _, call := range group {
		call()
	}
}

// names are those of the committed marks.
func (l *ledger) names() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.marks))
}
