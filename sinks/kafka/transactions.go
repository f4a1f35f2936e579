package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/internal/kafkaconn"
	"github.com/syncd-io/syncd/internal/retry"
	"github.com/syncd-io/syncd/internal/wait"
)

// transactionSlice is how long one of librdkafka's transaction calls, which can't be interrupted, may take at once. One that
// needs longer goes on in the background, and the next call resumes it.
const transactionSlice = 250 * time.Millisecond

// probePause is how long reports are awaited before it is asked whether the transaction has failed.
const probePause = 20 * time.Millisecond

// enterPause is the wait between two looks at whether the coordinator has registered a transaction: see enter.
const enterPause = 2 * time.Millisecond

// retryPause is the wait before an aborted transaction is tried anew; it doubles up to retryPauseMax.
const (
	retryPause    = 50 * time.Millisecond
	retryPauseMax = 5 * time.Second
)

var (
	// errAgain is wrapped by the error of a transaction that was, or must be, aborted and may be tried again.
	errAgain = errors.New("the transaction came to nothing")
	// errRefused is why a transaction is aborted that has a Commit with refused events in it: nothing of that Commit is to be
	// committed.
	errRefused = fmt.Errorf("events are refused: %w", errAgain)
	// errPurged is the error of an event that had not reached a broker when its transaction was aborted.
	errPurged = fmt.Errorf("its transaction was aborted: %w", syncd.ErrUnavailable)
)

// transactional is the sink of delivery: exactly_once. A producer has one transaction at a time, so calls that overlap share
// one.
//
// Every Write and Commit puts a call into the queue. One of the callers, the leader, holds the turn. It takes all calls that wait
// as its group, and takes the group through one transaction: fill, prove, commit (see transact), or abort (see undo). The other
// callers wait until their call is done or the turn is free. No other goroutine is involved.
//
// A leader whose context ends gives the turn back. It may leave behind an open transaction, or one whose commit was requested and
// not answered. The next leader continues from there, or Close does.
type transactional struct {
	*Sink
	turn chan struct{} // has room for one; whoever has put something in is the leader

	mu        sync.Mutex
	queue     []*call            // that no leader has taken yet
	interrupt context.CancelFunc // ends the leader's waiting, so that it looks at the contexts of its group

	// Only the leader uses these.
	ready    bool    // InitTransactions has succeeded
	open     bool    // a transaction is open and must be committed or aborted
	entry    *entry  // of the transaction that is open, or was last
	deciding bool    // the commit was requested, so that the transaction can't be aborted any more
	group    []*call // the calls that share the transaction
	broken   error   // why the producer can't go on; once set, every call fails with it
	doubted  bool    // a transaction was aborted because events in it were acknowledged without proof
	pauses   retry.Pauses

	cluster *laneCluster // in whose lanes' names transactions are; nil without one. It is set before the first call
}

// call is one Commit or Write. Until it is done, only the leader uses its events and marks.
type call struct {
	gone     func() error // the Err of the caller's context
	deadline time.Time    // by delivery_timeout
	marked   bool         // it is a Commit: it may only follow Marks, and with a refused event nothing of it is committed
	size     int          // number of events
	events   *write
	marks    *write
	left     syncd.BatchError // events that were refused for their own fault; later attempts leave them out
	alone    []int            // events that a broker refused with their batch; later attempts send them one by one
	learned  bool             // the last attempt added to left or alone, so that the next one is another
	cause    error            // why the last attempt was aborted
	tenures  []syncd.Tenure   // of the cluster, in whose name it is
	lapse    lapse            // of the membership in the cluster, as its attempts found it
	done     chan struct{}
	err      error // the outcome, when done is closed
}

// Abilities implements syncd.Sink.
func (t *transactional) Abilities() syncd.SinkAbilities {
	a := t.Sink.Abilities()
	a.Marks, a.PeekMarks, a.Commit, a.Cluster = t.readMarks, t.peekMarks, t.commit, t.openCluster
	return a
}

// Write implements syncd.Sink: a transaction without marks.
func (t *transactional) Write(ctx context.Context, changes []syncd.Change) error {
	b := t.encode(changes)
	defer t.batches.Put(b)
	return b.Settle(changes, t.submit(ctx, b.Events, &call{marks: t.newWrite(nil)}))
}

