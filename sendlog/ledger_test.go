package sendlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/spec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func rules(t testing.TB, version bool, names ...string) []*mapping.Rule {
	t.Helper()
	c := mapping.Config{Namespace: "url", Seed: mapping.DefaultSeed}
	if version {
		c.Version = &mapping.Version{Field: []string{"at"}, Payload: "at"}
	}
	for _, n := range names {
		c.Collections = append(c.Collections, mapping.Collection{Name: n, ContentType: n})
	}
	d := spec.NewDecoder()
	m := mapping.Compile(c, "db", d, nil)
	if diags := d.Diagnostics(); len(diags) > 0 {
		t.Fatal(diags)
	}
	return m.Rules
}

func open(t testing.TB, c Config) *Ledger {
	t.Helper()
	l, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// change is a document as the engine gives it to a ledger: with its point id and what the index says of it.
func change(t testing.TB, rule *mapping.Rule, id, version string, v syncd.Verdict) syncd.Change {
	t.Helper()
	c := syncd.Change{ID: id, Fields: []syncd.Value{{Text: version, Set: version != ""}}, Verdict: v}
	if v == syncd.Orphan {
		c.Operation, c.Reason, c.Fields = syncd.Delete, syncd.ReasonOrphan, nil
	}
	var buf []byte
	var err error
	if c.PointID, err = rule.PointID(&buf, &c, 0); err != nil {
		t.Fatal(err)
	}
	return c
}

// count returns how many entries there are.
func count(t testing.TB, l *Ledger) (n int) {
	t.Helper()
	if err := l.db.View(func(tx *bbolt.Tx) error {
		n = tx.Bucket(bucketEntries).Stats().KeyN
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// judge asks about one document.
func judge(t testing.TB, l *Ledger, rule *mapping.Rule, id, version string, v syncd.Verdict) (leave bool) {
	t.Helper()
	c := change(t, rule, id, version, v)
	leave, err := l.Judge(rule, &c)
	if err != nil {
		t.Fatal(err)
	}
	return leave
}

// run is one run of an engine over some documents, whose versions are given by id: it returns what it sent and left alone.
func run(t *testing.T, c Config, rule *mapping.Rule, docs map[string]string, verdict func(id string) syncd.Verdict) (sent, left map[string]bool) {
	t.Helper()
	l := open(t, c)
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	sent, left = map[string]bool{}, map[string]bool{}
	var batch []syncd.Change
	for id, version := range docs {
		v := verdict(id)
		leave := judge(t, l, rule, id, version, v)
		switch {
		case leave && v == syncd.Present:
			t.Errorf("%s is present, and left alone", id)
		case leave:
			left[id] = true
		case v != syncd.Present:
			sent[id] = true
			batch = append(batch, change(t, rule, id, version, v))
		}
	}
	if err := l.Sent(rule, batch); err != nil {
		t.Fatal(err)
	}
	if len(left) <= maxLeft && len(l.Left()) != len(left) {
		t.Errorf("%d were left alone, named are %+v", len(left), l.Left())
	}
	return sent, left
}

func TestLeavesAloneWhatWasSentOften(t *testing.T) {
	rule := rules(t, true, "page")[0]
	c := Config{Path: filepath.Join(t.TempDir(), "state", "attempts.db"), Index: "i", Max: 2}
	docs := map[string]string{"a": "1", "b": "1", "c": "", "d": "1"}
	verdict := map[string]syncd.Verdict{"a": syncd.Missing, "b": syncd.Stale, "c": syncd.Partial, "d": syncd.Missing}
	step := func(what string, c Config, sent, left int) {
		t.Helper()
		s, l := run(t, c, rule, docs, func(id string) syncd.Verdict { return verdict[id] })
		if len(s) != sent || len(l) != left {
			t.Errorf("%s: sent %v, left alone %v", what, s, l)
		}
	}
	step("first run", c, 4, 0)
	verdict["d"] = syncd.Present
	step("second run", c, 3, 0)
	step("third run", c, 0, 3)
	dry := c
	dry.ReadOnly = true
	step("dry run", dry, 0, 3)
	retry := c
	retry.Retry = true
	step("retry", retry, 3, 0)
	step("after the retry", c, 0, 3)
	docs["a"] = "2"
	step("a was updated", c, 1, 2)
	step("and again", c, 1, 2)
	step("and no more", c, 0, 3)
	verdict["b"] = syncd.Present // at last
	step("b is there", c, 0, 2)
	verdict["b"] = syncd.Missing // and deleted: it counts anew
	step("b is gone", c, 1, 2)
	verdict["a"] = syncd.Present
	verdict["b"] = syncd.Present
	verdict["c"] = syncd.Present
	step("all is there", c, 0, 0)
	l := open(t, c)
	if n := count(t, l); n != 0 {
		t.Errorf("%d entries are left", n)
	}
	if judge(t, l, rule, "a", "1", syncd.Unknown) {
		t.Error("what the index did not answer about is left alone")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestLeftNamesDocuments(t *testing.T) {
	two := rules(t, false, "page", "epic")
	c := Config{Path: filepath.Join(t.TempDir(), "a.db"), Index: "i", Max: 1}
	docs := map[string]string{}
	for i := range 50 {
		docs[fmt.Sprintf("%02d", i)] = ""
	}
	missing := func(string) syncd.Verdict { return syncd.Missing }
	run(t, c, two[0], docs, missing)
	run(t, c, two[1], map[string]string{"x": ""}, missing)
	l := open(t, c)
	defer l.Close()
	for _, rule := range []*mapping.Rule{two[1], two[0]} {
		for _, id := range []string{"x", "01", "00"} {
			judge(t, l, rule, id, "", syncd.Missing)
		}
	}
	var names []string
	for _, n := range l.Left() {
		names = append(names, n.Rule.Collection.Name+"/"+n.ID)
		if n.Attempts != 1 || n.Last.IsZero() || n.Deleted || n.PointID != change(t, n.Rule, n.ID, "", syncd.Missing).PointID {
			t.Errorf("%+v", n)
		}
	}
	if got := strings.Join(names, " "); got != "epic/x page/00 page/01" {
		t.Errorf("named %s", got)
	}
}

// TestDeletes counts the deletes of a document apart from what was sent of the document itself.
func TestDeletes(t *testing.T) {
	rule := rules(t, true, "page")[0]
	c := Config{Path: filepath.Join(t.TempDir(), "a.db"), Index: "i", Max: 2}
	// Others are there too.
	run(t, c, rule, map[string]string{"x": "1", "y": "1", "z": ""}, func(string) syncd.Verdict { return syncd.Missing })
	docs := map[string]string{"a": "1"}
	step := func(what string, v syncd.Verdict, sent bool) {
		t.Helper()
		s, _ := run(t, c, rule, docs, func(string) syncd.Verdict { return v })
		if s["a"] != sent {
			t.Errorf("%s: sent is %v", what, s["a"])
		}
	}
	step("inserted", syncd.Missing, true)
	step("inserted again", syncd.Missing, true)
	step("never indexed", syncd.Missing, false)
	step("deleted", syncd.Orphan, true)
	step("deleted again", syncd.Orphan, true)
	step("never removed", syncd.Orphan, false)
	l := open(t, c)
	if !judge(t, l, rule, "a", "", syncd.Orphan) || len(l.Left()) != 1 || !l.Left()[0].Deleted || l.Left()[0].Attempts != 2 {
		t.Errorf("left alone: %+v", l.Left())
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	step("inserted after its delete", syncd.Missing, true)
	step("and deleted once more", syncd.Orphan, true)
	docs["a"] = ""
	step("inserted without a version", syncd.Stale, true)
	step("there, at last", syncd.Present, false)
	step("deleted anew", syncd.Orphan, true)
}

// TestDeletesExpire: nobody sees again a document whose delete went through, so its entry goes by itself; those of documents stay.
func TestDeletesExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rule := rules(t, false, "page")[0]
		c := Config{Path: filepath.Join(t.TempDir(), "a.db"), Index: "i", Max: 1}
		verdict := func(id string) syncd.Verdict {
			if strings.HasPrefix(id, "doc") {
				return syncd.Missing
			}
			return syncd.Orphan
		}
		docs := map[string]string{"doc 1": "", "doc 2": "", "gone 1": "", "gone 2": "", "gone 3": ""}
		run(t, c, rule, docs, verdict)
		time.Sleep(keepDeletes)
		if sent, left := run(t, c, rule, docs, verdict); len(sent) != 0 || len(left) != len(docs) {
			t.Errorf("after 90 days: sent %v, left alone %v", sent, left)
		}
		retry := c
		retry.Retry = true
		run(t, retry, rule, map[string]string{"gone 3": ""}, verdict)
		time.Sleep(time.Second)
		reading := c
		reading.ReadOnly = true
		if l := open(t, reading); count(t, l) != len(docs) {
			t.Errorf("opened to be read: %d entries", count(t, l))
		} else if err := l.Close(); err != nil {
			t.Error(err)
		}
		sent, left := run(t, c, rule, docs, verdict)
		if len(sent) != 2 || !sent["gone 1"] || !sent["gone 2"] || len(left) != 3 || !left["gone 3"] {
			t.Errorf("after more than 90 days: sent %v, left alone %v", sent, left)
		}
		time.Sleep(keepDeletes + time.Second)
		l := open(t, c)
		defer l.Close()
		if n := count(t, l); n != 2 {
			t.Errorf("in the end: %d entries", n)
		}
	})
}

// batchOf makes n sends of different documents.
func batchOf(n int) []syncd.Change {
	out := make([]syncd.Change, n)
	for i := range out {
		out[i].PointID = uuid.NewSHA1(uuid.NameSpaceURL, fmt.Append(nil, i))
	}
	return out
}

// kill lets go of the file as the end of the process would.
func kill(t *testing.T, l *Ledger) {
	t.Helper()
	if err := l.db.Close(); err != nil {
		t.Fatal(err)
	}
}

// wants opens the record and compares the number of sends of every document.
func wants(t *testing.T, c Config, batch []syncd.Change, attempts uint32) {
	t.Helper()
	l := open(t, c)
	defer l.Close()
	for i := range batch {
		if e, ok, err := l.find(batch[i].PointID); err != nil || !ok || e.attempts != attempts {
			t.Fatalf("%s: %+v, %v, %v, want %d attempts", batch[i].PointID, e, ok, err, attempts)
		}
	}
	if n := count(t, l); n != len(batch) {
		t.Errorf("%d entries, want %d", n, len(batch))
	}
}

func TestKilledRunIsRemembered(t *testing.T) {
	c := Config{Path: filepath.Join(t.TempDir(), "a.db"), Index: "i", Max: 2}
	batch := batchOf(3000)
	for range 2 {
		l := open(t, c)
		if err := l.Sent(&mapping.Rule{}, batch); err != nil {
			t.Fatal(err)
		}
		kill(t, l)
	}
	reading := c
	reading.ReadOnly = true
	wants(t, reading, batch, 2)
	wants(t, c, batch, 2)
}

// TestSeenAndSentInOneRun keeps the order of one document's changes.
func TestSeenAndSentInOneRun(t *testing.T) {
	c := Config{Path: filepath.Join(t.TempDir(), "a.db"), Index: "i", Max: 2}
	batch := batchOf(10)
	l := open(t, c)
	for range 3 {
		if err := l.Sent(&mapping.Rule{}, batch); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []uuid.UUID{batch[0].PointID, uuid.New()} {
		if err := l.seen(id); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Sent(&mapping.Rule{}, batch[:1]); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, c)
	defer l.Close()
	for i, want := range []uint32{1, 3, 3} {
		if e, ok, err := l.find(batch[i].PointID); err != nil || !ok || e.attempts != want {
			t.Errorf("document %d: %+v, %v, %v", i, e, ok, err)
		}
	}
	if n := count(t, l); n != 10 {
		t.Errorf("%d entries", n)
	}
}

// TestManyExpire removes more expired entries than one transaction does, and nothing else.
func TestManyExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Config{Path: filepath.Join(t.TempDir(), "a.db"), Index: "i", Max: 1}
		l := open(t, c)
		gone, docs := batchOf(2*maxForget+1), batchOf(3)
		for i := range gone {
			gone[i].PointID, gone[i].Operation = uuid.New(), syncd.Delete
		}
		for _, batch := range [][]syncd.Change{gone, docs} {
			if err := l.Sent(&mapping.Rule{}, batch); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(keepDeletes + time.Second)
		wants(t, c, docs, 1)
	})
}

func TestHash(t *testing.T) {
	if hash(syncd.Value{}) != 0 || hash(syncd.Value{Set: true}) == 0 || hash(syncd.Value{Text: "a", Set: true}) == hash(syncd.Value{Text: "b", Set: true}) {
		t.Error("a version that is not set, or empty, or another")
	}
}

// TestManyWorkers judges and writes from many goroutines, with more to forget than waits.
func TestManyWorkers(t *testing.T) {
	rule := rules(t, false, "page")[0]
	c := Config{Path: filepath.Join(t.TempDir(), "a.db"), Index: "i", Max: 1}
	const workers, each = 8, 2500
	work := func(verdict syncd.Verdict, send bool) (left int) {
		l := open(t, c)
		var all sync.WaitGroup
		var mu sync.Mutex
		for w := range workers {
			all.Go(func() {
				var batch []syncd.Change
				n := 0
				for i := range each {
					c := change(t, rule, fmt.Sprintf("%d-%d", w, i), "", verdict)
					leave, err := l.Judge(rule, &c)
					if err != nil {
						t.Error(err)
					}
					if leave {
						n++
					}
					if send {
						batch = append(batch, c)
					}
				}
				if err := l.Sent(rule, batch); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				left += n
			})
		}
		all.Wait()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		return left
	}
	if n := work(syncd.Missing, true); n != 0 {
		t.Errorf("%d left alone at first", n)
	}
	if n := work(syncd.Missing, false); n != workers*each {
		t.Errorf("%d left alone", n)
	}
	work(syncd.Present, false)
	l := open(t, c)
	defer l.Close()
	if n := count(t, l); n != 0 {
		t.Errorf("%d entries are left", n)
	}
}

func TestReadOnlyMakesNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "a.db")
	l := open(t, Config{Path: path, Index: "i", Max: 1, ReadOnly: true})
	rule := rules(t, false, "page")[0]
	if judge(t, l, rule, "a", "", syncd.Missing) {
		t.Error("a document that never was sent is left alone")
	}
	if err := l.Sent(rule, make([]syncd.Change, 1)); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder: %v", err)
	}
}

