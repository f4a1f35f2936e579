package event_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/event"
)

// TestErrorHeaders holds them to the names of Kafka Connect, since tools for its dead letter queues look for these.
func TestErrorHeaders(t *testing.T) {
	for _, tc := range []struct {
		failure      event.Failure
		stage, class string
	}{
		{event.Failure{Topic: "db.page", Stage: "read", Reason: "no id", Split: 3}, "TASK_POLL", "syncd.DocumentError"},
		{event.Failure{Topic: "db.page", Stage: "encode", Reason: "no id", Split: 3}, "VALUE_CONVERTER", "syncd.DocumentError"},
		{event.Failure{Topic: "db.page", Stage: "write", Reason: "no id", Split: 3}, "KAFKA_PRODUCE", "syncd.DocumentError"},
		{event.Failure{Topic: "db.page", Stage: "write", Reason: "no id", Split: 3, TooLarge: true}, "KAFKA_PRODUCE", "syncd.DocumentTooLarge"},
	} {
		want := []syncd.Header{
			{Name: "__connect.errors.topic", Value: "db.page"},
			{Name: "__connect.errors.connector.name", Value: "syncd"},
			{Name: "__connect.errors.task.id", Value: "3"},
			{Name: "__connect.errors.stage", Value: tc.stage},
			{Name: "__connect.errors.exception.class.name", Value: tc.class},
			{Name: "__connect.errors.exception.message", Value: "no id"},
		}
		if diff := cmp.Diff(want, event.ErrorHeaders(tc.failure)); diff != "" {
			t.Errorf("%+v\n%s", tc.failure, diff)
		}
	}
}
