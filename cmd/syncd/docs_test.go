package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
)

// TestDocuments checks every configuration that a document shows, as `syncd validate .` does. One that is indented rather than
// fenced would escape, so those are looked for too.
func TestDocuments(t *testing.T) {
	registry, err := syncd.NewRegistry(plugins()...)
	if err != nil {
		t.Fatal(err)
	}
	examples := 0
	err = filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		switch name := e.Name(); {
		case err != nil:
			return err
		case path != "../.." && strings.HasPrefix(name, "."), e.IsDir() && (name == "bin" || name == "testdata"):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir() || filepath.Ext(name) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(string(text), "\n") {
			for _, section := range []string{"extends:", "mapping:", "run: {", "collections:"} {
				if strings.HasPrefix(line, "    "+section) {
					t.Errorf("%s:%d: fence the example as yaml, or as a yaml fragment, so that it is checked", path, i+1)
				}
			}
		}
		for _, e := range config.Examples(text) {
			examples++
			r := config.Check(config.Input{Path: path, Text: e.Text, Scope: e.Scope, AllowUnsetEnv: true, Registry: registry})
			if len(r.Diagnostics) > 0 {
				t.Error(r.Diagnostics)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if examples < 5 {
		t.Errorf("only %d examples", examples)
	}
}
