package kafka

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/internal/kafkaconn"
	"github.com/syncd-io/syncd/internal/retry"
	"github.com/syncd-io/syncd/internal/wait"
)

// brokersHint goes with what the brokers did not do.
const brokersHint = "look at the brokers' logs, and run it again when they are well"

// queueFullPause is the longest wait for room in the queue before producing is tried again; a delivery report ends it
// early. It is needed where other writers fill the queue and this one has nothing in it to hear of.
const queueFullPause = 5 * time.Millisecond

// maxClaims is how often in one Write events are sent anew for want of proof that they arrived: see take. Each time takes an
// accident of its own, so one is nearly always enough; a broker that never says where events are must not keep a Write for ever.
const maxClaims = 5

// producer is the part of *ck.Producer that writing needs.
type producer interface {
	Produce(m *ck.Message, reports chan ck.Event) error
	GetFatalError() error
	// ends returns the offset behind the last event of each partition.
	ends(ctx context.Context, partitions []place) (map[place]int64, error)
}

// write is one Write: its message is filled again for every event, and its slots stand for the events in delivery
// reports, so that an event costs no allocation here. It is used again when every report has come in.
type write struct {
	sink    *Sink
	events  []codec.Event
	message ck.Message
	headers []ck.Header
	text    []byte // of header values; never nil, since a nil value is a null one
	slots   []slot
	mail    *mailbox
	pending int // events of which no report was taken
	client  *client
	entry   *entry   // of the transaction that they go into; nil without one
	refused []int    // by a broker, perhaps for their company in a batch
	claimed []int    // said to have arrived, without proof: see judge
	unseen  []int    // the first that were confirmed in their lanes: see verify
	passing []denial // refused by a broker for a reason that may pass
	alone   bool     // every event is a batch of its own now
	failed  *syncd.BatchError
}

// slot is what a delivery report leads back to.
type slot struct {
	index     int
	topic     *string
	partition int32 // or PartitionAny
	client    *client
	doubts    uint64 // of the judge when the event was produced
	proof     *proof // that the judge has of the lane, once it was reported
	entry     *entry
	mail      *mailbox
}

// mailbox keeps the delivery reports of a write until it takes them, many at once: to wake it for each would cost more than the
// rest of what a report takes.
type mailbox struct {
	bell chan struct{} // has room for one; rung when as many reports are there as were expected

	mu       sync.Mutex
	reports  []*ck.Message
	taken    []*ck.Message // the memory of those before, which is used again
	expected int           // 0 rings for none
}

func newMailbox(events int) *mailbox {
	return &mailbox{bell: make(chan struct{}, 1), reports: make([]*ck.Message, 0, events), taken: make([]*ck.Message, 0, events)}
}

// put never blocks, even when nobody waits any more.
func (m *mailbox) put(r *ck.Message) {
	m.mu.Lock()
	m.reports = append(m.reports, r)
	m.ring()
	m.mu.Unlock()
}

// expect has the bell ring as soon as n reports are there. It may ring for what was expected before.
func (m *mailbox) expect(n int) {
	m.mu.Lock()
	m.expected = n
	m.ring()
	m.mu.Unlock()
}

// ring rings if it is time. The caller holds mu.
func (m *mailbox) ring() {
	if m.expected == 0 || len(m.reports) < m.expected {
		return
	}
	m.expected = 0
	select {
	case m.bell <- struct{}{}:
	default: // it rang already
	}
}

// take returns the reports that are there, which the next call overwrites.
func (m *mailbox) take() []*ck.Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.taken) // so that they can be freed
	m.taken, m.reports = m.reports, m.taken[:0]
	return m.taken
}

// denial is an event that a broker refused, and why.
type denial struct {
	index int
	err   error
}

// Write implements syncd.Sink.
func (s *Sink) Write(ctx context.Context, changes []syncd.Change) error {
	b := s.encode(changes)
	defer s.batches.Put(b)
	return b.Settle(changes, s.write(ctx, s.main, b.Events))
}

