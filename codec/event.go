// Package event writes what a run sends: the change event of one document, as an indexing consumer reads it.
//
// Invariants:
//   - one document's events always have the same key, the text of its id, whatever their reason;
//   - the text of the id is the same in the key, in documentKey and in fullDocument, since a consumer makes its seed
//     from any of them;
//   - encoding is deterministic and appends to the caller's buffer.
package event

import (
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// The headers of an event.
const (
	HeaderRunID       = "syncd-run-id"
	HeaderReason      = "syncd-reason"
	HeaderPointID     = "syncd-point-id"
	HeaderContentType = "syncd-content-type"
	HeaderDocument    = "syncd-document"  // DocumentReference, or not there
	HeaderReadTime    = "syncd-read-time" // when the document was read, RFC 3339 in UTC: a later change is newer
)

// DocumentReference is the value of HeaderDocument in an event that was too large with its document and was sent without: the
// consumer is to read the document itself.
const DocumentReference = "reference"

// Headers returns the headers of one event.
func Headers(runID string, reason syncd.Reason, point uuid.UUID, contentType string, read time.Time) []syncd.Header {
	return []syncd.Header{
		{Name: HeaderRunID, Value: runID},
		{Name: HeaderReason, Value: string(reason)},
		{Name: HeaderPointID, Value: point.String()},
		{Name: HeaderContentType, Value: contentType},
		{Name: HeaderReadTime, Value: read.UTC().Format(time.RFC3339Nano)},
	}
}

// AppendValue appends the event of one document:
//
//	{"operationType":"insert","ns":{"db":"…","coll":"…"},"documentKey":{"_id":"…"},"fullDocument":{…}}
//
// id is the document's id text; doc is nil for a delete, which has no fullDocument. On error, which is the document's own,
// dst is returned as it was.
func AppendValue(dst []byte, op syncd.Operation, target syncd.Target, id string, doc syncd.Document) ([]byte, error) {
	b := append(dst, `{"operationType":"`...)
	b = append(b, op...)
	b = append(b, `","ns":{"db":`...)
	var err error
	if b, err = bsondoc.AppendJSONString(b, target.Database); err != nil {
		return dst, err
	}
	b = append(b, `,"coll":`...)
	if b, err = bsondoc.AppendJSONString(b, target.Collection); err != nil {
		return dst, err
	}
	b = append(b, `},"documentKey":{"_id":`...)
	if b, err = bsondoc.AppendJSONString(b, id); err != nil {
		return dst, err
	}
	b = append(b, '}')
	if doc != nil {
		b = append(b, `,"fullDocument":`...)
		if b, err = doc.AppendJSON(b, syncd.Plain); err != nil {
			return dst, err
		}
	}
	return append(b, '}'), nil
}
