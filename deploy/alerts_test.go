package deploy_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/promql/promqltest"
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
	none := "-"
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
		"lost its position":           {map[string]string{`syncd_reconciles_total{cause="position_lost"}`: "0x2850 1x30"}, []string{"SyncdPositionLost"}},
		"lost it, but not lately":     {map[string]string{`syncd_reconciles_total{cause="position_lost"}`: "0x1000 1x1880"}, nil},
		"another target that follows": {map[string]string{`syncd_last_success_timestamp_seconds{instance="b"}`: "60"}, []string{"SyncdNoSuccess"}},
	} {
		t.Run(name, func(t *testing.T) {
			var load strings.Builder
			load.WriteString("load 1m\n")
			put := func(name, value string) {
				if value != none {
					if !strings.Contains(value, "x") {
						value += "x2880"
					}
					load.WriteString("  " + name + " " + value + "\n")
				}
			}
			for name, value := range well {
				if _, other := c.values[name]; !other {
					put(name, value)
				}
			}
			for name, value := range c.values {
				put(name, value)
			}
			stored := promqltest.LoadedStorage(t, load.String())
			defer stored.Close()
			engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
			var fire []string
			for _, r := range alerts(t) {
				q, err := engine.NewInstantQuery(t.Context(), stored, nil, r.Expr, time.Unix(now, 0))
				if err != nil {
					t.Fatal(err)
				}
				res := q.Exec(t.Context())
				v, err := res.Vector()
				if err != nil {
					t.Fatalf("%s: %v", r.Alert, err)
				}
				if len(v) > 0 {
					fire = append(fire, r.Alert)
				}
				q.Close()
			}
			slices.Sort(fire)
			if diff := cmp.Diff(c.fire, fire); diff != "" {
				t.Errorf("alerts (-want +got):\n%s", diff)
			}
		})
	}
}

type alert struct{ Alert, Expr string }

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
