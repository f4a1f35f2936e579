package sendlog

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
)

// entry is what is recorded of one document.
type entry struct {
	version  uint64
	attempts uint32
	last     uint32 // seconds since 1970, until the year 2106
}

// deleted is the version of a document whose delete was sent. No document has it, so that one that is inserted again later is sent.
var deleted = syncd.Value{Text: "\x00deleted", Set: true}

func isDelete(c *syncd.Change) bool { return c.Operation == syncd.Delete || c.Verdict == syncd.Orphan }

// versionOf is the version by which a change is recorded.
func versionOf(rule *mapping.Rule, c *syncd.Change) syncd.Value {
	if isDelete(c) {
		return deleted
	}
	return rule.DocumentVersion(c)
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

// expired reports whether the entry is of a delete that was last sent longer than keepDeletes ago.
func (e entry) expired(now time.Time) bool {
	return e.version == hash(deleted) && now.Unix()-int64(e.last) > int64(keepDeletes/time.Second)
}

// hash is a document's version in 8 bytes: FNV-1a of its text, and 0 for a document that has none. A new version that has the old
// one's hash, one in 2^64, is taken for the old one; then the document is left alone until its next change.
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
