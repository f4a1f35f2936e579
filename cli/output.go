package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/arrival"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/planfile"
	runreport "github.com/syncd-io/syncd/report"
	"github.com/syncd-io/syncd/tally"
)

// printer writes what a run does to standard output, as plain aligned text.
type printer struct {
	w             io.Writer
	cfg           *config.Config
	source, index string         // the products' names
	sent          *planfile.Plan // what is sent; nil: what the index lacks
	dryRun        bool
	fullByConfig  bool
	whole         bool                       // every collection of the mapping is read
	detail        string                     // how much is printed
	announced     bool                       // where it reads, asks and sends was said, or need not be
	scheduled     bool                       // it is one of many: it has a line with its time
	paint         func(color, string) string // nil paints nothing
}

func newPrinter(w io.Writer, cfg *config.Config) *printer {
	index := ""
	if cfg.Checker.Settings != nil {
		index = cfg.Checker.Label()
	}
	return &printer{
		w: w, cfg: cfg, source: cfg.Source.Label(), index: index,
		dryRun: cfg.Run.DryRun, fullByConfig: cfg.Run.Mode == config.Full,
		whole: len(cfg.Run.Collections) == 0,
	}
}

// printf prints what only the last line does without.
func (p *printer) printf(format string, args ...any) {
	if p.detail != detailLast {
		text.Fprintf(p.w, format, args...)
	}
}

// gap is an empty line, where there is room.
func (p *printer) gap() {
	if p.detail == detailFull {
		p.printf("\n")
	}
}

// observer prints what a run says while it goes on, one thing at a time: what has arrived is told by a goroutine of its own.
func (p *printer) observer() job.Observer {
	var serial sync.Mutex
	return job.Observer{
		State: p.state,
		Lag:   p.lag,
		Started: func(index job.IndexReport, full bool) {
			serial.Lock()
			defer serial.Unlock()
			p.started(index, full)
		},
		CollectionDone: func(r engine.CollectionReport) {
			serial.Lock()
			defer serial.Unlock()
			var block bytes.Buffer // written at once: there may be many
			own := *p
			own.w = &block
			own.collectionDone(r)
			_, _ = p.w.Write(block.Bytes()) // as with text.Fprintf
		},
		Arriving: func(a arrival.Arrivals) {
			serial.Lock()
			defer serial.Unlock()
			p.arriving(a)
		},
	}
}

// state says what becomes of an interrupted run.
func (p *printer) state(d job.Decision) {
	switch at := text.Moment(d.Interrupted); {
	case d.From != "":
		p.printf("Took over run %s from process %s: %s handled by then\n", text.Line(d.RunID), text.Line(d.From), text.Plural(d.Handled, "document was", "documents were"))
	case d.Resumed && d.Followed:
		p.printf("Going on behind what was followed until %s (--fresh starts from the beginning)\n", at)
	case d.Resumed:
		p.printf("Resuming the run that was interrupted on %s: %s handled by then (--fresh starts from the beginning)\n",
			at, text.Plural(d.Handled, "document was", "documents were"))
	case d.Followed:
		p.printf("The run that followed until %s is not resumed: %s; starting from the beginning\n", at, d.Why)
	default:
		p.printf("The interrupted run of %s is not resumed: %s; starting from the beginning\n", at, d.Why)
	}
}

// started says what kind of run this is.
func (p *printer) started(index job.IndexReport, full bool) {
	p.announce(index, full)
	switch {
	case p.sent != nil && full:
		p.printf("Sending what the plan says; %s was not asked whether it is still due\n", p.index)
	case p.sent != nil && p.sent.WithoutDeletes:
		p.printf("Sending what the plan says without its deletes, as far as it is still due\n")
	case p.sent != nil:
		p.printf("Sending what the plan says, as far as it is still due\n")
	case full && p.fullByConfig:
		p.printf("Running full backfill (will send every document)\n")
	case full:
		p.printf("%s was not asked: running full backfill (will send every document)\n", p.index)
	case index.Known && index.Before.Points == 0:
		p.printf("%s is empty: running a full backfill\n", p.index)
	default:
		if index.Known {
			p.printf("%s currently has %d points\n", p.index, index.Before.Points)
		}
		p.printf("Running incremental backfill (will only %s)\n", p.intent())
	}
	if p.dryRun {
		p.printf("Dry run: nothing will be sent\n")
	}
}

