package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/report"
	"github.com/syncd-io/syncd/server/api"
	"github.com/syncd-io/syncd/syncdtest"
)

// idle has a job do nothing, so that what it is compared with stays.
func (s *service) idle() *service {
	s.run = func(context.Context, host.Run) (job.Result, error) { return job.Result{}, nil }
	return s
}

func TestAVerificationFindsDifferences(t *testing.T) {
	s := newService(t, map[string]string{"a.yaml": jobText}).idle()
	s.insert("1", "2", "3", "4")
	s.index("1", "monday")
	s.index("2", "sunday")
	s.index("gone", "monday")
	s.serve()
	var w api.Work
	if status, text := s.ask("POST", "jobs/a/verify", `{"min_age_seconds":0}`, &w); status != 202 || w.Kind != "verify" {
		t.Fatalf("%d %s", status, text)
	}
	done := s.wait("verifies", w.ID)
	v := done.Verify
	if done.State != "done" || done.Outcome != "stopped" || !strings.Contains(done.Error, "4 documents") || done.Hint == "" || v == nil {
		t.Fatalf("%+v\n%s", done, s.log.String())
	}
	if n := v.Total; v.Equal || n.Documents != 4 || n.Present != 1 || n.Missing != 2 || n.Stale != 1 || n.Orphan != 1 || *n.Coverage != 0.25 || len(v.Differences) != 4 || v.More != 0 {
		t.Errorf("%+v", v)
	}
	for _, id := range []string{"2", "3", "4"} {
		s.index(id, "monday")
	}
	s.checker.Remove(pointID("gone"))
	s.ask("POST", "jobs/a/verify", `{"min_age_seconds":0}`, &w)
	if done = s.wait("verifies", w.ID); done.Outcome != "complete" || !done.Verify.Equal || done.Error != "" {
		t.Errorf("%+v", done)
	}
}

func TestADocumentIsExplained(t *testing.T) {
	s := newService(t, map[string]string{"a.yaml": jobText}).idle()
	s.insert("1", "2", "a b/c")
	s.index("1", "monday")
	s.index("2", "sunday")
	s.serve()
	for id, want := range map[string]string{"1": "present", "2": "stale", "a%20b%2Fc": "missing", "none": "nowhere"} {
		var e report.Explanation
		if status, text := s.ask("GET", "jobs/a/explain?collection=page&id="+id, "", &e); status != 200 || e.Verdict != want || e.PointID == "" || e.Found != (id != "none") {
			t.Errorf("%s: %d %s", id, status, text)
		}
	}
}

