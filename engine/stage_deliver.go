package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/fetch"
	"github.com/syncd-io/syncd/internal/text"
)

const (
	// maxWrite bounds the changes of one write, so that acknowledgements come in steps that a person can follow.
	maxWrite = 5000
	// askAgainAfter is how old an answer of the index may be when a change is sent for it. A worker mostly sends at once;
	// a slow sink or a limit holds it up.
	askAgainAfter = 5 * time.Second
)

// deliverer makes changes durable and accounts for them. The slice is its own until it returns.
type deliverer interface {
	deliver(ctx context.Context, b *batch, changes []syncd.Change) error
}

// fetchAndDeliver loads the documents that the read did not bring, and delivers as soon as enough have come together.
type fetchAndDeliver struct {
	source   syncd.Source
	maxBytes int
	whole    bool // a batch is delivered as one
	held     *budget
	to       deliverer

	keys  []syncd.Key
	ready []syncd.Change
}

func (s *fetchAndDeliver) apply(ctx context.Context, b *batch) (err error) {
	s.keys = s.keys[:0]
	defer func() {
		clear(s.ready) // so that the documents can be freed
		s.ready = s.ready[:0]
	}()
	size := 0
	add := func(c syncd.Change) error {
		s.ready = append(s.ready, c)
		size += c.Document.Size()
		if s.whole || size < s.maxBytes && len(s.ready) < maxWrite {
			return nil
		}
		err := s.to.deliver(ctx, b, s.ready)
		clear(s.ready)
		s.ready, size = s.ready[:0], 0
		return err
	}
	lacking := b.changes[:0] // never overtakes the reading position
	for i := range b.changes {
		if c := b.changes[i]; c.Document == nil {
			s.keys = append(s.keys, c.Key)
			lacking = append(lacking, c)
		} else if err := add(c); err != nil {
			return err
		}
	}
	share, err := s.take(ctx, b, len(lacking))
	if err != nil {
		return err
	}
	defer share.release()
	if len(lacking) > 0 {
		inside, leave := b.clock.enter(ctx, StageFetch, len(lacking))
		err := s.fetch(inside, b, lacking, func(c syncd.Change) error {
			if n := int64(size + c.Document.Size()); n > share.bytes { // than could be expected
				share.resize(n)
			}
			return add(c)
		})
		leave(err)
		if err != nil {
			return err
		}
	}
	return s.to.deliver(ctx, b, s.ready)
}

// take waits until there is room for documents that are to be fetched: for those that are delivered at once, and for what the
// source may have at hand meanwhile. Documents that are delivered as one batch, which waits for those before it, are let in in
// the order of the batches, or those that came late might hold what the first one waits for.
func (s *fetchAndDeliver) take(ctx context.Context, b *batch, documents int) (share, error) {
	all := int64(documents) * b.split.col.sizes.document(s.held.most/2)
	portion := min(all, int64(s.maxBytes)+b.split.col.sizes.document(s.held.most/2))
	if !s.whole {
		return s.held.take(ctx, fetches, 2*portion)
	}
	return b.split.inOrder(ctx, b, func() (share, error) { return s.held.take(ctx, fetches, all+portion) })
}

// fetch calls add with every change whose document is still there.
func (s *fetchAndDeliver) fetch(ctx context.Context, b *batch, lacking []syncd.Change, add func(syncd.Change) error) error {
	read := time.Now().UnixNano()
	found, largest, sizes := 0, int64(0), &b.split.col.sizes
	for f, err := range fetch.Documents(ctx, s.source, b.split.Collection, s.keys) {
		if err != nil {
			return text.Doing(err, "fetching documents of collection %s", b.collection())
		}
		found++
		if n := int64(f.Document.Size()); n > largest {
			largest = n
			sizes.note(n)
		}
		c := lacking[f.Index]
		c.Document, c.ReadAt = f.Document, read
		if err := add(c); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err // a source may end quietly when its context does
	}
	sizes.note(largest)
	b.counts.Gone += int64(len(lacking) - found)
	return nil
}

// deliverAll delivers a batch that needs no documents.
type deliverAll struct{ to deliverer }

func (s deliverAll) apply(ctx context.Context, b *batch) error {
	return s.to.deliver(ctx, b, b.changes)
}

