package bsondoc

import (
	"bytes"
	"errors"
	"testing"
	"unicode/utf8"
)

// TestEveryByteAtEveryPlace puts each byte into texts around the 32 bytes that are looked at together: what is written is the text with
// its escapes as the bytes one by one have them, and what is no UTF-8 is refused.
func TestEveryByteAtEveryPlace(t *testing.T) {
	for _, length := range []int{1, 31, 32, 33, 64, 71} {
		for at := range length {
			for b := range 256 {
				s := bytes.Repeat([]byte("a"), length)
				s[at] = byte(b)
				for _, d := range []style{plain, relaxed, canonical, javaStrict} {
					got, err := appendText([]byte("x"), s, d)
					if !utf8.Valid(s) {
						if !errors.Is(err, errStringUTF8) {
							t.Fatalf("%v, %q: %v", d, s, err)
						}
						continue
					}
					want := append(appendText1([]byte(`x"`), s, d), '"')
					if err != nil || !bytes.Equal(got, want) {
						t.Fatalf("%v, %q: %q, %v; want %q", d, s, got, err, want)
					}
				}
			}
		}
	}
}

// appendText1 escapes byte by byte.
func appendText1(dst, s []byte, d style) []byte {
	for i := range s {
		dst = appendEscaped(dst, s[i:i+1], d)
	}
	return dst
}
