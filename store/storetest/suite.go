package storetest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

// Place is where the jobs of a test keep their states.
type Place struct {
	// Open opens the state of a job as another process would, which may follow one whose store was closed, has crashed, or is
	// still open.
	Open func(job string) (store.Store, error)
	// Crash ends a store as if its process was killed. The store is not used any more.
	Crash func(s store.Store)
}

// Harness says how the suite gets at the store under test.
type Harness struct {
	// New makes a place without states.
	New func(t *testing.T) Place
	// Unowned says that an open store does not keep others out, and is not shut out by them.
	Unowned bool
	// Seeds is how many random lives of a store are tried; 0 is 50.
	Seeds int
}

// Run runs the suite.
func (h Harness) Run(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, p *place)
	}{
		{"empty", empty},
		{"interrupted", interrupted},
		{"complete", complete},
		{"killed", killed},
		{"begun_anew", begunAnew},
		{"streams_stay", streamsStay},
		{"collection_begun_anew", collectionBegunAnew},
		{"left_alone", leftAlone},
		{"many_splits", manySplits},
		{"unknown_collection", unknownCollection},
		{"any_name", anyName},
		{"jobs_apart", jobsApart},
		{"at_once", atOnce},
		{"committed", committed},
		{"committed_and_late", committedAndLate},
		{"one_owner", h.oneOwner},
		{"random_lives", h.randomLives},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, &place{Place: h.New(t), t: t}) })
	}
}

// place is a Place whose errors end the test.
type place struct {
	Place
	t *testing.T
}

// job is the job of most cases, and run its first run.
const job = "job"

var run = store.Info{
	RunID: "run-1", Config: "prod.yaml",
	Scope: store.Scope{Source: "mongo", Index: "qdrant", Sink: "kafka", Mode: "incremental", Collections: []string{"page"}, Settings: "f"},
}

func (p *place) open() store.Store { return p.openJob(job) }

func (p *place) openJob(name string) store.Store {
	p.t.Helper()
	s, err := p.Open(name)
	if err != nil {
		p.t.Fatalf("opening job %q: %v", name, err)
	}
	return s
}

// begun opens the job and begins the run.
func (p *place) begun() store.Store {
	p.t.Helper()
	s := p.open()
	p.must(s.Begin(p.t.Context(), run))
	return s
}

// killed ends the process and returns the store of the next.
func (p *place) killed(s store.Store) store.Store {
	p.t.Helper()
	p.Crash(s)
	return p.open()
}

func (p *place) close(s store.Store, o tally.Outcome, resumable bool) {
	p.t.Helper()
	p.must(s.Close(p.t.Context(), store.End{Outcome: o, Resumable: resumable}))
}

// collection begins a collection.
func (p *place) collection(s store.Store, name string, c store.Collection) {
	p.t.Helper()
	p.must(s.Collection(p.t.Context(), name, c, true))
}

func (p *place) split(s store.Store, name string, state store.Split, durable bool) {
	p.t.Helper()
	p.must(s.Split(p.t.Context(), name, state, durable))
}

func (p *place) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// same checks what is kept of a collection; nil is nothing.
func (p *place) same(s store.Store, name string, want *store.Collection) {
	p.t.Helper()
	if diff := cmp.Diff(want, s.Recall(name)); diff != "" {
		p.t.Errorf("collection %q: %s", name, diff)
	}
}

// info checks how the run stands that is kept.
func (p *place) info(s store.Store, runID string, o tally.Outcome, resumable bool, resumes int, handled int64) {
	p.t.Helper()
	i := s.Info()
	if i.RunID != runID || i.Outcome != o || i.Resumable != resumable || i.Resumes != resumes || s.Handled() != handled {
		p.t.Errorf("%d documents of %+v; want %d of run %q, %s, resumable %t, resumed %d times", s.Handled(), i, handled, runID, o, resumable, resumes)
	}
	if runID == "" {
		return
	}
	if i.Started.IsZero() || i.Updated.Before(i.Started) || i.PID == 0 || i.Host == "" {
		p.t.Errorf("not all is known of %+v", i)
	}
	if diff := cmp.Diff(run.Scope, i.Scope); diff != "" || i.Config != run.Config {
		p.t.Errorf("configuration %q, scope: %s", i.Config, diff)
	}
}

