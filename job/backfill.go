package job

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/arrival"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/internal/wait"
	"github.com/syncd-io/syncd/planfile"
	"github.com/syncd-io/syncd/sendlog"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

// UsageError says that what was asked for contradicts the configuration.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *UsageError) Unwrap() error { return e.Err }

// progressEvery is the pause between two words about what is waited for.
const progressEvery = 5 * time.Second

// Request says what a backfill is told beside its configuration.
type Request struct {
	Plan      *planfile.Plan // send what it says; nil looks for itself
	Fresh     *bool          // begin anew; set to false as soon as the old state is gone; nil resumes
	Monitor   *Monitor       // shows the run; nil shows nothing
	Observer  Observer
	Following Following       // of a job that follows
	Again     <-chan struct{} // has a job that follows look at all documents again; nil never does
	// Watch is told of the run's options before it begins, to follow it; its result is called when the run has ended. nil follows
	// nothing.
	Watch func(o *Options) (stop func())

	// Working is told of the options of this process's own work, and who leads, where several processes share a run. nil is told nothing.
	Working func(o *engine.Options, leader string)

	led        *member                 // the process that leads a cluster's run with it; nil works alone
	took       *atomic.Pointer[string] // the run of a cluster in which this process took part last; empty before
	rejoins    bool                    // this process took part in the cluster before
	connecting func(places []string)   // is told of servers that take long to answer
	anew       bool                    // of a job that follows: what was looked at is forgotten
	record     *recorder
}

// Result is what became of a backfill.
type Result struct {
	Report    Report
	Left      []sendlog.Left // documents that were left alone, the first of them
	Resumable bool           // what was done is kept, and the next run resumes it
	Ended     bool           // every document was looked at, and the orphans where they were asked for: an error says what came of it
	Followed  *tally.Counts  // changes that were followed by then, since the streams began; nil where none are followed
	Streams   []StreamCounts // the same of each stream
	// DeletesLeftOut is how many deletes of a plan were not to be sent.
	DeletesLeftOut int64
	Part           *Part // of a process that took part in a run that another one led; nil otherwise
	// Fingerprint is the same for two runs that do the same work in the same places; empty if that was not found out.
	Fingerprint string
}

// Part is what a process has done of a run that another one led, and reports.
type Part struct {
	RunID  string
	Leader string // the process
	Splits int    // that it finished
	Counts tally.Counts
}

// StreamCounts is what became of a stream's changes.
type StreamCounts struct {
	Name string
	tally.Counts
}

// Backfill is one run, from opening the plugins to its end. Its error says how the run ended: see OutcomeOf.
func (j *Job) Backfill(ctx context.Context, q Request) (res Result, err error) {
	if j.Config.Run.Wait && j.Config.Run.Mode == config.Full {
		return res, &UsageError{errors.New("--wait needs the index, which mode full does not ask")}
	}
	if j.Config.Run.Follow && q.Plan != nil {
		return res, &UsageError{errors.New("a plan is sent once: leave run.follow out")}
	}
	if q.Monitor == nil {
		q.Monitor = &Monitor{}
	}
	q.connecting = j.connecting
	do := (*Job).alone
	if named, shared := j.clustered(&q); shared {
		j, do = named, (*Job).together
		q.took = &atomic.Pointer[string]{}
		q.took.Store(new(string))
	}
	q.record = j.recorder(q.Plan != nil)
	defer func() { q.record.ended(&res, err, j.Config.Run.Follow) }()
	if j.Config.Run.Follow {
		q.Following = q.record.following(q.Following)
		err = j.followOn(ctx, q, &res, do)
		q.Monitor.stream.Store(nil)
		return res, err
	}
	err = do(j, ctx, q, &res)
	return res, err
}

// alone is a backfill, and what follows it, of a process that works alone.
func (j *Job) alone(ctx context.Context, q Request, res *Result) error {
	return j.with(ctx, !j.Config.Run.DryRun, q.connecting, func(ctx context.Context, p *Plugins) error { return j.backfill(ctx, p, q, res) })
}

