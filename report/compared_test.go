package report

import (
	"slices"
	"strings"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/mapping"
)

// TestWhatWasNotCompared is said with the reason, and with numbers where there are any.
func TestWhatWasNotCompared(t *testing.T) {
	auditOf := func(orphans bool, rest *audit.Rest, rules ...*mapping.Rule) *job.Audit {
		a := &job.Audit{Rest: rest}
		for _, r := range rules {
			a.Report.Collections = append(a.Report.Collections, engine.CollectionReport{Rule: r})
		}
		if orphans {
			a.Report.Orphans = []audit.OrphanReport{{}}
		}
		return a
	}
	plain, versioned, filtered := fixture.Rules(t, "page", "a", "b", "c", "d", "e"), fixture.Versioned(t, "epic"), fixture.Versioned(t, "epic")
	filtered[0].Collection.Filter = `{"x": 1}`
	for name, c := range map[string]struct {
		audit    *job.Audit
		compared string
		says     []string
	}{
		"nothing missing": {auditOf(true, &audit.Rest{Counted: true}, versioned...), "ids orphans versions chunks", nil},
		"no rules":        {auditOf(true, nil, plain[0]), "ids orphans", []string{"versions: there is no version rule", "chunks: there is no rule of chunks"}},
		"no rules of some": {auditOf(true, nil, plain[0], versioned[0]), "ids orphans versions chunks", []string{
			"versions of page: there is no", "chunks of page: there is no",
		}},
		"many": {auditOf(true, nil, append(slices.Clone(plain), versioned...)...), "ids orphans versions chunks", []string{
			"versions of page, a, b, c, d and 1 more: ", "chunks of page, a, b, c, d and 1 more: ",
		}},
		"one direction": {auditOf(false, nil, versioned...), "ids versions chunks", []string{"a document for each point: the checker can't list"}},
		"filtered":      {auditOf(true, nil, filtered...), "ids orphans versions chunks", []string{"all documents of epic: they have a filter"}},
		"types": {auditOf(true, &audit.Rest{
			Counted: true, Unmapped: []syncd.TextCount{{Text: "x", Points: 2}, {Text: "y", Points: 1}}, Unchosen: []syncd.TextCount{{Text: "z", Points: 1}}, Others: 1,
		}, versioned...), "ids orphans versions chunks", []string{
			"3 points of the content types x and y: no collection", "1 point of the content types z: their collections were not chosen", "about 1 point more: they have no content type",
		}},
		"types not counted": {auditOf(true, &audit.Rest{Unmapped: []syncd.TextCount{{Text: "x", Points: 2}}, Others: 7}, versioned...), "ids orphans versions chunks", []string{
			"points of the content types x: no collection", "about 7 points more: they have content types that were not compared",
		}},
	} {
		var out Audit
		out.compared(c.audit)
		if got := strings.Join(out.Compared, " "); got != c.compared || len(out.NotCompared) != len(c.says) {
			t.Errorf("%s: compared %s, not %+v", name, got, out.NotCompared)
			continue
		}
		for i, says := range c.says {
			if got := out.NotCompared[i].Text(); !strings.HasPrefix(got, says) {
				t.Errorf("%s: %s", name, got)
			}
		}
	}
}
