package pipeline

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
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
	picks   []pick           // of the events
	docs    []syncd.Document // of the events
	ends    []int            // where each event's value ends in values
	values  []byte
	ids     []byte // the events' keys
	idEnds  []int
	acked   []Sent
	counts  Counts
	sized   int64            // bytes of the batch's events
	fails   []Failure        // of the batch, the first of them
	dead    []failedDocument // of the batch, on their way to the dead letters
	failure error            // set when a failed document ends the run
	oldest  time.Time        // change of the batch's oldest missing document; only where a Monitor shows it

	in     Stage // where the worker is
	took   [StageCount]time.Duration
	nested time.Duration // spent in stages inside the one at hand
}

func newWorker(r *run) *worker { return &worker{run: r, asker: asker{checker: r.Checker}} }

// process handles one batch. It accounts for what it did even when it returns an error; only without one the batch counts as
// handled.
func (w *worker) process(ctx context.Context, b *batch) (err error) {
	w.counts, w.failure, w.read, w.sized = Counts{}, nil, b.read, 0
	w.fails, w.dead, w.oldest = nil, w.dead[:0], time.Time{}
	clear(w.took[:])
	if w.Tracer != nil {
		inside, end := w.Tracer.Batch(ctx, BatchInfo{
			Collection: b.col.rule.Collection.Name, Split: b.split.Index, Documents: len(b.records), Scan: b.read, ScanTime: b.took,
		})
		defer func() { end(err) }()
		ctx = inside
	}
	err = w.handle(ctx, b)
	b.split.account(w.counts)
	b.col.age(w.oldest)
	w.bytes.Add(w.sized)
	if err != nil {
		return err
	}
	if w.BatchDone != nil {
		w.took[StageScan] = b.took
		w.BatchDone(BatchReport{Collection: b.col.rule.Collection.Name, Counts: w.counts, Bytes: w.sized, Times: w.took})
	}
	w.handled(b)
	return nil
}

// handle takes a batch through the stages.
func (w *worker) handle(ctx context.Context, b *batch) error {
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
	if err := w.bury(ctx, b); err != nil {
		return err
	}
	return w.failure
}

// handled moves the batch's split on, and has that kept: see keepPositions.
func (w *worker) handled(b *batch) {
	moved := b.split.handled(b, b.handledAs(w.counts, w.fails))
	if w.Journal != nil && moved > 0 {
		w.moves <- movement{b.split, moved} // it has room for the whole window
		return
	}
	for range moved {
		<-w.window
	}
}

