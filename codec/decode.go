package codec

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/bsondoc"
	"github.com/syncd-io/syncd/internal/extjson"
)

// Form is the form of the records that a [Decoder] reads.
type Form string

// The forms. In each of them a record without a value is a delete of what its key names, and what the JsonConverter of Kafka Connect
// puts around a value or a key is taken off.
const (
	// AutoForm tells the others apart by what an event holds, but for DocumentForm, for which anything could be taken.
	AutoForm Form = "auto"
	// PlainForm is what [AppendValue] writes. Numbers, texts and the like keep the types that JSON has.
	PlainForm Form = "plain"
	// MongoKafkaForm is what the MongoDB Kafka source connector writes, and the profile [MongoKafka]: MongoDB's own events, as any of the
	// connector's JSON formats or as BSON.
	MongoKafkaForm Form = "mongo_kafka"
	// DebeziumForm is what Debezium's connectors for MongoDB and for relational databases write, with or without a schema.
	DebeziumForm Form = "debezium"
	// DocumentForm is a document without an event around it: publish.full.document.only of the MongoDB connector, Debezium's
	// ExtractNewRecordState.
	DocumentForm Form = "document"
)

// Decoder reads events back, as Encoder and the connectors of others write them. It is a value and safe for concurrent use.
type Decoder struct{ Form Form }

// Decoded is what an event says of a document. It shares no memory with what it was read from.
type Decoded struct {
	// Skipped says what the event is where it is none of a document, such as a heartbeat. The rest is empty then.
	Skipped string

	Operation  syncd.Operation
	Database   string // empty where the event does not say
	Collection string // likewise
	ID         string // the id's text
	Document   bson.Raw
	Before     bson.Raw // what is known of the document from before, at least its _id; nil where that is nothing
	Touched    []string // as in [syncd.Streamed]
	Whole      bool     // likewise
	Raw        bson.Raw // MongoDB's own event; nil where it is none
}

// FormError says that a record is not of the form that is expected: what a reader of its topic can't handle at all.
type FormError struct{ problem, advice string }

func (e *FormError) Error() string { return e.problem }

// Advice is what to do about it, or nothing.
func (e *FormError) Advice() string { return e.advice }

// Decode reads a record; value is nil where it has none. reference says that its headers have HeaderDocument with DocumentReference. An error
// is the record's own; what is returned beside it is what could be read until then: Database, Collection and ID may be set.
func (d Decoder) Decode(key, value []byte, reference bool) (Decoded, error) {
	if value == nil {
		id, err := d.keyID(key)
		e := Decoded{Operation: syncd.Delete, Whole: true}
		if err == nil {
			err = e.identify(id)
		}
		return e, err
	}
	v, err := d.unwrap(value)
	if err != nil {
		return Decoded{}, err
	}
	_, hasOperation := text(v.doc, "operationType")
	op, hasOp := text(v.doc, "op")
	switch {
	case hasOperation && d.Form != DebeziumForm && d.Form != DocumentForm:
		return d.changeEvent(v.doc, reference)
	case hasOp && (d.Form == AutoForm || d.Form == DebeziumForm):
		return d.debezium(key, v, op)
	case d.Form == DocumentForm:
		return d.document(key, v)
	}
	if what := noDocument(v.doc); what != "" && d.Form != PlainForm && d.Form != MongoKafkaForm {
		return Decoded{Skipped: what}, nil
	}
	switch d.Form {
	case PlainForm, MongoKafkaForm:
		return Decoded{}, &FormError{"the value is no event: it has no operationType", "check the topic, and format"}
	case DebeziumForm:
		return Decoded{}, &FormError{"the value is no event of Debezium: it has no op", "where Debezium writes documents alone (ExtractNewRecordState), set format: document"}
	}
	return Decoded{}, &FormError{"the value is no event in a form that is known: it has neither operationType nor op", "where values are documents without an event around them, set format: document"}
}

// valued is a record's value without what stands around it.
type valued struct {
	doc    bson.Raw
	schema bson.Raw // of the JsonConverter; nil where there is none
}

// registryMagic begins what the serializers of a Schema Registry write; four bytes of the schema's number follow.
const registryMagic = 0

