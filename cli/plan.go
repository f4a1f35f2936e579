package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/files"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/job"
	runreport "github.com/syncd-io/syncd/report"
)

func (a *app) planCommand() *cobra.Command {
	var common commonFlags
	var output, sample string
	var all, detailed, tokens bool
	var shown progressFlag
	c := &cobra.Command{
		Use:   "plan [-c] FILE",
		Short: "Show what a run would send, and why, without sending anything",
		Long: `plan compares the source with the index in both directions: documents that the index has (=), lacks (+), has in
another version (~) or only in part (%), and points whose documents are gone (-). With -o it writes the differences to a
file, one JSON object a line, which syncd run --plan sends. Its last line has a count and a digest: a plan that was cut off
or edited is not sent.

Of a job that embeds, it tells how many tokens would be embedded and what they cost. It reads up to 1,000 documents of each collection for
that, chosen evenly among those that would be sent, and says so; --tokens reads them all.

With --detailed-exitcode it ends with 4, as verify does, if there is anything to send or to delete, and with 0 if there is nothing;
5 says as ever that there are documents that can't be sent, whatever else there is. (2, which terraform ends with, is a mistake on the
command line here.)`,
		Example: `  syncd plan -c configs/prod.yaml --sample 1%
  syncd plan -c configs/prod.yaml -o plan.ndjson && syncd run -c configs/prod.yaml --plan plan.ndjson`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := shown.check(); err != nil {
				return err
			}
			share, err := parseShare(sample)
			if err != nil {
				return err
			}
			overrides, err := collectionOverride(cmd)
			if err != nil {
				return err
			}
			cfg, logger, err := a.load(&common, args, overrides)
			if err != nil {
				return err
			}
			if err := planPlace(output); err != nil {
				return err
			}
			return a.connected(cmd.Context(), cfg, logger, nil, func(ctx context.Context, j *job.Job) error {
				first := runreport.Differences{Most: mostNamed}
				monitor := &job.Monitor{}
				stop := shown.show(a, &common, monitor, logger)
				res, err := j.Plan(ctx, job.PlanRequest{Output: output, All: all, Tokens: tokens, Sample: share, Monitor: monitor, Item: first.Add})
				stop()
				if err != nil && !job.OutcomeOf(err).Finished() {
					return err
				}
				plan := runreport.NewPlan(res, share)
				if err == nil && detailed && plan.Differs() {
					err = &codeError{code: exitStopped}
				}
				if a.json {
					plan.Name(first)
					plan.File = output
					return errors.Join(err, a.tell(&plan))
				}
				newPrinter(a.stdout, cfg).plan(&plan, res.Report)
				if output != "" {
					a.planWritten(output, &common, args, cfg, &plan)
				}
				return err
			})
		},
	}
	common.add(c)
	shown.add(c)
	a.fileFlag(c, &output, "write the differences to this file")
	a.jsonFlag(c)
	c.Flags().BoolVar(&all, "all", false, "write also the documents that need nothing")
	c.Flags().BoolVar(&tokens, "tokens", false, "count the tokens of all documents that would be embedded, and not of a sample")
	c.Flags().BoolVar(&detailed, "detailed-exitcode", false, "end with 4 if there is anything to send or to delete")
	c.Flags().StringVar(&sample, "sample", "", "look only at this share of the documents, such as 1%, and estimate the rest")
	c.Flags().String("collections", "", collectionsUsage)
	return c
}

// planPlace says early that a plan can't be written to a file, which may be none.
func planPlace(file string) error {
	if file == "" {
		return nil
	}
	if err := files.Writable("the plan", file); err != nil {
		return &codeError{exitUsage, err}
	}
	return nil
}

// planWritten says where the plan is and how to send it, which takes the same collections.
func (a *app) planWritten(output string, common *commonFlags, args []string, cfg *config.Config, plan *runreport.Plan) {
	if !plan.Differs() {
		text.Fprintf(a.stdout, "\nThe plan is in %s; there is nothing to send\n", output)
		return
	}
	file, _ := a.configPath(common.path, args) // it was loaded
	only := ""
	if len(cfg.Run.Collections) > 0 {
		only = " --collections " + strings.Join(cfg.Run.Collections, ",")
	}
	text.Fprintf(a.stdout, "\nThe plan is in %s; to send it: syncd run -c %s%s --plan %s\n", output, file, only, output)
}

