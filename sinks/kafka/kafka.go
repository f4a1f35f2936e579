// Package kafka is the sink that produces events to Apache Kafka through librdkafka (confluent-kafka-go).
//
// Invariants:
//   - the producer is idempotent and waits for all in-sync replicas; no setting can weaken that;
//   - Write returns nil only after a delivery report of every event that says where it is, and can be true: any other is no proof
//     that the event arrived, and it is sent anew (see judge);
//   - with delivery: exactly_once, and only then, the sink has the abilities Marks, Commit and PeekMarks: events and marks are
//     committed together or not at all, and no transaction stays open between calls;
//   - only what is known to be a document's own fault (its size, its content) is blamed on the document: every other
//     failed delivery wraps syncd.ErrUnavailable, and a producer that can't go on is an error of the whole Write;
//   - asking whether a topic exists never creates it;
//   - a full queue is backpressure: memory is bounded by queue.max_bytes, whatever the number of writers;
//   - secrets of the configuration reach librdkafka and nothing else: not an error, not a log line.
//
// librdkafka's settings are named after its CONFIGURATION.md.
package kafka

import "github.com/syncd-io/syncd"

// Plugin declares the sink.
func Plugin() syncd.Plugin {
	return syncd.NewSink("kafka", "Produces events to Apache Kafka and waits for their acknowledgement.", defaults(), open).
		WithLabel("Kafka").WithVersion("1", syncd.Stable)
}
