package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/tally"
)

// Comparison is what changed from one run to a later one.
type Comparison struct {
	Older       Side              `json:"older" doc:"The run that began first."`
	Newer       Side              `json:"newer" doc:"The other."`
	SameConfig  bool              `json:"same_configuration" doc:"Both did the same work in the same places."`
	SameIDs     bool              `json:"same_point_ids" doc:"Both made the same point ids, of the collections that both read."`
	SameScope   bool              `json:"same_collections" doc:"Both read the same collections; if not, their totals can't be compared."`
	Totals      Change            `json:"totals" doc:"Counts of all collections together."`
	Collections []CollectionDelta `json:"collections" doc:"The collections, those of the newer run first."`
	Stages      []StageDelta      `json:"stages" doc:"Time in each stage."`
	NewErrors   []Error           `json:"new_errors,omitempty" doc:"Reasons that only the newer run met."`
	GoneErrors  []Error           `json:"gone_errors,omitempty" doc:"Reasons that only the older run met."`
}

// Side is one of the runs.
type Side struct {
	RunID   string        `json:"run_id"`
	Started string        `json:"started"`
	Outcome tally.Outcome `json:"outcome"`
	Verdict string        `json:"verdict"`
	Version string        `json:"version"`
}

// Change is two accounts.
type Change struct {
	Older *Counts `json:"older"` // nil: it was not there
	Newer *Counts `json:"newer"`
}

// CollectionDelta is one collection in both runs.
type CollectionDelta struct {
	Name string `json:"name"`
	Change
}

// StageDelta is a stage in both runs. Runs of different sizes compare by the time that a document took.
type StageDelta struct {
	Name  string  `json:"stage"`
	Older float64 `json:"older_seconds_per_million"`
	Newer float64 `json:"newer_seconds_per_million"`
}

// Compare says what changed from a to b.
func Compare(a, b *Report) Comparison {
	side := func(r *Report) Side {
		return Side{RunID: r.RunID, Started: text.Moment(r.Started), Outcome: r.Outcome, Verdict: r.Verdict, Version: r.Version}
	}
	c := Comparison{
		Older: side(a), Newer: side(b), SameConfig: a.Config.Fingerprint == b.Config.Fingerprint, SameIDs: sameIDs(a, b), SameScope: slices.Equal(a.names(), b.names()),
		Totals: Change{&a.Totals, &b.Totals}, Collections: []CollectionDelta{}, Stages: []StageDelta{},
		NewErrors: without(b.Errors, a.Errors), GoneErrors: without(a.Errors, b.Errors),
	}
	for i := range b.Collections {
		n := &b.Collections[i]
		c.Collections = append(c.Collections, CollectionDelta{n.Name, Change{a.collection(n.Name), &n.Counts}})
	}
	for i := range a.Collections {
		if o := &a.Collections[i]; b.collection(o.Name) == nil {
			c.Collections = append(c.Collections, CollectionDelta{o.Name, Change{&o.Counts, nil}})
		}
	}
	for _, s := range b.Stages {
		d := StageDelta{Name: s.Name, Newer: perMillion(s.Seconds, b)}
		if i := slices.IndexFunc(a.Stages, func(o Stage) bool { return o.Name == s.Name }); i >= 0 {
			d.Older = perMillion(a.Stages[i].Seconds, a)
		}
		c.Stages = append(c.Stages, d)
	}
	return c
}

// sameIDs reports whether two runs made the same point ids of what both read. Reports of earlier versions tell it of all collections together.
func sameIDs(a, b *Report) bool {
	if a.Config.Mapping == b.Config.Mapping {
		return true
	}
	known := false
	for i := range b.Collections {
		n := &b.Collections[i]
		j := slices.IndexFunc(a.Collections, func(o Collection) bool { return o.Name == n.Name })
		if j < 0 || n.Mapping == "" || a.Collections[j].Mapping == "" {
			continue
		}
		if known = true; a.Collections[j].Mapping != n.Mapping {
			return false
		}
	}
	return known || !slices.Equal(a.names(), b.names())
}

func (r *Report) collection(name string) *Counts {
	for i := range r.Collections {
		if r.Collections[i].Name == name {
			return &r.Collections[i].Counts
		}
	}
	return nil
}

// perMillion is the time for a million of the documents that the run read itself.
func perMillion(seconds float64, r *Report) float64 {
	n := r.Totals.Documents - r.Resumed
	if n <= 0 {
		return 0
	}
	return float64(int64(seconds/float64(n)*1e9+0.5)) / 1000
}

// without are the errors for reasons that are not among the others.
func without(errs, others []Error) (out []Error) {
	for _, e := range errs {
		if e.Stage == "" { // what an earlier run met is nothing new, and nothing gone
			continue
		}
		if !slices.ContainsFunc(others, func(o Error) bool { return o.Stage == e.Stage && o.Reason == e.Reason }) {
			out = append(out, e)
		}
	}
	return out
}