// gate is passed right before changes are sent.
type gate struct {
	confirm confirm // nil: nothing is asked again
	events  *eventLimit
}

// confirm looks again whether changes are still to be sent, and returns those that are, in place.
type confirm interface {
	still(ctx context.Context, b *batch, changes []syncd.Change) ([]syncd.Change, error)
}

// pass returns the changes that are still to be sent, and counts them as emitted.
func (g gate) pass(ctx context.Context, b *batch, changes []syncd.Change) ([]syncd.Change, error) {
	if g.confirm != nil && len(changes) > 0 {
		n := len(changes)
		var err error
		if changes, err = g.confirm.still(ctx, b, changes); err != nil {
			return nil, err
		}
		b.counts.Overtaken += int64(n - len(changes))
	}
	if len(changes) == 0 {
		return nil, nil
	}
	if err := g.events.take(ctx, int64(len(changes))); err != nil {
		return nil, err
	}
	b.counts.Emitted += int64(len(changes))
	return changes, nil
}

// askAgain asks the index again where its answer is no longer fresh.
type askAgain struct{ check *check }

func (s *askAgain) still(ctx context.Context, b *batch, changes []syncd.Change) ([]syncd.Change, error) {
	if time.Since(b.asked) < askAgainAfter {
		return changes, nil
	}
	if err := s.check.ask(ctx, b, changes); err != nil {
		return nil, fmt.Errorf("checking %d documents of collection %s again: %w", len(changes), b.collection(), err)
	}
	for i := range changes {
		if changes[i].Verdict == syncd.Unknown {
			return nil, fmt.Errorf("checking collection %s again: the checker gave no verdict for document %s", b.collection(), text.Of(changes[i].ID))
		}
	}
	return retain(changes, func(c *syncd.Change) bool { return c.Verdict != syncd.Present }), nil
}

// stillGone asks the source whether the documents of orphans are still gone, whatever its filter.
type stillGone struct {
	find func(ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error)
}

func (s *stillGone) still(ctx context.Context, b *batch, changes []syncd.Change) (_ []syncd.Change, err error) {
	ctx, leave := b.clock.enter(ctx, StageFetch, len(changes))
	defer func() { leave(err) }()
	ids := make([]string, len(changes))
	for i := range changes {
		ids[i] = changes[i].ID
	}
	keys, err := s.find(ctx, syncd.Collection{Name: b.collection()}, ids)
	if err == nil && len(keys) != len(ids) {
		err = fmt.Errorf("the source answered %d of %d", len(keys), len(ids))
	}
	if err != nil {
		return nil, text.Doing(err, "finding documents of collection %s", b.collection())
	}
	i := -1
	return retain(changes, func(*syncd.Change) bool { i++; return keys[i] == "" }), nil
}

// write delivers to the sink; the split's checkpoint follows later.
type write struct {
	e *Engine
	gate
	transform *transform // nil where a job has no stages
	letters   *writeDeadLetters
	large     []syncd.Change // too large with their documents
}

func (s *write) deliver(ctx context.Context, b *batch, changes []syncd.Change) error {
	changes, err := s.pass(ctx, b, changes)
	if err != nil || len(changes) == 0 {
		return err
	}
	if err := s.prepareAndSend(ctx, b, changes); err != nil {
		return err
	}
	large := s.large
	s.large = nil
	if len(large) > 0 {
		if err := s.send(ctx, b, large, true); err != nil {
			return err
		}
	}
	if sent(b.dead) >= int64(s.e.BatchBytes) { // they hold their documents
		return s.letters.apply(ctx, b)
	}
	return nil
}

// prepareAndSend sends changes, those of a job with stages in portions for whose chunks and vectors there is room.
func (s *write) prepareAndSend(ctx context.Context, b *batch, changes []syncd.Change) error {
	if s.transform == nil {
		return s.send(ctx, b, changes, false)
	}
	for len(changes) > 0 {
		n, expected := s.transform.portion(changes)
		share, err := s.e.sending.take(ctx, prepares, expected)
		if err != nil {
			return err
		}
		ready, err := s.transform.apply(ctx, b, changes[:n])
		if err == nil && len(ready) > 0 {
			share.resize(s.transform.made(ready))
			err = s.send(ctx, b, ready, false)
		}
		for i := range changes[:n] {
			changes[i].Content = nil // so that it can be freed
		}
		share.release()
		if err != nil {
			return err
		}
		changes = changes[n:]
	}
	return nil
}

