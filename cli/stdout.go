package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/syncd-io/syncd"
)

// result is standard output. It keeps the first error of a write: then the reader lacks some of what the command found, and the
// command has failed. It is safe for concurrent use where the writer is.
type result struct {
	io.Writer
	mu  sync.Mutex
	err error // the first
}

// Write implements io.Writer.
func (r *result) Write(b []byte) (int, error) {
	n, err := r.Writer.Write(b)
	if err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.err == nil {
			r.err = err
		}
	}
	return n, err
}

// outcome turns the error of a command that could not write its result into one that says so. A command that failed otherwise
// keeps its exit code, and its own words if it has any.
func (r *result) outcome(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		return err
	}
	cause := r.err
	if inner, ok := errors.AsType[*fs.PathError](cause); ok {
		cause = inner.Err // its path is where the system keeps standard output
	}
	lost := syncd.Hint(fmt.Errorf("writing to standard output: %w", cause),
		"what the command had to say is lost, not what it did: see where standard output goes")
	var coded *codeError
	switch {
	case err == nil, errors.Is(err, r.err):
		return lost
	case errors.As(err, &coded) && coded.err == nil:
		return &codeError{coded.code, lost}
	}
	return err
}
