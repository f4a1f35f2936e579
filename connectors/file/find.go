package file

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// Find finds ids by an index of the file, which the first call builds: it reads the whole file, and so does the first call after
// the file has changed. Where there is no room for an index, each call reads the file from its beginning until all ids are found.
// Of documents with the same id it finds the first.
func (s *source) Find(ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
	keys, err := s.find(ctx, c, ids)
	if err != nil {
		return nil, fmt.Errorf("finding documents of collection %s: %w", c.Name, err)
	}
	return keys, nil
}

func (s *source) find(ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
	x, err := s.index(ctx, c)
	if err != nil {
		return nil, err
	}
	if !x.tooLarge {
		return x.keys(ids)
	}
	f, err := s.open(ctx, c)
	if err != nil {
		return nil, err
	}
	defer f.done()
	found := make(map[string]syncd.Key, len(ids))
	for _, id := range ids {
		found[id] = ""
	}
	if err := f.find(ctx, found); err != nil {
		return nil, err
	}
	keys := make([]syncd.Key, len(ids))
	for i, id := range ids {
		keys[i] = found[id]
	}
	return keys, nil
}

// index returns the index of a collection's file.
func (s *source) index(ctx context.Context, c syncd.Collection) (*index, error) {
	f, err := s.open(ctx, c)
	if err != nil {
		return nil, err
	}
	defer f.done()
	return s.indexes.of(ctx, f)
}

// keys returns the key of each id's first document. What can't be read may be a document that was not found.
func (x *index) keys(ids []string) ([]syncd.Key, error) {
	keys := make([]syncd.Key, len(ids))
	var key []byte
	for i, id := range ids {
		found := x.find([]byte(id))
		switch {
		case len(found) > 0:
			key = found[0].position().appendKey(key[:0])
			keys[i] = syncd.Key(key)
		case x.broken != nil:
			return nil, x.broken
		case x.unreadable != nil:
			return nil, unreadableError(x.unreadable)
		}
	}
	return keys, nil
}

func unreadableError(err error) error {
	return fmt.Errorf("a document can't be read, and may be one of those looked for: %w", err)
}

// FindAll finds ids as Find does, and reads the documents that have them. It passes over documents that can't be read: nobody can
// make a point id of them.
func (s *source) FindAll(ctx context.Context, c syncd.Collection, ids []string) ([][]syncd.FoundID, error) {
	all, err := s.findAll(ctx, c, ids)
	if err != nil {
		return nil, fmt.Errorf("finding documents of collection %s: %w", c.Name, err)
	}
	return all, nil
}

func (s *source) findAll(ctx context.Context, c syncd.Collection, ids []string) ([][]syncd.FoundID, error) {
	x, err := s.index(ctx, c)
	switch {
	case err != nil:
		return nil, err
	case x.broken != nil:
		return nil, x.broken
	}
	f, err := s.open(ctx, c)
	if err != nil {
		return nil, err
	}
	defer f.done()
	found := make(map[string][]syncd.FoundID, len(ids))
	for _, id := range ids {
		found[id] = nil
	}
	var key []byte
	add := func(it item, id bson.RawValue, text []byte) (more bool) {
		if _, wanted := found[string(text)]; wanted {
			key = it.appendKey(key[:0])
			found[string(text)] = append(found[string(text)], syncd.FoundID{Key: syncd.Key(key), Text: id.String()})
		}
		return true
	}
	if !x.tooLarge && x.isOf(f.info) {
		err = f.visit(ctx, x.positions(found), add)
	} else {
		_, err = f.walk(ctx, add)
	}
	if err != nil {
		return nil, err
	}
	out := make([][]syncd.FoundID, len(ids))
	for i, id := range ids {
		out[i] = found[id]
	}
	return out, nil
}

// positions returns where the documents of ids are, in the order of the file.
func (x *index) positions(ids map[string][]syncd.FoundID) (list []position) {
	for id := range ids {
		for _, d := range x.find([]byte(id)) {
			list = append(list, d.position())
		}
	}
	slices.SortFunc(list, func(a, b position) int { return cmp.Compare(a.offset, b.offset) })
	return list
}

// visit is walk for some documents, which have an id.
func (f *openFile) visit(ctx context.Context, at []position, each func(it item, id bson.RawValue, text []byte) (more bool)) error {
	var text []byte
	for _, p := range at {
		if err := ctx.Err(); err != nil {
			return err
		}
		doc, err := f.at(p)
		if err != nil {
			return err
		}
		id, _ := bsondoc.ID(doc)
		if text, err = bsondoc.AppendIDText(text[:0], id); err != nil {
			return err
		}
		each(item{position: p, doc: doc}, id, text)
	}
	return nil
}

// find sets the keys of the ids in wanted.
func (f *openFile) find(ctx context.Context, wanted map[string]syncd.Key) error {
	var key []byte
	left := len(wanted)
	if left == 0 {
		return ctx.Err()
	}
	unreadable, err := f.walk(ctx, func(it item, _ bson.RawValue, text []byte) bool {
		if k, ok := wanted[string(text)]; ok && k == "" {
			key = it.appendKey(key[:0])
			wanted[string(text)] = syncd.Key(key)
			left--
		}
		return left > 0
	})
	if err == nil && unreadable != nil {
		return unreadableError(unreadable)
	}
	return err
}

// walk hands over every document that has an id, with the id's text, until it is told to end. Where it came to the end of the
// file, unreadable says why the first of the documents that can't be read is one.
func (f *openFile) walk(ctx context.Context, each func(it item, id bson.RawValue, text []byte) (more bool)) (unreadable, err error) {
	var text []byte
	for n := 0; ; n++ {
		if n%contextInterval == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		it, err := f.next()
		switch {
		case errors.Is(err, io.EOF):
			return unreadable, nil
		case err != nil:
			return nil, err
		case it.err != nil:
			if unreadable == nil {
				unreadable = it.err
			}
			continue
		}
		id, ok := bsondoc.ID(it.doc)
		if !ok {
			continue
		}
		if bsondoc.Repeats(it.doc, "_id") {
			unreadable = fmt.Errorf("%s: a document has two fields _id, and may be one of those looked for", f.place(it.position))
			continue
		}
		if text, err = bsondoc.AppendIDText(text[:0], id); err != nil {
			continue // it has no text, so it is none of them
		}
		if !each(it, id, text) {
			return nil, ctx.Err()
		}
	}
}
