package cli

import (
	"errors"
	"os"
	"runtime"
	"syscall"
)

// processAlive reports whether a process of this machine lives. Where the system does not tell, it does.
func processAlive(pid int) bool {
	if runtime.GOOS == "windows" {
		return true
	}
	p, err := os.FindProcess(pid)
	if err != nil || pid <= 0 {
		return false
	}
	defer p.Release() //nolint:errcheck // nothing is left of it
	err = p.Signal(syscall.Signal(0))
	return err == nil || errors.Is(err, syscall.EPERM)
}
