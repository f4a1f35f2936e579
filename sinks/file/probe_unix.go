//go:build linux || darwin

package file

import "syscall"

// Of access(2), which package syscall does not name.
const (
	mayExecute = 1
	mayWrite   = 2
)

// mayCreateIn asks the system whether a file could be created in a directory.
func mayCreateIn(dir string) error { return syscall.Access(dir, mayWrite|mayExecute) }

// freeSpace is what is left in a directory's file system for users without privileges.
func freeSpace(dir string) (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return s.Bavail * uint64(s.Bsize), nil
}
