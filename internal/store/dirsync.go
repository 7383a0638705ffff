package store

import (
	"fmt"
	"runtime"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guardedFS is the file system that Pebble is given. Where the sync of a directory fails Pebble panics, in places on
// goroutines of its own, and the process would end without a word; here the failure takes the way of Pebble's other
// fatal ones.
type guardedFS struct {
	vfs.FS
	alarm *alarm
}

// OpenDir implements vfs.FS.
func (g guardedFS) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return guardedDir{f, name, g.alarm}, nil
}

type guardedDir struct {
	vfs.File
	name  string
	alarm *alarm
}

// Sync implements vfs.File.
func (d guardedDir) Sync() error {
	if err := d.File.Sync(); err != nil {
		d.alarm.fatal(fmt.Errorf("sync the directory %s: %w", d.name, err))
	}
	return nil
}

// fatal tells the owner of a failure after which Pebble's state is in pieces, and ends the caller: a goroutine of
// Pebble's own quietly, so that its locks are released and nothing is done after the failure; one of ours by a panic
// with a Failure, which the machine and Open recover.
func (a *alarm) fatal(err error) {
	if onPebbleGoroutine() {
		a.mu.Lock()
		a.mu.wrecked = true
		a.mu.Unlock()
		a.raise(err)
		runtime.Goexit()
	}
	a.raise(err)
	panic(Failure{err})
}
