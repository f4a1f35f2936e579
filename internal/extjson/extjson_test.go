package extjson

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// scanned are lines that are read without the driver.
var scanned = []string{
	// documents, arrays and blanks
	`{}`, `{ }`, `{"a":{}}`, `{"a":[]}`, `{"a":[ ]}`, `{"a":[{},{}],"b":{"c":{}}}`, "{ \"a\" :\t1 ,\r\n\"b\" : [ 1 , 2 ] }", `{"":1}`,
	`{"a":1,"a":2}`, `{"_id":1,"_id":2}`, `{"a":[0,1,2,3,4,5,6,7,8,9,10,11]}`, `{"a":[[[]],[[1]]]}`, `{"a":true,"b":false,"c":null}`,
	`{"a":1,"$oid":"x"}`, `{"a":{"b":1,"$oid":"507f1f77bcf86cd799439011"}}`, `{"a":{},"b":1}`, `{"a":[{},1]}`, `{"a":[{"b":{}}]}`,
	`{"a":` + strings.Repeat("[", 99) + strings.Repeat("]", 99) + `}`, `{"a":` + strings.Repeat(`{"a":`, 98) + `1` + strings.Repeat("}", 98) + `}`,
	// texts
	`{"a":""}`, `{"a":"1234567"}`, `{"a":"12345678"}`, `{"a":"123456789"}`, `{"a":"\"\\\/\b\f\n\r\t"}`, `{"a":"\u0041\u00e9\u20ac\u0000"}`,
	`{"a":"\ud83d\ude00\uD83D\uDE00"}`, `{"é":"€😀"}`, "{\"a\":\"\xff\xc0\x80\"}", "{\"\xff\":1}", `{"a":"` + "\x7f" + `"}`, `{"a":"\uffff\ufffd"}`,
	`{"a":"€€€€€€€€\n€€€€€€€€"}`, `{"a":"` + "\ufffd" + `"}`,
	// numbers
	`{"a":0}`, `{"a":-0}`, `{"a":-0.0}`, `{"a":2147483647}`, `{"a":2147483648}`, `{"a":-2147483648}`, `{"a":-2147483649}`,
	`{"a":9223372036854775807}`, `{"a":9223372036854775808}`, `{"a":-9223372036854775808}`, `{"a":-9223372036854775809}`,
	`{"a":999999999999999999}`, `{"a":1000000000000000000}`, `{"a":18446744073709551616}`, `{"a":123456789012345678901234567890}`,
	`{"a":1.5}`, `{"a":1.0}`, `{"a":1e3}`, `{"a":1E+3}`, `{"a":1e-3}`, `{"a":0.1e5}`, `{"a":1.7976931348623157e308}`, `{"a":5e-324}`, `{"a":1e-999}`,
	`{"a":0e0}`, `{"a":-1.25E2}`,
	// wrappers
	`{"_id":{"$oid":"507f1f77bcf86cd799439011"}}`, `{"a":{"$oid":"507F1F77BCF86CD799439011"}}`, `{"a":{ "$oid" : "507f1f77bcf86cd799439011" } }`,
	`{"a":{"$numberInt":"2147483647"}}`, `{"a":{"$numberInt":"-2147483648"}}`, `{"a":{"$numberInt":"+5"}}`,
	`{"a":{"$numberLong":"9223372036854775807"}}`, `{"a":{"$numberLong":"-9223372036854775808"}}`, `{"a":{"$numberLong":"007"}}`,
	`{"a":{"$numberDouble":"1.5"}}`, `{"a":{"$numberDouble":"-0.0"}}`, `{"a":{"$numberDouble":"NaN"}}`, `{"a":{"$numberDouble":"Infinity"}}`,
	`{"a":{"$numberDouble":"-Infinity"}}`, `{"a":{"$numberDouble":"inf"}}`, `{"a":{"$numberDouble":"0x1p4"}}`,
	`{"a":{"$numberDecimal":"1.50"}}`, `{"a":{"$numberDecimal":"NaN"}}`, `{"a":{"$numberDecimal":"-1E-6176"}}`, `{"a":{"$numberDecimal":"9.999999999999999999999999999999999E6144"}}`,
	`{"a":{"$date":"2024-05-06T07:08:09.010Z"}}`, `{"a":{"$date":"2024-05-06T07:08:09Z"}}`, `{"a":{"$date":"2024-02-29T00:00:00Z"}}`,
	`{"a":{"$date":"2024-05-06T07:08:09.01Z"}}`, `{"a":{"$date":"2024-05-06T07:08:09.123456789Z"}}`, `{"a":{"$date":"2024-05-06T07:08:09+02:00"}}`,
	`{"a":{"$date":"2024-05-06T07:08:09.010+0200"}}`, `{"a":{"$date":"0001-01-01T00:00:00Z"}}`, `{"a":{"$date":"9999-12-28T23:59:59.999Z"}}`,
	`{"a":{"$date":"1969-12-28T23:59:59.999Z"}}`, `{"a":{"$date":"0000-01-01T00:00:00.001Z"}}`, `{"a":{"$date":"2024-05-06T7:08:09Z"}}`,
	`{"a":{"$date":{"$numberLong":"1714979289010"}}}`, `{"a":{"$date":{"$numberLong":"-1"}}}`, `{"a":{"$date":1714979289010}}`, `{"a":{"$date":-5}}`,
	`{"a":{"$date": { "$numberLong" : "1" } } }`, `{"a":{"$date":"2024-05-06T07:08:09,010Z"}}`,
	`{"a":{"$date":"2024-05-06T07:08:09.1Z"}}`, `{"a":{"$date":"2024-05-06T07:08:09.10Z"}}`, `{"a":{"$date":"2024-05-06T07:08:09.0Z"}}`, `{"a":{"$date":"2024-05-06T07:08:09.0009Z"}}`,
	`{"a":{"$date":"1969-12-28T23:59:59.9Z"}}`,
	`{"a":{"$binary":{"base64":"","subType":"00"}}}`, `{"a":{"$binary":{"base64":"AQIDBA==","subType":"80"}}}`, `{"a":{"$binary":{"base64":"AQID","subType":"4"}}}`,
	`{"a":{"$uuid":"c8edabc3-f738-4ca3-b68d-ab92a91478a3"}}`, `{"a":[{"$uuid":"C8EDABC3-F738-4CA3-B68D-AB92A91478A3"},{"$uuid":"c8edabc3-f738-4ca3-b68d-ab92a91478a3"}]}`,
	`{"a":{"$timestamp":{"t":4294967295,"i":1}}}`, `{"a":{"$timestamp":{"t":0,"i":0}}}`,
	`{"a":{"$regularExpression":{"pattern":"^\\d+\"","options":""}}}`, `{"a":{"$regularExpression":{"pattern":"","options":"i"}}}`,
	"{\"a\":{\"$regularExpression\":{\"pattern\":\"\xff\",\"options\":\"\"}}}", "{\"a\":{\"$symbol\":\"\xff\"}}", "{\"a\":{\"$code\":\"\xff\"}}",
	`{"a":{"$symbol":"s\n"}}`, `{"a":{"$code":"f()"}}`, `{"a":{"$minKey":1}}`, `{"a":{"$maxKey":1}}`, `{"a":{"$undefined":true}}`,
	`{"a":[{"$code":"f()"},{"$minKey":1},{"$date":1},{"$oid":"507f1f77bcf86cd799439011"}]}`,
}

