// Package runpage is the page of a process that runs one job: what a browser shows at the root of --http. It shows how the run under way
// stands, how the last one ended, where the job reads, asks and sends, and where machines look.
//
// Invariants:
//   - it only shows: there is nothing to press, and a request changes nothing;
//   - all that it shows is escaped, and holds no secret: the caller hands it places and errors without;
//   - it needs nothing from elsewhere, no script, and works without its style.
package runpage

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"sync"
	"time"

	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/report"
	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/tally"
)

// refresh is how often a browser asks again.
const refresh = 5 * time.Second

// writeTimeout is how long an answer may take to be written.
const writeTimeout = 30 * time.Second

// shown is how many collections have a row.
const shown = 200

// Place is where a job reads, asks or sends.
type Place struct{ What, Where string }

// Last is a run that ended. Its texts hold no secrets.
type Last struct {
	RunID   string
	Ended   time.Time
	Outcome tally.Outcome
	Verdict string
	Error   string // why it did not end well; empty where the verdict says it
	Hint    string
}

// Page is what is known of the process. Its functions are called concurrently.
type Page struct {
	Job     string
	Version string
	Places  []Place
	Pprof   bool
	Live    func() (now runlog.Live, ok bool) // of the run under way; false where there is none
	Last    func() *Last                      // nil before the first has ended
	Healthy func() error                      // nil if it is
}

//go:embed page.html
var source string

// page is parsed when it is first asked for, since most commands serve none.
var page = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"number": report.Number, "span": report.Span, "moment": text.Moment, "cut": text.Line, "percent": report.Percent, "dollars": text.Cost,
		"seconds": func(d *float64) string { return report.Span(*d) },
		"rate":    func(perSecond float64) string { return report.Number(int64(perSecond + 0.5)) },
	}).Parse(source))
})

// view is the page at a moment.
type view struct {
	*Page
	Now     time.Time
	Refresh int
	State   string
	Tone    string // good, odd or bad
	Problem string // why it is not healthy
	Live    *runlog.Live
	Share   float64 // of the documents that were read; below 0 where it is not known
	Last    *Last
	Rows    []row
	More    int
}

// row is a collection.
type row struct {
	runlog.Collection
	State string
}

// ServeHTTP answers for the root, and for nothing below it.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != "/":
		http.NotFound(w, r)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "there is nothing to change here", http.StatusMethodNotAllowed)
		return
	}
	var body bytes.Buffer
	if err := page().Execute(&body, p.view()); err != nil {
		http.Error(w, "the page can't be made", http.StatusInternalServerError)
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)) // where it can't be set, the writing fails as well
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(body.Bytes()) // whoever asked may have gone
}

func (p *Page) view() *view {
	v := &view{Page: p, Now: time.Now().UTC(), Refresh: int(refresh / time.Second), State: "between runs", Tone: "good", Share: -1, Last: p.Last()}
	if now, ok := p.Live(); ok {
		v.Live, v.State = &now, now.Phase
		if now.Expected != nil && *now.Expected > 0 {
			v.Share = min(1, float64(now.Counts.Scanned)/float64(*now.Expected))
		}
		for _, c := range now.Collections[:min(shown, len(now.Collections))] {
			v.Rows = append(v.Rows, row{c, stateOf(&c)})
		}
		v.More = len(now.Collections) - len(v.Rows)
	} else if v.Last == nil {
		v.State = "starting"
	}
	switch err := p.Healthy(); {
	case err != nil:
		v.Tone, v.Problem = "bad", err.Error()
	case v.Live != nil && v.Live.Stalled:
		v.Tone, v.Problem = "bad", "nothing has moved for a while"
	case v.Live == nil && v.Last != nil && v.Last.Outcome != tally.Complete:
		v.Tone = "odd"
	}
	return v
}

func stateOf(c *runlog.Collection) string {
	switch {
	case c.Done:
		return "done"
	case c.Started && c.Splits > 1:
		return fmt.Sprintf("%d of %d parts", c.SplitsDone, c.Splits)
	case c.Started:
		return "being read"
	}
	return "to come"
}
