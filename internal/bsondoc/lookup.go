package bsondoc

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Lookup finds the value at path in doc. The result aliases doc.
//
// At each level a field whose name is all that is left of the path wins, dots
// included; otherwise the path is split at its first dot, and the field of that
// name must be an embedded document or an array. A step into an array is the
// position of an element in decimal. Where a name occurs twice, the first one
// counts.
//
// Lookup looks no further than it must, so it finds a value in front of a
// damaged part; where damage is in its way, it reports false, as for a field
// that is not there. [Document.Lookup] tells the two apart.
func Lookup(doc bson.Raw, path string) (bson.RawValue, bool) {
	v, ok, _ := find(doc, path)
	return v, ok
}

// ID is Lookup of the path _id. It finds at once what most documents begin with: an ObjectID.
func ID(doc bson.Raw) (bson.RawValue, bool) {
	const (
		head = "\x07_id\x00" // the type and the name
		from = lengthSize + len(head)
		to   = from + objectIDSize
	)
	if n := len(doc); n > to && int(int32At(doc)) == n && doc[n-1] == 0 && string(doc[lengthSize:from]) == head {
		return bson.RawValue{Type: bson.TypeObjectID, Value: doc[from:to:to]}, true
	}
	return Lookup(doc, "_id")
}

func find(doc []byte, path string) (bson.RawValue, bool, error) {
	array := false
	for depth := 1; ; depth++ {
		v, rest, err := step(doc, path, array, depth)
		switch {
		case err != nil || v.Type == 0:
			return bson.RawValue{}, false, err
		case rest == "":
			return v, true, nil
		case v.Type != bson.TypeEmbeddedDocument && v.Type != bson.TypeArray:
			return bson.RawValue{}, false, nil
		}
		// The separator stays on rest, so that it tells "a." (a field with an
		// empty name inside a) from "a".
		doc, path, array = v.Value, rest[1:], v.Type == bson.TypeArray
	}
}

// step finds the value that path leads to in one document or array, and what is
// left of the path, its dot included. A zero value says that there is none.
func step(doc []byte, path string, array bool, depth int) (v bson.RawValue, rest string, err error) {
	b, err := body(doc, depth)
	if err != nil {
		return v, "", err
	}
	head, dotted := path, false
	if dot := strings.IndexByte(path, '.'); dot >= 0 {
		head, dotted = path[:dot], true
	}
	index := 0
	if array {
		var ok bool
		if index, ok = arrayIndex(head); !ok {
			return v, "", nil
		}
	}
	for i := 0; len(b) > 0; i++ {
		t, name, val, after, err := next(b)
		if err != nil {
			return bson.RawValue{}, "", inElement(array, i, name, err)
		}
		b = after
		switch {
		case array:
			if i == index {
				return bson.RawValue{Type: t, Value: val}, path[len(head):], nil
			}
		case string(name) == path:
			return bson.RawValue{Type: t, Value: val}, "", nil
		case dotted && v.Type == 0 && string(name) == head:
			// Not yet the answer: a later field may have the whole path as its
			// name.
			v, rest = bson.RawValue{Type: t, Value: val}, path[len(head):]
		}
	}
	return v, rest, nil
}

// arrayIndex reads the position of an array element as MongoDB spells it, that
// is, without sign and without leading zeros.
func arrayIndex(s string) (int, bool) {
	const maxDigits = 8 // a document of 16 MB cannot hold more elements
	if s == "" || len(s) > maxDigits || s[0] == '0' && s != "0" {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}

// Repeats reports whether doc has more than one field of that name at its top. It looks no further than any damage.
func Repeats(doc bson.Raw, name string) bool {
	b, err := body(doc, 1)
	if err != nil {
		return false
	}
	for n := 0; len(b) > 0; {
		_, found, _, after, err := next(b)
		if err != nil {
			return false
		}
		if string(found) == name {
			if n++; n > 1 {
				return true
			}
		}
		b = after
	}
	return false
}
