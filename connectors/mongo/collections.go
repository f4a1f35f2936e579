package mongo

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// Collections lists the collections and views of the database by name.
func (s *source) Collections(ctx context.Context) ([]string, error) {
	names, err := s.names(ctx, everything)
	if err != nil {
		return nil, fmt.Errorf("listing collections: %w", s.explain(ctx, err))
	}
	slices.Sort(names)
	return names, nil
}

func (s *source) names(ctx context.Context, filter any) ([]string, error) {
	return retried(ctx, s, func() ([]string, error) { return s.db.ListCollectionNames(ctx, filter) })
}

// traits are what matters about a collection to whoever reads it in parts.
type traits struct {
	ordinary bool // no view and no time series, which have no _id index
	binary   bool // text is known to be ordered by its bytes: the collection has no collation

	uuid     string   // which the server gave the collection when it was made; "" where it does not tell
	viewOn   string   // of a view, the collection or view that it shows
	pipeline bson.Raw // and how
}

// look returns ErrCollectionNotFound if there is no such collection or view. Where the user may not ask, it is taken to
// exist: reading it needs another privilege.
func (s *source) look(ctx context.Context, name string) (traits, error) {
	t := traits{ordinary: true}
	byName := bson.D{{Key: "name", Value: name}}
	found, err := retried(ctx, s, func() (bool, error) {
		c, err := s.db.ListCollections(ctx, byName)
		if err != nil {
			return false, err
		}
		defer driverCursor{c}.Close()
		for c.Next(ctx) {
			if got, ok := bsondoc.Lookup(c.Current, "name"); !ok || !isText(got, name) {
				continue // the server did not understand the filter
			}
			kind, ok := bsondoc.Lookup(c.Current, "type")
			t.ordinary = !ok || isText(kind, "collection")
			_, collated := bsondoc.Lookup(c.Current, "options.collation")
			t.binary = !collated
			if id, ok := bsondoc.Lookup(c.Current, "info.uuid"); ok {
				if text, err := bsondoc.AppendIDText(nil, id); err == nil {
					t.uuid = string(text)
				}
			}
			if isText(kind, "view") {
				on, _ := bsondoc.Lookup(c.Current, "options.viewOn")
				t.viewOn, _ = on.StringValueOK()
				pipeline, _ := bsondoc.Lookup(c.Current, "options.pipeline")
				t.pipeline = bytes.Clone(pipeline.Value)
			}
			return true, nil
		}
		return false, c.Err()
	})
	if hasCode(err, codeUnauthorized) && ctx.Err() == nil {
		// Who may not list collections may be allowed to list names (Manual, "listCollections", nameOnly).
		names, nameErr := s.names(ctx, byName)
		if hasCode(nameErr, codeUnauthorized) && ctx.Err() == nil {
			return t, nil
		}
		found, err = slices.Contains(names, name), nameErr
	}
	switch {
	case err != nil:
		return t, s.explain(ctx, err)
	case !found:
		return t, fmt.Errorf("%w in database %s", syncd.ErrCollectionNotFound, s.cfg.Database)
	}
	return t, nil
}

func isText(v bson.RawValue, text string) bool {
	s, ok := v.StringValueOK()
	return ok && s == text
}