// left are lines that are left to the driver: it refuses them, or reads them in a way of its own.
var left = []string{
	``, `[]`, `1`, `"a"`, `null`, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{,}`, `{"a":1}}`, `{"a":1} {}`, `{"a":1}x`, `{"a" 1}`, `{a:1}`, `{'a':1}`,
	`{"a":[1,]}`, `{"a":[,1]}`, `{"a":[1 2]}`, `{"a":[1}`, `{"a":{]}`, `{"a":tru}`, `{"a":nul}`, `{"a":truex}`, `{"a":True}`,
	`{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, strings.Repeat(`{"a":`, 250) + `1` + strings.Repeat("}", 250),
	`{"a":` + strings.Repeat("[", 12_000) + strings.Repeat("]", 12_000) + `}`,
	"{\"a\":\"\n\"}", "{\"a\":\"\x00\"}", "{\"a\":\"\x1f\"}", "{\"a\x00\":1}", "{\"a\":1\x00}", "\x00", `{"a":"\x"}`, `{"a":"\u12"}`, `{"a":"\u12g4"}`, `{"a":"\`,
	`{"a":"\ud83d"}`, `{"a":"\ude00"}`, `{"a":"\ud83dx"}`, `{"a":"\ud83d\n"}`, `{"a":"\ud83d\u0041"}`, `{"a":"\ud83d\ud83d\ude00"}`, `{"a":"\ufffx"}`,
	`{"\u0000":1}`, `{"\u0061":1}`, `{"a\n":1}`,
	`{"a":01}`, `{"a":-}`, `{"a":+1}`, `{"a":.5}`, `{"a":1.}`, `{"a":1e}`, `{"a":1e+}`, `{"a":--1}`, `{"a":-01}`, `{"a":1e999}`, `{"a":0x10}`, `{"a":NaN}`, `{"a":1_0}`, `{"a":1a}`,
	`{"$oid":"507f1f77bcf86cd799439011"}`, `{"$a":1}`, `{"a":{"$a":1}}`, `{"a":{"$ref":"c","$id":1}}`,
	`{"a":{"$oid":"507f1f77bcf86cd79943901"}}`, `{"a":{"$oid":"507f1f77bcf86cd79943901g"}}`, `{"a":{"$oid":1}}`, `{"a":{"$oid":"507f1f77bcf86cd799439011","b":1}}`, `{"a":{"$oid":"\u0035"}}`,
	`{"a":{"$numberInt":"2147483648"}}`, `{"a":{"$numberInt":5}}`, `{"a":{"$numberInt":""}}`, `{"a":{"$numberInt":"1_0"}}`, `{"a":{"$numberLong":"9223372036854775808"}}`, `{"a":{"$numberLong":5}}`,
	`{"a":{"$numberDouble":"x"}}`, `{"a":{"$numberDouble":1.5}}`, `{"a":{"$numberDouble":"1e999"}}`, `{"a":{"$numberDecimal":"x"}}`, `{"a":{"$numberDecimal":1}}`, `{"a":{"$numberDecimal":"1E9999"}}`,
	`{"a":{"$date":"2024-02-30T00:00:00Z"}}`, `{"a":{"$date":"2024-13-01T00:00:00Z"}}`, `{"a":{"$date":"2024-05-06"}}`, `{"a":{"$date":"2024-05-06T07:08:09.Z"}}`, `{"a":{"$date":"2024-05-06T07:08:09"}}`,
	`{"a":{"$date":"2024-05-06T07:08:09.xZ"}}`, `{"a":{"$date":"2024-05-06T07:08:09.12xZ"}}`, `{"a":{"$date":"2024-05-06T07:08:0xZ"}}`, `{"a":{"$date":"2024-05-06T07:08:09..1Z"}}`, `{"a":{"$date":"Z"}}`, `{"a":{"$date":""}}`, `{"a":{"$date":1.5}}`, `{"a":{"$date":null}}`,
	`{"a":{"$date":"2024-05-06T24:00:00Z"}}`, `{"a":{"$date":"2024-05-06T07:60:00Z"}}`, `{"a":{"$date":"2024-05-06T07:08:60Z"}}`, `{"a":{"$date":"2024-00-06T07:08:09Z"}}`, `{"a":{"$date":"2024-05-00T07:08:09Z"}}`,
	`{"a":{"$date":{"$numberLong":1}}}`, `{"a":{"$date":{"$numberLong":"1","b":2}}}`, `{"a":{"$date":{}}}`, `{"a":{"$date":{"$numberInt":"1"}}}`, `{"a":{"$date":99999999999999999999}}`,
	`{"a":{"$binary":"AQID","$type":"00"}}`, `{"a":{"$binary":{"subType":"00","base64":"AQID"}}}`, `{"a":{"$binary":{"base64":"AQID","subType":"02"}}}`, `{"a":{"$binary":{"base64":"A","subType":"00"}}}`,
	`{"a":{"$binary":{"base64":"AQID","subType":"100"}}}`, `{"a":{"$binary":{"base64":"AQID","subType":""}}}`, `{"a":{"$binary":{"base64":"AQID","subType":0}}}`, `{"a":{"$binary":{"base64":"AQID"}}}`, `{"a":{"$binary":{"base64":"AQID","subType":"00","x":1}}}`,
	`{"a":{"$uuid":"c8edabc3f7384ca3b68dab92a91478a3"}}`, `{"a":{"$uuid":"c8edabc3-f738-4ca3-b68d-ab92a91478ag"}}`, `{"a":{"$uuid":"c8edabc3-f738-4ca3-b68d-ab92a9147-a3"}}`, `{"a":{"$uuid":"c8edabc3_f738-4ca3-b68d-ab92a91478a3"}}`, `{"a":{"$uuid":"-8edabc3-f738-4ca3-b68d-ab92a91478a3"}}`, `{"a":{"$uuid":1}}`,
	`{"a":{"$timestamp":{"i":1,"t":2}}}`, `{"a":{"$timestamp":{"t":-1,"i":1}}}`, `{"a":{"$timestamp":{"t":4294967296,"i":1}}}`, `{"a":{"$timestamp":{"t":1.5,"i":1}}}`, `{"a":{"$timestamp":{"t":1}}}`,
	`{"a":{"$regularExpression":{"pattern":"\u0000","options":""}}}`, `{"a":{"$regularExpression":{"pattern":"a","options":"xi"}}}`, `{"a":{"$regularExpression":{"options":"","pattern":"a"}}}`, `{"a":{"$regularExpression":{"pattern":"a"}}}`, `{"a":{"$regex":"a","$options":""}}`,
	"{\"a\":{\"$regularExpression\":{\"pattern\":\"\",\"options\":\"\xff\"}}}",
	`{"a":{"$code":"f()","$scope":{}}}`, `{"a":{"$code":1}}`, `{"a":{"$symbol":1}}`, `{"a":{"$dbPointer":{"$ref":"c","$id":{"$oid":"507f1f77bcf86cd799439011"}}}}`,
	`{"a":{"$minKey":2}}`, `{"a":{"$minKey":1.0}}`, `{"a":{"$maxKey":true}}`, `{"a":{"$minKey":11}}`, `{"a":{"$undefined":false}}`, `{"a":{"$undefined":1}}`,
}

// sameAsDriver reports whether a line was read without the driver, and fails where the driver reads something else.
func sameAsDriver(t testing.TB, line []byte) bool {
	t.Helper()
	const before = "before"
	got, sure := Append([]byte(before), line)
	if !sure {
		return false
	}
	if len(line) == 0 {
		t.Fatal("an empty line is no document")
	}
	want, err := Parse(line)
	if err != nil {
		t.Fatalf("%q was read, and should not be: %v", line, err)
	}
	if string(got) != before+string(want) {
		t.Fatalf("%q:\n got %x\nwant %x", line, got[min(len(before), len(got)):], []byte(want))
	}
	return true
}

func TestExtJSON(t *testing.T) {
	for _, line := range scanned {
		if !sameAsDriver(t, []byte(line)) {
			t.Errorf("%s was left to the driver", line)
		}
		for i := range line { // and no part of it is taken for the whole
			if i < 600 && sameAsDriver(t, []byte(line[:i])) {
				t.Errorf("%s was read", line[:i])
			}
		}
	}
	for _, line := range left {
		if sameAsDriver(t, []byte(line)) {
			t.Errorf("%s was not left to the driver", line)
		}
	}
}

// TestExtJSONOfPairs puts every line behind every other, whatever state the driver keeps between two values.
func TestExtJSONOfPairs(t *testing.T) {
	for _, first := range scanned {
		for _, second := range scanned {
			if len(first)+len(second) > 200 { // they are nested deeply
				continue
			}
			if line := `{"a":` + first + `,"b":[` + second + `,` + first + `],"c":1}`; !sameAsDriver(t, []byte(line)) {
				t.Errorf("%s was left to the driver", line)
			}
		}
	}
}

// TestExtJSONOfRandomLines reads what the driver writes of random documents, as it is and damaged.
func TestExtJSONOfRandomLines(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	const alphabet = `{}[]",:\ u0019-+.eEtfn$` + "\x00\n\xff"
	whole, damaged := 0, 0
	for range 6000 {
		line, err := bson.MarshalExtJSON(randomDocument(r, 0), r.IntN(2) == 0, r.IntN(2) == 0)
		if err != nil {
			t.Fatal(err)
		}
		if sameAsDriver(t, line) {
			whole++
		}
		for range 1 + r.IntN(3) {
			at := r.IntN(len(line))
			switch r.IntN(3) {
			case 0:
				line[at] = alphabet[r.IntN(len(alphabet))]
			case 1:
				line = append(line[:at], line[at+1:]...)
			case 2:
				from := r.IntN(at + 1)
				line = append(line[:at:at], line[from:]...)
			}
			if len(line) == 0 {
				break
			}
			if sameAsDriver(t, line) {
				damaged++
			}
		}
	}
	t.Logf("read: %d whole lines, %d damaged ones", whole, damaged)
	if whole < 3000 || damaged == 0 {
		t.Errorf("%d whole lines and %d damaged ones were read", whole, damaged)
	}
}

func randomDocument(r *rand.Rand, depth int) bson.D {
	doc := bson.D{}
	for range r.IntN(5) {
		doc = append(doc, bson.E{Key: randomText(r), Value: randomValue(r, depth)})
	}
	return doc
}

func randomText(r *rand.Rand) string {
	pieces := []string{"a", "_id", "€", "😀", "plain text ", "x", "\\x", "é", "0", "$", "$oid", "$date"}
	var b strings.Builder
	for range r.IntN(4) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

func randomValue(r *rand.Rand, depth int) any {
	kinds := 20
	if depth > 3 {
		kinds -= 2
	}
	switch r.IntN(kinds) {
	case 0:
		return int32(r.Uint32())
	case 1:
		return int64(r.Uint64()) >> r.IntN(64)
	case 2:
		return math.Float64frombits(r.Uint64())
	case 3:
		return float64(r.IntN(1000)) / 8
	case 4:
		return randomText(r) + "\"\n\t\u0001<&>"
	case 5:
		return r.IntN(2) == 0
	case 6:
		return nil
	case 7:
		return bson.ObjectID{byte(r.Uint32()), 1, 2, 3, byte(r.Uint32())}
	case 8:
		return bson.DateTime(int64(r.Uint64()) >> (16 + r.IntN(40)))
	case 9:
		return bson.NewDecimal128(r.Uint64(), r.Uint64())
	case 10:
		return bson.Binary{Subtype: byte(r.IntN(10)), Data: []byte(randomText(r))}
	case 11:
		return bson.Timestamp{T: r.Uint32(), I: r.Uint32()}
	case 12:
		return bson.Regex{Pattern: randomText(r), Options: "imx"[:r.IntN(4)]}
	case 13:
		return bson.MinKey{}
	case 14:
		return bson.MaxKey{}
	case 15:
		return bson.JavaScript(randomText(r))
	case 16:
		return bson.Undefined{}
	case 17:
		return bson.Symbol(randomText(r))
	case 18:
		return randomDocument(r, depth+1)
	}
	list := bson.A{}
	for range r.IntN(4) {
		list = append(list, randomValue(r, depth+1))
	}
	return list
}

func TestExtJSONAllocatesNothing(t *testing.T) {
	line := commonLine(t, false)
	var dst []byte
	if n := testing.AllocsPerRun(100, func() { dst, _ = Append(dst[:0], line) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzExtJSON compares what is read without the driver with what the driver reads.
func FuzzExtJSON(f *testing.F) {
	for _, lines := range [][]string{scanned, left} {
		for _, line := range lines {
			if len(line) < 1000 {
				f.Add([]byte(line))
			}
		}
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		sameAsDriver(t, bytes.TrimSpace(line))
	})
}

// commonLine is a document as collections of texts have them, of about 350 bytes.
func commonLine(t testing.TB, canonical bool) []byte {
	t.Helper()
	line, err := bson.MarshalExtJSON(bson.D{
		{Key: "_id", Value: bson.ObjectID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}},
		{Key: "title", Value: "A document of a common kind"},
		{Key: "state", Value: bson.D{{Key: "name", Value: "open"}, {Key: "rank", Value: int32(3)}}},
		{Key: "tags", Value: bson.A{"first", "second", "third"}},
		{Key: "score", Value: 0.75},
		{Key: "views", Value: int64(123456789012)},
		{Key: "public", Value: true},
		{Key: "parent", Value: nil},
		{Key: "createdAt", Value: bson.DateTime(1714979289010)},
		{Key: "updatedAt", Value: bson.DateTime(1714979289010)},
		{Key: "text", Value: "It has a text of some length, \"quoted\" here and there,\nand of more than one line."},
	}, canonical, false)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func BenchmarkExtJSON(b *testing.B) {
	text, err := bson.MarshalExtJSON(bson.D{{Key: "_id", Value: "a"}, {Key: "text", Value: strings.Repeat("lorem ipsum dolor ", 200)}}, false, false)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		line []byte
	}{{"relaxed", commonLine(b, false)}, {"canonical", commonLine(b, true)}, {"text", text}} {
		b.Run(fmt.Sprintf("%s of %d bytes", c.name, len(c.line)), func(b *testing.B) {
			b.SetBytes(int64(len(c.line)))
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				var ok bool
				if dst, ok = Append(dst[:0], c.line); !ok {
					b.Fatal("left to the driver")
				}
			}
		})
		b.Run(fmt.Sprintf("%s of %d bytes, by the driver", c.name, len(c.line)), func(b *testing.B) {
			b.SetBytes(int64(len(c.line)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(c.line); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestPlain holds what is read as plain JSON to what it says: no name makes a wrapper, and names may hold escapes.
func TestPlain(t *testing.T) {
	for text, want := range map[string]bson.D{
		` {"a":{"$oid":"507f1f77bcf86cd799439011"}}`: {{Key: "a", Value: bson.D{{Key: "$oid", Value: "507f1f77bcf86cd799439011"}}}},
		`{"$date":1}`:                           {{Key: "$date", Value: int32(1)}},
		`{"\u0061\n":[1,2147483648,0.5,1e400]}`: nil,
		`{"\u0061\n":[1,2147483648,0.5,true,null,"\ud83d\ude00"]}`: {{Key: "a\n", Value: bson.A{int32(1), int64(2147483648), 0.5, true, nil, "😀"}}},
		`{"a\u0000b":1}`:   nil,
		`{"a":NaN}`:        nil,
		`{"a":"\ud83d"}`:   nil,
		`{"a":1} {}`:       nil,
		"{\"a\":\"\x00\"}": nil,
	} {
		got, ok := AppendPlain([]byte("before"), []byte(text))
		if ok != (want != nil) {
			t.Errorf("%s: read %v", text, ok)
		}
		if !ok {
			continue
		}
		doc, err := bson.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != "before"+string(doc) {
			t.Errorf("%s: %v", text, bson.Raw(got[len("before"):]))
		}
	}
}

// TestJava reads what the connector writes that is not JSON.
func TestJava(t *testing.T) {
	got, ok := AppendJava(nil, []byte(`{"_id": {"$oid": "507f1f77bcf86cd799439011"}, "a": [NaN, Infinity, -Infinity, -1]}`))
	if want := `[{"$numberDouble":"NaN"},{"$numberDouble":"Infinity"},{"$numberDouble":"-Infinity"},{"$numberInt":"-1"}]`; !ok || bson.Raw(got).Lookup("a").String() != want {
		t.Errorf("%t %v", ok, bson.Raw(got))
	}
	if _, ok := AppendJava(nil, []byte(`{"a":Nan}`)); ok {
		t.Error("Nan was read")
	}
}
