// Package panics turns a panic of a goroutine into an error, so that a fault in one job does not end the process, in which others run.
package panics

import (
	"fmt"
	"runtime/debug"
)

// Error is a panic that was caught.
type Error struct {
	Value any
	Stack []byte
}

func (e *Error) Error() string {
	return fmt.Sprintf("a plugin, or syncd itself, has a fault: panic: %v", e.Value)
}

// Caught returns f, whose panic is an *Error. It is for the start of a goroutine.
func Caught(f func() error) func() error {
	return func() (err error) {
		defer func() {
			if value := recover(); value != nil {
				err = &Error{value, debug.Stack()}
			}
		}()
		return f()
	}
}
