package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/sandbox/fastmongo"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/bolt"
	"github.com/syncd-io/syncd/tally"
)

// fixedFollowed is how many schedules of following are run every time, unless FOLLOWED says another number.
const fixedFollowed = 200

// TestFollow runs the schedules of following of the first seeds, or that of the seed that -run names.
func TestFollow(t *testing.T) {
	number, err := strconv.Atoi(os.Getenv("FOLLOWED"))
	if err != nil {
		number = fixedFollowed
	}
	for _, seed := range seeds(number) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			newFollowSchedule(seed).play(t)
		})
	}
}

// What goes wrong with a replica set and its streams; amount is milliseconds, or how many answers.
const (
	election    kind = "election"
	restart     kind = "restart of the server"
	cursorsGone kind = "cursors killed"
	hungUp      kind = "connections closed"
	getMoreCode kind = "stream answers with code" // amount is the code
	openCode    kind = "opening answers with code"
	silent      kind = "stream is silent"
	noMajority  kind = "no majority"
)

// What is done to the collections, their oplog and the kept position, by others than who writes documents.
const (
	nothing    kind = ""
	dropped    kind = "collection dropped, and made again"
	renamed    kind = "collection renamed, and made again"
	replaced   kind = "collection replaced by another one, renamed"
	allDropped kind = "database dropped, and made again"
	overrun    kind = "oplog overrun"
	damaged    kind = "kept position damaged"
)

// severed is the end of a process that can't send any more what it has read.
const severed kind = "sink out of reach, then kill -9"

// followSchedule is everything about a test of following that is chosen: a pure function of the seed. What the process has read
// when a fault comes is not: it depends on the machine.
type followSchedule struct {
	seed      uint64
	base      schedule // the job's settings
	images    bool     // an update's event has the document as the update left it
	pace      time.Duration
	initial   int // documents of each collection
	lives     []life
	lastLasts time.Duration // how long the writer goes on in the last life
	writes    uint64        // what is written follows from it
	everyKeys int

	transactions bool          // some changes are made together
	watch        bool          // only some fields are watched
	filter       bool          // some documents are not selected
	debounce     time.Duration // 0: every change is sent
	reconcile    time.Duration // how often all documents are looked at again; 0: never
	large        int           // bytes from which on an event comes in pieces; 0: none does
	unsplit      bool          // the server can't send an event in pieces
}

// life is a process that follows: what happens to it, and how it is ended when it has not ended before.
type life struct {
	faults []fault
	follow bool          // its time begins when it follows
	lasts  time.Duration // then, or since it began to read
	end    kind          // kill, severed or terminate
	act    kind          // what is done half way through it
	behind kind          // what is done when it has ended
}

func newFollowSchedule(seed uint64) followSchedule {
	r := rand.New(rand.NewPCG(seed, 2))
	one := func(in int) bool { return r.IntN(in) == 0 }
	s := followSchedule{
		seed: seed, images: one(2), pace: ms(1 + r.IntN(10)), initial: 20 + r.IntN(150), lastLasts: ms(100 + r.IntN(300)),
		writes: r.Uint64(), everyKeys: 3 + r.IntN(60), transactions: one(2), watch: one(4), filter: one(5),
	}
	if one(4) {
		s.debounce = ms(20 + r.IntN(300))
	}
	if one(5) {
		s.reconcile = time.Second
	}
	if one(4) {
		s.large, s.unsplit = 1000+r.IntN(1500), one(3)
	}
	s.base = schedule{
		collections: 2, ruled: true, batch: 3 + r.IntN(20), workers: 1 + r.IntN(4), readers: 1 + r.IntN(2), splits: []int{0, 1, 3}[r.IntN(3)],
		exactlyOnce: one(2), letters: "file", outage: []string{"fail", "wait"}[r.IntN(2)], prune: !s.filter,
		documents: make([]document, 2*s.initial),
	}
	n := 1 + r.IntN(3)
	special := r.IntN(n) // the life with, or behind, which something is done
	for i := range n {
		l := life{follow: !one(3), lasts: ms(200 + r.IntN(800)), end: []kind{kill, severed, terminate}[r.IntN(3)]}
		for range r.IntN(3) {
			l.faults = append(l.faults, s.newFault(r))
		}
		switch acts := []kind{dropped, renamed, replaced, allDropped, overrun, overrun, damaged}; {
		case i != special || one(3):
		case one(2):
			l.act = acts[r.IntN(len(acts)-1)]
		default:
			l.behind = acts[r.IntN(len(acts))]
		}
		s.lives = append(s.lives, l)
	}
	return s
}

