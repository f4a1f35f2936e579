package fastmongo

import (
	"cmp"
	"math"
	"math/big"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// compareNumbers compares by exact value, whatever the types. NaN equals NaN and is below all others; 0 equals -0.
func compareNumbers(a, b value) int {
	x, xInt := integer(a)
	y, yInt := integer(b)
	switch {
	case xInt && yInt:
		return cmp.Compare(x, y)
	case a.Type == bsoncore.TypeDouble && b.Type == bsoncore.TypeDouble:
		return cmp.Compare(a.Double(), b.Double())
	case xInt && b.Type == bsoncore.TypeDouble:
		return compareIntFloat(x, b.Double())
	case yInt && a.Type == bsoncore.TypeDouble:
		return -compareIntFloat(y, a.Double())
	}
	ka, kb := kindOf(a), kindOf(b)
	if ka != finite || kb != finite {
		return cmp.Compare(ka, kb)
	}
	return fraction(a).Cmp(fraction(b))
}

func integer(v value) (int64, bool) {
	switch v.Type {
	case bsoncore.TypeInt32:
		return int64(v.Int32()), true
	case bsoncore.TypeInt64:
		return v.Int64(), true
	}
	return 0, false
}

// toInt is the whole part of a number, and 0 for everything else.
func toInt(v value) int64 {
	switch v.Type {
	case bsoncore.TypeInt32, bsoncore.TypeInt64:
		i, _ := integer(v)
		return i
	case bsoncore.TypeDouble:
		return int64(v.Double())
	case bsoncore.TypeDecimal128:
		if kindOf(v) == finite {
			f, _ := fraction(v).Float64()
			return int64(f)
		}
	}
	return 0
}

// compareIntFloat compares without rounding: a float64 holds an int64 exactly only up to 2^53.
func compareIntFloat(i int64, f float64) int {
	switch {
	case math.IsNaN(f):
		return 1
	case f >= 1<<63:
		return -1
	case f < -1<<63:
		return 1
	}
	whole := math.Trunc(f)
	return cmp.Or(cmp.Compare(i, int64(whole)), cmp.Compare(whole, f))
}

// kind tells finite numbers from the others, in order.
type kind int

const (
	nan kind = iota
	negativeInfinity
	finite
	positiveInfinity
)

func kindOf(v value) kind {
	inf := 0
	switch v.Type {
	case bsoncore.TypeDouble:
		f := v.Double()
		if math.IsInf(f, 0) {
			inf = int(math.Copysign(1, f))
		}
	case bsoncore.TypeDecimal128:
		inf = decimal(v).IsInf()
	}
	switch {
	case isNaN(v):
		return nan
	case inf < 0:
		return negativeInfinity
	case inf > 0:
		return positiveInfinity
	}
	return finite
}

func decimal(v value) bson.Decimal128 {
	high, low := v.Decimal128()
	return bson.NewDecimal128(high, low)
}

// fraction is the exact value of a finite number. A decimal's exponent is between -6176 and 6111, so it stays small.
func fraction(v value) *big.Rat {
	if i, ok := integer(v); ok {
		return new(big.Rat).SetInt64(i)
	}
	if v.Type == bsoncore.TypeDouble {
		return new(big.Rat).SetFloat64(v.Double())
	}
	digits, exponent, err := decimal(v).BigInt()
	if err != nil {
		return new(big.Rat) // NaN and infinities only, which do not come here
	}
	ten := big.NewInt(10)
	if exponent < 0 {
		return new(big.Rat).SetFrac(digits, ten.Exp(ten, big.NewInt(int64(-exponent)), nil))
	}
	return new(big.Rat).SetInt(digits.Mul(digits, ten.Exp(ten, big.NewInt(int64(exponent)), nil)))
}
