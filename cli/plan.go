package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/pipeline"
)

// measurePerBatch is how many events of a batch a plan encodes to estimate the bytes of all.
const measurePerBatch = 20

func (a *app) planCommand() *cobra.Command {
	var common commonFlags
	var output, sample string
	var all bool
	c := &cobra.Command{
		Use:   "plan [-c] FILE",
		Short: "Show what a run would send, and why, without sending anything",
		Long: `plan compares the source with the index in both directions: documents that the index has (=), lacks (+), has in
another version (~) or only in part (%), and points whose documents are gone (-). With -o it writes the differences to a
file, one JSON object a line, which syncd run --plan sends.`,
		Example: `  syncd plan -c configs/prod.yaml --sample 1%
  syncd plan -c configs/prod.yaml -o plan.ndjson && syncd run -c configs/prod.yaml --plan plan.ndjson`,
		RunE: func(cmd *cobra.Command, args []string) error {
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
			if cfg.Run.Mode == config.Full {
				return usageError("a plan asks the index, which mode full does not")
			}
			return a.connected(cmd.Context(), cfg, logger, plainEnv(logger), false, func(ctx context.Context, drain <-chan struct{}, s session) (err error) {
				o := options(cfg, s, quiet{}, logger)
				o.Drain, o.DryRun, o.Sample, o.Measure = drain, true, share, measurePerBatch
				o.Orphans = lookForOrphans(s, share)
				record, err := a.openAttempts(ctx, cfg, s, true)
				if err != nil {
					return failed(err)
				}
				if record != nil {
					defer closing("closing the record of attempts", record.Close, &err)
					o.Ledger = record
				}
				var w *planWriter
				if output != "" {
					if w, err = newPlanWriter(output, pipeline.PlanHeader{
						Plan: pipeline.PlanVersion, RunID: o.RunID, Fingerprint: cfg.Mapping.Fingerprint(), Sample: share,
					}, all); err != nil {
						return failed(err)
					}
					o.Item = w.item
				} else {
					o.Item = func(pipeline.Item) {}
				}
				report, err := pipeline.Run(ctx, o)
				if w != nil {
					err = errors.Join(err, w.close(err == nil && !report.Interrupted))
				}
				switch {
				case err != nil:
					return runError(err)
				case report.Interrupted:
					return errInterrupted
				}
				newPrinter(a.stdout, cfg).plan(report, share, s.checker != nil)
				if w != nil {
					a.planWritten(output, &common, args, cfg)
				}
				return nil
			})
		},
	}
	common.add(c)
	c.Flags().StringVarP(&output, "output", "o", "", "write the differences to this file")
	c.Flags().BoolVar(&all, "all", false, "write also the documents that need nothing")
	c.Flags().StringVar(&sample, "sample", "", "look only at this share of the documents, such as 1%, and estimate the rest")
	c.Flags().String("collections", "", "only these collections, separated by commas (run.collections)")
	return c
}

// planWritten says where the plan is and how to send it, which takes the same collections.
func (a *app) planWritten(output string, common *commonFlags, args []string, cfg *config.Config) {
	file, _ := configPath(common.path, args) // it was loaded
	only := ""
	if len(cfg.Run.Collections) > 0 {
		only = " --collections " + strings.Join(cfg.Run.Collections, ",")
	}
	fmt.Fprintf(a.stdout, "\nThe plan is in %s; to send it: syncd run -c %s%s --plan %s\n", output, file, only, output)
}

// lookForOrphans is report where the plugins can, and the whole is looked at.
func lookForOrphans(s session, share float64) pipeline.OrphanMode {
	_, canList := s.checker.(syncd.Lister)
	_, canFind := s.source.(syncd.Finder)
	if canList && canFind && share == 0 {
		return pipeline.OrphansReport
	}
	return pipeline.OrphansOff
}

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

// quiet is an observer that prints nothing.
type quiet struct{}

func (quiet) Started(pipeline.IndexReport, bool)       {}
func (quiet) CollectionDone(pipeline.CollectionReport) {}

// planWriter writes a plan beside its final name and renames it when it is whole, so that half a plan is never taken for one.
// What is there and is no regular file, such as a device or a pipe, is written to directly: a rename would replace it.
type planWriter struct {
	path string
	part string // "" if path is written to directly
	f    *os.File
	w    *bufio.Writer
	enc  *json.Encoder
	all  bool
	err  error
}

func newPlanWriter(path string, header pipeline.PlanHeader, all bool) (*planWriter, error) {
	part, flags := path+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY
	target := part
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		part, target, flags = "", path, os.O_WRONLY
	}
	f, err := os.OpenFile(target, flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("writing the plan: %w", err)
	}
	p := &planWriter{path: path, part: part, f: f, w: bufio.NewWriterSize(f, 1<<20), all: all}
	p.enc = json.NewEncoder(p.w)
	p.enc.SetEscapeHTML(false)
	p.err = p.enc.Encode(header)
	return p, nil
}

