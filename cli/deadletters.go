package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/cli/progress"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/job"
	runreport "github.com/syncd-io/syncd/report"
)

func (a *app) deadLettersCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "deadletters",
		Aliases: []string{"dlq"},
		Short:   "List, show or send again the documents that could not be sent",
		Long: `The documents that could not be sent are in the place that errors.dead_letter names, each with its reason. These commands read it: the
last letter of each document counts. A document that was sent since stays in the list, since nothing is removed there; retry asks the
index, and sends only what it still lacks.`,
	}
	c.AddCommand(a.deadLettersListCommand(), a.deadLettersShowCommand(), a.deadLettersRetryCommand())
	return c
}

// letterFlags choose dead letters.
type letterFlags struct {
	commonFlags
	collection, reason string
	since              time.Duration
	limit              int
}

func (f *letterFlags) add(c *cobra.Command) {
	f.commonFlags.add(c)
	c.Flags().StringVar(&f.collection, "collection", "", "only those of this collection")
	c.Flags().StringVar(&f.reason, "reason", "", "only those whose reason holds this text")
	spanVar(c.Flags(), &f.since, "since", 0, "only those that were written within so long, such as 24h")
}

// most is more documents than anyone looks at; their letters are in memory.
const most = 1_000_000

// letters reads the dead letters that the flags choose, of the documents with these ids, if any are given.
func (a *app) letters(ctx context.Context, j *job.Job, f *letterFlags, ids []string) (chosen []job.DeadLetter, err error) {
	all, err := j.DeadLetters(ctx, most)
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, id := range ids {
		wanted[id] = true
	}
	if f.collection != "" && !slices.ContainsFunc(all.Letters, func(l job.DeadLetter) bool { return l.Collection == f.collection }) {
		if _, err := j.Config.Mapping.Select([]string{f.collection}); err != nil { // letters may be older than the mapping
			return nil, &codeError{exitUsage, err}
		}
	}
	for _, l := range all.Letters {
		if (f.collection == "" || l.Collection == f.collection) && strings.Contains(l.Reason, f.reason) &&
			(f.since == 0 || time.Since(l.At) <= f.since) && (len(ids) == 0 || wanted[l.ID] || wanted[l.Place]) {
			chosen = append(chosen, l)
		}
	}
	return chosen, nil
}

// onLetters has a command work on a job and its dead letters.
func (a *app) onLetters(c *cobra.Command, f *letterFlags, run func(ctx context.Context, cfg *config.Config, logger *slog.Logger, j *job.Job, args []string) error) *cobra.Command {
	f.add(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, logger, err := a.load(&f.commonFlags, nil, nil)
		if err != nil {
			return err
		}
		return a.connected(cmd.Context(), cfg, logger, nil, func(ctx context.Context, j *job.Job) error { return run(ctx, cfg, logger, j, args) })
	}
	return c
}

func (a *app) deadLettersListCommand() *cobra.Command {
	var f letterFlags
	c := &cobra.Command{
		Use: "list -c FILE", Short: "List the documents that could not be sent, the newest first", Args: cobra.NoArgs,
		Example: "  syncd deadletters list -c configs/prod.yaml --since 24h\n  syncd deadletters list -c configs/prod.yaml --collection page --reason 'too large'",
	}
	a.formatFlag(c)
	a.jsonFlag(c)
	c.Flags().IntVar(&f.limit, "limit", 50, "print at most this `NUMBER`; 0 prints all")
	return a.onLetters(c, &f, func(ctx context.Context, _ *config.Config, _ *slog.Logger, j *job.Job, _ []string) error {
		letters, err := a.letters(ctx, j, &f, nil)
		if err != nil {
			return err
		}
		found := len(letters)
		if f.limit > 0 && found > f.limit {
			letters = letters[:f.limit]
		}
		if a.json {
			out := make([]runreport.DeadLetter, 0, len(letters))
			for _, l := range letters {
				out = append(out, runreport.NewDeadLetter(l, false))
			}
			return a.tell(out)
		}
		if found == 0 {
			text.Fprintf(a.stdout, "There are no such dead letters.\n")
			return nil
		}
		rows := [][]string{text.Row("AT", "COLLECTION", "ID", "TIMES", "PLACE", "REASON")}
		for _, l := range letters {
			at := "?"
			if !l.At.IsZero() {
				at = text.Moment(l.At)
			}
			rows = append(rows, text.Row(at, cmp.Or(l.Collection, "?"), cmp.Or(text.Of(l.ID), "none"), l.Times, l.Place, text.Cut(l.Reason)))
		}
		text.Table(a.stdout, rows)
		if found > len(letters) {
			text.Fprintf(a.stdout, "\n%d of %d; --limit 0 prints all\n", len(letters), found)
		}
		return nil
	})
}

