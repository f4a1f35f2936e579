package spec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hbollon/go-edlib"
)

// Nearest returns the candidate that a person most likely meant by name, or "" when none is close: at most a third of
// the name's letters may differ, and case and separators do not count.
func Nearest(name string, candidates []string) string {
	fold := func(s string) string {
		return strings.NewReplacer("_", "", "-", "", " ", "").Replace(strings.ToLower(s))
	}
	want := fold(name)
	best, bestDistance := "", max(1, len(want)/3)+1
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		if d := edlib.OSADamerauLevenshteinDistance(want, fold(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// maxKnown bounds the names in a hint; a mapping may have thousands of collections.
const maxKnown = 100

// DidYouMean is the hint for an unknown name: the nearest candidate, or the list of all.
func DidYouMean(name string, candidates []string) string {
	if near := Nearest(name, candidates); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return Known(candidates)
}

// Proposals is the hint for an unknown name where a person may want to see all that there are: the nearest candidate, and the list.
func Proposals(name string, candidates []string) string {
	if near := Nearest(name, candidates); near != "" {
		return fmt.Sprintf("did you mean %q? %s", near, Known(candidates))
	}
	return Known(candidates)
}

// Known is the hint that lists all names that there are.
func Known(candidates []string) string {
	if len(candidates) == 0 {
		return ""
	}
	names := slices.Sorted(slices.Values(candidates))
	if more := len(names) - maxKnown; more > 0 {
		names = append(names[:maxKnown], fmt.Sprintf("and %d more", more))
	}
	return "known: " + strings.Join(names, ", ")
}
