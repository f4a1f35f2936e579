package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	qdrantclient "github.com/qdrant/go-client/qdrant"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/syncd-io/syncd/sandbox/fastmongo"
)

// fixedFollowed is how many schedules of following are run every time.
const fixedFollowed = 16

// TestFollow runs the schedules of following of the first seeds, or that of the seed that -run names.
func TestFollow(t *testing.T) {
	for _, seed := range seeds(fixedFollowed) {
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

// followSchedule is everything about a test of following that is chosen: a pure function of the seed. What the process has read
// when a fault comes is not: it depends on the machine.
type followSchedule struct {
	seed        uint64
	base        schedule // the job's settings
	images      bool     // an update's event has the document as the update left it
	pace        time.Duration
	initial     int // documents of each collection
	lives       []life
	lastLasts   time.Duration // how long the writer goes on in the last life
	writes      uint64        // what is written follows from it
	everyKeys   int
	positionOff bool // the oplog is cut off once while nobody follows
}

// life is a process that follows: what happens to it, and how it is ended when it has not ended before.
type life struct {
	faults   []fault
	lasts    time.Duration
	end      kind // kill or terminate
	truncate bool // the oplog is cut off behind it
}

func newFollowSchedule(seed uint64) followSchedule {
	r := rand.New(rand.NewPCG(seed, 2))
	s := followSchedule{
		seed: seed, images: r.IntN(2) == 0, pace: ms(1 + r.IntN(10)), initial: 20 + r.IntN(150), lastLasts: ms(200 + r.IntN(600)),
		writes: r.Uint64(), everyKeys: 3 + r.IntN(60), positionOff: r.IntN(4) == 0,
	}
	s.base = schedule{
		collections: 2, ruled: true, batch: 3 + r.IntN(20), workers: 1 + r.IntN(4), readers: 1 + r.IntN(2), splits: []int{0, 1, 3}[r.IntN(3)],
		exactlyOnce: r.IntN(2) == 0, letters: "file", outage: []string{"fail", "wait"}[r.IntN(2)], prune: true,
		documents: make([]document, 2*s.initial),
	}
	n := 2 + r.IntN(3)
	for i := range n {
		l := life{lasts: ms(300 + r.IntN(1500)), end: []kind{kill, kill, terminate}[r.IntN(3)], truncate: s.positionOff && i == n/2}
		for range r.IntN(3) {
			l.faults = append(l.faults, s.newFault(r))
		}
		s.lives = append(s.lives, l)
	}
	return s
}

// newFault is one of those of the other schedules, or one of a replica set.
func (s *followSchedule) newFault(r *rand.Rand) fault {
	f := s.base.newServerFault(r)
	if r.IntN(2) == 0 {
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
		return f
	}
	if f.clock != process && f.after > 0 {
		f.after = 1 + r.IntN(30)
	}
	return f
}

func (s *followSchedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: 2 × %d documents, a write each %s to %d keys, batch %d, workers %d, readers %d, splits %d, exactly once %t, images %t, outage %s",
		s.seed, s.initial, s.pace, s.everyKeys, s.base.batch, s.base.workers, s.base.readers, s.base.splits, s.base.exactlyOnce, s.images, s.base.outage)
	for i, l := range s.lives {
		fmt.Fprintf(&b, "\nlife %d: %v, %s after %s; the oplog is cut off: %t", i+1, l.faults, l.end, l.lasts, l.truncate)
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
		if err := w.mongo.GoDown(); err != nil {
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
	w := newWorld(t, options{replicaSet: "rs"})
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
	lost := false
	for _, l := range s.lives {
		if t.Failed() {
			return
		}
		w.at(mongo, 1, func(r *run) {
			select {
			case <-r.over:
			case <-time.After(l.lasts):
				f := fault{kind: l.end, on: process}
				r.note(f)
				r.signal(map[kind]syscall.Signal{kill: killSignal, terminate: termSignal}[l.end])
			}
		})
		r := w.run(l.faults, "run", "--follow", "-c", file)
		runs = append(runs, r)
		lost = lost || positionLost(r)
		if positionLost(r) && !s.positionOff {
			t.Errorf("the position was lost, though the oplog has it all: %s", r)
		}
		time.Sleep(ms(20)) // what is under way arrives
		w.indexFollowed(s)
		if l.truncate {
			wr.burst(20)
			w.mongo.TruncateOplog()
		}
	}
	// The last one lives until it has caught up.
	last := w.catchUp(s, wr, stop, patient)
	runs = append(runs, last)
	if last.unproved() { // now nobody writes any more
		lost = lost || positionLost(last)
		w.indexFollowed(s)
		last = w.catchUp(s, wr, stop, patient)
		runs = append(runs, last)
	}
	if last.code != 0 {
		t.Errorf("the last one ends with exit code %d: %s", last.code, last)
	}
	if t.Failed() {
		return
	}
	lost = lost || positionLost(last)
	if s.positionOff && !lost {
		t.Errorf("the oplog was cut off and nobody says so")
	}
	wr.compare(s, lost)
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
			select {
			case <-r.over:
				return
			case <-time.After(ms(150)):
			}
			if w.marked(s, wr.ended) {
				return
			}
		}
		w.t.Error("it does not catch up")
	})
	return w.run(nil, "run", "--follow", "-c", file)
}

