package mongo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
)

// position is a place in a stream, behind which it is read. The zero value is now.
type position struct {
	// token is the server's name for the place, opaque and passed on byte by byte; nil where the place is a time.
	token bson.Raw
	// time is the time of the place where there is no token, and of the event where ended is set: what is read begins with all that
	// has that time.
	time bson.Timestamp
	// ended says that the token is that of an event that ended a stream: the server takes it for startAfter alone.
	ended bool
	// told says that the next event is about two collections, of which one has been told.
	told bool
}

func (p position) isNow() bool { return p.token == nil && p.time.IsZero() }

// An offset is the version, flags, a time, a token and a sum of all that: a token that was damaged in a store may well be that
// of another place, and what lies between would be missing in silence.
const (
	offsetVersion = 1
	offsetEnded   = 1
	offsetTold    = 2
	offsetHead    = 2 + 8
	offsetSum     = 4
)

var (
	errOffsetDamaged = errors.New("the stored position is damaged")
	errOffsetVersion = errors.New("the stored position was written by another version")
)

func (p position) offset() syncd.Offset {
	out := make([]byte, offsetHead, offsetHead+len(p.token)+offsetSum)
	out[0] = offsetVersion
	if p.ended {
		out[1] |= offsetEnded
	}
	if p.told {
		out[1] |= offsetTold
	}
	binary.BigEndian.PutUint32(out[2:], p.time.T)
	binary.BigEndian.PutUint32(out[6:], p.time.I)
	out = append(out, p.token...)
	return syncd.Offset(binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out)))
}

func parsePosition(o syncd.Offset) (position, error) {
	b := []byte(o)
	if len(b) < offsetHead+offsetSum {
		return position{}, errOffsetDamaged
	}
	b, sum := b[:len(b)-offsetSum], binary.BigEndian.Uint32(b[len(b)-offsetSum:])
	if crc32.ChecksumIEEE(b) != sum {
		return position{}, errOffsetDamaged
	}
	if b[0] != offsetVersion || b[1]&^(offsetEnded|offsetTold) != 0 {
		return position{}, errOffsetVersion
	}
	p := position{
		time:  bson.Timestamp{T: binary.BigEndian.Uint32(b[2:]), I: binary.BigEndian.Uint32(b[6:])},
		ended: b[1]&offsetEnded != 0,
		told:  b[1]&offsetTold != 0,
	}
	if len(b) > offsetHead {
		p.token = bytes.Clone(b[offsetHead:])
		if p.token.Validate() != nil {
			return position{}, errOffsetDamaged
		}
	}
	if p.isNow() || p.ended && p.token == nil {
		return position{}, errOffsetDamaged
	}
	return p, nil
}
