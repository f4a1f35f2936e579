package deploy_test

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/template"
	"go.yaml.in/yaml/v3"
)

// TestAlertsFire has Prometheus ask every alert's question, two days after a scrape began that shows the given values. Times are in
// seconds since it began.
func TestAlertsFire(t *testing.T) {
	const now = 2 * 24 * 3600
	// A job that has followed well since a run at the beginning, which found an old document missing.
	well := map[string]string{
		"syncd_build_info": "1", "process_start_time_seconds": "0", "syncd_run_active": "0", "syncd_run_stalled": "0",
		"syncd_last_run_exit_code": "0", "syncd_last_success_timestamp_seconds": "60",
		`syncd_oldest_missing_timestamp_seconds{collection="page"}`:    "-86400",
		`syncd_stream_lag_seconds{stream="shop"}`:                      "2",
		`syncd_stream_heard_timestamp_seconds{stream="shop"}`:          "172795",
		"syncd_stream_window_seconds":                                  "36000",
		`syncd_reconciles_total{cause="position_lost"}`:                "0",
		`syncd_reconciles_total{cause="schedule"}`:                     "0 0+1x2880",
		`syncd_stream_changes_total{result="sent",stream="shop"}`:      "0+10x2880",
		`syncd_coverage_ratio{content_type="page"}`:                    "1",
		`syncd_dead_letters_total{collection="page"}`:                  "0",
		`syncd_retries_total{plugin="mongo",reason="not the primary"}`: "3",
	}
	const none = "-"
	for name, c := range map[string]struct {
		values map[string]string
		fire   []string
	}{
		"follows well": {},
		"follows nothing and has not run since": {map[string]string{
			`syncd_stream_lag_seconds{stream="shop"}`: none, `syncd_stream_heard_timestamp_seconds{stream="shop"}`: none, "syncd_stream_window_seconds": none,
		}, []string{"SyncdMissingOld", "SyncdNoSuccess"}},
		"never ran":                 {map[string]string{"syncd_last_success_timestamp_seconds": none}, nil},
		"four minutes":              {map[string]string{`syncd_stream_lag_seconds{stream="shop"}`: "240"}, nil},
		"six minutes":               {map[string]string{`syncd_stream_lag_seconds{stream="shop"}`: "360"}, []string{"SyncdFollowingBehind"}},
		"a window of 10":            {map[string]string{"syncd_stream_window_seconds": "600", `syncd_stream_lag_seconds{stream="shop"}`: "310"}, []string{"SyncdFollowingBehind", "SyncdWindowHalf"}},
		"a window of 11":            {map[string]string{"syncd_stream_window_seconds": "660", `syncd_stream_lag_seconds{stream="shop"}`: "290"}, nil},
		"a window that is not told": {map[string]string{"syncd_stream_window_seconds": none, `syncd_stream_lag_seconds{stream="shop"}`: "290"}, nil},
		"one of two streams": {map[string]string{`syncd_stream_lag_seconds{stream="hr"}`: "90000"},
			[]string{"SyncdFollowingBehind", "SyncdNoSuccess", "SyncdWindowHalf"}},
		"a day behind": {map[string]string{`syncd_stream_lag_seconds{stream="shop"}`: "90000", "syncd_stream_window_seconds": none},
			[]string{"SyncdFollowingBehind", "SyncdNoSuccess"}},
		"silent for 50 s": {map[string]string{`syncd_stream_heard_timestamp_seconds{stream="shop"}`: "172750"}, nil},
		"silent for 70 s": {map[string]string{`syncd_stream_heard_timestamp_seconds{stream="shop"}`: "172730"}, []string{"SyncdStreamSilent"}},
		"looks at all documents again": {map[string]string{
			"syncd_run_active": "1", `syncd_stream_heard_timestamp_seconds{stream="shop"}`: "172000", `syncd_stream_lag_seconds{stream="shop"}`: "800",
		}, nil},
		"a log of 9 GB":               {map[string]string{"syncd_stream_retained_bytes": "9e9"}, nil},
		"a log of 12 GB":              {map[string]string{"syncd_stream_retained_bytes": "12e9"}, []string{"SyncdLogRetained"}},
		"lost its position":           {map[string]string{`syncd_reconciles_total{cause="position_lost"}`: "0x2850 1x30"}, []string{"SyncdPositionLost"}},
		"lost it, but not lately":     {map[string]string{`syncd_reconciles_total{cause="position_lost"}`: "0x1000 1x1880"}, nil},
		"another target that follows": {map[string]string{`syncd_last_success_timestamp_seconds{instance="b"}`: "60"}, []string{"SyncdNoSuccess"}},
	} {
		t.Run(name, func(t *testing.T) {
			values := maps.Clone(well)
			maps.Copy(values, c.values)
			alone := scrapes{}
			for name, value := range values {
				alone.put(name, value, "")
			}
			if diff := cmp.Diff(c.fire, alone.firing(t, now, false)); diff != "" {
				t.Errorf("alerts (-want +got):\n%s", diff)
			}
			// The same in a service, beside a job that is well and looks at all documents again: of that one nothing fires, and it keeps
			// nothing of the other silent.
			service := scrapes{}
			for name, value := range values {
				service.put(name, value, "bad")
			}
			for name, value := range well {
				if name == "syncd_run_active" {
					value = "1"
				}
				service.put(name, value, "good")
			}
			var want []string
			for _, name := range c.fire {
				want = append(want, name+" of bad")
			}
			if diff := cmp.Diff(want, service.firing(t, now, false)); diff != "" {
				t.Errorf("alerts of a service (-want +got):\n%s", diff)
			}
		})
	}
}

