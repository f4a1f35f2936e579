package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/planfile"
	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/tally"
)

// world is a host over a folder, whose runs do what a test says. It lives in a synctest bubble.
type world struct {
	*Host
	t    *testing.T
	dir  string
	stop chan struct{}
	done chan error

	mu   sync.Mutex
	runs []Run                                       // that have begun
	do   func(ctx context.Context, r Run) error      // what they do; nil ends at once
	per  map[string]func(context.Context, Run) error // by job, before do
}

func newWorld(t *testing.T, o Options) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), per: map[string]func(context.Context, Run) error{}}
	w.open(o)
	return w
}

// open starts a host over the folder, as a new process would.
func (w *world) open(o Options) {
	w.t.Helper()
	if o.Paths == nil {
		o.Paths = []string{w.dir}
	}
	o.StateDir, o.Load, o.Run = filepath.Join(w.dir, "state"), loadFake, w.run
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Poll == 0 {
		o.Poll = time.Second
	}
	if o.StopTimeout == 0 {
		o.StopTimeout = 30 * time.Second
	}
	h, err := New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Host, w.stop, w.done = h, make(chan struct{}), make(chan error, 1)
	go func() { w.done <- h.Serve(context.Background(), w.stop) }()
	synctest.Wait()
}

func (w *world) close() {
	w.t.Helper()
	close(w.stop)
	if err := <-w.done; err != nil {
		w.t.Error(err)
	}
}

func (w *world) run(ctx context.Context, r Run) (job.Result, error) {
	w.mu.Lock()
	w.runs = append(w.runs, r)
	do := w.per[r.Config.Name]
	if do == nil {
		do = w.do
	}
	w.mu.Unlock()
	if do == nil {
		return job.Result{}, nil
	}
	return job.Result{}, do(ctx, r)
}

// begun is how many runs of a job have begun.
func (w *world) begun(name string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.runs {
		if r.Config.Name == name {
			n++
		}
	}
	return n
}

// write makes a file of a job, which loadFake reads.
func (w *world) write(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	// The bubble's clock stands still while the test works, but files have the time of the machine.
	now := time.Now()
	if err := os.Chtimes(path, now, now); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) state(name string) State {
	w.t.Helper()
	synctest.Wait()
	s, err := w.Job(name)
	if err != nil {
		return ""
	}
	return s.State
}

func (w *world) wants(name string, want State) Status {
	w.t.Helper()
	if got := w.state(name); got != want {
		s, _ := w.Job(name)
		w.t.Fatalf("%s is %q, not %q: %+v", name, got, want, s)
	}
	s, _ := w.Job(name)
	return s
}

// pass lets time pass.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// loadFake reads a configuration of words: name=…, every=…, cron=… with _ for spaces, follow, memory=…, extends=… and bad.
func loadFake(path string) (r config.Result) {
	text, err := os.ReadFile(path)
	r.Files = []string{path}
	c := &config.Config{Name: strings.TrimSuffix(filepath.Base(path), ".yaml"), Files: r.Files}
	for _, word := range strings.Fields(string(text)) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "name":
			c.Name = value
		case "every":
			c.Schedule.Every, _ = time.ParseDuration(value)
			c.Schedule.Jitter = new(time.Duration)
		case "cron":
			c.Schedule.Cron, c.Schedule.Jitter = strings.ReplaceAll(value, "_", " "), new(time.Duration)
		case "follow":
			c.Run.Follow = true
		case "memory":
			_, _ = fmt.Sscan(value, &c.Run.Memory)
		case "extends":
			r.Files = append([]string{filepath.Join(filepath.Dir(path), value)}, r.Files...)
		case "bad":
			err = errors.New("it is bad")
		}
	}
	if err != nil {
		r.Diagnostics = spec.Diagnostics{{Severity: spec.Error, Message: err.Error()}}
		return r
	}
	r.Config = c
	return r
}

