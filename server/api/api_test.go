package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.uber.org/goleak"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	filesource "github.com/syncd-io/syncd/connectors/file"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/server/api"
	filesink "github.com/syncd-io/syncd/sinks/file"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const jobText = "source: {memory: {}}\nchecker: {memory: {}}\nsink: {memory: {}}\n" +
	"mapping: {version: {field: updatedAt, payload: updatedAt}, owner: {exclusive: true}, collections: {page: page}}\nrun: {wait_timeout: 0s}\n"

// service is a host of jobs over memory plugins, and the interface to it.
type service struct {
	t        *testing.T
	jobs     string // the folder of files
	runs     string // of records
	source   *syncdtest.MemorySource
	checker  *syncdtest.MemoryChecker
	sink     *syncdtest.MemorySink
	opens    func(context.Context) error                         // before a source is open; may be nil
	run      func(context.Context, host.Run) (job.Result, error) // what a run does; nil is the run
	host     *host.Host
	api      *api.API
	document *document
	log      syncedBuffer
	end      func()
}

// syncedBuffer is a log.
type syncedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncedBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncedBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// newService prepares a service with the given files; serve begins it.
func newService(t *testing.T, files map[string]string) *service {
	t.Helper()
	dir := t.TempDir()
	s := &service{
		t: t, jobs: filepath.Join(dir, "jobs"), runs: filepath.Join(dir, "state"),
		source: syncdtest.NewMemorySource(), checker: syncdtest.NewMemoryChecker(), sink: syncdtest.NewMemorySink(),
	}
	if err := os.Mkdir(s.jobs, 0o700); err != nil {
		t.Fatal(err)
	}
	s.source.Create("page")
	for name, text := range files {
		s.write(name, text)
	}
	registry, err := syncd.NewRegistry(
		syncd.NewSource("memory", "", struct {
			Password spec.Secret `yaml:"password"`
		}{}, func(ctx context.Context, _ struct {
			Password spec.Secret `yaml:"password"`
		}, _ syncd.Env) (syncd.Source, error) {
			if s.opens != nil {
				if err := s.opens(ctx); err != nil {
					return nil, err
				}
			}
			return s.source, nil
		}),
		syncd.NewChecker("memory", "", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Checker, error) { return s.checker, nil }),
		syncd.NewSink("memory", "", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Sink, error) { return s.sink, nil }),
		filesource.Plugin(), filesink.Plugin(),
	)
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(&s.log, nil))
	getenv := func(name string) string { return map[string]string{"XDG_STATE_HOME": dir}[name] }
	runsDir := func(*config.Config) string { return s.runs }
	s.host, err = host.New(host.Options{
		Paths: []string{s.jobs}, StateDir: filepath.Join(dir, "service"), StopTimeout: time.Minute, Logger: logger, RunsDir: runsDir,
		Load: func(path string) config.Result { return config.Check(config.Input{Path: path, Registry: registry}) },
		Run: func(ctx context.Context, r host.Run) (job.Result, error) {
			if s.run != nil {
				return s.run(ctx, r)
			}
			j := &job.Job{Config: r.Config, Logger: r.Logger, Getenv: getenv, Drain: r.Drain, Revision: r.Revision}
			c := *r.Config
			c.Run.StateDir = s.runs
			j.Config = &c
			return j.Backfill(ctx, job.Request{Plan: r.Plan, Fresh: r.Fresh, Monitor: r.Monitor, Again: r.Again})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.api = api.New(api.Options{
		Host: s.host, RunsDir: runsDir, Version: "1.2.3", Logger: logger, By: func(*http.Request) string { return "alice" },
		Resolve: func(path string) (*config.Effective, spec.Diagnostics) {
			return config.Resolve(config.Input{Path: path, Registry: registry})
		},
		Job: func(c *config.Config, logger *slog.Logger) *job.Job {
			return &job.Job{Config: c, Logger: logger, Getenv: getenv}
		},
	})
	return s
}

// serve begins to run the jobs, and waits until they were looked at.
func (s *service) serve() *service {
	stop, served := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(served)
		if err := s.host.Serve(context.Background(), stop); err != nil {
			s.t.Error(err)
		}
	}()
	var once sync.Once
	s.end = func() {
		once.Do(func() {
			close(stop)
			<-served
			s.api.Close()
		})
	}
	s.t.Cleanup(s.end)
	s.until("the files are read", s.host.Ready)
	return s
}

// until waits for a change of the host that makes a condition true.
func (s *service) until(what string, f func() bool) {
	s.t.Helper()
	late := time.After(time.Minute)
	for {
		changed := s.host.Changed()
		if f() {
			return
		}
		select {
		case <-changed:
		case <-time.After(10 * time.Millisecond): // what is awaited may be no change of the host
		case <-late:
			s.t.Fatalf("it never came that %s\n%s", what, s.log.String())
		}
	}
}

func (s *service) state(name string, states ...host.State) {
	s.t.Helper()
	s.until(fmt.Sprint(name, " is ", states), func() bool {
		now, err := s.host.Job(name)
		if err != nil {
			return false
		}
		for _, want := range states {
			if now.State == want {
				return true
			}
		}
		return false
	})
}

func (s *service) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.jobs, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// ask asks the interface, and holds its answer against its document. into may be nil.
func (s *service) ask(method, path, body string, into any) (status int, text string) {
	s.t.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1/api/v1/"+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return s.send(r, into)
}

func (s *service) send(r *http.Request, into any) (status int, text string) {
	s.t.Helper()
	w := httptest.NewRecorder()
	s.api.ServeHTTP(w, r)
	resp := w.Result()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	text = string(b)
	if problem := s.described().holds(r, resp, b); problem != "" {
		s.t.Errorf("%s %s answers %d %s\nwhich the document does not have: %s", r.Method, r.URL.Path, resp.StatusCode, text, problem)
	}
	if resp.StatusCode >= 400 {
		var e api.Error
		if err := json.Unmarshal(b, &e); err != nil || e.Text == "" || e.Code == "" || resp.Header.Get("Content-Type") != "application/json" {
			s.t.Errorf("%s %s: %d is no error as others are: %s", r.Method, r.URL, resp.StatusCode, text)
		}
	}
	if into != nil {
		if err := json.Unmarshal(b, into); err != nil {
			s.t.Errorf("%s %s: %d %s: %v", r.Method, r.URL, resp.StatusCode, text, err)
		}
	}
	return resp.StatusCode, text
}

// document is the interface's own description.
type document struct {
	text     map[string]any
	compiler *jsonschema.Compiler
}

// described is the document that the interface serves.
func (s *service) described() *document {
	if s.document != nil {
		return s.document
	}
	w := httptest.NewRecorder()
	s.api.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/openapi.json", nil))
	if w.Code == http.StatusServiceUnavailable { // it has not begun; another has the same
		s.document = newService(s.t, nil).serve().described()
		return s.document
	}
	text, err := jsonschema.UnmarshalJSON(w.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	s.document = &document{text.(map[string]any), jsonschema.NewCompiler()}
	s.document.compiler.DefaultDraft(jsonschema.Draft2020)
	s.document.compiler.AssertFormat()
	if err := s.document.compiler.AddResource("mem:///openapi.json", text); err != nil {
		s.t.Fatal(err)
	}
	return s.document
}

// holds says in what an answer differs from the document.
func (d *document) holds(r *http.Request, resp *http.Response, body []byte) string {
	match := http.NewServeMux() // as the paths are matched
	for path := range d.text["paths"].(map[string]any) {
		match.HandleFunc(path, func(http.ResponseWriter, *http.Request) {})
	}
	_, path := match.Handler(r)
	status := fmt.Sprint(resp.StatusCode)
	operation, listed := at(d.text, "paths", path, strings.ToLower(r.Method))
	switch {
	case path == "" && resp.StatusCode != http.StatusNotFound || path != "" && !listed && resp.StatusCode != http.StatusMethodNotAllowed:
		return "it is not to be answered so"
	case !listed:
		return ""
	}
	answer, ok := at(operation, "responses", status)
	if !ok {
		return "the status is not listed"
	}
	_, ok = at(answer, "content", "application/json", "schema")
	if !ok && len(body) > 0 {
		return "nothing is to be answered"
	}
	if !ok {
		return ""
	}
	escape := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D")
	schema, err := d.compiler.Compile("mem:///openapi.json#/paths/" + escape.Replace(path) + "/" + strings.ToLower(r.Method) + "/responses/" + status + "/content/application~1json/schema")
	if err != nil {
		return err.Error()
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err == nil {
		err = schema.Validate(value)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// at follows names into a value.
func at(v any, names ...string) (any, bool) {
	for _, name := range names {
		m, _ := v.(map[string]any)
		inner, ok := m[name]
		if !ok {
			return nil, false
		}
		v = inner
	}
	return v, true
}

// wait waits for the end of a plan or a verification.
func (s *service) wait(path, id string) (w api.Work) {
	s.t.Helper()
	s.until(path+" ends", func() bool {
		w = api.Work{}
		s.ask("GET", path+"/"+id, "", &w)
		return w.Ended != nil
	})
	return w
}

func pointID(id string) uuid.UUID { return uuid.NewSHA1(uuid.NameSpaceURL, []byte(id+"/page/0")) }

func (s *service) insert(ids ...string) {
	for _, id := range ids {
		s.source.Insert("page", syncdtest.MemoryDoc{ID: id, Fields: map[string]any{"updatedAt": "monday"}})
	}
}

func (s *service) index(id, version string) {
	s.checker.Put(pointID(id), map[string]any{"content_type": "page", "mongo_id": id, "chunk_index": 0, "updatedAt": version})
}

// TestTheDocumentIsOne holds it against the schema of OpenAPI 3.1.
func TestTheDocumentIsOne(t *testing.T) {
	s := newService(t, nil).serve()
	schema, err := os.Open("testdata/openapi-3.1.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	defer schema.Close()
	text, err := jsonschema.UnmarshalJSON(schema)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("mem:///oas.json", text); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("mem:///oas.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := compiled.Validate(s.described().text); err != nil {
		t.Error(err)
	}
	schemas, _ := at(s.described().text, "components", "schemas")
	for name := range schemas.(map[string]any) {
		if _, err := s.described().compiler.Compile("mem:///openapi.json#/components/schemas/" + name); err != nil {
			t.Error(err)
		}
	}
}

// TestTheDocumentHasEveryRoute and no other: whatever it lists is handled, and each of its paths refuses all other methods.
func TestTheDocumentHasEveryRoute(t *testing.T) {
	s := newService(t, map[string]string{"a.yaml": jobText}).serve()
	var document struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	s.ask("GET", "openapi.json", "", &document)
	n := 0
	for path, operations := range document.Paths {
		path = strings.TrimPrefix(path, "/api/v1/")
		path = strings.ReplaceAll(strings.ReplaceAll(path, "{name}", "nobody"), "{id}", "nothing")
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			_, listed := operations[strings.ToLower(method)]
			if path == "events" && method == "GET" {
				continue // it has no end
			}
			var e api.Error
			status, text := s.ask(method, path, "", nil)
			_ = json.Unmarshal([]byte(text), &e)
			if refused := status == 405 && e.Code == "method_not_allowed"; refused == listed {
				t.Errorf("%s %s: listed %v, answer %d %s", method, path, listed, status, text)
			}
			if listed {
				n++
			}
		}
	}
	if n < 15 {
		t.Errorf("%d operations are too few", n)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	s := newService(t, map[string]string{"a.yaml": jobText, "full.yaml": jobText + "name: full\n", "bad.yaml": "source: 1\n"})
	s.run = func(ctx context.Context, r host.Run) (job.Result, error) { // it goes on until it is to end
		<-r.Drain
		return job.Result{}, job.ErrInterrupted
	}
	if status, text := s.ask("GET", "jobs", "", nil); status != 503 || !strings.Contains(text, `"starting"`) {
		t.Errorf("before it has begun: %d %s", status, text)
	}
	s.write("full.yaml", strings.Replace(jobText, "checker: {memory: {}}\n", "", 1)+"  \n")
	s.write("full.yaml", "name: full\n"+strings.Replace(strings.Replace(jobText, "checker: {memory: {}}\n", "", 1), "run: {", "run: {mode: full, ", 1))
	s.serve()
	s.state("a", host.Running)
	for _, c := range []struct {
		name, method, path, media, body string
		status                          int
		code, text                      string
	}{
		{"no such place", "GET", "nothing", "", "", 404, "not_found", "openapi.json"},
		{"above the jobs", "GET", "jobs/", "", "", 404, "not_found", ""},
		{"no such job", "GET", "jobs/b", "", "", 404, "not_found", "there is no such job: b"},
		{"no such job's runs", "GET", "jobs/b/runs", "", "", 404, "not_found", ""},
		{"no such job's configuration", "GET", "jobs/b/config", "", "", 404, "not_found", ""},
		{"no such job to pause", "POST", "jobs/b/pause", "", "", 404, "not_found", ""},
		{"no such job to run", "POST", "jobs/b/runs", "", "", 404, "not_found", ""},
		{"no such job to plan", "POST", "jobs/b/plan", "", "", 404, "not_found", ""},
		{"a name with a slash", "GET", "jobs/a%2Fb", "", "", 404, "not_found", "a/b"},
		{"another method", "DELETE", "jobs/a", "", "", 405, "method_not_allowed", ""},
		{"a limit that is no number", "GET", "jobs/a/runs?limit=x", "", "", 400, "bad_request", "limit"},
		{"a limit of none", "GET", "jobs/a/runs?limit=0", "", "", 400, "bad_request", "limit"},
		{"a job that runs", "POST", "jobs/a/runs", "application/json", `{"fresh":true}`, 409, "conflict", "has a run under way"},
		{"no JSON", "POST", "jobs/a/runs", "application/json", `{`, 400, "bad_request", ""},
		{"an unknown key", "POST", "jobs/a/runs", "application/json", `{"frsh":true}`, 400, "bad_request", "frsh"},
		{"something behind it", "POST", "jobs/a/runs", "application/json", `{}{}`, 400, "bad_request", "behind"},
		{"no media type", "POST", "jobs/a/runs", "", `{}`, 415, "media_type", ""},
		{"another media type", "POST", "jobs/a/runs", "text/plain", `{}`, 415, "media_type", ""},
		{"too much", "POST", "jobs/a/runs", "application/json", `"` + strings.Repeat("x", 64<<10) + `"`, 413, "too_large", ""},
		{"a plan that is not there", "POST", "jobs/a/runs", "application/json", `{"plan":"x"}`, 404, "not_found", "no such plan"},
		{"a plan and anew", "POST", "jobs/a/runs", "application/json", `{"plan":"x","fresh":true}`, 400, "bad_request", "fresh"},
		{"a share above all", "POST", "jobs/a/plan", "application/json", `{"sample":1.5}`, 400, "bad_request", "sample"},
		{"a negative age", "POST", "jobs/a/verify", "application/json", `{"min_age_seconds":-1}`, 400, "bad_request", "min_age"},
		{"a plan that asks nobody", "POST", "jobs/full/plan", "", "", 409, "conflict", "mode full"},
		{"a verification that asks nobody", "POST", "jobs/full/verify", "", "", 409, "conflict", "no index"},
		{"a job whose file can't be used", "POST", "jobs/bad/plan", "", "", 409, "conflict", "can't be used"},
		{"its run", "POST", "jobs/bad/runs", "", "", 409, "conflict", "can't be used"},
		{"its configuration", "GET", "jobs/bad/config", "", "", 409, "conflict", "bad.yaml:1"},
		{"its documents", "GET", "jobs/bad/explain?collection=page&id=1", "", "", 409, "conflict", ""},
		{"no document", "GET", "jobs/a/explain?collection=page", "", "", 400, "bad_request", "which document"},
		{"a document of no collection", "GET", "jobs/a/explain?collection=pages&id=1", "", "", 409, "conflict", "pages"},
		{"no such plan", "GET", "plans/1", "", "", 404, "not_found", ""},
		{"no such plan to drop", "DELETE", "plans/1", "", "", 404, "not_found", ""},
		{"no such verification", "GET", "verifies/1", "", "", 404, "not_found", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.t = t
			r := httptest.NewRequest(c.method, "http://127.0.0.1/api/v1/"+c.path, strings.NewReader(c.body))
			if c.media != "" {
				r.Header.Set("Content-Type", c.media)
			}
			var e api.Error
			if status, text := s.send(r, &e); status != c.status || e.Code != c.code || !strings.Contains(text, c.text) {
				t.Errorf("%d %s", status, text)
			}
		})
	}
	s.t = t
}

func TestHowJobsStand(t *testing.T) {
	s := newService(t, map[string]string{"a.yaml": jobText, "bad.yaml": "source: 1\n"})
	s.insert("1", "2", "3")
	s.index("1", "monday")
	s.serve()
	s.state("a", host.Done)
	var all api.Jobs
	if status, text := s.ask("GET", "jobs", "", &all); status != 200 || len(all.Jobs) != 2 || all.Jobs[0].Name != "a" || all.Jobs[1].State != host.Invalid {
		t.Fatalf("%d %s", status, text)
	}
	a := all.Jobs[0]
	if a.Last == nil || a.Last.Outcome != "complete" || a.Last.Total.Acked != 2 || a.Freshness.CompleteAt == nil || !a.Freshness.CompleteAt.Equal(a.Last.Started) {
		t.Errorf("%+v", a)
	}
	if f := a.Freshness; f.Behind == nil || *f.Behind != 0 || f.Coverage == nil || *f.Coverage != 1 || f.CompleteRun != a.Last.RunID {
		t.Errorf("%+v", f)
	}
	if b := all.Jobs[1]; b.Last != nil || b.Freshness.CompleteAt != nil || b.Freshness.Behind != nil || len(b.Problems) == 0 {
		t.Errorf("%+v", b)
	}
	var one api.Detail
	if status, text := s.ask("GET", "jobs/a", "", &one); status != 200 || len(one.Runs) != 1 || one.Runs[0].RunID != a.Last.RunID {
		t.Errorf("%d %s", status, text)
	}
	// A run that is added is told, although the ones before are remembered.
	if err := runlog.Append(s.runs, runlog.Run{Job: "a", RunID: "later", Started: time.Now(), Outcome: "failed", Error: "no answer"}); err != nil {
		t.Fatal(err)
	}
	one = api.Detail{}
	if s.ask("GET", "jobs/a", "", &one); len(one.Runs) != 2 || one.Last.RunID != "later" || one.Freshness.CompleteRun != a.Last.RunID {
		t.Errorf("%+v", one)
	}
	var runs api.Runs
	if s.ask("GET", "jobs/a/runs?limit=1", "", &runs); len(runs.Runs) != 1 || runs.Runs[0].RunID != "later" {
		t.Errorf("%+v", runs)
	}
}

func TestTheConfigurationHasOriginsAndNoSecrets(t *testing.T) {
	s := newService(t, map[string]string{"a.yaml": strings.Replace(jobText, "source: {memory: {}}", "source: {memory: {password: hunter2}}", 1)}).serve()
	var c api.Config
	status, text := s.ask("GET", "jobs/a/config", "", &c)
	if status != 200 || strings.Contains(text, "hunter2") || !strings.Contains(c.Origins["run.wait_timeout"], "a.yaml:5:") || c.Origins["run.batch_size"] != "default" {
		t.Errorf("%d %s", status, text)
	}
}

func TestWhatIsWantedOfAJob(t *testing.T) {
	s := newService(t, map[string]string{"a.yaml": jobText})
	began := make(chan host.Run, 10)
	s.run = func(ctx context.Context, r host.Run) (job.Result, error) {
		began <- r
		<-r.Drain
		return job.Result{}, job.ErrInterrupted
	}
	s.serve()
	<-began
	for _, step := range []struct {
		do    string
		wish  host.Desired
		state host.State
		runs  bool
	}{
		{"pause", host.WantPaused, host.Paused, false}, {"resume", host.WantRunning, host.Running, true}, {"restart", host.WantRunning, host.Running, true},
		{"stop", host.WantStopped, host.Stopped, false}, {"resume", host.WantRunning, host.Running, true},
	} {
		var now api.Job
		if status, text := s.ask("POST", "jobs/a/"+step.do, "", &now); status != 202 || now.Wish.Desired != step.wish {
			t.Errorf("%s: %d %s", step.do, status, text)
		}
		if step.runs {
			<-began
		}
		s.state("a", step.state)
		if wish := now.Wish.By; step.do != "restart" && wish != "alice" {
			t.Errorf("%s by %q", step.do, wish)
		}
	}
}

func TestARunIsStarted(t *testing.T) {
	s := newService(t, map[string]string{"a.yaml": jobText})
	began, ends := make(chan host.Run), make(chan struct{})
	fresh := make(chan bool, 10)
	s.run = func(ctx context.Context, r host.Run) (job.Result, error) {
		fresh <- *r.Fresh
		began <- r
		select {
		case <-ends:
			return job.Result{}, nil
		case <-r.Drain:
			return job.Result{}, job.ErrInterrupted
		}
	}
	s.serve()
	<-began
	ends <- struct{}{}
	s.state("a", host.Done)
	for _, body := range []string{"", `{}`, `{"fresh":true}`} {
		if status, text := s.ask("POST", "jobs/a/runs", body, nil); status != 202 {
			t.Fatalf("%d %s", status, text)
		}
		<-began
		ends <- struct{}{}
		s.state("a", host.Done)
	}
	if a, b, c, d := <-fresh, <-fresh, <-fresh, <-fresh; a || b || c || !d {
		t.Error(a, b, c, d)
	}
}

func TestAPlanIsMadeAndSent(t *testing.T) {
	s := newService(t, map[string]string{"a.yaml": jobText})
	s.insert("1", "2", "3")
	s.index("1", "monday")
	s.index("2", "sunday")
	s.index("gone", "monday")
	s.serve()
	s.ask("POST", "jobs/a/pause", "", nil) // it may have run already; what is planned below is new either way
	s.state("a", host.Paused, host.Done)
	s.insert("4", "5")
	var w api.Work
	if status, text := s.ask("POST", "jobs/a/plan", "", &w); status != 202 || w.Kind != "plan" || w.Job != "a" || w.By != "alice" || w.Ended != nil {
		t.Fatalf("%d %s", status, text)
	}
	done := s.wait("plans", w.ID)
	p := done.Plan
	if done.State != "done" || done.Outcome != "complete" || p == nil {
		t.Fatalf("%+v\n%s", done, s.log.String())
	}
	if p.Total.Documents != 5 || p.Total.Missing != 3 && p.Total.Missing != 2 || *p.Total.Orphan != 1 || p.Total.Bytes < 0 || len(p.Differences) < 4 {
		t.Errorf("%+v", p)
	}
	why := map[string]string{}
	for _, d := range p.Differences {
		why[d.ID] = d.Sigil + " " + d.Why
	}
	if why["4"] != "+ the index has no point with this id" || why["2"] != "~ the index holds another version of it" || !strings.HasPrefix(why["gone"], "- ") || why["1"] != "" {
		t.Errorf("%v", why)
	}
	var list api.Works
	if s.ask("GET", "plans", "", &list); len(list.Works) != 1 || list.Works[0].ID != w.ID {
		t.Errorf("%+v", list)
	}
	if s.ask("GET", "verifies", "", &list); len(list.Works) != 0 {
		t.Errorf("a plan is no verification: %+v", list)
	}
	// While the job is paused it is not sent.
	if status, text := s.ask("POST", "jobs/a/runs", `{"plan":"`+w.ID+`"}`, nil); status != 409 {
		t.Errorf("%d %s", status, text)
	}
	s.ask("POST", "jobs/a/resume", "", nil)
	s.state("a", host.Done)
	s.insert("6") // behind the plan
	before := len(s.sink.Changes())
	if status, text := s.ask("POST", "jobs/a/runs", `{"plan":"`+w.ID+`"}`, nil); status != 202 {
		t.Fatalf("%d %s", status, text)
	}
	if status, _ := s.ask("DELETE", "plans/"+w.ID, "", nil); status != 204 { // it is sent all the same
		t.Error(status)
	}
	s.until("the plan was sent", func() bool {
		runs, _ := runlog.Read(s.runs, "a", 1)
		return len(runs) == 1 && runs[0].Planned
	})
	var sent []string
	for _, c := range s.sink.Changes()[before:] {
		sent = append(sent, c.ID)
	}
	if text := fmt.Sprint(sent); strings.Contains(text, "6") || !strings.Contains(text, "4") || !strings.Contains(text, "5") {
		t.Errorf("sent %v\n%s", sent, s.log.String())
	}
	if status, _ := s.ask("GET", "plans/"+w.ID, "", nil); status != 404 {
		t.Error(status)
	}
}
