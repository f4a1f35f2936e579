package bsondoc

import (
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// These texts are a promise: see the package comment before you change one.
func TestAppendIDText(t *testing.T) {
	oid := [12]byte{0x66, 0x5f, 0x1c, 0x2e, 0x9b, 0x3d, 0x4a, 0x00, 0x12, 0xab, 0xcd, 0xef}
	const uuid = "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"
	tests := []struct {
		name string
		v    bson.RawValue
		want string
	}{
		{"objectid", vObjectID(t, "665F1C2E9B3D4A0012ABCDEF"), "665f1c2e9b3d4a0012abcdef"},
		{"objectid zero", vObjectID(t, "000000000000000000000000"), "000000000000000000000000"},
		{"string", vString("Ä \"x\"\n/\u2028"), "Ä \"x\"\n/\u2028"},
		{"string empty", vString(""), ""},
		{"string with a zero byte", vString("a\x00b"), "a\x00b"},
		{"int32", vInt32(-2147483648), "-2147483648"},
		{"int64", vInt64(9223372036854775807), "9223372036854775807"},
		{"uuid", vBinary(4, uuid), "00112233-4455-6677-8899-aabbccddeeff"},
		{"uuid old", vBinary(3, uuid), "00112233-4455-6677-8899-aabbccddeeff"},
		{"uuid of another subtype", vBinary(0, uuid), "ABEiM0RVZneImaq7zN3u/w=="},
		{"uuid too short", vBinary(4, uuid[:15]), "ABEiM0RVZneImaq7zN3u"},
		{"binary", vBinary(0, "\xfb\xff\xfe\x00"), "+//+AA=="},
		{"binary empty", vBinary(0, ""), ""},
		{"binary old", vBinary(2, "hello"), "aGVsbG8="},

		{"double", vDouble(3.25), "3.25"},
		{"double whole", vDouble(5), "5"},
		{"double negative", vDouble(-0.5), "-0.5"},
		{"double 0", vDouble(0), "0"},
		{"double -0", vDouble(math.Copysign(0, -1)), "0"},
		{"double 0.1", vDouble(0.1), "0.1"},
		{"double third", vDouble(1.0 / 3), "0.3333333333333333"},
		{"double 2^53", vDouble(1 << 53), "9007199254740992"},
		{"double 2^63", vDouble(1 << 63), "9223372036854776000"},
		{"double last plain", vDouble(123456789012345680000), "123456789012345680000"},
		{"double before 1e21", vDouble(math.Nextafter(1e21, 0)), "999999999999999900000"},
		{"double 1e21", vDouble(1e21), "1e+21"},
		{"double -1.5e300", vDouble(-1.5e300), "-1.5e+300"},
		{"double 1e-6", vDouble(1e-6), "0.000001"},
		{"double below 1e-6", vDouble(9.5e-7), "9.5e-7"},
		{"double 1e-7", vDouble(1e-7), "1e-7"},
		{"double 1e-10", vDouble(1e-10), "1e-10"},
		{"double smallest", vDouble(5e-324), "5e-324"},
		{"double largest", vDouble(math.MaxFloat64), "1.7976931348623157e+308"},
		{"double NaN", vDouble(math.NaN()), "NaN"},
		{"double other NaN", val(bson.TypeDouble, le64(-1)), "NaN"},
		{"double Infinity", vDouble(math.Inf(1)), "Infinity"},
		{"double -Infinity", vDouble(math.Inf(-1)), "-Infinity"},

		{"decimal", vDecimal(t, "3.25"), "3.25"},
		{"decimal 1.50", vDecimal(t, "1.50"), "1.5"},
		{"decimal 5.000", vDecimal(t, "5.000"), "5"},
		{"decimal 1E+3", vDecimal(t, "1E+3"), "1000"},
		{"decimal -0.001", vDecimal(t, "-0.0010"), "-0.001"},
		{"decimal 0", vDecimal(t, "0"), "0"},
		{"decimal -0", vDecimal(t, "-0"), "0"},
		{"decimal 0E+30", vDecimal(t, "0E+30"), "0"},
		{"decimal 0.00", vDecimal(t, "0.00"), "0"},
		{"decimal last plain", vDecimal(t, "1E+20"), "100000000000000000000"},
		{"decimal 1e21", vDecimal(t, "1E+21"), "1e+21"},
		{"decimal 22 digits", vDecimal(t, "1234567890123456789012"), "1.234567890123456789012e+21"},
		{"decimal 34 digits", vDecimal(t, "9999999999999999999999999999999999"), "9.999999999999999999999999999999999e+33"},
		{"decimal 34 digits plain", vDecimal(t, "12345678901234567890.12345678901234"), "12345678901234567890.12345678901234"},
		{"decimal 20 digits", vDecimal(t, "10000000000000000001"), "10000000000000000001"},
		{"decimal 1e-6", vDecimal(t, "0.00000100"), "0.000001"},
		{"decimal 1e-7", vDecimal(t, "1E-7"), "1e-7"},
		{"decimal smallest", vDecimal(t, "1E-6176"), "1e-6176"},
		{"decimal largest exponent", vDecimal(t, "1E+6144"), "1e+6144"},
		{"decimal NaN", vDecimal(t, "NaN"), "NaN"},
		{"decimal -NaN", vDecimalBits(0xfc<<56, 0), "NaN"},
		{"decimal Infinity", vDecimal(t, "Infinity"), "Infinity"},
		{"decimal -Infinity", vDecimal(t, "-Infinity"), "-Infinity"},
		{"decimal too large", vDecimalBits(decimalBias<<49|0x1ed09bead87c0, 0x378d8e6400000000), "0"},
		{"decimal other encoding", vDecimalBits(0x6c1<<52, 5), "0"},

		{"date", vDate(1718000000123), "2024-06-10T06:13:20.123Z"},
		{"date whole second", vDate(1718000000000), "2024-06-10T06:13:20.000Z"},
		{"date epoch", vDate(0), "1970-01-01T00:00:00.000Z"},
		{"date before 1970", vDate(-1), "1969-12-31T23:59:59.999Z"},
		{"date year 0", vDate(-62167219200000), "0000-01-01T00:00:00.000Z"},
		{"date before year 0", vDate(-62167219200001), "-000001-12-31T23:59:59.999Z"},
		{"date after 9999", vDate(253402300800000), "+010000-01-01T00:00:00.000Z"},
		{"date last", vDate(math.MaxInt64), "+292278994-08-17T07:12:55.807Z"},
		{"true", vBool(true), "true"},
		{"false", vBool(false), "false"},

		{"document", vDoc(doc(field{"a", vInt32(1)}, field{"b", vString("x")})), `{"a":{"$numberInt":"1"},"b":"x"}`},
		{"document with _id", vDoc(doc(field{"_id", vInt32(1)})), `{"_id":{"$numberInt":"1"}}`},
		{"document empty", vDoc(doc()), `{}`},
		{"array", vArray(vDouble(1), vNull()), `[{"$numberDouble":"1.0"},null]`},
		{"regex", vRegex("a", "mi"), `{"$regularExpression":{"pattern":"a","options":"im"}}`},
		{"timestamp", vTimestamp(1, 2), `{"$timestamp":{"t":1,"i":2}}`},
		{"code", vCode("f()"), `{"$code":"f()"}`},
		{"code with scope", vCodeWithScope("f()", doc()), `{"$code":"f()","$scope":{}}`},
		{"symbol", vSymbol("s"), `{"$symbol":"s"}`},
		{"dbpointer", vDBPointer("d.c", oid), `{"$dbPointer":{"$ref":"d.c","$id":{"$oid":"665f1c2e9b3d4a0012abcdef"}}}`},
		{"minkey", vMinKey(), `{"$minKey":1}`},
		{"maxkey", vMaxKey(), `{"$maxKey":1}`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, err := AppendIDText([]byte("x"), tc.v)
			if err != nil || string(got) != "x"+tc.want {
				t.Errorf("got %q, %v; want %q", got, err, "x"+tc.want)
			}
		})
	}
}

