package report

import (
	"io"
	"math"
	"slices"
	"strconv"

	"github.com/syncd-io/syncd/internal/text"
)

// column is one of the table's, given the counts of a row. Orphans belong to content types, so their cells are found by name.
type column struct {
	title  string
	always bool // shown even if all its numbers are zero
	number func(*Counts) int64
	text   func(*Counts) string // instead of number, where it is not empty
}

// unasked reports whether the index was not asked about any of the documents, so that what it has is not known.
func unasked(c *Counts) bool { return c.Unasked > 0 && c.Present+c.Missing+c.Stale+c.Partial == 0 }

// columns are those of the table that have something to say about the run.
func (r *Report) columns() []column {
	dash := func(c *Counts) string {
		if unasked(c) {
			return "-"
		}
		return ""
	}
	count := func(title string, number func(*Counts) int64) column { return column{title: title, number: number} }
	all := []column{
		{title: "Documents", always: true, number: func(c *Counts) int64 { return c.Documents }},
		{title: "Present", always: true, text: dash, number: func(c *Counts) int64 { return c.Present }},
		{title: "Missing", always: true, text: dash, number: func(c *Counts) int64 { return c.Missing }},
		count("Stale", func(c *Counts) int64 { return c.Stale }),
		count("Partial", func(c *Counts) int64 { return c.Partial }),
		count("Too new", func(c *Counts) int64 { return c.Young }),
		count("Unindexed", func(c *Counts) int64 { return c.Unindexed }),
		count("Not sampled", func(c *Counts) int64 { return c.Unsampled }),
		{title: "Would send", always: r.DryRun, number: func(c *Counts) int64 { return c.WouldSend }},
		{title: "Sent", always: !r.DryRun, number: func(c *Counts) int64 { return c.Sent }},
		{title: "Acked", always: !r.DryRun, number: func(c *Counts) int64 { return c.Acked }},
		count("Without document", func(c *Counts) int64 { return c.Referenced }),
		count("Deleted", func(c *Counts) int64 { return c.Gone }),
		count("Indexed since", func(c *Counts) int64 { return c.Overtaken }),
		count("Failed", func(c *Counts) int64 { return c.Failed }),
		count("Same point id", func(c *Counts) int64 { return c.Collisions }),
		count("Dead-lettered", func(c *Counts) int64 { return c.DeadLettered }),
		{title: "Coverage", always: true, text: func(c *Counts) string { return percentOf(c.Coverage) }},
		{title: "Time", always: true, text: func(c *Counts) string { return Span(c.Seconds) }},
		{title: "Docs/s", always: true, number: func(c *Counts) int64 { return int64(math.Round(c.PerSecond)) }, text: slow},
	}
	var out []column
	for _, c := range all {
		if c.always || c.number(&r.Totals) != 0 {
			out = append(out, c)
		}
	}
	return out
}

func (c column) cell(n *Counts, number func(int64) string) string {
	if c.text != nil {
		if text := c.text(n); text != "" || c.number == nil {
			return text
		}
	}
	return number(c.number(n))
}

// slow is a rate that has to be told with a decimal.
func slow(c *Counts) string {
	if c.PerSecond > 0 && c.PerSecond < 10 {
		return rate(c.PerSecond)
	}
	return ""
}

// orphanColumn is the place of the orphans among the columns: after what the index holds otherwise.
func orphanColumn(columns []column) int {
	at := 0
	for i, c := range columns {
		switch c.title {
		case "Missing", "Stale", "Partial":
			at = i + 1
		}
	}
	return at
}

// orphans gives the cell of each collection and their sum; nil where none were found. A content type of several collections
// has one number, which can't be divided among them.
func (r *Report) orphans(number func(int64) string) []string {
	total := int64(0)
	byType := map[string]int64{}
	for _, o := range r.Orphans {
		byType[o.ContentType] += o.Orphans
		total += o.Orphans
	}
	if total == 0 {
		return nil
	}
	shared := map[string]int{}
	for _, c := range r.Collections {
		shared[c.ContentType]++
	}
	var cells []string
	for _, c := range r.Collections {
		cell := "-"
		if shared[c.ContentType] == 1 {
			cell = number(byType[c.ContentType])
		}
		cells = append(cells, cell)
	}
	return append(cells, number(total))
}

// typed reports whether what the index calls the documents of a collection is not its name, so that both have to be shown.
func (r *Report) typed() bool {
	return slices.ContainsFunc(r.Collections, func(c Collection) bool { return c.ContentType != c.Name })
}

// Names is how many columns of the table are names.
func (r *Report) Names() int {
	if r.typed() {
		return 2
	}
	return 1
}

// rows are the table's: titles, one row a collection, totals. number writes its numbers.
func (r *Report) rows(number func(int64) string) [][]string {
	columns, orphans, names := r.columns(), r.orphans(number), r.Names()
	at := orphanColumn(columns)
	row := func(name, contentType string, cell func(column) string, orphan string) []string {
		cells := []string{name, contentType}[:names]
		for i, c := range columns {
			if i == at && orphans != nil {
				cells = append(cells, orphan)
			}
			cells = append(cells, cell(c))
		}
		return cells
	}
	orphan := func(i int) string {
		if orphans == nil {
			return ""
		}
		return orphans[i]
	}
	rows := [][]string{row("Collection", "Content type", func(c column) string { return c.title }, "Orphan")}
	for i := range r.Collections {
		n := &r.Collections[i]
		rows = append(rows, row(n.Name, n.ContentType, func(c column) string { return c.cell(&n.Counts, number) }, orphan(i)))
	}
	return append(rows, row("Total", "", func(c column) string { return c.cell(&r.Totals, number) }, orphan(len(r.Collections))))
}

// Table writes the collections' table: what every run has, and the columns that are not zero everywhere.
func (r *Report) Table(w io.Writer) { text.TableOf(w, r.Names(), r.rows(plain)) }

// plain writes a number as programs read it.
func plain(n int64) string { return strconv.FormatInt(n, 10) }

// LeaveIdleOut leaves out the collections that needed nothing: all that they hold is in the index. It returns how many there are.
func (r *Report) LeaveIdleOut() int {
	gone := map[string]bool{}
	for _, o := range r.Orphans {
		gone[o.ContentType] = o.Orphans > 0
	}
	before := len(r.Collections)
	r.Collections = slices.DeleteFunc(r.Collections, func(c Collection) bool {
		return c.Found && c.Complete && c.Present == c.Documents && c.Failed+c.Collisions == 0 && !gone[c.ContentType]
	})
	return before - len(r.Collections)
}
