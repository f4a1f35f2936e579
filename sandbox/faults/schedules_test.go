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

	"github.com/syncd-io/syncd"
	sink "github.com/syncd-io/syncd/sinks/kafka"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/bolt"
	"github.com/syncd-io/syncd/store/marks"
	"github.com/syncd-io/syncd/tally"
)

// fixedSeeds are run every time.
const fixedSeeds = 200

// cleanRuns is how many runs without faults may be needed to come to the end.
const cleanRuns = 1

// TestSchedules runs the schedules of the seeds 1 to 200, or that of the seed that -run names.
func TestSchedules(t *testing.T) {
	for _, seed := range seeds(fixedSeeds) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			newSchedule(seed).play(t)
		})
	}
}

func seeds(fixed int) []uint64 {
	if m := regexp.MustCompile(`/\^?seed=(\d+)`).FindStringSubmatch(flag.Lookup("test.run").Value.String()); m != nil {
		if seed, err := strconv.ParseUint(m[1], 10, 64); err == nil {
			return []uint64{seed}
		}
	}
	out := make([]uint64, fixed)
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
				play := newSchedule(seed).play
				if ran%4 == 0 {
					play = newFollowSchedule(seed).play
				}
				t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
					t.Parallel()
					play(t)
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
	patient := w.patient(s.exactlyOnce)
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
			h.index()
		}
	}
	for range cleanRuns {
		if last.done() || t.Failed() {
			break
		}
		last = w.run(nil, "run", "-c", patient)
		h.after(last)
	}
	if !last.done() {
		t.Fatalf("it does not come to its end without faults: %s", last)
	}
	h.end(last, patient)
}

func (s schedule) String() string {
	var b strings.Builder
	n := map[condition]int{}
	for _, d := range s.documents {
		n[d.condition]++
	}
	fmt.Fprintf(&b, "seed %d: %v, batch %d, workers %d, readers %d, splits %d, rules %t, full %t, exactly once %t, letters %s, outage %s, prune %t (%d, tombstones %t)",
		s.seed, n, s.batch, s.workers, s.readers, s.splits, s.ruled, s.full, s.exactlyOnce, s.letters, s.outage, s.prune, len(s.orphans), s.tombstones)
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
	indexed     bool // between runs
	runID       string
	handled     int64
}

// index lets the indexer work before the next run.
func (h *history) index() {
	h.t.Helper()
	h.indexed = true
	h.journal.index()
}

// after checks what holds after every run.
func (h *history) after(r *run) {
	h.t.Helper()
	h.journal.look()
	events := h.journal.distinct()
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
	h.outcome(r, e.Info)
	n := e.Counts()
	if h.schedule.exactlyOnce && r.done() {
		if n != (tally.Counts{}) {
			h.t.Errorf("a run that came to its end is not resumed, but of its collections is kept %+v: %s", n, r)
		}
		n.Acked = int64(events)
	}
	h.journal.look() // what a process did that is gone may have taken effect late
	if least, most := int64(events), int64(h.journal.distinct()); n.Acked > most || h.schedule.exactlyOnce && n.Acked < least {
		h.t.Errorf("the state says that %d events were confirmed, but there are %d: %s", n.Acked, most, r)
	}
	if e.Info.RunID == h.runID && e.Handled < h.handled {
		h.t.Errorf("the state fell from %d documents to %d: %s", h.handled, e.Handled, r)
	}
	h.runID, h.handled = e.Info.RunID, e.Handled
	if repeats := h.journal.repeats(); h.schedule.exactlyOnce && repeats > 0 || repeats > h.limit() {
		h.t.Errorf("%d events were repeated after %d interruptions, and %d that were written and denied: %s", repeats, h.interrupted, h.deniedEvents(), r)
	}
}

// limit is how many events may come twice: those that were in flight at interruptions, and those that a broker wrote and denied.
// When the next batch of their partition was under way behind those, and is taken, librdkafka does not ask about them again: it
// concludes that they arrived, which is no proof (see judge in package sinks/kafka), so they are sent again.
func (h *history) limit() int {
	return h.interrupted*2*h.schedule.workers*h.schedule.batch + h.deniedEvents()
}

// outcome checks what is kept of how a run ended, and whether the next one may resume it.
func (h *history) outcome(r *run, i store.Info) {
	h.t.Helper()
	var wants []tally.Outcome
	switch {
	case r.code == 0:
		wants = []tally.Outcome{tally.Complete}
	case r.code == 5:
		wants = []tally.Outcome{tally.Failures}
	case i.PID != r.cmd.Process.Pid: // it ended before it came to the state, which is as an earlier run left it
		wants = []tally.Outcome{tally.Interrupted, tally.Failed}
	case r.code == 1:
		wants = []tally.Outcome{tally.Failed}
	default:
		wants = []tally.Outcome{tally.Interrupted}
	}
	// A run whose last word the sink does not have seems to go on: whether it does, nobody can tell who only looks. When one worker
	// fails, the commits of the others are cut off, and after a commit that may or may not have happened nothing more is said.
	if h.schedule.exactlyOnce && !r.done() && (i.PID != r.cmd.Process.Pid || r.code == -1 || r.code == 1 || r.met(hardStop, freeze) || r.hit(kafka)) {
		wants = append(wants, tally.Running)
	}
	if !slices.Contains(wants, i.Outcome) || i.Resumable == r.done() {
		h.t.Errorf("the state says that the run is %q, resumable %t; want one of %q: %s", i.Outcome, i.Resumable, wants, r)
	}
}