func TestAppendIDTextErrors(t *testing.T) {
	for _, tc := range []struct {
		name string
		v    bson.RawValue
		is   error
	}{
		{"missing", bson.RawValue{}, ErrNoID},
		{"null", vNull(), ErrNoID},
		{"undefined", vUndefined(), ErrNoID},
		{"not UTF-8", vString("a\xff"), ErrInvalidUTF8},
		{"not UTF-8 inside", vDoc(doc(field{"a", vString("\xff")})), ErrInvalidUTF8},
		{"unknown type", bson.RawValue{Type: 0x55, Value: []byte{1}}, ErrMalformed},
		{"short", val(bson.TypeObjectID, []byte("short")), ErrMalformed},
		{"long", val(bson.TypeInt32, []byte("12345")), ErrMalformed},
		{"null with bytes", val(bson.TypeNull, []byte("1")), ErrMalformed},
		{"old binary", val(bson.TypeBinary, le32(6), []byte{2}, le32(7), []byte("ab")), ErrMalformed},
		{"too deep", vDoc(nested(MaxDepth + 1)), ErrTooDeep},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := AppendIDText([]byte("x"), tc.v)
			if !errors.Is(err, tc.is) || string(got) != "x" {
				t.Errorf("got %q, %v; want %v", got, err, tc.is)
			}
		})
	}
}