// state is split i of a collection, of which n documents were handled.
func state(i int, n int64) store.Split {
	s := store.Split{Index: i, After: syncd.Offset(fmt.Sprintf("%d\x00\xff", n)), Counts: tally.Counts{Scanned: n, Present: n}}
	if n == 0 {
		s.After = ""
	}
	if i > 0 {
		s.Lower = syncd.Key(fmt.Sprintf("k%d\xff", i))
	}
	s.Upper = syncd.Key(fmt.Sprintf("k%d\xff", i+1))
	return s
}

func done(s store.Split) store.Split {
	s.Done = true
	return s
}

func failed(s store.Split) store.Split {
	s.Failures = []tally.Failure{{ID: "x", Stage: "write", Reason: "refused"}}
	return s
}

var page = store.Collection{Rule: "r", Identity: "uuid", Found: true, Before: 9}

func with(c store.Collection, splits ...store.Split) *store.Collection {
	c.Splits = splits
	return &c
}

func planned(c store.Collection) store.Collection {
	c.Planned = true
	return c
}

func empty(t *testing.T, p *place) {
	for range 2 {
		s := p.open()
		p.info(s, "", "", false, 0, 0)
		p.same(s, "page", nil)
		p.close(s, tally.Complete, false)
	}
}

func interrupted(t *testing.T, p *place) {
	s := p.begun()
	p.info(s, "run-1", tally.Running, true, 0, 0)
	started := s.Info().Started
	p.collection(s, "page", page)
	p.split(s, "page", state(0, 0), true)
	p.split(s, "page", failed(state(0, 3)), true)
	p.split(s, "page", state(1, 0), false)
	p.must(s.Collection(t.Context(), "page", planned(page), false))
	p.close(s, tally.Interrupted, true)

	s = p.open()
	p.info(s, "run-1", tally.Interrupted, true, 0, 3)
	p.same(s, "page", with(planned(page), failed(state(0, 3)), state(1, 0)))
	p.must(s.Resume(t.Context()))
	p.info(s, "run-1", tally.Running, true, 1, 3)
	p.split(s, "page", state(1, 4), false)
	p.split(s, "page", done(state(1, 6)), false)
	p.close(s, tally.Stopped, true)

	s = p.open()
	p.info(s, "run-1", tally.Stopped, true, 1, 9)
	p.same(s, "page", with(planned(page), failed(state(0, 3)), done(state(1, 6))))
	if !s.Info().Started.Equal(started) {
		t.Errorf("started at %v, not %v", s.Info().Started, started)
	}
	p.close(s, tally.Failed, false)
}

func complete(t *testing.T, p *place) {
	s := p.begun()
	p.collection(s, "page", page)
	p.split(s, "page", state(0, 0), true)
	p.split(s, "page", done(state(0, 9)), false)
	p.close(s, tally.Complete, false)
	s = p.open()
	p.info(s, "run-1", tally.Complete, false, 0, 9)
	next := run
	next.RunID = "run-2"
	p.must(s.Begin(t.Context(), next))
	p.info(s, "run-2", tally.Running, true, 0, 0)
	p.same(s, "page", nil)
	p.close(s, tally.Failed, false)
	s = p.open()
	p.info(s, "run-2", tally.Failed, false, 0, 0)
	p.same(s, "page", nil)
	p.close(s, tally.Failed, false)
}

// killed: what had to be durable is there, with what came before it.
func killed(t *testing.T, p *place) {
	s := p.killed(p.begun())
	p.info(s, "run-1", tally.Interrupted, true, 0, 0)
	p.must(s.Resume(t.Context()))
	s = p.killed(s)
	p.info(s, "run-1", tally.Interrupted, true, 1, 0)
	p.must(s.Resume(t.Context()))
	p.collection(s, "epic", page)
	p.split(s, "epic", state(0, 7), false)
	p.collection(s, "page", page)
	p.must(s.Collection(t.Context(), "epic", planned(page), false))
	p.split(s, "page", state(0, 3), true)
	s = p.killed(s)
	p.info(s, "run-1", tally.Interrupted, true, 2, 10)
	p.same(s, "page", with(page, state(0, 3)))
	p.same(s, "epic", with(planned(page), state(0, 7)))
	p.close(s, tally.Complete, false)
}

