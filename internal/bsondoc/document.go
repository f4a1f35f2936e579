package bsondoc

import (
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
)

// Document is a BSON document as the engine sees one: something to look fields
// up in, and to write as JSON. It holds its bytes without copying them; they
// must not change while it is in use. Methods work on a pointer as well, so a
// source can put a whole batch in one []Document and hand out the addresses.
type Document struct{ raw bson.Raw }

var _ syncd.BSONDocument = Document{}

// NewDocument returns the document that raw holds. It checks nothing: damage is
// an error where it is met, or in [Validate].
func NewDocument(raw bson.Raw) Document { return Document{raw: raw} }

// BSON returns the bytes of the document. They must not be changed.
func (d Document) BSON() []byte { return d.raw }

// Size returns how many bytes of BSON the document has.
func (d Document) Size() int { return len(d.raw) }

// Lookup returns the text of the field at path, in the form of [AppendIDText].
// The path is that of the function [Lookup]. A field that is missing, null or
// undefined is not set, and no error. An error says that the document is damaged
// before the field, or that the field has no text because it is not UTF-8.
func (d Document) Lookup(path string) (syncd.Value, error) {
	v, ok, err := find(d.raw, path)
	if err != nil {
		return syncd.Value{}, fmt.Errorf("looking up %q: %w", path, err)
	}
	if !ok {
		return syncd.Value{}, nil
	}
	var buf [64]byte
	b, err := AppendIDText(buf[:0], v)
	if errors.Is(err, ErrNoID) {
		return syncd.Value{}, nil
	}
	if err != nil {
		return syncd.Value{}, fmt.Errorf("looking up %q: %w", path, err)
	}
	return syncd.Value{Text: string(b), Set: true}, nil
}

// AppendJSON is [AppendJSON] of the document.
func (d Document) AppendJSON(dst []byte, dialect Dialect) ([]byte, error) {
	return AppendJSON(dst, d.raw, dialect)
}
