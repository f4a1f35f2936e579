package sandbox

import "syscall"

// tied are the attributes of a child that Ctrl-C does not reach, and that ends with its parent, however that ends.
func tied() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
