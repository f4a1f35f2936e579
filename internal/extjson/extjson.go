// Package extjson turns JSON into BSON: MongoDB's Extended JSON, in one pass and without allocating where it is of the common forms,
// and plain JSON, which knows no types beside its own.
package extjson

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// maxScanned is how deep what extJSON reads may be nested. The driver's own limits are at 200 documents and 10,000 arrays.
const maxScanned = 100

// extJSON turns a line of Extended JSON into BSON, in one pass and without allocating, where it is sure that the driver would give
// the same bytes. Of everything else it says that it is not: errors, which the driver explains; keys with escapes; lone
// surrogates; wrappers that are rare or in the legacy form. Each method returns whether it is still sure, and is at the
// beginning of what it reads; blanks before it were passed over.
type extJSON struct {
	src []byte
	at  int
	dst []byte

	plainJSON bool // there are no wrappers
	java      bool // NaN, Infinity and -Infinity are numbers
}

// dollar reports whether a key that makes its document a wrapper comes next.
func (x *extJSON) dollar() bool {
	return !x.plainJSON && x.peek() == '"' && x.at+1 < len(x.src) && x.src[x.at+1] == '$'
}

// Append appends the document that a text of Extended JSON holds to dst; ok is false where it leaves that to [Parse].
func Append(dst, text []byte) (out []byte, ok bool) {
	x := extJSON{src: text, dst: dst}
	return x.document(dst)
}

// AppendJava is Append for what the MongoDB Kafka connector writes: numbers that are none stand there without quotes.
func AppendJava(dst, text []byte) (out []byte, ok bool) {
	x := extJSON{src: text, dst: dst, java: true}
	return x.document(dst)
}

// AppendPlain appends the document that a JSON object holds to dst: numbers become the least of int32, int64 and double that holds
// them, and a name that begins with a dollar is one like any other. ok is false for what is no JSON object, nested deeper than 100, or
// holds a text that is half of a character.
func AppendPlain(dst, text []byte) (out []byte, ok bool) {
	x := extJSON{src: text, dst: dst, plainJSON: true}
	x.blanks()
	return x.document(dst)
}

// Parse reads one document as the driver does. The driver's parser stops behind the first value and its errors have no position, so
// encoding/json looks at the text first.
func Parse(text []byte) (bson.Raw, error) {
	if err := Syntax(text); err != nil {
		return nil, err
	}
	var doc bson.Raw
	if err := bson.UnmarshalExtJSON(text, false, &doc); err != nil {
		return nil, fmt.Errorf("not Extended JSON: %w", err)
	}
	return doc, nil
}

// Syntax says why a text is no JSON object, or nothing.
func Syntax(text []byte) error {
	if !json.Valid(text) {
		var value json.RawMessage
		err := json.Unmarshal(text, &value)
		if e, ok := errors.AsType[*json.SyntaxError](err); ok {
			return fmt.Errorf("not JSON: %w (column %d)", err, e.Offset)
		}
		return fmt.Errorf("not JSON: %w", err)
	}
	if text[0] != '{' {
		return errors.New("not a document: a line must be a JSON object")
	}
	return nil
}

// document reads a whole document, dst being what is returned where that is not sure.
func (x *extJSON) document(dst []byte) ([]byte, bool) {
	if !x.next('{') {
		return dst, false
	}
	start := x.begin()
	x.blanks()
	if x.dollar() {
		return dst, false
	}
	if !x.members(start, 1) {
		return dst, false
	}
	x.blanks()
	return x.dst, x.at == len(x.src)
}

// peek returns the next byte, or 0 at the end, which no JSON has.
func (x *extJSON) peek() byte {
	if x.at < len(x.src) {
		return x.src[x.at]
	}
	return 0
}

// next passes over c.
func (x *extJSON) next(c byte) bool {
	if x.peek() != c {
		return false
	}
	x.at++
	return true
}

// after passes over blanks, and then c.
func (x *extJSON) after(c byte) bool {
	x.blanks()
	return x.next(c)
}

func (x *extJSON) blanks() {
	for x.at < len(x.src) {
		switch x.src[x.at] {
		case ' ', '\t', '\r', '\n':
			x.at++
		default:
			return
		}
	}
}

// begin begins a document, whose length end sets.
func (x *extJSON) begin() (start int) {
	start = len(x.dst)
	x.dst = append(x.dst, 0, 0, 0, 0)
	return start
}

