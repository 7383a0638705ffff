package store

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// Refusals to open a store. Each comes wrapped in a sentence that says what to do.
var (
	ErrAbsent     = errors.New("there is no store in this directory")
	ErrUnfinished = errors.New("the store was never finished: the power failed or the process ended while it was being created")
	ErrIdentity   = errors.New("the store belongs to another member or another life of it")
	ErrNewer      = errors.New("the store was written by a newer version of Holdfast")
	ErrLocked     = errors.New("another process holds the store")
)

// Corruption says that bytes on disk are not what was written. The member that meets one stops (I4).
type Corruption struct {
	File   string // the broken file; empty if it is not known
	Offset int64  // where in the file the broken block begins; -1 if it is not known
	Err    error  // what was found
}

func (c *Corruption) Error() string {
	found, _, _ := strings.Cut(c.Err.Error(), "\n") // Pebble appends lines that carry its own details
	switch {
	case c.File == "":
		return fmt.Sprintf("the store is damaged: %s", found)
	case c.Offset < 0:
		return fmt.Sprintf("the store is damaged in file %s: %s", c.File, found)
	}
	return fmt.Sprintf("the store is damaged in file %s at offset %d: %s", c.File, c.Offset, found)
}

// Unwrap returns what was found.
func (c *Corruption) Unwrap() error { return c.Err }

// corrupted returns a Corruption in no known file.
func corrupted(format string, args ...any) error {
	return &Corruption{Offset: -1, Err: fmt.Errorf(format, args...)}
}

// Failure is what a read or a write of the store panics with while an entry is applied: Apply has no error to
// return, since a disk that fails is not an answer to a command. The machine recovers it at one place and the
// member stops.
type Failure struct{ Err error }

// Error returns the message of the error within.
func (f Failure) Error() string { return f.Err.Error() }

// Unwrap returns the error within.
func (f Failure) Unwrap() error { return f.Err }

// Must panics with a Failure that says what was being done, unless err is nil.
func Must(doing string, err error) {
	if err != nil {
		Fail(doing, err)
	}
}

// Fail panics with a Failure that says what was being done. It does not return.
func Fail(doing string, err error) { panic(Failure{readFailure(doing, err)}) }

// Recovered turns what recover() returned into an error if it is a Failure, and panics again with everything
// else. It returns nil for nil. Use: defer func() { if e := store.Recovered(recover()); e != nil { err = e } }().
func Recovered(r any) error {
	switch f := r.(type) {
	case nil:
		return nil
	case Failure:
		return f.Err
	}
	panic(r)
}

// WrapRead adds what was being done to an error of Pebble and turns corruption into a *Corruption. It returns nil
// for nil.
func WrapRead(doing string, err error) error {
	if err == nil {
		return nil
	}
	return readFailure(doing, err)
}

func readFailure(doing string, err error) error {
	return fmt.Errorf("%s: %w", doing, asCorruption(err))
}

// asCorruption gives Pebble's corruption errors our own kind, with file and offset where Pebble says them.
func asCorruption(err error) error {
	var c *Corruption
	if errors.As(err, &c) || !pebble.IsCorruptionError(err) {
		return err
	}
	c = &Corruption{Offset: -1, Err: err}
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		c.File = info.Path
	}
	c.Offset = blockOffset(err)
	return c
}