// begunAnew: nothing is left of the run before, even if the new one has the same id and was killed at once.
func begunAnew(t *testing.T, p *place) {
	s := p.begun()
	p.collection(s, "page", page)
	p.split(s, "page", state(0, 3), true)
	p.collection(s, "epic", page)
	p.split(s, "epic", state(0, 3), false)
	for range 3 {
		p.must(s.Begin(t.Context(), run))
		p.same(s, "page", nil)
		s = p.killed(s)
		p.info(s, "run-1", tally.Interrupted, true, 0, 0)
		p.same(s, "page", nil)
		p.same(s, "epic", nil)
	}
	p.must(s.Resume(t.Context()))
	p.collection(s, "page", page)
	p.split(s, "page", state(0, 1), true)
	s = p.killed(s)
	p.info(s, "run-1", tally.Interrupted, true, 1, 1)
	p.same(s, "page", with(page, state(0, 1)))
	p.close(s, tally.Complete, false)
}

// streamsStay: a new run leaves what is kept of streams, and it counts no documents of them.
func streamsStay(t *testing.T, p *place) {
	name := store.StreamOf("database shop")
	at := func(scanned int64, after string) store.Split {
		st := state(0, scanned)
		st.After = syncd.Offset(after)
		return st
	}
	s := p.begun()
	p.collection(s, name, page)
	p.split(s, name, at(0, "t0"), true)
	p.collection(s, "page", page)
	p.split(s, "page", state(0, 3), true)
	for i := range int64(3) {
		p.split(s, name, at(i+1, fmt.Sprint("t", i+1)), i%2 == 0)
		p.must(s.Begin(t.Context(), run))
		p.same(s, "page", nil)
		p.split(s, name, at(i+1, fmt.Sprint("idle", i+1)), true)
		s = p.killed(s)
		p.info(s, "run-1", tally.Interrupted, true, 0, 0)
		p.same(s, "page", nil)
		p.same(s, name, with(page, at(i+1, fmt.Sprint("idle", i+1))))
		p.must(s.Resume(t.Context()))
	}
	p.collection(s, "page", page)
	p.split(s, "page", state(0, 2), true)
	p.close(s, tally.Interrupted, true)
	s = p.open()
	p.info(s, "run-1", tally.Interrupted, true, 1, 2)
	p.same(s, name, with(page, at(3, "idle3")))
	p.must(s.Resume(t.Context()))
	p.collection(s, name, page) // the position was lost
	p.split(s, name, at(0, "new"), true)
	s = p.killed(s)
	p.same(s, name, with(page, at(0, "new")))
	p.close(s, tally.Stopped, false)
	s = p.open()
	p.same(s, name, with(page, at(0, "new")))
	p.close(s, tally.Complete, false)
}

// collectionBegunAnew: its splits are forgotten, those that are kept and those on their way there.
func collectionBegunAnew(t *testing.T, p *place) {
	s := p.begun()
	p.collection(s, "page", page)
	p.split(s, "page", state(0, 5), true)
	p.split(s, "page", state(1, 5), true)
	p.split(s, "page", state(2, 5), false)
	anew := page
	anew.Identity = "another"
	p.collection(s, "page", anew)
	p.collection(s, "epic", page)
	p.split(s, "epic", state(0, 1), true)
	s = p.killed(s)
	p.info(s, "run-1", tally.Interrupted, true, 0, 1)
	p.same(s, "page", with(anew))
	p.must(s.Resume(t.Context()))
	p.collection(s, "page", page)
	p.split(s, "page", state(0, 2), true)
	s = p.killed(s)
	p.info(s, "run-1", tally.Interrupted, true, 1, 3)
	p.same(s, "page", with(page, state(0, 2)))
	p.close(s, tally.Complete, false)
}

