package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/internal/panics"
	"github.com/syncd-io/syncd/internal/wait"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/lanes"
	"github.com/syncd-io/syncd/tally"
)

// member is a process's part in the work of a job that several share.
type member struct {
	j     *Job
	p     *Plugins
	q     Request
	view  *lanes.View
	exact bool   // the sink commits changes together with checkpoints
	print string // fingerprint of the work

	part    part
	took    *atomic.Pointer[string] // the Request's
	ordered atomic.Pointer[string]  // the run that this process has ordered last; likewise
	past    string                  // the run that had ended when this process joined; empty: none had
}

// part is what a process has done of the runs in which it took part.
type part struct {
	mu      sync.Mutex
	engines []*engine.Engine
}

func (p *part) begin(e *engine.Engine) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.engines = append(p.engines, e)
}

// done is what the process has done.
func (p *part) done() (d Part) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.engines {
		r := e.Report()
		for _, c := range r.Collections {
			d.Splits += c.Splits
			d.Counts.Add(c.Counts)
		}
	}
	return d
}

// clustered reports whether the work of a request is shared, and then gives this process a name if it has none.
func (j *Job) clustered(q *Request) (*Job, bool) {
	if !j.Config.Cluster.Enabled() || j.Config.Run.DryRun || q.Plan != nil {
		return j, false
	}
	if j.Process == "" {
		named := *j
		named.Process = store.Host() + "-" + uuid.NewString()[:8]
		j = &named
	}
	return j, true
}

// clusterOutage is how long a cluster that could not be reached any more is tried to be joined again. A job that follows tries for ever.
const clusterOutage = 2 * time.Minute

// rejoinPause is the pause before a process joins a cluster again that put it out.
const rejoinPause = time.Second

// together is this process's part in the work of a job that several share. A process that was put out of the cluster, as one that stood
// still for too long is, joins again with everything opened anew: what it had under way is others' by then.
func (j *Job) together(ctx context.Context, q Request, res *Result) error {
	var away time.Time // since when it could not be reached
	for {
		began := time.Now()
		err := j.with(ctx, true, q.connecting, func(ctx context.Context, p *Plugins) error { return j.share(ctx, p, q, res) })
		_, left := errors.AsType[membershipError](err)
		if time.Since(began) > clusterOutage {
			away = time.Time{} // it could, for a while
		}
		switch {
		case ctx.Err() == nil && isDrained(j.Drain) && errors.Is(err, syncd.ErrFenced):
			return errors.Join(ErrInterrupted, err)
		case ctx.Err() != nil || isDrained(j.Drain):
			return err
		case errors.Is(err, syncd.ErrFenced):
		case errors.Is(err, syncd.ErrUnavailable) && !j.Config.Run.Follow && (left || !away.IsZero() && time.Since(away) < clusterOutage):
			if away.IsZero() {
				away = time.Now()
			} else if time.Since(away) >= clusterOutage {
				return err
			}
		default:
			return err
		}
		if q.Monitor != nil && !res.Ended {
			q.Monitor.replace()
		}
		*res, q.rejoins = Result{}, true
		j.Logger.Warn("this process is no member of the cluster any more, and others may go on with its work: joining again", "error", err.Error())
		waiting, stop := wait.Drained(ctx, j.Drain)
		ended := wait.Pause(waiting, rejoinPause)
		stop()
		if ended != nil {
			return errors.Join(ErrInterrupted, ctx.Err())
		}
	}
}

// share takes part in the work of a job's cluster until its run has ended for all, or this process is to end. Of the processes one leads: it
// runs as a process alone would, but for the splits, which all work on.
func (j *Job) share(ctx context.Context, p *Plugins, q Request, res *Result) (err error) {
	opening, stopOpening := wait.Grace(ctx, j.Drain, drainGrace, nil)
	defer stopOpening()
	scope, err := j.scope(opening, p)
	if err != nil {
		return err
	}
	cluster, closing, err := j.openCluster(opening, p, q.rejoins)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing()) }()
	me := lanes.Owner{Process: j.Process, Host: store.Host(), PID: os.Getpid(), Address: j.Address, Since: time.Now()}
	m := &member{
		j: j, p: p, q: q, view: lanes.New(cluster, j.clusterName(), me), exact: p.Sink.Abilities().Commit != nil, print: j.fingerprint(scope),
		took: q.took,
	}
	m.ordered.Store(new(string))
	return m.take(ctx, cluster, res)
}

