package lanes_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/store/lanes"
	"github.com/syncd-io/syncd/store/marks"
	"github.com/syncd-io/syncd/tally"
)

// TestAnotherClusterThatDoesTheSameIsTold once, and only where somebody works in it.
func TestAnotherClusterThatDoesTheSameIsTold(t *testing.T) {
	order := func(cluster, fingerprint string, outcome tally.Outcome) syncd.LaneMark {
		value, err := json.Marshal(lanes.Order{RunID: "r", Fingerprint: fingerprint, Outcome: outcome, Leader: lanes.Owner{Process: "p"}})
		if err != nil {
			t.Fatal(err)
		}
		return syncd.LaneMark{Mark: syncd.Mark{Name: "?" + cluster + "/order", Value: value}}
	}
	checkpoint := syncd.LaneMark{Mark: syncd.Mark{Name: marks.PrefixOf("g.b") + marks.SplitName("page", 0), Value: []byte("{}")}}
	for name, c := range map[string]struct {
		before, behind []syncd.LaneMark // that it has caught up
		told           bool
	}{
		"it begins":                    {behind: []syncd.LaneMark{order("g.b", "same", tally.Running)}, told: true},
		"it was under way":             {before: []syncd.LaneMark{order("g.b", "same", tally.Running)}, behind: []syncd.LaneMark{checkpoint}, told: true},
		"it died before its end":       {before: []syncd.LaneMark{order("g.b", "same", tally.Running), checkpoint}},
		"it has ended":                 {behind: []syncd.LaneMark{checkpoint, order("g.b", "same", tally.Complete)}},
		"it does something else":       {behind: []syncd.LaneMark{order("g.b", "else", tally.Running), checkpoint}},
		"it is this one":               {behind: []syncd.LaneMark{order("g.a", "same", tally.Running)}},
		"it has another name by far":   {behind: []syncd.LaneMark{order("g%2Fb%3F", "same", tally.Running)}, told: true},
		"it is the mark of no cluster": {behind: []syncd.LaneMark{{Mark: syncd.Mark{Name: "?%zz/order", Value: []byte("{}")}}, {Mark: syncd.Mark{Name: "stray", Value: []byte("{}")}}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := lanes.New(&wide{}, "g.a", lanes.Owner{Process: "a"})
				m := v.Member()
				for _, mark := range c.before {
					m.Read(mark)
				}
				m.CaughtUp()
				for _, mark := range c.behind {
					m.Read(mark)
				}
				for i, told := range []bool{c.told, false} { // once
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					name, o, err := v.Rival(ctx, "same")
					cancel()
					if (err == nil) != told || told && (o.Leader.Process != "p" || name == "g.a") {
						t.Errorf("%d: %q, %+v, %v", i, name, o, err)
					}
				}
			})
		})
	}
}

// TestProcessesAreThoseThatOwnLanes, as they come and go.
func TestProcessesAreThoseThatOwnLanes(t *testing.T) {
	v := lanes.New(&wide{}, "g.a", lanes.Owner{Process: "a"})
	m := v.Member()
	owner := func(lane, process string) {
		m.Read(syncd.LaneMark{Lane: int(lane[0] - '0'), Mark: syncd.Mark{Name: "?g.a/owner/" + lane, Value: []byte(`{"process":"` + process + `"}`)}})
	}
	owner("0", "a")
	owner("1", "b")
	known, err := v.Processes(t.Context(), nil)
	if err != nil || len(known) != 2 || !known["a"] || !known["b"] {
		t.Fatal(known, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if now, err := v.Processes(ctx, known); err == nil {
		t.Errorf("they changed to %v", now)
	}
	owner("1", "c")
	if known, err = v.Processes(t.Context(), known); err != nil || len(known) != 2 || !known["c"] {
		t.Error(known, err)
	}
}
