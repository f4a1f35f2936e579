// Package fetch loads whole documents from a source whose word is not simply taken.
package fetch

import (
	"context"
	"fmt"
	"iter"

	"github.com/syncd-io/syncd"
)

// Documents is the source's Fetch, held to its word: a key that came twice would hide one that never came. Whoever iterates
// looks at ctx at the end: a source may end quietly when its context does.
func Documents(ctx context.Context, source syncd.Source, c syncd.Collection, keys []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return func(yield func(syncd.Fetched, error) bool) {
		came := make([]bool, len(keys))
		for f, err := range source.Fetch(ctx, c, keys) {
			switch {
			case err != nil:
			case f.Index < 0 || f.Index >= len(keys):
				err = fmt.Errorf("the source yielded document %d of %d", f.Index, len(keys))
			case came[f.Index]:
				err = fmt.Errorf("the source yielded document %d twice", f.Index)
			case f.Document == nil:
				err = fmt.Errorf("the source yielded nothing for document %d", f.Index)
			}
			if err != nil {
				yield(syncd.Fetched{}, err)
				return
			}
			came[f.Index] = true
			if !yield(f, nil) {
				return
			}
		}
	}
}

// Change makes of a whole document the change that a read would have yielded, with the fields at the given paths. It has no
// key.
func Change(doc syncd.Document, id string, fields []string) syncd.Change {
	c := syncd.Change{ID: id, Document: doc, Fields: make([]syncd.Value, len(fields))}
	for i, path := range fields {
		v, err := doc.Lookup(path)
		if err != nil {
			c.Err = fmt.Errorf("reading field %s: %w", path, err)
			break
		}
		c.Fields[i] = v
	}
	return c
}
