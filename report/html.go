package report

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/tally"
)

//go:embed page.html
var pageText string

// page has no script and loads no font or picture from elsewhere; its Content-Security-Policy forbids both. It is parsed when it is first
// made, since most commands make none.
var page = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"number": Number, "span": Span, "rate": rate, "moment": text.Moment, "percent": percentOf,
		"times": func(n int64) string { return plural(n, "time", "times") },
	}).Parse(pageText))
})

// maxShown is how many collections are drawn at once; the others are folded away.
const maxShown = 30

// view is what the page shows.
type view struct {
	*Report
	Title    string
	Tone     string // good, odd or bad
	Facts    []fact
	Tiles    []tile
	Curves   []*plot
	StageBar stackedBar
	Types    []typeBar // of the first content types
	Outcomes []outcome // of the first collections
	Legend   []segment
	Rows     [][]string // the table
	History  []*plot
	Partial  string    // warns that not all runs read the same collections
	Runs     []*Report // if there are several, the newest first

	MoreTypes []typeBar // those that are folded away
	More      []outcome
}

type tile struct{ Name, Value, Note string }

// stackedBar is a bar of parts and what it says.
type stackedBar struct {
	Segments []segment
	Label    string // for those who do not see it
	Text     string // below it
}

type typeBar struct {
	ContentType
	stackedBar
}

type outcome struct {
	*Collection
	stackedBar
}

// HTML makes a page of the latest run, and of how it went with several if there are some.
func HTML(runs ...*Report) ([]byte, error) {
	runs = slices.Clone(runs)
	for i, r := range runs {
		runs[i] = r.shown()
	}
	r := runs[len(runs)-1]
	v := view{Report: r, Title: "Report of a run", Tone: r.tone(), Facts: r.facts(), Tiles: r.tiles(), Rows: r.rows(Number)}
	if len(runs) > 1 {
		v.Title = fmt.Sprintf("Report of %d runs", len(runs))
		v.History, v.Partial = historyPlots(runs), partialNote(runs)
		v.Runs = slices.Clone(runs)
		slices.Reverse(v.Runs)
	}
	for _, c := range []*plot{
		r.curve("Documents read", "documents/s", "present", func(s *Sample) int64 { return s.Documents }),
		r.curve("Events confirmed", "events/s", "sent", func(s *Sample) int64 { return s.Acked }),
	} {
		if c != nil {
			v.Curves = append(v.Curves, c)
		}
	}
	sum := r.stageSum()
	var parts []part
	for _, s := range r.Stages {
		parts = append(parts, part{
			name: s.Name, color: "stage-" + s.Name, text: Span(s.Seconds) + ", " + Percent(s.Seconds/max(sum, 1e-9)), size: s.Seconds,
		})
	}
	v.StageBar = stackedBar{Segments: stacked(sum, parts...), Label: "Time by stage"}
	v.types(r)
	v.outcomes(r)
	var b bytes.Buffer
	if err := page().Execute(&b, &v); err != nil {
		return nil, fmt.Errorf("making the page: %w", err)
	}
	return b.Bytes(), nil
}

// types draws how much of each content type is covered.
func (v *view) types(r *Report) {
	for _, t := range r.ContentTypes() {
		b := typeBar{ContentType: t}
		before := t.Covered - t.Acked
		b.Segments = stacked(float64(t.Expected),
			part{name: "in the index before", color: "present", text: Number(before), size: float64(before)},
			part{name: "sent and confirmed", color: "sent", text: Number(t.Acked), size: float64(t.Acked)})
		switch {
		case t.Expected < 0:
			b.Text = Number(t.Covered) + "; how many there are is not known"
		case t.Expected == 0:
			b.Text = "no documents"
		default:
			b.Text = Number(t.Covered) + " of " + Number(t.Expected)
		}
		b.Label = t.Name + ": " + b.Text
		v.Types = append(v.Types, b)
	}
	v.Types, v.MoreTypes = folded(v.Types)
}

// outcomes draws what became of the documents of each collection.
func (v *view) outcomes(r *Report) {
	for i := range r.Collections {
		c := &r.Collections[i]
		o := outcome{Collection: c}
		o.Segments = c.outcomes()
		var words []string
		for _, s := range o.Segments {
			words = append(words, strings.Replace(s.Title, ": ", " ", 1))
			if !slices.ContainsFunc(v.Legend, func(l segment) bool { return l.Color == s.Color }) {
				v.Legend = append(v.Legend, segment{Name: s.Name, Color: s.Color})
			}
		}
		switch {
		case !c.Complete && c.Documents == 0:
			words = append(words, "not read")
		case !c.Found && c.Documents == 0:
			words = append(words, "there is no such collection")
		case c.Documents == 0:
			words = append(words, "no documents")
		}
		o.Text = strings.Join(words, ", ")
		o.Label = c.Name + ": " + o.Text
		v.Outcomes = append(v.Outcomes, o)
	}
	v.Outcomes, v.More = folded(v.Outcomes)
}

// folded splits rows into those that are shown and those that are folded away. Where there are many, those come first of which
// most is not where it should be.
func folded[R interface{ open() int64 }](rows []R) (shown, more []R) {
	if len(rows) <= maxShown {
		return rows, nil
	}
	slices.SortStableFunc(rows, func(a, b R) int { return cmp.Compare(b.open(), a.open()) })
	return rows[:maxShown], rows[maxShown:]
}

// open is how many documents are neither in the index nor sent and confirmed. Where that is not known it is the largest number.
func (c Counts) open() int64 {
	if c.Expected < 0 {
		return math.MaxInt64
	}
	return c.Expected - c.Covered
}

func (r *Report) tone() string {
	switch r.Outcome {
	case tally.Complete:
		return "good"
	case tally.Failures, tally.Interrupted, tally.NotArrived:
		return "odd"
	}
	return "bad"
}

func (r *Report) tiles() []tile {
	t := &r.Totals
	out := []tile{{Name: "Coverage", Value: percentOf(t.Coverage)}, {Name: "Documents", Value: Number(t.Documents), Note: "read"}}
	switch {
	case t.Expected > 0:
		out[0].Note = Number(t.Covered) + " of " + Number(t.Expected)
	case t.Expected == 0:
		out[0].Note = "there is nothing to cover"
	default:
		out[0].Note = "not known: the run ended early"
	}
	if r.DryRun {
		out = append(out, tile{Name: "Would be sent", Value: Number(t.WouldSend), Note: "nothing was sent"})
	} else {
		note := "all confirmed"
		if t.Sent != t.Acked {
			note = Number(t.Acked) + " confirmed"
		} else if t.Sent == 0 {
			note = "nothing had to be"
		}
		out = append(out, tile{Name: "Sent", Value: Number(t.Sent), Note: note})
	}
	failed := tile{Name: "Failed", Value: Number(t.Failed), Note: "none"}
	if t.Failed > 0 {
		failed.Note = "not in the dead letters"
		if t.DeadLettered > 0 {
			failed.Note = Number(t.DeadLettered) + " in the dead letters"
		}
	}
	return append(out, failed,
		tile{Name: "Time", Value: Span(r.Seconds), Note: r.Started.UTC().Format("2 Jan, 15:04 UTC")},
		tile{Name: "Throughput", Value: rate(t.PerSecond), Note: "documents/s"})
}

// LastRow is where the totals stand in the table.
func (v *view) LastRow() int { return len(v.Rows) - 1 }

// Odd reports whether a label is left out where there is little room.
func (p *plot) Odd(i int) bool { return i%2 == 1 && len(p.X) > 4 }
