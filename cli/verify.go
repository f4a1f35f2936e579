package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/pipeline"
)

// maxRecheck bounds the differences that are looked at again: where there are more, the index is plainly not equal.
const maxRecheck = 200_000

func (a *app) verifyCommand() *cobra.Command {
	var common commonFlags
	var output string
	var minAge time.Duration
	c := &cobra.Command{
		Use:   "verify [-c] FILE",
		Short: "Check that the index equals the source by every rule; sends nothing",
		Long: `verify reads every document and every point. It ends with 0 if the index equals the source by every rule, else with 4.
A difference younger than --min-age is looked at again before it counts, so that an indexer at work is not an error.`,
		Example: `  syncd verify -c configs/prod.yaml
  syncd verify -c configs/prod.yaml -o differences.ndjson`,
		RunE: func(cmd *cobra.Command, args []string) error {
			overrides, err := collectionOverride(cmd)
			if err != nil {
				return err
			}
			// Nothing may stand in for an answer of the index.
			overrides = append(overrides,
				config.Override{Flag: "verify", Path: []string{"run", "mode"}, Value: string(config.Incremental)},
				config.Override{Flag: "verify", Path: []string{"run", "on_check_unavailable"}, Value: string(config.OutageFail)})
			cfg, logger, err := a.load(&common, args, overrides)
			if err != nil {
				return err
			}
			return a.connected(cmd.Context(), cfg, logger, plainEnv(logger), false, func(ctx context.Context, drain <-chan struct{}, s session) (err error) {
				record, err := a.openAttempts(ctx, cfg, s, true)
				if err != nil {
					return failed(err)
				}
				v := &verification{app: a, cfg: cfg, session: s, minAge: minAge, output: output}
				o := options(cfg, s, quiet{}, logger)
				o.Drain, o.DryRun, o.MinAge = drain, true, 0 // what a run leaves alone for now is a difference all the same
				if record != nil {
					defer closing("closing the record of attempts", record.Close, &err)
					o.Ledger = record
				}
				return v.run(ctx, o)
			})
		},
	}
	common.add(c)
	c.Flags().StringVarP(&output, "output", "o", "", "write the differences to this file, as a plan")
	c.Flags().DurationVar(&minAge, "min-age", 10*time.Second, "look again at differences younger than this; 0 counts all at once")
	c.Flags().String("collections", "", "only these collections, separated by commas (run.collections)")
	return c
}

// verification is one audit.
type verification struct {
	*app
	cfg     *config.Config
	session session
	minAge  time.Duration
	output  string

	differences []pipeline.Item                    // the first maxRecheck
	counts      map[string]map[syncd.Verdict]int64 // of all of them, by collection
	last        time.Time                          // when the last difference was seen
}

// reset forgets all differences.
func (v *verification) reset() {
	v.differences, v.counts = nil, map[string]map[syncd.Verdict]int64{}
}

// tooMany reports whether there are more differences than are kept.
func (v *verification) tooMany() bool {
	total := int64(0)
	for _, verdicts := range v.counts {
		for _, n := range verdicts {
			total += n
		}
	}
	return total > int64(len(v.differences))
}

// see counts a difference and keeps it, if there is room; it is called by one goroutine at a time.
func (v *verification) see(i pipeline.Item) {
	if i.Verdict == syncd.Present {
		return
	}
	v.last = time.Now()
	name := i.Rule.Collection.Name
	if v.counts[name] == nil {
		v.counts[name] = map[syncd.Verdict]int64{}
	}
	v.counts[name][i.Verdict]++
	if len(v.differences) < maxRecheck {
		v.differences = append(v.differences, i)
	}
}

func (v *verification) run(ctx context.Context, o pipeline.Options) (err error) {
	header := pipeline.PlanHeader{Plan: pipeline.PlanVersion, RunID: o.RunID, Fingerprint: v.cfg.Mapping.Fingerprint()}
	var out *planWriter
	if v.output != "" {
		if out, err = newPlanWriter(v.output, header, false); err != nil {
			return failed(err)
		}
		defer func() { err = errors.Join(err, failed(out.close(err == nil || isCode(err, exitGuard)))) }()
	}
	o.Orphans = lookForOrphans(v.session, 0)
	o.Item = v.see
	v.reset()
	report, err := pipeline.Run(ctx, o)
	switch {
	case err != nil:
		return runError(err)
	case report.Interrupted:
		return errInterrupted
	}
	if len(v.differences) > 0 && !v.tooMany() && v.minAge > 0 {
		if err := v.lookAgain(ctx, o, header, &report); err != nil {
			return err
		}
	}
	if out != nil {
		for _, i := range v.differences {
			out.item(i)
		}
	}
	return v.report(report)
}

