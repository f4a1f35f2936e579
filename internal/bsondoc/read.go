package bsondoc

import (
	"bytes"
	"encoding/binary"

	"go.mongodb.org/mongo-driver/v2/bson"
)

const (
	lengthSize   = 4 // the int32 that starts documents, strings and binaries
	minDocument  = lengthSize + 1
	objectIDSize = 12
	uuidSize     = 16

	subtypeOldBinary = 0x02
	subtypeOldUUID   = 0x03
	subtypeUUID      = 0x04
)

// Validate reports whether doc is well-formed BSON down to its last value, and
// exactly as long as it says. It returns nil, or an error that names the field
// and is ErrMalformed or ErrTooDeep. It does not look at the encoding of
// strings: a valid document can still fail to become JSON with ErrInvalidUTF8,
// and with nothing else.
func Validate(doc bson.Raw) error { return checkDocument(doc, false, 1) }

func checkDocument(doc []byte, array bool, depth int) error {
	b, err := body(doc, depth)
	if err != nil {
		return err
	}
	for i := 0; len(b) > 0; i++ {
		t, name, val, rest, err := next(b)
		if err == nil {
			err = checkNested(t, val, depth)
		}
		if err != nil {
			return inElement(array, i, name, err)
		}
		b = rest
	}
	return nil
}

// checkNested looks into a value whose own size has been checked already.
func checkNested(t bson.Type, val []byte, depth int) error {
	switch t {
	case bson.TypeEmbeddedDocument, bson.TypeArray:
		return checkDocument(val, t == bson.TypeArray, depth+1)
	case bson.TypeCodeWithScope:
		_, scope := codeWithScope(val)
		return checkDocument(scope, false, depth+1)
	}
	return nil
}

func inElement(array bool, i int, name []byte, err error) error {
	if array {
		return inIndex(i, err)
	}
	return inField(name, err)
}

// body returns the elements of doc: what lies between its length and its end
// byte. The length must be that of doc itself. Bytes after the end would be lost
// in silence, so they are an error too.
func body(doc []byte, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, ErrTooDeep
	}
	if len(doc) < minDocument {
		return nil, malformed("a document of %d bytes", len(doc))
	}
	if n := int32At(doc); int(n) != len(doc) {
		return nil, malformed("a document says it has %d bytes, but there are %d", n, len(doc))
	}
	if doc[len(doc)-1] != 0 {
		return nil, malformed("a document without its end byte")
	}
	return doc[lengthSize : len(doc)-1], nil
}

// next takes the first element off the elements b, which must not be empty. All
// slices alias b. The size of val fits its type, so the readers below need no
// more checks; what is inside an embedded document has not been looked at. With
// an error, name is the element's name if it could be read.
func next(b []byte) (t bson.Type, name, val, rest []byte, err error) {
	t = bson.Type(b[0])
	n := bytes.IndexByte(b[1:], 0)
	if n < 0 {
		return t, nil, nil, nil, malformed("a field name without an end")
	}
	name, b = b[1:1+n], b[2+n:]
	size, err := valueSize(t, b)
	if err != nil {
		return t, name, nil, nil, err
	}
	// The capacity is cut so that a caller who appends to the value cannot
	// overwrite its neighbour.
	return t, name, b[:size:size], b[size:], nil
}

// wholeValue checks a value that stands alone: it must fill its bytes.
func wholeValue(v bson.RawValue) error {
	n, err := valueSize(v.Type, v.Value)
	if err != nil {
		return err
	}
	if n != len(v.Value) {
		return malformed("%d bytes after the end of a value", len(v.Value)-n)
	}
	return nil
}

// valueSize returns how many bytes of b the value of type t at its start takes.
// It checks everything that the readers below rely on.
func valueSize(t bson.Type, b []byte) (int, error) {
	switch t {
	case bson.TypeNull, bson.TypeUndefined, bson.TypeMinKey, bson.TypeMaxKey:
		return 0, nil
	case bson.TypeBoolean:
		if len(b) > 0 && b[0] > 1 {
			return 0, malformed("a boolean of value %d", b[0])
		}
		return fixed(1, b)
	case bson.TypeInt32:
		return fixed(4, b)
	case bson.TypeDouble, bson.TypeInt64, bson.TypeDateTime, bson.TypeTimestamp:
		return fixed(8, b)
	case bson.TypeObjectID:
		return fixed(objectIDSize, b)
	case bson.TypeDecimal128:
		return fixed(16, b)
	case bson.TypeString, bson.TypeSymbol, bson.TypeJavaScript:
		return stringSize(b)
	case bson.TypeEmbeddedDocument, bson.TypeArray:
		return documentSize(b)
	case bson.TypeBinary:
		return binarySize(b)
	case bson.TypeRegex:
		pattern := bytes.IndexByte(b, 0)
		if pattern < 0 {
			return 0, malformed("a regular expression without an end")
		}
		options := bytes.IndexByte(b[pattern+1:], 0)
		if options < 0 {
			return 0, malformed("regular expression options without an end")
		}
		return pattern + options + 2, nil
	case bson.TypeDBPointer:
		n, err := stringSize(b)
		if err != nil {
			return 0, err
		}
		if _, err := fixed(objectIDSize, b[n:]); err != nil {
			return 0, err
		}
		return n + objectIDSize, nil
	case bson.TypeCodeWithScope:
		return codeWithScopeSize(b)
	}
	return 0, malformed("unknown type 0x%02x", byte(t))
}