// intent says what an incremental run may send.
func (p *printer) intent() string {
	out := "add missing documents"
	if slices.ContainsFunc(p.cfg.Mapping.Rules, func(r *mapping.Rule) bool { return len(r.PayloadKeys()) > 0 }) {
		out = "send documents that are missing, stale or partial"
	}
	if p.cfg.Run.Orphans == config.OrphansPrune {
		out += ", and delete points whose documents are gone"
	}
	return out
}

// collectionDone prints a collection's block.
func (p *printer) collectionDone(r engine.CollectionReport) {
	if p.detail != detailFull {
		return
	}
	rule := strings.Repeat("=", 60)
	p.printf("\n%s\nCollection: %s\n%s\n", rule, r.Rule.Collection.Name, rule)
	if !r.Found {
		p.printf("There is no such collection in %s\n", p.source)
		return
	}
	row := func(name string, n int64) { p.printf("  %-28s%12d\n", name, n) }
	documents := r.Before
	if documents < 0 {
		documents = r.Scanned
	}
	row("Documents in "+p.source, documents)
	if r.Unasked == 0 {
		row("Existing points found", r.Present+r.Stale+r.Partial)
		row("Missing, to be sent", r.Missing)
		if r.Stale > 0 {
			row("Stale, to be sent", r.Stale)
		}
		if r.OtherModel > 0 {
			row("  of another model", r.OtherModel)
		}
		if r.Partial > 0 {
			row("Partial, to be sent", r.Partial)
		}
		if r.Unread > 0 {
			row("  number of chunks unreadable", r.Unread)
		}
		if r.Young > 0 {
			row("Changed just now, left alone", r.Young)
		}
		if r.Unindexed > 0 {
			row("Never indexed, left alone", r.Unindexed)
		}
	} else {
		row("To be sent without asking", r.Unasked)
	}
	if p.dryRun {
		row("Would be sent", r.WouldSend)
	} else {
		row("Processed", r.Acked)
	}
	row("Skipped", r.Present)
	if r.Gone > 0 {
		row("Deleted meanwhile", r.Gone)
	}
	if r.Overtaken > 0 {
		row("Indexed meanwhile", r.Overtaken)
	}
	row("Errors", r.Failed())
	if r.Collisions > 0 {
		row("With another's point id", r.Collisions)
	}
	if r.DeadLettered > 0 {
		row("  in the dead letters", r.DeadLettered)
	}
	if r.Referenced > 0 {
		row("Sent without document", r.Referenced)
	}
	p.printf("  Coverage: %d read = %d checked + %d failed, in %s\n", r.Scanned, r.Checked(), r.FailedRead, text.Plural(r.Splits, "split", "splits"))
	for _, e := range r.Examples {
		p.printf("  would send %s: seed %s, point id %s\n", text.Of(e.ID), text.Of(e.Seed), e.PointID)
	}
}

