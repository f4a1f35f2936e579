package job_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/marks"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

// death kills a process around one of its commits, or only has that one fail. The zero value kills nobody.
type death struct {
	at     int  // which commit, from 1; 0 is none
	events bool // counts only commits with changes
	after  bool // the commit took effect, and only its answer was lost
	lives  bool // the process lives on, with an error that leaves open whether the commit took effect

	mu    sync.Mutex
	calls int
	dead  bool
}

func (d *death) before(_ context.Context, changes []syncd.Change, _ []syncd.Mark) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return errBoom // nothing is begun any more; what is under way may still be committed
	}
	if d.events && len(changes) == 0 {
		return nil
	}
	if d.calls++; d.calls != d.at {
		return nil
	}
	if d.dead = true; d.after {
		return nil
	}
	return errBoom
}

func (d *death) answer(context.Context, []syncd.Change, []syncd.Mark) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return errBoom
	}
	return nil
}

func (d *death) happened() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dead
}

// commitOnly is a sink of a job that sends exactly once: whatever is written beside its transactions has no part in them.
type commitOnly struct {
	*syncdtest.MemoryCommitter
	t testing.TB
}

func (c commitOnly) Write(ctx context.Context, changes []syncd.Change) error {
	c.t.Errorf("%d changes are written beside the transactions", len(changes))
	return c.MemoryCommitter.Write(ctx, changes)
}

// process runs the job as a process of its own, which commits through user: it resumes what the marks say, or begins. It has the
// death that user's hooks give it, if any; then nothing comes after it.
func process(t testing.TB, user *syncdtest.MemoryCommitter, o job.Options, d *death) (rep job.Report, err error) {
	t.Helper()
	ctx := t.Context()
	o.Sink = commitOnly{user, t}
	switch {
	case d.lives:
		o.Sink = syncdtest.FaultySink(o.Sink, syncdtest.SinkFaults{Commit: syncdtest.Nth(d.at, syncdtest.Fault{Err: errBoom, Done: d.after})})
	case d.at > 0:
		user.Before, user.After = d.before, d.answer
	}
	st, err := marks.Open(ctx, o.Sink.Abilities(), "job")
	if err != nil {
		return rep, err
	}
	handled := st.Handled()
	if old := st.Info(); old.RunID != "" && old.Resumable {
		o.RunID, err = old.RunID, st.Resume(ctx)
	} else {
		o.RunID = uuid.NewString()
		err = st.Begin(ctx, store.Info{Job: "job", RunID: o.RunID})
	}
	if err == nil {
		o.Checkpoints = st
		rep, err = job.Run(ctx, o)
	}
	end := store.End{Outcome: tally.Complete}
	if err != nil || rep.Interrupted {
		end = store.End{Outcome: tally.Interrupted, Resumable: true}
	}
	if d.happened() {
		return rep, errBoom
	}
	if err == nil && rep.Resumed > handled {
		t.Errorf("%d documents are reported as resumed, but %d were handled before", rep.Resumed, handled)
	}
	if cerr := st.Close(ctx, end); err == nil {
		err = cerr
	}
	return rep, err
}

// keptOf is what the marks say of the job.
func keptOf(t testing.TB, c *syncdtest.MemoryCommitter) store.Entry {
	t.Helper()
	e, err := marks.Peek(t.Context(), c.Abilities(), "job")
	if err = errors.Join(err, e.Problem); err != nil {
		t.Fatal(err)
	}
	return e
}

// isDone checks that a job's run is complete, and that nothing else is kept of it.
func isDone(t testing.TB, c *syncdtest.MemoryCommitter) {
	t.Helper()
	if i := keptOf(t, c).Info; i.Outcome != tally.Complete || i.Resumable || len(c.Ledger()) != 1 {
		t.Errorf("%+v, marks %v", i, slices.Sorted(maps.Keys(c.Ledger())))
	}
}

