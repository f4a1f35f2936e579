package cli

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/metrics"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/syncdtest"
)

// TestJobsAreToldApart runs two jobs in one service: what is traced, logged and counted of each has its name and not the other's.
func TestJobsAreToldApart(t *testing.T) {
	var mu sync.Mutex
	var traces []string
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		traces = append(traces, string(body))
	}))
	defer collector.Close()
	names := []string{"pages", "notes"}
	dir, w := t.TempDir(), newWorld()
	w.source.Insert("page", syncdtest.MemoryDoc{ID: "a"})
	registry, err := syncd.NewRegistry(w.source.Plugin("memory"),
		syncd.NewChecker("memory", "Asks.", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Checker, error) { return w.checker, nil }),
		syncd.NewSink("memory", "Keeps.", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Sink, error) { return syncdtest.NewMemorySink(), nil }))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		write(t, dir, name+".yaml", worldConfig+"observe: {traces: {endpoint: \""+collector.URL+"\", protocol: http, sample_ratio: 1}}\n"+
			"run: {state_dir: \""+filepath.Join(dir, "state")+"\"}\n")
	}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := &hosted{app: newApp(program{stderr: io.Discard}, registry)}
	h, err := host.New(host.Options{
		Paths: []string{dir}, StateDir: filepath.Join(dir, "state"), StopTimeout: time.Minute, Logger: logger, Run: s.run,
		Load: func(path string) config.Result { return config.Check(config.Input{Path: path, Registry: registry}) },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.metrics = metrics.NewService("v1", func() (states []metrics.JobState) {
		for _, j := range h.Jobs() {
			states = append(states, metrics.JobState{Job: j.Name, State: string(j.State)})
		}
		return states
	})
	stop, served := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(served)
		_ = h.Serve(context.Background(), stop)
	}()
	for _, name := range names {
		for {
			changed := h.Changed()
			if now, err := h.Job(name); err == nil && now.State == host.Done {
				break
			} else if err == nil && !now.Healthy() {
				t.Fatalf("%s is %s: %s", name, now.State, now.Reason)
			}
			<-changed
		}
	}
	scrape := httptest.NewRecorder()
	s.metrics.Handler(logger).ServeHTTP(scrape, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	close(stop)
	<-served

	for i, name := range names {
		other := names[1-i]
		for _, want := range []string{
			`syncd_job_state{state="done",syncd_job="` + name + `"} 1`, `syncd_runs_total{outcome="complete",syncd_job="` + name + `"} 1`,
			`syncd_build_info{syncd_job="` + name + `",version="v1"} 1`,
		} {
			if !strings.Contains(scrape.Body.String(), want) {
				t.Errorf("a scrape does not show %s:\n%s", want, scrape.Body)
			}
		}
		if !strings.Contains(log.String(), " job="+name+" ") {
			t.Errorf("no line of the log is of %s:\n%s", name, &log)
		}
		traced := false
		for _, body := range traces { // one for each job's tracing
			if spans := strings.Count(body, "syncd.documents"); strings.Contains(body, name) {
				traced = true
				if spans < 3 || strings.Count(body, "syncd.job") != spans || strings.Count(body, name) < spans || strings.Contains(body, other) {
					t.Errorf("spans of %s that don't tell so: %q", name, body)
				}
			}
		}
		if !traced {
			t.Errorf("no traces of %s", name)
		}
	}
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, " run=") && !strings.Contains(line, " job=") {
			t.Errorf("a run's line without its job: %s", line)
		}
	}
}

// TestReachable: others are told the name of the machine where the service listens at all of its addresses.
func TestReachable(t *testing.T) {
	for listens, want := range map[string]string{
		"127.0.0.1:8083": "127.0.0.1:8083", "10.1.2.3:80": "10.1.2.3:80", "[::1]:8083": "[::1]:8083", "node-1:8083": "node-1:8083",
		"0.0.0.0:8083": store.Host() + ":8083", "[::]:8083": store.Host() + ":8083", ":8083": store.Host() + ":8083",
	} {
		if got := reachable(listens); got != want {
			t.Errorf("%s is reachable at %s, not %s", listens, got, want)
		}
	}
}
