package datadir

import (
	"errors"
	"fmt"

	"holdfast/internal/invariant"
	"holdfast/internal/kind"
)

// Init makes a fresh directory complete. makeBoth is called with the paths of two empty directories and puts a log
// and a store into them; when it returns, everything that it wrote, directory entries included, must be synced.
//
// When Init returns without an error the directory will survive a power cut as it is. After an error, or a crash at
// any moment before, the next Open finds it fresh or complete (D1, D2); after an error this Dir can only be closed.
func (d *Dir) Init(id kind.Identity, name string, makeBoth func(logDir, storeDir string) error) error {
	d.mustBeWritable()
	invariant.Check(d.fresh, "the data directory %s is made already", d.path)
	invariant.Check(id.Cluster != 0 && id.Member != 0, "a data directory needs an identity, not %v", id)

	first := nameOfStore(1)
	if err := d.writeSealed(markerName, encodeMarker([]string{logName, storeName, first})); err != nil {
		return err
	}
	for _, made := range []string{logName, first} {
		if err := d.fs.MkdirAll(d.join(made), 0o700); err != nil {
			return fmt.Errorf("make %s: %w", d.join(made), err)
		}
	}
	if err := makeBoth(d.join(logName), d.join(first)); err != nil {
		return fmt.Errorf("make log and store in %s: %w", d.path, err)
	}
	// Writing STORE syncs the directory, and with it the entries of log and store, before FORMAT can exist.
	if err := d.writeSealed(storeName, encodeStore(first)); err != nil {
		return err
	}
	if err := d.writeSealed(formatName, encodeFormat(id, name)); err != nil {
		return err
	}
	if err := d.removeMarker(); err != nil {
		return err
	}
	d.fresh, d.identity, d.name, d.store = false, id, name, first
	return nil
}

// beginAnew removes what an interrupted Init left. The marker goes last, after the removal of the rest is durable, so
// that a crash in between leaves it in force.
func (d *Dir) beginAnew() error {
	content, _, err := d.readSealed(markerName)
	if err != nil {
		return err
	}
	names, err := decodeMarker(d.join(markerName), content)
	if err != nil || d.options.ReadOnly {
		return err
	}
	for _, name := range names {
		if err := d.fs.RemoveAll(d.join(name)); err != nil {
			return fmt.Errorf("remove the unfinished %s: %w", d.join(name), err)
		}
	}
	if err := d.sync(); err != nil {
		return err
	}
	return d.removeMarker()
}

func (d *Dir) removeMarker() error {
	if err := d.fs.Remove(d.join(markerName)); err != nil {
		return fmt.Errorf("remove %s: %w", d.join(markerName), err)
	}
	return d.sync()
}

// NextStoreDir makes an empty directory for a store that is to replace the current one, and returns its name and
// path. It becomes current only by SwitchStore; if the program ends before, RemoveStaleStores removes it.
func (d *Dir) NextStoreDir() (name, path string, err error) {
	d.mustBeMade()
	d.mustBeWritable()
	names, err := d.fs.List(d.path)
	if err != nil {
		return "", "", fmt.Errorf("list the data directory %s: %w", d.path, err)
	}
	highest := uint64(0)
	for _, other := range names {
		if n, ok := storeNumber(other); ok {
			highest = max(highest, n)
		}
	}
	name = nameOfStore(highest + 1)
	if err := d.fs.MkdirAll(d.join(name), 0o700); err != nil {
		return "", "", fmt.Errorf("make %s: %w", d.join(name), err)
	}
	return name, d.join(name), nil
}

// SwitchStore makes the named store directory, one of NextStoreDir, the current one. Everything in it must be synced.
// When SwitchStore returns without an error the switch will survive a power cut; after an error or a crash before,
// the next Open finds the old or the new one current (D3), and this Dir can only be closed.
func (d *Dir) SwitchStore(name string) error {
	d.mustBeMade()
	d.mustBeWritable()
	_, ok := storeNumber(name)
	invariant.Check(ok, "%q is not the name of a store directory", name)
	if _, err := d.fs.Stat(d.join(name)); err != nil {
		return fmt.Errorf("switch to the store %s: %w", d.join(name), err)
	}
	if err := d.sync(); err != nil { // The new directory's own entry must be durable before STORE names it.
		return err
	}
	if err := d.writeSealed(storeName, encodeStore(name)); err != nil {
		return err
	}
	d.store = name
	return nil
}

// RemoveStore removes a store directory that is not the current one. No reader may be using it.
func (d *Dir) RemoveStore(name string) error {
	d.mustBeMade()
	d.mustBeWritable()
	_, ok := storeNumber(name)
	invariant.Check(ok && name != d.store, "the store directory %q is current, or none", name)
	if err := d.fs.RemoveAll(d.join(name)); err != nil {
		return fmt.Errorf("remove the old store %s: %w", d.join(name), err)
	}
	return d.sync()
}

// StoreName returns the name of the current store's directory. It must not be called on a fresh directory.
func (d *Dir) StoreName() string {
	d.mustBeMade()
	return d.store
}

// RemoveStaleStores removes every store directory that is not current: one that was never finished, or one that a
// switch left. No reader may be using them.
func (d *Dir) RemoveStaleStores() error {
	d.mustBeMade()
	d.mustBeWritable()
	names, err := d.fs.List(d.path)
	if err != nil {
		return fmt.Errorf("list the data directory %s: %w", d.path, err)
	}
	for _, name := range names {
		if isStoreName(name) && name != d.store {
			err = errors.Join(err, d.fs.RemoveAll(d.join(name)))
		}
	}
	if err != nil {
		return fmt.Errorf("remove old stores in %s: %w", d.path, err)
	}
	return d.sync()
}
