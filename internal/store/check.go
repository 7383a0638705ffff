package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Check reads every block of every table of the store in dir and every record that the tables give together, and
// returns the broken files. It changes nothing. The error says that the store cannot be opened at all, or that
// reading failed for another reason than broken bytes. The member must not be running.
func Check(fs vfs.FS, dir string) ([]*Corruption, error) {
	db, err := openUnverified(fs, dir, Options{}, true)
	if err != nil {
		return nil, err
	}
	defer db.Close(false) // what reading found has raised the alarm as well, and is reported already
	broken, err := db.CheckTables()
	if len(broken) > 0 || err != nil {
		return broken, err
	}
	if err := db.verify(); err != nil {
		return nil, fmt.Errorf("check the store %s: %w", dir, err)
	}
	return db.checkRecords()
}

// CheckTables reads every block of every table, past the block cache, and returns the broken files. It may run on
// an open store beside reads and writes; what it finds does not reach Options.OnFailure, so that the caller decides.
func (db *DB) CheckTables() ([]*Corruption, error) {
	levels, err := db.SSTables()
	if err != nil {
		return nil, WrapRead("list the tables of the store", err)
	}
	var broken []*Corruption
	seen := make(map[string]bool)
	for _, tables := range levels {
		for _, table := range tables {
			path := db.fs.PathJoin(db.dir, fmt.Sprintf("%s.sst", table.BackingSSTNum))
			if seen[path] {
				continue
			}
			seen[path] = true
			err := db.checkTable(path)
			var c *Corruption
			switch {
			case errors.As(asCorruption(err), &c):
				broken = append(broken, &Corruption{File: path, Offset: c.Offset, Err: c.Err})
			case isNotExist(err) && db.alarm.failed() == nil:
				// A compaction has replaced the table since it was listed; Open has seen that all were there.
			case err != nil:
				return broken, fmt.Errorf("read the table %s: %w", path, err)
			}
		}
	}
	return broken, nil
}

// checkTable reads every block of one table.
func (db *DB) checkTable(path string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = corrupted("Pebble cannot read it: %v", r)
		}
	}()
	f, err := db.fs.Open(path)
	if err != nil {
		return err
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

// readerOptions returns what a table of ours is read with.
func readerOptions(fs vfs.FS) sstable.ReaderOptions {
	p := pebbleOptions(fs, Options{}, newAlarm(nil))
	p.EnsureDefaults()
	return p.MakeReaderOptions()
}

// checkRecords walks over all records: their keys have a shape of ours and rise, and their values can be read, those
// that lie in value blocks included.
func (db *DB) checkRecords() ([]*Corruption, error) {
	var last []byte
	err := db.Visit(nil, nil, func(key, _ []byte) error {
		if err := ValidateKey(key); err != nil {
			return corrupted("the key %x: %w", key, err)
		}
		if last != nil && Compare(last, key) >= 0 {
			return corrupted("the key %x comes after %x", key, last)
		}
		last = append(last[:0], key...)
		return nil
	})
	var c *Corruption
	if errors.As(err, &c) {
		return []*Corruption{c}, nil
	}
	return nil, err
}

// Visit calls f with each record from lower up to but not including upper, in order; nil stands for no bound. Key
// and value are valid during the call. An error of f ends the walk and is returned.
func (db *DB) Visit(lower, upper []byte, f func(key, value []byte) error) error {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return WrapRead("open an iterator of the store", err)
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return WrapRead("read a value of the store", err)
		}
		if err := f(it.Key(), value); err != nil {
			return err
		}
	}
	return WrapRead("walk over the store", it.Error())
}
