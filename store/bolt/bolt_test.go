package bolt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/jobfile"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/storetest"
	"github.com/syncd-io/syncd/tally"
)

// childEnv says what a child process does, with the file in its folder: this binary is its own child.
const childEnv = "SYNCD_STATE_TEST_CHILD"

// children are kept by name; its values are the functions that they run.
var children = map[string]func(path string) error{"hold": hold, "write": writeForEver}

func TestMain(m *testing.M) {
	if child := children[os.Getenv(childEnv)]; child != nil {
		if err := child(pathOf(".", "db")); err != nil {
			fmt.Printf("%v\n%s\n", err, syncd.HintOf(err))
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// start starts a child; its standard input stays open until stop, which waits for it.
func start(t *testing.T, child, path string) (cmd *exec.Cmd, out *bufio.Scanner, stop func()) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+child)
	cmd.Dir = filepath.Dir(path)
	must(t, os.MkdirAll(cmd.Dir, 0o700))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			_ = in.Close()
			_, _ = io.Copy(io.Discard, pipe)
			_ = cmd.Wait() // it may have been killed
		})
	}
	t.Cleanup(stop)
	return cmd, bufio.NewScanner(pipe), stop
}

// job is the run of these tests.
var job = store.Info{RunID: "run-1", Config: "prod.yaml", Scope: store.Scope{Source: "mongo", Collections: []string{"page"}}}

// ctx is nothing to this store.
var ctx = context.Background()

// openAt opens the file at path.
func openAt(path string) (*Store, error) { return Open(filepath.Dir(path), jobfile.Job(path, suffix)) }

// endOf is an end of that outcome.
func endOf(o tally.Outcome) store.End {
	return store.End{Outcome: o, Resumable: o == tally.Interrupted}
}

