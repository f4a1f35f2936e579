package bsondoc

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestAppendJSONGolden(t *testing.T) {
	for _, tc := range []struct {
		dialect Dialect
		file    string
	}{
		{Plain, "every_type.golden.json"},
		{Relaxed, "every_type_relaxed.golden.json"},
		{Canonical, "every_type_canonical.golden.json"},
	} {
		t.Run(tc.file, func(t *testing.T) {
			got, err := AppendJSON(nil, everyType(t), tc.dialect)
			if err != nil {
				t.Fatal(err)
			}
			if !json.Valid(got) {
				t.Fatalf("not JSON: %s", got)
			}
			// Indented, so that a change reads as a change of one line; the
			// rest of the bytes stays as it is.
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, got, "", "  "); err != nil {
				t.Fatal(err)
			}
			pretty.WriteByte('\n')
			path := filepath.Join("testdata", tc.file)
			if *update {
				if err := os.WriteFile(path, pretty.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), pretty.String()); diff != "" {
				t.Errorf("mismatch (-want +got):\n%s", diff)
			}
			var compact bytes.Buffer
			if err := json.Compact(&compact, want); err != nil {
				t.Fatal(err)
			}
			if compact.String() != string(got) {
				t.Error("the JSON has spaces between its tokens")
			}
		})
	}
}

// appendValueJSON appends one value to dst as JSON, by the rules of [AppendJSON]
// for a value that is not the _id of a document. The zero RawValue, a missing
// value, is ErrMalformed.
func appendValueJSON(dst []byte, v bson.RawValue, d Dialect) ([]byte, error) {
	if d > Canonical {
		return dst, unknownDialect(d)
	}
	if err := wholeValue(v); err != nil {
		return dst, err
	}
	out, err := appendValue(dst, v.Type, v.Value, style(d), 0)
	if err != nil {
		return dst, err
	}
	return out, nil
}

