package pipeline

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
)

// maxAsk bounds the chunks asked about at once.
const maxAsk = 5000

// asker puts the question that a rule wants answered: is the point there, is it of the document's version, are its chunks
// there? Its slices are reused; it is not safe for concurrent use.
type asker struct {
	checker  syncd.Checker
	seed     []byte          // scratch of PointID
	verdicts []syncd.Verdict // aligned with the points last asked about
	found    []syncd.Found
	chunks   []syncd.Point
	owners   []int // which point each of chunks belongs to
	answers  []syncd.Verdict
}

// ask sets verdicts for the points, which are chunk 0 of the records that record gives. On error they mean nothing.
func (a *asker) ask(ctx context.Context, rule *mapping.Rule, points []syncd.Point, record func(int) *syncd.Record) error {
	a.verdicts = resize(a.verdicts, len(points))
	clear(a.verdicts)
	keys := rule.PayloadKeys()
	if len(keys) == 0 {
		return a.checker.Check(ctx, points, a.verdicts)
	}
	reader, ok := a.checker.(syncd.PayloadReader)
	if !ok {
		return errNoPayload
	}
	a.found = resize(a.found, len(points))
	if err := reader.Read(ctx, points, keys, a.found); err != nil {
		return err
	}
	a.chunks, a.owners = a.chunks[:0], a.owners[:0]
	for i := range points {
		var more int
		if a.verdicts[i], more = rule.Judge(record(i), &a.found[i]); more == 0 {
			continue
		}
		for c := 1; c <= more; c++ {
			id, err := rule.PointID(&a.seed, record(i), c)
			if err != nil {
				return err
			}
			a.chunks, a.owners = append(a.chunks, syncd.Point{ID: id}), append(a.owners, i)
			if len(a.chunks) == maxAsk {
				if err := a.askChunks(ctx); err != nil {
					return err
				}
			}
		}
	}
	return a.askChunks(ctx)
}

// askChunks asks about the chunks collected so far; a document that lacks one is partial.
func (a *asker) askChunks(ctx context.Context) error {
	if len(a.chunks) == 0 {
		return nil
	}
	a.answers = resize(a.answers, len(a.chunks))
	clear(a.answers)
	if err := a.checker.Check(ctx, a.chunks, a.answers); err != nil {
		return err
	}
	for i, v := range a.answers {
		switch v {
		case syncd.Present:
		case syncd.Missing:
			a.verdicts[a.owners[i]] = syncd.Partial
		default:
			a.verdicts[a.owners[i]] = syncd.Unknown
		}
	}
	a.chunks, a.owners = a.chunks[:0], a.owners[:0]
	return nil
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

var errNoPayload = errors.New("the checker can't read what points carry, which mapping.version and mapping.chunks need")

// checkAbilities reports what the rules ask for and the plugins can't do, before anything is read.
func (r *run) checkAbilities() error {
	if r.Checker == nil {
		return nil
	}
	_, canRead := r.Checker.(syncd.PayloadReader)
	for _, rule := range r.Rules {
		if len(rule.PayloadKeys()) > 0 && !canRead {
			return errNoPayload
		}
	}
	return nil
}

// Sent is a document whose event the sink confirmed.
type Sent struct {
	Rule     *mapping.Rule
	ID       string
	PointID  uuid.UUID
	Version  syncd.Value
	Position syncd.Position
}

// Ledger remembers documents that were sent and never appeared in the index, so that a run need not send them for ever. It
// says nothing about what is in the index. It is safe for concurrent use.
type Ledger interface {
	// Judge is told what the index says of a document, and reports whether the run should leave it alone.
	Judge(rule *mapping.Rule, rec *syncd.Record, v syncd.Verdict) (leave bool, err error)
	// Sent is told what was sent; it must not keep the slice.
	Sent(sent []Sent) error
}
