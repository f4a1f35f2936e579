package engine_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
)

// estimating is a memory source with the ability Estimate, which notes what it is asked. Each collection's answer may take its time.
type estimating struct {
	*syncdtest.MemorySource
	delay map[string]time.Duration // of Estimate
	fail  map[string]error         // likewise
	exact bool                     // Estimate can't tell: Count has to

	mu    sync.Mutex
	asked []string // collections, by Estimate
	split []string // collections, by Splits
	now   int      // estimates under way
	most  int

	tell      map[string]int64 // documents that Estimate tells of, where there are fewer
	uncounted bool             // it can't count

	hold <-chan struct{} // Splits waits for it; nil waits for nothing
}

func (s *estimating) Abilities() syncd.SourceAbilities {
	a := s.MemorySource.Abilities()
	a.Identity = nil
	count := a.Count
	a.Estimate = func(ctx context.Context, c syncd.Collection) (int64, bool, error) {
		s.mu.Lock()
		s.asked = append(s.asked, c.Name)
		s.now++
		s.most = max(s.most, s.now)
		s.mu.Unlock()
		select {
		case <-time.After(s.delay[c.Name]):
		case <-ctx.Done():
		}
		s.mu.Lock()
		s.now--
		s.mu.Unlock()
		if err := errors.Join(s.fail[c.Name], ctx.Err()); err != nil {
			return 0, false, err
		}
		if s.exact {
			return 0, false, nil
		}
		n, err := count(ctx, c)
		return max(n, s.tell[c.Name]), true, err
	}
	if s.uncounted {
		a.Estimate = func(_ context.Context, c syncd.Collection) (int64, bool, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.asked = append(s.asked, c.Name)
			return 0, false, nil
		}
		a.Count = nil
		return a
	}
	a.Count = func(ctx context.Context, c syncd.Collection) (int64, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.most = max(s.most, 1)
		if s.exact {
			s.split = append(s.split, "count "+c.Name)
		}
		return count(ctx, c)
	}
	return a
}

func (s *estimating) Splits(ctx context.Context, c syncd.Collection) iter.Seq2[syncd.Split, error] {
	s.mu.Lock()
	s.split = append(s.split, c.Name)
	s.mu.Unlock()
	if s.hold != nil {
		<-s.hold
	}
	return s.MemorySource.Splits(ctx, c)
}

// manyCollections is a fixture with n collections c000, c001, … of some documents each.
func manyCollections(t testing.TB, n, documents int) (*fixture, *estimating, []string) {
	t.Helper()
	f := newFixture(t)
	c := mapping.Config{Namespace: "url", Seed: mapping.DefaultSeed, Payload: mapping.Defaults().Payload, Owner: &mapping.Owner{Exclusive: true}}
	var names []string
	for i := range n {
		name := fmt.Sprintf("c%03d", i)
		names = append(names, name)
		c.Collections = append(c.Collections, mapping.Collection{Name: name, ContentType: name})
		f.source.Create(name)
		for d := range documents {
			f.source.Insert(name, syncdtest.MemoryDoc{ID: fmt.Sprintf("%05d", d), Fields: map[string]any{"title": "t"}})
		}
	}
	d := spec.NewDecoder()
	f.opts.Rules = mapping.Compile(c, "db", d, nil).Rules
	if diags := d.Diagnostics(); len(diags) > 0 {
		t.Fatal(diags)
	}
	s := &estimating{MemorySource: f.source, delay: map[string]time.Duration{}, fail: map[string]error{}}
	f.opts.Source = s
	return f, s, names
}

// TestCollectionsArePlannedSideBySideInTheirOrder: those in front answer later than those behind, and are handed out first all the same.
func TestCollectionsArePlannedSideBySideInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const collections, atOnce = 100, 64
		f, s, names := manyCollections(t, collections, 3)
		for i, name := range names {
			s.delay[name] = time.Duration(collections-i) * time.Second
		}
		began := time.Now()
		e := engine.New(f.opts)
		if err := e.Backfill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(s.split, names) {
			t.Errorf("planned in the order %q", s.split)
		}
		if s.most != atOnce || len(s.asked) != collections {
			t.Errorf("%d were asked about at once, and %d in all; want %d and %d", s.most, len(s.asked), atOnce, collections)
		}
		if took := time.Since(began); took > 150*time.Second { // one after another it is 5050 s
			t.Errorf("it took %s", took)
		}
		if n := e.Report().Total; n.Scanned != 3*collections || n.Acked != n.Scanned {
			t.Errorf("%+v", n)
		}
	})
}

// TestTheFirstCollectionThatFailsEndsTheRun, whichever failed first in time, and nothing behind it is planned.
func TestTheFirstCollectionThatFailsEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s, names := manyCollections(t, 200, 3)
		s.delay["c002"], s.fail["c002"] = time.Minute, errors.New("the second")
		s.fail["c003"], s.fail["c005"] = errors.New("the third"), errors.New("the fifth")
		err := engine.New(f.opts).Backfill(t.Context())
		if err == nil || err.Error() != "counting collection c002: the second" {
			t.Errorf("ended with %v", err)
		}
		if !slices.Equal(s.split, names[:2]) {
			t.Errorf("planned %q", s.split)
		}
		if len(s.asked) > 128 { // its own group, and the next
			t.Errorf("asked about %d", len(s.asked))
		}
	})
}

