package faults

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// place is where something happens, and whose requests are counted to say when.
type place int

const (
	mongo place = iota
	qdrant
	kafka
	process
)

func (p place) String() string { return [...]string{"mongo", "qdrant", "kafka", "process"}[p] }

// kind is what goes wrong.
type kind string

const (
	// The network, between syncd and a server.
	latency   kind = "latency"    // answers come amount ms late
	bandwidth kind = "bandwidth"  // amount KB/s
	slicer    kind = "slicer"     // in pieces of amount bytes
	reset     kind = "reset"      // connections are reset when data comes
	cutAfter  kind = "cut after"  // connections end after amount bytes
	timeout   kind = "timeout"    // data goes nowhere, and after amount ms the connection ends
	halfOpen  kind = "half-open"  // data goes nowhere, and nobody says so
	slowClose kind = "slow close" // the server's end of a connection shows amount ms late
	down      kind = "down"       // connections are cut and new ones refused, as by a server that restarts

	// Answers of servers; amount is how many.
	notPrimary   kind = "not primary"
	lostCursor   kind = "lost cursor"
	shuttingDown kind = "shutting down"
	unavailable  kind = "unavailable"
	internal     kind = "internal error"
	rateLimited  kind = "rate limited"
	notLeader    kind = "not leader"
	fewReplicas  kind = "too few replicas"
	fewAfter     kind = "too few replicas after append"
	timedOut     kind = "request timed out" // after the broker has done what was asked

	// The process.
	kill      kind = "kill -9"
	terminate kind = "SIGTERM"
	interrupt kind = "SIGINT"
	hardStop  kind = "SIGTERM twice"
	freeze    kind = "SIGSTOP" // and SIGCONT
)

var (
	networkKinds = []kind{latency, bandwidth, slicer, reset, cutAfter, timeout, halfOpen, slowClose, down, down}
	answers      = map[place][]kind{
		mongo:  {notPrimary, lostCursor, shuttingDown},
		qdrant: {unavailable, internal, rateLimited},
		kafka:  {notLeader, fewReplicas, fewAfter, timedOut},
	}
	processKinds = []kind{kill, kill, kill, kill, terminate, interrupt, hardStop, freeze}
)

// fault is one thing that goes wrong. When is counted in requests rather than in time, so that it hits a run where it is at
// work, however fast the machine.
type fault struct {
	kind   kind
	on     place
	clock  place         // whose requests are counted
	after  int           // so many of them; 0 is before the run begins
	lasts  time.Duration // 0: until the run has ended
	amount int
	up     bool // on the way to the server rather than from it
}

// String tells the fault.
func (f fault) String() string {
	s := fmt.Sprintf("{%s (%d) on %s after %d requests to %s", f.kind, f.amount, f.on, f.after, f.clock)
	if f.lasts > 0 {
		s += fmt.Sprintf(" for %s", f.lasts)
	}
	return s + "}"
}

// round is one run under faults, and whether the indexer works before the next.
type round struct {
	faults []fault
	index  bool
}

// schedule is everything about a test that is chosen: a pure function of the seed.
type schedule struct {
	seed        uint64
	collections int
	documents   []document
	ruled       bool // documents have versions and chunks that the rules look at
	batch       int
	workers     int
	readers     int
	splits      int
	exactlyOnce bool
	letters     string // file, or kafka
	outage      string // run.on_check_unavailable
	full        bool   // run.mode: full: nothing is asked
	rounds      []round
	prune       bool       // run.orphans: prune
	orphans     []document // that the index holds and the source does not
	tombstones  bool       // a delete is a record without a value
}

// newSchedule makes the schedule of a seed.
func newSchedule(seed uint64) schedule {
	r := rand.New(rand.NewPCG(seed, 0))
	s := schedule{
		seed: seed, collections: 1 + r.IntN(2), ruled: r.IntN(3) > 0,
		batch: 3 + r.IntN(20), workers: 1 + r.IntN(4), readers: 1 + r.IntN(2), splits: []int{0, 1, 3}[r.IntN(3)],
		exactlyOnce: r.IntN(3) == 0, letters: []string{"file", "kafka"}[r.IntN(2)], outage: []string{"fail", "wait"}[r.IntN(2)],
		full: r.IntN(10) == 0,
	}
	s.populate(r)
	for range 1 + r.IntN(3) {
		s.rounds = append(s.rounds, s.newRound(r))
	}
	s.plantOrphans(rand.New(rand.NewPCG(seed, 1)))
	return s
}

