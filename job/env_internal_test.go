package job

import (
	"testing"

	"github.com/syncd-io/syncd/config"
)

// TestSplitsOfACluster: each lane has several splits, so that the processes end at about the same time.
func TestSplitsOfACluster(t *testing.T) {
	for group, want := range map[string]int{"": 0, "g": 96} {
		j := &Job{Config: &config.Config{Cluster: config.Cluster{Group: group, Partitions: 24}}}
		if got := j.env(config.Plugin{}).Splits; got != want {
			t.Errorf("group %q: at least %d splits, want %d", group, got, want)
		}
	}
}
