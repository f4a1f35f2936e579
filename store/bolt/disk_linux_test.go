package bolt

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/syncd-io/syncd"
)

// TestDiskFull fills a disk of its own, where the system lets it have one. TestFileThatMayNotGrow does much the same
// everywhere.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("mounting a small disk: %v", err)
	}
	path := pathOf(dir, "run")
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	r := begun(t, path)
	kept := -1
	err := fillUp(r, func(n int) { kept = n })
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
	if hint := syncd.HintOf(err); !strings.Contains(hint, "free some space") {
		t.Errorf("hint %q", hint)
	}
	e, rerr := read(path)
	if rerr != nil || kept < 10 || len(e.Collections["page"].Splits) != kept+1 {
		t.Errorf("%v, %d splits were kept: %+v", rerr, kept+1, e.Info)
	}
}
