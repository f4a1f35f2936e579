package bolt

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"github.com/syncd-io/syncd/tally"
)

// A disk that is full when the file is made leaves nothing of it: half a file would be a damaged one when there is room again.
func TestDiskFullAtTheBeginning(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4k"); err != nil {
		t.Skipf("mounting a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	path := pathOf(dir, "run")
	if _, err := openAt(path); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	r, err := openAt(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(ctx, endOf(tally.Interrupted)); err != nil {
		t.Error(err)
	}
}