func hold(path string) error {
	r, err := openAt(path)
	if err != nil {
		return err
	}
	if err := r.Begin(ctx, job); err != nil {
		return err
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return r.Close(ctx, endOf(tally.Interrupted))
}

// openRun opens a file that must be sound.
func openRun(t testing.TB, path string) *Store {
	t.Helper()
	r, err := openAt(path)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func begun(t testing.TB, path string) *Store {
	t.Helper()
	r := openRun(t, path)
	if err := r.Begin(ctx, job); err != nil {
		t.Fatal(err)
	}
	return r
}

func closeRun(t testing.TB, r *Store, s tally.Outcome) {
	t.Helper()
	if err := r.Close(ctx, endOf(s)); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func split(i int, after syncd.Offset, n int64) store.Split {
	return store.Split{Index: i, Lower: "\x00\xff", Upper: "\xfe", After: after, Counts: tally.Counts{Scanned: n, Present: n}}
}

func filePath(t testing.TB) string { return pathOf(filepath.Join(t.TempDir(), "states"), "db") }

// asOf returns what the file says now, as a process would find it if this one was killed.
func asOf(t testing.TB, path string) store.Entry {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	at := filepath.Join(t.TempDir(), filepath.Base(path))
	must(t, os.WriteFile(at, data, 0o600))
	e, err := read(at)
	must(t, err)
	return e
}

// TestStore is what every store must do.
func TestStore(t *testing.T) {
	storetest.Harness{Seeds: 20, New: func(t *testing.T) storetest.Place {
		dir := t.TempDir()
		return storetest.Place{
			Open: func(job string) (store.Store, error) {
				s, err := Open(dir, job)
				if err != nil {
					return nil, err
				}
				return s, nil
			},
			Crash: func(s store.Store) { must(t, s.(*Store).db.Close()) },
		}
	}}.Run(t)
}

// TestLife follows a run from its beginning to its end.
func TestLife(t *testing.T) {
	path := filePath(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	clock := func(r *Store) { r.now = func() time.Time { now = now.Add(time.Hour); return now } }

	r := openRun(t, path)
	clock(r)
	if i := r.Info(); i.RunID != "" || r.Handled() != 0 || r.Recall("page") != nil {
		t.Errorf("a new file knows %+v", i)
	}
	must(t, r.Begin(ctx, job))
	if i := r.Info(); i.RunID != "run-1" || i.Outcome != tally.Running || i.PID != os.Getpid() || i.Host == "" || i.Started.IsZero() {
		t.Errorf("begun: %+v", i)
	}
	started := r.Info().Started
	must(t, r.Collection(ctx, "page", store.Collection{Identity: "x", Found: true, Before: 9}, true))
	must(t, r.Split(ctx, "page", split(0, "a\x00\xff", 3), true))
	must(t, r.Split(ctx, "page", split(1, "", 0), false))
	must(t, r.Collection(ctx, "page", store.Collection{Identity: "x", Found: true, Before: 9, Planned: true}, false))
	closeRun(t, r, tally.Interrupted)
	if _, err := os.Stat(ownerPath(path)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("whose the file was is still there: %v", err)
	}

	r = openRun(t, path)
	clock(r)
	i := r.Info()
	if i.Outcome != tally.Interrupted || i.Resumes != 0 || r.Handled() != 3 || !i.Started.Equal(started) || !i.Updated.After(started) || i.Config != "prod.yaml" {
		t.Errorf("interrupted: %+v", i)
	}
	want := &store.Collection{Identity: "x", Found: true, Before: 9, Planned: true, Splits: []store.Split{split(0, "a\x00\xff", 3), split(1, "", 0)}}
	if diff := cmp.Diff(want, r.Recall("page")); diff != "" {
		t.Error(diff)
	}
	must(t, r.Resume(ctx))
	if i := r.Info(); i.Outcome != tally.Running || i.Resumes != 1 {
		t.Errorf("resumed: %+v", i)
	}
	closeRun(t, r, tally.Complete)

	r = openRun(t, path)
	if i := r.Info(); i.Outcome != tally.Complete || i.Resumes != 1 || i.RunID != "run-1" {
		t.Errorf("complete: %+v", i)
	}
	next := job
	next.RunID = "run-2"
	must(t, r.Begin(ctx, next))
	if i := r.Info(); i.RunID != "run-2" || i.Resumes != 0 || r.Recall("page") != nil || r.Handled() != 0 {
		t.Errorf("the next run: %+v", i)
	}
	closeRun(t, r, tally.Failed)
	if e := asOf(t, path); e.Info.Outcome != tally.Failed || len(e.Collections) != 0 {
		t.Errorf("the next run: %+v", e)
	}

	// Opened and left alone, it is what it was, whatever the end.
	left := asOf(t, path)
	closeRun(t, openRun(t, path), tally.Complete)
	if e := asOf(t, path); !cmp.Equal(e.Info, left.Info) || e.Info.Outcome != tally.Failed || e.Info.RunID != "run-2" {
		t.Errorf("opened and left alone: %+v", e.Info)
	}
}

// TestSplitsInTheirOrder, of which there are more than a byte counts.
func TestSplitsInTheirOrder(t *testing.T) {
	path := filePath(t)
	r := begun(t, path)
	must(t, r.Collection(ctx, "a/b\xff", store.Collection{}, true))
	for _, i := range rand.Perm(1000) {
		must(t, r.Split(ctx, "a/b\xff", split(i, "k", int64(i)), false))
	}
	closeRun(t, r, tally.Interrupted)
	e, err := read(path)
	must(t, err)
	s := e.Collections["a/b\xff"].Splits
	if len(s) != 1000 || e.Handled != 999*1000/2 {
		t.Fatalf("%d splits, %d documents", len(s), e.Handled)
	}
	for i := range s {
		if s[i].Index != i {
			t.Fatalf("split %d is at %d", s[i].Index, i)
		}
	}
}

// TestWhatIsInTheFileWhen: what must be durable is, with all that came before it; the rest follows within a second of work.
func TestWhatIsInTheFileWhen(t *testing.T) {
	path := filePath(t)
	r := begun(t, path)
	defer r.Close(ctx, endOf(tally.Interrupted))
	now := time.Now()
	r.now = func() time.Time { return now }
	must(t, r.Collection(ctx, "x", store.Collection{}, true)) // so that the last write is now
	must(t, r.Split(ctx, "x", split(0, "", 0), true))

	must(t, r.Collection(ctx, "page", store.Collection{Before: 9}, true))
	must(t, r.Split(ctx, "page", split(0, "a", 1), false))
	if e := asOf(t, path); e.Collections["page"] != nil {
		t.Errorf("what can wait did not: %+v", e.Collections["page"])
	}
	now = now.Add(lazily)
	must(t, r.Split(ctx, "page", split(1, "m", 1), false))
	if e := asOf(t, path); e.Collections["page"] == nil || len(e.Collections["page"].Splits) != 2 || e.Handled != 2 || e.Collections["page"].Before != 9 {
		t.Errorf("after a second: %+v", e.Collections["page"])
	}
	must(t, r.Split(ctx, "page", split(0, "b", 2), false))
	must(t, r.Collection(ctx, "epic", store.Collection{}, true))
	must(t, r.Split(ctx, "epic", split(0, "z", 4), true))
	e := asOf(t, path)
	if e.Handled != 2+1+4 || e.Collections["epic"] == nil {
		t.Errorf("what came before: %+v", e)
	}
	if e.Info.Outcome != tally.Interrupted {
		t.Errorf("nobody holds it: %+v", e.Info)
	}
	// A collection that begins anew forgets its splits, those in the file and those on their way there.
	must(t, r.Split(ctx, "page", split(2, "c", 9), false))
	must(t, r.Collection(ctx, "page", store.Collection{Identity: "new"}, true))
	must(t, r.Split(ctx, "page", split(0, "n", 5), true))
	s := asOf(t, path).Collections["page"]
	if s.Identity != "new" || len(s.Splits) != 1 || s.Splits[0].After != "n" {
		t.Errorf("begun anew: %+v", s)
	}
}

// TestASplitWithoutItsCollection would be of no use: the file does not take it, nor anything after.
func TestASplitWithoutItsCollection(t *testing.T) {
	path := filePath(t)
	r := begun(t, path)
	must(t, r.Collection(ctx, "page", store.Collection{}, true))
	must(t, r.Split(ctx, "page", split(0, "a", 1), true))
	if err := r.Split(ctx, "epic", split(0, "a", 1), true); err == nil {
		t.Error("kept")
	}
	if err := r.Split(ctx, "page", split(0, "b", 2), true); err == nil {
		t.Error("what came before is not there, but this is")
	}
	if err := r.Close(ctx, endOf(tally.Complete)); err == nil {
		t.Error("closed as complete")
	}
	if e := asOf(t, path); e.Handled != 1 || e.Info.Outcome != tally.Interrupted {
		t.Errorf("%+v", e)
	}
}

// TestWritesAreShared: workers that meet wait for one write, not for each other's.
func TestWritesAreShared(t *testing.T) {
	path := filePath(t)
	r := begun(t, path)
	defer r.Close(ctx, endOf(tally.Interrupted))
	must(t, r.Collection(ctx, "page", store.Collection{}, true))
	must(t, r.Split(ctx, "page", split(0, "", 0), true))
	written := func() (id int) {
		must(t, r.db.View(func(tx *bbolt.Tx) error { id = tx.ID(); return nil }))
		return id
	}
	before := written()
	r.mu.Lock()
	from := r.generation
	r.mu.Unlock()
	r.writing.Lock() // somebody writes
	const n = 8
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if err := r.Split(ctx, "page", split(i, "a", 1), true); err != nil {
				t.Error(err)
			}
		})
	}
	for told := 0; told < n; runtime.Gosched() {
		r.mu.Lock()
		told = r.generation - from
		r.mu.Unlock()
	}
	r.writing.Unlock()
	all.Wait()
	if got := written() - before; got != 1 {
		t.Errorf("%d writes", got)
	}
	if e := asOf(t, path); e.Handled != n {
		t.Errorf("%d kept", e.Handled)
	}
}

// TestManyWorkers tell at once; in the end all of it is there.
func TestManyWorkers(t *testing.T) {
	path := filePath(t)
	r := begun(t, path)
	for c := range 4 {
		must(t, r.Collection(ctx, fmt.Sprint(c), store.Collection{}, true))
	}
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := range 50 {
				if err := r.Split(ctx, fmt.Sprint(w%4), split(w, syncd.Offset(fmt.Sprint(i)), int64(i)), i%3 == 0); err != nil {
					t.Error(err)
				}
				r.Info()
			}
		})
	}
	all.Wait()
	closeRun(t, r, tally.Complete)
	e, err := read(path)
	if err != nil || e.Handled != 8*49 || e.Info.Outcome != tally.Complete {
		t.Errorf("%v, %+v", err, e)
	}
}

