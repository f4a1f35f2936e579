//go:build unix

package planfile_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/syncd-io/syncd/planfile"
)

// TestAPlanForAPipeGoesIntoIt, or into a device: a rename would put a file in its place.
func TestAPlanForAPipeGoesIntoIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, whole := range []bool{true, false} {
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
		w, err := planfile.Create(path, planfile.Header{Plan: planfile.Version}, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(whole); err != nil {
			t.Fatal(err)
		}
		got := <-read
		if !strings.HasPrefix(got, `{"syncd_plan":`) {
			t.Errorf("the pipe got %q", got)
		}
		if _, err := planText(got).Check(); whole != (err == nil) { // half of one has no end
			t.Errorf("whole %v: %v", whole, err)
		}
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().IsRegular() {
		t.Error("a file is in the pipe's place")
	}
}
