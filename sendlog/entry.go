package attempts

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/syncd-io/syncd"
)

// entry is what is recorded of one document.
type entry struct {
	version  uint64
	attempts uint32
	last     uint32 // seconds since 1970, until the year 2106
}

var errEntry = errors.New("an entry is cut off")

func decode(value []byte) (entry, error) {
	n, size := binary.Uvarint(value)
	if size <= 0 || len(value) < size+8 {
		return entry{}, errEntry
	}
	last, length := binary.Uvarint(value[size+8:])
	if length <= 0 {
		return entry{}, errEntry
	}
	return entry{
		version: binary.BigEndian.Uint64(value[size:]), attempts: uint32(min(n, math.MaxUint32)), last: uint32(min(last, math.MaxUint32)),
	}, nil
}

func (e entry) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(e.attempts))
	dst = binary.BigEndian.AppendUint64(dst, e.version)
	return binary.AppendUvarint(dst, uint64(e.last))
}

// sent is the entry after one more send of that version.
func (e entry) sent(version uint64, now time.Time) entry {
	if e.version != version {
		e.attempts = 0
	}
	if e.attempts < math.MaxUint32 {
		e.attempts++
	}
	e.version, e.last = version, uint32(now.Unix())
	return e
}

// hash is a document's version in 8 bytes: FNV-1a of its text, and 0 for a document that has none. That one of 2^64 changes
// goes unnoticed is no matter here.
func hash(version syncd.Value) uint64 {
	if !version.Set {
		return 0
	}
	h := uint64(14695981039346656037)
	for i := range len(version.Text) {
		h = (h ^ uint64(version.Text[i])) * 1099511628211
	}
	return h
}
