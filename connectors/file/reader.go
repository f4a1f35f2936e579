package file

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
)

// position is where a document begins, and which of its file it is: the line of an NDJSON file, the document's number in a
// BSON file, both from 1.
type position struct {
	offset int64
	number int64
}

// A key is a position, as two numbers of eight bytes.
const keySize = 16

func (p position) appendKey(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.offset))
	return binary.BigEndian.AppendUint64(dst, uint64(p.number))
}

func parseKey(k syncd.Key) (position, error) {
	if len(k) != keySize {
		return position{}, fmt.Errorf("a key of %d bytes belongs to another source", len(k))
	}
	p := position{
		offset: int64(binary.BigEndian.Uint64([]byte(k[:8]))),
		number: int64(binary.BigEndian.Uint64([]byte(k[8:]))),
	}
	if p.offset < 0 || p.number < 1 {
		return position{}, errors.New("a key belongs to another source")
	}
	return p, nil
}

// item is one document, or the place of one that can't be read.
type item struct {
	position
	doc bson.Raw // valid until the next call of next
	err error
}

// reader reads documents one after another.
type reader interface {
	// next returns the next document, or io.EOF behind the last. Any other error ends the file.
	next() (item, error)
	// skip is next without looking into the document.
	skip() error
}

// bufferSize is how much is read from a file at once.
const bufferSize = 256 << 10

// stream is a file that knows where it is.
type stream struct {
	name   string
	size   int64 // when it was opened, and what is written later is not read; more than anything where it is not known
	onDisk int64 // bytes
	buf    *bufio.Reader
	from   func(offset int64) io.Reader // reads on from somewhere else; nil where there is only a way on
	position
}

func newStream(name string, file io.ReaderAt, size int64) *stream {
	from := func(offset int64) io.Reader { return io.NewSectionReader(file, offset, size-offset) }
	return &stream{
		name: name, size: size, onDisk: size, position: position{0, 1}, from: from,
		buf: bufio.NewReaderSize(io.NewSectionReader(file, 0, size), bufferSize),
	}
}

// newPackedStream reads what was packed. stopped is asked while much is read only to get somewhere.
func newPackedStream(name string, u *unpacker, onDisk int64, stopped func() error) *stream {
	return &stream{
		name: name, size: math.MaxInt64, onDisk: onDisk, position: position{0, 1},
		buf: bufio.NewReaderSize(interruptible{u, stopped}, bufferSize),
	}
}

var errCutOff = errors.New("the file has changed")

// end is what there is behind the last document: io.EOF, unless the file was longer.
func (s *stream) end() error {
	if s.from != nil && s.offset < s.size {
		return fmt.Errorf("%s: %w: it ends at byte %d, and had %d bytes when it was opened", s.name, errCutOff, s.offset, s.size)
	}
	return io.EOF
}

// seek goes on reading at p. What the buffer holds is used where possible, so that documents close to each other are read
// with few calls.
func (s *stream) seek(p position) error {
	switch gap := p.offset - s.offset; {
	case gap >= 0 && (s.from == nil || gap <= int64(s.buf.Buffered())):
		if _, err := io.CopyN(io.Discard, s.buf, gap); err != nil {
			return err
		}
	case s.from == nil:
		return errors.New("there is no way back in a compressed file")
	default:
		s.buf.Reset(s.from(p.offset))
	}
	s.position = p
	return nil
}
