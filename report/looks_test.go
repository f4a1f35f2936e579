package report

import (
	"strings"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/tally"
)

// TestWhatAPlanWouldEmbed: numbers of some documents stand for all that would be sent, and what is an estimate is called one.
func TestWhatAPlanWouldEmbed(t *testing.T) {
	exact := &syncd.Tokens{By: "cl100k_base"}
	for name, c := range map[string]struct {
		by        job.Embedding
		sample    float64
		wouldSend int64
		found     engine.Embedding
		tokens    int64
		cost      float64
		estimate  bool
		lines     []string
	}{
		"all were read": {
			job.Embedding{Model: "m", Price: 0.02, By: exact, Held: true}, 0, 100, engine.Embedding{Documents: 100, Texts: 120, Tokens: 12_400_000}, 12_400_000, 0.248, false,
			[]string{"It would embed 12.4M tokens, about $0.25, in 120 texts by m", "Tokens are counted by cl100k_base"},
		},
		"some were read, the price is not known": {
			job.Embedding{Model: "m", By: exact, Held: true}, 0, 1000, engine.Embedding{Documents: 100, Texts: 120, Tokens: 5000, Unchanged: 1}, 50_000, 0, true,
			[]string{
				"It would embed about 50000 tokens in about 1200 texts by m; about 10 texts are unchanged and would not be embedded again",
				"Tokens are counted by cl100k_base in 100 of 1000 documents (--tokens reads them all)",
			},
		},
		"a sample of the documents": {
			job.Embedding{Model: "m", Price: 1, By: exact, Held: true}, 0.5, 100, engine.Embedding{Documents: 100, Texts: 100, Tokens: 1000}, 2000, 0.002, true,
			[]string{"It would embed about 2000 tokens, less than $0.01, in about 200 texts by m", "Tokens are counted by cl100k_base in 100 of 200 documents"},
		},
		"words are no tokens, and the index was not asked": {
			job.Embedding{Model: "m", By: &syncd.Tokens{By: "words", Estimate: true}}, 0, 1, engine.Embedding{Documents: 1, Texts: 1, Tokens: 7}, 7, 0, true,
			[]string{"It would embed about 7 tokens in about 1 text by m", "Tokens are counted by words and marks, an estimate; the index was not asked which texts it holds"},
		},
		"nothing counts tokens": {
			job.Embedding{Model: "m", Held: true}, 0, 1, engine.Embedding{Documents: 1, Texts: 1, Tokens: 7}, 7, 0, true,
			[]string{"It would embed about 7 tokens in about 1 text by m", "Tokens are counted by an estimate of four bytes a token"},
		},
		"all are gone":    {job.Embedding{Model: "m", By: exact, Held: true}, 0, 3, engine.Embedding{}, 0, 0, true, []string{"It would embed nothing"}},
		"nothing to send": {job.Embedding{Model: "m", By: exact, Held: true}, 0, 0, engine.Embedding{}, 0, 0, false, []string{"It would embed nothing"}},
	} {
		rule := fixture.Versioned(t, "page")[0]
		counts := tally.Counts{Scanned: c.wouldSend, Missing: c.wouldSend, WouldSend: c.wouldSend}
		if c.sample > 0 {
			counts.Scanned, counts.Unsampled = 2*c.wouldSend, c.wouldSend
		}
		res := job.PlanResult{Embedding: &c.by, Report: job.Report{Report: engine.Report{Collections: []engine.CollectionReport{{Rule: rule, Counts: counts, Embedding: &c.found}}}}}
		p := NewPlan(res, c.sample).Embed
		if p.Tokens != c.tokens || p.Estimate != c.estimate || (p.Cost != nil) != (c.by.Price > 0) || p.Cost != nil && (*p.Cost < c.cost-1e-9 || *p.Cost > c.cost+1e-9) {
			t.Errorf("%s: %+v", name, p)
		}
		if got, want := strings.Join(p.Lines(), "\n"), strings.Join(c.lines, "\n"); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
}
