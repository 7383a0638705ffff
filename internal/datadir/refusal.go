package datadir

import (
	"errors"
	"fmt"
)

// The reasons for which a data directory is not opened. Open returns errors that are one of them by errors.Is and
// whose text says what to do.
var (
	// ErrLocked means that another process has the directory open.
	ErrLocked = errors.New("data directory is in use")
	// ErrNewerFormat means that a newer program made the directory.
	ErrNewerFormat = errors.New("data directory has a newer format")
	// ErrEtcd means that the directory belongs to etcd.
	ErrEtcd = errors.New("data directory belongs to etcd")
	// ErrUnpaired means that a log has no store or a store no log.
	ErrUnpaired = errors.New("log and store of the data directory do not belong together")
	// ErrNoFormat means that there are a log or a store but no FORMAT file.
	ErrNoFormat = errors.New("data directory has no FORMAT file")
	// ErrCorrupt means that a file is not as it was written. The error is a *Corruption.
	ErrCorrupt = errors.New("data directory is damaged")
	// ErrNotDirectory means that the path is a file.
	ErrNotDirectory = errors.New("data directory is not a directory")
	// ErrMissing means that there is no directory to open for reading only.
	ErrMissing = errors.New("data directory does not exist")
	// ErrPermissions means that other users may access the directory and StrictPermissions is set.
	ErrPermissions = errors.New("data directory is open to other users")
)

// refusal is a sentence for people that is also one of the sentinels above.
type refusal struct {
	kind error
	text string
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.kind }

func refuse(kind error, format string, args ...any) error {
	return &refusal{kind: kind, text: fmt.Sprintf(format, args...)}
}

// Corruption is a file of the directory whose bytes are not those that were written.
type Corruption struct {
	// File is the path of the file.
	File string
	// Offset is where in the file the damage was noticed, in bytes.
	Offset int64
	// What says what is wrong there: a clause.
	What string
}

func (c *Corruption) Error() string {
	return fmt.Sprintf("%s is damaged at offset %d: %s. Do not change anything in the data directory; restore the "+
		"member from a backup, or remove it from its cluster and let it join anew.", c.File, c.Offset, c.What)
}

// Is makes a Corruption an ErrCorrupt.
func (c *Corruption) Is(target error) bool { return target == ErrCorrupt }