// untilDrained is a run that follows.
func untilDrained(_ context.Context, r Run) error {
	<-r.Drain
	return nil
}

// bubble runs a test with a clock of its own.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func TestSchedules(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		w.write("once.yaml", "")
		w.write("often.yaml", "every=10m")
		w.write("always.yaml", "follow")
		w.per["always"] = untilDrained
		w.Reload()
		pass(time.Second)
		w.wants("once", Done)
		s := w.wants("often", Waiting)
		if s.Next == nil || time.Until(*s.Next) > 10*time.Minute || s.Schedule != "every 10m0s" {
			t.Errorf("the next run: %v, %s", s.Next, s.Schedule)
		}
		w.wants("always", Running)
		pass(time.Hour)
		if once, often, always := w.begun("once"), w.begun("often"), w.begun("always"); once != 1 || often != 7 || always != 1 {
			t.Errorf("there were %d, %d and %d runs", once, often, always)
		}
		w.close()
	})
}

func TestFailuresAreTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		w.do = func(context.Context, Run) error {
			return syncd.Hint(errors.New("no server mongodb://ann:hush@db"), "start mongodb://ann:hush@db")
		}
		w.per["guarded"] = func(context.Context, Run) error {
			return &job.EndError{Outcome: tally.Stopped, Err: errors.New("drift")}
		}
		w.per["fatal"] = func(context.Context, Run) error { panic("a plugin") }
		w.per["good"] = func(context.Context, Run) error { return nil }
		for _, name := range []string{"down", "guarded", "fatal", "good"} {
			w.write(name+".yaml", "")
		}
		w.write("daily.yaml", "every=1h")
		w.per["daily"] = w.per["guarded"]
		w.Reload()
		pass(time.Second)
		if s := w.wants("down", Retrying); !strings.HasPrefix(s.Reason, "no server mongodb://") || !strings.HasPrefix(s.Hint, "start ") || strings.Contains(s.Reason+s.Hint, "hush") || s.Next == nil || s.Healthy() {
			t.Errorf("%+v", s)
		}
		if s := w.wants("fatal", Retrying); !strings.Contains(s.Reason, "panic: a plugin") {
			t.Errorf("%+v", s)
		}
		w.wants("guarded", Failed)
		if s := w.wants("daily", Waiting); s.Reason != "drift" {
			t.Errorf("%+v", s)
		}
		w.wants("good", Done)
		pass(time.Hour)
		if n := w.begun("down"); n < 15 || n > 30 {
			t.Errorf("there were %d attempts in an hour", n)
		}
		if guarded, daily := w.begun("guarded"), w.begun("daily"); guarded != 1 || daily != 2 {
			t.Errorf("what a guard stopped ran %d times, by a schedule %d times", guarded, daily)
		}
		w.mu.Lock()
		w.do = nil
		w.mu.Unlock()
		if err := w.Restart("down", "test"); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		w.wants("down", Done)
		w.per["guarded"] = nil
		if err := w.Trigger("guarded", Trigger{}, "test"); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		w.wants("guarded", Done)
		w.close()
	})
}

func TestWishesOutliveTheProcess(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		w.do = untilDrained
		w.write("a.yaml", "follow")
		w.write("b.yaml", "follow")
		w.Reload()
		pass(time.Second)
		for name, want := range map[string]Desired{"a": WantPaused, "b": WantStopped} {
			if err := w.Want(name, want, "ann"); err != nil {
				t.Fatal(err)
			}
		}
		w.wants("a", Paused)
		if s := w.wants("b", Stopped); s.Wish.By != "ann" {
			t.Errorf("it is wanted by %q", s.Wish.By)
		}
		if err := w.Trigger("a", Trigger{}, ""); !errors.Is(err, ErrConflict) {
			t.Errorf("a paused job was triggered: %v", err)
		}
		if err := w.Restart("b", ""); err != nil {
			t.Fatal(err)
		}
		w.wants("b", Stopped)
		w.close()
		w.open(Options{})
		w.wants("a", Paused)
		w.wants("b", Stopped)
		if n := w.begun("a") + w.begun("b"); n != 2 {
			t.Errorf("there were %d runs", n)
		}
		if err := w.Want("a", WantRunning, "ann"); err != nil {
			t.Fatal(err)
		}
		w.wants("a", Running)
		if err := w.Want("nobody", WantPaused, ""); !errors.Is(err, ErrNoJob) {
			t.Errorf("a job that is not there: %v", err)
		}
		w.close()
	})
}

func TestAWishThatCannotBeKeptChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		w.do = untilDrained
		w.write("a.yaml", "follow")
		w.Reload()
		pass(time.Second)
		if err := os.WriteFile(filepath.Join(w.dir, "state"), nil, 0o600); err != nil { // where the folder would be
			t.Fatal(err)
		}
		if err := w.Want("a", WantStopped, ""); err == nil {
			t.Error("it was kept")
		}
		w.wants("a", Running)
		w.close()
	})
}

func TestFilesThatChange(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log bytes.Buffer
		w := newWorld(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		w.do = untilDrained
		w.write("a.yaml", "follow")
		w.write("b.yaml", "follow")
		w.Reload()
		pass(time.Second)

		w.write("a.yaml", "follow memory=7")
		pass(time.Second)
		if n := w.begun("a"); n != 1 {
			t.Error("a file was read that may still be written")
		}
		pass(3 * time.Second)
		w.wants("a", Running)
		if n := w.begun("a"); n != 2 || w.runs[len(w.runs)-1].Config.Run.Memory != 7 {
			t.Errorf("the changed file had no effect: %d runs", n)
		}

		w.write("a.yaml", "bad")
		pass(3 * time.Second)
		if s := w.wants("a", Running); len(s.Problems) != 1 || s.Healthy() || w.begun("a") != 2 {
			t.Errorf("a file that can't be used: %+v", s)
		}
		if n := strings.Count(log.String(), "can't be used as it is"); n != 1 {
			t.Errorf("that a file can't be used was said %d times: %s", n, &log)
		}
		w.write("a.yaml", "follow memory=7")
		pass(3 * time.Second)
		if s := w.wants("a", Running); len(s.Problems) != 0 || w.begun("a") != 2 {
			t.Errorf("a file that is as it was: %+v, %d runs", s, w.begun("a"))
		}

		if err := os.Remove(filepath.Join(w.dir, "a.yaml")); err != nil {
			t.Fatal(err)
		}
		pass(5 * time.Second)
		if s := w.wants("a", Removed); !strings.Contains(s.Reason, "is gone") || s.Hint == "" {
			t.Errorf("%+v", s)
		}
		w.wants("b", Running)
		w.write("a.yaml", "follow memory=7")
		pass(5 * time.Second)
		w.wants("a", Running)
		if n := w.begun("b"); n != 1 {
			t.Errorf("the other job ran %d times", n)
		}
		w.close()
	})
}

// TestAFolderThatGoesIsToldOnce: what keeps jobs from being found is told when it begins, when it is something else, and when it is over.
func TestAFolderThatGoesIsToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var said strings.Builder
		var mu sync.Mutex
		w := newWorld(t, Options{Logger: slog.New(slog.NewTextHandler(&locked{&mu, &said}, nil))})
		told := func(what string, want int) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if n := strings.Count(said.String(), what); n != want {
				t.Errorf("%q is said %d times, want %d:\n%s", what, n, want, said.String())
			}
		}
		away := w.dir + ".away"
		for i := range 2 {
			if err := os.Rename(w.dir, away); err != nil {
				t.Fatal(err)
			}
			pass(time.Minute)
			told("can't look for jobs", i+1)
			told("looked for again", i)
			if err := os.Rename(away, w.dir); err != nil {
				t.Fatal(err)
			}
			pass(time.Minute)
			told("looked for again", i+1)
		}
		w.close()
	})
}

