package fastmongo

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// value is a BSON value in its encoded form; the zero value is a missing one.
type value = bsoncore.Value

// Ranks of types: values of types with one rank compare by value, others by rank (MongoDB: canonicalizeBSONType).
const (
	rankMinKey    = -1
	rankUndefined = 0
	rankNull      = 5
	rankNumber    = 10
	rankMaxKey    = 127
)

// ranks is indexed by the type's byte.
var ranks = func() (r [256]int8) {
	for i := range r {
		r[i] = rankMaxKey
	}
	for rank, types := range map[int8][]bson.Type{
		rankMinKey: {bson.TypeMinKey}, rankUndefined: {bson.TypeUndefined}, rankNull: {bson.TypeNull, 0},
		rankNumber: {bson.TypeInt32, bson.TypeInt64, bson.TypeDouble, bson.TypeDecimal128},
		15:         {bson.TypeString, bson.TypeSymbol},
		20:         {bson.TypeEmbeddedDocument}, 25: {bson.TypeArray}, 30: {bson.TypeBinary}, 35: {bson.TypeObjectID},
		40: {bson.TypeBoolean}, 45: {bson.TypeDateTime}, 47: {bson.TypeTimestamp}, 50: {bson.TypeRegex},
		55: {bson.TypeDBPointer}, 60: {bson.TypeJavaScript}, 65: {bson.TypeCodeWithScope},
	} {
		for _, t := range types {
			r[byte(t)] = rank
		}
	}
	return r
}()

func rank(v value) int { return int(ranks[byte(v.Type)]) }

// compare orders values as an index under the simple collation does. A missing value is null.
func compare(a, b value) int {
	if a.Type == bsoncore.TypeObjectID && b.Type == bsoncore.TypeObjectID {
		return bytes.Compare(a.Data, b.Data)
	}
	if c := cmp.Compare(rank(a), rank(b)); c != 0 {
		return c
	}
	switch a.Type {
	case bsoncore.TypeInt32, bsoncore.TypeInt64, bsoncore.TypeDouble, bsoncore.TypeDecimal128:
		return compareNumbers(a, b)
	case bsoncore.TypeString, bsoncore.TypeSymbol, bsoncore.TypeJavaScript:
		return bytes.Compare(text(a.Data), text(b.Data))
	case bsoncore.TypeEmbeddedDocument, bsoncore.TypeArray:
		return compareDocuments(a.Data, b.Data)
	case bsoncore.TypeBinary:
		// Length, then subtype, then bytes; the length stands first in the encoding, little-endian.
		return cmp.Or(cmp.Compare(len(a.Data), len(b.Data)), bytes.Compare(a.Data[4:], b.Data[4:]))
	case bsoncore.TypeDateTime:
		return cmp.Compare(int64(binary.LittleEndian.Uint64(a.Data)), int64(binary.LittleEndian.Uint64(b.Data)))
	case bsoncore.TypeTimestamp:
		return cmp.Compare(binary.LittleEndian.Uint64(a.Data), binary.LittleEndian.Uint64(b.Data))
	case bsoncore.TypeDBPointer:
		return cmp.Or(cmp.Compare(len(a.Data), len(b.Data)), bytes.Compare(a.Data[4:], b.Data[4:]))
	case bsoncore.TypeCodeWithScope:
		ca, sa := a.CodeWithScope()
		cb, sb := b.CodeWithScope()
		return cmp.Or(cmp.Compare(ca, cb), compareDocuments(sa, sb))
	}
	// ObjectId and boolean are plain bytes, a regular expression two C strings; null, MinKey and MaxKey are empty.
	return bytes.Compare(a.Data, b.Data)
}

// text is a string's bytes, without length and final zero.
func text(data []byte) []byte { return data[4 : len(data)-1] }

// compareDocuments goes field by field: type, then name, then value. The one that ends first is the lesser.
func compareDocuments(a, b []byte) int {
	ra, rb := body(a), body(b)
	for {
		ea, okA := nextElement(&ra)
		eb, okB := nextElement(&rb)
		if !okA || !okB {
			return cmp.Compare(boolInt(okA), boolInt(okB))
		}
		va, vb := ea.Value(), eb.Value()
		if c := cmp.Or(cmp.Compare(rank(va), rank(vb)), bytes.Compare(ea.KeyBytes(), eb.KeyBytes()), compare(va, vb)); c != 0 {
			return c
		}
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// body is what follows a document's length.
func body(doc []byte) []byte {
	if len(doc) < 5 {
		return nil
	}
	return doc[4:]
}

// nextElement takes the first element off the rest of a document.
func nextElement(rest *[]byte) (bsoncore.Element, bool) {
	if len(*rest) <= 1 {
		return nil, false
	}
	e, r, ok := bsoncore.ReadElement(*rest)
	*rest = r
	return e, ok
}

// lookup returns a top-level field, or the zero value.
func lookup(doc []byte, name string) value {
	for rest := body(doc); ; {
		e, ok := nextElement(&rest)
		if !ok {
			return value{}
		}
		if string(e.KeyBytes()) == name {
			return e.Value()
		}
	}
}

func isNaN(v value) bool {
	switch v.Type {
	case bsoncore.TypeDouble:
		return math.IsNaN(v.Double())
	case bsoncore.TypeDecimal128:
		return decimal(v).IsNaN()
	}
	return false
}
