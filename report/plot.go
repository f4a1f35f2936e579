package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/syncd-io/syncd/internal/text"
)

// The line plots are drawn in these units and stretched to the page's width; their labels are not.
const (
	plotWidth  = 1000
	plotHeight = 100
	maxSteps   = 120 // of a curve: more can't be told apart
	maxLabels  = 6   // below a curve
)

// plot is a curve over time, or one bar a run.
type plot struct {
	Title               string
	Color               string // the class
	Line                string // the path of the curve
	Area                string // the path below it
	Second, SecondTitle string // another curve
	Bars                []bar
	Dots                []mark
	Pale                []mark // of runs over some of the collections, which no line joins
	X, Y                []label
	Hits                []hit
	Note                string // what the curve says, for those who do not see it
}

// label stands at a share of the axis.
type label struct {
	At   float64
	Text string
}

// hit is a strip of the plot that tells its numbers.
type hit struct {
	X, Width float64
	Title    string
}

type mark struct{ X, Y float64 }

type bar struct {
	X, Y, Width, Height float64
	Pale                bool
}

// curve draws how fast a counter of the samples grew, as the average over each step.
func (r *Report) curve(title, unit, color string, count func(*Sample) int64) *plot {
	steps := r.steps(count)
	if len(steps) == 0 {
		return nil
	}
	most := 0.0
	for _, s := range steps {
		most = max(most, s.rate)
	}
	if most == 0 {
		return nil
	}
	end := steps[len(steps)-1].end
	top, y := ticks(most)
	p := &plot{Title: title, Color: color, Y: y, X: timeLabels(end)}
	var line strings.Builder
	for i, s := range steps {
		x0, x1, y := s.start/end*plotWidth, s.end/end*plotWidth, plotHeight-s.rate/top*plotHeight
		verb := "L"
		if i == 0 {
			verb = "M"
		}
		fmt.Fprintf(&line, "%s%s %s H%s", verb, num(x0), num(y), num(x1))
		p.Hits = append(p.Hits, hit{round2(x0), round2(x1 - x0), fmt.Sprintf("%s to %s: %s %s", Span(s.start), Span(s.end), rate(s.rate), unit)})
	}
	p.Line = line.String()
	p.Area = p.Line + fmt.Sprintf(" V%d H0 Z", plotHeight)
	p.Note = fmt.Sprintf("%s over %s, at most %s", title, Span(end), rate(most))
	return p
}

// step is a piece of time and how much was done in it.
type step struct{ start, end, rate float64 }

// steps joins samples so that there are not more than can be told apart.
func (r *Report) steps(count func(*Sample) int64) (out []step) {
	samples := r.Series.Samples
	every := (len(samples) + maxSteps - 1) / maxSteps
	var last Sample
	for i := range samples {
		s := &samples[i]
		final := i == len(samples)-1
		if !final && (i+1)%every != 0 {
			continue
		}
		took := s.At - last.At
		if took <= 0 {
			continue
		}
		if n := len(out); final && n > 0 && took < (out[n-1].end-out[n-1].start)/2 { // too short for a rate that means something
			prev := &out[n-1]
			done := prev.rate*(prev.end-prev.start) + float64(count(s)-count(&last))
			prev.end = s.At
			prev.rate = done / (prev.end - prev.start)
			break
		}
		out = append(out, step{last.At, s.At, float64(count(s)-count(&last)) / took})
		last = *s
	}
	return out
}

// ticks chooses round labels from 0 to at least most.
func ticks(most float64) (top float64, labels []label) {
	unit := math.Pow(10, math.Floor(math.Log10(most/3)))
	for _, m := range []float64{1, 2, 5, 10} {
		if unit*m*4 >= most {
			unit *= m
			break
		}
	}
	n := math.Ceil(most/unit - 1e-9)
	top = n * unit
	for i := 0.0; i <= n; i++ {
		labels = append(labels, label{round2(100 - 100*i/n), text.Figure(i * unit)})
	}
	return top, labels
}

// timeLabels chooses round times.
func timeLabels(seconds float64) (out []label) {
	var unit float64
	for _, d := range []time.Duration{
		10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
		time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
		time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 48 * time.Hour, 7 * 24 * time.Hour,
	} {
		if unit = d.Seconds(); seconds/unit <= maxLabels-1 {
			break
		}
	}
	for i := 0.0; i*unit <= seconds && i < 60; i++ {
		at := 100 * i * unit / seconds
		if at > 96 && i > 0 { // it would stand outside
			break
		}
		d := time.Duration(i * unit * float64(time.Second))
		text := "0"
		if i > 0 {
			text = d.String() // of units that are whole, so that zeros behind a letter are of the next unit
			if strings.HasSuffix(text, "m0s") {
				text = strings.TrimSuffix(text, "0s")
			}
			if strings.HasSuffix(text, "h0m") {
				text = strings.TrimSuffix(text, "0m")
			}
		}
		out = append(out, label{round2(at), text})
	}
	return out
}

// num writes a coordinate.
func num(x float64) string { return strconv.FormatFloat(math.Round(x*100)/100, 'f', -1, 64) }

// segment is a part of a stacked bar, in shares of the whole.
type segment struct {
	Name, Color, Title string
	X, Width           float64
}

