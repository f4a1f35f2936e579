package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
)

// clusterTransaction is how long a transaction of a process of a cluster may stay open. Whoever is given the lanes of a process that
// died waits for the end of its transaction.
const clusterTransaction = 10 * time.Second

// laneCluster is a cluster whose lanes are the partitions of a compacted topic, and whose group is a consumer group that divides them.
//
// What makes it right is an order. A commit first writes its marks and awaits the brokers' word for them, then it has the brokers check
// the member's generation (see sign), and then it asks for the commit. Whoever is given a lane first asks where it ends, and then
// reads as far, which is not done while a transaction in it is undecided. A lane changes hands only between two generations. So a
// transaction that the brokers have found to be of a member has its marks before the end that the next owner asks for, and any other is
// aborted.
type laneCluster struct {
	t     *transactional
	own   bool // t is the cluster's alone: it takes no changes, and ends with the cluster
	o     syncd.ClusterOptions
	topic string

	mu     sync.Mutex
	group  *ck.Consumer // nil where the process is not in the group
	lanes  []laneState
	broken error
	broke  chan struct{} // closed when broken is set
}

// laneState is what a process knows of a lane.
type laneState struct {
	at    int64 // where it was read to, by the member, which was told of everything before
	given int   // how often the group gave it to this process, which is the tenure's number
	held  holding
	end   int64 // while gaining: where it must be read to; -1 is not known yet
}

// holding says what a process has of a lane.
type holding int

const (
	unheld  holding = iota
	gaining         // the group has given it, and it is not read to its end yet
	owned
)

// openCluster is the ability Cluster of a sink that makes no transactions: the cluster has a producer of its own.
func (s *Sink) openCluster(ctx context.Context, o syncd.ClusterOptions) (syncd.Cluster, error) {
	conf := s.config
	conf.Delivery = exactlyOnce
	conf.Transactions = Transactions{ID: o.Group, StateTopic: o.Topic, Timeout: min(clusterTransaction, o.Session)}
	env := s.env
	env.Process = o.ProcessName
	opened, err := open(ctx, conf, env)
	if err != nil {
		return nil, err
	}
	t := opened.(*transactional)
	t.limits = s.limits
	c, err := t.newCluster(ctx, o, true)
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return c, nil
}

// openCluster is the ability Cluster: the cluster's commits are the sink's.
func (t *transactional) openCluster(ctx context.Context, o syncd.ClusterOptions) (syncd.Cluster, error) {
	c, err := t.newCluster(ctx, o, false)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (t *transactional) newCluster(ctx context.Context, o syncd.ClusterOptions, own bool) (*laneCluster, error) {
	c := &laneCluster{t: t, own: own, o: o, topic: t.config.prefixed(o.Topic), broke: make(chan struct{})}
	if err := checkTopicName(c.topic); err != nil {
		return nil, fmt.Errorf("opening the cluster's lanes: %w", err)
	}
	if o.Existing && c.isGone(ctx) {
		return nil, c.gone()
	}
	lanes, err := t.ensureLanes(ctx, c.topic, o)
	if err != nil {
		return nil, err
	}
	c.lanes = make([]laneState, lanes)
	if err := t.initialize(ctx); err != nil {
		return nil, err
	}
	t.cluster = c
	return c, nil
}

// Lanes implements syncd.Cluster.
func (c *laneCluster) Lanes() int { return len(c.lanes) }

// Close implements syncd.Cluster.
func (c *laneCluster) Close() error {
	if c.own {
		return c.t.Close()
	}
	return nil
}

// fail ends the process's part in the cluster.
func (c *laneCluster) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken == nil {
		c.broken = err
		close(c.broke)
	}
}

