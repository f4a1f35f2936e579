package qdrant

import (
	"context"
	"fmt"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd"
)

// markOf is the key in a collection's metadata that says since when an alias has stood for the collection. It stays when the alias is
// pointed elsewhere, so that no later run takes it back.
func markOf(alias string) string { return "syncd_switched:" + alias }

// switching is the ability Switch; nil where there is no alias to be switched.
func (s *sink) switching() *syncd.Switch {
	if s.conf.Alias == "" {
		return nil
	}
	return &syncd.Switch{
		Name: fmt.Sprintf("the alias %q", s.conf.Alias), Target: fmt.Sprintf("the collection %q", s.conf.Collection), State: s.switchState, Do: s.switchAlias,
	}
}

// aliases are all aliases, and the collections that they stand for.
func (s *sink) aliases(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	err := s.call(ctx, func(ctx context.Context) error {
		r, err := s.client.GetCollectionsClient().ListAliases(ctx, &qdrant.ListAliasesRequest{})
		for _, a := range r.GetAliases() {
			out[a.GetAliasName()] = a.GetCollectionName()
		}
		return err
	})
	if err != nil {
		return nil, s.explain("listing the aliases of Qdrant at "+s.ep.Addr(), err)
	}
	return out, nil
}

// checkAlias finds names that can't be an alias and a collection.
func (s *sink) checkAlias(ctx context.Context) (target string, err error) {
	all, err := s.aliases(ctx)
	if err != nil {
		return "", err
	}
	if of, is := all[s.conf.Collection]; is {
		return "", syncd.Hint(fmt.Errorf("%q is an alias of the collection %q, and an alias can't stand for an alias", s.conf.Collection, of),
			"name in sink.qdrant.collection, and in the checker, the collection itself that is to be filled")
	}
	if target, is := all[s.conf.Alias]; is {
		return target, nil
	}
	exists := false
	err = s.call(ctx, func(ctx context.Context) error {
		r, err := s.client.GetCollectionsClient().CollectionExists(ctx, &qdrant.CollectionExistsRequest{CollectionName: s.conf.Alias})
		exists = r.GetResult().GetExists()
		return err
	})
	switch {
	case err != nil:
		return "", s.explain(fmt.Sprintf("looking for the alias %q in Qdrant at %s", s.conf.Alias, s.ep.Addr()), err)
	case exists:
		return "", syncd.Hint(fmt.Errorf("%q is a collection, so that it can't be an alias", s.conf.Alias),
			"choose another name for sink.qdrant.alias, and have readers ask it; a collection that readers ask by its own name can't be replaced without a gap")
	}
	return "", nil
}

// switchState is Switch.State.
func (s *sink) switchState(ctx context.Context) (syncd.SwitchState, error) {
	all, err := s.aliases(ctx)
	if err != nil {
		return syncd.SwitchState{}, err
	}
	st := syncd.SwitchState{Now: all[s.conf.Alias]}
	marked, err := s.marked(ctx)
	if err != nil {
		return st, err
	}
	switch {
	case st.Now == s.conf.Collection:
		st.Done = true
		if !marked { // by somebody else, or by a run that was killed
			s.mark(ctx)
		}
	case marked:
		st.Left = true
	}
	return st, nil
}

// switchAlias is Switch.Do. Qdrant applies the actions of a request under one lock, so a reader finds the one collection or the other.
func (s *sink) switchAlias(ctx context.Context) (before string, err error) {
	all, err := s.aliases(ctx)
	if err != nil {
		return "", err
	}
	if before = all[s.conf.Alias]; before == s.conf.Collection {
		return before, nil
	}
	var actions []*qdrant.AliasOperations
	if before != "" {
		actions = append(actions, qdrant.NewAliasDelete(s.conf.Alias))
	}
	req := &qdrant.ChangeAliases{Actions: append(actions, qdrant.NewAliasCreate(s.conf.Alias, s.conf.Collection))}
	err = s.call(ctx, func(ctx context.Context) error {
		_, err := s.client.GetCollectionsClient().UpdateAliases(ctx, req)
		return err
	})
	if err != nil {
		return before, s.explain(fmt.Sprintf("having the alias %q stand for the collection %q", s.conf.Alias, s.conf.Collection), err)
	}
	s.mark(ctx)
	return before, nil
}

// marked reports whether the alias has stood for the collection before.
func (s *sink) marked(ctx context.Context) (bool, error) {
	info, err := s.info(ctx)
	if status.Code(err) == codes.NotFound { // it is still to be made
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, marked := info.GetConfig().GetMetadata()[markOf(s.conf.Alias)]
	return marked, nil
}

// mark notes at the collection that the alias stands for it. That it can't be noted undoes nothing, and the next run tries it again.
func (s *sink) mark(ctx context.Context) {
	err := s.call(ctx, func(ctx context.Context) error {
		_, err := s.client.GetCollectionsClient().Update(ctx, &qdrant.UpdateCollection{
			CollectionName: s.conf.Collection,
			Metadata:       map[string]*qdrant.Value{markOf(s.conf.Alias): qdrant.NewValueString(time.Now().UTC().Format(time.RFC3339))},
		})
		return err
	})
	kept := false
	if err == nil {
		kept, err = s.marked(ctx)
	}
	const unmarked = "remove sink.qdrant.alias before you point the alias elsewhere, or the next run points it here again"
	switch {
	case ctx.Err() != nil:
	case err != nil:
		s.log.Warn("it could not be noted at the collection that the alias stands for it", "alias", s.conf.Alias, "collection", s.conf.Collection, "error", s.scrub.Replace(err.Error()), "hint", unmarked)
	case !kept:
		s.log.Warn("this Qdrant keeps no metadata of collections, as those before 1.16", "alias", s.conf.Alias, "collection", s.conf.Collection, "hint", unmarked)
	}
}
