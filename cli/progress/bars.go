package progress

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/job"
)

const (
	// maxBars is how many collections are drawn at a time; the rest is in the total.
	maxBars = 10
	// total and followed name the lines that are of no one collection: while streams are followed, nothing has an end.
	total    = ""
	followed = "\x00followed"
	// wide is how many columns a terminal needs to show what the workers do.
	wide = 120
)

// begin has the bars drawn, and the log above them.
func (p *Progress) begin() {
	where := mpb.WithOutput(p.out.stderr)
	if f, ok := p.out.stderr.(*os.File); ok && IsTerminal(f) {
		where = mpb.WithConsoleWriter(&screen{out: f})
	}
	p.bars = mpb.New(where, mpb.WithRefreshRate(barsEvery), mpb.WithAutoRefresh())
	p.lines[total] = p.line(total, 1<<20)
	p.out.bars.Store(p.bars)
}

// end takes the bars away, so that the summary stands alone.
func (p *Progress) end() {
	if p.bars == nil {
		return
	}
	for _, b := range p.lines {
		b.Abort(true)
	}
	p.bars.Wait()
	p.out.bars.Store(nil)
}

// screen is the terminal that bars are drawn on. It goes back to the first column before it draws again, since what is
// typed meanwhile, such as Ctrl-C, shows as well.
type screen struct {
	bytes.Buffer
	out *os.File
}

// IsTerminal implements mpb.ConsoleWriter.
func (s *screen) IsTerminal() bool { return true }

// GetTermSize implements mpb.ConsoleWriter.
func (s *screen) GetTermSize() (width, height int, err error) { return term.GetSize(int(s.out.Fd())) }

// Flush implements mpb.ConsoleWriter: it shows what was written and lets the next frame replace its last lines.
func (s *screen) Flush(lines int) error {
	_, err := s.WriteTo(s.out)
	if err == nil && lines > 0 {
		fmt.Fprintf(s, "\r\x1b[%dA\x1b[J", lines)
	}
	return err
}

// draw has a line for each collection under way and one for all, or while streams are followed one that says how they stand.
func (p *Progress) draw(v view) {
	drawn := map[string]bool{}
	line := func(name string, priority int) *mpb.Bar {
		drawn[name] = true
		if p.lines[name] == nil {
			p.lines[name] = p.line(name, priority)
		}
		return p.lines[name]
	}
	if v.Phase == job.PhaseFollow {
		line(followed, 0)
	} else {
		for i, c := range v.Collections {
			if c.Started && !c.Done && len(drawn) < maxBars {
				update(line(c.Name, i), c.Counts.Scanned, c.Before)
			}
		}
		n, known := v.expected()
		if !known {
			n = 0
		}
		update(line(total, 1<<20), v.Total.Scanned, n)
	}
	for name, b := range p.lines {
		if !drawn[name] {
			b.Abort(true)
			delete(p.lines, name)
		}
	}
}

// update moves a bar, which stays empty while the total is not known. It never completes: that is the run's to say.
func update(b *mpb.Bar, current, total int64) {
	if total > 0 {
		total = max(total, current+1)
	}
	b.SetTotal(max(total, 0), false)
	b.SetCurrent(current)
}

// line adds the line of a collection, or of the total.
func (p *Progress) line(name string, priority int) *mpb.Bar {
	shown := func(f func(view, string) string) decor.Decorator {
		return decor.Any(func(decor.Statistics) string {
			p.mu.Lock()
			v := p.seen
			p.mu.Unlock()
			return f(v, name)
		}, decor.WC{C: decor.DSyncWidthR})
	}
	if name == followed {
		return p.bars.New(0, mpb.NopStyle(), mpb.BarPriority(priority), mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(shown(func(v view, _ string) string { return v.following() })))
	}
	title := name
	if name == total {
		title = "total"
	}
	// A bar that is made with a total completes by itself when it is reached, and takes no other.
	return p.bars.New(0, mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]"),
		mpb.BarPriority(priority), mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(clip(text.Line(title), 20), decor.WC{C: decor.DSyncWidthR})),
		mpb.AppendDecorators(
			shown(func(v view, name string) string { return " " + v.share(name) }),
			shown(func(v view, name string) string { return " " + v.doneOf(name) }),
			shown(func(v view, name string) string { return fmt.Sprintf(" %s/s", short(v.rates[name])) }),
			shown(func(v view, name string) string { return fmt.Sprintf(" %s sent", short(float64(v.sent(name)))) }),
			shown(func(v view, name string) string { return " " + v.eta(name) }),
			decor.Any(func(s decor.Statistics) string {
				if name != total || terminalWidth(p.out.stderr) < wide {
					return ""
				}
				p.mu.Lock()
				defer p.mu.Unlock()
				return "  " + strings.TrimSpace(p.seen.embedded()+" "+p.seen.workers())
			}),
		))
}

func terminalWidth(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			return width
		}
	}
	return 80
}
