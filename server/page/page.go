// Package page is what a browser shows of a service: its jobs, and of each how complete and how fresh its index is, what it does now and
// did before, why a document is not found, and what a run would send. Whoever may, drives jobs by it.
//
// Where to look: page.go has the routes and what every answer has in common; jobs.go and job.go the two main pages; explain.go, plan.go, config.go and dead.go those
// beside a job's; act.go what changes a job, behind a confirmation; ask.go asks the service's own interface; words.go the sentences; plot.go the plots; samples.go what is kept of the last hour; templates and static
// what is embedded.
//
// Invariants:
//   - a page is made on the server, from what is known, and can be read without its script, which only has it made again;
//   - nothing is loaded from elsewhere, and the Content-Security-Policy forbids it, as it forbids scripts and styles inside of a page;
//   - texts of others (names, ids, errors) are escaped once, where the page is written: for HTML, and what does not show;
//   - only a POST changes something, and only one that comes from a page of this service, by somebody who may.
package page

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"embed"
	"errors"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/report"
	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/server"
	"github.com/syncd-io/syncd/spec"
)

// Prefix is where the page is.
const Prefix = "/ui/"

const (
	answerTimeout = 30 * time.Second
	maxBody       = 64 << 10
)

// Host is what runs the jobs.
type Host interface {
	Jobs() []host.Status
	Job(name string) (host.Status, error)
	Config(name string) (*config.Config, error)
	Problem() string
	Want(name string, want host.Desired, by string) error
	Restart(name, by string) error
	Trigger(name string, t host.Trigger, by string) error
}

// Options are what a page is made of. Functions are called concurrently.
type Options struct {
	Host Host
	// RunsDir is the folder of a job's record of runs; c is nil where no file of the job could be used yet.
	RunsDir func(c *config.Config) string
	// Resolve tells what a configuration amounts to.
	Resolve func(path string) (*config.Effective, spec.Diagnostics)
	// API is the service's own interface, which finds out what takes a while.
	API http.Handler
	// Job makes a job of a configuration, to look with beside its runs.
	Job func(c *config.Config, logger *slog.Logger) *job.Job
	// CanOperate reports whether who asks may drive jobs; nil has the server's access say it.
	CanOperate func(*http.Request) bool
	// By says who asks, for the log; nil has the server's access say it, or the address where nobody has a name.
	By      func(*http.Request) string
	Version string
	Logger  *slog.Logger
}

//go:embed templates static
var files embed.FS

// Page is the handler of all that is below Prefix.
type Page struct {
	o       Options
	token   string // in every form: it is known to who has read a page of this process
	views   map[string]*template.Template
	handler http.Handler
	samples samples
	past    past
	turn    chan struct{} // holds one while dead letters are looked at
	now     func() time.Time
}

// New returns a page.
func New(o Options) *Page {
	if o.CanOperate == nil {
		o.CanOperate = func(r *http.Request) bool { return server.CanOperate(r.Context()) }
	}
	if o.By == nil {
		o.By = func(r *http.Request) string { return cmp.Or(server.Who(r.Context()), r.RemoteAddr) }
	}
	p := &Page{o: o, token: rand.Text(), views: views(), past: past{jobs: map[string]remembered{}}, turn: make(chan struct{}, 1), now: time.Now}
	mux := http.NewServeMux()
	static, err := fs.Sub(files, "static")
	if err != nil {
		panic(err) // it is embedded
	}
	mux.Handle("GET "+Prefix+"static/", http.StripPrefix(Prefix+"static/", cached(http.FileServerFS(static))))
	for pattern, h := range map[string]func(*http.Request) (answer, error){
		"GET " + Prefix + "{$}": p.listJobs, "GET " + Prefix + "job": p.showJob,
		"GET " + Prefix + "do": p.confirm, "POST " + Prefix + "do": p.do,
		"GET " + Prefix + "explain": p.explain, "GET " + Prefix + "config": p.config, "GET " + Prefix + "dead": p.dead,
		"GET " + Prefix + "plan": p.plan, "POST " + Prefix + "plan": p.planned, "GET " + Prefix + "apply": p.apply, "POST " + Prefix + "apply": p.applied,
		"GET " + Prefix + "again": p.again, "POST " + Prefix + "again": p.sentAgain,
	} {
		mux.Handle(pattern, p.shown(h))
	}
	mux.Handle(Prefix, p.shown(func(r *http.Request) (answer, error) {
		return answer{}, &problem{http.StatusNotFound, "There is no such page", ""}
	}))
	p.handler = http.NewCrossOriginProtection().Handler(mux)
	return p
}

// Routes are to be mounted in a server.
func (p *Page) Routes() []server.Route { return []server.Route{{Pattern: Prefix, Handler: p}} }

// ServeHTTP implements http.Handler.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout + 5*time.Second)) // where it can't be set, the writing fails as well
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	p.handler.ServeHTTP(w, r)
}

// cached lets a browser keep what is embedded, since it changes with the program only.
func cached(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		h.ServeHTTP(w, r)
	})
}

// answer is a page to be shown, or where to go instead.
type answer struct {
	view   string // the template
	title  string
	job    string // whose page it is; empty on others
	tab    string // of the job
	data   any
	status int
	to     string // go there instead
}

// problem is an answer that says what is wrong.
type problem struct {
	status     int
	What, Hint string
}

