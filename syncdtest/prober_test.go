package syncdtest_test

import (
	"context"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/syncdtest"
)

// findings are those of a Probe that always finds the same.
type findings []syncd.Finding

func (f findings) Probe(context.Context, []syncd.ProbeTarget) []syncd.Finding { return f }

func TestProber(t *testing.T) {
	syncdtest.TestProber(t, findings{
		{Subject: "server", Status: syncd.StatusOK, Detail: "version 1"},
		{Subject: "room", Status: syncd.StatusWarning, Detail: "little", Hint: "make more"},
	}.Probe, nil)
}