// summary prints the totals, the documents that failed, the index before and after, and how fast it went. err is how the run
// ended.
func (p *printer) summary(res job.Result, err error) {
	r := res.Report
	if part := res.Part; part != nil {
		p.printf("Part in run %s, which %s led and reports: %s, %s, %s\n", part.RunID, part.Leader, text.Plural(part.Splits, "split", "splits"),
			text.Plural(part.Counts.Scanned, "document", "documents"), events(part.Counts.Acked))
	}
	if len(r.Collections) == 0 {
		return
	}
	if p.scheduled && job.OutcomeOf(err) != tally.Complete { // what went wrong is named
		shown := *p
		shown.detail = detailCompact
		p = &shown
	}
	p.table(r)
	p.failures(r)
	p.collisions(r)
	p.orphans(r)
	p.unindexed(r, res.Left)
	if res.Ended {
		p.notArrived(r.Arrivals)
	}
	if r.Index.Known && !r.DryRun && res.Ended {
		p.indexLine(r)
	}
	t := r.Total
	seconds := r.Scanning.Seconds()
	rate := ""
	if seconds > 0 {
		rate = fmt.Sprintf(" (%.0f documents/s)", float64(t.Scanned-r.Resumed)/seconds)
	}
	p.gap()
	p.printf("Total time: %s for %s%s\n", round(r.Duration), text.Plural(t.Scanned, "document", "documents"), rate)
	splits := 0
	for _, c := range r.Collections {
		splits += c.Splits
	}
	p.printf("Coverage: %d read = %d checked + %d failed; %s = %d confirmed + %d refused; %s proved\n",
		t.Scanned, t.Checked(), t.FailedRead, events(t.Emitted), t.Acked, t.FailedWrite, text.Plural(splits, "split", "splits"))
	if e := r.Embedded; e != nil {
		cost := ""
		if e.Cost > 0 {
			cost = ", " + text.Cost(e.Cost)
		}
		p.printf("Embedded: %s of %d tokens in %s by %s%s\n", text.Plural(e.Texts, "text", "texts"), e.Tokens, text.Plural(e.Requests, "request", "requests"), e.Model, cost)
	}
	if s := runreport.NewSwitch(r.Switch); s != nil && s.Text() != "" {
		p.printf("Readers: %s\n", s.Text())
	}
	if r.Resumed > 0 {
		p.printf("Resumed: %s handled before the interruption\n", text.Plural(r.Resumed, "document of these was", "documents of these were"))
	}
	p.last(res, err)
}

// last prints the line that says how the run ended. "Complete" is said of nothing else than what ended with exit code 0.
func (p *printer) last(res job.Result, err error) {
	r, stamp, took := res.Report, "", ""
	if p.scheduled {
		stamp = time.Now().UTC().Format(time.RFC3339) + " "
		took = fmt.Sprintf(" (%s in %s)", text.Plural(r.Total.Scanned, "document", "documents"), round(r.Duration))
	}
	var head text.Safe
	var line string
	switch {
	case !res.Ended:
		head, line = p.painted(red, "NOT complete: "), p.notComplete(res, err)
	case r.DryRun:
		line = fmt.Sprintf("Dry run: nothing was sent; a run would send %s%s", sending(r.Total.WouldSend, r.WouldDelete), p.but(res, err))
	case p.whole && r.NothingFound(): // the error says what is wrong
		head, line = p.painted(red, "NOT complete: "), "none of the collections was found"
	case job.OutcomeOf(err) != tally.Complete:
		head, line = p.painted(yellow, "NOT complete: "), delivered(r)+p.but(res, err)
	default:
		head, line = p.painted(green, "Complete: "), delivered(r)+p.but(res, err)
	}
	text.Fprintf(p.w, "%s%s%s%s\n", stamp, head, line, took)
}

// delivered says what was sent. An event that the sink refused was not.
func delivered(r job.Report) string {
	documents, deletes := r.Total.Emitted-r.Total.FailedWrite, r.Deleted.Emitted-r.Deleted.FailedWrite
	t := r.Total
	t.Add(r.Deleted)
	confirmed := ", all confirmed"
	if n := t.Unconfirmed(); n > 0 {
		confirmed = fmt.Sprintf(", %d confirmed", t.Acked)
	}
	switch {
	case documents+deletes == 0 && t.ToSend() == t.Gone+t.Overtaken && t.Failed() == 0:
		return "nothing had to be sent"
	case documents+deletes == 0:
		return "nothing was sent"
	case documents == 0 && r.Total.ToSend() == 0:
		return "no document had to be sent; " + text.Plural(deletes, "delete", "deletes") + " sent" + confirmed
	}
	return sending(documents, deletes) + " sent" + confirmed
}

