package connect_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/server/connect"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines configures a source in memory that can be followed, as a file to which lines are added.
type lines struct {
	File     string      `yaml:"file" doc:"Source filename."`
	Password spec.Secret `yaml:"password" doc:"What nobody may see."`
	Pages    int         `yaml:"pages" rule:"omitempty,min=1" doc:"How many."`
}

// topic configures a sink in memory.
type topic struct {
	Topic string `yaml:"topic" rule:"required" doc:"The topic to publish data to."`
}

func (c *topic) Route(syncd.Target) string { return c.Topic }

// exact configures a sink that keeps positions in transactions.
type exact struct{ topic }

func (*exact) Transactional() bool { return true }

// world is a service of jobs in memory.
type world struct {
	t      *testing.T
	dir    string // of the jobs' files
	state  string
	source *syncdtest.MemorySource
	broken chan error    // what the next run ends with
	hangs  chan struct{} // not nil: runs do not end before it is closed
	host   *host.Host
	levels *connect.Levels
	server *httptest.Server
}

// open starts a service of the files; with writable it may change them.
func open(t *testing.T, writable bool, files map[string]string, environ ...string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), state: t.TempDir(), source: syncdtest.NewMemorySource(), broken: make(chan error, 1), levels: connect.NewLevels(slog.LevelInfo)}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.source.Record()
	w.source.Insert("lines", syncdtest.MemoryDoc{ID: "1"}, syncdtest.MemoryDoc{ID: "2"})
	registry := w.registry()
	logger := slog.New(w.levels.Handler(slog.DiscardHandler))
	var err error
	w.host, err = host.New(host.Options{
		Paths: []string{w.dir}, StateDir: w.state, StopTimeout: 10 * time.Second, Logger: logger,
		Load: func(path string) config.Result {
			return config.Check(config.Input{Path: path, Environ: environ, Registry: registry})
		},
		Run: func(ctx context.Context, r host.Run) (job.Result, error) {
			select {
			case err := <-w.broken:
				return job.Result{}, err
			default:
			}
			if w.hangs != nil {
				<-w.hangs
			}
			j := &job.Job{Config: r.Config, Logger: r.Logger, Getenv: func(string) string { return "" }, Drain: r.Drain, Revision: r.Revision}
			j.Config.Run.StateDir = w.state
			return j.Backfill(ctx, job.Request{Fresh: r.Fresh, Plan: r.Plan, Monitor: r.Monitor, Again: r.Again})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- w.host.Serve(context.Background(), stop) }()
	w.server = httptest.NewServer(connect.New(connect.Options{
		Host: w.host, Registry: registry, Environ: environ, StateDir: func(*config.Config) string { return w.state }, Levels: w.levels,
		Writable: writable, Version: "0.0.0", Page: "/ui/", Logger: logger,
		CanOperate: func(r *http.Request) bool { return r.URL.Query().Get("as") != "reader" },
	}))
	t.Cleanup(func() {
		w.server.Close()
		close(stop)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	w.until("the files are read", w.host.Ready)
	return w
}

func (w *world) registry() *syncd.Registry {
	sink := syncdtest.NewMemorySink()
	r, err := syncd.NewRegistry(
		syncd.NewSource("fileStream", "Lines.", lines{File: "in.txt"}, func(context.Context, lines, syncd.Env) (syncd.Source, error) { return w.source, nil }).
			WithVersion("1", syncd.Stable),
		syncd.NewSource("other", "Others.", lines{File: "in.txt"}, func(context.Context, lines, syncd.Env) (syncd.Source, error) { return w.source, nil }),
		syncd.NewSink("fileStream", "Events.", topic{}, func(context.Context, topic, syncd.Env) (syncd.Sink, error) { return sink, nil }),
		syncd.NewSink("exact", "Events, once.", exact{}, func(context.Context, exact, syncd.Env) (syncd.Sink, error) { return sink, nil }),
		syncd.NewChecker("none", "Nothing.", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Checker, error) {
			return syncdtest.NewMemoryChecker(), nil
		}),
	)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// until waits for something to become true.
func (w *world) until(what string, f func() bool) {
	w.t.Helper()
	limit := time.After(30 * time.Second)
	for !f() {
		changed := w.host.Changed()
		select {
		case <-changed:
		case <-time.After(5 * time.Millisecond): // not all that is waited for is told
		case <-limit:
			w.t.Fatalf("waited in vain until %s; jobs: %+v", what, w.host.Jobs())
		}
	}
}

// settled waits until all jobs do what is wanted of them: those that run follow.
func (w *world) settled() {
	w.t.Helper()
	w.until("all jobs are settled", func() bool {
		for _, j := range w.host.Jobs() {
			switch j.Wish.Desired {
			case host.WantPaused:
				if j.State != host.Paused {
					return false
				}
			case host.WantStopped:
				if j.State != host.Stopped {
					return false
				}
			case host.WantRunning:
				if j.Follows && j.State != host.Invalid && (j.Live == nil || j.Live.Phase != job.PhaseFollow.String()) {
					return false
				}
				if !j.Follows && j.State != host.Done && j.State != host.Failed && j.State != host.Invalid && j.State != host.Retrying {
					return false
				}
			}
		}
		return true
	})
}

// response is an answer that was read.
type response struct {
	code   int
	header http.Header
	text   string
}

func (w *world) do(method, path, body string, headers ...string) response {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return response{resp.StatusCode, resp.Header, strings.TrimSuffix(string(text), "\n")}
}

// get asks for JSON.
func (w *world) get(path string, into any) {
	w.t.Helper()
	r := w.do("GET", path, "")
	if r.code != http.StatusOK {
		w.t.Fatalf("GET %s: %d %s", path, r.code, r.text)
	}
	if err := json.Unmarshal([]byte(r.text), into); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) file(name string) string {
	text, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

func newServer(t *testing.T, h http.Handler) *httptest.Server {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}
