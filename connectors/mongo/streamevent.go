package mongo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/syncd-io/syncd/internal/bsondoc"
)

// Values of operationType that mean something here. Others are of changes that touch no document, and there will be more.
const (
	opInsert     = "insert"
	opUpdate     = "update"
	opReplace    = "replace"
	opDelete     = "delete"
	opDrop       = "drop"
	opRename     = "rename"
	opInvalidate = "invalidate"
)

// streamEvent is what is read of an event of a change stream. All that it holds are parts of raw, except of one that was put together.
type streamEvent struct {
	raw       bson.Raw
	token     bson.Raw
	operation string
	cluster   bson.Timestamp
	wall      time.Time
	coll      []byte
	toDB      []byte // of a renamed collection
	toColl    []byte
	key       bson.Raw // documentKey: _id, and the shard key's fields
	full      document
	before    document
	update    bson.Raw // updateDescription
	fragment  int      // from 1, of a large event that came in pieces; else 0
	of        int
}

// document is a field that may hold one.
type document struct {
	doc  bson.Raw
	null bool // the field is there, and holds null
}

var errNotAnEvent = errors.New("the server sent an event that can't be read")

// parseEvent reads an event in one pass.
func parseEvent(raw bson.Raw) (streamEvent, error) {
	e := streamEvent{raw: raw}
	err := eachField(raw, func(name []byte, v bsoncore.Value) {
		switch string(name) {
		case "_id":
			e.token = asDocument(v).doc
		case "operationType":
			e.operation = operationName(v)
		case "clusterTime":
			if t, i, ok := v.TimestampOK(); ok {
				e.cluster = bson.Timestamp{T: t, I: i}
			}
		case "wallTime":
			if v.Type == bsoncore.TypeDateTime && len(v.Data) == 8 {
				e.wall = time.UnixMilli(int64(binary.LittleEndian.Uint64(v.Data)))
			}
		case "ns":
			e.coll = textIn(v, "coll")
		case "to":
			e.toDB, e.toColl = textIn(v, "db"), textIn(v, "coll")
		case "documentKey":
			e.key = asDocument(v).doc
		case "fullDocument":
			e.full = asDocument(v)
		case "fullDocumentBeforeChange":
			e.before = asDocument(v)
		case "updateDescription":
			e.update = asDocument(v).doc
		case "splitEvent":
			d := asDocument(v).doc
			e.fragment, e.of = intIn(d, "fragment"), intIn(d, "of")
		}
	})
	switch {
	case err != nil:
		return streamEvent{}, fmt.Errorf("%w: %w", errNotAnEvent, err)
	case e.token == nil:
		return streamEvent{}, fmt.Errorf("%w: it has no resume token", errNotAnEvent)
	}
	return e, nil
}

// at is when the change was made.
func (e *streamEvent) at() time.Time {
	switch {
	case !e.wall.IsZero():
		return e.wall
	case e.cluster.T != 0:
		return time.Unix(int64(e.cluster.T), 0)
	}
	return time.Time{}
}

// id is the document's _id, as a snapshot has it; the zero value where the event tells none.
func (e *streamEvent) id() bson.RawValue {
	if id, ok := bsondoc.Lookup(e.key, "_id"); ok {
		return id
	}
	id, _ := bsondoc.Lookup(e.full.doc, "_id")
	return id
}

// touched calls add with the path of each field that an update set, removed or shortened, and reports whether those are all.
func (e *streamEvent) touched(add func(path []byte)) bool {
	if e.update == nil {
		return false
	}
	said := false
	err := eachField(e.update, func(name []byte, v bsoncore.Value) {
		d := asDocument(v).doc
		switch string(name) {
		case "updatedFields":
			said = true
			_ = eachField(d, func(path []byte, _ bsoncore.Value) { add(path) })
		case "removedFields":
			_ = eachField(arrayOf(v), func(_ []byte, v bsoncore.Value) { add(textOf(v)) })
		case "truncatedArrays":
			_ = eachField(arrayOf(v), func(_ []byte, v bsoncore.Value) { add(textIn(v, "field")) })
		}
	})
	return err == nil && said
}

