package mongo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/syncd-io/syncd"
)

// mostViews is how deep views on views may lie (Manual, "Views").
const mostViews = 20

// Identity is the UUID that MongoDB gave the collection when it was made (Manual, "listCollections", info.uuid). It lasts as
// long as the collection does, through every write and a renaming; a copy elsewhere has another unless it was restored with
// it. A view is what it shows: its definition and the identity of the collection behind it. A server without UUIDs, a time
// series and a user who may list nothing but names give "".
func (s *source) Identity(ctx context.Context, c syncd.Collection) (string, error) {
	id, err := s.identity(ctx, c.Name)
	if err != nil {
		return "", fmt.Errorf("identifying collection %s: %w", c.Name, err)
	}
	return id, nil
}

func (s *source) identity(ctx context.Context, name string) (string, error) {
	definitions := ""
	for range mostViews + 1 {
		t, err := s.look(ctx, name)
		switch {
		case errors.Is(err, syncd.ErrCollectionNotFound) && definitions != "":
			return definitions + "nothing", nil // a view on what is not there is an empty one
		case err != nil:
			return "", err
		case t.ordinary && definitions == "":
			s.seen.Store(name, true)
			return t.uuid, nil
		case t.viewOn == "" && t.uuid == "":
			return "", nil
		case t.viewOn == "":
			return definitions + t.uuid, nil
		}
		definitions += fmt.Sprintf("view of %s by %.8x on ", t.viewOn, sha256.Sum256(t.pipeline))
		name = t.viewOn
	}
	return "", nil
}
