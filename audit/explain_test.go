package audit_test

import (
	"errors"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestExplain(t *testing.T) {
	f := fixture.Truth()
	rule := fixture.Versioned(t, "page")[0]
	var previewed *syncd.Change
	preview := func(c *syncd.Change) (key, value []byte, err error) {
		previewed = c
		return []byte(c.ID), make([]byte, 77), nil
	}
	for id, want := range map[string]syncd.Verdict{
		"present": syncd.Present, "whole": syncd.Present, "stale": syncd.Stale, "partial": syncd.Partial,
		"missing": syncd.Missing, "orphan": syncd.Orphan, "nowhere": syncd.Missing,
	} {
		previewed = nil
		e, err := audit.Explain(t.Context(), f.Source, f.Checker, rule, preview, id)
		if err != nil || e.Verdict != want || e.PointID != fixture.PointID("page", id, 0) || e.Seed != id+"/page/0" || e.Why == "" {
			t.Errorf("%s: %+v, %v", id, e, err)
		}
		if there := id != "orphan" && id != "nowhere"; e.Found != there || there != (e.Key == id && e.Bytes == 77) {
			t.Errorf("%s: %+v", id, e)
		}
		if c := previewed; c != nil && (c.Document == nil || c.Target.Topic != rule.Topic || c.Target.Collection != "page" || c.PointID != e.PointID ||
			c.Operation != map[bool]syncd.Operation{true: syncd.Replace, false: syncd.Insert}[want == syncd.Stale || want == syncd.Partial]) {
			t.Errorf("%s: previewed %+v", id, c)
		}
		if held := id != "missing" && id != "nowhere"; e.Held.Present != held || held && e.Held.Payload[0].Text == "" {
			t.Errorf("%s: held %+v", id, e.Held)
		}
		if chunks := map[string][2]int{"whole": {4, 4}, "partial": {3, 2}}[id]; e.Chunks != chunks[0] || e.ChunksPresent != chunks[1] {
			t.Errorf("%s: %d of %d chunks", id, e.ChunksPresent, e.Chunks)
		}
		if e, err = audit.Explain(t.Context(), f.Source, f.Checker, rule, nil, id); err != nil || e.Verdict != want || e.Bytes != 0 {
			t.Errorf("%s without a preview: %+v, %v", id, e, err)
		}
	}
}

func TestExplainWithoutASeed(t *testing.T) {
	f := fixture.New()
	f.Source.Insert("page", syncdtest.MemoryDoc{ID: "a"})
	e, err := audit.Explain(t.Context(), f.Source, f.Checker, fixture.Seeded(t, "{mongo_id}/{fields.space}", "page", "page")[0], nil, "a")
	if err != nil || !e.Found || e.Verdict != syncd.Unknown || e.Seed != "" || e.Why == "" {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestExplainThatCannotAskIsAnError(t *testing.T) {
	boom := errors.New("boom")
	first := syncdtest.Nth(1, syncdtest.Fault{Err: boom})
	f := fixture.Truth()
	rule := fixture.Versioned(t, "page")[0]
	for name, c := range map[string]struct {
		source  syncd.Source
		checker syncd.Checker
	}{
		"find":  {syncdtest.FaultySource(f.Source, syncdtest.SourceFaults{Find: first}), f.Checker},
		"fetch": {syncdtest.FaultySource(f.Source, syncdtest.SourceFaults{Fetch: first}), f.Checker},
		"read":  {f.Source, syncdtest.FaultyChecker(f.Checker, syncdtest.CheckerFaults{Read: first})},
		"check": {f.Source, syncdtest.FaultyChecker(f.Checker, syncdtest.CheckerFaults{Check: first})},
	} {
		if _, err := audit.Explain(t.Context(), c.source, c.checker, rule, nil, "whole"); !errors.Is(err, boom) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
