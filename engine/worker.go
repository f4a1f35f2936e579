package engine

import (
	"context"
)

// worker takes batches through the stages of a feed, one at a time.
type worker struct {
	e      *Engine
	stages []stage
}

// process takes one batch through all stages. It accounts for what it did even when it returns an error; only without one the
// batch counts as handled.
func (w *worker) process(ctx context.Context, b *batch) (err error) {
	b.clock = clock{activity: &w.e.activity, tracer: w.e.Hooks.Tracer}
	b.counts.Scanned = int64(len(b.changes))
	if t := w.e.Hooks.Tracer; t != nil {
		inside, end := t.Batch(ctx, BatchInfo{
			Collection: b.collection(), Split: b.split.Index, Documents: len(b.changes), Read: b.read, ReadTime: b.took,
		})
		defer func() { end(err) }()
		ctx = inside
	}
	for _, s := range w.stages {
		if err = s.apply(ctx, b); err != nil {
			break
		}
	}
	if err == nil {
		err = b.stop
	}
	b.split.account(b.counts)
	b.split.col.age(b.oldest)
	w.e.bytes.Add(b.bytes)
	if err != nil {
		return err
	}
	if done := w.e.Hooks.BatchDone; done != nil {
		b.clock.took[StageScan] = b.took
		done(BatchReport{
			Collection: b.collection(), Deletes: b.split.col.deletes, Counts: b.counts, Bytes: b.bytes, Times: b.clock.took,
		})
	}
	return nil
}

// stages puts together what the batches of documents go through.
func (e *Engine) stages() []stage {
	s := []stage{&identify{failures: &e.failures}, collide{}}
	if d := e.DryRun; d != nil && d.Sample > 0 && d.Sample < 1 {
		s = append(s, sample(d.Sample))
	}
	if e.Checker == nil {
		s = append(s, unasked{})
	} else {
		s = append(s, newCheck(e))
	}
	if e.MinAge > 0 && e.Checker != nil {
		s = append(s, leaveYoung(e.MinAge))
	}
	if e.Ledger != nil && e.Checker != nil {
		s = append(s, leaveUnindexed{e.Ledger})
	}
	s = append(s, countVerdicts{full: e.Checker == nil})
	if e.Guard != nil && e.Checker != nil {
		s = append(s, guard(e.Guard))
	}
	if e.Hooks.Item != nil {
		s = append(s, reportItems{e})
	}
	s = append(s, toSend{})
	if e.DryRun != nil {
		s = append(s, keepExamples{})
		if e.DryRun.Measure > 0 && e.DryRun.Preview != nil {
			s = append(s, &measure{source: e.Source, dry: e.DryRun, held: &e.held})
		}
		if e.DryRun.Embed != nil {
			if t := newCountTokens(e); t != nil {
				s = append(s, t)
			}
		}
		return append(s, wouldSend{})
	}
	var again confirm
	if e.Checker != nil {
		again = &askAgain{check: newCheck(e)}
	}
	return append(s, &fetchAndDeliver{source: e.Source, maxBytes: e.BatchBytes, whole: e.committer != nil, held: &e.held, to: e.deliverer(gate{confirm: again, events: &e.events})}, &writeDeadLetters{e})
}

// deleteStages puts together what the batches of orphans go through.
func (e *Engine) deleteStages() []stage {
	s := []stage{&identify{failures: &e.failures}}
	if e.Ledger != nil {
		s = append(s, leaveUnindexed{e.Ledger})
	}
	return append(s, countVerdicts{}, toSend{}, deliverAll{e.deliverer(gate{confirm: &stillGone{find: e.Source.Abilities().Find}, events: &e.events})}, &writeDeadLetters{e})
}

// deliverer makes what delivers changes that pass the gate: to the sink, or in its transactions.
func (e *Engine) deliverer(g gate) deliverer {
	if e.committer != nil {
		return &transact{e: e, gate: g, transform: newTransform(e), letters: &writeDeadLetters{e}}
	}
	return &write{e: e, gate: g, transform: newTransform(e), letters: &writeDeadLetters{e}}
}
