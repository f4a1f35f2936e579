package codec

import (
	"errors"
	"slices"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/hexid"
)

// Batch is the events of some changes and the memory that they are made in. The next Encode uses that memory again: events,
// keys, values and headers are valid until then. The zero value is ready for use. A Batch is not safe for concurrent use.
type Batch struct {
	Events      []Event  // of the changes that can be encoded, in the order of the changes
	Omit        Omission // headers that the events are not to have
	OmitLetters Omission // headers that dead letters are not to have

	refused *syncd.BatchError // the changes that can't be encoded; nil if there are none
	bytes   []byte            // keys and values, event by event
	headers []Header          // event by event
	points  []byte            // the texts of point ids for the events that have them in a header, each of uuidSize bytes
	readAt  int64             // of the change before
	read    string            // the text of readAt
}

// largeDocument is the size in bytes from which on memory for an event is taken before it is encoded.
const largeDocument = 64 << 10

// uuidSize is the length of an id as text.
const uuidSize = 36

// Encode makes the events of changes, for a run with the given id, in place of those that the batch held. A change with Err is a
// dead letter, whose headers say why. A change that can't be encoded has no event; Refused and Settle name it.
func (b *Batch) Encode(e Encoder, runID string, changes []syncd.Change) {
	b.begin(changes)
	for i := range changes {
		if err := b.add(e, runID, &changes[i]); err != nil {
			if b.refused == nil {
				b.refused = &syncd.BatchError{}
			}
			b.refused.Fail(i, err)
		}
	}
	b.finish()
}

// begin forgets what the batch held, and makes room for the events of changes: to grow to some megabytes by and by would copy them
// several times over. JSON is about as large as BSON.
func (b *Batch) begin(changes []syncd.Change) {
	const perEvent = 128 // for its key, and what stands around the document
	room := len(changes) * perEvent
	for i := range changes {
		if d := changes[i].Document; d != nil {
			room += d.Size() + d.Size()/8
		}
	}
	b.Events, b.bytes = slices.Grow(b.Events[:0], len(changes)), slices.Grow(b.bytes[:0], room)
	b.headers, b.points = b.headers[:0], slices.Grow(b.points[:0], len(changes)*uuidSize)
	b.refused = nil
}

// add encodes one change.
func (b *Batch) add(e Encoder, runID string, c *syncd.Change) error {
	start := len(b.bytes)
	if c.Document != nil && c.Document.Size() > largeDocument { // it would be copied again and again while the slice grows
		b.bytes = slices.Grow(b.bytes, c.Document.Size()+c.Document.Size()/8)
	}
	bytes, keySize, err := e.appendChange(b.bytes, c)
	if err != nil {
		return err
	}
	event := Event{Target: *c.Target, ID: c.ID, PointID: c.PointID, Key: bytes[start : start+keySize]}
	if len(bytes) > start+keySize {
		event.Value = bytes[start+keySize:]
	}
	omit := b.Omit
	if c.Err != nil {
		omit = b.OmitLetters
	} else {
		event.ReadAt = c.ReadAt
	}
	if omit&omitReadTime == 0 && (b.read == "" || c.ReadAt != b.readAt) { // most changes of a batch were read at one time
		b.readAt, b.read = c.ReadAt, readTime(c.ReadAt)
	}
	from := len(b.headers)
	b.headers = omit.appendHeaders(b.headers, runID, c, b.read)
	switch {
	case c.Err != nil:
		b.headers = AppendErrorHeaders(b.headers, documentError(c))
	case c.Reference && c.Operation != syncd.Delete:
		b.headers = append(b.headers, Header{HeaderDocument, DocumentReference})
	}
	event.Headers = b.headers[from:]
	b.bytes = bytes
	if omit&omitPointID == 0 {
		b.points = hexid.AppendUUID(b.points, (*[16]byte)(&c.PointID))
	}
	b.Events = append(b.Events, event)
	return nil
}

// finish points every event to its bytes and headers, which may have moved while others were added, and makes the texts of all
// point ids one string.
func (b *Batch) finish() {
	points, bytes, headers := string(b.points), b.bytes, b.headers
	for i := range b.Events {
		event := &b.Events[i]
		event.Key, bytes = cut(bytes, len(event.Key))
		if event.Value != nil {
			event.Value, bytes = cut(bytes, len(event.Value))
		}
		event.Headers, headers = cut(headers, len(event.Headers))
		if h := event.Headers; len(h) > 0 && h[0].Name == HeaderPointID {
			h[0].Value, points = points[:uuidSize], points[uuidSize:]
		}
	}
}