func TestAppendValueJSON(t *testing.T) {
	oid := [12]byte{0x66, 0x5f, 0x1c, 0x2e, 0x9b, 0x3d, 0x4a, 0x00, 0x12, 0xab, 0xcd, 0xef}
	const hexOID = "665f1c2e9b3d4a0012abcdef"
	const uuid = "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"
	tests := []struct {
		name                      string
		v                         bson.RawValue
		plain, relaxed, canonical string
	}{
		{"double", vDouble(-1.5), `-1.5`, `-1.5`, `{"$numberDouble":"-1.5"}`},
		{"double whole", vDouble(5), `5`, `5.0`, `{"$numberDouble":"5.0"}`},
		{"double -0", vDouble(math.Copysign(0, -1)), `-0`, `-0.0`, `{"$numberDouble":"-0.0"}`},
		{"double large", vDouble(1e21), `1e+21`, `1E+21`, `{"$numberDouble":"1E+21"}`},
		{"double NaN", vDouble(math.NaN()), `"NaN"`, `{"$numberDouble":"NaN"}`, `{"$numberDouble":"NaN"}`},
		{"double Inf", vDouble(math.Inf(1)), `"Infinity"`, `{"$numberDouble":"Infinity"}`, `{"$numberDouble":"Infinity"}`},
		{"double -Inf", vDouble(math.Inf(-1)), `"-Infinity"`, `{"$numberDouble":"-Infinity"}`, `{"$numberDouble":"-Infinity"}`},
		{"string", vString("a\"\u2029<"), "\"a\\\"\u2029<\"", `"a\"\u2029<"`, `"a\"\u2029<"`},
		{"document", vDoc(doc(field{"_id", vInt32(1)})), `{"_id":1}`, `{"_id":1}`, `{"_id":{"$numberInt":"1"}}`},
		{"array", vArray(vInt32(1), vNull()), `[1,null]`, `[1,null]`, `[{"$numberInt":"1"},null]`},
		{"binary", vBinary(0, "\xff\xfe"), `"//4="`, `{"$binary":{"base64":"//4=","subType":"00"}}`, `{"$binary":{"base64":"//4=","subType":"00"}}`},
		{"binary old", vBinary(2, "hello"), `"aGVsbG8="`, `{"$binary":{"base64":"aGVsbG8=","subType":"02"}}`, `{"$binary":{"base64":"aGVsbG8=","subType":"02"}}`},
		{"uuid", vBinary(4, uuid), `"00112233-4455-6677-8899-aabbccddeeff"`, `{"$binary":{"base64":"ABEiM0RVZneImaq7zN3u/w==","subType":"04"}}`, `{"$binary":{"base64":"ABEiM0RVZneImaq7zN3u/w==","subType":"04"}}`},
		{"undefined", vUndefined(), `null`, `{"$undefined":true}`, `{"$undefined":true}`},
		{"objectid", val(bson.TypeObjectID, oid[:]), `"` + hexOID + `"`, `{"$oid":"` + hexOID + `"}`, `{"$oid":"` + hexOID + `"}`},
		{"bool", vBool(true), `true`, `true`, `true`},
		{"date", vDate(1718000000120), `"2024-06-10T06:13:20.120Z"`, `{"$date":"2024-06-10T06:13:20.12Z"}`, `{"$date":{"$numberLong":"1718000000120"}}`},
		{"date before 1970", vDate(-1), `"1969-12-31T23:59:59.999Z"`, `{"$date":{"$numberLong":"-1"}}`, `{"$date":{"$numberLong":"-1"}}`},
		{"null", vNull(), `null`, `null`, `null`},
		{"regex", vRegex(`a/"`, "xi"), `"/a/\"/ix"`, `{"$regularExpression":{"pattern":"a/\"","options":"ix"}}`, `{"$regularExpression":{"pattern":"a/\"","options":"ix"}}`},
		{
			"dbpointer", vDBPointer(`d."c"`, oid), `{"ref":"d.\"c\"","id":"` + hexOID + `"}`,
			`{"$dbPointer":{"$ref":"d.\"c\"","$id":{"$oid":"` + hexOID + `"}}}`, `{"$dbPointer":{"$ref":"d.\"c\"","$id":{"$oid":"` + hexOID + `"}}}`,
		},
		{"code", vCode("x"), `"x"`, `{"$code":"x"}`, `{"$code":"x"}`},
		{"symbol", vSymbol("x"), `"x"`, `{"$symbol":"x"}`, `{"$symbol":"x"}`},
		{
			"code with scope", vCodeWithScope("x", doc(field{"a", vInt64(1)})), `{"code":"x","scope":{"a":1}}`,
			`{"$code":"x","$scope":{"a":1}}`, `{"$code":"x","$scope":{"a":{"$numberLong":"1"}}}`,
		},
		{"int32", vInt32(-5), `-5`, `-5`, `{"$numberInt":"-5"}`},
		{"timestamp", vTimestamp(4, 5), `{"t":4,"i":5}`, `{"$timestamp":{"t":4,"i":5}}`, `{"$timestamp":{"t":4,"i":5}}`},
		{"int64", vInt64(math.MaxInt64), `9223372036854775807`, `9223372036854775807`, `{"$numberLong":"9223372036854775807"}`},
		{"decimal", vDecimal(t, "1.50"), `"1.50"`, `{"$numberDecimal":"1.50"}`, `{"$numberDecimal":"1.50"}`},
		{"minkey", vMinKey(), `"MinKey"`, `{"$minKey":1}`, `{"$minKey":1}`},
		{"maxkey", vMaxKey(), `"MaxKey"`, `{"$maxKey":1}`, `{"$maxKey":1}`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			for d, want := range map[Dialect]string{Plain: tc.plain, Relaxed: tc.relaxed, Canonical: tc.canonical} {
				got, err := appendValueJSON([]byte("x"), tc.v, d)
				if err != nil || string(got) != "x"+want {
					t.Errorf("dialect %d: got %s, %v; want x%s", d, got, err, want)
				}
			}
		})
	}
}

// The _id of the document is its id text; every other _id is a plain value.
func TestAppendJSONPlainID(t *testing.T) {
	tests := []struct {
		v    bson.RawValue
		want string
	}{
		{vInt32(5), `"5"`},
		{vDouble(5), `"5"`},
		{vString("a\"b"), `"a\"b"`},
		{vDecimal(t, "1.50"), `"1.5"`},
		{vBool(true), `"true"`},
		{vDoc(doc(field{"a", vString("x\"\\")})), `"{\"a\":\"x\\\"\\\\\"}"`},
		{vTimestamp(1, 2), `"{\"$timestamp\":{\"t\":1,\"i\":2}}"`},
		{vMinKey(), `"{\"$minKey\":1}"`},
		{vNull(), `null`},
		{vUndefined(), `null`},
	}
	for _, tc := range tests {
		d := doc(field{"_id", tc.v}, field{"in", vDoc(doc(field{"_id", vInt32(5)}))})
		want := `{"_id":` + tc.want + `,"in":{"_id":5}}`
		got, err := AppendJSON(nil, d, Plain)
		if err != nil || string(got) != want {
			t.Errorf("got %s, %v; want %s", got, err, want)
		}
		if tc.want == "null" {
			continue
		}
		var read struct {
			ID string `json:"_id"`
		}
		if err := json.Unmarshal(got, &read); err != nil {
			t.Fatal(err)
		}
		if id, err := AppendIDText(nil, tc.v); err != nil || string(id) != read.ID {
			t.Errorf("a reader sees the id %q, the seed has %q (%v)", read.ID, id, err)
		}
	}
}