const collectionsUsage = "only these collections, separated by commas; 'page*,!pageDraft' are those that begin with page but for one (run.collections)"

// collectionOverride is --collections as a setting.
func collectionOverride(cmd *cobra.Command) ([]config.Override, error) {
	names, err := cmd.Flags().GetString("collections")
	if err != nil || names == "" {
		return nil, err
	}
	return []config.Override{{Flag: "--collections", Path: []string{"run", "collections"}, Value: names}}, nil
}

// parseShare reads 1% or 0.01; nothing is 0, which is all.
func parseShare(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	number, percent := strings.CutSuffix(text, "%")
	share, err := strconv.ParseFloat(number, 64)
	if percent {
		share /= 100
	}
	if err != nil || !(share > 0 && share <= 1) {
		return 0, usageError("--sample must be a share such as 1%% or 0.01, not %q", text)
	}
	if share == 1 {
		return 0, nil
	}
	return share, nil
}

// mostNamed is how many differences are named with -o json.
const mostNamed = 100

// plan prints a plan's table, and of the run without events what there is for example.
func (p *printer) plan(plan *runreport.Plan, r job.Report) {
	if plan.Sample > 0 {
		p.printf("A sample of %g%%; all numbers but the documents are estimates\n\n", plan.Sample*100)
	}
	t := newTable(p.cfg)
	t.row("Collection", "Content type", "Documents", "= Present", "+ Missing", "~ Stale", "% Partial", "- Orphan", "Events", "Bytes")
	row := func(name, contentType string, n *runreport.PlanCounts) {
		orphans := "-"
		if n.Orphan != nil {
			orphans = strconv.FormatInt(*n.Orphan, 10)
		}
		t.row(name, contentType, n.Documents, n.Present, n.Missing, n.Stale, n.Partial, orphans, n.Events, n.Bytes)
	}
	for i := range plan.Collections {
		c := &plan.Collections[i]
		row(c.Name, c.ContentType, &c.PlanCounts)
	}
	row("Total", "", &plan.Total)
	text.TableOf(p.w, t.names, t.rows)
	for _, c := range r.Collections {
		for i, e := range c.Examples {
			if i == 0 {
				p.printf("\n%s, for example\n", c.Rule.Collection.Name)
			}
			p.printf("  %s %s: seed %s, point id %s\n", e.Reason, text.Of(e.ID), text.Of(e.Seed), e.PointID)
		}
	}
	p.failures(r)
	p.collisions(r)
	p.orphans(r)
	p.otherModel(plan.Total.Stale, plan.Total.OtherModel)
	if !plan.Asked {
		p.printf("\n%s was not asked, so every document counts as to be sent\n", p.index)
	}
	if plan.Unsendable > 0 && plan.Embed != nil {
		p.printf("\nOf %s that were read to count tokens, %d can't be embedded, for example:\n", text.Plural(plan.Embed.Read, "document", "documents"), plan.Unsendable)
		for _, f := range plan.Refused {
			p.printf("  %s %s: %s\n", f.Collection, text.ID(f.ID, f.NoID), f.Reason)
		}
	} else if plan.Unsendable > 0 {
		p.printf("\nThe sink would not take %d of %s that were encoded to learn their size, for example:\n", plan.Unsendable, events(plan.Encoded))
		for _, f := range plan.Refused {
			p.printf("  %s %s: %s\n", f.Collection, text.ID(f.ID, f.NoID), f.Reason)
		}
	}
	what := events(plan.Total.Events)
	if plan.Embed == nil { // else the sink writes points, and no bytes
		what += fmt.Sprintf(" of about %d bytes", plan.Total.Bytes)
	}
	deletes := int64(0)
	if plan.Total.Orphan != nil {
		deletes = *plan.Total.Orphan
	}
	switch {
	case plan.Total.Events == 0 && deletes == 0:
		p.printf("\nA run would send nothing\n")
	case deletes == 0:
		p.printf("\nA run would send %s\n", what)
	case plan.Total.Events == 0:
		p.printf("\nA run with --prune would send %s, and no documents\n", text.Plural(deletes, "delete", "deletes"))
	default:
		p.printf("\nA run would send %s, with --prune %s, too\n", what, text.Plural(deletes, "delete", "deletes"))
	}
	if plan.Embed != nil && plan.Total.Events > 0 {
		for _, line := range plan.Embed.Lines() {
			p.printf("%s\n", line)
		}
	}
}
