package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/internal/kafkaconn"
	"github.com/syncd-io/syncd/internal/retry"
	"github.com/syncd-io/syncd/spec"
)

// compacted is the cleanup.policy of the state topic: the last value of each mark is kept, whatever its age.
const compacted = "compact"

// statePause is the wait before the brokers are asked again about a state topic that they are not ready to serve, and
// stateNotReady is how that is told.
const (
	statePause    = 100 * time.Millisecond
	stateNotReady = "state topic not ready"
)

// stateTopic is the topic of the marks.
func (c *Config) stateTopic() string {
	return c.prefixed(c.Transactions.StateTopic)
}

// marksWrite is the write of marks: a mark is an event of the state topic, whose key is the name.
func (t *transactional) marksWrite(marks []syncd.Mark) *write {
	events := make([]codec.Event, len(marks))
	for i, m := range marks {
		events[i].Key, events[i].Value = []byte(m.Name), m.Value
	}
	w := t.newWrite(events)
	topic := t.config.stateTopic()
	for i := range events {
		w.slots[i] = slot{index: i, topic: &topic, partition: ck.PartitionAny}
	}
	return w
}

// readMarks is the ability Marks. A call that overlaps a Commit waits for it.
func (t *transactional) readMarks(ctx context.Context, prefix string) (map[string][]byte, error) {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("reading marks from Kafka: %w", ctx.Err())
	}
	hint := fmt.Sprintf("another job's transaction may hold the state topic %q up: give jobs state topics of their own, by sink.kafka.transactions.state_topic", t.config.stateTopic())
	return t.inTime(ctx, hint, func(ctx context.Context) (map[string][]byte, error) { return t.takeOver(ctx, prefix) })
}

// peekMarks is the ability PeekMarks. It initializes no transactions and creates no topic: where the state topic does not exist
// there are no marks. It does not wait for transactions that are open, whoever's they are: it returns what a consumer of committed
// records sees now.
func (t *transactional) peekMarks(ctx context.Context, prefix string) (map[string][]byte, error) {
	return t.inTime(ctx, brokersHint, func(ctx context.Context) (map[string][]byte, error) {
		missing, err := t.lookForState(ctx, t.config.stateTopic())
		if err != nil || missing {
			return nil, err
		}
		return t.collect(ctx, prefix, false)
	})
}

// inTime bounds a reading of the marks by delivery_timeout. The hint is that of a reading that took longer.
func (t *transactional) inTime(ctx context.Context, hint string, read func(context.Context) (map[string][]byte, error)) (map[string][]byte, error) {
	bounded, cancel := context.WithTimeout(ctx, t.config.DeliveryTimeout)
	defer cancel()
	marks, err := read(bounded)
	if err != nil && ctx.Err() == nil && bounded.Err() != nil {
		return nil, syncd.Hint(fmt.Errorf("reading marks from Kafka: not done within delivery_timeout, %s: %w: %w", t.config.DeliveryTimeout, syncd.ErrUnavailable, err), "%s", hint)
	}
	return marks, err
}

// takeOver shuts out other users of the transactional.id, makes sure that there is a state topic, and reads it. Only the leader may
// call it.
func (t *transactional) takeOver(ctx context.Context, prefix string) (map[string][]byte, error) {
	if t.broken != nil {
		return nil, t.broken
	}
	if !t.ready {
		if err := t.initialize(ctx); err != nil {
			t.mourn()
			return nil, err
		}
	}
	how := CreateTopics{Partitions: 1, Config: map[string]spec.Secret{"cleanup.policy": compacted}}
	if t.config.CreateTopics != nil {
		how.ReplicationFactor = t.config.CreateTopics.ReplicationFactor
	}
	if err := t.ensureState(ctx, t.config.stateTopic(), &how); err != nil {
		return nil, err
	}
	return t.collect(ctx, prefix, true)
}

