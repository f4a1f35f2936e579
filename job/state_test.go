package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/arrival"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/bolt"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

// kept leaves the run "old" of a job in a folder.
func kept(t *testing.T, dir, name string, scope store.Scope, end store.End) {
	t.Helper()
	st, err := bolt.Open(dir, name)
	if err == nil {
		err = errors.Join(st.Begin(t.Context(), store.Info{Job: name, RunID: "old", Scope: scope}), st.Close(t.Context(), end))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// adopted opens the store again and has a job decide about what it holds.
func adopted(t *testing.T, dir, name string, scope store.Scope, within time.Duration, fresh bool) (*Decision, string, store.Info) {
	t.Helper()
	st, err := bolt.Open(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	j := &Job{Config: &config.Config{Name: name}}
	j.Config.Run.ResumeWithin = within
	o := Options{Options: engine.Options{RunID: "new"}}
	d, err := j.adopt(t.Context(), st, scope, fresh, &o)
	info := st.Info()
	if err := errors.Join(err, st.Close(t.Context(), store.End{Outcome: tally.Complete})); err != nil {
		t.Fatal(err)
	}
	return d, o.RunID, info
}

// TestAdopt: a run is resumed unless it is done, contradicts itself, is too old to say anything about now, or worked on something
// else.
func TestAdopt(t *testing.T) {
	scope := store.Scope{Source: "mongo a", Index: "Qdrant at b, c", Sink: "kafka d", Mode: "incremental", Collections: []string{"page", "epic"}, Settings: "s"}
	with := func(change func(*store.Scope)) *store.Scope {
		other := scope
		change(&other)
		return &other
	}
	interrupted := &store.End{Outcome: tally.Interrupted, Resumable: true}
	for name, tc := range map[string]struct {
		left    *store.End // nil is no run at all
		now     *store.Scope
		within  time.Duration
		fresh   bool
		resumes bool
		why     string // of a run that would be resumed and is not
	}{
		"none":               {nil, &scope, time.Hour, false, false, ""},
		"interrupted":        {interrupted, &scope, time.Hour, false, true, ""},
		"killed":             {&store.End{Outcome: tally.Running, Resumable: true}, &scope, time.Hour, false, true, ""},
		"complete":           {&store.End{Outcome: tally.Complete}, &scope, time.Hour, false, false, ""},
		"contradicts itself": {&store.End{Outcome: tally.Stopped}, &scope, time.Hour, false, false, ""},
		"interrupted, old":   {interrupted, &scope, time.Nanosecond, false, false, "it is older than run.resume_within, 1ns"},
		"complete, and old":  {&store.End{Outcome: tally.Complete}, &scope, time.Nanosecond, false, false, ""},
		"told to begin anew": {interrupted, &scope, time.Hour, true, false, ""},
		"another source":     {interrupted, with(func(s *store.Scope) { s.Source = "mongo z" }), time.Hour, false, false, "it had another source (mongo a)"},
		"another index":      {interrupted, with(func(s *store.Scope) { s.Index = "z" }), time.Hour, false, false, "it had another index (Qdrant at b, c)"},
		"no index any more":  {interrupted, with(func(s *store.Scope) { s.Index = "" }), time.Hour, false, false, "it had another mode: it asked the index"},
		"another sink":       {interrupted, with(func(s *store.Scope) { s.Sink = "z" }), time.Hour, false, false, "it had another sink (kafka d)"},
		"another mode":       {interrupted, with(func(s *store.Scope) { s.Mode = "full" }), time.Hour, false, false, "it had another mode (incremental)"},
		"fewer collections": {
			interrupted, with(func(s *store.Scope) { s.Collections = s.Collections[:1] }), time.Hour, false, false,
			"it had another choice of collections (page, epic)",
		},
		"other events": {
			interrupted, with(func(s *store.Scope) { s.Settings = "z" }), time.Hour, false, false,
			"it had another form of events, topics, run.min_age or run.attempts.retry",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if tc.left != nil {
				kept(t, dir, "job", scope, *tc.left)
			}
			d, runID, info := adopted(t, dir, "job", *tc.now, tc.within, tc.fresh)
			want := "new"
			if tc.resumes {
				want = "old"
			}
			if runID != want || info.RunID != want || info.Outcome != tally.Running || (info.Resumes == 1) != tc.resumes {
				t.Errorf("run %s, %+v", runID, info)
			}
			told := d != nil && d.Resumed == tc.resumes && d.Why == tc.why && !d.Interrupted.IsZero()
			if silent := !tc.resumes && tc.why == ""; silent && d != nil || !silent && !told {
				t.Errorf("decided %+v", d)
			}
		})
	}
}

// TestAdoptWithAClockThatWasWrong: a run of a far future is as little one of now as that of a far past.
func TestAdoptWithAClockThatWasWrong(t *testing.T) {
	dir := t.TempDir()
	kept(t, dir, "job", store.Scope{}, store.End{Outcome: tally.Interrupted, Resumable: true})
	synctest.Test(t, func(t *testing.T) { // whose clock is decades behind
		if _, runID, _ := adopted(t, dir, "job", store.Scope{}, 24*time.Hour, false); runID != "new" {
			t.Error("it is resumed")
		}
	})
}

// TestEndOf: what contradicts itself is not resumed, and only who was asked to end was interrupted.
func TestEndOf(t *testing.T) {
	for name, tc := range map[string]struct {
		err   error
		asked bool
		want  store.End
	}{
		"done":                   {nil, false, store.End{Outcome: tally.Complete}},
		"done when asked":        {nil, true, store.End{Outcome: tally.Complete}},
		"drained":                {ErrInterrupted, true, store.End{Outcome: tally.Interrupted, Resumable: true}},
		"cut off":                {context.Canceled, true, store.End{Outcome: tally.Interrupted, Resumable: true}},
		"a plugin's own trouble": {fmt.Errorf("no usable server: %w", context.Canceled), false, store.End{Outcome: tally.Failed, Resumable: true}},
		"an error":               {engine.ErrStopped, false, store.End{Outcome: tally.Failed, Resumable: true}},
		"a guard":                {&tally.GuardError{}, false, store.End{Outcome: tally.Stopped, Resumable: true}},
		"drift":                  {&audit.DriftError{}, false, store.End{Outcome: tally.Stopped, Resumable: true}},
		"consumers that lag":     {&arrival.LagError{}, false, store.End{Outcome: tally.Stopped, Resumable: true}},
		"coverage":               {&tally.CoverageError{}, false, store.End{Outcome: tally.Stopped}},
		"not resumable":          {store.ErrNotResumable, false, store.End{Outcome: tally.Failed}},
	} {
		if got := endOf(tc.err, tc.asked); got != tc.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// memoryJob is the job of a configuration over memory plugins.
func memoryJob(t *testing.T, mapping, run string) (*Job, *Plugins) {
	t.Helper()
	source, checker, sink := syncdtest.NewMemorySource(), syncdtest.NewMemoryChecker(), syncdtest.NewMemorySink()
	registry, err := syncd.NewRegistry(source.Plugin("memory"), checker.Plugin("memory"), sink.Plugin("memory"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "syncd.yaml")
	text := "source: {memory: {}}\nchecker: {memory: {}}\nsink: {memory: {}}\nmapping: {" + mapping + "collections: {page: page}}\nrun: {" + run + "}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, diags := config.Load(config.Input{Path: path, Registry: registry})
	if cfg == nil {
		t.Fatal(diags)
	}
	return &Job{Config: cfg, Logger: slog.New(slog.DiscardHandler)}, &Plugins{Source: source, Checker: checker, Sink: sink}
}

// TestFingerprint: what a run found out says nothing to one that would have asked another question, or done something else about
// the answer. How it works makes no difference.
func TestFingerprint(t *testing.T) {
	const version = "version: {field: updatedAt, payload: updatedAt}, "
	of := func(mapping, run string) string {
		j, p := memoryJob(t, mapping, run)
		scope, err := j.scope(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		return j.fingerprint(scope)
	}
	base := of(version, "")
	for name, tc := range map[string]struct {
		mapping, run string
		same         bool
	}{
		"nothing":        {version, "", true},
		"speed":          {version, "batch_size: 7, readers: 1, sleep: 1s", true},
		"no version":     {"", "", false},
		"another field":  {"version: {field: changedAt, payload: updatedAt}, ", "", false},
		"another key":    {"version: {field: updatedAt, payload: changedAt}, ", "", false},
		"another mode":   {version, "mode: full", false},
		"min age":        {version, "min_age: 1h", false},
		"retry attempts": {version, "attempts: {retry: true}", false},
	} {
		if got := of(tc.mapping, tc.run); (got == base) != tc.same {
			t.Errorf("%s: %s, and %s before", name, got, base)
		}
	}
}

// forgetful is the settings of a sink that keeps nothing of an interrupted run.
type forgetful struct{}

func (forgetful) Continues() bool { return false }

// TestWhatIsNotKeptIsNotResumed: documents that failed before the interruption are not read again, so their dead letters must
// still be there.
func TestWhatIsNotKeptIsNotResumed(t *testing.T) {
	for name, set := range map[string]func(c *config.Config){
		"events":       func(c *config.Config) { c.Sink.Settings = forgetful{} },
		"dead letters": func(c *config.Config) { c.DeadLetter.Settings = forgetful{} },
		"by choice":    func(c *config.Config) { c.Run.Resume = false },
	} {
		j := &Job{Config: &config.Config{Run: config.Run{State: config.State{Resume: true, StateDir: t.TempDir()}}}}
		set(j.Config)
		o := Options{}
		st, d, err := j.openStore(t.Context(), &Plugins{Sink: syncdtest.NewMemorySink()}, store.Scope{}, new(bool), &o)
		if st != nil || d != nil || err != nil || o.Checkpoints != nil {
			t.Errorf("%s: %v, %v, %v", name, st, d, err)
		}
		var usage *UsageError
		if _, _, err := j.openStore(t.Context(), &Plugins{Sink: syncdtest.NewMemoryCommitter()}, store.Scope{}, new(bool), &o); !errors.As(err, &usage) ||
			!strings.HasPrefix(err.Error(), "exactly once needs the run's state: ") {
			t.Errorf("%s, exactly once: %v", name, err)
		}
	}
}
