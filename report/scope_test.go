package report

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func reportOf(names ...string) *Report {
	r := &Report{Started: time.Date(2026, 11, 24, 2, 0, 0, 0, time.UTC)}
	share := 0.5
	r.Totals.Coverage, r.Totals.Expected = &share, 10
	for _, name := range names {
		r.Collections = append(r.Collections, Collection{Name: name, Mapping: "m-" + name})
	}
	return r
}

// TestPartialRunsAreNotDrawnInOneLine with those over all collections, and are told.
func TestPartialRunsAreNotDrawnInOneLine(t *testing.T) {
	for name, c := range map[string]struct {
		runs []*Report
		want []bool
		says string
	}{
		"all the same":    {[]*Report{reportOf("a", "b"), reportOf("b", "a")}, []bool{false, false}, ""},
		"one of two":      {[]*Report{reportOf("a", "b"), reportOf("a"), reportOf("a", "b")}, []bool{false, true, false}, "1 of 3 runs did not read the same collections as the largest (2 collections)"},
		"partial first":   {[]*Report{reportOf("b"), reportOf("a", "b")}, []bool{true, false}, "1 of 2 runs"},
		"another of each": {[]*Report{reportOf("a"), reportOf("b")}, []bool{true, false}, "1 of 2 runs"}, // the later counts
		"nothing read":    {[]*Report{reportOf("a"), reportOf()}, []bool{false, false}, ""},
	} {
		if got := partialOf(c.runs); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v", name, got)
		}
		if got := partialNote(c.runs); !strings.HasPrefix(got, c.says) || (c.says == "") != (got == "") {
			t.Errorf("%s: %s", name, got)
		}
		plots := historyPlots(c.runs)
		pale := strings.Count(strings.Join(boolsText(c.want), ""), "true")
		if len(plots[0].Pale) != pale || strings.Count(plots[0].Line, "L")+strings.Count(plots[0].Line, "M") != len(c.runs)-pale {
			t.Errorf("%s: %d pale dots, the line %s", name, len(plots[0].Pale), plots[0].Line)
		}
		for i, b := range plots[1].Bars {
			if b.Pale != c.want[i] {
				t.Errorf("%s: bar %d is pale: %v", name, i, b.Pale)
			}
		}
	}
	three := historyPlots([]*Report{reportOf("a", "b"), reportOf("a"), reportOf("a", "b")})[0]
	if strings.Count(three.Line, "M") != 1 || !strings.Contains(three.Hits[1].Title, "1 of 2 collections") {
		t.Errorf("the line breaks: %s, %+v", three.Line, three.Hits)
	}
}

func boolsText(bs []bool) (out []string) {
	for _, b := range bs {
		out = append(out, map[bool]string{true: "true", false: "false"}[b])
	}
	return out
}

// TestSameIDs: another choice of collections is no other mapping.
func TestSameIDs(t *testing.T) {
	of := func(fingerprint string, r *Report) *Report { r.Config.Mapping = fingerprint; return r }
	other := reportOf("a")
	other.Collections[0].Mapping = "another"
	old := func(r *Report) *Report { // as earlier versions wrote it
		for i := range r.Collections {
			r.Collections[i].Mapping = ""
		}
		return r
	}
	for name, c := range map[string]struct {
		a, b        *Report
		same, scope bool
	}{
		"the same":                    {of("1", reportOf("a")), of("1", reportOf("a")), true, true},
		"fewer collections":           {of("1", reportOf("a", "b")), of("2", reportOf("a")), true, false},
		"another seed":                {of("1", reportOf("a")), of("2", other), false, true},
		"another seed, fewer":         {of("1", reportOf("a", "b")), of("2", other), false, false},
		"nothing in common":           {of("1", reportOf("a")), of("2", reportOf("b")), true, false},
		"old reports":                 {of("1", old(reportOf("a"))), of("2", old(reportOf("a"))), false, true},
		"old reports, fewer":          {of("1", old(reportOf("a", "b"))), of("2", old(reportOf("a"))), true, false},
		"an old and a new one, fewer": {of("1", old(reportOf("a", "b"))), of("2", reportOf("a")), true, false},
	} {
		if got := Compare(c.a, c.b); got.SameIDs != c.same || got.SameScope != c.scope {
			t.Errorf("%s: the same ids %v, the same collections %v", name, got.SameIDs, got.SameScope)
		}
	}
}

// TestLabelsOfAxesDiffer, however close the runs are and however long one took.
func TestLabelsOfAxesDiffer(t *testing.T) {
	at := time.Date(2026, 11, 24, 2, 0, 0, 0, time.UTC)
	for name, times := range map[string][]time.Time{
		"days":         {at, at.AddDate(0, 0, 1)},
		"seconds":      {at, at.Add(time.Second)},
		"milliseconds": {at, at.Add(time.Millisecond)},
		"years":        {at, at.AddDate(1, 0, 0)},
		"at once":      {at, at, at},
	} {
		got := moments(times)
		if len(slices.Compact(slices.Sorted(slices.Values(got)))) != len(times) {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := moments([]time.Time{at, at.AddDate(0, 0, 1)}); got[0] != "Nov 24 02:00" {
		t.Errorf("%q", got)
	}
	for seconds, want := range map[float64]string{
		0.03: "0 10ms 20ms", 90: "0 30s 1m 1m30s", 150: "0 30s 1m 1m30s 2m 2m30s", 1500: "0 5m 10m 15m 20m 25m", 3000: "0 10m 20m 30m 40m 50m", 5 * 3600: "0 1h 2h 3h 4h", 9000: "0 30m 1h 1h30m 2h",
	} {
		var got []string
		for _, l := range timeLabels(seconds) {
			got = append(got, l.Text)
		}
		if text := strings.Join(got, " "); !strings.HasPrefix(want, text) || len(got) < 3 {
			t.Errorf("%g s: %s, not %s", seconds, text, want)
		}
	}
}
