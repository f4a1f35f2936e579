// Package hexid writes ids as hexadecimal digits: the texts of UUIDs and of ObjectIDs, one or two of which every document of a run
// needs. It takes four bytes at a time, which costs a third of what encoding/hex does.
package hexid

import "encoding/binary"

// uuidText has the length of a UUID's text, and its hyphens.
const uuidText = "00000000-0000-0000-0000-000000000000"

// AppendUUID appends the text of a UUID: in lower case, with hyphens.
func AppendUUID(dst []byte, id *[16]byte) []byte {
	dst = append(dst, uuidText...)
	t := (*[len(uuidText)]byte)(dst[len(dst)-len(uuidText):])
	second, third := digits(binary.BigEndian.Uint32(id[4:])), digits(binary.BigEndian.Uint32(id[8:]))
	binary.LittleEndian.PutUint64(t[0:], digits(binary.BigEndian.Uint32(id[:])))
	binary.LittleEndian.PutUint32(t[9:], uint32(second))
	binary.LittleEndian.PutUint32(t[14:], uint32(second>>32))
	binary.LittleEndian.PutUint32(t[19:], uint32(third))
	binary.LittleEndian.PutUint32(t[24:], uint32(third>>32))
	binary.LittleEndian.PutUint64(t[28:], digits(binary.BigEndian.Uint32(id[12:])))
	return dst
}

// AppendObjectID appends the text of an ObjectID.
func AppendObjectID(dst []byte, id *[12]byte) []byte {
	for at := 0; at < len(id); at += 4 {
		dst = binary.LittleEndian.AppendUint64(dst, digits(binary.BigEndian.Uint32(id[at:])))
	}
	return dst
}

// digits returns the eight digits of x, the first one lowest.
func digits(x uint32) uint64 {
	const (
		ones   = 0x0101010101010101
		zeros  = '0' * ones
		carry  = 6 * ones // makes 16 of 10, the first value that is a letter
		letter = 'a' - '0' - 10
	)
	// Each step halves the groups of digits, and brings the first half of each group in front of the second.
	d := uint64(x)
	d = d>>16 | d&0xffff<<32
	d = d>>8&0x000000ff000000ff | d&0x000000ff000000ff<<16
	d = d>>4&0x000f000f000f000f | d&0x000f000f000f000f<<8
	letters := (d + carry) >> 4 & ones
	return d + zeros + letters*letter
}
