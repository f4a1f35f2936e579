package job

import (
	"context"
	"errors"
	"fmt"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/internal/wait"
	"github.com/syncd-io/syncd/planfile"
	"github.com/syncd-io/syncd/sendlog"
	"github.com/syncd-io/syncd/verdict"
)

// measurePerBatch is how many events of a batch a plan encodes to estimate the bytes of all.
const measurePerBatch = 20

// PlanRequest says what a plan is told beside the configuration.
type PlanRequest struct {
	Output string  // the file to write the differences to; empty writes none
	All    bool    // write also the documents that need nothing
	Tokens bool    // count the tokens of every document that would be embedded, and not of some
	Sample float64 // look only at this share of the documents, above 0 and below 1; 0 looks at all

	Monitor *Monitor           // shows the comparison while it goes on; nil shows nothing
	Item    func(verdict.Item) // is told of every document that was looked at, one at a time; nil is told nothing
}

// PlanResult is what a run would do.
type PlanResult struct {
	Report Report
	Asked  bool // the index was asked
	// Embedding is how tokens were counted, of a job that embeds; nil of any other.
	Embedding *Embedding
}

// Embedding is how a plan counts what would be embedded.
type Embedding struct {
	Model string
	Price float64       // of a million tokens, in US dollars; 0 is not known
	By    *syncd.Tokens // nil: no stage counts tokens, so they are estimated by the bytes of the texts
	Held  bool          // the index was asked which texts it holds
}

// embeddedOfPlan is of how many documents of a collection a plan counts tokens, at most.
const embeddedOfPlan = 1000

// Plan compares the source with the index in both directions, and sends nothing.
func (j *Job) Plan(ctx context.Context, q PlanRequest) (res PlanResult, err error) {
	if err := j.needsDocuments(); err != nil {
		return res, err
	}
	if j.Config.Run.Mode == config.Full {
		return res, &UsageError{errors.New("a plan asks the index, which mode full does not")}
	}
	err = j.With(ctx, false, func(ctx context.Context, p *Plugins) (err error) {
		o := j.options(p)
		j.dryRun(&o, q.Sample, measurePerBatch)
		o.Orphans = lookForOrphans(p, q.Sample)
		stop, err := j.countTokens(ctx, p, &o, q, &res)
		if err != nil {
			return err
		}
		defer stop()
		closeLedger, err := j.judgeBy(ctx, p, &o)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, closeLedger()) }()
		o.Monitor = q.Monitor
		if o.Hooks.Item = q.Item; q.Item == nil {
			o.Hooks.Item = func(verdict.Item) {} // without one, orphans are counted and not named
		}
		if q.Output != "" {
			w, err := planfile.Create(q.Output, j.planHeader(o.RunID, q.Sample), q.All)
			if err != nil {
				return err
			}
			told := o.Hooks.Item
			o.Hooks.Item = func(i verdict.Item) {
				told(i)
				w.Item(i)
			}
			res.Report, err = Run(ctx, o)
			return errors.Join(j.concludePlan(&res, p, err), w.Close(err == nil && !res.Report.Interrupted))
		}
		res.Report, err = Run(ctx, o)
		return j.concludePlan(&res, p, err)
	})
	return res, err
}

// countTokens has a dry run find out how much would be embedded, where the job embeds. The sink is opened for it, since it knows which texts
// the index holds; stop closes it.
func (j *Job) countTokens(ctx context.Context, p *Plugins, o *Options, q PlanRequest, res *PlanResult) (stop func(), err error) {
	stop = func() {}
	vectors := vectorsOf(p.Stages)
	if _, indexes := j.Config.Sink.Settings.(syncd.Indexer); vectors == nil || !indexes {
		return stop, nil
	}
	res.Embedding = &Embedding{Model: vectors.Model, Price: vectors.Price, By: engine.TokensOf(p.Stages)}
	o.DryRun.Embed = &engine.DryEmbed{Most: embeddedOfPlan}
	if q.Tokens {
		o.DryRun.Embed.Most = 0
	}
	opening, stopOpening := wait.Drained(ctx, j.Drain)
	defer stopOpening()
	sink, err := j.Config.Sink.OpenSink(opening, j.Config.Sink.Settings, j.env(j.Config.Sink))
	if err != nil {
		if opening.Err() != nil {
			return stop, errors.Join(ErrInterrupted, err)
		}
		j.Logger.Warn("which texts the index holds is not known: all of a document count as to be embedded", "error", err.Error())
		return stop, nil
	}
	o.DryRun.Embed.Held = sink.Abilities().Held
	res.Embedding.Held = o.DryRun.Embed.Held != nil
	return func() {
		closing, stopClosing := wait.Drained(ctx, j.Drain)
		defer stopClosing()
		_ = closeUntil(closing, sink.Close) // it was only asked
	}, nil
}

// concludePlan turns what became of a dry run into its error.
func (j *Job) concludePlan(res *PlanResult, p *Plugins, err error) error {
	res.Asked = p.Checker != nil
	return j.conclude(&res.Report, 0, err)
}

func (j *Job) planHeader(runID string, sample float64) planfile.Header {
	return planfile.Header{Plan: planfile.Version, RunID: runID, Fingerprint: j.Config.Mapping.Fingerprint(), Sample: sample}
}

// OpenPlan reads a plan to its end, and refuses one that is not whole or was made with other ids.
func (j *Job) OpenPlan(path string) (planfile.Plan, error) {
	plan := planfile.File(path)
	h, err := plan.Check()
	if err != nil {
		return plan, &UsageError{err}
	}
	if want := j.Config.Mapping.Fingerprint(); h.Fingerprint != want {
		return plan, &UsageError{syncd.Hint(
			fmt.Errorf("the plan %s was made with another mapping or other collections (fingerprint %s, not %s)", path, h.Fingerprint, want),
			"make it anew with this configuration and the same --collections")}
	}
	return plan, nil
}

// judgeBy has the record of attempts judge documents in a run that sends nothing. While a run has the record nobody does. close lets go of the record.
func (j *Job) judgeBy(ctx context.Context, p *Plugins, o *Options) (closeLedger func() error, err error) {
	ledger, err := j.openLedger(ctx, p.Checker, true)
	if errors.Is(err, sendlog.ErrBusy) {
		j.Logger.Warn("a run has the record of attempts: documents that were sent often enough and never appeared count as missing here")
		return func() error { return nil }, nil
	}
	if err != nil || ledger == nil {
		return func() error { return nil }, err
	}
	o.Ledger = ledger
	return ledger.Close, nil
}

// lookForOrphans is report where the plugins can, and the whole is looked at.
func lookForOrphans(p *Plugins, sample float64) OrphanMode {
	if p.Checker != nil && p.Checker.Abilities().List != nil && p.Source.Abilities().Find != nil && sample == 0 {
		return OrphansReport
	}
	return OrphansOff
}