// commitsOf is how often a committer's ledger holds the changes of each document, but for deletes.
func commitsOf(c *syncdtest.MemoryCommitter) map[string]int {
	out := map[string]int{}
	for _, change := range c.Changes() {
		if change.Operation != syncd.Delete {
			out[change.Target.Collection+"/"+change.ID]++
		}
	}
	return out
}

// deletesOf is how often it holds the deletes of each document.
func deletesOf(c *syncdtest.MemoryCommitter) map[string]int {
	out := map[string]int{}
	for _, change := range c.Changes() {
		if change.Operation == syncd.Delete {
			out[change.Target.Collection+"/"+change.ID]++
		}
	}
	return out
}

// TestCrashAroundACommit ends a run before or after one of its commits took effect.
func TestCrashAroundACommit(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := 1; n <= 10; n++ {
			t.Run(fmt.Sprintf("commit=%d after=%t", n, after), func(t *testing.T) {
				f := newFixture(t, "page")
				f.insert("page", 100, nil)
				f.opts.Workers, f.opts.Readers = 1, 1
				want, err := job.Run(t.Context(), f.opts)
				if err != nil {
					t.Fatal(err)
				}
				c := syncdtest.NewMemoryCommitter()
				if _, err := process(t, c.Reopen(), f.opts, &death{at: n, events: true, after: after}); !errors.Is(err, errBoom) {
					t.Fatal(err)
				}
				done := 10 * (n - 1)
				if after {
					done += 10
				}
				if len(c.Committed()) != done || keptOf(t, c).Handled != int64(done) {
					t.Fatalf("%d events, %d documents", len(c.Committed()), keptOf(t, c).Handled)
				}
				rep, err := process(t, c.Reopen(), f.opts, &death{})
				if err != nil || rep.Resumed != int64(done) {
					t.Errorf("%v, resumed %d of %d", err, rep.Resumed, done)
				}
				if diff := cmp.Diff(want.Total, rep.Total); diff != "" {
					t.Error(diff)
				}
				for id, n := range commitsOf(c) {
					if n != 1 {
						t.Errorf("%s came %d times", id, n)
					}
				}
				if len(c.Committed()) != 100 {
					t.Errorf("%d events", len(c.Committed()))
				}
				isDone(t, c)
			})
		}
	}
}

// orphan puts the points of a document into the index that the source does not have, one for each of its chunks.
func (f *fixture) orphan(collection, id string, chunks int) {
	for chunk := range chunks {
		f.checker.Put(chunkID(collection, id, chunk), map[string]any{"content_type": collection, "mongo_id": id, "chunk_index": chunk})
	}
}

// TestPruneExactlyOnce kills a job around every single one of its commits in turn, with inserts and deletes, and resumes it: both go
// through the transactions of one store, and each is committed once in total. It is no different where the processes that resume it
// are killed as well.
func TestPruneExactlyOnce(t *testing.T) {
	for _, shape := range []struct{ splits, workers int }{{1, 1}, {3, 4}} {
		for _, after := range []bool{false, true} {
			for _, deaths := range []int{1, 3} {
				t.Run(fmt.Sprintf("splits=%d workers=%d after=%t deaths=%d", shape.splits, shape.workers, after, deaths), func(t *testing.T) {
					p := pruning(t, shape.splits, shape.workers)
					at := 1
					for p.killed(t, at, after, deaths) {
						at++
					}
					// Begun; of each collection begun, a split or three, batches, complete; then the same of its deletes; closed.
					if at < 20 {
						t.Errorf("%d commits", at)
					}
				})
			}
		}
	}
}

// prunes is a run that prunes, and what it is to commit.
type prunes struct {
	*fixture
	sent, deleted map[string]int
}

func pruning(t testing.TB, splits, workers int) *prunes {
	p := &prunes{newFixture(t, "page", "epic"), map[string]int{}, map[string]int{}}
	p.source.SetSplits(splits)
	p.opts.Workers, p.opts.Readers, p.opts.Orphans, p.opts.Guards.MaxDeletes = workers, workers, job.OrphansPrune, 50
	for _, name := range []string{"page", "epic"} {
		p.insert(name, 35, func(i int) bool {
			if i%7 > 0 {
				p.sent[fmt.Sprintf("%s/%05d", name, i)] = 1
			}
			return i%7 == 0
		})
		for i := range 25 {
			id := fmt.Sprintf("gone-%d", i)
			p.orphan(name, id, 1+i%3)
			p.deleted[name+"/"+id] = 1
		}
	}
	return p
}

