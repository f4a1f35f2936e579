//go:build !unix

package bolt

import "os"

// unlock lets go of a file that bbolt holds and has lost.
func unlock(f *os.File) { _ = f.Close() }
