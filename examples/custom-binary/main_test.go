package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// build builds the program into a folder.
func build(t *testing.T, dir string) (program string) {
	t.Helper()
	program = filepath.Join(dir, "acme-syncd")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// TestOwnPlugins runs the program with nothing but its own plugins: of two documents, one is in the index.
func TestOwnPlugins(t *testing.T) {
	dir := t.TempDir()
	program := build(t, dir)
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := os.MkdirAll(in("data/page"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"data/page/a.json": `{"title": "A"}`,
		"data/page/b.json": `{"title": "B"}`,
		"indexed.txt":      uuid.NewSHA1(uuid.NameSpaceURL, []byte("a/page/0")).String() + "\n",
		"acme.yaml": "source: {folder: {path: " + in("data") + "}}\nchecker: {idlist: {path: " + in("indexed.txt") + "}}\n" +
			"sink: {tally: {path: " + in("counts.json") + "}}\nmapping: {collections: {page: page}}\nrun: {state_dir: " + in("state") + ", wait_timeout: 0s}\n",
	} {
		if err := os.WriteFile(in(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(program, "run", "-c", in("acme.yaml")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(in("counts.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]int
	if err := json.Unmarshal(b, &got); err != nil || got["page"] != 1 {
		t.Errorf("counts %s, %v", b, err)
	}
}

// TestProgram runs the program in full mode, which needs no index.
func TestProgram(t *testing.T) {
	dir := t.TempDir()
	program := build(t, dir)
	if out, err := exec.Command(program, "plugins").CombinedOutput(); err != nil || !strings.Contains(string(out), "Counts changes by content type.") {
		t.Errorf("plugins: %v\n%s", err, out)
	}
	// The declaration of Config is all that it takes: the plugin has a reference page and a place in the schema.
	page, err := exec.Command(program, "plugins", "tally").CombinedOutput()
	for _, want := range []string{"    path: counts.json\n", "The file to write the counts to.", "at least 0"} {
		if err != nil || !strings.Contains(string(page), want) {
			t.Errorf("plugins tally: %v, no %q in\n%s", err, want, page)
		}
	}
	out, err := exec.Command(program, "schema").Output()
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties struct {
			Sink struct {
				Properties map[string]struct {
					Properties map[string]struct{ Description string }
				}
			}
		}
	}
	if err := json.Unmarshal(out, &schema); err != nil {
		t.Fatal(err)
	}
	if d := schema.Properties.Sink.Properties["tally"].Properties["limit"].Description; !strings.HasPrefix(d, "Refuse documents") {
		t.Errorf("the schema does not describe sink.tally.limit: %q", d)
	}

	counts := filepath.Join(dir, "counts.json")
	for name, text := range map[string]string{
		"page.ndjson": `{"_id": 1}` + "\n" + `{"_id": 2}` + "\n",
		"epic.ndjson": `{"_id": 1, "text": "` + strings.Repeat("x", 1000) + `"}` + "\n",
		"config.yaml": "source: {file: {path: " + dir + "}}\nsink: {tally: {path: " + counts + ", limit: 500}}\n" +
			"mapping: {collections: {page: page, epic: epic}}\nrun: {mode: full, state_dir: " + filepath.Join(dir, "state") + "}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err = exec.Command(program, "run", "-c", filepath.Join(dir, "config.yaml")).CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 5 {
		t.Errorf("one document is too large, so the code is 5: %v\n%s", err, out)
	}
	b, err := os.ReadFile(counts)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]int
	if err := json.Unmarshal(b, &got); err != nil || got["page"] != 2 || got["epic"] != 0 {
		t.Errorf("counts %s, %v", b, err)
	}
}
