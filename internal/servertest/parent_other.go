//go:build !linux

package servertest

import "os/exec"

// dieWithParent can do nothing here: a test process that is killed leaves its servers running.
func dieWithParent(*exec.Cmd) {}
