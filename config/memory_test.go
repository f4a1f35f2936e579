package config_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
)

func TestMemorySettings(t *testing.T) {
	for run, want := range map[string]string{
		"memory: 16777216":                          "",
		"memory: 1000":                              "run.memory must be at least 16777216",
		"batch_bytes: 4194304":                      "",
		"batch_bytes: 4194305":                      "run.batch_bytes is 4194305, but run.memory, 134217728, has room for 4194304",
		"batch_bytes: 8000000, memory: 268435456":   "",
		"batch_bytes: 600000, memory: 16777216":     "run.batch_bytes is 600000, but run.memory, 16777216, has room for 524288",
		"batch_bytes: 1000, memory: 16777216":       "run.batch_bytes must be at least 1024",
		"batch_bytes: 1073741824, memory: 17179869": "has room for 536870",
	} {
		dir := write(t, map[string]string{"c.yaml": minimal + "run: {" + run + "}\n"})
		_, diags := config.Load(config.Input{Path: filepath.Join(dir, "c.yaml"), Registry: registry(t)})
		if want == "" && len(diags) > 0 || want != "" && (len(diags) != 1 || !strings.Contains(diags[0].Message, want)) {
			t.Errorf("%s: %v, want %q", run, diags, want)
		}
	}
}

// All parts together are no more than the whole, where documents are sent: a document that is being written is there three times.
func TestMemoryIsDividedUp(t *testing.T) {
	f := config.Flow{Memory: 128 << 20}
	rest := f.Memory - f.DocumentMemory() - 3*f.SendingMemory() - f.PointIDMemory()
	if rest != f.PluginMemory(syncd.KindChecker) || f.PluginMemory(syncd.KindSink) < 2*f.SendingMemory() {
		t.Errorf("%d bytes are left for plugins, and %d for the sink's queue", rest, f.PluginMemory(syncd.KindSink))
	}
}
