package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/wait"
	"github.com/syncd-io/syncd/planfile"
	"github.com/syncd-io/syncd/tally"
	"github.com/syncd-io/syncd/verdict"
)

// MaxLookedAgain bounds the differences that an audit looks at again: where there are more, the index is plainly not equal.
const MaxLookedAgain = 200_000

// VerifyRequest says what an audit is told beside the configuration.
type VerifyRequest struct {
	Output string        // the file to write the differences to, as a plan; empty writes none
	MinAge time.Duration // look again at differences younger than this; 0 counts all at once

	Monitor *Monitor // shows the comparison while it goes on; nil shows nothing
}

// Asking is a configuration with which the index is asked, whatever a run does: nothing may stand in for its answer.
func Asking(c *config.Config) (*config.Config, error) {
	if c.Checker.Settings == nil {
		return nil, &UsageError{syncd.Hint(errors.New("the configuration names no index to ask"), "add a checker")}
	}
	asking := *c
	asking.Run.Mode, asking.Run.OnCheckUnavailable = config.Incremental, config.OutageFail
	return &asking, nil
}

// Audit is what comparing the index with the source found.
type Audit struct {
	Report      Report
	Differences []verdict.Item                     // the first MaxLookedAgain
	Counts      map[string]map[syncd.Verdict]int64 // of all of them, by collection
	OtherModel  map[string]int64                   // of the stale ones: whose vectors are of another model
	Rest        *audit.Rest                        // what else the index holds; nil if that is not known
	Concluded   bool                               // the comparison came to its end, so that what it found says how the index is

	last time.Time // when the last difference was seen
}

// Different is how many differences there are.
func (a *Audit) Different() (n int64) {
	for _, verdicts := range a.Counts {
		for _, k := range verdicts {
			n += k
		}
	}
	return n
}

// TooMany reports whether there are more differences than are kept; then they were not looked at again.
func (a *Audit) TooMany() bool { return a.Different() > int64(len(a.Differences)) }

// reset forgets all differences.
func (a *Audit) reset() {
	a.Differences, a.Counts, a.OtherModel = nil, map[string]map[syncd.Verdict]int64{}, map[string]int64{}
}

// see counts a difference and keeps it, if there is room; it is called by one goroutine at a time.
func (a *Audit) see(i verdict.Item) {
	if i.Verdict == syncd.Present {
		return
	}
	a.last = time.Now()
	name := i.Rule.Collection.Name
	if a.Counts[name] == nil {
		a.Counts[name] = map[syncd.Verdict]int64{}
	}
	a.Counts[name][i.Verdict]++
	if i.OtherModel {
		a.OtherModel[name]++
	}
	if len(a.Differences) < MaxLookedAgain {
		a.Differences = append(a.Differences, i)
	}
}

// Verify reads every document and every point, and says whether the index equals the source by every rule; it sends nothing. A
// difference that is younger than MinAge is looked at again before it counts. Its error is nil only if there is none. The
// configuration must ask the index, and must not pass over one that can't be reached.
func (j *Job) Verify(ctx context.Context, q VerifyRequest) (a *Audit, err error) {
	a = &Audit{}
	a.reset()
	if err := j.needsDocuments(); err != nil {
		return a, err
	}
	err = j.With(ctx, false, func(ctx context.Context, p *Plugins) (err error) {
		o := j.options(p)
		j.dryRun(&o, 0, 0)
		o.MinAge = 0 // what a run leaves alone for now is a difference all the same
		o.Orphans = lookForOrphans(p, 0)
		o.Hooks.Item, o.Monitor = a.see, q.Monitor
		closeLedger, err := j.judgeBy(ctx, p, &o)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, closeLedger()) }()
		var out *planfile.Writer
		if q.Output != "" {
			if out, err = planfile.Create(q.Output, j.planHeader(o.RunID, 0), false); err != nil {
				return err
			}
			defer func() {
				var differs *differsError
				err = errors.Join(err, out.Close(err == nil || errors.As(err, &differs)))
			}()
		}
		if err := j.verify(ctx, p, o, q, a); err != nil {
			return err
		}
		j.findRest(ctx, p, o, a)
		if out != nil {
			for _, i := range a.Differences {
				out.Item(i)
			}
		}
		return a.conclude()
	})
	return a, err
}

// findRest looks at what else the index holds. That it can't be looked at is no difference.
func (j *Job) findRest(ctx context.Context, p *Plugins, o Options, a *Audit) {
	if a.Report.Orphans == nil {
		return
	}
	seen := int64(0)
	for _, r := range a.Report.Orphans {
		seen += r.Points
	}
	ctx, stop := wait.Drained(ctx, o.Drain)
	defer stop()
	var err error
	if a.Rest, err = audit.FindRest(ctx, p.Checker, o.Rules, seen); err != nil {
		j.Logger.Warn("what else the index holds could not be looked at", "error", err.Error())
	}
}

