package syncdtest

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
)

// brokenReader is a MemoryChecker with another Read.
type brokenReader struct {
	*MemoryChecker
	read spoiltRead
}

type spoiltRead = func(*MemoryChecker, context.Context, []syncd.Point, []string, []syncd.Found) error

func (b brokenReader) Abilities() syncd.CheckerAbilities {
	a := b.MemoryChecker.Abilities()
	a.Read = func(ctx context.Context, points []syncd.Point, keys []string, found []syncd.Found) error {
		return b.read(b.MemoryChecker, ctx, points, keys, found)
	}
	return a
}

// changeFound spoils each place after a Read that was right.
func changeFound(change func(i int, keys []string, f *syncd.Found)) spoiltRead {
	return func(c *MemoryChecker, ctx context.Context, p []syncd.Point, keys []string, found []syncd.Found) error {
		err := c.Read(ctx, p, keys, found)
		for i := range found {
			change(i, keys, &found[i])
		}
		return err
	}
}

var brokenReaders = []struct {
	name, caught string
	read         spoiltRead
}{
	{"sorts the keys", "read", func(c *MemoryChecker, ctx context.Context, p []syncd.Point, keys []string, found []syncd.Found) error {
		return c.Read(ctx, p, slices.Sorted(slices.Values(keys)), found)
	}},
	{"sets what a point lacks", "read", changeFound(func(_ int, _ []string, f *syncd.Found) {
		for i := range f.Payload {
			f.Payload[i].Set = true
		}
	})},
	{"takes empty texts for nothing", "read", changeFound(func(_ int, _ []string, f *syncd.Found) {
		for i, v := range f.Payload {
			f.Payload[i].Set = v.Text != ""
		}
	})},
	{"does not look into objects", "read", changeFound(func(_ int, keys []string, f *syncd.Found) {
		for i, k := range keys {
			if strings.Contains(k, ".") {
				f.Payload[i] = syncd.Value{}
			}
		}
	})},
	{"takes all points for present", "read", changeFound(func(_ int, _ []string, f *syncd.Found) { f.Present = true })},
	{"has no payload for a missing point", "read", changeFound(func(_ int, _ []string, f *syncd.Found) {
		if !f.Present {
			f.Payload = nil
		}
	})},
	{"reads a point once", "read_a_point_twice", func(c *MemoryChecker, ctx context.Context, p []syncd.Point, keys []string, found []syncd.Found) error {
		err := c.Read(ctx, p, keys, found)
		seen := map[syncd.Point]bool{}
		for i := range p {
			if seen[p[i]] {
				found[i].Present = false
			}
			seen[p[i]] = true
		}
		return err
	}},
	{"shares the payload of equal points", "read_a_point_twice", func(c *MemoryChecker, ctx context.Context, p []syncd.Point, keys []string, found []syncd.Found) error {
		err := c.Read(ctx, p, keys, found)
		seen := map[syncd.Point][]syncd.Value{}
		for i := range p {
			if first, ok := seen[p[i]]; ok {
				found[i].Payload = first
			}
			seen[p[i]] = found[i].Payload
		}
		return err
	}},
	{"keeps old payload", "read_into_used_places", func(c *MemoryChecker, ctx context.Context, p []syncd.Point, keys []string, found []syncd.Found) error {
		old := make([][]syncd.Value, len(found))
		for i, f := range found {
			old[i] = slices.Clone(f.Payload)
		}
		err := c.Read(ctx, p, keys, found)
		for i, f := range found {
			if !f.Present {
				copy(f.Payload, old[i])
			}
		}
		return err
	}},
	{"takes new memory every time", "read_into_used_places", func(c *MemoryChecker, ctx context.Context, p []syncd.Point, keys []string, found []syncd.Found) error {
		for i := range found {
			found[i].Payload = nil
		}
		return c.Read(ctx, p, keys, found)
	}},
	{"reads at most 1,000", "read_many_sizes", func(c *MemoryChecker, ctx context.Context, p []syncd.Point, keys []string, found []syncd.Found) error {
		n := min(1000, len(p))
		return c.Read(ctx, p[:n], keys, found[:n])
	}},
	{"ignores the context", "read_when_the_context_has_ended", func(c *MemoryChecker, ctx context.Context, p []syncd.Point, keys []string, found []syncd.Found) error {
		return c.Read(context.WithoutCancel(ctx), p, keys, found)
	}},
	{"takes an outage for missing", "read_unreachable", func(_ *MemoryChecker, _ context.Context, _ []syncd.Point, keys []string, found []syncd.Found) error {
		for i := range found {
			found[i] = syncd.Found{Payload: make([]syncd.Value, len(keys))}
		}
		return nil
	}},
}