// leftAlone: who opens a store, and neither begins nor resumes, changes nothing.
func leftAlone(t *testing.T, p *place) {
	s := p.begun()
	p.collection(s, "page", page)
	p.split(s, "page", state(0, 3), true)
	s = p.killed(s)
	for range 2 {
		info := s.Info()
		p.close(s, tally.Complete, false)
		s = p.open()
		p.info(s, "run-1", tally.Interrupted, true, 0, 3)
		if diff := cmp.Diff(info, s.Info()); diff != "" {
			t.Error(diff)
		}
		p.same(s, "page", with(page, state(0, 3)))
	}
	p.close(s, tally.Complete, false)
}

// manySplits come back in their order, more of them than a byte counts.
func manySplits(t *testing.T, p *place) {
	const n = 300
	s := p.begun()
	p.collection(s, "page", page)
	var want []store.Split
	for i := range n {
		p.split(s, "page", state(i, 0), false)
		want = append(want, state(i, int64(i)))
	}
	for i := n - 1; i >= 0; i-- {
		p.split(s, "page", want[i], i == 0)
	}
	s = p.killed(s)
	p.same(s, "page", with(page, want...))
	p.close(s, tally.Interrupted, true)
}

// unknownCollection: a split without its collection would be of no use.
func unknownCollection(t *testing.T, p *place) {
	s := p.begun()
	if err := s.Split(t.Context(), "page", state(0, 1), true); err == nil {
		t.Error("kept")
	}
	s = p.killed(s)
	p.info(s, "run-1", tally.Interrupted, true, 0, 0)
	p.same(s, "page", nil)
	p.close(s, tally.Interrupted, true)
}