// membershipError is why a process is no member of its cluster any more, whatever else became of its work by that.
type membershipError struct{ err error }

func (e membershipError) Error() string { return e.err.Error() }
func (e membershipError) Unwrap() error { return e.err }

// clusterName is the name of the job's cluster, and of its Kafka group.
func (j *Job) clusterName() string { return j.Config.Cluster.Group + "." + j.Config.Name }

// openCluster opens the cluster, over the sink's servers or those of cluster.connection; again says that this process took part before.
func (j *Job) openCluster(ctx context.Context, p *Plugins, again bool) (syncd.Cluster, func() error, error) {
	c, sink := &j.Config.Cluster, p.Sink
	done := func() error { return nil }
	if other := j.Config.Coordination; other.Settings != nil {
		if sink.Abilities().Commit != nil {
			return nil, nil, &InvalidError{syncd.Hint(errors.New("exactly once needs the state of the cluster in the sink's own Kafka"), "remove cluster.connection")}
		}
		env := j.env(other)
		opened, err := other.OpenSink(ctx, other.Settings, env)
		if err != nil {
			return nil, nil, fmt.Errorf("opening cluster.connection: %w", err)
		}
		sink, done = opened, opened.Close
	}
	open := sink.Abilities().Cluster
	if open == nil {
		return nil, nil, errors.Join(&InvalidError{syncd.Hint(fmt.Errorf("the sink %s can't hold the state of a cluster", j.Config.Sink.Name()),
			"name a Kafka that can: cluster.connection.kafka")}, done())
	}
	cluster, err := open(ctx, syncd.ClusterOptions{
		Group: j.clusterName(), Topic: c.StateTopic, Lanes: c.Partitions, Replicas: c.ReplicationFactor, Instance: c.InstanceID,
		Existing: again, Session: c.SessionTimeout, Leave: c.LeaveTimeout, ProcessName: j.Process,
	})
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("joining the cluster: %w", err), done())
	}
	return cluster, func() error { return errors.Join(cluster.Close(), done()) }, nil
}

// errOver is the cause of the end of everything else when the run has ended for all.
var errOver = errors.New("the run has ended")

// take joins, works and leads by turns.
func (m *member) take(ctx context.Context, cluster syncd.Cluster, res *Result) error {
	if m.q.Monitor != nil {
		m.q.Monitor.cluster.Store(m.view)
		defer m.q.Monitor.cluster.Store(nil)
		defer m.q.record.publish(ctx, m.q.Monitor)()
	}
	joined, leave := context.WithCancel(context.WithoutCancel(ctx)) // it leaves behind all else
	defer leave()
	joining := make(chan error, 1)
	g, within := errgroup.WithContext(ctx)
	go func() {
		joining <- panics.Caught(func() error { return cluster.Join(joined, m.view.Member()) })()
	}()
	membership := make(chan error, 1)
	g.Go(func() error { // the end of the membership ends all else
		select {
		case err := <-joining:
			membership <- err
			if err == nil {
				err = context.Canceled
			}
			return err
		case <-within.Done():
			return nil
		}
	})
	var ended error
	g.Go(panics.Caught(func() error { return m.view.Sign(within) }))
	g.Go(panics.Caught(func() error { return m.tell(within) }))
	g.Go(panics.Caught(func() error { return m.warn(within) }))
	g.Go(panics.Caught(func() error {
		select {
		case <-m.view.CaughtUp():
		case <-within.Done():
			return within.Err()
		}
		if info := m.view.Info(); isOver(info) && info.RunID != *m.took.Load() {
			m.past = info.RunID
		}
		work, lead := errgroup.WithContext(within)
		work.Go(panics.Caught(func() error { return m.work(lead) }))
		work.Go(panics.Caught(func() error {
			err := m.lead(lead, res)
			ended = err
			return errors.Join(errOver, err)
		}))
		return work.Wait()
	}))
	err := g.Wait()
	leave()
	var left error
	select {
	case left = <-membership: // it had ended
	case left = <-joining:
	}
	over := errors.Is(err, errOver)
	switch {
	case (errors.Is(left, syncd.ErrFenced) || errors.Is(left, syncd.ErrUnavailable)) && (!over || ended != nil):
		return membershipError{left}
	case left != nil && ctx.Err() == nil && !errors.Is(err, left):
		m.j.Logger.Warn("could not leave the cluster", "error", left.Error())
	}
	if over {
		return ended
	}
	return err
}

// settling is how long processes come and go before it is told how many there are.
const settling = 3 * time.Second