// locked is a writer for several goroutines.
type locked struct {
	mu *sync.Mutex
	to io.Writer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(b)
}

func TestOtherFilesOfAFolder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		w.write("base.yaml", "bad")
		w.write("a.yaml", "extends=base.yaml every=1h")
		w.write("b.yaml", "name=a")
		w.write("never.yaml", "bad")
		w.write("notes.txt", "bad")
		w.write(".hidden.yaml", "")
		if err := os.Mkdir(filepath.Join(w.dir, "folder.yaml"), 0o700); err != nil {
			t.Fatal(err)
		}
		w.Reload()
		pass(time.Second)
		var names []string
		for _, s := range w.Jobs() {
			names = append(names, s.Name)
		}
		if !slices.Equal(names, []string{"a", "never"}) {
			t.Errorf("the jobs are %q", names)
		}
		if s := w.wants("a", Waiting); len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "b.yaml is not run") || filepath.Base(s.File) != "a.yaml" {
			t.Errorf("two files with one name: %+v", s)
		}
		if s := w.wants("never", Invalid); len(s.Problems) != 1 || s.Hint == "" {
			t.Errorf("%+v", s)
		}
		if err := os.Rename(filepath.Join(w.dir, "b.yaml"), filepath.Join(w.dir, "c.yaml")); err != nil {
			t.Fatal(err)
		}
		w.Reload()
		pass(time.Second)
		if s := w.wants("a", Waiting); len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "c.yaml is not run") {
			t.Errorf("as many problems as before, and another one: %+v", s)
		}
		w.write("base.yaml", "every=1h")
		pass(3 * time.Second)
		if n := w.begun("a"); n != 1 {
			t.Errorf("it ran %d times: what it extends has changed, but its time has not come", n)
		}
		w.close()
	})
}

func TestAFolderThatCannotBeReadEndsNoJob(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		w.do = untilDrained
		w.write("a.yaml", "follow")
		w.Reload()
		pass(time.Second)
		elsewhere := w.dir + "-elsewhere"
		if err := os.Rename(w.dir, elsewhere); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		w.wants("a", Running)
		if w.Problem() == "" {
			t.Error("nobody says that the folder can't be read")
		}
		if err := os.Rename(elsewhere, w.dir); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		w.wants("a", Running)
		if n := w.begun("a"); n != 1 || w.Problem() != "" {
			t.Errorf("it ran %d times: %s", n, w.Problem())
		}
		w.close()
	})
}

func TestARunThatHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		release := make(chan struct{})
		w.per["hangs"] = func(context.Context, Run) error { <-release; return nil }
		w.per["slow"] = func(ctx context.Context, _ Run) error { <-ctx.Done(); return ctx.Err() }
		w.per["good"] = untilDrained
		for _, name := range []string{"hangs", "slow", "good"} {
			w.write(name+".yaml", "follow")
		}
		w.Reload()
		pass(time.Second)
		for _, name := range []string{"hangs", "slow"} {
			if err := w.Want(name, WantStopped, ""); err != nil {
				t.Fatal(err)
			}
		}
		w.wants("hangs", Ending)
		w.wants("slow", Ending)
		if err := w.Idle("slow", func(*config.Config) error { return nil }); !errors.Is(err, ErrConflict) {
			t.Errorf("its state can be changed while it ends: %v", err)
		}
		pass(31 * time.Second)
		w.wants("slow", Stopped)
		called := false
		if err := w.Idle("slow", func(*config.Config) error { called = true; return nil }); err != nil || !called {
			t.Errorf("its state can't be changed: %v", err)
		}
		pass(time.Minute)
		if s := w.wants("hangs", Ending); !strings.Contains(s.Reason, "does not end") || s.Hint == "" {
			t.Errorf("%+v", s)
		}
		w.wants("good", Running)
		close(w.stop)
		select {
		case <-w.done:
		case <-time.After(time.Minute):
			t.Error("a run that hangs keeps the service from ending")
		}
		close(release)
	})
}

