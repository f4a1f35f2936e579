package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/syncd-io/syncd/sandbox/qdrantserver"
)

// service is a syncd serve over a folder of jobs.
type service struct {
	t        *testing.T
	dir      string // of the jobs
	cmd      *exec.Cmd
	base     string
	log      *lockedBuffer
	exited   chan struct{}
	exit     error
	requests *http.Client
}

// lockedBuffer is a buffer that a process writes while a test reads.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// serve starts a service over a folder, which may be empty yet, and waits until it is ready.
func serve(t *testing.T, dir string, environ []string, args ...string) *service {
	t.Helper()
	s := &service{t: t, dir: dir, log: &lockedBuffer{}, exited: make(chan struct{}), requests: &http.Client{Timeout: 30 * time.Second}}
	listen := closedPort(t)
	s.base = "http://" + listen
	cmd, _, _ := command(context.Background(), environ, append([]string{"serve", dir, "--listen", listen}, args...)...)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.cmd = cmd
	go func() {
		s.exit = cmd.Wait()
		close(s.exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-s.exited
		s.requests.CloseIdleConnections()
		if t.Failed() {
			t.Logf("the service's log:\n%.20000s", s.log.String())
		}
	})
	s.eventually("it is ready", func() bool { code, _ := s.get("/readyz"); return code == 200 })
	return s
}

// get asks the service, and returns 0 where it does not answer.
func (s *service) get(path string) (code int, body string) {
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.base+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := s.requests.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

// states are the jobs' by name, as the metrics tell them.
func (s *service) states() map[string]string {
	_, text := s.get("/metrics")
	out := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^syncd_job_state\{state="(\w+)",syncd_job="([^"]+)"\} 1`).FindAllStringSubmatch(text, -1) {
		out[m[2]] = m[1]
	}
	return out
}

func (s *service) eventually(what string, cond func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !cond() {
		select {
		case <-s.exited:
			s.t.Fatalf("waiting until %s: the service has ended: %v\n%s", what, s.exit, s.log.String())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s never came true: %v\n%.5000s", what, s.states(), s.log.String())
		}
	}
}

// stop ends the service as an operator would, and returns how it ended.
func (s *service) stop() error {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	select {
	case <-s.exited:
	case <-time.After(2 * time.Minute):
		s.t.Fatal("the service does not end")
	}
	return s.exit
}

// rss is the memory of the process in bytes.
func (s *service) rss() int64 {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Skip("there is no /proc here")
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		s.t.Fatalf("no VmRSS in %s", text)
	}
	n, _ := strconv.ParseInt(string(m[1]), 10, 64)
	return n << 10
}