// TestClusterAlertsFire has two processes share jobs; what counts is what they have together.
func TestClusterAlertsFire(t *testing.T) {
	const now = 2 * 24 * 3600
	for name, c := range map[string]struct {
		leads, owned [2]string
		fire         []string
	}{
		"one leads":                {[2]string{"0", "1"}, [2]string{"3", "1"}, nil},
		"nobody leads":             {[2]string{"0", "0"}, [2]string{"3", "1"}, []string{"SyncdClusterNoLeader of bad"}},
		"nobody leads for 30 s":    {[2]string{"0", "1x2879 0"}, [2]string{"3", "1"}, nil},
		"lanes without owner":      {[2]string{"0", "1"}, [2]string{"2", "1"}, []string{"SyncdClusterLanesUnowned of bad"}},
		"one is gone with its own": {[2]string{"0x2000 stale", "1"}, [2]string{"1x2000 stale", "3"}, []string{"SyncdClusterLanesUnowned of bad"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := scrapes{}
			for i, instance := range []string{"a", "b"} {
				for _, job := range []string{"bad", "good"} {
					leads, owned := c.leads[i], c.owned[i]
					if job == "good" {
						leads, owned = strconv.Itoa(i), "2"
					}
					s.put(`syncd_cluster_leader{instance="`+instance+`"}`, leads, job)
					s.put(`syncd_cluster_lanes_owned{instance="`+instance+`"}`, owned, job)
					s.put(`syncd_cluster_lanes{instance="`+instance+`"}`, "4", job)
				}
			}
			if diff := cmp.Diff(c.fire, s.firing(t, now, true)); diff != "" {
				t.Errorf("alerts (-want +got):\n%s", diff)
			}
		})
	}
}

