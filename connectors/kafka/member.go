package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/kafkaconn"
	"github.com/syncd-io/syncd/internal/wait"
)

const (
	// pollTime is how long a poll waits for something to happen.
	pollTime = 100 * time.Millisecond
	// idleInterval is how often it is said that there is nothing.
	idleInterval = time.Second
	// busyAfter is how long a batch may wait for the reader before the brokers are told to send no more.
	busyAfter = time.Second
	// awayAfter is how long all brokers may be away.
	awayAfter = 30 * time.Second
	// joinTime is how long a member that gets no partition may have to wait until that is known.
	joinTime = 30 * time.Second
)

// member is a consumer, and what is known of the partitions that it has. One goroutine polls it from its beginning to its end.
type member struct {
	*ck.Consumer
	s        *source
	admin    *ck.AdminClient
	troubles *kafkaconn.Troubles
	work     sync.WaitGroup
	quit     chan struct{}     // closed when polling ends
	out      chan polled       // what was polled, for the readers
	failed   chan error        // why reading can't go on; has room for one
	asks     chan func() error // what is done by the goroutine that polls

	committing sync.Mutex // held while offsets are committed, and while partitions are given away

	mu         sync.Mutex
	changed    chan struct{} // closed and made again whenever something is confirmed
	partitions map[place]*partition
	given      []given // that is not confirmed, in order
	seq        uint64  // of the last in given
	limits     limits
	forgiving  bool // where the group's offset is gone, what is still there is read
	subscribed time.Time
	joined     bool // the group has given out its partitions
	closing    bool

	// These are the polling goroutine's own.
	away   time.Time // since when all brokers are away
	spoken time.Time // when something was last handed out
}

// limits are those of a batch.
type limits struct{ records, bytes int }

// partition is one that this member has, from the time at which it got it until it gives it away.
type partition struct {
	place
	next      int64 // behind what was given out; -1 is not known
	confirmed int64 // behind what the sink has confirmed; -1 is nothing
	committed int64 // as the group has it, as far as is known; -1 is not
	end       int64 // where it ended when it was last read to its end; -1: there is more
	gone      bool  // it was given away
	deleted   []byte
}

// polled is some records, or the news that there are none.
type polled struct {
	records []record
	idle    []*partition // that have been read to their ends, where there are no records
}

type record struct {
	*ck.Message
	of *partition
}

// given is what was given out up to some point: the offsets behind it.
type given struct {
	seq    uint64
	marks  []mark
	passed bool // there is nothing to confirm but what came before
}

type mark struct {
	of   *partition
	next int64
}

func (s *source) newMember(conf ck.ConfigMap) (*member, error) {
	c, err := ck.NewConsumer(&conf)
	if err != nil {
		return nil, err
	}
	m := &member{
		Consumer: c, s: s, quit: make(chan struct{}), out: make(chan polled), failed: make(chan error, 1), asks: make(chan func() error),
		changed: make(chan struct{}), partitions: map[place]*partition{},
		troubles: kafkaconn.NewTroubles(s.logger, s.scrubber, func(text string) { s.contact.Failed(text, 0) }),
	}
	if m.admin, err = ck.NewAdminClientFromConsumer(c); err != nil {
		_ = c.Close()
		return nil, err
	}
	logs := c.Logs()
	m.work.Go(m.poll)
	m.work.Go(func() {
		for {
			select {
			case l := <-logs:
				m.troubles.Log(l)
			case <-m.quit:
				return
			}
		}
	})
	return m, nil
}

// close commits what is confirmed and leaves the group.
func (m *member) close() error {
	m.mu.Lock()
	m.closing = true
	m.mu.Unlock()
	close(m.quit)
	m.work.Wait()
	m.s.contact.Close()
	// While the consumer closes, it gives its partitions away, which commits what is confirmed.
	return m.Close()
}

// fail ends the read.
func (m *member) fail(err error) {
	select {
	case m.failed <- err:
	default: // there is a reason already
	}
}

