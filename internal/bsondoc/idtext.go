package bsondoc

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/internal/hexid"
)

// AppendIDText appends the text of an _id to dst, which is also the text of any
// other field in a seed. The text of a value is fixed for ever:
//
//	ObjectId                 24 lower-case hexadecimal digits
//	string                   as it is; the empty string gives the empty text
//	int32, int64             decimal
//	UUID                     RFC 4122 text of the bytes in stored order, lower case
//	                         (binary of subtype 3 or 4 with 16 bytes)
//	other binary             base64, standard alphabet, padded
//	double, Decimal128       shortest decimal text, see below
//	date                     2006-01-02T15:04:05.000Z, always UTC, always milliseconds;
//	                         a year outside 0 to 9999 has a sign and at least six
//	                         digits: +010000-01-01T00:00:00.000Z
//	bool                     true or false
//	embedded document, array, regex, timestamp, code, code with scope, symbol,
//	DBPointer, MinKey, MaxKey
//	                         canonical Extended JSON without spaces
//
// The shortest decimal text of a double has the fewest digits that still read
// back as that double. It is in plain notation from 1e-6 up to, but not
// including, 1e21, as in ECMAScript, and outside of that range in the form
// 1.5e+21 or 1.5e-7. There is no point behind a whole number: 5.0 gives 5. A
// Decimal128 is written by the same rules from its own digits, without trailing
// zeros: 1.50 gives 1.5. The rest are NaN, Infinity and -Infinity.
//
// So 0 and -0, 1.5 and 1.50, and all kinds of NaN have one text each, as MongoDB
// holds them equal and no two of them can be an _id in one collection. Values of
// one numeric type that MongoDB tells apart have different texts. Values of
// different types can share one, for instance 5 and "5": a collection that mixes
// the types of its ids should not be seeded by the id alone.
//
// A value that is missing (the zero RawValue), null or undefined is ErrNoID.
// Other errors are ErrMalformed, ErrInvalidUTF8 and ErrTooDeep. With an error,
// dst is returned as it was.
func AppendIDText(dst []byte, v bson.RawValue) ([]byte, error) {
	if v.Type == 0 {
		return dst, ErrNoID
	}
	if err := wholeValue(v); err != nil {
		return dst, err
	}
	out, err := appendIDText(dst, v.Type, v.Value, 0)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// appendIDText does the work for a value whose size has been checked. depth is
// how many documents enclose it.
func appendIDText(dst []byte, t bson.Type, val []byte, depth int) ([]byte, error) {
	switch t {
	case bson.TypeNull, bson.TypeUndefined:
		return dst, ErrNoID
	case bson.TypeString:
		s := stringBytes(val)
		if !utf8.Valid(s) {
			return dst, errStringUTF8
		}
		return append(dst, s...), nil
	case bson.TypeBinary:
		// What lacks the second length is no BSON: servers refuse to be asked for it, so it could never be found again.
		if n := len(val) - lengthSize - 1; val[lengthSize] == subtypeOldBinary && n <= lengthSize && (n < lengthSize || int32At(val[lengthSize+1:]) != 0) {
			return dst, fmt.Errorf("%w: a binary of subtype 2 lacks its second length", ErrMalformed)
		}
	}
	if out, ok := appendSafeText(dst, t, val); ok {
		return out, nil
	}
	return appendValue(dst, t, val, canonical, depth)
}

// appendSafeText appends the id text of the types whose text has no character
// that JSON would escape. It reports false for all others.
func appendSafeText(dst []byte, t bson.Type, val []byte) ([]byte, bool) {
	switch t {
	case bson.TypeObjectID:
		return hexid.AppendObjectID(dst, (*[objectIDSize]byte)(val)), true
	case bson.TypeInt32:
		return strconv.AppendInt(dst, int64(int32At(val)), 10), true
	case bson.TypeInt64:
		return strconv.AppendInt(dst, int64At(val), 10), true
	case bson.TypeBinary:
		return appendBinaryText(dst, val), true
	case bson.TypeDouble:
		return appendDoubleID(dst, val), true
	case bson.TypeDecimal128:
		return appendDecimalID(dst, val), true
	case bson.TypeDateTime:
		return appendDate(dst, int64At(val), true), true
	case bson.TypeBoolean:
		return strconv.AppendBool(dst, val[0] == 1), true
	}
	return dst, false
}

// appendBinaryText appends UUID text for a UUID and base64 for all other bytes.
func appendBinaryText(dst, val []byte) []byte {
	subtype, data := binaryBytes(val)
	if u, ok := uuidBytes(subtype, data); ok {
		return hexid.AppendUUID(dst, (*[uuidSize]byte)(u))
	}
	return base64.StdEncoding.AppendEncode(dst, data)
}