// but says what is to be known beside what was sent.
func (p *printer) but(res job.Result, err error) string {
	r, out := res.Report, ""
	add := func(format string, args ...any) { out += "; " + fmt.Sprintf(format, args...) }
	if n := r.Failed(); n > 0 {
		add("%s could not be sent", text.Plural(n, "document", "documents"))
	}
	if n := res.DeletesLeftOut; n > 0 {
		add("%s left out (--prune=false)", text.Plural(n, "delete of the plan is", "deletes of the plan are"))
	}
	if n := r.Total.Collisions; n > 0 {
		add("%s the point id of another", text.Plural(n, "document has", "documents have"))
	}
	if a := r.Arrivals; a != nil && job.OutcomeOf(err) != tally.Complete {
		switch {
		case !a.Known && a.Sent > 0:
			add("whether they are in the index is not known")
		case a.Missing() > 0:
			add("%d of them not seen in %s", a.Missing(), p.index)
		}
	}
	return out + p.notAsked(r)
}

// notAsked repeats at the end that the index could not be asked, which was said at the start.
func (p *printer) notAsked(r job.Report) string {
	if !r.Full || p.fullByConfig {
		return ""
	}
	return "; " + p.index + " was not asked"
}

// sending counts events and deletes.
func sending(documents, deletes int64) string {
	if deletes == 0 {
		return events(documents)
	}
	return events(documents) + " and " + text.Plural(deletes, "delete", "deletes")
}

// following says that changes are followed from now on.
func (p *printer) following(streams []syncd.Stream) {
	n := 0
	for _, s := range streams {
		n += len(s.Collections)
	}
	p.printf("\nFollowing the changes of %s until told to stop (Ctrl-C)\n", text.Plural(n, "collection", "collections"))
}

// followed says that following has ended.
func (p *printer) followed(n *tally.Counts) {
	p.printf("Stopped following: %s read, %d sent and confirmed, %d refused; the next run goes on behind them\n",
		text.Plural(n.Scanned, "change", "changes"), n.Acked, n.Failed())
}

// notComplete says how far a run came that did not look at everything, and what running it again does.
func (p *printer) notComplete(res job.Result, err error) string {
	t := res.Report.Total
	t.Add(res.Report.Deleted)
	out := events(t.Acked) + " confirmed"
	if n := t.Unconfirmed(); n > 0 {
		out += fmt.Sprintf(", %d more sent and perhaps arrived", n)
	}
	out += p.notAsked(res.Report)
	var guard *tally.GuardError
	var drift *audit.DriftError
	var versions *audit.VersionDriftError
	switch {
	case res.Report.DryRun:
		return out + "; the dry run did not look at everything"
	case errors.As(err, &guard), errors.As(err, &drift), errors.As(err, &versions): // the hint says what to do first
		return out
	case res.Resumable:
		return out + "; run it again to resume it"
	}
	return out + "; run it again to send the rest"
}

// painted is a word that stands out, where colours are shown.
func (p *printer) painted(c color, word string) text.Safe {
	if p.paint == nil {
		return text.Safe(word)
	}
	return text.Safe(p.paint(c, word))
}

func events(n int64) string { return text.Plural(n, "event", "events") }

func (p *printer) table(r job.Report) {
	p.printf("\nSummary\n")
	if p.detail == detailLast {
		return
	}
	shown := runreport.New(r)
	idle := 0
	if p.detail == detailCompact {
		idle = shown.LeaveIdleOut()
	}
	shown.Table(p.w)
	if idle > 0 {
		p.printf("%d of %s needed nothing\n", idle, text.Plural(int64(len(r.Collections)), "collection", "collections"))
	}
}