// Text writes the comparison for a terminal: each number as it is now, and in brackets by how much it differs.
func (c Comparison) Text(w io.Writer) {
	for _, s := range []struct {
		name string
		Side
	}{{"Older", c.Older}, {"Newer", c.Newer}} {
		text.Fprintf(w, "%s  %s  %s  %s\n       %s\n", s.name, s.Started, s.RunID, s.Version, s.Verdict)
	}
	switch {
	case !c.SameIDs:
		text.Fprintf(w, "The runs made other point ids: their mappings differ\n")
	case !c.SameScope: // the configurations may be the same otherwise
	case !c.SameConfig:
		text.Fprintf(w, "The runs had different configurations\n")
	}
	if !c.SameScope {
		text.Fprintf(w, "The runs read other collections: their totals can't be compared\n")
	}
	fmt.Fprintln(w)
	rows := [][]string{{"Collection", "Documents", "Missing", "Sent", "Failed", "Coverage", "Docs/s"}}
	for _, d := range c.Collections {
		rows = append(rows, d.row(d.Name))
	}
	totals := c.Totals.row("Total")
	if !c.SameScope { // of different things
		totals = Change{nil, c.Totals.Newer}.row("Total")
		totals[0] = "Total"
	}
	text.Table(w, append(rows, totals))
	text.Fprintf(w, "\nTime of readers and workers per million documents\n")
	rows = nil
	for _, s := range c.Stages {
		rows = append(rows, []string{"  " + s.Name, Span(s.Older), "->", Span(s.Newer), relative(s.Older, s.Newer)})
	}
	text.Table(w, rows)
	printErrors(w, "New errors", c.NewErrors)
	printErrors(w, "Errors that are gone", c.GoneErrors)
}

func printErrors(w io.Writer, title string, errs []Error) {
	if len(errs) == 0 {
		return
	}
	text.Fprintf(w, "\n%s\n", title)
	for _, e := range errs {
		text.Fprintf(w, "  %d  %s\n", e.Count, e.title())
	}
}

func (c Change) row(name string) []string {
	if c.Newer == nil {
		return []string{name + " (gone)", "-", "-", "-", "-", "-", "-"}
	}
	if c.Older == nil {
		name += " (new)"
	}
	count := func(number func(*Counts) int64) string {
		now := number(c.Newer)
		if c.Older == nil {
			return plain(now)
		}
		return fmt.Sprintf("%d (%+d)", now, now-number(c.Older))
	}
	missing := count(func(n *Counts) int64 { return n.Missing })
	if unasked(c.Newer) || c.Older != nil && unasked(c.Older) {
		missing = "-"
	}
	cover, speed := percentOf(c.Newer.Coverage), strings.ReplaceAll(rate(c.Newer.PerSecond), ",", "")
	if o := c.Older; o != nil {
		if o.Coverage != nil && c.Newer.Coverage != nil {
			cover += " (" + points(*c.Newer.Coverage-*o.Coverage) + ")"
		}
		speed += " (" + relative(o.PerSecond, c.Newer.PerSecond) + ")"
	}
	return []string{
		name, count(func(n *Counts) int64 { return n.Documents }), missing,
		count(func(n *Counts) int64 { return n.Sent }), count(func(n *Counts) int64 { return n.Failed }), cover, speed,
	}
}

// points is a difference between two shares.
func points(d float64) string {
	if text := fmt.Sprintf("%+.1f", 100*d); text != "-0.0" {
		return text
	}
	return "+0.0"
}

// relative is by how much a number differs from what it was.
func relative(was, is float64) string {
	switch was {
	case is:
		return "+0%"
	case 0:
		return "new"
	}
	return fmt.Sprintf("%+.0f%%", 100*(is-was)/was)
}

// History writes one line for each of several runs.
func History(w io.Writer, runs []*Report) {
	rows := [][]string{{"Started", "Outcome", "Collections", "Documents", "Missing", "Sent", "Failed", "Coverage", "Time", "Docs/s"}}
	for _, r := range runs {
		t := &r.Totals
		rows = append(rows, []string{
			text.Moment(r.Started), string(r.Outcome), plain(int64(len(r.Collections))), plain(t.Documents), plain(t.Missing), plain(t.Sent), plain(t.Failed),
			percentOf(t.Coverage), Span(r.Seconds), strings.ReplaceAll(rate(t.PerSecond), ",", ""),
		})
	}
	text.Table(w, rows)
	if note := partialNote(runs); note != "" {
		text.Fprintf(w, "\n%s\n", note)
	}
}
