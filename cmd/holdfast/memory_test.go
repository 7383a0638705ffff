//go:build linux

package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Memory is locked where the system allows it; where a limit would end the process later, it is refused with what to do.
// It runs in a process of its own.
func TestLockMemory(t *testing.T) {
	if os.Getenv("HOLDFAST_TEST_LOCK") != "" {
		_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20})
		allowed := mayLockMemory()
		switch err := lockMemory(); {
		case err == nil && !allowed:
			t.Error("memory is locked under a finite limit")
		case err != nil && !allowed && !strings.Contains(err.Error(), "LimitMEMLOCK=infinity"):
			t.Error(err)
		}
		if allowed {
			block := make([]byte, 4<<20)
			for i := range block {
				block[i] = 1
			}
			status, err := os.ReadFile("/proc/self/status")
			if err == nil && strings.Contains(string(status), "VmLck:\t       0 kB") {
				t.Error("no memory is locked")
			}
		}
		return
	}
	child := exec.Command(os.Args[0], "-test.run=TestLockMemory")
	child.Env = append(os.Environ(), "HOLDFAST_TEST_LOCK=1")
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
