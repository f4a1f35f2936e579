package syncdtest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/syncd-io/syncd"
)

func (h SourceHarness) identityCases() []testCase {
	return []testCase{
		{"identity", h.identity},
		{"identity_of_a_collection_made_again", h.identityMadeAgain},
		{"identity_of_no_collection", h.identityMissing},
		{"identity_when_the_context_has_ended", h.identityContextEnded},
	}
}

func (h SourceHarness) identifier(t *testing.T, n int) *collection {
	t.Helper()
	c := h.open(t, n)
	if c.Abilities().Identity == nil {
		t.Skip("the source can't tell identities")
	}
	return c
}

func (c *collection) identity(ctx context.Context) (string, error) {
	return c.Abilities().Identity(ctx, c.Collection)
}

// identity stays the same, also where documents come and go under it.
func (h SourceHarness) identity(t *testing.T) {
	c := h.identifier(t, 5)
	first, err := c.identity(t.Context())
	must(t, err)
	must(t, c.keepsIdentity(t.Context(), first))
	c.whole(t, syncd.ReadRequest{BatchSize: 2, Documents: true})
	if h.Delete != nil {
		h.delete(t, c, "doc-00003")
	}
	must(t, c.keepsIdentity(t.Context(), first))
}

func (c *collection) keepsIdentity(ctx context.Context, first string) error {
	if again, err := c.identity(ctx); err != nil || again != first {
		return fmt.Errorf("Identity gave %q, and then %q, %v", first, again, err)
	}
	return nil
}

// identityMadeAgain guards whoever takes keys of an earlier run for keys of this one.
func (h SourceHarness) identityMadeAgain(t *testing.T) {
	if h.Drop == nil {
		t.Skip("the harness has no Drop")
	}
	c := h.identifier(t, 5)
	before, err := c.identity(t.Context())
	must(t, err)
	h.Drop(t, c.Name)
	must(t, c.hasNoIdentity(t.Context()))
	must(t, h.open(t, 5).losesIdentity(t.Context(), before))
}

func (c *collection) losesIdentity(ctx context.Context, before string) error {
	if after, err := c.identity(ctx); err != nil || after == before && after != "" {
		return fmt.Errorf("the identity of a collection that was dropped and made again was %q and is %q, %v", before, after, err)
	}
	return nil
}

func (c *collection) hasNoIdentity(ctx context.Context) error {
	if id, err := c.identity(ctx); !errors.Is(err, syncd.ErrCollectionNotFound) || id != "" {
		return fmt.Errorf("Identity of a collection that does not exist = %q, %v; want ErrCollectionNotFound", id, err)
	}
	return nil
}

func (h SourceHarness) identityMissing(t *testing.T) {
	c := h.identifier(t, 1)
	c.Name += "_missing"
	must(t, c.hasNoIdentity(t.Context()))
}

func (h SourceHarness) identityContextEnded(t *testing.T) {
	c := h.identifier(t, 1)
	ended(t, "Identity", func(ctx context.Context, want error) error {
		_, err := c.identity(ctx)
		return noSilence("Identity", err, want, false)
	})
}
