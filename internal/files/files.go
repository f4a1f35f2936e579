// Package files says why a file or folder that somebody named can't be read or written, and what to do about it.
package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/wholefile"
)

// ReadError is the error of reading what stands at a path, such as "the report".
func ReadError(what, path string, err error) error {
	said := func(why error) error { return fmt.Errorf("reading %s %s: %w", what, path, why) }
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return syncd.Hint(said(missing("there is no such file or folder")), "check the name; a relative one starts from the folder that syncd runs in")
	case errors.Is(err, fs.ErrPermission):
		return syncd.Hint(said(reason(err)), "have its owner let this user read it")
	}
	return said(reason(err))
}

// WriteError is the error of writing what is to stand at a path. The file that err names is often another, which would have been renamed.
func WriteError(what, path string, err error) error {
	said := func(why error) error { return fmt.Errorf("writing %s %s: %w", what, path, why) }
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return syncd.Hint(said(missing("there is no such folder")), "make the folder first")
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return syncd.Hint(said(reason(err)), "name another place, or let this user write to that folder")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return syncd.Hint(said(reason(err)), "free some space there, or name another place")
	}
	return said(reason(err))
}

// Writable says early whether a file can be made at a path, or written to that is there, with an error as of WriteError.
func Writable(what, path string) error {
	if info, err := os.Stat(path); err == nil {
		if info.IsDir() {
			return syncd.Hint(fmt.Errorf("writing %s: %s is a folder", what, path), "name a file in it")
		}
		if !info.Mode().IsRegular() {
			return nil
		}
	}
	f, err := os.CreateTemp(filepath.Dir(path), wholefile.Part)
	if err != nil {
		return WriteError(what, path, err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// missing is fs.ErrNotExist, said of what is missing.
type missing string

func (m missing) Error() string { return string(m) }

// Unwrap has errors.Is recognise it.
func (m missing) Unwrap() error { return fs.ErrNotExist }

// reason is what the system says, without the operation and the name of the file.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err
	}
	return err
}