// subscribe has the member join its group. A member that is in it already joins again.
func (m *member) subscribe(ctx context.Context, l limits, forgiving bool) error {
	done := make(chan error, 1)
	ask := func() error {
		m.mu.Lock()
		again := !m.subscribed.IsZero()
		m.subscribed, m.joined, m.limits, m.forgiving = time.Now(), false, l, forgiving
		m.mu.Unlock()
		select {
		case <-m.failed: //nolint:errcheck // of an earlier read
		default:
		}
		m.away = time.Time{}
		if again {
			if err := m.Unsubscribe(); err != nil {
				return err
			}
			for range 50 { // its partitions are given away by polling
				if m.Poll(int(pollTime / time.Millisecond)); m.empty() {
					break
				}
			}
		}
		return m.SubscribeTopics(m.s.cfg.Topics, m.rebalance)
	}
	select {
	case m.asks <- func() error { done <- ask(); return nil }:
	case <-ctx.Done():
		return ctx.Err()
	}
	return <-done
}

func (m *member) empty() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.partitions) == 0
}

// poll polls until the member is closed.
func (m *member) poll() {
	for {
		select {
		case <-m.quit:
			return
		case f := <-m.asks:
			_ = f() // the caller of f has its error
		default:
		}
		m.mu.Lock()
		l := m.limits
		m.mu.Unlock()
		var b polled
		bytes := 0
		for patience := pollTime; ; patience = 0 {
			event := m.Poll(int(patience / time.Millisecond))
			if event == nil {
				break
			}
			r, ok := m.see(event)
			if !ok {
				if patience > 0 { // it may have been the last for a while
					break
				}
				continue
			}
			b.records = append(b.records, r)
			if bytes += len(r.Value) + len(r.Key); len(b.records) >= max(l.records, 1) || l.bytes > 0 && bytes >= l.bytes {
				break
			}
		}
		if len(b.records) == 0 {
			if b.idle = m.ended(); b.idle == nil {
				m.watch()
				continue
			}
		}
		m.hand(b)
	}
}

// see takes note of an event; ok is true for a record.
func (m *member) see(event ck.Event) (r record, ok bool) {
	switch e := event.(type) {
	case *ck.Message:
		m.answered()
		if e.TopicPartition.Error != nil {
			m.trouble(e.TopicPartition.Error, &e.TopicPartition)
			return r, false
		}
		m.mu.Lock()
		p := m.partitions[placeOf(e.TopicPartition)]
		if p != nil {
			p.end = -1
		}
		m.mu.Unlock()
		if p == nil { // it was given away since
			return r, false
		}
		return record{e, p}, true
	case ck.PartitionEOF:
		m.answered()
		m.mu.Lock()
		if p := m.partitions[placeOf(ck.TopicPartition(e))]; p != nil {
			p.end = int64(e.Offset)
		}
		m.mu.Unlock()
	case ck.Error:
		m.trouble(e, nil)
	}
	return r, false
}

// answered notes that a broker was heard of.
func (m *member) answered() {
	m.away = time.Time{}
	m.s.contact.Answered()
}

// ended returns the partitions if all of them were read to their ends, and that is to be said again. It is not nil then.
func (m *member) ended() []*partition {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.subscribed.IsZero() || time.Since(m.spoken) < idleInterval || !m.joined && time.Since(m.subscribed) < joinTime {
		return nil
	}
	out := []*partition{}
	for _, p := range m.partitions {
		if p.end < 0 {
			return nil
		}
		out = append(out, p)
	}
	return out
}

// hand gives a batch to a reader. It polls on until one takes the batch, so that the group keeps this member.
func (m *member) hand(b polled) {
	waited, paused := time.Now(), []ck.TopicPartition(nil)
	for {
		tick := time.NewTimer(pollTime)
		select {
		case m.out <- b:
			tick.Stop()
			m.spoken = time.Now()
			if len(paused) > 0 {
				m.resume(paused)
			}
			return
		case f := <-m.asks:
			tick.Stop()
			_ = f() // the caller of f has its error
			if m.empty() || len(b.records) == 0 {
				return // it was polled for an earlier read
			}
			continue
		case <-m.quit:
			tick.Stop()
			return
		case <-tick.C:
		}
		if time.Since(waited) < busyAfter {
			continue
		}
		if fresh := m.unpaused(paused); len(fresh) > 0 {
			if err := m.Pause(fresh); err == nil {
				paused = append(paused, fresh...)
			}
		}
		// What comes now was on its way before the pause.
		if r, ok := m.see(m.Poll(0)); ok {
			b.records = append(b.records, r)
		}
	}
}

