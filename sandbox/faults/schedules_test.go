package faults

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/pipeline"
	"github.com/syncd-io/syncd/state"
)

// fixedSeeds are run every time.
const fixedSeeds = 200

// cleanRuns is how many runs without faults may be needed to come to the end.
const cleanRuns = 1

// TestSchedules runs the schedules of the seeds 1 to 200, or that of the seed that -run names.
func TestSchedules(t *testing.T) {
	for _, seed := range seeds() {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			newSchedule(seed).play(t)
		})
	}
}

func seeds() []uint64 {
	if m := regexp.MustCompile(`/\^?seed=(\d+)`).FindStringSubmatch(flag.Lookup("test.run").Value.String()); m != nil {
		if seed, err := strconv.ParseUint(m[1], 10, 64); err == nil {
			return []uint64{seed}
		}
	}
	out := make([]uint64, fixedSeeds)
	for i := range out {
		out[i] = uint64(i + 1)
	}
	return out
}

// TestSoak runs schedules of random seeds for as long as SOAK says, or as many as SEEDS says.
func TestSoak(t *testing.T) {
	length, _ := time.ParseDuration(os.Getenv("SOAK"))
	number, _ := strconv.Atoi(os.Getenv("SEEDS"))
	if length <= 0 && number <= 0 {
		t.Skip("set SOAK to a time or SEEDS to a number, as make soak does")
	}
	end := time.Now().Add(length)
	ran := 0
	for more := true; more && !t.Failed(); {
		t.Run("batch", func(t *testing.T) {
			for range 32 {
				if more = number > 0 && ran < number || number <= 0 && time.Now().Before(end); !more {
					return
				}
				ran++
				seed := rand.Uint64N(1 << 40)
				t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
					t.Parallel()
					newSchedule(seed).play(t)
				})
			}
		})
	}
	t.Logf("%d schedules", ran)
}

// play lets the schedule happen and checks that nothing was lost by it.
func (s schedule) play(t *testing.T) {
	defer func() {
		if t.Failed() {
			t.Logf("to see this again: go test ./faults -run 'TestSchedules/seed=%d$' -v", s.seed)
			t.Log(s.String())
		}
	}()
	w := newWorld(t, options{})
	w.load(s)
	file := w.configure(s, "")
	w.journal.committed = s.exactlyOnce
	h := history{world: w, schedule: s}
	var last *run
	for _, one := range s.rounds {
		last = w.run(one.faults, "run", "-c", file)
		h.after(last)
		if last.done() {
			break
		}
		if one.index {
			w.journal.index()
		}
	}
	for range cleanRuns {
		if last.done() || t.Failed() {
			break
		}
		last = w.run(nil, "run", "-c", file)
		h.after(last)
	}
	if !last.done() {
		t.Fatalf("it does not come to its end without faults: %s", last)
	}
	h.end(last, file)
}

func (s schedule) String() string {
	var b strings.Builder
	n := map[condition]int{}
	for _, d := range s.documents {
		n[d.condition]++
	}
	fmt.Fprintf(&b, "seed %d: %v, batch %d, workers %d, readers %d, splits %d, rules %t, full %t, exactly once %t, letters %s, outage %s",
		s.seed, n, s.batch, s.workers, s.readers, s.splits, s.ruled, s.full, s.exactlyOnce, s.letters, s.outage)
	for i, one := range s.rounds {
		fmt.Fprintf(&b, "\nrun %d: %v; indexed after it: %t", i+1, one.faults, one.index)
	}
	return b.String()
}

// history is what a job's runs have done so far.
type history struct {
	*world
	schedule    schedule
	interrupted int
	runID       string
	handled     int64
}

// after checks what holds after every run.
func (h *history) after(r *run) {
	h.t.Helper()
	h.journal.look()
	if !r.done() {
		h.interrupted++
	}
	e, ok := h.state()
	if !ok {
		if r.done() {
			h.t.Errorf("nothing is kept of a run that came to its end: %s", r)
		}
		return
	}
	want := state.Interrupted
	if r.done() {
		want = state.Complete
	}
	if e.Info.Status != want {
		h.t.Errorf("the state says that the run is %s, want %s: %s", e.Info.Status, want, r)
	}
	n := total(e)
	if events := int64(len(h.journal.events)); n.Acked > events {
		h.t.Errorf("the state says that %d events were confirmed, but there are %d: %s", n.Acked, events, r)
	}
	if e.Info.RunID == h.runID && e.Handled < h.handled {
		h.t.Errorf("the state fell from %d documents to %d: %s", h.handled, e.Handled, r)
	}
	h.runID, h.handled = e.Info.RunID, e.Handled
	if repeats, limit := h.journal.total-len(h.journal.events), h.interrupted*2*h.schedule.workers*h.schedule.batch; h.schedule.exactlyOnce && repeats > 0 || repeats > limit {
		h.t.Errorf("%d events were repeated after %d interruptions: %s", repeats, h.interrupted, r)
	}
}

