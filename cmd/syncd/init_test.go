package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/syncd-io/syncd/cli"
)

// TestInitIsValid writes a configuration for each choice of plugins; it can be used as it is, but for the one setting that the
// source Kafka asks for.
func TestInitIsValid(t *testing.T) {
	for _, name := range []string{"POSTGRES_DSN", "PGVECTOR_DSN"} { // which the file asks for
		t.Setenv(name, "postgres://h/d")
	}
	args := os.Args
	t.Cleanup(func() { os.Args = args })
	for _, c := range []struct {
		flags    string
		want     int
		has, not string
	}{
		{"", 0, "\nsink:\n  kafka:", "stages:"},
		{"--sink kafka", 0, "\nsink:\n  kafka:", "stages:"},
		{"--sink file", 0, "\nsink:\n  file:", "stages:"},
		{"--sink qdrant", 0, "\nstages:\n  # ", ""},
		{"--source file", 0, "\nsource:\n  file:", ""},
		{"--source postgres", 0, "\nsource:\n  postgres:", ""},
		{"--source kafka", 3, "\nsource:\n  kafka:", ""},
		{"--checker pgvector", 0, "\nchecker:\n  pgvector:", ""},
	} {
		for _, flags := range []string{c.flags, c.flags + " --all"} {
			t.Run(flags, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "mine.yaml")
				os.Args = append([]string{"syncd", "init", file}, strings.Fields(flags)...)
				if code := cli.Main(plugins()...); code != 0 {
					t.Fatalf("init exits with %d", code)
				}
				data, err := os.ReadFile(file)
				if err != nil || !strings.Contains(string(data), c.has) || c.not != "" && strings.Contains(string(data), "\n"+c.not) {
					t.Errorf("%v, want %q and not %q in\n%s", err, c.has, c.not, data)
				}
				os.Args = []string{"syncd", "validate", file}
				if code := cli.Main(plugins()...); code != c.want {
					t.Errorf("validate exits with %d, not %d, for\n%s", code, c.want, data)
				}
			})
		}
	}
}
