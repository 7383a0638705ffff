// Package store is the Pebble database of a member: its key order, its settings, the two records that say whose it
// is and where it stands, and the ways in which it can fail.
//
// Invariants:
//
//   - S1 Keys are ordered by Comparer, whose name and order are frozen.
//   - S2 A store that Create has returned for, or that Open opens, holds an identity and an applied record.
//   - S3 Pebble runs without its own WAL: what a power cut leaves is what was flushed, and that is always the
//     whole of the batches up to one of them, in the order in which they were committed (I2). Durable reads
//     where that is (I3).
//   - S4 A failed write, flush or sync, or bytes that are not what was written, reach Options.OnFailure; nothing
//     is tried again in the hope that it goes better (I4). The process is never ended from here.
//   - S5 Opening the same bytes with a wrong identity, or a format that is not known, changes nothing on disk
//     that an older or the right opener would miss.
//
// Keys. The last byte n of each is the length of its suffix, that byte included:
//
//	m <name> 00                                  identity, applied, cursors
//	v <user key> 00 | <^revision, 8 BE> 09       a version of a key; the newest comes first
//	h <revision, 8 BE> <sub, 4 BE> 00            what changed, in order
//	l.. a.. n.. x.. 00                           leases, auth, members, alarms
//
// The identity record, all numbers big endian:
//
//	"HFST" | format u32 | cluster u64 | member u64 | incarnation u64 | crc32c u32
//
// The applied record:
//
//	01 | index u64 | term u64 | revision u64 | compacted u64 | digest u64 | elapsed u64 | machine version u32 |
//	live keys u64 | live bytes u64 | versions u64 | crc32c u32
//
// Records whose key begins with m local/ concern one member alone and do not travel with snapshots. One of them is the
// mark of a store that came as a snapshot, m local/adopted:
//
//	01 | index u64 | term u64 | crc32c u32
//
// Use: Create once, Open at every start, write through package batch, read through Pebble's iterators and
// snapshots, Flush when the log has grown, Close.
package store

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/kind"
)

// DB is an open store. Reading and writing are Pebble's own methods; those that DB defines itself take the place of
// Pebble's. It may be used by any number of readers beside one writer.
type DB struct {
	*pebble.DB
	Identity kind.Identity
	fs       vfs.FS
	dir      string
	alarm    *alarm
	readers  readers
	closed   sync.Once
	closeErr error
}

// Create makes a store in dir, which must not hold one, with its parent directories. It holds the identity, an
// applied record at position zero and revision 1, and whatever genesis sets, which may be another applied record;
// genesis may be nil. Everything is durable when Create returns. After a crash in the middle Open says
// ErrUnfinished or ErrAbsent, and the directory may be removed.
func Create(fs vfs.FS, dir string, id kind.Identity, genesis func(set func(key, value []byte)) error) error {
	a := newAlarm(nil)
	p := pebbleOptions(fs, Options{}, a)
	p.ErrorIfExists = true
	db, err := openPebble(dir, p, a)
	if err != nil {
		return fmt.Errorf("create the store %s: %w", dir, err)
	}
	if err := fill(&DB{DB: db, alarm: a}, id, genesis); err != nil {
		return errors.Join(fmt.Errorf("create the store %s: %w", dir, err), a.close(db))
	}
	if err := a.close(db); err != nil {
		return fmt.Errorf("close the new store %s: %w", dir, err)
	}
	return nil
}

// fill writes the first batch and flushes it. The batch is one, so that a store holds all of it or is unfinished.
func fill(db *DB, id kind.Identity, genesis func(set func(key, value []byte)) error) error {
	b := db.NewBatch()
	defer b.Close()
	var failed error
	set := func(key, value []byte) { failed = errors.Join(failed, b.Set(key, value, nil)) }
	set(appliedKey, EncodeApplied(Applied{Revision: 1}))
	if genesis != nil {
		if err := genesis(set); err != nil {
			return err
		}
	}
	set(identityKey, encodeIdentity(FormatVersion, id))
	if failed != nil {
		return failed
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return err
	}
	return db.Flush()
}

// Open opens the store in dir for reading and writing and requires that it is id's. The refusals are ErrAbsent,
// ErrUnfinished, ErrIdentity, ErrNewer and ErrLocked; broken bytes are a *Corruption.
func Open(fs vfs.FS, dir string, id kind.Identity, o Options) (*DB, error) {
	db, err := open(fs, dir, o, false)
	if err != nil {
		return nil, err
	}
	if db.Identity != id {
		found := db.Identity
		return nil, errors.Join(fmt.Errorf("%w: %s is the store of %v, but the log beside it is that of %v; put the directories back "+
			"as they were, or remove this member and add it again", ErrIdentity, dir, found, id), db.Close(false))
	}
	return db, nil
}