// stacked lays parts side by side. Parts that are not zero are at least visible.
func stacked(whole float64, parts ...part) (out []segment) {
	if whole <= 0 {
		return nil
	}
	const visible = 0.4
	sum := 0.0
	for _, p := range parts {
		if p.size > 0 {
			w := max(100*p.size/whole, visible)
			out = append(out, segment{Name: p.name, Color: p.color, Title: p.name + ": " + p.text, Width: w})
			sum += w
		}
	}
	shrink := 1.0
	if sum > 100 {
		shrink = 100 / sum
	}
	x := 0.0
	for i := range out {
		out[i].X, out[i].Width = round2(x), round2(out[i].Width*shrink)
		x += out[i].Width
	}
	return out
}

type part struct {
	name, color, text string
	size              float64
}

func round2(x float64) float64 { return math.Round(x*100) / 100 }

// outcomes are what became of the documents of a collection.
func (c *Counts) outcomes() []segment {
	total := c.Expected
	if total < 0 {
		total = c.Documents
	}
	total += c.Gone
	parts := []part{
		{name: "present", color: "present", size: float64(c.Present)},
		{name: "indexed since", color: "present", size: float64(c.Overtaken)},
		{name: "sent and confirmed", color: "sent", size: float64(c.Acked)},
		{name: "would be sent", color: "would", size: float64(c.WouldSend)},
		{name: "left alone", color: "left", size: float64(c.Young + c.Unindexed + c.Unsampled)},
		{name: "deleted meanwhile", color: "gone", size: float64(c.Gone)},
		{name: "sent, not confirmed", color: "open", size: float64(c.Unconfirmed)},
		{name: "failed", color: "failed", size: float64(c.Failed)},
	}
	done := 0.0
	for i := range parts {
		done += parts[i].size
		parts[i].text = Number(int64(parts[i].size))
	}
	if rest := float64(total) - done; rest > 0 {
		parts = append(parts, part{name: "not done", color: "undone", text: Number(int64(rest)), size: rest})
	}
	return stacked(max(float64(total), done), parts...)
}

// historyPlots draw one point a run.
func historyPlots(runs []*Report) []*plot {
	n := float64(len(runs))
	x := func(i int) float64 { return (float64(i) + 0.5) / n * plotWidth }
	var labels []label
	var starts []time.Time
	every := (len(runs) + maxLabels - 1) / maxLabels
	for i := 0; i < len(runs); i += every {
		labels = append(labels, label{At: round2(x(i) / plotWidth * 100)})
		starts = append(starts, runs[i].Started.UTC())
	}
	for i, text := range moments(starts) {
		labels[i].Text = text
	}
	partial := partialOf(runs)
	strip := func(p *plot, i int, said string) {
		p.Hits = append(p.Hits, hit{round2(float64(i) / n * plotWidth), round2(plotWidth / n), text.Moment(runs[i].Started) + ": " + said})
	}

	coverage := &plot{Title: "Coverage after each run", SecondTitle: "before it", Color: "sent", X: labels, Note: "Coverage after each run"}
	least := 1.0
	for _, r := range runs {
		if c := r.Totals.Coverage; c != nil {
			least = min(least, *c, r.Totals.coverageBefore())
		}
	}
	floor := 0.0
	for _, f := range []float64{0.99, 0.9, 0.5} { // the steepest that holds all
		if least >= f {
			floor = f
			break
		}
	}
	for _, share := range []float64{1, (1 + floor) / 2, floor} {
		coverage.Y = append(coverage.Y, label{round2(100 * (1 - share) / (1 - floor)), Percent(share)})
	}
	verb := "M"
	for i, r := range runs {
		c := r.Totals.Coverage
		if c == nil {
			strip(coverage, i, "not known")
			if !partial[i] {
				verb = "M"
			}
			continue
		}
		before := r.Totals.coverageBefore()
		said := fmt.Sprintf("%s, %s before", Percent(*c), Percent(before))
		y := func(share float64) float64 { return (1 - share) / (1 - floor) * plotHeight }
		at := mark{round2(x(i) / plotWidth * 100), round2(y(*c) / plotHeight * 100)}
		if partial[i] {
			strip(coverage, i, said+"; "+r.someOf(runs))
			coverage.Pale = append(coverage.Pale, at)
			continue
		}
		strip(coverage, i, said)
		coverage.Line += fmt.Sprintf("%s%s %s", verb, num(x(i)), num(y(*c)))
		coverage.Second += fmt.Sprintf("%s%s %s", verb, num(x(i)), num(y(before)))
		coverage.Dots = append(coverage.Dots, at)
		verb = "L"
	}
	out := []*plot{coverage}
	add := func(title, color string, count func(*Report) int64) {
		most := int64(0)
		for _, r := range runs {
			most = max(most, count(r))
		}
		p := &plot{Title: title, Color: color, X: labels, Note: title + ", at most " + Number(most)}
		top, y := ticks(float64(max(most, 1)))
		p.Y = y
		for i, r := range runs {
			h := float64(count(r)) / top * plotHeight
			width := min(plotWidth/n*0.6, 60)
			said := Number(count(r))
			if partial[i] {
				said += "; " + r.someOf(runs)
			}
			p.Bars = append(p.Bars, bar{round2(x(i) - width/2), round2(plotHeight - h), round2(width), round2(h), partial[i]})
			strip(p, i, said)
		}
		out = append(out, p)
	}
	add("Documents missing when the run came", "open", func(r *Report) int64 { return r.Totals.Missing + r.Totals.Unasked })
	add("Documents read per second", "present", func(r *Report) int64 { return int64(math.Round(r.Totals.PerSecond)) })
	return out
}
