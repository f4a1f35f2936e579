//go:build !linux

package sandbox

import "syscall"

// tied are the attributes of a child that Ctrl-C does not reach.
func tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