// refused opens and wants an error that names the file, and a hint.
func refused(t *testing.T, c Config, text, hint string) {
	t.Helper()
	l, err := Open(c)
	if err == nil {
		_ = l.Close()
		t.Fatalf("no error, want %q", text)
	}
	if !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), c.Path) && !strings.Contains(err.Error(), filepath.Dir(c.Path)) {
		t.Errorf("error %q, want %q", err, text)
	}
	if h := syncd.HintOf(err); !strings.Contains(h, hint) {
		t.Errorf("hint %q, want %q", h, hint)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	c := Config{Path: filepath.Join(t.TempDir(), "a.db"), Index: "i", Max: 1}
	l := open(t, c)
	refused(t, c, "another process is using it", "run.attempts.file")
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := open(t, c).Close(); err != nil {
		t.Error(err)
	}
}

func TestAnotherIndex(t *testing.T) {
	c := Config{Path: filepath.Join(t.TempDir(), "a.db"), Index: "one", Max: 1}
	if err := open(t, c).Close(); err != nil {
		t.Error(err)
	}
	c.Index = "two"
	refused(t, c, "about another index: one, not two", "run.attempts.file")
}

func TestPlaceThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, Config{Path: filepath.Join(file, "a.db"), Index: "i", Max: 1}, "not a directory", "run.state_dir")
	refused(t, Config{Path: filepath.Dir(file), Index: "i", Max: 1}, "is a directory", "")
}

