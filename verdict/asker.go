package verdict

import (
	"context"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
)

const (
	// maxChunks bounds the chunks asked about at once.
	maxChunks = 5000
	// manyChunks of a document are asked about only if the last of them is there: a number that is too large by mistake costs one
	// question, and not one for each chunk that never was.
	manyChunks = 16
)

// Asker asks an index about changes. Its buffers are reused from question to question; it is not safe for concurrent use.
type Asker struct {
	checker syncd.Checker
	read    func(ctx context.Context, points []syncd.Point, keys []string, found []syncd.Found) error

	points   []syncd.Point // of the changes last asked about
	verdicts []syncd.Verdict
	found    []syncd.Found // of the changes last asked about, if their rule looks at what points carry
	counts   []chunkCount  // likewise
	unread   []int         // of the changes last asked about: those whose number of chunks can't be read

	seed    []byte // scratch of PointID
	chunks  []chunk
	asked   []syncd.Point
	answers []syncd.Verdict
}

// chunkCount is how many further chunks a document should have, and how many of them are there.
type chunkCount struct {
	all, present int
	over         bool // there is one more than there should be
}

// chunk is a chunk to be asked about, and the change that it belongs to.
type chunk struct {
	point syncd.Point
	owner int
	over  bool // it should not be there
}

// New returns an asker of the index.
func New(checker syncd.Checker) *Asker {
	return &Asker{checker: checker, read: checker.Abilities().Read}
}

// Ask sets the verdicts of changes of one rule, whose point ids are set: Present, Missing, Stale or Partial, or Unknown where
// the checker gave no answer. On error the verdicts mean nothing.
func (a *Asker) Ask(ctx context.Context, rule *mapping.Rule, changes []syncd.Change) error {
	return a.ask(ctx, rule, changes, true)
}

// AskFirst is Ask without the question whether all chunks are there: no verdict is Partial.
func (a *Asker) AskFirst(ctx context.Context, rule *mapping.Rule, changes []syncd.Change) error {
	return a.ask(ctx, rule, changes, false)
}

// Found returns what the index holds under the point id of change i of those last asked about. Its payload is aligned with the
// rule's PayloadKeys, and is valid until the next question.
func (a *Asker) Found(i int) syncd.Found {
	if len(a.found) == 0 {
		return syncd.Found{Present: a.verdicts[i] == syncd.Present}
	}
	return a.found[i]
}

// Chunks returns how many further chunks the index says that the document of change i has, as far as they were asked about, and
// how many of them it holds.
func (a *Asker) Chunks(i int) (all, present int) {
	if len(a.counts) == 0 {
		return 0, 0
	}
	return a.counts[i].all, a.counts[i].present
}

// LeftOver reports whether the index holds a chunk of the document of change i that its present version does not have.
func (a *Asker) LeftOver(i int) bool { return len(a.counts) > 0 && a.counts[i].over }

func (a *Asker) ask(ctx context.Context, rule *mapping.Rule, changes []syncd.Change, complete bool) error {
	a.points = resize(a.points, len(changes))
	for i := range changes {
		changes[i].Verdict = syncd.Unknown
		a.points[i].ID = changes[i].PointID
	}
	a.found, a.counts, a.chunks, a.unread = a.found[:0], a.counts[:0], a.chunks[:0], a.unread[:0]
	keys := rule.PayloadKeys()
	if len(keys) == 0 {
		return a.askPresence(ctx, changes)
	}
	if a.read == nil {
		return ErrNoPayload
	}
	found := resize(a.found, len(changes))
	if err := a.read(ctx, a.points, keys, found); err != nil {
		return err
	}
	a.found, a.counts = found, resize(a.counts, len(changes))
	clear(a.counts)
	many := false
	for i := range changes {
		c := &changes[i]
		var more int
		c.Verdict, more = rule.Judge(c, &a.found[i])
		if c.Verdict == syncd.Partial {
			a.unread = append(a.unread, i)
			if !complete {
				c.Verdict = syncd.Present
			}
		}
		if c.Verdict != syncd.Present || !complete {
			continue
		}
		if end := rule.End(&a.found[i], more); end > 0 {
			if err := a.addChunks(ctx, rule, changes, i, end, end, true); err != nil {
				return err
			}
		}
		if more == 0 {
			continue
		}
		a.counts[i].all = more
		from := 1
		if more > manyChunks && len(changes) > 1 { // of one document all are told of
			many, from = true, more
		}
		if err := a.addChunks(ctx, rule, changes, i, from, more, false); err != nil {
			return err
		}
	}
	if err := a.askChunks(ctx, changes); err != nil || !many {
		return err
	}
	for i := range changes {
		if more := a.counts[i].all; more > manyChunks && a.counts[i].present > 0 {
			if err := a.addChunks(ctx, rule, changes, i, 1, more-1, false); err != nil {
				return err
			}
		}
	}
	return a.askChunks(ctx, changes)
}

// addChunks adds chunks of change i to those to be asked about, and asks when they are enough. over says that they should not be there.
func (a *Asker) addChunks(ctx context.Context, rule *mapping.Rule, changes []syncd.Change, i, from, to int, over bool) error {
	for c := from; c <= to; c++ {
		id, err := rule.PointID(&a.seed, &changes[i], c)
		if err != nil {
			return err
		}
		if a.chunks = append(a.chunks, chunk{syncd.Point{ID: id}, i, over}); len(a.chunks) == maxChunks {
			if err := a.askChunks(ctx, changes); err != nil {
				return err
			}
		}
	}
	return nil
}

// Unread lists the changes of those last asked about whose number of chunks can't be read. It is valid until the next question.
func (a *Asker) Unread() []int { return a.unread }

// askPresence asks only whether the points are there.
func (a *Asker) askPresence(ctx context.Context, changes []syncd.Change) error {
	a.verdicts = resize(a.verdicts, len(changes))
	clear(a.verdicts)
	if err := a.checker.Check(ctx, a.points, a.verdicts); err != nil {
		return err
	}
	for i, v := range a.verdicts {
		changes[i].Verdict = v
	}
	return nil
}

// askChunks asks about the chunks collected so far. A document that lacks one is partial.
func (a *Asker) askChunks(ctx context.Context, changes []syncd.Change) error {
	if len(a.chunks) == 0 {
		return nil
	}
	a.asked, a.answers = resize(a.asked, len(a.chunks)), resize(a.answers, len(a.chunks))
	clear(a.answers)
	for i := range a.chunks {
		a.asked[i] = a.chunks[i].point
	}
	if err := a.checker.Check(ctx, a.asked, a.answers); err != nil {
		return err
	}
	for i, v := range a.answers {
		owner, over := a.chunks[i].owner, a.chunks[i].over
		switch {
		case over && v == syncd.Present:
			a.counts[owner].over = true
			changes[owner].Verdict = syncd.Partial
		case over && v == syncd.Missing:
		case v == syncd.Present:
			a.counts[owner].present++
		case v == syncd.Missing:
			changes[owner].Verdict = syncd.Partial
		default:
			changes[owner].Verdict = syncd.Unknown
		}
	}
	a.chunks = a.chunks[:0]
	return nil
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
