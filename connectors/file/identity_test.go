package file

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/syncd-io/syncd"
)

func identity(t *testing.T, dir string) (string, error) {
	t.Helper()
	return openDir(t, dir).Abilities().Identity(t.Context(), syncd.Collection{Name: "c"})
}

func TestIdentityChangesWithTheFile(t *testing.T) {
	const text = `{"_id":"a"}` + "\n"
	dir := t.TempDir()
	path, written := filepath.Join(dir, "c.ndjson"), time.Unix(1_700_000_000, 5)
	stamp := func() {
		t.Helper()
		if err := os.Chtimes(path, written, written); err != nil {
			t.Fatal(err)
		}
	}
	must := func() string {
		t.Helper()
		id, err := identity(t, dir)
		if err != nil || id == "" {
			t.Fatalf("%q, %v", id, err)
		}
		return id
	}
	write(t, dir, "c.ndjson", []byte(text))
	stamp()
	first := must()
	if again := must(); again != first {
		t.Errorf("%q, then %q", first, again)
	}
	t.Chdir(filepath.Dir(dir))
	if id, err := identity(t, filepath.Base(dir)); err != nil || id != first {
		t.Errorf("by another path: %q, %v; want %q", id, err, first)
	}
	for name, change := range map[string]func(){
		"written again": func() { write(t, dir, "c.ndjson", []byte(`{"_id":"b"}`+"\n")) },
		"longer":        func() { write(t, dir, "c.ndjson", []byte(text+text)); stamp() },
		"replaced by a file of the same size and time": func() {
			write(t, dir, "other", []byte(`{"_id":"b"}`+"\n"))
			if err := os.Rename(filepath.Join(dir, "other"), path); err != nil {
				t.Fatal(err)
			}
			stamp()
		},
	} {
		change()
		if id := must(); id == first {
			t.Errorf("%s: still %q", name, id)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if id, err := identity(t, dir); !errors.Is(err, syncd.ErrCollectionNotFound) || id != "" {
		t.Errorf("removed: %q, %v", id, err)
	}
}

// A document that is gone from a file leaves no position to continue behind. A read must not resume somewhere else in
// silence: either the position still begins a document, which a changed identity tells, or it is an error.
func TestResumeInAFileThatShrank(t *testing.T) {
	const a, b, c = `{"_id":"a"}` + "\n", `{"_id":"bb"}` + "\n", `{"_id":"ccc"}` + "\n"
	for name, left := range map[string]string{"first gone": b + c, "last gone": a + b, "all gone": ""} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "c.ndjson", []byte(a+b+c))
			before, err := identity(t, dir)
			if err != nil {
				t.Fatal(err)
			}
			_, changes, err := readAll(t, openDir(t, dir), syncd.ReadRequest{})
			if err != nil || len(changes) != 3 {
				t.Fatal(changes, err)
			}
			write(t, dir, "c.ndjson", []byte(left))
			after, err := identity(t, dir)
			if err != nil || after == before {
				t.Errorf("identity %q, then %q, %v", before, after, err)
			}
			if _, got, err := readAll(t, openDir(t, dir), syncd.ReadRequest{After: syncd.Offset(changes[2].Key)}); err == nil || len(got) > 0 {
				t.Errorf("behind the last: %v, %v", got, err)
			}
		})
	}
}
