package event

import (
	"strconv"

	"github.com/syncd-io/syncd"
)

// The headers of a dead letter, as Kafka Connect names them (DeadLetterQueueReporter, KIP-298), so that tools made for its
// dead letter queues read these.
const (
	HeaderErrorTopic     = "__connect.errors.topic"
	HeaderErrorConnector = "__connect.errors.connector.name"
	HeaderErrorTask      = "__connect.errors.task.id"
	HeaderErrorStage     = "__connect.errors.stage"
	HeaderErrorClass     = "__connect.errors.exception.class.name"
	HeaderErrorMessage   = "__connect.errors.exception.message"
)

// Failure says why a document became a dead letter.
type Failure struct {
	Topic    string // where its event would have gone
	Stage    string // read, encode or write
	Reason   string
	TooLarge bool
	Split    int
}

// stages are Kafka Connect's words for where it failed.
var stages = map[string]string{"read": "TASK_POLL", "encode": "VALUE_CONVERTER", "write": "KAFKA_PRODUCE"}

// ErrorHeaders returns the headers that say why an event is a dead letter. They stand beside the event's own.
func ErrorHeaders(f Failure) []syncd.Header {
	class := "syncd.DocumentError"
	if f.TooLarge {
		class = "syncd.DocumentTooLarge"
	}
	return []syncd.Header{
		{Name: HeaderErrorTopic, Value: f.Topic},
		{Name: HeaderErrorConnector, Value: "syncd"},
		{Name: HeaderErrorTask, Value: strconv.Itoa(f.Split)},
		{Name: HeaderErrorStage, Value: stages[f.Stage]},
		{Name: HeaderErrorClass, Value: class},
		{Name: HeaderErrorMessage, Value: f.Reason},
	}
}
