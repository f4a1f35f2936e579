package mongo

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/internal/bsondoc"
)

// idGuesses are the ids that may have some texts: the elements of a BSON array, for {_id: {$in: …}}.
//
// An id's text does not tell its type ("5" may be an int32 or a string), so there is a guess of each type that the text
// could be of. MongoDB compares numbers by value, so one of them stands for those of all types that are equal; all else it
// compares by type and content. A guess is only taken if its own text is the one that was asked for, so what is tried
// here may be sloppy; what is left out would be a document that is not found.
type idGuesses struct {
	array []byte // the elements
	n     int

	value, text []byte // reused
}

func (g *idGuesses) reset() { g.array, g.n = g.array[:0], 0 }

// add takes a value if its text is the one asked for.
func (g *idGuesses) add(text string, t bson.Type, value []byte) {
	out, err := bsondoc.AppendIDText(g.text[:0], bson.RawValue{Type: t, Value: value})
	if err != nil {
		return
	}
	if g.text = out; string(out) != text {
		return
	}
	g.array = append(g.array, byte(t))
	g.array = strconv.AppendInt(g.array, int64(g.n), 10)
	g.array = append(append(g.array, 0), value...)
	g.n++
}

// addUsual adds the ids of the types that ids have.
func (g *idGuesses) addUsual(text string) {
	g.addString(text)
	switch {
	case len(text) == 2*objectIDSize:
		if b, err := hex.AppendDecode(g.value[:0], []byte(text)); err == nil {
			g.value = b
			g.add(text, bson.TypeObjectID, b)
			return
		}
	case text == "true":
		g.add(text, bson.TypeBoolean, []byte{1})
	case text == "false":
		g.add(text, bson.TypeBoolean, []byte{0})
	}
	g.addUUID(text)
	if isNumeric(text) {
		g.addNumber(text)
	}
	if ms, ok := parseDate(text); ok {
		g.add(text, bson.TypeDateTime, binary.LittleEndian.AppendUint64(g.value[:0], uint64(ms)))
	}
	if v, ok := parseExtended(text); ok && isUsual(v) {
		g.add(text, v.Type, v.Value)
	}
	if data, ok := parseBase64(text); ok {
		g.addBinary(text, bson.TypeBinaryGeneric, data)
	}
}

// addRare adds the ids of all other types: of those that hardly anybody uses, and that some servers which speak MongoDB's
// protocol can't compare. binaries says whether the collection may have any binary id, of which there may be 256 subtypes,
// and decimals whether it may have a Decimal128.
func (g *idGuesses) addRare(text string, binaries, decimals bool) {
	switch text {
	case "NaN":
		g.add(text, bson.TypeDouble, g.double(math.NaN()))
	case "Infinity":
		g.add(text, bson.TypeDouble, g.double(math.Inf(1)))
	case "-Infinity":
		g.add(text, bson.TypeDouble, g.double(math.Inf(-1)))
	}
	if decimals {
		g.addDecimal(text)
	}
	if v, ok := parseExtended(text); ok && !isUsual(v) {
		g.add(text, v.Type, v.Value)
	}
	if data, ok := parseBase64(text); ok && binaries {
		for subtype := range 256 {
			g.addBinary(text, byte(subtype), data)
		}
	}
}

func (g *idGuesses) addString(text string) {
	g.value = binary.LittleEndian.AppendUint32(g.value[:0], uint32(len(text)+1))
	g.value = append(append(g.value, text...), 0)
	g.add(text, bson.TypeString, g.value)
}

// addUUID adds a UUID of either subtype: drivers wrote 3 before there was 4, each in its own order of bytes, and a text
// is that of the bytes as stored.
func (g *idGuesses) addUUID(text string) {
	const size = 36
	if len(text) != size || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return
	}
	digits := strings.ReplaceAll(text, "-", "")
	data, err := hex.DecodeString(digits)
	if err != nil {
		return
	}
	g.addBinary(text, bson.TypeBinaryUUID, data)
	g.addBinary(text, bson.TypeBinaryUUIDOld, data)
}

func (g *idGuesses) addBinary(text string, subtype byte, data []byte) {
	put := func(n int) {
		g.value = binary.LittleEndian.AppendUint32(g.value[:0], uint32(n))
		g.value = append(g.value, subtype)
	}
	if subtype == bson.TypeBinaryBinaryOld && string(data) != "\x00\x00\x00\x00" { // has its length once more
		put(len(data) + 4)
		g.value = binary.LittleEndian.AppendUint32(g.value, uint32(len(data)))
	} else { // and of an empty one the text is that of this length, see bsondoc
		put(len(data))
	}
	g.value = append(g.value, data...)
	g.add(text, bson.TypeBinary, g.value)
}