// encode makes the events of changes in memory that is to be given back to s.batches. librdkafka copies an event's bytes when it
// is produced, so that they may change as soon as a write has returned.
func (s *Sink) encode(changes []syncd.Change) *codec.Batch {
	b, _ := s.batches.Get().(*codec.Batch)
	if b == nil {
		b = &codec.Batch{}
		b.Omit, b.OmitLetters = s.config.omitted()
	}
	b.Encode(s.encoder, s.runID, changes)
	return b
}

// write produces events and awaits their reports, as Write does with changes.
func (s *Sink) write(ctx context.Context, p producer, events []codec.Event) error {
	w := s.newWrite(events)
	defer s.recycle(w)
	s.main.produced.Add(int64(len(events)))
	return w.run(ctx, p)
}

func (s *Sink) newWrite(events []codec.Event) *write {
	w, _ := s.writes.Get().(*write)
	if w == nil || len(w.slots) < len(events) {
		w = &write{sink: s, slots: make([]slot, len(events)), mail: newMailbox(len(events)), text: make([]byte, 0, 128)}
	}
	w.events = events
	w.begin()
	return w
}

// begin makes a write ready for its events, again or for the first time. Reports of an earlier attempt that are still to come
// go where nobody looks.
func (w *write) begin() {
	if w.pending > 0 {
		w.slots, w.mail, w.pending = slices.Clone(w.slots), newMailbox(len(w.slots)), 0
	}
	w.failed, w.refused, w.claimed, w.passing, w.alone = nil, w.refused[:0], w.claimed[:0], w.passing[:0], false
	w.client, w.entry, w.unseen = w.sink.main, nil, w.unseen[:0]
}

// recycle keeps a write for another one's events.
func (s *Sink) recycle(w *write) {
	if w.pending == 0 {
		w.events = nil
		s.writes.Put(w)
	}
}

func (w *write) run(ctx context.Context, p producer) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("writing to Kafka: %w", err)
	}
	if err := w.address(); err != nil {
		return err
	}
	leave, err := w.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	for i := range w.events {
		if err := w.produce(ctx, p, i); err != nil {
			return err
		}
	}
	if err := w.await(ctx, p); err != nil {
		return err
	}
	if err := w.resend(ctx, p); err != nil {
		return err
	}
	if w.failed == nil {
		return nil
	}
	return w.failed
}

// address finds every event's topic before anything is sent.
func (w *write) address() error {
	var last *route
	for i := range w.events {
		t := &w.events[i].Target
		if last == nil || *t != w.events[i-1].Target {
			last = w.sink.router.route(*t)
			if last.err != nil {
				return fmt.Errorf("writing to Kafka: collection %q: %w", t.Collection, last.err)
			}
		}
		w.slots[i] = slot{index: i, topic: &last.name, partition: ck.PartitionAny}
	}
	return nil
}

// enter waits for room in the topic of the first event, which nearly always is that of all.
func (w *write) enter(ctx context.Context) (leave func(), err error) {
	if len(w.events) == 0 {
		return func() {}, nil
	}
	var bytes int64
	for i := range w.events {
		bytes += int64(len(w.events[i].Key) + len(w.events[i].Value))
	}
	return w.sink.router.route(w.events[0].Target).room.enter(ctx, bytes)
}

