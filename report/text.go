package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/tally"
)

// Text writes the report for a terminal.
func (r *Report) Text(w io.Writer) {
	text.Fprintf(w, "%s\n", r.Verdict)
	if problem := r.Problem(); problem != "" {
		text.Fprintf(w, "  error: %s\n", problem)
	}
	if r.Hint != "" {
		text.Fprintf(w, "  hint: %s\n", r.Hint)
	}
	fmt.Fprintln(w)
	for _, f := range r.facts() {
		text.Fprintf(w, "%-14s %s\n", f.Name, f.Text)
	}
	if len(r.Collections) > 0 {
		fmt.Fprintln(w)
		r.Table(w)
	}
	r.stagesText(w)
	r.errorsText(w)
	if len(r.Retries) > 0 {
		text.Fprintf(w, "\nAsked again\n")
		for _, e := range r.Retries {
			text.Fprintf(w, "  %s: %s, %s\n", e.Plugin, e.Reason, plural(e.Count, "time", "times"))
		}
	}
	if len(r.Sizes) > 0 {
		fmt.Fprintf(w, "\nAsked for less at once\n")
		for _, s := range r.Sizes {
			fmt.Fprintf(w, "  %s: %d %s at the end, %d at least, of %d\n", s.Plugin, s.Ended, s.What, s.Least, s.Most)
		}
	}
}

// Problem is why the run did not end well, where the verdict does not say it.
func (r *Report) Problem() string {
	if r.Outcome == tally.Failures || r.Outcome == tally.Interrupted {
		return ""
	}
	return r.Error
}

// fact is a line about the run as a whole.
type fact struct{ Name, Text string }

