package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/job"
	runreport "github.com/syncd-io/syncd/report"
)

func (a *app) explainCommand() *cobra.Command {
	var common commonFlags
	c := &cobra.Command{
		Use:     "explain -c FILE COLLECTION ID",
		Short:   "Follow one document: its seed, its point id, what the index holds, and why it would be sent or not",
		Example: `  syncd explain -c configs/prod.yaml workItem 507f1f77bcf86cd799439011`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usageError("explain takes a collection and an id: syncd explain -c FILE COLLECTION ID")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, logger, err := a.load(&common, nil, mustAsk("explain"))
			if err != nil {
				return err
			}
			return a.connected(cmd.Context(), cfg, logger, nil, func(ctx context.Context, j *job.Job) error {
				e, err := j.Explain(ctx, args[0], args[1])
				if err != nil {
					return err
				}
				if a.json {
					explained := runreport.NewExplanation(e)
					err = a.tell(&explained)
				} else {
					newPrinter(a.stdout, cfg).explanation(e)
				}
				if err == nil && !e.Settled() {
					err = &codeError{code: exitStopped}
				}
				return err
			})
		},
	}
	a.formatFlag(c)
	a.jsonFlag(c)
	common.add(c)
	c.ValidArgsFunction = a.collectionFirst
	return c
}

// explanation prints what is known of one document.
func (p *printer) explanation(e job.Explained) {
	row := func(name, format string, args ...any) {
		p.printf("%-13s "+format+"\n", append([]any{name}, args...)...)
	}
	row("document", "%s of collection %s in %s", text.Of(e.ID), e.Rule.Collection.Name, p.source)
	if !e.Found {
		row("", "%s has no such document", p.source)
	}
	if e.Version.Set {
		row("version", "%s", text.Of(e.Version.Text))
	}
	row("content type", "%s", text.Of(e.Rule.ContentType))
	if e.Seed != "" {
		row("seed", "%s", text.Of(e.Seed))
		row("point id", "%s", e.PointID)
	}
	held := "not there"
	if e.Held.Present {
		held = "there"
	}
	row(p.index, "%s", held)
	for i, key := range e.Keys {
		value := "(not set)"
		if i < len(e.Held.Payload) && e.Held.Payload[i].Set {
			value = text.Of(e.Held.Payload[i].Text)
		}
		row("  "+key, "%s", value)
	}
	if e.Chunks > 0 {
		row("  chunks", "%d of %d further chunks are there", e.ChunksPresent, e.Chunks)
	}
	verdict := e.Verdict.String()
	if e.Nowhere() {
		verdict = "nowhere"
	}
	row("verdict", "%s: %s", verdict, e.Why)
	for _, name := range e.In {
		row("", "collection %s has a document with this id", text.Of(name))
	}
	for i, s := range e.Same {
		if len(e.Same) == 1 {
			break
		}
		name := ""
		if i == 0 {
			name = "same point id"
		}
		row(name, "%s", text.Of(s.Text))
	}
	if e.Bytes > 0 {
		row("event", "key %s, a value of %d bytes", text.Of(runreport.EventKey(e.Key)), e.Bytes)
	}
	if e.Topic != "" && !e.Nowhere() {
		row("topic", "%s", e.Topic)
	}
	if e.Refused != nil {
		must := "must fail"
		if e.Verdict == syncd.Present {
			must = "would fail"
		}
		row("sending", "%s: %s", must, text.Err(e.Refused))
		row("", "%s", e.Fate)
	}
}
