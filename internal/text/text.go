// Package text has words and tables for messages, and makes what others wrote fit to be seen.
//
// Ids, names, reasons and what servers answer are others' text: on a terminal, in a log and on a page it must not move the
// cursor, hide, turn around, begin a line of its own, or fill the screen. [Of] shows a value, [Line] a sentence that may hold
// some; [Fprintf] applies Line to its arguments, and [Escape] stands before what must keep every byte, such as JSON.
package text

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Plural is a number with the word for one or for many.
func Plural[N int | int64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Moment is a time to the second.
func Moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// Row makes a row of a table.
func Row(cells ...any) []string {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	return row
}

// Table prints rows, each cell as [Line] shows it; it aligns the first column to the left and all others to the right.
func Table(w io.Writer, rows [][]string) { TableOf(w, 1, rows) }

// TableOf is Table with so many columns that are aligned to the left.
func TableOf(w io.Writer, left int, rows [][]string) {
	var width []int
	for _, row := range rows {
		for i, cell := range row {
			cell = Line(cell)
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			cell = Line(cell)
			if i > 0 {
				b.WriteString("  ")
			}
			if i < left {
				fmt.Fprintf(&b, "%-*s", width[i], cell)
			} else {
				fmt.Fprintf(&b, "%*s", width[i], cell)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// Cost writes about how many US dollars something costs.
func Cost(dollars float64) string {
	if dollars < 0.01 && dollars > 0 {
		return "less than $0.01"
	}
	return fmt.Sprintf("about $%.2f", dollars)
}

// Figure writes a number in few characters: 1.5k.
func Figure(x float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if x >= u.size {
			return strconv.FormatFloat(x/u.size, 'g', 3, 64) + u.name
		}
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
}

// Short writes a number, a large one with about three digits.
func Short(n int64) string {
	switch f := float64(n); {
	case n < 100_000:
		return strconv.FormatInt(n, 10)
	case n < 1_000_000:
		return fmt.Sprintf("%.0fk", f/1e3)
	case n < 1_000_000_000:
		return fmt.Sprintf("%.1fM", f/1e6)
	default:
		return fmt.Sprintf("%.1fG", f/1e9)
	}
}
