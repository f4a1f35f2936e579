//go:build unix

package bolt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

var _ = addChild("full", fill)

// addChild adds what not every system can do.
func addChild(name string, f func(path string) error) bool {
	children[name] = f
	return true
}

// fill writes until the file may not grow any more.
func fill(path string) error {
	r, err := openAt(path)
	if err == nil {
		err = r.Begin(ctx, job)
	}
	if err != nil {
		return err
	}
	limit := syscall.Rlimit{Cur: 256 << 10, Max: 256 << 10}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	return fillUp(r, func(n int) { fmt.Println(n) })
}

// fillUp tells more and more, and says what is kept, until that fails.
func fillUp(r *Store, kept func(n int)) error {
	if err := r.Collection(ctx, "page", store.Collection{Before: 7}, true); err != nil {
		return err
	}
	for n := range 10_000 {
		s := split(n, "k", 1)
		s.Failures = []tally.Failure{{ID: "a", Reason: strings.Repeat("x", 2000)}}
		if err := r.Split(ctx, "page", s, true); err != nil {
			if again := r.Split(ctx, "page", s, true); again == nil {
				return errors.New("what comes after the failure is kept")
			}
			return errors.Join(err, r.db.Close())
		}
		kept(n)
	}
	return errors.New("there is no limit")
}

// checkFull checks a file that could not grow: what was kept before is all there.
func checkFull(t *testing.T, path string, kept int) {
	t.Helper()
	e, err := read(path)
	if err != nil {
		t.Fatal(err)
	}
	page := e.Collections["page"]
	if kept < 10 || page == nil || len(page.Splits) != kept+1 || page.Before != 7 || e.Info.Outcome != tally.Interrupted {
		t.Errorf("%d splits were kept: %+v", kept+1, e.Info)
	}
	closeRun(t, begun(t, path), tally.Complete) // and it goes on once there is room
}

// TestFileThatMayNotGrow, as one on a disk that is full.
func TestFileThatMayNotGrow(t *testing.T) {
	path := filePath(t)
	_, out, stop := start(t, "full", path)
	kept := -1
	var text []string
	for out.Scan() {
		n := 0
		if _, err := fmt.Sscanf(out.Text(), "%d", &n); err == nil {
			kept = n
			continue
		}
		text = append(text, out.Text())
	}
	stop()
	if all := strings.Join(text, "\n"); !strings.Contains(all, filepath.Base(path)) || !strings.Contains(all, syscall.EFBIG.Error()) || !strings.Contains(all, "free some space") {
		t.Errorf("the child says %q", all)
	}
	checkFull(t, path, kept)
}

// TestNoSpace explains what a full disk is.
func TestNoSpace(t *testing.T) {
	for _, err := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, syscall.EROFS, os.ErrPermission} {
		got := explain("p", fmt.Errorf("writing: %w", err))
		hint := syncd.HintOf(got)
		if !errors.Is(got, err) || strings.Contains(hint, "damaged") || hint == "" {
			t.Errorf("%v (hint %q)", got, hint)
		}
	}
	if hint := syncd.HintOf(explain("p", errors.New("odd"))); hint == "" {
		t.Error("no hint")
	}
}
