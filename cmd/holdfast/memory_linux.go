package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// lockMemory keeps all memory of the process, also that which it gets later, out of the swap space. Pages are locked when
// they are first used: what the runtime has reserved and not touched takes none.
//
// A process whose limit of locked memory is finite could be ended by it at any later moment, so it is refused.
func lockMemory() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return fmt.Errorf("ask for the limit of locked memory: %w", err)
	}
	if limit.Cur != unix.RLIM_INFINITY && !mayLockMemory() {
		return errors.New("the limit of locked memory is finite, and would end the member when it is reached: raise it to unlimited " +
			"(LimitMEMLOCK=infinity in systemd, ulimit -l unlimited), give the process CAP_IPC_LOCK, or leave the flag out")
	}
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("lock the memory of the process: %w", err)
	}
	return nil
}

// mayLockMemory reports whether the process has CAP_IPC_LOCK, for which there is no limit.
func mayLockMemory() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_IPC_LOCK) != 0
}
