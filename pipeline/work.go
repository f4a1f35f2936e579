package pipeline

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/event"
	"github.com/syncd-io/syncd/mapping"
)

const (
	// maxWrite bounds the events of one write, so that acknowledgements come in steps that a person can follow.
	maxWrite = 5000
	// recheckAfter is how old an answer of the index may be when an event is sent for it. A worker mostly sends at once;
	// it is held up by a sink that is slow or a limit.
	recheckAfter = 5 * time.Second
)

// pick is a document that must be sent.
type pick struct {
	point  int // in points
	reason syncd.Reason
}

// worker runs batches to completion, one at a time. Its slices are reused from batch to batch.
type worker struct {
	*run

	asker
	points []syncd.Point // of the records that have an id, aligned with index
	index  []int         // of those records in the batch
	asked  time.Time     // when the index last answered for this batch
	read   time.Time     // when the documents at hand were read
	send   []pick
	keys   []syncd.Key

	events  []syncd.Event
	picks   []pick // of the events
	ends    []int  // where each event's value ends in values
	values  []byte
	ids     []byte // the events' keys
	idEnds  []int
	acked   []Sent
	counts  Counts
	failure error // set when StopOnFailure ends the run
}

func newWorker(r *run) *worker { return &worker{run: r, asker: asker{checker: r.Checker}} }

// process handles one batch. It accounts for what it did even when it returns an error.
func (w *worker) process(ctx context.Context, b *batch) error {
	w.counts, w.failure, w.read = Counts{}, nil, b.read
	defer func() { b.split.account(w.counts) }()

	w.identify(b)
	if err := w.check(ctx, b); err != nil {
		return err
	}
	if err := w.guard(b); err != nil {
		return err
	}
	w.tell(b)
	if w.DryRun {
		w.counts.WouldSend += int64(len(w.send))
		w.keepExamples(b)
		if err := w.measure(ctx, b); err != nil {
			return err
		}
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
		if !w.sampled(id) {
			w.counts.Unsampled++
			continue
		}
		w.points = append(w.points, syncd.Point{ID: id})
		w.index = append(w.index, i)
	}
}

// sampled reports whether a document is part of the sample: point ids are hashes, so their last bytes choose evenly, and the
// same documents in every run.
func (w *worker) sampled(id uuid.UUID) bool {
	return w.Sample <= 0 || w.Sample >= 1 || float64(binary.BigEndian.Uint64(id[8:])&(1<<62-1)) < w.Sample*(1<<62)
}

// check asks the index and selects what must be sent.
func (w *worker) check(ctx context.Context, b *batch) error {
	w.send = w.send[:0]
	if w.Checker == nil {
		w.counts.Unasked += int64(len(w.points))
		for i := range w.points {
			w.send = append(w.send, pick{i, syncd.ReasonFull})
		}
		return nil
	}
	if err := w.ask(ctx, b.col.rule, w.points, func(i int) *syncd.Record { return &b.records[w.index[i]] }); err != nil {
		w.counts.Scanned -= int64(len(w.points)) // read, but not looked at: they are not accounted for
		return fmt.Errorf("checking %d documents of collection %s: %w", len(w.points), b.col.rule.Collection.Name, err)
	}
	w.asked = time.Now()
	for i, v := range w.verdicts {
		if err := w.decide(b, i, v); err != nil {
			return err
		}
	}
	return nil
}

// decide counts a verdict and selects the document if it must be sent.
func (w *worker) decide(b *batch, i int, v syncd.Verdict) error {
	rec := &b.records[w.index[i]]
	if v != syncd.Present && v != syncd.Unknown && w.MinAge > 0 {
		if changed, ok := b.col.rule.ChangedAt(rec); ok && w.asked.Sub(changed).Abs() < w.MinAge { // of a date that lies ahead nothing is known
			w.counts.Young++
			w.verdicts[i] = syncd.Unknown // told as neither
			return nil
		}
	}
	if w.Ledger != nil {
		given, err := w.Ledger.Judge(b.col.rule, rec, v)
		if err != nil {
			return fmt.Errorf("reading the record of attempts: %w", err)
		}
		if given {
			w.counts.Unindexed++
			w.verdicts[i] = syncd.Unknown
			return nil
		}
	}
	switch v {
	case syncd.Present:
		w.counts.Present++
	case syncd.Missing:
		w.counts.Missing++
		w.send = append(w.send, pick{i, syncd.ReasonMissing})
	case syncd.Stale:
		w.counts.Stale++
		w.send = append(w.send, pick{i, syncd.ReasonStale})
	case syncd.Partial:
		w.counts.Partial++
		w.send = append(w.send, pick{i, syncd.ReasonPartial})
	default:
		return fmt.Errorf("checking collection %s: the checker gave no verdict for document %s", b.col.rule.Collection.Name, rec.ID)
	}
	return nil
}

