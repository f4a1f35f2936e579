package cli

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/syncd-io/syncd/config"
)

// terminal opens one that nobody looks at.
func terminal(t *testing.T) *os.File {
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
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("this machine gives no pseudo-terminal: %v", err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	return tty
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
