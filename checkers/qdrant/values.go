package qdrant

import (
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/syncd-io/syncd"
)

// A payload is read by hand where it is written as Qdrant writes it: an entry is a key and a value, a value is one field, nothing
// is there that was not selected, and what is selected is no object or array as a whole. An entry that is anything else is read by
// the client library, so that what it means, and whether it means anything, is the library's to say.

// The tags of fields in json_with_int.proto, and of a map's entries.
const (
	entryKey   = 1<<3 | byte(protowire.BytesType)
	entryValue = 2<<3 | byte(protowire.BytesType)

	structEntry  = 1<<3 | byte(protowire.BytesType) // of Struct
	valueNull    = 1<<3 | byte(protowire.VarintType)
	valueDouble  = 2<<3 | byte(protowire.Fixed64Type)
	valueInteger = 3<<3 | byte(protowire.VarintType)
	valueString  = 4<<3 | byte(protowire.BytesType)
	valueBool    = 5<<3 | byte(protowire.VarintType)
	valueStruct  = 6<<3 | byte(protowire.BytesType)
)

// name is one in the paths of a selection: of a payload's key, or of a field of the object that another name has.
type name struct {
	text   string
	ends   []int  // the indexes of the paths that end here
	fields []name // the names that follow
}

// addName adds what is left of a path to names.
func addName(names []name, path []string, index int) []name {
	n := findName(names, path[0])
	if n == nil {
		names = append(names, name{text: path[0]})
		n = &names[len(names)-1]
	}
	if len(path) == 1 {
		n.ends = append(n.ends, index)
	} else {
		n.fields = addName(n.fields, path[1:], index)
	}
	return names
}

// findName returns nil where none is text. There are few, and Qdrant's come in any order.
func findName[T string | []byte](names []name, text T) *name {
	for i := range names {
		if names[i].text == string(text) {
			return &names[i]
		}
	}
	return nil
}

// read sets dst to the texts of what is selected of a RetrievedPoint; both have the same length. Its error is that of a message
// that can't be read.
func (s *selection) read(point []byte, dst []syncd.Value) error {
	clear(dst)
	return eachField(point, func(number protowire.Number, entry []byte) error {
		if number != retrievedPayload || readEntry(s.names, entry, dst) {
			return nil
		}
		return s.readByLibrary(entry, dst)
	})
}

// readByLibrary reads an entry of a payload as that of an object, which is written in the same way. The limit of its depth is that
// which the entry has in an answer.
func (s *selection) readByLibrary(entry []byte, dst []syncd.Value) error {
	var payload qdrant.Struct
	object := protowire.AppendBytes([]byte{structEntry}, entry)
	if err := (proto.UnmarshalOptions{RecursionLimit: protowire.DefaultRecursionLimit - 1}).Unmarshal(object, &payload); err != nil {
		return unreadable(err)
	}
	for i, path := range s.paths {
		if _, ok := payload.GetFields()[path[0]]; ok {
			dst[i] = valueText(lookupValue(payload.GetFields(), path))
		}
	}
	return nil
}

// readEntry reads an entry of a map by hand. ok is false where that can't be done.
func readEntry(names []name, entry []byte, dst []syncd.Value) (ok bool) {
	text, value, ok := cut(entry, entryKey)
	if !ok {
		return false
	}
	n := findName(names, text)
	if n == nil {
		return false
	}
	value, ok = cutAll(value, entryValue)
	return ok && n.read(value, dst)
}

// read reads a Value by hand. ok is false where that can't be done.
func (n *name) read(value []byte, dst []syncd.Value) (ok bool) {
	if object, ok := cutAll(value, valueStruct); ok && len(n.ends) == 0 {
		n.set(dst, syncd.Value{})
		for len(object) > 0 {
			var entry []byte
			if entry, object, ok = cut(object, structEntry); !ok || !readEntry(n.fields, entry, dst) {
				return false
			}
		}
		return true
	}
	v, ok := readScalar(value)
	if ok {
		n.set(dst, v)
	}
	return ok
}

// set sets what has the name, and forgets the fields of what had it before.
func (n *name) set(dst []syncd.Value, v syncd.Value) {
	for _, i := range n.ends {
		dst[i] = v
	}
	for i := range n.fields {
		n.fields[i].set(dst, syncd.Value{})
	}
}

// readScalar gives the text of a Value that is one field, none of them an object or an array.
func readScalar(b []byte) (v syncd.Value, ok bool) {
	if len(b) == 0 {
		return v, false
	}
	tag, b := b[0], b[1:]
	switch tag {
	case valueString:
		text, n := protowire.ConsumeBytes(b)
		if n != len(b) || !utf8.Valid(text) {
			return v, false
		}
		return syncd.Value{Text: string(text), Set: true}, true
	case valueDouble:
		bits, n := protowire.ConsumeFixed64(b)
		return syncd.Value{Text: doubleText(math.Float64frombits(bits)), Set: true}, n == len(b)
	case valueNull, valueInteger, valueBool:
		i, n := protowire.ConsumeVarint(b)
		switch tag {
		case valueInteger:
			v = syncd.Value{Text: strconv.FormatInt(int64(i), 10), Set: true}
		case valueBool:
			v = syncd.Value{Text: strconv.FormatBool(protowire.DecodeBool(i)), Set: true}
		}
		return v, n == len(b)
	}
	return v, false
}

// cut reads a field that has a length and the tag, and what is behind it.
func cut(b []byte, tag byte) (value, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != tag {
		return nil, nil, false
	}
	value, n := protowire.ConsumeBytes(b[1:])
	if n < 0 {
		return nil, nil, false
	}
	return value, b[1+n:], true
}

// cutAll reads a field as cut does, if nothing is behind it.
func cutAll(b []byte, tag byte) (value []byte, ok bool) {
	value, rest, ok := cut(b, tag)
	return value, ok && len(rest) == 0
}
