package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/panics"
	"github.com/syncd-io/syncd/internal/retry"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

// failures is how long a job waits behind a run that failed.
var failures = retry.Policy{First: 5 * time.Second, Max: 5 * time.Minute, Jitter: 0.2}

const (
	steady = 10 * time.Minute // a run that took so long before it failed begins with short pauses again
	cutOff = 10 * time.Second // what was cut off is to end within this
)

// keeper leads one job through its life: it waits for its time, runs it, and ends the run where something else is wanted.
type keeper struct {
	h    *Host
	name string
	wake chan struct{} // holds a wish to look at what is wanted
	busy sync.Mutex    // held while a run is under way, and by Idle

	mu       sync.Mutex
	file     string
	cfg      *config.Config // nil: no file could be used yet
	revision string
	problems []string // of the file as it is
	gone     bool     // the file is not there
	deleted  bool     // nor is the job to be shown any more

	wanted Desired
	asked  *Trigger      // a run that somebody asked for
	again  chan struct{} // tells the run under way to look at all documents again; nil where none follows
	ends   bool          // what is under way is to end: the file has changed, or a restart was asked for

	state        State
	reason, hint string
	since        time.Time
	next         time.Time // of a run by schedule, or behind a failure; zero: none
	began        time.Time // the last run, which the schedule counts from; zero: none is known
	done         bool      // it has run with this revision
	failed       bool      // and nobody tries again
	retrying     bool      // next is behind a failure
	pauses       retry.Pauses
	monitor      *job.Monitor // of the run under way
}

func newKeeper(h *Host, name string) *keeper {
	k := &keeper{
		h: h, name: name, wake: make(chan struct{}, 1), wanted: h.desired.of(name).Desired, since: time.Now(), pauses: retry.Pauses{Policy: failures},
	}
	h.lives.Add(1)
	go func() {
		defer h.lives.Done()
		k.live()
	}()
	return k
}

// tell changes what is known under the lock, and has the keeper look at it.
func (k *keeper) tell(f func()) {
	k.mu.Lock()
	f()
	k.mu.Unlock()
	k.look()
	k.h.notify()
}

func (k *keeper) look() {
	select {
	case k.wake <- struct{}{}:
	default: // it is about to
	}
}

// apply gives the keeper its file as it is now.
func (k *keeper) apply(f *file, problems []string) {
	k.mu.Lock()
	same := k.file == f.path && !k.gone && k.revision == f.revision && slices.Equal(k.problems, problems)
	if len(problems) > 0 && !slices.Equal(k.problems, problems) {
		k.h.o.Logger.Warn("the file of a job can't be used as it is", "job", k.name, "file", f.path, "problems", strings.Join(problems, "; "), "runs", k.cfg != nil)
	}
	if same && f.result.Config != nil {
		k.cfg = f.result.Config // secrets may have changed
	}
	k.mu.Unlock()
	if same && k.config() != nil {
		return
	}
	k.tell(func() {
		k.file, k.problems = f.path, problems
		back := k.gone
		k.gone, k.deleted = false, false
		c := f.result.Config
		if c == nil {
			return // what ran goes on
		}
		if changed := k.revision != f.revision; changed || back {
			first := k.cfg == nil
			k.cfg, k.revision = c, f.revision
			if k.retrying {
				k.asked = &Trigger{} // the file may have been mended for it
			}
			k.failed, k.retrying, k.done = false, false, false
			k.reason, k.hint = "", ""
			k.pauses.Reset()
			k.ends = k.monitor != nil
			if first {
				k.recall()
			}
			k.plan(time.Now())
		}
	})
}

// recall finds out what became of the job's last run, by an earlier process or another.
func (k *keeper) recall() {
	if k.h.o.RunsDir == nil {
		return
	}
	runs, _ := runlog.Read(k.h.o.RunsDir(k.cfg), k.name, 1) // without a record it runs
	if len(runs) == 1 {
		k.done = runs[0].Config == k.revision && runs[0].Outcome.Finished() && !runs[0].Planned
		k.began = runs[0].Started
		if runs[0].Outcome == tally.Interrupted && !runs[0].Planned {
			k.asked = &Trigger{} // it goes on, whenever the schedule comes
		}
	}
}

// plan finds when the schedule comes next.
func (k *keeper) plan(now time.Time) {
	k.next = time.Time{}
	if again := k.cfg.Schedule.Runs(); !again.IsZero() {
		k.next = again.Next(k.began, now)
	}
}

