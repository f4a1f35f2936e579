package file

import (
	"context"
	"errors"
	"fmt"
	"io"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// Find reads the file from its beginning until all ids are found: a file has no index. So a call costs as much as reading the collection,
// however few the ids are, and one call for many ids is far cheaper than many calls; its memory is that of the ids. Of
// documents with the same id it finds the first.
func (s *source) Find(ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
	keys, err := s.find(ctx, c, ids)
	if err != nil {
		return nil, fmt.Errorf("finding documents of collection %s: %w", c.Name, err)
	}
	return keys, nil
}

func (s *source) find(ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
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

// FindAll reads the whole file, as Find may. It passes over documents that can't be read: nobody can make a point id of them.
func (s *source) FindAll(ctx context.Context, c syncd.Collection, ids []string) ([][]syncd.FoundID, error) {
	all, err := s.findAll(ctx, c, ids)
	if err != nil {
		return nil, fmt.Errorf("finding documents of collection %s: %w", c.Name, err)
	}
	return all, nil
}

func (s *source) findAll(ctx context.Context, c syncd.Collection, ids []string) ([][]syncd.FoundID, error) {
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
	_, err = f.walk(ctx, func(it item, id bson.RawValue, text []byte) bool {
		if _, wanted := found[string(text)]; wanted {
			key = it.appendKey(key[:0])
			found[string(text)] = append(found[string(text)], syncd.FoundID{Key: syncd.Key(key), Text: id.String()})
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	out := make([][]syncd.FoundID, len(ids))
	for i, id := range ids {
		out[i] = found[id]
	}
	return out, nil
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
		return fmt.Errorf("a document can't be read, and may be one of those looked for: %w", unreadable)
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
		id, ok := bsondoc.Lookup(it.doc, "_id")
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