func (x *extJSON) end(start int) bool {
	x.dst = append(x.dst, 0)
	return x.setLength(start, len(x.dst)-start)
}

func (x *extJSON) setLength(at, n int) bool {
	binary.LittleEndian.PutUint32(x.dst[at:], uint32(n))
	return n <= math.MaxInt32
}

// members reads a document behind its brace and blanks.
func (x *extJSON) members(start, depth int) bool {
	if x.next('}') {
		return x.end(start)
	}
	for {
		element := len(x.dst)
		x.dst = append(x.dst, 0) // the type
		x.blanks()
		if !x.name() {
			return false
		}
		if !x.after(':') || !x.value(element, depth) {
			return false
		}
		x.blanks()
		switch {
		case x.next(','):
		case x.next('}'):
			return x.end(start)
		default:
			return false
		}
	}
}

// elements reads an array behind its bracket.
func (x *extJSON) elements(start, depth int) bool {
	if x.after(']') {
		return x.end(start)
	}
	for i := int64(0); ; i++ {
		element := len(x.dst)
		x.dst = append(x.dst, 0) // the type
		x.dst = append(strconv.AppendInt(x.dst, i, 10), 0)
		if !x.value(element, depth) {
			return false
		}
		x.blanks()
		switch {
		case x.next(','):
		case x.next(']'):
			return x.end(start)
		default:
			return false
		}
	}
}

// value reads a value with the blanks before it, and sets the type of its element, which is at element.
func (x *extJSON) value(element, depth int) bool {
	x.blanks()
	switch c := x.peek(); c {
	case '"':
		x.dst[element] = byte(bson.TypeString)
		return x.text()
	case '{':
		x.at++
		x.blanks()
		if x.dollar() {
			return x.wrapped(element)
		}
		x.dst[element] = byte(bson.TypeEmbeddedDocument)
		return depth < maxScanned && x.members(x.begin(), depth+1)
	case '[':
		x.at++
		x.dst[element] = byte(bson.TypeArray)
		return depth < maxScanned && x.elements(x.begin(), depth+1)
	case 't':
		x.dst[element] = byte(bson.TypeBoolean)
		x.dst = append(x.dst, 1)
		return x.literal("true")
	case 'f':
		x.dst[element] = byte(bson.TypeBoolean)
		x.dst = append(x.dst, 0)
		return x.literal("false")
	case 'n':
		x.dst[element] = byte(bson.TypeNull)
		return x.literal("null")
	default:
		return x.number(element)
	}
}

func (x *extJSON) literal(word string) bool {
	if len(x.src)-x.at < len(word) || string(x.src[x.at:x.at+len(word)]) != word {
		return false
	}
	x.at += len(word)
	return true
}

// number reads a number as the least of int32, int64 and double that holds it.
func (x *extJSON) number(element int) bool {
	if x.java {
		if f, ok := x.nonFinite(); ok {
			x.dst[element] = byte(bson.TypeDouble)
			x.dst = binary.LittleEndian.AppendUint64(x.dst, math.Float64bits(f))
			return true
		}
	}
	n, text, ok := x.numeral()
	switch {
	case !ok:
		return false
	case text != nil:
		f, err := strconv.ParseFloat(string(text), 64)
		x.dst[element] = byte(bson.TypeDouble)
		x.dst = binary.LittleEndian.AppendUint64(x.dst, math.Float64bits(f))
		return err == nil
	case n >= math.MinInt32 && n <= math.MaxInt32:
		x.dst[element] = byte(bson.TypeInt32)
		x.dst = binary.LittleEndian.AppendUint32(x.dst, uint32(n))
	default:
		x.dst[element] = byte(bson.TypeInt64)
		x.dst = binary.LittleEndian.AppendUint64(x.dst, uint64(n))
	}
	return true
}

// nonFinite reads a number that is none, if there is one.
func (x *extJSON) nonFinite() (float64, bool) {
	for _, n := range [...]struct {
		word string
		f    float64
	}{{"NaN", math.NaN()}, {"Infinity", math.Inf(1)}, {"-Infinity", math.Inf(-1)}} {
		if x.literal(n.word) {
			return n.f, true
		}
	}
	return 0, false
}

