package syncdtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/syncd-io/syncd"
)

func (h SourceHarness) findCases() []testCase {
	return []testCase{
		{"find", h.find},
		{"find_difficult_ids", h.findDifficult},
		{"find_nothing", h.findNothing},
		{"find_an_id_twice", h.findTwice},
		{"find_in_an_empty_collection", h.findInEmpty},
		{"find_in_no_collection", h.findInMissing},
		{"find_a_deleted_document", h.findDeleted},
		{"find_keeps_to_the_filter", h.findFiltered},
		{"find_many", h.findMany},
		{"find_concurrently", h.findConcurrently},
		{"find_when_the_context_has_ended", h.findContextEnded},
	}
}

// finder opens a source, and returns the key that a read gives for each of its documents.
func (h SourceHarness) finder(t *testing.T, docs []Doc) (*collection, map[string]syncd.Key) {
	t.Helper()
	c := h.openWith(t, docs)
	if c.Abilities().Find == nil {
		t.Skip("the source can't find documents by their ids")
	}
	changes := c.whole(t, syncd.ReadRequest{BatchSize: 1000})
	keys := make(map[string]syncd.Key, len(changes))
	for _, r := range changes {
		keys[r.ID] = r.Key
	}
	return c, keys
}

// find finds ids and compares the keys with those of keys; an id that has none there must not be found.
func (c *collection) find(ctx context.Context, ids []string, keys map[string]syncd.Key) error {
	asked := slices.Clone(ids)
	got, err := c.Abilities().Find(ctx, c.Collection, ids)
	switch {
	case err != nil:
		return fmt.Errorf("Find of %d ids: %w", len(ids), err)
	case len(got) != len(ids):
		return fmt.Errorf("Find of %d ids: it returned %d keys", len(ids), len(got))
	case !slices.Equal(ids, asked):
		return fmt.Errorf("Find of %d ids: it has changed them", len(ids))
	}
	for i, id := range ids {
		if got[i] != keys[id] {
			return fmt.Errorf("Find of %d ids: id %d, %q, has the key %q; want %q, as in a read", len(ids), i, id, got[i], keys[id])
		}
	}
	return nil
}

func (h SourceHarness) find(t *testing.T) {
	c, keys := h.finder(t, someDocs(50))
	must(t, c.find(t.Context(), []string{"doc-00007"}, keys))
	must(t, c.find(t.Context(), []string{"doc-00050"}, keys))
	var ids []string
	for i := range 100 { // found and not found in turn, at first
		ids = append(ids, fmt.Sprintf("doc-%05d", i%2*50+i/2))
	}
	must(t, c.find(t.Context(), ids, keys))
	rand.New(rand.NewPCG(5, 6)).Shuffle(len(ids), func(i, k int) { ids[i], ids[k] = ids[k], ids[i] })
	must(t, c.find(t.Context(), ids, keys))
}

func (h SourceHarness) findDifficult(t *testing.T) {
	c, keys := h.finder(t, difficultDocs())
	var ids []string
	for _, d := range difficultDocs() {
		ids = append(ids, d.ID, d.ID+"x", "x"+d.ID)
	}
	ids = append(ids, "", "2", "-0", "false", "{}", "[]", "507F1F77BCF86CD799439011", "507f1f77bcf86cd799439012",
		"6BA7B811-9DAD-11D1-80B4-00C04FD430C8", "6ba7b811-9dad-11d1-80b4-00c04fd430c9", "2024-01-02T03:04:05.000Z", "AAAA", ".*", "^a")
	must(t, c.find(t.Context(), ids, keys))
	for _, id := range ids {
		must(t, c.find(t.Context(), []string{id}, keys))
	}
}

func (h SourceHarness) findNothing(t *testing.T) {
	c, keys := h.finder(t, someDocs(3))
	must(t, c.find(t.Context(), nil, keys))
	must(t, c.find(t.Context(), []string{}, keys))
}

func (h SourceHarness) findTwice(t *testing.T) {
	c, keys := h.finder(t, someDocs(3))
	must(t, c.find(t.Context(), []string{"doc-00001", "doc-00009", "doc-00001", "doc-00002", "doc-00009"}, keys))
}

func (h SourceHarness) findInEmpty(t *testing.T) {
	c, keys := h.finder(t, nil)
	must(t, c.find(t.Context(), []string{"a", "b"}, keys))
}

// findInMissing guards whoever deletes what is not found.
func (h SourceHarness) findInMissing(t *testing.T) {
	c, _ := h.finder(t, someDocs(3))
	missing := syncd.Collection{Name: c.Name + "_missing"}
	for _, ids := range [][]string{{"doc-00001"}, {"doc-00001", "507f1f77bcf86cd799439011", "42"}} {
		keys, err := c.Abilities().Find(t.Context(), missing, ids)
		if !errors.Is(err, syncd.ErrCollectionNotFound) {
			t.Errorf("Find of %d ids in a collection that does not exist = %q, %v; want ErrCollectionNotFound", len(ids), keys, err)
		}
	}
}

func (h SourceHarness) findDeleted(t *testing.T) {
	h.needDelete(t)
	c, keys := h.finder(t, someDocs(5))
	ids := []string{"doc-00001", "doc-00002", "doc-00003"}
	must(t, c.find(t.Context(), ids, keys))
	h.delete(t, c, "doc-00002")
	delete(keys, "doc-00002")
	must(t, c.find(t.Context(), ids, keys))
}

func (h SourceHarness) findFiltered(t *testing.T) {
	if h.Filter == nil {
		t.Skip("the harness has no Filter")
	}
	c, keys := h.finder(t, someDocs(40))
	var ids []string
	for id := range c.docs {
		ids = append(ids, id)
		if c.docs[id].Fields["even"] == "" {
			delete(keys, id)
		}
	}
	c.Filter = h.Filter("even", "yes")
	must(t, c.find(t.Context(), ids, keys))
}

func (h SourceHarness) findMany(t *testing.T) {
	const n = 5000
	c, keys := h.finder(t, someDocs(n))
	ids := make([]string, n)
	for i, k := range rand.New(rand.NewPCG(7, 8)).Perm(n) {
		ids[i] = fmt.Sprintf("doc-%05d", 2*k) // half of them exist
	}
	must(t, c.find(t.Context(), ids, keys))
}

func (h SourceHarness) findConcurrently(t *testing.T) {
	c, keys := h.finder(t, someDocs(100))
	ctx := t.Context()
	together(t, 8, func(i int) error {
		var ids []string
		for k := range 50 {
			ids = append(ids, fmt.Sprintf("doc-%05d", 10*i+k))
		}
		return c.find(ctx, ids, keys)
	})
}

func (h SourceHarness) findContextEnded(t *testing.T) {
	c, keys := h.finder(t, someDocs(50))
	ids := []string{"doc-00001", "doc-00099"}
	ended(t, "Find", func(ctx context.Context, want error) error {
		return noSilence("Find", c.find(ctx, ids, keys), want, false)
	})
	must(t, c.find(t.Context(), ids, keys))
}
