package qdrantserver

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/qdrant/go-client/qdrant"
)

// UpdateAliases applies its actions in order. One that fails leaves those before it applied.
func (cs collectionsService) UpdateAliases(ctx context.Context, req *qdrant.ChangeAliases) (*qdrant.CollectionOperationResponse, error) {
	started := time.Now()
	if err := validateAtLeastOne("timeout", req.Timeout); err != nil {
		return nil, err
	}
	if err := requireWrite(ctx); err != nil {
		return nil, err
	}
	s := cs.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, action := range req.GetActions() {
		if err := s.changeAlias(action); err != nil {
			return nil, err
		}
	}
	return operationResponse(true, started), nil
}

func (s *Server) changeAlias(pb *qdrant.AliasOperations) error {
	switch action := pb.GetAction().(type) {
	case *qdrant.AliasOperations_CreateAlias:
		target, alias := action.CreateAlias.GetCollectionName(), action.CreateAlias.GetAliasName()
		if _, exists := s.collections[target]; !exists {
			return collectionNotFound(target)
		}
		if _, exists := s.collections[alias]; exists {
			return alreadyExists(alias)
		}
		s.aliases[alias] = target // an alias that exists is pointed elsewhere
	case *qdrant.AliasOperations_RenameAlias:
		before, after := action.RenameAlias.GetOldAliasName(), action.RenameAlias.GetNewAliasName()
		target, exists := s.aliases[before]
		if !exists {
			return notFound("Alias %s does not exists!", before)
		}
		delete(s.aliases, before)
		s.aliases[after] = target
	case *qdrant.AliasOperations_DeleteAlias:
		delete(s.aliases, action.DeleteAlias.GetAliasName())
	default:
		return invalidArgument("Malformed AliasOperation type")
	}
	return nil
}

func (cs collectionsService) ListAliases(context.Context, *qdrant.ListAliasesRequest) (*qdrant.ListAliasesResponse, error) {
	return cs.s.listAliases(func(string) bool { return true }), nil
}

func (cs collectionsService) ListCollectionAliases(_ context.Context, req *qdrant.ListCollectionAliasesRequest) (*qdrant.ListAliasesResponse, error) {
	if err := validateName(req.GetCollectionName()); err != nil {
		return nil, err
	}
	return cs.s.listAliases(func(target string) bool { return target == req.GetCollectionName() }), nil
}

func (s *Server) listAliases(wanted func(target string) bool) *qdrant.ListAliasesResponse {
	started := time.Now()
	s.mu.RLock()
	defer s.mu.RUnlock()
	resp := &qdrant.ListAliasesResponse{}
	for alias, target := range s.aliases {
		if wanted(target) {
			resp.Aliases = append(resp.Aliases, &qdrant.AliasDescription{AliasName: alias, CollectionName: target})
		}
	}
	slices.SortFunc(resp.Aliases, func(a, b *qdrant.AliasDescription) int { return strings.Compare(a.AliasName, b.AliasName) })
	resp.Time = time.Since(started).Seconds()
	return resp
}
