package servertest

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the kernel kill the process when this one ends, even by SIGKILL. (To the kernel the parent is
// the thread that starts the process; Go ends a thread only with a goroutine that is locked to it, so a test that
// locks its goroutine must not start servers on it.)
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