// TestOneProcessAtATime: who comes second is told who is first.
func TestOneProcessAtATime(t *testing.T) {
	path := filePath(t)
	cmd, out, stop := start(t, "hold", path)
	if !out.Scan() || out.Text() != "ready" {
		t.Fatal(out.Text())
	}
	host, _ := os.Hostname()
	busy := func(what string, err error) {
		t.Helper()
		var b *BusyError
		if !errors.As(err, &b) || b.PID != cmd.Process.Pid || b.Host != host || b.Since.IsZero() || syncd.HintOf(err) == "" {
			t.Errorf("%s: %v", what, err)
		}
		if text := err.Error(); !strings.Contains(text, strconv.Itoa(cmd.Process.Pid)) || !strings.Contains(text, host) {
			t.Errorf("%s: %q names neither process nor host", what, text)
		}
	}
	_, err := openAt(path)
	busy("open", err)
	busy("clear", Remove(path))
	e, err := read(path)
	if err != nil || e.Info.Outcome != tally.Running || e.Info.PID != cmd.Process.Pid || e.Info.Updated.IsZero() {
		t.Errorf("read: %v, %+v", err, e)
	}

	// Without that file it is still busy, but nobody knows whose it is.
	must(t, os.WriteFile(ownerPath(path), []byte("{"), 0o600))
	var b *BusyError
	if _, err := openAt(path); !errors.As(err, &b) || b.PID != 0 || strings.Contains(err.Error(), "process 0") {
		t.Errorf("%v", err)
	}
	stop()
	r := openRun(t, path)
	if i := r.Info(); i.RunID != "run-1" || i.Outcome != tally.Interrupted {
		t.Errorf("%+v", i)
	}
	closeRun(t, r, tally.Interrupted)
}