// item writes one document; it is called by one goroutine at a time. An error is kept for close.
func (p *planWriter) item(i pipeline.Item) {
	if p.err == nil && (p.all || i.Verdict != syncd.Present) {
		p.err = p.enc.Encode(pipeline.LineOf(i))
	}
}

// close finishes the file if it is whole, and else removes it.
func (p *planWriter) close(whole bool) error {
	err := errors.Join(p.err, p.w.Flush(), p.f.Close())
	switch {
	case p.part == "":
	case err == nil && whole:
		err = os.Rename(p.part, p.path)
	default:
		err = errors.Join(err, os.Remove(p.part))
	}
	if err != nil {
		return fmt.Errorf("writing the plan: %w", err)
	}
	return nil
}

// openPlan reads a plan's header and refuses one that was made with other ids.
func openPlan(path string, cfg *config.Config) (pipeline.Plan, error) {
	plan := pipeline.Plan{Open: func() (io.ReadCloser, error) { return os.Open(path) }}
	h, err := plan.Header()
	if err != nil {
		return plan, &codeError{exitUsage, err}
	}
	if want := cfg.Mapping.Fingerprint(); h.Fingerprint != want {
		return plan, &codeError{exitUsage, syncd.Hint(
			fmt.Errorf("the plan %s was made with another mapping or other collections (fingerprint %s, not %s)", path, h.Fingerprint, want),
			"make it anew with this configuration and the same --collections")}
	}
	return plan, nil
}

// follow makes a run send what a plan says.
func follow(plan pipeline.Plan, cfg *config.Config, o *pipeline.Options) error {
	o.Source = plan.Source(o.Source, cfg.Mapping.Rules)
	o.PlannedOrphans = []pipeline.Orphan{}
	if o.Orphans == pipeline.OrphansPrune {
		orphans, err := plan.Orphans(cfg.Mapping.Rules)
		if err != nil {
			return failed(err)
		}
		o.PlannedOrphans = append(o.PlannedOrphans, orphans...)
	}
	return nil
}

// plan prints a plan's table.
func (p *printer) plan(r pipeline.Report, share float64, asked bool) {
	// Of what was looked at, to all that there is.
	scaled := func(c pipeline.CollectionReport) func(int64) int64 {
		looked := c.Scanned - c.Unsampled
		return func(n int64) int64 {
			if share == 0 || looked == 0 {
				return n
			}
			return int64(math.Round(float64(n) * float64(c.Scanned) / float64(looked)))
		}
	}
	orphans := map[string]int64{}
	for _, o := range r.Orphans {
		orphans[o.ContentType] = o.Orphans
	}
	row := p.columns("Collection", r, func(c pipeline.CollectionReport) string { return c.Rule.Collection.Name })
	if share > 0 {
		p.printf("A sample of %g%%; all numbers but the documents are estimates\n\n", share*100)
	}
	row("Collection", "Documents", "= Present", "+ Missing", "~ Stale", "% Partial", "- Orphan", "Events", "Bytes")
	var total [8]int64
	for _, c := range r.Collections {
		scale := scaled(c)
		bytes := int64(0)
		if c.Measured > 0 {
			bytes = scale(c.WouldSend) * (c.MeasuredBytes / c.Measured)
		}
		cells := [8]int64{
			c.Scanned, scale(c.Present), scale(c.Missing), scale(c.Stale), scale(c.Partial), orphans[c.Rule.ContentType], scale(c.WouldSend), bytes,
		}
		anys := make([]any, len(cells))
		for i, n := range cells {
			total[i] += n
			anys[i] = n
		}
		if r.Orphans == nil {
			anys[5] = "-"
		}
		row(c.Rule.Collection.Name, anys...)
	}
	anys := make([]any, len(total))
	for i, n := range total {
		anys[i] = n
	}
	if r.Orphans == nil {
		anys[5] = "-"
	}
	row("Total", anys...)
	for _, c := range r.Collections {
		for i, e := range c.Examples {
			if i == 0 {
				p.printf("\n%s, for example\n", c.Rule.Collection.Name)
			}
			p.printf("  %s %s: seed %s, point id %s\n", e.Reason, orNone(e.ID), e.Seed, e.PointID)
		}
	}
	p.failures(r)
	p.orphans(r)
	if !asked {
		p.printf("\n%s was not asked, so every document counts as to be sent\n", p.index)
	}
	p.printf("\nA run would send %s of about %d bytes\n", plural(total[6], "event", "events"), total[7])
}
