package vmtest

import "syscall"

// Freeze stops a process that the test started, which then holds its sockets open and answers nothing.
func Freeze(pid int) error { return syscall.Kill(pid, syscall.SIGSTOP) }
