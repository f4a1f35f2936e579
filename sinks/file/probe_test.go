package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestProbeLeavesNoTrace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.ndjson")
	s := start(t, config(path, nil))
	got := s.probe(t.Context(), nil)
	if len(got) != 2 || got[0].Status != syncd.StatusOK || !strings.Contains(got[0].Detail, "a run will create it") {
		t.Errorf("%+v", got)
	}
	if got[1].Subject != "free space" || got[1].Detail == "" || got[1].Status == syncd.StatusFailed {
		t.Errorf("%+v", got[1])
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is there: %v", err)
	}
}

func TestProberConformance(t *testing.T) {
	syncdtest.TestProber(t, start(t, config(filepath.Join(t.TempDir(), "events.ndjson"), nil)).Abilities().Probe, nil)
}

func TestProbeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.ndjson")
	if err := os.WriteFile(path, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[string]syncd.Finding{
		modeAppend:   {Subject: "file", Status: syncd.StatusOK, Detail: "holds 3 bytes, and can be written to"},
		modeTruncate: {Subject: "file", Status: syncd.StatusWarning, Detail: "holds 3 bytes, which a run will remove", Hint: "set sink.file.mode: append to keep them"},
	} {
		got := start(t, config(path, func(c *Config) { c.Mode = mode })).probe(t.Context(), nil)
		if got[0] != want {
			t.Errorf("%+v", got[0])
		}
	}
	if content(t, path) != "{}\n" {
		t.Error("looking has changed the file")
	}
}

func TestProbeUnwritableDirectory(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may write everywhere")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	got := start(t, config(filepath.Join(dir, "events.ndjson"), nil)).probe(t.Context(), nil)
	if got[0].Status != syncd.StatusFailed || !strings.Contains(got[0].Detail, dir) || got[0].Hint == "" {
		t.Errorf("%+v", got[0])
	}
}

func TestProbeStandardOutput(t *testing.T) {
	c := config("-", nil)
	got := start(t, c).probe(t.Context(), nil)
	if len(got) != 1 || got[0].Status != syncd.StatusOK || c.Location() != "standard output" {
		t.Errorf("%+v at %s", got, c.Location())
	}
}
