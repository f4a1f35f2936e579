package job_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/syncdtest"
)

// commitsOf is what a committer's ledger holds, by document.
func commitsOf(c *syncdtest.MemoryCommitter) map[string]int {
	out := map[string]int{}
	for _, e := range c.Committed() {
		out[e.Target.Collection+"/"+e.ID]++
	}
	return out
}

// committing prepares a run that commits to c and keeps its state in j.
func (f *fixture) committing(c *syncdtest.MemoryCommitter, j pipeline.Journal) job.Options {
	o := f.opts
	o.Sink, o.Journal, o.Commit = c.Reopen(), j, true
	return o
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
				c, j := syncdtest.NewMemoryCommitter(), newForgetting()
				o := f.committing(c, j)
				fault := syncdtest.Fault{Err: errBoom, Done: after}
				o.Sink = syncdtest.FaultySink(o.Sink, syncdtest.SinkFaults{Commit: func(call int) syncdtest.Fault {
					if call != n {
						return syncdtest.Fault{}
					}
					j.die()
					return fault
				}})
				if _, err := job.Run(t.Context(), o); !errors.Is(err, errBoom) {
					t.Fatal(err)
				}
				done := 10 * (n - 1)
				if after {
					done += 10
				}
				if len(c.Committed()) != done {
					t.Fatalf("%d events", len(c.Committed()))
				}
				rep, err := job.Run(t.Context(), f.committing(c, j.reborn()))
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
				if len(c.Committed()) != 100 || len(c.Ledger()) != 0 {
					t.Errorf("%d events, marks %v", len(c.Committed()), c.Ledger())
				}
			})
		}
	}
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
		c, j := syncdtest.NewMemoryCommitter(), newForgetting()
		reject := func(e codec.Event) error {
			switch e.ID[4] {
			case '3':
				return errors.New("refused")
			case '7':
				if e.Headers[len(e.Headers)-1].Name != codec.HeaderDocument {
					return syncd.ErrTooLarge
				}
			}
			return nil
		}
		deaths := 0
		for {
			o := s.opts
			if deaths < 6 {
				o = s.withFaults()
			}
			user := c.Reopen()
			if at := s.rnd.IntN(30); deaths < 6 {
				hook := func(context.Context, []codec.Event, []syncd.Mark) error {
					if at--; at < 0 {
						j.die()
						return errBoom
					}
					return nil
				}
				calls := make(chan struct{}, 1) // hooks are called concurrently
				one := func(ctx context.Context, e []codec.Event, m []syncd.Mark) error {
					calls <- struct{}{}
					defer func() { <-calls }()
					return hook(ctx, e, m)
				}
				if s.rnd.IntN(2) == 0 {
					user.Before = one
				} else {
					user.After = one
				}
			}
			user.Reject = reject
			o.Sink, o.Journal, o.Commit = user, j, true
			rep, err := job.Run(t.Context(), o)
			if err != nil {
				if deaths++; deaths > 6 || errors.Is(err, store.ErrNotResumable) {
					t.Errorf("death %d: %v", deaths, err)
					break
				}
				j = j.reborn()
				continue
			}
			s.once(t, c, dead, rep)
			break
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// once checks that every document came once, or is remembered as one that can't.
func (s *scenario) once(t testing.TB, c *syncdtest.MemoryCommitter, dead *syncdtest.MemorySink, rep job.Report) {
	t.Helper()
	buried := map[string]int{}
	for _, e := range dead.Events() {
		buried[e.Target.Collection+"/"+e.ID]++
	}
	came := commitsOf(c)
	var referenced, refused int64
	for _, id := range s.want {
		wantCame, wantBuried := 1, false
		switch id[len(id)-1] {
		case '3':
			wantCame, wantBuried = 0, true
		case '7':
			if s.opts.Oversize == engine.OversizeReference {
				referenced++
			} else {
				wantCame, wantBuried = 0, true
			}
		}
		if wantBuried {
			refused++
		}
		if came[id] != wantCame || (buried[id] > 0) != wantBuried {
			t.Errorf("%s came %d times and is a dead letter %d times", id, came[id], buried[id])
		}
		delete(came, id)
	}
	if len(came) > 0 || len(c.Ledger()) > 0 {
		t.Errorf("nobody missed %v; marks %v", came, c.Ledger())
	}
	n := rep.Total
	if n.Scanned != int64(s.docs) || n.Acked != int64(len(s.want))-refused || n.FailedWrite != refused || n.Referenced != referenced || n.DeadLettered != n.Failed() {
		t.Errorf("of %d documents, %d to be sent, %d refused, %d as references: %+v", s.docs, len(s.want), refused, referenced, n)
	}
}

// TestFencedRunEnds: a run that was taken for dead must not commit when another has gone on with it.
func TestFencedRunEnds(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 100, nil)
	f.opts.Workers, f.opts.Readers = 1, 1
	c, j, gate := syncdtest.NewMemoryCommitter(), newForgetting(), syncdtest.NewGate()
	o := f.committing(c, j)
	o.Sink = syncdtest.FaultySink(o.Sink, syncdtest.SinkFaults{Commit: syncdtest.Nth(4, syncdtest.Fault{Gate: gate})})
	ended := make(chan error)
	go func() {
		_, err := job.Run(t.Context(), o)
		ended <- err
	}()
	<-gate.Arrived()
	rep, err := job.Run(t.Context(), f.committing(c, j.reborn()))
	if err != nil || rep.Resumed != 30 {
		t.Errorf("%v, resumed %d", err, rep.Resumed)
	}
	gate.Open()
	if err := <-ended; !errors.Is(err, syncd.ErrFenced) {
		t.Error(err)
	}
	if got := commitsOf(c); len(got) != 100 || len(c.Committed()) != 100 {
		t.Errorf("%d events of %d documents", len(c.Committed()), len(got))
	}
}

