package deploy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

// series are the names of metrics that can be asked for, each with its labels: those in the table of docs/monitoring.md, which a
// test of package metrics compares with a scrape, and those of the process that the files ask for.
func series(t *testing.T) map[string][]string {
	t.Helper()
	target := []string{"job", "instance"}
	out := map[string][]string{
		"go_goroutines": target, "process_cpu_seconds_total": target, "process_resident_memory_bytes": target,
		"process_start_time_seconds": target,
	}
	row := regexp.MustCompile("(?m)^\\| `(syncd_\\w+)` \\| (counter|gauge|histogram) \\| ([a-z_, ]*) \\| ")
	for _, m := range row.FindAllStringSubmatch(read(t, filepath.Join(root, "docs", "monitoring.md")), -1) {
		name, labels := m[1], append(slices.Clone(target), "syncd_job") // absent in a process that runs one job
		for label := range strings.SplitSeq(m[3], ", ") {
			if label != "" && label != "syncd_job" {
				labels = append(labels, label)
			}
		}
		if m[2] == "histogram" {
			out[name+"_sum"], out[name+"_count"] = labels, labels
			out[name+"_bucket"] = append(slices.Clone(labels), "le")
			continue
		}
		out[name] = labels
	}
	if len(out) < 25 {
		t.Fatalf("docs/monitoring.md names only %v", slices.Sorted(maps.Keys(out)))
	}
	return out
}

// ask parses an expression, checks the names in it, and returns the labels that its series have.
func ask(t *testing.T, where, expr string, known map[string][]string) (labels []string) {
	t.Helper()
	tree, err := parser.NewParser(parser.Options{}).ParseExpr(strings.ReplaceAll(expr, "$__rate_interval", "5m"))
	if err != nil {
		t.Errorf("%s: %v in %s", where, err, expr)
		return nil
	}
	have := func(labels []string, name string) {
		if !slices.Contains(labels, name) {
			t.Errorf("%s: no label %s among %v in %s", where, name, labels, expr)
		}
	}
	parser.Inspect(tree, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			of, ok := known[n.Name]
			if !ok {
				t.Errorf("%s: there is no metric %s", where, n.Name)
			}
			for _, m := range n.LabelMatchers {
				if m.Name != "__name__" {
					have(of, m.Name)
				}
			}
			labels = append(labels, of...)
		}
		return nil
	})
	parser.Inspect(tree, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.AggregateExpr:
			for _, name := range n.Grouping {
				have(labels, name)
			}
			if !n.Without {
				labels = n.Grouping
			}
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				for _, name := range n.VectorMatching.MatchingLabels {
					have(append([]string{"job", "instance"}, labels...), name)
				}
			}
		}
		return nil
	})
	return labels
}

type panel struct {
	ID      int
	Title   string
	Type    string
	Targets []struct{ Expr, LegendFormat string }
	GridPos struct{ X, Y, W, H int }

	FieldConfig struct {
		Defaults struct {
			Mappings []struct {
				Options map[string]struct{ Text string }
			}
		}
	}
}

type grafana struct {
	Panels      []panel
	Annotations struct{ List []struct{ Expr string } }
	Templating  struct{ List []struct{ Query any } }
}

func dashboard(t *testing.T) (board grafana) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, "grafana/syncd-dashboard.json")), &board); err != nil {
		t.Fatal(err)
	}
	return board
}

