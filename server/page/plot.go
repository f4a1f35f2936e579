package page

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/report"
	"github.com/syncd-io/syncd/runlog"
)

// A plot is drawn in these units.
const (
	plotWidth  = 340
	plotHeight = 130
	plotLeft   = 44 // the numbers of the axis
	plotTop    = 14
	plotBottom = 108
	plotRight  = plotWidth - 4
)

// plot is bars, one a run, or a curve over time.
type plot struct {
	Title  string
	Note   string // what it says, for those who do not see it
	Bars   []bar
	Line   string // a path
	Grid   []tick
	Labels []tick
	Hits   []bar // strips that tell the numbers of a curve
}

type bar struct {
	X, Y, Width, Height, Middle float64
	Tone, Sign, Title           string
}

type tick struct {
	At     float64
	Text   string
	Anchor string
}

// scale finds round numbers from 0 to at least most.
func scale(most float64, words func(float64) string) (y func(float64) float64, grid []tick) {
	if most <= 0 {
		most = 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(most)))
	top := 10 * unit
	for _, m := range []float64{1, 2, 4, 5} {
		if m*unit >= most {
			top = m * unit
			break
		}
	}
	y = func(v float64) float64 { return round(plotBottom - v/top*(plotBottom-plotTop)) }
	for _, v := range []float64{0, top / 2, top} {
		grid = append(grid, tick{At: y(v), Text: words(v)})
	}
	return y, grid
}

func round(x float64) float64 { return math.Round(x*10) / 10 }

func seconds(x float64) string {
	if x == 0 {
		return "0"
	}
	return span(time.Duration(x * float64(time.Second)))
}

// history draws one bar a run, the oldest first. runs have the newest first.
func history(runs []runlog.Run, now time.Time) []plot {
	if len(runs) < 2 {
		return nil
	}
	draw := func(title string, words, said func(float64) string, value func(*runlog.Run) float64) plot {
		most := 0.0
		for i := range runs {
			most = max(most, value(&runs[i]))
		}
		y, grid := scale(most, words)
		slot := (plotRight - plotLeft) / float64(len(runs))
		width := min(slot*0.7, 22)
		newest := value(&runs[0])
		p := plot{
			Title: title, Grid: grid, Note: fmt.Sprintf("%s of the last %d runs: at most %s, the newest %s", title, len(runs), said(most), said(newest)),
		}
		for i := range runs {
			r := &runs[len(runs)-1-i]
			v := value(r)
			middle := plotLeft + (float64(i)+0.5)*slot
			b := bar{
				X: round(middle - width/2), Y: y(v), Width: round(width), Height: round(plotBottom - y(v)), Middle: round(middle), Tone: outcomes[r.Outcome].Tone,
				Title: fmt.Sprintf("%s: %s, %s", clock(r.Started, now), said(v), outcomes[r.Outcome].Word),
			}
			if v > 0 && b.Height < 1 { // it is to be seen that there is something
				b.Y, b.Height = plotBottom-1, 1
			}
			if !good(r.Outcome) {
				b.Sign = outcomes[r.Outcome].Sign
			}
			p.Bars = append(p.Bars, b)
		}
		p.Labels = []tick{
			{At: plotLeft, Text: clock(runs[len(runs)-1].Started, now), Anchor: "start"}, {At: plotRight, Text: clock(runs[0].Started, now), Anchor: "end"},
		}
		return p
	}
	number := func(x float64) string { return report.Number(int64(x)) }
	return []plot{
		draw("Documents looked at", text.Figure, number, func(r *runlog.Run) float64 { return float64(r.Total.Scanned) }),
		draw("Events sent", text.Figure, number, func(r *runlog.Run) float64 { return float64(r.Total.Acked + r.Deleted.Acked) }),
		draw("Documents that failed", text.Figure, number, func(r *runlog.Run) float64 { return float64(r.Total.Failed() + r.Deleted.Failed()) }),
		draw("Duration", seconds, seconds, func(r *runlog.Run) float64 { return r.Ended.Sub(r.Started).Seconds() }),
	}
}

// lately draws the last hour of a job.
func lately(s []sample, follows bool, now time.Time) []plot {
	draw := func(title string, words, said func(float64) string, value func(*sample) float64) plot {
		most, last := 0.0, -1.0
		for i := range s {
			most, last = max(most, value(&s[i])), value(&s[i])
		}
		y, grid := scale(most, words)
		from := s[0].At
		whole := max(now.Sub(from).Seconds(), 1)
		x := func(t time.Time) float64 {
			return round(plotLeft + t.Sub(from).Seconds()/whole*(plotRight-plotLeft))
		}
		p := plot{Title: title, Grid: grid, Note: fmt.Sprintf("%s over the last %s: at most %s", title, span(now.Sub(from)), said(most))}
		if last >= 0 {
			p.Note += ", now " + said(last)
		}
		var line strings.Builder
		verb := "M"
		for i := range s {
			v := value(&s[i])
			if v < 0 {
				verb = "M"
				continue
			}
			fmt.Fprintf(&line, "%s%g %g", verb, x(s[i].At), y(v))
			if verb == "M" { // one point alone is to be seen
				line.WriteString("h0.5")
			}
			verb = "L"
		}
		p.Line = line.String()
		every := max(1, len(s)/60)
		for i := 0; i < len(s); i += every {
			v, end := value(&s[i]), now
			if i+every < len(s) {
				end = s[i+every].At
			}
			title := s[i].At.UTC().Format("15:04:05") + ": not known"
			if v >= 0 {
				title = s[i].At.UTC().Format("15:04:05") + ": " + said(v)
			}
			p.Hits = append(p.Hits, bar{X: x(s[i].At), Width: round(x(end) - x(s[i].At)), Title: title})
		}
		p.Labels = []tick{{At: plotLeft, Text: clock(from, now), Anchor: "start"}, {At: plotRight, Text: clock(now, now), Anchor: "end"}}
		return p
	}
	live := false
	for i := range s {
		live = live || s[i].Live
	}
	if len(s) < 2 || !live {
		return nil
	}
	rate := func(x float64) string { return text.Figure(math.Round(x*10)/10) + " a second" }
	out := []plot{draw("Documents and changes per second", text.Figure, rate, func(s *sample) float64 { return s.PerSecond })}
	if follows {
		out = append(out, draw("Lag", seconds, seconds, func(s *sample) float64 { return s.Lag }))
	}
	return out
}