func (k *keeper) want(w Desired) {
	k.tell(func() {
		resumed := k.wanted != w && w == WantRunning
		k.wanted = w
		if w == WantRunning {
			k.revive()
		}
		if resumed && k.cfg != nil { // a time of the schedule that has passed meanwhile is not made up for
			k.plan(time.Now())
		}
	})
}

// revive forgets that the job failed; one that was to be tried again is so at once.
func (k *keeper) revive() {
	if k.retrying {
		k.asked = &Trigger{}
	}
	if k.retrying || k.failed {
		k.failed, k.retrying, k.reason, k.hint, k.next = false, false, "", "", time.Time{}
		k.pauses.Reset()
		k.done = false
	}
}

func (k *keeper) restart() {
	k.tell(func() {
		k.revive()
		k.done = false
		k.ends = k.monitor != nil
	})
}

// remove says that the job's file is gone.
func (k *keeper) remove() {
	k.mu.Lock()
	already := k.gone
	k.gone = true
	k.mu.Unlock()
	if !already {
		k.look()
	}
}

// forget says that the job is not to be shown any more as soon as nothing of it is under way.
func (k *keeper) forget() { k.tell(func() { k.gone, k.deleted = true, true }) }

func (k *keeper) trigger(t Trigger) error {
	var err error
	k.tell(func() {
		switch {
		case k.gone:
			err = conflict(k.name, "has no file any more")
		case k.wanted != WantRunning:
			err = conflict(k.name, "is %s: resume it first", k.wanted)
		case k.cfg == nil:
			err = conflict(k.name, "has a file that can't be used")
		case k.cfg.Run.Follow && t.Plan != nil:
			err = conflict(k.name, "follows changes: a plan is sent by a run that ends")
		case k.monitor != nil && k.again != nil: // it looks at everything, fresh or not
			select {
			case k.again <- struct{}{}:
			default: // it is about to
			}
		case k.monitor != nil:
			err = conflict(k.name, "has a run under way: wait for its end, or stop it")
		default:
			k.revive()
			k.asked = &t
		}
	})
	return err
}

func (k *keeper) idle(f func(c *config.Config) error) error {
	k.mu.Lock()
	stopped, c := k.wanted == WantStopped, k.cfg
	k.mu.Unlock()
	if !stopped || !k.busy.TryLock() {
		return syncd.Hint(fmt.Errorf("%w: %s is not stopped", ErrConflict, k.name), "stop it first")
	}
	defer k.busy.Unlock()
	return f(c)
}

// isDeleted reports whether the job is not to be shown any more.
func (k *keeper) isDeleted() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.deleted
}

func (k *keeper) path() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.file
}

func (k *keeper) config() *config.Config {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.cfg
}

// live is the keeper's work, until the host ends.
func (k *keeper) live() {
	for !k.h.ending() {
		run, at := k.decide(time.Now())
		k.h.notify()
		var timer *time.Timer
		if run != nil {
			k.run(*run)
		} else {
			var due <-chan time.Time
			if !at.IsZero() {
				timer = time.NewTimer(time.Until(at))
				due = timer.C
			}
			select {
			case <-k.wake:
			case <-due:
			case <-k.h.stop:
			case <-k.h.ctx.Done():
			}
		}
		if timer != nil {
			timer.Stop()
		}
		if k.dismissed() {
			return
		}
	}
}

func (h *Host) ending() bool {
	select {
	case <-h.stop:
		return true
	default:
		return h.ctx.Err() != nil
	}
}

// dismissed takes a job away that was deleted.
func (k *keeper) dismissed() bool {
	k.h.mu.Lock() // a file that comes back finds this keeper, or makes another
	k.mu.Lock()
	deleted := k.deleted && k.monitor == nil
	k.mu.Unlock()
	if deleted {
		delete(k.h.keepers, k.name)
	}
	k.h.mu.Unlock()
	if deleted {
		k.h.notify()
	}
	return deleted
}

// set says what the job does now.
func (k *keeper) set(s State, reason, hint string) {
	if k.state != s || k.reason != reason {
		k.since = time.Now()
	}
	k.state, k.reason, k.hint = s, reason, hint
}

