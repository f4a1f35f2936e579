package files_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/files"
)

func TestErrorsOfNamedFiles(t *testing.T) {
	t.Parallel()
	of := func(err error) error { return &fs.PathError{Op: "open", Path: "/x/.named.123.part", Err: err} }
	for name, tt := range map[string]struct {
		err        error
		want, hint string
	}{
		"read: missing":        {files.ReadError("the report", "a", of(syscall.ENOENT)), "reading the report a: there is no such file or folder", "check the name"},
		"read: not allowed":    {files.ReadError("the report", "a", of(syscall.EACCES)), "reading the report a: permission denied", "let this user read it"},
		"read: another error":  {files.ReadError("the report", "a", of(syscall.EIO)), "reading the report a: input/output error", ""},
		"write: no folder":     {files.WriteError("the plan", "a", of(syscall.ENOENT)), "writing the plan a: there is no such folder", "make the folder first"},
		"write: not allowed":   {files.WriteError("the plan", "a", of(syscall.EACCES)), "writing the plan a: permission denied", "name another place"},
		"write: read only":     {files.WriteError("the plan", "a", of(syscall.EROFS)), "writing the plan a: read-only file system", "name another place"},
		"write: full":          {files.WriteError("the plan", "a", errors.Join(of(syscall.ENOSPC), errors.New("and more"))), "writing the plan a: no space left on device", "free some space"},
		"write: over a quota":  {files.WriteError("the plan", "a", of(syscall.EDQUOT)), "writing the plan a: disk quota exceeded", "free some space"},
		"write: renaming":      {files.WriteError("the plan", "a", &os.LinkError{Op: "rename", Old: "b", New: "a", Err: syscall.EISDIR}), "writing the plan a: is a directory", ""},
		"write: another error": {files.WriteError("the plan", "a", errors.New("odd")), "writing the plan a: odd", ""},
	} {
		if got, hint := tt.err.Error(), syncd.HintOf(tt.err); got != tt.want || !strings.Contains(hint, tt.hint) || (hint == "") != (tt.hint == "") {
			t.Errorf("%s: %q with the hint %q, want %q with %q", name, got, hint, tt.want, tt.hint)
		}
	}
	for _, err := range []error{files.ReadError("it", "a", of(syscall.ENOENT)), files.WriteError("it", "a", of(syscall.ENOENT))} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v is not fs.ErrNotExist", err)
		}
	}
}

func TestWritable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "r.json")
	if err := os.WriteFile(path, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, fails := range map[string]bool{path: false, filepath.Join(dir, "new"): false, os.DevNull: false, dir: true, filepath.Join(dir, "no", "new"): true} {
		if err := files.Writable("it", name); (err != nil) != fails {
			t.Errorf("%s: %v", name, err)
		}
	}
	if text, err := os.ReadFile(path); string(text) != "kept" {
		t.Errorf("what was there is %q, %v", text, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}