func TestAppendJSONErrors(t *testing.T) {
	bad := "a\xff"
	broken := doc(field{"s", vString("abc")})
	broken[7] = 9 // the length of the string
	deep := nested(MaxDepth + 1)
	tests := []struct {
		name string
		doc  bson.Raw
		is   error
		want string
	}{
		{"string", doc(field{"a", vDoc(doc(field{"b", vString(bad)}))}), ErrInvalidUTF8, `field "a.b": string is not valid UTF-8`},
		{"in an array", doc(field{"a", vArray(vNull(), vString(bad))}), ErrInvalidUTF8, `field "a.1": string is not valid UTF-8`},
		{"in a scope", doc(field{"a", vCodeWithScope("", doc(field{"b", vString(bad)}))}), ErrInvalidUTF8, `field "a.b": string is not valid UTF-8`},
		{"name", doc(field{"a", vDoc(doc(field{bad, vNull()}))}), ErrInvalidUTF8, `field "a.a\xff": field name is not valid UTF-8`},
		{"symbol", doc(field{"a", vSymbol(bad)}), ErrInvalidUTF8, `field "a": string is not valid UTF-8`},
		{"code", doc(field{"a", vCode(bad)}), ErrInvalidUTF8, `field "a": string is not valid UTF-8`},
		{"scoped code", doc(field{"a", vCodeWithScope(bad, doc())}), ErrInvalidUTF8, `field "a": string is not valid UTF-8`},
		{"regex", doc(field{"a", vRegex(bad, "")}), ErrInvalidUTF8, `field "a": string is not valid UTF-8`},
		{"dbpointer", doc(field{"a", vDBPointer(bad, [12]byte{})}), ErrInvalidUTF8, `field "a": string is not valid UTF-8`},
		{"id", doc(field{"_id", vString(bad)}), ErrInvalidUTF8, `field "_id": string is not valid UTF-8`},
		{"inside an id", doc(field{"_id", vDoc(doc(field{"x", vString(bad)}))}), ErrInvalidUTF8, `field "_id.x": string is not valid UTF-8`},
		{"empty", nil, ErrMalformed, `malformed BSON: a document of 0 bytes`},
		{"length", append(doc(), 0), ErrMalformed, `malformed BSON: a document says it has 5 bytes, but there are 6`},
		{"end", bson.Raw{5, 0, 0, 0, 1}, ErrMalformed, `malformed BSON: a document without its end byte`},
		{"string length", broken, ErrMalformed, `field "s": malformed BSON: a string of 9 bytes, but only 4 are left`},
		{"type", doc(field{"x", bson.RawValue{Type: 0x20}}), ErrMalformed, `field "x": malformed BSON: unknown type 0x20`},
		{"name without end", bson.Raw{7, 0, 0, 0, 10, 'a', 0}, ErrMalformed, ``},
		{"bool", doc(field{"x", val(bson.TypeBoolean, []byte{2})}), ErrMalformed, `field "x": malformed BSON: a boolean of value 2`},
		{"depth", deep, ErrTooDeep, ``},
		{"a long name", doc(field{strings.Repeat("n", 1000), vString(bad)}), ErrInvalidUTF8, fmt.Sprintf(`field "%s…": string is not valid UTF-8`, strings.Repeat("n", 64))},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			for d := Plain; d <= Canonical; d++ {
				got, err := AppendJSON([]byte("dst"), tc.doc, d)
				if string(got) != "dst" {
					t.Errorf("dialect %d: dst is %q after an error", d, got)
				}
				if !errors.Is(err, tc.is) || tc.want != "" && err.Error() != tc.want {
					t.Errorf("dialect %d: got %v; want %s", d, err, tc.want)
				}
				if err != nil && len(err.Error()) > 700 {
					t.Errorf("an error of %d bytes", len(err.Error()))
				}
			}
		})
	}
	if _, err := AppendJSON(nil, doc(), Canonical+1); err == nil {
		t.Error("an unknown dialect is not an error")
	}
	if _, err := appendValueJSON(nil, vNull(), Canonical+1); err == nil {
		t.Error("an unknown dialect is not an error")
	}
	for d := Plain; d <= Canonical; d++ {
		if _, err := AppendJSON(nil, nested(MaxDepth), d); err != nil {
			t.Errorf("dialect %d: %d levels: %v", d, MaxDepth, err)
		}
	}
}

