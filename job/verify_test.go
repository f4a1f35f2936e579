package job

import (
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/verdict"
)

// TestVerifyCountsMoreThanItKeeps: the counts say how many differ, not how many can be named.
func TestVerifyCountsMoreThanItKeeps(t *testing.T) {
	a := &Audit{}
	a.reset()
	if a.TooMany() {
		t.Error("none are too many")
	}
	rule := &mapping.Rule{Collection: syncd.Collection{Name: "page"}}
	for range MaxLookedAgain + 5 {
		a.see(verdict.Item{Rule: rule, Verdict: syncd.Missing})
	}
	if n := a.Counts["page"][syncd.Missing]; n != MaxLookedAgain+5 || !a.TooMany() || len(a.Differences) != MaxLookedAgain {
		t.Errorf("counted %d, kept %d", n, len(a.Differences))
	}
}
