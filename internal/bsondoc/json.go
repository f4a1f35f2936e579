package bsondoc

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/hexid"
)

// Dialect is a way to write BSON values in JSON.
type Dialect = syncd.Dialect

// The dialects.
const (
	// Plain is for readers that know nothing of BSON; see [AppendJSON].
	Plain = syncd.Plain
	// Relaxed is MongoDB Extended JSON v2 in its relaxed format.
	Relaxed = syncd.Relaxed
	// Canonical is MongoDB Extended JSON v2 in its canonical format, which keeps
	// every type.
	Canonical = syncd.Canonical
)

// AppendJSON appends doc to dst as one JSON object without spaces. Fields keep
// their order, and names that occur twice are written twice.
//
// Plain loses types and keeps values:
//
//	ObjectId             string of 24 hexadecimal digits
//	string, symbol, code string
//	int32, int64         number; readers with only doubles lose digits above 2^53
//	double               number, the shortest that reads back as the same double;
//	                     the strings "NaN", "Infinity" and "-Infinity"
//	Decimal128           string with all digits that are stored: "1.50"
//	date                 string, 2006-01-02T15:04:05.000Z as in [AppendIDText]
//	bool, null           true, false, null; undefined becomes null
//	UUID                 string of RFC 4122 text (subtype 3 or 4 with 16 bytes)
//	other binary         string of base64
//	embedded document    object
//	array                array
//	regex                string /pattern/options
//	timestamp            {"t":seconds,"i":increment}
//	code with scope      {"code":string,"scope":object}
//	DBPointer            {"ref":namespace,"id":string}
//	MinKey, MaxKey       the strings "MinKey" and "MaxKey"
//
// In Plain the field _id of doc itself, and no other, is a string with the text
// of [AppendIDText] whatever its type, so that a reader makes the same seed from
// it as syncd does; a null _id stays null.
//
// Relaxed and Canonical give the bytes of the driver's bson.MarshalExtJSON
// without HTML escaping, with one exception: the namespace of a DBPointer is
// escaped, which the driver forgets. Like the driver, and unlike Plain, they
// escape U+2028 and U+2029.
//
// Errors name the path of the field and are ErrMalformed, ErrInvalidUTF8 or
// ErrTooDeep. With an error, dst is returned as it was.
func AppendJSON(dst []byte, doc bson.Raw, d Dialect) ([]byte, error) {
	if d > Canonical {
		return dst, unknownDialect(d)
	}
	out, err := appendDocument(dst, doc, style(d), 1, d == Plain)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// AppendJSONString appends s to dst as a JSON string, escaped as Plain does. It
// returns dst as it was, and ErrInvalidUTF8, if s is not UTF-8.
func AppendJSONString(dst []byte, s string) ([]byte, error) {
	return appendText(dst, []byte(s), plain)
}

func unknownDialect(d Dialect) error { return fmt.Errorf("unknown JSON dialect %d", d) }

// style is a Dialect or a JavaDialect, since one walk over a document serves
// both.
type style uint8

const (
	plain          = style(Plain)
	relaxed        = style(Relaxed)
	canonical      = style(Canonical)
	javaStrict     = canonical + 1 + style(JavaStrict)
	javaExtended   = canonical + 1 + style(JavaExtended)
	javaSimplified = canonical + 1 + style(JavaSimplified)
	javaDriver4    = style(JavaDriver4) // added to one of the last three
)

// java reports whether it is a JavaDialect.
func (s style) java() bool { return s > canonical }

// appendDocument appends a document. depth is its own level, 1 for the outermost;
// plainID asks for the id text in its field _id.
func appendDocument(dst, doc []byte, d style, depth int, plainID bool) ([]byte, error) {
	b, err := body(doc, depth)
	if err != nil {
		return dst, err
	}
	dst = append(dst, '{')
	for more := false; len(b) > 0; more = true {
		t, name, val, rest, err := next(b)
		if err != nil {
			return dst, inField(name, err)
		}
		b = rest
		if more {
			dst = appendComma(dst, d)
		}
		if !utf8.Valid(name) {
			return dst, inField(name, errNameUTF8)
		}
		dst = append(dst, '"')
		dst = appendEscaped(dst, name, d)
		dst = append(dst, '"', ':')
		if d.java() {
			dst = append(dst, ' ')
		}
		if plainID && string(name) == "_id" {
			dst, err = appendIDJSON(dst, t, val, depth)
		} else {
			dst, err = appendValue(dst, t, val, d, depth)
		}
		if err != nil {
			return dst, inField(name, err)
		}
	}
	return append(dst, '}'), nil
}

// appendArray ignores the names of the elements: the order alone counts.
func appendArray(dst, doc []byte, d style, depth int) ([]byte, error) {
	b, err := body(doc, depth)
	if err != nil {
		return dst, err
	}
	dst = append(dst, '[')
	for i := 0; len(b) > 0; i++ {
		t, _, val, rest, err := next(b)
		if err != nil {
			return dst, inIndex(i, err)
		}
		b = rest
		if i > 0 {
			dst = appendComma(dst, d)
		}
		if dst, err = appendValue(dst, t, val, d, depth); err != nil {
			return dst, inIndex(i, err)
		}
	}
	return append(dst, ']'), nil
}

// appendComma appends what stands between two items.
func appendComma(dst []byte, d style) []byte {
	if d.java() {
		return append(dst, ", "...)
	}
	return append(dst, ',')
}

// appendIDJSON appends the id text of the _id of a document, as a JSON string.
func appendIDJSON(dst []byte, t bson.Type, val []byte, depth int) ([]byte, error) {
	switch t {
	case bson.TypeNull, bson.TypeUndefined:
		return append(dst, "null"...), nil
	case bson.TypeString:
		return appendText(dst, stringBytes(val), plain)
	}
	if out, ok := appendSafeText(append(dst, '"'), t, val); ok {
		return append(out, '"'), nil
	}
	// The text is JSON itself. It is written behind dst first, then once more
	// with its quotes escaped, and that is moved to where it belongs: no second
	// buffer is needed.
	start := len(dst)
	dst, err := appendIDText(dst, t, val, depth)
	if err != nil {
		return dst, err
	}
	end := len(dst)
	if dst, err = appendText(dst, dst[start:end], plain); err != nil {
		return dst, err
	}
	n := copy(dst[start:], dst[end:])
	return dst[:start+n], nil
}

// appendValue appends a value whose size has been checked. depth is how many
// documents enclose it. It holds only what costs nothing; what is rare, or
// differs between the dialects in more than its braces, is in functions of its
// own.
func appendValue(dst []byte, t bson.Type, val []byte, d style, depth int) ([]byte, error) {
	switch t {
	case bson.TypeString:
		return appendText(dst, stringBytes(val), d)
	case bson.TypeEmbeddedDocument:
		return appendDocument(dst, val, d, depth+1, false)
	case bson.TypeArray:
		return appendArray(dst, val, d, depth+1)
	case bson.TypeBoolean:
		return strconv.AppendBool(dst, val[0] == 1), nil
	case bson.TypeNull:
		return append(dst, "null"...), nil
	case bson.TypeJavaScript, bson.TypeSymbol, bson.TypeRegex, bson.TypeDBPointer, bson.TypeCodeWithScope:
		if d.java() {
			return appendJavaRare(dst, t, val, d, depth)
		}
		return appendRare(dst, t, val, d, depth)
	}
	switch {
	case d == plain:
		return appendPlainValue(dst, t, val), nil
	case d.java():
		return appendJavaScalar(dst, t, val, d), nil
	}
	return appendExtValue(dst, t, val, d == canonical), nil
}

// appendPlainValue appends the Plain form of the types that cannot fail.
func appendPlainValue(dst []byte, t bson.Type, val []byte) []byte {
	switch t {
	case bson.TypeInt32:
		return strconv.AppendInt(dst, int64(int32At(val)), 10)
	case bson.TypeInt64:
		return strconv.AppendInt(dst, int64At(val), 10)
	case bson.TypeDouble:
		f := doubleAt(val)
		if out, ok := appendNonFinite(append(dst, '"'), f); ok {
			return append(out, '"')
		}
		return appendShortest(dst, f)
	case bson.TypeUndefined:
		return append(dst, "null"...)
	case bson.TypeTimestamp:
		return appendTimestamp(dst, val)
	}
	dst = append(dst, '"')
	switch t {
	case bson.TypeObjectID:
		dst = hexid.AppendObjectID(dst, (*[objectIDSize]byte)(val))
	case bson.TypeDateTime:
		dst = appendDate(dst, int64At(val), true)
	case bson.TypeBinary:
		dst = appendBinaryText(dst, val)
	case bson.TypeDecimal128:
		dst = appendDecimal(dst, val)
	case bson.TypeMinKey:
		dst = append(dst, "MinKey"...)
	case bson.TypeMaxKey:
		dst = append(dst, "MaxKey"...)
	}
	return append(dst, '"')
}

// appendExtValue appends the Extended JSON form of the types that cannot fail.
func appendExtValue(dst []byte, t bson.Type, val []byte, canonical bool) []byte {
	switch t {
	case bson.TypeInt32:
		if !canonical {
			return strconv.AppendInt(dst, int64(int32At(val)), 10)
		}
		dst = append(dst, `{"$numberInt":"`...)
		dst = strconv.AppendInt(dst, int64(int32At(val)), 10)
	case bson.TypeInt64:
		if !canonical {
			return strconv.AppendInt(dst, int64At(val), 10)
		}
		dst = append(dst, `{"$numberLong":"`...)
		dst = strconv.AppendInt(dst, int64At(val), 10)
	case bson.TypeDouble:
		f := doubleAt(val)
		out, ok := appendNonFinite(append(dst, `{"$numberDouble":"`...), f)
		switch {
		case ok:
			dst = out
		case canonical:
			dst = appendDoubleExt(out, f)
		default:
			return appendDoubleExt(dst, f)
		}
	case bson.TypeDateTime:
		ms := int64At(val)
		if canonical || ms < 0 || ms > maxTextDate {
			dst = append(dst, `{"$date":{"$numberLong":"`...)
			dst = strconv.AppendInt(dst, ms, 10)
			return append(dst, `"}}`...)
		}
		dst = append(dst, `{"$date":"`...)
		dst = appendDate(dst, ms, false)
	case bson.TypeObjectID:
		dst = append(dst, `{"$oid":"`...)
		dst = hex.AppendEncode(dst, val)
	case bson.TypeDecimal128:
		dst = append(dst, `{"$numberDecimal":"`...)
		dst = appendDecimal(dst, val)
	case bson.TypeBinary:
		subtype, data := binaryBytes(val)
		dst = append(dst, `{"$binary":{"base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, data)
		dst = append(dst, `","subType":"`...)
		dst = append(dst, lowerHex[subtype>>4], lowerHex[subtype&0xf])
		return append(dst, `"}}`...)
	case bson.TypeTimestamp:
		dst = append(dst, `{"$timestamp":`...)
		dst = appendTimestamp(dst, val)
		return append(dst, '}')
	case bson.TypeUndefined:
		return append(dst, `{"$undefined":true}`...)
	case bson.TypeMinKey:
		return append(dst, `{"$minKey":1}`...)
	case bson.TypeMaxKey:
		return append(dst, `{"$maxKey":1}`...)
	}
	return append(dst, `"}`...)
}

func appendTimestamp(dst, val []byte) []byte {
	t, i := timestamp(val)
	dst = append(dst, `{"t":`...)
	dst = strconv.AppendUint(dst, uint64(t), 10)
	dst = append(dst, `,"i":`...)
	dst = strconv.AppendUint(dst, uint64(i), 10)
	return append(dst, '}')
}

// appendRare appends the types that applications hardly ever store and that hold
// text.
func appendRare(dst []byte, t bson.Type, val []byte, d style, depth int) ([]byte, error) {
	ext := d != plain
	var err error
	switch t {
	case bson.TypeJavaScript, bson.TypeSymbol:
		if !ext {
			return appendText(dst, stringBytes(val), d)
		}
		name := `{"$code":`
		if t == bson.TypeSymbol {
			name = `{"$symbol":`
		}
		if dst, err = appendText(append(dst, name...), stringBytes(val), d); err != nil {
			return dst, err
		}
	case bson.TypeRegex:
		pattern, options := regexBytes(val)
		if !utf8.Valid(pattern) || !utf8.Valid(options) {
			return dst, errStringUTF8
		}
		options = sortedOptions(options)
		open, middle, end := `"/`, `/`, `"`
		if ext {
			open, middle, end = `{"$regularExpression":{"pattern":"`, `","options":"`, `"}}`
		}
		dst = appendEscaped(append(dst, open...), pattern, d)
		dst = appendEscaped(append(dst, middle...), options, d)
		return append(dst, end...), nil
	case bson.TypeDBPointer:
		ns, oid := dbPointer(val)
		ref, id := `{"ref":`, `,"id":"`
		if ext {
			ref, id = `{"$dbPointer":{"$ref":`, `,"$id":{"$oid":"`
		}
		if dst, err = appendText(append(dst, ref...), ns, d); err != nil {
			return dst, err
		}
		dst = hex.AppendEncode(append(dst, id...), oid)
		dst = append(dst, '"')
		if ext {
			dst = append(dst, "}}"...)
		}
	case bson.TypeCodeWithScope:
		text, scope := codeWithScope(val)
		names := [2]string{`{"code":`, `,"scope":`}
		if ext {
			names = [2]string{`{"$code":`, `,"$scope":`}
		}
		if dst, err = appendText(append(dst, names[0]...), text, d); err != nil {
			return dst, err
		}
		if dst, err = appendDocument(append(dst, names[1]...), scope, d, depth+1, false); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// sortedOptions returns the options of a regular expression in alphabetical
// order, as the specification wants them, whatever an old writer stored.
func sortedOptions(options []byte) []byte {
	sorted := true
	for i, c := range options {
		sorted = sorted && c < utf8.RuneSelf && (i == 0 || options[i-1] <= c)
	}
	if sorted {
		return options
	}
	runes := []rune(string(options))
	slices.Sort(runes)
	return []byte(string(runes))
}