// cut returns the first n elements of s, to which nothing can be appended in place, and the others.
func cut[T any](s []T, n int) (first, rest []T) { return s[:n:n], s[n:] }

// Refused is a *syncd.BatchError of the changes that Encode made no event of, or nil. Their errors wrap syncd.ErrNotEncodable.
func (b *Batch) Refused() error {
	if b.refused == nil {
		return nil
	}
	return b.refused
}

// Settle tells changes, those of the last Encode, what became of their events. err is a sink's answer about Events as in
// [syncd.Sink.Write]; what is returned is the same about changes, and names those without an event as well. The changes whose
// events are durable get their Placement and Bytes.
func (b *Batch) Settle(changes []syncd.Change, err error) error {
	failed, partial := errors.AsType[*syncd.BatchError](err)
	if err != nil && !partial {
		return err
	}
	out := &syncd.BatchError{}
	next := 0
	for i := range changes {
		if b.refused != nil && b.refused.Of(i) != nil {
			out.Fail(i, b.refused.Of(i))
			continue
		}
		event := &b.Events[next]
		if partial && failed.Of(next) != nil {
			out.Fail(i, failed.Of(next))
		} else {
			changes[i].Placement, changes[i].Bytes = event.Placement, int32(len(event.Key)+len(event.Value))
		}
		next++
	}
	return out.OrNil()
}

// notEncodableError is the refusal of a change that can't be encoded. Its text is its cause's.
type notEncodableError struct{ cause error }

func (e *notEncodableError) Error() string { return e.cause.Error() }

// Unwrap returns the cause, and what it means.
func (e *notEncodableError) Unwrap() []error { return []error{e.cause, syncd.ErrNotEncodable} }

// NotEncodable returns cause as an error with the same text that also wraps syncd.ErrNotEncodable.
func NotEncodable(cause error) error { return &notEncodableError{cause} }

// errNoDocument refuses a change that was to carry a document and has none. The engine sends no such change.
var errNoDocument = errors.New("the change has no document")

// appendChange appends the key and the value of a change's event, or of its dead letter; a tombstone has no value. On error,
// which is the document's own and wraps syncd.ErrNotEncodable, dst is returned as it was.
func (e Encoder) appendChange(dst []byte, c *syncd.Change) (out []byte, keySize int, err error) {
	if c.Err != nil {
		out, keySize = e.appendLetter(dst, c, documentError(c))
		return out, keySize, nil //nolint:nilerr // the letter says it
	}
	if out, keySize, err = e.appendEvent(dst, c, c.Reference); err != nil {
		return dst, 0, NotEncodable(err)
	}
	return out, keySize, nil
}

// appendEvent appends the key and the value of a change's event, without its document if it is a mere reference.
func (e Encoder) appendEvent(dst []byte, c *syncd.Change, reference bool) (out []byte, keySize int, err error) {
	if e.typed && c.Streamed != nil && c.Streamed.Raw != nil {
		return e.appendStreamed(dst, c, reference)
	}
	if out, err = e.AppendKey(dst, c.ID, c.Document); err != nil {
		return dst, 0, err
	}
	keySize = len(out) - len(dst)
	switch {
	case c.Operation == syncd.Delete && e.tombstones:
	case c.Operation == syncd.Delete || reference:
		out, err = e.AppendReference(out, c.Operation, *c.Target, c.ID, c.Document)
	case c.Document == nil:
		err = errNoDocument
	default:
		out, err = e.AppendValue(out, c.Operation, *c.Target, c.ID, c.Document)
	}
	if err != nil {
		return dst, 0, err
	}
	return out, keySize, nil
}

// Preview is the key and the value of the event of one change; see [syncd.Previewer].
func (e Encoder) Preview(c *syncd.Change) (key, value []byte, err error) {
	out, keySize, err := e.appendChange(nil, c)
	if err != nil {
		return nil, nil, err
	}
	key = out[:keySize:keySize]
	if len(out) > keySize {
		value = out[keySize:]
	}
	return key, value, nil
}