func TestDashboard(t *testing.T) {
	board := dashboard(t)
	known := series(t)
	legend := regexp.MustCompile(`\{\{(\w+)\}\}`)
	asked := map[string]bool{}
	var covered [][4]int
	for i, p := range board.Panels {
		if p.ID != i+1 || p.Title == "" || p.Type != "row" && len(p.Targets) == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d: %+v", i, p)
		}
		at := [4]int{p.GridPos.X, p.GridPos.Y, p.GridPos.X + p.GridPos.W, p.GridPos.Y + p.GridPos.H}
		for _, o := range covered {
			if at[0] < o[2] && o[0] < at[2] && at[1] < o[3] && o[1] < at[3] {
				t.Errorf("panel %s lies over another", p.Title)
			}
		}
		covered = append(covered, at)
		for _, target := range p.Targets {
			labels := ask(t, p.Title, target.Expr, known)
			for _, l := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
				if !slices.Contains(labels, l[1]) {
					t.Errorf("panel %s: the legend's label %s is none of %v", p.Title, l[1], labels)
				}
			}
			for name := range known {
				if strings.Contains(target.Expr, name) {
					asked[name] = true
				}
			}
			// Of each metric the job that was chosen, and a line for each; what is added up over jobs is said to be.
			if strings.Count(target.Expr, "syncd_job=~\"$syncd_job\"") != len(regexp.MustCompile(`syncd_\w+\{`).FindAllString(target.Expr, -1)) {
				t.Errorf("panel %s: a metric of all jobs in %s", p.Title, target.Expr)
			}
			if strings.Contains(target.Expr, "syncd_") && !strings.Contains(target.LegendFormat, "{{syncd_job}}") && p.Title != "Jobs by state" {
				t.Errorf("panel %s: the legend %q does not tell the job", p.Title, target.LegendFormat)
			}
		}
	}
	for _, a := range board.Annotations.List {
		ask(t, "annotation", a.Expr, known)
	}
	for _, v := range board.Templating.List {
		if q, ok := v.Query.(map[string]any); ok {
			arg := regexp.MustCompile(`^label_values\((.*), \w+\)$`).FindStringSubmatch(fmt.Sprint(q["query"]))
			if arg == nil {
				t.Errorf("variable: %v", q)
				continue
			}
			ask(t, "variable", arg[1], known)
		}
	}
	// What the dashboard leaves out is left out on purpose.
	for _, name := range []string{"syncd_run_start_timestamp_seconds", "syncd_run_last_move_timestamp_seconds", "syncd_last_run_timestamp_seconds", "syncd_build_info"} {
		asked[name] = true
	}
	for name := range known {
		if strings.HasPrefix(name, "syncd_") && !asked[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
}

// TestDashboardStates has the number of each state that a job can be in shown as its name.
func TestDashboardStates(t *testing.T) {
	board := dashboard(t)
	i := slices.IndexFunc(board.Panels, func(p panel) bool { return p.Type == "state-timeline" })
	if i < 0 {
		t.Fatal("no panel shows the states of jobs over time")
	}
	p := board.Panels[i]
	states := regexp.MustCompile(`(?m)^\t\w+ +State += "(\w+)"`).FindAllStringSubmatch(read(t, filepath.Join(root, "job", "host", "status.go")), -1)
	if len(states) < 10 {
		t.Fatalf("package host has the states %v", states)
	}
	numbers := map[string]string{}
	for _, m := range regexp.MustCompile(`state="(\w+)"\} \* (\d+)`).FindAllStringSubmatch(p.Targets[0].Expr, -1) {
		numbers[m[1]] = m[2]
	}
	if len(numbers) != len(states) {
		t.Errorf("the panel knows %d states, package host %d", len(numbers), len(states))
	}
	for _, s := range states {
		if text := p.FieldConfig.Defaults.Mappings[0].Options[numbers[s[1]]].Text; text != s[1] {
			t.Errorf("a job that is %s is shown as %q", s[1], text)
		}
	}
}

func TestAlerts(t *testing.T) {
	text, err := os.ReadFile("prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For string
				Labels           map[string]string
				Annotations      map[string]string
			}
		}
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&rules); err != nil {
		t.Fatal(err)
	}
	known := series(t)
	seen := map[string]bool{}
	runbook := regexp.MustCompile(`^docs/operations\.md#[a-z-]+$`)
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			labels := ask(t, r.Alert, r.Expr, known)
			for _, l := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(fmt.Sprint(r.Annotations), -1) {
				if !slices.Contains(labels, l[1]) {
					t.Errorf("%s: its text's label %s is none of %v", r.Alert, l[1], labels)
				}
			}
			if url := r.Annotations["runbook_url"]; seen[url] || seen[r.Alert] || !runbook.MatchString(url) ||
				r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Labels["severity"] == "" {
				t.Errorf("%s: %+v", r.Alert, r)
			}
			seen[r.Alert], seen[r.Annotations["runbook_url"]] = true, true
		}
	}
	if len(seen) < 24 {
		t.Errorf("%d alerts", len(seen)/2)
	}
}

// TestMyFirstAlert: the rule that docs/monitoring.md shows is one, of a metric that there is.
func TestMyFirstAlert(t *testing.T) {
	m := regexp.MustCompile("(?ms)^```yaml alert\n(.*?)^```$").FindStringSubmatch(read(t, filepath.Join(root, "docs", "monitoring.md")))
	if m == nil {
		t.Fatal("docs/monitoring.md shows no alert")
	}
	var rules struct{ Groups []struct{ Rules []alert } }
	if err := yaml.Unmarshal([]byte(m[1]), &rules); err != nil || len(rules.Groups) != 1 || len(rules.Groups[0].Rules) != 1 {
		t.Fatalf("%v: %+v", err, rules)
	}
	rule := rules.Groups[0].Rules[0]
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(rule.Expr)
	if err != nil {
		t.Fatal(err)
	}
	known := series(t)
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok && known[v.Name] == nil {
			t.Errorf("there is no metric %s", v.Name)
		}
		return nil
	})
	if rule.For == "" || rule.Annotations["summary"] == "" {
		t.Errorf("%+v", rule)
	}
}
