package file

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/internal/bsondoc"
)

// A BSON document has at least its length and its end byte. A stored one has at most 16 MiB (Manual, "MongoDB Limits and
// Thresholds"), to which the server itself may add 16 KiB; so more than that is a broken length, and no memory is taken for it.
const (
	lengthSize  = 4
	minDocument = lengthSize + 1
	maxDocument = 16<<20 + 16<<10
)

// bsonReader reads a file of BSON documents, one right behind the other.
type bsonReader struct {
	*stream
	doc []byte // reused
}

func (r *bsonReader) next() (item, error) {
	n, err := r.length()
	if err != nil {
		return item{}, err
	}
	if cap(r.doc) < n {
		r.doc = make([]byte, n)
	}
	doc := r.doc[:n]
	if _, err := io.ReadFull(r.buf, doc); err != nil {
		return item{}, cmp.Or(r.alien(doc), r.broken(err))
	}
	it := item{position: r.position, doc: doc}
	if err := bsondoc.Validate(bson.Raw(doc)); err != nil {
		if alien := r.alien(doc); alien != nil {
			return item{}, alien
		}
		it.doc, it.err = nil, fmt.Errorf("%s: document %d at byte %d: %w", r.name, r.number, r.offset, err)
	}
	r.advance(n)
	return it, nil
}

func (r *bsonReader) skip() error {
	n, err := r.length()
	if err != nil {
		return err
	}
	if _, err := r.buf.Discard(n); err != nil {
		return r.broken(err)
	}
	r.advance(n)
	return nil
}

func (r *bsonReader) advance(n int) {
	r.offset += int64(n)
	r.number++
}

// length returns how long the next document is. That many bytes are left in the file.
func (r *bsonReader) length() (int, error) {
	head, err := r.buf.Peek(lengthSize)
	if len(head) == 0 && errors.Is(err, io.EOF) {
		return 0, r.end()
	}
	if err != nil {
		return 0, r.broken(err)
	}
	n := int64(int32(binary.LittleEndian.Uint32(head)))
	switch {
	case n < minDocument || n > maxDocument:
		return 0, cmp.Or(r.alien(head), fmt.Errorf("%s: no document begins at byte %d: %d is not the length of one", r.name, r.offset, n))
	case n > r.size-r.offset:
		return 0, cmp.Or(r.alien(head), r.broken(io.ErrUnexpectedEOF))
	}
	return int(n), nil
}

// alien says what the file is, if its first bytes tell that it is no BSON.
func (r *bsonReader) alien(head []byte) error {
	if r.offset > 0 {
		return nil
	}
	return checkHead(r.name, head)
}

func (r *bsonReader) broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s: the file ends within document %d, which begins at byte %d: %w", r.name, r.number, r.offset, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("%s: at byte %d: %w", r.name, r.offset, err)
}
