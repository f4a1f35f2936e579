package report

import (
	"fmt"
	"strings"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/job"
)

// compared says what an audit compared, and what not.
func (out *Audit) compared(a *job.Audit) {
	out.Compared, out.NotCompared = []string{"ids"}, []NotCompared{}
	not := func(n NotCompared) { out.NotCompared = append(out.NotCompared, n) }
	if a.Report.Orphans != nil {
		out.Compared = append(out.Compared, "orphans")
	} else {
		not(NotCompared{What: "orphans", Why: "the checker can't list points, or the source can't find documents: points without a document are not seen"})
	}
	part := func(what, why string, has func(*engine.CollectionReport) bool) {
		var without []string
		for i := range a.Report.Collections {
			if c := &a.Report.Collections[i]; !has(c) {
				without = append(without, c.Rule.Collection.Name)
			}
		}
		all := len(without) == len(a.Report.Collections)
		if !all {
			out.Compared = append(out.Compared, what)
		}
		switch {
		case all:
			not(NotCompared{What: what, Why: why})
		case len(without) > 0:
			not(NotCompared{What: what, Collections: without, Why: why})
		}
	}
	part("versions", "there is no version rule (mapping.version): a document that was changed since counts as present", func(c *engine.CollectionReport) bool { return c.Rule.VersionKey() != "" })
	part("chunks", "there is no rule of chunks (mapping.chunks): a document that is indexed in part counts as present", func(c *engine.CollectionReport) bool { return c.Rule.ChunksKey() != "" })
	var filtered []string
	for _, c := range a.Report.Collections {
		if c.Rule.Collection.Filter != "" {
			filtered = append(filtered, c.Rule.Collection.Name)
		}
	}
	if len(filtered) > 0 {
		not(NotCompared{What: "filtered", Collections: filtered, Why: "they have a filter: documents that it leaves out are not looked for in the index"})
	}
	if r := a.Rest; r != nil {
		types := func(what, why string, of []syncd.TextCount) {
			if len(of) == 0 {
				return
			}
			n := NotCompared{What: what, Why: why}
			sum := int64(0)
			for _, t := range of {
				sum += t.Points
				n.Types = append(n.Types, t.Text)
			}
			if r.Counted {
				n.Points = &sum
			}
			not(n)
		}
		types("unmapped", "no collection of the mapping has these content types", r.Unmapped)
		types("unchosen", "their collections were not chosen (--collections)", r.Unchosen)
		switch {
		case r.Others == 0:
		case r.Counted:
			not(NotCompared{What: "other", Points: &r.Others, Why: "they have no content type, or further ones that no rule names"})
		default:
			not(NotCompared{What: "other", Points: &r.Others, Why: "they have content types that were not compared, or none; the index can't count by content type, which takes a payload index there"})
		}
	}
}

// Text is what was not compared, in words.
func (n *NotCompared) Text() string {
	points := func(of string) string {
		if n.Points == nil {
			return "points " + of
		}
		return plural(*n.Points, "point", "points") + " " + of
	}
	var what string
	switch n.What {
	case "orphans":
		what = "a document for each point"
	case "filtered":
		return fmt.Sprintf("all documents of %s: %s", some(n.Collections), n.Why)
	case "unmapped", "unchosen":
		return fmt.Sprintf("%s: %s", points("of the content types "+some(n.Types)), n.Why)
	case "other":
		return fmt.Sprintf("about %s: %s", points("more"), n.Why)
	default:
		what = n.What
	}
	if len(n.Collections) > 0 {
		what += " of " + some(n.Collections)
	}
	return what + ": " + n.Why
}

// mostSome is how many names a sentence has.
const mostSome = 5

// some names the first of several.
func some(names []string) string {
	last := len(names) - 1
	switch more := len(names) - mostSome; {
	case more > 0:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:mostSome], ", "), more)
	case last > 0:
		return strings.Join(names[:last], ", ") + " and " + names[last]
	}
	return strings.Join(names, "")
}
