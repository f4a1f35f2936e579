package main

import (
	"fmt"
	"slices"
	"strconv"
)

// A gate is a limit on a figure. The median of its repetitions decides.
type gate struct {
	name   string
	unit   string    // "s", "MB"; empty for a ratio
	limit  float64   // the most that passes
	least  bool      // limit is the least that passes instead
	values []float64 // one for each repetition
	reason string    // why there are no values
}

// passed reports whether the median keeps to the limit. What was not measured has not passed.
func (g gate) passed() bool {
	if len(g.values) == 0 {
		return false
	}
	if g.least {
		return median(g.values) >= g.limit
	}
	return median(g.values) <= g.limit
}

// String is the gate's line.
func (g gate) String() string {
	sign, unit := "≤", ""
	if g.least {
		sign = "≥"
	}
	if g.unit != "" {
		unit = " " + g.unit
	}
	if len(g.values) == 0 {
		return fmt.Sprintf("gate  %s  %s %s%s  not measured: %s", g.name, sign, number(g.limit), unit, g.reason)
	}
	verdict := "fail"
	if g.passed() {
		verdict = "pass"
	}
	return fmt.Sprintf("gate  %s  %s %s %s%s (min %s, median %s of %d)  %s", g.name, digits(median(g.values)), sign, number(g.limit), unit,
		digits(slices.Min(g.values)), digits(median(g.values)), len(g.values), verdict)
}

// gates prints gates as they are decided, and remembers those that failed.
type gates struct {
	off    bool // nothing is decided
	failed []string
}

func (s *gates) decide(g gate) {
	if s.off {
		return
	}
	fmt.Println(g)
	if len(g.values) > 0 && !g.passed() {
		s.failed = append(s.failed, g.name)
	}
}

// median is the middle of values in order, or between the two in the middle. There must be a value.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// number writes a limit as it stands in the source.
func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// digits writes a figure with three digits.
func digits(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