// TestAnOldAnswerIsAskedForAgain: what was told of a collection before large ones were read says little about it.
func TestAnOldAnswerIsAskedForAgain(t *testing.T) {
	for name, c := range map[string]struct {
		large     int64 // documents that the first collection is said to have
		of        string
		asked     int
		uncounted bool
	}{
		"behind a large collection": {1_000_001, "c001", 2, false}, "behind a smaller one": {1_000_000 - 20, "c001", 1, false},
		"the large one itself":        {1_000_001, "c000", 1, false},
		"in the next group":           {1_000_001, "c064", 2, false},
		"in the next, of smaller":     {990_000, "c064", 1, false},
		"of a group all once more":    {1_000_001, "c005", 2, false},
		"behind some without a count": {0, "c009", 2, true},
		"behind few without a count":  {0, "c008", 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, s, _ := manyCollections(t, 65, 20)
				s.tell, s.uncounted = map[string]int64{"c000": c.large}, c.uncounted
				held := make(chan struct{}) // until all were asked about
				s.hold = held
				// Of the bubble's clock. A time.AfterFunc here crashes the race detector at times: go.dev/issue/78156.
				go func() { time.Sleep(time.Second); close(held) }()
				if err := engine.New(f.opts).Backfill(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := len(slices.DeleteFunc(slices.Clone(s.asked), func(n string) bool { return n != c.of })); got != c.asked {
					t.Errorf("asked %d times; want %d", got, c.asked)
				}
			})
		})
	}
}

// TestAnExactCountIsMadeWhenItIsItsTurn: it may take the source long.
func TestAnExactCountIsMadeWhenItIsItsTurn(t *testing.T) {
	f, s, _ := manyCollections(t, 3, 3)
	s.exact = true
	if err := engine.New(f.opts).Backfill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"count c000", "c000", "count c001", "c001", "count c002", "c002"}; !slices.Equal(s.split, want) {
		t.Errorf("%q, want %q", s.split, want)
	}
}

// TestTheDrainEndsPlanning: who waits for an answer, or for its turn, does so no longer.
func TestTheDrainEndsPlanning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s, _ := manyCollections(t, 20, 3)
		s.delay["c001"] = time.Hour
		drain := make(chan struct{})
		f.opts.Drain = drain
		time.AfterFunc(time.Minute, func() { close(drain) })
		began := time.Now()
		e := engine.New(f.opts)
		if err := e.Backfill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != time.Minute || e.Report().Total.Acked != 3 {
			t.Errorf("ended after %s with %+v", took, e.Report().Total)
		}
	})
}

// TestTheTotalIsKnownBeforeTheLastCollectionStarts: the first is not read to its end before all have said how many documents they hold, more
// of them than are asked about at once. One that is not there holds none.
func TestTheTotalIsKnownBeforeTheLastCollectionStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const collections, documents = 200, 3
		f, s, names := manyCollections(t, collections, documents)
		f.source.Drop(names[collections-1])
		for _, name := range names {
			s.delay[name] = time.Second
		}
		held := make(chan struct{})
		s.hold = held
		e := engine.New(f.opts)
		for _, c := range e.Snapshot().Collections {
			if c.Before != -1 {
				t.Fatalf("%s is said to hold %d before it was asked about", c.Name, c.Before)
			}
		}
		done := make(chan error, 1)
		go func() { done <- e.Backfill(t.Context()) }()
		time.Sleep(time.Minute)
		for i, c := range e.Snapshot().Collections {
			want := int64(documents)
			if i == collections-1 {
				want = 0
			}
			if c.Before != want || c.Started != (i == 0) || c.Done {
				t.Errorf("%s: %d documents, started %v; want %d", c.Name, c.Before, c.Started, want)
			}
		}
		close(held)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if n := e.Report().Total.Scanned; n != documents*(collections-1) {
			t.Errorf("%d documents", n)
		}
	})
}

// TestWhatIsForetoldIsNoResult: a collection that was never begun has no count in the report.
func TestWhatIsForetoldIsNoResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s, _ := manyCollections(t, 3, 3)
		drain, held := make(chan struct{}), make(chan struct{})
		s.hold, f.opts.Drain = held, drain
		time.AfterFunc(time.Minute, func() { close(drain) })
		time.AfterFunc(2*time.Minute, func() { close(held) })
		e := engine.New(f.opts)
		if err := e.Backfill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c := e.Report().Collections[2]; c.Before != -1 || c.Found || c.Complete {
			t.Errorf("%+v", c)
		}
		if c := e.Snapshot().Collections[2]; c.Before != 3 || c.Started {
			t.Errorf("%+v", c)
		}
	})
}
