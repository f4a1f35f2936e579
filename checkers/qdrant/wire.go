package qdrant

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/syncd-io/syncd/internal/hexid"
)

// wire is a request of Points.Get and its answer as bytes: messages of Qdrant's points.proto, written and read by hand. As gRPC's
// codec of one call it sends the request and keeps the answer, whatever messages the call names. It belongs to one call at a time.
//
// The request is byte for byte what the client library would send. Reading follows the rules of Protocol Buffers: fields that are
// not known, and known ones of another wire type, are passed over; of a field that comes twice the last counts; a text is UTF-8.
type wire struct {
	body
	pool mem.BufferPool

	head, tail []byte // of the request: the fields before the ids, and those after them
	elements   []byte // the field ids, elementLen bytes each
	from, to   int    // the elements that are sent
	err        error  // why the fields can't be sent
}

// The numbers of fields in points.proto.
const (
	getPointsIDs     = 2 // repeated PointId
	pointIDNumber    = 1 // uint64, one of
	pointIDUUID      = 2 // string, one of
	getResponsePoint = 1 // repeated RetrievedPoint
	scrollOffset     = 1 // PointId
	scrollPoint      = 2 // repeated RetrievedPoint
	retrievedID      = 1 // PointId
	retrievedPayload = 2 // map of string to Value: repeated entries
)

// An element is the field ids, its length, and in it the field uuid, its length, and the text.
const (
	elementHead = 4
	elementLen  = elementHead + textLen
)

// begin takes over all of a request but its ids.
func (w *wire) begin(rest *qdrant.GetPoints) {
	name := qdrant.GetPoints{CollectionName: rest.GetCollectionName()}
	options := proto.MarshalOptions{Deterministic: true}
	if w.head, w.err = options.MarshalAppend(w.head[:0], &name); w.err == nil {
		w.tail, w.err = options.MarshalAppend(w.tail[:0], rest)
	}
	if w.err == nil {
		w.tail = append(w.tail[:0], w.tail[len(w.head):]...) // its beginning is head
	}
}

// add appends an id to the elements.
func (w *wire) add(id *uuid.UUID) {
	w.elements = append(w.elements,
		getPointsIDs<<3|byte(protowire.BytesType), elementLen-2, pointIDUUID<<3|byte(protowire.BytesType), textLen)
	w.elements = hexid.AppendUUID(w.elements, (*[16]byte)(id))
}

// text is the text of an id.
func (w *wire) text(i int) []byte {
	return w.elements[i*elementLen+elementHead : (i+1)*elementLen : (i+1)*elementLen]
}

// Name implements encoding.CodecV2. The name goes into the request's content type.
func (w *wire) Name() string { return "proto" }

// Marshal implements encoding.CodecV2 by the request. gRPC may still hold the buffer when the call has ended, so it is a copy.
func (w *wire) Marshal(any) (mem.BufferSlice, error) {
	if w.err != nil {
		return nil, w.err
	}
	ids := w.elements[w.from*elementLen : w.to*elementLen]
	n := len(w.head) + len(ids) + len(w.tail)
	buf := w.pool.Get(n)
	b := append(append(append((*buf)[:0], w.head...), ids...), w.tail...)
	*buf = b
	return mem.BufferSlice{mem.NewBuffer(buf, w.pool)}, nil
}

// body is an answer as bytes, in memory that is reused.
type body []byte

// Unmarshal implements encoding.CodecV2 by keeping the answer.
func (b *body) Unmarshal(data mem.BufferSlice, _ any) error {
	*b = slices.Grow((*b)[:0], data.Len())
	for _, part := range data {
		*b = append(*b, part.ReadOnlyData()...)
	}
	return nil
}

// foundPoint is an id in an answer: a text, or a number, or nothing, which is the number 0 as for the client library.
type foundPoint struct {
	text     []byte
	number   uint64
	numbered bool
}

func (p foundPoint) String() string {
	if p.text == nil {
		return strconv.FormatUint(p.number, 10)
	}
	return fmt.Sprintf("%q", p.text)
}

var errNoMessage = unreadable(errors.New("it is not a message of Protocol Buffers"))

