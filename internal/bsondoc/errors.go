package bsondoc

import (
	"errors"
	"fmt"
	"strconv"
)

// The kinds of failure, for errors.Is. The error itself says where and why.
var (
	// ErrNoID says that a value has no id text: it is missing, null or undefined.
	ErrNoID = errors.New("no id: the value is missing or null")

	// ErrMalformed says that the bytes are not BSON.
	ErrMalformed = errors.New("malformed BSON")

	// ErrInvalidUTF8 says that a string or a field name is not UTF-8 and so has
	// no JSON and no id text.
	ErrInvalidUTF8 = errors.New("not valid UTF-8")

	// ErrTooDeep says that documents are nested deeper than [MaxDepth].
	ErrTooDeep = fmt.Errorf("nested deeper than %d levels", MaxDepth)
)

// MaxDepth is how many documents and arrays may enclose a value. MongoDB stores
// far fewer levels; the limit keeps a hostile file from exhausting the stack.
const MaxDepth = 250

// Made once: malformed text is common enough in old data that a run which
// tolerates errors should not pay for formatting each of them.
var (
	errStringUTF8 = fmt.Errorf("string is %w", ErrInvalidUTF8)
	errNameUTF8   = fmt.Errorf("field name is %w", ErrInvalidUTF8)
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// fieldError puts the path of a field before an error. It is built from the
// inside out while the error returns, so that success pays nothing for it.
type fieldError struct {
	path string
	cut  bool
	err  error
}

func (e *fieldError) Error() string {
	return "field " + strconv.Quote(e.path) + ": " + e.err.Error()
}

func (e *fieldError) Unwrap() error { return e.err }

// A name can be as long as the document and a path MaxDepth names long; an error
// message must stay readable in a log line.
const (
	maxErrorName = 64
	maxErrorPath = 256
)

// inField says that err happened in the field called name.
func inField(name []byte, err error) error {
	text := string(name[:min(len(name), maxErrorName)])
	if len(name) > maxErrorName {
		text += "…"
	}
	fe, ok := err.(*fieldError) //nolint:errorlint // made in this package, and not yet wrapped by anyone
	switch {
	case !ok:
		return &fieldError{path: text, err: err}
	case fe.cut:
	case len(fe.path) >= maxErrorPath:
		fe.path, fe.cut = "…."+fe.path, true
	default:
		fe.path = text + "." + fe.path
	}
	return fe
}

// inIndex says that err happened in the array element number i.
func inIndex(i int, err error) error {
	var buf [20]byte
	return inField(strconv.AppendInt(buf[:0], int64(i), 10), err)
}
