package job

import (
	"bytes"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	"github.com/syncd-io/syncd/config"
)

// TestNoStateOnADiskThatIsOnlyRead, as in a container whose root is: where nobody chose the place, a run works without it.
func TestNoStateOnADiskThatIsOnlyRead(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_RDONLY, ""); err != nil {
		t.Skipf("mounting a disk that is only read: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	var log bytes.Buffer
	j := &Job{Config: &config.Config{Name: "job"}, Logger: slog.New(slog.NewTextHandler(&log, nil)), Getenv: func(name string) string {
		return map[string]string{"XDG_STATE_HOME": dir}[name]
	}}
	if st, err := j.openBolt(false); st != nil || err != nil || !strings.Contains(log.String(), "no state is kept") {
		t.Errorf("%v, %v, %s", st, err, log.String())
	}
	j.Config.Run.StateDir = dir
	if _, err := j.openBolt(false); err == nil {
		t.Error("a place that was chosen is passed over")
	}
}
