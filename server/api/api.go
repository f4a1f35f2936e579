// Package api is syncd's own HTTP interface, under /api/v1: how jobs stand and what became of their runs, what is wanted of them,
// comparisons that send nothing, one document's way, and all of it as a stream of events.
//
// Where to look: routes.go is the table of routes, and the document that is made of it; jobs.go tells how jobs stand; actions.go
// changes what is wanted; work.go compares beside the runs; events.go streams.
//
// Invariants:
//   - an answer is JSON, an error as well: what went wrong, what to do, and a word for programs;
//   - nothing here waits for a job, and nothing that was asked for outlives the service;
//   - no secret is in an answer;
//   - whatever clients do, what is kept for them is bounded.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/server"
	"github.com/syncd-io/syncd/spec"
)

// prefix is where the routes are.
const prefix = "/api/v1/"

// Options are what the interface is made of.
type Options struct {
	Host *host.Host
	// RunsDir is the folder of a job's record of runs; c is nil where no file of the job could be used yet.
	RunsDir func(c *config.Config) string
	// Resolve tells what a configuration amounts to.
	Resolve func(path string) (*config.Effective, spec.Diagnostics)
	// Job makes a job of a configuration, to look with beside its runs. It is called concurrently.
	Job func(c *config.Config, logger *slog.Logger) *job.Job
	// By says who asks, for the log. It is called concurrently.
	By      func(r *http.Request) string
	Version string
	Logger  *slog.Logger
}

// API is the interface. All methods are safe for concurrent use.
type API struct {
	o      Options
	routes []route
	mux    *http.ServeMux
	past   past
	stream stream
	works  works

	ctx    context.Context //nolint:containedctx // of what goes on in the background; it ends with Close
	cancel context.CancelFunc
	under  sync.WaitGroup // what goes on in the background
}

// New returns an interface to a host.
func New(o Options) *API {
	a := &API{o: o, past: past{jobs: map[string]*remembered{}}}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.stream.clients = make(chan struct{}, maxClients)
	a.works.init()
	a.routes = a.table()
	a.mux = a.handler()
	return a
}

// Routes are to be mounted in a server.
func (a *API) Routes() []server.Route { return []server.Route{{Pattern: prefix, Handler: a}} }

// Close ends the streams and what goes on in the background, and waits for that, though not for ever. What is asked from now on is
// refused.
func (a *API) Close() {
	a.cancel()
	ended := make(chan struct{})
	go func() {
		a.under.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(closeTimeout):
		a.o.Logger.Error("a comparison does not end: leaving it behind")
	}
	a.works.remove()
}

// closeTimeout is how long what goes on in the background may take to end.
const closeTimeout = 10 * time.Second

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout)) // where it can't be set, the writing fails as well
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	switch {
	case a.ctx.Err() != nil:
		a.fail(w, r, &Error{Status: http.StatusServiceUnavailable, Code: "ending", Text: "the service is about to end"})
	case !a.o.Host.Ready():
		h.Set("Retry-After", "1")
		a.fail(w, r, &Error{Status: http.StatusServiceUnavailable, Code: "starting", Text: "the files of the jobs are being read", Hint: "ask again in a moment"})
	default:
		a.mux.ServeHTTP(w, r)
	}
}

// answerTimeout is how long an answer may take to be written.
const answerTimeout = 30 * time.Second
