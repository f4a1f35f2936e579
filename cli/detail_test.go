package cli

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/tally"
)

// TestAScheduledRunHasOneLine where all went well; else what went wrong is named before it.
func TestAScheduledRunHasOneLine(t *testing.T) {
	const stamp = `(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ `
	for name, c := range map[string]struct {
		change func(*job.Result)
		err    error
		last   string
		named  bool
	}{
		"complete": {
			func(r *job.Result) { r.Report.Total.Emitted, r.Report.Arrivals = 2, nil }, nil,
			stamp + `Complete: 2 events sent, all confirmed \(3 documents in 0s\)\n\z`, false,
		},
		"failures": {
			func(r *job.Result) { r.Report.Total.FailedWrite = 1 }, &job.EndError{Outcome: tally.Failures},
			stamp + `NOT complete: 2 events sent, all confirmed; 1 document could not be sent; 1 of them not seen in The list \(3 documents in 0s\)\n\z`, true,
		},
		"failed": {
			func(r *job.Result) { r.Ended = false }, errors.New("boom"),
			stamp + `NOT complete: 2 events confirmed, 1 more sent and perhaps arrived; run it again to send the rest \(3 documents in 0s\)\n\z`, true,
		},
	} {
		var out strings.Builder
		(&printer{w: &out, index: "The list", detail: detailLast, scheduled: true}).summary(ended(c.change), c.err)
		if !regexp.MustCompile(c.last).MatchString(out.String()) || strings.Contains(out.String(), "Summary") != c.named || !c.named && strings.Count(out.String(), "\n") != 1 {
			t.Errorf("%s:\n%s", name, out.String())
		}
	}
}
