package file

import (
	"context"
	"errors"
	"fmt"
	"io"

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

// find sets the keys of the ids in wanted. A document that can't be read may be the one with an id that no other has, so
// then it is not known whether that id is there.
func (f *openFile) find(ctx context.Context, wanted map[string]syncd.Key) error {
	var text, key []byte
	var unreadable error
	left := len(wanted)
	for n := 0; left > 0; n++ {
		if n%contextInterval == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		it, err := f.next()
		switch {
		case errors.Is(err, io.EOF):
			return unreadable
		case err != nil:
			return err
		case it.err != nil:
			if unreadable == nil {
				unreadable = fmt.Errorf("a document can't be read, and may be one of those looked for: %w", it.err)
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
		if k, ok := wanted[string(text)]; ok && k == "" {
			key = it.appendKey(key[:0])
			wanted[string(text)] = syncd.Key(key)
			left--
		}
	}
	return ctx.Err()
}