// collect returns the committed marks whose names begin with prefix; see readState.
func (t *transactional) collect(ctx context.Context, prefix string, wait bool) (map[string][]byte, error) {
	marks := map[string][]byte{}
	if err := t.readState(ctx, wait, func(name string, value []byte) {
		switch {
		case !strings.HasPrefix(name, prefix):
		case value == nil:
			delete(marks, name)
		default:
			marks[name] = value
		}
	}); err != nil {
		return nil, fmt.Errorf("reading marks from the Kafka topic %q: %w", t.config.stateTopic(), err)
	}
	return marks, nil
}

// ensureState creates a topic of marks if it does not exist, whatever create_topics says, since it is this sink's own and no
// consumer's. One that exists must be compacted: otherwise the marks would go with age.
func (t *transactional) ensureState(ctx context.Context, name string, how *CreateTopics) error {
	missing, err := t.lookForState(ctx, name)
	if err != nil {
		return err
	}
	if !missing {
		return t.checkState(ctx, name)
	}
	failed, err := t.create(ctx, how, []string{name})
	if err != nil {
		return fmt.Errorf("creating the Kafka topic %q of marks: %w", name, err)
	}
	if len(failed) > 0 {
		return syncd.Hint(fmt.Errorf("creating the marks' Kafka topic: %s", failed[0]),
			"create it with partitions=%d and cleanup.policy=compact, or grant this login the operation CREATE", how.Partitions)
	}
	return nil
}

// lookForState reports whether a topic of marks does not exist.
func (t *transactional) lookForState(ctx context.Context, name string) (missing bool, err error) {
	absent, refused, err := t.look(ctx, []string{name})
	if err != nil {
		return false, fmt.Errorf("looking for the Kafka topic %q of marks: %w", name, err)
	}
	if len(refused) > 0 {
		return false, syncd.Hint(fmt.Errorf("looking for the marks' Kafka topic: %s", refused[0]), "grant this login READ, WRITE and DESCRIBE on the topic")
	}
	return len(absent) > 0, nil
}

