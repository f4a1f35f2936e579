package planfile

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"os"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/files"
	"github.com/syncd-io/syncd/verdict"
)

// Writer writes a plan beside its final name and renames it when it is whole. What is there and is no regular file, such as a
// device or a pipe, is written to directly: a rename would replace it. It is not safe for concurrent use.
type Writer struct {
	path string
	part string // "" if path is written to directly
	f    *os.File
	w    *bufio.Writer
	sum  hash.Hash // of what was written
	n    int64     // documents written
	enc  *json.Encoder
	all  bool
	err  error
}

// Create begins a plan. With all it has the documents that need nothing as well.
func Create(path string, header Header, all bool) (*Writer, error) {
	part, flags := path+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY
	target := part
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		part, target, flags = "", path, os.O_WRONLY
	}
	f, err := os.OpenFile(target, flags, 0o600)
	if err != nil {
		return nil, files.WriteError("the plan", path, err)
	}
	w := &Writer{path: path, part: part, f: f, w: bufio.NewWriterSize(f, 1<<20), sum: sha256.New(), all: all}
	w.enc = json.NewEncoder(io.MultiWriter(w.w, w.sum))
	w.enc.SetEscapeHTML(false)
	w.err = w.enc.Encode(header)
	return w, nil
}

// Item writes one document. Close returns its error.
func (w *Writer) Item(i verdict.Item) {
	if w.err == nil && (w.all || i.Verdict != syncd.Present) {
		w.err = w.enc.Encode(LineOf(i))
		w.n++
	}
}

// Close finishes the file if it is whole, and else removes it. What was written directly is left without an end, and so is no
// plan.
func (w *Writer) Close(whole bool) error {
	if whole && w.err == nil {
		w.err = w.enc.Encode(endOf(w.n, w.sum))
	}
	err := errors.Join(w.err, w.w.Flush(), w.f.Close())
	switch {
	case w.part == "":
	case err == nil && whole:
		err = os.Rename(w.part, w.path)
	default:
		err = errors.Join(err, os.Remove(w.part))
	}
	if err != nil {
		return files.WriteError("the plan", w.path, err)
	}
	return nil
}