// plantOrphans makes one schedule in three prune. Nothing is deleted where documents can't be handled, so all of them can.
func (s *schedule) plantOrphans(r *rand.Rand) {
	if s.full || r.IntN(3) > 0 {
		return
	}
	s.prune, s.tombstones = true, r.IntN(2) == 0
	for i := range s.documents {
		if d := &s.documents[i]; d.condition.fails() {
			d.condition = missing
			if d.id == "" {
				d.id = d.collection + "-nameless"
			}
		}
	}
	for _, name := range collections[:s.collections] {
		for i := range r.IntN(150) {
			d := gone(name, i)
			if s.ruled {
				d.chunks = 1 + r.IntN(maxChunks)
			}
			s.orphans = append(s.orphans, d)
		}
	}
}

// gone is a document of the index alone. Its version is long before any run.
func gone(collection string, i int) document {
	return document{
		collection: collection, id: fmt.Sprintf("%s-gone-%05d", collection, i), condition: present, chunks: 1,
		version: time.Date(2020, 1, 1, 0, 0, i, 0, time.UTC),
	}
}

func (s *schedule) newRound(r *rand.Rand) round {
	one := round{index: r.IntN(3) == 0}
	for range 1 + r.IntN(2) {
		one.faults = append(one.faults, s.newServerFault(r))
	}
	if r.IntN(2) == 0 {
		f := fault{kind: processKinds[r.IntN(len(processKinds))], on: process}
		f.clock, f.after = s.moment(r)
		f.after = max(f.after, 1)
		if f.kind == freeze {
			f.lasts = ms(100 + r.IntN(2500))
		}
		one.faults = append(one.faults, f)
	}
	return one
}

func (s *schedule) newServerFault(r *rand.Rand) fault {
	f := fault{on: place(r.IntN(3)), up: r.IntN(2) == 0}
	f.clock, f.after = s.moment(r)
	if r.IntN(8) == 0 {
		f.after = 0
	}
	if r.IntN(3) == 0 {
		f.kind, f.amount = answers[f.on][r.IntN(len(answers[f.on]))], 1+r.IntN(4)
		if f.kind == rateLimited {
			f.amount = 1 // each is a second's wait
		}
		return f
	}
	f.kind = networkKinds[r.IntN(len(networkKinds))]
	switch f.kind {
	case latency:
		f.amount = 5 + r.IntN(150)
	case bandwidth:
		f.amount = 1 + r.IntN(100)
	case slicer:
		f.amount = 1 + r.IntN(50)
	case cutAfter:
		f.amount = 1 + r.IntN(3000)
	case timeout, slowClose:
		f.amount = 10 + r.IntN(400)
	}
	// One in four outlasts the run. A run that waits for the index would wait for ever.
	if f.on == qdrant && s.outage == "wait" || r.IntN(4) > 0 {
		f.lasts = ms(20 + r.IntN(700))
	}
	return f
}

// moment is a point in a run that comes about unless the run ends before.
func (s *schedule) moment(r *rand.Rand) (place, int) {
	batches := 1 + len(s.documents)/s.batch
	switch clock := place(r.IntN(3)); {
	case clock == qdrant && s.full:
		return kafka, 1 + r.IntN(batches)
	case clock == mongo: // reads more at once
		return clock, 1 + r.IntN(6)
	default:
		return clock, 1 + r.IntN(batches)
	}
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// condition is how a document stands at the beginning.
type condition int

const (
	present  condition = iota
	missing            // the index has nothing of it
	stale              // the index has another version
	partial            // the index lacks a chunk
	oversize           // as missing, and too large for an event
	nameless           // its _id is null
)

func (c condition) String() string {
	return [...]string{"present", "missing", "stale", "partial", "oversize", "nameless"}[c]
}

// fails says that no event can be made of it.
func (c condition) fails() bool { return c >= oversize }

// document is one of the source.
type document struct {
	collection string
	id         string // "" is null
	condition  condition
	chunks     int
	version    time.Time
}

var collections = []string{"page", "task"}

// maxChunks is how many chunks a document has at most.
const maxChunks = 3

// populate chooses the documents.
func (s *schedule) populate(r *rand.Rand) {
	// What of the index's content: nothing, little, half, most.
	share := []int{0, 10, 50, 90}[r.IntN(4)]
	for _, name := range collections[:s.collections] {
		hasNull := false
		for i := range 30 + r.IntN(170) {
			d := document{
				collection: name, id: fmt.Sprintf("%s-%05d", name, i), chunks: 1,
				version: time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC),
			}
			if s.ruled {
				d.chunks = 1 + r.IntN(maxChunks)
			}
			d.condition = missing
			if r.IntN(100) < share {
				d.condition = present
				if s.ruled && r.IntN(5) == 0 {
					d.condition = stale
				}
				if s.ruled && d.chunks > 1 && r.IntN(5) == 0 {
					d.condition = partial
				}
			}
			if r.IntN(40) == 0 {
				d.condition = oversize
			}
			if !hasNull && r.IntN(100) == 0 {
				d.condition, d.id, hasNull = nameless, "", true
			}
			s.documents = append(s.documents, d)
		}
	}
}
