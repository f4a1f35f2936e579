package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

// life is what a run told its store, and what of it a crash must not undo.
type life struct {
	*place
	rnd         *rand.Rand
	store       store.Store
	collections map[string]*collectionLife
	version     int64 // of collections' states
}

// collectionLife is what was told of a collection: it began once or more often.
type collectionLife struct {
	begins  []*beginLife
	durable int // the earliest begin that may be found; -1: none need be
}

type beginLife struct {
	versions []int64
	durable  int // index of the earliest version that may be found
	splits   []*splitLife
}

type splitLife struct {
	states  []int64 // documents
	durable int     // index of the earliest state that may be found; -1: none need be
}

// randomLives has stores live random lives, with crashes, and looks at what is found after each.
func (h Harness) randomLives(t *testing.T, _ *place) {
	seeds := h.Seeds
	if seeds == 0 {
		seeds = 50
	}
	for seed := range seeds {
		l := &life{place: &place{Place: h.New(t), t: t}, rnd: rand.New(rand.NewPCG(uint64(seed), 1))} //nolint:gosec // it must come out the same again
		l.begin(l.open())
		for range 60 {
			l.step()
		}
		l.close(l.store, tally.Complete, false)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func (l *life) begin(s store.Store) {
	l.must(s.Begin(l.t.Context(), run))
	l.store, l.collections = s, map[string]*collectionLife{}
}

func (l *life) step() {
	name := strconv.Itoa(l.rnd.IntN(3))
	c := l.collections[name]
	switch n := l.rnd.IntN(20); {
	case n == 0:
		s := l.killed(l.store)
		l.found(s)
		l.must(s.Resume(l.t.Context()))
		l.store = s
	case n == 1:
		l.close(l.store, tally.Interrupted, true)
		l.durable()
		s := l.open()
		l.found(s)
		l.must(s.Resume(l.t.Context()))
		l.store = s
	case n == 2 && l.rnd.IntN(3) == 0:
		if l.rnd.IntN(2) == 0 {
			l.close(l.store, tally.Complete, false)
			l.begin(l.open())
		} else {
			l.begin(l.store)
		}
		s := l.killed(l.store)
		l.found(s)
		l.must(s.Resume(l.t.Context()))
		l.store = s
	case c == nil || n == 3:
		if c == nil {
			c = &collectionLife{durable: -1}
			l.collections[name] = c
		}
		c.begins = append(c.begins, &beginLife{})
		l.tellCollection(name, c, true)
	case n == 4:
		l.tellCollection(name, c, false)
	case n < 8 || len(c.last().splits) == 0:
		now := c.last()
		now.splits = append(now.splits, &splitLife{durable: -1})
		l.tellSplit(name, now, len(now.splits)-1, 0)
	default:
		now := c.last()
		l.tellSplit(name, now, l.rnd.IntN(len(now.splits)), 1+l.rnd.Int64N(3))
	}
}

func (c *collectionLife) last() *beginLife { return c.begins[len(c.begins)-1] }

func (l *life) tellCollection(name string, c *collectionLife, begin bool) {
	l.version++
	now := c.last()
	now.versions = append(now.versions, l.version)
	l.must(l.store.Collection(l.t.Context(), name, store.Collection{Rule: strconv.Itoa(len(c.begins) - 1), Before: l.version}, begin))
}

// tellSplit tells of a split that n more documents are handled.
func (l *life) tellSplit(name string, c *beginLife, i int, n int64) {
	s := c.splits[i]
	if len(s.states) > 0 {
		n += s.states[len(s.states)-1]
	}
	s.states = append(s.states, n)
	now := state(i, n)
	kept := !slices.ContainsFunc(c.splits[:i+1], func(s *splitLife) bool { return s.durable < 0 })
	if committer, ok := l.store.(store.Committer); ok && kept && l.rnd.IntN(2) == 0 {
		l.must(committer.Commit(l.t.Context(), changes(1), name, now))
		s.durable = len(s.states) - 1
		return
	}
	durable := l.rnd.IntN(4) == 0
	l.split(l.store, name, now, durable)
	if durable {
		l.durable()
	}
}

// durable notes that a crash must not undo anything that was told.
func (l *life) durable() {
	for _, c := range l.collections {
		c.durable = len(c.begins) - 1
		now := c.last()
		now.durable = len(now.versions) - 1
		for _, s := range now.splits {
			s.durable = len(s.states) - 1
		}
	}
}

// found checks what is found, from which the run goes on.
func (l *life) found(s store.Store) {
	l.t.Helper()
	for i := range 3 {
		name := strconv.Itoa(i)
		l.collections[name] = l.collections[name].check(l.t, name, s.Recall(name))
		if l.collections[name] == nil {
			delete(l.collections, name)
		}
	}
}

// check returns what was found, as all that there ever was.
func (c *collectionLife) check(t *testing.T, name string, got *store.Collection) *collectionLife {
	t.Helper()
	if got == nil {
		if c != nil && c.durable >= 0 {
			t.Errorf("collection %s is lost", name)
		}
		return nil
	}
	begin, _ := strconv.Atoi(got.Rule)
	if c == nil || begin >= len(c.begins) || begin < c.durable {
		t.Fatalf("nobody told %+v of collection %s, or it is too old", got, name)
	}
	if err := got.Check(name); err != nil {
		t.Error(err)
	}
	was := c.begins[begin]
	if begin > c.durable { // nothing of it had to be durable
		was.durable = 0
	}
	if slices.Index(was.versions, got.Before) < was.durable {
		t.Errorf("collection %s has version %d of %v, of which %d is durable", name, got.Before, was.versions, was.durable)
	}
	now := &beginLife{versions: []int64{got.Before}}
	for i, s := range was.splits {
		if i >= len(got.Splits) {
			if s.durable >= 0 {
				t.Errorf("split %d of collection %s is lost", i, name)
			}
			continue
		}
		n := got.Splits[i].Counts.Scanned
		if slices.Index(s.states, n) < max(s.durable, 0) {
			t.Errorf("split %d of collection %s is at %d of %v, of which %d is durable", i, name, n, s.states, s.durable)
		}
		if fmt.Sprint(got.Splits[i]) != fmt.Sprint(state(i, n)) {
			t.Errorf("nobody told %+v", got.Splits[i])
		}
		now.splits = append(now.splits, &splitLife{states: []int64{n}})
	}
	if len(got.Splits) > len(was.splits) {
		t.Errorf("collection %s has %d splits, of which only %d were told", name, len(got.Splits), len(was.splits))
	}
	// The next begin has the next number.
	out := &collectionLife{durable: begin}
	for range begin {
		out.begins = append(out.begins, nil)
	}
	out.begins = append(out.begins, now)
	return out
}