// state is what is kept of the job.
func (h *history) state() (state.Entry, bool) {
	h.t.Helper()
	entries, err := state.List(h.stateDir)
	h.must(err)
	switch {
	case len(entries) == 0:
		return state.Entry{}, false
	case len(entries) > 1 || entries[0].Problem != nil:
		h.t.Errorf("the state of the job: %+v", entries)
	}
	return entries[0], entries[0].Info.RunID != ""
}

func total(e state.Entry) (n pipeline.Counts) {
	for _, c := range e.Collections {
		for _, s := range c.Splits {
			n.Add(s.Counts)
		}
	}
	return n
}

var coverage = regexp.MustCompile(`(?m)^Coverage: (\d+) read = (\d+) checked \+ (\d+) failed; (\d+) events = (\d+) confirmed \+ (\d+) refused;`)

// end checks what holds when a run has come to its end.
func (h *history) end(last *run, file string) {
	h.t.Helper()
	h.journal.readLetters()
	failing := map[key]bool{}
	for _, d := range h.schedule.documents {
		k := d.key()
		events, dead := h.journal.events[k], h.journal.letters[k]
		want := "an event"
		wrong := events == 0 || dead > 0
		switch {
		case d.condition.fails():
			want, wrong = "a dead letter, and nothing else", events > 0 || dead == 0
			failing[k] = true
			if !strings.Contains(last.stdout, fmt.Sprintf("  %s %s: ", k.collection, orNone(k.id))) {
				h.t.Errorf("the report does not name %v, which could not be sent", k)
			}
		case d.condition == present && !h.schedule.full:
			want, wrong = "nothing", events+dead > 0
		}
		if wrong {
			h.t.Errorf("of document %v, which was %s, there are %d events and %d dead letters; want %s", k, d.condition, events, dead, want)
		}
		if h.schedule.exactlyOnce && events > 1 {
			h.t.Errorf("document %v was committed %d times", k, events)
		}
	}
	if want := map[bool]int{true: 5}[len(failing) > 0]; last.code != want {
		h.t.Errorf("the exit code is %d, want %d", last.code, want)
	}
	h.report(last, len(failing))

	// What could not be sent is taken away: the rest must be equal.
	for _, k := range slices.Collect(maps.Keys(failing)) {
		var id any = k.id
		if k.id == "" {
			id = bson.Null{}
		}
		if n, err := h.mongo.Delete(database+"."+k.collection, id); err != nil || n != 1 {
			h.t.Errorf("deleting %v: %d, %v", k, n, err)
		}
	}
	h.journal.index()
	if r := h.run(nil, "verify", "-c", file, "--min-age", "0s"); r.code != 0 {
		h.t.Errorf("the index is not equal: %s", r)
	}
	if h.t.Failed() {
		h.t.Logf("the last run: %s", last)
	}
}

func orNone(id string) string {
	if id == "" {
		return "(no id)"
	}
	return id
}

// report checks that the numbers of the last run add up, in what it printed and in what it kept.
func (h *history) report(last *run, failing int) {
	h.t.Helper()
	m := coverage.FindStringSubmatch(last.stdout)
	if m == nil {
		h.t.Errorf("there is no coverage in the report: %s", last)
		return
	}
	var n [7]int
	for i := range m[1:] {
		n[i+1], _ = strconv.Atoi(m[i+1])
	}
	read, checked, unread, sent, confirmed, refused := n[1], n[2], n[3], n[4], n[5], n[6]
	if documents := len(h.schedule.documents); read != documents || checked+unread != read || confirmed+refused != sent || unread+refused != failing {
		h.t.Errorf("of %d documents, %d of which can't be sent, the report says %q", documents, failing, m[0])
	}
	e, _ := h.state()
	k := total(e)
	if k.Scanned != int64(read) || k.Acked != int64(confirmed) || k.DeadLettered != int64(failing) ||
		k.Present+k.Overtaken+k.Acked+k.Failed() != k.Scanned {
		h.t.Errorf("the report says %q, and what is kept %+v", m[0], k)
	}
}
