package planfile

import (
	"context"
	"fmt"
	"iter"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/fetch"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/mapping"
)

// maxDocuments bounds the whole documents that are loaded at once.
const maxDocuments = 200

// Source returns a source whose collections hold just the documents that the plan sends. It fetches them by their keys, so a
// run over it sends what the plan says, after asking the index again. Documents that are gone by now are left out. A collection
// is one split, and its batches have no offset: a run that was interrupted begins again. Closing it leaves the other open.
func (p Plan) Source(of syncd.Source, rules []*mapping.Rule) syncd.Source {
	return &source{plan: p, of: of, rules: byCollection(rules)}
}

type source struct {
	plan  Plan
	of    syncd.Source
	rules map[string]*mapping.Rule
}

// Splits implements syncd.Source.
func (s *source) Splits(_ context.Context, c syncd.Collection) iter.Seq2[syncd.Split, error] {
	return func(yield func(syncd.Split, error) bool) { yield(syncd.Split{Collection: c}, nil) }
}

// Read implements syncd.Source. Every change carries its document.
func (s *source) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	return func(yield func(syncd.Batch, error) bool) {
		var lines []Line
		flush := func() bool {
			changes, err := s.changes(ctx, req, lines)
			lines = lines[:0]
			if err != nil {
				yield(syncd.Batch{}, err)
				return false
			}
			return len(changes) == 0 || yield(syncd.Batch{Changes: changes}, nil)
		}
		for l, err := range s.plan.lines() {
			if err == nil && s.rules[l.Collection] == nil {
				err = l.stray()
			}
			if err != nil {
				yield(syncd.Batch{}, err)
				return
			}
			if l.Collection != req.Split.Collection.Name || l.Sigil == Sigil(syncd.Present) || l.Sigil == Sigil(syncd.Orphan) {
				continue
			}
			if lines = append(lines, l); len(lines) == min(req.BatchSize, maxDocuments) && !flush() {
				return
			}
		}
		if len(lines) > 0 {
			flush()
		}
	}
}

// changes loads the documents of some lines.
func (s *source) changes(ctx context.Context, req syncd.ReadRequest, lines []Line) ([]syncd.Change, error) {
	rule := s.rules[req.Split.Collection.Name]
	keys := make([]syncd.Key, len(lines))
	for i, l := range lines {
		if len(l.Key) == 0 {
			return nil, fmt.Errorf("document %s: the plan has no key for it; make the plan anew", text.Of(l.ID))
		}
		keys[i] = syncd.Key(l.Key)
	}
	var out []syncd.Change
	var buf []byte
	for f, err := range fetch.Documents(ctx, s.of, req.Split.Collection, keys) {
		if err != nil {
			return nil, err
		}
		line := &lines[f.Index]
		if id, err := f.Document.Lookup("_id"); err != nil || id.Text != line.ID {
			return nil, line.otherDocument(id.Text)
		}
		c := fetch.Change(f.Document, line.ID, req.Fields)
		c.Key = keys[f.Index]
		// The fields of a seed may have changed or gone since: then the document counts as it is now.
		made, err := rule.PointID(&buf, &c, 0)
		if err == nil && made != line.PointID && rule.SeedFields() == 0 {
			return nil, line.otherID(made)
		}
		out = append(out, c)
	}
	return out, ctx.Err()
}

// Fetch implements syncd.Source.
func (s *source) Fetch(ctx context.Context, c syncd.Collection, keys []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return s.of.Fetch(ctx, c, keys)
}

// Abilities implements syncd.Source. There is no Count: a collection's documents are more than the plan's, and a read that
// sees fewer would look as if it had lost some.
func (s *source) Abilities() syncd.SourceAbilities {
	of := s.of.Abilities()
	return syncd.SourceAbilities{Find: of.Find, FindAll: of.FindAll, Collections: of.Collections, Identity: of.Identity, Estimate: s.estimate}
}

// estimate says no more than whether the collection is there at all: of one that is not, everything in the index would look
// like an orphan.
func (s *source) estimate(ctx context.Context, c syncd.Collection) (n int64, ok bool, err error) {
	switch of := s.of.Abilities(); {
	case of.Estimate != nil:
		_, _, err = of.Estimate(ctx, c)
	case of.Count != nil:
		_, err = of.Count(ctx, c)
	}
	return -1, false, err
}

// Close implements syncd.Source.
func (s *source) Close() error { return nil }
