package tracing_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tracing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// collector receives what is exported.
type collector struct {
	v1.UnimplementedTraceServiceServer
	mu     sync.Mutex
	spans  []*trace.Span
	about  map[string]string // the resource
	tokens []string
}

func (c *collector) take(req *v1.ExportTraceServiceRequest, token []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens = append(c.tokens, token...)
	for _, r := range req.ResourceSpans {
		c.about = map[string]string{}
		for _, a := range r.Resource.Attributes {
			c.about[a.Key] = a.Value.GetStringValue()
		}
		for _, s := range r.ScopeSpans {
			c.spans = append(c.spans, s.Spans...)
		}
	}
}

// Export implements the gRPC service.
func (c *collector) Export(ctx context.Context, req *v1.ExportTraceServiceRequest) (*v1.ExportTraceServiceResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	c.take(req, md.Get("x-token"))
	return &v1.ExportTraceServiceResponse{}, nil
}

// ServeHTTP is the service over HTTP.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(r.Body)
	}
	data, err := io.ReadAll(body)
	req := new(v1.ExportTraceServiceRequest)
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(data, req) != nil {
		http.Error(w, "no", http.StatusBadRequest)
		return
	}
	c.take(req, r.Header.Values("X-Token"))
	answer, _ := proto.Marshal(&v1.ExportTraceServiceResponse{})
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(answer)
}

// serve starts the collector and returns its URL.
func (c *collector) serve(t *testing.T, overHTTP bool) string {
	if overHTTP {
		s := httptest.NewServer(c)
		t.Cleanup(s.Close)
		return s.URL
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	v1.RegisterTraceServiceServer(s, c)
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() { s.Stop(); serving.Wait() })
	return "http://" + l.Addr().String()
}

func (c *collector) named(name string) (out []*trace.Span) {
	for _, s := range c.spans {
		if s.Name == name {
			out = append(out, s)
		}
	}
	return out
}

