package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Pause is called by long readings before each piece, with its bytes. It may take its time; an error ends the reading.
type Pause func(bytes int) error

// TableFile is one table of the store.
type TableFile struct {
	Number uint64 // rises with every table that is made
	Path   string
	Bytes  uint64
}

// Tables lists the tables of this moment by number. Compactions replace them at any time.
func (db *DB) Tables() ([]TableFile, error) {
	levels, err := db.SSTables()
	if err != nil {
		return nil, WrapRead("list the tables of the store", err)
	}
	var tables []TableFile
	seen := make(map[uint64]bool)
	for _, level := range levels {
		for _, t := range level {
			number := uint64(t.BackingSSTNum)
			if seen[number] {
				continue
			}
			seen[number] = true
			tables = append(tables, TableFile{number, db.fs.PathJoin(db.dir, fmt.Sprintf("%s.sst", t.BackingSSTNum)), t.Size})
		}
	}
	slices.SortFunc(tables, func(a, b TableFile) int {
		if a.Number < b.Number {
			return -1
		}
		return 1
	})
	return tables, nil
}

// CheckTable reads every block of a table, past the caches, and compares the checksums. The error is a *Corruption that
// names file and offset, that of pause, or a failure to read. A table that a compaction has replaced meanwhile is well.
// It may run on an open store beside reads and writes; what it finds does not reach Options.OnFailure.
func (db *DB) CheckTable(t TableFile, pause Pause) error {
	err := db.checkTable(t.Path, pause)
	var c *Corruption
	switch {
	case err == nil:
		return nil
	case errors.As(asCorruption(err), &c):
		return &Corruption{File: t.Path, Offset: c.Offset, Err: c.Err}
	case isNotExist(err) && db.alarm.failed() == nil:
		return nil // Open has seen that all were there
	}
	return fmt.Errorf("read the table %s: %w", t.Path, err)
}

// checkTable reads every block of one table.
func (db *DB) checkTable(path string, pause Pause) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = corrupted("Pebble cannot read it: %v", r)
		}
	}()
	f, err := db.fs.Open(path)
	if err != nil {
		return err
	}
	if pause != nil {
		f = pausedFile{f, pause}
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r, err := sstable.NewReader(context.Background(), readable, readerOptions(db.fs))
	if err != nil {
		return err // NewReader has closed the file
	}
	return errors.Join(r.ValidateBlockChecksums(), r.Close())
}

// pausedFile asks before each read.
type pausedFile struct {
	vfs.File
	pause Pause
}

func (f pausedFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.pause(len(p)); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}