// tell hands the documents of the batch to Item.
func (w *worker) tell(b *batch) {
	if w.Item == nil {
		return
	}
	w.observe.Lock()
	defer w.observe.Unlock()
	for i, p := range w.points {
		rec := &b.records[w.index[i]]
		v := syncd.Missing
		if w.Checker != nil {
			v = w.verdicts[i]
		}
		if v == syncd.Unknown {
			continue
		}
		w.Item(Item{Rule: b.col.rule, Verdict: v, ID: rec.ID, Key: rec.Key, PointID: p.ID})
	}
}

func (w *worker) keepExamples(b *batch) {
	for _, s := range w.send {
		if !b.col.wantsExample() {
			return
		}
		rec := &b.records[w.index[s.point]]
		seed, err := b.col.rule.AppendSeed(nil, rec, 0)
		if err == nil {
			b.col.example(Example{ID: rec.ID, Seed: string(seed), PointID: w.points[s.point].ID, Reason: s.reason})
		}
	}
}

// measure encodes some of the events that would be sent, to learn how large they are.
func (w *worker) measure(ctx context.Context, b *batch) error {
	n := b.col.takeMeasure(min(len(w.send), w.Measure))
	if n == 0 {
		return nil
	}
	w.keys = w.keys[:0]
	for _, s := range w.send[:n] {
		w.keys = append(w.keys, b.records[w.index[s.point]].Key)
	}
	for f, err := range fetch(ctx, w.Source, b.col.rule.Collection, w.keys) {
		if err != nil {
			return fmt.Errorf("fetching documents of collection %s: %w", b.col.rule.Collection.Name, err)
		}
		rec := &b.records[w.index[w.send[f.Index].point]]
		value, err := event.AppendValue(w.values[:0], syncd.Insert, b.col.rule.Target(), rec.ID, f.Document)
		if err != nil {
			continue // a run would count it; a plan only estimates
		}
		w.values = value
		b.col.measured(len(value))
	}
	return ctx.Err()
}

// deliver encodes and writes the selected documents, fetching those that the scan did not bring.
func (w *worker) deliver(ctx context.Context, b *batch) error {
	w.reset()
	w.keys = w.keys[:0]
	wanted := w.send[:0] // what is left of the selection; never overtakes the reading position
	for _, s := range w.send {
		rec := &b.records[w.index[s.point]]
		if rec.Document == nil {
			w.keys = append(w.keys, rec.Key)
			wanted = append(wanted, s)
			continue
		}
		if err := w.emit(ctx, b, s, rec.Document); err != nil {
			return err
		}
	}
	if len(wanted) > 0 {
		w.read = time.Now()
		found := 0
		for f, err := range fetch(ctx, w.Source, b.col.rule.Collection, w.keys) {
			if err != nil {
				return fmt.Errorf("fetching documents of collection %s: %w", b.col.rule.Collection.Name, err)
			}
			found++
			if err := w.emit(ctx, b, wanted[f.Index], f.Document); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err // a source may end quietly when its context does
		}
		w.counts.Gone += int64(len(wanted) - found)
	}
	return w.write(ctx, b)
}

func (w *worker) reset() {
	w.events, w.picks, w.values, w.ends = w.events[:0], w.picks[:0], w.values[:0], w.ends[:0]
	w.ids, w.idEnds = w.ids[:0], w.idEnds[:0]
}