// The text of every double reads back as it, and has an exponent where the
// documentation says so.
func TestDoubleText(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for range 20000 {
		f := math.Float64frombits(r.Uint64())
		if r.IntN(2) == 0 {
			f = float64(int64(r.Uint64())>>r.IntN(64)) / math.Pow(10, float64(r.IntN(30)))
		}
		if math.IsNaN(f) || math.IsInf(f, 0) || f == 0 {
			continue
		}
		text, err := AppendIDText(nil, vDouble(f))
		if err != nil {
			t.Fatal(err)
		}
		if back, err := strconv.ParseFloat(string(text), 64); err != nil || back != f {
			t.Fatalf("%v: %s reads back as %v (%v)", f, text, back, err)
		}
		_, expText, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, 64), "e")
		e, _ := strconv.Atoi(expText)
		if plain := e > minPlainExp && e < maxPlainExp; plain == strings.Contains(string(text), "e") {
			t.Fatalf("%v: %s is in the wrong notation", f, text)
		}
	}
}

// For every decimal the exact text is the driver's, the id text has the same
// value, and equal values have equal id texts.
func TestDecimalText(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for range 20000 {
		h, l := r.Uint64(), r.Uint64()
		switch r.IntN(3) {
		case 0: // few digits, a small exponent
			h = h&(1<<63) | uint64(decimalBias+r.IntN(60)-40)<<49
			l >>= r.IntN(64)
		case 1: // many digits, a small exponent
			h = h&(1<<63|1<<49-1) | uint64(decimalBias+r.IntN(60)-50)<<49
		}
		checkDecimal(t, h, l)
	}
	for _, h := range []uint64{0, 1 << 63, 0x3040 << 48, 0xb040 << 48, 0x7800 << 48, 0x7c00 << 48, 0x6c10 << 48} {
		for _, l := range []uint64{0, 1, 10, 1e18, 1e19 - 1, 1e19, math.MaxUint64} {
			checkDecimal(t, h, l)
		}
	}
	for _, a := range []string{"1.5", "-12E+4", "1234567890123456789", "7E-30"} {
		d, err := bson.ParseDecimal128(a)
		if err != nil {
			t.Fatal(err)
		}
		n, exp, _ := d.BigInt()
		want, _ := AppendIDText(nil, vDecimal(t, a))
		for range 15 {
			n.Mul(n, big.NewInt(10))
			exp--
			same, ok := bson.ParseDecimal128FromBigInt(n, exp)
			if !ok {
				t.Fatal(n, exp)
			}
			if got, _ := AppendIDText(nil, vDecimalBits(same.GetBytes())); string(got) != string(want) {
				t.Errorf("%s: %s and %s for one value", a, want, got)
			}
		}
	}
}