func TestJobsWaitForMemory(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Memory: 10})
		w.do = func(context.Context, Run) error { time.Sleep(time.Hour); return nil }
		for i := range 3 {
			w.write(fmt.Sprintf("j%d.yaml", i), "memory=5")
		}
		w.write("large.yaml", "memory=100")
		w.Reload()
		pass(time.Second)
		states := map[State]int{}
		for _, s := range w.Jobs() {
			states[s.State]++
			if s.State == Waiting && !strings.Contains(s.Reason, "memory") {
				t.Errorf("%+v", s)
			}
		}
		if states[Running] < 1 || states[Running] > 2 || states[Waiting] < 2 {
			t.Errorf("%v", states)
		}
		pass(4 * time.Hour)
		for _, s := range w.Jobs() {
			if s.State != Done {
				t.Errorf("%+v", s)
			}
		}
		w.close()
	})
}

func TestTriggers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		asked := make(chan struct{})
		w.per["follows"] = func(_ context.Context, r Run) error {
			for {
				select {
				case <-r.Again:
					asked <- struct{}{}
				case <-r.Drain:
					return nil
				}
			}
		}
		w.per["slow"] = func(context.Context, Run) error { time.Sleep(time.Hour); return nil }
		w.write("follows.yaml", "follow")
		w.write("once.yaml", "")
		w.write("slow.yaml", "")
		w.Reload()
		pass(time.Second)
		if err := w.Trigger("follows", Trigger{}, ""); err != nil {
			t.Fatal(err)
		}
		<-asked
		if err := w.Trigger("follows", Trigger{Fresh: true}, ""); err != nil { // it looks at everything anyway
			t.Fatal(err)
		}
		<-asked
		if err := w.Trigger("follows", Trigger{Plan: &planfile.Plan{}}, ""); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "follows changes") {
			t.Errorf("a plan for a job that follows: %v", err)
		}
		if err := w.Trigger("slow", Trigger{}, ""); !errors.Is(err, ErrConflict) {
			t.Errorf("a job runs twice at once: %v", err)
		}
		if err := w.Trigger("once", Trigger{Fresh: true}, ""); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		w.mu.Lock()
		last := w.runs[len(w.runs)-1]
		w.mu.Unlock()
		if last.Config.Name != "once" || !*last.Fresh {
			t.Errorf("%+v", last)
		}
		pass(2 * time.Hour)
		w.close()
	})
}

func TestDelete(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		w.do = untilDrained
		w.write("a.yaml", "follow")
		w.Reload()
		pass(time.Second)
		if err := w.Delete("a", ""); err != nil {
			t.Fatal(err)
		}
		pass(5 * time.Second)
		if s := w.state("a"); s != "" {
			t.Errorf("it is %s", s)
		}
		if err := w.Write(filepath.Join(w.dir, "a.yaml"), []byte("follow"), ""); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		w.wants("a", Running)
		w.close()
	})
}

// TestAWrittenFileMayBeALink: what it leads to is written, and the link stays.
func TestAWrittenFileMayBeALink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		target, link := filepath.Join(t.TempDir(), "kept.yaml"), filepath.Join(w.dir, "a.yaml")
		if err := errors.Join(os.WriteFile(target, []byte("every=1h"), 0o640), os.Symlink(target, link)); err != nil {
			t.Fatal(err)
		}
		w.Reload()
		pass(time.Second)
		if err := w.Write(link, []byte("every=2h"), ""); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(target)
		info, ierr := os.Stat(target)
		if err := errors.Join(err, ierr); err != nil || string(text) != "every=2h" || info.Mode().Perm() != 0o640 {
			t.Errorf("the file holds %q: %v, %v", text, info, err)
		}
		if s := w.wants("a", Waiting); s.Schedule != "every 2h0m0s" {
			t.Errorf("%+v", s)
		}
		w.close()
	})
}

