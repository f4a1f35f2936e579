package report

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// names are those of the run's collections, sorted.
func (r *Report) names() []string {
	out := make([]string, len(r.Collections))
	for i := range r.Collections {
		out[i] = r.Collections[i].Name
	}
	slices.Sort(out)
	return out
}

// whole is the most that one of several runs has read.
func whole(runs []*Report) (names []string) {
	for _, r := range runs {
		if len(r.Collections) >= len(names) { // of two that read as much, the later
			names = r.names()
		}
	}
	return names
}

// partialOf says which of several runs read other collections than the one that read most: their numbers are no continuation of those
// of the others. One that came to read nothing is not among them.
func partialOf(runs []*Report) []bool {
	out, all := make([]bool, len(runs)), whole(runs)
	for i, r := range runs {
		out[i] = len(r.Collections) > 0 && !slices.Equal(r.names(), all)
	}
	return out
}

// someOf says how many of the collections a run read that did not read all.
func (r *Report) someOf(runs []*Report) string {
	all := whole(runs)
	some := 0
	for _, name := range r.names() {
		if slices.Contains(all, name) {
			some++
		}
	}
	if some == len(r.Collections) {
		return fmt.Sprintf("%d of %d collections", some, len(all))
	}
	return "other collections"
}

// partialNote warns of a history in which not all runs read the same; empty if all did.
func partialNote(runs []*Report) string {
	n := 0
	for _, p := range partialOf(runs) {
		if p {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d runs did not read the same collections as the largest (%s): their numbers can't be compared with those of the others",
		n, len(runs), plural(int64(len(whole(runs))), "collection", "collections"))
}

// moments writes times as short as they can be told apart.
func moments(times []time.Time) []string {
	out := make([]string, len(times))
	for _, format := range []string{"Jan 2 15:04", "Jan 2 15:04:05", "Jan 2 15:04:05.000", "2006 Jan 2 15:04:05.000"} {
		for i, t := range times {
			out[i] = t.Format(format)
		}
		if seen := slices.Compact(slices.Sorted(slices.Values(out))); len(seen) == len(out) {
			return out
		}
	}
	for i := range out { // two began at once
		if i > 0 && strings.HasPrefix(out[i-1], out[i]) {
			out[i] += fmt.Sprintf(" (%d)", i+1)
		}
	}
	return out
}
