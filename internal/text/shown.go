package text

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// How much is shown, in bytes. An id is seldom longer than a UUID, a reason seldom longer than a few lines of a terminal.
const (
	maxValue = 200
	maxLine  = 2000
)

// Of shows an id, a name or another value: as it is where every character shows, else quoted as in Go, and cut where it is
// long, with its length behind it. An empty value, and one with space at an end, is quoted as well.
func Of(value string) string {
	if value != "" && len(value) <= maxValue && printable(value) && strings.TrimSpace(value) == value {
		return value
	}
	return Quote(value)
}

// Quote shows a value in quotes, whatever it is.
func Quote(value string) string {
	shown, note := head(value, maxValue)
	return `"` + string(appendShown(nil, shown, true)) + `"` + note
}

// ID shows a document's id, which is missing if none is true.
func ID(id string, none bool) string {
	if none {
		return "(no id)"
	}
	return Of(id)
}

// Line shows a sentence, such as an error, on one line: what does not show is escaped as in Go, and what is long is cut, with
// its length behind it. A line of lines stays as it is.
func Line(sentence string) string {
	if len(sentence) <= maxLine && printable(sentence) {
		return sentence
	}
	shown, note := head(sentence, maxLine)
	return string(appendShown(nil, shown, false)) + note
}

// Err shows an error as Line does, and several that were joined one behind the other.
func Err(err error) string {
	whole := err.Error()
	for inner := errors.Unwrap(err); inner != nil && inner.Error() == whole; inner = errors.Unwrap(err) {
		err = inner // a hint, say, has no text of its own
	}
	joined, ok := err.(interface{ Unwrap() []error }) // of this very error, not of one inside
	if !ok {
		return Line(whole)
	}
	var texts, shown []string
	for _, e := range joined.Unwrap() {
		texts, shown = append(texts, e.Error()), append(shown, Err(e))
	}
	if whole != strings.Join(texts, "\n") {
		return Line(whole)
	}
	return strings.Join(shown, "; ")
}

// Cut is a text without the end that nobody would read, for whatever escapes it by itself.
func Cut(s string) string {
	shown, note := head(s, maxLine)
	return shown + note
}

// Safe is a text that Fprintf prints as it is, such as a word with its colour.
type Safe string

// Fprintf is fmt.Fprintf for people: strings, errors and whatever has a String method are shown as Line shows them. A line that
// can't be written is lost: whoever has to know gives a writer that remembers it.
func Fprintf(w io.Writer, format string, args ...any) {
	for i, a := range args {
		switch v := a.(type) {
		case nil:
		case Safe:
			args[i] = string(v)
		case error:
			args[i] = Err(v)
		case fmt.Stringer:
			args[i] = Line(v.String())
		case []byte:
			args[i] = Line(string(v))
		default:
			if s := reflect.ValueOf(a); s.Kind() == reflect.String {
				args[i] = Line(s.String())
			}
		}
	}
	_, _ = fmt.Fprintf(w, format, args...)
}

// Escape returns a writer in front of w that writes \u escapes in place of characters that do not show, except for line ends and tabs.
// JSON means the same with them. A character must not be divided among two writes.
func Escape(w io.Writer) io.Writer { return escaper{w} }

type escaper struct{ w io.Writer }

func (e escaper) Write(b []byte) (int, error) {
	out, from := []byte(nil), 0
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r != '\n' && r != '\t' && (!shows(r) || r == utf8.RuneError && n == 1) {
			out = append(out, b[from:i]...)
			for _, u := range utf16.AppendRune(nil, r) {
				out = fmt.Appendf(out, `\u%04x`, u)
			}
			from = i + n
		}
		i += n
	}
	if out == nil {
		return e.w.Write(b)
	}
	if _, err := e.w.Write(append(out, b[from:]...)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// shows reports whether a character can be seen, is where it stands, and moves nothing.
func shows(r rune) bool {
	if r < utf8.RuneSelf {
		return ' ' <= r && r <= '~'
	}
	return unicode.IsPrint(r) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

func printable(s string) bool {
	for i, r := range s {
		if !shows(r) || r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)) {
			return false
		}
	}
	return true
}

// head is the beginning of a text, and what to write behind it if that is not all.
func head(s string, most int) (shown, note string) {
	if len(s) <= most {
		return s, ""
	}
	n := most
	for n > most-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n], "… (" + strconv.Itoa(len(s)) + " bytes)"
}

// appendShown appends a text with escapes as in Go for what does not show, and, in quotes, for what could be taken for their end.
func appendShown(dst []byte, s string, quoted bool) []byte {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			dst = fmt.Appendf(dst, `\x%02x`, s[i])
		case quoted && (r == '"' || r == '\\'):
			dst = append(dst, '\\', byte(r))
		case shows(r):
			dst = append(dst, s[i:i+n]...)
		case r < utf8.RuneSelf:
			q := strconv.QuoteRune(r)
			dst = append(dst, q[1:len(q)-1]...)
		case r <= 0xffff:
			dst = fmt.Appendf(dst, `\u%04x`, r)
		default:
			dst = fmt.Appendf(dst, `\U%08x`, r)
		}
		i += n
	}
	return dst
}
