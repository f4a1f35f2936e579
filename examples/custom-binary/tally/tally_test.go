package tally

import (
	"errors"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestDeclaration(t *testing.T) { syncdtest.TestPlugin(t, Plugin()) }

// TestLostAnswer writes through a sink whose second answer is lost: what was written counts, and its writer can't know.
func TestLostAnswer(t *testing.T) {
	inner := &sink{counts: map[string]int{}}
	faulty := syncdtest.FaultySink(inner, syncdtest.SinkFaults{
		Write: syncdtest.Nth(2, syncdtest.Fault{Err: errors.New("connection reset"), Done: true}),
	})
	change := syncd.Change{ID: "1", Target: &syncd.Target{Collection: "page", ContentType: "page"}, Operation: syncd.Delete}
	if err := faulty.Write(t.Context(), []syncd.Change{change}); err != nil {
		t.Error(err)
	}
	if err := faulty.Write(t.Context(), []syncd.Change{change}); err == nil {
		t.Error("the fault did not come")
	}
	if n := inner.counts["page"]; n != 2 {
		t.Errorf("%d changes counted", n)
	}
}