// TestMarksThatCannotBeForgotten: the run has sent everything, and the next attempt sends nothing again, with whichever of the
// marks that are left.
func TestMarksThatCannotBeForgotten(t *testing.T) {
	for _, after := range []bool{false, true} {
		f := newFixture(t, "page", "epic")
		f.insert("page", 60, nil)
		f.insert("epic", 60, nil)
		f.source.SetSplits(3)
		c, j := syncdtest.NewMemoryCommitter(), newForgetting()
		o := f.committing(c, j)
		user := c.Reopen()
		hook := func(_ context.Context, events []codec.Event, _ []syncd.Mark) error {
			if len(events) == 0 {
				j.die()
				return errBoom
			}
			return nil
		}
		if user.Before = hook; after {
			user.Before, user.After = nil, hook
		}
		o.Sink = user
		if _, err := job.Run(t.Context(), o); !errors.Is(err, errBoom) || (len(c.Ledger()) == 0) != after {
			t.Fatalf("%v, marks %d", err, len(c.Ledger()))
		}
		rep, err := job.Run(t.Context(), f.committing(c, j.reborn()))
		if err != nil || rep.Resumed != 120 || len(c.Committed()) != 120 || len(c.Ledger()) != 0 {
			t.Errorf("%v, resumed %d, %d events, marks %v", err, rep.Resumed, len(c.Committed()), c.Ledger())
		}
	}
}

