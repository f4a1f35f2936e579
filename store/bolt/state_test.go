package bolt

import (
	"bufio"
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
	"github.com/syncd-io/syncd/pipeline"
)

// childEnv says what a child process does, with the file in its folder: this binary is its own child.
const childEnv = "SYNCD_STATE_TEST_CHILD"

// children are kept by name; its values are the functions that they run.
var children = map[string]func(path string) error{"hold": hold, "write": writeForEver}

func TestMain(m *testing.M) {
	if child := children[os.Getenv(childEnv)]; child != nil {
		if err := child(FileName("db", "f1")); err != nil {
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
var job = Info{RunID: "run-1", Job: "db", Fingerprint: "f1", Config: "prod.yaml"}

func hold(path string) error {
	r, err := Open(path, job)
	if err != nil {
		return err
	}
	if err := r.Begin(job); err != nil {
		return err
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return r.Close(Interrupted)
}

// openRun opens a file that must be sound.
func openRun(t testing.TB, path string) *Run {
	t.Helper()
	r, err := Open(path, job)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func begun(t testing.TB, path string) *Run {
	t.Helper()
	r := openRun(t, path)
	if err := r.Begin(job); err != nil {
		t.Fatal(err)
	}
	return r
}

func closeRun(t testing.TB, r *Run, s Status) {
	t.Helper()
	if err := r.Close(s); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func split(i int, after syncd.Key, n int64) pipeline.SplitState {
	return pipeline.SplitState{Index: i, Lower: "\x00\xff", Upper: "\xfe", After: after, Counts: pipeline.Counts{Scanned: n, Present: n}}
}

func filePath(t testing.TB) string { return filepath.Join(t.TempDir(), "states", FileName("db", "f1")) }

// asOf returns what the file says now, as a process would find it if this one was killed.
func asOf(t testing.TB, path string) Entry {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	at := filepath.Join(t.TempDir(), filepath.Base(path))
	must(t, os.WriteFile(at, data, 0o600))
	e, err := Read(at)
	must(t, err)
	return e
}

// TestLife follows a run from its beginning to its end.
func TestLife(t *testing.T) {
	path := filePath(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	clock := func(r *Run) { r.now = func() time.Time { now = now.Add(time.Hour); return now } }

	r := openRun(t, path)
	clock(r)
	if i := r.Info(); i.RunID != "" || r.Handled() != 0 || r.Recall("page") != nil {
		t.Errorf("a new file knows %+v", i)
	}
	must(t, r.Begin(job))
	if i := r.Info(); i.RunID != "run-1" || i.Status != Running || i.PID != os.Getpid() || i.Host == "" || i.Started.IsZero() {
		t.Errorf("begun: %+v", i)
	}
	started := r.Info().Started
	must(t, r.Collection("page", pipeline.CollectionState{Identity: "x", Found: true, Before: 9}, true))
	must(t, r.Split("page", split(0, "a\x00\xff", 3), true))
	must(t, r.Split("page", split(1, "", 0), false))
	must(t, r.Collection("page", pipeline.CollectionState{Identity: "x", Found: true, Before: 9, Planned: true}, false))
	closeRun(t, r, Interrupted)
	if _, err := os.Stat(ownerPath(path)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("whose the file was is still there: %v", err)
	}

	r = openRun(t, path)
	clock(r)
	i := r.Info()
	if i.Status != Interrupted || i.Resumes != 0 || r.Handled() != 3 || !i.Started.Equal(started) || !i.Updated.After(started) || i.Config != "prod.yaml" {
		t.Errorf("interrupted: %+v", i)
	}
	want := &pipeline.CollectionState{Identity: "x", Found: true, Before: 9, Planned: true, Splits: []pipeline.SplitState{split(0, "a\x00\xff", 3), split(1, "", 0)}}
	if diff := cmp.Diff(want, r.Recall("page")); diff != "" {
		t.Error(diff)
	}
	must(t, r.Resume())
	if i := r.Info(); i.Status != Running || i.Resumes != 1 {
		t.Errorf("resumed: %+v", i)
	}
	closeRun(t, r, Complete)

	r = openRun(t, path)
	if i := r.Info(); i.Status != Complete || i.Resumes != 1 || i.RunID != "run-1" {
		t.Errorf("complete: %+v", i)
	}
	next := job
	next.RunID = "run-2"
	must(t, r.Begin(next))
	if i := r.Info(); i.RunID != "run-2" || i.Resumes != 0 || r.Recall("page") != nil || r.Handled() != 0 {
		t.Errorf("the next run: %+v", i)
	}
	closeRun(t, r, Failed)
	if e := asOf(t, path); e.Info.Status != Failed || len(e.Collections) != 0 {
		t.Errorf("the next run: %+v", e)
	}

	// A file of another configuration, whatever its name, is none of ours.
	other, err := Open(path, Info{Job: "db", Fingerprint: "f2"})
	must(t, err)
	if other.Info().RunID != "" || other.Recall("page") != nil {
		t.Errorf("another configuration: %+v", other.Info())
	}
	closeRun(t, other, Interrupted)
	if e := asOf(t, path); e.Info.Status != Failed || e.Info.RunID != "run-2" {
		t.Errorf("opened and left alone: %+v", e.Info)
	}
}

// TestSplitsInTheirOrder, of which there are more than a byte counts.
func TestSplitsInTheirOrder(t *testing.T) {
	path := filePath(t)
	r := begun(t, path)
	must(t, r.Collection("a/b\xff", pipeline.CollectionState{}, true))
	for _, i := range rand.Perm(1000) {
		must(t, r.Split("a/b\xff", split(i, "k", int64(i)), false))
	}
	closeRun(t, r, Interrupted)
	e, err := Read(path)
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
	defer r.Close(Interrupted)
	now := time.Now()
	r.now = func() time.Time { return now }
	must(t, r.Collection("x", pipeline.CollectionState{}, true)) // so that the last write is now
	must(t, r.Split("x", split(0, "", 0), true))

	must(t, r.Collection("page", pipeline.CollectionState{Before: 9}, true))
	must(t, r.Split("page", split(0, "a", 1), false))
	if e := asOf(t, path); e.Collections["page"] != nil {
		t.Errorf("what can wait did not: %+v", e.Collections["page"])
	}
	now = now.Add(lazily)
	must(t, r.Split("page", split(1, "m", 1), false))
	if e := asOf(t, path); e.Collections["page"] == nil || len(e.Collections["page"].Splits) != 2 || e.Handled != 2 || e.Collections["page"].Before != 9 {
		t.Errorf("after a second: %+v", e.Collections["page"])
	}
	must(t, r.Split("page", split(0, "b", 2), false))
	must(t, r.Collection("epic", pipeline.CollectionState{}, true))
	must(t, r.Split("epic", split(0, "z", 4), true))
	e := asOf(t, path)
	if e.Handled != 2+1+4 || e.Collections["epic"] == nil {
		t.Errorf("what came before: %+v", e)
	}
	if e.Info.Status != Interrupted {
		t.Errorf("nobody holds it: %+v", e.Info)
	}
	// A collection that begins anew forgets its splits, those in the file and those on their way there.
	must(t, r.Split("page", split(2, "c", 9), false))
	must(t, r.Collection("page", pipeline.CollectionState{Identity: "new"}, true))
	must(t, r.Split("page", split(0, "n", 5), true))
	s := asOf(t, path).Collections["page"]
	if s.Identity != "new" || len(s.Splits) != 1 || s.Splits[0].After != "n" {
		t.Errorf("begun anew: %+v", s)
	}
}

// TestASplitWithoutItsCollection would be of no use: the file does not take it, nor anything after.
func TestASplitWithoutItsCollection(t *testing.T) {
	path := filePath(t)
	r := begun(t, path)
	must(t, r.Collection("page", pipeline.CollectionState{}, true))
	must(t, r.Split("page", split(0, "a", 1), true))
	if err := r.Split("epic", split(0, "a", 1), true); err == nil {
		t.Error("kept")
	}
	if err := r.Split("page", split(0, "b", 2), true); err == nil {
		t.Error("what came before is not there, but this is")
	}
	if err := r.Close(Complete); err == nil {
		t.Error("closed as complete")
	}
	if e := asOf(t, path); e.Handled != 1 || e.Info.Status != Interrupted {
		t.Errorf("%+v", e)
	}
}

// TestWritesAreShared: workers that meet wait for one write, not for each other's.
func TestWritesAreShared(t *testing.T) {
	path := filePath(t)
	r := begun(t, path)
	defer r.Close(Interrupted)
	must(t, r.Collection("page", pipeline.CollectionState{}, true))
	must(t, r.Split("page", split(0, "", 0), true))
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
			if err := r.Split("page", split(i, "a", 1), true); err != nil {
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
		must(t, r.Collection(fmt.Sprint(c), pipeline.CollectionState{}, true))
	}
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := range 50 {
				if err := r.Split(fmt.Sprint(w%4), split(w, syncd.Key(fmt.Sprint(i)), int64(i)), i%3 == 0); err != nil {
					t.Error(err)
				}
				r.Info()
			}
		})
	}
	all.Wait()
	closeRun(t, r, Complete)
	e, err := Read(path)
	if err != nil || e.Handled != 8*49 || e.Info.Status != Complete {
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
	_, err := Open(path, job)
	busy("open", err)
	busy("clear", Clear(path))
	e, err := Read(path)
	if err != nil || e.Info.Status != Running || e.Info.PID != cmd.Process.Pid || e.Info.Updated.IsZero() {
		t.Errorf("read: %v, %+v", err, e)
	}

	// Without that file it is still busy, but nobody knows whose it is.
	must(t, os.WriteFile(ownerPath(path), []byte("{"), 0o600))
	var b *BusyError
	if _, err := Open(path, job); !errors.As(err, &b) || b.PID != 0 || strings.Contains(err.Error(), "process 0") {
		t.Errorf("%v", err)
	}
	stop()
	r := openRun(t, path)
	if i := r.Info(); i.RunID != "run-1" || i.Status != Interrupted {
		t.Errorf("%+v", i)
	}
	closeRun(t, r, Interrupted)
}

// writeForEver tells durable positions, and says which once they are kept. Between them are some that may be lost.
func writeForEver(path string) error {
	r, err := Open(path, job)
	if err != nil {
		return err
	}
	at := 0
	if s := r.Recall("page"); s != nil && len(s.Splits) > 0 {
		for _, p := range s.Splits {
			at = max(at, int(p.Counts.Scanned))
		}
		err = r.Resume()
	} else if err = r.Begin(job); err == nil {
		err = r.Collection("page", pipeline.CollectionState{Before: 7, Identity: "x"}, true)
	}
	for err == nil {
		at++
		// In the file it must not come before what it belongs to.
		name := fmt.Sprintf("other-%d", at)
		if err := r.Collection(name, pipeline.CollectionState{Before: int64(at)}, true); err != nil {
			return err
		}
		if err := r.Split(name, split(0, "k", int64(at)), false); err != nil {
			return err
		}
		if err = r.Split("page", split(at%3, syncd.Key(fmt.Sprint(at)), int64(at)), true); err == nil {
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
		e, err := Read(path)
		if err != nil {
			t.Fatalf("kill %d: %v", kill, err)
		}
		page := e.Collections["page"]
		if e.Info.Status != Interrupted || page == nil || page.Before != 7 || page.Identity != "x" {
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
		must(t, r.Collection(fmt.Sprint(c), pipeline.CollectionState{}, true))
		for i := range 20 {
			must(t, r.Split(fmt.Sprint(c), split(i, "k", 1), false))
		}
	}
	closeRun(t, r, Interrupted)
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
			r, err := Open(path, job)
			if err == nil {
				// What was hit is not used, or was only a value; then it is another's or another state.
				_ = r.Close(Interrupted)
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
			if err := Clear(path); err != nil {
				t.Errorf("clear: %v", err)
			}
			closeRun(t, begun(t, path), Complete)
		})
	}
	if broken < 10 {
		t.Errorf("only %d of %d ways broke it", broken, len(cases))
	}
}

// TestAnotherFormat is refused, and left as it is.
func TestAnotherFormat(t *testing.T) {
	path := filePath(t)
	closeRun(t, begun(t, path), Interrupted)
	db, err := bbolt.Open(path, 0o600, nil)
	must(t, err)
	must(t, db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyFormat, []byte("9")) }))
	must(t, db.Close())
	_, err = Open(path, job)
	if err == nil || !strings.Contains(err.Error(), `format "9"`) || syncd.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
	if e, err := Read(path); err == nil {
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
			must(t, r.Collection("page", pipeline.CollectionState{}, true))
			must(t, r.Split("page", split(0, "a", 1), true))
			closeRun(t, r, Interrupted)
			db, err := bbolt.Open(path, 0o600, nil)
			must(t, err)
			must(t, db.Update(change))
			must(t, db.Close())
			r, err = Open(path, job)
			if name == "a key, no split" { // nothing reads it
				must(t, err)
				closeRun(t, r, Interrupted)
				return
			}
			if err == nil || !strings.Contains(err.Error(), path+" is damaged") || !strings.Contains(syncd.HintOf(err), "--fresh") {
				t.Errorf("%v (hint %q)", err, syncd.HintOf(err))
			}
			if _, err := Read(path); err == nil || !strings.Contains(err.Error(), path+" is damaged") {
				t.Errorf("read: %v", err)
			}
		})
	}
}