// unpaused are the partitions that are not among those paused.
func (m *member) unpaused(paused []ck.TopicPartition) (out []ck.TopicPartition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for at := range m.partitions {
		if !slices.ContainsFunc(paused, func(tp ck.TopicPartition) bool { return placeOf(tp) == at }) {
			out = append(out, ck.TopicPartition{Topic: &at.topic, Partition: at.partition})
		}
	}
	return out
}

func (m *member) resume(paused []ck.TopicPartition) {
	m.mu.Lock()
	paused = slices.DeleteFunc(paused, func(tp ck.TopicPartition) bool { return m.partitions[placeOf(tp)] == nil })
	m.mu.Unlock()
	if len(paused) == 0 {
		return
	}
	if err := m.Resume(paused); err != nil {
		m.fail(m.s.asked("reading on", err))
	}
}

// trouble judges an error of the consumer; at is the partition that it is about, if it is about one.
func (m *member) trouble(err error, at *ck.TopicPartition) {
	k, _ := errors.AsType[ck.Error](err)
	topics := "reading " + m.s.cfg.describe()
	switch code := kafkaconn.Code(err); {
	case code == ck.ErrAutoOffsetReset || code == ck.ErrOffsetOutOfRange || code == ck.ErrNoOffset:
		m.outOfRange(err, at)
		return
	case code == ck.ErrUnknownTopicOrPart || code == ck.ErrUnknownTopic:
		m.unknownTopic(at)
		return
	case code == ck.ErrTopicAuthorizationFailed || code == ck.ErrGroupAuthorizationFailed || code == ck.ErrClusterAuthorizationFailed:
		m.fail(m.s.forbidden(topics, err))
		return
	case code == ck.ErrAllBrokersDown:
		if m.away.IsZero() {
			m.away = time.Now()
		}
	case code == ck.ErrMaxPollExceeded:
		return // its partitions are lost, and it joins again
	case k.IsFatal():
		m.fail(fmt.Errorf("%s: %s: %w", topics, m.s.scrub(err), syncd.ErrUnavailable))
		return
	case code == ck.ErrInvalidSessionTimeout:
		m.fail(syncd.Hint(fmt.Errorf("%s: %s", topics, m.s.scrub(err)),
			"set %s.session_timeout, %s, between the brokers' group.min.session.timeout.ms and group.max.session.timeout.ms", section, m.s.cfg.SessionTimeout))
		return
	case code == ck.ErrInconsistentGroupProtocol:
		m.fail(syncd.Hint(fmt.Errorf("%s: %s", topics, m.s.scrub(err)),
			"other members of the group assign partitions in another way than cooperative-sticky: give this job a "+section+".group_id of its own, or end them"))
		return
	}
	m.troubles.Meet(k)
}

// watch ends the read where all brokers were away for long. That they are back is no event, so they are asked.
func (m *member) watch() {
	if m.away.IsZero() || time.Since(m.away) < awayAfter {
		return
	}
	if _, err := m.GetMetadata(nil, false, int(time.Second/time.Millisecond)); err == nil {
		m.answered()
		return
	}
	m.fail(fmt.Errorf("reading %s: no broker of %s could be reached for %s: %w", m.s.cfg.describe(), m.s.cfg.BootstrapServers, awayAfter, syncd.ErrUnavailable))
	m.away = time.Time{}
}

// unknownTopic ends the read where a topic that is named is gone. Brokers may just not know of it yet.
func (m *member) unknownTopic(at *ck.TopicPartition) {
	ctx, cancel := context.WithTimeout(context.Background(), m.s.cfg.ConnectTimeout)
	defer cancel()
	names := m.s.cfg.Topics
	if at != nil {
		names = []string{*at.Topic}
	}
	for _, name := range names {
		if isPattern(name) || !slices.Contains(m.s.cfg.Topics, name) {
			continue
		}
		if _, err := m.s.topic(ctx, name); err != nil && !errors.Is(err, syncd.ErrUnavailable) {
			m.fail(err)
			return
		}
	}
}

