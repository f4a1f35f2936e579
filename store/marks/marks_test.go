package marks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/storetest"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errBoom = errors.New("boom")
	run     = store.Info{RunID: "run-1", Config: "prod.yaml"}
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openOn(t testing.TB, l *ledger) *Store {
	t.Helper()
	s, err := Open(t.Context(), l.user(t, "job"), "job")
	must(t, err)
	return s
}

// begun begins a run on l, with the collection page and n splits of it. What is not durable waits for a commit, however long.
func begun(t testing.TB, l *ledger, n int) *Store {
	t.Helper()
	s := openOn(t, l)
	now := time.Now()
	s.now = func() time.Time { return now }
	must(t, s.Begin(t.Context(), run))
	must(t, s.Collection(t.Context(), "page", store.Collection{Before: 9}, true))
	for i := range n {
		must(t, s.Split(t.Context(), "page", split(i, 0), true))
	}
	return s
}

func split(i int, n int64) store.Split {
	return store.Split{Index: i, After: syncd.Offset(fmt.Sprint(n)), Counts: tally.Counts{Scanned: n, Present: n}}
}

func changes(ids ...string) (out []syncd.Change) {
	for _, id := range ids {
		out = append(out, syncd.Change{ID: id, Key: syncd.Key(id), Operation: syncd.Delete, Target: &syncd.Target{Database: "db", Collection: "page"}})
	}
	return out
}

// peek is what is seen from outside.
func peek(t testing.TB, l *ledger) store.Entry {
	t.Helper()
	e, err := Peek(t.Context(), l.user(t, "nobody"), "job")
	if err = errors.Join(err, e.Problem); err != nil {
		t.Fatal(err)
	}
	return e
}

