package server_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func fine() error { return nil }

func start(t *testing.T, change func(*server.Options)) *server.Server {
	t.Helper()
	o := server.Options{
		Listen: "127.0.0.1:0", Healthy: fine, Ready: fine, Logger: slog.New(slog.DiscardHandler),
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "syncd_up 1\n") }),
	}
	if change != nil {
		change(&o)
	}
	s, err := server.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func get(t *testing.T, method, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestPages(t *testing.T) {
	var sick atomic.Bool
	s := start(t, func(o *server.Options) {
		o.Healthy = func() error {
			if sick.Load() {
				return errors.New("the run has not moved for 2m0s")
			}
			return nil
		}
		o.Ready = func() error { return errors.New("connecting") }
	})
	base := "http://" + s.Address()
	for _, c := range []struct {
		method, path string
		code         int
		body         string
	}{
		{"GET", "/metrics", 200, "syncd_up 1\n"}, {"GET", "/healthz", 200, "ok\n"}, {"HEAD", "/healthz", 200, ""},
		{"GET", "/readyz", 503, "connecting\n"}, {"POST", "/metrics", 405, "Method Not Allowed\n"},
		{"GET", "/debug/pprof/", 404, "404 page not found\n"}, {"GET", "/no", 404, "404 page not found\n"},
	} {
		if code, body := get(t, c.method, base+c.path); code != c.code || body != c.body {
			t.Errorf("%s %s: %d %q", c.method, c.path, code, body)
		}
	}
	if code, body := get(t, "GET", base+"/"); code != 404 {
		t.Errorf("what nobody takes: %d %q", code, body)
	}
	sick.Store(true)
	if code, body := get(t, "GET", base+"/healthz"); code != 503 || body != "the run has not moved for 2m0s\n" {
		t.Errorf("stalled: %d %q", code, body)
	}
}

func TestPprof(t *testing.T) {
	s := start(t, func(o *server.Options) { o.Pprof = true })
	if code, body := get(t, "GET", "http://"+s.Address()+"/debug/pprof/goroutine?debug=1"); code != 200 || !strings.Contains(body, "goroutine profile") {
		t.Errorf("%d %q", code, body)
	}
}

func TestPortInUse(t *testing.T) {
	s := start(t, nil)
	_, err := server.Start(t.Context(), server.Options{Listen: s.Address(), Purpose: "the service", Setting: "--listen", Logger: slog.New(slog.DiscardHandler)})
	if err == nil || err.Error() != "can't listen on "+s.Address()+" for the service: bind: address already in use" || syncd.HintOf(err) != "another program listens there, or another syncd; choose another port with --listen" {
		t.Errorf("%v (%s)", err, syncd.HintOf(err))
	}
}

// Close ends requests that would go on for long, and the server outlives the context that it was started with.
func TestClose(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	arrived, ended := make(chan struct{}), make(chan struct{})
	s, err := server.Start(ctx, server.Options{
		Listen: "127.0.0.1:0", Healthy: fine, Ready: fine, Logger: slog.New(slog.DiscardHandler),
		Metrics: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(arrived)
			<-r.Context().Done()
			close(ended)
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if code, _ := get(t, "GET", "http://"+s.Address()+"/healthz"); code != 200 {
		t.Error(code)
	}
	var asking sync.WaitGroup
	asking.Go(func() {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		if resp, err := client.Get("http://" + s.Address() + "/metrics"); err == nil {
			resp.Body.Close()
		}
	})
	<-arrived
	began := time.Now()
	s.Close()
	<-ended
	asking.Wait()
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("it took %s", d)
	}
}
