package cli

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/runlog"
)

// terminal opens one that nobody looks at.
func terminal(t *testing.T) *os.File {
	t.Helper()
	tty, _ := terminalOf(t)
	return tty
}

// terminalOf opens one, and what somebody sees who looks at it.
func terminalOf(t *testing.T) (tty, master *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("this machine gives no pseudo-terminal: %v", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Skipf("this machine gives no pseudo-terminal: %v", err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("this machine gives no pseudo-terminal: %v", err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	return tty, master
}

func TestThePointCountIsWaitedForOnATerminalOrIfAskedFor(t *testing.T) {
	tty := terminal(t)
	never, minute := time.Duration(0), time.Minute
	for name, c := range map[string]struct {
		set             *time.Duration
		tty, redirected time.Duration
	}{
		"not set":       {nil, 10 * time.Second, 0},
		"set":           {&minute, minute, minute},
		"never to wait": {&never, 0, 0},
	} {
		w := config.Waiting{WaitTimeoutSetting: c.set}
		if c.set != nil {
			w.WaitTimeout = *c.set
		}
		if got := waitTimeout(&w, tty); got != c.tty {
			t.Errorf("%s, on a terminal: %s, want %s", name, got, c.tty)
		}
		if got := waitTimeout(&w, &result{Writer: &bytes.Buffer{}}); got != c.redirected {
			t.Errorf("%s, redirected: %s, want %s", name, got, c.redirected)
		}
	}
}

// TestTheRunsIdIsNotInWhatAPersonReads: it is a UUID, and says nothing to them.
func TestTheRunsIdIsNotInWhatAPersonReads(t *testing.T) {
	const id = "1135a348-cb17-4642-91fd-fcf2625c1d7f"
	logged := func(stderr io.Writer) {
		a := newApp(program{stderr: stderr}, nil)
		a.logRun(id)
		logger, err := a.logger("text", "info")
		if err != nil {
			t.Fatal(err)
		}
		logger.Warn("the index is slow", "hint", "wait")
	}
	tty, master := terminalOf(t)
	logged(tty)
	seen := make([]byte, 1000)
	n, err := master.Read(seen)
	if text := string(seen[:n]); err != nil || !strings.Contains(text, "warning: the index is slow") || strings.Contains(text, id) {
		t.Errorf("%q, %v", text, err)
	}
	var file bytes.Buffer
	logged(&file)
	if !strings.Contains(file.String(), "run="+id) {
		t.Errorf("%q", file.String())
	}
}

// TestBlocksAreForTheFirstLookOnATerminal: a dry run has them as well, and --detail decides where it is given.
func TestBlocksAreForTheFirstLookOnATerminal(t *testing.T) {
	tty := terminal(t)
	first, later := t.TempDir(), t.TempDir()
	if err := runlog.Append(later, runlog.Run{Job: "pages"}); err != nil {
		t.Fatal(err)
	}
	a := newApp(program{stderr: io.Discard}, nil)
	for name, c := range map[string]struct {
		asked, dir, want string
		quiet, dry, pipe bool
	}{
		"first":                   {dir: first, want: detailFull},
		"later":                   {dir: later, want: detailCompact},
		"first, not seen":         {dir: first, pipe: true, want: detailCompact},
		"later, blocks asked for": {dir: later, asked: detailFull, want: detailFull},
		"first, compact":          {dir: first, asked: detailCompact, want: detailCompact},
		"quiet":                   {dir: first, quiet: true, want: detailLast},
		"a dry run":               {dir: later, dry: true, pipe: true, want: detailFull},
		"a quiet dry run":         {dir: later, dry: true, quiet: true, want: detailLast},
	} {
		cfg := &config.Config{Name: "pages"}
		cfg.Run.StateDir, cfg.Run.DryRun = c.dir, c.dry
		var out io.Writer = tty
		if c.pipe {
			out = &bytes.Buffer{}
		}
		if got := a.detailOf(cmp.Or(c.asked, detailAuto), c.quiet, cfg, out); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
