package codec

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// Encoder writes keys and values of events in the form that a [Config] chose. The zero value writes plain ones: the id's text
// as the key, and [AppendValue]. Encoders are values that never change and are safe for concurrent use; a [Batch] encodes many
// changes at once.
//
// In the profile mongo_kafka, key and value are byte for byte those of the MongoDB Kafka source connector when it copies a
// collection (copy.existing), so that a consumer can't tell who read a document, and a compacted topic keeps one record of it:
//
//	{"_id": …}
//	{"_id": {"_id": …, "copyingData": true}, "operationType": "insert", "documentKey": {"_id": …}, "fullDocument": {…}, "ns": {"db": "…", "coll": "…"}}
//
// The connector never copies a replace or a delete; they have the same shape with another operationType, a delete without
// fullDocument.
//
// A change of a stream is MongoDB's own event, byte for byte what the connector writes of it: the fields are those of the server,
// in the server's order, and the key is the event's documentKey, which on a sharded collection has the shard key's fields as well.
//
// There _id keeps its type, so it comes from the document, and an event without one must guess from the id's text: 24
// lower-case hexadecimal digits are an ObjectId, all else is a string. For other types of ids, and strings that look like an
// ObjectId, key and documentKey then differ from those of the document's other events, and it may go to another partition.
//
// A document must implement [syncd.BSONDocument]. The default format writes NaN and the infinities without quotes, as the
// connector does, though that is not JSON.
//
// Sources: MongoCopyDataManager (field order), StartedMongoSourceTask (key) and RawJsonStringSchemaAndValueProducer of
// mongo-kafka 3.0, JsonConverter of Kafka Connect 3.9.
type Encoder struct {
	tombstones bool // deletes have no value
	typed      bool // the profile is mongo_kafka
	copyID     bool
	// documentOnly writes documents without an event around them; a delete is a tombstone then.
	documentOnly bool
	wire         Wire
	keyWire      Wire
	dialect      bsondoc.JavaDialect
}

// errNotBSON says that a source's documents have no types to keep.
var errNotBSON = errors.New("the source's documents are not BSON, of which the event profile mongo_kafka is made; use plain")

// AppendKey appends the key of a document's events, which is the same for every operation. id is the document's id text; doc
// is nil where the document is gone. On error, which is the document's own, dst is returned as it was.
func (e Encoder) AppendKey(dst []byte, id string, doc syncd.Document) ([]byte, error) {
	if !e.typed {
		return append(dst, id...), nil
	}
	_, docID, err := parts(id, doc)
	if err != nil {
		return dst, err
	}
	if e.keyWire == WireBSON {
		return appendKeyBSON(dst, docID), nil
	}
	b, start := begin(dst, e.keyWire)
	if b, err = e.appendDocumentKey(b, docID); err != nil {
		return dst, err
	}
	return finish(b, start, e.keyWire), nil
}

// AppendValue appends the event of one document. doc is nil for an event without it: a delete, or a mere reference. On error,
// which is the document's own, dst is returned as it was.
func (e Encoder) AppendValue(dst []byte, op syncd.Operation, target syncd.Target, id string, doc syncd.Document) ([]byte, error) {
	if !e.typed {
		return AppendValue(dst, op, target, id, doc)
	}
	raw, docID, err := parts(id, doc)
	if err != nil {
		return dst, err
	}
	return e.appendTyped(dst, op, target, raw, docID)
}

// AppendReference appends the event of a document as AppendValue does, but without fullDocument.
func (e Encoder) AppendReference(dst []byte, op syncd.Operation, target syncd.Target, id string, doc syncd.Document) ([]byte, error) {
	if !e.typed {
		return AppendValue(dst, op, target, id, nil)
	}
	_, docID, err := parts(id, doc)
	if err != nil {
		return dst, err
	}
	return e.appendTyped(dst, op, target, nil, docID)
}

// appendTyped appends an event of the profile mongo_kafka; raw is nil for one without its document.
func (e Encoder) appendTyped(dst []byte, op syncd.Operation, target syncd.Target, raw bson.Raw, docID bson.RawValue) ([]byte, error) {
	var err error
	if e.documentOnly {
		if raw == nil { // a reference
			raw = appendKeyBSON(nil, docID)
		}
		return e.appendDocument(dst, raw)
	}
	if e.wire == WireBSON {
		return e.appendValueBSON(dst, op, target, raw, docID)
	}
	b, start := begin(dst, e.wire)
	if b, err = e.appendValueJSON(b, op, target, raw, docID); err != nil {
		return dst, err
	}
	return finish(b, start, e.wire), nil
}

// appendDocument appends a document as a value on the wire.
func (e Encoder) appendDocument(dst []byte, doc bson.Raw) ([]byte, error) {
	if e.wire == WireBSON {
		if err := bsondoc.Validate(doc); err != nil {
			return dst, err
		}
		return append(dst, doc...), nil
	}
	b, start := begin(dst, e.wire)
	b, err := bsondoc.AppendJavaJSON(b, doc, e.dialect)
	if err != nil {
		return dst, err
	}
	return finish(b, start, e.wire), nil
}

// parts returns a document's bytes, nil if there is none, and its _id.
func parts(id string, doc syncd.Document) (bson.Raw, bson.RawValue, error) {
	if doc == nil {
		return nil, guessID(id), nil
	}
	d, ok := doc.(syncd.BSONDocument)
	if !ok {
		return nil, bson.RawValue{}, errNotBSON
	}
	raw := bson.Raw(d.BSON())
	docID, ok := bsondoc.ID(raw)
	if !ok {
		if err := bsondoc.Validate(raw); err != nil { // damage may hide it
			return nil, docID, err
		}
		return nil, docID, fmt.Errorf("reading _id: %w", bsondoc.ErrNoID)
	}
	return raw, docID, nil
}

