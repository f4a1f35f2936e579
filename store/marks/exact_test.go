package marks

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

// killer ends a process around one of its commits: nothing of that one is committed, or all, and nothing is begun after it.
type killer struct {
	at    int // from 1; 0 is none
	after bool

	mu   sync.Mutex
	dead bool
}

func (k *killer) before([]syncd.Change, []syncd.Mark) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead {
		return errBoom
	}
	if k.at--; k.at != 0 {
		return nil
	}
	if k.dead = true; k.after {
		return nil
	}
	return errBoom
}

func (k *killer) answer([]syncd.Change, []syncd.Mark) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead {
		return errBoom
	}
	return nil
}

func (k *killer) happened() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.dead
}

// process does what an engine does with a store, with a worker for each split and somebody who keeps what the splits came to, often
// late.
type process struct {
	*Store
	seed uint64
}

const (
	processSplits = 4
	processSteps  = 12
)

// work works on a collection to its end, or to that of the process.
func (p *process) work(ctx context.Context, collection string) (err error) {
	kept := p.Recall(collection)
	if kept == nil {
		if err := p.Collection(ctx, collection, store.Collection{Before: 1}, true); err != nil {
			return err
		}
		kept = &store.Collection{}
	}
	for i := len(kept.Splits); i < processSplits; i++ {
		if err := p.Split(ctx, collection, split(i, 0), true); err != nil {
			return err
		}
		kept.Splits = append(kept.Splits, split(i, 0))
	}
	states := make(chan store.Split, 100)
	var keeper, workers sync.WaitGroup
	errs := make([]error, processSplits+1)
	keeper.Go(func() {
		for s := range states {
			if errs[processSplits] == nil {
				errs[processSplits] = p.Split(ctx, collection, s, false)
			}
		}
	})
	for i, s := range kept.Splits {
		workers.Go(func() {
			rnd := rand.New(rand.NewPCG(p.seed, uint64(i)))
			for s.Counts.Scanned < processSteps && errs[i] == nil {
				last := s
				s.Counts.Scanned++
				s.After = syncd.Offset(fmt.Sprint(s.Counts.Scanned))
				switch rnd.IntN(5) {
				case 0: // nothing of it is to be sent
					s.Counts.Present++
					states <- s
				case 1: // it is refused, and then not sent
					refused := s
					refused.Counts.Acked++
					err := p.Commit(ctx, changes(rejected), collection, refused)
					if _, ok := errors.AsType[*syncd.BatchError](err); !ok {
						errs[i] = err
						return
					}
					s.Counts.FailedWrite++
					states <- s
				default:
					s.Counts.Acked++
					id := fmt.Sprintf("%s/%d/%d", collection, i, s.Counts.Scanned)
					if errs[i] = p.Commit(ctx, changes(id), collection, s); errs[i] != nil {
						return
					}
					states <- []store.Split{last, s}[rnd.IntN(2)]
				}
			}
		})
	}
	workers.Wait()
	close(states)
	keeper.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return p.Collection(ctx, collection, store.Collection{Before: 1, Complete: true}, false)
}

const rejected = "rejected"

// sentOf is how often the changes of each split were committed.
func sentOf(t *testing.T, l *ledger) map[string]int64 {
	t.Helper()
	out, seen := map[string]int64{}, map[string]bool{}
	for _, id := range l.sent {
		if seen[id] {
			t.Errorf("%s is committed twice", id)
		}
		seen[id] = true
		out[id[:strings.LastIndexByte(id, '/')]]++
	}
	return out
}

