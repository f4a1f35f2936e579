package kafka

import (
	"context"
	"fmt"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/kafkaconn"
	"github.com/syncd-io/syncd/internal/wait"
)

// lag is the ability Lag: the offsets that the group has committed beside the ends of the partitions. The ends are read last, so
// that no event is overlooked.
func (s *Sink) lag(ctx context.Context, group string, targets []syncd.Target) ([]syncd.PartitionLag, error) {
	partitions, err := s.partitions(ctx, targets)
	if err != nil || len(partitions) == 0 {
		return nil, err
	}
	fail := func(what string, err error) ([]syncd.PartitionLag, error) {
		return nil, fmt.Errorf("reading the lag of consumer group %q: %s: %w", group, what, err)
	}
	var committed map[place]int64
	if err := s.ask(ctx, s.config.ConnectTimeout, func(ctx context.Context) (err error) {
		committed, err = s.committed(ctx, group, partitions)
		return err
	}); err != nil {
		return fail("asking for its offsets", err)
	}
	starts, err := s.offsets(ctx, partitions, ck.EarliestOffsetSpec)
	if err != nil {
		return fail("asking for the topics' first offsets", err)
	}
	ends, err := s.offsets(ctx, partitions, ck.LatestOffsetSpec)
	if err != nil {
		return fail("asking for the topics' ends", err)
	}
	out := make([]syncd.PartitionLag, len(partitions))
	for i, p := range partitions {
		l := syncd.PartitionLag{Place: p.topic, Partition: p.partition, Next: starts[p], End: ends[p]}
		if at, ok := committed[p]; ok {
			// What retention has deleted meanwhile is not to be waited for.
			l.Next, l.Confirmed = max(at, l.Next), true
		}
		out[i] = l
	}
	return out, nil
}

// place is a partition of a topic.
type place struct {
	topic     string
	partition int32
}

// partitions lists the partitions of the targets' topics, those of a topic that does not exist left out.
func (s *Sink) partitions(ctx context.Context, targets []syncd.Target) ([]place, error) {
	var topics []string
	seen := map[string]bool{}
	for _, t := range targets {
		r := s.router.route(t)
		if r.err != nil {
			return nil, fmt.Errorf("collection %q: %w", t.Collection, r.err)
		}
		if !seen[r.name] {
			seen[r.name] = true
			topics = append(topics, r.name)
		}
	}
	var out []place
	topicOf := s.lookUp(ctx, len(topics))
	for _, topic := range topics {
		t, err := topicOf(topic)
		if err != nil {
			return nil, fmt.Errorf("asking for topic %q: %w", topic, err)
		}
		switch t.Error.Code() {
		case ck.ErrNoError:
		case ck.ErrUnknownTopic, ck.ErrUnknownTopicOrPart:
			continue
		default:
			return nil, fmt.Errorf("asking for topic %q: %s", topic, s.scrub(t.Error))
		}
		for _, p := range t.Partitions {
			out = append(out, place{topic, p.ID})
		}
	}
	return out, nil
}

// committed returns the offsets that the group has committed. One that does not exist has none; brokers say so in two ways.
func (s *Sink) committed(ctx context.Context, group string, partitions []place) (map[place]int64, error) {
	asked := make([]ck.TopicPartition, len(partitions))
	for i := range partitions {
		asked[i] = ck.TopicPartition{Topic: &partitions[i].topic, Partition: partitions[i].partition}
	}
	answer, err := s.main.admin.ListConsumerGroupOffsets(ctx, []ck.ConsumerGroupTopicPartitions{{Group: group, Partitions: asked}},
		ck.SetAdminRequestTimeout(s.config.ConnectTimeout))
	if kafkaconn.Code(err) == ck.ErrGroupIDNotFound {
		return map[place]int64{}, nil
	}
	if err != nil {
		return nil, err
	}
	out := map[place]int64{}
	for _, g := range answer.ConsumerGroupsTopicPartitions {
		for _, p := range g.Partitions {
			if p.Error != nil {
				return nil, fmt.Errorf("topic %q, partition %d: %w", *p.Topic, p.Partition, p.Error)
			}
			if p.Offset >= 0 {
				out[place{*p.Topic, p.Partition}] = int64(p.Offset)
			}
		}
	}
	return out, nil
}

// offsets returns the first or the next offset of every partition.
func (s *Sink) offsets(ctx context.Context, partitions []place, spec ck.OffsetSpec) (map[place]int64, error) {
	asked := make(map[ck.TopicPartition]ck.OffsetSpec, len(partitions))
	for i := range partitions {
		asked[ck.TopicPartition{Topic: &partitions[i].topic, Partition: partitions[i].partition}] = spec
	}
	out := map[place]int64{}
	err := s.ask(ctx, s.config.ConnectTimeout, func(ctx context.Context) error {
		answer, err := s.main.admin.ListOffsets(ctx, asked, ck.SetAdminRequestTimeout(s.config.ConnectTimeout))
		if err != nil {
			return err
		}
		for p, info := range answer.ResultInfos {
			if kafkaconn.Passing(info.Error) {
				// librdkafka keeps what it knows of leaders for minutes, their epochs too, and asks by it again.
				_, _ = s.metadata(ctx, p.Topic, false)
			}
			if info.Error.Code() != ck.ErrNoError {
				return fmt.Errorf("topic %q, partition %d: %w", *p.Topic, p.Partition, info.Error)
			}
			if info.Offset >= 0 { // where a leader did not answer at all, librdkafka gives back what was asked for
				out[place{*p.Topic, p.Partition}] = int64(info.Offset)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, p := range partitions {
		if _, ok := out[p]; !ok {
			return nil, syncd.Hint(fmt.Errorf("topic %q, partition %d: its leader did not answer: %w", p.topic, p.partition, syncd.ErrUnavailable), brokersHint)
		}
	}
	return out, nil
}

// ends implements producer. The brokers are asked again for as long as an event may wait for its acknowledgement: one of them may
// just be away, or hear late of a new topic's leader.
func (c *client) ends(ctx context.Context, partitions []place) (map[place]int64, error) {
	_, patience := c.sink.config.messageTimeout()
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		ends, err := c.sink.offsets(bounded, partitions, ck.LatestOffsetSpec)
		if err == nil {
			return ends, nil
		}
		if wait.Pause(bounded, identityPause) != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, fmt.Errorf("%w: %w", syncd.ErrUnavailable, err)
		}
		c.sink.env.Retried("end of partitions")
	}
}