// wantKept checks how far the splits of page are.
func wantKept(t testing.TB, l *ledger, want ...int64) {
	t.Helper()
	var got []int64
	if page := peek(t, l).Collections["page"]; page != nil {
		for _, s := range page.Splits {
			got = append(got, s.Counts.Scanned)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestStore is what every store must do.
func TestStore(t *testing.T) {
	storetest.Harness{Seeds: 200, New: func(t *testing.T) storetest.Place {
		l := newLedger()
		return storetest.Place{
			Open: func(job string) (store.Store, error) {
				s, err := Open(t.Context(), l.user(t, job), job)
				if err != nil {
					return nil, err
				}
				return s, nil
			},
			Crash: func(store.Store) {},
		}
	}}.Run(t)
}

// TestNames pins the names of marks: those that are kept must be found by later versions.
func TestNames(t *testing.T) {
	l := newLedger()
	s, err := Open(t.Context(), l.user(t, "x"), "a/b c")
	must(t, err)
	must(t, s.Begin(t.Context(), run))
	must(t, s.Collection(t.Context(), "x/y", store.Collection{}, true))
	must(t, s.Split(t.Context(), "x/y", split(12, 0), true))
	want := []string{"a%2Fb%20c/about", "a%2Fb%20c/collection/x/y", "a%2Fb%20c/split/12/x/y"}
	if diff := cmp.Diff(want, l.names()); diff != "" {
		t.Error(diff)
	}
	if names := []string{PrefixOf("a"), PrefixOf("a/b"), PrefixOf("a/"), PrefixOf("a%2Fb"), PrefixOf("")}; slices.ContainsFunc(names, func(a string) bool {
		return slices.ContainsFunc(names, func(b string) bool { return a != b && strings.HasPrefix(b, a) })
	}) {
		t.Errorf("one of %q begins another", names)
	}
}

// TestRefused: of a commit with a refused change nothing is kept, and what it took along waits on.
func TestRefused(t *testing.T) {
	l := newLedger()
	s := begun(t, l, 2)
	must(t, s.Split(t.Context(), "page", split(0, 1), false))
	must(t, s.Split(t.Context(), "page", split(1, 1), false))
	wantKept(t, l, 0, 0)
	l.reject = "b"
	err := s.Commit(t.Context(), changes("a", "b"), "page", split(0, 3))
	if refused, ok := errors.AsType[*syncd.BatchError](err); !ok || !slices.Equal(refused.Failed(), []int{1}) {
		t.Fatalf("%v", err)
	}
	wantKept(t, l, 0, 0)
	must(t, s.Commit(t.Context(), changes("a"), "page", split(0, 2)))
	wantKept(t, l, 2, 1)
	if err := s.Commit(t.Context(), changes("b"), "page", split(1, 3)); err == nil {
		t.Error("committed")
	}
	must(t, s.Commit(t.Context(), changes("c"), "page", split(0, 3)))
	wantKept(t, l, 3, 1)
	// What a split comes to without a commit is kept as well.
	must(t, s.Split(t.Context(), "page", split(1, 3), false))
	must(t, s.Close(t.Context(), store.End{Outcome: tally.Interrupted, Resumable: true}))
	wantKept(t, l, 3, 3)
	if diff := cmp.Diff([]string{"a", "c"}, l.sent); diff != "" {
		t.Error(diff)
	}
}

// TestBroken: after an error that leaves open what is committed, the sink is left alone.
func TestBroken(t *testing.T) {
	for _, took := range []bool{false, true} {
		l := newLedger()
		s := begun(t, l, 2)
		must(t, s.Split(t.Context(), "page", split(1, 1), false))
		fail := func([]syncd.Change, []syncd.Mark) error { return errBoom }
		if l.before = fail; took {
			l.before, l.after = nil, fail
		}
		if err := s.Commit(t.Context(), changes("a"), "page", split(0, 1)); !errors.Is(err, errBoom) {
			t.Fatal(err)
		}
		l.before, l.after = nil, nil
		commits := l.commits
		for what, err := range map[string]error{
			"commit":       s.Commit(t.Context(), changes("b"), "page", split(1, 2)),
			"split":        s.Split(t.Context(), "page", split(1, 2), false),
			"durable":      s.Split(t.Context(), "page", split(1, 2), true),
			"collection":   s.Collection(t.Context(), "epic", store.Collection{}, true),
			"resume":       s.Resume(t.Context()),
			"begin":        s.Begin(t.Context(), run),
			"commit again": s.Commit(t.Context(), changes("a"), "page", split(0, 1)),
		} {
			if !errors.Is(err, errBoom) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := s.Close(t.Context(), store.End{Outcome: tally.Complete}); err != nil || l.commits != commits {
			t.Errorf("%v, %d commits after the failure", err, l.commits-commits)
		}
		if took {
			wantKept(t, l, 1, 1)
		} else {
			wantKept(t, l, 0, 0)
		}
		s = openOn(t, l)
		if i := s.Info(); i.Outcome != tally.Interrupted || !i.Resumable {
			t.Errorf("%+v", i)
		}
	}
}

// TestFenced: a run that was given up and lives on writes nothing.
func TestFenced(t *testing.T) {
	l := newLedger()
	first := begun(t, l, 1)
	second := openOn(t, l)
	must(t, second.Resume(t.Context()))
	if err := first.Commit(t.Context(), changes("a"), "page", split(0, 1)); !errors.Is(err, syncd.ErrFenced) || len(l.sent) > 0 {
		t.Errorf("%v, sent %v", err, l.sent)
	}
	must(t, first.Close(t.Context(), store.End{Outcome: tally.Failed}))
	must(t, second.Commit(t.Context(), changes("a"), "page", split(0, 2)))
	wantKept(t, l, 2)
}

// TestOnTheirWay: while marks are on their way, who has newer values of them waits, and who has others does not.
func TestOnTheirWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		s := begun(t, l, 3)
		gate := make(chan error)
		l.before = func([]syncd.Change, []syncd.Mark) error { return <-gate }
		ended := make(chan string, 10)
		call := func(name string, f func() error) {
			go func() {
				if err := f(); err != nil {
					name += ": " + err.Error()
				}
				ended <- name
			}()
			synctest.Wait()
		}
		next := func(want string) {
			t.Helper()
			gate <- nil
			synctest.Wait()
			if got := <-ended; got != want {
				t.Errorf("%q ended, not %q", got, want)
			}
		}
		commits := func(want int) {
			t.Helper()
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.commits != want {
				t.Errorf("%d commits, not %d", l.commits, want)
			}
		}
		before := l.commits
		must(t, s.Split(t.Context(), "page", split(0, 1), false))
		call("a", func() error { return s.Commit(t.Context(), changes("a"), "page", split(1, 1)) }) // takes split 0 along
		call("b", func() error { return s.Commit(t.Context(), changes("b"), "page", split(0, 2)) }) // must wait
		commits(before + 1)
		call("c", func() error { return s.Commit(t.Context(), changes("c"), "page", split(2, 1)) }) // need not
		commits(before + 2)
		must(t, s.Split(t.Context(), "page", split(2, 0), false)) // late: it is older than what is on its way
		must(t, s.Collection(t.Context(), "epic", store.Collection{}, true))
		call("d", func() error { return s.Split(t.Context(), "epic", split(0, 1), true) }) // must wait for what came before it
		commits(before + 2)
		next("a")
		next("c")
		close(gate)
		got := []string{<-ended, <-ended}
		slices.Sort(got)
		if diff := cmp.Diff([]string{"b", "d"}, got); diff != "" {
			t.Error(diff)
		}
		wantKept(t, l, 2, 1, 1)
		if e := peek(t, l); len(e.Collections["epic"].Splits) != 1 {
			t.Errorf("%+v", e.Collections["epic"])
		}
	})
}

// TestLateOnItsWay: a state that is behind one that is on its way is not sent beside it.
func TestLateOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, refused := range []bool{false, true} {
			l := newLedger()
			s := begun(t, l, 2)
			gate := make(chan bool)
			l.before = func(changes []syncd.Change, _ []syncd.Mark) error {
				if changes[0].ID == "a" {
					<-gate
				}
				return nil
			}
			if refused {
				l.reject = "a"
			}
			done := make(chan error)
			go func() { done <- s.Commit(t.Context(), changes("a"), "page", split(0, 2)) }()
			synctest.Wait()
			must(t, s.Split(t.Context(), "page", split(0, 1), false))
			must(t, s.Commit(t.Context(), changes("b"), "page", split(1, 1)))
			wantKept(t, l, 0, 1)
			gate <- true
			if err := <-done; (err != nil) != refused {
				t.Error(err)
			}
			must(t, s.Commit(t.Context(), changes("c"), "page", split(1, 2)))
			if refused {
				wantKept(t, l, 1, 2)
			} else {
				wantKept(t, l, 2, 2)
			}
		}
	})
}

