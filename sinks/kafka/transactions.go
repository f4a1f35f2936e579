package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/retry"
)

// transactionSlice is how long one of librdkafka's transaction calls, which can't be interrupted, may take at once. One that
// needs longer goes on in the background, and the next call resumes it.
const transactionSlice = 250 * time.Millisecond

// probePause is how long reports are awaited before it is asked whether the transaction has failed.
const probePause = 20 * time.Millisecond

// retryPause is the wait before an aborted transaction is tried anew; it doubles up to retryPauseMax.
const (
	retryPause    = 50 * time.Millisecond
	retryPauseMax = 5 * time.Second
)

var (
	_ syncd.Committer = (*transactional)(nil)

	// errAgain is wrapped by errors of a transaction that came to nothing and may be tried anew.
	errAgain = errors.New("the transaction came to nothing")
	// errRefused is why a transaction is aborted that has a Commit with refused events in it: then nothing of that is committed.
	errRefused = fmt.Errorf("events are refused: %w", errAgain)
	// errPurged is what an event of an aborted transaction ends with that never reached a broker.
	errPurged = fmt.Errorf("its transaction was aborted: %w", syncd.ErrUnavailable)
)

// transactional is the sink of delivery: exactly_once. A producer has one transaction at a time, so calls that overlap share
// one: each queues, and whoever gets the turn leads all that wait by then through a transaction, while the others wait for
// the outcome. There is no goroutine beside them. A leader whose context ends gives the turn back, and what it leaves (calls
// to be served, a transaction to be aborted, a commit whose answer is awaited) is the next one's, or Close's.
type transactional struct {
	*Sink
	turn chan struct{} // holds one thing while somebody leads

	mu        sync.Mutex
	queue     []*call
	interrupt context.CancelFunc // makes the leader look at its calls' contexts

	// The leader's alone:
	ready    bool    // transactions are initialized
	open     bool    // a transaction is open and must be committed or aborted
	deciding bool    // the commit was asked for, so that the transaction can't be aborted any more
	group    []*call // that share it
	broken   error   // why the producer can't go on
	pauses   retry.Pauses
}

// call is one Commit or Write. While it waits its events are the leader's.
type call struct {
	gone     func() error // the caller's context's Err
	deadline time.Time
	marked   bool // it is a Commit, which may only follow Marks
	size     int  // number of events
	events   *write
	marks    *write
	left     syncd.BatchError // events that are refused for their own fault and left out
	alone    []int            // events that a broker refused with their batch: they are sent one by one
	cause    error            // why the last attempt came to nothing
	done     chan struct{}
	err      error // when done
}

// Write implements syncd.Sink: a transaction without marks.
func (t *transactional) Write(ctx context.Context, events []syncd.Event) error {
	return t.submit(ctx, events, nil, false)
}

// Commit implements syncd.Committer.
func (t *transactional) Commit(ctx context.Context, events []syncd.Event, marks []syncd.Mark) error {
	return t.submit(ctx, events, marks, true)
}

func (t *transactional) submit(ctx context.Context, events []syncd.Event, marks []syncd.Mark, marked bool) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("writing to Kafka: %w", err)
	}
	if len(events) == 0 && len(marks) == 0 {
		return nil
	}
	c := &call{
		gone: ctx.Err, deadline: time.Now().Add(t.config.DeliveryTimeout), marked: marked, size: len(events),
		events: t.newWrite(events), marks: t.marksWrite(marks), done: make(chan struct{}),
	}
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

// nudge has the leader look at its calls' contexts.
func (t *transactional) nudge() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.interrupt != nil {
		t.interrupt()
	}
}

// leave takes a call back that nobody has begun to serve.
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

// next takes the calls that share the next transaction: all that wait, but a call with events that a broker has refused
// goes by itself, so that nobody else waits for the search.
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

// attend returns a context that ends when that of the leader or of a call in the group does, or the first of their
// deadlines has come.
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

