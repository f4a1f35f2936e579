package connect

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/runlog"
)

// TestWorkersOfACluster: the connector and what it follows are the leader's, a collection that of the process with most to do of it; this
// process is called by the address at which it was asked, others by that of their service, or by name.
func TestWorkersOfACluster(t *testing.T) {
	c := &config.Config{Mapping: &mapping.Mapping{}}
	c.Run.Follow = true
	for _, name := range []string{"page", "epic", "task"} {
		c.Mapping.Rules = append(c.Mapping.Rules, &mapping.Rule{Collection: syncd.Collection{Name: name}})
	}
	processes := []runlog.Process{
		{Name: "a", Splits: map[string]int{"page": 1}},
		{Name: "b", Address: "b:8083", Splits: map[string]int{"page": 3, "epic": 1}},
		{Name: "c", Splits: map[string]int{"epic": 2}},
	}
	for name, e := range map[string]struct {
		cluster *runlog.Cluster
		want    []string // of the connector, and of what it follows, page, epic and task
	}{
		"alone":                    {nil, []string{"here", "here", "here", "here", "here"}},
		"this one leads":           {&runlog.Cluster{Process: "a", Leader: "a", Processes: processes}, []string{"here", "here", "b:8083", "c", "here"}},
		"another one leads":        {&runlog.Cluster{Process: "c", Leader: "b", Processes: processes}, []string{"b:8083", "b:8083", "b:8083", "here", "b:8083"}},
		"nobody is known to lead":  {&runlog.Cluster{Process: "c", Processes: processes}, []string{"here", "here", "b:8083", "here", "here"}},
		"nobody is known to share": {&runlog.Cluster{Process: "c"}, []string{"here", "here", "here", "here", "here"}},
	} {
		j := host.Status{Name: "j", State: host.Running, Live: &runlog.Live{Cluster: e.cluster}}
		got := (&API{}).statusAt("here", j, c)
		workers := []string{got.Connector.Worker}
		for _, task := range got.Tasks {
			workers = append(workers, task.Worker)
		}
		if len(workers) != len(e.want) {
			t.Fatalf("%s: %v", name, workers)
		}
		for i := range workers {
			if workers[i] != e.want[i] {
				t.Errorf("%s: %v, not %v", name, workers, e.want)
				break
			}
		}
	}
}

// TestTheSettingThatIsNoTextIsTheSameEachTime: of several the first by name is told.
func TestTheSettingThatIsNoTextIsTheSameEachTime(t *testing.T) {
	for range 20 {
		var s settings
		if err := json.Unmarshal([]byte(`{"b": {}, "a": [], "c": {}, "d": "text"}`), &s); err == nil || !strings.Contains(err.Error(), `"a"`) {
			t.Fatal(err)
		}
	}
}
