package codec

import (
	"encoding/base64"
	"errors"
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

// AppendErrorHeaders appends the headers that say why an event is a dead letter. They stand behind the event's own.
func AppendErrorHeaders(dst []Header, e *syncd.DocumentError) []Header {
	class := "syncd.DocumentError"
	if errors.Is(e.Cause, syncd.ErrTooLarge) {
		class = "syncd.DocumentTooLarge"
	}
	return append(dst,
		Header{HeaderErrorTopic, e.Route},
		Header{HeaderErrorConnector, "syncd"},
		Header{HeaderErrorTask, strconv.Itoa(e.Split)},
		Header{HeaderErrorStage, connectStage(e.Stage)},
		Header{HeaderErrorClass, class},
		Header{HeaderErrorMessage, e.Cause.Error()},
	)
}

// connectStage is Kafka Connect's word for where a document failed.
func connectStage(s syncd.FailedStage) string {
	switch s {
	case syncd.FailedRead:
		return "TASK_POLL"
	case syncd.FailedEncode:
		return "VALUE_CONVERTER"
	case syncd.FailedWrite:
		return "KAFKA_PRODUCE"
	}
	return string(s)
}

// documentError is the error of a change that is a dead letter. A sink is only given a *syncd.DocumentError; any other error is
// taken for one of reading, so that it reaches the reader of the letters all the same.
func documentError(c *syncd.Change) *syncd.DocumentError {
	if e, ok := errors.AsType[*syncd.DocumentError](c.Err); ok {
		return e
	}
	return &syncd.DocumentError{Stage: syncd.FailedRead, Route: c.Target.Collection, Cause: c.Err}
}

// appendLetter appends the key and the value of a dead letter, which hold what there is of the document:
//   - what failed when it was written: its own key and event, without the document where that is too large;
//   - what failed when it was read or encoded: its id's text, and the document as relaxed Extended JSON, or, where it has no
//     such form, {"bson":{"$binary":…}} with its bytes;
//   - where the document is not known: its id's text, and an event without it.
//
// Where one of these can't be written either, the next that can is taken, and at last an empty object.
func (e Encoder) appendLetter(dst []byte, c *syncd.Change, failed *syncd.DocumentError) (out []byte, keySize int) {
	reference := c.Reference || errors.Is(failed.Cause, syncd.ErrTooLarge)
	switch failed.Stage {
	case syncd.FailedWrite:
		if out, keySize, err := e.appendEvent(dst, c, reference); err == nil {
			return out, keySize
		}
	case syncd.FailedRead, syncd.FailedEncode:
		if c.Document == nil || reference {
			break
		}
		if out, err := c.Document.AppendJSON(append(dst, c.ID...), syncd.Relaxed); err == nil {
			return out, len(c.ID)
		}
		if d, ok := c.Document.(syncd.BSONDocument); ok {
			dst = append(append(dst, c.ID...), `{"bson":{"$binary":{"base64":"`...)
			return append(base64.StdEncoding.AppendEncode(dst, d.BSON()), `","subType":"00"}}}`...), len(c.ID)
		}
	}
	dst = append(dst, c.ID...)
	if out, err := e.AppendValue(dst, c.Operation, *c.Target, c.ID, nil); err == nil {
		return out, len(c.ID)
	}
	return append(dst, "{}"...), len(c.ID)
}