// produce hands event i to librdkafka, waiting for room in its queue. Its error ends the Write.
func (w *write) produce(ctx context.Context, p producer, i int) error {
	e := &w.events[i]
	w.headers, w.text = w.headers[:0], w.text[:0]
	for _, h := range e.Headers {
		from := len(w.text)
		w.text = append(w.text, h.Value...) // when it moves, the values before keep their old place
		w.headers = append(w.headers, ck.Header{Key: h.Name, Value: w.text[from:len(w.text):len(w.text)]})
	}
	w.message = ck.Message{
		TopicPartition: ck.TopicPartition{Topic: w.slots[i].topic, Partition: w.slots[i].partition},
		Key:            e.Key,
		Value:          e.Value, // nil is a tombstone, and other than an empty value
		Headers:        w.headers,
		Opaque:         &w.slots[i],
	}
	if e.ReadAt != 0 { // a record has a time anyway, and a header costs more
		w.message.Timestamp = time.Unix(0, e.ReadAt)
	}
	s := &w.slots[i]
	s.client, s.mail, s.entry, s.doubts = w.client, w.mail, w.entry, w.sink.judge.doubts.Load()
	for {
		err := p.Produce(&w.message, w.sink.judge.reports)
		if err == nil {
			w.pending++
			if w.entry != nil {
				w.entry.sent = true
			}
			return nil
		}
		if kafkaconn.Code(err) != ck.ErrQueueFull {
			return w.refuse(p, i, err, false)
		}
		if err := w.room(ctx, p); err != nil {
			return err
		}
	}
}

// room waits until the queue may have room again.
func (w *write) room(ctx context.Context, p producer) error {
	pause := time.NewTimer(queueFullPause)
	defer pause.Stop()
	w.mail.expect(1)
	select {
	case <-w.mail.bell:
	case <-pause.C:
	case <-ctx.Done():
		return fmt.Errorf("writing to Kafka: %w", ctx.Err())
	}
	return w.collect(p)
}

// await collects the delivery reports that are still to come.
func (w *write) await(ctx context.Context, p producer) error {
	for w.pending > 0 {
		w.mail.expect(w.pending)
		select {
		case <-w.mail.bell:
		case <-ctx.Done():
			if err := w.collect(p); err != nil || w.pending == 0 {
				return err
			}
			return fmt.Errorf("writing to Kafka: %w", ctx.Err())
		}
		if err := w.collect(p); err != nil {
			return err
		}
	}
	return nil
}

// collect takes the delivery reports that are there.
func (w *write) collect(p producer) error {
	for _, r := range w.mail.take() {
		if err := w.take(p, r); err != nil {
			return err
		}
	}
	return nil
}

func (w *write) take(p producer, m *ck.Message) error {
	w.pending--
	s := m.Opaque.(*slot)
	switch i, at := s.index, m.TopicPartition; {
	case at.Error != nil:
		return w.refuse(p, i, at.Error, true)
	case at.Offset < 0:
		w.claimed = append(w.claimed, i)
	default:
		w.events[i].Placement = syncd.Placement{Partition: at.Partition, Offset: int64(at.Offset), Known: true}
		if !s.proof.seen.Load() {
			w.unseen = append(w.unseen, i)
		}
	}
	return nil
}

// verify looks whether the partitions reach as far as the first offsets that were confirmed in them: it has those events claimed
// of which that is not so. That is one question for each partition that a client writes to, and an error if it has no answer.
func (w *write) verify(ctx context.Context, p producer) error {
	if len(w.unseen) == 0 {
		return nil
	}
	tops := map[place]int64{}
	for _, i := range w.unseen {
		at := place{*w.slots[i].topic, w.events[i].Placement.Partition}
		tops[at] = max(tops[at], w.events[i].Placement.Offset)
	}
	ends, err := p.ends(ctx, slices.Collect(maps.Keys(tops)))
	if err != nil {
		return syncd.Hint(fmt.Errorf("writing to Kafka: looking where topics end: %w", err), brokersHint)
	}
	for _, i := range w.unseen {
		at := place{*w.slots[i].topic, w.events[i].Placement.Partition}
		if ends[at] > tops[at] {
			w.slots[i].proof.seen.Store(true)
			continue
		}
		w.events[i].Placement = syncd.Placement{}
		w.claimed = append(w.claimed, i)
	}
	w.unseen = w.unseen[:0]
	return nil
}

