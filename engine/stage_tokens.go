package engine

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/tally"
)

// tokenPortion is how many documents are read to count their tokens before it is looked again which are to be read.
const tokenPortion = 100

// countTokens finds out how much of what would be sent would be embedded: it fetches documents, takes them through the stages up to the
// one that embeds, asks the index which texts it holds, and counts the tokens of the others.
type countTokens struct {
	e         *Engine
	transform *transform
	fetch     fetchAndDeliver
	count     func(c *syncd.Content, chunk *syncd.Chunk) int
	chosen    []syncd.Change
}

// newCountTokens returns nil where no stage embeds.
func newCountTokens(e *Engine) *countTokens {
	t := newTransform(e)
	if t == nil || t.embeds == len(e.Stages) {
		return nil
	}
	s := &countTokens{e: e, transform: t}
	s.fetch = fetchAndDeliver{source: e.Source, maxBytes: e.BatchBytes, held: &e.held, to: s}
	prefix := e.Stages[t.embeds].Abilities().Vectors.Prefix
	s.count = func(_ *syncd.Content, chunk *syncd.Chunk) int { return chunk.Tokens }
	if by := TokensOf(e.Stages); by != nil {
		s.count = func(c *syncd.Content, chunk *syncd.Chunk) int { return by.Count(prefix + c.Prefix + chunk.Text) }
	}
	return s
}

// TokensOf is how the first of the stages that can counts tokens; nil where none can.
func TokensOf(stages []syncd.Stage) *syncd.Tokens {
	for _, s := range stages {
		if by := s.Abilities().Tokens; by != nil {
			return by
		}
	}
	return nil
}

func (s *countTokens) apply(ctx context.Context, b *batch) error {
	col := b.split.col
	for rest := b.changes; len(rest) > 0; {
		s.chosen, rest = col.embedding.choose(s.chosen[:0], rest, s.e.DryRun.Embed.Most)
		// The counts of this batch are nobody's: nothing of it is sent.
		own := &batch{split: b.split, number: b.number, read: b.read, changes: s.chosen, clock: clock{activity: &s.e.activity, tracer: s.e.Hooks.Tracer}}
		err := s.fetch.apply(ctx, own)
		clear(s.chosen) // so that the documents can be freed
		if err != nil {
			return err
		}
	}
	return nil
}

// deliver implements deliverer: it counts.
func (s *countTokens) deliver(ctx context.Context, b *batch, changes []syncd.Change) error {
	for len(changes) > 0 {
		n, expected := s.transform.portion(changes)
		share, err := s.e.sending.take(ctx, prepares, expected)
		if err != nil {
			return err
		}
		if err = s.transform.divide(ctx, b, changes[:n]); err == nil {
			share.resize(s.transform.made(changes[:n]))
			for i := range changes[:n] {
				b.split.col.embedding.add(s.look(&changes[i]), s.e.DryRun.Embed.Most)
			}
		}
		for i := range changes[:n] {
			changes[i].Content = nil
		}
		share.release()
		if err != nil {
			return err
		}
		changes = changes[n:]
	}
	return nil
}

// look counts the tokens of one document.
func (s *countTokens) look(c *syncd.Change) lookedAt {
	l := lookedAt{place: placeOf(c), Embedding: Embedding{Documents: 1}}
	switch {
	case c.Err != nil:
		l.Failed, l.Failures = 1, []tally.Failure{{ID: c.ID, Stage: string(syncd.FailedTransform), Reason: c.Err.Error()}}
		return l
	case c.Content == nil:
		return l
	}
	for k := range c.Content.Chunks {
		switch chunk := &c.Content.Chunks[k]; {
		case chunk.Text == "":
		case chunk.Kept:
			l.Unchanged++
		default:
			l.Texts++
			l.Tokens += int64(max(s.count(c.Content, chunk), 1))
		}
	}
	return l
}

// places is the number of places that a document can have among others: as the last bits of their point ids, which are hashes, say.
const places = 1 << 62

func placeOf(c *syncd.Change) uint64 { return binary.BigEndian.Uint64(c.PointID[8:]) & (places - 1) }

// lookedAt is what was found out of one document.
type lookedAt struct {
	place uint64
	Embedding
}

// embedding sums up how much of a collection would be embedded. Where only so many documents are read for it, those are the ones whose
// places are below a border, which is halved whenever they become too many: the same documents in every run, evenly chosen. The
// zero value is ready. It is safe for concurrent use.
type embedding struct {
	mu     sync.Mutex
	on     bool
	halved int        // how often the border was
	looked []lookedAt // below the border; nil where all are read
	sum    Embedding
}

// choose moves changes that are to be read from the front of some to chosen, a portion at most.
func (e *embedding) choose(chosen, changes []syncd.Change, most int) (_, rest []syncd.Change) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.on = true
	for i := range changes {
		if len(chosen) == tokenPortion {
			return chosen, changes[i:]
		}
		if most == 0 || e.below(placeOf(&changes[i])) {
			chosen = append(chosen, changes[i])
		}
	}
	return chosen, nil
}

func (e *embedding) below(place uint64) bool { return place < places>>e.halved }

func (e *embedding) add(l lookedAt, most int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if most == 0 {
		e.sum.add(l.Embedding)
		return
	}
	if !e.below(l.place) {
		return
	}
	e.looked = append(e.looked, l)
	for len(e.looked) > most && e.halved < 62 {
		e.halved++
		e.looked = slices.DeleteFunc(e.looked, func(l lookedAt) bool { return !e.below(l.place) })
	}
}

// result is nil where nothing was to be found out.
func (e *embedding) result() *Embedding {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.on {
		return nil
	}
	out := e.sum
	for _, l := range e.looked {
		out.add(l.Embedding)
	}
	return &out
}

func (e *Embedding) add(o Embedding) {
	e.Documents += o.Documents
	e.Texts += o.Texts
	e.Tokens += o.Tokens
	e.Unchanged += o.Unchanged
	e.Failed += o.Failed
	for _, f := range o.Failures {
		if len(e.Failures) < maxExamples {
			e.Failures = append(e.Failures, f)
		}
	}
}