// writeForEver tells durable positions, and says which once they are kept. Between them are some that may be lost.
func writeForEver(path string) error {
	r, err := openAt(path)
	if err != nil {
		return err
	}
	at := 0
	if s := r.Recall("page"); s != nil && len(s.Splits) > 0 {
		for _, p := range s.Splits {
			at = max(at, int(p.Counts.Scanned))
		}
		err = r.Resume(ctx)
	} else if err = r.Begin(ctx, job); err == nil {
		err = r.Collection(ctx, "page", store.Collection{Before: 7, Identity: "x"}, true)
	}
	for err == nil {
		at++
		// In the file it must not come before what it belongs to.
		name := fmt.Sprintf("other-%d", at)
		if err := r.Collection(ctx, name, store.Collection{Before: int64(at)}, true); err != nil {
			return err
		}
		if err := r.Split(ctx, name, split(0, "k", int64(at)), false); err != nil {
			return err
		}
		if err = r.Split(ctx, "page", split(at%3, syncd.Offset(fmt.Sprint(at)), int64(at)), true); err == nil {
			_, err = fmt.Println(at)
		}
	}
	return err
}

// TestKilled kills a process that writes, again and again: what it was told to keep is there, and what is there was told.
func TestKilled(t *testing.T) {
	path := filePath(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	said := 0 // the last that a child said it had kept
	for kill := range 30 {
		cmd, out, stop := start(t, "write", path)
		for range 1 + rnd.IntN(25) {
			if !out.Scan() {
				t.Fatal("the child ended")
			}
			n, err := strconv.Atoi(out.Text())
			if err != nil || n <= said {
				t.Fatalf("kill %d: the child says %q after %d", kill, out.Text(), said)
			}
			said = n
		}
		for range rnd.IntN(2000) {
			runtime.Gosched() // to meet it anywhere
		}
		must(t, cmd.Process.Kill())
		for out.Scan() { // what it had said meanwhile
			if n, err := strconv.Atoi(out.Text()); err == nil {
				said = max(said, n)
			}
		}
		stop()
		e, err := read(path)
		if err != nil {
			t.Fatalf("kill %d: %v", kill, err)
		}
		page := e.Collections["page"]
		if e.Info.Outcome != tally.Interrupted || !e.Info.Resumable || page == nil || page.Before != 7 || page.Identity != "x" {
			t.Fatalf("kill %d: %+v, %+v", kill, e.Info, page)
		}
		kept := 0
		for _, s := range page.Splits {
			if n := int(s.Counts.Scanned); string(s.After) != strconv.Itoa(n) || n%3 != s.Index || s.Lower != "\x00\xff" {
				t.Fatalf("kill %d: nobody told %+v", kill, s)
			}
			kept = max(kept, int(s.Counts.Scanned))
		}
		if kept < said || kept > said+1 {
			t.Fatalf("kill %d: kept %d, but %d was said to be", kill, kept, said)
		}
		for n := 1; n <= said; n++ { // what was told before it is there, too
			c := e.Collections[fmt.Sprintf("other-%d", n)]
			if c == nil || c.Before != int64(n) || len(c.Splits) != 1 || c.Splits[0].Counts.Scanned != int64(n) {
				t.Fatalf("kill %d: collection %d of %d: %+v", kill, n, said, c)
			}
		}
		said = kept
	}
}

// TestDamaged breaks a file in many ways: that is an error which says what to do, and never more than that.
func TestDamaged(t *testing.T) {
	path := filePath(t)
	r := begun(t, path)
	for c := range 20 {
		must(t, r.Collection(ctx, fmt.Sprint(c), store.Collection{}, true))
		for i := range 20 {
			must(t, r.Split(ctx, fmt.Sprint(c), split(i, "k", 1), false))
		}
	}
	closeRun(t, r, tally.Interrupted)
	sound, err := os.ReadFile(path)
	must(t, err)
	page := os.Getpagesize()
	cases := map[string][]byte{
		"text":           []byte("not a state"),
		"one byte":       sound[:1],
		"one page":       sound[:page],
		"two pages":      sound[:2*page],
		"half":           sound[:len(sound)/2],
		"last page gone": sound[:len(sound)-page],
	}
	change := func(name string, f func(b []byte)) {
		b := slices.Clone(sound)
		f(b)
		cases[name] = b
	}
	change("no meta pages", func(b []byte) { clear(b[:2*page]) })
	change("one meta page", func(b []byte) { clear(b[:page]) })
	for at := 2 * page; at < len(sound); at += 4 * page {
		change(fmt.Sprintf("page %d empty", at/page), func(b []byte) { clear(b[at : at+page]) })
		change(fmt.Sprintf("page %d full", at/page), func(b []byte) {
			for i := range page {
				b[at+i] = 0xff
			}
		})
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range 40 {
		change(fmt.Sprintf("flipped %d", i), func(b []byte) {
			for range 1 + rnd.IntN(50) {
				b[rnd.IntN(len(b))] ^= byte(1 << rnd.IntN(8))
			}
		})
	}
	broken := 0
	for name, data := range cases {
		t.Run(name, func(t *testing.T) {
			path := filePath(t)
			must(t, os.MkdirAll(filepath.Dir(path), 0o700))
			must(t, os.WriteFile(path, data, 0o600))
			// Reading leaves nothing behind that keeps others from it.
			entries, err := List(filepath.Dir(path))
			if err != nil || len(entries) != 1 {
				t.Errorf("list: %v, %+v", err, entries)
			}
			r, err := openAt(path)
			if err == nil {
				// What was hit is not used, or was only a value; then it is another's or another state.
				_ = r.Close(ctx, endOf(tally.Interrupted))
			} else {
				broken++
				if syncd.HintOf(err) == "" || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "goroutine") {
					t.Errorf("open: %v (hint %q)", err, syncd.HintOf(err))
				}
				var b *BusyError
				if errors.As(err, &b) {
					t.Errorf("a damaged file is not busy: %v", err)
				}
			}
			if err := Remove(path); err != nil {
				t.Errorf("clear: %v", err)
			}
			closeRun(t, begun(t, path), tally.Complete)
		})
	}
	if broken < 10 {
		t.Errorf("only %d of %d ways broke it", broken, len(cases))
	}
}

// TestAnotherFormat is refused, and left as it is.
func TestAnotherFormat(t *testing.T) {
	path := filePath(t)
	closeRun(t, begun(t, path), tally.Interrupted)
	db, err := bbolt.Open(path, 0o600, nil)
	must(t, err)
	must(t, db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyFormat, []byte("9")) }))
	must(t, db.Close())
	_, err = openAt(path)
	if err == nil || !strings.Contains(err.Error(), `format "9"`) || syncd.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
	if e, err := read(path); err == nil {
		t.Errorf("read: %+v", e)
	}
}

