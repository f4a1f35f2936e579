// Package kafka is the source that follows topics of Apache Kafka as a member of a consumer group, through librdkafka
// (confluent-kafka-go). Records are events in the forms that package codec reads.
//
// Invariants:
//   - the group's offsets are the truth about how far topics were read. They are committed only behind what the sink confirmed, and
//     reading begins where they stand, whatever else is kept;
//   - a change that was given out is confirmed and committed, or the member that has its partition then gives it out again. Before a
//     partition is given away, what is under way of it is waited for, up to rebalance_timeout;
//   - an offset is never committed for a partition that this member no longer has, nor one that is less than what it has committed;
//   - records of one partition are given out in their order;
//   - a record that can't be read is a change with an Err that holds all of it; none is passed over without a word;
//   - however long the sink takes, the member stays in its group: it polls beside;
//   - secrets of the configuration reach librdkafka and nothing else: not an error, not a log line.
package kafka

import "github.com/syncd-io/syncd"

// Plugin declares the source.
func Plugin() syncd.Plugin {
	return syncd.NewSource("kafka", "Follows topics of Apache Kafka in a consumer group.", defaults(), open).
		WithLabel("Kafka").WithVersion("1", syncd.Experimental)
}