func (j *Job) backfill(ctx context.Context, p *Plugins, q Request, res *Result) (err error) {
	o := j.options(p)
	o.Monitor = q.Monitor
	o.Started, o.Hooks.CollectionDone = q.Observer.Started, q.Observer.CollectionDone
	if j.Config.Run.DryRun {
		j.dryRun(&o, 0, 0)
	}
	opening, stopOpening := wait.Grace(ctx, o.Drain, drainGrace, nil)
	defer stopOpening()
	scope, err := j.scope(opening, p)
	if err != nil {
		return err
	}
	res.Fingerprint = j.fingerprint(scope)
	var engineErr error
	var f *follower
	switch {
	case q.Plan != nil:
		if res.DeletesLeftOut, err = j.follow(q.Plan, &o); err != nil {
			return err
		}
	case !j.Config.Run.DryRun:
		fresh := q.Fresh
		if fresh == nil {
			fresh = new(bool)
		}
		open := j.openStore
		if q.led != nil {
			open = func(ctx context.Context, _ *Plugins, scope store.Scope, fresh *bool, o *Options) (store.Store, *Decision, error) {
				return q.led.openStore(ctx, scope, fresh, o)
			}
		}
		st, decision, openErr := open(opening, p, scope, fresh, &o)
		if openErr != nil {
			return openErr
		}
		if decision != nil && q.Observer.State != nil {
			q.Observer.State(*decision)
		}
		if st == nil && j.Config.Run.Follow {
			return &UsageError{errors.New("following needs the run's state: set run.state_dir, and use sinks that keep what is sent")}
		}
		q.record.resumed = decision != nil && decision.Resumed
		if q.led == nil { // a member of a cluster tells all the time
			defer q.record.publish(ctx, q.Monitor)()
		}
		if st != nil {
			res.Resumable = true
			defer func() {
				ended := engineErr
				if ended == nil && res.Report.Interrupted {
					ended = ErrInterrupted
				}
				end := endOf(ended, ctx.Err() != nil || o.draining())
				end.Resumable = end.Resumable || f != nil && ended == nil // it goes on with the next start
				if end.Outcome.Finished() && err != nil {                 // the run itself is whole
					end.Outcome = OutcomeOf(err)
				}
				res.Resumable = end.Resumable
				asked, stop := wait.Drained(ctx, o.Drain) // in either way
				defer stop()
				closing, stopClosing := wait.Grace(context.WithoutCancel(ctx), asked.Done(), drainGrace, nil)
				defer stopClosing()
				if cerr := st.Close(closing, end); cerr != nil && err == nil {
					err = fmt.Errorf("keeping the state of the run: %w", cerr)
				}
			}()
			if j.Config.Run.Follow {
				if f, engineErr = j.openFollower(opening, p, st, scope, decision != nil && decision.Resumed, q.Following); engineErr != nil {
					return engineErr
				}
				f.anew, f.asked = f.anew || q.anew, q.Again
			}
		}
	}
	if q.Watch != nil {
		defer q.Watch(&o)()
	}
	if f != nil {
		if engineErr = f.run(ctx, o, q.Observer, res); engineErr != nil {
			return explainEnd(engineErr)
		}
		if res.Report.Interrupted {
			return ErrInterrupted
		}
		return nil
	}
	if q.Observer.RunID != nil {
		q.Observer.RunID(o.RunID)
	}
	res.Report.RunID = o.RunID
	engineErr = j.execute(ctx, p, o, q.Observer, res)
	res.Ended = engineErr == nil && !res.Report.Interrupted
	return j.conclude(&res.Report, j.Config.Run.AwaitTimeout, engineErr)
}

