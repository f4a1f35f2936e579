package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/arrival"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/internal/wait"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/tally"
	"github.com/syncd-io/syncd/verdict"
)

// OrphanMode says what a run does about points whose documents are gone.
type OrphanMode string

// The modes.
const (
	OrphansOff    OrphanMode = "off"    // does not look for them
	OrphansReport OrphanMode = "report" // counts and names them
	OrphansPrune  OrphanMode = "prune"  // deletes them
)

// Options is what a run needs. All plugins and the store are open and stay the caller's to close.
type Options struct {
	engine.Options // Index and Guard are set by the run

	Orphans        OrphanMode
	PlannedOrphans []verdict.Item // prune these alone; nil prunes all that are found
	Guards         Guards
	WaitTimeout    time.Duration // for a short look whether the index shows what was sent; 0 does not wait
	Await          *Await        // wait for all that was sent, by name; nil does not

	// Order has other processes begin to work on the splits, now that nothing speaks against it; nil: there are no others. held are the
	// content types that the index held before.
	Order func(ctx context.Context, runID string, held []string) error

	Monitor *Monitor                           // shows the run while it goes on; nil shows nothing
	Started func(index IndexReport, full bool) // is told when the index was looked at, before anything is read; nil is told nothing
}

// Guards stop a run before it does what nobody can have meant. Zero values guard nothing, but drift is guarded against unless
// AllowDrift.
type Guards struct {
	AllowDrift      bool
	MaxDeletes      int64   // documents deleted from the index; for 0 see audit.Orphans.Guard
	MaxMissingRatio float64 // of a collection whose content type the index already holds, above 0 and below 1; 0 is no limit
}

// Await says how a run waits for the index to show everything that was sent.
type Await struct {
	Timeout  time.Duration          // from the end of the sending
	Every    time.Duration          // between two calls of Progress
	Progress func(arrival.Arrivals) // is told how far the index has come, one call at a time, and once at the end; nil is told nothing
}

// Report is what a run did.
type Report struct {
	RunID       string
	Started     time.Time
	Duration    time.Duration // of the whole run, with waiting for the index
	Scanning    time.Duration // until the last batch was accounted for
	DryRun      bool
	Full        bool // the index was not asked
	Interrupted bool
	WouldDelete int64 // documents whose points a run that is not dry would delete, where it was to
	engine.Report
	Orphans []audit.OrphanReport // by content type, where they were looked for
	// OrphanTime is what looking for them took, all who did it side by side together.
	OrphanTime time.Duration
	Index      IndexReport
	Arrivals   *arrival.Arrivals // of a run that was to wait for all that was sent
	Embedded   *Embedded         // what was embedded; nil where no stage does that
	Switch     *Switched         // what became of the name under which readers ask; nil where there is none to be switched
}

// Embedded is what a job had embedded since its stages were opened.
type Embedded struct {
	Model string
	syncd.Usage
	Cost float64 // in US dollars; 0 where the price is not known
}

// embedded tells what the stages had embedded by now.
func embedded(stages []syncd.Stage) *Embedded {
	v := vectorsOf(stages)
	if v == nil || v.Usage == nil {
		return nil
	}
	u := v.Usage()
	return &Embedded{Model: v.Model, Usage: u, Cost: float64(u.Tokens) / 1e6 * v.Price}
}

// vectorsOf is what the stage can do that embeds; nil where none does.
func vectorsOf(stages []syncd.Stage) *syncd.Vectors {
	for _, s := range stages {
		if v := s.Abilities().Vectors; v != nil {
			return v
		}
	}
	return nil
}

// Failed is how many documents could not be handled, those to be deleted among them.
func (r *Report) Failed() int64 { return r.Total.Failed() + r.Deleted.Failed() }

// IndexReport is what the index held before and after a run.
type IndexReport struct {
	Known    bool // the checker can describe its index, and did
	Before   syncd.Index
	After    syncd.Index
	CaughtUp bool // the documents sent last were seen in the index
	Waited   time.Duration
}

// run is one run under way.
type run struct {
	Options
	engine  *engine.Engine
	started time.Time
	phase   atomic.Int32
	report  Report
	recent  *arrival.Recent  // what was sent last, for a short look
	tracker *arrival.Tracker // all that was sent and has not arrived; nil if nobody waits for it
	held    []string         // content types that the index held before
}

