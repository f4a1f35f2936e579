package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/event"
)

// maxWrite bounds the events of one write, so that acknowledgements come in steps that a person can follow.
const maxWrite = 5000

// worker runs batches to completion, one at a time. Its slices are reused from batch to batch.
type worker struct {
	*run
	reason syncd.Reason

	seed     []byte        // scratch of PointID
	points   []syncd.Point // of the records that have an id, aligned with index
	index    []int         // of those records in the batch
	verdicts []syncd.Verdict
	send     []int // positions in points of what must be sent
	keys     []syncd.Key

	events  []syncd.Event
	ends    []int // where each event's value ends in values
	values  []byte
	ids     []byte // the events' keys
	idEnds  []int
	acked   []uuid.UUID
	counts  Counts
	failure error // set when StopOnFailure ends the run
}

func newWorker(r *run) *worker {
	w := &worker{run: r, reason: syncd.ReasonMissing}
	if r.Checker == nil {
		w.reason = syncd.ReasonFull
	}
	return w
}

// process handles one batch. It accounts for what it did even when it returns an error.
func (w *worker) process(ctx context.Context, b *batch) error {
	w.counts, w.failure = Counts{}, nil
	defer func() { b.split.account(w.counts) }()

	w.identify(b)
	if err := w.check(ctx, b); err != nil {
		return err
	}
	if w.DryRun {
		w.counts.WouldSend += int64(len(w.send))
		w.keepExamples(b)
		return w.failure
	}
	if err := w.deliver(ctx, b); err != nil {
		return err
	}
	return w.failure
}

// fail counts a document that can't be handled.
func (w *worker) fail(b *batch, counter *int64, stage, id string, err error) {
	*counter++
	b.col.fail(Failure{ID: id, Stage: stage, Reason: err.Error()})
	if w.StopOnFailure && w.failure == nil {
		w.failure = fmt.Errorf("%w: document %s of collection %s: %w", ErrStopped, id, b.col.rule.Collection.Name, err)
	}
}

// identify makes the point ids.
func (w *worker) identify(b *batch) {
	w.points, w.index = w.points[:0], w.index[:0]
	w.counts.Scanned += int64(len(b.records))
	for i := range b.records {
		rec := &b.records[i]
		id, err := b.col.rule.PointID(&w.seed, rec, 0)
		if err != nil {
			w.fail(b, &w.counts.FailedRead, "read", rec.ID, err)
			continue
		}
		w.points = append(w.points, syncd.Point{ID: id})
		w.index = append(w.index, i)
	}
}

// check asks the index and selects what must be sent.
func (w *worker) check(ctx context.Context, b *batch) error {
	w.send = w.send[:0]
	if w.Checker == nil {
		w.counts.Unasked += int64(len(w.points))
		for i := range w.points {
			w.send = append(w.send, i)
		}
		return nil
	}
	if cap(w.verdicts) < len(w.points) {
		w.verdicts = make([]syncd.Verdict, len(w.points))
	}
	w.verdicts = w.verdicts[:len(w.points)]
	clear(w.verdicts)
	if err := w.Checker.Check(ctx, w.points, w.verdicts); err != nil {
		w.counts.Scanned -= int64(len(w.points)) // read, but not looked at: they are not accounted for
		return fmt.Errorf("checking %d documents of collection %s: %w", len(w.points), b.col.rule.Collection.Name, err)
	}
	for i, v := range w.verdicts {
		switch v {
		case syncd.Present:
			w.counts.Present++
		case syncd.Missing:
			w.counts.Missing++
			w.send = append(w.send, i)
		default:
			return fmt.Errorf("checking collection %s: the checker gave no verdict for document %s",
				b.col.rule.Collection.Name, b.records[w.index[i]].ID)
		}
	}
	return nil
}

func (w *worker) keepExamples(b *batch) {
	for _, p := range w.send {
		if !b.col.wantsExample() {
			return
		}
		rec := &b.records[w.index[p]]
		seed, err := b.col.rule.AppendSeed(nil, rec, 0)
		if err == nil {
			b.col.example(Example{ID: rec.ID, Seed: string(seed), PointID: w.points[p].ID})
		}
	}
}

