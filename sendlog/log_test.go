package sendlog

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
)

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
	n := 0
	for i := range batch {
		e, ok, err := l.find(batch[i].PointID)
		if err != nil || e.attempts != attempts || ok != (attempts > 0) {
			t.Fatalf("%s: %+v, %v, %v, want %d attempts", batch[i].PointID, e, ok, err, attempts)
		}
		if ok {
			n++
		}
	}
	if l.count != n {
		t.Errorf("%d entries, want %d", l.count, n)
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
	wants(t, reading, batch, 2) // from the log
	wants(t, c, batch, 2)
}

// TestFoldGoesOn cuts a fold off after each of its steps: no send counts twice.
func TestFoldGoesOn(t *testing.T) {
	batch := batchOf(1000)
	for _, after := range []int{1, 500, 999, 1000} {
		c := Config{Path: filepath.Join(t.TempDir(), "a.db"), Index: "i", Max: 2}
		l := open(t, c)
		if err := l.Sent(&mapping.Rule{}, batch); err != nil {
			t.Fatal(err)
		}
		some, err := l.pass(0, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.enter(some[:after]); err != nil {
			t.Fatal(err)
		}
		kill(t, l)
		wants(t, c, batch, 1)
	}
}

// TestPasses checks that the parts of the log are all of it, and in order.
func TestPasses(t *testing.T) {
	l := open(t, Config{Path: filepath.Join(t.TempDir(), "a.db"), Index: "i", Max: 2})
	defer l.Close()
	batch := batchOf(2000)
	for range 2 {
		if err := l.Sent(&mapping.Rule{}, batch); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := l.pass(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	var parts []logged
	for p := range 7 {
		some, err := l.pass(p, 7)
		if err != nil {
			t.Fatal(err)
		}
		if len(some) < 400 || len(some) > 750 {
			t.Errorf("part %d has %d", p, len(some))
		}
		parts = append(parts, some...)
	}
	if len(whole) != 4000 || !slices.Equal(whole, parts) {
		t.Errorf("%d parts of %d", len(parts), len(whole))
	}
	if err := l.fold(3999); err != nil {
		t.Fatal(err)
	}
	if again, _ := l.pass(0, 1); len(again) != 4000 {
		t.Errorf("a log above the limit was folded: %d are left", len(again))
	}
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
	if err := l.log(seenRecord([]uuid.UUID{batch[0].PointID, uuid.New()})); err != nil {
		t.Fatal(err)
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
	if l.count != 10 {
		t.Errorf("%d entries", l.count)
	}
}

func TestHash(t *testing.T) {
	if hash(syncd.Value{}) != 0 || hash(syncd.Value{Set: true}) == 0 || hash(syncd.Value{Text: "a", Set: true}) == hash(syncd.Value{Text: "b", Set: true}) {
		t.Error("a version that is not set, or empty, or another")
	}
}