func (j *Job) verify(ctx context.Context, p *Plugins, o Options, q VerifyRequest, a *Audit) (err error) {
	a.Report, err = Run(ctx, o)
	switch {
	case err != nil:
		return explainEnd(err)
	case a.Report.Interrupted:
		return ErrInterrupted
	case j.whole() && a.Report.NothingFound(): // an index that holds nothing of theirs would equal that
		return nothingFound(j.sourceLabel())
	}
	if len(a.Differences) > 0 && !a.TooMany() && q.MinAge > 0 {
		return j.lookAgain(ctx, p, o, q, a)
	}
	return nil
}

// differsError says that an audit found differences.
type differsError struct{ n int64 }

func (e *differsError) Error() string {
	return "the index differs from the source in " + plural(e.n, "document")
}

func (a *Audit) conclude() error {
	a.Concluded = true
	if n := a.Report.Total.Collisions; n > 0 && a.Different()+a.Report.Total.Failed() == 0 {
		return &EndError{Outcome: tally.Stopped, Err: syncd.Hint(fmt.Errorf("%s of another document: the index can't hold all", share(n)), "%s", tellApart)}
	}
	if n := a.Different() + a.Report.Total.Failed(); n > 0 {
		return &EndError{Outcome: tally.Stopped, Err: syncd.Hint(&differsError{n},
			"syncd run sends what the index lacks, with --prune deletes for what is gone too; syncd explain follows one document")}
	}
	return nil
}

// lookAgain waits until all differences are old enough and keeps those that are still there. Documents that can't be handled any
// more are added to those of the first look.
func (j *Job) lookAgain(ctx context.Context, p *Plugins, o Options, q VerifyRequest, a *Audit) error {
	q.Monitor.waits()
	if err := wait.Pause(wait.WithDrain(ctx, o.Drain), q.MinAge-time.Since(a.last)); err != nil {
		return errors.Join(ErrInterrupted, err)
	}
	first := a.Differences
	path, orphans, err := j.keepDifferences(o.RunID, first)
	if err != nil {
		return fmt.Errorf("keeping differences: %w", err)
	}
	defer func() { _ = os.Remove(path) }()
	plan, err := j.OpenPlan(path)
	if err != nil {
		return err
	}
	a.reset()
	o.Source, o.Orphans = plan.Source(p.Source, j.Config.Mapping.Rules), OrphansOff
	report, err := Run(ctx, o)
	switch {
	case err != nil:
		return explainEnd(err)
	case report.Interrupted:
		return ErrInterrupted
	}
	restoreKeys(a.Differences, first)
	for i, c := range report.Collections {
		a.Report.Collections[i].FailedRead += c.FailedRead
		a.Report.Collections[i].Failures = append(a.Report.Collections[i].Failures, c.Failures...)
	}
	a.Report.Total.FailedRead += report.Total.FailedRead
	looking, stop := wait.Drained(ctx, o.Drain)
	defer stop()
	still, err := audit.StillOrphans(looking, p.Source, p.Checker, orphans)
	if err != nil {
		return err
	}
	for _, i := range still {
		a.see(i)
	}
	return nil
}

// keepDifferences writes differences to a plan in a temporary file, and returns the orphans among them.
func (j *Job) keepDifferences(runID string, differences []verdict.Item) (path string, orphans []verdict.Item, err error) {
	f, err := os.CreateTemp("", "syncd-verify-*.ndjson")
	if err != nil {
		return "", nil, err
	}
	if err := f.Close(); err != nil {
		return "", nil, err
	}
	w, err := planfile.Create(f.Name(), j.planHeader(runID, 0), false)
	if err != nil {
		return "", nil, err
	}
	for _, i := range differences {
		w.Item(i)
		if i.Verdict == syncd.Orphan {
			orphans = append(orphans, i)
		}
	}
	return f.Name(), orphans, w.Close(true)
}

// restoreKeys gives documents that were read by a plan the keys that they had: a run of these differences needs them.
func restoreKeys(read, first []verdict.Item) {
	type document struct{ collection, id string }
	keys := make(map[document]syncd.Key, len(first))
	for _, i := range first {
		keys[document{i.Rule.Collection.Name, i.ID}] = i.Key
	}
	for n := range read {
		read[n].Key = keys[document{read[n].Rule.Collection.Name, read[n].ID}]
	}
}