func attributes(s *trace.Span) string {
	var out []string
	for _, a := range s.Attributes {
		v := a.Value.GetStringValue()
		if v == "" {
			v = fmt.Sprint(a.Value.GetIntValue())
		}
		out = append(out, strings.TrimPrefix(a.Key, "syncd.")+"="+v)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// options are of a run over 30 documents, of which 20 are to be sent.
func options(t *testing.T) job.Options {
	sides := fixture.New()
	sides.Insert("page", 30, func(i int) bool { return i%3 == 0 })
	return job.Options{Options: engine.Options{
		RunID: "run-1", Source: sides.Source, Checker: sides.Checker, Sink: syncdtest.NewMemorySink(), Rules: fixture.Rules(t, "page"),
		Readers: 1, Workers: 1, BatchSize: 10, BatchBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler),
	}}
}

// traced runs once with traces.
func traced(t *testing.T, o tracing.Options, run job.Options) {
	t.Helper()
	tr, err := tracing.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	ctx, r := tr.Run(t.Context())
	r.Named(run.RunID)
	run.Hooks.Tracer = r
	report, err := job.Run(ctx, run)
	code := 0
	if err != nil {
		code = 1
	}
	r.End(report.Total, code, err)
}

func TestTraces(t *testing.T) {
	for _, overHTTP := range []bool{false, true} {
		t.Run(fmt.Sprintf("http=%v", overHTTP), func(t *testing.T) {
			c := &collector{}
			traced(t, tracing.Options{
				Endpoint: c.serve(t, overHTTP), HTTP: overHTTP, Headers: map[string]string{"x-token": "secret"}, SampleRatio: 1, Version: "v1.2.3",
				Job: "pages", Logger: slog.New(slog.DiscardHandler),
			}, options(t))
			if c.about["service.name"] != "syncd" || c.about["service.version"] != "v1.2.3" || !slices.Contains(c.tokens, "secret") {
				t.Errorf("resource %v, tokens %v", c.about, c.tokens)
			}
			for _, s := range c.spans {
				if !strings.Contains(attributes(s), "job=pages") {
					t.Errorf("the span %s does not tell its job: %s", s.Name, attributes(s))
				}
			}
			runs, batches := c.named("run"), c.named("batch")
			if len(runs) != 1 || len(batches) != 3 {
				t.Fatalf("%d runs, %d batches among %d spans", len(runs), len(batches), len(c.spans))
			}
			if got, want := attributes(runs[0]), "documents=30 events=20 exit_code=0 job=pages run_id=run-1"; got != want {
				t.Errorf("run: %s, want %s", got, want)
			}
			sent := 0
			for _, b := range batches {
				var n, e int
				if _, err := fmt.Sscanf(attributes(b), "collection=page documents=%d events=%d job=pages run_id=run-1 split=0", &n, &e); err != nil || n != 10 {
					t.Errorf("batch: %s: %v", attributes(b), err)
				}
				sent += e
				if len(b.ParentSpanId) > 0 || len(b.Links) != 1 || !bytes.Equal(b.Links[0].TraceId, runs[0].TraceId) {
					t.Errorf("batch: parent %x, links %v", b.ParentSpanId, b.Links)
				}
				stages := map[string]int{}
				for _, s := range c.spans {
					if !bytes.Equal(s.TraceId, b.TraceId) || s == b {
						continue
					}
					stages[s.Name]++
					if !bytes.Equal(s.ParentSpanId, b.SpanId) || s.StartTimeUnixNano < b.StartTimeUnixNano || s.EndTimeUnixNano > b.EndTimeUnixNano {
						t.Errorf("%s is not inside its batch", s.Name)
					}
				}
				if stages["scan"] != 1 || stages["check"] != 1 || stages["write"] != 1 || stages["fetch"] > 1 {
					t.Errorf("stages %v", stages)
				}
			}
			if sent != 20 {
				t.Errorf("%d events", sent)
			}
		})
	}
}

func TestFailureIsRecorded(t *testing.T) {
	c := &collector{}
	run := options(t)
	cause := errors.New("the broker is gone \xff" + strings.Repeat("x", 2000))
	run.Sink = syncdtest.FaultySink(syncdtest.NewMemorySink(), syncdtest.SinkFaults{Write: syncdtest.Always(syncdtest.Fault{Err: cause})})
	traced(t, tracing.Options{Endpoint: c.serve(t, false), SampleRatio: 1, Logger: slog.New(slog.DiscardHandler)}, run)
	for _, name := range []string{"write", "batch", "run"} {
		failed := slices.ContainsFunc(c.named(name), func(s *trace.Span) bool {
			return s.Status.GetCode() == trace.Status_STATUS_CODE_ERROR && strings.Contains(s.Status.Message, "the broker is gone ?x") && len(s.Status.Message) <= 1024
		})
		if !failed {
			t.Errorf("no failed %s among %v", name, c.named(name))
		}
	}
}

func TestSampling(t *testing.T) {
	c := &collector{}
	traced(t, tracing.Options{Endpoint: c.serve(t, false), SampleRatio: 0, Logger: slog.New(slog.DiscardHandler)}, options(t))
	if len(c.spans) != 1 || c.spans[0].Name != "run" || strings.Contains(attributes(c.spans[0]), "job=") { // of no job
		t.Errorf("spans %v", c.spans)
	}
}

// A collector that is away, or never answers, neither fails the run nor holds up its end for long, and is said once.
func TestNoCollector(t *testing.T) {
	for _, overHTTP := range []bool{false, true} {
		t.Run(fmt.Sprintf("http=%v", overHTTP), func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close() // it never accepts
			var log bytes.Buffer
			began := time.Now()
			traced(t, tracing.Options{
				Endpoint: "http://" + l.Addr().String(), HTTP: overHTTP, Headers: map[string]string{"x-token": "hunter2"}, SampleRatio: 1,
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
			}, options(t))
			if d := time.Since(began); d > 20*time.Second {
				t.Errorf("it took %s", d)
			}
			if text := log.String(); strings.Count(text, "traces can't be sent") != 1 || strings.Contains(text, "hunter2") || !strings.Contains(text, "spans of traces could not be sent") {
				t.Errorf("log:\n%s", text)
			}
		})
	}
}
