package fastmongo

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// token is a place in the oplog, as a client keeps it: behind an event or, as a high water mark, before all events of a time.
//
// Its bytes are those of MongoDB (a KeyString of version 1 that holds a token of version 2), up to the document's key, which
// is not in it: the time and the number in its transaction name an event. Clients that look for the time inside find it.
type token struct {
	time       uint64 // of the cluster: seconds and increment
	event      bool   // false for a high water mark, which has none of the following
	index      int    // of the event in its transaction
	invalidate bool
	uuid       uuid.UUID // the collection's; zero for what is about a database
	op         string
	fragment   int // of a split event, from 1; 0 for a whole one. (The token itself counts from 0.)
}

// What KeyString's bytes mean (MongoDB: src/mongo/db/storage/key_string).
const (
	ksEnd       = 0x04
	ksNull      = 0x14
	ksZero      = 0x29
	ksInt       = 0x2b // of one byte; the next is of two, and so on
	ksString    = 0x3c
	ksObject    = 0x46
	ksBinary    = 0x5a
	ksFalse     = 0x6e
	ksTrue      = 0x6f
	ksTimestamp = 0x82
)

const (
	tokenVersion = 2
	eventToken   = 128
)

var identifierStart = append([]byte{ksObject, ksString}, "operationType\x00\x3c"...)

// appendHex appends the token's text.
func (t token) appendHex(dst []byte) []byte {
	var room [128]byte
	b := binary.BigEndian.AppendUint64(append(room[:0], ksTimestamp), t.time)
	b = appendKeyInt(b, tokenVersion)
	if !t.event {
		return appendUpper(dst, append(b, ksZero, ksZero, ksFalse, ksNull, ksEnd))
	}
	b = appendKeyInt(appendKeyInt(b, eventToken), t.index)
	if t.invalidate {
		b = append(b, ksTrue)
	} else {
		b = append(b, ksFalse)
	}
	if t.uuid == uuid.Nil {
		b = append(b, ksNull)
	} else {
		b = append(append(b, ksBinary, byte(len(t.uuid)), bson.TypeBinaryUUID), t.uuid[:]...)
	}
	b = append(append(append(b, identifierStart...), t.op...), 0, 0)
	if t.fragment > 0 {
		b = appendKeyInt(b, t.fragment-1)
	}
	return appendUpper(dst, append(b, ksEnd))
}

func appendKeyInt(dst []byte, n int) []byte {
	if n == 0 {
		return append(dst, ksZero)
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n)<<1)
	digits := bytes.TrimLeft(b[:], "\x00")
	return append(append(dst, ksInt+byte(len(digits))-1), digits...)
}

func appendUpper(dst, b []byte) []byte {
	const digits = "0123456789ABCDEF"
	for _, c := range b {
		dst = append(dst, digits[c>>4], digits[c&15])
	}
	return dst
}

// appendDocument appends {_data: …}.
func (t token) appendDocument(dst []byte) []byte {
	start, dst := bsoncore.AppendDocumentStart(dst)
	dst = bsoncore.AppendHeader(dst, bsoncore.TypeString, "_data")
	size := len(dst)
	dst = t.appendHex(append(dst, 0, 0, 0, 0))
	dst = append(dst, 0)
	binary.LittleEndian.PutUint32(dst[size:], uint32(len(dst)-size-4))
	dst, _ = bsoncore.AppendDocumentEnd(dst, start)
	return dst
}

// parseToken reads a token that a client sends back, with the errors that MongoDB has for those that are none.
func parseToken(doc value) (token, error) {
	text, ok := lookup(doc.Data, "_data").StringValueOK()
	if doc.Type != bsoncore.TypeEmbeddedDocument || !ok {
		return token{}, fail(40647, "Bad resume token: _data of missing or of wrong type. Expected string, got %s", doc)
	}
	b, err := hex.DecodeString(text)
	if err != nil {
		return token{}, fail(9, "resume token string was not a valid hex string")
	}
	if len(b) == 0 {
		return token{}, fail(40649, "invalid empty resume token")
	}
	r := keyReader{rest: b}
	var t token
	if r.want(ksTimestamp); len(r.rest) < 8 {
		r.bad = true
	} else {
		t.time, r.rest = binary.BigEndian.Uint64(r.rest), r.rest[8:]
	}
	version, kind := r.int(), r.int()
	t.index = r.int()
	t.invalidate = r.bool()
	switch {
	case r.bad:
	case version != tokenVersion:
		return token{}, fail(50795, "Invalid Resume Token: only supports version 2 here")
	case kind != 0 && kind != eventToken:
		return token{}, fail(51057, "Token type %d not recognized", kind)
	case kind == 0:
		r.want(ksNull)
		if !r.bad && (len(r.rest) > 1 || t.index != 0 || t.invalidate) {
			return token{}, fail(6189504, "Invalid high water mark token")
		}
		r.want(ksEnd)
	default:
		t.event = true
		r.identifier(&t)
	}
	if r.bad || len(r.rest) > 0 {
		return token{}, fail(50811, "KeyString format error: Unexpected end of buffer.")
	}
	return t, nil
}

// keyReader takes a KeyString apart. After an error everything is zero and bad is set.
type keyReader struct {
	rest []byte
	bad  bool
}

func (r *keyReader) byte() byte {
	if r.bad || len(r.rest) == 0 {
		r.bad = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *keyReader) want(b byte) { r.bad = r.byte() != b || r.bad }

func (r *keyReader) int() int {
	kind := r.byte()
	if r.bad || kind == ksZero {
		return 0
	}
	size := int(kind) - ksInt + 1
	if size < 1 || size > 4 {
		r.bad = true
		return 0
	}
	n := 0
	for range size {
		n = n<<8 | int(r.byte())
	}
	return n >> 1
}

func (r *keyReader) bool() bool {
	b := r.byte()
	r.bad = r.bad || (b != ksTrue && b != ksFalse)
	return b == ksTrue
}

// identifier reads what follows the head of an event's token.
func (r *keyReader) identifier(t *token) {
	switch r.byte() {
	case ksNull:
	case ksBinary:
		r.want(byte(len(t.uuid)))
		r.want(bson.TypeBinaryUUID)
		for i := range t.uuid {
			t.uuid[i] = r.byte()
		}
	default:
		r.bad = true
	}
	if r.bad || !bytes.HasPrefix(r.rest, identifierStart) {
		r.bad = true
		return
	}
	r.rest = r.rest[len(identifierStart):]
	end := bytes.IndexByte(r.rest, 0)
	if end < 0 {
		r.bad = true
		return
	}
	t.op, r.rest = string(r.rest[:end]), r.rest[end+1:]
	r.want(0)
	if len(r.rest) > 1 {
		t.fragment = r.int() + 1
	}
	r.want(ksEnd)
}
