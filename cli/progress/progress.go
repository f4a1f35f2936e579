// Package progress shows a run on standard error while it goes on: as bars on a terminal, as a line now and then, or as JSON.
package progress

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/vbauerster/mpb/v8"
	"golang.org/x/term"

	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/job"
)

// The forms.
const (
	Auto  = "auto"  // bars on a terminal, else plain
	Bars  = "bars"  // lines that are drawn again and again
	Plain = "plain" // a line now and then
	JSON  = "json"  // an object on a line, every second
	None  = "none"
)

const (
	barsEvery  = 200 * time.Millisecond
	plainEvery = 30 * time.Second
	jsonEvery  = time.Second
)

// Progress shows a run on standard error while it goes on. What is printed meanwhile goes through Writer, so that it stands
// above lines that are drawn again.
type Progress struct {
	form    string
	monitor *job.Monitor
	out     *Output
	log     *slog.Logger // takes the plain lines, so that a log of JSON stays one; nil: out does
	now     func() time.Time

	mu    sync.Mutex
	speed speedometer
	bars  *mpb.Progress // nil but for Bars
	lines map[string]*mpb.Bar
	seen  view // what is drawn

	asked   chan os.Signal // SIGUSR1
	stopped chan struct{}
	done    sync.WaitGroup
}

// Options say what to show, and where.
type Options struct {
	Form    string
	Monitor *job.Monitor
	Output  *Output
	Log     *slog.Logger // takes the plain lines, so that a log of JSON stays one; nil: the output does
}

// Show begins to show a run, until Stop. SIGUSR1 prints how it stands, in any form.
func Show(o Options) *Progress {
	if o.Form == Auto {
		o.Form = Plain
		if IsTerminal(o.Output.stderr) {
			o.Form = Bars
		}
	}
	p := &Progress{
		form: o.Form, monitor: o.Monitor, out: o.Output, log: o.Log, now: time.Now, asked: make(chan os.Signal, 1), stopped: make(chan struct{}),
		lines: map[string]*mpb.Bar{},
	}
	if o.Form == Bars {
		p.begin()
	}
	signal.Notify(p.asked, syscall.SIGUSR1)
	p.done.Go(p.show)
	return p
}

// IgnoreSignal keeps SIGUSR1 from ending a program that shows no run yet, or no more.
func IgnoreSignal() { signal.Ignore(syscall.SIGUSR1) }

// Check refuses a form that there is not.
func Check(form string) error {
	switch form {
	case Auto, Bars, Plain, JSON, None:
		return nil
	}
	return fmt.Errorf("--progress must be auto, bars, plain, json or none, not %q", form)
}

// IsTerminal reports whether a person looks at what is written.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Stop ends the showing; nothing is drawn after it returns.
func (p *Progress) Stop() {
	signal.Stop(p.asked)
	IgnoreSignal()
	close(p.stopped)
	p.done.Wait()
}

// Writer is where a run's own output goes: above the bars if it goes to the same terminal.
func (p *Progress) Writer(stdout io.Writer) io.Writer {
	if p.bars != nil && IsTerminal(stdout) {
		return p.bars
	}
	return stdout
}

func (p *Progress) show() {
	every := map[string]time.Duration{Bars: barsEvery, Plain: plainEvery, JSON: jsonEvery}[p.form]
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
func (p *Progress) answer(v view) {
	if p.form == JSON || p.form == Plain && p.log != nil {
		p.print(v)
		return
	}
	_, _ = io.WriteString(p.out, v.whole())
}

// look takes a snapshot.
func (p *Progress) look() (view, bool) {
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

func (p *Progress) print(v view) {
	switch p.form {
	case Plain:
		if p.log != nil {
			p.log.Info("progress", "state", v.line(), "documents", v.Total.Scanned, "sent", v.Total.Acked, "failed", v.Total.Failed())
			return
		}
		text.Fprintf(p.out, "progress: %s\n", v.line())
	case JSON:
		_ = json.NewEncoder(text.Escape(p.out)).Encode(v.object()) // there is nowhere to say that standard error is closed
	case Bars:
		p.draw(v)
	}
}
