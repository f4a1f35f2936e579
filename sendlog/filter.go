package sendlog

import (
	"encoding/binary"
	"math/bits"

	"github.com/google/uuid"
)

// filter is a Bloom filter over point ids: what it does not have is not recorded; of what is not recorded it has about one
// in a hundred. Ids are hashes already, so their own bytes choose the bits.
type filter struct {
	words []uint64
	mask  uint64 // of a bit's number
}

const (
	bitsPerID = 10
	probes    = 6
)

func newFilter(ids int) *filter {
	size := uint64(1) << bits.Len64(uint64(max(ids, 64))*bitsPerID-1)
	return &filter{words: make([]uint64, size/64), mask: size - 1}
}

func (f *filter) add(id uuid.UUID) {
	at, step := halves(id)
	for range probes {
		bit := at & f.mask
		f.words[bit/64] |= 1 << (bit % 64)
		at += step
	}
}

func (f *filter) mayHave(id uuid.UUID) bool {
	at, step := halves(id)
	for range probes {
		bit := at & f.mask
		if f.words[bit/64]&(1<<(bit%64)) == 0 {
			return false
		}
		at += step
	}
	return true
}

// halves turns an id around so that its version and variant, which are always the same, are not among the low bits.
func halves(id uuid.UUID) (at, step uint64) {
	return binary.LittleEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:]) | 1
}