// Run executes one run: it looks at the index, guards, reads all collections and delivers what the index lacks, looks for
// orphans, and waits for the index. The report is always filled in as far as the run came. The error is nil when every
// collection was read to its end and proved; document errors are not an error but are counted. A drained run has no error and
// Report.Interrupted; a run whose ctx ended returns ctx's error.
func Run(ctx context.Context, o Options) (Report, error) {
	r := &run{Options: o, started: time.Now()}
	r.report = Report{RunID: o.RunID, Started: r.started, DryRun: o.DryRun != nil, Full: o.Checker == nil}
	err := r.execute(ctx)
	if err != nil && r.draining() && ctx.Err() == nil && errors.Is(err, context.Canceled) { // cut off by the drain
		r.report.Interrupted, err = true, nil
	}
	r.phase.Store(int32(PhaseEnd))
	r.report.Duration = time.Since(r.started)
	if o.DryRun == nil {
		r.report.Embedded = embedded(o.Stages)
	}
	return r.report, err
}

// execute goes through the phases of a run. What comes before the reading has little to lose by the drain.
func (r *run) execute(ctx context.Context) error {
	if err := r.mayDelete(); err != nil {
		return err
	}
	before, stopBefore := wait.Grace(ctx, r.Drain, drainGrace, nil)
	defer stopBefore()
	if err := r.inspect(before); err != nil {
		return err
	}
	ratio := r.follow()
	r.engine = engine.New(r.Options.Options)
	if r.Monitor != nil {
		r.Monitor.run.Store(r)
		if r.DryRun == nil {
			r.Monitor.meter.uses(r.Stages)
		}
	}
	if err := r.engine.Prepare(before); err != nil {
		return err
	}
	if r.Started != nil {
		r.Started(r.report.Index, r.report.Full)
	}
	stop := r.engine.Watch(ctx, func() string { return Phase(r.phase.Load()).String() })
	arriving, endSending := r.followArrivals(ctx)
	err := r.preflight(before, ratio)
	if err == nil && r.Order != nil {
		err = r.Order(before, r.RunID, r.held)
	}
	if err == nil {
		r.phase.Store(int32(PhaseRead))
		err = r.engine.Backfill(ctx)
	}
	r.report.Scanning = time.Since(r.started)
	r.report.Report = r.engine.Report()
	if r.report.Interrupted = r.draining(); err == nil && !r.report.Interrupted {
		r.warnOfFilters(ctx)
		err = r.orphans(ctx)
		r.report.Report = r.engine.Report()
		if r.report.Interrupted = r.draining(); r.report.Interrupted && ctx.Err() == nil {
			err = nil
		}
	}
	stop()
	endSending()
	arriving()
	r.phase.Store(int32(PhaseWait))
	r.await(ctx, err)
	return err
}

// mayDelete refuses, before anything is read or sent, deletes that can't be: of points of which it is not known whose they are, and those
// of a plan where nobody can be asked whether they are still due.
func (r *run) mayDelete() error {
	planned := int64(len(r.PlannedOrphans))
	switch {
	case r.Orphans != OrphansPrune:
		return nil
	case r.Checker == nil && planned > 0:
		return &tally.GuardError{
			Problem: fmt.Sprintf("the plan's %s can't be sent: the index was not asked whether they are still due; nothing was sent", plural(planned, "delete")),
			Advice:  "run it again when the index can be reached; " + withoutDeletes,
		}
	case r.Checker == nil:
		return nil
	case r.PlannedOrphans == nil:
		return audit.MayOwn(r.Rules)
	}
	rules := slices.DeleteFunc(slices.Clone(r.Rules), func(rule *mapping.Rule) bool {
		return !slices.ContainsFunc(r.PlannedOrphans, func(o verdict.Item) bool { return o.Rule == rule })
	})
	err := audit.MayOwn(rules)
	if guard, ok := errors.AsType[*tally.GuardError](err); ok {
		guard.Advice += "; " + withoutDeletes
	}
	return err
}

// withoutDeletes is how a plan is sent without its deletes.
const withoutDeletes = "--prune=false sends the plan without its deletes"

