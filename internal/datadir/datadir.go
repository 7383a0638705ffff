// Package datadir owns the data directory of a member: what lies in it, who may open it, how it is made and how
// one store in it takes the place of another.
//
// The layout:
//
//	LOCK           held by the process that has the directory open; empty
//	FORMAT         what this is and whose: format version, identity, name of the member
//	STORE          the name of the current store directory, for example store-1
//	INITIALISING   only while the directory is being made: what to remove if that is not finished
//	QUARANTINE     only while the current store is known to be wrong: why, drawn at Quarantine
//	log/           the Raft log (package wal)
//	store-N/       a store (package store); N grows, one of them is current
//	scratch/       files of a moment, such as a snapshot for a client; removed when the directory is opened
//	*.tmp          FORMAT, STORE, QUARANTINE or INITIALISING about to be renamed; removed when the directory is opened
//
// FORMAT, STORE and INITIALISING are text, so that a person can read them. Each is written whole to a temporary
// file, synced, renamed, and the directory synced:
//
//	+------------------------------------+
//	| holdfast data directory            |  magic line, one for each of the three files
//	| format 1                           |  format version of the directory
//	| cluster 1f2e3d4c5b6a7988           |  lines of the file's own, here those of FORMAT:
//	| member 8877665544332211            |    hexadecimal numbers
//	| incarnation 102030405060708        |
//	| name "alpha"                       |    a Go string literal
//	| checksum 9b2c6e51                  |  CRC-32C of everything before this line, hexadecimal
//	+------------------------------------+
//
// The magic line, the format line and the checksum line are the same in every format version, so that an old
// program can tell a newer directory from a broken one.
//
// Invariants:
//
//	D1  FORMAT exists only when log, STORE and the store it names are complete and synced. It is written last.
//	D2  A directory without FORMAT but with INITIALISING holds nothing that was ever acknowledged, and is begun anew.
//	    A directory without both that holds a log or a store is refused, never begun anew.
//	D3  STORE names a store directory that was complete and synced before STORE named it.
//	D4  Whoever works in the directory holds LOCK. Before it is held nothing in the directory is changed.
//	D5  Nothing that is not in the layout is ever touched. In an etcd data directory nothing is created.
//
// Use:
//
//	d, err := datadir.Open(vfs.Default, path, datadir.Options{Modes: datadir.OSModes()})
//	if d.Fresh() {
//		err = d.Init(identity, name, makeLogAndStore)
//	}
//	defer d.Close()
package datadir

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/invariant"
	"holdfast/internal/kind"
)

// FormatVersion is the format version of the directories that this program makes, and the newest that it opens.
const FormatVersion = 1

const (
	lockName       = "LOCK"
	formatName     = "FORMAT"
	storeName      = "STORE"
	markerName     = "INITIALISING"
	quarantineName = "QUARANTINE"
	logName        = "log"
	scratchName    = "scratch"
	tmpSuffix      = ".tmp"
)

// Options say how a directory is opened.
type Options struct {
	// Modes reads and changes permissions. The zero value leaves them alone, for file systems that have none.
	Modes Modes
	// StrictPermissions refuses a directory that other users may access, instead of warning.
	StrictPermissions bool
	// ReadOnly opens only a directory that exists, and changes nothing in it but LOCK: neither the remains of an
	// interrupted Init nor temporary files are removed. Init and everything about stores is then out of bounds.
	ReadOnly bool
}

// Dir is an open data directory. It has one owner; its methods must not run at the same time.
type Dir struct {
	fs       vfs.FS
	path     string
	options  Options
	lock     io.Closer
	warnings []string
	foreign  []string

	fresh    bool
	identity kind.Identity
	name     string
	store    string
}

// Path returns the path that the directory was opened by.
func (d *Dir) Path() string { return d.path }

// Warnings returns sentences about what the operator should know: permissions open to others, files that do not
// belong there.
func (d *Dir) Warnings() []string { return d.warnings }

// Foreign returns the names in the directory that are not of its layout, in order. They are left alone (D5).
func (d *Dir) Foreign() []string { return d.foreign }

// Fresh reports whether the directory has yet to be made by Init.
func (d *Dir) Fresh() bool { return d.fresh }

// Identity returns whose data this is. It must not be called on a fresh directory.
func (d *Dir) Identity() kind.Identity {
	d.mustBeMade()
	return d.identity
}

// Name returns the name that the member had when the directory was made. It must not be called on a fresh directory.
func (d *Dir) Name() string {
	d.mustBeMade()
	return d.name
}

// LogDir returns the path of the log's directory.
func (d *Dir) LogDir() string { return d.join(logName) }

// ScratchDir returns the path of the directory for files of a moment. Whoever uses it makes it and removes it; what a crash
// leaves is removed when the directory is opened.
func (d *Dir) ScratchDir() string { return d.join(scratchName) }

// StoreDir returns the path of the current store's directory. It must not be called on a fresh directory.
func (d *Dir) StoreDir() string {
	d.mustBeMade()
	return d.join(d.store)
}

// Close gives the directory up. Log and store must be closed before.
func (d *Dir) Close() error {
	if err := d.lock.Close(); err != nil {
		return fmt.Errorf("release the lock of the data directory %s: %w", d.path, err)
	}
	return nil
}

func (d *Dir) mustBeMade() {
	invariant.Check(!d.fresh, "the data directory %s has not been made yet", d.path)
}

func (d *Dir) mustBeWritable() {
	invariant.Check(!d.options.ReadOnly, "the data directory %s is open for reading only", d.path)
}

func (d *Dir) join(name string) string { return d.fs.PathJoin(d.path, name) }

func (d *Dir) warn(format string, args ...any) {
	d.warnings = append(d.warnings, fmt.Sprintf(format, args...))
}

func nameOfStore(n uint64) string { return "store-" + strconv.FormatUint(n, 10) }

// storeNumber reads the number of a store directory's name. The only accepted form is the one of nameOfStore.
func storeNumber(name string) (n uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, "store-")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	return n, err == nil && n > 0 && nameOfStore(n) == name
}