// tell logs which cluster this is, and how many processes it has, as they come and go, until ctx ends.
func (m *member) tell(ctx context.Context) error {
	var known map[string]bool
	for {
		if _, err := m.view.Processes(ctx, known); err != nil || wait.Pause(ctx, settling) != nil {
			return nil //nolint:nilerr // it has ended
		}
		now, err := m.view.Processes(ctx, nil)
		if err != nil {
			return nil //nolint:nilerr // it has ended
		}
		if !maps.Equal(now, known) {
			s := m.view.Status()
			m.j.Logger.Info("processes share the job", "cluster", m.j.clusterName(), "processes", len(now), "lanes", len(s.Lanes), "mine", s.Owned(), "leads", s.Leads())
		}
		known = now
	}
}

// warn says which other clusters do the same work beside this one, until ctx ends.
func (m *member) warn(ctx context.Context) error {
	for {
		name, order, err := m.view.Rival(ctx, m.print)
		if err != nil {
			return nil //nolint:nilerr // it has ended
		}
		m.j.Logger.Warn("another cluster does the same work, so that everything is done twice: only processes with the same cluster.group and name share it",
			"cluster", m.j.clusterName(), "other", name, "leader", order.Leader.Process, "host", order.Leader.Host)
	}
}

// lead waits until this process is to lead, and then does, until the run has ended: for all, or for this process.
func (m *member) lead(ctx context.Context, res *Result) error {
	asked, stop := wait.Drained(ctx, m.j.Drain)
	defer stop()
	for {
		leading, order, err := m.view.Turn(asked, m.print, m.over)
		switch {
		case err != nil && ctx.Err() == nil:
			return m.leaves(res)
		case err != nil:
			return ctx.Err()
		case leading == nil:
			return m.told(order, res)
		}
		ended, err := m.leads(ctx, leading, res)
		if _, told := errors.AsType[*untoldError](err); told {
			continue // to hear it like the others
		}
		fenced := errors.Is(err, syncd.ErrFenced)
		lost := !ended && ctx.Err() == nil && asked.Err() == nil && (isDrained(leading.Drain) || fenced)
		switch {
		case !lost && ctx.Err() == nil && asked.Err() != nil && (fenced || errors.Is(err, context.Canceled)):
			return ErrInterrupted // by the drain
		case !lost && fenced:
			return ErrInterrupted
		case !lost:
			return err
		}
		m.j.Logger.Info("another process leads from now on")
		*res = Result{Fingerprint: res.Fingerprint}
	}
}

// leads leads a run until its end, of which ended says that all were told, or until this process or another one's turn ends it in good
// order. Where the lane is lost it ends at once.
func (m *member) leads(ctx context.Context, leading *lanes.Leading, res *Result) (ended bool, err error) {
	defer leading.End()
	ctx, cancel := context.WithCancel(ctx)
	drain := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-m.j.Drain:
		case <-leading.Drain:
		case <-ctx.Done():
			return
		}
		close(drain)
		select {
		case <-leading.Lost:
			cancel()
		case <-ctx.Done():
		}
	})
	defer watch.Wait()
	defer cancel()
	led := *m.j
	led.Drain = drain
	return m.run(ctx, &led, res)
}

// over reports whether an order ends this process's part: the run in which it took part has ended, or it is for others.
func (m *member) over(o lanes.Order, follows bool) bool {
	return o.RunID != "" && (o.RunID == *m.took.Load() && o.Outcome != tally.Running || follows && o.Outcome == tally.Running && o.Fingerprint != m.print)
}

// leaves ends the part of a process that was told to stop, and that does not lead: others go on with the run. To follow has no other end.
func (m *member) leaves(res *Result) error {
	if o := m.view.Status().Order; o.RunID != "" {
		m.parted(o, res)
	}
	if m.j.Config.Run.Follow {
		return nil
	}
	return ErrInterrupted
}

// parted notes what this process did of the run of an order.
func (m *member) parted(o lanes.Order, res *Result) {
	done := m.part.done()
	done.Leader, done.RunID = o.Leader.Process, o.RunID
	res.Part = &done
}

// told turns the leader's word into this process's error.
func (m *member) told(o lanes.Order, res *Result) error {
	m.parted(o, res)
	if o.Fingerprint != m.print {
		return &InvalidError{syncd.Hint(fmt.Errorf("the cluster works by another configuration than this process has (its leader is %s)", o.Leader.Process),
			"give all processes the same configuration, or this one another cluster.group or name")}
	}
	if o.Outcome == tally.Complete {
		return nil
	}
	return end(o.Outcome, syncd.Hint(errors.New(o.Problem), "%s", o.Hint))
}

