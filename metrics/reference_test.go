package metrics_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/syncd-io/syncd/metrics"
)

// family is a metric as a scrape shows it after everything has happened.
type family struct {
	*dto.MetricFamily
	labels []string
}

func families(t *testing.T) []family {
	t.Helper()
	m := metrics.New("v1.2.3")
	everything(t, m)
	gathered, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	add := func(m *metrics.Metrics) {
		more, err := m.Gatherer().Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range more {
			if !slices.ContainsFunc(gathered, func(g *dto.MetricFamily) bool { return g.GetName() == f.GetName() }) {
				gathered = append(gathered, f)
			}
		}
	}
	followed(t, add)
	clustered(t, func(m, _ *metrics.Metrics) { add(m) }, nil)
	service, err := metrics.NewService("v1.2.3", func() []metrics.JobState { return []metrics.JobState{{Job: "pages", State: "running"}} }).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range service {
		if f.GetName() == "syncd_job_state" {
			gathered = append(gathered, f)
		}
	}
	slices.SortFunc(gathered, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	var out []family
	for _, f := range gathered {
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		out = append(out, family{f, labels})
	}
	return out
}

// TestReference compares the table in the documentation with what a scrape shows. The tests of deploy/ read the metrics of alerts
// and dashboards in it. To write it anew: go test ./metrics -run TestReference -update
func TestReference(t *testing.T) {
	const file, begin, end = "../docs/monitoring.md", "<!-- metrics: generated -->\n", "<!-- end -->\n"
	var table strings.Builder
	table.WriteString("| metric | kind | labels | what it is |\n|---|---|---|---|\n")
	for _, f := range families(t) {
		if strings.HasPrefix(f.GetName(), "syncd_") {
			fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(f.labels, ", "), f.GetHelp())
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	got, after, ok2 := strings.Cut(rest, end)
	switch {
	case !ok || !ok2:
		t.Fatalf("%s has no place for the table", file)
	case got == table.String():
	case *update:
		if err := os.WriteFile(file, []byte(before+begin+table.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is behind: go test ./metrics -run TestReference -update", file)
	}
}