// TestManyJobsForAnHour has jobs of all kinds change state for an hour of the bubble's time. That the bubble ends shows that no goroutine
// is left of any of them.
func TestManyJobsForAnHour(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Poll: time.Minute})
		for i := range 100 {
			switch {
			case i < 20:
				w.write(fmt.Sprintf("j%02d.yaml", i), "follow")
				w.per[fmt.Sprintf("j%02d", i)] = untilDrained
			case i < 90:
				w.write(fmt.Sprintf("j%02d.yaml", i), fmt.Sprintf("every=%dm", 1+i%7))
				w.per[fmt.Sprintf("j%02d", i)] = func(context.Context, Run) error { time.Sleep(20 * time.Second); return nil }
			default:
				w.write(fmt.Sprintf("j%02d.yaml", i), "every=3m")
				w.per[fmt.Sprintf("j%02d", i)] = func(context.Context, Run) error { return errors.New("down") }
			}
		}
		w.Reload()
		pass(time.Second)
		for i := range 60 {
			name := fmt.Sprintf("j%02d", i)
			for _, want := range []Desired{WantPaused, WantRunning, WantStopped, WantRunning} {
				if err := w.Want(name, want, "test"); err != nil {
					t.Fatal(err)
				}
				pass(15 * time.Second)
			}
		}
		for _, s := range w.Jobs() {
			if n := w.begun(s.Name); n < 2 {
				t.Errorf("%s ran %d times: %+v", s.Name, n, s)
			}
		}
		w.close()
	})
}

// A timer fires a little late, and a machine may have slept: the time that has come is not taken for one that was missed.
func TestTheTimeOfAScheduleComes(t *testing.T) {
	now := time.Now()
	for name, s := range map[string]config.Schedule{"every": {Every: time.Hour}, "cron": {Cron: "0 3 * * *"}} {
		k := &keeper{name: name, file: "a.yaml", cfg: &config.Config{Schedule: s}, wanted: WantRunning, next: now.Add(-time.Millisecond)}
		if run, until := k.decide(now); run == nil {
			t.Errorf("%s: the next run is at %s", name, until)
		}
	}
}

func TestANewScheduleTakesEffect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		w.write("a.yaml", "every=24h")
		w.Reload()
		pass(10 * time.Minute)
		w.write("a.yaml", "every=1h")
		w.Reload()
		pass(time.Minute)
		if s := w.wants("a", Waiting); s.Next == nil || time.Until(*s.Next) > time.Hour {
			t.Errorf("the next run: %v", s.Next)
		}
		pass(time.Hour)
		if n := w.begun("a"); n != 2 {
			t.Errorf("there were %d runs", n)
		}
		w.close()
	})
}

func TestWhatWasEndedGoesOn(t *testing.T) {
	interrupted := func(_ context.Context, r Run) error {
		<-r.Drain
		return job.ErrInterrupted
	}
	tests := map[string]func(w *world){
		"a restart": func(w *world) { _ = w.Restart("a", "") },
		"a pause": func(w *world) {
			_ = w.Want("a", WantPaused, "")
			pass(time.Minute)
			w.wants("a", Paused)
			_ = w.Want("a", WantRunning, "")
		},
		"a changed file": func(w *world) {
			w.write("a.yaml", "cron=@every_2h memory=1")
			w.Reload()
		},
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, Options{})
				w.do = interrupted
				w.write("a.yaml", "cron=@every_1h")
				w.Reload()
				pass(time.Second)
				if err := w.Trigger("a", Trigger{}, ""); err != nil { // not by its schedule
					t.Fatal(err)
				}
				w.wants("a", Running)
				end(w)
				pass(time.Second)
				w.wants("a", Running)
				if n := w.begun("a"); n != 2 {
					t.Errorf("there were %d runs", n)
				}
				w.close()
			})
		})
	}
}