// deliver encodes and writes the selected documents, fetching those that the scan did not bring.
func (w *worker) deliver(ctx context.Context, b *batch) error {
	w.reset()
	w.keys = w.keys[:0]
	fetch := w.send[:0] // what is left of the selection; never overtakes the reading position
	for _, p := range w.send {
		rec := &b.records[w.index[p]]
		if rec.Document == nil {
			w.keys = append(w.keys, rec.Key)
			fetch = append(fetch, p)
			continue
		}
		if err := w.emit(ctx, b, p, rec.Document); err != nil {
			return err
		}
	}
	if len(fetch) > 0 {
		found := 0
		for f, err := range w.Source.Fetch(ctx, b.col.rule.Collection, w.keys) {
			if err != nil {
				return fmt.Errorf("fetching documents of collection %s: %w", b.col.rule.Collection.Name, err)
			}
			found++
			if err := w.emit(ctx, b, fetch[f.Index], f.Document); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err // a source may end quietly when its context does
		}
		w.counts.Gone += int64(len(fetch) - found)
	}
	return w.write(ctx, b)
}

func (w *worker) reset() {
	w.events, w.values, w.ends = w.events[:0], w.values[:0], w.ends[:0]
	w.ids, w.idEnds = w.ids[:0], w.idEnds[:0]
}

// emit encodes one document and writes when enough have come together.
func (w *worker) emit(ctx context.Context, b *batch, p int, doc syncd.Document) error {
	rec := &b.records[w.index[p]]
	target := b.col.rule.Target()
	values, err := event.AppendValue(w.values, syncd.Insert, target, rec.ID, doc)
	if err != nil {
		w.fail(b, &w.counts.FailedEncode, "encode", rec.ID, err)
		return nil
	}
	w.values, w.ends = values, append(w.ends, len(values))
	w.ids = append(w.ids, rec.ID...)
	w.idEnds = append(w.idEnds, len(w.ids))
	w.events = append(w.events, syncd.Event{
		Target: target, ID: rec.ID, PointID: w.points[p].ID,
		Headers: event.Headers(w.RunID, w.reason, w.points[p].ID, target.ContentType),
	})
	if len(w.values) >= w.BatchBytes || len(w.events) >= maxWrite {
		return w.write(ctx, b)
	}
	return nil
}

// write hands the collected events to the sink and accounts for its answer.
func (w *worker) write(ctx context.Context, b *batch) error {
	if len(w.events) == 0 {
		return nil
	}
	defer w.reset()
	start, idStart := 0, 0
	for i := range w.events { // only now: the buffers no longer move
		w.events[i].Value, start = w.values[start:w.ends[i]:w.ends[i]], w.ends[i]
		w.events[i].Key, idStart = w.ids[idStart:w.idEnds[i]:w.idEnds[i]], w.idEnds[i]
	}
	if err := w.limits.bytes(ctx, len(w.values)); err != nil {
		return err
	}
	w.counts.Emitted += int64(len(w.events))
	err := w.Sink.Write(ctx, w.events)
	refused, partial := errors.AsType[*syncd.BatchError](err)
	if err != nil && !partial {
		return fmt.Errorf("sending %d events of collection %s: %w", len(w.events), b.col.rule.Collection.Name, err)
	}
	w.acked = w.acked[:0]
	var outage error
	for i := range w.events {
		var failed error
		if partial {
			failed = refused.Of(i)
		}
		switch {
		case failed == nil:
			w.counts.Acked++
			w.acked = append(w.acked, w.events[i].PointID)
		case errors.Is(failed, syncd.ErrUnavailable): // nobody's fault: the event stays unconfirmed and the run ends
			outage = failed
		default:
			w.fail(b, &w.counts.FailedWrite, "write", w.events[i].ID, failed)
		}
	}
	b.col.sent(w.acked)
	if outage != nil {
		return fmt.Errorf("sending events of collection %s: %w", b.col.rule.Collection.Name, outage)
	}
	return nil
}