// checkState finds a state topic that loses marks. Not being allowed to ask is no reason to stop.
func (t *transactional) checkState(ctx context.Context, name string) error {
	var answers []ck.ConfigResourceResult
	err := t.ask(ctx, t.limits, func(ctx context.Context) (err error) {
		answers, err = t.main.admin.DescribeConfigs(ctx, []ck.ConfigResource{{Type: ck.ResourceTopic, Name: name}},
			ck.SetAdminRequestTimeout(t.config.ConnectTimeout))
		return err
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		t.logger.Debug("could not ask for the state topic's cleanup.policy", "error", err)
		return nil
	}
	for _, a := range answers {
		if policy := a.Config["cleanup.policy"].Value; policy != "" && policy != compacted {
			return syncd.Hint(fmt.Errorf("the Kafka topic %q of marks has cleanup.policy=%s, by which marks would be lost", name, policy),
				"set its cleanup.policy=compact: kafka-configs.sh --alter --topic %s --add-config cleanup.policy=compact", name)
		}
	}
	return nil
}

// readState calls each with the committed records of the state topic, in the order of each key. With wait these are all that were
// written before the call: where transactions of other jobs are open, it waits for their end.
func (t *transactional) readState(ctx context.Context, wait bool, each func(name string, value []byte)) error {
	left, err := t.endsOf(ctx, t.config.stateTopic())
	if err != nil {
		return err
	}
	return t.readTopic(ctx, t.config.stateTopic(), left, wait, func(m *ck.Message) bool {
		each(string(m.Key), m.Value)
		return true
	})
}

// newConsumer makes a consumer that reaches the brokers as the sink does, and commits nothing by itself.
func (s *Sink) newConsumer(settings ck.ConfigMap) (*ck.Consumer, error) {
	conf := s.config.librdkafka()
	maps.DeleteFunc(conf, func(key string, _ ck.ConfigValue) bool {
		return strings.HasPrefix(key, "go.") || producerOnly[key]
	})
	maps.Copy(conf, ck.ConfigMap{
		"enable.auto.commit": false,
		"auto.offset.reset":  "earliest",
		"log_level":          0, // it would go to stderr; errors come as events
	})
	maps.Copy(conf, settings)
	c, err := ck.NewConsumer(&conf)
	if err != nil {
		return nil, fmt.Errorf("configuring the Kafka client: %s", s.scrub(err))
	}
	return c, nil
}

// readTopic calls each with the committed records of a topic up to the ends of its partitions, in the order of each key, until each
// returns false. With wait these are all: where transactions are open, it waits for their end.
func (s *Sink) readTopic(ctx context.Context, topic string, left map[int32]int64, wait bool, each func(*ck.Message) bool) error {
	if len(left) == 0 {
		return nil
	}
	c, err := s.newConsumer(ck.ConfigMap{
		"group.id":             s.config.ClientID, // which nothing is committed of, and nobody joins
		"isolation.level":      "read_committed",
		"enable.partition.eof": true,
		"fetch.wait.max.ms":    50,
	})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // it has joined no group, so there is nothing to tell
	patience := time.Now().Add(s.config.ConnectTimeout)
	trouble := func(err error) error { // or nil, where the consumer goes on by itself
		if kafkaconn.Unreachable(err) {
			return nil
		}
		if kafkaconn.Passing(err) && time.Now().Before(patience) {
			s.env.Retried(stateNotReady)
			return nil
		}
		return syncd.Hint(errors.New(s.scrub(err)), brokersHint)
	}
	assigned := make([]ck.TopicPartition, 0, len(left))
	for p := range left {
		assigned = append(assigned, ck.TopicPartition{Topic: &topic, Partition: p, Offset: ck.OffsetBeginning})
	}
	if err := c.Assign(assigned); err != nil {
		return errors.New(s.scrub(err))
	}
	for len(left) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch e := c.Poll(int(transactionSlice / time.Millisecond)).(type) {
		case *ck.Message:
			if e.TopicPartition.Error == nil {
				if !each(e) {
					return nil
				}
			} else if err := trouble(e.TopicPartition.Error); err != nil {
				return err
			}
		case ck.PartitionEOF:
			// This is the end of what is decided, control records and aborted ones counted. Where another job's transaction
			// is open, there may be marks of this one behind its beginning: they come when it has ended.
			if !wait || int64(e.Offset) >= left[e.Partition] {
				delete(left, e.Partition)
			}
		case ck.Error:
			if e.IsFatal() {
				return syncd.Hint(errors.New(s.scrub(e)), brokersHint)
			}
			if err := trouble(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// producerOnly lists the settings of librdkafka that a consumer warns of.
var producerOnly = map[string]bool{
	"transactional.id": true, "transaction.timeout.ms": true, "enable.idempotence": true, "acks": true, "compression.type": true,
	"partitioner": true, "linger.ms": true, "queue.buffering.max.kbytes": true, "queue.buffering.max.messages": true,
	"message.timeout.ms": true, "statistics.interval.ms": true,
}

// endsOf is topicEnds for a topic of marks. Right after the topic was created, the brokers may not be ready to say.
func (t *transactional) endsOf(ctx context.Context, topic string) (map[int32]int64, error) {
	return retry.Do(ctx, t.stateRetrier(), func() (map[int32]int64, error) { return t.topicEnds(ctx, topic) })
}

// topicEnds returns the ends of a topic's partitions that hold anything. Ends are the high watermarks: a transaction of another job does
// not hide what is behind its beginning.
func (s *Sink) topicEnds(ctx context.Context, name string) (map[int32]int64, error) {
	var md *ck.Metadata
	if err := s.ask(ctx, s.config.ConnectTimeout, func(ctx context.Context) (err error) {
		md, err = s.metadata(ctx, &name, false)
		return err
	}); err != nil {
		return nil, err
	}
	var partitions []place
	for _, p := range md.Topics[name].Partitions {
		partitions = append(partitions, place{name, p.ID})
	}
	if len(partitions) == 0 {
		return nil, fmt.Errorf("it has no partitions yet: %w", syncd.ErrUnavailable)
	}
	starts, err := s.offsets(ctx, partitions, ck.EarliestOffsetSpec)
	if err != nil {
		return nil, err
	}
	ends, err := s.offsets(ctx, partitions, ck.LatestOffsetSpec)
	if err != nil {
		return nil, err
	}
	out := map[int32]int64{}
	for p, end := range ends {
		if end > starts[p] {
			out[p.partition] = end
		}
	}
	return out, nil
}