// commit is the ability Commit.
func (t *transactional) commit(ctx context.Context, changes []syncd.Change, marks []syncd.Mark) error {
	return t.commitAs(ctx, changes, &call{marks: t.marksWrite(marks), marked: true})
}

// commitAs commits changes together with the call's marks. A change that can't be encoded ends it before anything is sent.
func (t *transactional) commitAs(ctx context.Context, changes []syncd.Change, c *call) error {
	b := t.encode(changes)
	defer t.batches.Put(b)
	if err := b.Refused(); err != nil {
		return err
	}
	if err := t.submit(ctx, b.Events, c); err != nil {
		return err // its indices are those of changes, since each has an event; and nothing is committed, so nothing has a place
	}
	return b.Settle(changes, nil)
}

// submit queues a call with events and returns its outcome, leading if nobody else does. When it returns, nothing uses events any more.
func (t *transactional) submit(ctx context.Context, events []codec.Event, c *call) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("writing to Kafka: %w", err)
	}
	if len(events) == 0 && len(c.marks.events) == 0 {
		return nil
	}
	c.gone, c.deadline, c.done = ctx.Err, time.Now().Add(t.config.DeliveryTimeout), make(chan struct{})
	c.size, c.events = len(events), t.newWrite(events)
	if err := c.events.address(); err != nil {
		return err
	}
	defer t.recycle(c.events)
	t.mu.Lock()
	t.queue = append(t.queue, c)
	t.mu.Unlock()
	stop := context.AfterFunc(ctx, t.nudge)
	defer stop()
	for ended := ctx.Done(); ; {
		select {
		case <-c.done: // before any turn that may be free as well
			return c.err
		default:
		}
		select {
		case <-c.done:
		case t.turn <- struct{}{}:
			t.lead(ctx)
			<-t.turn
		case <-ended:
			if t.leave(c) {
				return fmt.Errorf("writing to Kafka: %w", ctx.Err())
			}
			ended = nil // a leader has it, and looks at the context itself
		}
	}
}

// nudge makes the leader look at the contexts of its group.
func (t *transactional) nudge() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.interrupt != nil {
		t.interrupt()
	}
}

// leave removes a call from the queue. It reports false if a leader has taken the call already.
func (t *transactional) leave(c *call) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.queue, c)
	if i < 0 {
		return false
	}
	t.queue = slices.Delete(t.queue, i, i+1)
	return true
}

// next takes the calls of the next transaction from the queue: all of them, except that a call with events to be sent one by one
// gets a transaction of its own, so that no other call has to wait for that.
func (t *transactional) next() []*call {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for n < len(t.queue) && (n == 0 || len(t.queue[0].alone) == 0 && len(t.queue[n].alone) == 0) {
		n++
	}
	group := slices.Clone(t.queue[:n])
	t.queue = slices.Delete(t.queue, 0, n)
	return group
}

// attend returns a context that ends when the context of the leader or of a call in the group does, or when the first of their
// deadlines has passed. The function that it returns must be called.
func (t *transactional) attend(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline := time.Now().Add(t.config.DeliveryTimeout)
	for _, c := range t.group {
		if c.deadline.Before(deadline) {
			deadline = c.deadline
		}
	}
	within, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	t.mu.Lock()
	t.interrupt = cancel
	t.mu.Unlock()
	if ctx.Err() != nil || slices.ContainsFunc(t.group, func(c *call) bool { return c.gone() != nil }) {
		cancel() // before interrupt was set
	}
	return within, func() {
		t.mu.Lock()
		t.interrupt = nil
		t.mu.Unlock()
		cancel()
	}
}

// lead continues the transaction whose commit was requested, if there is one, or else takes the waiting calls through a new one.
// It returns when some of the calls are done, or when ctx has ended.
func (t *transactional) lead(ctx context.Context) {
	if !t.deciding {
		if t.group = t.next(); len(t.group) == 0 {
			return
		}
	}
	within, stop := t.attend(ctx)
	defer stop()
	err := t.broken
	if err == nil {
		err = t.transact(within)
	}
	if err != nil {
		t.mourn()
	}
	switch {
	case err == nil:
		t.pauses.Reset()
		t.finish(func(c *call) (bool, error) { return true, c.left.OrNil() })
	case t.broken != nil:
		err := t.broken
		if t.deciding && t.cluster != nil { // to be fenced would mean that nothing is committed
			err = syncd.Hint(fmt.Errorf("it is not known whether the transaction is committed: %v", t.broken), "%s", syncd.HintOf(t.broken)) //nolint:errorlint // so
		}
		t.deciding = false
		t.finish(func(*call) (bool, error) { return true, err })
	case t.deciding:
		t.finish(func(c *call) (bool, error) {
			if within.Err() == nil { // asking again would not help
				return true, fmt.Errorf("committing a Kafka transaction: %s", t.scrub(err))
			}
			return t.end(c, errors.New("it is not known whether the transaction is committed"))
		})
	default:
		t.undo(within, err)
	}
}

