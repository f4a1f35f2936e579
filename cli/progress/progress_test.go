package progress

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/tally"
)

// at is a run after some seconds, whose collections are given as {before, scanned, acked}.
func at(seconds int, collections ...[3]int64) job.Snapshot {
	s := job.Snapshot{RunID: uuid.Nil.String(), Started: time.Unix(0, 0).UTC(), Elapsed: time.Duration(seconds) * time.Second, Phase: job.PhaseRead}
	s.LastMove = time.Now()
	for i, c := range collections {
		n := tally.Counts{Scanned: c[1], Present: c[1] - c[2], Missing: c[2], Emitted: c[2], Acked: c[2]}
		s.Collections = append(s.Collections, engine.CollectionProgress{
			Name: string(rune('a' + i)), Before: c[0], Started: c[0] >= 0, Done: c[0] >= 0 && c[0] == c[1], Counts: n, Splits: 2, SplitsDone: 1,
		})
		s.Total.Add(n)
	}
	return s
}

// seen is what a person sees after the snapshots, one second apart.
func seenAfter(snapshots ...job.Snapshot) view {
	var m speedometer
	var v view
	for _, s := range snapshots {
		v = view{Snapshot: s, rates: m.update(s.Started.Add(s.Elapsed), s)}
	}
	return v
}