// TestContentThatIsNotAState, in a file that is one: the same clear error, whatever it is.
func TestContentThatIsNotAState(t *testing.T) {
	page := func(tx *bbolt.Tx) *bbolt.Bucket { return tx.Bucket(bucketCollections).Bucket([]byte("page")) }
	for name, change := range map[string]func(tx *bbolt.Tx) error{
		"info":            func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyInfo, []byte("x")) },
		"collection":      func(tx *bbolt.Tx) error { return page(tx).Put(keyState, []byte("x")) },
		"no collection":   func(tx *bbolt.Tx) error { return page(tx).Delete(keyState) },
		"split":           func(tx *bbolt.Tx) error { return page(tx).Bucket(bucketSplits).Put([]byte("0"), []byte("x")) },
		"no splits":       func(tx *bbolt.Tx) error { return page(tx).DeleteBucket(bucketSplits) },
		"a key, no split": func(tx *bbolt.Tx) error { return tx.Bucket(bucketCollections).Put([]byte("x"), []byte("y")) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filePath(t)
			r := begun(t, path)
			must(t, r.Collection(ctx, "page", store.Collection{}, true))
			must(t, r.Split(ctx, "page", split(0, "a", 1), true))
			closeRun(t, r, tally.Interrupted)
			db, err := bbolt.Open(path, 0o600, nil)
			must(t, err)
			must(t, db.Update(change))
			must(t, db.Close())
			r, err = openAt(path)
			if name == "a key, no split" { // nothing reads it
				must(t, err)
				closeRun(t, r, tally.Interrupted)
				return
			}
			if err == nil || !strings.Contains(err.Error(), path+" is damaged") || !strings.Contains(syncd.HintOf(err), "--fresh") {
				t.Errorf("%v (hint %q)", err, syncd.HintOf(err))
			}
			if _, err := read(path); err == nil || !strings.Contains(err.Error(), path+" is damaged") {
				t.Errorf("read: %v", err)
			}
		})
	}
}