// brokenLister is a MemoryChecker with another List.
type brokenLister struct {
	*MemoryChecker
	list spoiltList
}

type (
	listed     = iter.Seq2[[]syncd.Listed, error]
	spoiltList = func(*MemoryChecker, context.Context, syncd.ListRequest) listed
)

func (b brokenLister) Abilities() syncd.CheckerAbilities {
	a := b.MemoryChecker.Abilities()
	a.List = func(ctx context.Context, req syncd.ListRequest) listed { return b.list(b.MemoryChecker, ctx, req) }
	return a
}

// changeList lists something else than what was asked for.
func changeList(change func(*syncd.ListRequest)) spoiltList {
	return func(c *MemoryChecker, ctx context.Context, req syncd.ListRequest) listed {
		req.Match = maps.Clone(req.Match)
		change(&req)
		return c.List(ctx, req)
	}
}

// changeBatches spoils what was listed. The i-th batch is left out if change returns nil.
func changeBatches(change func(i int, batch []syncd.Listed) []syncd.Listed) spoiltList {
	return func(c *MemoryChecker, ctx context.Context, req syncd.ListRequest) listed {
		return func(yield func([]syncd.Listed, error) bool) {
			i := 0
			for batch, err := range c.List(ctx, req) {
				if batch = change(i, batch); (batch != nil || err != nil) && !yield(batch, err) {
					return
				}
				i++
			}
		}
	}
}

var brokenListers = []struct {
	name, caught string
	list         spoiltList
}{
	{"drops the last of a batch", "list", changeBatches(func(_ int, batch []syncd.Listed) []syncd.Listed {
		return batch[:max(0, len(batch)-1)]
	})},
	{"lists the first batch only", "list", changeBatches(func(i int, batch []syncd.Listed) []syncd.Listed {
		if i > 0 {
			return nil
		}
		return batch
	})},
	{"repeats the last of a batch", "list", changeBatches(func(_ int, batch []syncd.Listed) []syncd.Listed {
		return append(batch, batch[max(0, len(batch)-1):]...)
	})},
	{"lists points that are not there", "list", changeBatches(func(_ int, batch []syncd.Listed) []syncd.Listed {
		if len(batch) > 0 {
			batch[0].ID = uuid.Nil
		}
		return batch
	})},
	{"carries no payload", "list", changeList(func(r *syncd.ListRequest) { r.Keys = nil })},
	{"sorts the keys", "list", changeList(func(r *syncd.ListRequest) { r.Keys = slices.Sorted(slices.Values(r.Keys)) })},
	{"ignores the part", "list_parts", changeList(func(r *syncd.ListRequest) { r.Part, r.Parts = 0, 1 })},
	{"lists part 0 only", "list_parts", func(c *MemoryChecker, ctx context.Context, req syncd.ListRequest) listed {
		if req.Part > 0 {
			return func(func([]syncd.Listed, error) bool) {}
		}
		return c.List(ctx, req)
	}},
	{"ignores Match", "list_match", changeList(func(r *syncd.ListRequest) { r.Match = nil })},
	{"matches any", "list_match", changeList(func(r *syncd.ListRequest) {
		if len(r.Match) > 1 {
			delete(r.Match, "even")
		}
	})},
	{"ignores Limit", "list_limit", changeList(func(r *syncd.ListRequest) { r.Limit = 0 })},
	{"counts what does not match", "list_limit", func(c *MemoryChecker, ctx context.Context, req syncd.ListRequest) listed {
		return func(yield func([]syncd.Listed, error) bool) {
			all := req
			all.Match = nil
			looked := map[uuid.UUID]bool{}
			for batch := range c.List(ctx, all) {
				for _, p := range batch {
					looked[p.ID] = true
				}
			}
			req.Limit = 0
			for batch, err := range c.List(ctx, req) {
				batch = slices.DeleteFunc(batch, func(p syncd.Listed) bool { return !looked[p.ID] })
				if !yield(batch, err) {
					return
				}
			}
		}
	}},
	{"goes on after the loop was left", "list_and_stop_early", func(c *MemoryChecker, ctx context.Context, req syncd.ListRequest) listed {
		return func(yield func([]syncd.Listed, error) bool) {
			for batch, err := range c.List(ctx, req) {
				_ = yield(batch, err)
			}
		}
	}},
	{"takes the end of its context for the end", "cancel_during_a_listing", silentList},
	{"lists nothing when its context has ended", "list_when_the_context_has_ended", silentList},
	{"takes an outage for the end", "list_unreachable", silentList},
}

