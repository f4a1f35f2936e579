package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// A table is printed as Markdown whose columns stand below each other in a terminal too.
type table struct {
	header []string
	rows   [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer) {
	width := make([]int, len(t.header))
	for _, row := range append([][]string{t.header}, t.rows...) {
		for i, cell := range row {
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	line := func(cells []string) {
		for i, cell := range cells {
			fmt.Fprintf(w, "| %*s ", width[i], cell)
		}
		fmt.Fprintln(w, "|")
	}
	line(t.header)
	for i := range width {
		fmt.Fprintf(w, "|%s:", strings.Repeat("-", width[i]+1))
	}
	fmt.Fprintln(w, "|")
	for _, row := range t.rows {
		line(row)
	}
	fmt.Fprintln(w)
}

// syncdTable is what syncd took in each case. Of two figures in a cell, the first is the least and the second the median.
func syncdTable(results []*result) *table {
	t := &table{header: []string{"documents", "bytes", "case", "CPU µs/document", "wall s", "documents/s", "peak MB", "first event s", "allocations/document"}}
	for _, r := range results {
		t.add(append(took(r, "", r.of("syncd"), r.Documents), least(r.firstEvents), fmt.Sprintf("%.1f", float64(r.allocations)/float64(r.Documents)))...)
	}
	return t
}

// othersTable is what everything else took.
func othersTable(results []*result) *table {
	t := &table{header: []string{"documents", "bytes", "case", "process", "CPU µs/document", "wall s", "documents/s", "peak MB"}}
	for _, r := range results {
		for _, p := range r.series {
			if p.name != "syncd" {
				t.add(took(r, p.name, p.figures, p.documents)...)
			}
		}
	}
	return t
}

// took is the cells of one process, without its name where that is empty.
func took(r *result, name string, figures []figure, documents int) []string {
	cells := []string{strconv.Itoa(documents), strconv.Itoa(r.Size), r.name}
	if name != "" {
		cells = append(cells, name)
	}
	walls := each(figures, wallSeconds)
	return append(cells, least(each(figures, func(f figure) float64 { return perDocument(f.cpu, documents) })), least(walls),
		fmt.Sprintf("%.0f", float64(documents)/median(walls)), fmt.Sprintf("%.0f", median(each(figures, peakMB))))
}

// ratiosTable divides what syncd took by what others took on the same servers, repetition by repetition.
func ratiosTable(results []*result) *table {
	t := &table{header: []string{"documents", "bytes", "case", "CPU ÷ loops", "wall ÷ slowest loop", "CPU ÷ baseline", "wall ÷ baseline", "CPU ÷ script", "wall ÷ script", "CPU ÷ old", "wall ÷ old", "peak ÷ old"}}
	for _, r := range results {
		cells := []string{strconv.Itoa(r.Documents), strconv.Itoa(r.Size), r.name}
		for _, others := range [][]figure{r.loops(), r.of("loop: baseline"), r.of("loop: script"), r.of("old syncd")} {
			cells = append(cells, least(r.compared(others, cpuSeconds)), least(r.compared(others, wallSeconds)))
		}
		t.add(append(cells, least(r.compared(r.of("old syncd"), peakMB)))...)
	}
	return t
}

// least writes the least value and the median.
func least(values []float64) string {
	if len(values) == 0 {
		return ""
	}
	return digits(slices.Min(values)) + " / " + digits(median(values))
}
