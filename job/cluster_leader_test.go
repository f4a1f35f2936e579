package job_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd"
	sides "github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

// leader is the process that owns the lane of whoever leads, as far as it knows; nil where nobody does.
func leader(lives []*life) *life {
	for _, l := range lives {
		if s, ok := l.monitor.Cluster(); ok && s.Leads() && !l.killed {
			return l
		}
	}
	return nil
}

// phase says what the run of a leader is about at this moment.
func phase(l *life) string {
	status, _ := l.monitor.Cluster()
	now, ok := l.monitor.Live()
	switch {
	case status.Order.RunID == "":
		return "joining"
	case status.Order.Outcome != tally.Running:
		return "reporting"
	case !ok:
		return "taking over"
	}
	if now.Phase != "reading" {
		return now.Phase
	}
	planned, left := true, 0
	for _, c := range now.Collections {
		planned = planned && c.Started
	}
	for _, l := range status.Lanes {
		left += l.Splits
	}
	switch {
	case !planned || len(now.Collections) == 0:
		return "planning"
	case left > 0:
		return "reading"
	}
	return "proving"
}

// TestALeaderIsKilledInEachPhase, at one moment after another of a run: the others end it, and nothing is lost. Whoever reports it
// accounts for each document once; that of a leader which dies when all is done is lost with it.
func TestALeaderIsKilledInEachPhase(t *testing.T) {
	const documents, orphans = 120, 20
	reached := map[string]int{}
	for _, exact := range []bool{false, true} {
		for after := time.Duration(0); after < 1150*time.Millisecond; after += 15 * time.Millisecond {
			if after > 800*time.Millisecond && after < 930*time.Millisecond && !exact { // all is read, and to prove that takes no time
				after -= 10 * time.Millisecond
			}
			t.Run(fmt.Sprintf("after=%s,exactly_once=%t", after, exact), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newShared(6, documents, 3)
					s.exact, s.write, s.broker.Latency = exact, 100*time.Millisecond, 50*time.Millisecond
					deleted := map[string]int{}
					if exact { // whose sink tells deletes from other events
						s.run, s.more = "  orphans: prune\n", "limits: {max_deletes: 100}\n"
						for i := range orphans {
							id := "gone" + strconv.Itoa(i)
							s.index.Put(sides.PointID("page", id, 0), map[string]any{"mongo_id": id, "content_type": "page", "chunk_index": 0, "source": "m"})
						}
						s.broker.Committed = func(changes []syncd.Change) {
							var kept []syncd.Change
							for _, c := range changes {
								if c.Operation == syncd.Delete {
									deleted[c.ID]++
								} else {
									kept = append(kept, c)
								}
							}
							s.take(kept)
						}
					}
					lives := []*life{s.start(t, "0"), s.start(t, "1"), s.start(t, "2")}
					time.Sleep(after)
					synctest.Wait()
					killed, at := leader(lives), ""
					if killed != nil {
						at = phase(killed)
						reached[at]++
						killed.kill()
					}
					reports := 0
					for _, l := range lives {
						if l == killed {
							continue
						}
						l.await(t)
						if l.err != nil {
							t.Error(l.err)
						}
						if c := l.res.Report.Total; c.Scanned > 0 {
							reports++
							if c.Scanned != documents || c.Failed() > 0 {
								t.Errorf("the report accounts for %d documents, and %d failed", c.Scanned, c.Failed())
							}
						}
					}
					if reports > 1 || reports == 0 && at != "done" && at != "reporting" {
						t.Errorf("%d processes report the run", reports)
					}
					s.settled(t, documents, 2*3*7)
					if exact && len(deleted) != orphans {
						t.Errorf("%d of %d orphans are deleted", len(deleted), orphans)
					}
					for id, n := range deleted {
						if n > 1 {
							t.Errorf("orphan %s is deleted %d times", id, n)
						}
					}
					if t.Failed() {
						t.Log(s.log.String())
					}
				})
			})
		}
	}
	// To prove takes no time here, nor does what follows the word of the end: they are met by chance. That word is on its way while it is done.
	for _, phase := range []string{"joining", "planning", "reading", "looking for orphans", "done"} {
		if reached[phase] == 0 {
			t.Errorf("no leader was killed %s", phase)
		}
	}
	t.Log(reached)
}

// TestToHandOverRepeatsNothing: a leader that follows and whose lane others are to have ends what is under way and keeps it first.
func TestToHandOverRepeatsNothing(t *testing.T) {
	for n := range 4 {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShared(4, 0, 2)
				s.run = "  follow: true\n"
				s.source.Record()
				s.source.Create("page")
				s.source.Create("epic")
				changes := 0
				stop, stopped := make(chan struct{}), make(chan struct{})
				lives := []*life{s.start(t, "0")}
				time.Sleep(20 * time.Second)
				go func() {
					defer close(stopped)
					for ; ; changes++ {
						select {
						case <-stop:
							return
						case <-time.After(7 * time.Millisecond):
						}
						s.source.Insert("page", syncdtest.MemoryDoc{ID: strconv.Itoa(changes), Fields: map[string]any{"v": 1}})
					}
				}()
				leaders := []string{}
				for i := range 6 {
					time.Sleep(time.Duration(2000+n*3) * time.Millisecond)
					if l := leader(lives); l != nil && (len(leaders) == 0 || leaders[len(leaders)-1] != l.name) {
						leaders = append(leaders, l.name)
					}
					if i%2 == 0 { // with more processes lanes go to them, the leader's among them; and then the leader is told to stop
						lives = append(lives, s.start(t, strconv.Itoa(len(lives))))
						continue
					}
					if l := leader(lives); l != nil {
						close(l.drain)
						l.await(t)
						lives = slices.DeleteFunc(lives, func(other *life) bool { return other == l })
					}
				}
				time.Sleep(20 * time.Second)
				close(stop)
				<-stopped
				time.Sleep(20 * time.Second)
				s.settled(t, changes, 0)
				if len(leaders) < 3 {
					t.Errorf("%v led", leaders)
				}
				for _, l := range lives {
					l.kill()
				}
				if t.Failed() {
					t.Log(s.log.String())
				}
			})
		})
	}
}
