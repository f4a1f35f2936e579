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

// printReports writes one table, a block for each server, and a line that sums it up.
func printReports(w io.Writer, reports []report) counts {
	width := 0
	for _, r := range reports {
		for _, f := range r.findings {
			width = max(width, min(widest, len([]rune(text.Line(f.Subject)))))
		}
	}
	var total counts
	for _, r := range reports {
		text.Fprintf(w, "%s: %s\n", r.kind, r.name)
		for _, f := range r.findings {
			text.Fprintf(w, "  %-7s  %-*s  %s\n", total.add(f.Status), width, f.Subject, f.Detail)
			if f.Hint != "" {
				text.Fprintf(w, "  %-7s  %-*s  hint: %s\n", "", width, "", f.Hint)
			}
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, total)
	return total
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