// TestTidy removes what is old, and nothing that is in use or can't be read.
func TestTidy(t *testing.T) {
	dir := t.TempDir()
	long := time.Now().Add(-2 * keepFor)
	file := func(name string, updated time.Time, done bool) *Run {
		r := openRun(t, filepath.Join(dir, FileName(name, "f1")))
		r.now = func() time.Time { return updated }
		must(t, r.Begin(job))
		if done {
			closeRun(t, r, Interrupted)
		}
		must(t, os.Chtimes(r.Path(), updated, updated))
		return r
	}
	file("old", long, true)
	file("new", time.Now(), true)
	touched := file("touched", long, true)
	must(t, os.Chtimes(touched.Path(), time.Now(), time.Now()))
	copied := file("copied", time.Now(), true) // by something that sets its own times
	must(t, os.Chtimes(copied.Path(), long, long))
	used := file("used", long, false)
	damaged := filepath.Join(dir, FileName("damaged", "f1"))
	must(t, os.WriteFile(damaged, []byte("x"), 0o600))
	must(t, os.Chtimes(damaged, long, long))
	must(t, Tidy(dir, time.Now()))
	left, err := filepath.Glob(filepath.Join(dir, "*.db"))
	must(t, err)
	for i := range left {
		left[i] = strings.TrimSuffix(filepath.Base(left[i]), "-f1.db")
	}
	if diff := cmp.Diff([]string{"run-copied", "run-damaged", "run-new", "run-touched", "run-used"}, left); diff != "" {
		t.Error(diff)
	}
	closeRun(t, used, Complete)
	must(t, Tidy(filepath.Join(dir, "none"), time.Now()))
}

