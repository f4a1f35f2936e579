package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/tally"
)

// The forms of progress.
const (
	progressAuto  = "auto"  // bars on a terminal, else plain
	progressBars  = "bars"  // lines that are drawn again and again
	progressPlain = "plain" // a line now and then
	progressJSON  = "json"  // an object on a line, every second
	progressNone  = "none"
)

const (
	barsEvery  = 200 * time.Millisecond
	plainEvery = 30 * time.Second
	jsonEvery  = time.Second
	// maxBars is how many collections are drawn at a time; the rest is in the total.
	maxBars = 10
	// wide is how many columns a terminal needs to show what the workers do.
	wide = 120
	// rateOver is how far back the rate looks that is shown, and that tells how long it will take.
	rateOver = 10 * time.Second
)

// progress shows a run on standard error while it goes on. What is printed meanwhile goes through Write, so that it stands
// above lines that are drawn again.
type progress struct {
	form    string
	monitor *job.Monitor
	out     io.Writer    // standard error
	log     *slog.Logger // takes the plain lines, so that a log of JSON stays one; nil: out does
	now     func() time.Time

	mu    sync.Mutex
	speed speedometer
	bars  *mpb.Progress // nil but for progressBars
	hide  func()        // sends the log to standard error again; nil but for progressBars
	lines map[string]*mpb.Bar
	seen  view // what is drawn

	asked   chan os.Signal // SIGUSR1
	stopped chan struct{}
	done    sync.WaitGroup
}

// showProgress begins to show a run and returns how to end it. SIGUSR1 prints how it stands, in any form.
func (a *app) showProgress(form string, m *job.Monitor, log *slog.Logger) *progress {
	if form == progressAuto {
		form = progressPlain
		if isTerminal(a.stderr) {
			form = progressBars
		}
	}
	p := &progress{form: form, monitor: m, out: a.stderr, log: log, now: time.Now, asked: make(chan os.Signal, 1), stopped: make(chan struct{}), lines: map[string]*mpb.Bar{}}
	if form == progressBars {
		where := mpb.WithOutput(a.stderr)
		if f, ok := a.stderr.(*os.File); ok && isTerminal(f) {
			where = mpb.WithConsoleWriter(&screen{out: f})
		}
		p.bars = mpb.New(where, mpb.WithRefreshRate(barsEvery), mpb.WithAutoRefresh())
		p.addTotal()
		p.hide = func() { a.bars.Store(nil) }
		a.bars.Store(p.bars)
	}
	signal.Notify(p.asked, syscall.SIGUSR1)
	p.done.Go(p.show)
	return p
}

// ignoreProgressSignal keeps SIGUSR1 from ending a program that shows no run yet, or no more.
func ignoreProgressSignal() { signal.Ignore(syscall.SIGUSR1) }

// checkProgress refuses a form that there is not.
func checkProgress(form string) error {
	switch form {
	case progressAuto, progressBars, progressPlain, progressJSON, progressNone:
		return nil
	}
	return usageError("--progress must be auto, bars, plain, json or none, not %q", form)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// stop ends the showing; nothing is drawn after it returns.
func (p *progress) stop() {
	signal.Stop(p.asked)
	ignoreProgressSignal()
	close(p.stopped)
	p.done.Wait()
}

// writer is where a run's own output goes: above the bars if it goes to the same terminal.
func (p *progress) writer(stdout io.Writer) io.Writer {
	if p.bars != nil && isTerminal(stdout) {
		return p.bars
	}
	return stdout
}

func (p *progress) show() {
	every := map[string]time.Duration{progressBars: barsEvery, progressPlain: plainEvery, progressJSON: jsonEvery}[p.form]
	look := time.NewTicker(time.Second) // for the rate, where nothing else looks
	defer look.Stop()
	var tick <-chan time.Time
	if every > 0 {
		t := time.NewTicker(every)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-look.C:
			p.look()
		case <-tick:
			if v, ok := p.look(); ok {
				p.print(v)
			}
		case <-p.asked:
			if v, ok := p.look(); ok {
				p.answer(v)
			}
		case <-p.stopped:
			p.end()
			return
		}
	}
}

