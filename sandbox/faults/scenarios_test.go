package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/syncd-io/syncd/store"
)

// ordinary is a job of documents that are all missing, but for the first few.
func ordinary(documents int) schedule {
	s := schedule{collections: 1, batch: 10, workers: 2, readers: 1, splits: 1, letters: "file", outage: "fail"}
	for i := range documents {
		d := document{
			collection: "page", id: fmt.Sprintf("page-%05d", i), chunks: 1, condition: missing,
			version: time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC),
		}
		if i < 5 {
			d.condition = present
		}
		s.documents = append(s.documents, d)
	}
	return s
}

// begin makes a world for a schedule.
func begin(t *testing.T, s schedule, o options, more string) (h *history, file string) {
	t.Helper()
	t.Parallel()
	w := newWorld(t, o)
	w.load(s)
	w.journal.committed = s.exactlyOnce
	return &history{world: w, schedule: s}, w.configure(s, more)
}

// job runs the job under faults.
func (h *history) job(file string, faults ...fault) *run {
	h.t.Helper()
	r := h.run(faults, "run", "-c", file)
	h.after(r)
	return r
}

// wants fails the test unless the exit code and every pattern match.
func (h *history) wants(r *run, code int, patterns ...string) {
	h.t.Helper()
	if r.code != code {
		h.t.Errorf("want exit code %d: %s", code, r)
	}
	for _, p := range patterns {
		if !regexp.MustCompile(`(?m)` + p).MatchString(r.stdout + "\n" + r.stderr) {
			h.t.Errorf("nothing matches %q: %s", p, r)
		}
	}
}

// finish runs the job without faults to its end and checks everything.
func (h *history) finish(file string) {
	h.t.Helper()
	r := h.job(file)
	if !r.done() {
		h.t.Fatalf("it does not come to its end without faults: %s", r)
	}
	h.end(r, file)
}

// A half-open connection is the worst of the network: nothing comes and nobody says so.
func TestHalfOpen(t *testing.T) {
	for _, on := range []place{mongo, qdrant, kafka} {
		for _, after := range []int{0, 3} {
			t.Run(fmt.Sprintf("%s after %d requests", on, after), func(t *testing.T) {
				h, file := begin(t, ordinary(200), options{}, "")
				h.wants(h.job(file, fault{kind: halfOpen, on: on, clock: on, after: after}), 1, "^error: ", "^hint: ")
				h.finish(file)
			})
		}
	}
}

// restartBroker stops the broker and starts another one, after a while or when the run is over.
func (h *history) restartBroker(r *run, away time.Duration, o options) {
	h.proxies[kafka].stop()
	h.must(h.kafka.Close())
	select {
	case <-time.After(away):
	case <-r.over:
	}
	h.startKafka("", o)
	h.must(h.proxies[kafka].start())
	h.interrupted++ // this broker does not remember which batches it had, so what is sent again may come twice
}

// A broker that restarts with its records is outlasted if it is quick, and else gone on with later.
func TestBrokerRestart(t *testing.T) {
	for _, exactlyOnce := range []bool{false, true} {
		for name, away := range map[string]time.Duration{"quick": ms(200), "slow": patience} {
			t.Run(fmt.Sprintf("%s exactly once %t", name, exactlyOnce), func(t *testing.T) {
				s, o := ordinary(300), options{kafkaDir: t.TempDir()}
				s.exactlyOnce = exactlyOnce
				h, file := begin(t, s, o, "")
				h.at(kafka, 5, func(r *run) { h.restartBroker(r, away, o) })
				r := h.job(file)
				if away == patience {
					h.wants(r, 1, "^error: ", "^hint: ")
				}
				if r.done() {
					h.end(r, file)
					return
				}
				h.finish(file)
			})
		}
	}
}

// equal lets the indexer and the job take turns, as they do in the end, until the index is equal. What a broker lost is only
// found missing by a run that asks the index anew.
func (h *history) equal(file string) {
	h.t.Helper()
	for range 3 {
		r := h.run(nil, "run", "-c", file)
		h.journal.look()
		h.journal.index()
		if r.done() && h.run(nil, "verify", "-c", file, "--min-age", "0s").code == 0 {
			return
		}
	}
	h.t.Error("the index does not become equal")
}

