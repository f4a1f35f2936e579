package syncdtest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/syncd-io/syncd"
)

// proberPatience is how long a Probe may go on after its context has ended.
const proberPatience = 5 * time.Second

// TestProber checks what every Probe must keep to, whatever it looks at: findings that can be shown, the same ones when
// asked again, and an end soon after that of the context. The plugin must be open, and its server at rest.
func TestProber(t *testing.T, p syncd.Probe, targets []syncd.ProbeTarget) {
	t.Helper()
	first := p(t.Context(), targets)
	if len(first) == 0 {
		t.Error("there is no finding, not even about the server")
	}
	for _, f := range first {
		checkFinding(t, f)
	}
	// What is there is a matter of the server; what was looked at, and with what result, must not be changed by looking.
	summary := func(findings []syncd.Finding) []string {
		out := make([]string, len(findings))
		for i, f := range findings {
			out[i] = f.Subject + ": " + string(f.Status)
		}
		return out
	}
	if again := p(t.Context(), targets); !slices.Equal(summary(first), summary(again)) {
		t.Errorf("the second Probe found something else: first %q, then %q", summary(first), summary(again))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	began := time.Now()
	for _, f := range p(ctx, targets) {
		checkFinding(t, f)
	}
	if d := time.Since(began); d > proberPatience {
		t.Errorf("Probe returned %s after the end of its context", d)
	}
}

func checkFinding(t *testing.T, f syncd.Finding) {
	t.Helper()
	statuses := []syncd.Status{syncd.StatusOK, syncd.StatusWarning, syncd.StatusFailed, syncd.StatusSkipped}
	switch {
	case f.Subject == "" || f.Detail == "":
		t.Errorf("a finding without its subject or detail: %+v", f)
	case !slices.Contains(statuses, f.Status):
		t.Errorf("the finding about %s has the status %q, which does not exist", f.Subject, f.Status)
	case strings.ContainsAny(f.Subject+f.Detail+f.Hint, "\n\r\t"):
		t.Errorf("the finding about %s has more than one line: %+v", f.Subject, f)
	case f.Status == syncd.StatusWarning && f.Hint == "":
		t.Errorf("the warning about %s does not say what to do", f.Subject)
	}
}