// answer shows the run to whoever sent a signal: to a person all of it, to a program what it gets anyway.
func (p *progress) answer(v view) {
	if p.form == progressJSON || p.form == progressPlain && p.log != nil {
		p.print(v)
		return
	}
	_, _ = io.WriteString(p.above(), v.whole())
}

// above is where text goes that stays.
func (p *progress) above() io.Writer {
	if p.bars != nil {
		return p.bars
	}
	return p.out
}

// view is a run at a moment, with how fast it goes.
type view struct {
	job.Snapshot
	rates map[string]float64 // documents per second, by collection; "" is the total
}

// look takes a snapshot.
func (p *progress) look() (view, bool) {
	s, ok := p.monitor.Snapshot()
	if !ok {
		return view{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	v := view{Snapshot: s, rates: p.speed.update(p.now(), s)}
	p.seen = v
	return v, true
}

func (p *progress) print(v view) {
	switch p.form {
	case progressPlain:
		if p.log != nil {
			p.log.Info("progress", "state", v.line(), "documents", v.Total.Scanned, "sent", v.Total.Acked, "failed", v.Total.Failed())
			return
		}
		fmt.Fprintf(p.out, "progress: %s\n", v.line())
	case progressJSON:
		_ = json.NewEncoder(p.out).Encode(v.object()) // there is nowhere to say that standard error is closed
	case progressBars:
		p.draw(v)
	}
}

// end takes the bars away, so that the summary stands alone.
func (p *progress) end() {
	if p.bars == nil {
		return
	}
	for _, b := range p.lines {
		b.Abort(true)
	}
	p.bars.Wait()
	p.hide()
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

// notices is where the log goes: standard error, above the bars if there are any.
type notices struct{ a *app }

func (n notices) Write(b []byte) (int, error) {
	if bars := n.a.bars.Load(); bars != nil {
		if done, err := bars.Write(b); err == nil {
			return done, nil
		} // they are just gone
	}
	return n.a.stderr.Write(b)
}

// draw has a line for each collection under way.
func (p *progress) draw(v view) {
	active := map[string]bool{}
	for i, c := range v.Collections {
		if !c.Started || c.Done || len(active) == maxBars {
			continue
		}
		active[c.Name] = true
		b := p.lines[c.Name]
		if b == nil {
			b = p.line(c.Name, i)
			p.lines[c.Name] = b
		}
		update(b, c.Counts.Scanned, c.Before)
	}
	for name, b := range p.lines {
		if name != "" && !active[name] {
			b.Abort(true)
			delete(p.lines, name)
		}
	}
	total, known := v.expected()
	if !known {
		total = 0
	}
	update(p.lines[""], v.Total.Scanned, total)
}

// update moves a bar, which stays empty while the total is not known. It never completes: that is the run's to say.
func update(b *mpb.Bar, current, total int64) {
	if total > 0 {
		total = max(total, current+1)
	}
	b.SetTotal(max(total, 0), false)
	b.SetCurrent(current)
}

func (p *progress) addTotal() { p.lines[""] = p.line("", 1<<20) }

// line adds the line of a collection, or of the total.
func (p *progress) line(name string, priority int) *mpb.Bar {
	text := func(f func(view, string) string) decor.Decorator {
		return decor.Any(func(decor.Statistics) string {
			p.mu.Lock()
			v := p.seen
			p.mu.Unlock()
			return f(v, name)
		}, decor.WC{C: decor.DSyncWidthR})
	}
	title := name
	if title == "" {
		title = "total"
	}
	// A bar that is made with a total completes by itself when it is reached, and takes no other.
	return p.bars.New(0, mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]"),
		mpb.BarPriority(priority), mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(clip(title, 20), decor.WC{C: decor.DSyncWidthR})),
		mpb.AppendDecorators(
			text(func(v view, name string) string { return " " + v.share(name) }),
			text(func(v view, name string) string { return " " + v.doneOf(name) }),
			text(func(v view, name string) string { return fmt.Sprintf(" %s/s", short(v.rates[name])) }),
			text(func(v view, name string) string { return fmt.Sprintf(" %s sent", short(float64(v.sent(name)))) }),
			text(func(v view, name string) string { return " " + v.eta(name) }),
			decor.Any(func(s decor.Statistics) string {
				if name != "" || terminalWidth(p.out) < wide {
					return ""
				}
				p.mu.Lock()
				defer p.mu.Unlock()
				return "  " + p.seen.workers()
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

// find is the progress of a collection; "" is all of them together.
func (v *view) find(name string) engine.CollectionProgress {
	if name == "" {
		total, known := v.expected()
		if !known {
			total = -1
		}
		return engine.CollectionProgress{Before: total, Counts: v.Total, Started: true}
	}
	i := slices.IndexFunc(v.Collections, func(c engine.CollectionProgress) bool { return c.Name == name })
	if i < 0 {
		return engine.CollectionProgress{Before: -1}
	}
	return v.Collections[i]
}

// expected is how many documents there are in all, and whether every collection has said so.
func (v *view) expected() (n int64, known bool) {
	known = true
	for _, c := range v.Collections {
		switch {
		case c.Done:
			n += c.Counts.Scanned
		case c.Before < 0:
			known = false
		default:
			n += max(c.Before, c.Counts.Scanned)
		}
	}
	return n, known && len(v.Collections) > 0
}

func (v *view) sent(name string) int64 { return v.find(name).Counts.Acked }

// share is how much of it is done, in percent.
func (v *view) share(name string) string {
	c := v.find(name)
	if c.Before <= 0 {
		return "  - "
	}
	return fmt.Sprintf("%3.0f%%", 100*min(1, float64(c.Counts.Scanned)/float64(c.Before)))
}

func (v *view) doneOf(name string) string {
	c := v.find(name)
	if c.Before < 0 {
		return short(float64(c.Counts.Scanned))
	}
	return short(float64(c.Counts.Scanned)) + "/" + short(float64(c.Before))
}

// eta is how long it will take at the present rate.
func (v *view) eta(name string) string {
	c := v.find(name)
	rate := v.rates[name]
	if v.Phase > job.PhaseRead && name == "" {
		return v.Phase.String()
	}
	if c.Before < 0 || rate <= 0 {
		return "ETA -"
	}
	left := time.Duration(float64(max(0, c.Before-c.Counts.Scanned)) / rate * float64(time.Second))
	return "ETA " + brief(left)
}

// workers says what readers and workers are at.
func (v *view) workers() string {
	var parts []string
	for s := engine.StageScan; s < engine.StageCount; s++ {
		parts = append(parts, fmt.Sprintf("%s %d", s, v.Working[s]))
	}
	text := strings.Join(parts, " ")
	if v.Stalled {
		text += " STALLED"
	}
	return text
}

// line is the run on one line.
func (v *view) line() string {
	done := 0
	for _, c := range v.Collections {
		if c.Done {
			done++
		}
	}
	text := fmt.Sprintf("%s of documents (%s), %s/s, %d sent", strings.TrimSpace(v.share("")), v.doneOf(""), short(v.rates[""]), v.Total.Acked)
	if n := v.Total.Failed(); n > 0 {
		text += fmt.Sprintf(", %d failed", n)
	}
	return fmt.Sprintf("%s, %d of %s done, %s", text, done, plural(len(v.Collections), "collection", "collections"), v.eta(""))
}

// whole is the run on several lines, for whoever asks.
func (v *view) whole() string {
	var b strings.Builder
	fmt.Fprintf(&b, "run %s after %s: %s\n", v.RunID, brief(v.Elapsed), v.line())
	for _, c := range v.Collections {
		if !c.Started {
			continue
		}
		state := fmt.Sprintf("%s, %s/s, %s", strings.TrimSpace(v.share(c.Name)), short(v.rates[c.Name]), v.eta(c.Name))
		if c.Done {
			state = "done in " + brief(c.Took)
		}
		fmt.Fprintf(&b, "  %-20s %s documents, %d present, %d sent, %d failed, %d of %d splits, %s\n", c.Name, v.doneOf(c.Name),
			c.Counts.Present, c.Counts.Acked, c.Counts.Failed(), c.SplitsDone, c.Splits, state)
	}
	fmt.Fprintf(&b, "  working: %s; %s waiting; nothing has moved for %s\n", v.workers(), plural(v.Waiting, "batch", "batches"), brief(time.Since(v.LastMove)))
	return b.String()
}

// progressObject is a view as JSON; counts are those of the report.
type progressObject struct {
	Time        time.Time         `json:"time"`
	RunID       string            `json:"run_id"`
	Phase       string            `json:"phase"`
	Documents   int64             `json:"documents"`          // handled
	Expected    *int64            `json:"expected,omitempty"` // where every collection's number is known
	PerSecond   float64           `json:"documents_per_second"`
	ETASeconds  *float64          `json:"eta_seconds,omitempty"`
	Counts      tally.Counts      `json:"counts"`
	Bytes       int64             `json:"bytes"`
	Stalled     bool              `json:"stalled"`
	Working     map[string]int    `json:"working"`
	Collections map[string]object `json:"collections"`
}

type object struct {
	Expected *int64       `json:"expected,omitempty"`
	Done     bool         `json:"done"`
	Counts   tally.Counts `json:"counts"`
}

func (v *view) object() progressObject {
	o := progressObject{
		Time: v.Started.Add(v.Elapsed).UTC(), RunID: v.RunID, Phase: v.Phase.String(), Documents: v.Total.Scanned, PerSecond: v.rates[""],
		Counts: v.Total, Bytes: v.Bytes, Stalled: v.Stalled, Working: map[string]int{}, Collections: map[string]object{},
	}
	if n, known := v.expected(); known {
		o.Expected = &n
		if r := v.rates[""]; r > 0 {
			eta := float64(max(0, n-v.Total.Scanned)) / r
			o.ETASeconds = &eta
		}
	}
	for s := engine.StageScan; s < engine.StageCount; s++ {
		o.Working[s.String()] = v.Working[s]
	}
	for _, c := range v.Collections {
		x := object{Done: c.Done, Counts: c.Counts}
		if c.Before >= 0 {
			x.Expected = &c.Before
		}
		o.Collections[c.Name] = x
	}
	return o
}

// speedometer remembers a few moments of a run.
type speedometer struct{ past []moment }

type moment struct {
	at   time.Time
	done map[string]int64
}

// update adds a moment and returns how fast everything went since rateOver ago, or since the first moment.
func (m *speedometer) update(now time.Time, s job.Snapshot) map[string]float64 {
	n := moment{now, map[string]int64{"": s.Total.Scanned - s.Resumed}}
	for _, c := range s.Collections {
		n.done[c.Name] = c.Counts.Scanned - c.Earlier.Scanned
	}
	if len(m.past) == 0 {
		start := moment{s.Started, map[string]int64{}}
		m.past = append(m.past, start)
	}
	if last := m.past[len(m.past)-1]; now.Sub(last.at) >= time.Second {
		m.past = append(m.past, n)
	}
	for len(m.past) > 2 && now.Sub(m.past[1].at) >= rateOver {
		m.past = m.past[1:]
	}
	rates := map[string]float64{}
	seconds := now.Sub(m.past[0].at).Seconds()
	for name, done := range n.done {
		if seconds > 0 {
			rates[name] = float64(done-m.past[0].done[name]) / seconds
		}
	}
	return rates
}

// short writes a number in at most five characters.
func short(n float64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%.0f", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.0fk", n/1e3)
	case n < 100_000_000:
		return fmt.Sprintf("%.1fM", n/1e6)
	}
	return fmt.Sprintf("%.0fM", n/1e6)
}

// brief writes a duration with as much as a person wants to know.
func brief(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()+0.5))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
