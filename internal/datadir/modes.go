package datadir

import (
	"fmt"
	"os"
)

// Modes reads and changes the permissions of files. vfs.FS knows none, so they come beside it.
type Modes struct {
	// Get returns the mode of a file or directory.
	Get func(path string) (os.FileMode, error)
	// Set changes the permissions of a file or directory.
	Set func(path string, mode os.FileMode) error
}

// OSModes returns the Modes of the operating system's files, which belong with vfs.Default.
func OSModes() Modes {
	return Modes{
		Get: func(path string) (os.FileMode, error) {
			info, err := os.Stat(path)
			if err != nil {
				return 0, err
			}
			return info.Mode(), nil
		},
		Set: os.Chmod,
	}
}

// checkModes warns about, or refuses, a directory that others may access.
func (d *Dir) checkModes() error {
	if d.options.Modes.Get == nil {
		return nil
	}
	mode, err := d.options.Modes.Get(d.path)
	if err != nil {
		return fmt.Errorf("read the permissions of the data directory %s: %w", d.path, err)
	}
	if mode.Perm()&0o077 == 0 {
		return nil
	}
	sentence := fmt.Sprintf("The data directory %s is open to other users (its mode is %04o): run \"chmod 700 %s\".", d.path, mode.Perm(), d.path)
	if d.options.StrictPermissions {
		return refuse(ErrPermissions, "%s With --strict-permissions the member does not start before that.", sentence)
	}
	d.warn("%s", sentence)
	return nil
}

// narrow takes a file that this package made away from other users, where that is possible: some file systems have no
// permissions, and the directory guards the file in any case.
func (d *Dir) narrow(path string) {
	if d.options.Modes.Set != nil {
		_ = d.options.Modes.Set(path, 0o600)
	}
}