func (e *problem) Error() string { return e.What }

// shell is what every page is told.
type shell struct {
	Title, Job, Tab, Token, Version string
	CanOperate                      bool
	Now                             time.Time
	Data                            any
}

// tab is a page of a job.
type tab struct{ Page, Title string }

// Tabs are the pages of a job.
func (shell) Tabs() []tab {
	return []tab{
		{"job", "How it stands"}, {"explain", "Why not found?"}, {"plan", "What would be sent?"}, {"config", "Configuration"}, {"dead", "Dead letters"},
	}
}

// shown makes a handler of what makes pages.
func (p *Page) shown(h func(*http.Request) (answer, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
		defer cancel()
		a, err := h(r.WithContext(ctx))
		if err != nil {
			a = p.wrong(err)
		}
		if a.to != "" {
			http.Redirect(w, r, a.to, http.StatusSeeOther)
			return
		}
		var b bytes.Buffer
		err = p.views[a.view].ExecuteTemplate(&b, "layout.html", shell{
			Title: text.Cut(a.title), Job: a.job, Tab: a.tab, Token: p.token, Version: p.o.Version, CanOperate: p.o.CanOperate(r), Now: p.now().UTC(), Data: a.data,
		})
		if err != nil {
			p.o.Logger.Error("a page can't be made", "page", r.URL.Path, "error", err.Error())
			http.Error(w, "the page can't be made; the log says why", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if a.status != 0 {
			w.WriteHeader(a.status)
		}
		_, _ = text.Escape(w).Write(b.Bytes()) // whoever asked may have gone
	})
}

// wrong is the page of an error.
func (p *Page) wrong(err error) answer {
	e, ok := errors.AsType[*problem](err)
	if !ok {
		e = &problem{http.StatusInternalServerError, spec.ScrubURLs(err.Error()), spec.ScrubURLs(syncd.HintOf(err))}
		switch {
		case errors.Is(err, host.ErrNoJob):
			e.status = http.StatusNotFound
		case errors.Is(err, host.ErrConflict):
			e.status = http.StatusConflict
		case errors.Is(err, context.DeadlineExceeded):
			e.status = http.StatusGatewayTimeout
		}
	}
	return answer{view: "wrong", title: "That did not work", status: e.status, data: map[string]string{"What": text.Line(e.What), "Hint": text.Line(e.Hint)}}
}

// past remembers the last runs of jobs, which are shown again and again.
type past struct {
	mu   sync.Mutex
	jobs map[string]remembered
}

type remembered struct {
	stamp string
	runs  []runlog.Run
}

// keep forgets all jobs but these.
func (p *past) keep(jobs []host.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := make(map[string]remembered, len(jobs))
	for i := range jobs {
		if known, ok := p.jobs[jobs[i].Name]; ok {
			kept[jobs[i].Name] = known
		}
	}
	p.jobs = kept
}

// runs are the last runs of a job, at most so many, the newest first. They must not be changed. A record that can't be read is none.
func (p *Page) runs(name string, most int) []runlog.Run {
	c, err := p.o.Host.Config(name)
	if err != nil {
		return nil // it is gone meanwhile
	}
	dir := p.o.RunsDir(c)
	stamp := dir + runlog.Stamp(dir, name)
	p.past.mu.Lock()
	known := p.past.jobs[name]
	p.past.mu.Unlock()
	if known.stamp != stamp {
		if known.runs, err = runlog.Read(dir, name, historyRuns); err != nil {
			p.o.Logger.Warn("the record of a job's runs can't be read", "job", name, "error", err.Error())
			return known.runs
		}
		known.stamp = stamp
		p.past.mu.Lock()
		p.past.jobs[name] = known
		p.past.mu.Unlock()
	}
	return known.runs[:min(most, len(known.runs))]
}

// operates refuses a request that may change nothing.
func (p *Page) operates(r *http.Request) error {
	if !p.o.CanOperate(r) {
		return &problem{http.StatusForbidden, "You may look at jobs, not drive them", "ask whoever runs this service for the role operate"}
	}
	if subtle.ConstantTimeCompare([]byte(r.PostFormValue("token")), []byte(p.token)) != 1 {
		return &problem{http.StatusForbidden, "This form is not of this service, or of a time before it was restarted", "go back, load the page again, and try once more"}
	}
	return nil
}

// link is the address of a page of a job. Names are in the query, since a path can't hold all of them.
func link(page, job string, more ...string) string {
	q := url.Values{"name": {job}}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return Prefix + page + "?" + q.Encode()
}

// views are the templates, by the name of their page.
func views() map[string]*template.Template {
	out := map[string]*template.Template{}
	shared := template.Must(template.New("").Funcs(template.FuncMap{
		"number": report.Number, "span": span, "clock": clock, "moment": text.Moment, "ago": ago, "link": link, "cut": text.Cut,
		"percent": report.Percent, "dollars": text.Cost, "size": size, "at": func(t *time.Time) time.Time { return *t }, "stamp": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}).ParseFS(files, "templates/layout.html", "templates/parts.html"))
	for _, name := range []string{"jobs", "job", "confirm", "wrong", "explain", "plan", "apply", "config", "dead", "again"} {
		out[name] = template.Must(template.Must(shared.Clone()).ParseFS(files, "templates/"+name+".html"))
	}
	return out
}
