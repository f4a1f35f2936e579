package postgres

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/syncd-io/syncd"
)

// A key is PostgreSQL's text of each column of the key, each with an end. PostgreSQL's texts hold no NUL.
const keyEnd = '\x00'

// parseKey returns the columns' texts.
func parseKey(key syncd.Key, columns int) ([]string, error) {
	parts := strings.Split(string(key), string(rune(keyEnd)))
	if len(parts) != columns+1 || parts[columns] != "" {
		return nil, fmt.Errorf("a key of %d columns where the collection's key has %d: the collection was divided by another key", len(parts)-1, columns)
	}
	return parts[:columns], nil
}

// errNullKey is why a row has no usable id.
var errNullKey = fmt.Errorf("a column of the key is NULL: %w", syncd.ErrNoID)

// appendID appends the id's text: that of the key's only column as it is, or those of several with commas between, in which a comma is
// %2C and a percent sign %25, so that no two keys have one id. values are PostgreSQL's texts.
func appendID(dst []byte, kinds []kind, values [][]byte) ([]byte, error) {
	if len(kinds) == 1 {
		return kinds[0].appendIDPart(dst, values[0])
	}
	start := len(dst)
	var err error
	for i, k := range kinds {
		if i > 0 {
			dst = append(dst, ',')
		}
		from := len(dst)
		if dst, err = k.appendIDPart(dst, values[i]); err != nil {
			return dst[:start], err
		}
		if text := dst[from:]; bytes.ContainsAny(text, "%,") {
			dst = append(dst[:from], escaping.Replace(string(text))...)
		}
	}
	return dst, nil
}

// appendIDPart appends the text of a key's column. JSON stays JSON, so that the text "1" is not the number.
func (k kind) appendIDPart(dst, raw []byte) ([]byte, error) {
	if k.form == formJSON {
		return appendCompact(dst, raw)
	}
	return k.appendText(dst, raw)
}

var (
	escaping   = strings.NewReplacer("%", "%25", ",", "%2C")
	unescaping = strings.NewReplacer("%2C", ",", "%25", "%")
)

// parseID returns the texts of the columns, not yet PostgreSQL's, that an id's text may be of.
func parseID(id string, columns int) ([]string, bool) {
	if columns == 1 {
		return []string{id}, true
	}
	parts := strings.Split(id, ",")
	if len(parts) != columns {
		return nil, false
	}
	for i := range parts {
		parts[i] = unescaping.Replace(parts[i])
	}
	return parts, true
}
