package chunk

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/syncd-io/syncd"
)

// template is a text with fields in it.
type template []part

// part is a literal, or the paths of which the first that a document has is written.
type part struct {
	literal string
	paths   []string
}

// parse reads a template: {a.b} is a field, {a|b} the first of several, and "{{" and "}}" the braces themselves.
func parse(text string) (template, error) {
	var t template
	literal := func(s string) {
		if n := len(t); n > 0 && t[n-1].paths == nil {
			t[n-1].literal += s
		} else {
			t = append(t, part{literal: s})
		}
	}
	for text != "" {
		i := strings.IndexAny(text, "{}")
		if i < 0 {
			literal(text)
			break
		}
		if i > 0 {
			literal(text[:i])
			text = text[i:]
		}
		switch {
		case strings.HasPrefix(text, "{{"), strings.HasPrefix(text, "}}"):
			literal(text[:1])
			text = text[2:]
		case text[0] == '}':
			return nil, errors.New(`"}" without "{"`)
		default:
			names, rest, closed := strings.Cut(text[1:], "}")
			if !closed {
				return nil, errors.New(`"{" without "}"`)
			}
			paths := strings.Split(names, "|")
			for i, p := range paths {
				if paths[i] = strings.TrimSpace(p); paths[i] == "" || strings.ContainsAny(p, "{$") {
					return nil, fmt.Errorf("{%s} names no field", names)
				}
			}
			t = append(t, part{paths: paths})
			text = rest
		}
	}
	return t, nil
}

var emptyLines = regexp.MustCompile(`\n{3,}`)

// render writes a document's text, clean: see clean. What fields lack leaves no empty lines behind.
func (t template) render(d syncd.Document, format Format) (string, error) {
	var b strings.Builder
	found := false
	for _, p := range t {
		if p.paths == nil {
			b.WriteString(p.literal)
			continue
		}
		for _, path := range p.paths {
			v, err := d.Lookup(path)
			if err != nil {
				return "", fmt.Errorf("reading field %s: %w", path, err)
			}
			if !v.Set {
				continue
			}
			text := clean(format.text(listed(v.Text)))
			if text == "" {
				continue
			}
			b.WriteString(text)
			found = true
			break
		}
	}
	if !found {
		return "", nil // what a template has around its fields is no text
	}
	return strings.TrimSpace(emptyLines.ReplaceAllString(b.String(), "\n\n")), nil
}

// listed gives the texts of a list of texts line by line, and every other value as it is.
func listed(text string) string {
	if !strings.HasPrefix(text, `["`) || !strings.HasSuffix(text, `"]`) {
		return text
	}
	var items []string
	if json.Unmarshal([]byte(text), &items) != nil {
		return text
	}
	return strings.Join(items, "\n")
}

// clean makes a text valid UTF-8 without control characters and without white space around it. Lines end with \n.
func clean(text string) string {
	if dirty := strings.ContainsFunc(text, func(r rune) bool { return r == utf8.RuneError || unwanted(r) }); dirty {
		text = strings.ReplaceAll(strings.ToValidUTF8(text, "\ufffd"), "\r\n", "\n")
		text = strings.Map(func(r rune) rune {
			switch {
			case r == '\r':
				return '\n'
			case unwanted(r):
				return -1
			}
			return r
		}, text)
	}
	return strings.TrimSpace(text)
}

func unwanted(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }
