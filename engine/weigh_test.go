package engine

import (
	"testing"

	"github.com/syncd-io/syncd/tally"
)

// TestHowDocumentsAreReadFollowsWhatTheIndexLacks, batch by batch: each letter is one of which the index lacks nothing (n), a third (t)
// or all (a), of which all are stale or in parts (s), or of which it was not asked (u). It says after each whether documents are read whole (W) or as ids.
func TestHowDocumentsAreReadFollowsWhatTheIndexLacks(t *testing.T) {
	counts := map[rune]tally.Counts{
		'n': {Present: 30}, 't': {Present: 20, Missing: 4, Stale: 3, Partial: 3}, 'a': {Missing: 30}, 's': {Stale: 15, Partial: 15}, 'u': {},
	}
	for _, c := range []struct{ name, batches, want string }{
		{"the first batch decides", "a", "W"},
		{"alone, whatever was not asked before it", "ua", "-W"},
		{"what is there and must be sent again counts", "s", "W"},
		{"ids as long as little is lacking", "nttt", "----"},
		{"one batch is no turn", "nan", "---"},
		{"two are", "naa", "--W"},
		{"the way back takes a clear majority", "annnnnn", "WWWWW--"},
		{"what is between changes nothing", "attt", "WWWW"},
		{"nothing that was asked says nothing", "auuuu", "WWWWW"},
	} {
		t.Run(c.name, func(t *testing.T) {
			of := &collection{}
			got := ""
			for _, b := range c.batches {
				of.weigh(counts[b])
				if of.wantsWhole() {
					got += "W"
				} else {
					got += "-"
				}
			}
			if got != c.want {
				t.Errorf("after %s documents are read as %s, want %s", c.batches, got, c.want)
			}
		})
	}
}