// numeral returns the next number: as n, or as its text where that is no int64.
func (x *extJSON) numeral() (n int64, text []byte, ok bool) {
	start := x.at
	negative := x.next('-')
	digits := x.at
	var sum uint64 // right as long as it has no more than 18 digits
	for c := x.peek(); c >= '0' && c <= '9'; c = x.peek() {
		sum = sum*10 + uint64(c-'0')
		x.at++
	}
	count := x.at - digits
	if count == 0 || count > 1 && x.src[digits] == '0' {
		return 0, nil, false
	}
	whole := true
	if x.next('.') {
		whole = false
		if !x.digits() {
			return 0, nil, false
		}
	}
	if c := x.peek(); c == 'e' || c == 'E' {
		whole = false
		x.at++
		if c := x.peek(); c == '+' || c == '-' {
			x.at++
		}
		if !x.digits() {
			return 0, nil, false
		}
	}
	text = x.src[start:x.at]
	switch {
	case !whole:
		return 0, text, true
	case count > 18:
		n, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil {
			return 0, text, true
		}
		return n, nil, true
	case negative:
		return -int64(sum), nil, true
	}
	return int64(sum), nil, true
}

// digits passes over one digit or more.
func (x *extJSON) digits() bool {
	start := x.at
	for c := x.peek(); c >= '0' && c <= '9'; c = x.peek() {
		x.at++
	}
	return x.at > start
}

// toSpecial passes over the bytes of a text that stand for themselves, to its quote, a backslash, a control character or the end.
func (x *extJSON) toSpecial() {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	src, at := x.src, x.at
	for ; at+8 <= len(src); at += 8 {
		w := binary.LittleEndian.Uint64(src[at:])
		// To flip the bit of 2 makes a quote a blank, the greatest of what is less than '!'.
		low, slash := w^ones*2, w^ones*'\\'
		// The lowest bit that is set is of the first such byte; only those above it may be wrong.
		if found := ((low-ones*'!')&^low | (slash-ones)&^slash) & highs; found != 0 {
			x.at = at + bits.TrailingZeros64(found)/8
			return
		}
	}
	for at < len(src) && src[at] != '"' && src[at] != '\\' && src[at] >= ' ' {
		at++
	}
	x.at = at
}

// name reads the name of a field, as the zero-terminated text that BSON has there.
func (x *extJSON) name() bool {
	if !x.plainJSON && !x.java {
		key, ok := x.plain()
		x.dst = append(append(x.dst, key...), 0)
		return ok
	}
	start := len(x.dst)
	if x.peek() != '"' || !x.text() {
		return false
	}
	copy(x.dst[start:], x.dst[start+4:]) // a name has no length
	x.dst = x.dst[:len(x.dst)-4]
	return bytes.IndexByte(x.dst[start:], 0) == len(x.dst)-start-1
}

// plain reads a text without escapes.
func (x *extJSON) plain() ([]byte, bool) {
	if !x.next('"') {
		return nil, false
	}
	start := x.at
	x.toSpecial()
	return x.src[start:x.at:x.at], x.next('"')
}

// text reads a text as a BSON string.
func (x *extJSON) text() bool {
	x.at++
	start := len(x.dst)
	x.dst = append(x.dst, 0, 0, 0, 0)
	for {
		from := x.at
		x.toSpecial()
		x.dst = append(x.dst, x.src[from:x.at]...)
		switch {
		case x.next('"'):
			x.dst = append(x.dst, 0)
			return x.setLength(start, len(x.dst)-start-4)
		case !x.next('\\') || !x.escape():
			return false
		}
	}
}

// escape reads what stands behind a backslash.
func (x *extJSON) escape() bool {
	c := x.peek()
	x.at++
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		r, ok := x.unit()
		if ok && utf16.IsSurrogate(r) {
			var low rune
			ok = x.next('\\') && x.next('u')
			if ok {
				low, ok = x.unit()
			}
			r = utf16.DecodeRune(r, low)
			ok = ok && r != utf8.RuneError
		}
		x.dst = utf8.AppendRune(x.dst, r)
		return ok
	default:
		return false
	}
	x.dst = append(x.dst, c)
	return true
}

// unit reads the four hexadecimal digits of an escape.
func (x *extJSON) unit() (r rune, ok bool) {
	if len(x.src)-x.at < 4 {
		return 0, false
	}
	var b [2]byte
	if _, err := hex.Decode(b[:], x.src[x.at:x.at+4]); err != nil {
		return 0, false
	}
	x.at += 4
	return rune(binary.BigEndian.Uint16(b[:])), true
}

