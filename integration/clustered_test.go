package integration

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/syncd-io/syncd/report"
)

// What processes of a cluster are given, so that its bounds are known.
const (
	sharedBatch, sharedWorkers = 100, 2
	sharedSession              = 6 * time.Second // the shortest there is
	// underWay is how many documents of a process at most were sent and not yet kept as sent.
	underWay = 2 * sharedWorkers * sharedBatch
)

// fleet is the processes that share a job.
type fleet struct {
	p       *place
	config  string
	members []*invocation
	reports map[*invocation]string // files
}

// newFleet writes the configuration of a job that processes share: rate is in documents a second, 0 for no limit.
func newFleet(t *testing.T, p *place, rate int, lanes int, settings []string, more ...string) *fleet {
	t.Helper()
	f := &fleet{p: p, config: filepath.Join(t.TempDir(), "shared.yaml"), reports: map[*invocation]string{}}
	lines := []string{
		"extends: " + p.config(t, page, settings...),
		fmt.Sprintf("cluster: {group: %s, state_topic: %s.cluster.state, partitions: %d, session_timeout: %s}", p.name, p.name, lanes, sharedSession),
		fmt.Sprintf("run: {batch_size: %d, workers: %d, readers: 2}", sharedBatch, sharedWorkers),
		fmt.Sprintf("source: {mongo: {splits: %d}}", 2*lanes),
	}
	if rate > 0 {
		lines = append(lines, fmt.Sprintf("limits: {documents_per_second: %d}", rate))
	}
	if err := os.WriteFile(f.config, []byte(strings.Join(append(lines, more...), "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// join starts a process.
func (f *fleet) join(t *testing.T, args ...string) *invocation {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.json")
	i := start(t, append([]string{"run", "-c", f.config, "--report", file}, args...)...)
	f.reports[i] = file
	f.members = append(f.members, i)
	return i
}

// replace starts a process in the place of one that has ended.
func (f *fleet) replace(t *testing.T, k int, args ...string) {
	t.Helper()
	i := f.join(t, args...)
	f.members[k] = i
	f.members = f.members[:len(f.members)-1]
}

// signal sends a signal to a process.
func (i *invocation) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := i.cmd.Process.Signal(s); err != nil {
		t.Errorf("sending %s: %v", s, err)
	}
}

// ends waits for the end of all processes, which must be a good one, and returns the report of the whole run, which one of them wrote.
func (f *fleet) ends(t *testing.T) report.Report {
	t.Helper()
	var whole []report.Report
	for k, i := range f.members {
		r := i.wait(t)
		if r.code != 0 {
			t.Errorf("process %d ended with %d:\n%s", k, r.code, r.output)
			continue
		}
		var told report.Report
		b, err := os.ReadFile(f.reports[i])
		if err == nil {
			err = json.Unmarshal(b, &told)
		}
		if err != nil {
			t.Error(err)
		}
		if told.Totals.Documents > 0 {
			whole = append(whole, told)
		}
	}
	if len(whole) != 1 {
		for k, i := range f.members {
			t.Logf("process %d:\n%s", k, i.output.String())
		}
		t.Fatalf("%d processes report a whole run", len(whole))
	}
	return whole[0]
}

// say logs what the processes said, if the test has failed.
func (f *fleet) say(t *testing.T) {
	t.Helper()
	if t.Failed() {
		for k, i := range f.members {
			t.Logf("process %d:\n%s", k, i.output.String())
		}
	}
}

// sharedEvents is how many documents the processes of a cluster share, and how often one is killed.
func sharedEvents(t *testing.T) (n, kills int) {
	t.Helper()
	if os.Getenv(eventsEnv) == "" {
		return 60_000, 5
	}
	return events(t), 20
}

// TestClusterKilled kills processes of a cluster again and again, and stops one for longer than its session. The one that reports the run
// accounts for every document once.
func TestClusterKilled(t *testing.T) {
	t.Run("at least once", func(t *testing.T) {
		testClusterKilled(t, func(*place) []string { return []string{createTopics} }, underWay)
	})
	t.Run("exactly once", func(t *testing.T) { testClusterKilled(t, (*place).exactlyOnce, 0) })
}

func testClusterKilled(t *testing.T, settings func(*place) []string, repeatsEach int) {
	t.Parallel() // most of its time it waits for sessions to end
	n, kills := sharedEvents(t)
	p, docs := manyPages(t, kafkaAddr(t), n)
	f := newFleet(t, p, n/(4*kills), 12, settings(p))
	r := rand.New(rand.NewPCG(uint64(n), 16))
	for range 3 {
		f.join(t)
	}
	defer f.say(t)
	stopped := f.members[2]
	woken := make(chan struct{})
	for k := range kills {
		until(t, fmt.Sprintf("%d of %d kills may be", k+1, kills), func() bool { return p.written(t) >= int64(n*(k+1)/(kills+3)) })
		if k == 1 {
			stopped.signal(t, syscall.SIGSTOP)
			time.AfterFunc(sharedSession+3*time.Second, func() {
				defer close(woken)
				_ = stopped.cmd.Process.Signal(syscall.SIGCONT)
			})
		}
		time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
		victim := r.IntN(2)
		if !f.members[victim].running() {
			t.Fatalf("a process ended by itself:\n%s", f.members[victim].wait(t).output)
		}
		f.members[victim].kill(t)
		f.replace(t, victim)
	}
	<-woken
	whole := f.ends(t)
	if c := whole.Totals; c.Documents != int64(n) || c.Acked != int64(n) || c.Failed != 0 || whole.Outcome != "complete" {
		t.Errorf("the report says %s, %d documents, %d events confirmed, %d failed", whole.Outcome, c.Documents, c.Acked, c.Failed)
	}
	repeats := p.wantsAll(t, docs)
	if most := (kills + 1) * repeatsEach; repeats > most {
		t.Errorf("%d events are there twice, more than the %d that can have been under way", repeats, most)
	}
	t.Logf("%d documents in %.1f s, %d kills and a process that stood still for longer than its session: %d events are there twice", n, whole.Seconds, kills, repeats)
}