// guessID returns the _id that a text most likely stands for.
func guessID(text string) bson.RawValue {
	if oid, err := hex.DecodeString(text); err == nil && len(oid) == len(bson.ObjectID{}) && hex.EncodeToString(oid) == text {
		return bson.RawValue{Type: bson.TypeObjectID, Value: oid}
	}
	return bson.RawValue{Type: bson.TypeString, Value: bsoncore.AppendString(nil, text)}
}

// appendDocumentKey appends {"_id": …}.
func (e Encoder) appendDocumentKey(b []byte, id bson.RawValue) ([]byte, error) {
	b, err := bsondoc.AppendJavaValue(append(b, `{"_id": `...), id, e.dialect)
	if err != nil {
		return b, fmt.Errorf("writing _id: %w", err)
	}
	return append(b, '}'), nil
}

// appendValueJSON is AppendValue before the wire form. On error what it returns is of no use.
func (e Encoder) appendValueJSON(b []byte, op syncd.Operation, target syncd.Target, raw bson.Raw, id bson.RawValue) ([]byte, error) {
	var err error
	b = append(b, '{')
	if e.copyID {
		if b, err = e.appendDocumentKey(append(b, `"_id": `...), id); err != nil {
			return b, err
		}
		b = append(b[:len(b)-1], `, "copyingData": true}, `...)
	}
	b = append(append(b, `"operationType": "`...), op.String()...)
	if b, err = e.appendDocumentKey(append(b, `", "documentKey": `...), id); err != nil {
		return b, err
	}
	if raw != nil {
		if b, err = bsondoc.AppendJavaJSON(append(b, `, "fullDocument": `...), raw, e.dialect); err != nil {
			return b, err
		}
	}
	if b, err = bsondoc.AppendJavaString(append(b, `, "ns": {"db": `...), target.Database); err != nil {
		return b, err
	}
	if b, err = bsondoc.AppendJavaString(append(b, `, "coll": `...), target.Collection); err != nil {
		return b, err
	}
	return append(b, "}}"...), nil
}

// What the JsonConverter of Kafka Connect writes around a string.
const (
	schemaOpen  = `{"schema":{"type":"string","optional":false},"payload":`
	schemaClose = '}'
)

// begin appends what stands before a JSON text on the wire, and returns where the text starts.
func begin(dst []byte, w Wire) (out []byte, start int) {
	if w == WireConnectJSONSchema {
		dst = append(dst, schemaOpen...)
	}
	return dst, len(dst)
}

// finish puts the JSON text from start on into its wire form.
func finish(b []byte, start int, w Wire) []byte {
	switch w {
	case WireConnectJSON:
		return quote(b, start)
	case WireConnectJSONSchema:
		return append(quote(b, start), schemaClose)
	}
	return b
}

// quote makes a JSON string of the JSON text from start on, in its place. A text of the Java dialects has no control
// characters, so quotes and backslashes are all there is to escape.
func quote(b []byte, start int) []byte {
	more := 2
	for _, c := range b[start:] {
		if c == '"' || c == '\\' {
			more++
		}
	}
	from := len(b)
	b = slices.Grow(b, more)[:from+more]
	to := len(b) - 1
	b[to] = '"'
	for from > start { // from behind, so that nothing is overwritten before it has moved
		from--
		to--
		b[to] = b[from]
		if b[from] == '"' || b[from] == '\\' {
			to--
			b[to] = '\\'
		}
	}
	b[start] = '"'
	return b
}

// The functions below write the same documents as BSON. Their inputs hold no lengths that could overflow: a stored document
// has at most 16 MiB.

func appendKeyBSON(dst []byte, id bson.RawValue) []byte {
	at, dst := bsoncore.AppendDocumentStart(dst)
	dst = appendElement(dst, "_id", id)
	return end(dst, at)
}

func (e Encoder) appendValueBSON(dst []byte, op syncd.Operation, target syncd.Target, raw bson.Raw, id bson.RawValue) ([]byte, error) {
	if raw != nil {
		if err := bsondoc.Validate(raw); err != nil {
			return dst, err
		}
	}
	at, b := bsoncore.AppendDocumentStart(dst)
	var inner int32
	if e.copyID {
		inner, b = bsoncore.AppendDocumentElementStart(b, "_id")
		b = appendElement(b, "_id", id)
		b = end(bsoncore.AppendBooleanElement(b, "copyingData", true), inner)
	}
	b = bsoncore.AppendStringElement(b, "operationType", op.String())
	b = appendKeyBSON(bsoncore.AppendHeader(b, bsoncore.TypeEmbeddedDocument, "documentKey"), id)
	if raw != nil {
		b = bsoncore.AppendDocumentElement(b, "fullDocument", bsoncore.Document(raw))
	}
	inner, b = bsoncore.AppendDocumentElementStart(b, "ns")
	b = bsoncore.AppendStringElement(b, "db", target.Database)
	b = bsoncore.AppendStringElement(b, "coll", target.Collection)
	return end(end(b, inner), at), nil
}

func appendElement(dst []byte, name string, v bson.RawValue) []byte {
	return append(bsoncore.AppendHeader(dst, bsoncore.Type(v.Type), name), v.Value...)
}

// end closes the document that began at the given place.
func end(b []byte, at int32) []byte {
	b = append(b, 0)
	return bsoncore.UpdateLength(b, at, int32(len(b))-at)
}