// killed runs the job over an empty ledger. The first process is killed around a commit, and those that resume it around an
// earlier one of theirs, but for the last. It reports whether the first one came as far as that commit.
func (p *prunes) killed(t *testing.T, at int, after bool, deaths int) bool {
	t.Helper()
	c := syncdtest.NewMemoryCommitter()
	first := &death{at: at, after: after}
	rep, err := process(t, c.Reopen(), p.opts, first)
	for n := 1; err != nil && keptOf(t, c).Info.Outcome != tally.Complete; n++ { // which may be kept, though nobody was told
		d := &death{}
		if n < deaths {
			d = &death{at: 1 + at/2, after: after}
		}
		if rep, err = process(t, c.Reopen(), p.opts, d); err != nil && !d.happened() {
			t.Fatalf("killed around commit %d: %v", at, err)
		}
	}
	if diff := cmp.Diff(p.sent, commitsOf(c)); diff != "" {
		t.Errorf("killed around commit %d: inserts (-want +got)\n%s", at, diff)
	}
	if diff := cmp.Diff(p.deleted, deletesOf(c)); diff != "" {
		t.Errorf("killed around commit %d: deletes (-want +got)\n%s", at, diff)
	}
	isDone(t, c)
	if rep.Total.Acked != int64(len(p.sent)) || rep.Deleted.Acked != int64(len(p.deleted)) {
		t.Errorf("killed around commit %d: %+v, deleted %+v", at, rep.Total, rep.Deleted)
	}
	return first.happened() && !t.Failed()
}

