package job_test

import (
	"cmp"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/runlog"
)

// TestEachProcessTellsOfTheCluster: whoever is asked says the same of who leads and who owns what.
func TestEachProcessTellsOfTheCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(8, 3000, 6)
		s.write = time.Second
		var lives []*life
		for i := range 3 {
			lives = append(lives, s.start(t, "p"+strconv.Itoa(i)))
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		var first *runlog.Cluster
		for i, l := range lives {
			now, ok := l.monitor.Live()
			if !ok || now.Cluster == nil || now.RunID == "" {
				t.Fatalf("process %d tells %+v", i, now)
			}
			c := now.Cluster
			if c.Process != "p"+strconv.Itoa(i) || c.Lanes != 8 || c.Unowned != 0 || len(c.Processes) != 3 {
				t.Errorf("process %d tells %+v", i, c)
			}
			owned, left := 0, 0
			for _, p := range c.Processes {
				owned += len(p.Lanes)
				left += p.Left()
				if slices.Contains(p.Lanes, 0) != (p.Name == c.Leader) || p.Since == nil {
					t.Errorf("process %d tells %+v, and that %s leads", i, p, c.Leader)
				}
			}
			if owned != 8 || left == 0 {
				t.Errorf("process %d knows owners of %d lanes, and %d splits that are left", i, owned, left)
			}
			if first = cmp.Or(first, c); c.Leader != first.Leader {
				t.Errorf("%s leads, and %s", c.Leader, first.Leader)
			}
			if status, _ := l.monitor.Cluster(); status.Leads() != (c.Process == c.Leader) || status.Owned() != len(own(c).Lanes) {
				t.Errorf("process %d leads: %t; it owns %d lanes of %v", i, status.Leads(), status.Owned(), own(c))
			}
			if kept, under, err := runlog.Current(l.state, "shared"); err != nil || !under || kept.Cluster == nil || kept.Cluster.Leader != c.Leader {
				t.Errorf("the state folder of process %d says %+v, %v", i, kept, err)
			}
		}
		for _, l := range lives {
			l.await(t)
		}
	})
}

func own(c *runlog.Cluster) runlog.Process {
	for _, p := range c.Processes {
		if p.Name == c.Process {
			return p
		}
	}
	return runlog.Process{}
}

// TestALeaderSaysWhoseRunItTookOver: the run of a leader that died is gone on with by another process, which names both.
func TestALeaderSaysWhoseRunItTookOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(4, 2000, 4)
		s.write = time.Second
		first := s.start(t, "first")
		time.Sleep(20 * time.Second)
		second := s.start(t, "second")
		time.Sleep(20 * time.Second)
		now, _ := first.monitor.Live()
		dies, goesOn := first, second
		if now.Cluster.Leader == "second" { // it was given the lead when it joined
			dies, goesOn = second, first
		}
		before := len(goesOn.decided)
		dies.kill()
		goesOn.await(t)
		if goesOn.err != nil || len(goesOn.decided) != before+1 {
			t.Fatalf("%v; decided: %+v", goesOn.err, goesOn.decided)
		}
		if len(first.decided) > 0 && first.decided[0].From == "first" {
			t.Errorf("the first leader took over from itself: %+v", first.decided)
		}
		want := job.Decision{Resumed: true, RunID: now.RunID, From: now.Cluster.Leader}
		got := goesOn.decided[before]
		if got.Handled == 0 {
			t.Error("nothing was handled before")
		}
		got.Interrupted, got.Handled = time.Time{}, 0
		if got != want {
			t.Errorf("decided %+v, not %+v", got, want)
		}
	})
}
