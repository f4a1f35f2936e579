package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/event"
)

// Oversize says what happens to an event that the sink finds too large.
type Oversize string

// The policies.
const (
	OversizeDLQ       Oversize = "dlq"            // it is a document that can't be sent
	OversizeReference Oversize = "reference_only" // it is sent without its document
	OversizeFail      Oversize = "fail"           // the run stops
)

// failedDocument is a document on its way to the dead letters.
type failedDocument struct {
	id     string
	point  uuid.UUID // Nil where none could be made
	stage  string
	reason string
	tooBig bool
	key    []byte
	value  []byte // the event, or nil where there is none
}

// failureLimit counts failed documents against Options.MaxFailures.
type failureLimit struct {
	max  int64
	seen atomic.Int64
}

func (l *failureLimit) add() error {
	if n := l.seen.Add(1); l.max <= 0 || n <= l.max {
		return nil
	}
	return &GuardError{
		Problem: fmt.Sprintf("more than errors.max, %d, documents can't be sent", l.max),
		Advice:  "look at the first of them above; mend their cause, or raise errors.max",
	}
}

// bury writes the batch's failed documents to the dead letters, which must take them all: a document is accounted for only
// when something remembers it.
func (w *worker) bury(ctx context.Context, b *batch) (err error) {
	if w.DeadLetters == nil || len(w.dead) == 0 {
		w.dead = w.dead[:0]
		return nil
	}
	ctx, leave := w.stage(ctx, StageWrite, len(w.dead))
	defer func() {
		leave(err)
		w.dead = w.dead[:0]
	}()
	events := make([]syncd.Event, len(w.dead))
	for i := range w.dead {
		events[i] = w.letter(b, &w.dead[i])
	}
	refused, err := refusals(w.DeadLetters.Write(ctx, events), len(events))
	if err == nil && refused != nil {
		// What is too large for its topic is too large for this one; its id is enough to find it again.
		var again []syncd.Event
		for _, i := range refused.Failed() {
			if errors.Is(refused.Of(i), syncd.ErrUnavailable) {
				return fmt.Errorf("writing dead letters of collection %s: %w", b.col.rule.Collection.Name, refused.Of(i))
			}
			e := events[i]
			if e.Value, err = w.Events.AppendValue(nil, syncd.Insert, e.Target, e.ID, nil); err != nil {
				e.Value = []byte("{}")
			}
			again = append(again, e)
		}
		err = w.DeadLetters.Write(ctx, again)
	}
	if err != nil {
		return syncd.Hint(fmt.Errorf("writing dead letters of collection %s: %w", b.col.rule.Collection.Name, err),
			"the run stops, so that no failed document is forgotten; see to errors.dead_letter and run it again")
	}
	w.counts.DeadLettered += int64(len(events))
	return nil
}

// letter makes the dead letter of a document: the event as far as there is one, with the headers that Kafka Connect gives
// its dead letters.
func (w *worker) letter(b *batch, d *failedDocument) syncd.Event {
	target := b.col.rule.Target()
	topic := target.Collection
	if r, ok := w.Sink.(syncd.Router); ok {
		topic = r.Route(target)
	}
	e := syncd.Event{Target: target, ID: d.id, PointID: d.point, Key: d.key, Value: d.value}
	if e.Key == nil {
		e.Key = []byte(d.id)
	}
	if e.Value == nil {
		value, err := w.Events.AppendValue(nil, syncd.Insert, target, d.id, nil)
		if err != nil {
			value = []byte("{}")
		}
		e.Value = value
	}
	e.Headers = append(event.Headers(w.RunID, w.deadReason(), d.point, target.ContentType, w.read),
		event.ErrorHeaders(event.Failure{Topic: topic, Stage: d.stage, Reason: d.reason, TooLarge: d.tooBig, Split: b.split.Index})...)
	return e
}

// deadReason is why the document would have been sent; a dead letter does not go into it further.
func (w *worker) deadReason() syncd.Reason {
	if w.Checker == nil {
		return syncd.ReasonFull
	}
	return syncd.ReasonMissing
}
