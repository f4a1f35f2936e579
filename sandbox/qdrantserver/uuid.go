package qdrantserver

import "strings"

// parseUUID accepts exactly the texts that Qdrant accepts as a UUID, hex digits of either case:
//
//	550e8400e29b41d4a716446655440000
//	550e8400-e29b-41d4-a716-446655440000
//	{550e8400-e29b-41d4-a716-446655440000}
//	urn:uuid:550e8400-e29b-41d4-a716-446655440000
//
// The prefix must be lower case, braces go only with hyphens, and any version and variant is fine. The usual Go
// parser is laxer (it takes URN:UUID: and any two bytes as braces), so a test server that used it would hide a
// client's mistakes.
func parseUUID(text string) (id [16]byte, ok bool) {
	switch len(text) {
	case 32:
		return id, decodeHex(id[:], text)
	case 36:
	case 38:
		if text[0] != '{' || text[37] != '}' {
			return id, false
		}
		text = text[1:37]
	case 45:
		if text, ok = strings.CutPrefix(text, "urn:uuid:"); !ok {
			return id, false
		}
	default:
		return id, false
	}
	if text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return id, false
	}
	ok = decodeHex(id[0:4], text[0:8]) && decodeHex(id[4:6], text[9:13]) && decodeHex(id[6:8], text[14:18]) &&
		decodeHex(id[8:10], text[19:23]) && decodeHex(id[10:16], text[24:36])
	return id, ok
}

// decodeHex fills dst from twice as many digits. It is written out because encoding/hex wants bytes, and a
// conversion would allocate for every id of a batch.
func decodeHex(dst []byte, text string) bool {
	for i := range dst {
		high, low := hexDigit(text[2*i]), hexDigit(text[2*i+1])
		if high|low > 0xf {
			return false
		}
		dst[i] = high<<4 | low
	}
	return true
}

func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	default:
		return 0xff
	}
}

const uuidTextLen = 36

// appendUUID appends the one form in which Qdrant returns UUIDs: lower case with hyphens.
func appendUUID(dst []byte, id []byte) []byte {
	const digits = "0123456789abcdef"
	for i, b := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = append(dst, digits[b>>4], digits[b&0xf])
	}
	return dst
}
