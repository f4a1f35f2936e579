package idlist

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestConformance(t *testing.T) {
	syncdtest.TestPlugin(t, Plugin())
	opened := func(t *testing.T, path string) syncd.Checker {
		c, err := open(t.Context(), Config{Path: path}, syncd.Env{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	syncdtest.TestChecker(t, syncdtest.CheckerHarness{
		Open: func(t *testing.T, present []uuid.UUID) syncd.Checker {
			path := filepath.Join(t.TempDir(), "indexed.txt")
			if err := os.WriteFile(path, []byte(strings.Join(uuid.UUIDs(present).Strings(), "\n")), 0o600); err != nil {
				t.Fatal(err)
			}
			return opened(t, path)
		},
		Empty: func(t *testing.T) syncd.Checker { return opened(t, filepath.Join(t.TempDir(), "none")) },
	})
}

func TestUnreadableList(t *testing.T) {
	if _, err := open(t.Context(), Config{Path: t.TempDir()}, syncd.Env{}); !errors.Is(err, syncd.ErrUnavailable) {
		t.Error(err)
	}
	path := filepath.Join(t.TempDir(), "indexed.txt")
	if err := os.WriteFile(path, []byte("one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t.Context(), Config{Path: path}, syncd.Env{}); err == nil {
		t.Error("a line that is no id was read")
	}
}
