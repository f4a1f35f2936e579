package spec

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity says whether a diagnostic stops a run.
type Severity string

// The severities.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Pos is where a value was set. A value from a file has a line and a column, both counted from 1, the column in bytes
// as editors and compilers count them. A value from an environment variable or a flag has only a Source, its name.
type Pos struct {
	Source string // a file's path, "environment variable X" or "flag --x"
	Line   int    // 0 when Source is not a file
	Column int
}

// String gives file:line:col, or the source's name where there is no line.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.Source
	}
	return fmt.Sprintf("%s:%d:%d", p.Source, p.Line, p.Column)
}

// IsZero reports whether the position is unknown.
func (p Pos) IsZero() bool { return p == Pos{} }

// FromFlag reports whether the value was given on the command line.
func (p Pos) FromFlag() bool { return strings.HasPrefix(p.Source, "flag ") }

// Excerpt is a line of a file as it may be shown: secrets in it are masked, which moves what stands behind them.
type Excerpt struct {
	Text   string // without the line's end
	Column int    // of the diagnostic in Text, in bytes, counted from 1; 0 if the excerpt is unknown
}

// Diagnostic is one problem of a configuration, as data.
type Diagnostic struct {
	Severity Severity
	Code     Code
	Pos      Pos
	Related  Pos    // the other place of a conflict; zero if there is none
	Path     string // of the setting: run.batch_size; empty if the problem is the file's
	Message  string
	Hint     string // what to do about it, or what is meant; may be empty

	Excerpt        Excerpt // of the line at Pos
	RelatedExcerpt Excerpt // of the line at Related
}

// String gives the one-line form: position: severity: message; hint [code].
func (d Diagnostic) String() string {
	var b strings.Builder
	if s := d.Pos.String(); s != "" {
		b.WriteString(s)
		b.WriteString(": ")
	}
	fmt.Fprintf(&b, "%s: %s", d.Severity, d.Message)
	if !d.Related.IsZero() {
		fmt.Fprintf(&b, " (the other is at %s)", d.Related)
	}
	if d.Hint != "" {
		b.WriteString("; ")
		b.WriteString(d.Hint)
	}
	fmt.Fprintf(&b, " [%s]", d.Code)
	return b.String()
}

// Diagnostics is a list of problems. As an error its text is one line a problem.
type Diagnostics []Diagnostic //nolint:errname // it is a list first; errors are some of its entries

// Error gives one line per diagnostic.
func (ds Diagnostics) Error() string {
	lines := make([]string, len(ds))
	for i, d := range ds {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}

// HasErrors reports whether any diagnostic is an error rather than a warning.
func (ds Diagnostics) HasErrors() bool {
	return slices.ContainsFunc(ds, func(d Diagnostic) bool { return d.Severity == Error })
}

// Count returns how many are errors and how many are warnings.
func (ds Diagnostics) Count() (failures, warnings int) {
	for _, d := range ds {
		if d.Severity == Error {
			failures++
		} else {
			warnings++
		}
	}
	return failures, warnings
}

// Sorted returns the diagnostics ordered by file, line, column and message, each once: a problem of a file that several
// others extend is one problem.
func (ds Diagnostics) Sorted() Diagnostics {
	out := slices.Clone(ds)
	slices.SortStableFunc(out, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(a.Pos.Source, b.Pos.Source),
			cmp.Compare(a.Pos.Line, b.Pos.Line),
			cmp.Compare(a.Pos.Column, b.Pos.Column),
			cmp.Compare(a.Message, b.Message),
		)
	})
	return slices.CompactFunc(out, func(a, b Diagnostic) bool {
		return a.Pos == b.Pos && a.Code == b.Code && a.Message == b.Message
	})
}
