package bsondoc

import (
	"bytes"
	"encoding/json"
	"errors"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
)

var javaDialects = []JavaDialect{JavaStrict, JavaExtended, JavaSimplified}

// The golden files were written by the connector's own formatters with the Java
// driver 5.8.1 on Java 21; -update does not touch them.
func TestJavaGolden(t *testing.T) {
	for d, file := range map[JavaDialect]string{
		JavaStrict: "strict", JavaExtended: "extended", JavaSimplified: "simplified",
	} {
		t.Run(file, func(t *testing.T) {
			want, err := os.ReadFile(filepath.Join("testdata", "every_type_java_"+file+".golden"))
			if err != nil {
				t.Fatal(err)
			}
			got, err := AppendJavaJSON([]byte("x"), everyType(t), d)
			if err != nil {
				t.Fatal(err)
			}
			lines := func(s string) []string { return strings.SplitAfter(s, ", ") }
			if diff := cmp.Diff(lines("x"+string(want)), lines(string(got)+"\n")); diff != "" {
				t.Errorf("mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAppendJavaValue(t *testing.T) {
	oid := [12]byte{0x66, 0x5f, 0x1c, 0x2e, 0x9b, 0x3d, 0x4a, 0x00, 0x12, 0xab, 0xcd, 0xef}
	const hexOID = "665f1c2e9b3d4a0012abcdef"
	const uuid = "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"
	scoped := vCodeWithScope("x", doc(field{"a", vInt64(1)}))
	tests := []struct {
		name                         string
		v                            bson.RawValue
		strict, extended, simplified string
	}{
		{"objectid", val(bson.TypeObjectID, oid[:]), `{"$oid": "` + hexOID + `"}`, `{"$oid": "` + hexOID + `"}`, `"` + hexOID + `"`},
		{"string", vString("a/b"), `"a/b"`, `"a/b"`, `"a/b"`},
		{"int32", vInt32(-5), `-5`, `{"$numberInt": "-5"}`, `-5`},
		{"int64", vInt64(math.MaxInt64), `{"$numberLong": "9223372036854775807"}`, `{"$numberLong": "9223372036854775807"}`, `9223372036854775807`},
		{"double", vDouble(20.21), `20.21`, `{"$numberDouble": "20.21"}`, `20.21`},
		{"double whole", vDouble(5), `5.0`, `{"$numberDouble": "5.0"}`, `5.0`},
		{"double large", vDouble(1e10), `1.0E+10`, `{"$numberDouble": "1.0E+10"}`, `1.0E+10`},
		{"NaN", vDouble(math.NaN()), `NaN`, `{"$numberDouble": "NaN"}`, `{"$numberDouble": "NaN"}`},
		{"infinity", vDouble(math.Inf(1)), `Infinity`, `{"$numberDouble": "Infinity"}`, `{"$numberDouble": "Infinity"}`},
		{"-infinity", vDouble(math.Inf(-1)), `-Infinity`, `{"$numberDouble": "-Infinity"}`, `{"$numberDouble": "-Infinity"}`},
		{"decimal", vDecimal(t, "12345.6789"), `{"$numberDecimal": "12345.6789"}`, `{"$numberDecimal": "12345.6789"}`, `"12345.6789"`},
		{"decimal NaN", vDecimal(t, "NaN"), `{"$numberDecimal": "NaN"}`, `{"$numberDecimal": "NaN"}`, `"NaN"`},
		{"date", vDate(1577863627000), `{"$date": 1577863627000}`, `{"$date": {"$numberLong": "1577863627000"}}`, `"2020-01-01T07:27:07Z"`},
		{"date with a fraction", vDate(1577863627120), `{"$date": 1577863627120}`, `{"$date": {"$numberLong": "1577863627120"}}`, `"2020-01-01T07:27:07.12Z"`},
		{"date after 9999", vDate(maxTextDate + 1), `{"$date": 253402300800000}`, `{"$date": {"$numberLong": "253402300800000"}}`, `"+10000-01-01T00:00:00Z"`},
		{"date before 0", vDate(-62167219200001), `{"$date": -62167219200001}`, `{"$date": {"$numberLong": "-62167219200001"}}`, `"-0001-12-31T23:59:59.999Z"`},
		{"date, the last", vDate(math.MaxInt64), `{"$date": 9223372036854775807}`, `{"$date": {"$numberLong": "9223372036854775807"}}`, `"+292278994-08-17T07:12:55.807Z"`},
		{
			"uuid", vBinary(4, uuid), `{"$binary": "ABEiM0RVZneImaq7zN3u/w==", "$type": "04"}`,
			`{"$binary": {"base64": "ABEiM0RVZneImaq7zN3u/w==", "subType": "04"}}`, `"ABEiM0RVZneImaq7zN3u/w=="`,
		},
		{"binary user", vBinary(0xfe, "\x01"), `{"$binary": "AQ==", "$type": "FE"}`, `{"$binary": {"base64": "AQ==", "subType": "FE"}}`, `"AQ=="`},
		{"binary old", vBinary(2, "hello"), `{"$binary": "aGVsbG8=", "$type": "02"}`, `{"$binary": {"base64": "aGVsbG8=", "subType": "02"}}`, `"aGVsbG8="`},
		{"timestamp", vTimestamp(1, 4294967295), `{"$timestamp": {"t": 1, "i": 4294967295}}`, `{"$timestamp": {"t": 1, "i": 4294967295}}`, `{"$timestamp": {"t": 1, "i": 4294967295}}`},
		{
			"regex", vRegex(`a/"`, "xi"), `{"$regex": "a/\"", "$options": "ix"}`,
			`{"$regularExpression": {"pattern": "a/\"", "options": "ix"}}`, `{"$regularExpression": {"pattern": "a/\"", "options": "ix"}}`,
		},
		{"symbol", vSymbol("x"), `{"$symbol": "x"}`, `{"$symbol": "x"}`, `"x"`},
		{"code", vCode("x"), `{"$code": "x"}`, `{"$code": "x"}`, `{"$code": "x"}`},
		{
			"code with scope", scoped, `{"$code": "x", "$scope": {"a": {"$numberLong": "1"}}}`,
			`{"$code": "x", "$scope": {"a": {"$numberLong": "1"}}}`, `{"$code": "x", "$scope": {"a": 1}}`,
		},
		{
			"dbpointer", vDBPointer("d.c", oid), `{"$ref": "d.c", "$id": {"$oid": "` + hexOID + `"}}`,
			`{"$dbPointer": {"$ref": "d.c", "$id": {"$oid": "` + hexOID + `"}}}`, `{"$ref": "d.c", "$id": "` + hexOID + `"}`,
		},
		{"bool", vBool(true), `true`, `true`, `true`},
		{"null", vNull(), `null`, `null`, `null`},
		{"undefined", vUndefined(), `{"$undefined": true}`, `{"$undefined": true}`, `{"$undefined": true}`},
		{"minkey", vMinKey(), `{"$minKey": 1}`, `{"$minKey": 1}`, `{"$minKey": 1}`},
		{"maxkey", vMaxKey(), `{"$maxKey": 1}`, `{"$maxKey": 1}`, `{"$maxKey": 1}`},
		{"document", vDoc(doc(field{"a", vBool(true)}, field{"b", vNull()})), `{"a": true, "b": null}`, `{"a": true, "b": null}`, `{"a": true, "b": null}`},
		{"document, empty", vDoc(doc()), `{}`, `{}`, `{}`},
		{"array", vArray(vNull(), vArray(), vBool(false)), `[null, [], false]`, `[null, [], false]`, `[null, [], false]`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			for d, want := range map[JavaDialect]string{JavaStrict: tc.strict, JavaExtended: tc.extended, JavaSimplified: tc.simplified} {
				got, err := AppendJavaValue([]byte("x"), tc.v, d)
				if err != nil || string(got) != "x"+want {
					t.Errorf("dialect %d: got %s, %v; want x%s", d, got, err, want)
				}
				got, err = AppendJavaValue([]byte("x"), tc.v, d+JavaDriver4)
				if want := strings.ReplaceAll(want, "E+", "E"); err != nil || string(got) != "x"+want {
					t.Errorf("dialect %d of driver 4: got %s, %v; want x%s", d, got, err, want)
				}
			}
		})
	}
}

// What Double.toString of Java 21 gives.
func TestJavaDouble(t *testing.T) {
	third := 1.0 / 3
	for f, want := range map[float64]string{
		0: "0.0", 1: "1.0", -1.5: "-1.5", 100: "100.0", 20.21: "20.21", 0.1: "0.1", third: "0.3333333333333333",
		9999999: "9999999.0", math.Nextafter(1e7, 0): "9999999.999999998", 1e7: "1.0E7", -12345678.5: "-1.23456785E7",
		1e-3: "0.001", math.Nextafter(1e-3, 0): "9.999999999999998E-4", 1e-5: "1.0E-5", -1.5e-7: "-1.5E-7", 1e-10: "1.0E-10",
		1e-100: "1.0E-100", 1e10: "1.0E10", 1e21: "1.0E21", 2e23: "2.0E23", 8.41e21: "8.41E21", -1e300: "-1.0E300",
		123456789012345680: "1.2345678901234568E17", math.MaxFloat64: "1.7976931348623157E308", 0x1p-1022: "2.2250738585072014E-308",
		// The smallest ones take two digits where one would do.
		math.SmallestNonzeroFloat64: "4.9E-324", -0x1p-1073: "-9.9E-324", 0x1p-1072: "2.0E-323", 0x1p-1071: "4.0E-323", 5e-322: "5.0E-322",
	} {
		old, err := AppendJavaValue([]byte("x"), vDouble(f), JavaStrict+JavaDriver4)
		if err != nil || string(old) != "x"+want {
			t.Errorf("%v: got %s, %v; want x%s", f, old, err, want)
		}
		if !strings.Contains(want, "E-") {
			want = strings.Replace(want, "E", "E+", 1)
		}
		now, err := AppendJavaValue([]byte("x"), vDouble(f), JavaStrict)
		if err != nil || string(now) != "x"+want {
			t.Errorf("%v: got %s, %v; want x%s", f, now, err, want)
		}
	}
	if got, _ := AppendJavaValue(nil, vDouble(math.Copysign(0, -1)), JavaStrict); string(got) != "-0.0" {
		t.Errorf("-0 is %s", got)
	}
}

func TestJavaEscapes(t *testing.T) {
	for in, want := range map[string]string{
		`quote " backslash \ slash / <&>'`: `quote \" backslash \\ slash / <&>'`,
		"\b\f\n\r\t":                       `\b\f\n\r\t`,
		"\x00\x01\x1f\x7f\u0080\u009f":     `\u0000\u0001\u001f\u007f\u0080\u009f`, // control
		"äßÄ Ǆǅ ª× €":                      "äßÄ Ǆǅ ª× €",
		"é as one, e\u0301 as two":         `é as one, e\u0301 as two`, // a mark
		"世界 Привет ｶ ½ ⅷ ٣":                "世界 Привет ｶ ½ ⅷ ٣",
		"スーパー 々":                           `ス\u30fcパ\u30fc \u3005`, // modifier letters
		"हिन्दी":                           `ह\u093fन\u094dद\u0940`,
		"\u00a0\u2003\u3000":               "\u00a0\u2003\u3000",             // spaces
		"\u2028\u2029\u200b\u00ad\ufeff":   `\u2028\u2029\u200b\u00ad\ufeff`, // separators, format
		"\ue000\u0378\uffff\ufffd":         `\ue000\u0378\uffff` + "\ufffd",  // private, unassigned
		"🌍 𝒳 \U0010ffff":                   `\ud83c\udf0d \ud835\udcb3 \udbff\udfff`,
		"„quoted“ «so» – — ‰ ° ¨ ∑ ©":      "„quoted“ «so» – — ‰ ° ¨ ∑ ©",
	} {
		// At every distance from the eight bytes that are looked at together.
		for n := range 18 {
			pad := strings.Repeat("-", n)
			got, err := AppendJavaString([]byte("x"), pad+in+pad)
			if want := `x"` + pad + want + pad + `"`; err != nil || string(got) != want {
				t.Errorf("got %s, %v; want %s", got, err, want)
				break
			}
			var back string
			if err := json.Unmarshal(got[1:], &back); err != nil || back != pad+in+pad {
				t.Errorf("%q reads back as %q (%v)", pad+in+pad, back, err)
			}
		}
	}
	for _, s := range []string{"\xff", "a\xc3", "\xed\xa0\x80", "12345678\x80"} {
		if got, err := AppendJavaString([]byte("x"), s); !errors.Is(err, ErrInvalidUTF8) || string(got) != "x" {
			t.Errorf("%q: got %q, %v", s, got, err)
		}
	}
}

// Every character of Java's, against a fingerprint of Character.getType's answers
// there.
func TestJavaKeeps(t *testing.T) {
	const java21 = 0xfd732084
	var kept [1 << 13]byte
	for c := range rune(1 << 16) {
		shown := c < 0xd800 || c > 0xdfff
		if c >= 0x80 && shown && javaKeeps(c) != keptCategory(c) {
			t.Errorf("%U: the short cut says %t", c, javaKeeps(c))
		}
		if shown && keptCategory(c) && c != '"' && c != '\\' {
			kept[c/8] |= 1 << (c % 8)
		}
	}
	if got := crc32.ChecksumIEEE(kept[:]); got != java21 && unicode.Version == "15.0.0" {
		t.Errorf("the characters that are kept have the fingerprint %08x", got)
	}
}

func TestAppendJavaJSONErrors(t *testing.T) {
	bad := "a\xff"
	tests := []struct {
		name string
		doc  bson.Raw
		is   error
		want string
	}{
		{"string", doc(field{"a", vDoc(doc(field{"b", vString(bad)}))}), ErrInvalidUTF8, `field "a.b": string is not valid UTF-8`},
		{"in an array", doc(field{"a", vArray(vNull(), vString(bad))}), ErrInvalidUTF8, `field "a.1": string is not valid UTF-8`},
		{"in a scope", doc(field{"a", vCodeWithScope("", doc(field{"b", vString(bad)}))}), ErrInvalidUTF8, `field "a.b": string is not valid UTF-8`},
		{"scoped code", doc(field{"a", vCodeWithScope(bad, doc())}), ErrInvalidUTF8, `field "a": string is not valid UTF-8`},
		{"name", doc(field{bad, vNull()}), ErrInvalidUTF8, `field "a\xff": field name is not valid UTF-8`},
		{"symbol", doc(field{"a", vSymbol(bad)}), ErrInvalidUTF8, `field "a": string is not valid UTF-8`},
		{"code", doc(field{"a", vCode(bad)}), ErrInvalidUTF8, `field "a": string is not valid UTF-8`},
		{"regex", doc(field{"a", vRegex(bad, "")}), ErrInvalidUTF8, `field "a": string is not valid UTF-8`},
		{"regex options", doc(field{"a", vRegex("", bad)}), ErrInvalidUTF8, `field "a": string is not valid UTF-8`},
		{"dbpointer", doc(field{"a", vDBPointer(bad, [12]byte{})}), ErrInvalidUTF8, `field "a": string is not valid UTF-8`},
		{"empty", nil, ErrMalformed, `malformed BSON: a document of 0 bytes`},
		{"type", doc(field{"x", bson.RawValue{Type: 0x20}}), ErrMalformed, `field "x": malformed BSON: unknown type 0x20`},
		{"depth", nested(MaxDepth + 1), ErrTooDeep, ``},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			for _, d := range javaDialects {
				got, err := AppendJavaJSON([]byte("dst"), tc.doc, d)
				if string(got) != "dst" || !errors.Is(err, tc.is) || tc.want != "" && err.Error() != tc.want {
					t.Errorf("dialect %d: got %q, %v; want %s", d, got, err, tc.want)
				}
			}
		})
	}
	for _, d := range []JavaDialect{JavaSimplified + 1, JavaDriver4 + JavaSimplified + 1, 0xff} {
		if _, err := AppendJavaJSON(nil, doc(), d); err == nil {
			t.Errorf("dialect %d is not an error", d)
		}
		if _, err := AppendJavaValue(nil, vNull(), d); err == nil {
			t.Errorf("dialect %d is not an error", d)
		}
	}
	if got, err := AppendJavaValue([]byte("x"), bson.RawValue{}, JavaStrict); !errors.Is(err, ErrMalformed) || string(got) != "x" {
		t.Errorf("a missing value: %q, %v", got, err)
	}
	if got, err := AppendJavaValue([]byte("x"), vString(bad), JavaStrict); !errors.Is(err, ErrInvalidUTF8) || string(got) != "x" {
		t.Errorf("a bad value: %q, %v", got, err)
	}
}

func TestAppendJavaJSONAllocations(t *testing.T) {
	d := everyType(t)
	buf := make([]byte, 0, 1<<14)
	for _, dialect := range javaDialects {
		n := testing.AllocsPerRun(100, func() {
			if _, err := AppendJavaJSON(buf, d, dialect); err != nil {
				t.Fatal(err)
			}
		})
		// The options of the regular expression are out of order: two slices.
		if n > 2 {
			t.Errorf("dialect %d: %v allocations", dialect, n)
		}
	}
}

// checkJava holds AppendJavaJSON to its promises for any bytes. plainErr is what
// AppendJSON said of them.
func checkJava(t *testing.T, d bson.Raw, plainErr error) {
	t.Helper()
	var texts [3][]byte
	for i, dialect := range javaDialects {
		got, err := AppendJavaJSON([]byte("x"), d, dialect)
		if (err == nil) != (plainErr == nil) {
			t.Errorf("dialect %d of Java: %v, but plain: %v: %x", dialect, err, plainErr, []byte(d))
		}
		if err != nil {
			if string(got) != "x" {
				t.Errorf("dst is %q after an error", got)
			}
			return
		}
		texts[i] = got[1:]
		if bytes.ContainsFunc(got, unicode.IsControl) {
			t.Errorf("a control character in %q", got)
		}
	}
	strict, extended, simplified := texts[0], texts[1], texts[2]
	if !json.Valid(extended) || !json.Valid(simplified) {
		t.Errorf("not JSON: %s\n%s\nfrom %x", extended, simplified, []byte(d))
	}
	// Java writes NaN and the infinities without quotes. Simplified says where.
	if !json.Valid(strict) && !bytes.Contains(simplified, []byte(`{"$numberDouble": "`)) {
		t.Errorf("not JSON: %s\nfrom %x", strict, []byte(d))
	}
	// JavaExtended is Canonical with other spaces, escapes and digits: it reads
	// back as the same BSON.
	canonical, err := AppendJSON(nil, d, Canonical)
	if err != nil {
		t.Fatal(err)
	}
	want, wantErr := readBack(canonical)
	got, gotErr := readBack(extended)
	if (wantErr == nil) != (gotErr == nil) || !bytes.Equal(got, want) {
		t.Errorf("%s (%v)\nreads back as something else than\n%s (%v)\nfrom %x", extended, gotErr, canonical, wantErr, []byte(d))
	}
}

func readBack(text []byte) ([]byte, error) {
	var d bson.D
	if err := bson.UnmarshalExtJSON(text, true, &d); err != nil {
		return nil, err
	}
	return bson.Marshal(d)
}