// unwrap reads a value.
func (d Decoder) unwrap(value []byte) (valued, error) {
	if doc, ok := asBSON(value); ok {
		return valued{doc: doc}, nil
	}
	text := value
	for range 3 { // a JSON string or a schema's payload may stand around it
		text = bytes.TrimLeft(text, " \t\r\n")
		switch {
		case len(text) == 0:
			return valued{}, &FormError{problem: "the value is empty"}
		case len(text) >= 5 && text[0] == registryMagic:
			return valued{}, &FormError{fmt.Sprintf("the value was written with schema %d of a Schema Registry (Avro, Protobuf or JSON Schema), which is not read", binary.BigEndian.Uint32(text[1:])),
				"have the connector write JSON: value.converter=org.apache.kafka.connect.json.JsonConverter"}
		case text[0] == '"':
			var inner string
			if err := json.Unmarshal(text, &inner); err != nil {
				return valued{}, extjson.Syntax(text)
			}
			text = []byte(inner)
			continue
		}
		doc, err := d.parse(text)
		if err != nil {
			return valued{}, err
		}
		payload, ok := bsondoc.Lookup(doc, "payload")
		schema, has := bsondoc.Lookup(doc, "schema")
		if !ok || !has {
			return valued{doc: doc}, nil
		}
		switch payload.Type {
		case bson.TypeEmbeddedDocument:
			s, _ := schema.DocumentOK()
			return valued{doc: payload.Value, schema: s}, nil
		case bson.TypeString:
			text = []byte(payload.StringValue())
		default:
			return valued{doc: doc}, nil
		}
	}
	return valued{}, &FormError{problem: "the value is a JSON string within JSON strings"}
}

// asBSON tells BSON from text: it begins with its length and ends with a zero, which no JSON does.
func asBSON(b []byte) (bson.Raw, bool) {
	if len(b) < 5 || binary.LittleEndian.Uint32(b) != uint32(len(b)) || b[len(b)-1] != 0 || bsondoc.Validate(b) != nil {
		return nil, false
	}
	return bytes.Clone(b), true
}

// parse reads a JSON object. What the connector of MongoDB writes is Extended JSON; Debezium's envelopes and plain events know no types.
// Where the form is not known, the first name tells.
func (d Decoder) parse(text []byte) (bson.Raw, error) {
	plain := d.Form == PlainForm || d.Form == DebeziumForm || d.Form == AutoForm && !bytes.HasPrefix(text, []byte(`{"operationType":`)) && debeziumLike(text)
	room := make([]byte, 0, len(text)+len(text)/4+16)
	if plain {
		if doc, ok := extjson.AppendPlain(room, text); ok {
			return doc, nil
		}
	} else {
		if doc, ok := extjson.AppendJava(room, text); ok {
			return doc, nil
		}
		doc, err := extjson.Parse(text)
		if err == nil {
			return doc, nil
		}
		if d.Form == MongoKafkaForm {
			return nil, err
		}
		if doc, ok := extjson.AppendPlain(room, text); ok { // a name with a dollar that is no wrapper
			return doc, nil
		}
	}
	if err := extjson.Syntax(text); err != nil {
		return nil, err
	}
	return nil, &FormError{problem: "the value is JSON that can't be kept: it holds half of a character, or is nested deeper than 100"}
}

// debeziumLike looks at the first name of an object.
func debeziumLike(text []byte) bool {
	i := bytes.IndexByte(text, '"')
	if i < 0 {
		return false
	}
	name, _, _ := bytes.Cut(text[i+1:], []byte{'"'})
	switch string(name) {
	case "before", "after", "source", "op", "ts_ms", "ts_us", "ts_ns", "transaction", "updateDescription":
		return true
	case "schema", "payload": // with a payload that is a text, what matters is in there
		return true
	}
	return false
}

// text is a field of a document that is a text.
func text(doc bson.Raw, name string) (string, bool) {
	v, ok := bsondoc.Lookup(doc, name)
	if !ok || v.Type != bson.TypeString {
		return "", false
	}
	return v.StringValueOK()
}

// noDocument says what a record of Debezium or Kafka Connect is that is about no document.
func noDocument(doc bson.Raw) string {
	has := func(name string) bool { _, ok := bsondoc.Lookup(doc, name); return ok }
	switch {
	case has("ddl") || has("tableChanges"):
		return "schema change"
	case has("status") && has("id") && has("event_count"):
		return "transaction"
	case has("ts_ms") && !has("source"):
		if e, err := doc.Elements(); err == nil && len(e) <= 3 {
			return "heartbeat"
		}
	}
	return ""
}