// lead goes on with the transaction that was left, or leads the calls that wait through a new one. It returns when there is
// an outcome for some of them or the context has ended.
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
	if fatal := t.main.GetFatalError(); err != nil && t.broken == nil && fatal != nil {
		t.broken = t.lost(fatal)
	}
	switch {
	case err == nil:
		t.pauses.Reset()
		t.finish(func(c *call) (bool, error) { return true, c.left.OrNil() })
	case t.broken != nil:
		t.deciding = false
		t.finish(func(*call) (bool, error) { return true, t.broken })
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

// finish ends the calls of the group for which outcome says so; the others stay.
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

// end says whether a call without an outcome must end now, and with what error.
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

// undo aborts a transaction that came to nothing and puts the calls that may be tried anew back into the queue, in front.
func (t *transactional) undo(within context.Context, err error) {
	// Where the context has ended a moment is spent all the same, so that no transaction stays open in the usual case.
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

// learn takes from an aborted attempt what it tells about the call's events: those that are refused by themselves stay out of
// the next, and those that a broker refused with their batch are sent alone. Its error is one that no attempt can mend.
func (c *call) learn(err error) error {
	if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, errRefused) {
		c.cause = err
	}
	w := c.events
	for i := range c.size {
		w.events[i].Position = syncd.Position{} // of an attempt that does not count
		switch own := w.of(i); {
		case own == nil:
		case !errors.Is(own, syncd.ErrUnavailable):
			c.left.Fail(i, own)
		case !errors.Is(own, errPurged):
			c.cause = own
		}
	}
	if len(w.refused) > 0 {
		// A key's later events must not overtake it.
		w.refused, w.claimed = append(w.refused, c.alone...), w.claimed[:0]
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

// transact leads the group through a transaction, from wherever it was left.
func (t *transactional) transact(ctx context.Context) error {
	if !t.deciding {
		if err := t.fill(ctx); err != nil {
			return err
		}
		// What the client refuses is known by now, and what a broker refuses makes the attempt fail.
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
		_ = c.events.await(ctx, t.main) // the reports have come in, and only tell the positions
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
	if err := t.main.BeginTransaction(); err != nil {
		return fmt.Errorf("beginning a Kafka transaction: %s", t.scrub(err))
	}
	t.open = true
	for _, c := range t.group {
		t.main.produced.Add(int64(c.size + len(c.marks.events)))
		if err := c.produce(ctx, t.main); err != nil {
			return err
		}
	}
	return nil
}

// rest waits before a transaction that was aborted is tried anew.
func (t *transactional) rest(ctx context.Context) error {
	if !slices.ContainsFunc(t.group, func(c *call) bool { return c.cause != nil && len(c.alone) == 0 }) {
		return nil // nobody was disappointed, or it is known what to do otherwise
	}
	return retry.Sleep(ctx, t.pauses.Next())
}

// produce puts a call's events into the transaction, and then its marks.
func (c *call) produce(ctx context.Context, p producer) error {
	w := c.events
	w.begin()
	c.marks.begin()
	alone := c.alone
	for i := range c.size {
		if len(alone) > 0 && alone[0] == i {
			alone = alone[1:]
			continue
		}
		if err := c.send(ctx, p, w, i); err != nil {
			return err
		}
	}
	if len(c.alone) > 0 {
		if err := w.await(ctx, p); err != nil {
			return err
		}
		if len(w.refused) > 0 {
			return fmt.Errorf("a broker refused events: %w", errAgain)
		}
		w.alone = true
	}
	for _, i := range c.alone {
		if err := c.send(ctx, p, w, i); err != nil {
			return err
		}
		// Nothing shares its batch: there is nothing else in the queue until its report is here.
		if err := w.await(ctx, p); err != nil {
			return err
		}
		if w.of(i) != nil && c.left.Of(i) == nil {
			return fmt.Errorf("%w: %w", w.of(i), errAgain)
		}
	}
	for i := range c.marks.events {
		if err := c.send(ctx, p, c.marks, i); err != nil {
			return err
		}
		if err := c.marks.of(i); err != nil {
			return fmt.Errorf("%w: %w", err, errAgain)
		}
	}
	return nil
}

// prove awaits the reports of what is in the transaction. Committing would await them as well, but then it would be too late
// for an event of which there is only a claim that it arrived: see write.take.
func (t *transactional) prove(ctx context.Context, w *write) error {
	for {
		moment, cancel := context.WithTimeout(ctx, probePause)
		err := w.await(moment, t.main)
		timeout := moment.Err() != nil
		cancel()
		switch {
		case err == nil && len(w.claimed) > 0:
			return fmt.Errorf("events are acknowledged without saying where they are: %w: %w", syncd.ErrUnavailable, errAgain)
		case err == nil || !timeout || ctx.Err() != nil:
			return err
		}
		// What waits in a transaction that has failed is not sent any more, and reported only when it is aborted. To begin
		// another one is refused, and the refusal tells what has become of this one.
		if k, ok := errors.AsType[ck.Error](t.main.BeginTransaction()); ok && (k.TxnRequiresAbort() || k.IsFatal()) {
			return fmt.Errorf("%s: %w", t.scrub(k), errAgain)
		}
	}
}

// send puts one event into the transaction. What the client itself refuses never gets there; for a topic that is gone or a
// transaction that has failed meanwhile, it is the attempt that came to nothing.
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

// abort ends a transaction that is open, after which nothing of it is under way.
func (t *transactional) abort(ctx context.Context, insist bool) error {
	if !t.open {
		return nil
	}
	if insist && ctx.Err() != nil {
		moment, cancel := context.WithTimeout(context.WithoutCancel(ctx), transactionSlice)
		defer cancel()
		ctx = moment
	}
	if err := t.settle(ctx, t.main.AbortTransaction); err != nil {
		if fatal := t.main.GetFatalError(); fatal != nil {
			t.broken = t.lost(fatal)
		}
		return err
	}
	t.open = false
	for _, c := range t.group {
		// The reports tell why events were refused. A write whose reports have not come in is not used again: see its begin.
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
			_ = retry.Sleep(ctx, queueFullPause) // the end of ctx is looked at next
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
	switch code(fatal) {
	case ck.ErrFenced, ck.ErrProducerFenced, ck.ErrInvalidProducerEpoch:
		return syncd.Hint(fmt.Errorf("writing to Kafka in transactions of %q: %w", t.config.Transactions.ID, syncd.ErrFenced),
			"another run with the same sink.kafka.transactions.id has begun; if there is none, a transaction took longer than sink.kafka.transactions.timeout, %s",
			t.config.Transactions.Timeout)
	}
	return fmt.Errorf("writing to Kafka: the producer can't go on: %s", t.scrub(fatal))
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
