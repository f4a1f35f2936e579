package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/text"
)

// counts is how many checks ended how.
type counts struct{ ok, warnings, failed, skipped int }

// widest is how many columns are kept for what a check is about; a longer name pushes aside its own line alone.
const widest = 60

// serverTable writes a block for each server, and counts.
type serverTable struct {
	w     io.Writer
	width int // of what checks are about, as far as it is known
	total counts
}

func (t *serverTable) print(reports []report) {
	for _, r := range reports {
		for _, f := range r.findings {
			t.width = max(t.width, min(widest, len([]rune(text.Line(f.Subject)))))
		}
	}
	for _, r := range reports {
		text.Fprintf(t.w, "%s: %s\n", r.kind, r.name)
		for _, f := range r.findings {
			text.Fprintf(t.w, "  %-7s  %-*s  %s\n", t.total.add(f.Status), t.width, f.Subject, f.Detail)
			if f.Hint != "" {
				text.Fprintf(t.w, "  %-7s  %-*s  hint: %s\n", "", t.width, "", f.Hint)
			}
		}
		fmt.Fprintln(t.w)
	}
}

// add counts a status and returns its word. One that does not exist is a plugin's mistake, and never good news.
func (c *counts) add(s syncd.Status) string {
	switch s {
	case syncd.StatusOK:
		c.ok++
	case syncd.StatusWarning:
		c.warnings++
	case syncd.StatusSkipped:
		c.skipped++
	case syncd.StatusFailed:
		c.failed++
		return "FAILED"
	default:
		c.failed++
		return "FAILED"
	}
	return string(s)
}

func (c counts) String() string {
	parts := []string{text.Plural(c.ok+c.warnings+c.failed+c.skipped, "check", "checks") + ": " + fmt.Sprintf("%d ok", c.ok)}
	for _, p := range []struct {
		n         int
		one, many string
	}{{c.warnings, "warning", "warnings"}, {c.failed, "failed", "failed"}, {c.skipped, "skipped", "skipped"}} {
		if p.n > 0 {
			parts = append(parts, text.Plural(p.n, p.one, p.many))
		}
	}
	return strings.Join(parts, ", ")
}