func positionLost(r *run) bool { return strings.Contains(r.stdout+r.stderr, "is lost") }

// configure writes the job's configuration, and that for runs without faults.
func (s followSchedule) configure(w *world) (file, patient string) {
	images := "update_lookup"
	if s.images {
		images = "required"
	}
	file = w.configure(s.base, fmt.Sprintf(`
source:
  mongo:
    uri: "mongodb://reader:%s@%s/?heartbeatFrequencyMS=500&directConnection=true"
    stream: {full_document: %s}
run: {follow: true}
`, mongoPassword, w.proxies[mongo].addr, images))
	w.must(os.Mkdir(w.path("patient"), 0o755))
	return file, w.write(filepath.Join("patient", jobName+".yaml"), `
extends: ../job.yaml
source: {mongo: {connect_timeout: 20s}}
checker: {qdrant: {timeout: 20s, connect_timeout: 20s, retry: {max_elapsed: 20s}}}
sink: {kafka: {delivery_timeout: 20s, connect_timeout: 20s}}
`)
}

// written is a change that the writer made.
type written struct {
	key
	operation string
	version   int64 // of deletes none
}

// writer changes two collections. Every change has a version that no other has, and they go up.
type writer struct {
	*world
	client *mongodriver.Client
	r      *rand.Rand
	pace   time.Duration
	keys   int

	mu      sync.Mutex
	version int64
	there   map[key]int64
	log     []written
	ended   int64 // the version behind which only marks are written
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newWriter(w *world, s followSchedule) *writer {
	client, err := mongodriver.Connect(mongooptions.Client().ApplyURI(fmt.Sprintf("mongodb://reader:%s@%s/?directConnection=true&heartbeatFrequencyMS=500", mongoPassword, w.mongoAddr())))
	w.must(err)
	w.t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	y := &writer{world: w, client: client, r: rand.New(rand.NewPCG(s.writes, 3)), pace: s.pace, keys: s.everyKeys, there: map[key]int64{}}
	for _, name := range collections {
		create := bson.D{{Key: "create", Value: name}}
		if s.images {
			create = append(create, bson.E{Key: "changeStreamPreAndPostImages", Value: bson.D{{Key: "enabled", Value: true}}})
		}
		w.must(client.Database(database).RunCommand(w.t.Context(), create).Err())
	}
	return y
}

func followedDocument(id string, version int64) bson.D {
	return bson.D{{Key: "_id", Value: id}, {Key: "updatedAt", Value: epoch.Add(time.Duration(version) * time.Second)}, {Key: "chunks", Value: 1}, {Key: "body", Value: "text"}}
}

func (y *writer) fill(n int) {
	for _, name := range collections {
		var docs []any
		for i := range n {
			k := key{name, fmt.Sprintf("%s-%05d", name, i)}
			y.version++
			docs = append(docs, followedDocument(k.id, y.version))
			y.there[k] = y.version
		}
		y.must(y.mongo.Insert(database+"."+name, docs...))
	}
}

// start has it write until stop is called.
func (y *writer) start() (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	var once sync.Once
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(y.pace):
				y.change()
			}
		}
	}()
	return func() {
		once.Do(func() {
			close(done)
			<-ended
			y.mu.Lock()
			defer y.mu.Unlock()
			y.ended = y.version
		})
	}
}