var silentList spoiltList = func(c *MemoryChecker, ctx context.Context, req syncd.ListRequest) listed {
	return func(yield func([]syncd.Listed, error) bool) {
		for batch, err := range c.List(ctx, req) {
			if err != nil || !yield(batch, nil) {
				return
			}
		}
	}
}

// brokenFinder is a MemorySource with another Find.
type brokenFinder struct {
	*MemorySource
	find spoiltFind
}

type spoiltFind = func(*MemorySource, context.Context, syncd.Collection, []string) ([]syncd.Key, error)

func (b brokenFinder) Abilities() syncd.SourceAbilities {
	a := b.MemorySource.Abilities()
	a.Find = func(ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
		return b.find(b.MemorySource, ctx, c, ids)
	}
	return a
}

var brokenFinders = []struct {
	name, caught string
	find         spoiltFind
}{
	{"finds nothing", "find", func(_ *MemorySource, _ context.Context, _ syncd.Collection, ids []string) ([]syncd.Key, error) {
		return make([]syncd.Key, len(ids)), nil
	}},
	{"takes an absent collection for an empty one", "find_in_no_collection", func(s *MemorySource, ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
		keys, err := s.Find(ctx, c, ids)
		if errors.Is(err, syncd.ErrCollectionNotFound) {
			return make([]syncd.Key, len(ids)), nil
		}
		return keys, err
	}},
	{"finds everything", "find", func(_ *MemorySource, _ context.Context, _ syncd.Collection, ids []string) ([]syncd.Key, error) {
		keys := make([]syncd.Key, len(ids))
		for i, id := range ids {
			keys[i] = memoryKey(id)
		}
		return keys, nil
	}},
	{"returns only what it found", "find", func(s *MemorySource, ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
		keys, err := s.Find(ctx, c, ids)
		return slices.DeleteFunc(keys, func(k syncd.Key) bool { return k == "" }), err
	}},
	{"sorts the ids", "find", func(s *MemorySource, ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
		slices.Sort(ids)
		return s.Find(ctx, c, ids)
	}},
	{"folds case", "find_difficult_ids", func(s *MemorySource, ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
		ids = slices.Clone(ids)
		for i, id := range ids {
			if len(id) > 1 {
				ids[i] = strings.ToLower(id)
			}
		}
		return s.Find(ctx, c, ids)
	}},
	{"finds an id once", "find_an_id_twice", func(s *MemorySource, ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
		keys, err := s.Find(ctx, c, ids)
		for i := range keys {
			if slices.Contains(ids[:i], ids[i]) {
				keys[i] = ""
			}
		}
		return keys, err
	}},
	{"remembers", "find_a_deleted_document", remembering()},
	{"ignores the filter", "find_keeps_to_the_filter", func(s *MemorySource, ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
		c.Filter = ""
		return s.Find(ctx, c, ids)
	}},
	{"finds at most 1,000", "find_many", func(s *MemorySource, ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
		keys, err := s.Find(ctx, c, ids)
		if len(keys) > 1000 {
			clear(keys[1000:])
		}
		return keys, err
	}},
	{"takes the end of its context for not found", "find_when_the_context_has_ended", func(s *MemorySource, ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
		if ctx.Err() != nil {
			return make([]syncd.Key, len(ids)), nil
		}
		return s.Find(ctx, c, ids)
	}},
}

// brokenAllFinder is a MemorySource with another FindAll.
type brokenAllFinder struct {
	*MemorySource
	find spoiltFindAll
}

type spoiltFindAll = func(*MemorySource, context.Context, syncd.Collection, []string) ([][]syncd.FoundID, error)