// TestWhatIsSentIsKept kills processes around every one of their commits in turn: at any moment what the marks say of a split was
// sent, and what was sent they say.
func TestWhatIsSentIsKept(t *testing.T) {
	names := []string{"page", "epic"}
	for at := 1; ; at++ {
		killed := false
		for _, after := range []bool{false, true} {
			l := newLedger()
			l.reject = rejected
			for life := 0; ; life++ {
				if life > 100 {
					t.Fatal("it does not come to an end")
				}
				k := &killer{at: at, after: after}
				if l.before, l.after = k.before, k.answer; life > 4 {
					k.at = 0
				}
				s, err := Open(t.Context(), l.user(t, "job"), "job")
				must(t, err)
				if s.Info().RunID == "" {
					err = s.Begin(t.Context(), run)
				} else {
					err = s.Resume(t.Context())
				}
				p := &process{s, uint64(at*1000 + life)}
				var all sync.WaitGroup
				errs := make([]error, len(names))
				for i, name := range names {
					all.Go(func() {
						if errs[i] = err; err == nil {
							errs[i] = p.work(t.Context(), name)
						}
					})
				}
				all.Wait()
				err = errors.Join(errs...)
				if err != nil && !k.happened() {
					t.Fatalf("commit %d: %v", at, err)
				}
				killed = killed || k.happened()
				sent := sentOf(t, l)
				for name, c := range peek(t, l).Collections {
					for i, s := range c.Splits {
						if n := sent[fmt.Sprintf("%s/%d", name, i)]; s.Counts.Acked != n || s.Index != i {
							t.Errorf("killed around commit %d, after %t: of split %d of %s, %d changes are kept as sent, and %d were", at, after, i, name, s.Counts.Acked, n)
						}
						delete(sent, fmt.Sprintf("%s/%d", name, i))
					}
				}
				if len(sent) > 0 {
					t.Errorf("killed around commit %d, after %t: nothing is kept of %v", at, after, sent)
				}
				if t.Failed() {
					return
				}
				if err != nil {
					continue
				}
				l.before, l.after = nil, nil
				must(t, s.Close(t.Context(), store.End{Outcome: tally.Complete}))
				if e := peek(t, l); e.Handled != int64(len(names))*processSplits*processSteps {
					t.Errorf("%d documents", e.Handled)
				}
				break
			}
		}
		if !killed {
			return // no process has more commits than that
		}
	}
}

// TestCallsEnd: a call whose commit does not come to an end ends with its context, and so do those that wait for it.
func TestCallsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		s := begun(t, l, 2)
		ctx, cancel := context.WithCancel(t.Context())
		l.before = func([]syncd.Change, []syncd.Mark) error {
			<-ctx.Done()
			return ctx.Err()
		}
		ended := make(chan error, 10)
		call := func(f func() error) {
			go func() { ended <- f() }()
			synctest.Wait()
		}
		must(t, s.Collection(ctx, "epic", store.Collection{}, true))
		call(func() error { return s.Commit(ctx, changes("a"), "page", split(0, 1)) })
		call(func() error { return s.Commit(ctx, changes("b"), "page", split(0, 2)) }) // waits for the split's mark
		call(func() error { return s.Commit(ctx, changes("c"), "epic", split(0, 1)) }) // waits for the collection's
		call(func() error { return s.Split(ctx, "page", split(1, 1), true) })          // waits for what waited before it
		if len(ended) > 0 {
			t.Errorf("%v", <-ended)
		}
		cancel()
		for range 4 {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		if len(l.sent) > 0 {
			t.Errorf("sent %v", l.sent)
		}
	})
}

// TestNothingIsLeftToSend: a durable state that waited for a newer one of its split is durable by that.
func TestNothingIsLeftToSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		s := begun(t, l, 1)
		gate := make(chan bool)
		l.before = func([]syncd.Change, []syncd.Mark) error {
			<-gate
			return nil
		}
		commits := l.commits
		ended := make(chan error)
		go func() { ended <- s.Commit(t.Context(), changes("a"), "page", split(0, 2)) }()
		synctest.Wait()
		go func() { ended <- s.Split(t.Context(), "page", split(0, 1), true) }()
		synctest.Wait()
		close(gate)
		must(t, <-ended)
		must(t, <-ended)
		if l.commits != commits+1 {
			t.Errorf("%d commits", l.commits-commits)
		}
		wantKept(t, l, 2)
	})
}
