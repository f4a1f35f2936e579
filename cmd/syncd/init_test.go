package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
)

// TestInitIsValid writes a configuration for each choice of plugins, of which none needs an edit or a variable to be valid, and that names
// no more than it needs.
func TestInitIsValid(t *testing.T) {
	reg := registry(t)
	dir := t.TempDir()
	for _, source := range reg.Names(syncd.KindSource) {
		for _, checker := range reg.Names(syncd.KindChecker) {
			for _, sink := range reg.Names(syncd.KindSink) {
				if plugin, _ := reg.Lookup(syncd.KindSink, sink); checker != sink {
					if _, indexes := plugin.Config().(syncd.Indexer); indexes {
						continue // it is refused
					}
				}
				for _, all := range []bool{false, true} {
					flags := []string{"--source", source, "--checker", checker, "--sink", sink}
					if all {
						flags = append(flags, "--all")
					}
					name := strings.Join(flags, " ")
					file := filepath.Join(dir, strings.ReplaceAll(name, " ", "")+".yaml")
					next := run(t, append([]string{"init", file}, flags...)...)
					data, err := os.ReadFile(file)
					if err != nil {
						t.Fatal(err)
					}
					_, diags := config.Load(config.Input{Path: file, Registry: reg})
					if len(diags) > 0 {
						t.Errorf("%s: %v\n%s", name, diags, data)
					}
					plugin, _ := reg.Lookup(syncd.KindSink, sink)
					_, indexes := plugin.Config().(syncd.Indexer)
					plugin, _ = reg.Lookup(syncd.KindSource, source)
					_, follows := plugin.Config().(syncd.FollowedOnly)
					for text, wanted := range map[string]bool{"\nstages:": indexes, "\n  follow: true\n": follows} {
						if bytes.Contains(data, []byte(text)) != wanted {
							t.Errorf("%s: it has %q: %t, want %t", name, text, !wanted, wanted)
						}
					}
					if strings.Contains(next, "--dry-run") == follows || !strings.Contains(next, "must be those of your index") {
						t.Errorf("%s: the next steps are\n%s", name, next)
					}
				}
			}
		}
	}
}

// TestInitAsksTheIndexThatItWrites: a sink that writes an index comes with its checker, and with no other.
func TestInitAsksTheIndexThatItWrites(t *testing.T) {
	for _, name := range []string{"qdrant", "pgvector"} {
		if text := run(t, "init", "-", "--sink", name); !strings.Contains(text, "\nchecker:\n  "+name+":") || !strings.Contains(text, "\nsink:\n  "+name+":") {
			t.Error(text)
		}
	}
	out, err := exec.Command("syncd", "init", "-", "--sink", "pgvector", "--checker", "qdrant").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "take --checker pgvector") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestInitIsUsual: without a choice it is MongoDB, Qdrant and Kafka.
func TestInitIsUsual(t *testing.T) {
	text := run(t, "init", "-")
	if text != run(t, "init", "-", "--source", "mongo", "--checker", "qdrant", "--sink", "kafka") || !strings.Contains(text, "\nsink:\n  kafka:") {
		t.Error(text)
	}
}
