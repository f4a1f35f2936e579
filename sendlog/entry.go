package sendlog

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io"
	"math"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
)

// entry is what is recorded of one document.
type entry struct {
	attempts uint32
	last     uint32 // seconds since 1970, until the year 2106
	version  uint64 // the hash of the document's version when it was last sent
}

const sizeOfEntry = 4 + 4 + 8

// deleted is the version of a document whose delete was sent. No document has it, so that one that is inserted again later is sent.
var deleted = syncd.Value{Text: "\x00deleted", Set: true}

func isDelete(c *syncd.Change) bool { return c.Operation == syncd.Delete || c.Verdict == syncd.Orphan }

// versionOf is the hash of the version by which a change is recorded.
func versionOf(rule *mapping.Rule, c *syncd.Change) uint64 {
	if isDelete(c) {
		return hash(deleted)
	}
	return hash(rule.DocumentVersion(c))
}

var errEntry = errors.New("an entry does not have the size that it should")

func decode(value []byte) (entry, error) {
	if len(value) != sizeOfEntry {
		return entry{}, errEntry
	}
	return entry{binary.BigEndian.Uint32(value), binary.BigEndian.Uint32(value[4:]), binary.BigEndian.Uint64(value[8:])}, nil
}

func (e entry) encode() []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, sizeOfEntry), e.attempts)
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(b, e.last), e.version)
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

// hash is a document's version in 8 bytes, and 0 for a document that has none. A new version that has the old one's hash, one in
// 2^64, is taken for the old one; then the document is left alone until its next change.
func hash(version syncd.Value) uint64 {
	if !version.Set {
		return 0
	}
	h := fnv.New64a()
	_, _ = io.WriteString(h, version.Text) // never fails
	return h.Sum64()
}
