package qdranttest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
)

// aliases applies actions in one request.
func (e *env) aliases(t *testing.T, actions ...*qdrant.AliasOperations) error {
	t.Helper()
	_, err := e.client.GetCollectionsClient().UpdateAliases(testContext(t), &qdrant.ChangeAliases{Actions: actions})
	return err
}

func aliasCases() []testCase {
	return []testCase{
		{62, "an alias is switched in one request, and readers find it all the time", func(t *testing.T, e *env) {
			older, newer, alias := e.collection(t), e.collection(t), e.newName()
			e.load(t, older, points(1)...)
			e.load(t, newer, points(2)...)
			if err := e.aliases(t, qdrant.NewAliasCreate(alias, older)); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(testContext(t))
			var readers sync.WaitGroup
			for range 2 {
				readers.Go(func() {
					for ctx.Err() == nil {
						n, err := e.client.Count(ctx, &qdrant.CountPoints{CollectionName: alias, Exact: qdrant.PtrOf(true)})
						if ctx.Err() == nil && (err != nil || n != 1 && n != 2) {
							t.Errorf("a reader counts %d points, %v", n, err)
							return
						}
					}
				})
			}
			for range 20 {
				for _, to := range []string{newer, older} {
					if err := e.aliases(t, qdrant.NewAliasDelete(alias), qdrant.NewAliasCreate(alias, to)); err != nil {
						t.Error(err)
					}
				}
			}
			stop()
			readers.Wait()
			if err := e.aliases(t, qdrant.NewAliasDelete(alias), qdrant.NewAliasCreate(alias, newer)); err != nil {
				t.Fatal(err)
			}
			of, err := e.client.ListCollectionAliases(testContext(t), newer)
			old, oldErr := e.client.ListCollectionAliases(testContext(t), older)
			if errors.Join(err, oldErr) != nil || !slices.Equal(of, []string{alias}) || len(old) != 0 {
				t.Errorf("the collections have the aliases %v and %v, %v", of, old, errors.Join(err, oldErr))
			}
			wantIDs(t, idsOf(e.get(t, alias, nil, uuidID(2))), u(2))
		}},
		{63, "an alias of what is no collection", func(t *testing.T, e *env) {
			collection, alias, other := e.collection(t), e.newName(), e.newName()
			wantError(t, e.aliases(t, qdrant.NewAliasCreate(alias, other)), codes.NotFound, missing(other))
			if err := e.aliases(t, qdrant.NewAliasCreate(alias, collection)); err != nil {
				t.Fatal(err)
			}
			wantError(t, e.aliases(t, qdrant.NewAliasCreate(other, alias)), codes.NotFound, missing(alias)) // nor of an alias
		}},
		{64, "an alias with the name of a collection", func(t *testing.T, e *env) {
			collection, other := e.collection(t), e.collection(t)
			err := e.aliases(t, qdrant.NewAliasCreate(other, collection))
			wantError(t, err, codes.AlreadyExists, "Wrong input: Collection `"+other+"` already exists!")
		}},
		{65, "an alias is gone with its collection", func(t *testing.T, e *env) {
			collection, alias := e.collection(t), e.newName()
			if err := e.aliases(t, qdrant.NewAliasCreate(alias, collection)); err != nil {
				t.Fatal(err)
			}
			if _, err := e.client.GetCollectionsClient().Delete(testContext(t), &qdrant.DeleteCollection{CollectionName: collection}); err != nil {
				t.Fatal(err)
			}
			if exists, err := e.client.CollectionExists(testContext(t), alias); err != nil || exists {
				t.Errorf("the alias exists: %t, %v", exists, err)
			}
			if err := e.aliases(t, qdrant.NewAliasDelete(alias)); err != nil { // which is no error
				t.Error(err)
			}
		}},
		{66, "metadata of a collection is merged", func(t *testing.T, e *env) {
			collection := e.collection(t)
			for _, key := range []string{"a", "b:c"} {
				_, err := e.client.GetCollectionsClient().Update(testContext(t), &qdrant.UpdateCollection{
					CollectionName: collection, Metadata: map[string]*qdrant.Value{key: qdrant.NewValueString("of " + key)},
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			info, err := e.client.GetCollectionInfo(testContext(t), collection)
			if err != nil {
				t.Fatal(err)
			}
			if m := info.GetConfig().GetMetadata(); len(m) != 2 || m["a"].GetStringValue() != "of a" || m["b:c"].GetStringValue() != "of b:c" {
				t.Errorf("the metadata are %v", m)
			}
		}},
	}
}