// mourn notes that the producer can't go on, where that is so.
func (t *transactional) mourn() {
	fatal := t.main.GetFatalError()
	if fatal == nil || t.broken != nil {
		return
	}
	t.broken = t.lost(fatal)
	if t.cluster != nil {
		t.cluster.fail(t.broken)
	}
}

// finish ends the calls of the group of which outcome reports true, with outcome's error. The others stay in the group.
func (t *transactional) finish(outcome func(*call) (bool, error)) {
	t.group = slices.DeleteFunc(t.group, func(c *call) bool {
		done, err := outcome(c)
		if done {
			c.err = err
			close(c.done)
		}
		return done
	})
}

// end reports whether a call without an outcome must end now, since its context has ended or its deadline has passed, and with
// what error.
func (t *transactional) end(c *call, cause error) (bool, error) {
	switch {
	case c.gone() != nil:
		return true, fmt.Errorf("writing to Kafka: %w", c.gone())
	case !time.Now().Before(c.deadline):
		if cause == nil {
			cause = errors.New("no answer")
		}
		return true, syncd.Hint(fmt.Errorf("writing to Kafka: not committed within delivery_timeout, %s: %w: %w", t.config.DeliveryTimeout, syncd.ErrUnavailable, cause), brokersHint)
	}
	return false, nil
}

// undo aborts the group's transaction, which failed with err. It ends the calls that can't be tried again and puts the others back
// at the front of the queue.
func (t *transactional) undo(within context.Context, err error) {
	// Aborting gets a moment even if the context has ended, so that a transaction rarely stays open.
	if abortErr := t.abort(within, true); abortErr != nil && t.broken != nil {
		t.finish(func(*call) (bool, error) { return true, t.broken })
		return
	}
	again := errors.Is(err, errAgain)
	t.finish(func(c *call) (bool, error) {
		if err := c.learn(err); err != nil {
			return true, err
		}
		if err := c.left.OrNil(); c.marked && err != nil {
			return true, err
		}
		if done, err := t.end(c, c.cause); done {
			return true, err
		}
		return !again && within.Err() == nil, err
	})
	if again {
		t.env.Retried("transaction aborted")
	}
	t.mu.Lock()
	t.queue = append(t.group, t.queue...)
	t.mu.Unlock()
	t.group = nil
}

// learn notes what an aborted attempt, which failed with err, has shown about the call's events: the next attempt leaves out those
// that were refused for their own fault, and sends those alone that a broker refused with their batch. learn returns an error if
// another attempt can't succeed.
func (c *call) learn(err error) error {
	if c.lapse.over != nil {
		return c.lapse.over
	}
	if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, errRefused) && !errors.Is(err, errDisowned) {
		c.cause = err
	}
	w := c.events
	c.learned = len(w.refused) > 0
	for i := range c.size {
		w.events[i].Placement = syncd.Placement{} // it was that of the aborted attempt
		switch own := w.of(i); {
		case own == nil:
		case !errors.Is(own, syncd.ErrUnavailable):
			c.left.Fail(i, own)
			c.learned = true
		case !errors.Is(own, errPurged):
			c.cause = own
		}
	}
	if len(w.refused) > 0 {
		// A key's later events must not overtake it.
		w.refused, w.claimed, w.passing = append(w.refused, c.alone...), w.claimed[:0], w.passing[:0]
		c.alone = w.again()
	}
	for i := range c.marks.events {
		own := c.marks.of(i)
		switch {
		case own == nil || errors.Is(own, errPurged):
		case errors.Is(own, syncd.ErrUnavailable):
			c.cause = own
		default:
			return fmt.Errorf("writing the mark %q to Kafka: %w", c.marks.events[i].Key, own)
		}
	}
	if len(c.marks.refused) > 0 {
		return fmt.Errorf("writing marks to Kafka: topic %q refuses them", *c.marks.slots[0].topic)
	}
	return nil
}

