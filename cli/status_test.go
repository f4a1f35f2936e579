package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/server/api"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

// TestDrivingAService has the commands ask a service whose job goes on until it is to end.
func TestDrivingAService(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "pages.yaml", worldConfig)
	registry, err := syncd.NewRegistry(memoryPlugins()...)
	if err != nil {
		t.Fatal(err)
	}
	began := make(chan bool, 10)
	h, err := host.New(host.Options{
		Paths: []string{dir}, StateDir: filepath.Join(dir, "state"), StopTimeout: time.Minute, Logger: slog.New(slog.DiscardHandler),
		Load: func(path string) config.Result { return config.Check(config.Input{Path: path, Registry: registry}) },
		Run: func(_ context.Context, r host.Run) (job.Result, error) {
			began <- *r.Fresh
			<-r.Drain
			return job.Result{}, job.ErrInterrupted
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	own := newApp(program{stderr: &bytes.Buffer{}}, registry).ownAPI(h, &config.Server{StateDir: filepath.Join(dir, "state")}, slog.New(slog.DiscardHandler))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, password, ok := r.BasicAuth(); ok && (name != "alice" || password != "secret") || r.Header.Get("Authorization") == "Bearer wrong" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error_code":401,"message":"say who you are"}`))
			return
		}
		own.ServeHTTP(w, r)
	}))
	defer s.Close()
	stop, served := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(served)
		_ = h.Serve(context.Background(), stop)
	}()
	defer func() {
		close(stop)
		<-served
		own.Close()
	}()
	<-began
	state := func(want host.State) {
		t.Helper()
		for {
			changed := h.Changed()
			if now, err := h.Job("pages"); err == nil && now.State == want {
				return
			}
			<-changed
		}
	}
	state(host.Running)
	run := func(args ...string) (code int, stdout, stderr string) {
		t.Helper()
		var out, errs bytes.Buffer
		code = program{
			args: append(args, "--server", s.URL), stdout: &out, stderr: &errs, plugins: memoryPlugins(),
			environ: []string{"SYNCD_SERVER_USER=alice", "SYNCD_SERVER_PASSWORD=secret"},
		}.run(t.Context())
		return code, out.String(), errs.String()
	}
	for _, step := range []struct {
		args   []string
		code   int
		stdout string
		stderr string
		state  host.State
		runs   bool
	}{
		{[]string{"status"}, 0, "pages  running  -", "", host.Running, false},
		{[]string{"status", "pages"}, 0, "Job pages: running\n", "", host.Running, false},
		{[]string{"status", "page"}, 1, "", "error: there is no such job: page\nhint: syncd status and GET /api/v1/jobs", host.Running, false},
		{[]string{"status", "page", "-o", "json"}, 1, `"error":"there is no such job: page"`, "error: ", host.Running, false},
		{[]string{"trigger", "pages", "--fresh"}, 1, "", "has a run under way", host.Running, false},
		{[]string{"pause", "pages"}, 0, "and to be paused\n", "", host.Paused, false},
		{[]string{"trigger", "pages"}, 1, "", "is paused: resume it first", host.Paused, false},
		{[]string{"resume", "pages", "-o", "json"}, 0, `"desired":"running"`, "", host.Running, true},
		{[]string{"restart", "pages"}, 0, "and to be running\n", "", host.Running, true},
		{[]string{"stop", "pages"}, 0, "and to be stopped\n", "", host.Stopped, false},
		{[]string{"status", "pages", "--json"}, 0, `"by":"`, "", host.Stopped, false},
		{[]string{"status", "--user", "bob"}, 1, "", "say who you are\nhint: name the user with --user", host.Stopped, false},
	} {
		code, stdout, stderr := run(step.args...)
		if code != step.code || !strings.Contains(stdout, step.stdout) || !strings.Contains(stderr, step.stderr) || step.stderr == "" && stderr != "" || step.stdout == "" && stdout != "" {
			t.Errorf("%v: %d\n%s%s", step.args, code, stdout, stderr)
		}
		if step.runs {
			<-began
		}
		state(step.state)
	}
	// The shell completes names of jobs.
	var out bytes.Buffer
	program{args: []string{"__complete", "pause", ""}, environ: []string{"SYNCD_SERVER=" + s.URL}, stdout: &out, stderr: &bytes.Buffer{}, plugins: memoryPlugins()}.run(t.Context())
	if !strings.HasPrefix(out.String(), "pages\n") {
		t.Errorf("completed: %s", out.String())
	}
}

func memoryPlugins() []syncd.Plugin {
	return []syncd.Plugin{
		syncd.NewSource("memory", "", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Source, error) {
			return syncdtest.NewMemorySource(), nil
		}),
		syncd.NewChecker("memory", "", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Checker, error) {
			return syncdtest.NewMemoryChecker(), nil
		}),
		syncd.NewSink("memory", "", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Sink, error) { return syncdtest.NewMemorySink(), nil }),
	}
}