// wrapped reads a document whose first key begins with a dollar, at that key.
func (x *extJSON) wrapped(element int) bool {
	key, ok := x.plain()
	if !ok || !x.after(':') {
		return false
	}
	x.blanks()
	var t bson.Type
	switch string(key) {
	case "$oid":
		t, ok = bson.TypeObjectID, x.objectID()
	case "$date":
		t, ok = bson.TypeDateTime, x.date()
	case "$numberInt":
		var n int64
		n, ok = x.quotedInt()
		ok = ok && n >= math.MinInt32 && n <= math.MaxInt32
		t, x.dst = bson.TypeInt32, binary.LittleEndian.AppendUint32(x.dst, uint32(n))
	case "$numberLong":
		var n int64
		n, ok = x.quotedInt()
		t, x.dst = bson.TypeInt64, binary.LittleEndian.AppendUint64(x.dst, uint64(n))
	case "$numberDouble":
		t, ok = bson.TypeDouble, x.double()
	case "$numberDecimal":
		t, ok = bson.TypeDecimal128, x.decimal()
	case "$binary":
		t, ok = bson.TypeBinary, x.binary()
	case "$uuid":
		t, ok = bson.TypeBinary, x.uuid()
	case "$timestamp":
		t, ok = bson.TypeTimestamp, x.timestamp()
	case "$regularExpression":
		t, ok = bson.TypeRegex, x.regex()
	case "$symbol":
		t, ok = bson.TypeSymbol, x.peek() == '"' && x.text()
	case "$code":
		t, ok = bson.TypeJavaScript, x.peek() == '"' && x.text()
	case "$minKey":
		t, ok = bson.TypeMinKey, x.next('1')
	case "$maxKey":
		t, ok = bson.TypeMaxKey, x.next('1')
	case "$undefined":
		t, ok = bson.TypeUndefined, x.literal("true")
	default:
		return false
	}
	x.dst[element] = byte(t)
	return ok && x.after('}')
}

func (x *extJSON) objectID() bool {
	text, ok := x.plain()
	if !ok || len(text) != 24 {
		return false
	}
	n := len(x.dst)
	x.dst = append(x.dst, make([]byte, 12)...)
	_, err := hex.Decode(x.dst[n:], text)
	return err == nil
}

func (x *extJSON) quotedInt() (int64, bool) {
	text, ok := x.plain()
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	return n, err == nil
}

func (x *extJSON) double() bool {
	text, ok := x.plain()
	if !ok {
		return false
	}
	var f float64
	var err error
	switch string(text) {
	case "Infinity":
		f = math.Inf(1)
	case "-Infinity":
		f = math.Inf(-1)
	case "NaN":
		f = math.NaN()
	default:
		f, err = strconv.ParseFloat(string(text), 64)
	}
	x.dst = binary.LittleEndian.AppendUint64(x.dst, math.Float64bits(f))
	return err == nil
}

func (x *extJSON) decimal() bool {
	text, ok := x.plain()
	if !ok {
		return false
	}
	d, err := bson.ParseDecimal128(string(text))
	high, low := d.GetBytes()
	x.dst = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(x.dst, low), high)
	return err == nil
}

// date reads a text, the milliseconds as a number or, in the canonical form, as a document.
func (x *extJSON) date() (ok bool) {
	var ms int64
	switch x.peek() {
	case '"':
		var text []byte
		if text, ok = x.plain(); ok {
			ms, ok = parseDate(text)
		}
	case '{':
		x.at++
		ok = x.key("$numberLong")
		if ok {
			ms, ok = x.quotedInt()
			ok = ok && x.after('}')
		}
	default:
		var text []byte
		ms, text, ok = x.numeral()
		ok = ok && text == nil
	}
	x.dst = binary.LittleEndian.AppendUint64(x.dst, uint64(ms))
	return ok
}

// key passes over a key and its colon, with the blanks around them.
func (x *extJSON) key(want string) bool {
	x.blanks()
	key, ok := x.plain()
	ok = ok && string(key) == want && x.after(':')
	x.blanks()
	return ok
}

