package mapping

import (
	"bytes"
	"crypto/sha1"
	"testing"
)

// TestHashed holds it to the library's own sum, for texts that end anywhere in a block.
func TestHashed(t *testing.T) {
	if !tellsState {
		t.Error("crypto/sha1 does not tell its state any more: ids are right, and take longer to make")
	}
	var buf []byte
	for n := range 4 * sha1.BlockSize {
		text := bytes.Repeat([]byte{byte(n), 0, 0x80}, n)[:n]
		buf = append(buf[:0], text...) // over what the text before left there
		want := sha1.Sum(text)
		if got := hashed(&buf); !bytes.Equal(got[:], want[:len(got)]) {
			t.Errorf("%d bytes: %x, want %x", n, got, want[:len(got)])
		}
		if !bytes.Equal(buf[:n], text) {
			t.Errorf("%d bytes: the text has changed", n)
		}
	}
	// The race detector keeps the compiler from having the hash on the stack; without it there is no allocation.
	if n := testing.AllocsPerRun(100, func() {
		buf = append(buf[:0], "text"...)
		hashed(&buf)
	}); n > 1 {
		t.Errorf("%v allocations", n)
	}
}