// refuse notes why event i is not durable, or returns the error that ends the Write.
func (w *write) refuse(p producer, i int, err error, byBroker bool) error {
	// A producer that met a fatal error fails all that it holds with other errors; the cause is the fatal one.
	if fatal := p.GetFatalError(); fatal != nil {
		return w.sink.fatal(fatal)
	}
	c := kafkaconn.Code(err)
	if byBroker && !w.alone && judgesBatches(c) {
		w.refused = append(w.refused, i)
		return nil
	}
	if byBroker && passes(c) && !w.sink.config.exactlyOnce() { // a transaction is aborted and tried anew
		w.passing = append(w.passing, denial{i, err})
		return nil
	}
	topic := *w.slots[i].topic
	switch c {
	case ck.ErrMsgSizeTooLarge, ck.ErrRecordListTooLarge, ck.ErrInvalidMsgSize:
		e := &w.events[i]
		if !byBroker {
			w.fail(i, w.sink.config.tooLarge(e))
			return nil
		}
		w.fail(i, fmt.Errorf("the event, %d bytes with its headers, is larger than topic %q accepts: %w", sizeOf(e), topic, syncd.ErrTooLarge))
	case ck.ErrInvalidMsg, ck.ErrInvalidRecord, ck.ErrBadMsg, ck.ErrInvalidTimestamp:
		w.fail(i, fmt.Errorf("topic %q refuses the event: %s", topic, w.sink.scrub(err)))
	case ck.ErrUnknownTopic, ck.ErrUnknownTopicOrPart, ck.ErrUnknownPartition:
		gone := topicGone(topic)
		w.fail(i, syncd.Hint(fmt.Errorf("%w: %w", gone, syncd.ErrUnavailable), "%s", syncd.HintOf(gone)))
	case ck.ErrMsgTimedOut:
		setting, limit := w.sink.config.messageTimeout()
		w.fail(i, syncd.Hint(fmt.Errorf("topic %q did not acknowledge the event within %s, %s: %w", topic, setting, limit, syncd.ErrUnavailable), brokersHint))
	case ck.ErrPurgeQueue, ck.ErrPurgeInflight:
		w.fail(i, errPurged)
	default:
		w.failUnsent(i, err)
	}
	return nil
}

func (w *write) failUnsent(i int, err error) {
	w.fail(i, syncd.Hint(fmt.Errorf("sending to topic %q: %s: %w", *w.slots[i].topic, w.sink.scrub(err), syncd.ErrUnavailable), brokersHint))
}

// fatal is the error of a producer that can't go on. Where a broker finds a gap before the oldest event that is not confirmed, it
// lacks events that were: it called a batch a duplicate that it never had, or lost its log's end.
func (s *Sink) fatal(err error) error {
	if kafkaconn.Code(err) == ck.ErrOutOfOrderSequenceNumber {
		return syncd.Hint(fmt.Errorf("writing to Kafka: a broker lacks events that were confirmed (%w): %s", syncd.ErrLost, s.scrub(err)),
			"run it again: it begins from the start, and asks the index about every document; "+brokersHint)
	}
	return fmt.Errorf("writing to Kafka: the producer can't go on: %s", s.scrub(err))
}

// of is what event i has failed with, or nil.
func (w *write) of(i int) error {
	if w.failed == nil {
		return nil
	}
	return w.failed.Of(i)
}

func (w *write) fail(i int, err error) {
	if w.failed == nil {
		w.failed = &syncd.BatchError{}
	}
	w.failed.Fail(i, err)
}

// judgesBatches tells the errors by which a broker refuses a whole batch for one of its events, or may: it need not say for
// which one.
func judgesBatches(c ck.ErrorCode) bool {
	switch c {
	case ck.ErrMsgSizeTooLarge, ck.ErrRecordListTooLarge, ck.ErrInvalidMsgSize, ck.ErrInvalidMsg, ck.ErrInvalidRecord,
		ck.ErrInvalidTimestamp, ck.ErrInvalidDifferentRecord:
		return true
	}
	return false
}

