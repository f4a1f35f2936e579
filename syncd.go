// Package syncd is the plugin API: what a source, a checker and a sink are, and how a plugin declares itself. Plugin
// authors import this package and no other of the module.
//
// The engine reads record keys from a [Source], computes each document's point id, asks a [Checker] what the index holds,
// fetches the documents that it lacks, and hands events to a [Sink].
//
// Invariants:
//   - plugins own no goroutine that outlives Close, and nothing they do outlives the context they were given;
//   - every method named safe for concurrent use is called concurrently;
//   - "could not ask" is an error, never a verdict: a Checker that can't tell returns an error;
//   - nothing here keeps global state; registries are values.
package syncd

import (
	"log/slog"

	"github.com/google/uuid"
)

// Collection names a collection of a source and the part of it that a run reads.
type Collection struct {
	Name   string
	Filter string // Extended JSON of a query in the source's language; empty means every document
}

// Key identifies a document inside its collection. It is opaque to all but the source that made it: lossless, stable
// across runs of one version, and comparable for equality only.
type Key string

// Value is a field of a document as text, the same text that a seed template renders.
type Value struct {
	Text string
	Set  bool // false when the document lacks the field or holds null there
}

// Record is one document as a scan sees it.
type Record struct {
	Key      Key
	ID       string   // the id's text, as point ids are made from it; see the mapping rules
	Fields   []Value  // aligned with ScanRequest.Fields
	Document Document // nil unless ScanRequest.Documents
	Err      error    // why this one document can't be handled (no id, a corrupt field); ID and Key may then be empty
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
	// was. In the Plain dialect the top-level _id is the record's ID as a JSON string.
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

// Point is a question to a checker: what does the index hold under this id?
type Point struct {
	ID uuid.UUID
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
	switch v {
	case Present:
		return "present"
	case Missing:
		return "missing"
	case Stale:
		return "stale"
	case Partial:
		return "partial"
	case Orphan:
		return "orphan"
	}
	return "unknown"
}

// Env is what the host gives a plugin when it opens it.
type Env struct {
	// Logger takes notices about the connection (a port that was mapped, a missing collection). Plugins log nothing
	// per document, and never log what they return as an error. A plugin never gets nil: a host that sets none
	// discards them.
	Logger *slog.Logger
	// Retried is called each time that a plugin asks again after a failure, with the reason in a word or two that come
	// from a fixed set, such as an error code's name. It is safe for concurrent use. A plugin never gets nil.
	Retried func(reason string)
}
