package job_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

// soon is how long the end of a process may take that waits for nothing: much less than cluster.leave_timeout.
const soon = time.Second

// TestAGuardEndsTheRunOfAll: whichever process meets it, all end with its outcome, and none waits for work that has ended by it.
func TestAGuardEndsTheRunOfAll(t *testing.T) {
	for _, exact := range []bool{false, true} {
		for name, more := range map[string]string{
			"of all":      "limits: {max_events: 100}\n",
			"of document": "errors: {tolerance: all, max: 3}\n",
		} {
			t.Run(fmt.Sprintf("%s,exactly_once=%t", name, exact), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newShared(8, 2000, 6)
					s.exact, s.more = exact, more
					s.broker.Latency = 10 * time.Millisecond
					if name == "of document" {
						for i := range 20 {
							s.source.Insert("page", syncdtest.MemoryDoc{ID: "bad" + strconv.Itoa(i), Err: errors.New("it can't be read")})
						}
					}
					lives := []*life{s.start(t, "0"), s.start(t, "1"), s.start(t, "2")}
					var first time.Time
					for _, l := range lives {
						l.await(t)
						if first.IsZero() {
							first = time.Now()
						}
						if got := job.OutcomeOf(l.err); got != tally.Stopped {
							t.Errorf("process %s ended as %s: %v", l.name, got, l.err)
						}
					}
					if waited := time.Since(first); waited > soon {
						t.Errorf("the last process ended %s behind the first", waited)
					}
					if t.Failed() {
						t.Log(s.log.String())
					}
				})
			})
		}
	}
}

// TestToldToStopAProcessHandsItsSplitsOver at once, whichever it is: what is under way is finished, and nothing is waited for.
func TestToldToStopAProcessHandsItsSplitsOver(t *testing.T) {
	for _, exact := range []bool{false, true} {
		t.Run(fmt.Sprintf("exactly_once=%t", exact), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const documents = 4000
				s := newShared(8, documents, 6)
				s.exact = exact
				s.broker.Latency = 10 * time.Millisecond
				lives := []*life{s.start(t, "0"), s.start(t, "1"), s.start(t, "2")}
				time.Sleep(time.Second)
				for _, l := range lives[:2] {
					began := time.Now()
					close(l.drain)
					l.await(t)
					if took := time.Since(began); took > soon || !errors.Is(l.err, job.ErrInterrupted) {
						t.Errorf("process %s took %s to end: %v", l.name, took, l.err)
					}
					if p := l.res.Part; l.res.Report.RunID == "" && (p == nil || p.Counts.Scanned == 0 || p.RunID == "") {
						t.Errorf("process %s tells nothing of its part: %+v", l.name, p)
					}
				}
				lives[2].await(t)
				if lives[2].err != nil {
					t.Error(lives[2].err)
				}
				s.settled(t, documents, 0)
				if t.Failed() {
					t.Log(s.log.String())
				}
			})
		})
	}
}

// TestALeaderThatLostItsLaneSendsNothingMore: what it had begun to write ends when it hears of that, since another process follows by then.
func TestALeaderThatLostItsLaneSendsNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(1, 0, 1)
		s.run = "  follow: true\n"
		s.source.Record()
		s.source.Create("page")
		s.source.Create("epic")
		var begun atomic.Bool
		var cutOff atomic.Pointer[time.Time]
		s.hold = func(ctx context.Context) error {
			if begun.Swap(true) {
				return nil
			}
			<-ctx.Done()
			now := time.Now()
			cutOff.Store(&now)
			return ctx.Err()
		}
		l := s.start(t, "0")
		time.Sleep(time.Minute)
		s.source.Insert("page", syncdtest.MemoryDoc{ID: "1", Fields: map[string]any{"v": 1}})
		time.Sleep(time.Minute)
		l.process.Load().Stop()
		other := s.start(t, "1")
		time.Sleep(time.Minute)
		s.mu.Lock()
		if !begun.Load() || cutOff.Load() != nil || s.sent["1"] != 1 {
			t.Errorf("begun: %t, cut off at %v; the other process has sent it %d times", begun.Load(), cutOff.Load(), s.sent["1"])
		}
		s.mu.Unlock()
		woken := time.Now()
		l.process.Load().Continue()
		time.Sleep(time.Minute)
		if at := cutOff.Load(); at == nil || at.After(woken) {
			t.Errorf("woken at %s, it went on until %s", woken, at)
		}
		for _, l := range []*life{l, other} {
			close(l.drain)
			l.await(t)
		}
		if s.sent["1"] != 1 {
			t.Errorf("it was sent %d times", s.sent["1"])
		}
		if t.Failed() {
			t.Log(s.log.String())
		}
	})
}

// TestAProcessWhoseDiskIsFullLeavesItsWorkToOthers, whether or not it leads: that its dead letters can't be kept is not the run's end.
func TestAProcessWhoseDiskIsFullLeavesItsWorkToOthers(t *testing.T) {
	const documents, bad = 400, 60
	for _, exact := range []bool{false, true} {
		for full := range 2 {
			t.Run(fmt.Sprintf("exactly_once=%t,process=%d", exact, full), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newShared(8, documents, 6)
					s.exact, s.full = exact, strconv.Itoa(full)
					s.more = "errors: {tolerance: all, dead_letter: {letters: {}}}\n"
					s.broker.Latency = 10 * time.Millisecond
					for i := range bad {
						id := strconv.Itoa(documents*i/bad) + "bad" // beside documents of all splits
						for _, collection := range []string{"page", "epic"} {
							s.source.Insert(collection, syncdtest.MemoryDoc{ID: id, Err: errors.New("it can't be read")})
						}
					}
					lives := []*life{s.start(t, "0"), s.start(t, "1")}
					for i, l := range lives {
						l.await(t)
						switch {
						case i == full && !errors.Is(l.err, syscall.ENOSPC):
							t.Errorf("the process whose disk is full ended with %v", l.err)
						case i != full && job.OutcomeOf(l.err) != tally.Failures:
							t.Errorf("the other ended with %v", l.err)
						case i != full && l.res.Report.Total.DeadLettered != 2*bad:
							t.Errorf("%d dead letters are kept, want %d", l.res.Report.Total.DeadLettered, 2*bad)
						}
					}
					s.settled(t, documents, 2*3*7)
					if t.Failed() {
						t.Log(s.log.String())
					}
				})
			})
		}
	}
}