// goroutines counts those of the process.
func (s *service) goroutines() int {
	s.t.Helper()
	_, text := s.get("/debug/pprof/goroutine?debug=1")
	m := regexp.MustCompile(`goroutine profile: total (\d+)`).FindStringSubmatch(text)
	if m == nil {
		s.t.Fatalf("no profile: %.200s", text)
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// writeFile writes a file of a test.
func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestServiceWithManyJobs: a hundred jobs, of which twenty follow, run side by side; meanwhile the service answers, its memory does not
// grow, and of jobs that are gone no goroutine is left. SERVICE_SOAK says for how long.
func TestServiceWithManyJobs(t *testing.T) {
	period := 10 * time.Second
	if text := os.Getenv("SERVICE_SOAK"); text != "" {
		var err error
		if period, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	qdrant, err := qdrantserver.Start(qdrantserver.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = qdrant.Close() })
	dir := t.TempDir()
	jobs, state := filepath.Join(dir, "jobs"), filepath.Join(dir, "state")
	const many, follow = 100, 20
	for i := range many {
		in := filepath.Join(dir, "in", strconv.Itoa(i))
		writeFile(t, filepath.Join(in, "page.ndjson"), "{\"_id\":\"first\",\"title\":\"x\"}\n")
		how := "schedule: {every: 2s, jitter: 1s}\n"
		if i < follow {
			how = ""
		}
		writeFile(t, filepath.Join(jobs, fmt.Sprintf("job%02d.yaml", i)), fmt.Sprintf(`source: {file: {path: %q, database: db}}
checker: {qdrant: {url: "http://%s", collection: c}}
sink: {file: {path: %q, mode: append}}
mapping: {collections: {page: doc%d}}
run: {follow: %t, memory: 16777216, state_dir: %q}
%s`, in, qdrant.Addr(), filepath.Join(dir, fmt.Sprintf("out%d.ndjson", i)), i, i < follow, state, how))
	}
	s := serve(t, jobs, []string{"SYNCD_SERVER__PPROF=true"}, "--state-dir", state)
	s.eventually("all jobs have begun", func() bool {
		states := s.states()
		running := 0
		for i := range follow {
			if states[fmt.Sprintf("job%02d", i)] == "running" {
				running++
			}
		}
		return len(states) == many && running == follow
	})
	began := time.Now()
	var took []time.Duration
	var memory []int64
	var routines []int
	for time.Since(began) < period || len(memory) < 9 { // on a busy machine each round takes its time
		i := rand.IntN(follow)
		file, err := os.OpenFile(filepath.Join(dir, "in", strconv.Itoa(i), "page.ndjson"), os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		_, err = fmt.Fprintf(file, "{\"_id\":\"%d\",\"title\":\"x\"}\n", len(took))
		if cerr := file.Close(); err != nil || cerr != nil {
			t.Fatal(err, cerr)
		}
		for _, path := range []string{"/ui/", "/api/v1/jobs", "/connectors?expand=status"} {
			asked := time.Now()
			if code, body := s.get(path); code != 200 {
				t.Fatalf("%s: %d %.300s", path, code, body)
			}
			took = append(took, time.Since(asked))
		}
		memory = append(memory, s.rss())
		routines = append(routines, s.goroutines())
		time.Sleep(50 * time.Millisecond)
	}
	slices.Sort(took)
	third := len(memory) / 3
	early, late := slices.Max(memory[third:2*third]), slices.Max(memory[2*third:])
	t.Logf("%d answers: p50 %s, p99 %s, longest %s; memory %d MB, then %d MB; goroutines at most %d, then %d", len(took), took[len(took)/2], took[len(took)*99/100],
		took[len(took)-1], early>>20, late>>20, slices.Max(routines[third:2*third]), slices.Max(routines[2*third:]))
	if late > early+early/4+(16<<20) {
		t.Errorf("memory grows: %d MB, then %d MB", early>>20, late>>20)
	}
	for i := range many { // those that are gone leave nothing behind
		if err := os.Remove(filepath.Join(jobs, fmt.Sprintf("job%02d.yaml", i))); err != nil {
			t.Fatal(err)
		}
	}
	s.eventually("all jobs are gone", func() bool {
		for _, state := range s.states() {
			if state != "removed" {
				return false
			}
		}
		return true
	})
	s.requests.CloseIdleConnections()
	s.eventually("their goroutines are gone", func() bool { return s.goroutines() < 2*many+40 }) // a job that is gone waits for its file
	if err := s.stop(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	for i := range many {
		text, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("out%d.ndjson", i)))
		if err != nil || !strings.Contains(string(text), `"first"`) {
			t.Errorf("job %d: %v, %.100s", i, err, text)
		}
	}
}

// TestServiceGoesOn: what goes wrong with one job is seen in its state, and the others go on.
func TestServiceGoesOn(t *testing.T) {
	dir := t.TempDir()
	jobs, state, in := filepath.Join(dir, "jobs"), filepath.Join(dir, "state"), filepath.Join(dir, "in")
	writeFile(t, filepath.Join(in, "page.ndjson"), "{\"_id\":\"first\",\"title\":\"x\"}\n")
	job := func(name, sink, more string) {
		t.Helper()
		writeFile(t, filepath.Join(jobs, name+".yaml"), fmt.Sprintf("source: {file: {path: %q, database: db}}\nsink: {file: %s}\nmapping: {collections: {page: doc}}\nrun: {mode: full, state_dir: %q}\n%s",
			in, sink, state, more))
	}
	out := func(name string) string {
		return fmt.Sprintf("{path: %q, mode: append}", filepath.Join(dir, name+".out"))
	}
	job("good", out("good"), "schedule: {every: 1s, jitter: 0s}\n")
	job("full", "{path: /dev/full, mode: append}", "")
	job("nowhere", fmt.Sprintf("{path: %q}", filepath.Join(dir, "no", "such", "folder")), "")
	job("broken", out("broken"), "nonsense: true\n")
	job("removed", out("removed"), "schedule: {every: 1h}\n")
	s := serve(t, jobs, nil, "--state-dir", state, "--stop-timeout", "1s")
	want := map[string]string{"full": "retrying", "nowhere": "retrying", "broken": "invalid", "removed": "waiting"}
	s.eventually("each job has its state", func() bool {
		states := s.states()
		for name, w := range want {
			if states[name] != w {
				return false
			}
		}
		return states["good"] != ""
	})
	if err := os.Remove(filepath.Join(jobs, "removed.yaml")); err != nil {
		t.Fatal(err)
	}
	s.eventually("the file that is gone is seen", func() bool { return s.states()["removed"] == "removed" })
	job("broken", out("broken"), "")
	s.eventually("the file that was mended is read", func() bool { return s.states()["broken"] == "done" })
	lines := func() int {
		text, _ := os.ReadFile(filepath.Join(dir, "good.out"))
		return strings.Count(string(text), "\n")
	}
	before := lines()
	s.eventually("the good job goes on", func() bool { return lines() > before+1 })
	_, text := s.get("/api/v1/jobs/full")
	if !strings.Contains(text, "no space left") {
		t.Errorf("the status does not say why: %s", text)
	}
	if err := s.stop(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// TestHostileRequests: whatever is sent, the service goes on, answers with a code of its own, and keeps no goroutine.
func TestHostileRequests(t *testing.T) {
	dir := t.TempDir()
	jobs, state, in := filepath.Join(dir, "jobs"), filepath.Join(dir, "state"), filepath.Join(dir, "in")
	writeFile(t, filepath.Join(in, "page.ndjson"), "{\"_id\":\"first\",\"title\":\"x\"}\n")
	writeFile(t, filepath.Join(jobs, "a.yaml"), fmt.Sprintf("source: {file: {path: %q, database: db}}\nsink: {file: {path: %q}}\nmapping: {collections: {page: doc}}\nrun: {mode: full, state_dir: %q}\n",
		in, filepath.Join(dir, "out"), state))
	s := serve(t, jobs, []string{"SYNCD_SERVER__PPROF=true"}, "--state-dir", state, "--writable")
	before := s.goroutines()
	clean := strings.NewReplacer("\r", "", "\n", "", " ", "%20", "\x00", "%00")
	codes := map[int]int{}
	address := strings.TrimPrefix(s.base, "http://")
	var mu sync.Mutex
	hostile := func(n uint64) {
		random := rand.New(rand.NewPCG(1, n))
		pick := func(of ...string) string { return of[random.IntN(len(of))] }
		noise := func(n int) string {
			b := make([]byte, random.IntN(n))
			for i := range b {
				b[i] = byte(random.IntN(256))
			}
			return string(b)
		}
		path := pick("/", "/connectors", "/connectors/a", "/connectors/a/config", "/connectors/a/offsets", "/connectors/a/restart", "/connectors/"+clean.Replace(noise(40)),
			"/connectors/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/connectors/../../x", "/connector-plugins/file/config/validate", "/admin/loggers/root", "/api/v1/jobs",
			"/api/v1/jobs/a/plan", "/api/v1/jobs/"+clean.Replace(noise(40)), "/api/v1/jobs/a/explain?collection="+clean.Replace(noise(30)), "/ui/", "/ui/jobs/"+clean.Replace(noise(30)),
			"/metrics", "/"+strings.Repeat("a/", random.IntN(3000)), "/connectors?expand="+clean.Replace(noise(20)))
		method := pick("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "FROB")
		if path == "/connectors/a" && method == "DELETE" {
			return // that is no mistake
		}
		body := pick("", "{", "null", "[]", `{"name":"`+strings.Repeat("x", random.IntN(300))+`","config":{}}`, `{"name":"../../x","config":{"connector.class":"file"}}`,
			`{"config":`+strings.Repeat("[", random.IntN(5000)), strings.Repeat("{\"a\":", random.IntN(2000)), noise(2000), `{"a":"`+strings.Repeat("b", random.IntN(3<<20))+`"}`)
		header := pick("Accept: */*", "Accept: "+clean.Replace(noise(30)), "Content-Type: text/plain", "Authorization: Basic "+clean.Replace(noise(20)), "X: "+strings.Repeat("y", random.IntN(40000)),
			"Origin: http://evil.example", "Transfer-Encoding: chunked", "Content-Length: 5")
		conn, err := net.DialTimeout("tcp", address, 10*time.Second)
		if err != nil {
			t.Error(err)
			return
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n%s\r\nContent-Length: %d\r\n\r\n%s", method, path, header, len(body), body)
		if random.IntN(10) == 0 {
			_ = conn.Close() // and does not wait for an answer
			return
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
		if err == nil {
			mu.Lock()
			codes[resp.StatusCode]++
			mu.Unlock()
			_ = resp.Body.Close()
			if resp.StatusCode >= 500 && !strings.HasPrefix(path, "/connect") { // Kafka Connect's API has its own, see its package
				t.Errorf("%s %q with %.60q: %d", method, path, body, resp.StatusCode)
			}
		}
		_ = conn.Close()
	}
	var clients sync.WaitGroup
	requests := make(chan uint64)
	for range 25 {
		clients.Go(func() {
			for n := range requests {
				hostile(n)
			}
		})
	}
	for n := range uint64(1000) {
		requests <- n
	}
	close(requests)
	clients.Wait()
	t.Logf("the answers: %v", codes)
	if code, _ := s.get("/ui/"); code != 200 {
		t.Errorf("the page: %d", code)
	}
	if strings.Contains(s.log.String(), "panic") {
		t.Error("something panicked")
	}
	s.requests.CloseIdleConnections()
	s.eventually("no goroutine is left", func() bool { return s.goroutines() <= before+5 })
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 5 {
		t.Errorf("files appeared: %v, %v", entries, err)
	}
	if err := s.stop(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}