func (p *printer) failures(r job.Report) {
	if r.Failed() == 0 {
		return
	}
	p.printf("\nDocuments that could not be sent:\n")
	for _, c := range slices.Concat(r.Collections, r.Deletes) {
		for _, f := range c.Failures {
			p.printf("  %s %s: %s: %s\n", c.Rule.Collection.Name, text.ID(f.ID, f.NoID), f.Stage, f.Reason)
		}
		if more := c.Failed() - int64(len(c.Failures)); more > 0 {
			p.printf("  … and %d more of %s\n", more, c.Rule.Collection.Name)
		}
	}
}

// collisions names documents that have one point id.
func (p *printer) collisions(r job.Report) {
	if r.Total.Collisions > 0 {
		p.printf("\nDocuments that have one point id, so that the index can hold only one of them:\n")
	}
	for _, c := range r.Collections {
		var named int64
		for _, d := range c.Collided {
			p.printf("  %s %s: point %s\n", c.Rule.Collection.Name, together(d), d.PointID)
			named += int64(d.Documents) - 1
		}
		if more := c.Collisions - named; more > 0 {
			p.printf("  … and %d more of %s\n", more, c.Rule.Collection.Name)
		}
		if c.NotCompared > 0 {
			p.printf("\nThe point ids of %d documents of %s were not compared: there are too many for the memory set aside\n", c.NotCompared, c.Rule.Collection.Name)
		}
	}
}

// together names the documents of a collision.
func together(d tally.Collision) string {
	first, second := text.Of(d.IDs[0]), text.Of(d.IDs[1])
	switch {
	case first == second:
		return fmt.Sprintf("%d documents with the id %s", d.Documents, first)
	case d.Documents > 2:
		return fmt.Sprintf("%s, %s and %d more", first, second, d.Documents-2)
	}
	return first + " and " + second
}

// orphans prints what the reverse pass found.
func (p *printer) orphans(r job.Report) {
	said := false
	for _, o := range r.Orphans {
		if p.detail != detailFull && o.Orphans+o.Others+o.Foreign == 0 {
			continue
		}
		if !said {
			p.printf("\nPoints whose documents are gone\n")
			said = true
		}
		p.printf("  %-20s %d of %s", o.ContentType, o.Orphans, text.Plural(o.Documents, "indexed document", "indexed documents"))
		if o.Deleted > 0 {
			p.printf("; %s sent", text.Plural(o.Deleted, "delete", "deletes"))
		}
		if o.Others > 0 {
			p.printf("; %s of others", text.Plural(o.Others, "point is", "points are"))
		}
		if o.Foreign > 0 {
			p.printf("; %s not syncd's to judge", text.Plural(o.Foreign, "point is", "points are"))
		}
		if o.Orphans > 0 && !o.Owned {
			p.printf("; not known whose, see mapping.owner")
		}
		p.printf("\n")
		for _, e := range o.Examples[:min(3, len(o.Examples))] {
			p.printf("    for example %s, point id %s\n", text.Of(e.ID), e.PointID)
		}
	}
}

// indexLine says how many points there are. That is no number of documents: chunks are points of their own, a document that was
// sent again is no further one, and others may write, too.
func (p *printer) indexLine(r job.Report) {
	before, after := r.Index.Before.Points, r.Index.After.Points
	p.gap()
	p.printf("%s points: %d -> %d (%+d)", p.index, before, after, after-before)
	switch expected := r.Total.Acked - r.Total.Stale - r.Total.Partial - r.Deleted.Acked; {
	case !r.Index.CaughtUp && r.Index.Waited > 0:
		p.printf(" so far; the indexer has not caught up yet after %s", round(r.Index.Waited))
	case !r.Index.CaughtUp && r.Embedded != nil: // syncd is the indexer
	case !r.Index.CaughtUp:
		p.printf(" so far; the indexer was not waited for")
	case after-before != max(expected, 0) && after-before != expected:
		p.printf("; this is no count of documents: chunks are points, too, and others may write here")
	}
	p.printf("\n")
}

func round(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Millisecond)
}