// unreadable is the error that gRPC gives for an answer that is no message.
func unreadable(err error) error {
	return status.Error(codes.Internal, "an answer that can't be read: "+err.Error())
}

// eachField gives the fields of a message that have a length. Its error is gRPC's for a message that can't be read, or each's.
func eachField(message []byte, each func(number protowire.Number, value []byte) error) error {
	for len(message) > 0 {
		number, value, n := field(message)
		if n < 0 {
			return errNoMessage
		}
		message = message[n:]
		if value == nil {
			continue
		}
		if err := each(number, value); err != nil {
			return err
		}
	}
	return nil
}

// eachFound gives the points of an answer to Points.Get, each with its id. Its error is as eachField's.
func eachFound(answer []byte, found func(id foundPoint, point []byte) error) error {
	for len(answer) > 0 {
		id, ok := usual(answer)
		if ok {
			answer = answer[usualLen:]
			if err := found(id, nil); err != nil {
				return err
			}
			continue
		}
		number, point, n := field(answer)
		if n < 0 {
			return errNoMessage
		}
		answer = answer[n:]
		if number != getResponsePoint || point == nil {
			continue
		}
		if id, ok = retrieved(point); !ok {
			return errNoMessage
		}
		if err := found(id, point); err != nil {
			return err
		}
	}
	return nil
}

// A point that was found and has nothing but its id is the field result, its length, and in it the field id, its length, and in
// that the field uuid, its length, and the text.
const (
	usualHead = "\x0a\x28\x0a\x26\x12\x24"
	usualLen  = len(usualHead) + textLen
)

// usual reads such a point from the beginning of an answer, which is what the other functions here would make of it. It reports
// false where there is another one, or anything else.
func usual(b []byte) (id foundPoint, ok bool) {
	if len(b) < usualLen || string(b[:len(usualHead)]) != usualHead {
		return id, false
	}
	id.text = b[len(usualHead):usualLen:usualLen]
	return id, utf8.Valid(id.text)
}

// field reads a field. value is what it holds if that has a length, else nil; n is what it takes, less than 0 for what is none.
func field(b []byte) (number protowire.Number, value []byte, n int) {
	number, kind, tag := consumeTag(b)
	if tag < 0 {
		return 0, nil, tag
	}
	if kind != protowire.BytesType {
		if n = protowire.ConsumeFieldValue(number, kind, b[tag:]); n < 0 {
			return 0, nil, n
		}
		return number, nil, tag + n
	}
	if value, n = protowire.ConsumeBytes(b[tag:]); n < 0 {
		return 0, nil, n
	}
	if value == nil {
		value = []byte{}
	}
	return number, value, tag + n
}

// consumeTag reads a field's tag. tag is what it takes, less than 0 for what is none: protowire alone takes numbers that no field
// can have.
func consumeTag(b []byte) (number protowire.Number, kind protowire.Type, tag int) {
	if number, kind, tag = protowire.ConsumeTag(b); number > protowire.MaxValidNumber {
		return 0, 0, -1
	}
	return number, kind, tag
}

// retrieved reads the id of a RetrievedPoint.
func retrieved(b []byte) (id foundPoint, ok bool) {
	for len(b) > 0 {
		number, value, n := field(b)
		if n < 0 {
			return id, false
		}
		if b = b[n:]; number == retrievedID && value != nil {
			if id, ok = readPointID(value, id); !ok {
				return id, false
			}
		}
	}
	return id, true
}

// readPointID reads a PointId over the one that was read before.
func readPointID(b []byte, id foundPoint) (_ foundPoint, ok bool) {
	for len(b) > 0 {
		number, kind, tag := consumeTag(b)
		if tag < 0 {
			return id, false
		}
		n := protowire.ConsumeFieldValue(number, kind, b[tag:])
		if n < 0 {
			return id, false
		}
		switch {
		case number == pointIDUUID && kind == protowire.BytesType:
			text, _ := protowire.ConsumeBytes(b[tag:])
			if !utf8.Valid(text) {
				return id, false
			}
			id = foundPoint{text: text}
		case number == pointIDNumber && kind == protowire.VarintType:
			v, _ := protowire.ConsumeVarint(b[tag:])
			id = foundPoint{number: v, numbered: true}
		}
		b = b[tag+n:]
	}
	return id, true
}