func checkDecimal(t *testing.T, h, l uint64) {
	t.Helper()
	d := bson.NewDecimal128(h, l)
	v := vDecimalBits(h, l)
	if got, want := string(appendDecimal(nil, v.Value)), d.String(); got != want {
		t.Fatalf("%x %x: got %s, the driver has %s", h, l, got, want)
	}
	text, err := AppendIDText(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	n, exp, err := d.BigInt()
	if err != nil {
		return
	}
	if new(big.Int).Abs(n).Cmp(new(big.Int).Exp(big.NewInt(10), big.NewInt(34), nil)) >= 0 {
		n.SetInt64(0)
	}
	// Compare as big.Int at the smaller of the exponents: a big.Rat of 10^6000
	// would take long.
	back, backExp := readDecimal(t, string(text))
	low := min(exp, backExp)
	if n.Sign() == 0 || back.Sign() == 0 {
		low, exp, backExp = 0, 0, 0
	}
	scale := func(n *big.Int, by int) *big.Int {
		return new(big.Int).Mul(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(by)), nil))
	}
	if scale(n, exp-low).Cmp(scale(back, backExp-low)) != 0 {
		t.Fatalf("%s: the id text %s has another value", d, text)
	}
}

func readDecimal(t *testing.T, s string) (*big.Int, int) {
	t.Helper()
	digits, expText, _ := strings.Cut(s, "e")
	exp, _ := strconv.Atoi(expText)
	whole, fraction, _ := strings.Cut(digits, ".")
	n, ok := new(big.Int).SetString(whole+fraction, 10)
	if !ok {
		t.Fatalf("%q is not a number", s)
	}
	return n, exp - len(fraction)
}

func TestAppendIDTextAllocations(t *testing.T) {
	buf := make([]byte, 0, 256)
	for _, v := range []bson.RawValue{
		vObjectID(t, "665f1c2e9b3d4a0012abcdef"), vString("abc"), vInt64(5), vDouble(2.5), vDate(1),
		vBinary(4, "0123456789abcdef"), vBinary(0, "abc"), vDecimal(t, "1.25"), vDoc(doc(field{"a", vInt32(1)})),
	} {
		n := testing.AllocsPerRun(100, func() {
			if _, err := AppendIDText(buf, v); err != nil {
				t.Fatal(err)
			}
		})
		if n > 0 {
			t.Errorf("type %s: %v allocations", v.Type, n)
		}
	}
}

func FuzzIDText(f *testing.F) {
	elements, err := everyType(f).Elements()
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range elements {
		f.Add(byte(e.Value().Type), e.Value().Value)
	}
	f.Fuzz(func(t *testing.T, typ byte, value []byte) {
		v := bson.RawValue{Type: bson.Type(typ), Value: value}
		got, err := AppendIDText([]byte("x"), v)
		if err != nil {
			if string(got) != "x" {
				t.Errorf("dst is %q after an error", got)
			}
		} else if !utf8.Valid(got) {
			t.Errorf("the id text %q is not UTF-8", got)
		}
		key := AppendKey(nil, v)
		parsed, keyErr := ParseKey(string(key))
		if keyErr == nil && !parsed.Equal(v) {
			t.Errorf("the key of %v reads back as %v", v, parsed)
		}
		// Whatever has an id text can be stored as a key and has JSON.
		if err == nil && keyErr != nil {
			t.Errorf("the id text is %q, but %v", got, keyErr)
		}
		for d := Plain; d <= Canonical; d++ {
			if _, jsonErr := appendValueJSON(nil, v, d); err == nil && jsonErr != nil {
				t.Errorf("the id text is %q, but %v", got, jsonErr)
			}
		}
		if typ == byte(bson.TypeDecimal128) && len(value) == 16 {
			checkDecimal(t, uint64(int64At(value[8:])), uint64(int64At(value)))
		}
	})
}

// TestOldBinaryWithoutItsLength has ids that are no BSON, and one that looks like them: an empty binary.
func TestOldBinaryWithoutItsLength(t *testing.T) {
	binary := func(content ...byte) bson.RawValue {
		return bson.RawValue{Type: bson.TypeBinary, Value: append([]byte{byte(len(content)), 0, 0, 0, 2}, content...)}
	}
	for _, v := range []bson.RawValue{binary(), binary('a', 'b', 'c'), binary('a', 'b', 'c', 'd')} {
		if got, err := AppendIDText(nil, v); !errors.Is(err, ErrMalformed) {
			t.Errorf("%v: %s, %v", v.Value, got, err)
		}
	}
	if got, err := AppendIDText(nil, binary(0, 0, 0, 0)); err != nil || string(got) != "AAAAAA==" {
		t.Errorf("empty: %s, %v", got, err)
	}
}
