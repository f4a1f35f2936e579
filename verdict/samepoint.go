package verdict

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/fetch"
	"github.com/syncd-io/syncd/mapping"
)

// Made is the text of a document's id, and the point id that was made of it.
type Made struct {
	ID      string
	PointID uuid.UUID
}

// SamePoint asks the source, which must have the FindAll ability, for the documents of the rule's collection whose point ids are
// the given ones and whose ids have the given texts. The answer is aligned with made. A document that is gone by now is not in
// it, so it may be empty.
func SamePoint(ctx context.Context, source syncd.Source, rule *mapping.Rule, made []Made) ([][]syncd.FoundID, error) {
	ids := make([]string, len(made))
	for i, m := range made {
		ids[i] = m.ID
	}
	found, err := source.Abilities().FindAll(ctx, rule.Collection, ids)
	if err != nil {
		return nil, err
	}
	if len(found) != len(ids) {
		return nil, fmt.Errorf("the source answered %d of %d", len(found), len(ids))
	}
	if rule.SeedFields() == 0 {
		return found, nil
	}
	for i, m := range made {
		if len(found[i]) > 1 {
			if found[i], err = withPoint(ctx, source, rule, m, found[i]); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// withPoint are those of some documents with one id text that have the point id: the other fields of their seeds may differ.
func withPoint(ctx context.Context, source syncd.Source, rule *mapping.Rule, m Made, found []syncd.FoundID) (out []syncd.FoundID, err error) {
	var keys []syncd.Key
	byKey := map[syncd.Key][]syncd.FoundID{}
	for _, f := range found {
		if byKey[f.Key] == nil {
			keys = append(keys, f.Key)
		}
		byKey[f.Key] = append(byKey[f.Key], f)
	}
	var seed []byte
	for f, err := range fetch.Documents(ctx, source, rule.Collection, keys) {
		if err != nil {
			return nil, err
		}
		c := fetch.Change(f.Document, m.ID, rule.Fields())
		if c.Err != nil {
			continue // it has no point id
		}
		if id, err := rule.PointID(&seed, &c, 0); err == nil && id == m.PointID {
			out = append(out, byKey[keys[f.Index]]...)
		}
	}
	return out, ctx.Err()
}