// addNumber adds an int64, which stands for all numbers of that value, and a double where that may be another one: a
// double's text has as few digits as tell it from its neighbours, so beyond 2⁵³ they are not its value.
func (g *idGuesses) addNumber(text string) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err == nil {
		g.add(text, bson.TypeInt64, binary.LittleEndian.AppendUint64(g.value[:0], uint64(n)))
		if isExactDouble(n) {
			return
		}
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		g.add(text, bson.TypeDouble, g.double(f))
	}
}

func (g *idGuesses) double(f float64) []byte {
	g.value = binary.LittleEndian.AppendUint64(g.value[:0], math.Float64bits(f))
	return g.value
}

// mayBeDecimal tells the texts that only a Decimal128 may have, beside the types that were tried before.
func mayBeDecimal(text string) bool {
	var g idGuesses
	g.addDecimal(text)
	return g.n > 0
}

// addDecimal adds a Decimal128 where no integer has its value. A double of the same text may have another value: MongoDB
// compares both exactly, and 0.1 is no double.
func (g *idGuesses) addDecimal(text string) {
	if !isNumeric(text) {
		return
	}
	if _, err := strconv.ParseInt(text, 10, 64); err == nil {
		return
	}
	d, err := bson.ParseDecimal128(text)
	if err != nil {
		return
	}
	high, low := d.GetBytes()
	g.value = binary.LittleEndian.AppendUint64(g.value[:0], low)
	g.value = binary.LittleEndian.AppendUint64(g.value, high)
	g.add(text, bson.TypeDecimal128, g.value)
}

const objectIDSize = 12

// isNumeric spares texts that can't be numbers the errors of parsers.
func isNumeric(text string) bool {
	return text != "" && strings.Trim(text, "0123456789.+-e") == "" && text[0] != '+' && text[0] != 'e'
}

// parseDate reads the text of a date, of any year: time.Parse knows years of four digits only.
func parseDate(text string) (ms int64, ok bool) {
	const end = "-01-02T15:04:05.000Z"
	if len(text) < len("2006")+len(end) || text[len(text)-1] != 'Z' {
		return 0, false
	}
	at := len(text) - len(end)
	year, err := strconv.Atoi(text[:at])
	if err != nil {
		return 0, false
	}
	// In a leap year; the 29th of February of any other becomes a day in March, whose text is another.
	t, err := time.Parse("2006"+end, "2000"+text[at:])
	if err != nil {
		return 0, false
	}
	return time.Date(year, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC).UnixMilli(), true
}

// parseBase64 decodes a text that may be a binary's. One that looks like an ObjectId is hardly that, but can be.
func parseBase64(text string) ([]byte, bool) {
	if len(text)%4 != 0 {
		return nil, false
	}
	data, err := base64.StdEncoding.Strict().DecodeString(text)
	return data, err == nil
}

// parseExtended reads the canonical Extended JSON of a value that an _id can be. Those that it can't are no harmless
// guesses: $in takes a regular expression for a pattern, and fails as a whole on a document of operators. MongoDB
// refuses both, and arrays, as an _id (Manual, "Documents", "The _id Field"), but takes a DBRef in either place.
func parseExtended(text string) (bson.RawValue, bool) {
	if !strings.HasPrefix(text, "{") {
		return bson.RawValue{}, false
	}
	var doc bson.Raw
	if err := bson.UnmarshalExtJSON([]byte(`{"v":`+text+`}`), true, &doc); err != nil {
		return bson.RawValue{}, false
	}
	v, ok := bsondoc.Lookup(doc, "v")
	switch {
	case !ok || v.Type == bson.TypeRegex || v.Type == bson.TypeArray:
		return v, false
	case v.Type == bson.TypeEmbeddedDocument:
		elements, err := bson.Raw(v.Value).Elements()
		return v, err == nil && (isReference(elements) || !hasOperators(elements))
	}
	return v, true
}

func hasOperators(elements []bson.RawElement) bool {
	return slices.ContainsFunc(elements, func(e bson.RawElement) bool { return strings.HasPrefix(e.Key(), "$") })
}

// isReference reports whether a document is a DBRef: $ref, $id, perhaps $db, in this order, and then no operators.
func isReference(elements []bson.RawElement) bool {
	if len(elements) < 2 || elements[0].Key() != "$ref" || elements[0].Value().Type != bson.TypeString || elements[1].Key() != "$id" {
		return false
	}
	rest := elements[2:]
	if len(rest) > 0 && rest[0].Key() == "$db" {
		rest = rest[1:]
	}
	return !hasOperators(rest)
}

// isUsual tells the values in Extended JSON that every server can compare. A DBRef looks like an operator to some.
func isUsual(v bson.RawValue) bool {
	if v.Type != bson.TypeEmbeddedDocument {
		return v.Type == bson.TypeTimestamp
	}
	first, err := bson.Raw(v.Value).IndexErr(0)
	return err != nil || !strings.HasPrefix(first.Key(), "$")
}