// TestNoPlace: a folder that can't be made is an error that says which setting to change.
func TestNoPlace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	_, err := Open(filepath.Join(file, "run.db"), job)
	if err == nil || !strings.Contains(syncd.HintOf(err), "run.state_dir") {
		t.Errorf("%v (hint %q)", err, syncd.HintOf(err))
	}
	// A folder in the file's place.
	path := filepath.Join(t.TempDir(), "run.db")
	must(t, os.Mkdir(path, 0o700))
	if _, err := Open(path, job); err == nil || syncd.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
	// One where whose it is can't be written.
	path = filepath.Join(t.TempDir(), "run.db")
	must(t, os.Mkdir(ownerPath(path), 0o700))
	if _, err := Open(path, job); err == nil || syncd.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
	must(t, os.Remove(ownerPath(path)))
	closeRun(t, openRun(t, path), Interrupted) // and the lock was let go
}

// TestTheLockOfARemovedFile is worth nothing: whoever waited for it takes that of the new one.
func TestTheLockOfARemovedFile(t *testing.T) {
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
	second := make(chan *Run)
	go func() {
		r, err := Open(path, job)
		if err != nil {
			t.Error(err)
		}
		second <- r
	}()
	<-opened
	must(t, os.Remove(path)) // as Clear does
	closeRun(t, first, Interrupted)
	r := <-second
	if r == nil {
		return
	}
	if _, err := Open(path, job); !errors.As(err, new(*BusyError)) {
		t.Errorf("two runs at once: %v", err)
	}
	must(t, r.Begin(job))
	closeRun(t, r, Complete)
	if e, err := Read(path); err != nil || e.Info.Status != Complete {
		t.Errorf("%v, %+v", err, e)
	}
}

