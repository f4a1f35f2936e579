package syncdtest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/syncd-io/syncd"
)

func (h SourceHarness) findAllCases() []testCase {
	return []testCase{
		{"find_all", h.findAll},
		{"find_all_difficult_ids", h.findAllDifficult},
		{"find_all_in_no_collection", h.findAllInMissing},
		{"find_all_keeps_to_the_filter", h.findAllFiltered},
		{"find_all_concurrently", h.findAllConcurrently},
	}
}

// allFinder is finder for FindAll.
func (h SourceHarness) allFinder(t *testing.T, docs []Doc) (*collection, map[string]syncd.Key) {
	t.Helper()
	c, keys := h.finder(t, docs)
	if c.Abilities().FindAll == nil {
		t.Skip("the source can't find all documents of an id's text")
	}
	return c, keys
}

// findAll finds ids, each of which one document has if keys has it, else none.
func (c *collection) findAll(t *testing.T, ids []string, keys map[string]syncd.Key) error {
	t.Helper()
	asked := slices.Clone(ids)
	got, err := c.Abilities().FindAll(t.Context(), c.Collection, ids)
	switch {
	case err != nil:
		return fmt.Errorf("FindAll of %d ids: %w", len(ids), err)
	case len(got) != len(ids):
		return fmt.Errorf("FindAll of %d ids: it returned %d answers", len(ids), len(got))
	case !slices.Equal(ids, asked):
		return fmt.Errorf("FindAll of %d ids: it has changed them", len(ids))
	}
	for i, id := range ids {
		key, there := keys[id]
		switch {
		case !there && len(got[i]) > 0:
			return fmt.Errorf("FindAll of %d ids: %q is no document's, and it found %v", len(ids), id, got[i])
		case there && (len(got[i]) != 1 || got[i][0].Key != key || got[i][0].Text == ""):
			return fmt.Errorf("FindAll of %d ids: of %q it found %v; want one document with the key %q", len(ids), id, got[i], key)
		}
	}
	return nil
}

func (h SourceHarness) findAll(t *testing.T) {
	c, keys := h.allFinder(t, someDocs(50))
	must(t, c.findAll(t, nil, keys))
	must(t, c.findAll(t, []string{"doc-00007"}, keys))
	must(t, c.findAll(t, []string{"doc-00001", "doc-00099", "doc-00001", "doc-00002", "", "doc-00099"}, keys))
	var ids []string
	for i := range 3000 {
		ids = append(ids, fmt.Sprintf("doc-%05d", i))
	}
	must(t, c.findAll(t, ids, keys))
}

func (h SourceHarness) findAllDifficult(t *testing.T) {
	h.allFinder(t, someDocs(1)) // a source that can't need not hold difficult ids
	c, keys := h.allFinder(t, difficultDocs())
	var ids []string
	for _, d := range difficultDocs() {
		ids = append(ids, d.ID, d.ID+"x", "x"+d.ID)
	}
	must(t, c.findAll(t, ids, keys))
}

func (h SourceHarness) findAllInMissing(t *testing.T) {
	c, _ := h.allFinder(t, someDocs(3))
	missing := syncd.Collection{Name: c.Name + "_missing"}
	if found, err := c.Abilities().FindAll(t.Context(), missing, []string{"doc-00001"}); !errors.Is(err, syncd.ErrCollectionNotFound) {
		t.Errorf("FindAll in a collection that does not exist = %v, %v; want ErrCollectionNotFound", found, err)
	}
}

func (h SourceHarness) findAllFiltered(t *testing.T) {
	if h.Filter == nil {
		t.Skip("the harness has no Filter")
	}
	c, keys := h.allFinder(t, someDocs(40))
	var ids []string
	for id := range c.docs {
		ids = append(ids, id)
		if c.docs[id].Fields["even"] == "" {
			delete(keys, id)
		}
	}
	c.Filter = h.Filter("even", "yes")
	must(t, c.findAll(t, ids, keys))
}

func (h SourceHarness) findAllConcurrently(t *testing.T) {
	c, keys := h.allFinder(t, someDocs(100))
	together(t, 8, func(i int) error {
		var ids []string
		for k := range 50 {
			ids = append(ids, fmt.Sprintf("doc-%05d", 10*i+k))
		}
		return c.findAll(t, ids, keys)
	})
}