func TestProgressLine(t *testing.T) {
	for _, c := range []struct {
		name string
		v    view
		want string
	}{
		{"nothing yet", seenAfter(at(1, [3]int64{-1, 0, 0})), "- of documents (0), 0/s, 0 sent, 0 of 1 collection done, ETA -"},
		{"half", seenAfter(at(10, [3]int64{1000, 500, 20})), "50% of documents (500/1000), 50/s, 20 sent, 0 of 1 collection done, ETA 10s"},
		{"two", seenAfter(at(10, [3]int64{1000, 1000, 0}, [3]int64{3_000_000, 1000, 0})), "0% of documents (2000/3.0M), 200/s, 0 sent, 1 of 2 collections done, ETA 4h09m"},
		{"total not known", seenAfter(at(10, [3]int64{1000, 500, 20}, [3]int64{-1, 0, 0})), "- of documents (500), 50/s, 20 sent, 0 of 2 collections done, ETA -"},
		{"more than counted", seenAfter(at(10, [3]int64{100, 120, 0})), "100% of documents (120/120), 12/s, 0 sent, 0 of 1 collection done, ETA 0s"},
		{"of a job that embeds", seenAfter(embedding(at(10, [3]int64{1000, 500, 20}), 12_400_000, 0.248)), "50% of documents (500/1000), 50/s, 20 sent, 12.4M tokens (about $0.25) embedded, 0 of 1 collection done, ETA 10s"},
		{"at an unknown price", seenAfter(embedding(at(10, [3]int64{1000, 500, 20}), 99, 0)), "50% of documents (500/1000), 50/s, 20 sent, 99 tokens embedded, 0 of 1 collection done, ETA 10s"},
		{"nothing embedded yet", seenAfter(embedding(at(10, [3]int64{1000, 500, 20}), 0, 0)), "50% of documents (500/1000), 50/s, 20 sent, 0 of 1 collection done, ETA 10s"},
		{"following", seenAfter(embedding(streamed(1, 1, 0, time.Hour, true), 99, 0)), "following: idle, 1 change read, 1 sent, 99 tokens embedded"},
	} {
		if got := c.v.line(); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
	v := seenAfter(embedding(at(10, [3]int64{1000, 500, 20}), 99, 0.5))
	if text, err := json.Marshal(v.object()); err != nil || !strings.Contains(string(text), `"embedded":{"tokens":99,"texts":1,"cost":0.5}`) {
		t.Errorf("%s, %v", text, err)
	}
}

// embedding has a snapshot say that so many tokens were embedded.
func embedding(s job.Snapshot, tokens int64, cost float64) job.Snapshot {
	s.Embedded = &job.Embedded{Usage: syncd.Usage{Tokens: tokens, Texts: min(tokens, 1)}, Cost: cost}
	return s
}

// TestProgressRate checks that the rate is that of the last seconds, and that what an earlier run did is no part of it.
func TestProgressRate(t *testing.T) {
	var m speedometer
	var rates map[string]float64
	for i := range 60 {
		s := at(i, [3]int64{1_000_000, 100_000 + int64(i)*10, 0}) // ten a second
		if i > 30 {
			s = at(i, [3]int64{1_000_000, 100_300 + int64(i-30)*100, 0}) // then a hundred
		}
		s.Resumed, s.Collections[0].Earlier.Scanned = 100_000, 100_000
		rates = m.update(s.Started.Add(s.Elapsed), s)
		if i == 29 && (rates["a"] < 9 || rates["a"] > 11) {
			t.Errorf("after 29 s: %v", rates)
		}
	}
	if rates["a"] < 99 || rates["a"] > 101 || rates[""] != rates["a"] {
		t.Errorf("in the end: %v", rates)
	}
}

func TestProgressWhole(t *testing.T) {
	v := seenAfter(at(10, [3]int64{1000, 500, 20}, [3]int64{-1, 0, 0}))
	v.Working[engine.StageWrite], v.Stalled, v.Waiting = 3, true, 1
	text := v.whole()
	for _, want := range []string{
		"run 00000000-0000-0000-0000-000000000000 after 10s: ", "  a ", "500/1000 documents, 480 present, 20 sent, 0 failed, 1 of 2 splits, 50%, 50/s, ETA 10s",
		"scan 0 check 0 fetch 0 write 3 STALLED; 1 batch waiting",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.Contains(text, "\n  b ") {
		t.Errorf("a collection that has not begun shows:\n%s", text)
	}
}

func TestProgressJSON(t *testing.T) {
	v := seenAfter(at(10, [3]int64{1000, 500, 20}))
	text, err := json.Marshal(v.object())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"time":"1970-01-01T00:00:10Z","run_id":"00000000-0000-0000-0000-000000000000","phase":"reading","documents":500,"expected":1000,"documents_per_second":50,"eta_seconds":10,` +
		`"counts":{"scanned":500,"present":480,"missing":20,"emitted":20,"acked":20},"bytes":0,"stalled":false,"working":{"check":0,"fetch":0,"scan":0,"transform":0,"write":0},` +
		`"collections":{"a":{"expected":1000,"done":false,"counts":{"scanned":500,"present":480,"missing":20,"emitted":20,"acked":20}}}}`
	if string(text) != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

func TestShortNumbers(t *testing.T) {
	for n, want := range map[float64]string{0: "0", 9999: "9999", 10_000: "10k", 999_400: "999k", 1_000_000: "1.0M", 99_000_000: "99.0M", 100_000_000: "100M"} {
		if got := short(n); got != want {
			t.Errorf("%g is %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0s", 59 * time.Second: "59s", time.Minute: "1m00s", 90 * time.Minute: "1h30m"} {
		if got := brief(d); got != want {
			t.Errorf("%s is %s, want %s", d, got, want)
		}
	}
}

// buffer is written to by the progress, and read by the test.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestSignalPrintsProgress asks a run that has not begun, and then one that has; standard error is no terminal.
func TestSignalPrintsProgress(t *testing.T) {
	var out buffer
	var m job.Monitor
	p := Show(Options{Form: Auto, Monitor: &m, Output: NewOutput(&out)})
	if p.form != Plain || p.Writer(&out) != &out {
		t.Errorf("form %s", p.form)
	}
	held := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = job.Run(t.Context(), job.Options{
			Options: engine.Options{RunID: "the-run", BatchSize: 1, BatchBytes: 1, Logger: slog.New(slog.DiscardHandler)},
			Monitor: &m, Started: func(job.IndexReport, bool) { <-held },
		})
	}()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(out.String(), "run the-run after ") {
		if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("nothing is shown: %s", out.String())
		}
	}
	close(held)
	<-ended
	p.Stop()
	quiet := out.String()
	if strings.Contains(quiet, "progress:") {
		t.Errorf("a line came at once: %s", quiet)
	}
}

func TestProgressForms(t *testing.T) {
	for _, form := range []string{"auto", "bars", "plain", "json", "none"} {
		if err := Check(form); err != nil {
			t.Error(err)
		}
	}
	if err := Check("fancy"); err == nil || !strings.Contains(err.Error(), "--progress must be auto, bars, plain, json or none") {
		t.Errorf("%v", err)
	}
}

// TestScreen checks that a frame begins in the first column, wherever the cursor is by then.
func TestScreen(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := &screen{out: f}
	for _, frame := range []string{"one\ntwo\n", "three\n", ""} {
		s.WriteString(frame)
		if err := s.Flush(strings.Count(frame, "\n")); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(f.Name())
	if want := "one\ntwo\n\r\x1b[2A\x1b[Jthree\n\r\x1b[1A\x1b[J"; err != nil || string(got) != want {
		t.Errorf("%v, got %q, want %q", err, got, want)
	}
}

// TestLogAboveBars checks that a line of the log stands whole while bars are drawn, and comes out when they are gone, too.
func TestLogAboveBars(t *testing.T) {
	var out buffer
	above := NewOutput(&out)
	log := slog.New(slog.NewTextHandler(above, nil))
	p := Show(Options{Form: Bars, Monitor: &job.Monitor{}, Output: above})
	if above.bars.Load() == nil {
		t.Fatal("the log does not know of the bars")
	}
	log.Warn("meanwhile")
	p.Stop()
	log.Warn("afterwards")
	for _, want := range []string{"meanwhile", "afterwards"} {
		if got := out.String(); strings.Count(got, "level=WARN msg="+want+"\n") != 1 {
			t.Errorf("%s is not there once: %q", want, got)
		}
	}
	if above.bars.Load() != nil {
		t.Error("the log still goes to the bars")
	}
}

// TestSignalAnswersPrograms checks that SIGUSR1 puts no other lines among those of JSON.
func TestSignalAnswersPrograms(t *testing.T) {
	v := seenAfter(at(10, [3]int64{1000, 500, 20}))
	for form, want := range map[string]string{JSON: `{"time":`, Plain: "run 0000", None: "run 0000"} {
		var out buffer
		p := &Progress{form: form, out: NewOutput(&out)}
		p.answer(v)
		if !strings.HasPrefix(out.String(), want) {
			t.Errorf("%s: %s", form, out.String())
		}
	}
	var out buffer
	p := &Progress{form: Plain, log: slog.New(slog.NewJSONHandler(&out, nil))}
	p.answer(v)
	if !strings.HasPrefix(out.String(), `{"time":`) {
		t.Errorf("a log of JSON: %s", out.String())
	}
}

// streamed is a job that has followed for some seconds; heard and made are how long ago the source was heard, and the last change
// that was handled was made.
func streamed(seconds int, changes int64, heard, made time.Duration, current bool) job.Snapshot {
	s := at(seconds)
	s.Phase = job.PhaseFollow
	n := tally.Counts{Scanned: changes, Unasked: changes, Emitted: changes, Acked: changes}
	s.Streams = []engine.StreamProgress{{Name: "shop", Counts: n, At: time.Now().Add(-made), Heard: time.Now().Add(-heard), Current: current}}
	return s
}

// TestBarsWhileFollowing: one line says how the streams stand, instead of bars that have no end; a reconcile has bars again.
func TestBarsWhileFollowing(t *testing.T) {
	var out buffer
	p := Show(Options{Form: Bars, Monitor: &job.Monitor{}, Output: NewOutput(&out)})
	defer p.Stop()
	for _, c := range []struct {
		v     view
		says  string
		lines []string
	}{
		{seenAfter(at(10, [3]int64{1000, 500, 20})), "500/1000", []string{"", "a"}},
		{seenAfter(streamed(1, 1500, 0, 400*time.Millisecond, false)), "s behind, 1500 changes read, 1500 sent", []string{followed}},
		{seenAfter(streamed(1, 1501, 0, time.Hour, true)), "following: idle, 1501 changes read, 1501 sent", []string{followed}},
		{seenAfter(at(10, [3]int64{1000, 600, 20})), "600/1000", []string{"", "a"}},
	} {
		p.mu.Lock()
		p.seen = c.v
		p.mu.Unlock()
		p.draw(c.v)
		for until := time.Now().Add(10 * time.Second); !strings.Contains(out.String(), c.says); time.Sleep(barsEvery / 10) {
			if time.Now().After(until) {
				t.Fatalf("nobody says %q: %q", c.says, out.String())
			}
		}
		if got := slices.Sorted(maps.Keys(p.lines)); !slices.Equal(got, c.lines) {
			t.Errorf("lines %q, not %q", got, c.lines)
		}
	}
}

func TestFollowingLine(t *testing.T) {
	second := streamed(2, 1500, 0, 400*time.Millisecond, false)
	behind := second
	behind.Streams = append([]engine.StreamProgress{{Name: "hr", At: time.Now().Add(-12*time.Minute - 30*time.Second), Heard: time.Now(), Waiting: 7}}, second.Streams...)
	window := second
	window.Window.Last = second.Streams[0].At.Add(12 * time.Second) // by the source's clock, which may go wrong
	woken := streamed(2, 1500, 0, time.Hour, false)
	woken.Streams[0].Since, woken.Streams[0].Waiting = time.Now().Add(-2*time.Second), 4
	stuck := streamed(2, 1500, 35*time.Second, time.Hour, false) // nothing more is read meanwhile
	stuck.Streams[0].Waiting, stuck.LastMove = 4, time.Time{}
	debounced := second
	debounced.Merged = 3
	for _, c := range []struct {
		name string
		v    view
		want string
	}{
		{"first look", seenAfter(streamed(1000, 1_000_000, 0, 400*time.Millisecond, false)), "following: 0/s, 0.4s behind, 1000000 changes read, 1000000 sent"},
		{"changes", seenAfter(streamed(1, 500, 0, time.Second, false), second), "following: 1000/s, 0.4s behind, 1500 changes read, 1500 sent"},
		{"after a run", seenAfter(at(1, [3]int64{1000, 500, 20}), streamed(2, 500, 0, time.Second, false), streamed(4, 520, 0, 2*time.Second, false)),
			"following: 10/s, 2.0s behind, 520 changes read, 520 sent"},
		{"one of two is behind", seenAfter(behind), "following: 0/s, 12m behind, 1500 changes read, 1500 sent, 7 under way"},
		{"by the source's clock", seenAfter(window), "following: 0/s, 12s behind, 1500 changes read, 1500 sent"},
		{"after a silence", seenAfter(woken), "following: 0/s, 2.0s behind, 1500 changes read, 1500 sent, 4 under way"},
		{"the sink is down", seenAfter(stuck), "following: 0/s, nothing confirmed for 35s, 1500 changes read, 1500 sent, 4 under way"},
		{"debounced", seenAfter(debounced), "following: 0/s, 0.4s behind, 1500 changes read, 1500 sent, 3 merged"},
		{"idle", seenAfter(streamed(1, 1, 0, time.Hour, true)), "following: idle, 1 change read, 1 sent"},
		{"silent", seenAfter(streamed(1, 1, 35*time.Second, time.Hour, true)), "following: 0/s, nothing heard from the source for 35s, 1 change read, 1 sent"},
	} {
		if got := c.v.line(); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestFollowingJSON(t *testing.T) {
	s := streamed(2, 1500, 0, 400*time.Millisecond, false)
	s.Window.First, s.Window.Last = s.Streams[0].At.Add(-time.Hour), s.Streams[0].At.Add(2*time.Second)
	s.Streams[0].Heard = time.Now().Add(time.Hour) // its silence is 0
	v := seenAfter(streamed(1, 500, 0, 0, true), s)
	text, err := json.Marshal(v.object())
	if err != nil {
		t.Fatal(err)
	}
	want := `"streams":{"shop":{"counts":{"scanned":1500,"unasked":1500,"emitted":1500,"acked":1500},"waiting":0,"lag_seconds":2,"silent_seconds":0,"idle":false}},"changes_per_second":1000,"window_seconds":3602}`
	if !strings.HasSuffix(string(text), want) {
		t.Errorf("got\n%s\nwant at its end\n%s", text, want)
	}
}
