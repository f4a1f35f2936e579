package job

import (
	"context"
	"fmt"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/internal/wait"
	"github.com/syncd-io/syncd/tally"
)

// Switched is what became of a name under which readers ask.
type Switched struct {
	Name, Target string        // as syncd.Switch has them
	Before       string        // what the name stood for when the run had ended; "" for nothing
	State        SwitchOutcome // what became of it
	Why, Hint    string        // why it was not switched, and what to do
	Refused      bool          // because of what the run found
	Again        *tally.Counts // of the look at all documents right before; nil where none was needed
}

// SwitchOutcome is what became of a name under which readers ask.
type SwitchOutcome string

// The outcomes.
const (
	SwitchDone    SwitchOutcome = "switched" // by this run
	SwitchAlready SwitchOutcome = "already"  // it stood for what is written before
	SwitchLeft    SwitchOutcome = "left"     // it did, and somebody has made it stand for something else, which is not undone
	SwitchPending SwitchOutcome = "pending"  // it is still to be switched
)

// switchOver makes the name under which readers ask stand for what the run has written, where that is to be and where the index holds all
// documents. A run may take long, and one that was resumed longer, so where it had to send anything, all documents are looked at once more
// right before, and what changed meanwhile is sent.
func (j *Job) switchOver(ctx context.Context, p *Plugins, o Options, res *Result) error {
	if p.Sink == nil || o.DryRun != nil {
		return nil
	}
	can := p.Sink.Abilities().Switch
	if can == nil {
		return nil
	}
	asking, stop := wait.Drained(ctx, o.Drain)
	defer stop()
	interrupted := func(err error) error {
		if asking.Err() != nil && ctx.Err() == nil {
			res.Report.Interrupted = true
			return nil
		}
		return err
	}
	st, err := can.State(asking)
	if err != nil {
		return interrupted(fmt.Errorf("finding out what %s stands for: %w", can.Name, err))
	}
	s := &Switched{Name: can.Name, Target: can.Target, Before: st.Now, State: SwitchPending}
	res.Report.Switch = s
	switch {
	case st.Done:
		s.State = SwitchAlready
		return nil
	case st.Left:
		s.State = SwitchLeft
		return nil
	case o.PlannedOrphans != nil:
		s.Why, s.Hint = "a plan was sent, and not all documents were looked at", "run it without a plan"
		return nil
	case !j.whole():
		s.Why, s.Hint = "only some collections were looked at", "run it with all collections"
		return nil
	}
	r := &res.Report
	if s.refuse(r, true); s.Refused {
		return nil
	}
	if r.Total.ToSend() > 0 || r.Resumed > 0 || r.Orphans == nil {
		j.Logger.Info("looking at all documents once more before " + s.Name + " is switched to " + s.Target)
		again, err := Run(ctx, onceMore(o, r, p))
		s.Again = &again.Total
		r.Duration += again.Duration
		if r.Index.Known && again.Index.Known {
			r.Index.After = again.Index.After
		}
		r.Embedded = again.Embedded // since the stages were opened
		if err != nil {
			return fmt.Errorf("looking at all documents once more before %s is switched: %w", s.Name, err)
		}
		if again.Interrupted {
			r.Interrupted = true
			return nil
		}
		if s.refuse(&again, true); s.Refused {
			return nil
		}
	}
	if s.Before, err = can.Do(asking); err != nil {
		return interrupted(err)
	}
	s.State = SwitchDone
	return nil
}

// onceMore are the options of a look at all documents behind a run. It keeps nothing: the run's own state says that all was looked at.
func onceMore(o Options, r *Report, p *Plugins) Options {
	o.Checkpoints, o.Hooks, o.Started, o.Await, o.WaitTimeout = nil, engine.Hooks{}, nil, nil, 0
	if o.Limits.MaxEvents > 0 {
		o.Limits.MaxEvents = max(1, o.Limits.MaxEvents-r.Total.Emitted)
	}
	if o.Orphans == OrphansOff || o.Orphans == "" {
		o.Orphans = lookForOrphans(p, 0)
	}
	return o
}

