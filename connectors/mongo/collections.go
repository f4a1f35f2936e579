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
	t, err := s.looks.Ask(ctx, name)
	switch {
	case err != nil:
		return traits{ordinary: true}, s.explain(ctx, err)
	case t == nil:
		return traits{ordinary: true}, fmt.Errorf("%w in database %s", syncd.ErrCollectionNotFound, s.cfg.Database)
	}
	return *t, nil
}

// lookAt asks for the traits of collections; nil means that there is none of the name.
func (s *source) lookAt(ctx context.Context, names []string) ([]*traits, error) {
	out, err := retried(ctx, s, func() ([]*traits, error) { return s.list(ctx, names) })
	if hasCode(err, codeUnauthorized) && ctx.Err() == nil {
		return s.lookAtNames(ctx, names)
	}
	if len(names) > 1 && isServerRefusal(err) && ctx.Err() == nil { // it may know no other filter than one name
		out = make([]*traits, len(names))
		for i := range names {
			one, err := s.lookAt(ctx, names[i:i+1])
			if err != nil {
				return nil, err
			}
			out[i] = one[0]
		}
		return out, nil
	}
	return out, err
}

// named is a filter of listCollections.
func named(names []string) bson.D {
	if len(names) == 1 {
		return bson.D{{Key: "name", Value: names[0]}}
	}
	return bson.D{{Key: "name", Value: bson.D{{Key: "$in", Value: names}}}}
}

func (s *source) list(ctx context.Context, names []string) ([]*traits, error) {
	c, err := s.db.ListCollections(ctx, named(names))
	if err != nil {
		return nil, err
	}
	defer driverCursor{c}.Close()
	out := make([]*traits, len(names))
	for c.Next(ctx) {
		got, _ := bsondoc.Lookup(c.Current, "name")
		name, _ := got.StringValueOK()
		if i := slices.Index(names, name); i >= 0 { // the server may not have understood the filter
			t := traitsOf(c.Current)
			out[i] = &t
		}
	}
	return out, c.Err()
}

// traitsOf reads what listCollections says of a collection.
func traitsOf(doc bson.Raw) (t traits) {
	kind, ok := bsondoc.Lookup(doc, "type")
	t.ordinary = !ok || isText(kind, "collection")
	_, collated := bsondoc.Lookup(doc, "options.collation")
	t.binary = !collated
	if id, ok := bsondoc.Lookup(doc, "info.uuid"); ok {
		if text, err := bsondoc.AppendIDText(nil, id); err == nil {
			t.uuid = string(text)
		}
	}
	if isText(kind, "view") {
		on, _ := bsondoc.Lookup(doc, "options.viewOn")
		t.viewOn, _ = on.StringValueOK()
		pipeline, _ := bsondoc.Lookup(doc, "options.pipeline")
		t.pipeline = bytes.Clone(pipeline.Value)
	}
	return t
}

// lookAtNames is for who may not list collections: he may be allowed to list names (Manual, "listCollections", nameOnly).
func (s *source) lookAtNames(ctx context.Context, names []string) ([]*traits, error) {
	there, err := s.names(ctx, named(names))
	known := err == nil
	if err != nil && (!hasCode(err, codeUnauthorized) || ctx.Err() != nil) {
		return nil, err
	}
	out := make([]*traits, len(names))
	for i, name := range names {
		if !known || slices.Contains(there, name) {
			out[i] = &traits{ordinary: true}
		}
	}
	return out, nil
}

func isText(v bson.RawValue, text string) bool {
	s, ok := v.StringValueOK()
	return ok && s == text
}