// inspect finds out what the index holds.
func (r *run) inspect(ctx context.Context) error {
	if r.Checker == nil {
		return nil
	}
	inspect := r.Checker.Abilities().Inspect
	if inspect == nil {
		return nil
	}
	index, err := inspect(ctx)
	if err != nil {
		return fmt.Errorf("looking at the index: %w", err)
	}
	r.report.Index.Known, r.report.Index.Before, r.report.Index.After = true, index, index
	r.Index = &index
	return nil
}

// follow has those told of what the engine does who need it, and returns where the guard of missing documents belongs, which
// is known only after the preflight.
func (r *run) follow() (ratio *func(*mapping.Rule, tally.Counts) error) {
	ratio = new(func(*mapping.Rule, tally.Counts) error)
	if r.Guards.MaxMissingRatio > 0 {
		r.Guard = func(rule *mapping.Rule, n tally.Counts) error {
			if *ratio == nil {
				return nil
			}
			return (*ratio)(rule, n)
		}
	}
	if r.Checker == nil || r.DryRun != nil {
		return ratio
	}
	sent := arrivalOf(r)
	if told := r.Hooks.Sent; told != nil {
		r.Hooks.Sent = func(rule *mapping.Rule, changes []syncd.Change) {
			sent(rule, changes)
			told(rule, changes)
		}
	} else {
		r.Hooks.Sent = sent
	}
	return ratio
}

// arrivalOf makes what finds out whether sent documents reach the index, and returns the function that tells it of them.
func arrivalOf(r *run) func(*mapping.Rule, []syncd.Change) {
	if r.Await == nil {
		r.recent = arrival.NewRecent(r.Checker)
		return r.recent.Sent
	}
	o := arrival.Options{
		Checker: r.Checker, Rules: r.Rules, Timeout: r.Await.Timeout, Every: r.Await.Every, Progress: r.Await.Progress, Logger: r.Logger,
	}
	if r.Sink != nil {
		o.Route = r.Sink.Abilities().Route
	}
	r.tracker = arrival.NewTracker(o)
	return r.tracker.Sent
}

// followArrivals asks about what is sent while the run goes on. ended must be called when nothing is sent any more, then
// wait, which leaves no goroutine behind.
func (r *run) followArrivals(ctx context.Context) (wait, ended func()) {
	if r.tracker == nil {
		return func() {}, func() {}
	}
	sending, end := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.tracker.Follow(sending)
	}()
	return func() { <-done }, end
}

// preflight looks, before anything is sent, whether each content type that the index holds has the ids that the rules make. A
// plan shows what it finds, whatever it is.
func (r *run) preflight(ctx context.Context, ratio *func(*mapping.Rule, tally.Counts) error) error {
	if r.Checker == nil || r.DryRun != nil && r.Hooks.Item != nil {
		return nil
	}
	p := audit.Preflight{
		Source: r.Source, Checker: r.Checker, Rules: r.Rules, Workers: cmp.Or(r.Workers, 8),
		AllowDrift: r.Guards.AllowDrift, MaxMissingRatio: r.Guards.MaxMissingRatio,
	}
	held, err := p.Run(ctx)
	*ratio = audit.RatioGuard(r.Guards.MaxMissingRatio, held)
	for rule := range held {
		r.held = append(r.held, rule.ContentType)
	}
	slices.Sort(r.held)
	return err
}

// warnOfFilters says which filters left nothing of collections that hold documents: a filter with a mistake looks like a
// collection that is in step. It is no error, since the documents may be still to come.
func (r *run) warnOfFilters(ctx context.Context) {
	for _, c := range r.report.Collections {
		whole := syncd.Collection{Name: c.Rule.Collection.Name}
		if c.Rule.Collection.Filter == "" || !c.Found || c.Scanned > 0 || !r.holdsAny(ctx, whole) {
			continue
		}
		r.Logger.Warn("the filter leaves none of the collection's documents", "collection", whole.Name, "filter", c.Rule.Collection.Filter,
			"hint", `a date is written {"$date": "…"}, or in YAML without quotes, an ObjectId {"$oid": "…"}; syncd validate --connect compares the filter with a document`)
	}
}