// newFault is one of those of the other schedules, or one of a replica set, or of the process.
func (s *followSchedule) newFault(r *rand.Rand) fault {
	f := s.base.newServerFault(r)
	switch r.IntN(6) {
	case 0:
		f = fault{kind: []kind{kill, kill, hardStop, freeze}[r.IntN(4)], on: process, clock: place(r.IntN(3)), after: 1 + r.IntN(40)}
		if f.kind == freeze {
			f.lasts = ms(100 + r.IntN(1000))
		}
	case 1, 2, 3:
		f.on, f.clock, f.after, f.lasts = mongo, mongo, 1+r.IntN(30), 0
		f.kind = []kind{election, restart, cursorsGone, hungUp, getMoreCode, openCode, silent, noMajority}[r.IntN(8)]
		switch f.kind {
		case election, restart, noMajority:
			f.lasts = ms(20 + r.IntN(800))
		case getMoreCode:
			f.amount = []int{43, 136, 237, 189, 91, 11600, 11602, 133}[r.IntN(8)]
		case openCode:
			f.amount = []int{189, 91, 11600, 133}[r.IntN(4)]
		}
	default:
		if f.after > 0 {
			f.after = 1 + r.IntN(30)
		}
	}
	return f
}

// may reports whether any of some things is done.
func (s *followSchedule) may(acts ...kind) bool {
	return slices.ContainsFunc(s.lives, func(l life) bool { return slices.Contains(acts, l.act) || slices.Contains(acts, l.behind) })
}

// exact reports whether an event of such a change has the document as that change left it; else it may be a later one.
func (s *followSchedule) exact(operation string) bool {
	switch {
	case s.filter, s.large > 0 && s.unsplit, s.debounce > 0 && !s.images:
		return false
	case operation == "update":
		return s.images
	case s.watch && !s.images && operation == "replace": // an update before it may have brought what it made
		return false
	}
	return operation == "insert" || operation == "replace"
}

func (s *followSchedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: 2 × %d documents, a write each %s to %d keys, batch %d, workers %d, readers %d, splits %d, exactly once %t, images %t, outage %s",
		s.seed, s.initial, s.pace, s.everyKeys, s.base.batch, s.base.workers, s.base.readers, s.base.splits, s.base.exactlyOnce, s.images, s.base.outage)
	fmt.Fprintf(&b, ", transactions %t, watch %t, filter %t, debounce %s, reconcile %s, large from %d, unsplit %t",
		s.transactions, s.watch, s.filter, s.debounce, s.reconcile, s.large, s.unsplit)
	for i, l := range s.lives {
		fmt.Fprintf(&b, "\nlife %d: %v, %q half way, %s after %s (of following: %t), and then %q", i+1, l.faults, l.act, l.end, l.lasts, l.follow, l.behind)
	}
	return b.String()
}

// injectStream makes a fault of a replica set; ok says that it is one.
func (w *world) injectStream(f fault) (heal func(), ok bool) {
	nothing := func() {}
	switch f.kind {
	case election:
		w.mongo.Election(f.lasts)
	case restart:
		w.committing.Lock()
		err := w.mongo.GoDown()
		w.committing.Unlock()
		if err != nil {
			w.t.Errorf("%s: %v", f, err)
			return nothing, true
		}
		return func() {
			if err := w.mongo.ComeUp(context.WithoutCancel(w.t.Context())); err != nil {
				w.t.Errorf("%s: %v", f, err)
			}
		}, true
	case cursorsGone:
		w.mongo.KillCursors()
	case hungUp:
		w.mongo.CloseConnections()
	case getMoreCode:
		return w.mongo.Inject(fastmongo.StreamError("getMore", 1, int32(f.amount))), true
	case openCode:
		return w.mongo.Inject(fastmongo.StreamError("aggregate", 1, int32(f.amount))), true
	case silent:
		return w.mongo.Inject(fastmongo.Fault{Streams: true, Silent: true}), true
	case noMajority:
		w.mongo.HoldStreams(true)
		return func() { w.mongo.HoldStreams(false) }, true
	default:
		return nil, false
	}
	return nothing, true
}

