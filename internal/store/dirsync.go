package store

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guardedFS is the file system that Pebble is given. It does three things for it.
//
// Where the sync of a directory fails Pebble panics, in places on goroutines of its own, and the process would end
// without a word; here the failure takes the way of Pebble's other fatal ones.
//
// Pebble's markers are empty files whose names say which manifest is current. Pebble makes the manifest and the new
// marker, removes the old marker, and syncs the directory once, at the end. A power cut before that may leave a marker
// without its manifest, or no marker, wherever the entries of a directory may survive one by one. So the directory is
// synced before a marker is made, and before one is removed.
//
// A flush or compaction that has failed is begun anew by Pebble in the same moment, for as long as the store is open,
// although nobody will ever use what comes of it. So no table is made in a store that has failed: who wants to make one
// waits for the closing.
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

// Create implements vfs.FS.
func (g guardedFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := g.alarm.failed(); err != nil && strings.HasSuffix(name, ".sst") {
		<-g.alarm.closing
		return nil, err
	}
	if err := g.beforeMarker(name); err != nil {
		return nil, err
	}
	return g.FS.Create(name, category)
}

// Remove implements vfs.FS.
func (g guardedFS) Remove(name string) error {
	if err := g.beforeMarker(name); err != nil {
		return err
	}
	return g.FS.Remove(name)
}

// beforeMarker syncs the directory if name is a marker's.
func (g guardedFS) beforeMarker(name string) error {
	if !strings.HasPrefix(g.PathBase(name), "marker.") {
		return nil
	}
	d, err := g.OpenDir(g.PathDir(name))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
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
