package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

// comparing has a rule's documents compared, in batches of 100, by four workers.
func comparing(t *testing.T, source syncd.Source, rule *mapping.Rule, words int64) (found int64, first []tally.Collision, left int64, err error) {
	t.Helper()
	changes, err := fixture.Read(t, source, rule, 100)
	if err != nil {
		t.Fatal(err)
	}
	var budget atomic.Int64
	budget.Store(2 * words)
	var total atomic.Int64
	c := newCollisions(source, rule, words, &budget, func(n tally.Counts) { total.Add(n.Collisions) })
	var seed []byte
	for i := range changes {
		if changes[i].PointID, err = rule.PointID(&seed, &changes[i], 0); err != nil {
			t.Fatal(err)
		}
	}
	errs := make([]error, 4)
	var workers sync.WaitGroup
	for w := range errs {
		workers.Go(func() {
			for at := 100 * w; at < len(changes); at += 400 {
				b := &batch{split: &split{col: &collection{collisions: c}}, changes: changes[at:min(at+100, len(changes))]}
				errs[w] = errors.Join(errs[w], collide{}.apply(t.Context(), b))
			}
		})
	}
	workers.Wait()
	err = errors.Join(append(errs, c.settle(t.Context()))...)
	if budget.Load() != 2*words {
		t.Errorf("%d words of %d came back", budget.Load(), 2*words)
	}
	first, left = c.result()
	return total.Load(), first, left, err
}

// twins inserts n documents whose ids are numbers, and for every k-th of them one whose id is the number's text.
func twins(source *syncdtest.MemorySource, n, k int) {
	docs := make([]syncdtest.MemoryDoc, 0, n+n/k+1)
	for i := range n {
		docs = append(docs, syncdtest.MemoryDoc{ID: i, Fields: map[string]any{"tenant": "t"}})
		if i%k == 0 {
			docs = append(docs, syncdtest.MemoryDoc{ID: fmt.Sprint(i), Fields: map[string]any{"tenant": fmt.Sprint("t", i%(2*k))}})
		}
	}
	source.Insert("page", docs...)
}

// TestCollisionsAreFoundWhateverTheMemory: a filter that is far too small costs questions, never a pair or a false one.
func TestCollisionsAreFoundWhateverTheMemory(t *testing.T) {
	source := syncdtest.NewMemorySource()
	twins(source, 3000, 10)
	for _, words := range []int64{leastWords * 2, 1000, 100_000} {
		for name, c := range map[string]struct {
			seed string
			want int64
		}{
			"ids alone":                        {mapping.DefaultSeed, 300},
			"a field tells half of them apart": {"{fields.tenant}/{mongo_id}/{chunk_index}", 0},
		} {
			rule := fixture.Seeded(t, c.seed, "page", "page")[0]
			found, first, left, err := comparing(t, source, rule, words)
			if err != nil || left != 0 {
				t.Errorf("%s, %d words: %d not compared, %v", name, words, left, err)
			}
			if found != c.want {
				t.Errorf("%s, %d words: %d found, want %d", name, words, found, c.want)
			}
			if c.want > 0 && len(first) != maxFailures {
				t.Errorf("%s, %d words: %d named", name, words, len(first))
			}
		}
	}
}

func TestACollisionNamesItsDocuments(t *testing.T) {
	source := syncdtest.NewMemorySource()
	source.Insert("page", syncdtest.MemoryDoc{ID: 7}, syncdtest.MemoryDoc{ID: "7"}, syncdtest.MemoryDoc{ID: 8}, syncdtest.MemoryDoc{ID: "seven"})
	found, first, _, err := comparing(t, source, fixture.Rules(t, "page")[0], 1000)
	if err != nil || found != 1 {
		t.Fatal(found, err)
	}
	want := []tally.Collision{{PointID: fixture.PointID("page", "7", 0), ID: "7", IDs: []string{"7", `"7"`}, Documents: 2}}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Error(diff)
	}
}

// TestDocumentsBeyondTheMemoryAreSaid: what was not compared must not look as if it had been.
func TestDocumentsBeyondTheMemoryAreSaid(t *testing.T) {
	source := syncdtest.NewMemorySource()
	twins(source, 3000, 3000)
	_, _, left, err := comparing(t, source, fixture.Rules(t, "page")[0], leastWords)
	if err != nil || left < 3001-documentsAWord*leastWords {
		t.Errorf("%d not compared, %v", left, err)
	}
}

// finding is a source whose FindAll is another one.
type finding struct {
	*syncdtest.MemorySource
	find func(ids []string) ([][]syncd.FoundID, error)
}

func (s finding) Abilities() syncd.SourceAbilities {
	a := s.MemorySource.Abilities()
	a.FindAll = func(_ context.Context, _ syncd.Collection, ids []string) ([][]syncd.FoundID, error) {
		return s.find(ids)
	}
	return a
}

func TestASourceThatCannotTellWhoseAPointIsEndsTheRun(t *testing.T) {
	boom := errors.New("boom")
	source := syncdtest.NewMemorySource()
	twins(source, 10, 3)
	for name, find := range map[string]func(ids []string) ([][]syncd.FoundID, error){
		"an error":          func([]string) ([][]syncd.FoundID, error) { return nil, boom },
		"too short a reply": func(ids []string) ([][]syncd.FoundID, error) { return make([][]syncd.FoundID, len(ids)-1), nil },
	} {
		if _, _, _, err := comparing(t, finding{source, find}, fixture.Rules(t, "page")[0], 1000); err == nil {
			t.Errorf("%s is passed over", name)
		}
	}
	// One that was deleted meanwhile is no collision.
	gone := func(ids []string) ([][]syncd.FoundID, error) { return make([][]syncd.FoundID, len(ids)), nil }
	if found, _, _, err := comparing(t, finding{source, gone}, fixture.Rules(t, "page")[0], 1000); found != 0 || err != nil {
		t.Error(found, err)
	}
}

// TestFiltersShareABudget: many collections at once must not take more memory than one.
func TestFiltersShareABudget(t *testing.T) {
	var budget atomic.Int64
	budget.Store(collisionWords)
	rule, source := fixture.Rules(t, "page")[0], syncdtest.NewMemorySource()
	var all int64
	for range 50 {
		all += int64(len(newCollisions(source, rule, 1<<40, &budget, nil).words))
	}
	if all > collisionWords+50*leastWords {
		t.Errorf("%d words", all)
	}
	budget.Store(collisionWords)
	if n := len(newCollisions(source, rule, 1500, &budget, nil).words); n != 1500 {
		t.Errorf("%d words for 1,500 documents", n)
	}
	if n := len(newCollisions(source, rule, -1, &budget, nil).words); n != defaultWords {
		t.Errorf("%d words for a collection of unknown size", n)
	}
}

// TestFewAreSuspectedInVain: with a word for each document the filter hardly takes a new point id for one that it holds.
func TestFewAreSuspectedInVain(t *testing.T) {
	const documents = 100_000
	c := &collisions{words: make([]atomic.Uint64, documents)}
	suspects, random := 0, rand.New(rand.NewPCG(1, 2))
	for range documents {
		var id uuid.UUID
		binary.BigEndian.PutUint64(id[:], random.Uint64())
		binary.BigEndian.PutUint64(id[8:], random.Uint64())
		id[6], id[8] = id[6]&0x0f|0x50, id[8]&0x3f|0x80 // as every UUIDv5
		if c.add(&id) {
			suspects++
		}
	}
	if suspects > 10 {
		t.Errorf("%d of %d", suspects, documents)
	}
}