// decide returns the run that is due, or until when there is none; a zero time is until something changes.
func (k *keeper) decide(now time.Time) (run *Trigger, until time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ends = false
	switch {
	case k.gone:
		k.set(Removed, "its file "+k.file+" is gone", "put the file back to have it run again; what is kept of the job stays until syncd state clear")
		return nil, until
	case k.wanted == WantPaused:
		k.set(Paused, "", "")
		return nil, until
	case k.wanted == WantStopped:
		k.set(Stopped, "", "")
		return nil, until
	case k.file == "":
		return nil, until // it was made just now, and is about to be given its file
	case k.cfg == nil:
		k.set(Invalid, "its file can't be used", "mend what its problems say; it is read again when it changes")
		return nil, until
	case k.asked != nil:
		run, k.asked = k.asked, nil
		return run, until
	case k.failed:
		k.set(Failed, k.reason, k.hint)
		return nil, until
	case k.retrying && now.Before(k.next):
		k.set(Retrying, k.reason, k.hint)
		return nil, k.next
	case k.retrying, k.cfg.Run.Follow:
		return &Trigger{}, until
	case !k.cfg.Schedule.Runs().IsZero():
		if k.next.IsZero() {
			k.plan(now)
		}
		if now.Before(k.next) { // else it has come: a timer is always a little late
			k.set(Waiting, k.reason, k.hint)
			return nil, k.next
		}
		return &Trigger{}, until
	case k.done:
		k.set(Done, k.reason, k.hint)
		return nil, until
	}
	return &Trigger{}, until
}

// run is one run, from its turn to its end.
func (k *keeper) run(t Trigger) {
	k.busy.Lock()
	defer k.busy.Unlock()
	k.mu.Lock()
	c, revision, monitor := k.cfg, k.revision, &job.Monitor{}
	k.monitor = monitor
	if k.again = nil; c.Run.Follow {
		k.again = make(chan struct{}, 1)
	}
	again := k.again
	began := time.Now()
	k.began = began
	k.set(Waiting, "", "")
	k.mu.Unlock()
	drain := make(chan struct{})
	ctx, hard := context.WithCancel(k.h.ctx)
	defer hard()
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		release, turn := k.turn(ctx, c, drain)
		if !turn {
			err = job.ErrInterrupted
			return
		}
		defer release()
		k.mu.Lock()
		k.set(Running, "", "")
		k.mu.Unlock()
		k.h.notify()
		err = panics.Caught(func() error {
			_, err := k.h.o.Run(ctx, Run{
				Config: c, Revision: revision, Fresh: &t.Fresh, Plan: t.Plan, Monitor: monitor, Again: again, Drain: drain, Logger: k.h.o.Logger.With("job", k.name),
			})
			return err
		})()
		if p, ok := errors.AsType[*panics.Error](err); ok {
			k.h.o.Logger.Error("a job has panicked; the others go on", "job", k.name, "panic", fmt.Sprint(p.Value), "stack", string(p.Stack))
		}
	}()
	drained, left := k.await(done, drain, hard)
	if left {
		return // the process ends with it
	}
	k.mu.Lock()
	k.monitor, k.again = nil, nil
	k.concluded(c, t, err, drained, began)
	k.mu.Unlock()
	k.h.notify()
}

// turn waits until the memory that the job may take is free.
func (k *keeper) turn(ctx context.Context, c *config.Config, drain <-chan struct{}) (release func(), ok bool) {
	if k.h.memory == nil {
		return func() {}, true
	}
	size := min(c.Run.Memory, k.h.o.Memory) // a job that alone needs more runs alone
	if !k.h.memory.TryAcquire(size) {
		k.mu.Lock()
		k.set(Waiting, "other jobs take all the memory that jobs may take together", "give the service more memory, or its jobs less: run.memory")
		k.mu.Unlock()
		k.h.notify()
		waiting, stop := context.WithCancel(ctx)
		defer stop()
		go func() {
			select {
			case <-drain:
				stop()
			case <-waiting.Done():
			}
		}()
		if k.h.memory.Acquire(waiting, size) != nil {
			return nil, false
		}
	}
	return func() { k.h.memory.Release(size) }, true
}