// passes tells the errors of a broker that pass by themselves, and by which librdkafka gives an event up all the same.
func passes(c ck.ErrorCode) bool {
	switch c {
	case ck.ErrUnknown, ck.ErrNetworkException, ck.ErrBrokerNotAvailable, ck.ErrNotController, ck.ErrConcurrentTransactions,
		ck.ErrFencedLeaderEpoch, ck.ErrUnknownLeaderEpoch, ck.ErrOffsetNotAvailable, ck.ErrPreferredLeaderNotAvailable,
		ck.ErrEligibleLeadersNotAvailable, ck.ErrThrottlingQuotaExceeded:
		return true
	}
	return false
}

// resend sends again, until all are durable or have failed: each alone, the events that a broker refused with their batches
// (for size that happens to small events where the topic's max.message.bytes is less than max_message_bytes), and as new
// messages those that are only said to have arrived, or were refused for a reason that may pass: they may come twice, but are not
// lost.
func (w *write) resend(ctx context.Context, p producer) error {
	end := time.Now().Add(w.sink.config.DeliveryTimeout)
	pauses := retry.Pauses{Policy: retry.Policy{First: retryPause, Max: retryPauseMax}}
	for claims := 0; ; {
		if err := w.verify(ctx, p); err != nil {
			return err
		}
		if len(w.refused) > 0 { // once: from now on, what is refused has failed
			alone, err := w.sink.sendAlone()
			if err != nil {
				return err
			}
			p, w.client, w.alone = alone, alone, true
			w.sink.env.Retried("refused batch")
		}
		if len(w.claimed) > 0 {
			if claims++; claims > maxClaims {
				w.disbelieve()
			} else {
				w.sink.env.Retried("unproven acknowledgement")
			}
		}
		if len(w.passing) > 0 {
			if pause := pauses.Next(); time.Now().Add(pause).After(end) {
				w.giveUp()
			} else if err := wait.Pause(ctx, pause); err != nil {
				return fmt.Errorf("writing to Kafka: %w", err)
			} else {
				w.sink.env.Retried("refused for now")
			}
		}
		again := w.again()
		if len(again) == 0 {
			return nil
		}
		w.refused, w.claimed, w.passing = w.refused[:0], w.claimed[:0], w.passing[:0]
		w.client.produced.Add(int64(len(again)))
		for _, i := range again {
			if err := w.produce(ctx, p, i); err != nil {
				return err
			}
		}
		if err := w.await(ctx, p); err != nil {
			return err
		}
	}
}

// disbelieve gives up events that are said to have arrived, again and again without proof.
func (w *write) disbelieve() {
	for _, i := range w.claimed {
		w.fail(i, syncd.Hint(fmt.Errorf("topic %q acknowledged the event %d times, but never at a place where it can be: %w", *w.slots[i].topic, maxClaims+1, syncd.ErrUnavailable), brokersHint))
	}
	w.claimed = w.claimed[:0]
}

// giveUp fails the events that were refused for a reason that has not passed.
func (w *write) giveUp() {
	for _, d := range w.passing {
		w.failUnsent(d.index, d.err)
	}
	w.passing = w.passing[:0]
}

// again lists the events to send again in their order. With them go those of the same key that follow and have arrived: the
// last of a key's events must be the last to arrive, and one that comes twice does no harm.
func (w *write) again() []int {
	anew := slices.Concat(w.refused, w.claimed)
	for _, d := range w.passing {
		anew = append(anew, d.index)
	}
	if len(anew) == 0 {
		return nil
	}
	slices.Sort(anew)
	type document struct{ topic, key string }
	moved := make(map[document]bool, len(anew))
	var out []int
	for i := anew[0]; i < len(w.events); i++ {
		d := document{*w.slots[i].topic, string(w.events[i].Key)}
		switch {
		case len(anew) > 0 && anew[0] == i:
			anew = anew[1:]
			moved[d] = w.events[i].Key != nil // without a key there is no order
		case !moved[d] || w.of(i) != nil:
			continue
		}
		out = append(out, i)
	}
	return out
}
