package mongo

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"math/big"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// compareValues orders values as MongoDB's _id index does under the simple collation (Manual, "Comparison and Sort Order").
// Scans use the server's order; this one serves only where a server can't start in the middle of it.
func compareValues(a, b bson.RawValue) int {
	if c := cmp.Compare(typeRank(a.Type), typeRank(b.Type)); c != 0 {
		return c
	}
	switch a.Type {
	case bson.TypeInt32, bson.TypeInt64, bson.TypeDouble, bson.TypeDecimal128:
		return compareNumbers(a, b)
	case bson.TypeEmbeddedDocument, bson.TypeArray:
		return compareDocuments(a.Value, b.Value)
	case bson.TypeBinary:
		// Length, subtype and content, in that order; the value begins with the length.
		return cmp.Or(
			cmp.Compare(binary.LittleEndian.Uint32(a.Value), binary.LittleEndian.Uint32(b.Value)),
			bytes.Compare(a.Value[4:], b.Value[4:]),
		)
	case bson.TypeString, bson.TypeSymbol, bson.TypeJavaScript:
		return bytes.Compare(a.Value[4:], b.Value[4:])
	case bson.TypeDateTime:
		return cmp.Compare(int64(binary.LittleEndian.Uint64(a.Value)), int64(binary.LittleEndian.Uint64(b.Value)))
	case bson.TypeTimestamp:
		return cmp.Compare(binary.LittleEndian.Uint64(a.Value), binary.LittleEndian.Uint64(b.Value))
	case bson.TypeDBPointer:
		return cmp.Or(cmp.Compare(len(a.Value), len(b.Value)), bytes.Compare(a.Value, b.Value))
	case bson.TypeCodeWithScope:
		codeA, scopeA := a.CodeWithScope()
		codeB, scopeB := b.CodeWithScope()
		return cmp.Or(cmp.Compare(codeA, codeB), compareDocuments(scopeA, scopeB))
	}
	return bytes.Compare(a.Value, b.Value) // ObjectId, boolean, regular expression; null and the like are empty
}

func typeRank(t bson.Type) int {
	switch t {
	case bson.TypeMinKey:
		return -1
	case bson.TypeUndefined:
		return 1
	case bson.TypeNull, 0: // a missing value sorts as null
		return 5
	case bson.TypeInt32, bson.TypeInt64, bson.TypeDouble, bson.TypeDecimal128:
		return 10
	case bson.TypeString, bson.TypeSymbol:
		return 15
	case bson.TypeEmbeddedDocument:
		return 20
	case bson.TypeArray:
		return 25
	case bson.TypeBinary:
		return 30
	case bson.TypeObjectID:
		return 35
	case bson.TypeBoolean:
		return 40
	case bson.TypeDateTime:
		return 45
	case bson.TypeTimestamp:
		return 47
	case bson.TypeRegex:
		return 50
	case bson.TypeDBPointer:
		return 55
	case bson.TypeJavaScript:
		return 60
	case bson.TypeCodeWithScope:
		return 65
	}
	return 127 // MaxKey
}

// compareDocuments goes element by element: type, then name, then value.
func compareDocuments(a, b bson.Raw) int {
	as, errA := a.Elements()
	bs, errB := b.Elements()
	if errA != nil || errB != nil {
		return bytes.Compare(a, b)
	}
	for i := range min(len(as), len(bs)) {
		va, vb := as[i].Value(), bs[i].Value()
		c := cmp.Or(
			cmp.Compare(typeRank(va.Type), typeRank(vb.Type)),
			cmp.Compare(as[i].Key(), bs[i].Key()),
			compareValues(va, vb),
		)
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(as), len(bs))
}

// compareNumbers compares by exact value, whatever the types: 1, 1.0 and Decimal128 1.00 are equal; NaN is before all others.
func compareNumbers(a, b bson.RawValue) int {
	if c, ok := compareFast(a, b); ok {
		return c
	}
	x, xSpecial := special(a)
	y, ySpecial := special(b)
	if xSpecial || ySpecial {
		return cmp.Compare(x, y)
	}
	return exact(a).Cmp(exact(b))
}

// compareFast compares what needs no fraction, since the end of a split may be looked for at every document.
func compareFast(a, b bson.RawValue) (order int, ok bool) {
	x, xIsInteger := integer(a)
	y, yIsInteger := integer(b)
	switch {
	case xIsInteger && yIsInteger:
		return cmp.Compare(x, y), true
	case a.Type == bson.TypeDouble && b.Type == bson.TypeDouble:
		return cmp.Compare(a.Double(), b.Double()), true // puts NaN first, too
	case xIsInteger && isExactDouble(x) && b.Type == bson.TypeDouble:
		return cmp.Compare(float64(x), b.Double()), true
	case yIsInteger && isExactDouble(y) && a.Type == bson.TypeDouble:
		return cmp.Compare(a.Double(), float64(y)), true
	}
	return 0, false
}

func integer(v bson.RawValue) (int64, bool) {
	switch v.Type {
	case bson.TypeInt32:
		return int64(v.Int32()), true
	case bson.TypeInt64:
		return v.Int64(), true
	}
	return 0, false
}

// isExactDouble reports whether a double holds every integer up to n.
func isExactDouble(n int64) bool { return -1<<53 <= n && n <= 1<<53 }

// special ranks what is not a finite number; a finite one is 0.
func special(v bson.RawValue) (rank int, ok bool) {
	const nan, negative, positive = -2, -1, 1
	switch v.Type {
	case bson.TypeDouble:
		switch f := v.Double(); {
		case math.IsNaN(f):
			return nan, true
		case math.IsInf(f, 0):
			return int(math.Copysign(1, f)), true
		}
	case bson.TypeDecimal128:
		switch d := v.Decimal128(); {
		case d.IsNaN():
			return nan, true
		case d.IsInf() < 0:
			return negative, true
		case d.IsInf() > 0:
			return positive, true
		}
	}
	return 0, false
}

// exact returns a finite number as a fraction. A Decimal128 has an exponent of at most 6144, so it stays small.
func exact(v bson.RawValue) *big.Rat {
	switch v.Type {
	case bson.TypeInt32:
		return new(big.Rat).SetInt64(int64(v.Int32()))
	case bson.TypeInt64:
		return new(big.Rat).SetInt64(v.Int64())
	case bson.TypeDouble:
		return new(big.Rat).SetFloat64(v.Double())
	}
	significand, exp, err := v.Decimal128().BigInt()
	if err != nil {
		return new(big.Rat)
	}
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(exp, -exp))), nil)
	if exp < 0 {
		return new(big.Rat).SetFrac(significand, power)
	}
	return new(big.Rat).SetInt(power.Mul(power, significand))
}