func TestWhatAnEarlierProcessHasBegunGoesOn(t *testing.T) {
	for outcome, want := range map[tally.Outcome]int{tally.Interrupted: 1, tally.Complete: 0} {
		bubble(t, func(t *testing.T) {
			runs := t.TempDir()
			if err := runlog.Append(runs, runlog.Run{Job: "a", Started: time.Now(), Outcome: outcome}); err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, Options{RunsDir: func(*config.Config) string { return runs }})
			w.write("a.yaml", "cron=@every_1h")
			w.Reload()
			pass(time.Minute)
			if n := w.begun("a"); n != want {
				t.Errorf("there were %d runs behind one that was %s", n, outcome)
			}
			w.close()
		})
	}
}

func TestARunThatIsDoneWhenItIsPausedIsNotRunAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		w.do = untilDrained // and is done by then
		w.write("a.yaml", "")
		w.Reload()
		pass(time.Second)
		if err := w.Want("a", WantPaused, ""); err != nil {
			t.Fatal(err)
		}
		w.wants("a", Paused)
		if err := w.Want("a", WantRunning, ""); err != nil {
			t.Fatal(err)
		}
		w.wants("a", Done)
		w.close()
	})
}

// A file that changes when a run has just ended is not what that run has done.
func TestARunIsNotThatOfALaterFile(t *testing.T) {
	c := &config.Config{}
	k := &keeper{name: "a", file: "a.yaml", cfg: c, wanted: WantRunning, ends: true}
	k.concluded(c, Trigger{}, nil, false, time.Now())
	if run, _ := k.decide(time.Now()); run == nil {
		t.Errorf("it is %s", k.state)
	}
}

func TestAJobThatIsMadeAgainWhileItEndsIsWantedAsSaid(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		w.do = func(_ context.Context, r Run) error {
			<-r.Drain
			time.Sleep(10 * time.Second)
			return nil
		}
		w.write("a.yaml", "follow")
		w.Reload()
		pass(time.Second)
		if err := w.Delete("a", ""); err != nil {
			t.Fatal(err)
		}
		if err := w.Create("a", filepath.Join(w.dir, "a.yaml"), []byte("follow"), WantPaused, ""); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		w.wants("a", Paused)
		if n := w.begun("a"); n != 1 {
			t.Errorf("there were %d runs", n)
		}
		w.close()
	})
}

func TestAResumedJobThatWasToBeTriedAgainIsTriedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		w.do = func(context.Context, Run) error { return errors.New("no server") }
		w.write("a.yaml", "cron=@every_1h")
		w.Reload()
		pass(time.Second)
		if err := w.Trigger("a", Trigger{}, ""); err != nil {
			t.Fatal(err)
		}
		w.wants("a", Retrying)
		w.do = nil
		if err := w.Want("a", WantRunning, ""); err != nil {
			t.Fatal(err)
		}
		w.wants("a", Waiting)
		if n := w.begun("a"); n != 2 {
			t.Errorf("there were %d runs", n)
		}
		w.close()
	})
}

// TestNothingBeginsAtTheEnd, though a file comes while the jobs end.
func TestNothingBeginsAtTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		w.per["a"] = func(_ context.Context, r Run) error {
			<-r.Drain
			time.Sleep(time.Second)
			return nil
		}
		w.write("a.yaml", "follow")
		w.Reload()
		pass(time.Second)
		close(w.stop)
		synctest.Wait()
		if err := w.Write(filepath.Join(w.dir, "b.yaml"), []byte("follow"), ""); err != nil {
			t.Fatal(err)
		}
		if err := <-w.done; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if n := w.begun("b"); n != 0 {
			t.Errorf("%d runs began", n)
		}
	})
}