func fixed(size int, b []byte) (int, error) {
	if len(b) < size {
		return 0, malformed("a value of %d bytes, but only %d are left", size, len(b))
	}
	return size, nil
}

func stringSize(b []byte) (int, error) {
	if len(b) < lengthSize {
		return 0, malformed("a string without a length")
	}
	n := int32At(b)
	if n < 1 || int(n) > len(b)-lengthSize {
		return 0, malformed("a string of %d bytes, but only %d are left", n, len(b)-lengthSize)
	}
	size := lengthSize + int(n)
	if b[size-1] != 0 {
		return 0, malformed("a string without its end byte")
	}
	return size, nil
}

func documentSize(b []byte) (int, error) {
	if len(b) < lengthSize {
		return 0, malformed("a document without a length")
	}
	n := int32At(b)
	if n < minDocument || int(n) > len(b) {
		return 0, malformed("a document of %d bytes, but only %d are left", n, len(b))
	}
	return int(n), nil
}

func binarySize(b []byte) (int, error) {
	if len(b) < lengthSize+1 {
		return 0, malformed("a binary without a length")
	}
	n, subtype, rest := int32At(b), b[lengthSize], b[lengthSize+1:]
	if n < 0 || int(n) > len(rest) {
		return 0, malformed("a binary of %d bytes, but only %d are left", n, len(rest))
	}
	if subtype == subtypeOldBinary && n > lengthSize {
		if inner := int32At(rest); inner != n-lengthSize {
			return 0, malformed("an old binary of %d bytes in a space for %d", inner, n-lengthSize)
		}
	}
	return lengthSize + 1 + int(n), nil
}

func codeWithScopeSize(b []byte) (int, error) {
	if len(b) < lengthSize {
		return 0, malformed("code with scope without a length")
	}
	total := int32At(b)
	if total < lengthSize || int(total) > len(b) {
		return 0, malformed("code with scope of %d bytes, but only %d are left", total, len(b))
	}
	rest := b[lengthSize:total]
	code, err := stringSize(rest)
	if err != nil {
		return 0, err
	}
	scope, err := documentSize(rest[code:])
	if err != nil {
		return 0, err
	}
	if lengthSize+code+scope != int(total) {
		return 0, malformed("code with scope of %d bytes in a space for %d", lengthSize+code+scope, total)
	}
	return int(total), nil
}

// The readers take a value that valueSize has accepted, whole.

func int32At(b []byte) int32 { return int32(binary.LittleEndian.Uint32(b)) }
func int64At(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) }

func stringBytes(val []byte) []byte { return val[lengthSize : len(val)-1] }

// binaryBytes returns the subtype and the content. Subtype 2 holds a second
// length before its content. As in the driver, four bytes or fewer are taken as
// content: some old writers left the second length out.
func binaryBytes(val []byte) (subtype byte, data []byte) {
	subtype, data = val[lengthSize], val[lengthSize+1:]
	if subtype == subtypeOldBinary && len(data) > lengthSize {
		data = data[lengthSize:]
	}
	return subtype, data
}

// uuidBytes returns the content of a binary if it is a UUID.
func uuidBytes(subtype byte, data []byte) ([]byte, bool) {
	return data, (subtype == subtypeUUID || subtype == subtypeOldUUID) && len(data) == uuidSize
}

func regexBytes(val []byte) (pattern, options []byte) {
	n := bytes.IndexByte(val, 0)
	return val[:n], val[n+1 : len(val)-1]
}

func dbPointer(val []byte) (ns, oid []byte) {
	n := len(val) - objectIDSize
	return stringBytes(val[:n]), val[n:]
}

func codeWithScope(val []byte) (code, scope []byte) {
	val = val[lengthSize:]
	n := lengthSize + int(int32At(val))
	return stringBytes(val[:n]), val[n:]
}

func timestamp(val []byte) (t, i uint32) {
	return binary.LittleEndian.Uint32(val[4:]), binary.LittleEndian.Uint32(val)
}

func decimal(val []byte) (hi, lo uint64) {
	return binary.LittleEndian.Uint64(val[8:]), binary.LittleEndian.Uint64(val)
}
