package datadir

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Open opens the data directory at path, makes it if it does not exist, and holds its lock until Close. What an
// interrupted Init left is removed (D2); an interrupted SwitchStore counts as done or as never begun (D3).
//
// Refusals are the sentinels of this package, with a sentence that says what to do; damage is a *Corruption;
// everything else is a failure of the file system. After an error nothing is held.
func Open(fs vfs.FS, path string, options Options) (*Dir, error) {
	d := &Dir{fs: fs, path: path, options: options}
	if err := d.makeDirectory(); err != nil {
		return nil, err
	}
	if err := d.refuseEtcd(); err != nil {
		return nil, err
	}
	if err := d.checkModes(); err != nil {
		return nil, err
	}
	if err := d.takeLock(); err != nil {
		return nil, err
	}
	if err := d.look(); err != nil {
		return nil, errors.Join(err, d.lock.Close())
	}
	return d, nil
}

// makeDirectory makes the directory and its missing parents durable. An existing one is left as it is.
func (d *Dir) makeDirectory() error {
	info, err := d.fs.Stat(d.path)
	switch {
	case err == nil && !info.IsDir():
		return refuse(ErrNotDirectory, "%s is a file, but must be a directory: give --data-dir another path.", d.path)
	case err == nil:
		return nil
	case !oserror.IsNotExist(err):
		return fmt.Errorf("look at the data directory %s: %w", d.path, err)
	case d.options.ReadOnly:
		return refuse(ErrMissing, "There is no data directory at %s: check --data-dir.", d.path)
	}
	var changed []string // The directories that get a new entry.
	for missing := d.path; ; {
		parent := d.fs.PathDir(missing)
		changed = append(changed, parent)
		_, err := d.fs.Stat(parent)
		if err == nil || parent == missing {
			break
		}
		if !oserror.IsNotExist(err) {
			return fmt.Errorf("look at %s, above the data directory: %w", parent, err)
		}
		missing = parent
	}
	if err := d.fs.MkdirAll(d.path, 0o700); err != nil {
		return fmt.Errorf("make the data directory %s: %w", d.path, err)
	}
	for _, parent := range changed {
		if err := syncDir(d.fs, parent); err != nil {
			return err
		}
	}
	return nil
}

// refuseEtcd looks for what only etcd makes, before anything is written (D5).
func (d *Dir) refuseEtcd() error {
	for _, name := range []string{"snap", "wal"} {
		found := d.fs.PathJoin(d.path, "member", name)
		_, err := d.fs.Stat(found)
		if err == nil {
			return refuse(ErrEtcd, "%s is the data directory of an etcd member (it holds member/%s). Holdfast does not open "+
				"it and has changed nothing in it. \"holdfast import %s --data-dir=...\" makes a member of it, with all revisions; "+
				"give --data-dir that directory, or another path.", d.path, name, d.path)
		}
		if !oserror.IsNotExist(err) && !isNotDirectory(err) {
			return fmt.Errorf("look at %s: %w", found, err)
		}
	}
	return nil
}

// isNotDirectory reports that a part of a path is a file, in the words of the system or of vfs.MemFS.
func isNotDirectory(err error) bool {
	var p *os.PathError
	return errors.Is(err, syscall.ENOTDIR) || errors.As(err, &p) && p.Err.Error() == "not a directory"
}

func (d *Dir) takeLock() error {
	name := d.join(lockName)
	lock, err := d.fs.Lock(name)
	if err == nil {
		d.lock = lock
		d.narrow(name)
		return nil
	}
	if isHeld(err) {
		return refuse(ErrLocked, "The data directory %s is in use by another process. Stop that process first, or give "+
			"--data-dir another path. The command \"fuser -v %s\" shows which process it is.", d.path, name)
	}
	return fmt.Errorf("lock %s: %w", name, err)
}

// isHeld tells a lock that is taken from a lock file that cannot be made: fcntl answers a bare EAGAIN or EACCES, and
// pebble refuses a second lock of the same process in words of its own.
func isHeld(err error) bool {
	var p *os.PathError
	if errors.As(err, &p) {
		return false
	}
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) || err.Error() == "lock held by current process"
}