// execute runs the run and what belongs around it: the consumers' lag is looked at before, and attempts are recorded meanwhile.
func (j *Job) execute(ctx context.Context, p *Plugins, o Options, told Observer, res *Result) (err error) {
	if err := j.consumersFirst(ctx, p, o, told); err != nil {
		return err
	}
	var ledger *sendlog.Ledger
	if o.Shared == nil { // the record is one process's
		if ledger, err = j.openLedger(ctx, p.Checker, o.DryRun != nil); err != nil {
			return err
		}
	}
	if ledger != nil {
		o.Ledger = ledger
		defer func() {
			res.Left = ledger.Left()
			if cerr := ledger.Close(); err == nil {
				err = cerr
			}
		}()
	}
	if j.Config.Run.Wait && o.DryRun == nil {
		o.Await = &Await{Timeout: j.Config.Run.AwaitTimeout, Every: progressEvery, Progress: told.Arriving}
	}
	res.Report, err = Run(ctx, o)
	if err != nil || res.Report.Interrupted || j.Config.Run.Follow { // whose streams come first
		return err
	}
	return j.switchOver(ctx, p, o, res)
}

// follow makes a run send what a plan says, its deletes among it, whatever run.orphans says: the plan was looked at. It returns how many
// deletes are left out, where they are to be.
func (j *Job) follow(plan *planfile.Plan, o *Options) (leftOut int64, err error) {
	o.Source = plan.Source(o.Source, j.Config.Mapping.Rules)
	orphans, err := plan.Orphans(j.Config.Mapping.Rules)
	if err != nil {
		return 0, err
	}
	if plan.WithoutDeletes {
		leftOut, orphans = int64(len(orphans)), orphans[:0]
	}
	if o.PlannedOrphans = orphans; len(orphans) > 0 {
		o.Orphans = OrphansPrune
	}
	return leftOut, nil
}

// consumersFirst looks at the lag of the consumers' group before anything is asked or sent: what they have not read yet would
// look missing, and be sent once more.
func (j *Job) consumersFirst(ctx context.Context, p *Plugins, o Options, told Observer) error {
	c := j.Config
	group, policy := c.Run.ConsumerGroup, c.Run.ConsumerLag
	if group == "" || policy == config.LagIgnore || p.Checker == nil {
		return nil
	}
	ctx, stop := wait.Drained(ctx, o.Drain)
	defer stop()
	sink := p.Sink
	if sink == nil { // a dry run needs none but for this
		var err error
		if sink, err = c.Sink.OpenSink(ctx, c.Sink.Settings, j.env(c.Sink)); err != nil {
			if ctx.Err() != nil {
				return err
			}
			j.Logger.Warn("the consumers' lag is not known", "consumer_group", group, "error", err)
			return nil
		}
		defer func() { _ = sink.Close() }()
	}
	lag := sink.Abilities().Lag
	if lag == nil {
		return &InvalidError{syncd.Hint(fmt.Errorf("the sink %s can't tell the lag of a consumer group", c.Sink.Name()), "remove run.consumer_group")}
	}
	say := func(l arrival.Lag, end bool) {
		if told.Lag != nil {
			told.Lag(l, end)
		}
	}
	w := arrival.LagWait{
		Lag: lag, Group: group, Timeout: c.Run.AwaitTimeout, Every: progressEvery,
		Progress: func(l arrival.Lag) {
			if !l.Known {
				j.Logger.Warn("the consumer group has confirmed nothing in these topics, so all that they hold counts as not read: is run.consumer_group right?",
					"consumer_group", group)
			}
			say(l, false)
		},
	}
	for _, rule := range o.Rules {
		w.Targets = append(w.Targets, rule.Target())
	}
	if policy == config.LagReport || o.DryRun != nil {
		l, err := arrival.ReadLag(ctx, w)
		if err == nil {
			say(l, true)
		}
		return err
	}
	l, err := arrival.AwaitLag(ctx, w)
	if err == nil && l.Waited > 0 {
		say(l, true)
	}
	return err
}

// InvalidError says that a configuration can't be used as it is, which only an open plugin could tell.
type InvalidError struct{ Err error }

func (e *InvalidError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *InvalidError) Unwrap() error { return e.Err }
