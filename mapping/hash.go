package mapping

import (
	"crypto/sha1" //nolint:gosec // UUIDv5 is defined on SHA-1 (RFC 9562); nothing here is a secret
	"encoding"
	"encoding/binary"
)

// hashed returns the first 16 bytes of the SHA-1 of *buf, behind which it writes. It is a fourth faster than sha1.Sum, which takes a
// text over piece by piece and pads it in further memory: whole blocks are hashed where they are, and the state behind the last block
// is the sum.
func hashed(buf *[]byte) [16]byte {
	if !tellsState {
		sum := sha1.Sum(*buf) //nolint:gosec // see the import
		return [16]byte(sum[:])
	}
	return hashedBlocks(buf)
}

// tellsState says whether the library tells the state of a hash in the form that is read here. That form is its own affair, and ids
// must be right with any version of it.
var tellsState = func() bool {
	text := []byte("the state of a hash")
	sum := sha1.Sum(text) //nolint:gosec // see the import
	return hashedBlocks(&text) == [16]byte(sum[:])
}()

// hashedBlocks is hashed where the library tells the state.
func hashedBlocks(buf *[]byte) (sum [16]byte) {
	b := append(*buf, 0x80)
	for len(b)%sha1.BlockSize != sha1.BlockSize-8 {
		b = append(b, 0)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(len(*buf))*8)
	*buf = b
	h := sha1.New() //nolint:gosec // see the import
	h.Write(b)
	state, ok := h.(encoding.BinaryAppender)
	if !ok {
		return sum
	}
	var room [128]byte
	const magic = 4 // bytes before the five words of the state
	told, err := state.AppendBinary(room[:0])
	if err != nil || len(told) < magic+len(sum) {
		return sum
	}
	return [16]byte(told[magic:])
}