// identify sets the id's text.
func (e *Decoded) identify(id bson.RawValue) error {
	out, err := bsondoc.AppendIDText(nil, id)
	if err != nil {
		return fmt.Errorf("reading _id: %w: %w", syncd.ErrNoID, err)
	}
	e.ID = string(out)
	return nil
}

var operationWords = map[string]syncd.Operation{"insert": syncd.Insert, "update": syncd.Update, "replace": syncd.Replace, "delete": syncd.Delete}

// errReference says why an event of a document that was too large can't be followed.
var errReference = errors.New("the event was sent without its document, which was too large for its topic")

// changeEvent reads an event in MongoDB's words: a plain one, or the connector's.
func (d Decoder) changeEvent(event bson.Raw, reference bool) (e Decoded, err error) {
	word, _ := text(event, "operationType")
	e.Database, _ = text(event, "ns.db")
	e.Collection, _ = text(event, "ns.coll")
	op, ok := operationWords[word]
	switch {
	case ok:
		e.Operation = op
	case word == "drop" || word == "rename" || word == "dropDatabase":
		return e, fmt.Errorf("the collection was dropped or renamed (%s): the topic does not say which documents are gone", word)
	default:
		return Decoded{Skipped: "event " + word}, nil
	}
	id, ok := bsondoc.Lookup(event, "documentKey._id")
	if !ok {
		if id, ok = bsondoc.Lookup(event, "fullDocument._id"); !ok {
			return e, fmt.Errorf("%w: the event has no documentKey", syncd.ErrNoID)
		}
	}
	if err := e.identify(id); err != nil {
		return e, err
	}
	if doc, ok := subdocument(event, "fullDocumentBeforeChange"); ok {
		e.Before = doc
	} else if doc, ok := subdocument(event, "documentKey"); ok && (op == syncd.Delete || op == syncd.Update) {
		e.Before = doc
	}
	if op == syncd.Update {
		e.touched(event)
	} else {
		e.Whole = true
	}
	if _, typed := bsondoc.Lookup(event, "_id"); d.Form == MongoKafkaForm || d.Form == AutoForm && typed {
		if _, ok := subdocument(event, "documentKey"); ok {
			e.Raw = event
		}
	}
	if op == syncd.Delete {
		return e, nil
	}
	full, ok := bsondoc.Lookup(event, "fullDocument")
	switch {
	case ok && full.Type == bson.TypeEmbeddedDocument:
		e.Document = withID(full.Value, id)
		return e, nil
	case reference:
		return e, errReference
	case op == syncd.Insert:
		return e, errNoDocument
	case !ok && op == syncd.Update:
		return e, syncd.Hint(fmt.Errorf("the update does not hold its document: %w", errNoDocument), "have the connector look it up: change.stream.full.document=updateLookup")
	case !ok:
		return e, errNoDocument
	}
	return e, nil // it was deleted since, and its delete follows
}

// touched sets which fields an update touched, as far as the event says so.
func (e *Decoded) touched(event bson.Raw) {
	description, ok := subdocument(event, "updateDescription")
	if !ok {
		e.Whole = true
		return
	}
	if updated, ok := subdocument(description, "updatedFields"); ok {
		elements, err := updated.Elements()
		if err != nil {
			e.Whole = true
		}
		for _, f := range elements {
			e.Touched = append(e.Touched, f.Key())
		}
	}
	for _, name := range []string{"removedFields", "truncatedArrays"} {
		list, ok := bsondoc.Lookup(description, name)
		if !ok {
			continue
		}
		array, ok := list.ArrayOK()
		if !ok {
			continue
		}
		values, err := array.Values()
		if err != nil {
			e.Whole = true
		}
		for _, v := range values {
			path, ok := v.StringValueOK()
			if doc, is := v.DocumentOK(); is {
				path, ok = text(doc, "field")
			}
			if ok {
				e.Touched = append(e.Touched, path)
			}
		}
	}
	if len(e.Touched) == 0 {
		e.Whole = true
	}
}

// withID is a document with its _id: documents of connectors may lack it.
func withID(doc bson.Raw, id bson.RawValue) bson.Raw {
	if _, ok := bsondoc.ID(doc); ok || len(doc) < 5 {
		return doc
	}
	at, b := bsoncore.AppendDocumentStart(make([]byte, 0, len(doc)+len(id.Value)+5))
	b = appendElement(b, "_id", id)
	b = append(b, doc[4:len(doc)-1]...)
	return end(b, at)
}

