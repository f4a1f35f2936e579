package kafka

import (
	"context"
	"fmt"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/kafkaconn"
	"github.com/syncd-io/syncd/internal/wait"
)

// identityPause is the wait before the brokers are asked again about a topic that one of them does not know yet.
const identityPause = 100 * time.Millisecond

// identity is the ability Identity: the id that the brokers gave the target's topic when it was made. Brokers before Apache Kafka 2.8
// (KIP-516) give none.
func (s *Sink) identity(ctx context.Context, target syncd.Target) (string, error) {
	r := s.router.route(target)
	if r.err != nil {
		return "", fmt.Errorf("collection %q: %w", target.Collection, r.err)
	}
	var found ck.TopicDescription
	gone := false
	err := s.ask(ctx, s.config.ConnectTimeout, func(ctx context.Context) (err error) {
		for {
			if found, err = s.topics.Ask(ctx, r.name); err != nil {
				return err
			}
			switch found.Error.Code() {
			case ck.ErrNoError:
				gone = false
				return nil
			case ck.ErrUnknownTopicOrPart, ck.ErrUnknownTopic: // a broker may hear late of a new topic
				gone = true
			default:
				if !kafkaconn.Passing(found.Error) {
					return found.Error
				}
			}
			if err := wait.Pause(ctx, identityPause); err != nil {
				return err
			}
		}
	})
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case gone:
		return "", topicGone(r.name)
	case err != nil:
		return "", syncd.Hint(fmt.Errorf("asking for topic %q: %w", r.name, err), "check that the brokers run, and run it again")
	case found.TopicID.GetMostSignificantBits() == 0 && found.TopicID.GetLeastSignificantBits() == 0:
		return "", nil
	}
	return found.TopicID.String(), nil
}

// describe asks the brokers about topics, all different. What they say is aligned with the names.
func (s *Sink) describe(ctx context.Context, names []string) ([]ck.TopicDescription, error) {
	answer, err := s.main.admin.DescribeTopics(ctx, ck.NewTopicCollectionOfTopicNames(names), ck.SetAdminRequestTimeout(s.config.ConnectTimeout))
	if err != nil {
		return nil, err
	}
	found := make(map[string]ck.TopicDescription, len(names))
	for _, d := range answer.TopicDescriptions {
		found[d.Name] = d
	}
	out := make([]ck.TopicDescription, len(names))
	for i, name := range names {
		d, ok := found[name]
		if !ok {
			return nil, fmt.Errorf("the brokers did not say anything of topic %q", name)
		}
		out[i] = d
	}
	return out, nil
}

// topicGone is the error of a topic that was there.
func topicGone(topic string) error {
	return syncd.Hint(fmt.Errorf("topic %q is gone", topic),
		"see who deleted it; with it are gone the events that were not consumed. Once it is there again, the next run begins from the start")
}