// TestMarksOfACollectionMadeAnew: taken for those of the new splits, they would hide documents.
func TestMarksOfACollectionMadeAnew(t *testing.T) {
	for _, splits := range []int{1, 4} {
		f := newFixture(t, "page")
		f.insert("page", 100, nil)
		f.source.SetSplits(splits)
		f.opts.Workers, f.opts.Readers = 1, 1
		c, j := syncdtest.NewMemoryCommitter(), newForgetting()
		die := func(at int) job.Options {
			o := f.committing(c, j)
			user := c.Reopen()
			user.Before = func(_ context.Context, events []codec.Event, _ []syncd.Mark) error {
				if len(events) > 0 {
					at--
				}
				if at == 0 {
					j.die()
					return errBoom
				}
				return nil
			}
			o.Sink = user
			return o
		}
		if _, err := job.Run(t.Context(), die(9)); !errors.Is(err, errBoom) {
			t.Fatal(err)
		}
		old := len(c.Committed())
		f.source.Drop("page")
		f.insert("page", 100, nil) // the same ids, but nobody knows that
		for _, at := range []int{1, 2, 3} {
			j = j.reborn()
			if _, err := job.Run(t.Context(), die(at)); !errors.Is(err, errBoom) {
				t.Fatal(err)
			}
		}
		j = j.reborn()
		if _, err := job.Run(t.Context(), f.committing(c, j)); err != nil {
			t.Fatal(err)
		}
		if n := len(c.Committed()) - old; n != 100 || len(c.Ledger()) != 0 {
			t.Errorf("splits %d: %d of 100 events, marks %v", splits, n, c.Ledger())
		}
	}
}

// TestNoCommits: a run that is to commit must be able to.
func TestNoCommits(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 10, nil)
	c := syncdtest.NewMemoryCommitter()
	o := f.committing(c, nil)
	o.Journal = nil
	if _, err := job.Run(t.Context(), o); !errors.Is(err, pipeline.ErrNoCommits) {
		t.Errorf("without a journal: %v", err)
	}
	o = f.committing(c, newForgetting())
	o.Sink = f.sink
	if _, err := job.Run(t.Context(), o); !errors.Is(err, pipeline.ErrNoCommits) || len(f.sink.Events()) > 0 {
		t.Errorf("a sink that can't: %v", err)
	}
	o = f.committing(c, newForgetting())
	o.Sink = syncdtest.FaultySink(c.Reopen(), syncdtest.SinkFaults{Marks: syncdtest.Nth(1, syncdtest.Fault{Err: errBoom})})
	if _, err := job.Run(t.Context(), o); !errors.Is(err, errBoom) || len(c.Committed()) > 0 {
		t.Errorf("marks that can't be read: %v", err)
	}
	o = f.committing(c, nil)
	o.Journal, o.DryRun = nil, true
	if _, err := job.Run(t.Context(), o); err != nil {
		t.Errorf("a dry run commits nothing: %v", err)
	}
}