func (b brokenAllFinder) Abilities() syncd.SourceAbilities {
	a := b.MemorySource.Abilities()
	a.FindAll = func(ctx context.Context, c syncd.Collection, ids []string) ([][]syncd.FoundID, error) {
		return b.find(b.MemorySource, ctx, c, ids)
	}
	return a
}

var brokenAllFinders = []struct {
	name, caught string
	find         spoiltFindAll
}{
	{"finds nothing", "find_all", func(_ *MemorySource, _ context.Context, _ syncd.Collection, ids []string) ([][]syncd.FoundID, error) {
		return make([][]syncd.FoundID, len(ids)), nil
	}},
	{"returns only what it found", "find_all", func(s *MemorySource, ctx context.Context, c syncd.Collection, ids []string) ([][]syncd.FoundID, error) {
		all, err := s.FindAll(ctx, c, ids)
		return slices.DeleteFunc(all, func(f []syncd.FoundID) bool { return f == nil }), err
	}},
	{"finds everything twice", "find_all", func(s *MemorySource, ctx context.Context, c syncd.Collection, ids []string) ([][]syncd.FoundID, error) {
		all, err := s.FindAll(ctx, c, ids)
		for i := range all {
			all[i] = slices.Concat(all[i], all[i])
		}
		return all, err
	}},
	{"folds case", "find_all_difficult_ids", func(s *MemorySource, ctx context.Context, c syncd.Collection, ids []string) ([][]syncd.FoundID, error) {
		ids = slices.Clone(ids)
		for i, id := range ids {
			if len(id) > 1 {
				ids[i] = strings.ToLower(id)
			}
		}
		return s.FindAll(ctx, c, ids)
	}},
	{"takes an absent collection for an empty one", "find_all_in_no_collection", func(s *MemorySource, ctx context.Context, c syncd.Collection, ids []string) ([][]syncd.FoundID, error) {
		all, err := s.FindAll(ctx, c, ids)
		if errors.Is(err, syncd.ErrCollectionNotFound) {
			return make([][]syncd.FoundID, len(ids)), nil
		}
		return all, err
	}},
	{"ignores the filter", "find_all_keeps_to_the_filter", func(s *MemorySource, ctx context.Context, c syncd.Collection, ids []string) ([][]syncd.FoundID, error) {
		c.Filter = ""
		return s.FindAll(ctx, c, ids)
	}},
}

// remembering finds what it has found before.
func remembering() spoiltFind {
	known := map[string]syncd.Key{}
	return func(s *MemorySource, ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
		keys, err := s.Find(ctx, c, ids)
		for i, id := range ids {
			if keys[i] != "" {
				known[c.Name+"\x00"+id] = keys[i]
			}
			keys[i] = known[c.Name+"\x00"+id]
		}
		return keys, err
	}
}

// runBrokenAbilities runs those of the abilities, one case for each.
func runBrokenAbilities(t *testing.T, some func(t *testing.T, cases []testCase, caught string)) {
	// A broken plugin does not notice that its index can't be reached: for it there is one that is empty.
	inner := func(c syncd.Checker) *MemoryChecker {
		if m, ok := c.(*MemoryChecker); ok {
			return m
		}
		return NewMemoryChecker()
	}
	for _, b := range brokenReaders {
		t.Run("reader "+b.name, func(t *testing.T) {
			some(t, checkerHarness(func(c syncd.Checker) syncd.Checker { return brokenReader{inner(c), b.read} }).cases(), b.caught)
		})
	}
	for _, b := range brokenListers {
		t.Run("lister "+b.name, func(t *testing.T) {
			some(t, checkerHarness(func(c syncd.Checker) syncd.Checker { return brokenLister{inner(c), b.list} }).cases(), b.caught)
		})
	}
	for _, b := range brokenFinders {
		t.Run("finder "+b.name, func(t *testing.T) {
			some(t, memoryHarness(3, func(s syncd.Source) syncd.Source { return brokenFinder{s.(*MemorySource), b.find} }).cases(), b.caught)
		})
	}
	for _, b := range brokenAllFinders {
		t.Run("finder of all "+b.name, func(t *testing.T) {
			some(t, memoryHarness(3, func(s syncd.Source) syncd.Source { return brokenAllFinder{s.(*MemorySource), b.find} }).cases(), b.caught)
		})
	}
}
