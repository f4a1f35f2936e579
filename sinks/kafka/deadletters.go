package kafka

import (
	"context"
	"fmt"
	"iter"
	"slices"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
)

// deadLetters is the ability DeadLetters: the records of the targets' topics that have the headers of a dead letter.
func (s *Sink) deadLetters(ctx context.Context, targets []syncd.Target) iter.Seq2[syncd.DeadLetter, error] {
	return func(yield func(syncd.DeadLetter, error) bool) {
		partitions, err := s.partitions(ctx, targets)
		var topics []string
		for _, p := range partitions {
			topics = append(topics, p.topic)
		}
		for _, topic := range slices.Compact(slices.Sorted(slices.Values(topics))) {
			more := true
			var ends map[int32]int64
			if ends, err = s.topicEnds(ctx, topic); err == nil {
				err = s.readTopic(ctx, topic, ends, false, func(m *ck.Message) bool {
					if l, ok := letterOf(m); ok {
						more = yield(l, nil)
					}
					return more
				})
			}
			if err != nil || !more {
				break
			}
		}
		if err != nil {
			yield(syncd.DeadLetter{}, fmt.Errorf("reading dead letters: %w", err))
		}
	}
}

// letterOf is the dead letter of a record; ok is false where it is none.
func letterOf(m *ck.Message) (l syncd.DeadLetter, ok bool) {
	headers := make([]codec.Header, len(m.Headers))
	for i, h := range m.Headers {
		headers[i] = codec.Header{Name: h.Key, Value: string(h.Value)}
	}
	l, ok = codec.ReadLetter(headers, m.Key, m.Value)
	l.Place = fmt.Sprintf("%s/%d/%d", *m.TopicPartition.Topic, m.TopicPartition.Partition, int64(m.TopicPartition.Offset))
	if !m.Timestamp.IsZero() {
		l.At = m.Timestamp
	}
	return l, ok
}
