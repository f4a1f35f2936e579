package config

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/syncd-io/syncd/spec"
)

// text is a file's text, and the way between the places that the YAML library names and those that editors show. The
// library counts characters and breaks lines at more than newlines; editors, compilers and this program count bytes between
// newlines.
type text struct {
	file  string
	data  string
	lines []int // where each line begins, for people
	yaml  []int // where each line begins, for the library

	last  struct{ line, column, at int } // where offset was asked for last: in a long line it goes on from there
	plain bool                           // both count alike: ASCII, without lone carriage returns
}

const byteOrderMark = "\ufeff"

func newText(file string, data []byte) *text {
	t := &text{file: file, data: string(data), lines: []int{0}, yaml: []int{0}, plain: true}
	if strings.HasPrefix(t.data, byteOrderMark) {
		t.yaml[0] = len(byteOrderMark)
	}
	for i := range len(t.data) {
		switch c := t.data[i]; {
		case c == '\n':
			t.lines = append(t.lines, i+1)
			t.yaml = append(t.yaml, i+1)
		case c == '\r' && !strings.HasPrefix(t.data[i+1:], "\n"):
			t.plain = false
			t.yaml = append(t.yaml, i+1)
		case c < utf8.RuneSelf:
		default:
			t.plain = false
			for _, br := range []string{"\u0085", "\u2028", "\u2029"} {
				if strings.HasPrefix(t.data[i:], br) {
					t.yaml = append(t.yaml, i+len(br))
				}
			}
		}
	}
	return t
}

// offset is where in the text the library's line and column are, both from 1.
func (t *text) offset(line, column int) int {
	line = min(max(line, 1), len(t.yaml))
	at := t.yaml[line-1]
	if t.plain {
		return min(at+max(column-1, 0), len(t.data))
	}
	from := 1
	if t.last.line == line && t.last.column <= column {
		from, at = t.last.column, t.last.at
	}
	for range column - from {
		if at >= len(t.data) {
			break
		}
		_, size := utf8.DecodeRuneInString(t.data[at:])
		at += size
	}
	t.last.line, t.last.column, t.last.at = line, column, at
	return at
}

// pos is the position of the byte at offset.
func (t *text) pos(offset int) spec.Pos {
	offset = min(max(offset, 0), len(t.data))
	line, exact := slices.BinarySearch(t.lines, offset)
	if !exact {
		line--
	}
	return spec.Pos{Source: t.file, Line: line + 1, Column: offset - t.lines[line] + 1}
}

// at is the offset of a position, which is inside of the text.
func (t *text) at(p spec.Pos) int {
	line := min(max(p.Line, 1), len(t.lines))
	return min(t.lines[line-1]+max(p.Column-1, 0), len(t.data))
}

// line gives the text of a line, from 1, without its end, and where it begins.
func (t *text) line(n int) (line string, begin int) {
	n = min(max(n, 1), len(t.lines))
	begin = t.lines[n-1]
	line, _, _ = strings.Cut(t.data[begin:], "\n")
	return strings.TrimSuffix(line, "\r"), begin
}

// rest gives the line's text from offset on.
func (t *text) rest(offset int) string {
	offset = min(offset, len(t.data))
	end := len(t.data)
	if next, _ := slices.BinarySearch(t.lines, offset+1); next < len(t.lines) {
		end = t.lines[next] - 1
	}
	return strings.TrimSuffix(t.data[offset:end], "\r")
}

// start is the position of the first line that holds anything: what a whole file's problems are reported at.
func (t *text) start() spec.Pos {
	skipped := 0
	for line := range strings.SplitAfterSeq(t.data, "\n") {
		if strings.TrimSpace(line) != "" {
			return t.pos(skipped)
		}
		skipped += len(line)
	}
	return t.pos(0)
}

// notText is the offset of the first byte that is not UTF-8, or a character that YAML forbids; -1 if there is none.
func notText(data []byte) (offset int, control bool) {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return i, false
		case r < ' ' && r != '\n' && r != '\r' && r != '\t', r == 0x7f, r > 0x7f && r < 0xa0 && r != 0x85, r == 0xfffe, r == 0xffff:
			return i, true
		}
		i += size
	}
	return -1, false
}

// indentation is the number of spaces that a line begins with.
func indentation(line string) int {
	return len(line) - len(strings.TrimLeft(line, " "))
}

// isBlank reports whether there is nothing but white space.
func isBlank(data []byte) bool { return len(bytes.TrimSpace(data)) == 0 }
