package codec

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// The headers of a dead letter, as Kafka Connect names them (DeadLetterQueueReporter, KIP-298), so that tools made for its
// dead letter queues read these.
const (
	HeaderErrorTopic     = "__connect.errors.topic"
	HeaderErrorPartition = "__connect.errors.partition" // of a record that was read
	HeaderErrorOffset    = "__connect.errors.offset"    // likewise
	HeaderErrorConnector = "__connect.errors.connector.name"
	HeaderErrorTask      = "__connect.errors.task.id"
	HeaderErrorStage     = "__connect.errors.stage"
	HeaderErrorClass     = "__connect.errors.exception.class.name"
	HeaderErrorMessage   = "__connect.errors.exception.message"
)

// AppendErrorHeaders appends the headers that say why an event is a dead letter. They stand behind the event's own.
func AppendErrorHeaders(dst []Header, e *syncd.DocumentError) []Header {
	class := "syncd.DocumentError"
	route, record := e.Route, recordOf(e)
	switch {
	case record != nil:
		class, route = "syncd.RecordError", record.Topic
	case errors.Is(e.Cause, syncd.ErrTooLarge):
		class = "syncd.DocumentTooLarge"
	}
	if record != nil {
		dst = appendRecordHeaders(dst, record)
	}
	return append(dst,
		Header{HeaderErrorTopic, route},
		Header{HeaderErrorConnector, "syncd"},
		Header{HeaderErrorTask, strconv.Itoa(e.Split)},
		Header{HeaderErrorStage, connectStage(e.Stage)},
		Header{HeaderErrorClass, class},
		Header{HeaderErrorMessage, e.Cause.Error()},
	)
}

// recordOf is the record that a source could make no change of, or nil.
func recordOf(e *syncd.DocumentError) *syncd.RecordError {
	r, _ := errors.AsType[*syncd.RecordError](e.Cause)
	return r
}

// appendRecordHeaders appends the headers of a record, and where it stands. Headers of the names that a letter has itself are left out.
func appendRecordHeaders(dst []Header, r *syncd.RecordError) []Header {
	for _, h := range r.Headers {
		if !strings.HasPrefix(h.Name, "__connect.errors.") && !slices.Contains(everyHeader[:], h.Name) {
			dst = append(dst, Header{h.Name, string(h.Value)})
		}
	}
	return append(dst, Header{HeaderErrorPartition, strconv.Itoa(int(r.Partition))}, Header{HeaderErrorOffset, strconv.FormatInt(r.Offset, 10)})
}

// connectStage is Kafka Connect's word for where a document failed.
func connectStage(s syncd.FailedStage) string {
	switch s {
	case syncd.FailedRead:
		return "TASK_POLL"
	case syncd.FailedTransform:
		return "TRANSFORMATION"
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
//   - of a record that no change could be made of: its key and its value, as they were;
//   - what failed when it was written: its own key and event, without the document where that is too large;
//   - what failed when it was read, transformed or encoded: its id's text, and the document as relaxed Extended JSON, or, where it has no
//     such form, {"bson":{"$binary":…}} with its bytes;
//   - where the document is not known: its id's text, and an event without it.
//
// Where one of these can't be written either, the next that can is taken, and at last an empty object.
func (e Encoder) appendLetter(dst []byte, c *syncd.Change, failed *syncd.DocumentError) (out []byte, keySize int) {
	if r := recordOf(failed); r != nil {
		return append(append(dst, r.Key...), r.Value...), len(r.Key)
	}
	reference := c.Reference || errors.Is(failed.Cause, syncd.ErrTooLarge)
	switch failed.Stage {
	case syncd.FailedWrite:
		if out, keySize, err := e.appendEvent(dst, c, reference); err == nil {
			return out, keySize
		}
	case syncd.FailedRead, syncd.FailedTransform, syncd.FailedEncode:
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

// ReadLetter reads a dead letter back; ok is false for what is none. key is that of an event in either form, or the id's text.
func ReadLetter(headers []Header, key, value []byte) (l syncd.DeadLetter, ok bool) {
	for _, h := range headers {
		switch h.Name {
		case HeaderErrorTopic:
			l.Route = h.Value
		case HeaderErrorStage:
			l.Stage, ok = h.Value, true
		case HeaderErrorClass:
			l.Class = h.Value
		case HeaderErrorMessage:
			l.Reason = h.Value
		case HeaderContentType:
			l.ContentType = h.Value
		case HeaderRunID:
			l.RunID = h.Value
		case HeaderReadTime:
			l.At, _ = time.Parse(time.RFC3339, h.Value) // the place may know it better
		}
	}
	l.ID, l.Value = idOfKey(key), value
	return l, ok
}

// idOfKey is the id's text of an event's key: the text itself, or what the _id is of a key of mongo_kafka, in any of its wire forms.
func idOfKey(key []byte) string {
	text := key
	for range 3 { // a JSON string or a schema's payload stands around it
		var quoted string
		var wrapped struct {
			Schema  json.RawMessage `json:"schema"`
			Payload *string         `json:"payload"`
		}
		if json.Unmarshal(text, &quoted) == nil && len(quoted) > 0 && quoted[0] == '{' {
			text = []byte(quoted)
		} else if json.Unmarshal(text, &wrapped) == nil && wrapped.Schema != nil && wrapped.Payload != nil {
			text = []byte(*wrapped.Payload)
		} else {
			break
		}
	}
	raw := bson.Raw(key)
	if len(text) > 0 && text[0] == '{' {
		raw = nil // what is read into it must not be written over the key
		if bson.UnmarshalExtJSON(text, false, &raw) != nil {
			return string(key)
		}
	}
	if raw.Validate() != nil {
		return string(key)
	}
	id, err := raw.LookupErr("_id")
	if inner, ok := id.DocumentOK(); err == nil && ok { // an event without a resume token has the document's key there
		if v, err := inner.LookupErr("_id"); err == nil {
			id = v
		}
	}
	if err == nil {
		if out, err := bsondoc.AppendIDText(nil, id); err == nil {
			return string(out)
		}
	}
	return string(key)
}
