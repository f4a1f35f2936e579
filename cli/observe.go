package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/metrics"
	runreport "github.com/syncd-io/syncd/report"
	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/server"
	"github.com/syncd-io/syncd/server/runpage"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/tracing"
)

// observer lets others watch this process: it serves and pushes metrics, and sends traces, as the configuration says. It lives
// as long as the process, through any number of runs: begin, into, ended. What is off costs nothing. A nil observer is one that
// has everything off. It is not safe for concurrent use.
type observer struct {
	metrics *metrics.Metrics // nil: nobody asks for any
	server  *server.Server   // nil: nothing is served
	gateway *metrics.Gateway // nil: nothing is pushed
	tracing *tracing.Tracing // nil: nothing is traced
	log     *slog.Logger

	trace *tracing.Run // of the run under way

	// Of the page, which is asked for at any time:
	monitor atomic.Pointer[job.Monitor]  // of the run under way; nil between two
	last    atomic.Pointer[runpage.Last] // run that ended
}

// observe begins to listen, and prepares to push and to trace. On error nothing is left running.
func (a *app) observe(ctx context.Context, cfg *config.Config, logger *slog.Logger) (_ *observer, err error) {
	ob := &observer{log: logger}
	defer func() {
		if err != nil {
			ob.close()
		}
	}()
	c := cfg.Observe
	if c.HTTP.Listen != "" || c.Push.URL != "" {
		ob.metrics = metrics.New(programVersion())
	}
	if c.Push.URL != "" {
		if ob.gateway, err = gateway(c.Push); err != nil {
			return nil, err
		}
	}
	if on, fromEnv := a.traced(c.Traces); on {
		if ob.tracing, err = a.startTracing(ctx, cfg, fromEnv, logger); err != nil {
			return nil, err
		}
	}
	if c.HTTP.Listen != "" {
		if ob.server, err = server.Start(ctx, server.Options{
			Listen: c.HTTP.Listen, Purpose: "metrics and health", Setting: "--http or observe.http.listen", Pprof: c.HTTP.Pprof, Logger: logger,
			Metrics: ob.metrics.Handler(logger), Healthy: ob.metrics.Healthy, Ready: ob.metrics.Ready,
			Root: &runpage.Page{
				Job: cfg.Name, Version: programVersion(), Places: places(cfg), Pprof: c.HTTP.Pprof, Healthy: ob.metrics.Healthy,
				Live: ob.live, Last: ob.last.Load,
			},
		}); err != nil {
			return nil, err
		}
		logger.Info("metrics and health can be read", "url", "http://"+ob.server.Address())
		if c.HTTP.Pprof && !isLoopback(ob.server.Address()) {
			logger.Warn("everyone who can connect can read profiles of this process", "hint", "listen on 127.0.0.1, or set observe.http.pprof: false")
		}
	}
	return ob, nil
}

// observeJob is observe for a job of a service, which has a listener and keeps metrics for all of its jobs.
func (a *app) observeJob(ctx context.Context, cfg *config.Config, logger *slog.Logger, m *metrics.Metrics) (ob *observer, err error) {
	ob = &observer{log: logger, metrics: m}
	c := cfg.Observe
	if c.Push.URL != "" {
		if ob.gateway, err = gateway(c.Push); err != nil {
			return nil, err
		}
	}
	if on, fromEnv := a.traced(c.Traces); on {
		if ob.tracing, err = a.startTracing(ctx, cfg, fromEnv, logger); err != nil {
			return nil, err
		}
	}
	return ob, nil
}

// begin says that a run begins whose plugins are about to be opened, and which monitor will show it. planned is that of a run
// that sends what a plan says. The run, with its plugins, is to use the context inside.
func (ob *observer) begin(ctx context.Context, monitor *job.Monitor, planned bool) (inside context.Context) {
	if ob == nil {
		return ctx
	}
	ob.monitor.Store(monitor)
	if ob.metrics != nil {
		ob.metrics.Begin(monitor, planned)
	}
	if ob.tracing != nil {
		ctx, ob.trace = ob.tracing.Run(ctx)
	}
	return ctx
}

// env is what a plugin is opened with.
func (ob *observer) env(env syncd.Env, p config.Plugin) syncd.Env {
	if ob != nil && ob.metrics != nil {
		env.Retried = ob.metrics.Retried(p.Name())
	}
	return env
}

// intoWork is into for a process's own work in a run that several share.
func (ob *observer) intoWork(o *engine.Options) {
	if ob != nil && ob.metrics != nil {
		o.Hooks.BatchDone = ob.metrics.BatchDone
	}
}

// into has the engine tell what is to be shown. The options must hold the run's id.
func (ob *observer) into(o *job.Options) {
	if ob == nil {
		return
	}
	if ob.metrics != nil {
		o.Hooks.BatchDone = ob.metrics.BatchDone
	}
	if ob.trace != nil {
		ob.trace.Named(o.RunID)
		o.Hooks.Tracer = ob.trace
	}
}

// ended says how the run ended that began last, and pushes that. err is what the command will return.
func (ob *observer) ended(ctx context.Context, report job.Report, err error) {
	if ob == nil {
		return
	}
	code := codeOf(err)
	ob.over(report, err, code)
	if ob.trace != nil {
		ob.trace.End(report.Total, code, err)
		ob.trace = nil
	}
	if ob.metrics == nil {
		return
	}
	ob.metrics.End(metrics.End{Report: report, Outcome: job.OutcomeOf(err), ExitCode: code})
	if ob.gateway == nil {
		return
	}
	if err := ob.metrics.Push(context.WithoutCancel(ctx), *ob.gateway); err != nil { // an interrupted run is to be seen as well
		ob.log.Warn(err.Error(), "hint", syncd.HintOf(err))
	}
}

