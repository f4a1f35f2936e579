package api

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/bolt"
	"github.com/syncd-io/syncd/tally"
)

// The states of jobs that are known by what their state folder keeps, beside those of a service.
const (
	Killed host.State = "killed" // its process is gone, and could not say so
	Ended  host.State = "ended"  // no run is under way
)

// silent is how long a process may say nothing that says something every two seconds.
const silent = time.Minute

// Kept tells what a state folder says of jobs, by name. alive reports whether a process of this machine lives.
func Kept(dir string, now time.Time, alive func(pid int) bool) ([]Detail, error) {
	names, err := runlog.Jobs(dir)
	if err != nil {
		return nil, err
	}
	entries, err := bolt.List(dir)
	if err != nil {
		return nil, err
	}
	states := map[string]*store.Entry{}
	for i := range entries {
		states[entries[i].Name] = &entries[i]
		names = append(names, entries[i].Name)
	}
	slices.Sort(names)
	var out []Detail
	for _, name := range slices.Compact(names) {
		d := Detail{Job: Job{Status: host.Status{Name: name, State: Ended}}, Runs: []runlog.Run{}}
		runs, err := runlog.Read(dir, name, maxRuns)
		if err != nil {
			return nil, err
		}
		live, under, err := runlog.Current(dir, name)
		if err != nil {
			d.Problems = append(d.Problems, err.Error())
		}
		if under {
			d.under(&live, now, alive)
		}
		e := states[name]
		if e != nil {
			d.kept(e, under, len(runs) > 0, alive)
		}
		if d.Last == nil && len(runs) > 0 {
			d.ended(&runs[0], now)
		}
		d.Freshness = FreshnessOf(d.Live, runs)
		d.Runs = append(d.Runs, runs[:min(len(runs), shownRuns)]...)
		if d.Wish.Desired == "" {
			d.Wish.Desired = host.WantRunning
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b Detail) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// under tells of the run that its process said to be under way.
func (d *Detail) under(live *runlog.Live, now time.Time, alive func(int) bool) {
	d.File, d.Since, d.Live, d.State = live.Config, live.Started, live, host.Running
	switch said := now.Sub(live.Updated); {
	case live.Host == store.Host() && !alive(live.PID):
		d.killed(live.PID, live.Updated)
	case said > silent:
		d.Reason = fmt.Sprintf("its process %d on %s has said nothing for %s", live.PID, live.Host, said.Round(time.Second))
		d.Hint = "if that process is gone, the next run resumes it"
	}
}

// killed says that the run ended without a word.
func (d *Detail) killed(pid int, last time.Time) {
	d.State, d.Live, d.Since = Killed, nil, last
	d.Reason, d.Hint = fmt.Sprintf("its process %d was killed", pid), "the next run resumes it: syncd run"
}

// kept tells of the state of a job, where the record of its runs does not.
func (d *Detail) kept(e *store.Entry, under, recorded bool, alive func(int) bool) {
	i := &e.Info
	if d.File == "" {
		d.File = i.Config
	}
	switch {
	case e.Problem != nil:
		d.Problems = append(d.Problems, e.Problem.Error())
	case under || i.RunID == "":
	case i.Outcome == tally.Running && i.Host == store.Host() && !alive(i.PID):
		d.killed(i.PID, i.Updated)
	case i.Outcome == tally.Running:
		d.State, d.Since = host.Running, i.Started
	case !recorded:
		d.Runs = append(d.Runs, runlog.Run{
			Job: d.Name, RunID: i.RunID, Started: i.Started, Ended: i.Updated, Outcome: i.Outcome, Mode: i.Scope.Mode, Total: tally.Counts{Scanned: e.Handled},
		})
		d.Last, d.Since = &d.Runs[0], i.Updated
	}
}

// ended tells of the last run.
func (d *Detail) ended(last *runlog.Run, now time.Time) {
	d.Last, d.Follows = last, last.Follows
	if last.Next != nil && last.Next.After(now) && d.State == Ended {
		d.Next = last.Next
	}
	if d.State == Ended {
		d.Since = last.Ended
		if last.Error != "" {
			d.Reason, d.Hint = last.Error, last.Hint
		}
	}
}
