package bsondoc

import (
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// AppendKey appends the key form of v to dst: the byte of its BSON type, then
// its bytes as stored. The form is lossless: unlike an id text, it tells 5 from
// "5" and 5.0, so a scan can resume behind exactly that value. It is made of
// arbitrary bytes, not of text, and its order is not the order of MongoDB.
func AppendKey(dst []byte, v bson.RawValue) []byte {
	return append(append(dst, byte(v.Type)), v.Value...)
}

// ParseKey returns the value that [AppendKey] wrote. It checks all of it, since
// a key may come from a file: the error is ErrMalformed or ErrTooDeep. The
// result is a copy.
func ParseKey(key string) (bson.RawValue, error) {
	if key == "" {
		return bson.RawValue{}, fmt.Errorf("parsing key: %w", malformed("it is empty"))
	}
	v := bson.RawValue{Type: bson.Type(key[0]), Value: []byte(key[1:])}
	err := wholeValue(v)
	if err == nil {
		err = checkNested(v.Type, v.Value, 0)
	}
	if err != nil {
		return bson.RawValue{}, fmt.Errorf("parsing key: %w", err)
	}
	return v, nil
}