// TestACollectionOnItsWay: a split is committed only with its collection, or behind it.
func TestACollectionOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for i := range 4 {
			late, fails := i%2 == 0, i/2 == 0
			l := newLedger()
			s := begun(t, l, 2)
			gate := make(chan error)
			l.before = func([]syncd.Change, []syncd.Mark) error { return <-gate }
			if !late {
				must(t, s.Collection(t.Context(), "epic", store.Collection{}, true))
			}
			must(t, s.Split(t.Context(), "page", split(1, 1), false))
			done := make(chan error, 2)
			go func() { done <- s.Commit(t.Context(), changes("a"), "page", split(0, 1)) }() // takes along what waits
			synctest.Wait()
			if late {
				must(t, s.Collection(t.Context(), "epic", store.Collection{}, true))
			}
			commits := l.commits
			go func() { done <- s.Commit(t.Context(), changes("b"), "epic", split(0, 1)) }()
			synctest.Wait()
			if l.commits != commits {
				t.Error("a split is on its way without its collection")
			}
			if fails {
				gate <- errBoom
				if first, second := <-done, <-done; !errors.Is(first, errBoom) || !errors.Is(second, errBoom) || len(l.sent) > 0 {
					t.Errorf("%v, %v, sent %v", first, second, l.sent)
				}
				continue
			}
			gate <- nil
			must(t, <-done)
			if late {
				gate <- nil // the collection's
			}
			gate <- nil
			must(t, <-done)
			if e := peek(t, l); len(e.Collections["epic"].Splits) != 1 || len(e.Collections["page"].Splits) != 2 {
				t.Errorf("%+v", e)
			}
		}
	})
}

// TestSoon: what need not be durable at once goes within a second of work, even if nothing is sent.
func TestSoon(t *testing.T) {
	l := newLedger()
	s := begun(t, l, 2)
	now := s.now()
	s.now = func() time.Time { return now }
	must(t, s.Split(t.Context(), "page", split(0, 1), false))
	now = now.Add(lazily - 1)
	must(t, s.Split(t.Context(), "page", split(1, 1), false))
	wantKept(t, l, 0, 0)
	now = now.Add(1)
	must(t, s.Split(t.Context(), "page", split(0, 2), false))
	wantKept(t, l, 2, 1)
	if e := peek(t, l); !e.Info.Updated.Equal(now) || e.Info.Outcome != tally.Running || e.Handled != 3 || e.Name != "job" {
		t.Errorf("%+v", e)
	}
	if i := openOn(t, l).Info(); !i.Updated.Equal(now) { // by which the job knows how old it is
		t.Errorf("updated %v", i.Updated)
	}
}