func (y *writer) burst(n int) {
	for range n {
		y.change()
	}
}

// change makes one change of one document.
func (y *writer) change() {
	y.mu.Lock()
	defer y.mu.Unlock()
	name := collections[y.r.IntN(2)]
	k := key{name, fmt.Sprintf("%s-%05d", name, y.r.IntN(y.keys))}
	y.version++
	c := written{key: k, version: y.version}
	if _, there := y.there[k]; !there {
		c.operation = "insert"
		y.there[k] = c.version
		if err := y.mongo.Insert(database+"."+name, followedDocument(k.id, c.version)); err != nil {
			y.t.Errorf("inserting %v: %v", k, err)
		}
		y.log = append(y.log, c)
		return
	}
	id := bson.D{{Key: "_id", Value: k.id}}
	coll := y.client.Database(database).Collection(name)
	switch y.r.IntN(6) {
	case 0:
		c.operation, c.version = "delete", 0
		delete(y.there, k)
		if n, err := y.mongo.Delete(database+"."+name, k.id); err != nil || n != 1 {
			y.t.Errorf("deleting %v: %d, %v", k, n, err)
		}
	case 1, 2:
		c.operation = "replace"
		y.there[k] = c.version
		y.insist(func() error {
			_, err := coll.ReplaceOne(context.Background(), id, followedDocument(k.id, c.version))
			return err
		})
	default:
		c.operation = "update"
		y.there[k] = c.version
		y.insist(func() error {
			set := bson.D{{Key: "$set", Value: bson.D{{Key: "updatedAt", Value: epoch.Add(time.Duration(c.version) * time.Second)}}}}
			_, err := coll.UpdateOne(context.Background(), id, set)
			return err
		})
	}
	y.log = append(y.log, c)
}

// insist does something until it works: the server may be down.
func (y *writer) insist(do func() error) {
	var err error
	for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(ms(20)) {
		if err = do(); err == nil {
			return
		}
	}
	y.t.Errorf("writing: %v", err)
}

const markID = "mark"

// mark writes one more document into each collection, which tells that all before it were read when its event is there.
func (y *writer) mark() {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, name := range collections {
		k := key{name, fmt.Sprintf("%s-%d", markID, y.version)}
		y.version++
		y.there[k] = y.version
		if err := y.mongo.Insert(database+"."+name, followedDocument(k.id, y.version)); err != nil {
			y.t.Errorf("inserting %v: %v", k, err)
		}
		y.log = append(y.log, written{k, "insert", y.version})
	}
}

// followedEvent is an event as a consumer sees it.
type followedEvent struct {
	key
	operation string
	version   int64
	changed   bool // it is of a stream
	by        int64
}

// followed reads what there is, each partition in its order.
func (w *world) followed(s followSchedule) []followedEvent {
	var out []followedEvent
	for _, r := range w.records(s.base.exactlyOnce) {
		name, ours := strings.CutPrefix(r.Topic, database+".")
		if !ours {
			continue
		}
		out = append(out, w.readFollowed(name, r))
	}
	return out
}

func (w *world) readFollowed(name string, r *kgo.Record) followedEvent {
	e := followedEvent{key: key{name, string(r.Key)}, changed: header(r, "syncd-reason") == "changed", by: r.ProducerID}
	var v struct {
		OperationType string `json:"operationType"`
		FullDocument  *struct {
			UpdatedAt time.Time `json:"updatedAt"`
		} `json:"fullDocument"`
	}
	if err := json.Unmarshal(r.Value, &v); err != nil || v.OperationType != "delete" && v.FullDocument == nil {
		w.t.Errorf("the event %s %s: %v", r.Key, r.Value, err)
		return e
	}
	e.operation = v.OperationType
	if v.FullDocument != nil {
		e.version = int64(v.FullDocument.UpdatedAt.Sub(epoch) / time.Second)
	}
	return e
}

// marked reports whether marks of both collections have come by the stream.
func (w *world) marked(s followSchedule, after int64) bool {
	seen := map[string]bool{}
	for _, e := range w.followed(s) {
		if e.changed && strings.HasPrefix(e.id, markID) && e.version > after {
			seen[e.collection] = true
		}
	}
	return len(seen) == len(collections)
}