// eachField calls f with every field of a document.
func eachField(doc []byte, f func(name []byte, v bsoncore.Value)) error {
	if len(doc) == 0 {
		return nil
	}
	if len(doc) < 5 {
		return bsondoc.ErrMalformed
	}
	rest := doc[4 : len(doc)-1]
	for len(rest) > 0 {
		element, after, ok := bsoncore.ReadElement(rest)
		if !ok {
			return bsondoc.ErrMalformed
		}
		v, err := element.ValueErr()
		if err != nil {
			return bsondoc.ErrMalformed
		}
		f(element.KeyBytes(), v)
		rest = after
	}
	return nil
}

func asDocument(v bsoncore.Value) document {
	switch v.Type {
	case bsoncore.TypeEmbeddedDocument:
		return document{doc: bson.Raw(v.Data)}
	case bsoncore.TypeNull:
		return document{null: true}
	}
	return document{}
}

func arrayOf(v bsoncore.Value) []byte {
	if v.Type != bsoncore.TypeArray {
		return nil
	}
	return v.Data
}

// textOf gives the bytes of a string; nil of anything else.
func textOf(v bsoncore.Value) []byte {
	if v.Type != bsoncore.TypeString || len(v.Data) < 5 {
		return nil
	}
	return v.Data[4 : len(v.Data)-1]
}

func textIn(v bsoncore.Value, field string) []byte {
	found, ok := bsondoc.Lookup(asDocument(v).doc, field)
	if !ok {
		return nil
	}
	return textOf(bsoncore.Value{Type: bsoncore.Type(found.Type), Data: found.Value})
}

func intIn(doc bson.Raw, field string) int {
	v, _ := bsondoc.Lookup(doc, field)
	n, _ := v.AsInt64OK()
	return int(n)
}

// operationName spares the memory of words that are known.
func operationName(v bsoncore.Value) string {
	text := textOf(v)
	switch string(text) {
	case opInsert:
		return opInsert
	case opUpdate:
		return opUpdate
	case opReplace:
		return opReplace
	case opDelete:
		return opDelete
	}
	return string(text)
}

// joiner puts large events together that the server sent in pieces, each with some of the event's fields
// ($changeStreamSplitLargeEvent). Every piece has a token; behind the last one's, the event is passed.
type joiner struct {
	fields []byte // of the pieces so far
	next   int    // the piece that comes next; 0 where none is open
	of     int
}

// errTorn means that the pieces of an event did not come one after the other.
var errTorn = errors.New("a large event came in pieces of which one is missing")

// add takes an event or a piece of one. It returns the event when it is whole.
func (j *joiner) add(e streamEvent) (whole streamEvent, ok bool, err error) {
	if e.fragment == 0 && j.next == 0 {
		return e, true, nil
	}
	if e.fragment != max(j.next, 1) || e.of < e.fragment || j.next > 0 && e.of != j.of {
		*j = joiner{}
		return streamEvent{}, false, errTorn
	}
	err = eachElement(e.raw, func(name, element []byte) {
		if s := string(name); s != "_id" && s != "splitEvent" {
			j.fields = append(j.fields, element...)
		}
	})
	if err != nil {
		return streamEvent{}, false, fmt.Errorf("%w: %w", errNotAnEvent, err)
	}
	if j.next, j.of = e.fragment+1, e.of; e.fragment < e.of {
		return streamEvent{}, false, nil
	}
	raw := append(bson.Raw{0, 0, 0, 0, byte(bson.TypeEmbeddedDocument)}, "_id\x00"...)
	raw = append(append(raw, e.token...), j.fields...)
	*j = joiner{}
	whole, err = parseEvent(closed(raw))
	return whole, err == nil, err
}

// eachElement calls f with every element of a document, and its name.
func eachElement(doc []byte, f func(name, element []byte)) error {
	if len(doc) < 5 {
		return bsondoc.ErrMalformed
	}
	for rest := doc[4 : len(doc)-1]; len(rest) > 0; {
		element, after, ok := bsoncore.ReadElement(rest)
		if !ok {
			return bsondoc.ErrMalformed
		}
		f(element.KeyBytes(), element)
		rest = after
	}
	return nil
}
