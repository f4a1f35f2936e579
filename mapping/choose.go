package mapping

import (
	"regexp"
	"strings"
)

// exclusion begins a pattern of what is left out.
const exclusion = "!"

// IsPattern reports whether a name in a list of collections is more than a name: * is any text in it and ? any one character, and ! in
// front leaves out what the rest matches.
func IsPattern(name string) bool {
	return strings.HasPrefix(name, exclusion) || strings.ContainsAny(name, "*?")
}

// Choose returns the mapping of the collections that some patterns choose, in configuration order, and the patterns that match none. An
// exclusion holds wherever it stands; where there are only exclusions, they leave out of all. A pattern that is the very name of a
// collection means that one.
func (m *Mapping) Choose(patterns []string) (chosen *Mapping, unmatched map[string]bool) {
	unmatched = map[string]bool{}
	named := make(map[string]bool, len(m.Rules))
	for _, r := range m.Rules {
		named[r.Collection.Name] = true
	}
	wanted, unwanted := map[string]bool{}, map[string]bool{}
	all := true
	for _, p := range patterns {
		set, rest, excludes := wanted, p, false
		if !named[p] {
			if rest, excludes = strings.CutPrefix(p, exclusion); excludes {
				set = unwanted
			}
		}
		all = all && excludes
		if named[rest] {
			set[rest] = true
			continue
		}
		unmatched[p] = true
		if !IsPattern(rest) {
			continue
		}
		matches := glob(rest)
		for name := range named {
			if matches.MatchString(name) {
				set[name] = true
				delete(unmatched, p)
			}
		}
	}
	chosen = &Mapping{}
	for _, r := range m.Rules {
		if name := r.Collection.Name; (all || wanted[name]) && !unwanted[name] {
			chosen.Rules = append(chosen.Rules, r)
		}
	}
	return chosen, unmatched
}

// glob matches whole names.
func glob(pattern string) *regexp.Regexp {
	text := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
	return regexp.MustCompile("^(?s:" + text + ")$")
}