func TestComparisonsAreBounded(t *testing.T) {
	s := newService(t, map[string]string{"a.yaml": jobText}).idle()
	opening := make(chan struct{}, 100)
	s.opens = func(ctx context.Context) error {
		opening <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	s.serve()
	for range 16 {
		if status, text := s.ask("POST", "jobs/a/plan", "", nil); status != 202 {
			t.Fatalf("%d %s", status, text)
		}
	}
	<-opening
	<-opening
	if status, text := s.ask("POST", "jobs/a/verify", "", nil); status != 429 || !strings.Contains(text, "too_many") {
		t.Errorf("%d %s", status, text)
	}
	running := func() (ids []string) {
		var all api.Works
		s.ask("GET", "plans", "", &all)
		for _, w := range all.Works {
			if w.State == "running" {
				ids = append(ids, w.ID)
			}
		}
		return ids
	}
	now := running()
	if len(now) != 2 {
		t.Fatalf("%d run at once", len(now))
	}
	// One that is ended makes room for the next.
	if status, _ := s.ask("DELETE", "plans/"+now[0], "", nil); status != 204 {
		t.Error(status)
	}
	<-opening
	if again := running(); len(again) != 2 {
		t.Errorf("%d run at once", len(again))
	}
	if status, _ := s.ask("GET", "plans/"+now[0], "", nil); status != 404 {
		t.Error(status)
	}
	s.end() // what is left ends with the service, as goleak sees
	if status, text := s.ask("GET", "jobs", "", nil); status != 503 || !strings.Contains(text, `"ending"`) {
		t.Errorf("%d %s", status, text)
	}
}

func TestAComparisonThatFailsSaysWhy(t *testing.T) {
	s := newService(t, map[string]string{"a.yaml": jobText}).idle()
	s.serve()
	s.opens = func(context.Context) error { return errors.New("no answer from mongodb://alice:hunter2@h/db") }
	var w api.Work
	s.ask("POST", "jobs/a/plan", "", &w)
	done := s.wait("plans", w.ID)
	if done.State != "failed" || done.Outcome != "failed" || !strings.Contains(done.Error, "no answer") || strings.Contains(done.Error, "hunter2") {
		t.Errorf("%+v", done)
	}
	if status, text := s.ask("POST", "jobs/a/runs", `{"plan":"`+w.ID+`"}`, nil); status != 409 {
		t.Errorf("a plan that failed is sent: %d %s", status, text)
	}
	if status, text := s.ask("GET", "jobs/a/explain?collection=page&id=1", "", nil); status != 500 || strings.Contains(text, "hunter2") {
		t.Errorf("%d %s", status, text)
	}
}

// TestPlansAreForgotten by their number and by their age, with their files.
func TestPlansAreForgotten(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	files := func() int {
		found, err := filepath.Glob(filepath.Join(temp, "syncd-plans-*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, map[string]string{"a.yaml": jobText}).idle().serve()
		var first api.Work
		for i := range 52 {
			var w api.Work
			if status, text := s.ask("POST", "jobs/a/plan", "", &w); status != 202 {
				t.Fatalf("%d %s", status, text)
			}
			if synctest.Wait(); i == 0 {
				first = s.wait("plans", w.ID)
			}
		}
		var all api.Works
		if s.ask("GET", "plans", "", &all); len(all.Works) != 50 || files() != 50 {
			t.Errorf("%d are kept, in %d files", len(all.Works), files())
		}
		if status, _ := s.ask("GET", "plans/"+first.ID, "", nil); status != 404 {
			t.Error("the oldest is not the one that went")
		}
		time.Sleep(25 * time.Hour)
		all = api.Works{}
		if s.ask("GET", "plans", "", &all); len(all.Works) != 0 || files() != 0 {
			t.Errorf("%d are kept, in %d files", len(all.Works), files())
		}
		s.ask("POST", "jobs/a/plan", "", nil)
		synctest.Wait()
		s.end()
	})
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestAPlanOfAnotherMappingIsNotSent, nor one of another job.
func TestAPlanOfAnotherMappingIsNotSent(t *testing.T) {
	s := newService(t, map[string]string{"a.yaml": jobText, "b.yaml": jobText}).idle().serve()
	var w api.Work
	s.ask("POST", "jobs/a/plan", "", &w)
	s.wait("plans", w.ID)
	if status, text := s.ask("POST", "jobs/b/runs", `{"plan":"`+w.ID+`"}`, nil); status != 409 || !strings.Contains(text, "one of the job a") {
		t.Errorf("%d %s", status, text)
	}
	before, err := s.host.Job("a")
	if err != nil {
		t.Fatal(err)
	}
	s.write("a.yaml", strings.Replace(jobText, "page: page", "page: leaf", 1))
	s.host.Reload()
	s.until("the file is read", func() bool {
		now, err := s.host.Job("a")
		return err == nil && now.Revision != before.Revision && now.State == host.Done
	})
	if status, text := s.ask("POST", "jobs/a/runs", `{"plan":"`+w.ID+`"}`, nil); status != 409 || !strings.Contains(text, "mapping is another one") {
		t.Errorf("%d %s", status, text)
	}
}

// listener is a client of events.
type listener struct {
	header http.Header
	mu     sync.Mutex
	text   strings.Builder
	status int
}

func (l *listener) Header() http.Header { return l.header }
func (l *listener) WriteHeader(s int)   { l.status = s }
func (l *listener) Flush()              {}
func (l *listener) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// heard returns what was told since it was last asked.
func (l *listener) heard() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.text.String()
	l.text.Reset()
	return text
}

func (s *service) listen(ctx context.Context) (l *listener, ended chan struct{}) {
	l, ended = &listener{header: http.Header{}}, make(chan struct{})
	go func() {
		defer close(ended)
		s.api.ServeHTTP(l, httptest.NewRequestWithContext(ctx, "GET", "/api/v1/events", nil))
	}()
	return l, ended
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, map[string]string{"a.yaml": jobText, "b.yaml": jobText})
		s.run = func(_ context.Context, r host.Run) (job.Result, error) {
			<-r.Drain
			return job.Result{}, job.ErrInterrupted
		}
		s.serve()
		s.state("a", host.Running)
		s.state("b", host.Running)
		synctest.Wait()
		l, ended := s.listen(t.Context())
		synctest.Wait()
		text := l.heard()
		if strings.Count(text, "event: job\n") != 2 || !strings.Contains(text, `"name":"a"`) || l.header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("at first: %s", text)
		}
		for _, line := range strings.Split(text, "\n") {
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				var j api.Job
				if err := json.Unmarshal([]byte(data), &j); err != nil || j.State != host.Running {
					t.Error(data, err)
				}
			}
		}
		time.Sleep(14 * time.Second)
		if text := l.heard(); text != "" {
			t.Errorf("nothing has happened: %s", text)
		}
		time.Sleep(2 * time.Second)
		if text := l.heard(); text != ": nothing new\n\n" {
			t.Errorf("a word that it lives: %q", text)
		}
		s.ask("POST", "jobs/a/pause", "", nil)
		time.Sleep(time.Second)
		if text := l.heard(); !strings.Contains(text, `"state":"paused"`) || strings.Contains(text, `"name":"b"`) {
			t.Errorf("paused: %s", text)
		}
		s.ask("POST", "jobs/b/plan", "", nil)
		time.Sleep(3 * time.Second)
		if text := l.heard(); !strings.Contains(text, "event: work\n") || !strings.Contains(text, `"state":"done"`) {
			t.Errorf("a plan: %s", text)
		}
		if err := s.host.Delete("a", "alice"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if text := l.heard(); !strings.Contains(text, "event: job-removed\ndata: {\"name\":\"a\"}\n\n") {
			t.Errorf("removed: %s", text)
		}
		// A client that goes is forgotten, and the end of the service ends the others.
		ctx, cancel := context.WithCancel(t.Context())
		_, gone := s.listen(ctx)
		synctest.Wait()
		cancel()
		<-gone
		s.end()
		<-ended
	})
}