// holdsAny reports whether the source yields any document of a collection.
func (r *run) holdsAny(ctx context.Context, c syncd.Collection) bool {
	for batch, err := range r.Source.Read(ctx, syncd.ReadRequest{Split: syncd.Split{Collection: c}, BatchSize: 1}) {
		return err == nil && len(batch.Changes) > 0
	}
	return false
}

// draining reports whether the run was asked to end early.
func (o *Options) draining() bool { return isDrained(o.Drain) }

// orphans looks for points whose documents are gone, and deletes them where it may.
func (r *run) orphans(ctx context.Context) (err error) {
	if r.Checker == nil || r.Orphans == OrphansOff || r.Orphans == "" {
		return nil
	}
	r.phase.Store(int32(PhaseOrphans))
	prune := r.Orphans == OrphansPrune
	if prune {
		if err := audit.MayPrune(read(r.report.Collections)); err != nil {
			return err
		}
	}
	search := audit.OrphanSearch{
		Source: r.Source, Checker: r.Checker, Rules: r.Rules, Parts: cmp.Or(r.Workers, 8), Since: r.started, Planned: r.PlannedOrphans,
		Keep: prune, Item: r.Hooks.Item, Moved: r.engine.Advanced, Drain: r.Drain,
	}
	found, err := search.Find(ctx)
	if found != nil {
		// What was done is told, whatever came after it.
		r.report.OrphanTime = found.Took
		defer func() { r.report.Orphans = withDeleted(found.Reports, r.engine.Report().Deletes) }()
	}
	if err != nil || !prune {
		return err
	}
	if r.DryRun != nil {
		for _, o := range found.Reports {
			r.report.WouldDelete += o.Orphans
		}
		return nil
	}
	if err := found.Guard(r.Guards.MaxDeletes); err != nil {
		return err
	}
	return r.engine.Delete(ctx, found.Source())
}

// read is what deleting needs to know of the collections that were read.
func read(reports []engine.CollectionReport) []audit.ReadCollection {
	out := make([]audit.ReadCollection, len(reports))
	for i, c := range reports {
		out[i] = audit.ReadCollection{Collection: c.Rule.Collection, Found: c.Found, Complete: c.Complete, Failed: c.Failed()}
	}
	return out
}

// withDeleted adds to what was found how much of it was deleted.
func withDeleted(reports []audit.OrphanReport, deletes []engine.CollectionReport) []audit.OrphanReport {
	for _, d := range deletes {
		for i := range reports {
			if reports[i].ContentType == d.Rule.ContentType {
				reports[i].Deleted += d.Acked
			}
		}
	}
	return reports
}

// await gives the indexer time to index what was sent, and then looks at the index again. It proves nothing and fails nothing:
// a slow indexer is not an error of the run, and neither is an index that can't be asked any more.
func (r *run) await(ctx context.Context, err error) {
	ended := err == nil && !r.report.Interrupted
	index := &r.report.Index
	acked := r.report.Total.Acked + r.report.Deleted.Acked
	switch {
	case r.tracker != nil:
		var a arrival.Arrivals
		if ended {
			a = r.tracker.Await(ctx, r.Drain)
		} else {
			a = r.tracker.Interrupt()
		}
		r.report.Arrivals = &a
		index.CaughtUp, index.Waited = a.Missing() == 0, a.Waited
	case r.Await != nil && ended: // there is nobody to ask
		r.report.Arrivals = &arrival.Arrivals{Sent: acked, Known: acked == 0}
	case !index.Known || acked == 0:
		index.CaughtUp = true
	case r.WaitTimeout > 0 && ended:
		start := time.Now()
		points := index.Before.Points + r.report.Total.Acked
		if r.report.Deleted.Acked > 0 {
			points = -1
		}
		index.CaughtUp = r.recent.Await(ctx, r.Drain, r.WaitTimeout, points)
		index.Waited = time.Since(start)
	}
	if !ended || !index.Known || acked == 0 {
		return
	}
	ctx, stop := wait.Drained(ctx, r.Drain)
	defer stop()
	after, err := r.Checker.Abilities().Inspect(ctx)
	if err != nil {
		r.Logger.Warn("can't look at the index after the run", "error", err)
		index.Known = false
		return
	}
	index.After = after
}