// TestTheEnd: of a run that can't be resumed only the info is left.
func TestTheEnd(t *testing.T) {
	l := newLedger()
	s := begun(t, l, 3)
	must(t, s.Commit(t.Context(), changes("a"), "page", split(0, 4)))
	must(t, s.Commit(t.Context(), changes("a"), "page", split(2, 100)))
	must(t, s.Split(t.Context(), "page", split(1, 5), false))
	must(t, s.Collection(t.Context(), "page", store.Collection{}, true)) // anew
	must(t, s.Commit(t.Context(), changes("a"), "page", split(0, 2)))
	must(t, s.Split(t.Context(), "page", split(1, 1), false))
	must(t, s.Close(t.Context(), store.End{Outcome: tally.Interrupted, Resumable: true}))
	if names := l.names(); len(names) != 5 {
		t.Errorf("%q", names) // one is left over, which nobody minds
	}
	s = openOn(t, l)
	must(t, s.Resume(t.Context()))
	must(t, s.Split(t.Context(), "page", split(1, 7), false))
	must(t, s.Close(t.Context(), store.End{Outcome: tally.Failures}))
	if diff := cmp.Diff([]string{"job/about"}, l.names()); diff != "" {
		t.Error(diff)
	}
	if e := peek(t, l); e.Handled != 9 || e.Info.Outcome != tally.Failures || e.Info.Resumable || e.Info.Resumes != 1 {
		t.Errorf("%+v", e)
	}
	if s := openOn(t, l); s.Handled() != 9 {
		t.Errorf("%d documents", s.Handled())
	}
}

// TestManyMarks are forgotten in several commits. Whichever is the last, what is left is no other state.
func TestManyMarks(t *testing.T) {
	const n = 2*most + 10
	for at := range 6 {
		for _, again := range []bool{false, true} {
			l := newLedger()
			s := begun(t, l, 1)
			for i := range most {
				must(t, s.Collection(t.Context(), fmt.Sprint(i), store.Collection{}, true))
			}
			for i := range n {
				must(t, s.Split(t.Context(), "page", split(i, 1), i == n-1))
			}
			left := at
			l.before = func([]syncd.Change, []syncd.Mark) error {
				if left--; left < 0 {
					return errBoom
				}
				return nil
			}
			fails := at < 4
			var err error
			next := run
			next.RunID = "run-2"
			if again {
				err = s.Begin(t.Context(), next)
			} else {
				err = s.Close(t.Context(), store.End{Outcome: tally.Complete})
			}
			l.before = nil
			if errors.Is(err, errBoom) != fails {
				t.Fatalf("%v", err)
			}
			s = openOn(t, l)
			i := s.Info()
			switch {
			case at == 0: // nothing had changed
				if i.RunID != "run-1" || i.Outcome != tally.Interrupted || !i.Resumable || s.Handled() != n {
					t.Errorf("%d documents of %+v", s.Handled(), i)
				}
			case again:
				if i.RunID != "run-2" || s.Recall("page") != nil || s.Recall("999") != nil || s.Handled() != 0 {
					t.Errorf("%d documents of %+v", s.Handled(), i)
				}
				must(t, s.Resume(t.Context()))
				must(t, s.Collection(t.Context(), "page", store.Collection{}, true))
				must(t, s.Split(t.Context(), "page", split(0, 5), true))
				wantKept(t, l, 5)
			default:
				if i.RunID != "run-1" || i.Outcome != tally.Complete || i.Resumable || s.Handled() != n {
					t.Errorf("%d documents of %+v", s.Handled(), i)
				}
			}
		}
	}
}