// refuse says what keeps readers from being switched to what a run that was complete has written, if anything does. What is left of documents
// that are gone does so where orphans says so.
func (s *Switched) refuse(r *Report, orphans bool) {
	not := func(hint, format string, args ...any) {
		s.Refused, s.Why, s.Hint = true, fmt.Sprintf(format, args...), hint
	}
	left := int64(0)
	for _, o := range r.Orphans {
		left += o.Orphans - o.Deleted
	}
	t := &r.Total
	switch {
	case r.Full:
		not("run it again when the index can be asked, with run.mode: incremental", "the index was not asked what it holds")
	case r.NothingFound():
		not("see that the source is what to read", "the source has none of the collections")
	case r.Failed() > 0:
		why := plural(r.Failed(), "document") + " could not be sent"
		if f := r.firstFailure(); f != nil && f.NoID {
			why += ", such as one without an id: " + f.Reason
		} else if f != nil {
			why += fmt.Sprintf(", such as %s: %s", f.ID, f.Reason)
		}
		not("mend the documents that are named and run it again", "%s", why)
	case t.Collisions > 0:
		not(tellApart, "%s of another document", share(t.Collisions))
	case t.Young > 0:
		not("run it again later, or with run.min_age: 0s", "%s left alone for having changed just now", plural(t.Young, "document"))
	case t.Unindexed > 0:
		not("look for them in the index; syncd state clear forgets the attempts", "%s left alone, having been sent often enough without appearing", plural(t.Unindexed, "document"))
	case orphans && left > 0:
		not("run it with --prune, which deletes their points", "the index holds points of %s", plural(left, "deleted document"))
	}
}

// firstFailure is a document that could not be handled, or nil where none is named.
func (r *Report) firstFailure() *tally.Failure {
	for _, list := range [][]engine.CollectionReport{r.Collections, r.Deletes} {
		for _, c := range list {
			if len(c.Failures) > 0 {
				return &c.Failures[0]
			}
		}
	}
	return nil
}

// The pauses of what waits for streams to have been followed far enough.
const (
	switchLook  = 200 * time.Millisecond
	switchAgain = 30 * time.Second // behind an error
	// switchLag is how far behind a stream may be that never comes to its end: readers are then switched to what is so old.
	switchLag = 2 * time.Second
)

// pending has the follower switch readers to what it writes when its look at all documents has shown that all is there, and its streams are
// followed to their ends. What an earlier process found is not relied on.
func (f *follower) pending(ctx context.Context) error {
	can := f.p.Sink.Abilities().Switch
	if can == nil {
		return nil
	}
	st, err := can.State(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("finding out what %s stands for: %w", can.Name, err)
	case st.Left:
		f.j.Logger.Info(can.Name+" was switched to "+can.Target+" before, and is left where it is", "stands_for", st.Now)
	case !st.Done:
		f.change = can
		f.anew = f.anew || f.done
	}
	return nil
}

// looked notes what a look at all documents, which ended well, says of switching. Points of documents that are gone do not count: the
// streams are still to bring the deletes of those that went meanwhile.
func (f *follower) looked(r *Report) {
	if f.change == nil {
		return
	}
	s := Switched{Name: f.change.Name, Target: f.change.Target, State: SwitchPending}
	s.refuse(r, false)
	if f.ready = !s.Refused && f.j.whole(); f.ready {
		return
	}
	if s.Why == "" {
		s.Why, s.Hint = "only some collections are looked at", "run it with all collections"
	}
	f.j.Logger.Warn(s.Name+" is not switched to "+s.Target+": "+s.Why, "hint", s.Hint+"; the next look at all documents decides anew (schedule.reconcile)")
}

// switchBehind switches readers once the streams that are shown have been followed far enough, if that is to be. stop ends it and waits for it.
func (f *follower) switchBehind(ctx context.Context, shown *streaming) (stop func()) {
	if f.change == nil || !f.ready {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		pause := switchLook
		for wait.Pause(ctx, pause) == nil {
			pause = switchLook
			current, failed := shown.caughtUp()
			if failed > f.failed {
				f.ready = false
				f.j.Logger.Warn(f.change.Name+" is not switched to "+f.change.Target+": "+plural(failed-f.failed, "change")+" could not be sent",
					"hint", "the next look at all documents decides anew (schedule.reconcile)")
				return
			}
			if !current {
				continue
			}
			before, err := f.change.Do(ctx)
			if err == nil {
				f.j.Logger.Info(f.change.Name+" stands for "+f.change.Target+" now", "before", before)
				f.change = nil
				return
			}
			if ctx.Err() == nil {
				f.j.Logger.Warn(f.change.Name+" could not be switched: trying again", "error", err.Error(), "hint", syncd.HintOf(err))
			}
			pause = switchAgain
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// caughtUp reports whether all streams were followed to their ends once, or nearly are, and how many of their changes could not be sent.
func (s *streaming) caughtUp() (current bool, failed int64) {
	now := Snapshot{Snapshot: s.engine.Snapshot()}
	if w := s.window.Load(); w != nil {
		now.Window = *w
	}
	current = len(now.Streams) > 0
	for _, stream := range now.Streams {
		failed += stream.Counts.Failed()
		lag, known := now.Lag(stream)
		current = current && (!stream.Since.IsZero() || known && lag <= switchLag)
	}
	return current, failed
}
