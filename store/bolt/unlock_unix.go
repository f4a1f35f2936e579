//go:build unix

package bolt

import (
	"os"
	"syscall"
)

// unlock lets go of a file that bbolt holds and has lost. To close it is not enough, since it is still mapped into memory.
func unlock(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) // as bbolt does it; it may be closed already
	_ = f.Close()
}
