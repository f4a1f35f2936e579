package engine

import (
	"context"
	"fmt"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/fetch"
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
}

func (s *measure) apply(ctx context.Context, b *batch) error {
	n := b.split.col.takeMeasure(min(len(b.changes), s.dry.Measure))
	if n == 0 {
		return nil
	}
	keys := make([]syncd.Key, n)
	for i := range keys {
		keys[i] = b.changes[i].Key
	}
	for f, err := range fetch.Documents(ctx, s.source, b.split.Collection, keys) {
		if err != nil {
			return fmt.Errorf("fetching documents of collection %s: %w", b.collection(), err)
		}
		c := b.changes[f.Index]
		c.Document = f.Document
		if _, value, err := s.dry.Preview(&c); err == nil { // a run would count the error; a plan only estimates
			b.split.col.measured(len(value))
		}
	}
	return ctx.Err()
}

// wouldSend counts what a run would send.
type wouldSend struct{}

func (wouldSend) apply(_ context.Context, b *batch) error {
	b.counts.WouldSend += int64(len(b.changes))
	return nil
}
