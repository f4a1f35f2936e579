package file

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/syncd-io/syncd"
)

// packing is a way to compress a file.
type packing struct {
	ext    string
	magic  []byte // the first bytes
	unpack func(r io.Reader) (io.ReadCloser, error)
}

// packings are those that are read; the first is none.
var packings = []packing{
	{unpack: func(r io.Reader) (io.ReadCloser, error) { return io.NopCloser(r), nil }},
	{ext: ".gz", magic: []byte{0x1f, 0x8b, 0x08}, unpack: func(r io.Reader) (io.ReadCloser, error) {
		return gzip.NewReader(bufio.NewReaderSize(r, packedBufferSize))
	}},
	{ext: ".zst", magic: []byte{0x28, 0xb5, 0x2f, 0xfd}, unpack: func(r io.Reader) (io.ReadCloser, error) {
		// With one goroutine the decoder needs none of its own. 128 MiB is what zstd itself allows without being asked for more.
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}},
}

// packedBufferSize is how much is read from a compressed file at once.
const packedBufferSize = 64 << 10

// open opens a file for reading what was packed.
func (p packing) open(path string) (*unpacker, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	u := &unpacker{packing: p, file: file}
	if err := u.begin(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), file.Close())
	}
	return u, nil
}

// unpacker reads what was packed, from its beginning to its end.
type unpacker struct {
	packing
	file    *os.File
	content io.ReadCloser
}

func (u *unpacker) begin() error {
	info, err := u.file.Stat()
	switch {
	case err != nil:
		return err
	case info.Size() == 0 && u.ext != "": // even nothing has a few bytes when it is compressed
		return u.explain(io.EOF)
	}
	if u.content, err = u.unpack(u.file); err != nil {
		return u.explain(err)
	}
	return nil
}

func (u *unpacker) Read(p []byte) (int, error) {
	n, err := u.content.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = u.explain(err)
	}
	return n, err
}

// explain says of the errors of a decoder what they mean.
func (u *unpacker) explain(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the compressed file is cut off: %w", io.ErrUnexpectedEOF)
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, zstd.ErrMagicMismatch):
		return syncd.Hint(fmt.Errorf("not compressed as %s says: %w", u.ext, err), "name the file by what it is")
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrWindowSizeTooSmall):
		return syncd.Hint(err, "compress it again without --long")
	}
	return err
}

// Close closes the file.
func (u *unpacker) Close() error {
	_ = u.content.Close() // it was only read
	return u.file.Close()
}

// interruptible is a reader that fails as soon as it is asked to stop.
type interruptible struct {
	io.Reader
	stopped func() error
}

func (r interruptible) Read(p []byte) (int, error) {
	if err := r.stopped(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