// TestTidy removes what is old, and nothing that is in use or can't be read.
func TestTidy(t *testing.T) {
	dir := t.TempDir()
	long := time.Now().Add(-2 * keepFor)
	file := func(name string, updated time.Time, done bool) *Store {
		r := openRun(t, pathOf(dir, name))
		r.now = func() time.Time { return updated }
		must(t, r.Begin(ctx, job))
		if done {
			closeRun(t, r, tally.Interrupted)
		}
		must(t, os.Chtimes(r.path, updated, updated))
		return r
	}
	file("old", long, true)
	file("new", time.Now(), true)
	touched := file("touched", long, true)
	must(t, os.Chtimes(touched.path, time.Now(), time.Now()))
	copied := file("copied", time.Now(), true) // by something that sets its own times
	must(t, os.Chtimes(copied.path, long, long))
	used := file("used", long, false)
	damaged := pathOf(dir, "damaged")
	must(t, os.WriteFile(damaged, []byte("x"), 0o600))
	must(t, os.Chtimes(damaged, long, long))
	must(t, Tidy(dir, time.Now()))
	left, err := filepath.Glob(filepath.Join(dir, "*.db"))
	must(t, err)
	for i := range left {
		left[i] = jobfile.Job(left[i], suffix)
	}
	if diff := cmp.Diff([]string{"copied", "damaged", "new", "touched", "used"}, left); diff != "" {
		t.Error(diff)
	}
	closeRun(t, used, tally.Complete)
	must(t, Tidy(filepath.Join(dir, "none"), time.Now()))
}