// TestJobAlertsFire has one of a service's two jobs in a state; times are in minutes before now.
func TestJobAlertsFire(t *testing.T) {
	const now = 2 * 24 * 3600
	// Each begins with a sample, be it one of none: the store takes nothing that is much older than the first it is given.
	always := func(state string) map[string]string { return map[string]string{state: "1x2880"} }
	since := func(minutes int, state string) map[string]string {
		return map[string]string{state: fmt.Sprintf("stale _x%d 1x%d", 2880-minutes-1, minutes), "running": fmt.Sprintf("1x%d stale", 2880-minutes-1)}
	}
	for name, c := range map[string]struct {
		states map[string]string
		fire   []string
	}{
		"running":             {always("running"), []string{"SyncdNoSuccess of bad"}},
		"waiting":             {always("waiting"), []string{"SyncdNoSuccess of bad"}},
		"paused":              {always("paused"), nil},
		"stopped":             {always("stopped"), nil},
		"done":                {always("done"), nil},
		"failed":              {always("failed"), []string{"SyncdJobFailed of bad", "SyncdNoSuccess of bad"}},
		"failed for 20":       {since(20, "failed"), []string{"SyncdJobFailed of bad", "SyncdNoSuccess of bad"}},
		"failed for 10":       {since(10, "failed"), []string{"SyncdNoSuccess of bad"}},
		"invalid for 20":      {since(20, "invalid"), []string{"SyncdJobFailed of bad", "SyncdNoSuccess of bad"}},
		"removed for 20":      {since(20, "removed"), []string{"SyncdJobFailed of bad", "SyncdNoSuccess of bad"}},
		"retrying for 20":     {since(20, "retrying"), []string{"SyncdJobFailed of bad", "SyncdNoSuccess of bad"}},
		"retries all the day": {map[string]string{"running": strings.Repeat("1x3 stale ", 576), "retrying": strings.Repeat("stale _x2 1 stale ", 576)}, []string{"SyncdJobFailed of bad", "SyncdNoSuccess of bad"}},
		"got over it": {map[string]string{"retrying": "stale _x2839 1x10 stale", "running": "1x2839 stale _x10 1x29"},
			[]string{"SyncdNoSuccess of bad"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := scrapes{"process_start_time_seconds 0x2880", `syncd_build_info{syncd_job="bad"} 1x2880`, `syncd_build_info{syncd_job="good"} 1x2880`,
				`syncd_job_state{state="running",syncd_job="good"} 1x2880`, `syncd_last_success_timestamp_seconds{syncd_job="good"} 172000x2880`,
				// One that was added an hour ago has an hour's time, and one without a file was never seen to begin.
				`syncd_build_info{syncd_job="new"} stale _x2819 1x60`, `syncd_job_state{state="running",syncd_job="new"} stale _x2819 1x60`}
			for state, values := range c.states {
				s = append(s, `syncd_job_state{state="`+state+`",syncd_job="bad"} `+values)
			}
			if diff := cmp.Diff(c.fire, s.firing(t, now, true)); diff != "" {
				t.Errorf("alerts (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAlertsNameTheJob expands the texts of alerts for a job of a service, and for a process that has one job.
func TestAlertsNameTheJob(t *testing.T) {
	const definitions = "{{ $labels := .Labels }}{{ $value := .Value }}"
	for _, r := range alerts(t) {
		for _, job := range []string{"", "orders"} {
			labels := map[string]string{"job": "syncd", "instance": "a:9090", "collection": "page", "content_type": "page", "plugin": "mongo", "reason": "r",
				"stream": "shop", "state": "failed"}
			if job != "" {
				labels["syncd_job"] = job
			}
			data := template.AlertTemplateData(labels, nil, "", promql.Sample{F: 7})
			for _, field := range []string{"summary", "description"} {
				said, err := template.NewTemplateExpander(t.Context(), definitions+r.Annotations[field], r.Alert, data, 0, nil, &url.URL{}, nil).Expand()
				if err != nil || strings.Contains(said, "no value") || said == "" {
					t.Errorf("%s: %s: %q, %v", r.Alert, field, said, err)
				}
				if field == "summary" && (job != "" && !strings.Contains(said, job) || job == "" && r.Alert != "SyncdJobFailed" && strings.HasPrefix(said, ":")) {
					t.Errorf("%s of job %q: %q", r.Alert, job, said)
				}
			}
		}
	}
}

// scrapes are series and their values, one a minute, in the notation of Prometheus's own tests.
type scrapes []string

// put adds a series of a service's job; of a process that runs one job its name is empty. The value "-" is none.
func (s *scrapes) put(name, value, job string) {
	if value == "-" {
		return
	}
	if !strings.Contains(value, "x") {
		value += "x2880"
	}
	if job != "" && strings.HasPrefix(name, "syncd_") {
		metric, labels, some := strings.Cut(name, "{")
		if some {
			labels = "," + labels
		} else {
			labels = "}"
		}
		name = metric + `{syncd_job="` + job + `"` + labels
	}
	if line := name + " " + value; !slices.Contains(*s, line) {
		*s = append(*s, line)
	}
}

// firing lists the alerts whose expression has a result, each with the job that it is about; with lasting only those that had the same
// one for as long as the rule asks for.
func (s scrapes) firing(t *testing.T, now int64, lasting bool) (fire []string) {
	t.Helper()
	stored := promqltest.LoadedStorage(t, "load 1m\n  "+strings.Join(s, "\n  ")+"\n")
	defer stored.Close()
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	for _, r := range alerts(t) {
		var pending time.Duration
		if lasting && r.For != "" {
			d, err := model.ParseDuration(r.For)
			if err != nil {
				t.Fatalf("%s: %v", r.Alert, err)
			}
			pending = time.Duration(d)
		}
		const step = time.Minute
		end := time.Unix(now, 0)
		q, err := engine.NewRangeQuery(t.Context(), stored, nil, r.Expr, end.Add(-pending), end, step)
		if err != nil {
			t.Fatal(err)
		}
		res := q.Exec(t.Context())
		all, err := res.Matrix()
		if err != nil {
			t.Fatalf("%s: %v", r.Alert, err)
		}
		for _, series := range all {
			if len(series.Floats) < int(pending/step)+1 {
				continue
			}
			name := r.Alert
			if job := series.Metric.Get("syncd_job"); job != "" {
				name += " of " + job
			}
			if !slices.Contains(fire, name) {
				fire = append(fire, name)
			}
		}
		q.Close()
	}
	slices.Sort(fire)
	return fire
}

type alert struct {
	Alert, Expr, For string
	Annotations      map[string]string
}

func alerts(t *testing.T) (all []alert) {
	t.Helper()
	text, err := os.ReadFile("prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct{ Groups []struct{ Rules []alert } }
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	for _, g := range rules.Groups {
		all = append(all, g.Rules...)
	}
	return all
}
