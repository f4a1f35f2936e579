package syncd

import "github.com/google/uuid"

// Change is one document on its way from a source to a sink, through all stages between. Who sets what is said at the fields.
type Change struct {
	// The source sets these.

	Key      Key     // "" if the document has none
	ID       string  // the id's text, as point ids are made from it; see the mapping rules
	Fields   []Value // aligned with ReadRequest.Fields
	Document Document
	// Err is why this one document can't be handled (no id, a corrupt field); ID and Key may then be empty. For the sink of dead
	// letters it is a *DocumentError.
	Err error

	// The engine sets these.

	Target    *Target // shared by all changes of a collection, and never changed
	PointID   uuid.UUID
	Operation Operation
	Reason    Reason
	Verdict   Verdict
	Reference bool // it is to go without its document, which is too large
	// Bytes is the size of what was written, with its key; 0 where the sink writes no bytes. The sink sets it. It stands here to
	// keep the struct small: a run holds one for every document that it looks at.
	Bytes  int32
	ReadAt int64 // no later than the document was read, in nanoseconds of Unix time; 0 is not known

	// Streamed is set by the source in the changes of a stream, and nil in those of a snapshot. Such a change has its Operation
	// from the source as well.
	Streamed *Streamed

	// Content is what stages made of the document, and what the index holds of it; nil without stages.
	Content *Content

	// The sink sets these when the change is durable.

	Placement Placement
}

// Key identifies a document inside its collection. It is opaque to all but the source that made it: lossless, stable
// across runs of one version, and comparable for equality only.
type Key string

// Value is a field of a document as text, the same text that a seed template renders.
type Value struct {
	Text string
	Set  bool // false when the document lacks the field or holds null there
}

// Operation is what a change asks of the indexer, in the words of MongoDB's change streams.
type Operation uint8

// The operations.
const (
	Insert Operation = iota
	Replace
	Delete
	Update
)

// String gives the operation's word.
func (o Operation) String() string { return [...]string{"insert", "replace", "delete", "update"}[o] }

// Reason is why a change is sent.
type Reason uint8

// The reasons.
const (
	ReasonMissing Reason = iota // the index said that the point is not there
	ReasonStale                 // the index holds another version of the document
	ReasonPartial               // the index lacks some of the document's chunks
	ReasonOrphan                // the index holds a point whose document is gone
	ReasonFull                  // every document is sent without asking
	ReasonChanged               // the source said that it was changed
	ReasonModel                 // the index holds the document with vectors of another model
)

// String gives the reason's word.
func (r Reason) String() string {
	return [...]string{"missing", "stale", "partial", "orphan", "full", "changed", "model"}[r]
}

// Verdict is what the index says about a document.
type Verdict uint8

// The verdicts. The zero value is Unknown, so that a forgotten entry is never taken for an answer.
const (
	Unknown Verdict = iota // not answered; never sent as missing by accident
	Present                // there, and as the rule wants it
	Missing                // asked, and not there
	Stale                  // there, but of another version of the document
	Partial                // there, but some of its chunks are not
	Orphan                 // there, but its document is gone
)

// String gives the verdict's word.
func (v Verdict) String() string {
	return [...]string{"unknown", "present", "missing", "stale", "partial", "orphan"}[v]
}

// Placement is where a reader of the target finds what was written: a Kafka partition and offset.
type Placement struct {
	Offset    int64
	Partition int32
	Known     bool
}

// Dialect is a way to write a document as JSON.
type Dialect uint8

// The dialects.
const (
	// Plain is what a consumer reads without a BSON library: ids as text, dates ISO 8601 UTC, decimals as text,
	// 64-bit integers as numbers, binary as base64, UUIDs as UUID text.
	Plain Dialect = iota
	// Relaxed is MongoDB Extended JSON v2, relaxed.
	Relaxed
	// Canonical is MongoDB Extended JSON v2, canonical.
	Canonical
)

// Document is a whole document in its source's own form. It is immutable and safe for concurrent use.
type Document interface {
	// Lookup returns the field at a dotted path as text. An error means that the field is there and can't be read.
	Lookup(path string) (Value, error)
	// AppendJSON appends the document as one JSON object without insignificant space. On error dst is returned as it
	// was. In the Plain dialect the top-level _id is the change's ID as a JSON string.
	AppendJSON(dst []byte, dialect Dialect) ([]byte, error)
	// Size is the document's size in bytes as it is stored or was read.
	Size() int
}

// BSONDocument is implemented by a document that is BSON in its source. Events that keep BSON's types, such as those of the
// MongoDB Kafka connector's form, are made of its bytes; a document that lacks them can't be sent in that form.
type BSONDocument interface {
	Document
	// BSON returns the whole document, top-level _id included. Nobody changes the bytes, neither caller nor document.
	BSON() []byte
}