// emit encodes one document and writes when enough have come together.
func (w *worker) emit(ctx context.Context, b *batch, s pick, doc syncd.Document) error {
	rec := &b.records[w.index[s.point]]
	target := b.col.rule.Target()
	op := syncd.Insert
	if s.reason == syncd.ReasonStale || s.reason == syncd.ReasonPartial {
		op = syncd.Replace
	}
	values, err := event.AppendValue(w.values, op, target, rec.ID, doc)
	if err != nil {
		w.fail(b, &w.counts.FailedEncode, "encode", rec.ID, err)
		return nil
	}
	w.values, w.ends = values, append(w.ends, len(values))
	w.ids = append(w.ids, rec.ID...)
	w.idEnds = append(w.idEnds, len(w.ids))
	w.picks = append(w.picks, s)
	w.events = append(w.events, syncd.Event{
		Target: target, ID: rec.ID, PointID: w.points[s.point].ID,
		Headers: event.Headers(w.RunID, s.reason, w.points[s.point].ID, target.ContentType, w.read),
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
	if err := w.limits.bytes(ctx, len(w.values)); err != nil {
		return err
	}
	start, idStart := 0, 0
	for i := range w.events { // only now: the buffers no longer move
		w.events[i].Value, start = w.values[start:w.ends[i]:w.ends[i]], w.ends[i]
		w.events[i].Key, idStart = w.ids[idStart:w.idEnds[i]:w.idEnds[i]], w.idEnds[i]
	}
	if err := w.recheck(ctx, b); err != nil {
		return err
	}
	if len(w.events) == 0 {
		return nil
	}
	if err := w.run.events.take(int64(len(w.events))); err != nil {
		return err
	}
	w.counts.Emitted += int64(len(w.events))
	refused, err := refusals(w.Sink.Write(ctx, w.events), len(w.events))
	if err != nil {
		return fmt.Errorf("sending %d events of collection %s: %w", len(w.events), b.col.rule.Collection.Name, err)
	}
	w.acked = w.acked[:0]
	var outage error
	for i := range w.events {
		e := &w.events[i]
		var failed error
		if refused != nil {
			failed = refused.Of(i)
		}
		switch {
		case failed == nil:
			w.counts.Acked++
			w.acked = append(w.acked, Sent{
				Rule: b.col.rule, ID: e.ID, PointID: e.PointID, Position: e.Position,
				Version: b.col.rule.DocumentVersion(&b.records[w.index[w.picks[i].point]]),
			})
		case errors.Is(failed, syncd.ErrUnavailable): // nobody's fault: the event stays unconfirmed and the run ends
			outage = failed
		default:
			w.fail(b, &w.counts.FailedWrite, "write", e.ID, failed)
		}
	}
	b.col.sent(w.acked)
	if w.Sent != nil {
		w.Sent(w.acked)
	}
	if w.Ledger != nil {
		if err := w.Ledger.Sent(w.acked); err != nil {
			return fmt.Errorf("keeping the record of attempts: %w", err)
		}
	}
	if outage != nil {
		return fmt.Errorf("sending events of collection %s: %w", b.col.rule.Collection.Name, outage)
	}
	return nil
}

// refusals returns which of n events a Write refused, or nil where it refused none. Any other error means that nothing is
// known about any of them, and so does a refusal that can't be told.
func refusals(err error, n int) (*syncd.BatchError, error) {
	refused, ok := errors.AsType[*syncd.BatchError](err)
	if !ok {
		return nil, err
	}
	for _, i := range refused.Failed() {
		if i < 0 || i >= n || refused.Of(i) == nil {
			return nil, fmt.Errorf("the sink refused event %d of %d without a cause or without having been given it: %w", i, n, err)
		}
	}
	return refused, nil
}

// recheck asks the index again about events whose answer is no longer fresh, and leaves out those that it has by now.
func (w *worker) recheck(ctx context.Context, b *batch) error {
	if w.Checker == nil || time.Since(w.asked) < recheckAfter {
		return nil
	}
	points := make([]syncd.Point, len(w.events))
	for i := range w.events {
		points[i].ID = w.events[i].PointID
	}
	record := func(i int) *syncd.Record { return &b.records[w.index[w.picks[i].point]] }
	if err := w.ask(ctx, b.col.rule, points, record); err != nil {
		return fmt.Errorf("checking %d documents of collection %s again: %w", len(points), b.col.rule.Collection.Name, err)
	}
	w.asked = time.Now()
	events, picks := w.events[:0], w.picks[:0]
	for i, v := range w.verdicts {
		switch v {
		case syncd.Present:
			w.counts.Overtaken++
			continue
		case syncd.Unknown:
			return fmt.Errorf("checking collection %s again: the checker gave no verdict for document %s", b.col.rule.Collection.Name, w.events[i].ID)
		}
		events, picks = append(events, w.events[i]), append(picks, w.picks[i])
	}
	w.events, w.picks = events, picks
	return nil
}

// Item is a document and what the index says about it.
type Item struct {
	Rule    *mapping.Rule
	Verdict syncd.Verdict
	ID      string
	Key     syncd.Key
	PointID uuid.UUID // of chunk 0
	Held    uuid.UUID // of an orphan: the point that was found
}
