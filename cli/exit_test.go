package cli

import (
	"errors"
	"fmt"
	"testing"

	"github.com/syncd-io/syncd/arrival"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/tally"
)

// TestExitCodes: every way in which a run can end has its exit code, and every other error one of its own.
func TestExitCodes(t *testing.T) {
	no := errors.New("no")
	for _, c := range []struct {
		err  error
		code int
	}{
		{nil, 0}, {no, 1}, {&job.EndError{Outcome: tally.Failed, Err: no}, 1},
		{usageError("no"), 2}, {&job.UsageError{Err: no}, 2}, {fmt.Errorf("wrapped: %w", &job.UsageError{Err: no}), 2},
		{&codeError{exitInvalid, nil}, 3}, {&job.InvalidError{Err: no}, 3},
		{&codeError{exitStopped, nil}, 4}, {&tally.GuardError{}, 4}, {&tally.CoverageError{}, 4}, {&audit.DriftError{}, 4}, {&arrival.LagError{}, 4},
		{&job.EndError{Outcome: tally.Stopped}, 4}, {&job.EndError{Outcome: tally.NotArrived}, 4},
		{fmt.Errorf("wrapped: %w", &job.EndError{Outcome: tally.Failures}), 5},
		{job.ErrInterrupted, 130}, {&codeError{exitTerminated, job.ErrInterrupted}, 143},
	} {
		if code := codeOf(c.err); code != c.code {
			t.Errorf("%v: %d, not %d", c.err, code, c.code)
		}
	}
	for _, o := range tally.Outcomes() {
		if (exitOf(o) == exitDone) != (o == tally.Complete) {
			t.Errorf("%s: %d", o, exitOf(o))
		}
	}
}