// What is lost with a broker's records or with a topic is no longer syncd's, but it may not go on as if it were there.
func TestRecordsLost(t *testing.T) {
	for name, lose := range map[string]func(*history, *run){
		"broker without its records": func(h *history, r *run) { h.restartBroker(r, ms(100), options{}) },
		"topic deleted": func(h *history, _ *run) {
			h.must(h.kafka.Cluster().DeleteTopic(database + ".page"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, file := begin(t, ordinary(300), options{}, "")
			h.at(kafka, 5, func(r *run) { lose(h, r) })
			h.wants(h.run(nil, "run", "-c", file), 1, "^error: ", "^hint: ")
			h.equal(file)
		})
	}
}

// An index that goes away in mid-run never makes what it holds missing, whatever is to happen where it is away at the start.
func TestIndexRestart(t *testing.T) {
	for _, outage := range []string{"full", "fail", "wait"} {
		t.Run(outage, func(t *testing.T) {
			s := ordinary(300)
			s.outage = outage
			for i := range s.documents {
				s.documents[i].condition = condition(i % 2) // every other one is present
			}
			h, file := begin(t, s, options{}, "")
			f := fault{kind: down, on: qdrant, clock: qdrant, after: 4}
			if outage == "wait" {
				f.lasts = ms(2500) // longer than the checker itself would try
			}
			r := h.job(file, f)
			if outage == "wait" {
				h.wants(r, 0, "the index can't be asked: trying again")
				h.end(r, file)
				return
			}
			h.wants(r, 1, "^error: .*Qdrant", "^hint: ")
			h.finish(file)
		})
	}
}

// A primary that steps down, and cursors that are killed, are outlasted; a server that stays away is not.
func TestFailover(t *testing.T) {
	for _, c := range []struct {
		fault
		code int
	}{
		{fault{kind: notPrimary, on: mongo, clock: mongo, after: 3, amount: 2}, 0},
		{fault{kind: shuttingDown, on: mongo, clock: mongo, after: 3, amount: 2}, 0},
		{fault{kind: lostCursor, on: mongo, clock: mongo, after: 3, amount: 3}, 0},
		{fault{kind: down, on: mongo, clock: mongo, after: 4, lasts: ms(700)}, 0},
		{fault{kind: notPrimary, on: mongo, clock: mongo, after: 3, amount: 1000}, 1},
	} {
		t.Run(fmt.Sprintf("%s %d", c.kind, c.amount), func(t *testing.T) {
			h, file := begin(t, ordinary(200), options{}, "")
			r := h.job(file, c.fault)
			h.wants(r, c.code)
			if r.done() {
				h.end(r, file)
				return
			}
			h.finish(file)
		})
	}
}

// smallDisk makes dir a place that holds no more than so many KB, until grow is called. Where nothing can be mounted, it is
// the size of each file that is bounded.
func (h *history) smallDisk(dir string, kb int) (grow func()) {
	h.t.Helper()
	h.must(os.MkdirAll(dir, 0o755))
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dk", kb)); err != nil {
		h.t.Logf("nothing can be mounted here (%v): the size of files is bounded instead", err)
		h.program = []string{"sh", "-c", fmt.Sprintf(`ulimit -f %d; exec "$0" "$@"`, kb*2), program}
		return func() { h.program = []string{program} }
	}
	h.t.Cleanup(func() { h.must(syscall.Unmount(dir, 0)) })
	return func() { h.must(syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=16m")) }
}

// A disk that is full, for the state or for the dead letters, stops the run with what to do; then it goes on.
func TestFullDisk(t *testing.T) {
	for _, c := range []struct {
		name, more string
		kb         int
	}{
		{"state", "run: {state_dir: %s}\n", 4},
		{"state later", "run: {state_dir: %s}\nsource: {mongo: {splits: 300, batch_size: 2}}\n", 60},
		{"letters", "errors: {dead_letter: {file: {path: %s/letters.ndjson}}}\n", 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := ordinary(400)
			for i := range 15 {
				s.documents[20*i+9].condition = oversize
			}
			dir := filepath.Join(t.TempDir(), "disk")
			h, file := begin(t, s, options{}, fmt.Sprintf(c.more, dir))
			grow := h.smallDisk(dir, c.kb)
			if strings.HasPrefix(c.name, "state") {
				h.stateDir = dir
			} else {
				h.lettersFile = filepath.Join(dir, "letters.ndjson")
			}
			r := h.run(nil, "run", "-c", file)
			h.wants(r, 1, "^error: ", "^hint: ", "no space left|file too large")
			grow()
			h.interrupted++
			h.finish(file)
		})
	}
}

// The file that a sink writes ends with a whole line when its disk is full, and holds every document when there is room again.
func TestFullDiskOfSink(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "disk")
	path := filepath.Join(dir, "events.ndjson")
	s := ordinary(300)
	h, _ := begin(t, s, options{}, "")
	text, err := os.ReadFile(h.path("base.yaml"))
	h.must(err)
	sink := regexp.MustCompile(`(?ms)^sink:.*?^errors:`).ReplaceAllString(string(text), "sink: {file: {path: "+path+", format: envelope}}\nerrors:")
	file := h.write("file.yaml", sink)
	grow := h.smallDisk(dir, 24)
	h.wants(h.run(nil, "run", "-c", file), 1, "^error: ", "^hint: ")
	lines := func() map[string]bool {
		text, err := os.ReadFile(path)
		h.must(err)
		ids := map[string]bool{}
		for line := range strings.Lines(string(text)) {
			var e struct {
				ID string `json:"id"`
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil || !strings.HasSuffix(line, "\n") {
				t.Errorf("the line %q: %v", line, err)
			}
			ids[e.ID] = true
		}
		return ids
	}
	lines()
	grow()
	h.wants(h.run(nil, "run", "-c", file), 0)
	if n := len(lines()); n != len(s.documents)-5 {
		t.Errorf("%d documents are in the file, want %d", n, len(s.documents)-5)
	}
}

// A folder for the state that can't be written to is an error where the configuration names it.
func TestReadOnlyState(t *testing.T) {
	s := ordinary(20)
	s.letters = "kafka" // the folder is to be read only
	h, file := begin(t, s, options{}, "")
	h.must(os.Mkdir(h.path("state"), 0o555))
	if os.Getuid() == 0 { // who may write everywhere
		h.identity = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		h.must(exec.Command("chmod", "-R", "a+rX", filepath.Dir(h.dir)).Run())
	}
	h.wants(h.run(nil, "run", "-c", file), 1, "^error: .*state.*permission denied", "^hint: set run.state_dir")
	h.journal.look()
	if h.journal.total > 0 {
		t.Errorf("%d events were sent all the same", h.journal.total)
	}
}

// A clock that jumps between two runs makes the state seem to be from another time, be it past or to come.
func TestClockJumps(t *testing.T) {
	for _, c := range []struct {
		name string
		jump time.Duration
		says string
	}{
		{"forward by two days", -48 * time.Hour, "^The interrupted run of .* is older than run.resume_within"},
		{"back by ten years", 10 * 365 * 24 * time.Hour, "^The interrupted run of .* is older than run.resume_within"},
		{"back by an hour", time.Hour, "^Resuming the run"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, file := begin(t, ordinary(300), options{}, "")
			h.job(file, fault{kind: kill, on: process, clock: kafka, after: 12})
			h.wants(h.run(nil, "state", "show", "-c", file), 0, ": interrupted$", fmt.Sprintf(`^page +300 +%d `, h.handled))
			e, _ := h.state()
			db, err := bbolt.Open(e.Path, 0o600, nil)
			h.must(err)
			h.must(db.Update(func(tx *bbolt.Tx) error {
				meta := tx.Bucket([]byte("meta"))
				var info store.Info
				if err := json.Unmarshal(meta.Get([]byte("info")), &info); err != nil {
					return err
				}
				info.Updated = info.Updated.Add(c.jump)
				text, err := json.Marshal(info)
				if err != nil {
					return err
				}
				return meta.Put([]byte("info"), text)
			}))
			h.must(db.Close())
			h.interrupted += 100 // a run that begins anew sends again what was not indexed
			r := h.job(file)
			h.wants(r, 0, c.says)
			h.end(r, file)
			h.wants(h.run(nil, "state", "show", "-c", file), 0, ": complete$", "^page +300 +300 ")
		})
	}
}

