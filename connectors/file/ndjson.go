package file

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/extjson"
)

// maxLine bounds the memory that a line takes. A document of 16 MiB becomes longer as text: base64 adds a third, and the
// canonical form of an array of small numbers is about three times its BSON.
const maxLine = 64 << 20

// ndjsonReader reads a file of Extended JSON, one document per line. Empty lines are none.
type ndjsonReader struct {
	*stream
	maxLine int
	long    []byte // a line that is longer than the buffer; reused
	doc     []byte // reused
}

var (
	byteOrderMark = []byte("\xef\xbb\xbf")
	errTooLong    = errors.New("the line is too long")
)

func (r *ndjsonReader) next() (item, error) {
	for {
		at := r.position
		line, err := r.line()
		if err != nil && !errors.Is(err, errTooLong) {
			return item{}, err
		}
		if err == nil {
			if line = bytes.TrimSpace(line); len(line) == 0 {
				continue
			}
			if err := r.checkForm(at, line); err != nil {
				return item{}, err
			}
		}
		it := item{position: at}
		if err == nil {
			it.doc, err = r.parse(line)
		}
		if err != nil {
			if errors.Is(err, errTooLong) {
				err = fmt.Errorf("%w: it has %d bytes, and %d are read", err, r.offset-at.offset, r.maxLine)
			}
			it.err = fmt.Errorf("%s:%d: %w", r.name, at.number, err)
		}
		return it, nil
	}
}

func (r *ndjsonReader) skip() error {
	for {
		line, err := r.line()
		if errors.Is(err, errTooLong) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(line)) > 0 {
			return nil
		}
	}
}

// line returns the next line, valid until the next call. After errTooLong the line has been read past.
func (r *ndjsonReader) line() ([]byte, error) {
	start := r.offset
	line, err := r.buf.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line, err = r.longLine(line)
	} else {
		r.offset += int64(len(line))
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, errTooLong) {
		return nil, fmt.Errorf("%s:%d: %w", r.name, r.number, err)
	}
	if errors.Is(err, io.EOF) {
		if err := r.end(); r.offset == start || !errors.Is(err, io.EOF) {
			return nil, err // a line that was cut off is none
		}
	}
	r.number++
	if errors.Is(err, errTooLong) {
		return nil, err
	}
	if start == 0 {
		line = bytes.TrimPrefix(line, byteOrderMark)
	}
	return line, nil // the last one may lack its end
}

// longLine puts together a line of which the buffer held only the beginning. As with ReadSlice, io.EOF stands beside the last line of a
// file that lacks its end.
func (r *ndjsonReader) longLine(part []byte) ([]byte, error) {
	r.long = r.long[:0]
	tooLong := false
	for {
		r.offset += int64(len(part))
		if tooLong = tooLong || len(r.long)+len(part) > r.maxLine; !tooLong {
			r.long = append(r.long, part...)
		}
		var err error
		if part, err = r.buf.ReadSlice('\n'); errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		r.offset += int64(len(part))
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			return nil, err
		case tooLong || len(r.long)+len(part) > r.maxLine:
			r.long = nil
			return nil, errTooLong
		}
		r.long = append(r.long, part...)
		return r.long, err
	}
}

// checkForm finds files that are JSON but not one document per line, which would otherwise be as many errors as lines.
func (r *ndjsonReader) checkForm(at position, line []byte) error {
	switch {
	case at.number != 1:
	case at.offset == 0 && checkHead(r.name, line) != nil:
		return checkHead(r.name, line)
	case line[0] == '[':
		return syncd.Hint(fmt.Errorf("%s: the file is a JSON array, not one document per line", r.name),
			"export it without --jsonArray, or convert it: jq -c '.[]'")
	case string(line) == "{":
		return syncd.Hint(fmt.Errorf("%s: the file has documents of several lines, not one document per line", r.name),
			"export it without --pretty, or convert it: jq -c .")
	}
	return nil
}

// parse reads one document, which is valid until the next call.
func (r *ndjsonReader) parse(line []byte) (bson.Raw, error) {
	doc, ok := extjson.Append(r.doc[:0], line)
	if r.doc = doc; ok {
		return doc, nil
	}
	return extjson.Parse(line)
}
