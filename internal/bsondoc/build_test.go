package bsondoc

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Tests build BSON by hand rather than through the driver's codecs: they need
// types that the codecs refuse, duplicate names, and text that is not UTF-8.

func le32(n int) []byte   { return binary.LittleEndian.AppendUint32(nil, uint32(n)) }
func le64(n int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }

func cat(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func val(t bson.Type, parts ...[]byte) bson.RawValue {
	return bson.RawValue{Type: t, Value: cat(parts...)}
}

func lenString(s string) []byte { return cat(le32(len(s)+1), []byte(s), []byte{0}) }

func vString(s string) bson.RawValue    { return val(bson.TypeString, lenString(s)) }
func vSymbol(s string) bson.RawValue    { return val(bson.TypeSymbol, lenString(s)) }
func vCode(s string) bson.RawValue      { return val(bson.TypeJavaScript, lenString(s)) }
func vInt32(n int32) bson.RawValue      { return val(bson.TypeInt32, le32(int(n))) }
func vInt64(n int64) bson.RawValue      { return val(bson.TypeInt64, le64(n)) }
func vDate(ms int64) bson.RawValue      { return val(bson.TypeDateTime, le64(ms)) }
func vDoc(d bson.Raw) bson.RawValue     { return val(bson.TypeEmbeddedDocument, d) }
func vTimestamp(t, i int) bson.RawValue { return val(bson.TypeTimestamp, le32(i), le32(t)) }
func vNull() bson.RawValue              { return val(bson.TypeNull) }
func vUndefined() bson.RawValue         { return val(bson.TypeUndefined) }
func vMinKey() bson.RawValue            { return val(bson.TypeMinKey) }
func vMaxKey() bson.RawValue            { return val(bson.TypeMaxKey) }
func vDecimalBits(h, l uint64) bson.RawValue {
	return val(bson.TypeDecimal128, le64(int64(l)), le64(int64(h)))
}

func vDouble(f float64) bson.RawValue {
	return val(bson.TypeDouble, le64(int64(math.Float64bits(f))))
}

func vBool(b bool) bson.RawValue {
	if b {
		return val(bson.TypeBoolean, []byte{1})
	}
	return val(bson.TypeBoolean, []byte{0})
}

func vBinary(subtype byte, data string) bson.RawValue {
	if subtype == subtypeOldBinary {
		return val(bson.TypeBinary, le32(len(data)+4), []byte{subtype}, le32(len(data)), []byte(data))
	}
	return val(bson.TypeBinary, le32(len(data)), []byte{subtype}, []byte(data))
}

func vRegex(pattern, options string) bson.RawValue {
	return val(bson.TypeRegex, []byte(pattern), []byte{0}, []byte(options), []byte{0})
}

func vDBPointer(ns string, oid [12]byte) bson.RawValue {
	return val(bson.TypeDBPointer, lenString(ns), oid[:])
}

func vCodeWithScope(code string, scope bson.Raw) bson.RawValue {
	s := lenString(code)
	return val(bson.TypeCodeWithScope, le32(4+len(s)+len(scope)), s, scope)
}

func vObjectID(tb testing.TB, hex string) bson.RawValue {
	tb.Helper()
	oid, err := bson.ObjectIDFromHex(hex)
	if err != nil {
		tb.Fatal(err)
	}
	return val(bson.TypeObjectID, oid[:])
}

func vDecimal(tb testing.TB, text string) bson.RawValue {
	tb.Helper()
	d, err := bson.ParseDecimal128(text)
	if err != nil {
		tb.Fatal(err)
	}
	return vDecimalBits(d.GetBytes())
}

type field struct {
	name string
	v    bson.RawValue
}

func doc(fields ...field) bson.Raw {
	var b []byte
	for _, f := range fields {
		b = append(b, byte(f.v.Type))
		b = append(b, f.name...)
		b = append(b, 0)
		b = append(b, f.v.Value...)
	}
	return cat(le32(len(b)+5), b, []byte{0})
}

func vArray(vs ...bson.RawValue) bson.RawValue {
	fields := make([]field, len(vs))
	for i, v := range vs {
		fields[i] = field{string(appendPadded(nil, int64(i), 1)), v}
	}
	return val(bson.TypeArray, doc(fields...))
}

// nested returns a document of the given number of levels.
func nested(levels int) bson.Raw {
	d := doc()
	for range levels - 1 {
		d = doc(field{"a", vDoc(d)})
	}
	return d
}

// everyType is one document with every BSON type, the deprecated ones included.
func everyType(tb testing.TB) bson.Raw {
	tb.Helper()
	const uuid = "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"
	oid := [12]byte{0x66, 0x5f, 0x1c, 0x2e, 0x9b, 0x3d, 0x4a, 0x00, 0x12, 0xab, 0xcd, 0xef}
	inner := doc(
		field{"_id", vInt32(7)},
		field{"at", vDate(1718000000123)},
	)
	return doc(
		field{"_id", vObjectID(tb, "665f1c2e9b3d4a0012abcdef")},
		field{"double", vDouble(3.25)},
		field{"doubleWhole", vDouble(5)},
		field{"doubleLarge", vDouble(1e21)},
		field{"doubleSmall", vDouble(1e-7)},
		field{"doubleNegativeZero", vDouble(math.Copysign(0, -1))},
		field{"doubleNaN", vDouble(math.NaN())},
		field{"doubleInfinity", vDouble(math.Inf(1))},
		field{"doubleNegativeInfinity", vDouble(math.Inf(-1))},
		field{"string", vString("Grüße, \"世界\" 🌍\n\x00\u2028</b>")},
		field{"stringEmpty", vString("")},
		field{"document", vDoc(inner)},
		field{"documentEmpty", vDoc(doc())},
		field{"array", vArray(vInt32(1), vString("two"), vArray(), vDoc(inner))},
		field{"binary", vBinary(0, "\xfb\xff\xfe\x00")},
		field{"binaryOld", vBinary(2, "hello")},
		field{"binaryEmpty", vBinary(0, "")},
		field{"binaryUser", vBinary(0x80, "\x01")},
		field{"uuid", vBinary(4, uuid)},
		field{"uuidOld", vBinary(3, uuid)},
		field{"uuidShort", vBinary(4, uuid[:15])},
		field{"undefined", vUndefined()},
		field{"objectId", vObjectID(tb, "000000000000000000000000")},
		field{"true", vBool(true)},
		field{"false", vBool(false)},
		field{"date", vDate(1718000000120)},
		field{"dateEpoch", vDate(0)},
		field{"dateBefore1970", vDate(-1)},
		field{"dateAfter9999", vDate(maxTextDate + 1)},
		field{"dateMax", vDate(math.MaxInt64)},
		field{"dateMin", vDate(math.MinInt64)},
		field{"null", vNull()},
		field{"regex", vRegex(`^a/"b"\d+$`, "xim")},
		field{"dbPointer", vDBPointer("db.coll", oid)},
		field{"code", vCode("function() { return \"x\"; }")},
		field{"symbol", vSymbol("sym")},
		field{"codeWithScope", vCodeWithScope("return x", doc(field{"x", vInt64(1)}))},
		field{"int32", vInt32(math.MinInt32)},
		field{"timestamp", vTimestamp(1718000000, 4294967295)},
		field{"int64", vInt64(math.MaxInt64)},
		field{"decimal", vDecimal(tb, "1.50")},
		field{"decimalExponent", vDecimal(tb, "1E+3")},
		field{"decimalSmall", vDecimal(tb, "-0.00000012300")},
		field{"decimalNaN", vDecimal(tb, "NaN")},
		field{"decimalInfinity", vDecimal(tb, "-Infinity")},
		field{"minKey", vMinKey()},
		field{"maxKey", vMaxKey()},
		field{"dup", vInt32(1)},
		field{"dup", vInt32(2)},
		field{"", vString("a field without a name")},
		field{"dotted.name", vString("d")},
	)
}

// randomDoc returns a document of random shape, valid in every way.
func randomDoc(r *rand.Rand, depth int) bson.Raw {
	fields := make([]field, r.IntN(8))
	for i := range fields {
		fields[i] = field{strings.ReplaceAll(randomText(r), "\x00", "0"), randomValue(r, depth)}
	}
	return doc(fields...)
}

func randomValue(r *rand.Rand, depth int) bson.RawValue {
	kinds := 22
	if depth <= 0 {
		kinds = 19
	}
	switch r.IntN(kinds) {
	case 0:
		return vDouble(math.Float64frombits(r.Uint64()))
	case 1:
		return vDouble(float64(r.IntN(2000)-1000) / 8)
	case 2, 3, 4:
		return vString(randomText(r))
	case 5:
		return vBinary(byte(r.IntN(256)), randomBytes(r, r.IntN(20)))
	case 6:
		return vBinary(byte(3+r.IntN(2)), randomBytes(r, 16))
	case 7:
		return vUndefined()
	case 8:
		return val(bson.TypeObjectID, []byte(randomBytes(r, 12)))
	case 9:
		return vBool(r.IntN(2) == 0)
	case 10:
		return vDate(int64(r.Uint64()) >> r.IntN(64))
	case 11:
		return vNull()
	case 12:
		return vRegex(strings.ReplaceAll(randomText(r), "\x00", ""), []string{"", "i", "xsmi", "ü\"a"}[r.IntN(4)])
	case 13:
		return vInt32(int32(r.Uint32()))
	case 14:
		return vInt64(int64(r.Uint64()))
	case 15:
		return vTimestamp(int(r.Uint32()), int(r.Uint32()))
	case 16:
		return vDecimalBits(r.Uint64(), r.Uint64())
	case 17:
		// Near the middle of the exponents, where the notation changes.
		exp := uint64(decimalBias + r.IntN(60) - 45)
		return vDecimalBits(uint64(r.IntN(2))<<63|exp<<49|r.Uint64()>>(15+r.IntN(49)), r.Uint64()>>r.IntN(64))
	case 18:
		return []bson.RawValue{
			vMinKey(), vMaxKey(), vSymbol(randomText(r)), vCode(randomText(r)),
			vDBPointer("db.coll", [12]byte([]byte(randomBytes(r, 12)))),
		}[r.IntN(5)]
	case 19:
		return vDoc(randomDoc(r, depth-1))
	case 20:
		vs := make([]bson.RawValue, r.IntN(6))
		for i := range vs {
			vs[i] = randomValue(r, depth-1)
		}
		return vArray(vs...)
	default:
		return vCodeWithScope(randomText(r), randomDoc(r, depth-1))
	}
}

func randomBytes(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

func randomText(r *rand.Rand) string {
	alphabet := []rune("abcdefghijklmnopqrstuvwxyz .$\"\\/<>&\x00\x01\n\t\r\b\f\x1f\x7fäß€–\u2027\u2028\u2029\u202a\ufffd世🌍")
	if r.IntN(2) == 0 {
		alphabet = alphabet[:26]
	}
	out := make([]rune, r.IntN(30))
	for i := range out {
		out[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(out)
}
