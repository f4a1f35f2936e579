//go:build !unix

package file

import "io/fs"

func inode(fs.FileInfo) string { return "" }
