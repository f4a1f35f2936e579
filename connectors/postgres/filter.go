package postgres

import (
	"errors"
	"strings"

	"github.com/syncd-io/syncd"
)

const filterForm = "write an SQL expression of the table's columns, such as: status = 'live' AND deleted_at IS NULL"

// checkFilter says why a text is no SQL expression that can stand in parentheses by itself. Whether the server understands it only the
// server can say. An empty object is the filter that every row passes.
func checkFilter(filter string) error {
	if filter == "" || filter == everyRow {
		return nil
	}
	if c := filter[0]; c == '{' || c == '[' || strings.TrimSpace(filter) == "" {
		return syncd.Hint(errors.New("it is not an SQL expression"), filterForm)
	}
	if err := scan(filter); err != nil {
		return syncd.Hint(err, filterForm)
	}
	return nil
}

const everyRow = "{}"

// condition is the filter as a part of a WHERE clause: it stands in lines of its own, so that a comment ends with it.
func condition(filter string) string {
	if filter == "" || filter == everyRow {
		return ""
	}
	return "(\n" + filter + "\n)"
}

// scan walks through an expression as the server's scanner does (Manual, "Lexical Structure"), and says where it would not end with
// its text: an open quote or comment, a parenthesis too many, a second command.
func scan(sql string) error {
	depth, word := 0, false
	for i := 0; i < len(sql); {
		rest := sql[i:]
		n := 1
		switch c := rest[0]; {
		case c == '\'':
			escapes := i > 0 && (sql[i-1] == 'e' || sql[i-1] == 'E') && (i == 1 || !isWord(sql[i-2]))
			if n = quoted(rest, '\'', escapes); n == 0 {
				return errors.New("a quote is not closed")
			}
		case c == '"':
			if n = quoted(rest, '"', false); n == 0 {
				return errors.New("a quote is not closed")
			}
		case c == '$' && !word:
			tag, ok := dollarTag(rest)
			if !ok {
				return errors.New("it has a parameter ($1), which nobody gives")
			}
			end := strings.Index(rest[len(tag):], tag)
			if end < 0 {
				return errors.New("a quote is not closed")
			}
			n = len(tag) + end + len(tag)
		case strings.HasPrefix(rest, "--"):
			if n = strings.IndexAny(rest, "\r\n"); n < 0 {
				n = len(rest)
			}
		case strings.HasPrefix(rest, "/*"):
			if n = comment(rest); n == 0 {
				return errors.New("a comment is not closed")
			}
		case c == '(' || c == '[':
			depth++
		case c == ')' || c == ']':
			if depth--; depth < 0 {
				return errors.New("it closes a parenthesis that it does not open")
			}
		case c == ';':
			return errors.New("it holds a semicolon")
		case c == 0:
			return errors.New("it holds a NUL character")
		}
		word = n == 1 && isWord(rest[0])
		i += n
	}
	if depth > 0 {
		return errors.New("a parenthesis is not closed")
	}
	return nil
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// quoted returns the length of what is quoted, or 0 where it has no end.
func quoted(s string, quote byte, escapes bool) int {
	for i := 1; i < len(s); i++ {
		switch {
		case escapes && s[i] == '\\':
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return i + 1
		}
	}
	return 0
}

// dollarTag returns the opening of a dollar-quoted text; false is a parameter, or a lone sign.
func dollarTag(s string) (string, bool) {
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '$':
			return s[:i+1], true
		case !isWord(c) || i == 1 && c >= '0' && c <= '9':
			return "", false
		}
	}
	return "", false
}

// comment returns the length of a comment, in which others may stand, or 0 where it has no end.
func comment(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			i++
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}
