package mapping

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

// The placeholders of a seed template. `id` is another name for `mongo_id`; `fields.a.b` is the document's field a.b.
const (
	placeholderID          = "mongo_id"
	placeholderIDAlias     = "id"
	placeholderContentType = "content_type"
	placeholderChunk       = "chunk_index"
	placeholderCollection  = "collection"
	placeholderDatabase    = "database"
	placeholderFields      = "fields."
)

var placeholders = []string{
	placeholderID, placeholderIDAlias, placeholderContentType, placeholderChunk, placeholderCollection, placeholderDatabase,
	placeholderFields + "NAME",
}

// partKind is what one part of a compiled template writes.
type partKind uint8

const (
	partLiteral partKind = iota
	partID
	partChunk
	partField
)

type part struct {
	kind  partKind
	text  string // of a literal, or the field's path
	field int    // index into the template's fields
}

// template is a compiled seed: what is constant for a collection is already part of its literals.
type template struct {
	parts  []part
	fields []string // the distinct field paths it needs, in order of first use

	database bool // it has {database}
}

// templateError is a mistake in a template.
type templateError struct {
	offset  int // in the template's text, in bytes; -1 for the template as a whole
	message string
	hint    string
}

// compile parses the seed template for a collection. "{{" and "}}" stand for the braces themselves.
func compile(text string, constants map[string]string) (template, *templateError) {
	var t template
	hasID := false
	literal := func(s string) {
		if n := len(t.parts); n > 0 && t.parts[n-1].kind == partLiteral {
			t.parts[n-1].text += s
		} else if s != "" {
			t.parts = append(t.parts, part{kind: partLiteral, text: s})
		}
	}
	for i := 0; i < len(text); {
		switch rest := text[i:]; {
		case strings.HasPrefix(rest, "{{"), strings.HasPrefix(rest, "}}"):
			literal(rest[:1])
			i += 2
		case rest[0] == '}':
			return t, &templateError{i, `"}" without "{"`, `write "}}" for the character itself`}
		case rest[0] == '{':
			name, _, closed := strings.Cut(rest[1:], "}")
			if !closed {
				return t, &templateError{i, `"{" without "}"`, `write "{{" for the character itself`}
			}
			switch value, constant := constants[name]; {
			case constant:
				literal(value)
				t.database = t.database || name == placeholderDatabase
			case name == placeholderID, name == placeholderIDAlias:
				t.parts = append(t.parts, part{kind: partID})
				hasID = true
			case name == placeholderChunk:
				t.parts = append(t.parts, part{kind: partChunk})
			case strings.HasPrefix(name, placeholderFields) && legalPath(name[len(placeholderFields):]):
				t.parts = append(t.parts, t.fieldPart(name[len(placeholderFields):]))
			default:
				return t, &templateError{i, fmt.Sprintf("unknown placeholder {%s}", name), spec.DidYouMean(name, placeholders)}
			}
			i += len(name) + 2
		default:
			n := strings.IndexAny(rest, "{}")
			if n < 0 {
				n = len(rest)
			}
			literal(rest[:n])
			i += n
		}
	}
	if !hasID {
		return t, &templateError{-1, "the seed has no {mongo_id}: every document would get the same point id", ""}
	}
	return t, nil
}

func legalPath(path string) bool {
	for name := range strings.SplitSeq(path, ".") {
		if name == "" || strings.ContainsAny(name, "{} ") {
			return false
		}
	}
	return true
}

func (t *template) fieldPart(path string) part {
	for i, f := range t.fields {
		if f == path {
			return part{kind: partField, text: path, field: i}
		}
	}
	t.fields = append(t.fields, path)
	return part{kind: partField, text: path, field: len(t.fields) - 1}
}

// append renders the seed of one chunk of a record, whose fields are aligned with t.fields.
func (t *template) append(dst []byte, rec *syncd.Change, chunk int) ([]byte, error) {
	for i := range t.parts {
		switch p := &t.parts[i]; p.kind {
		case partLiteral:
			dst = append(dst, p.text...)
		case partID:
			dst = append(dst, rec.ID...)
		case partChunk:
			dst = strconv.AppendInt(dst, int64(chunk), 10)
		case partField:
			if p.field >= len(rec.Fields) || !rec.Fields[p.field].Set {
				return dst, fmt.Errorf("making the seed: the document has no field %q", p.text)
			}
			dst = append(dst, rec.Fields[p.field].Text...)
		}
	}
	return dst, nil
}
