package config_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/syncd-io/syncd/config"
)

func TestWaitTimeout(t *testing.T) {
	for run, want := range map[string][2]time.Duration{
		"":                           {0, 10 * time.Minute},
		"run: {wait: true}":          {0, 10 * time.Minute},
		"run: {wait_timeout: null}":  {0, 10 * time.Minute},
		"run: {wait_timeout: 1m30s}": {90 * time.Second, 90 * time.Second},
		"run: {wait_timeout: 0}":     {0, 0},
	} {
		dir := write(t, map[string]string{"c.yaml": minimal + run + "\n"})
		in := config.Input{Path: filepath.Join(dir, "c.yaml"), Registry: registry(t)}
		c, diags := config.Load(in)
		if c == nil || len(diags) > 0 {
			t.Fatalf("%s: %v", run, diags)
		}
		if got := [2]time.Duration{c.Run.WaitTimeout, c.Run.AwaitTimeout}; got != want {
			t.Errorf("%s: %v, want %v", run, got, want)
		}
		// What is printed as effective means the same.
		e, _ := config.Resolve(in)
		dir = write(t, map[string]string{"c.yaml": printed(t, e)})
		again, diags := config.Load(config.Input{Path: filepath.Join(dir, "c.yaml"), Registry: registry(t)})
		if again == nil || again.Run.AwaitTimeout != want[1] {
			t.Errorf("%s: loaded again %+v, %v", run, again, diags)
		}
	}
}

func TestAttemptsSettings(t *testing.T) {
	for run, want := range map[string]string{
		"attempts: {max: -1}":                "run.attempts.max must be at least 0",
		"attempts: {file: a.db}":             "run.attempts.file has no effect",
		"attempts: {max: 5, file: a.db}":     "",
		"attempts: {max: 5, retry: true}":    "",
		"wait_timeout: -1s":                  "run.wait_timeout must be at least 0",
		"consumer_lag: later":                "run.consumer_lag must be one of: wait, report, ignore",
		"consumer_group: g, state_dir: /tmp": "",
	} {
		dir := write(t, map[string]string{"c.yaml": minimal + "run: {" + run + "}\n"})
		_, diags := config.Load(config.Input{Path: filepath.Join(dir, "c.yaml"), Registry: registry(t)})
		if want == "" && len(diags) > 0 || want != "" && (len(diags) != 1 || !strings.Contains(diags[0].Message, want)) {
			t.Errorf("%s: %v, want %q", run, diags, want)
		}
	}
}
