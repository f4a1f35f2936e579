package kafka

import (
	"testing"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// TestMemberOf pins the form in which librdkafka passes memberships on: without reading it, a process could not tell that it has none.
func TestMemberOf(t *testing.T) {
	none, err := ck.NewTestConsumerGroupMetadata("group")
	if err != nil {
		t.Fatal(err)
	}
	if member, err := memberOf(none); member != "" || err != nil {
		t.Errorf("no membership is that of %q, %v", member, err)
	}
	if _, err := memberOf(&ck.ConsumerGroupMetadata{}); err == nil {
		t.Error("another form was taken")
	}
}
