package job

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/bolt"
	"github.com/syncd-io/syncd/store/lanes"
	"github.com/syncd-io/syncd/tally"
)

// publishEvery is the pause between two words about how the run under way stands.
const publishEvery = 2 * time.Second

// Live is how the run under way stands, without the names of job and process; ok is false before it has begun.
func (m *Monitor) Live() (now runlog.Live, ok bool) {
	s, ok := m.Snapshot()
	shared, clustered := m.Cluster()
	switch {
	case clustered && !ok: // it has yet to be told what to do
		s.RunID, s.Started = shared.Order.RunID, shared.Me.Since
	case !ok:
		return now, false
	}
	now = runlog.Live{
		RunID: s.RunID, Started: s.Started.UTC(), Updated: time.Now().UTC(), Phase: s.Phase.String(), Counts: s.Total, Deleted: s.Deleted,
		Stalled: s.Stalled, Paused: s.Paused, Collections: make([]runlog.Collection, 0, len(s.Collections)),
	}
	if e := s.Embedded; e != nil {
		now.Embedded = &runlog.Embedded{Tokens: e.Tokens, Texts: e.Texts, Cost: e.Cost}
	}
	var expected int64
	known := true
	for _, c := range s.Collections {
		l := runlog.Collection{
			Name: c.Name, ContentType: c.ContentType, Started: c.Started, Done: c.Done, Splits: c.Splits, SplitsDone: c.SplitsDone, Counts: c.Counts,
		}
		if c.Before >= 0 {
			l.Expected = &c.Before
			expected += max(c.Before, c.Counts.Scanned)
		} else {
			known = false
		}
		if !c.OldestMissing.IsZero() {
			l.OldestMissing = &c.OldestMissing
		}
		now.Collections = append(now.Collections, l)
	}
	if known {
		now.Expected = &expected
	}
	if elapsed := s.Elapsed.Seconds(); s.Phase == PhaseRead && elapsed > 0 {
		if now.PerSecond = float64(s.Total.Scanned-s.Resumed) / elapsed; known && now.PerSecond > 0 {
			eta := float64(expected-s.Total.Scanned) / now.PerSecond
			now.ETA = &eta
		}
	}
	for _, stream := range s.Streams {
		l := runlog.Stream{
			Name: stream.Name, Counts: stream.Counts, Waiting: stream.Waiting, Silent: max(0, time.Since(stream.Heard).Seconds()), Idle: stream.Current && !s.Paused,
		}
		if lag, ok := s.Lag(stream); ok {
			behind := lag.Seconds()
			l.Lag = &behind
		}
		now.Streams = append(now.Streams, l)
	}
	if w := s.Window; w.Last.After(w.First) && !w.First.IsZero() {
		reaches := w.Last.Sub(w.First).Seconds()
		now.Window = &reaches
	}
	if clustered {
		now.Cluster = clusterOf(&shared)
	}
	return now, true
}

// clusterOf is how the processes stand that share a job.
func clusterOf(s *lanes.Status) *runlog.Cluster {
	c := &runlog.Cluster{
		Process: s.Me.Process, Leader: s.Lanes[0].Owner.Process, Lanes: len(s.Lanes), Moves: s.Moves, Processes: make([]runlog.Process, 0, len(s.Owners)),
	}
	for i := range s.Lanes {
		if s.Lanes[i].Owner.Process == "" {
			c.Unowned++
		}
	}
	for i := range s.Owners {
		o := &s.Owners[i]
		p := runlog.Process{Name: o.Process, Host: o.Host, PID: o.PID, Address: o.Address, Lanes: o.Lanes, Splits: o.Splits}
		if !o.Since.IsZero() {
			since := o.Since.UTC()
			p.Since = &since
		}
		c.Processes = append(c.Processes, p)
	}
	return c
}

// recorder keeps what becomes of a job's runs where others look for it. One that has no folder keeps nothing. That something can't be
// kept is said once, and ends nothing.
type recorder struct {
	j       *Job
	dir     string
	planned bool
	resumed bool
	began   time.Time
	looked  bool // the last look at all documents is kept, and what is under way is following
	said    bool
}

// recorder returns the recorder of a run that begins now.
func (j *Job) recorder(planned bool) *recorder {
	r := &recorder{j: j, planned: planned, began: time.Now()}
	if !j.Config.Run.DryRun {
		r.dir, _ = StateDir(j.Config.Run.StateDir, j.Getenv) // openBolt says that there is none
	}
	return r
}

// ended keeps a run that ended, or a look at all documents behind which changes are followed. A job that another process works on
// has not run.
func (r *recorder) ended(res *Result, err error, follows bool) {
	if _, busy := errors.AsType[*bolt.BusyError](err); busy || r.dir == "" {
		return
	}
	c, report := r.j.Config, &res.Report
	if r.looked {
		report = &Report{RunID: report.RunID}
	}
	run := runlog.Run{
		Job: c.Name, RunID: report.RunID, Started: report.Started, Ended: time.Now().UTC(), Outcome: OutcomeOf(err), Mode: string(c.Run.Mode),
		Collections: c.Run.Collections, Planned: r.planned, Resumed: r.resumed, Follows: follows, Total: report.Total, Deleted: report.Deleted,
		Followed: res.Followed, Config: r.j.Revision,
	}
	looked := !run.Started.IsZero() // at documents, rather than only following their changes
	if !looked {
		run.Started = r.began
	}
	run.Started = run.Started.UTC()
	if err != nil {
		run.Error, run.Hint = spec.ScrubURLs(err.Error()), spec.ScrubURLs(syncd.HintOf(err))
	}
	for _, o := range report.Orphans {
		run.Orphans += o.Orphans
	}
	if looked && run.Outcome == tally.Complete && !r.planned && len(run.Collections) == 0 {
		run.Freshness = &run.Started
	}
	if again := c.Schedule.Runs(); !again.IsZero() {
		next := again.Next(run.Started, run.Ended).UTC()
		run.Next = &next
	}
	r.say(runlog.Append(r.dir, run))
}

// following has the recorder keep each look at all documents of a job that follows.
func (r *recorder) following(told Following) Following {
	backfill, reconciling := told.Backfill, told.Reconciling
	told.Backfill = func(res Result, err error) {
		r.ended(&res, err, true)
		r.looked, r.resumed, r.began = true, false, time.Now()
		if backfill != nil {
			backfill(res, err)
		}
	}
	told.Reconciling = func(why Reconcile) {
		r.looked, r.began = false, time.Now()
		if reconciling != nil {
			reconciling(why)
		}
	}
	return told
}

// publish says again and again how the run stands that the monitor shows, until stop.
func (r *recorder) publish(ctx context.Context, m *Monitor) (stop func()) {
	if r.dir == "" || m == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(publishEvery); ; {
			if now, ok := m.Live(); ok {
				now.Job, now.PID, now.Host = r.j.Config.Name, os.Getpid(), store.Host()
				if n := len(r.j.Config.Files); n > 0 {
					now.Config = r.j.Config.Files[n-1]
				}
				r.say(runlog.Publish(r.dir, now))
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				tick.Stop()
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
		r.say(runlog.Withdraw(r.dir, r.j.Config.Name))
	}
}

func (r *recorder) say(err error) {
	if err != nil && !r.said {
		r.said = true
		r.j.Logger.Warn("no record of this run is kept", "error", err.Error())
	}
}
