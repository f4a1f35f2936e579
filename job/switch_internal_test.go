package job

import (
	"strings"
	"testing"

	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/tally"
)

// TestWhatKeepsReadersFromBeingSwitched: what verify would call a difference, and what was not looked at.
func TestWhatKeepsReadersFromBeingSwitched(t *testing.T) {
	found := func(c tally.Counts, failures ...tally.Failure) Report {
		return Report{Report: engine.Report{Total: c, Collections: []engine.CollectionReport{{Found: true, Complete: true, Counts: c, Failures: failures}}}}
	}
	whole := tally.Counts{Scanned: 10, Present: 4, Missing: 6, Emitted: 6, Acked: 6}
	full := found(whole)
	full.Full = true
	nothing := found(tally.Counts{})
	nothing.Collections[0].Found = false
	failedDelete := found(whole)
	failedDelete.Deleted = tally.Counts{FailedWrite: 1}
	gone := found(whole)
	gone.Orphans = []audit.OrphanReport{{Orphans: 3, Deleted: 1}, {Orphans: 2, Deleted: 2}}
	pruned := found(whole)
	pruned.Orphans = []audit.OrphanReport{{Orphans: 3, Deleted: 3, Others: 5, Foreign: 7}}
	for name, c := range map[string]struct {
		r    Report
		want string // "" is switched
	}{
		"all is there":                {found(whole), ""},
		"what changed meanwhile":      {found(tally.Counts{Scanned: 10, Stale: 6, Partial: 2, Missing: 2, Emitted: 8, Acked: 8, Gone: 1, Overtaken: 1}), ""},
		"points of others":            {pruned, ""},
		"the index was not asked":     {full, "the index was not asked"},
		"none of the collections":     {nothing, "none of the collections"},
		"a document failed":           {found(tally.Counts{FailedStages: 1}, tally.Failure{ID: "a", Reason: "too long"}), "1 document could not be sent, such as a: too long"},
		"one that an earlier run had": {found(tally.Counts{FailedRead: 2}), "2 documents could not be sent"},
		"a delete failed":             {failedDelete, "1 document could not be sent"},
		"one point id":                {found(tally.Counts{Collisions: 1}), "has the point id of another document"},
		"left alone for its age":      {found(tally.Counts{Young: 2}), "2 documents left alone for having changed"},
		"left alone for its attempts": {found(tally.Counts{Unindexed: 1}), "1 document left alone, having been sent"},
		"gone":                        {gone, "the index holds points of 2 deleted documents"},
	} {
		s := Switched{Name: "the alias", Target: "the collection"}
		s.refuse(&c.r, true)
		if s.Refused != (c.want != "") || !strings.Contains(s.Why, c.want) || s.Refused && s.Hint == "" {
			t.Errorf("%s: %+v", name, s)
		}
		c.r.Switch = &s
		if got := OutcomeOf(conclude(&c.r, false, "", "", 0, "", nil)); s.Refused && got == tally.Complete || !s.Refused && got != tally.Complete {
			t.Errorf("%s: it ends as %s", name, got)
		}
	}
	s := Switched{}
	if s.refuse(&gone, false); s.Refused {
		t.Errorf("of a job that follows: %+v", s)
	}
}

// TestTheLookBeforeASwitch keeps nothing, tells nobody, looks for what is gone, and sends no more than the run may.
func TestTheLookBeforeASwitch(t *testing.T) {
	o := Options{Orphans: OrphansPrune, Started: func(IndexReport, bool) {}, Await: &Await{}, WaitTimeout: 1}
	o.Hooks.CollectionDone = func(engine.CollectionReport) { t.Error("told") }
	o.Limits.MaxEvents = 10
	r := &Report{Report: engine.Report{Total: tally.Counts{Emitted: 4}}}
	again := onceMore(o, r, &Plugins{})
	if again.Checkpoints != nil || again.Hooks.CollectionDone != nil || again.Started != nil || again.Await != nil || again.WaitTimeout != 0 ||
		again.Limits.MaxEvents != 6 || again.Orphans != OrphansPrune {
		t.Errorf("%+v", again)
	}
	r.Total.Emitted = 10
	if again := onceMore(o, r, &Plugins{}); again.Limits.MaxEvents != 1 { // 0 would be no limit
		t.Errorf("%d events are left", again.Limits.MaxEvents)
	}
	o.Limits.MaxEvents = 0
	if again := onceMore(o, r, &Plugins{}); again.Limits.MaxEvents != 0 {
		t.Errorf("%d events are left of no limit", again.Limits.MaxEvents)
	}
}
