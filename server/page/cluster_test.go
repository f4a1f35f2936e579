package page_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/runlog"
)

// TestThePageShowsWhoSharesAJob: which processes there are, who leads, who owns which lanes and how much is left in them.
func TestThePageShowsWhoSharesAJob(t *testing.T) {
	now := time.Now()
	three := []runlog.Process{
		{Name: "pod-0", Host: "node1", PID: 11, Address: "node1:8080", Since: ptr(now.Add(-10 * time.Minute)), Lanes: []int{0, 1}, Splits: map[string]int{"page": 2, "epic": 3}},
		{Name: "pod-1", Host: "node2", PID: 12, Lanes: []int{2, 3, 4}, Splits: map[string]int{"page": 1}},
		{Name: "<b>pod-2</b>", Host: "node3", PID: 13, Lanes: []int{5}},
	}
	for name, c := range map[string]struct {
		cluster *runlog.Cluster
		want    []string // cells of rows and notes, in their order
		not     []string
	}{
		"all is well": {
			&runlog.Cluster{Process: "pod-1", Leader: "pod-0", Lanes: 6, Moves: 4, Processes: three},
			[]string{
				`class="note calm">3 processes share the work; lanes went to another process 4 times.`,
				"pod-0 | leads, works | node1, process 11 | node1:8080 | 2 of 6 | 5 | 10 min ago",
				"pod-1 | works, shows this page | node2, process 12 | - | 3 of 6 | 1 | -",
				"&lt;b&gt;pod-2&lt;/b&gt; | works | node3, process 13 | - | 1 of 6 | 0 | -",
			}, []string{"have no owner", "nobody is known"},
		},
		"a process that died had two lanes": {
			&runlog.Cluster{Process: "pod-0", Leader: "pod-0", Lanes: 6, Unowned: 2, Moves: 1, Processes: three[:1]},
			[]string{`class="note odd">1 process shares the work; 2 of 6 lanes have no owner; lanes went to another process 1 time.`, "pod-0 | leads, works, shows this page |"}, []string{"pod-1"},
		},
		"the leader died": {
			&runlog.Cluster{Process: "pod-1", Lanes: 6, Unowned: 3, Processes: three[1:2]},
			[]string{`class="note odd">1 process shares the work; nobody is known to lead; 3 of 6 lanes have no owner`, "pod-1 | works, shows this page |"}, []string{"leads, works"},
		},
		"a process that works alone": {nil, nil, []string{">Processes<", "share the work"}},
	} {
		t.Run(name, func(t *testing.T) {
			live := &runlog.Live{RunID: "r", Started: now, Phase: "reading", Cluster: c.cluster}
			p := newPage(t, &jobs{all: []host.Status{{Name: "job", State: host.Running, Live: live, Schedule: "once"}}}, nil)
			_, body := get(t, p, "/ui/job?name=job")
			sound(t, "/ui/job?name=job", body)
			// Cells of a row are put apart by bars, so that they read as one line.
			text := regexp.MustCompile(`</t[hd]><t[hd][^>]*>`).ReplaceAllString(body, " | ")
			text = regexp.MustCompile(`<tr><th[^>]*>`).ReplaceAllString(text, "")
			for _, part := range c.want {
				_, behind, found := strings.Cut(text, part)
				if !found {
					t.Errorf("%q is not said, or not here", part)
					continue
				}
				text = behind
			}
			for _, part := range c.not {
				if strings.Contains(body, part) {
					t.Errorf("%q is said", part)
				}
			}
			if t.Failed() {
				t.Log(body)
			}
		})
	}
}