// fail counts a document that can't be handled.
func (w *worker) fail(b *batch, counter *int64, d failedDocument, err error) {
	*counter++
	d.reason, d.tooBig = err.Error(), errors.Is(err, syncd.ErrTooLarge)
	f := Failure{ID: d.id, Stage: d.stage, Reason: d.reason}
	b.col.fail(f)
	if w.Failed != nil {
		w.Failed(b.col.rule.Collection.Name, f)
	}
	if len(w.fails) < maxFailures {
		w.fails = append(w.fails, f)
	}
	if w.DeadLetters != nil {
		w.dead = append(w.dead, d)
	}
	if w.failure != nil {
		return
	}
	w.failure = w.failures.add()
	switch {
	case w.StopOnFailure:
		w.failure = syncd.Hint(fmt.Errorf("%w: document %s of collection %s: %w", ErrStopped, d.id, b.col.rule.Collection.Name, err),
			"mend the document; errors.tolerance: all passes over such documents")
	case d.tooBig && w.Oversize == OversizeFail:
		w.failure = syncd.Hint(fmt.Errorf("%w: document %s of collection %s: %w", ErrStopped, d.id, b.col.rule.Collection.Name, err),
			"raise the sink's limit, or set errors.oversize to dlq or reference_only")
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
			w.fail(b, &w.counts.FailedRead, failedDocument{id: rec.ID, stage: "read"}, err)
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
	if len(w.points) == 0 {
		return nil // none of the batch has an id
	}
	if err := w.question(ctx, b.col.rule, w.points, func(i int) *syncd.Record { return &b.records[w.index[i]] }); err != nil {
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
	if v == syncd.Missing && w.Monitor != nil {
		if changed, ok := b.col.rule.ChangedAt(rec); ok && (w.oldest.IsZero() || changed.Before(w.oldest)) {
			w.oldest = changed
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
		value, err := w.Events.AppendValue(w.values[:0], syncd.Insert, b.col.rule.Target(), rec.ID, f.Document)
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
		if err := w.fetchWanted(ctx, b, wanted); err != nil {
			return err
		}
	}
	if w.committer != nil {
		return w.commit(ctx, b)
	}
	return w.write(ctx, b)
}

func (w *worker) fetchWanted(ctx context.Context, b *batch, wanted []pick) (err error) {
	ctx, leave := w.stage(ctx, StageFetch, len(wanted))
	defer func() { leave(err) }()
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
	return nil
}

func (w *worker) reset() {
	w.events, w.picks, w.values, w.ends = w.events[:0], w.picks[:0], w.values[:0], w.ends[:0]
	clear(w.docs) // so that they can be freed
	w.docs = w.docs[:0]
	w.ids, w.idEnds = w.ids[:0], w.idEnds[:0]
}

// emit encodes one document and writes when enough have come together.
func (w *worker) emit(ctx context.Context, b *batch, s pick, doc syncd.Document) error {
	rec := &b.records[w.index[s.point]]
	target := b.col.rule.Target()
	values, err := w.Events.AppendValue(w.values, operation(s.reason), target, rec.ID, doc)
	var ids []byte
	if err == nil {
		ids, err = w.Events.AppendKey(w.ids, rec.ID, doc)
	}
	if err != nil {
		d := failedDocument{id: rec.ID, point: w.points[s.point].ID, stage: "encode"}
		if w.DeadLetters != nil {
			if raw, rawErr := doc.AppendJSON(nil, syncd.Relaxed); rawErr == nil {
				d.value = raw
			}
		}
		w.fail(b, &w.counts.FailedEncode, d, err)
		return nil
	}
	w.values, w.ends = values, append(w.ends, len(values))
	w.ids, w.idEnds = ids, append(w.idEnds, len(ids))
	w.picks, w.docs = append(w.picks, s), append(w.docs, doc)
	w.events = append(w.events, syncd.Event{
		Target: target, ID: rec.ID, PointID: w.points[s.point].ID,
		Headers: event.Headers(w.RunID, s.reason, w.points[s.point].ID, target.ContentType, w.read),
	})
	if w.committer == nil && (len(w.values) >= w.BatchBytes || len(w.events) >= maxWrite) {
		return w.write(ctx, b)
	}
	return nil
}

// operation is what an event for the reason asks of the indexer.
func operation(r syncd.Reason) syncd.Operation {
	if r == syncd.ReasonStale || r == syncd.ReasonPartial {
		return syncd.Replace
	}
	return syncd.Insert
}

// ready completes the collected events, right before they are sent: it waits for what limits the run, leaves out what the index
// has by now, and counts. Nothing is to be sent if no event is left.
func (w *worker) ready(ctx context.Context, b *batch) error {
	if len(w.events) == 0 {
		return nil
	}
	if err := w.limits.bytes(ctx, len(w.values), w.move); err != nil {
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
	if err := w.run.events.take(int64(len(w.events))); err != nil {
		return err
	}
	w.sized += int64(len(w.values))
	return nil
}

// write hands the collected events to the sink and accounts for its answer.
func (w *worker) write(ctx context.Context, b *batch) error {
	defer w.reset()
	if err := w.ready(ctx, b); err != nil || len(w.events) == 0 {
		return err
	}
	w.counts.Emitted += int64(len(w.events))
	refused, err := w.put(ctx, b, w.events)
	if err != nil {
		return err
	}
	w.acked = w.acked[:0]
	var outage error
	var large []int
	for i := range w.events {
		var failed error
		if refused != nil {
			failed = refused.Of(i)
		}
		switch {
		case failed == nil:
			w.confirm(b, i)
		case errors.Is(failed, syncd.ErrUnavailable): // nobody's fault: the event stays unconfirmed and the run ends
			outage = failed
		case errors.Is(failed, syncd.ErrTooLarge) && w.Oversize == OversizeReference:
			large = append(large, i)
		default:
			w.refuse(b, i, failed)
		}
	}
	if len(large) > 0 && outage == nil {
		outage = w.writeReferences(ctx, b, large)
	}
	if err := w.remember(b); err != nil {
		return err
	}
	if outage != nil {
		return fmt.Errorf("sending events of collection %s: %w", b.col.rule.Collection.Name, outage)
	}
	return nil
}

// put is one Write.
func (w *worker) put(ctx context.Context, b *batch, events []syncd.Event) (*syncd.BatchError, error) {
	ctx, leave := w.stage(ctx, StageWrite, len(events))
	refused, err := refusals(w.Sink.Write(ctx, events), len(events))
	leave(err)
	if err != nil {
		return nil, fmt.Errorf("sending %d events of collection %s: %w", len(events), b.col.rule.Collection.Name, err)
	}
	return refused, nil
}

// writeReferences sends, without their documents, events that are too large with them.
func (w *worker) writeReferences(ctx context.Context, b *batch, large []int) error {
	events := make([]syncd.Event, 0, len(large))
	for _, i := range large {
		e, err := w.reference(i)
		if err != nil {
			return err
		}
		events = append(events, e)
	}
	refused, err := w.put(ctx, b, events)
	if err != nil {
		return err
	}
	for k, i := range large {
		if refused != nil && refused.Of(k) != nil {
			if errors.Is(refused.Of(k), syncd.ErrUnavailable) {
				return refused.Of(k)
			}
			w.refuse(b, i, refused.Of(k))
			continue
		}
		w.events[i].Position = events[k].Position
		w.counts.Referenced++
		w.confirm(b, i)
	}
	return nil
}

// reference is event i without its document.
func (w *worker) reference(i int) (syncd.Event, error) {
	ref := w.events[i]
	value, err := w.Events.AppendReference(nil, operation(w.picks[i].reason), ref.Target, ref.ID, w.docs[i])
	if err != nil {
		return syncd.Event{}, err
	}
	ref.Value = value
	ref.Headers = append(ref.Headers[:len(ref.Headers):len(ref.Headers)], syncd.Header{Name: event.HeaderDocument, Value: event.DocumentReference})
	return ref, nil
}

// confirm counts an event that the sink confirmed.
func (w *worker) confirm(b *batch, i int) {
	e := &w.events[i]
	w.counts.Acked++
	w.acked = append(w.acked, Sent{
		Rule: b.col.rule, ID: e.ID, PointID: e.PointID, Position: e.Position,
		Version: b.col.rule.DocumentVersion(&b.records[w.index[w.picks[i].point]]),
	})
}

// refuse counts an event that the sink refused.
func (w *worker) refuse(b *batch, i int, err error) {
	e := &w.events[i]
	d := failedDocument{id: e.ID, point: e.PointID, stage: "write"}
	if w.DeadLetters != nil { // the buffers are used again before the letter is written
		d.key = slices.Clone(e.Key)
		if !errors.Is(err, syncd.ErrTooLarge) {
			d.value = slices.Clone(e.Value)
		} else if ref, refErr := w.reference(i); refErr == nil { // the whole would be too large for the letter, too
			d.value = ref.Value
		}
	}
	w.fail(b, &w.counts.FailedWrite, d, err)
}

// remember tells everyone who wants to know what was confirmed.
func (w *worker) remember(b *batch) error {
	b.col.sent(w.acked)
	if w.Sent != nil {
		w.Sent(w.acked)
	}
	if w.Ledger != nil {
		if err := w.Ledger.Sent(w.acked); err != nil {
			return fmt.Errorf("keeping the record of attempts: %w", err)
		}
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

// question asks the index. Where the run is to wait for an index that can't be asked, it is asked until it answers or the run
// ends: what could not be asked is never missing.
func (w *worker) question(ctx context.Context, rule *mapping.Rule, points []syncd.Point, record func(int) *syncd.Record) (err error) {
	ctx, leave := w.stage(ctx, StageCheck, len(points))
	defer func() { leave(err) }()
	pause := firstRepeat
	for {
		err = w.ask(ctx, rule, points, record)
		if err == nil || !w.WaitForIndex || !errors.Is(err, syncd.ErrUnavailable) || w.draining() || ctx.Err() != nil {
			return err
		}
		w.Logger.Warn("the index can't be asked any more: waiting for it", "error", err.Error(), "again in", pause.String())
		select {
		case <-time.After(pause):
		case <-w.Drain: // the run is interrupted, and its last word is not the index's
			return fmt.Errorf("%w: %w", context.Canceled, err)
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(2*pause, longestRepeat)
	}
}

// The pauses between questions to an index that does not answer, beside those of the checker itself.
const (
	firstRepeat   = time.Second
	longestRepeat = 30 * time.Second
)

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
	if err := w.question(ctx, b.col.rule, points, record); err != nil {
		return fmt.Errorf("checking %d documents of collection %s again: %w", len(points), b.col.rule.Collection.Name, err)
	}
	w.asked = time.Now()
	events, picks, docs := w.events[:0], w.picks[:0], w.docs[:0]
	for i, v := range w.verdicts {
		switch v {
		case syncd.Present:
			w.counts.Overtaken++
			continue
		case syncd.Unknown:
			return fmt.Errorf("checking collection %s again: the checker gave no verdict for document %s", b.col.rule.Collection.Name, w.events[i].ID)
		}
		events, picks, docs = append(events, w.events[i]), append(picks, w.picks[i]), append(docs, w.docs[i])
	}
	w.events, w.picks, w.docs = events, picks, docs
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