// lookAgain waits until all differences are old enough and keeps those that are still there. Documents
// that can't be handled any more are added to those of the first look.
func (v *verification) lookAgain(ctx context.Context, o pipeline.Options, header pipeline.PlanHeader, first *pipeline.Report) error {
	wait := time.NewTimer(v.minAge - time.Since(v.last))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-o.Drain:
		return errInterrupted
	case <-ctx.Done():
		return ctx.Err()
	}
	f, err := os.CreateTemp("", "syncd-verify-*.ndjson")
	if err != nil {
		return failed(fmt.Errorf("keeping differences: %w", err))
	}
	path := f.Name()
	defer func() { _ = os.Remove(path) }()
	if err := f.Close(); err != nil {
		return failed(fmt.Errorf("keeping differences: %w", err))
	}
	w, err := newPlanWriter(path, header, false)
	if err != nil {
		return failed(err)
	}
	var orphans []pipeline.Orphan
	for _, i := range v.differences {
		w.item(i)
		if i.Verdict == syncd.Orphan {
			orphans = append(orphans, pipeline.Orphan{Rule: i.Rule, ID: i.ID, PointID: i.PointID, Held: i.Held})
		}
	}
	if err := w.close(true); err != nil {
		return failed(err)
	}
	plan, err := openPlan(path, v.cfg)
	if err != nil {
		return err
	}
	type document struct{ collection, id string }
	keys := map[document]syncd.Key{} // what is read by a plan has none, and a run of these differences needs them
	for _, i := range v.differences {
		keys[document{i.Rule.Collection.Name, i.ID}] = i.Key
	}
	v.reset()
	o.Source, o.Orphans = plan.Source(v.session.source, v.cfg.Mapping.Rules), pipeline.OrphansOff
	report, err := pipeline.Run(ctx, o)
	switch {
	case err != nil:
		return runError(err)
	case report.Interrupted:
		return errInterrupted
	}
	for n := range v.differences {
		i := &v.differences[n]
		i.Key = keys[document{i.Rule.Collection.Name, i.ID}]
	}
	for i, c := range report.Collections {
		first.Collections[i].FailedRead += c.FailedRead
		first.Collections[i].Failures = append(first.Collections[i].Failures, c.Failures...)
	}
	first.Total.FailedRead += report.Total.FailedRead
	still, err := pipeline.StillOrphans(ctx, v.session.source, v.session.checker, orphans)
	if err != nil {
		return failed(err)
	}
	for _, i := range still {
		v.see(pipeline.Item{Rule: i.Rule, Verdict: syncd.Orphan, ID: i.ID, PointID: i.PointID, Held: i.Held})
	}
	return nil
}

// report prints coverage per content type and gives the verdict.
func (v *verification) report(r pipeline.Report) error {
	p := newPrinter(v.stdout, v.cfg)
	row := p.columns("Content type", r, func(c pipeline.CollectionReport) string { return c.Rule.ContentType })
	row("Content type", "Documents", "Present", "Coverage", "Missing", "Stale", "Partial", "Orphan", "Errors")
	var documents, present, failures, different int64
	for _, c := range r.Collections {
		d := v.counts[c.Rule.Collection.Name]
		here := c.Scanned - d[syncd.Missing] - d[syncd.Stale] - d[syncd.Partial] - c.Failed() - c.Unindexed
		documents, present, failures = documents+c.Scanned, present+here, failures+c.Failed()
		for _, n := range d {
			different += n
		}
		row(c.Rule.ContentType, c.Scanned, here, coverage(here, c.Scanned), d[syncd.Missing], d[syncd.Stale], d[syncd.Partial], d[syncd.Orphan], c.Failed())
	}
	row("Total", documents, present, coverage(present, documents))
	p.failures(r)
	if v.tooMany() {
		p.printf("\nThere are more than %d differences; they were not looked at again, and only so many are named\n", maxRecheck)
	}
	if different == 0 && failures == 0 {
		but := ""
		if n := r.Total.Unindexed; n > 0 {
			but = fmt.Sprintf(" but for %d unindexed", n)
		}
		p.printf("\nEqual%s: the index holds every document by every rule%s\n", but, beside(r))
		return nil
	}
	for i, d := range v.differences {
		if i == 10 {
			p.printf("  … and %d more\n", len(v.differences)-i)
			break
		}
		p.printf("  %s %s %s %s\n", pipeline.LineOf(d).Sigil, d.Rule.Collection.Name, orNone(d.ID), d.PointID)
	}
	return &codeError{exitGuard, syncd.Hint(fmt.Errorf("the index differs from the source in %s", plural(different+failures, "document", "documents")),
		"syncd run sends what the index lacks, with --prune deletes for what is gone too; syncd explain follows one document")}
}

// beside says what is known of points that are no document's.
func beside(r pipeline.Report) string {
	if r.Orphans == nil {
		return "; what else it holds could not be looked at"
	}
	foreign := int64(0)
	for _, o := range r.Orphans {
		foreign += o.Foreign
	}
	if foreign > 0 {
		return fmt.Sprintf("; of %s it can't be told whose they are", plural(foreign, "point", "points"))
	}
	return ", and nothing else"
}

func coverage(present, documents int64) string {
	if documents == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f%%", 100*float64(present)/float64(documents))
}

// isCode reports whether err ends the program with that code.
func isCode(err error, code int) bool {
	var coded *codeError
	return errors.As(err, &coded) && coded.code == code
}