// OpenReadOnly opens the store in dir, whoever it belongs to, without changing a byte of it. Writes to it fail.
func OpenReadOnly(fs vfs.FS, dir string, o Options) (*DB, error) { return open(fs, dir, o, true) }

func open(fs vfs.FS, dir string, o Options, readOnly bool) (*DB, error) {
	db, err := openUnverified(fs, dir, o, readOnly)
	if err != nil {
		return nil, err
	}
	if err := db.verify(); err != nil {
		db.Close(false) // what it could say is in err
		return nil, fmt.Errorf("open the store %s: %w", dir, err)
	}
	return db, nil
}

// openUnverified opens the database without looking for the records of a finished store.
func openUnverified(fs vfs.FS, dir string, o Options, readOnly bool) (*DB, error) {
	if err := checkPresent(fs, dir); err != nil {
		return nil, err
	}
	a := newAlarm(o.OnFailure)
	p := pebbleOptions(fs, o, a)
	p.ErrorIfNotExists = true
	p.ReadOnly = readOnly
	pdb, err := openPebble(dir, p, a)
	if err != nil {
		return nil, fmt.Errorf("open the store %s: %w", dir, err)
	}
	return &DB{DB: pdb, fs: fs, dir: dir, alarm: a}, nil
}

// checkPresent refuses a directory without a store before Pebble sees it, because Pebble makes directories even
// when it is told that the store must exist.
func checkPresent(fs vfs.FS, dir string) error {
	desc, err := pebble.Peek(dir, fs)
	switch {
	case err != nil && pebble.IsCorruptionError(err):
		return fmt.Errorf("look at the store %s: %w", dir, asCorruption(err))
	case err == nil && desc.Exists && desc.FormatMajorVersion > FormatMajorVersion,
		err != nil && strings.Contains(err.Error(), "unknown format major version"):
		return fmt.Errorf("%w: the table format of %s is newer than this build writes; start it with that version or a later one", ErrNewer, dir)
	case err != nil && !errors.Is(err, vfs.ErrUnsupported) && !isNotExist(err):
		return fmt.Errorf("look at the store %s: %w", dir, err)
	case err != nil || !desc.Exists:
		return fmt.Errorf("%w: %s", ErrAbsent, dir)
	}
	return nil
}

// verify reads the two records that every finished store has.
func (db *DB) verify() error {
	value, closer, err := db.Get(identityKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return ErrUnfinished
	}
	if err != nil {
		return readFailure("read the identity record", err)
	}
	db.Identity, err = decodeIdentity(value)
	closer.Close()
	if err != nil {
		return err
	}
	if _, err := db.Applied(); err != nil {
		return err
	}
	if v := db.FormatMajorVersion(); v != FormatMajorVersion {
		return fmt.Errorf("%w: its table format is %d, this build writes %d", ErrNewer, v, FormatMajorVersion)
	}
	return nil
}

// Dir returns the directory of the store.
func (db *DB) Dir() string { return db.dir }

// Flush writes everything committed so far into tables and returns when they are durable.
func (db *DB) Flush() error {
	done, err := db.AsyncFlush()
	if err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-db.alarm.raised:
		return db.alarm.failed()
	}
}

// AsyncFlush starts a flush of everything committed so far. The channel is closed when it is durable; a flush that
// fails reaches Options.OnFailure instead, and the channel stays open.
func (db *DB) AsyncFlush() (<-chan struct{}, error) {
	if err := db.alarm.failed(); err != nil {
		return nil, err
	}
	done, err := db.DB.AsyncFlush()
	return done, WrapRead("start a flush of the store", err)
}

// Usage returns the bytes on disk that the store takes, obsolete files that are not yet removed included.
func (db *DB) Usage() uint64 { return db.Metrics().DiskSpaceUsage() }

// Checkpoint flushes and then makes a copy of the store in dir, which must not exist, by hard links where the file
// system has them. What it holds is found by opening it and reading its own applied record, which may be later
// than that of the flush.
func (db *DB) Checkpoint(dir string) error {
	if err := db.Flush(); err != nil {
		return err
	}
	return WrapRead("make a checkpoint of the store", db.DB.Checkpoint(dir))
}

// Close closes the store, with a flush before it if flush is set. Without it a later Open finds the store at the
// position that was durable. Snapshots and iterators must be closed before. After a failure that ended one of
// Pebble's goroutines its files are left to the end of the process, because waiting for that goroutine would never
// end. Closing twice gives the first answer again.
func (db *DB) Close(flush bool) error {
	db.closed.Do(func() {
		if flush {
			db.closeErr = db.Flush()
		}
		db.closeErr = errors.Join(db.closeErr, db.alarm.close(db.DB))
	})
	return db.closeErr
}
