package bolt

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/store"
)

// The lock of a file does not say who holds it: a second file beside it does.
func ownerPath(path string) string { return path + ".owner" }

func writeOwner(path string, owner store.Info) error {
	text, err := json.Marshal(owner)
	if err != nil {
		return err
	}
	return os.WriteFile(ownerPath(path), append(text, '\n'), 0o600)
}

func readOwner(path string) (owner store.Info) {
	if text, err := os.ReadFile(ownerPath(path)); err == nil {
		_ = json.Unmarshal(text, &owner) // one that is not whole says nothing
	}
	return owner
}

// BusyError says that another process works on the job.
type BusyError struct {
	Path  string
	PID   int // 0 is not known
	Host  string
	Since time.Time
}

func (e *BusyError) Error() string {
	if e.PID == 0 {
		return "another run of this job is under way"
	}
	return fmt.Sprintf("another run of this job is under way: process %d on %s, since %s", e.PID, e.Host, e.Since.UTC().Format("2006-01-02 15:04:05 UTC"))
}

func busy(path string) error {
	owner := readOwner(path)
	e := &BusyError{Path: path, PID: owner.PID, Host: owner.Host, Since: owner.Started}
	return syncd.Hint(e, "wait for it to end, or stop it; two runs of one job would send everything twice")
}
