package bsondoc

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

const lowerHex = "0123456789abcdef"

// appendText appends s as a JSON string with its quotes.
func appendText(dst, s []byte, d style) ([]byte, error) {
	n := ordinary(s)
	if !utf8.Valid(s[n:]) {
		return dst, errStringUTF8
	}
	dst = append(dst, '"')
	dst = append(dst, s[:n]...)
	dst = appendEscaped(dst, s[n:], d)
	return append(dst, '"'), nil
}

// ordinary returns how many bytes at the beginning of s, counted in blocks of 32, are ASCII that no style escapes: most texts are
// nothing else, and take a quarter of the branches so.
func ordinary(s []byte) int {
	i := 0
	for ; i+32 <= len(s); i += 32 {
		b := s[i : i+32 : i+32]
		if (unusual(b) | unusual(b[8:]) | unusual(b[16:]) | unusual(b[24:])) != 0 {
			break
		}
	}
	return i
}

// unusual sets the highest bit of at least one byte if one of the first eight of s is a quote, a backslash, a control character, DEL
// or outside of ASCII, and returns 0 otherwise.
func unusual(s []byte) uint64 {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	w := binary.LittleEndian.Uint64(s)
	// Of the first byte that is unusual, counted from the lowest, no carry or borrow of those below it is in the way. Adding one finds DEL
	// and what is above it, but for 0xff, which taking away a space does.
	quote, backslash := w^('"'*ones), w^('\\'*ones)
	return ((w + ones) | (w - ' '*ones) | (quote - ones) | (backslash - ones)) & tops
}

// appendEscaped appends s, which is UTF-8, with the escapes that a JSON string
// needs. Runs without any are copied in one piece.
func appendEscaped(dst, s []byte, d style) []byte {
	if d.java() {
		return appendJavaEscaped(dst, s)
	}
	start := 0
	for i := nextSpecial(s, 0, d); i < len(s); i = nextSpecial(s, i, d) {
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
		if letter := shortEscape(c); letter != 0 {
			dst = append(dst, '\\', letter)
		} else {
			dst = append(dst, '\\', 'u', '0', '0', lowerHex[c>>4], lowerHex[c&0xf])
		}
		i++
		start = i
	}
	return append(dst, s[start:]...)
}

// shortEscape returns what stands behind the backslash where JSON has an escape
// of two characters, and 0 for all other characters.
func shortEscape(c byte) byte {
	switch c {
	case '"', '\\':
		return c
	case '\n':
		return 'n'
	case '\r':
		return 'r'
	case '\t':
		return 't'
	case '\b':
		return 'b'
	case '\f':
		return 'f'
	}
	return 0
}

// nextSpecial returns the index of the first byte of s, from i on, that must be
// looked at: a quote, a backslash, a control character; in Relaxed and Canonical
// 0xE2 as well, and in the Java dialects DEL and every byte outside of ASCII. It
// takes eight bytes at a time.
func nextSpecial(s []byte, i int, d style) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(s); i += 8 {
		w := binary.LittleEndian.Uint64(s[i:])
		// The highest bit of each byte of (x-ones)&^x is set where x is zero. A
		// borrow can set it in a later byte as well, but never in an earlier
		// one, so the first hit is real.
		quote, backslash := w^('"'*ones), w^('\\'*ones)
		hit := (w-' '*ones)&^w | (quote-ones)&^quote | (backslash-ones)&^backslash
		switch {
		case d.java():
			del := w ^ (0x7f * ones)
			hit |= w | (del-ones)&^del
		case d != plain:
			e2 := w ^ (0xe2 * ones)
			hit |= (e2 - ones) &^ e2
		}
		if hit &= tops; hit != 0 {
			return i + bits.TrailingZeros64(hit)>>3
		}
	}
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c < ' ' || c == '"' || c == '\\':
			return i
		case d.java() && c >= 0x7f, (d == relaxed || d == canonical) && c == 0xe2:
			return i
		}
	}
	return len(s)
}
