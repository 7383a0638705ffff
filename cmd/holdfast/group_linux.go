package main

import "syscall"

// ownGroup keeps the terminal's signals from a process, and ends it when this one ends however that may be.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