// transact takes the group through a transaction. If its commit was requested before, only the answer is still to be awaited.
func (t *transactional) transact(ctx context.Context) error {
	if !t.deciding {
		if err := t.fill(ctx); err != nil {
			return err
		}
		// What the client itself refuses is known by now. What a broker refuses makes the attempt fail later.
		if slices.ContainsFunc(t.group, func(c *call) bool { return c.marked && c.events.failed != nil }) {
			return errRefused
		}
		for _, c := range t.group {
			for _, w := range []*write{c.events, c.marks} {
				if err := t.prove(ctx, w); err != nil {
					return err
				}
			}
		}
		if err := t.sign(ctx); err != nil {
			return err
		}
		t.deciding = true
	}
	if err := t.settle(ctx, t.main.CommitTransaction); err != nil {
		if k, ok := errors.AsType[ck.Error](err); ok && k.TxnRequiresAbort() {
			t.deciding = false
			return fmt.Errorf("%s: %w", t.scrub(err), errAgain)
		}
		return err
	}
	t.open, t.deciding = false, false
	for _, c := range t.group {
		_ = c.events.await(ctx, t.main) // all reports are here, and only tell where the events are
		if c.events.failed != nil {
			for _, i := range c.events.failed.Failed() {
				c.left.Fail(i, c.events.failed.Of(i))
			}
		}
	}
	return nil
}