// apply is what a consumer has that applies the events.
func apply(events []followedEvent) map[key]int64 {
	has := map[key]int64{}
	for _, e := range events {
		if e.operation == "delete" {
			delete(has, e.key)
		} else {
			has[e.key] = e.version
		}
	}
	return has
}

// indexFollowed makes the index what the events make of it.
func (w *world) indexFollowed(s followSchedule) {
	w.t.Helper()
	events := w.followed(s)
	has := apply(events)
	var points []*qdrantclient.PointStruct
	var gone []*qdrantclient.PointId
	seen := map[key]bool{}
	for _, e := range events {
		if seen[e.key] {
			continue
		}
		seen[e.key] = true
		if version, there := has[e.key]; there {
			points = append(points, pointsOf(e.key, epoch.Add(time.Duration(version)*time.Second).Format(time.RFC3339), 1, 1)...)
		} else {
			gone = append(gone, pointsOf(e.key, "", 1, 1)[0].GetId())
		}
	}
	w.upsert(points)
	w.remove(gone)
}

// compare holds the events against what was written.
func (y *writer) compare(s followSchedule, lost bool) {
	events := y.followed(s)
	wrong := 0
	complain := func(format string, args ...any) {
		if wrong++; wrong <= 10 {
			y.t.Errorf(format, args...)
		}
	}
	has := apply(events)
	for k, version := range y.there {
		if strings.HasPrefix(k.id, markID) {
			continue // the last ones may come behind the end
		}
		if got, there := has[k]; got != version || !there {
			complain("%v has version %d, and whoever applies the events has %d (%t)", k, version, got, there)
		}
	}
	for k, version := range has {
		// Where the position was lost and the index is behind, it does not show yet what was sent and has gone since: the next look at
		// all documents finds that.
		if _, there := y.there[k]; !there && !lost {
			complain("%v is gone, and whoever applies the events has version %d", k, version)
		}
	}
	// Those of inserts and replaces are the versions of their changes; an update's document may be a later one.
	made := map[int64]written{}
	for _, c := range y.log {
		made[c.version] = c
	}
	type lifeOf struct {
		key
		by int64
	}
	exact := func(e followedEvent) bool {
		return e.changed && (e.operation == "insert" || e.operation == "replace" || e.operation == "update" && s.images)
	}
	first := int64(0)
	came := map[int64]int{}
	highest := map[lifeOf]int64{}
	for _, e := range events {
		if !exact(e) {
			continue
		}
		if c := made[e.version]; c.key != e.key || c.operation != e.operation {
			complain("an event says %s of %v with version %d; what was done is %v", e.operation, e.key, e.version, c)
		}
		if came[e.version]++; came[e.version] > 1 && s.base.exactlyOnce {
			complain("the %s of %v with version %d came %d times", e.operation, e.key, e.version, came[e.version])
		}
		if first == 0 || e.version < first {
			first = e.version
		}
		if at := (lifeOf{e.key, e.by}); e.version < highest[at] {
			complain("%v goes back from version %d to %d without a restart", e.key, highest[at], e.version)
		} else {
			highest[at] = e.version
		}
	}
	if lost {
		return
	}
	for _, c := range y.log {
		if c.version <= y.ended && c.version >= first && came[c.version] == 0 && (c.operation == "insert" || c.operation == "replace" || c.operation == "update" && s.images) {
			complain("the %s of %v with version %d never came", c.operation, c.key, c.version)
		}
	}
	if wrong > 10 {
		y.t.Errorf("%d things are wrong", wrong)
	}
}

// TestFollowQuiet: nobody writes to what is followed, and the oplog forgets all that a run began with. Its position has gone along.
func TestFollowQuiet(t *testing.T) {
	for _, exactly := range []bool{false, true} {
		t.Run(fmt.Sprintf("exactly once %t", exactly), func(t *testing.T) {
			t.Parallel()
			s := newFollowSchedule(1)
			s.base.exactlyOnce = exactly
			w := newWorld(t, options{replicaSet: "rs"})
			_, patient := s.configure(w)
			wr := newWriter(w, s)
			wr.fill(5)
			quiet := func(r *run) {
				defer r.signal(killSignal)
				r.note(fault{kind: kill, on: process})
				for until := time.Now().Add(patience / 2); time.Now().Before(until); time.Sleep(ms(50)) {
					if len(w.followed(s)) == 10 {
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
			wr.compare(s, false)
		})
	}
}