// TestExactlyOnce kills random runs again and again, before and after commits took effect, with events that are refused.
func TestExactlyOnce(t *testing.T) {
	seeds := uint64(500)
	if testing.Short() {
		seeds = 100
	}
	for seed := range seeds {
		s := newScenario(t, seed)
		dead := syncdtest.NewMemorySink()
		s.opts.DeadLetters = dead
		if s.rnd.IntN(2) == 0 {
			s.opts.Oversize = engine.OversizeReference
		}
		c := syncdtest.NewMemoryCommitter()
		c.Reject = func(e codec.Event) error {
			switch e.ID[4] {
			case '3':
				return errors.New("refused")
			case '7':
				if !slices.ContainsFunc(e.Headers, func(h codec.Header) bool { return h.Name == codec.HeaderDocument }) {
					return syncd.ErrTooLarge
				}
			}
			return nil
		}
		rep, complete := s.lives(t, c, func() {})
		if complete {
			s.once(t, c, dead, rep)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// lives has processes work on the job until it is complete. The first ones are killed, or meet errors, or neither; between is called
// between two of them. Of a run that was killed when it was complete, and kept as that, nothing is reported.
func (s *scenario) lives(t testing.TB, c *syncdtest.MemoryCommitter, between func()) (rep job.Report, complete bool) {
	t.Helper()
	for deaths := 0; ; {
		o, d := s.opts, &death{}
		if deaths < 6 {
			o = s.withFaults()
			if s.rnd.IntN(4) > 0 {
				d = &death{at: 1 + s.rnd.IntN(40), after: s.rnd.IntN(2) == 0, lives: s.rnd.IntN(4) == 0}
			}
		}
		rep, err := process(t, c.Reopen(), o, d)
		if err == nil {
			return rep, true
		}
		if deaths++; deaths > 6 || errors.Is(err, store.ErrNotResumable) {
			t.Errorf("death %d: %v", deaths, err)
			return rep, false
		}
		if keptOf(t, c).Info.Outcome == tally.Complete {
			return rep, true // another process would begin another run
		}
		between()
	}
}

// once checks that every document came once, or is remembered as one that can't.
func (s *scenario) once(t testing.TB, c *syncdtest.MemoryCommitter, dead *syncdtest.MemorySink, rep job.Report) {
	t.Helper()
	letters := map[string]int{}
	for _, e := range dead.Events() {
		letters[e.Target.Collection+"/"+e.ID]++
	}
	came := commitsOf(c)
	var referenced, refused int64
	for _, id := range s.want {
		wantCame, wantLetter := 1, false
		switch id[len(id)-1] {
		case '3':
			wantCame, wantLetter = 0, true
		case '7':
			if s.opts.Oversize == engine.OversizeReference {
				referenced++
			} else {
				wantCame, wantLetter = 0, true
			}
		}
		if wantLetter {
			refused++
		}
		if came[id] != wantCame || (letters[id] > 0) != wantLetter {
			t.Errorf("%s came %d times and is a dead letter %d times", id, came[id], letters[id])
		}
		delete(came, id)
	}
	if len(came) > 0 {
		t.Errorf("nobody missed %v", came)
	}
	isDone(t, c)
	n := rep.Total
	if n.Scanned != int64(s.docs) || n.Acked != int64(len(s.want))-refused || n.FailedWrite != refused || n.Referenced != referenced || n.DeadLettered != n.Failed() {
		t.Errorf("of %d documents, %d to be sent, %d refused, %d as references: %+v", s.docs, len(s.want), refused, referenced, n)
	}
}

// newPruning is a random run that prunes. Nothing fails for a document's fault, which would forbid it.
func newPruning(t testing.TB, seed uint64) (s *scenario, orphans []string) {
	s = &scenario{fixture: newFixture(t, "page", "epic"), rnd: rand.New(rand.NewPCG(seed, 2))}
	s.source.SetSplits(1 + s.rnd.IntN(6))
	for _, c := range []string{"page", "epic"} {
		s.source.Create(c)
		missing := s.rnd.Float64() / 2 // of the documents
		s.insert(c, s.rnd.IntN(120), func(i int) bool {
			s.docs++
			if s.rnd.Float64() >= missing {
				return true
			}
			s.want = append(s.want, fmt.Sprintf("%s/%05d", c, i))
			return false
		})
		for i := range s.rnd.IntN(60) {
			id := fmt.Sprintf("gone-%d", i)
			s.orphan(c, id, 1+s.rnd.IntN(3))
			orphans = append(orphans, c+"/"+id)
		}
	}
	s.opts.Orphans, s.opts.Guards.MaxDeletes = job.OrphansPrune, 120
	s.opts.Guards.AllowDrift = true // of few documents all may be missing
	s.opts.Readers, s.opts.Workers, s.opts.BatchSize = 1+s.rnd.IntN(3), 1+s.rnd.IntN(4), 1+s.rnd.IntN(20)
	return s, orphans
}

// TestPruneExactlyOnceInRandomHistories kills random runs that prune, again and again. Meanwhile the index may take in what was
// committed.
func TestPruneExactlyOnceInRandomHistories(t *testing.T) {
	seeds := uint64(300)
	if testing.Short() {
		seeds = 60
	}
	for seed := range seeds {
		s, orphans := newPruning(t, seed)
		c := syncdtest.NewMemoryCommitter()
		indexed := 0
		between := func() {
			if s.rnd.IntN(2) == 0 {
				return
			}
			all := c.Changes()
			upTo := indexed + s.rnd.IntN(len(all)-indexed+1)
			for _, change := range all[indexed:upTo] {
				for chunk := range 3 {
					id := chunkID(change.Target.Collection, change.ID, chunk)
					switch {
					case change.Operation == syncd.Delete:
						s.checker.Remove(id)
					case chunk == 0:
						s.checker.Put(id, map[string]any{"content_type": change.Target.Collection, "mongo_id": change.ID, "chunk_index": 0})
					}
				}
			}
			indexed = upTo
		}
		rep, complete := s.lives(t, c, between)
		if complete {
			for what, both := range map[string]struct {
				want []string
				got  map[string]int
			}{"inserts": {s.want, commitsOf(c)}, "deletes": {orphans, deletesOf(c)}} {
				want := map[string]int{}
				for _, id := range both.want {
					want[id] = 1
				}
				if diff := cmp.Diff(want, both.got); diff != "" {
					t.Errorf("%s (-want +got)\n%s", what, diff)
				}
			}
			isDone(t, c)
			if rep.Total.Acked != int64(len(s.want)) || rep.Deleted.Acked != int64(len(orphans)) || rep.Failed() != 0 {
				t.Errorf("%d to be sent: %+v; %d to be deleted: %+v", len(s.want), rep.Total, len(orphans), rep.Deleted)
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestFencedRunEnds: a run that was taken for dead must not commit when another has resumed it.
func TestFencedRunEnds(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 100, nil)
	f.opts.Workers, f.opts.Readers = 1, 1
	c := syncdtest.NewMemoryCommitter()
	first := c.Reopen()
	arrived, open := make(chan struct{}), make(chan struct{})
	commits := 0 // of the only worker
	first.Before = func(_ context.Context, changes []syncd.Change, _ []syncd.Mark) error {
		if len(changes) == 0 {
			return nil
		}
		if commits++; commits == 4 {
			close(arrived)
			<-open
		}
		return nil
	}
	ended := make(chan error)
	go func() {
		_, err := process(t, first, f.opts, &death{})
		ended <- err
	}()
	<-arrived
	rep, err := process(t, c.Reopen(), f.opts, &death{})
	if err != nil || rep.Resumed != 30 {
		t.Errorf("%v, resumed %d", err, rep.Resumed)
	}
	close(open)
	if err := <-ended; !errors.Is(err, syncd.ErrFenced) {
		t.Error(err)
	}
	if got := commitsOf(c); len(got) != 100 || len(c.Committed()) != 100 {
		t.Errorf("%d events of %d documents", len(c.Committed()), len(got))
	}
	isDone(t, c)
}

// TestEndThatCannotBeKept: the run has sent everything, and the next attempt sends nothing again, whether the last commit, which says
// so and forgets the marks, took effect or not.
func TestEndThatCannotBeKept(t *testing.T) {
	for _, after := range []bool{false, true} {
		f := newFixture(t, "page", "epic")
		f.insert("page", 60, nil)
		f.insert("epic", 60, nil)
		f.source.SetSplits(3)
		c := syncdtest.NewMemoryCommitter()
		user := c.Reopen()
		hook := func(_ context.Context, _ []syncd.Change, marks []syncd.Mark) error {
			if slices.ContainsFunc(marks, func(m syncd.Mark) bool { return m.Value == nil }) {
				return errBoom
			}
			return nil
		}
		if user.Before = hook; after {
			user.Before, user.After = nil, hook
		}
		if _, err := process(t, user, f.opts, &death{}); !errors.Is(err, errBoom) || (len(c.Ledger()) == 1) != after {
			t.Fatalf("%v, marks %d", err, len(c.Ledger()))
		}
		if len(c.Committed()) != 120 || keptOf(t, c).Handled != 120 {
			t.Errorf("%d events, %d documents", len(c.Committed()), keptOf(t, c).Handled)
		}
		if !after {
			rep, err := process(t, c.Reopen(), f.opts, &death{})
			if err != nil || rep.Resumed != 120 || len(c.Committed()) != 120 {
				t.Errorf("%v, resumed %d, %d events", err, rep.Resumed, len(c.Committed()))
			}
		}
		isDone(t, c)
	}
}

// TestMarksOfACollectionMadeAnew: taken for those of the new splits, they would hide documents.
func TestMarksOfACollectionMadeAnew(t *testing.T) {
	for _, splits := range []int{1, 4} {
		f := newFixture(t, "page")
		f.insert("page", 100, nil)
		f.source.SetSplits(splits)
		f.opts.Workers, f.opts.Readers = 1, 1
		c := syncdtest.NewMemoryCommitter()
		die := func(at int) {
			t.Helper()
			if _, err := process(t, c.Reopen(), f.opts, &death{at: at, events: true}); !errors.Is(err, errBoom) {
				t.Fatal(err)
			}
		}
		die(9)
		f.source.Drop("page")
		f.insert("page", 100, nil) // the same ids, but nobody knows that
		old := len(c.Committed())
		for _, at := range []int{1, 2, 3} {
			die(at)
		}
		if _, err := process(t, c.Reopen(), f.opts, &death{}); err != nil {
			t.Fatal(err)
		}
		if n := len(c.Committed()) - old; n != 100 {
			t.Errorf("splits %d: %d of 100 events", splits, n)
		}
		isDone(t, c)
	}
}

// TestMarksThatCannotBeRead end the run before anything is sent.
func TestMarksThatCannotBeRead(t *testing.T) {
	c := syncdtest.NewMemoryCommitter()
	sink := syncdtest.FaultySink(c.Reopen(), syncdtest.SinkFaults{Marks: syncdtest.Nth(1, syncdtest.Fault{Err: errBoom})})
	if _, err := marks.Open(t.Context(), sink.Abilities(), "job"); !errors.Is(err, errBoom) || len(c.Ledger()) > 0 {
		t.Errorf("%v, marks %v", err, c.Ledger())
	}
}

// TestMarksThatContradictEachOther are no run's: to go on from them would send events again, or never.
func TestMarksThatContradictEachOther(t *testing.T) {
	for name, page := range map[string]store.Collection{
		"a split is not there":    {Splits: []store.Split{{Upper: "t00005"}, {Index: 2, Lower: "t00005"}}},
		"splits do not meet":      {Splits: []store.Split{{Upper: "t00005"}, {Index: 1, Lower: "t00007"}}},
		"complete, but not done":  {Complete: true, Splits: []store.Split{{}}},
		"done, but not accounted": {Splits: []store.Split{{Done: true, Counts: tally.Counts{Scanned: 1}}}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, "page", "epic")
			f.insert("page", 10, nil)
			f.insert("epic", 10, nil)
			c := syncdtest.NewMemoryCommitter()
			st, err := marks.Open(t.Context(), c.Reopen().Abilities(), "job")
			if err != nil {
				t.Fatal(err)
			}
			identity, err := f.source.Identity(t.Context(), syncd.Collection{Name: "page"})
			if err != nil {
				t.Fatal(err)
			}
			page.Rule, page.Identity, page.Found, page.Before = f.opts.Rules[0].Fingerprint(), identity, true, 10
			err = errors.Join(st.Begin(t.Context(), store.Info{RunID: "run-1"}), st.Collection(t.Context(), "page", page, true))
			for _, s := range page.Splits {
				err = errors.Join(err, st.Split(t.Context(), "page", s, true))
			}
			if err != nil {
				t.Fatal(err)
			}
			f.opts.Workers = 1
			if _, err := process(t, c.Reopen(), f.opts, &death{}); !errors.Is(err, store.ErrNotResumable) {
				t.Errorf("%v", err)
			}
			for _, e := range c.Committed() {
				if e.Target.Collection == "page" {
					t.Errorf("sent %s", e.ID)
				}
			}
		})
	}
}

// TestCommitStopsBeforeTheDocumentThatEndsTheRun: once it is mended, it is sent.
func TestCommitStopsBeforeTheDocumentThatEndsTheRun(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 50, nil)
	f.source.Insert("page", syncdtest.MemoryDoc{ID: "00025", Err: errors.New("no id")})
	f.opts.Workers, f.opts.Readers, f.opts.StopOnFailure = 1, 1, true
	c := syncdtest.NewMemoryCommitter()
	if _, err := process(t, c.Reopen(), f.opts, &death{}); !errors.Is(err, engine.ErrStopped) {
		t.Fatal(err)
	}
	f.source.Insert("page", syncdtest.MemoryDoc{ID: "00025"})
	user := c.Reopen()
	user.Reject = func(e codec.Event) error {
		if e.ID == "00035" {
			return errors.New("no")
		}
		return nil
	}
	if _, err := process(t, user, f.opts, &death{}); !errors.Is(err, engine.ErrStopped) {
		t.Fatal(err)
	}
	rep, err := process(t, c.Reopen(), f.opts, &death{})
	if err != nil || rep.Total.Acked != 50 || rep.Total.Failed() != 0 || len(c.Committed()) != 50 || len(commitsOf(c)) != 50 {
		t.Errorf("%v, %+v, %d events", err, rep.Total, len(c.Committed()))
	}
}

// TestCommitOutage: events that were refused for nobody's fault are not committed, nor counted as failed.
func TestCommitOutage(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 50, nil)
	f.opts.Workers, f.opts.Readers = 1, 1
	c := syncdtest.NewMemoryCommitter()
	user := c.Reopen()
	user.Reject = func(e codec.Event) error {
		if e.ID == "00035" {
			return fmt.Errorf("%w: no leader", syncd.ErrUnavailable)
		}
		return nil
	}
	rep, err := process(t, user, f.opts, &death{})
	if !errors.Is(err, syncd.ErrUnavailable) || rep.Total.Acked != 30 || rep.Total.Failed() != 0 || rep.Total.Unconfirmed() != 10 || len(c.Committed()) != 30 {
		t.Errorf("%v, %+v, %d events", err, rep.Total, len(c.Committed()))
	}
	rep, err = process(t, c.Reopen(), f.opts, &death{})
	if err != nil || rep.Resumed != 30 || len(c.Committed()) != 50 {
		t.Errorf("%v, resumed %d, %d events", err, rep.Resumed, len(c.Committed()))
	}
}

// TestCommitsAreSmall: all events of a commit are in memory, whatever the batch size, and so are all deletes.
func TestCommitsAreSmall(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 1000, nil)
	for i := range 600 {
		f.orphan("page", fmt.Sprintf("gone-%d", i), 1)
	}
	f.opts.BatchSize, f.opts.Workers, f.opts.Orphans, f.opts.Guards.AllowDrift = 1000, 1, job.OrphansPrune, true
	f.opts.Guards.MaxDeletes = 600
	c := syncdtest.NewMemoryCommitter()
	most := map[syncd.Operation]int{}
	user := c.Reopen()
	user.Before = func(_ context.Context, changes []syncd.Change, _ []syncd.Mark) error {
		if len(changes) > 0 {
			most[changes[0].Operation] = max(most[changes[0].Operation], len(changes))
		}
		return nil
	}
	if _, err := process(t, user, f.opts, &death{}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(map[syncd.Operation]int{syncd.Insert: 250, syncd.Delete: 250}, most); diff != "" || len(c.Committed()) != 1600 {
		t.Errorf("%d events; at most %s", len(c.Committed()), diff)
	}
}

// failingLedger is a record of attempts that fails.
type failingLedger struct{ judge, sent bool }

func (l failingLedger) Judge(*mapping.Rule, *syncd.Change) (bool, error) {
	if l.judge {
		return false, errBoom
	}
	return false, nil
}

func (l failingLedger) Sent(*mapping.Rule, []syncd.Change) error {
	if l.sent {
		return errBoom
	}
	return nil
}

// TestARecordOfAttemptsThatFails ends the run, whether it commits or not.
func TestARecordOfAttemptsThatFails(t *testing.T) {
	for _, commit := range []bool{false, true} {
		for _, l := range []failingLedger{{judge: true}, {sent: true}} {
			f := newFixture(t, "page")
			f.insert("page", 10, nil)
			o := f.opts
			o.Ledger = l
			run := func() (job.Report, error) { return job.Run(t.Context(), o) }
			if commit {
				run = func() (job.Report, error) { return process(t, syncdtest.NewMemoryCommitter(), o, &death{}) }
			}
			if _, err := run(); !errors.Is(err, errBoom) {
				t.Errorf("commit %t, %+v: %v", commit, l, err)
			}
		}
	}
}