// TestProgressIsTold every second, while a comparison is under way.
func TestProgressIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, map[string]string{"a.yaml": jobText}).idle()
		for i := range 2000 {
			s.source.Insert("page", syncdtest.MemoryDoc{ID: fmt.Sprintf("%04d", i)})
		}
		release := make(chan struct{})
		s.opens = func(ctx context.Context) error {
			<-release
			return nil
		}
		s.serve()
		l, ended := s.listen(t.Context())
		var w api.Work
		s.ask("POST", "jobs/a/plan", "", &w)
		time.Sleep(time.Second)
		if text := l.heard(); !strings.Contains(text, `"state":"running"`) {
			t.Errorf("%s", text)
		}
		close(release)
		time.Sleep(2 * time.Second)
		if text := l.heard(); !strings.Contains(text, `"documents":2000`) {
			t.Errorf("%s", text)
		}
		s.end()
		<-ended
	})
}

func TestClientsOfEventsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, nil).serve()
		ctx, cancel := context.WithCancel(t.Context())
		var all []chan struct{}
		for range 64 {
			_, ended := s.listen(ctx)
			all = append(all, ended)
		}
		synctest.Wait()
		one, ended := s.listen(ctx)
		<-ended
		if one.status != 503 || !strings.Contains(one.heard(), "too_many") {
			t.Error(one.status)
		}
		cancel()
		for _, ended := range all {
			<-ended
		}
		_, ended = s.listen(t.Context())
		synctest.Wait()
		select {
		case <-ended:
			t.Error("there is no room although all have gone")
		default:
		}
		s.end()
		<-ended
	})
}