// TestNoPlace: a folder that can't be made is an error that says which setting to change.
func TestNoPlace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	_, err := Open(file, "run")
	if err == nil || !strings.Contains(syncd.HintOf(err), "run.state_dir") {
		t.Errorf("%v (hint %q)", err, syncd.HintOf(err))
	}
	// A folder in the file's place.
	path := pathOf(t.TempDir(), "run")
	must(t, os.Mkdir(path, 0o700))
	if _, err := openAt(path); err == nil || syncd.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
	// One where whose it is can't be written.
	path = pathOf(t.TempDir(), "run")
	must(t, os.Mkdir(ownerPath(path), 0o700))
	if _, err := openAt(path); err == nil || syncd.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
	must(t, os.Remove(ownerPath(path)))
	closeRun(t, openRun(t, path), tally.Interrupted) // and the lock was let go
}

// TestTheLockOfARemovedFile is worth nothing: whoever waited for it takes that of the new one, if nobody has it.
func TestTheLockOfARemovedFile(t *testing.T) {
	for _, replaced := range []bool{false, true} {
		path := filePath(t)
		first := begun(t, path)
		opened := make(chan struct{})
		var once sync.Once
		openFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag, mode)
			once.Do(func() { close(opened) })
			return f, err
		}
		defer func() { openFile = os.OpenFile }()
		var second *Store
		ended := make(chan error)
		go func() {
			var err error
			second, err = openAt(path)
			ended <- err
		}()
		<-opened
		must(t, os.Remove(path)) // as Clear does
		var third *Store
		if replaced {
			third = begun(t, path)
		}
		closeRun(t, first, tally.Interrupted)
		err := <-ended
		if replaced {
			if !errors.As(err, new(*BusyError)) {
				t.Errorf("two runs at once: %v", err)
			}
			second = third
		} else {
			must(t, err)
			must(t, second.Begin(ctx, job))
		}
		if _, err := openAt(path); !errors.As(err, new(*BusyError)) {
			t.Errorf("two runs at once: %v", err)
		}
		closeRun(t, second, tally.Complete)
		if e, err := read(path); err != nil || e.Info.Outcome != tally.Complete {
			t.Errorf("%v, %+v", err, e)
		}
	}
}

