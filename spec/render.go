package spec

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// Format is how diagnostics are written.
type Format string

// The formats.
const (
	FormatText   Format = "text"   // one line a problem, and below it the file's line with a caret
	FormatShort  Format = "short"  // one line a problem
	FormatJSON   Format = "json"   // an array of objects
	FormatGitHub Format = "github" // annotations of a GitHub Actions job
)

// Formats lists all formats.
func Formats() []Format { return []Format{FormatText, FormatShort, FormatJSON, FormatGitHub} }

// Write writes the diagnostics in the given format.
func (ds Diagnostics) Write(w io.Writer, format Format) error {
	switch format {
	case FormatJSON:
		return ds.writeJSON(w)
	case FormatGitHub:
		return ds.writeLines(w, Diagnostic.github)
	case FormatText:
		return ds.writeLines(w, Diagnostic.text)
	}
	return ds.writeLines(w, Diagnostic.String)
}

func (ds Diagnostics) writeLines(w io.Writer, line func(Diagnostic) string) error {
	for _, d := range ds {
		if _, err := fmt.Fprintln(w, line(d)); err != nil {
			return err
		}
	}
	return nil
}

// text is String, and the lines that it speaks of with a caret under each column.
func (d Diagnostic) text() string {
	out := d.String()
	if s := d.Excerpt.draw(d.Pos.Line, ""); s != "" {
		out += "\n" + s
	}
	if s := d.RelatedExcerpt.draw(d.Related.Line, " the other"); s != "" && d.Related != d.Pos {
		out += "\n" + s
	}
	return out
}

// excerptWidth is how many columns of a terminal a shown line takes at most. A longer one is cut around its column.
const excerptWidth = 100

// tabWidth is how many spaces stand for a tab. What a terminal does with one depends on where the line begins.
const tabWidth = 4

// draw gives the line behind its number and, below it, the caret and a note; "" for an unknown excerpt.
func (e Excerpt) draw(line int, note string) string {
	if e.Column <= 0 || line <= 0 {
		return ""
	}
	cells, caret := e.cells()
	from, to := 0, len(cells)
	before, after := "", ""
	if total := columns(cells); total > excerptWidth {
		// A third of the room for what stands before the caret, the rest for what follows.
		for from < caret && columns(cells[from:caret]) > excerptWidth/3 {
			from++
		}
		for from > 0 && columns(cells[from:]) < excerptWidth-2 {
			from--
		}
		for to > caret+1 && columns(cells[from:to]) > excerptWidth-2 {
			to--
		}
		if from > 0 {
			before = "…"
		}
		if to < len(cells) {
			after = "…"
		}
	}
	var b strings.Builder
	number := strconv.Itoa(line)
	fmt.Fprintf(&b, "%5s | %s", number, before)
	for _, c := range cells[from:to] {
		b.WriteString(c.text)
	}
	shown := strings.TrimRight(b.String()+after, " ")
	indent := columns(cells[from:min(caret, to)]) + len([]rune(before))
	return fmt.Sprintf("%s\n%*s | %s^%s", shown, max(5, len(number)), "", strings.Repeat(" ", indent), note)
}

// cell is one character as it is shown, and how many columns it takes.
type cell struct {
	text    string
	columns int
}

func columns(cells []cell) int {
	n := 0
	for _, c := range cells {
		n += c.columns
	}
	return n
}

// cells gives the line's characters as a terminal shows them, and the index of the one that the column is in. Characters
// that would move the cursor or can't be seen are shown as dots.
func (e Excerpt) cells() (cells []cell, caret int) {
	caret = -1
	for i, r := range e.Text {
		if caret < 0 && i >= e.Column-1 {
			caret = len(cells)
			if i > e.Column-1 { // the column is inside of the character before
				caret = max(0, caret-1)
			}
		}
		switch {
		case r == '\t':
			cells = append(cells, cell{strings.Repeat(" ", tabWidth), tabWidth})
		case unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r):
			cells = append(cells, cell{string(r), 0})
		case !unicode.IsPrint(r) || r == unicode.ReplacementChar:
			cells = append(cells, cell{"·", 1})
		default:
			n := 1
			if k := width.LookupRune(r).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
				n = 2
			}
			cells = append(cells, cell{string(r), n})
		}
	}
	if caret < 0 {
		caret = len(cells)
	}
	return cells, caret
}

// place is a position in the JSON form.
type place struct {
	File   string `json:"file,omitempty"`
	Source string `json:"source,omitempty"` // instead of a file: the environment variable or flag
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

func placeOf(p Pos) place {
	if p.Line == 0 {
		return place{Source: p.Source}
	}
	return place{File: p.Source, Line: p.Line, Column: p.Column}
}

// writeJSON writes an array, empty if there is nothing to report. A consumer may rely on the names of the fields.
func (ds Diagnostics) writeJSON(w io.Writer) error {
	type object struct {
		place
		Severity Severity `json:"severity"`
		Code     Code     `json:"code"`
		Path     string   `json:"path,omitempty"`
		Message  string   `json:"message"`
		Hint     string   `json:"hint,omitempty"`
		Related  *place   `json:"related,omitempty"`
	}
	out := make([]object, len(ds))
	for i, d := range ds {
		out[i] = object{
			place: placeOf(d.Pos), Severity: d.Severity, Code: d.Code, Path: d.Path, Message: d.Message, Hint: d.Hint,
		}
		if !d.Related.IsZero() {
			related := placeOf(d.Related)
			out[i].Related = &related
		}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}

// github is the workflow command of an annotation. What has no file is annotated to the job, with its source in front.
func (d Diagnostic) github() string {
	message := d.Message
	if !d.Related.IsZero() {
		message += fmt.Sprintf(" (the other is at %s)", d.Related)
	}
	if d.Hint != "" {
		message += "; " + d.Hint
	}
	properties := ""
	if d.Pos.Line > 0 {
		properties = fmt.Sprintf("file=%s,line=%d,col=%d,", escapeProperty(d.Pos.Source), d.Pos.Line, d.Pos.Column)
	} else if d.Pos.Source != "" {
		message = d.Pos.Source + ": " + message
	}
	return fmt.Sprintf("::%s %stitle=%s::%s", d.Severity, properties, escapeProperty(string(d.Code)), escapeData(message))
}

func escapeData(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

func escapeProperty(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C").Replace(s)
}
