package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/cli/wizard"
	"github.com/syncd-io/syncd/config"
)

// TestInitIsValid writes a configuration for each choice of plugins, of which none needs an edit or a variable to be valid, and that names
// no more than it needs.
func TestInitIsValid(t *testing.T) {
	reg := registry(t)
	dir := t.TempDir()
	for _, source := range reg.Names(syncd.KindSource) {
		plugin, _ := reg.Lookup(syncd.KindSource, source)
		_, follows := plugin.Config().(syncd.FollowedOnly)
		next := run(t, "init", filepath.Join(dir, source+".yaml"), "--source", source)
		if strings.Contains(next, "--dry-run") == follows || !strings.Contains(next, "must be those of your index") {
			t.Errorf("%s: the next steps are\n%s", source, next)
		}
		for _, checker := range reg.Names(syncd.KindChecker) {
			for _, sink := range reg.Names(syncd.KindSink) {
				plugin, _ := reg.Lookup(syncd.KindSink, sink)
				_, indexes := plugin.Config().(syncd.Indexer)
				if indexes && checker != sink {
					continue // it is refused
				}
				for _, all := range []bool{false, true} {
					name := fmt.Sprintf("from %s to %s, asking %s, all %t", source, sink, checker, all)
					text, err := wizard.Starter(reg, wizard.Choices{All: all, Schema: "s.json", Plugins: map[syncd.Kind]string{
						syncd.KindSource: source, syncd.KindChecker: checker, syncd.KindSink: sink,
					}})
					if err != nil {
						t.Fatal(err)
					}
					if _, diags := config.Load(config.Input{Path: "mine.yaml", Text: []byte(text), Registry: reg}); len(diags) > 0 {
						t.Errorf("%s: %v\n%s", name, diags, text)
					}
					for part, wanted := range map[string]bool{"\nstages:": indexes, "\n  follow: true\n": follows} {
						if strings.Contains(text, part) != wanted {
							t.Errorf("%s: it has %q: %t, want %t", name, part, !wanted, wanted)
						}
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