// Commit implements syncd.Cluster.
func (c *laneCluster) Commit(ctx context.Context, tenures []syncd.Tenure, changes []syncd.Change, marks []syncd.LaneMark) error {
	switch {
	case len(tenures) == 0:
		return errors.New("committing in a cluster: in the name of no lane")
	case len(changes) > 0 && c.own:
		return errors.New("committing in a cluster: changes, of a sink whose delivery is not " + exactlyOnce)
	}
	for _, m := range marks {
		if m.Lane < 0 || m.Lane >= len(c.lanes) {
			return fmt.Errorf("committing in a cluster: mark %q in lane %d, of %d", m.Name, m.Lane, len(c.lanes))
		}
	}
	if err := c.check(tenures); err != nil {
		return err
	}
	return c.t.commitAs(ctx, changes, &call{marks: c.marksWrite(marks), marked: true, tenures: tenures})
}

// marksWrite is the write of marks in lanes.
func (c *laneCluster) marksWrite(marks []syncd.LaneMark) *write {
	events := make([]codec.Event, len(marks))
	for i, m := range marks {
		events[i].Key, events[i].Value = []byte(m.Name), m.Value
	}
	w := c.t.newWrite(events)
	for i, m := range marks {
		w.slots[i] = slot{index: i, topic: &c.topic, partition: int32(m.Lane)}
	}
	return w
}

// check returns an error that wraps ErrFenced where one of the tenures is over.
func (c *laneCluster) check(tenures []syncd.Tenure) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range tenures {
		if t.Lane < 0 || t.Lane >= len(c.lanes) || c.lanes[t.Lane].held != owned || c.lanes[t.Lane].given != t.Number {
			return fmt.Errorf("committing in the name of lane %d: %w", t.Lane, syncd.ErrFenced)
		}
	}
	return nil
}

// lapse is what attempts have shown of the membership in whose name a call is.
type lapse struct {
	since time.Time // when the brokers first did not take it
	over  error     // why the call can't be committed any more
}

var (
	// errDisowned is why an attempt ends with a call in it whose lanes are not this process's any more.
	errDisowned = fmt.Errorf("lanes are not owned any more: %w", errAgain)
	// errNoMember is why an attempt ends that the brokers do not take for one of a member, or not of one of this generation.
	errNoMember = fmt.Errorf("the group takes this process for no member of its generation: %w", errAgain)
)

// disowned ends the attempt where calls of the group are in the name of lanes that are not this process's.
func (t *transactional) disowned() error {
	if t.cluster == nil {
		return nil
	}
	for _, c := range t.group {
		c.lapse.over = t.cluster.check(c.tenures)
	}
	if slices.ContainsFunc(t.group, func(c *call) bool { return c.lapse.over != nil }) {
		return errDisowned
	}
	return nil
}

// signPause is how long a request to check the membership, which can't be interrupted, and is made anew when it is not answered, may
// take at first. It doubles up to signPauseMax.
const (
	signPause    = 250 * time.Millisecond
	signPauseMax = 2 * time.Second
)

// sign has the brokers check that this process is a member, and of the generation in which it owns the lanes of all calls in the
// group: the offsets that a consumer group keeps go into the transaction, by which the brokers refuse it otherwise. Nobody reads them.
//
// The membership is asked for before the lanes are looked at. A process that is given a later generation without a lane gives that up
// first, or is told first that it is lost, see joining.rebalance. So a membership that was there while the lane was held is of a
// generation in which no other process had it.
func (t *transactional) sign(ctx context.Context) error {
	if t.cluster == nil {
		return nil
	}
	member, err := t.cluster.membership()
	if err != nil {
		return fmt.Errorf("committing in a cluster: %s", t.scrub(err))
	}
	if err := t.disowned(); err != nil {
		return err
	}
	if member == nil {
		t.lapsed(errNoMember)
		return errNoMember
	}
	offsets := t.cluster.offsets(t.group)
	for patience := signPause; ; patience = min(2*patience, signPauseMax) {
		slice, cancel := context.WithTimeout(ctx, patience)
		err := t.main.SendOffsetsToTransaction(slice, offsets, member)
		cancel()
		k, ok := errors.AsType[ck.Error](err)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !ok || k.IsFatal():
			return err
		case k.Code() == ck.ErrGroupAuthorizationFailed || k.Code() == ck.ErrTopicAuthorizationFailed:
			return t.cluster.explain(k)
		case !t.cluster.refused(k.Code()) && (k.IsRetriable() || k.IsTimeout()):
			t.env.Retried("transaction request")
			continue
		case !k.TxnRequiresAbort():
			return fmt.Errorf("committing in a cluster: %s", t.scrub(k))
		case !t.cluster.refused(k.Code()):
			return fmt.Errorf("%s: %w", t.scrub(k), errAgain)
		}
		t.lapsed(k)
		return fmt.Errorf("%s: %w", t.scrub(k), errNoMember)
	}
}

