package wal

import (
	"errors"
	"fmt"
)

// Refusals of the log. Each comes wrapped in a sentence for the operator.
var (
	// ErrNoLog says that the directory holds no log.
	ErrNoLog = errors.New("there is no log")
	// ErrExists says that Create found a log where it was to make one.
	ErrExists = errors.New("a log exists already")
	// ErrIdentity says that the log belongs to another cluster, member or incarnation than the store beside it.
	ErrIdentity = errors.New("the log belongs to another data directory")
	// ErrNewerFormat says that a later version of Holdfast wrote the log.
	ErrNewerFormat = errors.New("the log has a newer format")
	// ErrTooLarge says that an entry is longer than MaxEntryBytes. Nothing of its group was appended.
	ErrTooLarge = errors.New("the entry is too large for the log")
	// ErrClosed says that the log was closed.
	ErrClosed = errors.New("the log is closed")
)

// Corruption is the error for bytes that are not what was written and synced. It is never repaired silently; the
// member must stop.
type Corruption struct {
	File   string // path of the damaged or missing file
	Offset int64  // where in it, in bytes
	Reason string // what was found there
}

func (c *Corruption) Error() string {
	return fmt.Sprintf("the log file %s is damaged at offset %d: %s. Nothing was changed. In a cluster, remove this "+
		"member and add it again with an empty data directory; a single member is restored from a backup. "+
		"\"holdfast inspect wal\" shows what is left, and its --cut, as the last resort, drops everything from there on",
		c.File, c.Offset, c.Reason)
}
