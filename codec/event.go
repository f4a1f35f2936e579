// Package codec writes changes as events, the form in which byte sinks send them, and names the settings that choose the form.
//
// Invariants:
//   - one document's events always have the same key, whatever their reason and operation;
//   - the text of the id is the same in the key, in documentKey and in fullDocument, since a consumer makes its seed
//     from any of them;
//   - encoding is deterministic and appends to memory of the caller;
//   - a change that can't be encoded is refused by itself, with its own error, and a dead letter can always be encoded.
package codec

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// Event is a change as a byte sink writes it. Key and Value are encoded; the rest says what the event is about. One document's
// events always have the same Key.
type Event struct {
	Target  syncd.Target
	ID      string // the document's id text
	PointID uuid.UUID
	Key     []byte
	Value   []byte // nil is a tombstone
	Headers []Header
	ReadAt  int64 // when the document was read, Unix time in nanoseconds; 0 for a dead letter

	Placement syncd.Placement // set by the sink, when the event is durable
}

// Header is a name and a value that travel beside an event's key and value.
type Header struct {
	Name  string
	Value string
}

// The headers of an event.
const (
	HeaderPointID     = "syncd-point-id"
	HeaderContentType = "syncd-content-type"
	HeaderReadTime    = "syncd-read-time" // when the document was read, RFC 3339 in UTC: a later change is newer
	HeaderRunID       = "syncd-run-id"
	HeaderReason      = "syncd-reason"
	HeaderDocument    = "syncd-document" // DocumentReference, or not there
)

// DocumentReference is the value of HeaderDocument in an event that was too large with its document and was sent without: the
// consumer is to read the document itself.
const DocumentReference = "reference"

// everyHeader names those that every event has, unless they are omitted, in their order. The first ones are what a consumer acts on
// and has from nowhere else: which point and which rule of the index a document belongs to. Which of two events is newer is said by
// Event.ReadAt too, which a sink may write where it costs less.
var everyHeader = [...]string{HeaderPointID, HeaderContentType, HeaderReadTime, HeaderRunID, HeaderReason}

const consumerHeaders = 2

// Headers returns the names of the headers that a sink may omit.
func Headers() []string { return slices.Clone(everyHeader[:]) }

// ConsumerHeaders returns the names of those that a consumer acts on and has from nowhere else.
func ConsumerHeaders() []string { return slices.Clone(everyHeader[:consumerHeaders]) }

// Omission is a set of the headers that every event has: those that are not to be sent. Zero omits none.
type Omission uint8

const (
	omitPointID Omission = 1 << iota
	omitContentType
	omitReadTime
	omitRunID
	omitReason
)

// Only omits all but the headers with these names.
func Only(names []string) (o Omission) {
	for i, name := range everyHeader {
		if !slices.Contains(names, name) {
			o |= 1 << i
		}
	}
	return o
}

// appendHeaders appends the headers that every event has. The point id's is left empty: see Batch.finish.
func (o Omission) appendHeaders(dst []Header, runID string, c *syncd.Change, read string) []Header {
	if o&omitPointID == 0 {
		dst = append(dst, Header{HeaderPointID, ""})
	}
	if o&omitContentType == 0 {
		dst = append(dst, Header{HeaderContentType, c.Target.ContentType})
	}
	if o&omitReadTime == 0 {
		dst = append(dst, Header{HeaderReadTime, read})
	}
	if o&omitRunID == 0 {
		dst = append(dst, Header{HeaderRunID, runID})
	}
	if o&omitReason == 0 {
		dst = append(dst, Header{HeaderReason, c.Reason.String()})
	}
	return dst
}

// readTime is the text of a HeaderReadTime.
func readTime(at int64) string { return time.Unix(0, at).UTC().Format(time.RFC3339Nano) }

// AppendValue appends the event of one document:
//
//	{"operationType":"insert","ns":{"db":"…","coll":"…"},"documentKey":{"_id":"…"},"fullDocument":{…}}
//
// id is the document's id text; doc is nil for a delete, which has no fullDocument. On error, which is the document's own,
// dst is returned as it was.
func AppendValue(dst []byte, op syncd.Operation, target syncd.Target, id string, doc syncd.Document) ([]byte, error) {
	b := append(dst, `{"operationType":"`...)
	b = append(b, op.String()...)
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
