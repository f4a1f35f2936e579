// Package server is the HTTP server that shows a process to those who watch it: metrics, health, readiness and profiles. What a service
// offers beside that is in the packages below it: connect has Kafka Connect's REST API, api syncd's own, page what a browser shows.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/netutil"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/text"
)

const (
	headerTimeout = 5 * time.Second
	answerTimeout = 30 * time.Second
	pprofTimeout  = 10 * time.Minute // a profile takes as long as it was asked for
	idleTimeout   = 2 * time.Minute
	closeTimeout  = 3 * time.Second
	maxHeader     = 16 << 10
	maxBody       = 1 << 20

	maxConnections = 512
)

// Options are what is served.
type Options struct {
	Listen  string // address and port
	Purpose string // what it listens for, in an error
	Setting string // what sets the address, in an error
	Metrics http.Handler
	Healthy func() error // why the process is not healthy, nil if it is; called concurrently
	Ready   func() error // why the process is not ready, nil if it is; called concurrently
	Pprof   bool
	Logger  *slog.Logger

	Access *Access      // who may do what; nil asks nobody
	TLS    *tls.Config  // nil does not encrypt
	Routes []Route      // further ones
	Root   http.Handler // takes what no route takes, and sets its own time limits; nil leaves that out
}

// Route is a handler and the pattern of its requests, as http.ServeMux has them. It sets its own time limits.
type Route struct {
	Pattern string
	Handler http.Handler
}

// Server is a server that runs.
type Server struct {
	address string
	http    *http.Server
	cancel  context.CancelFunc // of the requests under way
	done    sync.WaitGroup
	log     *slog.Logger
}

// listenHint says what to do where nobody can listen.
func listenHint(err error, setting string) string {
	switch {
	case errors.Is(err, syscall.EACCES):
		return "ports below 1024 are the system's on most machines; choose another with " + setting
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this machine has no such address; choose another with " + setting
	case errors.Is(err, syscall.EADDRINUSE):
		return "another program listens there, or another syncd; choose another port with " + setting
	}
	return "choose another address or port with " + setting
}

// Start listens, and serves until Close. An error means that nothing listens.
func Start(ctx context.Context, o Options) (*Server, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Listen)
	if err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err
		}
		return nil, syncd.Hint(fmt.Errorf("can't listen on %s for %s: %w", o.Listen, o.Purpose, err), "%s", listenHint(err, o.Setting))
	}
	address := listener.Addr().String()
	listener = netutil.LimitListener(listener, maxConnections)
	if o.TLS != nil {
		listener = tls.NewListener(listener, o.TLS)
	}
	handler := http.MaxBytesHandler(o.handler(), maxBody)
	if o.Access != nil {
		handler = o.Access.guard(handler)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // Close ends it, not a signal: the end of a run is to be seen
	s := &Server{address: address, cancel: cancel, log: o.Logger}
	s.http = &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: answerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	s.done.Go(func() {
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.log.Warn("the server of metrics and health ended", "address", s.address, "error", err.Error())
		}
	})
	return s, nil
}

// Address is where the server listens.
func (s *Server) Address() string { return s.address }

// Close stops listening, ends what is under way within a few seconds, and leaves no goroutine behind.
func (s *Server) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, s.cancel) // long profiles end with the request's context
	defer stop()
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close() // what is left did not end in time
	}
	s.cancel()
	s.done.Wait()
}

func (o Options) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", within(answerTimeout, o.Metrics))
	mux.Handle("GET /healthz", within(answerTimeout, status(o.Healthy)))
	mux.Handle("GET /readyz", within(answerTimeout, status(o.Ready)))
	if o.Pprof {
		for path, f := range map[string]http.HandlerFunc{
			"": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace,
		} {
			mux.Handle("GET /debug/pprof/"+path, within(pprofTimeout, f))
		}
	}
	for _, r := range o.Routes {
		mux.Handle(r.Pattern, r.Handler)
	}
	if o.Root != nil {
		mux.Handle("/", o.Root)
	}
	return mux
}

// within bounds how long an answer may take to be written.
func within(d time.Duration, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d)) // where it can't be set, the writing fails as well
		h.ServeHTTP(w, r)
	})
}

// status answers ok, or 503 and why not.
func status(check func() error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		answer := "ok"
		if err := check(); err != nil {
			answer = text.Line(err.Error())
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, answer+"\n") // whoever asked may have gone
	})
}
