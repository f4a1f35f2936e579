package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/planfile"
)

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
			cfg, logger, err := a.load(&common, args, append(overrides, mustAsk("verify")...))
			if err != nil {
				return err
			}
			return a.connected(cmd.Context(), cfg, logger, nil, func(ctx context.Context, j *job.Job) error {
				audit, err := j.Verify(ctx, job.VerifyRequest{Output: output, MinAge: minAge})
				if audit.Concluded {
					newPrinter(a.stdout, cfg).audit(audit)
				}
				return err
			})
		},
	}
	common.add(c)
	c.Flags().StringVarP(&output, "output", "o", "", "write the differences to this file, as a plan")
	c.Flags().DurationVar(&minAge, "min-age", 10*time.Second, "look again at differences younger than this; 0 counts all at once")
	c.Flags().String("collections", "", "only these collections, separated by commas (run.collections)")
	return c
}

// mustAsk has a command ask the index: nothing may stand in for its answer.
func mustAsk(command string) []config.Override {
	return []config.Override{
		{Flag: command, Path: []string{"run", "mode"}, Value: string(config.Incremental)},
		{Flag: command, Path: []string{"run", "on_check_unavailable"}, Value: string(config.OutageFail)},
	}
}

// audit prints coverage per content type, and the differences if there are any.
func (p *printer) audit(a *job.Audit) {
	r := a.Report
	rows := [][]string{text.Row("Content type", "Documents", "Present", "Coverage", "Missing", "Stale", "Partial", "Orphan", "Errors")}
	var documents, present int64
	for _, c := range r.Collections {
		d := a.Counts[c.Rule.Collection.Name]
		here := c.Scanned - d[syncd.Missing] - d[syncd.Stale] - d[syncd.Partial] - c.Failed() - c.Unindexed - c.Collisions
		documents, present = documents+c.Scanned, present+here
		rows = append(rows, text.Row(c.Rule.ContentType, c.Scanned, here, coverage(here, c.Scanned),
			d[syncd.Missing], d[syncd.Stale], d[syncd.Partial], d[syncd.Orphan], c.Failed()))
	}
	text.Table(p.w, append(rows, text.Row("Total", documents, present, coverage(present, documents))))
	p.failures(r)
	if n := r.Total.Unread; n > 0 {
		p.printf("\nThe number of chunks of %s can't be read (mapping.chunks): they count as partial\n", text.Plural(n, "document", "documents"))
	}
	if a.TooMany() {
		p.printf("\nThere are more than %d differences; they were not looked at again, and only so many are named\n", job.MaxLookedAgain)
	}
	p.collisions(r)
	if a.Different() == 0 && r.Failed() == 0 && r.Total.Collisions == 0 {
		but := ""
		if n := r.Total.Unindexed; n > 0 {
			but = fmt.Sprintf(" but for %d unindexed", n)
		}
		p.printf("\nEqual%s: the index holds every document by every rule%s\n", but, otherPoints(r))
		return
	}
	if more := pointsOfOthers(r); len(more) > 0 {
		p.printf("\nOf what else the index holds, %s\n", strings.Join(more, "; "))
	}
	if unowned(r) {
		p.printf("\nIt is not known whose the orphans are: another database or another job may have their documents (mapping.owner)\n")
	}
	for i, d := range a.Differences {
		if i == 10 {
			p.printf("  … and %d more\n", len(a.Differences)-i)
			break
		}
		p.printf("  %s %s %s %s\n", planfile.Sigil(d.Verdict), d.Rule.Collection.Name, text.Of(d.ID), d.PointID)
	}
}

// otherPoints says what is known of points that are no document's.
func otherPoints(r job.Report) string {
	if r.Orphans == nil {
		return "; what else it holds could not be looked at"
	}
	if more := pointsOfOthers(r); len(more) > 0 {
		return "; " + strings.Join(more, "; ")
	}
	return ", and nothing else"
}

// pointsOfOthers counts the points that are not this job's to judge.
func pointsOfOthers(r job.Report) (out []string) {
	var others, foreign int64
	for _, o := range r.Orphans {
		others += o.Others
		foreign += o.Foreign
	}
	if others > 0 {
		out = append(out, text.Plural(others, "point is", "points are")+" of others")
	}
	if foreign > 0 {
		out = append(out, fmt.Sprintf("of %s it can't be told whose they are", text.Plural(foreign, "point", "points")))
	}
	return out
}

// unowned reports whether orphans were found of which it is not known whose they are.
func unowned(r job.Report) bool {
	return slices.ContainsFunc(r.Orphans, func(o audit.OrphanReport) bool { return o.Orphans > 0 && !o.Owned })
}

func coverage(present, documents int64) string {
	if documents == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f%%", 100*float64(present)/float64(documents))
}
