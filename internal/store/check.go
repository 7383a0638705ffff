package store

import (
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
	tables, err := db.Tables()
	if err != nil {
		return nil, err
	}
	var broken []*Corruption
	for _, t := range tables {
		err := db.CheckTable(t, nil)
		var c *Corruption
		switch {
		case errors.As(err, &c):
			broken = append(broken, c)
		case err != nil:
			return broken, err
		}
	}
	return broken, nil
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
	if err := db.Enter(); err != nil {
		return err
	}
	defer db.Leave()
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