// A run that stands still says so, and for what it waits.
func TestStall(t *testing.T) {
	h, file := begin(t, ordinary(200), options{}, "run: {stall_after: 200ms}\nsink: {kafka: {delivery_timeout: 5s}}\n")
	r := h.job(file, fault{kind: halfOpen, on: kafka, clock: kafka, after: 4, lasts: ms(1500)})
	h.wants(r, 0, `nothing has moved for .*for the sink`)
	h.end(r, file)
}

// A process that is stopped for longer than any of its timeouts goes on, or gives up and is gone on with.
func TestFrozen(t *testing.T) {
	for _, exactlyOnce := range []bool{false, true} {
		t.Run(fmt.Sprintf("exactly once %t", exactlyOnce), func(t *testing.T) {
			s := ordinary(300)
			s.exactlyOnce = exactlyOnce
			h, file := begin(t, s, options{}, "")
			r := h.job(file, fault{kind: freeze, on: process, clock: kafka, after: 7, lasts: 4 * time.Second})
			if r.done() {
				h.end(r, file)
				return
			}
			h.finish(file)
		})
	}
}

// Deletes are delivered as surely as documents, and once where that is promised, however often a run is killed among them and
// whether the indexer has done what it could meanwhile or not.
func TestKilledPrune(t *testing.T) {
	for _, exactlyOnce := range []bool{false, true} {
		for _, indexed := range []bool{false, true} {
			t.Run(fmt.Sprintf("exactly once %t indexed %t", exactlyOnce, indexed), func(t *testing.T) {
				s := ordinary(60)
				for i := range s.documents {
					s.documents[i].condition = present
				}
				for i := range 20 {
					s.documents[3*i].condition = missing
				}
				for i := range 300 {
					s.orphans = append(s.orphans, gone("page", i))
				}
				s.exactlyOnce, s.prune, s.tombstones = exactlyOnce, true, indexed
				h, file := begin(t, s, options{}, "")
				moments := []int{8, 12, 10}
				if exactlyOnce {
					moments = []int{45, 25, 20} // there are more requests to a transaction
				}
				for _, after := range moments {
					r := h.job(file, fault{kind: kill, on: process, clock: kafka, after: after})
					if r.done() {
						t.Fatalf("it came to its end before it was killed: %s", r)
					}
					if indexed {
						h.index()
					}
				}
				if n := len(h.journal.deletes); n == 0 || n == len(s.orphans) {
					t.Errorf("%d deletes were sent when it was killed", n)
				}
				h.finish(file)
			})
		}
	}
}