func (a *app) deadLettersShowCommand() *cobra.Command {
	var f letterFlags
	c := &cobra.Command{
		Use: "show -c FILE ID|PLACE", Short: "Show the dead letter of a document, with what there is of it, as JSON", Args: cobra.ExactArgs(1),
		Example: "  syncd deadletters show -c configs/prod.yaml 507f1f77bcf86cd799439011",
	}
	a.formatFlag(c)
	return a.onLetters(c, &f, func(ctx context.Context, _ *config.Config, _ *slog.Logger, j *job.Job, args []string) error {
		letters, err := a.letters(ctx, j, &f, args)
		switch {
		case err != nil:
			return err
		case len(letters) == 0:
			return syncd.Hint(fmt.Errorf("there is no dead letter of %s", text.Of(args[0])), "syncd deadletters list shows what there is")
		}
		if a.json {
			out := make([]runreport.DeadLetter, 0, len(letters))
			for _, l := range letters {
				out = append(out, runreport.NewDeadLetter(l, true))
			}
			return a.tell(out)
		}
		for _, l := range letters { // ids may be the same in several collections
			if err := printJSON(a.stdout, runreport.NewDeadLetter(l, true), "  "); err != nil {
				return err
			}
		}
		return nil
	})
}

func (a *app) deadLettersRetryCommand() *cobra.Command {
	var f letterFlags
	var all bool
	c := &cobra.Command{
		Use: "retry -c FILE [ID…]", Short: "Send the documents of dead letters again, as far as the index still lacks them",
		Long: `Send the documents of dead letters again: those with the given ids or places, or all that the flags choose with --all. Each is read from the
source as it is now, and the index is asked again, as a run that sends a plan does; what still can't be sent becomes a dead letter again.`,
		Example: "  syncd deadletters retry -c configs/prod.yaml --all --reason 'too large'",
	}
	a.formatFlag(c)
	c.Flags().BoolVar(&all, "all", false, "send all that the other flags choose")
	return a.onLetters(c, &f, func(ctx context.Context, cfg *config.Config, logger *slog.Logger, j *job.Job, ids []string) error {
		if all == (len(ids) > 0) {
			return usageError("name the documents to send again, or say --all; syncd deadletters list shows them")
		}
		letters, err := a.letters(ctx, j, &f, ids)
		switch {
		case err != nil:
			return err
		case len(letters) == 0:
			return syncd.Hint(errors.New("there are no such dead letters"), "syncd deadletters list shows what there is")
		}
		plan, n, left, err := j.PlanDeadLetters(ctx, letters)
		if err != nil {
			return err
		}
		for _, l := range left {
			text.Fprintf(a.stderr, "left out: %s %s: %s\n", cmp.Or(l.Collection, l.ContentType), cmp.Or(text.Of(l.ID), l.Place), l.Why)
		}
		if n == 0 {
			return &codeError{exitFailures, fmt.Errorf("none of %s can be sent again", text.Plural(len(letters), "document", "documents"))}
		}
		cfg.Run.Follow = false
		err = a.backfill(ctx, cfg, logger, backfillOptions{plan: plan, fresh: new(bool), progress: progress.None})
		if err == nil && len(left) > 0 {
			err = &codeError{exitFailures, fmt.Errorf("%s could not be sent again", text.Plural(len(left), "document", "documents"))}
		}
		return err
	})
}
