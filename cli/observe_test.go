package cli

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
)

func observed(c config.Observe) *config.Config {
	p := config.Plugin{Plugin: syncdtest.NewMemorySource().Plugin("memory"), Settings: &struct{}{}}
	return &config.Config{Name: "pages", Source: p, Checker: p, Sink: p, Mapping: &mapping.Mapping{}, Files: []string{"pages.yaml"}, Observe: c}
}

// What is off is not there.
func TestObserveNothing(t *testing.T) {
	a := &app{}
	ob, err := a.observe(t.Context(), observed(config.Observe{}), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, ob := range []*observer{ob, nil} {
		var o job.Options
		ctx := ob.begin(t.Context(), new(job.Monitor), false)
		ob.into(&o)
		env := ob.env(syncd.Env{}, config.Plugin{})
		if ctx != t.Context() || o.Hooks.BatchDone != nil || o.Hooks.Tracer != nil || env.Retried != nil {
			t.Errorf("%v: %+v, %+v", ob, o, env)
		}
		ob.ended(ctx, job.Report{}, nil)
		ob.close()
	}
}

func TestObserveServesAndPushes(t *testing.T) {
	var pushed, path, user, token string
	gateway := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		name, password, _ := r.BasicAuth()
		pushed, path, user, token = string(body), r.Method+" "+r.URL.Path, name+":"+password, r.Header.Get("X-Token")
	}))
	defer gateway.Close()
	cfg := observed(config.Observe{
		HTTP: config.HTTP{Listen: "127.0.0.1:0"},
		Push: config.Push{
			URL: gateway.URL, Job: "nightly", Instance: "here", Username: "me", Password: "hunter2",
			Headers: map[string]spec.Secret{"x-token": "t0ken"}, Timeout: 5 * time.Second,
		},
	})
	var log bytes.Buffer
	a := &app{}
	ob, err := a.observe(t.Context(), cfg, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer ob.close()
	get := func(page string) (int, string) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+ob.server.Address()+page, nil)
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	if code, _ := get("/readyz"); code != http.StatusOK {
		t.Errorf("idle: %d", code)
	}
	if code, body := get("/"); code != http.StatusOK || !strings.Contains(body, "<h1>pages</h1>") || !strings.Contains(body, ">starting<") || !strings.Contains(body, "pages.yaml") {
		t.Errorf("the page: %d %s", code, body)
	}
	ctx := ob.begin(t.Context(), new(job.Monitor), false)
	if code, body := get("/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("connecting: %d %s", code, body)
	}
	source := syncdtest.NewMemorySource().Plugin("memory")
	ob.env(syncd.Env{}, config.Plugin{Plugin: source}).Retried("unavailable")
	ctx, cancel := context.WithCancel(ctx)
	cancel() // an interrupted run is pushed as well
	ob.ended(ctx, job.Report{}, &codeError{exitTerminated, job.ErrInterrupted})
	if _, body := get("/"); !strings.Contains(body, ">between runs<") || !strings.Contains(body, "Interrupted") || strings.Contains(body, "hunter2") {
		t.Errorf("the page: %s", body)
	}
	if path != "POST /metrics/job/nightly/instance/here" || user != "me:hunter2" || token != "t0ken" {
		t.Errorf("pushed to %s as %s with %s", path, user, token)
	}
	if !strings.Contains(pushed, "syncd_last_run_exit_code") || strings.Contains(pushed, "go_goroutines") {
		t.Errorf("pushed %q", pushed)
	}
	if _, body := get("/metrics"); !strings.Contains(body, `syncd_retries_total{plugin="memory",reason="unavailable"} 1`) ||
		!strings.Contains(body, `syncd_runs_total{outcome="interrupted"} 1`) || !strings.Contains(body, "go_goroutines") {
		t.Errorf("metrics:\n%s", body)
	}
	if strings.Contains(log.String(), "level=WARN") {
		t.Errorf("log: %s", log.String())
	}
}

// A gateway that is away or refuses is a warning without secrets.
func TestObserveCannotPush(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "go away", http.StatusForbidden) }))
	defer refuses.Close()
	for url, want := range map[string]string{closed.URL: "connection refused", refuses.URL: "go away"} {
		var log bytes.Buffer
		a := &app{}
		ob, err := a.observe(t.Context(), observed(config.Observe{Push: config.Push{
			URL: url, Job: "j", Username: "me", Password: "hunter2", Headers: map[string]spec.Secret{"x-token": "t0ken"}, Timeout: 5 * time.Second,
		}}), slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ob.begin(t.Context(), new(job.Monitor), false)
		ob.ended(t.Context(), job.Report{}, nil)
		ob.close()
		text := log.String()
		if !strings.Contains(text, want) || !strings.Contains(text, "hint=") || strings.Contains(text, "hunter2") || strings.Contains(text, "t0ken") || strings.Count(text, "level=WARN") != 1 {
			t.Errorf("log: %s", text)
		}
	}
}

func TestObserveErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	noPEM := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(noPEM, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		observe config.Observe
		want    string
	}{
		"port in use": {config.Observe{HTTP: config.HTTP{Listen: l.Addr().String()}}, "address already in use"},
		"no CA":       {config.Observe{Push: config.Push{URL: "https://gateway", CAFile: noPEM + "x"}}, "reading observe.push.ca_file: "},
		"no PEM":      {config.Observe{Traces: config.Traces{Endpoint: "https://collector", CAFile: noPEM}}, "reading observe.traces.ca_file: there is no certificate"},
	} {
		if _, err := (&app{}).observe(t.Context(), observed(c.observe), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhetherTraced(t *testing.T) {
	for _, c := range []struct {
		environ      []string
		endpoint     string
		on, fromEnv  bool
		fromProtocol config.TraceProtocol
	}{
		{nil, "", false, true, config.TraceGRPC},
		{nil, "http://c:4317", true, false, config.TraceGRPC},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318"}, "", true, true, config.TraceHTTP},
		{[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://c:4318/v1/traces"}, "", true, true, config.TraceHTTP},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, "", true, true, config.TraceGRPC},
		{[]string{"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf"}, "", true, true, config.TraceHTTP},
		{[]string{"OTEL_TRACES_EXPORTER=none", "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317"}, "", false, true, config.TraceGRPC},
		{[]string{"OTEL_TRACES_EXPORTER=none"}, "http://c:4317", true, false, config.TraceGRPC},
		{[]string{"OTEL_SDK_DISABLED=true"}, "http://c:4317", false, false, config.TraceGRPC},
	} {
		a := &app{program: program{environ: c.environ}}
		on, fromEnv := a.traced(config.Traces{Endpoint: c.endpoint})
		if on != c.on || fromEnv != c.fromEnv || a.envProtocol() != c.fromProtocol {
			t.Errorf("%v, %q: %v %v %s", c.environ, c.endpoint, on, fromEnv, a.envProtocol())
		}
	}
}