// TestMarksThatDoNotFit: they are no run's, and to go on would send events again. A fresh run does not care.
func TestMarksThatDoNotFit(t *testing.T) {
	about := `{"turn":1,"info":{"run_id":"run-1"}}`
	page := `{"turn":2,"collection":{"before":9}}`
	for name, marks := range map[string]map[string]string{
		"no info":                {"collection/page": page},
		"not JSON":               {"about": about, "collection/page": page, "split/0/page": `x`},
		"info not JSON":          {"about": `{`},
		"no such name":           {"about": about, "else": page},
		"no number":              {"about": about, "collection/page": page, "split/x/page": `{"turn":2,"split":{"index":0}}`},
		"a number below 0":       {"about": about, "collection/page": page, "split/-1/page": `{"turn":2,"split":{"index":-1}}`},
		"of another split":       {"about": about, "collection/page": page, "split/0/page": `{"turn":2,"split":{"index":1}}`},
		"no collection's name":   {"about": about, "collection/page": page, "split/0": `{"turn":2,"split":{"index":0}}`},
		"keys that are not":      {"about": about, "collection/page": page, "split/0/page": `{"turn":2,"split":{"index":0,"after":"!"}}`},
		"no split":               {"about": about, "collection/page": page, "split/0/page": `{"turn":2}`},
		"no turn":                {"about": about, "collection/page": `{"collection":{}}`},
		"a collection as a run":  {"about": page},
		"a run as a collection":  {"about": about, "collection/page": about},
		"the collection is lost": {"about": about, "split/0/page": `{"turn":2,"split":{"index":0}}`},
		"a later collection's":   {"about": about, "collection/page": page, "split/0/page": `{"turn":3,"split":{"index":0}}`},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger()
			l.marks["job2/about"] = []byte("another's")
			for name, text := range marks {
				l.marks["job/"+name] = []byte(text)
			}
			_, err := Open(t.Context(), l.user(t, "job"), "job")
			if !errors.Is(err, store.ErrNotResumable) || !strings.Contains(syncd.HintOf(err), "--fresh") {
				t.Errorf("%v (hint %q)", err, syncd.HintOf(err))
			}
			if e, err := Peek(t.Context(), l.user(t, "job"), "job"); err != nil || !errors.Is(e.Problem, store.ErrNotResumable) || e.Name != "job" {
				t.Errorf("peek: %v, %+v", err, e)
			}
			s, err := OpenFresh(t.Context(), l.user(t, "job"), "job")
			must(t, err)
			if s.Info().RunID != "" || s.Recall("page") != nil {
				t.Errorf("%+v", s.Info())
			}
			must(t, s.Begin(t.Context(), run))
			if diff := cmp.Diff([]string{"job/about", "job2/about"}, l.names()); diff != "" {
				t.Error(diff)
			}
			if s := openOn(t, l); s.Info().RunID != "run-1" {
				t.Errorf("%+v", s.Info())
			}
		})
	}
}

// TestNoAbilities: a sink that can't is an error, not a panic.
func TestNoAbilities(t *testing.T) {
	if _, err := Open(t.Context(), syncd.SinkAbilities{}, "job"); err == nil {
		t.Error("opened")
	}
	if _, err := Peek(t.Context(), syncd.SinkAbilities{}, "job"); err == nil {
		t.Error("peeked")
	}
	l := newLedger()
	if e := peek(t, l); e.Info.RunID != "" || e.Handled != 0 {
		t.Errorf("%+v", e)
	}
}

// TestMemoryCommitter keeps a job in the sink that tests of the engine use.
func TestMemoryCommitter(t *testing.T) {
	c := syncdtest.NewMemoryCommitter()
	s, err := Open(t.Context(), c.Abilities(), "job")
	must(t, err)
	must(t, s.Begin(t.Context(), run))
	must(t, s.Collection(t.Context(), "page", store.Collection{}, true))
	must(t, s.Commit(t.Context(), changes("a"), "page", split(0, 3)))
	s, err = Open(t.Context(), c.Reopen().Abilities(), "job")
	must(t, err)
	if s.Handled() != 3 || len(c.Committed()) != 1 {
		t.Errorf("%d documents, %d events", s.Handled(), len(c.Committed()))
	}
}

// TestWhatIsDroppedIsNotSentAgain: a commit that came to nothing is tried again, but not of splits that others have worked on meanwhile; and
// what they have left is no older than what this process told before.
func TestWhatIsDroppedIsNotSentAgain(t *testing.T) {
	for _, dropped := range []bool{false, true} {
		commits := 0
		s := Join(syncd.SinkAbilities{Commit: func(context.Context, []syncd.Change, []syncd.Mark) error {
			if commits++; commits > 1 {
				return nil
			}
			return ErrNothing
		}}, "job")
		s.Note("page", 2)
		if err := s.Split(t.Context(), "page", store.Split{After: "a"}, true); !errors.Is(err, ErrNothing) {
			t.Fatalf("the first commit ended with %v", err)
		}
		if dropped {
			s.Drop("job/" + SplitName("page", 0))
		}
		must(t, s.Flush(t.Context()))
		if want := map[bool]int{false: 2, true: 1}[dropped]; commits != want {
			t.Errorf("dropped: %t; %d commits, want %d", dropped, commits, want)
		}
		must(t, s.Split(t.Context(), "page", split(0, 7), true))
		before := commits
		if dropped {
			s.Drop("job/" + SplitName("page", 0))
		}
		must(t, s.Split(t.Context(), "page", split(0, 3), true))
		if got, want := commits-before, map[bool]int{false: 0, true: 1}[dropped]; got != want {
			t.Errorf("dropped: %t; a state behind what was kept took %d commits, want %d", dropped, got, want)
		}
	}
}