// run leads a run, as a process alone does one. Its end is that of all, and then told to all, unless it is this process's own.
func (m *member) run(ctx context.Context, j *Job, res *Result) (ended bool, err error) {
	q := m.q
	q.led = m
	err = j.backfill(ctx, m.p, q, res)
	if untold, is := errors.AsType[*untoldError](err); is {
		order := m.view.Status().Order
		order.Outcome = untold.outcome
		if order.Outcome != tally.Complete {
			order.Problem = untold.Error()
		}
		return false, cmp.Or(m.view.Give(ctx, order), err)
	}
	outcome := OutcomeOf(err)
	_, reported := errors.AsType[*lanes.TroubleError](err)
	ours := !reported && (outcome == tally.Failed || outcome == tally.Interrupted)
	drained := isDrained(j.Drain) && (outcome == tally.Interrupted || j.Config.Run.Follow) // to follow has no other end
	if ctx.Err() != nil || ours || drained {
		return false, err // others go on
	}
	order := lanes.Order{RunID: *m.ordered.Load(), Fingerprint: m.print, Outcome: outcome}
	if order.RunID == "" {
		order.RunID = res.Report.RunID
	}
	if err != nil {
		order.Problem, order.Hint = err.Error(), syncd.HintOf(err)
	}
	telling, stop := wait.Grace(ctx, j.Drain, drainGrace, nil)
	defer stop()
	told := m.view.Give(telling, order)
	return told == nil, errors.Join(err, told)
}

// isOver reports whether a run has ended for all. One that follows goes on, though the process that led it was told to stop.
func isOver(info store.Info) bool { return info.Outcome.Finished() && !info.Resumable }

// untoldError says that a run has ended whose leader died before it could tell the others.
type untoldError struct{ outcome tally.Outcome }

func (e *untoldError) Error() string {
	return "the run has ended, and the process that led it died before it said how: " + string(e.outcome)
}

// openStore is that of Job, for the leader.
func (m *member) openStore(ctx context.Context, scope store.Scope, fresh *bool, o *Options) (store.Store, *Decision, error) {
	st, err := m.view.Store(ctx, *fresh)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the state of the cluster: %w", err)
	}
	if info, o := st.Info(), m.view.Status().Order; o.Outcome == tally.Running && o.RunID == info.RunID && isOver(info) && info.RunID != m.past {
		return nil, nil, errors.Join(&untoldError{info.Outcome}, st.Close(ctx, endOf(ErrInterrupted, true)))
	}
	d, err := m.j.adopt(ctx, st, scope, *fresh, o)
	if err != nil {
		return nil, nil, errors.Join(err, st.Close(ctx, endOf(ErrInterrupted, true)))
	}
	if before := m.view.Status().Order; d != nil && d.Resumed && before.RunID == d.RunID && before.Leader.Process != m.j.Process {
		d.From = before.Leader.Process
	}
	*fresh = false
	if o.Checkpoints = (checkpoints{st}); m.exact {
		o.Checkpoints = st
	}
	o.Order = m.order
	o.Shared = func(ctx context.Context, runID string, moved func(string, store.Split) error) error {
		g, ctx := errgroup.WithContext(ctx)
		if most := o.Limits.MaxEvents; most > 0 {
			g.Go(panics.Caught(func() error { return m.view.Grant(ctx, runID, most) }))
		}
		g.Go(panics.Caught(func() error {
			err := m.view.Follow(ctx, runID, moved)
			if trouble, is := errors.AsType[*lanes.TroubleError](err); is {
				return end(trouble.Outcome, syncd.Hint(err, "%s", trouble.Hint))
			}
			return err
		}))
		return g.Wait()
	}
	return st, d, nil
}

// checkpoints is a store whose checkpoints are no part of the sink's transactions.
type checkpoints struct{ store.Checkpoints }

// order has all processes work on a run.
func (m *member) order(ctx context.Context, runID string, held []string) error {
	m.ordered.Store(&runID)
	return m.view.Give(ctx, lanes.Order{RunID: runID, Fingerprint: m.print, Outcome: tally.Running, Held: held})
}