// Every single byte of a document is damaged in turn, and every prefix taken.
func TestDamage(t *testing.T) {
	whole := everyType(t)
	exercise := func(d bson.Raw) {
		checkDocumentAgainstDriver(t, d)
		for _, path := range []string{"_id", "document.at", "array.3._id", "dotted.name", "decimalSmall"} {
			Lookup(d, path)
			_, _ = NewDocument(d).Lookup(path)
		}
	}
	for i := range whole {
		exercise(whole[:i])
		cut := append(bson.Raw(nil), whole[:i]...)
		if len(cut) >= 4 {
			copy(cut, le32(len(cut)))
			exercise(cut)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range whole {
		for _, c := range []byte{0, 0x7f, 0xff, byte(r.Uint32())} {
			damaged := append(bson.Raw(nil), whole...)
			damaged[i] = c
			exercise(damaged)
		}
	}
}

func TestAgainstDriver(t *testing.T) {
	checkDocumentAgainstDriver(t, everyType(t))
	r := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		d := randomDoc(r, 4)
		if !checkDocumentAgainstDriver(t, d) {
			t.Fatalf("a valid document failed: %x", []byte(d))
		}
		if t.Failed() {
			return
		}
	}
}

// checkDocumentAgainstDriver holds AppendJSON to its promises for any bytes, and
// reports whether they have a JSON form.
func checkDocumentAgainstDriver(t *testing.T, d bson.Raw) bool {
	t.Helper()
	valid := Validate(d)
	plain, plainErr := AppendJSON([]byte("x"), d, Plain)
	if plainErr == nil && (!json.Valid(plain[1:]) || !utf8.Valid(plain)) {
		t.Errorf("not JSON: %s\nfrom %x", plain, []byte(d))
	}
	if valid == nil && plainErr != nil && !errors.Is(plainErr, ErrInvalidUTF8) {
		t.Errorf("valid, but %v: %x", plainErr, []byte(d))
	}
	if valid != nil && plainErr == nil {
		t.Errorf("AppendJSON accepts what Validate does not (%v): %x", valid, []byte(d))
	}
	checkJava(t, d, plainErr)
	ok := plainErr == nil
	for _, dialect := range []Dialect{Relaxed, Canonical} {
		got, err := AppendJSON(nil, d, dialect)
		if (err == nil) != (plainErr == nil) {
			t.Errorf("dialect %d: %v, but plain: %v: %x", dialect, err, plainErr, []byte(d))
		}
		if err != nil {
			continue
		}
		if !json.Valid(got) {
			t.Errorf("not JSON: %s\nfrom %x", got, []byte(d))
		}
		want, err := bson.MarshalExtJSON(d, dialect == Canonical, false)
		if err != nil {
			t.Errorf("the driver refuses %x: %v", []byte(d), err)
			continue
		}
		// The driver does not escape the namespace of a DBPointer.
		if string(got) != string(want) && !hasUnsafeDBPointer(d) {
			t.Errorf("dialect %d differs from the driver:\n got %s\nwant %s\nfrom %x", dialect, got, want, []byte(d))
		}
	}
	// What the driver can write, and what is valid for it, is not refused.
	if errors.Is(plainErr, ErrMalformed) && d.Validate() == nil {
		if n := int(int32At(d)); n == len(d) && !strings.Contains(plainErr.Error(), "old binary") {
			if want, err := bson.MarshalExtJSON(d, true, false); err == nil && !hasScope(d) {
				t.Errorf("refusing what the driver accepts (%v): %s\nfrom %x", plainErr, want, []byte(d))
			}
		}
	}
	return ok
}

// hasScope is coarse: the driver checks less of code with scope than we do.
func hasScope(d []byte) bool { return bytes.IndexByte(d, byte(bson.TypeCodeWithScope)) >= 0 }

// hasUnsafeDBPointer reports whether a DBPointer whose namespace needs an escape
// is in d.
func hasUnsafeDBPointer(d []byte) bool {
	b, err := body(d, 1)
	for err == nil && len(b) > 0 {
		var t bson.Type
		var v []byte
		if t, _, v, b, err = next(b); err != nil {
			return false
		}
		found := false
		switch t {
		case bson.TypeDBPointer:
			ns, _ := dbPointer(v)
			found = nextSpecial(ns, 0, canonical) < len(ns)
		case bson.TypeEmbeddedDocument, bson.TypeArray:
			found = hasUnsafeDBPointer(v)
		case bson.TypeCodeWithScope:
			_, scope := codeWithScope(v)
			found = hasUnsafeDBPointer(scope)
		}
		if found {
			return true
		}
	}
	return false
}

// framed returns b with a length and an end byte that fit. Most mutations break
// the outer length and are refused at once; this lets a fuzzer get further.
func framed(b []byte) bson.Raw {
	if len(b) >= minDocument {
		b = b[lengthSize : len(b)-1]
	}
	return cat(le32(len(b)+minDocument), b, []byte{0})
}

func TestAppendJSONString(t *testing.T) {
	for c := range rune(0x3000) {
		for _, pad := range []string{"", "1234567", "12345678abc"} {
			s := pad + string(c) + "tail of the text"
			got, err := AppendJSONString(nil, s)
			if err != nil {
				t.Fatal(err)
			}
			var back string
			if err := json.Unmarshal(got, &back); err != nil || back != s {
				t.Fatalf("%q reads back as %q (%v)", s, back, err)
			}
			if c >= ' ' && c != '"' && c != '\\' && string(got) != `"`+s+`"` {
				t.Fatalf("%q is escaped without need: %s", s, got)
			}
		}
	}
	for _, s := range []string{"\xff", "a\xc3", "\xed\xa0\x80", "12345678\x80"} {
		if got, err := AppendJSONString([]byte("x"), s); !errors.Is(err, ErrInvalidUTF8) || string(got) != "x" {
			t.Errorf("%q: got %q, %v", s, got, err)
		}
	}
}

func TestAppendDate(t *testing.T) {
	check := func(ms int64) {
		t.Helper()
		want := time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
		if got := string(appendDate(nil, ms, true)); got != want {
			t.Fatalf("%d: got %s, want %s", ms, got, want)
		}
	}
	const year0 = -62167219200000
	r := rand.New(rand.NewPCG(5, 6))
	for range 20000 {
		check(year0 + r.Int64N(maxTextDate-year0))
	}
	for ms := int64(year0); ms <= maxTextDate; ms += 11 * msPerDay {
		check(ms)
	}
	check(maxTextDate)
	for ms, want := range map[int64]string{
		maxTextDate + 1:   "+010000-01-01T00:00:00.000Z",
		year0 - 1:         "-000001-12-31T23:59:59.999Z",
		8640000000000000:  "+275760-09-13T00:00:00.000Z", // the last ECMAScript date
		-8640000000000000: "-271821-04-20T00:00:00.000Z", // the first
		math.MaxInt64:     "+292278994-08-17T07:12:55.807Z",
		math.MinInt64:     "-292275055-05-16T16:47:04.192Z",
	} {
		if got := string(appendDate(nil, ms, true)); got != want {
			t.Errorf("%d: got %s, want %s", ms, got, want)
		}
	}
}

func TestAppendJSONAllocations(t *testing.T) {
	d := everyType(t)
	buf := make([]byte, 0, 1<<14)
	for _, dialect := range []Dialect{Plain, Relaxed, Canonical} {
		n := testing.AllocsPerRun(100, func() {
			if _, err := AppendJSON(buf, d, dialect); err != nil {
				t.Fatal(err)
			}
		})
		// The options of the regular expression are out of order: two slices.
		if n > 2 {
			t.Errorf("dialect %d: %v allocations", dialect, n)
		}
	}
	n := testing.AllocsPerRun(100, func() {
		if _, err := AppendJSONString(buf, "a text of more than thirty-two bytes, with \"quotes\""); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("AppendJSONString: %v allocations", n)
	}
}

func FuzzAppendJSON(f *testing.F) {
	f.Add([]byte(everyType(f)))
	f.Add([]byte(doc()))
	r := rand.New(rand.NewPCG(7, 8))
	for range 20 {
		f.Add([]byte(randomDoc(r, 3)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		checkDocumentAgainstDriver(t, b)
		checkDocumentAgainstDriver(t, framed(b))
	})
}
