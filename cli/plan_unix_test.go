//go:build unix

package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/syncd-io/syncd/pipeline"
)

// A plan for a pipe or a device goes into it: a rename would put a file in its place.
func TestPlanIntoPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	read := make(chan string, 1)
	go func() {
		f, err := os.Open(path)
		if err != nil {
			read <- err.Error()
			return
		}
		defer f.Close()
		text, _ := io.ReadAll(f)
		read <- string(text)
	}()
	w, err := newPlanWriter(path, pipeline.PlanHeader{Plan: pipeline.PlanVersion}, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.close(true); err != nil {
		t.Fatal(err)
	}
	if got := <-read; !strings.HasPrefix(got, `{"syncd_plan":`) {
		t.Errorf("the pipe got %q", got)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().IsRegular() {
		t.Error("a file is in the pipe's place")
	}
}
