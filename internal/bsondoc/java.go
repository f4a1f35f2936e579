package bsondoc

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// JavaDialect is a way in which MongoDB's Java driver writes BSON as JSON. The
// MongoDB Kafka connector offers three of them under the name of "formatter".
type JavaDialect uint8

// The dialects, by the connector's names.
const (
	// JavaStrict is DefaultJson: Extended JSON v1, the driver's mode STRICT.
	JavaStrict JavaDialect = iota
	// JavaExtended is ExtendedJson: Extended JSON v2 in its canonical format.
	JavaExtended
	// JavaSimplified is SimplifiedJson: the relaxed format, in which the
	// connector takes the types of the values that are most common away.
	JavaSimplified

	// JavaDriver4, added to one of them, has them as drivers before 5.7 wrote
	// them, and so the connector before 3.0: 1.0E10 rather than 1.0E+10.
	JavaDriver4 JavaDialect = 0x40
)

// AppendJavaJSON appends doc to dst, byte for byte as the Java driver writes it:
// ": " behind a name, ", " between two items, no line breaks. Fields keep their
// order, and names that occur twice are written twice.
//
//	                JavaStrict                  JavaExtended                  JavaSimplified
//	ObjectId        {"$oid": "…"}               {"$oid": "…"}                 "…"
//	string          "…"                         "…"                           "…"
//	int32           42                          {"$numberInt": "42"}          42
//	int64           {"$numberLong": "42"}       {"$numberLong": "42"}         42
//	double          1.0                         {"$numberDouble": "1.0"}      1.0
//	NaN, Infinity   NaN                         {"$numberDouble": "NaN"}      {"$numberDouble": "NaN"}
//	Decimal128      {"$numberDecimal": "1.50"}  {"$numberDecimal": "1.50"}    "1.50"
//	date            {"$date": 1718000000123}    {"$date": {"$numberLong":…}}  "2024-06-10T06:13:20.123Z"
//	binary, UUID    {"$binary": "…",            {"$binary": {"base64": "…",   "…" in base64
//	                 "$type": "04"}              "subType": "04"}}
//	regex           {"$regex": "…",             {"$regularExpression":        as JavaExtended
//	                 "$options": "i"}            {"pattern":…, "options":…}}
//	timestamp       {"$timestamp": {"t": 1, "i": 2}} in all of them
//	symbol          {"$symbol": "…"}            {"$symbol": "…"}              "…"
//	code            {"$code": "…"} in all of them, with scope {"$code": "…", "$scope": {…}}
//	DBPointer       {"$ref": "…", "$id":…}      {"$dbPointer": {"$ref":…}}    {"$ref": "…", "$id": "…"}
//	others          true, false, null, {"$undefined": true}, {"$minKey": 1}, {"$maxKey": 1}
//
// Doubles are those of Double.toString, but for the plus sign in 1.0E+10, see
// JavaDriver4. In JavaStrict NaN, Infinity and -Infinity stand
// unquoted. That is not JSON, but it is what the connector sends.
//
// In strings, Java escapes what is not a letter, number, punctuation, symbol or
// space, as \u and four digits of lower case: control and format characters, but
// also combining marks, modifier letters, private and unassigned characters, and
// both halves of every character beyond U+FFFF.
//
// Sources: JsonWriter, StrictCharacterStreamJsonWriter and the converters of
// org.bson.json 4.7 and 5.8, and DefaultJson, ExtendedJson and SimplifiedJson of
// the connector 2.0 and 3.0. Two things depend on the connector's Java release,
// and are those of Java 21 here: which characters are assigned (Unicode 15), and
// the digits of a few doubles, of which Java before 19 writes more than needed.
//
// One thing differs on purpose: text that is not UTF-8 is ErrInvalidUTF8, where
// Java puts U+FFFD in its place. Other errors are those of [AppendJSON]. With an
// error, dst is returned as it was.
func AppendJavaJSON(dst []byte, doc bson.Raw, d JavaDialect) ([]byte, error) {
	s, err := d.style()
	if err != nil {
		return dst, err
	}
	out, err := appendDocument(dst, doc, s, 1, false)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// AppendJavaValue appends one value to dst by the rules of [AppendJavaJSON]. The
// zero RawValue, a missing value, is ErrMalformed.
func AppendJavaValue(dst []byte, v bson.RawValue, d JavaDialect) ([]byte, error) {
	s, err := d.style()
	if err == nil {
		err = wholeValue(v)
	}
	if err != nil {
		return dst, err
	}
	out, err := appendValue(dst, v.Type, v.Value, s, 0)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// AppendJavaString appends s to dst as a JSON string by the rules of
// [AppendJavaJSON].
func AppendJavaString(dst []byte, s string) ([]byte, error) {
	return appendText(dst, []byte(s), javaStrict)
}

func (d JavaDialect) style() (style, error) {
	if d&^JavaDriver4 > JavaSimplified {
		return 0, fmt.Errorf("unknown JSON dialect %d of Java", d)
	}
	return javaStrict + style(d), nil
}

// form is a Java style without the driver's version.
func (s style) form() style { return s &^ javaDriver4 }

// appendJavaScalar appends the types that cannot fail.
func appendJavaScalar(dst []byte, t bson.Type, val []byte, s style) []byte {
	d, end := s.form(), `"}`
	switch t {
	case bson.TypeInt32:
		if d != javaExtended {
			return strconv.AppendInt(dst, int64(int32At(val)), 10)
		}
		dst = append(dst, `{"$numberInt": "`...)
		dst = strconv.AppendInt(dst, int64(int32At(val)), 10)
	case bson.TypeInt64:
		if d == javaSimplified {
			return strconv.AppendInt(dst, int64At(val), 10)
		}
		dst = append(dst, `{"$numberLong": "`...)
		dst = strconv.AppendInt(dst, int64At(val), 10)
	case bson.TypeDouble:
		f := doubleAt(val)
		if d == javaStrict || d == javaSimplified && !math.IsNaN(f) && !math.IsInf(f, 0) {
			return appendJavaDouble(dst, f, s)
		}
		dst = append(dst, `{"$numberDouble": "`...)
		dst = appendJavaDouble(dst, f, s)
	case bson.TypeDateTime:
		return appendJavaDate(dst, int64At(val), d)
	case bson.TypeObjectID:
		dst, end = openJava(dst, d, `{"$oid": "`)
		dst = hex.AppendEncode(dst, val)
	case bson.TypeDecimal128:
		dst, end = openJava(dst, d, `{"$numberDecimal": "`)
		dst = appendDecimal(dst, val)
	case bson.TypeBinary:
		return appendJavaBinary(dst, val, d)
	case bson.TypeTimestamp:
		seconds, i := timestamp(val)
		dst = append(dst, `{"$timestamp": {"t": `...)
		dst = strconv.AppendUint(dst, uint64(seconds), 10)
		dst = append(dst, `, "i": `...)
		dst = strconv.AppendUint(dst, uint64(i), 10)
		end = `}}`
	case bson.TypeUndefined:
		return append(dst, `{"$undefined": true}`...)
	case bson.TypeMinKey:
		return append(dst, `{"$minKey": 1}`...)
	case bson.TypeMaxKey:
		return append(dst, `{"$maxKey": 1}`...)
	}
	return append(dst, end...)
}

// openJava begins a value that JavaSimplified writes as a mere string, and says
// how it ends.
func openJava(dst []byte, d style, open string) (out []byte, end string) {
	if d == javaSimplified {
		return append(dst, '"'), `"`
	}
	return append(dst, open...), `"}`
}

// appendJavaDate appends a date. In JavaSimplified it is that of Java's
// ISO_DATE_TIME: no zeros at the end of the fraction, and a year outside of 0 to
// 9999 has a sign and as many digits as it needs, but at least four.
func appendJavaDate(dst []byte, ms int64, d style) []byte {
	switch d {
	case javaSimplified:
		const yearDigits = 4
		dst = appendInstant(append(dst, '"'), ms, false, yearDigits)
		return append(dst, '"')
	case javaExtended:
		dst = append(dst, `{"$date": {"$numberLong": "`...)
		dst = strconv.AppendInt(dst, ms, 10)
		return append(dst, `"}}`...)
	}
	dst = append(dst, `{"$date": `...)
	dst = strconv.AppendInt(dst, ms, 10)
	return append(dst, '}')
}

func appendJavaBinary(dst, val []byte, d style) []byte {
	const upperHex = "0123456789ABCDEF"
	open, middle, end := `{"$binary": "`, `", "$type": "`, `"}`
	switch d {
	case javaSimplified:
		open = `"`
	case javaExtended:
		open, middle, end = `{"$binary": {"base64": "`, `", "subType": "`, `"}}`
	}
	subtype, data := binaryBytes(val)
	dst = base64.StdEncoding.AppendEncode(append(dst, open...), data)
	if d == javaSimplified {
		return append(dst, '"')
	}
	dst = append(append(dst, middle...), upperHex[subtype>>4], upperHex[subtype&0xf])
	return append(dst, end...)
}

// appendJavaRare is appendRare in the Java dialects.
func appendJavaRare(dst []byte, t bson.Type, val []byte, d style, depth int) ([]byte, error) {
	var err error
	switch t {
	case bson.TypeSymbol:
		if d.form() == javaSimplified {
			return appendText(dst, stringBytes(val), d)
		}
		if dst, err = appendText(append(dst, `{"$symbol": `...), stringBytes(val), d); err != nil {
			return dst, err
		}
	case bson.TypeJavaScript:
		if dst, err = appendText(append(dst, `{"$code": `...), stringBytes(val), d); err != nil {
			return dst, err
		}
	case bson.TypeCodeWithScope:
		text, scope := codeWithScope(val)
		if dst, err = appendText(append(dst, `{"$code": `...), text, d); err != nil {
			return dst, err
		}
		if dst, err = appendDocument(append(dst, `, "$scope": `...), scope, d, depth+1, false); err != nil {
			return dst, err
		}
	case bson.TypeRegex:
		open, middle, end := `{"$regex": `, `, "$options": `, `}`
		if d.form() != javaStrict {
			open, middle, end = `{"$regularExpression": {"pattern": `, `, "options": `, `}}`
		}
		pattern, options := regexBytes(val)
		if dst, err = appendText(append(dst, open...), pattern, d); err != nil {
			return dst, err
		}
		if !utf8.Valid(options) {
			return dst, errStringUTF8
		}
		if dst, err = appendText(append(dst, middle...), sortedOptions(options), d); err != nil {
			return dst, err
		}
		return append(dst, end...), nil
	case bson.TypeDBPointer:
		ns, oid := dbPointer(val)
		open, end := `{"$ref": `, `}`
		if d.form() == javaExtended {
			open, end = `{"$dbPointer": {"$ref": `, `}}`
		}
		if dst, err = appendText(append(dst, open...), ns, d); err != nil {
			return dst, err
		}
		dst = appendJavaScalar(append(dst, `, "$id": `...), bson.TypeObjectID, oid, d)
		return append(dst, end...), nil
	}
	return append(dst, '}'), nil
}

// appendJavaDouble appends f as Double.toString of Java 19 or later gives it,
// with a plus sign in the exponent where the driver adds one. There is always a
// digit on both sides of the point.
func appendJavaDouble(dst []byte, f float64, s style) []byte {
	if out, ok := appendNonFinite(dst, f); ok {
		return out
	}
	if abs := math.Abs(f); abs == 0 || abs >= 1e-3 && abs < 1e7 {
		n := len(dst)
		dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
		for _, c := range dst[n:] {
			if c == '.' {
				return dst
			}
		}
		return append(dst, ".0"...)
	}
	n := len(dst)
	dst = strconv.AppendFloat(dst, f, 'E', -1, 64)
	first := n
	if f < 0 {
		first++
	}
	if dst[first+1] == 'E' {
		// One digit is enough, but Java takes the nearest number of two. It is
		// another one only for the smallest doubles: 4.9E-324, not 5.0E-324.
		dst = strconv.AppendFloat(dst[:n], f, 'E', 1, 64)
	}
	// strconv always writes a sign, and at least two digits.
	e := n + bytes.IndexByte(dst[n:], 'E') + 1
	exp := dst[e:]
	if exp[1] == '0' {
		exp = append(exp[:1], exp[2:]...)
	}
	if exp[0] == '+' && s&javaDriver4 != 0 {
		exp = append(exp[:0], exp[1:]...)
	}
	return dst[:e+len(exp)]
}

// appendJavaEscaped is appendEscaped by Java's rules. s is UTF-8.
func appendJavaEscaped(dst, s []byte) []byte {
	start := 0
	for i := nextSpecial(s, 0, javaStrict); i < len(s); i = nextSpecial(s, i, javaStrict) {
		c, size := rune(s[i]), 1
		if c >= utf8.RuneSelf {
			if c, size = utf8.DecodeRune(s[i:]); javaKeeps(c) {
				i += size
				continue
			}
		}
		dst = append(dst, s[start:i]...)
		i += size
		start = i
		if c < utf8.RuneSelf {
			if letter := shortEscape(byte(c)); letter != 0 {
				dst = append(dst, '\\', letter)
				continue
			}
		}
		if c > 0xffff { // Java's strings are UTF-16
			high, low := utf16.EncodeRune(c)
			dst, c = appendUnit(dst, high), low
		}
		dst = appendUnit(dst, c)
	}
	return append(dst, s[start:]...)
}

func appendUnit(dst []byte, u rune) []byte {
	return append(dst, '\\', 'u', lowerHex[u>>12&0xf], lowerHex[u>>8&0xf], lowerHex[u>>4&0xf], lowerHex[u&0xf])
}

// javaKeeps reports whether Java writes a character outside of ASCII as it is.
func javaKeeps(c rune) bool {
	switch {
	case c > 0xffff:
		return false // two surrogates, which are a category of their own
	case c >= 0xc0 && c < 0x2b0, // Latin
		c >= 0x400 && c < 0x482,   // Cyrillic
		c >= 0x3041 && c < 0x3097, // Hiragana
		c >= 0x30a1 && c < 0x30fb, // Katakana
		c >= 0x4e00 && c < 0xa000, // Chinese
		c >= 0xac00 && c < 0xd7a4: // Hangul
		return true // in one step, since texts are made of them
	}
	return keptCategory(c)
}

// keptCategory reports whether a character's category is one that Java keeps:
// letters, numbers, punctuation, symbols and spaces, without modifier letters.
func keptCategory(c rune) bool {
	return strconv.IsGraphic(c) && !unicode.In(c, unicode.Lm, unicode.M)
}
