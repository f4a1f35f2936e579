// Package tracing sends traces of runs and their batches to a collector, by OTLP.
//
// Each batch that is traced is a trace of its own: a span of the batch, with the stages scan, check, fetch and write inside it.
// The run is a trace too, to which every batch has a link. One trace for all would have millions of spans, which no collector
// takes; and so a share of the batches can be traced.
//
// Invariants:
//   - traces never hold up or fail a run: what can't be sent in time is dropped, which is logged once;
//   - there is no global state: the package sets no default provider and no error handler of OpenTelemetry.
package tracing

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/tally"
)

const (
	service      = "syncd"
	flushTimeout = 5 * time.Second // for what is left when the program ends
	maxQueue     = 8192            // spans
	maxErrorText = 1024            // bytes
	tracesPath   = "/v1/traces"
)

// Options are how traces are made and sent. What is not set is taken from OpenTelemetry's environment variables, which are
// read from the process's environment, else its defaults.
type Options struct {
	Endpoint    string // the collector's URL; "" leaves it to OTEL_EXPORTER_OTLP_ENDPOINT
	HTTP        bool   // over HTTP rather than gRPC
	Headers     map[string]string
	RootCAs     *x509.CertPool // nil: the system's
	SampleRatio float64        // of the batches
	Version     string         // of syncd
	Job         string         // whose traces they are; "" is not said
	Logger      *slog.Logger
}

// Tracing makes traces and sends them until Close. It is safe for concurrent use.
type Tracing struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	ratio    float64
	job      []attribute.KeyValue // on every span
	exporter *exporter
}

// Start begins to send. It does not wait for the collector, which may be away.
func Start(ctx context.Context, o Options) (*Tracing, error) {
	client, err := o.client()
	if err != nil {
		return nil, err
	}
	otlp, err := otlptrace.New(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("preparing to send traces: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", service), attribute.String("service.version", o.Version)),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv())
	if err != nil && about == nil {
		return nil, errors.Join(fmt.Errorf("preparing to send traces: %w", err), otlp.Shutdown(ctx))
	}
	e := &exporter{to: otlp, log: o.Logger}
	e.given, e.giveUp = context.WithCancel(context.Background()) // outlives the caller's: what is left is sent at the end
	provider := sdk.NewTracerProvider(
		sdk.WithSampler(sdk.AlwaysSample()), sdk.WithResource(about),
		sdk.WithSpanProcessor(sdk.NewBatchSpanProcessor(e, sdk.WithMaxQueueSize(maxQueue))),
	)
	t := &Tracing{provider: provider, tracer: provider.Tracer("github.com/syncd-io/syncd"), ratio: o.SampleRatio, exporter: e}
	if o.Job != "" {
		t.job = []attribute.KeyValue{keyJob.String(strings.ToValidUTF8(o.Job, "?"))}
	}
	return t, nil
}

func (o Options) client() (otlptrace.Client, error) {
	endpoint := o.Endpoint
	if endpoint != "" && o.HTTP {
		u, err := url.Parse(endpoint)
		if err != nil {
			return nil, fmt.Errorf("preparing to send traces: %w", err)
		}
		if strings.Trim(u.Path, "/") == "" {
			u.Path = tracesPath
		}
		endpoint = u.String()
	}
	secure := &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12}
	if o.HTTP {
		var opts []otlptracehttp.Option
		if endpoint != "" {
			opts = append(opts, otlptracehttp.WithEndpointURL(endpoint))
		}
		if o.RootCAs != nil {
			opts = append(opts, otlptracehttp.WithTLSClientConfig(secure))
		}
		if len(o.Headers) > 0 {
			opts = append(opts, otlptracehttp.WithHeaders(o.Headers))
		}
		return otlptracehttp.NewClient(opts...), nil
	}
	var opts []otlptracegrpc.Option
	if endpoint != "" {
		opts = append(opts, otlptracegrpc.WithEndpointURL(endpoint))
	}
	if o.RootCAs != nil && !strings.HasPrefix(endpoint, "http://") {
		opts = append(opts, otlptracegrpc.WithTLSCredentials(credentials.NewTLS(secure)))
	}
	if len(o.Headers) > 0 {
		opts = append(opts, otlptracegrpc.WithHeaders(o.Headers))
	}
	return otlptracegrpc.NewClient(opts...), nil
}

// Close sends what is left, for no longer than a few seconds, and leaves no goroutine behind.
func (t *Tracing) Close() {
	late := time.AfterFunc(flushTimeout, t.exporter.giveUp)
	defer late.Stop()
	_ = t.provider.Shutdown(context.Background()) // what could not be sent is counted by the exporter
	t.exporter.giveUp()
	t.exporter.sum()
}

var _ engine.Tracer = (*Run)(nil)

// Run is the trace of a run. It implements engine.Tracer.
type Run struct {
	*Tracing
	span trace.Span
	link trace.Link

	mu sync.Mutex
	id attribute.KeyValue
}

// The attributes.
const (
	keyJob         = attribute.Key("syncd.job")
	keyRun         = attribute.Key("syncd.run_id")
	keyCollection  = attribute.Key("syncd.collection")
	keySplit       = attribute.Key("syncd.split")
	keyDocuments   = attribute.Key("syncd.documents")
	keyEvents      = attribute.Key("syncd.events")
	keyInterrupted = attribute.Key("syncd.interrupted")
	keyExitCode    = attribute.Key("syncd.exit_code")
)

