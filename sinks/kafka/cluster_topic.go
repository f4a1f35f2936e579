package kafka

import (
	"context"
	"errors"
	"fmt"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/retry"
	"github.com/syncd-io/syncd/spec"
)

// laneSettings are those of a topic of lanes that is created. Every process reads the topic whole when it starts, so what is superseded
// is to go soon: only whole segments are compacted, so they are small and end after some minutes, and a log that is a tenth
// superseded is worth the work. What is younger than a minute stays, so that who reads along misses nothing that was committed.
func laneSettings() map[string]spec.Secret {
	return map[string]spec.Secret{
		"cleanup.policy":            compacted,
		"segment.bytes":             "33554432", // 32 MiB
		"segment.ms":                "600000",   // 10 min
		"min.cleanable.dirty.ratio": "0.1",
		"min.compaction.lag.ms":     "60000", // a minute
	}
}

// ensureLanes creates the topic of a cluster's lanes if it does not exist, and returns how many there are.
func (t *transactional) ensureLanes(ctx context.Context, topic string, o syncd.ClusterOptions) (int, error) {
	how := CreateTopics{Partitions: o.Lanes, ReplicationFactor: o.Replicas, Config: laneSettings()}
	if err := t.ensureState(ctx, topic, &how); err != nil {
		return 0, err
	}
	lanes, err := retry.Do(ctx, t.stateRetrier(), func() (lanes int, err error) {
		err = t.ask(ctx, t.config.ConnectTimeout, func(ctx context.Context) error {
			md, err := t.metadata(ctx, &topic, false)
			if err != nil {
				return err
			}
			found := md.Topics[topic]
			if found.Error.Code() != ck.ErrNoError {
				return found.Error
			}
			lanes = len(found.Partitions)
			return nil
		})
		return lanes, err
	})
	switch {
	case err != nil:
		return 0, fmt.Errorf("looking for the Kafka topic %q of a cluster's lanes: %w", topic, err)
	case lanes == 0:
		return 0, fmt.Errorf("looking for the Kafka topic %q of a cluster's lanes: it has no partitions", topic)
	case lanes < o.Lanes:
		t.logger.Warn("the cluster's state topic has fewer partitions than cluster.partitions: no more processes than that work at once", "topic", topic, "partitions", lanes, "cluster.partitions", o.Lanes)
	}
	return lanes, nil
}

// gone is the error of a member whose topic is gone.
func (c *laneCluster) gone() error {
	return c.explain(ck.NewError(ck.ErrUnknownTopicOrPart, "it does not exist any more", false))
}

// isGone reports whether the brokers answer that the topic of the lanes does not exist.
func (c *laneCluster) isGone(ctx context.Context) bool {
	gone := false
	_ = c.t.ask(ctx, c.t.config.ConnectTimeout, func(ctx context.Context) error {
		md, err := c.t.metadata(ctx, &c.topic, false)
		if err == nil {
			code := md.Topics[c.topic].Error.Code()
			gone = code == ck.ErrUnknownTopic || code == ck.ErrUnknownTopicOrPart
		}
		return err
	})
	return gone
}

// prefixed is the name of a topic of the sink's own.
func (c *Config) prefixed(topic string) string {
	if c.TopicPrefix == "" {
		return topic
	}
	return c.TopicPrefix + "." + topic
}

// stateRetrier asks again about a topic of marks that the brokers are not ready to serve.
func (t *transactional) stateRetrier() retry.Retrier {
	return retry.Retrier{
		Policy:   retry.Policy{First: statePause, Elapsed: t.config.ConnectTimeout},
		Classify: func(err error) retry.Decision { return retry.Decision{Again: errors.Is(err, syncd.ErrUnavailable)} },
		Retrying: func(error) { t.env.Retried(stateNotReady) },
	}
}

// explain is the error of a member that can't go on for a reason of which the brokers have told.
func (c *laneCluster) explain(err ck.Error) error {
	wrap := func(hint string, args ...any) error {
		return syncd.Hint(fmt.Errorf("taking part in the Kafka group %q: %s", c.o.Group, c.t.scrub(err)), hint, args...)
	}
	switch err.Code() {
	case ck.ErrGroupAuthorizationFailed:
		return wrap("grant this login the operations READ and DESCRIBE on the group %q", c.o.Group)
	case ck.ErrTopicAuthorizationFailed:
		return wrap("grant this login READ, WRITE and DESCRIBE on the topic %q", c.topic)
	case ck.ErrTransactionalIDAuthorizationFailed:
		return wrap("grant this login the operations WRITE and DESCRIBE on the transactional ids that begin with %q", c.o.Group)
	case ck.ErrInvalidSessionTimeout:
		return wrap("set cluster.session_timeout, %s, between the brokers' group.min.session.timeout.ms and group.max.session.timeout.ms", c.o.Session)
	case ck.ErrInconsistentGroupProtocol:
		return wrap("other programs use the group %q, or another version of this one: set cluster.group to a name of its own", c.o.Group)
	case ck.ErrFencedInstanceID:
		return wrap("another process has the same cluster.instance_id, %q: give each its own", c.o.Instance)
	case ck.ErrUnknownTopic, ck.ErrUnknownTopicOrPart, ck.ErrAutoOffsetReset, ck.ErrOffsetOutOfRange:
		return wrap("the topic %q is not the one that it was: somebody deleted it, or records of it, and what the cluster knew is gone with that. "+
			"Start all processes again when all have ended: they make it anew and look at every document once more, and nothing is lost", c.topic)
	}
	return wrap("%s", brokersHint)
}