// TestStatusOfWhatOnlyFollowed says so, with what became of changes.
func TestStatusOfWhatOnlyFollowed(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	for _, r := range []runlog.Run{
		{Outcome: tally.Complete, Mode: "incremental", Follows: true, Freshness: &now, Total: tally.Counts{Scanned: 840, Acked: 840}},
		{Outcome: tally.Complete, Mode: "incremental", Follows: true, Resumed: true, Followed: &tally.Counts{Scanned: 19, Acked: 17, FailedWrite: 2}},
	} {
		r.Job, r.Started, r.Ended = "pages", now, now
		if err := runlog.Append(dir, r); err != nil {
			t.Fatal(err)
		}
	}
	var out, errs bytes.Buffer
	if code := (program{args: []string{"status", "pages", "--state-dir", dir}, stdout: &out, stderr: &errs, plugins: memoryPlugins()}).run(t.Context()); code != 0 {
		t.Fatal(code, errs.String())
	}
	for _, want := range []string{`complete +following, resumed +0 +17 +2 +-`, `complete +incremental, then follows +840 +840 +0 +-`, `index +2 behind`} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("there is no %q in\n%s", want, out.String())
		}
	}
}

// TestStatusOfWhatIsUnderWay reads what processes said of their runs that live, were killed, or say nothing any more.
func TestStatusOfWhatIsUnderWay(t *testing.T) {
	now := time.Now()
	expected, eta := int64(200), 90.4
	for _, c := range []struct {
		name   string
		live   runlog.Live
		state  host.State
		stdout []string
	}{
		{
			"a run", runlog.Live{PID: os.Getpid(), Host: store.Host(), Updated: now, Phase: "reading", Expected: &expected, ETA: &eta, Counts: tally.Counts{Scanned: 50}}, host.Running,
			[]string{"Job pages: running\n", "progress       50 of 200, 25%", "left           1m30s", "phase          reading"},
		},
		{
			"one that several processes share", runlog.Live{PID: os.Getpid(), Host: store.Host(), Updated: now, Phase: "reading", Cluster: &runlog.Cluster{
				Process: "a", Leader: "b", Lanes: 6, Unowned: 1, Moves: 2, Processes: []runlog.Process{
					{Name: "a", Host: "one", PID: 7, Lanes: []int{1, 2, 3}, Splits: map[string]int{"page": 2, "epic": 1}},
					{Name: "b", Host: "two", PID: 8, Address: "two:8083", Lanes: []int{0, 5}},
				},
			}}, host.Running,
			[]string{
				"cluster        2 processes, b leads, 1 of 6 lanes without an owner, 2 moves of lanes\n", "PROCESS    HOST  PID  ADDRESS   LANES  SPLITS LEFT  GAINED",
				"a          one   7    -         1-3    3 ", "b (leads)  two   8    two:8083  0,5    0 ",
			},
		},
		{
			"one that was killed", runlog.Live{PID: 1 << 30, Host: store.Host(), Updated: now, Phase: "reading"}, api.Killed,
			[]string{"Job pages: killed: its process 1073741824 was killed\n", "hint: the next run resumes it"},
		},
		{
			"one of another machine", runlog.Live{PID: 1 << 30, Host: "elsewhere", Updated: now, Phase: "reading"}, host.Running,
			[]string{"Job pages: running\n", "process 1073741824 on elsewhere"},
		},
		{
			"one of another machine that is silent", runlog.Live{PID: 7, Host: "elsewhere", Updated: now.Add(-3 * time.Minute), Phase: "reading"}, host.Running,
			[]string{"Job pages: running: its process 7 on elsewhere has said nothing for 3m", "hint: if that process is gone"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.live.Job, c.live.RunID, c.live.Started, c.live.Config = "pages", "r1", now.Add(-time.Minute), "pages.yaml"
			if err := runlog.Publish(dir, c.live); err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			if code := (program{args: []string{"status", "pages", "--state-dir", dir}, stdout: &out, stderr: &errs, plugins: memoryPlugins()}).run(t.Context()); code != 0 {
				t.Error(code, errs.String())
			}
			for _, want := range c.stdout {
				if !strings.Contains(out.String(), want) {
					t.Errorf("there is no %q in\n%s", want, out.String())
				}
			}
			out.Reset()
			if code := (program{args: []string{"status", "--state-dir", dir, "-o", "json"}, stdout: &out, stderr: &errs, plugins: memoryPlugins()}).run(t.Context()); code != 0 {
				t.Error(code, errs.String())
			}
			var all api.Jobs
			if err := json.Unmarshal(out.Bytes(), &all); err != nil || len(all.Jobs) != 1 || all.Jobs[0].State != c.state {
				t.Error(err, out.String())
			}
		})
	}
}