// document reads a value that is a document without an event around it.
func (d Decoder) document(key []byte, v valued) (e Decoded, err error) {
	doc := v.doc
	id, ok := bsondoc.ID(doc)
	if !ok {
		if id, err = d.keyID(key); err != nil {
			return e, err
		}
	}
	if err := e.identify(id); err != nil {
		return e, err
	}
	e.Operation, e.Whole = syncd.Replace, true
	if deleted, ok := bsondoc.Lookup(doc, "__deleted"); ok {
		doc = without(doc, "__deleted")
		word, _ := deleted.StringValueOK()
		is, _ := deleted.BooleanOK()
		if is || word == "true" {
			e.Operation, e.Before = syncd.Delete, withID(doc, id)
			return e, nil
		}
	}
	if v.schema != nil {
		doc = columns(doc, v.schema)
	}
	e.Document = withID(doc, id)
	return e, nil
}

// errNoKey says why a tombstone names no document.
var errNoKey = errors.New("the record has no key that names its document")

// keyID reads the _id from a record's key: the id's text, {"_id": …} of MongoDB's connector, {"id": "…"} of Debezium for MongoDB, or the
// primary key's columns, several of which make a document of an _id.
func (d Decoder) keyID(key []byte) (bson.RawValue, error) {
	asText := func(s string) (bson.RawValue, error) {
		return bson.RawValue{Type: bson.TypeString, Value: bsoncore.AppendString(nil, s)}, nil
	}
	if len(key) == 0 {
		return bson.RawValue{}, fmt.Errorf("%w: %w", syncd.ErrNoID, errNoKey)
	}
	if d.Form == PlainForm {
		return asText(string(key))
	}
	doc, ok := asBSON(key)
	var schema bson.Raw
	for text := key; !ok; {
		text = bytes.TrimLeft(text, " \t\r\n")
		switch {
		case len(text) >= 5 && text[0] == registryMagic:
			return bson.RawValue{}, &FormError{fmt.Sprintf("the key was written with schema %d of a Schema Registry (Avro, Protobuf or JSON Schema), which is not read", binary.BigEndian.Uint32(text[1:])),
				"have the connector write JSON: key.converter=org.apache.kafka.connect.json.JsonConverter"}
		case len(text) > 0 && text[0] == '"':
			var inner string
			if json.Unmarshal(text, &inner) != nil || len(inner) == 0 {
				return asText(string(key))
			}
			if inner[0] != '{' {
				return asText(inner)
			}
			text = []byte(inner)
			continue
		case len(text) == 0 || text[0] != '{':
			return asText(string(key))
		}
		if doc, ok = extjson.AppendJava(nil, text); !ok {
			var err error
			if doc, err = extjson.Parse(text); err != nil {
				return asText(string(key))
			}
			ok = true
		}
		payload, has := bsondoc.Lookup(doc, "payload")
		if _, around := bsondoc.Lookup(doc, "schema"); !has || !around {
			break
		}
		schema, _ = subdocument(doc, "schema")
		if s, is := payload.StringValueOK(); is {
			if len(s) == 0 || s[0] != '{' {
				return asText(s)
			}
			text, ok = []byte(s), false
			continue
		}
		inner, is := payload.DocumentOK()
		if !is {
			return bson.RawValue{Type: payload.Type, Value: payload.Value}, nil
		}
		doc = inner
	}
	if id, ok := bsondoc.ID(doc); ok {
		if inner, ok := id.DocumentOK(); ok { // an event without a resume token has the document's key there
			if v, ok := bsondoc.ID(inner); ok {
				return v, nil
			}
		}
		return id, nil
	}
	elements, err := doc.Elements()
	if err != nil || len(elements) == 0 {
		return bson.RawValue{}, fmt.Errorf("%w: %w", syncd.ErrNoID, errNoKey)
	}
	if len(elements) > 1 || d.Form == MongoKafkaForm {
		if out, err := bsondoc.AppendIDText(nil, bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: doc}); err == nil && bytes.Equal(out, key) {
			return bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: doc}, nil // the text of such an id
		}
		return bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: columns(doc, schema)}, nil
	}
	if s, ok := text(doc, "id"); ok && elements[0].Key() == "id" {
		return debeziumID(s), nil
	}
	converted, err := columns(doc, schema).Elements()
	if err != nil || len(converted) != 1 {
		return elements[0].Value(), nil //nolint:nilerr // as it is, then
	}
	return converted[0].Value(), nil
}
