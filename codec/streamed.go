package codec

import (
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// errNoDocumentKey refuses an event of a change stream that does not say which document it is about.
var errNoDocumentKey = errors.New("the change has no documentKey")

// appendStreamed appends the key and the value of a change as MongoDB's own event of it, or as the document alone where only that
// is wanted. Source: the events that the connector 2.0.1 writes; StartedMongoSourceTask of mongo-kafka.
func (e Encoder) appendStreamed(dst []byte, c *syncd.Change, reference bool) (out []byte, keySize int, err error) {
	event := bson.Raw(c.Streamed.Raw)
	if err := bsondoc.Validate(event); err != nil {
		return dst, 0, err
	}
	documentKey, ok := subdocument(event, "documentKey")
	if !ok {
		return dst, 0, errNoDocumentKey
	}
	if e.keyWire == WireBSON {
		out = append(dst, documentKey...)
	} else {
		b, start := begin(dst, e.keyWire)
		if b, err = bsondoc.AppendJavaJSON(b, documentKey, e.dialect); err != nil {
			return dst, 0, err
		}
		out = finish(b, start, e.keyWire)
	}
	keySize = len(out) - len(dst)
	value := event
	switch {
	case c.Operation == syncd.Delete && e.tombstones:
		return out, keySize, nil
	case e.documentOnly && reference:
		value = documentKey
	case e.documentOnly && c.Document != nil: // which may have been read since
		doc, ok := c.Document.(syncd.BSONDocument)
		if !ok {
			return dst, 0, errNotBSON
		}
		value = doc.BSON()
	case e.documentOnly:
		if value, ok = subdocument(event, "fullDocument"); !ok {
			return dst, 0, errNoDocument
		}
	case reference:
		value = without(event, "fullDocument", "fullDocumentBeforeChange")
	}
	if out, err = e.appendDocument(out, value); err != nil {
		return dst, 0, err
	}
	return out, keySize, nil
}

// subdocument is a field of a document that is one.
func subdocument(doc bson.Raw, name string) (bson.Raw, bool) {
	v, ok := bsondoc.Lookup(doc, name)
	if !ok || v.Type != bson.TypeEmbeddedDocument {
		return nil, false
	}
	return v.Value, true
}

// without is a copy of a valid document that lacks some fields.
func without(doc bson.Raw, names ...string) bson.Raw {
	at, b := bsoncore.AppendDocumentStart(nil)
	elements, err := doc.Elements()
	if err != nil {
		return doc // it is valid
	}
next:
	for _, e := range elements {
		for _, name := range names {
			if e.Key() == name {
				continue next
			}
		}
		b = append(b, e...)
	}
	return end(b, at)
}