// TestDamaged cuts files off and writes nonsense into them: an error that says what to do, or a ledger that works.
func TestDamaged(t *testing.T) {
	rule := rules(t, false, "page")[0]
	docs := map[string]string{}
	for i := range 3000 {
		docs[fmt.Sprint(i)] = ""
	}
	whole := Config{Path: filepath.Join(t.TempDir(), "whole.db"), Index: "i", Max: 1}
	run(t, whole, rule, docs, func(string) syncd.Verdict { return syncd.Missing })
	content, err := os.ReadFile(whole.Path)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	files := map[string][]byte{
		"not a database": []byte(strings.Repeat("no database at all\n", 1000)),
		"short":          content[:100], "half": content[:len(content)/2], "two pages": content[:2*os.Getpagesize()],
	}
	for i := range 30 {
		spoilt := append([]byte(nil), content...)
		for range 1 << random.IntN(8) {
			binary.LittleEndian.PutUint64(spoilt[random.IntN(len(spoilt)-8):], random.Uint64())
		}
		files[fmt.Sprintf("spoilt %d", i)] = spoilt
	}
	noticed := 0
	for name, text := range files {
		path := filepath.Join(t.TempDir(), "a.db")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		c := Config{Path: path, Index: "i", Max: 1}
		l, err := Open(c)
		if err == nil {
			err = l.Sent(rule, []syncd.Change{{ID: "a", PointID: uuid.New()}})
			_ = l.Close()
		} else {
			noticed++
		}
		if err != nil && (!strings.Contains(err.Error(), path) || !strings.Contains(syncd.HintOf(err), "delete it") && !strings.Contains(err.Error(), "another index")) {
			t.Errorf("%s: error %q, hint %q", name, err, syncd.HintOf(err))
		}
		if err == nil && !strings.HasPrefix(name, "spoilt") {
			t.Errorf("%s: no error", name)
		}
	}
	t.Logf("%d of %d damaged files were noticed at the opening", noticed, len(files))
}

func FuzzEntry(f *testing.F) {
	f.Add([]byte{1, 2, 3})
	f.Add(entry{version: 1, attempts: 5, last: 1 << 30}.encode())
	f.Fuzz(func(t *testing.T, value []byte) {
		e, err := decode(value)
		if err != nil {
			return
		}
		if again, err := decode(e.encode()); err != nil || again != e {
			t.Errorf("%+v, then %+v, %v", e, again, err)
		}
	})
}

// TestReadingLeavesTheFileToRuns: who only reads keeps no run from beginning, and leaves nothing behind.
func TestReadingLeavesTheFileToRuns(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	c := Config{Path: filepath.Join(t.TempDir(), "a.db"), Index: "i", Max: 1}
	if err := open(t, c).Close(); err != nil {
		t.Fatal(err)
	}
	reading := c
	reading.ReadOnly = true
	r := open(t, reading)
	run := open(t, c)
	if _, err := Open(reading); !errors.Is(err, ErrBusy) {
		t.Errorf("while a run has it: %v", err)
	}
	if err := errors.Join(run.Close(), r.Close()); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