// TestMarksThatDoNotFit: what was committed says that the state is not this run's; to go on would send events again.
func TestMarksThatDoNotFit(t *testing.T) {
	split := func(index int, lower, upper string) string {
		return fmt.Sprintf(`{"index":%d,"lower":%q,"upper":%q,"counts":{"scanned":1}}`, index, lower, upper)
	}
	for name, mark := range map[string]syncd.Mark{
		"the state is lost": {Name: "run-1/0/epic", Value: []byte(split(0, "", ""))},
		"no such split":     {Name: "run-1/1/page", Value: []byte(split(1, "", ""))},
		"another split":     {Name: "run-1/0/page", Value: []byte(split(0, "", "dDAwMDUw"))},
		"no number":         {Name: "run-1/x/page", Value: []byte(split(0, "", ""))},
		"a number below 0":  {Name: "run-1/-1/page", Value: []byte(split(-1, "", ""))},
		"no collection":     {Name: "run-1/0", Value: []byte(split(0, "", ""))},
		"no position":       {Name: "run-1/0/page", Value: []byte("x")},
		"of another split":  {Name: "run-1/0/page", Value: []byte(split(1, "", ""))},
		"keys that are not": {Name: "run-1/0/page", Value: []byte(`{"index":0,"after":"!"}`)},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, "page", "epic")
			f.insert("page", 10, nil)
			f.insert("epic", 10, nil)
			c := syncdtest.NewMemoryCommitter()
			first := c.Reopen()
			if _, err := first.Marks(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			if err := first.Commit(t.Context(), nil, []syncd.Mark{mark, {Name: "run-2/0/x", Value: []byte("another run's")}}); err != nil {
				t.Fatal(err)
			}
			j := newForgetting()
			j.told["page"] = store.Collection{Found: true, Before: 10, Splits: []store.Split{{}}}
			f.source.SetIdentity("page", "")
			o := f.committing(c, j)
			o.Workers = 1
			_, err := job.Run(t.Context(), o)
			if !errors.Is(err, store.ErrNotResumable) {
				t.Errorf("%v", err)
			}
			for _, e := range c.Committed() {
				if strings.Contains(mark.Name, e.Target.Collection) {
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
	c, j := syncdtest.NewMemoryCommitter(), newForgetting()
	if _, err := job.Run(t.Context(), f.committing(c, j)); !errors.Is(err, engine.ErrStopped) {
		t.Fatal(err)
	}
	f.source.Insert("page", syncdtest.MemoryDoc{ID: "00025"})
	o := f.committing(c, j)
	user := c.Reopen()
	user.Reject = func(e codec.Event) error {
		if e.ID == "00035" {
			return errors.New("no")
		}
		return nil
	}
	o.Sink = user
	if _, err := job.Run(t.Context(), o); !errors.Is(err, engine.ErrStopped) {
		t.Fatal(err)
	}
	rep, err := job.Run(t.Context(), f.committing(c, j))
	if err != nil || rep.Total.Acked != 50 || rep.Total.Failed() != 0 || len(c.Committed()) != 50 || len(commitsOf(c)) != 50 {
		t.Errorf("%v, %+v, %d events", err, rep.Total, len(c.Committed()))
	}
}

// TestCommitOutage: events that were refused for nobody's fault are not committed, nor counted as failed.
func TestCommitOutage(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 50, nil)
	f.opts.Workers, f.opts.Readers = 1, 1
	c, j := syncdtest.NewMemoryCommitter(), newForgetting()
	o := f.committing(c, j)
	user := c.Reopen()
	user.Reject = func(e codec.Event) error {
		if e.ID == "00035" {
			return fmt.Errorf("%w: no leader", syncd.ErrUnavailable)
		}
		return nil
	}
	o.Sink = user
	rep, err := job.Run(t.Context(), o)
	if !errors.Is(err, syncd.ErrUnavailable) || rep.Total.Acked != 30 || rep.Total.Failed() != 0 || rep.Total.Unconfirmed() != 10 || len(c.Committed()) != 30 {
		t.Errorf("%v, %+v, %d events", err, rep.Total, len(c.Committed()))
	}
	rep, err = job.Run(t.Context(), f.committing(c, j))
	if err != nil || rep.Resumed != 30 || len(c.Committed()) != 50 {
		t.Errorf("%v, resumed %d, %d events", err, rep.Resumed, len(c.Committed()))
	}
}

// TestCommitsAreSmall: all events of a commit are in memory, whatever the batch size.
func TestCommitsAreSmall(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 1000, nil)
	f.opts.BatchSize, f.opts.Workers = 1000, 1
	c := syncdtest.NewMemoryCommitter()
	most := 0
	o := f.committing(c, newForgetting())
	user := c.Reopen()
	user.Before = func(_ context.Context, e []codec.Event, _ []syncd.Mark) error { most = max(most, len(e)); return nil }
	o.Sink = user
	if _, err := job.Run(t.Context(), o); err != nil || most != 250 {
		t.Errorf("%v, at most %d", err, most)
	}
}

// ledgerOf is a record of attempts that fails.
type failingLedger struct{ judge, sent bool }

func (l failingLedger) Judge(*mapping.Rule, *syncd.Change, syncd.Verdict) (bool, error) {
	if l.judge {
		return false, errBoom
	}
	return false, nil
}

func (l failingLedger) Sent([]pipeline.Sent) error {
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
			if commit {
				o = f.committing(syncdtest.NewMemoryCommitter(), newForgetting())
			}
			o.Ledger = l
			if _, err := job.Run(t.Context(), o); !errors.Is(err, errBoom) {
				t.Errorf("commit %t, %+v: %v", commit, l, err)
			}
		}
	}
}