// outOfRange ends the read, or goes on at the beginning of a partition's log, where the group's offset is not in it any more. librdkafka does
// not always say which partition that is.
func (m *member) outOfRange(err error, at *ck.TopicPartition) {
	m.mu.Lock()
	stands, forgiving := map[place]int64{}, m.forgiving
	for _, p := range m.partitions {
		if p.next >= 0 && (at == nil || placeOf(*at) == p.place) {
			stands[p.place] = p.next
		}
	}
	m.mu.Unlock()
	found := at != nil && len(stands) == 0 // it was given away since
	for p, next := range stands {
		low, high, asked := m.QueryWatermarkOffsets(p.topic, p.partition, int(m.s.cfg.ConnectTimeout/time.Millisecond))
		switch {
		case asked != nil:
			m.fail(m.s.asked("finding where "+p.String()+" begins", asked))
			return
		case next >= low && next <= high:
			continue
		case !forgiving:
			m.fail(&lostError{fmt.Sprintf("%s: the group %s stands at offset %d, and the log has %d to %d", p, m.s.cfg.GroupID, next, low, high)})
			return
		}
		found = true
		m.s.logger.Warn("records were lost: the group's offset is not in the log any more; reading goes on with what is still there",
			"topic", p.topic, "partition", p.partition, "stood_at", next, "log_begins_at", low)
		if err := m.restart(p, low); err != nil {
			m.fail(m.s.asked("reading on", err))
			return
		}
	}
	if !found {
		m.fail(&lostError{fmt.Sprintf("reading %s: %s", m.s.cfg.describe(), m.s.scrub(err))})
	}
}

// restart goes on with a partition at the beginning of its log, which may be before where the group stood: the topic was made again. What
// was read of it before is not confirmed any more.
func (m *member) restart(p place, low int64) error {
	m.mu.Lock()
	if old := m.partitions[p]; old != nil {
		old.gone = true
		m.partitions[p] = &partition{place: p, next: low, confirmed: -1, committed: -1, end: -1}
	}
	m.mu.Unlock()
	at := []ck.TopicPartition{{Topic: &p.topic, Partition: p.partition, Offset: ck.Offset(low)}}
	if err := m.IncrementalUnassign(at); err != nil {
		return err
	}
	return m.IncrementalAssign(at)
}

// lostError is a lost position.
type lostError struct{ text string }

func (e *lostError) Error() string { return e.text }

// Unwrap says what it means.
func (e *lostError) Unwrap() error { return syncd.ErrPositionLost }

// rebalance is called by a poll when partitions come and go.
func (m *member) rebalance(_ *ck.Consumer, event ck.Event) error {
	var err error
	switch e := event.(type) {
	case ck.AssignedPartitions:
		err = m.assign(e.Partitions)
	case ck.RevokedPartitions:
		err = m.revoke(e.Partitions)
	}
	if err != nil {
		m.fail(m.s.asked("taking part in the group "+m.s.cfg.GroupID, err))
	}
	return nil
}

// assign takes partitions, from where the group stands. Those of which it has no offset are new: see source.begin.
func (m *member) assign(partitions []ck.TopicPartition) error {
	stands, err := m.Committed(partitions, int(m.s.cfg.ConnectTimeout/time.Millisecond))
	if err != nil {
		m.fail(m.s.asked("asking where the group "+m.s.cfg.GroupID+" stands", err))
		stands = nil // without partitions it waits for its end
	}
	m.mu.Lock()
	m.joined = true
	for i := range stands {
		at := &stands[i]
		p := &partition{place: placeOf(*at), next: -1, confirmed: -1, committed: -1, end: -1}
		if at.Offset >= 0 {
			p.next, p.committed = int64(at.Offset), int64(at.Offset)
		} else {
			at.Offset = ck.OffsetBeginning
		}
		at.Error, at.Metadata = nil, nil
		m.partitions[p.place] = p
	}
	m.mu.Unlock()
	if len(stands) > 0 {
		m.s.logger.Debug("the group gave this process partitions", "partitions", len(stands), "group", m.s.cfg.GroupID)
	}
	return m.IncrementalAssign(stands)
}

// revoke gives partitions away, once what is under way of them is confirmed and committed.
func (m *member) revoke(partitions []ck.TopicPartition) error {
	lost := m.AssignmentLost()
	var own []*partition
	m.mu.Lock()
	for _, at := range partitions {
		if p := m.partitions[placeOf(at)]; p != nil {
			own = append(own, p)
		}
	}
	closing := m.closing
	m.mu.Unlock()
	if lost {
		m.s.logger.Warn("the group took partitions away from this process, since it was not heard of: what was under way comes again", "partitions", len(own), "group", m.s.cfg.GroupID)
	} else if !closing && !m.settled(own) {
		m.s.logger.Warn("partitions were given away before everything of them was confirmed: some of it comes again", "partitions", len(own), "waited", m.s.cfg.RebalanceTimeout)
	}
	m.committing.Lock() // nothing is committed of them any more
	defer m.committing.Unlock()
	if !lost {
		if err := m.commitNow(own); err != nil {
			m.s.logger.Warn("the offsets of partitions that are given away could not be committed: what was confirmed comes again", "error", m.s.scrub(err))
		}
	}
	m.mu.Lock()
	for _, p := range own {
		p.gone = true
		delete(m.partitions, p.place)
	}
	m.mu.Unlock()
	return m.IncrementalUnassign(partitions)
}