// tidy ends a transaction that was left open by callers whose contexts have ended. Whoever is given the lanes that it is in waits for its
// end, and this process may have nothing to commit for long. Where it does not end in time, the brokers abort it.
func (t *transactional) tidy(ctx context.Context) {
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-t.turn }()
	switch {
	case t.broken != nil || !t.open:
	case t.deciding:
		stop := context.AfterFunc(ctx, t.nudge)
		defer stop()
		t.lead(ctx)
	default:
		_ = t.abort(ctx, false) // which the next transaction tries again
	}
}

// refused tells the errors by which the brokers say that a process is no member, or of another generation.
func (c *laneCluster) refused(code ck.ErrorCode) bool {
	switch code {
	case ck.ErrIllegalGeneration, ck.ErrUnknownMemberID, ck.ErrFencedInstanceID, ck.ErrRebalanceInProgress:
		return true
	}
	return false
}

// lapsed notes that the brokers did not take the membership. That passes where the group has come to another generation, of which
// this process has not heard yet. Where it does not within a session, the process is not a member.
func (t *transactional) lapsed(why error) {
	for _, c := range t.group {
		switch now := time.Now(); {
		case c.lapse.since.IsZero():
			c.lapse.since = now
		case now.Sub(c.lapse.since) > t.cluster.o.Session:
			c.lapse.over = fmt.Errorf("committing in the name of lane %d: %w: %s", c.tenures[0].Lane, syncd.ErrFenced, t.scrub(why))
		}
	}
}

// membership is this process's in the group at this moment; nil is none. Offsets without a membership must not be sent: brokers take
// them from everybody. And librdkafka forgets its membership some time before it tells that lanes are lost.
func (c *laneCluster) membership() (*ck.ConsumerGroupMetadata, error) {
	c.mu.Lock() // so that the consumer is not closed meanwhile
	defer c.mu.Unlock()
	if c.group == nil {
		return nil, nil //nolint:nilnil // it is in no group
	}
	m, err := c.group.GetConsumerGroupMetadata()
	if err != nil {
		return nil, err
	}
	if member, err := memberOf(m); err != nil || member == "" {
		return nil, err
	}
	return m, nil
}

// memberOf is the id that the brokers gave a member; it is empty where there is no membership. The library has no function that tells it:
// it is read from the form in which librdkafka passes memberships on.
func memberOf(m *ck.ConsumerGroupMetadata) (string, error) {
	const magic, generation = "CGMDv2:", 4
	text := reflect.ValueOf(m).Elem().FieldByName("serialized")
	if text.IsValid() && text.Kind() == reflect.Slice && text.Type().Elem().Kind() == reflect.Uint8 {
		if rest, ok := bytes.CutPrefix(text.Bytes(), []byte(magic)); ok && len(rest) > generation {
			if _, rest, ok := bytes.Cut(rest[generation:], []byte{0}); ok { // the group
				if member, _, ok := bytes.Cut(rest, []byte{0}); ok {
					return string(member), nil
				}
			}
		}
	}
	return "", fmt.Errorf("librdkafka %s gives memberships in another form than this program knows", version())
}

// offsets are those of the lanes of a group of calls.
func (c *laneCluster) offsets(group []*call) []ck.TopicPartition {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []ck.TopicPartition
	seen := map[int]bool{}
	for _, call := range group {
		for _, l := range call.tenures {
			if !seen[l.Lane] {
				seen[l.Lane] = true
				out = append(out, ck.TopicPartition{Topic: &c.topic, Partition: int32(l.Lane), Offset: ck.Offset(c.lanes[l.Lane].at)})
			}
		}
	}
	return out
}