// facts say which run it was.
func (r *Report) facts() []fact {
	out := []fact{{"Run", strings.TrimSpace(r.RunID + " (" + r.mode() + ")")}}
	config := r.Config.File
	if r.Config.Fingerprint != "" {
		config += ", fingerprint " + r.Config.Fingerprint
	}
	out = append(out, fact{"Configuration", config}, fact{"Started", text.Moment(r.Started) + ", took " + Span(r.Seconds)})
	if r.Resumed > 0 {
		out = append(out, fact{"Resumed", documents(r.Resumed) + " were handled before the interruption"})
	}
	for _, p := range r.Plugins {
		text := p.Label
		if p.Location != "" {
			text += " at " + p.Location
		}
		name := strings.ReplaceAll(p.Kind, "_", " ")
		out = append(out, fact{strings.ToUpper(name[:min(1, len(name))]) + name[min(1, len(name)):], text})
	}
	if r.Splits > 0 {
		failed := int64(0) // those of Totals count deletes as well
		for i := range r.Collections {
			failed += r.Collections[i].FailedRead
		}
		out = append(out, fact{"Proof", fmt.Sprintf("%s read = %s checked + %s failed, in %s", Number(r.Totals.Documents),
			Number(r.Totals.Documents-failed), Number(failed), plural(int64(r.Splits), "split", "splits"))})
	}
	if e := r.Embedded; e != nil {
		shown := fmt.Sprintf("%s tokens in %s by %s", Number(e.Tokens), plural(e.Texts, "text", "texts"), e.Model)
		if e.Cost > 0 {
			shown += ", " + text.Cost(e.Cost)
		}
		out = append(out, fact{"Embedded", shown})
	}
	if s := r.Switch; s != nil && s.Text() != "" {
		out = append(out, fact{"Readers", s.Text()})
	}
	if i := r.Index; i != nil && !r.DryRun {
		text := fmt.Sprintf("%s -> %s points", Number(i.Before), Number(i.After))
		switch {
		case i.CaughtUp:
		case i.Waited > 0:
			text += "; the indexer has not caught up yet"
		case r.Embedded != nil: // syncd is the indexer
		default:
			text += "; the indexer was not waited for"
		}
		out = append(out, fact{"Index", text})
	}
	if a := r.Arrivals; a != nil && a.Sent > 0 {
		out = append(out, fact{"Arrived", fmt.Sprintf("%s of %s, %s after the last was sent", Number(a.Arrived), events(a.Sent), Span(a.Waited))})
	}
	if r.Bytes > 0 {
		out = append(out, fact{"Events", size(r.Bytes)})
	}
	for _, c := range r.Collections {
		for _, s := range c.Shared[:min(maxShared, len(c.Shared))] {
			of := plural(int64(s.Documents), "document", "documents") + " of " + c.Name
			out = append(out, fact{"Same point id", of + " have the point id " + s.PointID + ", with the ids " + strings.Join(s.IDs, " and ")})
		}
	}
	for _, o := range r.Orphans {
		if o.Others > 0 {
			out = append(out, fact{"Others", fmt.Sprintf("%s of %s name another source", plural(o.Others, "point", "points"), o.ContentType)})
		}
		if o.Orphans == 0 {
			continue
		}
		text := fmt.Sprintf("%s of %s indexed documents of %s are gone", Number(o.Orphans), Number(o.Documents), o.ContentType)
		if o.Deleted > 0 {
			text += "; " + plural(o.Deleted, "delete", "deletes") + " sent"
		}
		if o.Unindexed > 0 {
			text += "; " + Number(o.Unindexed) + " left alone"
		}
		if o.Failed > 0 {
			text += "; " + Number(o.Failed) + " could not be deleted"
		}
		if !o.Owned {
			text += "; not known whose (mapping.owner)"
		}
		out = append(out, fact{"Orphans", text})
	}
	for _, s := range r.Streams {
		parts := []string{plural(s.Changes, "change", "changes") + " of " + s.Name + " since it began", Number(s.Sent) + " sent"}
		for _, other := range []struct {
			n    int64
			what string
		}{{s.Unwatched, "not watched"}, {s.Unmatched, "not selected"}, {s.Gone, "deleted since"}, {s.Failed, "failed"}} {
			if other.n > 0 {
				parts = append(parts, Number(other.n)+" "+other.what)
			}
		}
		out = append(out, fact{"Followed", strings.Join(parts, ", ")})
	}
	for _, c := range r.Reconciles {
		text := plural(c.Count, "time", "times") + ", " + strings.ReplaceAll(c.Cause, "_", " ")
		if c.Error != "" {
			text += "; the last time: " + c.Error
		}
		out = append(out, fact{"Looked again", text})
	}
	return append(out, fact{"Version", "syncd " + r.Version + ", " + r.Go})
}

// maxShared bounds the point ids of a collection that the facts name; the report itself has more.
const maxShared = 5

// stageSum is the time of all stages.
func (r *Report) stageSum() (sum float64) {
	for _, s := range r.Stages {
		sum += s.Seconds
	}
	return sum
}

func (r *Report) stagesText(w io.Writer) {
	sum := r.stageSum()
	if sum == 0 {
		return
	}
	text.Fprintf(w, "\nTime of all readers and workers together: %s\n", Span(sum))
	for _, s := range r.Stages {
		text.Fprintf(w, "  %-9s %8s %6s\n", s.Name, Span(s.Seconds), Percent(s.Seconds/sum))
	}
}

func (r *Report) errorsText(w io.Writer) {
	if len(r.Errors) == 0 {
		return
	}
	text.Fprintf(w, "\nDocuments that could not be sent\n")
	for _, e := range r.Errors {
		text.Fprintf(w, "  %d  %s\n", e.Count, e.title())
		for _, x := range e.Examples {
			text.Fprintf(w, "     for example %s %s: %s\n", x.Collection, text.ID(x.ID, x.NoID), x.Reason)
		}
	}
}

// title is the stage and the reason.
func (e Error) title() string {
	if e.Stage == "" {
		return e.Reason
	}
	return e.Stage + ": " + e.Reason
}