// settled waits until what was given out of partitions is confirmed, and reports whether it is.
func (m *member) settled(of []*partition) bool {
	late := time.NewTimer(m.s.cfg.RebalanceTimeout)
	defer late.Stop()
	for {
		m.mu.Lock()
		open, changed := false, m.changed
		for _, g := range m.given {
			open = open || slices.ContainsFunc(g.marks, func(k mark) bool { return slices.Contains(of, k.of) })
		}
		m.mu.Unlock()
		if !open {
			return true
		}
		select {
		case <-changed:
		case <-m.quit:
			return false
		case <-late.C:
			return false
		}
	}
}

// register notes that a batch is given out, and returns its records of partitions that are still there, with a number for what is behind them.
func (m *member) register(b polled) ([]record, uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := b.records[:0]
	behind := map[*partition]int64{}
	for _, r := range b.records {
		if r.of.gone {
			continue
		}
		kept = append(kept, r)
		behind[r.of] = int64(r.TopicPartition.Offset) + 1
	}
	for _, p := range b.idle {
		if !p.gone && p.end > max(p.next, p.committed) { // behind the last record there are only marks of transactions
			behind[p] = p.end
		}
	}
	var marks []mark
	for p, next := range behind {
		p.next = next
		marks = append(marks, mark{p, next})
	}
	m.seq++
	m.given = append(m.given, given{seq: m.seq, marks: marks})
	return kept, m.seq
}

// pass notes that what was registered last holds nothing that anybody will confirm.
func (m *member) pass() {
	m.mu.Lock()
	m.given[len(m.given)-1].passed = true
	m.mu.Unlock()
	m.confirm(0)
}

// confirm notes that everything up to a number is confirmed.
func (m *member) confirm(seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for n < len(m.given) && (m.given[n].seq <= seq || m.given[n].passed) {
		for _, k := range m.given[n].marks { // one that is gone is not committed
			k.of.confirmed = max(k.of.confirmed, k.next)
		}
		n++
	}
	m.given = slices.Delete(m.given, 0, n)
	close(m.changed)
	m.changed = make(chan struct{})
}

// owed are the partitions of which more is confirmed than committed.
func (m *member) owed() (out []*partition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p := range maps.Values(m.partitions) {
		if p.confirmed > p.committed {
			out = append(out, p)
		}
	}
	return out
}

// commit commits what is confirmed, again and again while the brokers can't.
func (m *member) commit(ctx context.Context) error {
	for {
		m.committing.Lock()
		owed := m.owed()
		err := m.commitNow(owed)
		m.committing.Unlock()
		if err == nil {
			return nil
		}
		switch kafkaconn.Code(err) {
		case ck.ErrGroupAuthorizationFailed, ck.ErrTopicAuthorizationFailed:
			return m.s.forbidden("committing the offsets of the group "+m.s.cfg.GroupID, err)
		}
		if err := wait.Pause(ctx, pollTime); err != nil {
			return err
		}
	}
}

// commitNow commits once. The caller holds committing.
func (m *member) commitNow(of []*partition) error {
	var offsets []ck.TopicPartition
	m.mu.Lock()
	for _, p := range of {
		if p.confirmed > p.committed {
			offsets = append(offsets, ck.TopicPartition{Topic: &p.topic, Partition: p.partition, Offset: ck.Offset(p.confirmed)})
		}
	}
	m.mu.Unlock()
	if len(offsets) == 0 {
		return nil
	}
	done, err := m.CommitOffsets(offsets)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, at := range done {
		if at.Error != nil {
			err = at.Error
		} else if p := m.partitions[placeOf(at)]; p != nil {
			p.committed = max(p.committed, int64(at.Offset))
		}
	}
	return err
}