// over shows on the page that a run has ended. A job that follows goes on under the same monitor.
func (ob *observer) over(report job.Report, err error, code int) {
	r := runreport.New(report)
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	r.End(job.OutcomeOf(err), code, problem, syncd.HintOf(err))
	ob.last.Store(&runpage.Last{RunID: r.RunID, Ended: time.Now(), Outcome: r.Outcome, Verdict: r.Verdict, Error: r.Problem(), Hint: r.Hint})
	ob.monitor.Store(nil)
}

// live is how the run under way stands, for the page.
func (ob *observer) live() (now runlog.Live, ok bool) {
	m := ob.monitor.Load()
	if m == nil {
		return now, false
	}
	return m.Live()
}

// follows has the streams shown that a job follows, each of which may be silent for so long.
func (ob *observer) follows(monitor *job.Monitor, silence time.Duration) {
	if ob == nil {
		return
	}
	ob.monitor.Store(monitor)
	if ob.metrics != nil {
		ob.metrics.Follow(monitor, silence)
	}
}

// reconciles counts that following was interrupted.
func (ob *observer) reconciles(cause job.Cause) {
	if ob != nil && ob.metrics != nil {
		ob.metrics.Reconciles(cause)
	}
}

// close stops serving, and sends what is left to be sent, within a few seconds.
func (ob *observer) close() {
	if ob == nil {
		return
	}
	if ob.tracing != nil {
		ob.tracing.Close()
	}
	if ob.server != nil {
		ob.server.Close()
	}
}

func gateway(c config.Push) (*metrics.Gateway, error) {
	roots, err := authorities("observe.push.ca_file", c.CAFile)
	if err != nil {
		return nil, err
	}
	return &metrics.Gateway{
		URL: c.URL, Job: c.Job, Instance: c.Instance, Username: c.Username, Password: c.Password.Reveal(), Header: header(c.Headers), Timeout: c.Timeout,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, // there is one push a run
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		},
	}, nil
}

// The variables of OpenTelemetry that turn traces on and off. All others are read by its libraries.
const (
	otelDisabled       = "OTEL_SDK_DISABLED"
	otelExporter       = "OTEL_TRACES_EXPORTER"
	otelEndpoint       = "OTEL_EXPORTER_OTLP_ENDPOINT"
	otelTracesEndpoint = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	otelProtocol       = "OTEL_EXPORTER_OTLP_PROTOCOL"
	otelTracesProtocol = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
)

// traced reports whether traces are on: by the setting, or else by OpenTelemetry's own variables.
func (a *app) traced(c config.Traces) (on, fromEnv bool) {
	switch exporter := a.env(otelExporter); {
	case strings.EqualFold(a.env(otelDisabled), "true"):
		return false, false
	case c.Endpoint != "":
		return true, false
	case exporter == "":
		return a.env(otelEndpoint) != "" || a.env(otelTracesEndpoint) != "", true
	default:
		return exporter == "otlp", true
	}
}

func (a *app) startTracing(ctx context.Context, cfg *config.Config, fromEnv bool, logger *slog.Logger) (*tracing.Tracing, error) {
	c := cfg.Observe.Traces
	roots, err := authorities("observe.traces.ca_file", c.CAFile)
	if err != nil {
		return nil, err
	}
	headers := map[string]string{}
	for name, value := range c.Headers {
		headers[name] = value.Reveal()
	}
	protocol := c.Protocol
	if fromEnv && protocol == "" {
		protocol = a.envProtocol()
	}
	return tracing.Start(ctx, tracing.Options{
		Endpoint: c.Endpoint, HTTP: protocol == config.TraceHTTP, Headers: headers, RootCAs: roots,
		SampleRatio: c.SampleRatio, Version: programVersion(), Job: cfg.Name, Logger: logger,
	})
}

// envProtocol is the protocol that OpenTelemetry's variables ask for, or that belongs to the port of its endpoint.
func (a *app) envProtocol() config.TraceProtocol {
	first := func(names ...string) string {
		for _, name := range names {
			if v := a.env(name); v != "" {
				return v
			}
		}
		return ""
	}
	protocol := first(otelTracesProtocol, otelProtocol)
	endpoint := strings.TrimRight(first(otelTracesEndpoint, otelEndpoint), "/")
	if strings.HasPrefix(protocol, "http") || protocol == "" && (strings.HasSuffix(endpoint, ":4318") || strings.HasSuffix(endpoint, ":4318/v1/traces")) {
		return config.TraceHTTP
	}
	return config.TraceGRPC
}

// authorities reads a file of certificates; without one the system's count, which nil stands for.
func authorities(setting, file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // the system's
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", setting, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, syncd.Hint(fmt.Errorf("reading %s: there is no certificate in %s", setting, file), "it must be a PEM file")
	}
	return pool, nil
}

func header(secrets map[string]spec.Secret) http.Header {
	h := http.Header{}
	for name, value := range secrets {
		h.Set(name, value.Reveal())
	}
	return h
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback())
}

// programVersion is the version as metrics and traces show it.
func programVersion() string {
	program, _ := built()
	return cmp.Or(program, "unknown")
}
