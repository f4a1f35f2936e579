package planfile

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
)

// end is the last line of a plan. Without it, or where it says something else than what stands before it, the plan is not what
// was written.
type end struct {
	Documents *int64 `json:"syncd_plan_end,omitempty"` // lines between header and end; nil in any other line
	Digest    string `json:"sha256,omitempty"`         // of all lines before, in hexadecimal
}

func endOf(documents int64, sum hash.Hash) end {
	return end{Documents: &documents, Digest: hex.EncodeToString(sum.Sum(nil))}
}

// reader reads a plan line by line, and proves it at its end.
type reader struct {
	buf       *bufio.Reader
	sum       hash.Hash // of the lines before
	documents int64     // read so far
}

func newReader(r io.Reader) *reader {
	return &reader{buf: bufio.NewReaderSize(r, 1<<20), sum: sha256.New()}
}

// header returns the first line.
func (r *reader) header() (Header, error) {
	var h Header
	text, err := r.buf.ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return h, err
	}
	r.sum.Write(text)
	switch err := json.Unmarshal(text, &h); {
	case err != nil || h.Plan == 0:
		return h, errors.New("its first line is not a plan's; make one with syncd plan -o FILE")
	case h.Plan != Version:
		return h, fmt.Errorf("it has version %d, this program reads version %d; make the plan anew", h.Plan, Version)
	}
	return h, nil
}

// next returns the next document, or io.EOF behind the last one of a plan that is whole.
func (r *reader) next() (Line, error) {
	text, err := r.buf.ReadBytes('\n')
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return Line{}, err
	case len(text) == 0:
		return Line{}, fmt.Errorf("it was cut off behind document %d, before the line that ends it; make the plan anew", r.documents)
	}
	var l struct {
		Line
		end
	}
	if err := json.Unmarshal(text, &l); err != nil {
		return Line{}, fmt.Errorf("document %d: %w; make the plan anew", r.documents+1, err)
	}
	if l.Documents != nil {
		return Line{}, r.prove(l.end)
	}
	r.sum.Write(text)
	r.documents++
	return l.Line, nil
}

// prove returns io.EOF if the plan is what its end says, and ends there.
func (r *reader) prove(e end) error {
	if want := endOf(r.documents, r.sum); *e.Documents != *want.Documents {
		return fmt.Errorf("it holds %d documents and its end says %d: lines were left out or put in; make the plan anew", r.documents, *e.Documents)
	} else if e.Digest != want.Digest {
		return errors.New("its lines are not those that were written; make the plan anew")
	}
	if _, err := r.buf.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.Join(errors.New("there is something behind the line that ends it; make the plan anew"), err)
	}
	return io.EOF
}
