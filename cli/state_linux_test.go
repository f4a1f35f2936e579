package cli

import (
	"bytes"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/pipeline"
	"github.com/syncd-io/syncd/state"
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
	a := &app{program: program{environ: []string{"XDG_STATE_HOME=" + dir}}}
	cfg := &config.Config{Run: config.Run{Resume: true}}
	job := state.Info{Job: "db", Fingerprint: "f"}
	st, err := a.openState(cfg, session{}, job, new(bool), &pipeline.Options{}, slog.New(slog.NewTextHandler(&log, nil)))
	if st != nil || err != nil || !strings.Contains(log.String(), "no state is kept") {
		t.Errorf("%v, %v, %s", st, err, log.String())
	}
	cfg.Run.StateDir = dir
	if _, err := a.openState(cfg, session{}, job, new(bool), &pipeline.Options{}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a place that was chosen is passed over")
	}
}