// await waits for the end of a run. It drains the run as soon as something else is wanted, cuts it off where that takes too long, and
// leaves it behind where the host ends and even that does not help.
func (k *keeper) await(done <-chan struct{}, drain chan<- struct{}, cut context.CancelFunc) (drained, left bool) {
	stop := k.h.stop
	var late <-chan time.Time
	cuts := 0
	for {
		select {
		case <-done:
			return drained, false
		case <-k.wake:
		case <-stop:
			stop = nil
		case <-late:
			cuts++
			cut()
			late = time.After(cutOff)
			if cuts > 1 {
				k.mu.Lock()
				k.set(Ending, "it does not end, although it was cut off", "a plugin hangs: restart syncd; the other jobs go on meanwhile")
				k.mu.Unlock()
				k.h.notify()
				if k.h.ending() {
					k.h.o.Logger.Error("a job does not end: leaving it behind", "job", k.name)
					return true, true
				}
				late = nil
			}
		}
		k.mu.Lock()
		ends := k.gone || k.ends || k.wanted != WantRunning || k.h.ending()
		if ends && !drained {
			drained = true
			close(drain)
			k.set(Ending, "", "")
			if late = time.After(k.h.o.StopTimeout); k.h.o.StopTimeout <= 0 {
				late = nil
			}
		}
		k.mu.Unlock()
		if k.h.ending() && cuts > 1 {
			return true, true
		}
		k.h.notify()
	}
}

// concluded says what comes behind a run with that configuration, which may be another by now.
func (k *keeper) concluded(c *config.Config, t Trigger, err error, drained bool, began time.Time) {
	now := time.Now()
	k.reason, k.hint, k.retrying = "", "", false
	if err != nil {
		k.reason, k.hint = spec.ScrubURLs(err.Error()), spec.ScrubURLs(syncd.HintOf(err))
	}
	outcome := job.OutcomeOf(err)
	scheduled := k.cfg != nil && !k.cfg.Schedule.Runs().IsZero()
	switch {
	case drained && (err == nil && c.Run.Follow || outcome == tally.Interrupted || errors.Is(err, context.Canceled)):
		k.reason, k.hint = "", ""
		k.asked = &t // it goes on as soon as it may, whenever the schedule comes
	case t.Plan != nil:
		// What was asked for is not asked for again.
	case outcome.Finished():
		k.pauses.Reset()
		k.done = !k.ends // with the file as it is now, and since a restart was asked for
		k.next = k.cfg.Schedule.Runs().Next(began, now)
	case outcome == tally.Stopped || isUsage(err):
		// To try again would come to the same, but for a schedule: the documents may be others by then.
		k.failed = !scheduled
		k.next = k.cfg.Schedule.Runs().Next(began, now)
	default:
		if now.Sub(began) > steady {
			k.pauses.Reset()
		}
		k.retrying, k.next = true, now.Add(k.pauses.Next())
		if scheduled {
			if at := k.cfg.Schedule.Runs().Next(began, now); at.Before(k.next) {
				k.next = at
			}
		}
	}
	if k.next.IsZero() || !scheduled && !k.retrying {
		k.next = time.Time{}
	}
}

// isUsage reports whether an error says that the configuration does not allow what is to be done.
func isUsage(err error) bool {
	_, usage := errors.AsType[*job.UsageError](err)
	_, invalid := errors.AsType[*job.InvalidError](err)
	return usage || invalid
}

// status tells how the job stands.
func (k *keeper) status() Status {
	wish := k.h.desired.of(k.name)
	k.mu.Lock()
	s := Status{
		Name: k.name, File: k.file, Wish: wish, State: k.state, Reason: k.reason, Hint: k.hint, Since: k.since.UTC(), Problems: k.problems,
		Revision: k.revision, Schedule: "once",
	}
	if k.state == "" {
		s.State = Waiting // it has not looked yet
	}
	if !k.next.IsZero() && (k.state == Waiting || k.state == Retrying) && k.monitor == nil { // else it waits for its turn
		next := k.next.UTC()
		s.Next = &next
	}
	if c := k.cfg; c != nil {
		s.Follows = c.Run.Follow
		switch {
		case c.Run.Follow:
			s.Schedule = "follow"
		case c.Schedule.Every > 0:
			s.Schedule = "every " + c.Schedule.Every.String()
		case c.Schedule.Cron != "":
			s.Schedule = "cron " + c.Schedule.Cron
		}
	}
	monitor := k.monitor
	k.mu.Unlock()
	if monitor != nil {
		if live, ok := monitor.Live(); ok {
			live.Job, live.PID, live.Host, live.Config = s.Name, os.Getpid(), store.Host(), s.File
			s.Live = &live
		}
	}
	return s
}