// look finds out what the directory holds and brings it into one of two states: fresh, or complete.
func (d *Dir) look() error {
	names, err := d.fs.List(d.path)
	if err != nil {
		return fmt.Errorf("list the data directory %s: %w", d.path, err)
	}
	slices.Sort(names)
	d.warnOfForeign(names)
	has := func(name string) bool { return slices.Contains(names, name) }
	if err := d.removeTemporary(names); err != nil {
		return err
	}
	switch {
	case has(formatName):
		return d.lookInside(names)
	case has(markerName):
		d.fresh = true
		return d.beginAnew()
	case has(logName) || has(storeName) || slices.ContainsFunc(names, isStoreName):
		return refuse(ErrNoFormat, "%s holds a log or a store but no file FORMAT, so it cannot be told whose data it is. If "+
			"FORMAT was lost in copying, copy the directory again; if the data is not needed, give --data-dir an empty "+
			"directory.", d.path)
	}
	d.fresh = true
	return nil
}

// lookInside opens a directory that has FORMAT and is therefore complete, or damaged (D1).
func (d *Dir) lookInside(names []string) error {
	content, _, err := d.readSealed(formatName)
	if err != nil {
		return err
	}
	if d.identity, d.name, err = decodeFormat(d.join(formatName), content); err != nil {
		return err
	}
	hasLog, hasStore := slices.Contains(names, logName), slices.ContainsFunc(names, isStoreName)
	switch {
	case hasStore && !hasLog:
		return refuse(ErrUnpaired, "%s holds a store but no log. What was acknowledged last is only in the log, so the member "+
			"does not start with the store alone. Bring the directory log back, or restore the member from a backup.", d.path)
	case hasLog && !hasStore:
		return refuse(ErrUnpaired, "%s holds a log but no store. The log does not go back to the beginning, so the member does "+
			"not start with it alone. Bring the directory store-N back, or restore the member from a backup.", d.path)
	case !hasLog:
		return refuse(ErrUnpaired, "%s holds neither a log nor a store, but its file FORMAT says that it did. Bring both back, or "+
			"restore the member from a backup.", d.path)
	}
	content, exists, err := d.readSealed(storeName)
	if err != nil {
		return err
	}
	if !exists {
		return refuse(ErrUnpaired, "%s holds no file STORE, so it cannot be told which of its stores is current. Bring the file "+
			"back, or restore the member from a backup.", d.path)
	}
	if d.store, err = decodeStore(d.join(storeName), content); err != nil {
		return err
	}
	if !slices.Contains(names, d.store) {
		return refuse(ErrUnpaired, "%s holds no directory %s, which its file STORE names as the current store. Bring the "+
			"directory back, or restore the member from a backup.", d.path, d.store)
	}
	if slices.Contains(names, markerName) && !d.options.ReadOnly {
		return d.removeMarker()
	}
	return nil
}

func isStoreName(name string) bool {
	_, ok := storeNumber(name)
	return ok
}

func isTemporary(name string) bool {
	return name == formatName+tmpSuffix || name == storeName+tmpSuffix || name == markerName+tmpSuffix ||
		name == quarantineName+tmpSuffix
}

func (d *Dir) removeTemporary(names []string) error {
	for _, name := range names {
		if name == scratchName && !d.options.ReadOnly {
			if err := d.fs.RemoveAll(d.join(name)); err != nil {
				return fmt.Errorf("remove %s: %w", d.join(name), err)
			}
		}
		if !isTemporary(name) || d.options.ReadOnly {
			continue
		}
		if err := d.fs.Remove(d.join(name)); err != nil {
			return fmt.Errorf("remove %s: %w", d.join(name), err)
		}
	}
	return nil
}

// warnOfForeign names what is not of the layout. The directory lost+found belongs to file systems.
func (d *Dir) warnOfForeign(names []string) {
	own := []string{lockName, formatName, storeName, markerName, quarantineName, logName, scratchName, "lost+found"}
	for _, name := range names {
		if !slices.Contains(own, name) && !isStoreName(name) && !isTemporary(name) {
			d.foreign = append(d.foreign, name)
			d.warn("The data directory %s holds %s, which is not Holdfast's; it is left alone.", d.path, name)
		}
	}
}
