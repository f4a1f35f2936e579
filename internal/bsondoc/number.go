package bsondoc

import (
	"math"
	"math/bits"
	"strconv"
)

// Scientific exponents from which, and below which, a number is written with an
// exponent. They are ECMAScript's, which most readers of JSON know.
const (
	minPlainExp = -7 // exclusive
	maxPlainExp = 21 // exclusive
)

func doubleAt(val []byte) float64 { return math.Float64frombits(uint64(int64At(val))) }

func appendDoubleID(dst, val []byte) []byte {
	f := doubleAt(val)
	if out, ok := appendNonFinite(dst, f); ok {
		return out
	}
	if f == 0 {
		return append(dst, '0') // -0 as well: MongoDB holds them equal
	}
	return appendShortest(dst, f)
}

// appendNonFinite appends the name of NaN and of the infinities, as Extended JSON
// spells them, and reports false for any other number.
func appendNonFinite(dst []byte, f float64) ([]byte, bool) {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...), true
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...), true
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...), true
	}
	return dst, false
}

// appendShortest appends the fewest digits that read back as the finite f.
func appendShortest(dst []byte, f float64) []byte {
	if abs := math.Abs(f); abs == 0 || abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	// strconv writes at least two digits of exponent, ECMAScript one.
	if n := len(dst); dst[n-4] == 'e' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}

// appendDoubleExt appends f as the driver writes doubles in Extended JSON, which
// marks whole numbers with ".0" so that they read back as doubles.
func appendDoubleExt(dst []byte, f float64) []byte {
	n := len(dst)
	dst = strconv.AppendFloat(dst, f, 'G', -1, 64)
	for _, c := range dst[n:] {
		if c == '.' || c == 'E' {
			return dst
		}
	}
	return append(dst, ".0"...)
}

// Decimal128 as IEEE 754 defines it, in its binary integer encoding.
const (
	decimalBias      = 6176
	maxDecimalDigits = 39 // of 113 bits; valid ones have at most 34
)

// splitDecimal takes a finite Decimal128 apart.
func splitDecimal(hi, lo uint64) (negative bool, sigHi, sigLo uint64, exp int) {
	negative = hi>>63 == 1
	if hi>>61&3 == 3 {
		// The other encoding starts above the largest valid significand, so
		// that its numbers are all zero by definition.
		return negative, 0, 0, int(hi>>47&(1<<14-1)) - decimalBias
	}
	return negative, hi & (1<<49 - 1), lo, int(hi>>49&(1<<14-1)) - decimalBias
}

// appendDecimalNonFinite is appendNonFinite for Decimal128.
func appendDecimalNonFinite(dst []byte, hi uint64) ([]byte, bool) {
	switch hi >> 58 & 0x1f {
	case 0x1f:
		return append(dst, "NaN"...), true
	case 0x1e:
		if hi>>63 == 1 {
			dst = append(dst, '-')
		}
		return append(dst, "Infinity"...), true
	}
	return dst, false
}

// appendDigits appends a 113 bit number in decimal.
func appendDigits(dst []byte, hi, lo uint64) []byte {
	const chunk = 1e19 // the largest power of ten in 64 bits
	if hi == 0 {
		return strconv.AppendUint(dst, lo, 10)
	}
	q, r := bits.Div64(hi, lo, chunk) // hi has 49 bits, so the quotient fits
	if q == 0 {
		return strconv.AppendUint(dst, r, 10)
	}
	dst = strconv.AppendUint(dst, q, 10)
	for pad := uint64(chunk / 10); pad > r && pad > 1; pad /= 10 {
		dst = append(dst, '0')
	}
	return strconv.AppendUint(dst, r, 10)
}

// appendDecimal appends a Decimal128 exactly, with all its digits, in the form
// that the specification (and the driver) gives it: 1.50, 1E+3, -0.
func appendDecimal(dst, val []byte) []byte {
	hi, lo := decimal(val)
	if out, ok := appendDecimalNonFinite(dst, hi); ok {
		return out
	}
	negative, hi, lo, exp := splitDecimal(hi, lo)
	if negative {
		dst = append(dst, '-')
	}
	var buf [maxDecimalDigits]byte
	digits := appendDigits(buf[:0], hi, lo)
	if adjusted := exp + len(digits) - 1; exp > 0 || adjusted < minPlainExp+1 {
		return appendScientific(dst, digits, 'E', adjusted)
	}
	return appendPlain(dst, digits, exp)
}

// appendDecimalID appends the shortest text of a Decimal128, see AppendIDText.
func appendDecimalID(dst, val []byte) []byte {
	hi, lo := decimal(val)
	if out, ok := appendDecimalNonFinite(dst, hi); ok {
		return out
	}
	negative, hi, lo, exp := splitDecimal(hi, lo)
	// 10^34, the first significand that is too large. Such a number is zero by
	// definition, and MongoDB takes it for zero.
	const tooLargeHi, tooLargeLo = 0x1ed09bead87c0, 0x378d8e6400000000
	if hi > tooLargeHi || hi == tooLargeHi && lo >= tooLargeLo {
		hi, lo = 0, 0
	}
	if hi == 0 && lo == 0 {
		return append(dst, '0')
	}
	var buf [maxDecimalDigits]byte
	digits := appendDigits(buf[:0], hi, lo)
	for digits[len(digits)-1] == '0' {
		digits = digits[:len(digits)-1]
		exp++
	}
	if negative {
		dst = append(dst, '-')
	}
	if e := exp + len(digits) - 1; e <= minPlainExp || e >= maxPlainExp {
		return appendScientific(dst, digits, 'e', e)
	}
	return appendPlain(dst, digits, exp)
}

// appendScientific appends d.ddde±x.
func appendScientific(dst, digits []byte, e byte, exp int) []byte {
	dst = append(dst, digits[0])
	if len(digits) > 1 {
		dst = append(append(dst, '.'), digits[1:]...)
	}
	dst = append(dst, e)
	if exp >= 0 {
		dst = append(dst, '+')
	}
	return strconv.AppendInt(dst, int64(exp), 10)
}

// appendPlain appends digits × 10^exp without an exponent.
func appendPlain(dst, digits []byte, exp int) []byte {
	switch point := len(digits) + exp; {
	case exp >= 0:
		dst = append(dst, digits...)
		for range exp {
			dst = append(dst, '0')
		}
		return dst
	case point > 0:
		dst = append(append(dst, digits[:point]...), '.')
		return append(dst, digits[point:]...)
	default:
		dst = append(dst, "0."...)
		for range -point {
			dst = append(dst, '0')
		}
		return append(dst, digits...)
	}
}