// play lets the schedule happen and checks that nothing was lost by it.
func (s followSchedule) play(t *testing.T) {
	defer func() {
		if t.Failed() {
			t.Logf("to see this again: go test ./faults -run 'TestFollow/seed=%d$' -v", s.seed)
			t.Log(s.String())
		}
	}()
	w := newWorld(t, options{replicaSet: "rs", eventBytes: s.large})
	w.mongo.SetQuirks(fastmongo.Quirks{NoSplit: s.unsplit})
	file, patient := s.configure(w)
	wr := newWriter(w, s)
	wr.fill(s.initial)
	stop := wr.start()
	defer stop()
	var runs []*run
	defer func() {
		if t.Failed() {
			for _, r := range runs {
				t.Log(r)
			}
		}
	}()
	lost := false // a position
	ran := func(r *run) {
		runs = append(runs, r)
		if !positionLost(r) {
			return
		}
		lost = true
		// A server can't go on behind an event in pieces whose document, looked up anew, does not make the same pieces any more.
		otherPieces := s.large > 0 && strings.Contains(r.stderr, "Attempted to resume from a split event")
		if !s.may(overrun, damaged) && !otherPieces {
			t.Errorf("the position was lost, though the oplog has it all: %s", r)
		}
	}
	mustLose := false
	for _, l := range s.lives {
		if t.Failed() {
			return
		}
		w.at(mongo, 1, func(r *run) {
			after := func(d time.Duration) bool {
				select {
				case <-r.over:
					return false
				case <-time.After(d):
					return true
				}
			}
			from, until := w.streamed.Load(), time.Now().Add(3*time.Second) // a fault may keep it from following
			for l.follow && w.streamed.Load() == from && time.Now().Before(until) {
				if !after(ms(10)) {
					return
				}
			}
			if l.act != nothing && after(l.lasts/2) {
				r.note(fault{kind: l.act, on: mongo})
				wr.act(l.act)
			}
			if !after(l.lasts / 2) {
				return
			}
			if l.end == severed {
				w.cause(r, fault{kind: down, on: kafka})
				after(ms(100))
			}
			if l.end == terminate {
				r.note(fault{kind: terminate, on: process})
				r.signal(termSignal)
			} else {
				r.note(fault{kind: kill, on: process})
				r.signal(killSignal)
			}
		})
		ran(w.run(l.faults, "run", "--follow", "-c", file))
		time.Sleep(ms(20)) // what is under way arrives
		w.indexFollowed()
		switch l.behind {
		case damaged:
			mustLose = w.damagePosition(s) || mustLose
		case overrun:
			mustLose = mustLose || wr.begun()
			fallthrough
		default:
			wr.act(l.behind)
		}
	}
	// The last one lives until it has caught up.
	last := w.catchUp(s, wr, stop, patient)
	ran(last)
	if last.unproved() { // now nobody writes any more
		w.indexFollowed()
		last = w.catchUp(s, wr, stop, patient)
		ran(last)
	}
	if last.code != 0 && !(s.reconcile > 0 && last.code == 143) { // it may be looking at all documents when it is told to stop
		t.Errorf("the last one ends with exit code %d: %s", last.code, last)
	}
	if t.Failed() {
		return
	}
	if mustLose && !lost {
		t.Errorf("the position was taken away and nobody says so")
	}
	wr.compare(lost)
	if s.base.prune && (lost || len(wr.dropped) > 0) && !t.Failed() {
		// What an index that is behind has hidden, the next look at all documents finds.
		w.indexFollowed()
		r := w.run(nil, "run", "--fresh", "-c", w.write(filepath.Join("patient", "once.yaml"), "extends: "+jobName+".yaml\nrun: {follow: false}\nschedule: {reconcile: null}\n"))
		runs = append(runs, r)
		if r.code != 0 {
			t.Errorf("a run behind it ends with exit code %d: %s", r.code, r)
		}
		wr.compareState(func(key) bool { return false })
	}
}

// catchUp runs without faults. The writer goes on for a while, and the run ends when it has followed to the last change.
func (w *world) catchUp(s followSchedule, wr *writer, stop func(), file string) *run {
	w.at(mongo, 1, func(r *run) {
		defer func() {
			r.note(fault{kind: terminate, on: process})
			r.signal(termSignal)
		}()
		select {
		case <-r.over:
		case <-time.After(s.lastLasts):
		}
		stop()
		for until := time.Now().Add(patience - 10*time.Second); time.Now().Before(until); {
			wr.mark()
			for range 6 { // it may take a while, and each mark is one more change
				select {
				case <-r.over:
					return
				case <-time.After(ms(50)):
				}
				if w.marked(wr.ended) {
					return
				}
			}
		}
		w.t.Error("it does not catch up")
	})
	return w.run(nil, "run", "--follow", "-c", file)
}