// parseDate returns the milliseconds since 1970 of a date. It reads the common form itself, and all others as the driver does.
func parseDate(text []byte) (ms int64, ok bool) {
	if ms, ok = parseCommonDate(text); ok {
		return ms, true
	}
	for _, layout := range []string{"2006-01-02T15:04:05.999Z07:00", "2006-01-02T15:04:05.999Z0700"} {
		if t, err := time.Parse(layout, string(text)); err == nil {
			return int64(bson.NewDateTimeFromTime(t)), true
		}
	}
	return 0, false
}

// parseCommonDate reads 2006-01-02T15:04:05Z, also with one to three digits of a second's fraction, up to the 28th of a month.
func parseCommonDate(text []byte) (ms int64, ok bool) {
	const form, seconds = "dddd-dd-ddTdd:dd:dd.ddd", len("dddd-dd-ddTdd:dd:dd")
	n := len(text) - 1
	if n != seconds && (n < seconds+2 || n > len(form)) || text[n] != 'Z' {
		return 0, false
	}
	for i, c := range text[:n] {
		if digit := form[i] == 'd'; digit && (c < '0' || c > '9') || !digit && c != form[i] {
			return 0, false
		}
	}
	two := func(i int) int { return int(text[i]-'0')*10 + int(text[i+1]-'0') }
	year, month, day := two(0)*100+two(2), two(5), two(8)
	hour, minute, second := two(11), two(14), two(17)
	if month < 1 || month > 12 || day < 1 || day > 28 || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	for i := seconds + 1; i < len(form); i++ {
		ms *= 10
		if i < n {
			ms += int64(text[i] - '0')
		}
	}
	return time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC).Unix()*1000 + ms, true
}

// binary reads the canonical form, in its order.
func (x *extJSON) binary() bool {
	if !x.next('{') || !x.key("base64") {
		return false
	}
	text, ok := x.plain()
	if !ok || !x.after(',') || !x.key("subType") {
		return false
	}
	digits, ok := x.plain()
	subtype, err := strconv.ParseUint(string(digits), 16, 8)
	if !ok || err != nil || byte(subtype) == bson.TypeBinaryBinaryOld { // that has its length twice
		return false
	}
	start := len(x.dst)
	x.dst = append(x.dst, 0, 0, 0, 0, byte(subtype))
	x.dst, err = base64.StdEncoding.AppendDecode(x.dst, text)
	return err == nil && x.setLength(start, len(x.dst)-start-5) && x.after('}')
}

func (x *extJSON) uuid() bool {
	text, ok := x.plain()
	if !ok || len(text) != 36 {
		return false
	}
	x.dst = append(x.dst, 16, 0, 0, 0, bson.TypeBinaryUUID)
	for i := 0; i < len(text); i += 2 {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if text[i] != '-' {
				return false
			}
			i++
		}
		n := len(x.dst)
		x.dst = append(x.dst, 0)
		if _, err := hex.Decode(x.dst[n:], text[i:i+2]); err != nil {
			return false
		}
	}
	return true
}

func (x *extJSON) timestamp() bool {
	if !x.next('{') || !x.key("t") {
		return false
	}
	t, ok := x.uint32()
	if !ok || !x.after(',') || !x.key("i") {
		return false
	}
	i, ok := x.uint32()
	x.dst = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(x.dst, i), t)
	return ok && x.after('}')
}

func (x *extJSON) uint32() (uint32, bool) {
	n, text, ok := x.numeral()
	return uint32(n), ok && text == nil && n >= 0 && n <= math.MaxUint32
}

// regex reads the canonical form, in its order, with one option at most: the driver sorts them, as runes, and so replaces what is
// no UTF-8.
func (x *extJSON) regex() bool {
	if !x.next('{') || !x.key("pattern") || x.peek() != '"' {
		return false
	}
	start := len(x.dst)
	if !x.text() {
		return false
	}
	for _, c := range x.dst[start+4 : len(x.dst)-1] {
		if c == 0 {
			return false
		}
	}
	x.dst = append(x.dst[:start], x.dst[start+4:]...) // a pattern ends with a zero, and has no length
	if !x.after(',') || !x.key("options") {
		return false
	}
	options, ok := x.plain()
	x.dst = append(append(x.dst, options...), 0)
	return ok && (len(options) == 0 || len(options) == 1 && options[0] < utf8.RuneSelf) && x.after('}')
}
