package bsondoc

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

const lowerHex = "0123456789abcdef"

// appendText appends s as a JSON string with its quotes.
func appendText(dst, s []byte, d Dialect) ([]byte, error) {
	if !utf8.Valid(s) {
		return dst, errStringUTF8
	}
	dst = append(dst, '"')
	dst = appendEscaped(dst, s, d)
	return append(dst, '"'), nil
}

// appendEscaped appends s, which is UTF-8, with the escapes that a JSON string
// needs. Runs without any are copied in one piece.
func appendEscaped(dst, s []byte, d Dialect) []byte {
	ext := d != Plain
	start := 0
	for i := nextSpecial(s, 0, ext); i < len(s); i = nextSpecial(s, i, ext) {
		c := s[i]
		if c >= utf8.RuneSelf {
			// 0xE2 begins U+2028 and U+2029, and many others.
			if s[i+1] != 0x80 || s[i+2]&^1 != 0xa8 {
				i += 3
				continue
			}
			dst = append(dst, s[start:i]...)
			dst = append(dst, '\\', 'u', '2', '0', '2', '8'+s[i+2]&1)
			i += 3
			start = i
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		default:
			dst = append(dst, '\\', 'u', '0', '0', lowerHex[c>>4], lowerHex[c&0xf])
		}
		i++
		start = i
	}
	return append(dst, s[start:]...)
}

// nextSpecial returns the index of the first byte of s, from i on, that
// appendEscaped must look at: a quote, a backslash, a control character and, if
// separators is set, 0xE2. It takes eight bytes at a time.
func nextSpecial(s []byte, i int, separators bool) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(s); i += 8 {
		w := binary.LittleEndian.Uint64(s[i:])
		// The highest bit of each byte of (x-ones)&^x is set where x is zero. A
		// borrow can set it in a later byte as well, but never in an earlier
		// one, so the first hit is real.
		quote, backslash := w^('"'*ones), w^('\\'*ones)
		hit := (w-' '*ones)&^w | (quote-ones)&^quote | (backslash-ones)&^backslash
		if separators {
			e2 := w ^ (0xe2 * ones)
			hit |= (e2 - ones) &^ e2
		}
		if hit &= tops; hit != 0 {
			return i + bits.TrailingZeros64(hit)>>3
		}
	}
	for ; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || separators && c == 0xe2 {
			return i
		}
	}
	return len(s)
}