func positionLost(r *run) bool { return strings.Contains(r.stdout+r.stderr, "is lost") }

// damagePosition changes a byte of what is kept of the stream; false where nothing was kept.
func (w *world) damagePosition(s followSchedule) bool {
	w.t.Helper()
	if s.base.exactlyOnce {
		return false // it is in the sink
	}
	st, err := bolt.Open(w.stateDir, jobName)
	w.must(err)
	name := store.StreamOf("database " + database)
	kept := st.Recall(name)
	if kept != nil {
		at := kept.Splits[0]
		text := []byte(at.After)
		text[len(text)/2] ^= 1
		at.After = syncd.Offset(text)
		w.must(st.Split(w.t.Context(), name, at, true))
	}
	w.must(st.Close(w.t.Context(), store.End{Outcome: tally.Interrupted, Resumable: true}))
	return kept != nil
}

// configure writes the job's configuration, and that for runs without faults.
func (s followSchedule) configure(w *world) (file, patient string) {
	images := "update_lookup"
	if s.images {
		images = "required"
	}
	w.followed.committed = s.base.exactlyOnce
	more := fmt.Sprintf(`
source:
  mongo:
    uri: "mongodb://reader:%s@%s/?heartbeatFrequencyMS=500&directConnection=true"
    stream: {full_document: %s}
run: {follow: true}
stream: {debounce: %s}
`, mongoPassword, w.proxies[mongo].addr, images, s.debounce)
	if s.reconcile > 0 {
		more += fmt.Sprintf("schedule: {reconcile: {every: %s}}\n", s.reconcile)
	}
	if s.watch || s.filter {
		more += "mapping:\n  collections:\n"
		for _, name := range collections {
			more += fmt.Sprintf("    %s: {content_type: %[1]s_type", name)
			if s.watch {
				more += ", watch: [updatedAt, body]"
			}
			if s.filter {
				more += ", filter: {hidden: {$ne: true}}"
			}
			more += "}\n"
		}
	}
	file = w.configure(s.base, more)
	w.must(os.Mkdir(w.path("patient"), 0o755))
	return file, w.write(filepath.Join("patient", jobName+".yaml"), `
extends: ../job.yaml
source: {mongo: {connect_timeout: 20s}}
checker: {qdrant: {timeout: 20s, connect_timeout: 20s, retry: {max_elapsed: 20s}}}
sink: {kafka: {delivery_timeout: 20s, connect_timeout: 20s`+patientTransactions(s.base.exactlyOnce)+`}}
`)
}

// TestFollowQuiet: nobody writes to what is followed, and the oplog forgets all that a run began with. Its position has gone along.
func TestFollowQuiet(t *testing.T) {
	for _, exactly := range []bool{false, true} {
		t.Run(fmt.Sprintf("exactly once %t", exactly), func(t *testing.T) {
			t.Parallel()
			s := newFollowSchedule(1)
			s.base.exactlyOnce = exactly
			s.watch, s.filter, s.debounce, s.reconcile, s.large, s.unsplit = false, false, 0, 0, 0, false
			w := newWorld(t, options{replicaSet: "rs"})
			_, patient := s.configure(w)
			wr := newWriter(w, s)
			wr.fill(5)
			quiet := func(r *run) {
				defer r.signal(killSignal)
				r.note(fault{kind: kill, on: process})
				for until := time.Now().Add(patience / 2); time.Now().Before(until); time.Sleep(ms(50)) {
					if len(w.followed.look()) == 10 {
						break
					}
				}
				time.Sleep(3 * time.Second) // a quiet stream tells its position every second
				w.mongo.TruncateOplog()
				time.Sleep(3 * time.Second)
			}
			w.at(mongo, 1, quiet)
			first := w.run(nil, "run", "--follow", "-c", patient)
			last := w.catchUp(s, wr, func() { wr.ended = wr.version }, patient)
			if last.code != 0 || positionLost(first) || positionLost(last) {
				t.Errorf("the position of a quiet stream was lost: %s\n%s", first, last)
			}
			wr.compare(false)
		})
	}
}
