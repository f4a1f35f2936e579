//go:build unix

package file

import (
	"fmt"
	"io/fs"
	"syscall"
)

// inode tells a file from another that has taken its name.
func inode(info fs.FileInfo) string {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf(", inode %d", s.Ino)
	}
	return ""
}
