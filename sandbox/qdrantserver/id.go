package qdrantserver

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strconv"

	"github.com/dchest/siphash"
	"github.com/qdrant/go-client/qdrant"
)

// pointID is an id in a form that can be a map key and that sorts bytewise as Qdrant sorts: one byte for the
// kind, then the UUID's bytes, or zeros and the number in big-endian order.
type pointID [17]byte

const (
	kindNumber byte = 0
	kindUUID   byte = 1
)

func numberID(n uint64) (id pointID) {
	id[0] = kindNumber
	binary.BigEndian.PutUint64(id[9:], n)
	return id
}

func uuidID(uuid [16]byte) (id pointID) {
	id[0] = kindUUID
	copy(id[1:], uuid[:])
	return id
}

func parseID(pb *qdrant.PointId) (pointID, error) {
	switch option := pb.GetPointIdOptions().(type) {
	case *qdrant.PointId_Num:
		return numberID(option.Num), nil
	case *qdrant.PointId_Uuid:
		uuid, ok := parseUUID(option.Uuid)
		if !ok {
			return pointID{}, invalidArgument("Unable to parse UUID: %s", option.Uuid)
		}
		return uuidID(uuid), nil
	default:
		return pointID{}, invalidArgument("No ID options provided")
	}
}

func parseIDs(pbs []*qdrant.PointId) ([]pointID, error) {
	ids := make([]pointID, len(pbs))
	for i, pb := range pbs {
		id, err := parseID(pb)
		if err != nil {
			return nil, err
		}
		ids[i] = id
	}
	return ids, nil
}

func (id *pointID) number() uint64 { return binary.BigEndian.Uint64(id[9:]) }

func (id *pointID) isUUID() bool { return id[0] == kindUUID }

func (id pointID) String() string {
	if id.isUUID() {
		return string(appendUUID(nil, id[1:]))
	}
	return strconv.FormatUint(id.number(), 10)
}

func (id pointID) proto() *qdrant.PointId {
	if id.isUUID() {
		return qdrant.NewIDUUID(id.String())
	}
	return qdrant.NewIDNum(id.number())
}

func compareIDs(a, b pointID) int { return bytes.Compare(a[:], b[:]) }

// slice is the id's number among total slices.
func (id *pointID) slice(total uint32) uint32 { return uint32(id.hash() % uint64(total)) }

// hash is SipHash-2-4 with a zero key over the UUID's bytes, or over the number in little-endian order: what
// Qdrant promises for slices.
func (id *pointID) hash() uint64 {
	var number [8]byte
	data := id[1:]
	if !id.isUUID() {
		binary.LittleEndian.PutUint64(number[:], id.number())
		data = number[:]
	}
	return siphash.Hash(0, 0, data)
}

// idSet tells first from repeated ids of one request. A Go map would cost more than the lookup of the points
// themselves; ids are near random already, so a table with linear probing is enough.
type idSet struct {
	ids   []pointID
	table []uint32 // 1 + index into ids; 0 means free
	shift int
}

func newIDSet(ids []pointID) *idSet {
	width := bits.Len(uint(2*len(ids)) | 7)
	return &idSet{ids: ids, table: make([]uint32, 1<<width), shift: 64 - width}
}

// add reports whether the i-th id is the first of its value.
func (s *idSet) add(i int) bool {
	id := &s.ids[i]
	hash := binary.LittleEndian.Uint64(id[9:]) ^ bits.RotateLeft64(binary.LittleEndian.Uint64(id[1:]), 31) ^ uint64(id[0])
	mask := len(s.table) - 1
	for slot := int(hash * 0x9e3779b97f4a7c15 >> s.shift); ; slot = (slot + 1) & mask {
		entry := s.table[slot]
		if entry == 0 {
			s.table[slot] = uint32(i) + 1
			return true
		}
		if s.ids[entry-1] == *id {
			return false
		}
	}
}
