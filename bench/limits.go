package main

import "fmt"

// A limit is what a case's CPU is measured against: the median of the ratios must not be above it.
type limit struct {
	benchCase string
	against   string
	most      float64
}

// limits of the cases' largest measurements. Those against an old program are of the one that they were promised against.
var limits = []limit{
	{"no-op", "loops", 0.5},
	{"no-op", "old syncd", 0.55},
	{"1 % missing", "old syncd", 0.7},
	{"all missing", "old syncd", 0.75},
	{"verify", "old syncd", 0.7},
}

// judge decides the limits. The last result of a case is the one that counts.
func (b *bench) judge(results map[string]*result) {
	for _, l := range limits {
		r, others := results[l.benchCase], []figure(nil)
		g := gate{name: l.benchCase + ": CPU ÷ " + l.against, limit: l.most}
		switch {
		case r == nil:
			g.reason = "the case was not chosen"
		case l.against == "loops":
			others = r.loops()
		default:
			others = r.of(l.against)
			g.reason = "there is no old program: make bench OLD=path/to/syncd, or a git revision"
		}
		if others != nil {
			g.name = fmt.Sprintf("%s, %d documents: CPU ÷ %s", l.benchCase, r.Documents, l.against)
			g.values = r.compared(others, cpuSeconds)
		}
		b.decide(g)
	}
}