// fill begins a transaction and puts the group's events and marks into it.
func (t *transactional) fill(ctx context.Context) error {
	if err := t.abort(ctx, false); err != nil {
		return err
	}
	if !t.ready {
		if slices.ContainsFunc(t.group, func(c *call) bool { return c.marked }) {
			return errors.New("writing to Kafka: the marks were not asked for before")
		}
		if err := t.initialize(ctx); err != nil {
			return err
		}
	}
	if err := t.rest(ctx); err != nil {
		return err
	}
	if err := t.disowned(); err != nil {
		return err
	}
	if err := t.main.BeginTransaction(); err != nil {
		return fmt.Errorf("beginning a Kafka transaction: %s", t.scrub(err))
	}
	t.open, t.entry = true, &entry{}
	for _, c := range t.group {
		t.main.produced.Add(int64(c.size + len(c.marks.events)))
		if err := t.produce(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// rest waits before an aborted transaction is tried again.
func (t *transactional) rest(ctx context.Context) error {
	if !slices.ContainsFunc(t.group, func(c *call) bool { return c.cause != nil && !c.learned }) {
		return nil // no call was aborted before, or the next attempt does something else than the last
	}
	return wait.Pause(ctx, t.pauses.Next())
}

// produce puts a call's events into the transaction, and then its marks. Events that are to be sent one by one come behind all
// others, each after the report of the one before it.
func (t *transactional) produce(ctx context.Context, c *call) error {
	w := c.events
	w.begin()
	c.marks.begin()
	w.entry, c.marks.entry = t.entry, t.entry
	alone := c.alone
	for i := range c.size {
		if len(alone) > 0 && alone[0] == i {
			alone = alone[1:]
			continue
		}
		if err := c.send(ctx, t.main, w, i); err != nil {
			return err
		}
	}
	if len(c.alone) > 0 {
		if err := t.await(ctx, w); err != nil {
			return err
		}
		if len(w.refused) > 0 {
			return fmt.Errorf("a broker refused events: %w", errAgain)
		}
		w.alone = true
	}
	for _, i := range c.alone {
		if err := c.send(ctx, t.main, w, i); err != nil {
			return err
		}
		// Nothing shares its batch: there is nothing else in the queue until its report is here.
		if err := t.await(ctx, w); err != nil {
			return err
		}
		if w.of(i) != nil && c.left.Of(i) == nil {
			return fmt.Errorf("%w: %w", w.of(i), errAgain)
		}
	}
	for i := range c.marks.events {
		if err := c.send(ctx, t.main, c.marks, i); err != nil {
			return err
		}
		if err := c.marks.of(i); err != nil {
			return fmt.Errorf("%w: %w", err, errAgain)
		}
	}
	return nil
}

// prove awaits the reports of a write in the transaction. CommitTransaction would await them as well, but would commit even if the
// report of an event does not prove that it arrived: see write.take.
func (t *transactional) prove(ctx context.Context, w *write) error {
	if err := t.await(ctx, w); err != nil {
		return err
	}
	if err := w.verify(ctx, t.main); err != nil {
		return fmt.Errorf("%w: %w", err, errAgain)
	}
	if len(w.claimed) > 0 {
		t.doubted = true
		return fmt.Errorf("events are acknowledged without saying where they are: %w: %w", syncd.ErrUnavailable, errAgain)
	}
	return nil
}

// await awaits the reports of a write in the transaction, as long as it has not failed: then librdkafka sends waiting events no
// more, and reports them only when the transaction is aborted.
func (t *transactional) await(ctx context.Context, w *write) error {
	for {
		moment, cancel := context.WithTimeout(ctx, probePause)
		err := w.await(moment, t.main)
		timeout := moment.Err() != nil
		cancel()
		if err == nil || !timeout || ctx.Err() != nil {
			return err
		}
		if err := t.failed(); err != nil {
			return err
		}
	}
}

// failed returns an error if the open transaction has failed in librdkafka. There is no function that tells its state, but
// BeginTransaction is refused while it is open, and the error tells.
func (t *transactional) failed() error {
	if k, ok := errors.AsType[ck.Error](t.main.BeginTransaction()); ok && (k.TxnRequiresAbort() || k.IsFatal()) {
		return fmt.Errorf("%s: %w", t.scrub(k), errAgain)
	}
	return nil
}

// entry tells whether the coordinator has registered a transaction: see enter.
type entry struct {
	sent     bool        // events were handed to librdkafka; only the leader uses it
	reported atomic.Bool // one of them has its report: the coordinator has registered the transaction, or the event has failed
}

// enter waits until the coordinator has registered the open transaction, since an abort before that can end the producer. While the
// coordinator still writes the markers of the last transaction, it answers a new one with CONCURRENT_TRANSACTIONS. librdkafka 2.14.0
// treats that answer like one that was lost: it asks the coordinator to abort a transaction that never began. The coordinator refuses
// with INVALID_TXN_STATE, which is fatal (librdkafka's issue 4849). enter returns at once if nothing was sent or the transaction has
// failed. It returns an error only when ctx ends.
func (t *transactional) enter(ctx context.Context) error {
	for t.entry.sent && !t.entry.reported.Load() && t.failed() == nil {
		if err := wait.Pause(ctx, enterPause); err != nil {
			return err
		}
	}
	return nil
}

// send puts event i of w into the transaction, unless an earlier attempt has shown that it is refused. An event that the client
// refuses for its own fault is noted in w; if the client refuses it for another reason, such as a topic that is gone or a
// transaction that has failed, the attempt ends.
func (c *call) send(ctx context.Context, p producer, w *write, i int) error {
	if out := w == c.events && c.left.Of(i) != nil; out {
		return nil
	}
	if err := w.produce(ctx, p, i); err != nil {
		return err
	}
	if len(w.refused) > 0 {
		return fmt.Errorf("a broker refused events: %w", errAgain)
	}
	if err := w.of(i); errors.Is(err, syncd.ErrUnavailable) {
		return fmt.Errorf("%w: %w", err, errAgain)
	}
	return nil
}

// abort aborts the transaction if one is open; then none of its events is under way any more. With insist it takes a moment even
// if ctx has ended.
func (t *transactional) abort(ctx context.Context, insist bool) error {
	if !t.open {
		return nil
	}
	if insist && ctx.Err() != nil {
		moment, cancel := context.WithTimeout(context.WithoutCancel(ctx), transactionSlice)
		defer cancel()
		ctx = moment
	}
	if err := t.enter(ctx); err != nil {
		return err // the transaction stays open; the next leader or Close aborts it
	}
	t.entry.sent = false // once begun, an abort need not wait again
	if err := t.settle(ctx, t.main.AbortTransaction); err != nil {
		t.mourn()
		return err
	}
	t.open = false
	for _, c := range t.group {
		// The reports tell why events were refused. If some are missing, write.begin makes sure that they are ignored later.
		_ = c.events.await(ctx, t.main)
		_ = c.marks.await(ctx, t.main)
	}
	return nil
}

// settle calls one of librdkafka's transaction functions until it has succeeded, failed for good, or ctx has ended.
func (t *transactional) settle(ctx context.Context, f func(context.Context) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		slice, cancel := context.WithTimeout(ctx, transactionSlice)
		err := f(slice)
		cancel()
		k, ok := errors.AsType[ck.Error](err)
		if !ok || k.IsFatal() || k.TxnRequiresAbort() || !k.IsRetriable() && !k.IsTimeout() {
			return err
		}
		if !k.IsTimeout() { // which is the slice's end
			t.env.Retried("transaction request")
			_ = wait.Pause(ctx, queueFullPause) // the end of ctx is looked at next
		}
	}
}

// initialize makes this producer the only one of its transactional.id: transactions that an older one left are settled first.
func (t *transactional) initialize(ctx context.Context) error {
	err := t.settle(ctx, t.main.InitTransactions)
	switch k, ok := errors.AsType[ck.Error](err); {
	case err == nil:
		t.ready = true
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("taking over the Kafka transactions of %q: %w", t.config.Transactions.ID, err)
	case ok && k.Code() == ck.ErrTransactionalIDAuthorizationFailed:
		return syncd.Hint(fmt.Errorf("taking over the Kafka transactions of %q: %s", t.config.Transactions.ID, t.scrub(err)),
			"grant this login the operations WRITE and DESCRIBE on the transactional id")
	case ok && k.Code() == ck.ErrInvalidTransactionTimeout:
		return syncd.Hint(fmt.Errorf("taking over the Kafka transactions of %q: %s", t.config.Transactions.ID, t.scrub(err)),
			"lower sink.kafka.transactions.timeout, %s, to the brokers' transaction.max.timeout.ms", t.config.Transactions.Timeout)
	}
	return fmt.Errorf("taking over the Kafka transactions of %q: %s", t.config.Transactions.ID, t.scrub(err))
}

// lost is the error of a producer that can't go on.
func (t *transactional) lost(fatal error) error {
	switch kafkaconn.Code(fatal) {
	case ck.ErrFenced, ck.ErrProducerFenced, ck.ErrInvalidProducerEpoch, ck.ErrInvalidTxnState, ck.ErrInvalidProducerIDMapping:
		if t.cluster != nil { // the name of a process is its own
			return syncd.Hint(fmt.Errorf("writing to Kafka in transactions of %q: one took longer than %s: %w", t.config.Transactions.ID, t.config.Transactions.Timeout, syncd.ErrFenced),
				"that happens when a process stands still, or the brokers do; it goes on when it has joined the cluster anew")
		}
		if c := kafkaconn.Code(fatal); c == ck.ErrInvalidTxnState || c == ck.ErrInvalidProducerIDMapping {
			// So it may be after a coordinator was lost. The next producer settles the transaction, and finds by the marks what came of it.
			return syncd.Hint(fmt.Errorf("writing to Kafka: the brokers hold the transaction to be in another state than this producer does: %w: %s", syncd.ErrUnavailable, t.scrub(fatal)),
				brokersHint)
		}
		return syncd.Hint(fmt.Errorf("writing to Kafka in transactions of %q: %w", t.config.Transactions.ID, syncd.ErrFenced),
			"another run with the same sink.kafka.transactions.id has begun; if there is none, a transaction took longer than sink.kafka.transactions.timeout, %s",
			t.config.Transactions.Timeout)
	}
	err := t.fatal(fatal)
	switch {
	case !errors.Is(err, syncd.ErrLost):
		return err
	case t.doubted: // what the broker misses is of the transaction that was aborted
		return syncd.Hint(fmt.Errorf("writing to Kafka: a broker acknowledged events that it does not have; their transaction was aborted: %s", t.scrub(fatal)),
			"run it again: it resumes; "+brokersHint)
	}
	return syncd.Hint(err, "run it again with --fresh: it asks the index about every document; "+brokersHint) // the marks can't be written any more
}

// Close aborts a transaction that is open. One whose commit was asked for is given a moment to end.
func (t *transactional) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var err error
	switch {
	case t.broken != nil: // the brokers have ended it
	case t.deciding:
		err = t.settle(ctx, t.main.CommitTransaction)
	default:
		err = t.abort(ctx, false)
	}
	if err != nil {
		t.logger.Warn("a Kafka transaction was left open; the brokers abort it after its timeout", "timeout", t.config.Transactions.Timeout, "error", t.scrub(err))
	}
	return t.Sink.Close()
}