// Run begins a run's trace. What is done with the context inside belongs to it. End must be called.
func (t *Tracing) Run(ctx context.Context) (inside context.Context, r *Run) {
	ctx, span := t.tracer.Start(ctx, "run", trace.WithNewRoot(), trace.WithAttributes(t.job...)) //nolint:spancheck // End ends it
	return ctx, &Run{                                                                            //nolint:spancheck // as above
		Tracing: t, span: span, link: trace.Link{SpanContext: span.SpanContext()}, id: keyRun.String(""),
	}
}

// Named tells the run's id, as soon as it has one.
func (r *Run) Named(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.id = keyRun.String(id)
	r.span.SetAttributes(r.id)
}

// End ends the run's trace.
func (r *Run) End(total tally.Counts, exitCode int, err error) {
	r.span.SetAttributes(keyDocuments.Int64(total.Scanned), keyEvents.Int64(total.Emitted), keyExitCode.Int(exitCode))
	fail(r.span, err)
	r.span.End()
}

func (r *Run) name() attribute.KeyValue {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.id
}

// batch is a batch's way. It belongs to one worker, as the batch does.
type batch struct {
	span   trace.Span // nil: the batch is not traced
	events int
}

type batchKey struct{}

func nothing(error) {}

// Batch implements engine.Tracer.
func (r *Run) Batch(ctx context.Context, b engine.BatchInfo) (inside context.Context, end func(error)) {
	if r.ratio < 1 && rand.Float64() >= r.ratio { //nolint:gosec // which batches are traced is no secret
		return context.WithValue(ctx, batchKey{}, &batch{}), nothing
	}
	ctx, span := r.tracer.Start(ctx, "batch", trace.WithNewRoot(), trace.WithLinks(r.link), trace.WithTimestamp(b.Read), trace.WithAttributes(r.job...), trace.WithAttributes(
		r.name(), keyCollection.String(b.Collection), keySplit.Int(b.Split), keyDocuments.Int(b.Documents)))
	_, scan := r.tracer.Start(ctx, engine.StageScan.String(), trace.WithTimestamp(b.Read), trace.WithAttributes(r.job...),
		trace.WithAttributes(keyDocuments.Int(b.Documents)))
	scan.End(trace.WithTimestamp(b.Read.Add(b.ReadTime)))
	way := &batch{span: span}
	return context.WithValue(ctx, batchKey{}, way), func(err error) {
		span.SetAttributes(keyEvents.Int(way.events))
		fail(span, err)
		span.End()
	}
}

// Stage implements engine.Tracer.
func (r *Run) Stage(ctx context.Context, s engine.Stage, documents int) (inside context.Context, end func(error)) {
	way, _ := ctx.Value(batchKey{}).(*batch)
	if way != nil && way.span == nil {
		return ctx, nothing
	}
	ctx, span := r.tracer.Start(ctx, s.String(), trace.WithAttributes(r.job...), trace.WithAttributes(keyDocuments.Int(documents))) //nolint:spancheck // what is returned ends it
	return ctx, func(err error) {                                                                                                   //nolint:spancheck // as above
		if way != nil && s == engine.StageWrite && err == nil {
			way.events += documents
		}
		fail(span, err)
		span.End()
	}
}

// fail notes why something failed. The errors of plugins hold no secrets.
func fail(span trace.Span, err error) {
	switch {
	case err == nil:
	case errors.Is(err, context.Canceled):
		span.SetAttributes(keyInterrupted.Bool(true))
	default:
		text := err.Error()
		text = strings.ToValidUTF8(text[:min(len(text), maxErrorText)], "?") // a trace that is no UTF-8 could not be sent
		span.SetStatus(codes.Error, text)
	}
}

// exporter sends spans, and says what became of them in syncd's own log.
type exporter struct {
	to     sdk.SpanExporter
	log    *slog.Logger
	given  context.Context //nolint:containedctx // ends when nothing is to be waited for any more, whatever the caller's does
	giveUp context.CancelFunc

	mu   sync.Mutex
	lost int // spans
}

// ExportSpans implements trace.SpanExporter. It returns no error: there is nobody but the log to tell.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.given, cancel)()
	err := e.to.ExportSpans(ctx, spans)
	if err == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lost == 0 {
		e.log.Warn("traces can't be sent: "+reason(err),
			"hint", "see that observe.traces.endpoint and protocol are the collector's; the run goes on without")
	}
	e.lost += len(spans)
	return nil
}

// reason is what went wrong, without the words of gRPC about it and without the exporter's giving up.
func reason(err error) string {
	if s, ok := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err); ok {
		return s.GRPCStatus().Message()
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return "the collector did not answer in time"
	}
	return err.Error()
}

// Shutdown implements trace.SpanExporter.
func (e *exporter) Shutdown(ctx context.Context) error { return e.to.Shutdown(ctx) }

// sum says how much was lost.
func (e *exporter) sum() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lost > 0 {
		e.log.Warn(fmt.Sprintf("%d spans of traces could not be sent", e.lost))
	}
}