// entry is what is kept of the job.
type entry struct{ store.Entry }

// state returns what is kept of the job: in the state folder, or in the sink where it delivers exactly once.
func (h *history) state() (entry, bool) {
	h.t.Helper()
	entries, err := bolt.List(h.stateDir)
	h.must(err)
	if h.schedule.exactlyOnce {
		if len(entries) > 0 {
			h.t.Errorf("the job keeps its state in the sink, and beside it: %+v", entries)
		}
		entries = []store.Entry{h.peek()}
	}
	switch {
	case len(entries) == 0:
		return entry{}, false
	case len(entries) > 1 || entries[0].Problem != nil || entries[0].Name != jobName:
		h.t.Errorf("the state of the job: %+v", entries)
	}
	return entry{entries[0]}, entries[0].Info.RunID != ""
}

// peek looks at the marks in the sink.
func (w *world) peek() store.Entry {
	w.t.Helper()
	plugin := sink.Plugin()
	c := plugin.Config().(*sink.Config)
	c.BootstrapServers, c.Delivery, c.Transactions.ID = w.kafka.Addr(), "exactly_once", transactionID
	c.Security.SASL = sink.SASL{Mechanism: "SCRAM-SHA-256", Username: "writer", Password: kafkaPassword}
	s, err := plugin.OpenSink(w.t.Context(), c, syncd.Env{Logger: quiet})
	w.must(err)
	defer func() { w.must(s.Close()) }()
	e, err := marks.Peek(w.t.Context(), s.Abilities(), jobName)
	w.must(err)
	return e
}

// Counts are those of all collections, with the deletes.
func (e entry) Counts() (n tally.Counts) {
	for _, c := range e.Collections {
		n.Add(c.Counts())
	}
	return n
}

// split tells the counts of the deletes from the others.
func (e entry) split() (documents, deletes tally.Counts) {
	for _, name := range collections {
		if c := e.Collections[name]; c != nil {
			documents.Add(c.Counts())
		}
		if c := e.Collections[store.DeletesOf(name)]; c != nil {
			deletes.Add(c.Counts())
		}
	}
	return documents, deletes
}

var coverage = regexp.MustCompile(`(?m)^Coverage: (\d+) read = (\d+) checked \+ (\d+) failed; (\d+) events? = (\d+) confirmed \+ (\d+) refused;`)

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
	h.deletes()
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

// deletes checks that what is gone from the source, and nothing else, was deleted.
func (h *history) deletes() {
	h.t.Helper()
	for _, d := range h.schedule.orphans {
		k := d.key()
		if n := h.journal.deletes[k]; n == 0 || n > 1 && h.schedule.exactlyOnce || h.journal.events[k] > 0 {
			h.t.Errorf("of document %v, which is gone, there are %d deletes and %d other events", k, n, h.journal.events[k])
		}
	}
	if n := len(h.journal.deletes); n != len(h.schedule.orphans) {
		h.t.Errorf("%d documents were deleted, and %d are gone", n, len(h.schedule.orphans))
	}
	for _, r := range h.journal.world.records(h.schedule.exactlyOnce) {
		if strings.HasPrefix(r.Topic, database+".") && (r.Value == nil) != (deletes(r) && h.schedule.tombstones) {
			h.t.Errorf("the event %s, for the reason %s, is %q", r.Key, header(r, "syncd-reason"), r.Value)
		}
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
	if h.schedule.exactlyOnce { // of a run that can't be resumed all else is forgotten
		if want := int64(read + len(h.schedule.orphans)); e.Handled != want {
			h.t.Errorf("the report says %q, and what is kept that %d documents were handled, want %d", m[0], e.Handled, want)
		}
		return
	}
	k, gone := e.split()
	if k.Scanned != int64(read) || k.Acked != int64(confirmed) || k.DeadLettered != int64(failing) ||
		k.Present+k.Overtaken+k.Acked+k.Failed() != k.Scanned {
		h.t.Errorf("the report says %q, and what is kept %+v", m[0], k)
	}
	// A delete that was sent, and not yet kept when the run was interrupted, is not found any more when the indexer has done it.
	if n, limit := int64(len(h.schedule.orphans)), int64(h.limit()); gone.Scanned != gone.Acked || gone.Acked > n || gone.Acked < n-limit || !h.indexed && gone.Acked != n {
		h.t.Errorf("%d documents are gone, and of the deletes is kept %+v", n, gone)
	}
}