// work works on this process's splits of one run after another, until ctx ends, an error does, or this process is to end.
func (m *member) work(ctx context.Context) error {
	asked, stop := wait.Drained(ctx, m.j.Drain)
	defer stop()
	last := ""
	for {
		order, ok := m.view.Awaiting(asked, func(o lanes.Order) bool {
			return o.RunID != last && o.Outcome == tally.Running && o.Fingerprint == m.print
		})
		if !ok {
			return ctx.Err()
		}
		last = order.RunID
		m.took.Store(&order.RunID)
		if err := m.workOn(ctx, order); err != nil {
			return err
		}
	}
}

// workOn works on the splits of one run, until the leader's order changes.
func (m *member) workOn(ctx context.Context, order lanes.Order) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	o := m.j.options(m.p)
	o.RunID = order.RunID
	held := map[*mapping.Rule]bool{}
	for _, rule := range o.Rules {
		held[rule] = slices.Contains(order.Held, rule.ContentType)
	}
	o.Guard = audit.RatioGuard(o.Guards.MaxMissingRatio, held)
	w := m.view.Worker(ctx)
	defer w.Close()
	if o.Checkpoints = (checkpoints{w}); m.exact {
		o.Checkpoints = w.Committing()
	}
	o.Limits.Granted = func(ctx context.Context, want int64) (int64, error) { return m.view.Ask(ctx, order.RunID, want) }
	if m.q.Working != nil {
		m.q.Working(&o.Options, order.Leader.Process)
	}
	e := engine.New(o.Options)
	m.part.begin(e)
	if m.q.Monitor != nil {
		m.q.Monitor.working.Store(&working{engine: e, runID: order.RunID, since: time.Now()})
		m.q.Monitor.meter.uses(e.Stages)
	}
	if err := e.Prepare(ctx); err != nil {
		return err
	}
	splits := make(chan engine.Assigned)
	handing, over := context.WithCancel(ctx)
	defer over()
	g, within := errgroup.WithContext(ctx)
	g.Go(panics.Caught(func() error { // the order is another one, or the run has ended
		m.view.Awaiting(within, func(now lanes.Order) bool { return now.RunID != order.RunID || now.Outcome != tally.Running })
		over()
		return nil
	}))
	g.Go(panics.Caught(func() error {
		defer close(splits)
		_ = m.view.Work(handing, order, w, func(a lanes.Assignment) {
			select {
			case splits <- engine.Assigned{Collection: a.Collection, Kept: a.Kept, State: a.State, Stop: a.Stop, Gone: a.Left, Divide: a.Divide}:
			case <-handing.Done():
				a.Left()
			}
		})
		return nil
	}))
	g.Go(panics.Caught(func() error {
		m.view.Shares(within, e.Share)
		return nil
	}))
	g.Go(panics.Caught(func() error {
		for wait.Pause(within, divideEvery) == nil {
			if m.view.Idle() {
				e.Divide()
			}
		}
		return nil
	}))
	stalled := make(chan error, 1)
	go func() { stalled <- m.watch(within, e, stop) }()
	err := e.Work(within, splits)
	stop()
	_ = g.Wait()
	if left := <-stalled; left != nil {
		return left
	}
	if err == nil || !m.endsAll(err) {
		return err
	}
	told := explainEnd(err)
	left := endOf(told, false)
	trouble := lanes.Trouble{RunID: order.RunID, Outcome: left.Outcome, Fresh: !left.Resumable, Problem: err.Error(), Hint: syncd.HintOf(told)}
	telling, stopTelling := wait.Grace(context.WithoutCancel(ctx), m.j.Drain, drainGrace, nil)
	defer stopTelling()
	return m.view.Report(telling, trouble) // whose end the leader tells
}

// watch ends the work of a process that has splits and does not advance.
func (m *member) watch(ctx context.Context, e *engine.Engine, stop func()) error {
	limit := m.j.Config.Cluster.StallTimeout
	if limit == 0 {
		return nil
	}
	for wait.Pause(ctx, limit/4) == nil {
		if still := time.Since(e.Snapshot().LastMove); still > limit && m.view.Working() {
			stop()
			return syncd.Hint(fmt.Errorf("this process has not advanced for %s, so it leaves its work to others", still.Round(time.Second)),
				"look at what it waits for: syncd status; cluster.stall_timeout is how long that may take")
		}
	}
	return nil
}

// divideEvery is how often it is looked whether others have nothing to do.
const divideEvery = 2 * time.Second

// endsAll reports whether an error of this process's work is one of the run rather than of the process.
func (m *member) endsAll(err error) bool {
	return OutcomeOf(err) == tally.Stopped || errors.Is(err, engine.ErrStopped)
}
