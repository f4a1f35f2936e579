package engine

import (
	"context"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/fetch"
	"github.com/syncd-io/syncd/internal/text"
)

// keepExamples keeps the first documents of a collection that a run would send.
type keepExamples struct{}

func (keepExamples) apply(_ context.Context, b *batch) error {
	col := b.split.col
	for i := range b.changes {
		if !col.wantsExample() {
			return nil
		}
		c := &b.changes[i]
		if seed, err := b.rule().AppendSeed(nil, c, 0); err == nil {
			col.example(Example{ID: c.ID, Seed: string(seed), PointID: c.PointID, Reason: c.Reason})
		}
	}
	return nil
}

// measure encodes some of the events that would be sent, to learn how large they are.
type measure struct {
	source syncd.Source
	dry    *DryRun
	held   *budget
}

func (s *measure) apply(ctx context.Context, b *batch) error {
	n := b.split.col.takeMeasure(min(len(b.changes), s.dry.Measure))
	if n == 0 {
		return nil
	}
	var keys []syncd.Key
	var lacking []syncd.Change // documents that the read did not bring
	for _, c := range b.changes[:n] {
		if c.Document != nil {
			s.encode(b, c)
			continue
		}
		keys, lacking = append(keys, c.Key), append(lacking, c)
	}
	if len(keys) == 0 {
		return nil
	}
	sizes := &b.split.col.sizes
	share, err := s.held.take(ctx, fetches, 2*sizes.document(s.held.most/2)) // the document, and what the source answered
	if err != nil {
		return err
	}
	defer share.release()
	for f, err := range fetch.Documents(ctx, s.source, b.split.Collection, keys) {
		if err != nil {
			return text.Doing(err, "fetching documents of collection %s", b.collection())
		}
		c := lacking[f.Index]
		c.Document = f.Document
		sizes.note(int64(f.Document.Size()))
		s.encode(b, c)
	}
	return ctx.Err()
}

// encode counts the bytes of a change's event, and what the sink would not take.
func (s *measure) encode(b *batch, c syncd.Change) {
	_, value, err := s.dry.Preview(&c)
	b.split.col.measured(c.ID, len(value), err)
}

// wouldSend counts what a run would send.
type wouldSend struct{}

func (wouldSend) apply(_ context.Context, b *batch) error {
	b.counts.WouldSend += int64(len(b.changes))
	return nil
}
