package file

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/syncd-io/syncd"
)

// mark is how far a file was followed, always to the end of a line, and by what the file is known again: digests of its first bytes
// and of those in front of the position. A file that was copied or renamed is the same; one that was cut off, or written
// anew, is not. A mark before the first line is one of any file.
type mark struct {
	position
	head, tail uint64
}

var start = mark{position: position{0, 1}}

// markedBytes is how many bytes a digest is made of.
const markedBytes = 1 << 10

// errOtherFile says that a file is not the one of a mark, or no longer.
var errOtherFile = errors.New("it was cut off or written anew")

// markAt returns the mark of a position in a file.
func markAt(file io.ReaderAt, p position) (mark, error) {
	n := min(p.offset, markedBytes)
	if n == 0 {
		return mark{position: p}, nil
	}
	head, err := digestAt(file, 0, n)
	if err != nil || n == p.offset {
		return mark{p, head, head}, err
	}
	tail, err := digestAt(file, p.offset-n, n)
	return mark{p, head, tail}, err
}

func digestAt(file io.ReaderAt, from, n int64) (uint64, error) {
	var b [markedBytes]byte
	if got, err := file.ReadAt(b[:n], from); int64(got) < n {
		if errors.Is(err, io.EOF) {
			err = errOtherFile
		}
		return 0, err
	}
	sum := sha256.Sum256(b[:n])
	return binary.BigEndian.Uint64(sum[:]), nil
}

// check fails with errOtherFile where a file is not the mark's, or no longer.
func (m mark) check(file io.ReaderAt) error {
	now, err := markAt(file, m.position)
	if err == nil && now != m {
		err = errOtherFile
	}
	return err
}

func (m mark) offset() syncd.Offset {
	b := m.appendKey(nil)
	b = binary.BigEndian.AppendUint64(b, m.head)
	return syncd.Offset(binary.BigEndian.AppendUint64(b, m.tail))
}

// parseMark reads an offset; the empty one is before the first line.
func parseMark(o syncd.Offset) (mark, error) {
	if o == "" {
		return start, nil
	}
	if len(o) != keySize+16 {
		return mark{}, fmt.Errorf("an offset of %d bytes belongs to another source", len(o))
	}
	p, err := parseKey(syncd.Key(o[:keySize]))
	b := []byte(o[keySize:])
	return mark{p, binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}, err
}

// lastLine returns the position behind the last end of a line.
func lastLine(ctx context.Context, file io.Reader) (position, error) {
	p, at := start.position, int64(0)
	b := make([]byte, bufferSize)
	for {
		if err := ctx.Err(); err != nil {
			return p, err
		}
		n, err := file.Read(b)
		if i := bytes.LastIndexByte(b[:n], '\n'); i >= 0 {
			p.offset = at + int64(i) + 1
			p.number += int64(bytes.Count(b[:n], []byte{'\n'}))
		}
		at += int64(n)
		switch {
		case errors.Is(err, io.EOF):
			return p, nil
		case err != nil:
			return p, err
		}
	}
}