// hostile are names that mean something to somebody. Of collections none is empty.
var hostile = []string{
	"page", "a/b", "a", "a%2Fb", "a/", "/a", "0/a", "1/a", "split/0/page", "info", "about", "collection/page", ".", "..", "../x", " ", "ä\u0301", "Page",
	"a\nb", "%", "%00", "*", `\`, "~", "run-1", strings.Repeat("x", 300), store.DeletesOf("page"),
}

func anyName(t *testing.T, p *place) {
	s := p.begun()
	for i, name := range hostile {
		c := page
		c.Before = int64(i)
		p.collection(s, name, c)
		p.split(s, name, state(0, int64(i)), false)
		p.split(s, name, state(1, 1), i%5 == 0)
	}
	p.close(s, tally.Interrupted, true)
	s = p.open()
	for i, name := range hostile {
		c := page
		c.Before = int64(i)
		p.same(s, name, with(c, state(0, int64(i)), state(1, 1)))
	}
	p.close(s, tally.Complete, false)
}

func jobsApart(t *testing.T, p *place) {
	open := make([]store.Store, len(hostile))
	for round := range 2 {
		for i, name := range hostile {
			s := p.openJob(name)
			if round > 0 {
				p.info(s, "run-1", tally.Interrupted, true, 0, int64(i))
			} else {
				p.info(s, "", "", false, 0, 0)
				p.must(s.Begin(t.Context(), run))
			}
			open[i] = s
		}
		for i, s := range open {
			if round > 0 {
				p.same(s, "page", with(page, state(0, int64(i))))
				p.must(s.Begin(t.Context(), run)) // which is no other job's
			} else {
				p.collection(s, "page", page)
				p.split(s, "page", state(0, int64(i)), true)
			}
		}
		for i := range open {
			p.close(open[i], tally.Interrupted, true)
		}
	}
}

// atOnce: many workers tell at once, and in the end all of it is there.
func atOnce(t *testing.T, p *place) {
	const workers, steps = 8, 30
	s := p.begun()
	names := []string{"0", "1", "2", "3"}
	for _, name := range names {
		p.collection(s, name, page)
		for i := range workers / len(names) {
			p.split(s, name, state(i, 0), true)
		}
	}
	committer, commits := s.(store.Committer)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			name, i := names[w%len(names)], w/len(names)
			for n := range steps {
				now := state(i, int64(n+1))
				var err error
				switch {
				case commits && n%3 == 0:
					err = committer.Commit(t.Context(), changes(1), name, now)
				case n%7 == 0:
					err = s.Collection(t.Context(), name, planned(page), false)
					fallthrough
				default:
					if serr := s.Split(t.Context(), name, now, n%5 == 0); err == nil {
						err = serr
					}
				}
				if err != nil {
					t.Error(err)
				}
				_ = s.Info()
			}
		})
	}
	all.Wait()
	p.close(s, tally.Interrupted, true)
	s = p.open()
	for _, name := range names {
		p.same(s, name, with(planned(page), state(0, steps), state(1, steps)))
	}
	p.close(s, tally.Complete, false)
}

func changes(n int) []syncd.Change {
	out := make([]syncd.Change, n)
	for i := range out {
		id := strconv.Itoa(i)
		out[i] = syncd.Change{ID: id, Key: syncd.Key(id), Operation: syncd.Delete, Target: &syncd.Target{Database: "db", Collection: "page"}}
	}
	return out
}

// committed: what was committed is there after a crash, with its collection.
func committed(t *testing.T, p *place) {
	s := p.begun()
	c, ok := s.(store.Committer)
	if !ok {
		t.Skip("it commits nothing")
	}
	p.collection(s, "page", page)
	p.must(c.Commit(t.Context(), changes(2), "page", state(0, 2)))
	s = p.killed(s)
	p.info(s, "run-1", tally.Interrupted, true, 0, 2)
	p.same(s, "page", with(page, state(0, 2)))
	p.must(s.Resume(t.Context()))
	c = s.(store.Committer)
	p.must(c.Commit(t.Context(), changes(2), "page", state(0, 4)))
	p.must(c.Commit(t.Context(), changes(1), "page", done(state(0, 5))))
	if err := c.Commit(t.Context(), changes(1), "epic", state(0, 1)); err == nil {
		t.Error("committed without its collection")
	}
	s = p.killed(s)
	p.info(s, "run-1", tally.Interrupted, true, 1, 5)
	p.same(s, "page", with(page, done(state(0, 5))))
	p.same(s, "epic", nil)
	p.close(s, tally.Complete, false)
}

// committedAndLate: a state that was told after a newer one was committed is of no use, but one that is newer is.
func committedAndLate(t *testing.T, p *place) {
	s := p.begun()
	c, ok := s.(store.Committer)
	if !ok {
		t.Skip("it commits nothing")
	}
	for _, durable := range []bool{false, true} {
		p.collection(s, "page", page)
		p.must(c.Commit(t.Context(), changes(1), "page", state(0, 4)))
		p.split(s, "page", state(0, 3), durable)
		p.split(s, "page", state(1, 1), true)
		p.must(c.Commit(t.Context(), changes(1), "page", state(1, 2)))
		p.split(s, "page", state(1, 5), durable)
		p.split(s, "page", state(2, 1), true)
		s = p.killed(s)
		p.same(s, "page", with(page, state(0, 4), state(1, 5), state(2, 1)))
		p.must(s.Resume(t.Context()))
		c = s.(store.Committer)
	}
	p.close(s, tally.Complete, false)
}

// oneOwner: while a store is open, another process can't open it, or shuts the first one out.
func (h Harness) oneOwner(t *testing.T, p *place) {
	if h.Unowned {
		t.Skip("nobody owns it")
	}
	first := p.begun()
	p.collection(first, "page", page)
	p.split(first, "page", state(0, 1), true)
	second, err := p.Open(job)
	if err != nil {
		p.split(first, "page", state(0, 2), true)
		second = p.killed(first)
		p.same(second, "page", with(page, state(0, 2)))
		p.close(second, tally.Interrupted, true)
		return
	}
	p.info(second, "run-1", tally.Interrupted, true, 0, 1)
	if err := first.Split(context.Background(), "page", state(0, 2), true); err == nil {
		t.Error("two processes write to one state")
	}
	if err := first.Close(context.Background(), store.End{Outcome: tally.Complete}); err != nil {
		t.Errorf("closing what is another's by now: %v", err)
	}
	p.must(second.Resume(t.Context()))
	p.split(second, "page", state(0, 3), true)
	p.close(second, tally.Interrupted, true)
	second = p.open()
	p.same(second, "page", with(page, state(0, 3)))
	p.close(second, tally.Complete, false)
}