func TestList(t *testing.T) {
	if entries, err := List(filepath.Join(t.TempDir(), "none")); err != nil || len(entries) != 0 {
		t.Errorf("no folder: %v, %v", entries, err)
	}
	dir := filepath.Join(t.TempDir(), `a[b]*?\`) // which is no pattern
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, name := range []string{"old", "new", "middle"} {
		r := openRun(t, filepath.Join(dir, FileName(name, "f1")))
		at := now.Add(time.Duration([]int{0, 2, 1}[i]) * time.Hour)
		r.now = func() time.Time { return at }
		must(t, r.Begin(job))
		closeRun(t, r, Complete)
	}
	must(t, os.WriteFile(filepath.Join(dir, "run-damaged.db"), []byte("x"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "attempts.db"), []byte("another's"), 0o600))
	entries, err := List(dir)
	must(t, err)
	var got []string
	for _, e := range entries {
		if (e.Problem != nil) != (e.Name == "run-damaged") {
			t.Errorf("%s: %v", e.Name, e.Problem)
		}
		got = append(got, e.Name)
	}
	if diff := cmp.Diff([]string{"run-new-f1", "run-middle-f1", "run-old-f1", "run-damaged"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestClear(t *testing.T) {
	path := filePath(t)
	if err := Clear(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
	if _, err := Read(path); err == nil {
		t.Error("read what is not there")
	}
	r := begun(t, path)
	must(t, r.db.Close()) // as if it was killed: whose it was is still there
	must(t, Clear(path))
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
				defer r.Close(Interrupted)
				must(b, r.Collection("page", pipeline.CollectionState{}, true))
				var all sync.WaitGroup
				b.ReportAllocs()
				for w := range workers {
					all.Go(func() {
						for i := w; i < b.N; i += workers {
							if err := r.Split("page", split(w, "507f1f77bcf86cd799439011", int64(i)), durable); err != nil {
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
