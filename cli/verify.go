package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/planfile"
	runreport "github.com/syncd-io/syncd/report"
)

func (a *app) verifyCommand() *cobra.Command {
	var common commonFlags
	var output string
	var minAge time.Duration
	var shown progressFlag
	c := &cobra.Command{
		Use:   "verify [-c] FILE",
		Short: "Check that the index equals the source by every rule; sends nothing",
		Long: `verify reads every document and every point of the collections' content types. It ends with 0 if the index equals the
source by every rule that the mapping has, else with 4, and says what it compared, what not and why: without mapping.version it can't
tell a changed document. Points of content types that no rule maps are counted.
A difference younger than --min-age is looked at again before it counts, so that an indexer at work is not an error.`,
		Example: `  syncd verify -c configs/prod.yaml
  syncd verify -c configs/prod.yaml -o differences.ndjson`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := shown.check(); err != nil {
				return err
			}
			overrides, err := collectionOverride(cmd)
			if err != nil {
				return err
			}
			cfg, logger, err := a.load(&common, args, append(overrides, mustAsk("verify")...))
			if err != nil {
				return err
			}
			if err := planPlace(output); err != nil {
				return err
			}
			return a.connected(cmd.Context(), cfg, logger, nil, func(ctx context.Context, j *job.Job) error {
				monitor := &job.Monitor{}
				stop := shown.show(a, &common, monitor, logger)
				audit, err := j.Verify(ctx, job.VerifyRequest{Output: output, MinAge: minAge, Monitor: monitor})
				stop()
				if !audit.Concluded {
					return err
				}
				found := runreport.NewAudit(audit, mostNamed)
				if a.json {
					return errors.Join(err, a.tell(&found))
				}
				newPrinter(a.stdout, cfg).audit(audit, &found)
				return err
			})
		},
	}
	common.add(c)
	shown.add(c)
	a.fileFlag(c, &output, "write the differences to this file, as a plan")
	a.jsonFlag(c)
	spanVar(c.Flags(), &minAge, "min-age", 10*time.Second, "look again at differences younger than this; 0 counts all at once")
	c.Flags().String("collections", "", collectionsUsage)
	return c
}

// mustAsk has a command ask the index: nothing may stand in for its answer.
func mustAsk(command string) []config.Override {
	return []config.Override{
		{Flag: command, Path: []string{"run", "mode"}, Value: string(config.Incremental)},
		{Flag: command, Path: []string{"run", "on_check_unavailable"}, Value: string(config.OutageFail)},
	}
}

// table is a table about collections, with what the index calls their documents where that is not their name: run, plan and verify list
// the same.
type table struct {
	names int // columns
	rows  [][]string
}

func newTable(cfg *config.Config) *table {
	for _, r := range cfg.Mapping.Rules {
		if r.ContentType != r.Collection.Name {
			return &table{names: 2}
		}
	}
	return &table{names: 1}
}

func (t *table) row(name, contentType string, cells ...any) {
	t.rows = append(t.rows, append([]string{name, contentType}[:t.names], text.Row(cells...)...))
}

// audit prints coverage per collection, and the differences if there are any.
func (p *printer) audit(a *job.Audit, found *runreport.Audit) {
	r := a.Report
	t := newTable(p.cfg)
	t.row("Collection", "Content type", "Documents", "Present", "Coverage", "Missing", "Stale", "Partial", "Orphan", "Errors")
	row := func(name, contentType string, c *runreport.AuditCounts) {
		t.row(name, contentType, c.Documents, c.Present, coverage(c.Coverage), c.Missing, c.Stale, c.Partial, c.Orphan, c.Failed)
	}
	for i := range found.Collections {
		c := &found.Collections[i]
		row(c.Name, c.ContentType, &c.AuditCounts)
	}
	row("Total", "", &found.Total)
	text.TableOf(p.w, t.names, t.rows)
	p.failures(r)
	if n := r.Total.Unread; n > 0 {
		p.printf("\nThe number of chunks of %s can't be read (mapping.chunks): they count as partial\n", text.Plural(n, "document", "documents"))
	}
	p.otherModel(found.Total.Stale, found.Total.OtherModel)
	if a.TooMany() {
		p.printf("\nThere are more than %d differences; they were not looked at again, and only so many are named\n", job.MaxLookedAgain)
	}
	p.collisions(r)
	p.compared(found)
	if found.Equal {
		but := ""
		if n := r.Total.Unindexed; n > 0 {
			but = fmt.Sprintf(" but for %d unindexed", n)
		}
		p.printf("\nEqual%s: %s%s\n", but, held(found), otherPoints(a))
		return
	}
	if more := pointsOfOthers(r); len(more) > 0 {
		p.printf("\nOf what else the index holds, %s\n", strings.Join(more, "; "))
	}
	if !found.Owned {
		p.printf("\nIt is not known whose the orphans are: another database or another job may have their documents (mapping.owner)\n")
	}
	for i, d := range a.Differences {
		if i == 10 {
			p.printf("  … and %d more\n", len(a.Differences)-i)
			break
		}
		why := ""
		if d.OtherModel {
			why = " of another model"
		}
		p.printf("  %s %s %s %s%s\n", planfile.Sigil(d.Verdict), d.Rule.Collection.Name, text.Of(d.ID), d.PointID, why)
	}
}

// otherModel says how many of the stale documents are that for their model.
func (p *printer) otherModel(stale, other int64) {
	if other > 0 {
		p.printf("\nOf %s, %d with vectors of another model than the configuration's\n", text.Plural(stale, "stale document", "stale documents"), other)
	}
}

// compared says what was compared, and what not.
func (p *printer) compared(found *runreport.Audit) {
	words := map[string]string{
		"ids": "a point for each document", "orphans": "a document for each point", "versions": "versions", "chunks": "chunks",
	}
	var did []string
	for _, what := range found.Compared {
		did = append(did, words[what])
	}
	p.printf("\nCompared: %s\n", strings.Join(did, ", "))
	for i := range found.NotCompared {
		p.printf("Not compared: %s\n", found.NotCompared[i].Text())
	}
}

// held says of an index that equals the source what that means.
func held(found *runreport.Audit) string {
	if slices.Contains(found.Compared, "versions") && !slices.ContainsFunc(found.NotCompared, func(n runreport.NotCompared) bool { return n.What == "versions" }) {
		return "the index holds every document, in its version"
	}
	return "the index holds a point for every document"
}

// otherPoints says what is known of points that are no document's.
func otherPoints(a *job.Audit) string {
	if a.Report.Orphans == nil || a.Rest == nil {
		return "; what else it holds could not be looked at"
	}
	more := pointsOfOthers(a.Report)
	if n := a.Rest.Points(); n > 0 {
		more = append(more, text.Plural(n, "point was", "points were")+" not compared")
	}
	if len(more) > 0 {
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

func coverage(share *float64) string {
	if share == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f%%", 100**share)
}
