package mapping_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/syncd-io/syncd/mapping"
)

func TestChoose(t *testing.T) {
	m := &mapping.Mapping{}
	for _, name := range []string{"page", "pageDraft", "epic", "a.b", "acb", "!odd", "x/y", "new\nline"} {
		r := &mapping.Rule{}
		r.Collection.Name = name
		m.Rules = append(m.Rules, r)
	}
	for patterns, want := range map[string]string{
		"epic,page":           "page epic", // in configuration order
		"page*":               "page pageDraft",
		"page*,!pageDraft":    "page",
		"!pageDraft,page*":    "page", // wherever it stands
		"!page*":              "epic a.b acb !odd x/y new\nline",
		"!page*,!epic,!*o*":   "a.b acb x/y new\nline",
		"*":                   "page pageDraft epic a.b acb !odd x/y new\nline",
		"*,!page*":            "epic a.b acb !odd x/y new\nline",
		"a.b":                 "a.b",
		"a.?":                 "a.b", // a dot is a dot
		"a?b":                 "a.b acb",
		"!odd":                "!odd", // its very name
		"!!odd":               "page pageDraft epic a.b acb x/y new\nline",
		"x*":                  "x/y",
		"new*":                "new\nline",
		"PAGE*":               " | PAGE*",
		"pag":                 " | pag",
		"page,epic?":          "page | epic?",
		"!nothing":            "page pageDraft epic a.b acb !odd x/y new\nline | !nothing",
		"page,!page":          "",
		"[p]age":              " | [p]age",
		"page,!nothing,zzz,*": "page pageDraft epic a.b acb !odd x/y new\nline | !nothing zzz",
	} {
		chosen, unmatched := m.Choose(strings.Split(patterns, ","))
		var names []string
		for _, r := range chosen.Rules {
			names = append(names, r.Collection.Name)
		}
		got := strings.Join(names, " ")
		if len(unmatched) > 0 {
			got += " | " + strings.Join(slices.Sorted(maps.Keys(unmatched)), " ")
		}
		if got != want {
			t.Errorf("%s: %q, want %q", patterns, got, want)
		}
	}
}