// send is one write, and what becomes of its changes. References go without their documents.
func (s *write) send(ctx context.Context, b *batch, changes []syncd.Change, references bool) error {
	refused, err := s.put(ctx, b, changes)
	if err != nil {
		return err
	}
	var outage error
	i := -1
	confirmed := retain(changes, func(c *syncd.Change) bool {
		i++
		if refused == nil || refused.Of(i) == nil {
			return true
		}
		switch failed := refused.Of(i); {
		case errors.Is(failed, syncd.ErrUnavailable): // nobody's fault: the change stays unconfirmed and the run ends
			outage = failed
		case errors.Is(failed, syncd.ErrTooLarge) && s.e.Oversize == OversizeReference && !references:
			c.Reference = true
			s.large = append(s.large, *c)
		default:
			s.e.refuse(b, c, failed)
		}
		return false
	})
	if err := s.e.confirm(b, confirmed); err != nil {
		return err
	}
	if outage != nil {
		return fmt.Errorf("sending events of %s: %w", b.from(), outage)
	}
	return s.e.throttle.sent(ctx, len(confirmed), bytesOf(confirmed))
}

// put is one Write of the sink.
func (s *write) put(ctx context.Context, b *batch, changes []syncd.Change) (*syncd.BatchError, error) {
	ctx, leave := b.clock.enter(ctx, StageWrite, len(changes))
	refused, err := refusals(s.e.write(ctx, s.e.Sink, changes), len(changes))
	leave(err)
	if err != nil {
		return nil, fmt.Errorf("sending %d events of %s: %w", len(changes), b.from(), err)
	}
	return refused, nil
}

// write has a sink write changes once there is room for their events.
func (e *Engine) write(ctx context.Context, to syncd.Sink, changes []syncd.Change) error {
	share, err := e.sending.take(ctx, writes, sent(changes))
	if err != nil {
		return err
	}
	defer share.release()
	return to.Write(ctx, changes)
}

// refusals returns which of n changes a sink refused, or nil where it refused none. Any other error means that nothing is
// known about any of them, and so does a refusal that can't be told.
func refusals(err error, n int) (*syncd.BatchError, error) {
	refused, ok := errors.AsType[*syncd.BatchError](err)
	if !ok {
		return nil, err
	}
	for _, i := range refused.Failed() {
		if i < 0 || i >= n || refused.Of(i) == nil {
			return nil, fmt.Errorf("the sink refused change %d of %d without a cause or without having been given it: %w", i, n, err)
		}
	}
	return refused, nil
}

// refuse accounts for a change that the sink refused for its own fault.
func (e *Engine) refuse(b *batch, c *syncd.Change, cause error) {
	if errors.Is(cause, syncd.ErrNotEncodable) {
		b.counts.Emitted-- // it never was an event
		e.failures.fail(b, c, syncd.FailedEncode, cause)
		return
	}
	e.failures.fail(b, c, syncd.FailedWrite, cause)
}

// confirm accounts for changes that the sink confirmed, and tells everyone who wants to know.
func (e *Engine) confirm(b *batch, changes []syncd.Change) error {
	if len(changes) == 0 {
		return nil
	}
	b.counts.Acked += int64(len(changes))
	b.counts.Referenced += int64(references(changes))
	b.bytes += int64(bytesOf(changes))
	if b.rule() == nil { // what a stream brings is not looked for in the index
		return nil
	}
	if e.Hooks.Sent != nil {
		e.Hooks.Sent(b.rule(), changes)
	}
	if e.Ledger != nil {
		if err := e.Ledger.Sent(b.rule(), changes); err != nil {
			return fmt.Errorf("keeping the record of attempts: %w", err)
		}
	}
	return nil
}

func references(changes []syncd.Change) (n int) {
	for i := range changes {
		if changes[i].Reference {
			n++
		}
	}
	return n
}

func bytesOf(changes []syncd.Change) (n int) {
	for i := range changes {
		n += int(changes[i].Bytes)
	}
	return n
}
