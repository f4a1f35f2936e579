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

// Diagnostic is one problem of a configuration, as data.
type Diagnostic struct {
	Severity Severity `json:"severity"`
	Code     Code     `json:"code"`
	Pos      Pos      `json:"-"`
	Related  Pos      `json:"-"` // the other place of a conflict; zero if there is none
	Path     string   `json:"path"`
	Message  string   `json:"message"`
	Hint     string   `json:"hint,omitempty"`
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

// Sorted returns the diagnostics ordered by file, line, column and message, each once.
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
	return slices.Compact(out)
}

// Code names a kind of problem; codes are stable, so scripts and documentation may refer to them.
type Code string

// The codes.
const (
	CodeSyntax            Code = "syntax"
	CodeMissingFile       Code = "missing-file"
	CodeExtendsCycle      Code = "extends-cycle"
	CodeDuplicateKey      Code = "duplicate-key"
	CodeUnsetVariable     Code = "unset-variable"
	CodeUnknownField      Code = "unknown-field"
	CodeMissingField      Code = "missing-field"
	CodeWrongType         Code = "wrong-type"
	CodeBadValue          Code = "bad-value"
	CodeUnknownPlugin     Code = "unknown-plugin"
	CodeOnePlugin         Code = "one-plugin"
	CodeSeed              Code = "seed"
	CodeSeedCollision     Code = "seed-collision"
	CodeUnknownCollection Code = "unknown-collection"
)