func TestList(t *testing.T) {
	if entries, err := List(filepath.Join(t.TempDir(), "none")); err != nil || len(entries) != 0 {
		t.Errorf("no folder: %v, %v", entries, err)
	}
	dir := filepath.Join(t.TempDir(), `a[b]*?\`) // which is no pattern
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, name := range []string{"old", "new", "middle"} {
		r := openRun(t, pathOf(dir, name))
		at := now.Add(time.Duration([]int{0, 2, 1}[i]) * time.Hour)
		r.now = func() time.Time { return at }
		must(t, r.Begin(ctx, job))
		closeRun(t, r, tally.Complete)
	}
	must(t, os.WriteFile(pathOf(dir, "damaged"), []byte("x"), 0o600))
	for _, other := range []string{"attempts-qdrant-1f6d2c90.db", "run-db-1f6d2c90ab4e.db", "job-x.db.owner", "job-x.json"} {
		must(t, os.WriteFile(filepath.Join(dir, other), []byte("another's"), 0o600))
	}
	entries, err := List(dir)
	must(t, err)
	var got []string
	for _, e := range entries {
		if (e.Problem != nil) != (e.Name == "damaged") {
			t.Errorf("%s: %v", e.Name, e.Problem)
		}
		got = append(got, e.Name)
	}
	if diff := cmp.Diff([]string{"new", "middle", "old", "damaged"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestNames: every job has a file of its own, in the folder, whatever its name.
func TestNames(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("ä", 100)
	jobs := []string{
		"db", "Prod", "a b", "", ".", "..", "../db", "/etc/passwd", "a/b", "a%2fb", "a%2Fb", "A\\b", "con", "nul.txt", "x\x00y", "x\ny", "-", "~", "%~",
		"*", "job-db", "db.db", "db.db.owner", long, long[2:] + "x", long[:198] + "ö", strings.Repeat("x", 200), strings.Repeat("x", 201),
	}
	paths := map[string]string{}
	for i, job := range jobs {
		path := pathOf(dir, job)
		if other, taken := paths[path]; taken || filepath.Dir(path) != dir || len(filepath.Base(ownerPath(path))) > 255 {
			t.Errorf("%q: %s, as %q", job, path, other)
		}
		paths[path] = job
		s, err := Open(dir, job)
		must(t, err)
		must(t, s.Begin(ctx, store.Info{RunID: fmt.Sprint(i)}))
		closeRun(t, s, tally.Complete)
	}
	entries, err := List(dir)
	if err != nil || len(entries) != len(jobs) {
		t.Fatalf("%v, %d entries", err, len(entries))
	}
	for _, e := range entries {
		if want := paths[e.Path]; e.Name != want || e.Info.Job != want || e.Info.RunID != fmt.Sprint(slices.Index(jobs, want)) {
			t.Errorf("%q: %+v", want, e)
		}
		if len(e.Name) < 60 && jobfile.Job(e.Path, suffix) != e.Name {
			t.Errorf("the name of %s says %q", e.Path, jobfile.Job(e.Path, suffix))
		}
	}
	for i, job := range jobs {
		if e, err := read(pathOf(dir, job)); err != nil || e.Info.RunID != fmt.Sprint(i) {
			t.Errorf("%q: %v, %+v", job, err, e)
		}
		must(t, Clear(dir, job))
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("%v, %v", err, left)
	}
}

// TestTheFileOfAnotherJob is refused and left alone, as where "Prod" and "prod" are one name to the file system.
func TestTheFileOfAnotherJob(t *testing.T) {
	dir := t.TempDir()
	closeRun(t, begun(t, pathOf(dir, "Prod")), tally.Interrupted)
	must(t, os.Rename(pathOf(dir, "Prod"), pathOf(dir, "prod")))
	if _, err := Open(dir, "prod"); err == nil || !strings.Contains(err.Error(), `job "Prod"`) || syncd.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
	if err := Clear(dir, "prod"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("cleared: %v", err)
	}
	if e, err := read(pathOf(dir, "prod")); err != nil || e.Name != "Prod" || e.Info.RunID != "run-1" {
		t.Errorf("%v, %+v", err, e)
	}
}

// TestTwoJobs run side by side.
func TestTwoJobs(t *testing.T) {
	dir := t.TempDir()
	a, b := begun(t, pathOf(dir, "a")), begun(t, pathOf(dir, "b"))
	must(t, a.Collection(ctx, "page", store.Collection{Before: 1}, true))
	must(t, b.Collection(ctx, "page", store.Collection{Before: 2}, true))
	closeRun(t, a, tally.Complete)
	closeRun(t, b, tally.Interrupted)
	for name, before := range map[string]int64{"a": 1, "b": 2} {
		if e, err := read(pathOf(dir, name)); err != nil || e.Collections["page"].Before != before || e.Info.Resumable != (name == "b") {
			t.Errorf("%s: %v, %+v", name, err, e)
		}
	}
}

func TestClear(t *testing.T) {
	path := filePath(t)
	if err := Remove(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
	if _, err := read(path); err == nil {
		t.Error("read what is not there")
	}
	r := begun(t, path)
	must(t, r.db.Close()) // as if it was killed: whose it was is still there
	must(t, Remove(path))
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}

// BenchmarkSplit is the price of a durable position, of one worker and of eight, which share writes.
func BenchmarkSplit(b *testing.B) {
	for _, workers := range []int{1, 8} {
		for _, durable := range []bool{false, true} {
			b.Run(fmt.Sprintf("workers=%d durable=%t", workers, durable), func(b *testing.B) {
				r := begun(b, filePath(b))
				defer r.Close(ctx, endOf(tally.Interrupted))
				must(b, r.Collection(ctx, "page", store.Collection{}, true))
				var all sync.WaitGroup
				b.ReportAllocs()
				for w := range workers {
					all.Go(func() {
						for i := w; i < b.N; i += workers {
							if err := r.Split(ctx, "page", split(w, "507f1f77bcf86cd799439011", int64(i)), durable); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				all.Wait()
			})
		}
	}
}
