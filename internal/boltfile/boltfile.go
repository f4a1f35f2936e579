// Package boltfile makes errors of what a damaged or busy bbolt file does to a program.
//
// bbolt trusts the file that it maps into memory, so that a damaged one makes it panic or read memory that is not there.
// Whatever works on a file runs in [Guarded], which returns both as errors.
package boltfile

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	bolterrors "go.etcd.io/bbolt/errors"
)

// ErrDamaged says that the file does not hold what it should.
var ErrDamaged = errors.New("it does not hold what it should")

// Guarded runs f, which works on a file.
func Guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, r)
		}
	}()
	return f()
}

// IsDamaged reports whether err means that the file is not a whole one.
func IsDamaged(err error) bool {
	return slices.ContainsFunc([]error{
		ErrDamaged, bolterrors.ErrInvalid, bolterrors.ErrVersionMismatch, bolterrors.ErrChecksum,
		bolterrors.ErrBucketExists, bolterrors.ErrBucketNotFound, bolterrors.ErrIncompatibleValue,
	}, func(e error) bool { return errors.Is(err, e) })
}

// IsBusy reports whether err means that another process holds the file.
func IsBusy(err error) bool { return errors.Is(err, bolterrors.ErrTimeout) }
