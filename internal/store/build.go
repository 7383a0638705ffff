package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/kind"
)

// TableWriter writes a file of records, for a store that Assemble makes.
type TableWriter struct {
	path string
	w    *sstable.Writer
}

// CreateTable begins a table at path.
func CreateTable(fs vfs.FS, path string) (*TableWriter, error) {
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("make the table %s: %w", path, err)
	}
	p := pebbleOptions(fs, Options{}, newAlarm(nil))
	p.EnsureDefaults()
	o := p.MakeWriterOptions(len(p.Levels)-1, pebble.FormatMajorVersion(FormatMajorVersion).MaxTableFormat())
	return &TableWriter{path, sstable.NewWriter(objstorageprovider.NewFileWritable(f), o)}, nil
}

// Add appends a record. Its key must be one that may be stored (ValidateKey) and come after that of the record before.
func (t *TableWriter) Add(key, value []byte) error {
	if err := t.w.Set(key, value); err != nil {
		return fmt.Errorf("write the table %s: %w", t.path, err)
	}
	return nil
}

// Size is about how many bytes the table has so far.
func (t *TableWriter) Size() uint64 { return t.w.Raw().EstimatedSize() }

// Close ends the table; its bytes are durable when it returns without an error.
func (t *TableWriter) Close() error {
	if err := t.w.Close(); err != nil {
		return fmt.Errorf("finish the table %s: %w", t.path, err)
	}
	return nil
}

// Assemble makes a store in dir, which must not hold one, of tables that TableWriter has written: their keys must not overlap,
// and they are moved into the store. It gets the identity id and the mark that it was adopted (see Adopted). Everything
// is durable when Assemble returns; before, Open says ErrUnfinished or ErrAbsent.
func Assemble(fs vfs.FS, dir string, id kind.Identity, tables []string) (err error) {
	a := newAlarm(nil)
	p := pebbleOptions(fs, Options{}, a)
	p.ErrorIfExists = true
	pdb, err := openPebble(dir, p, a)
	if err != nil {
		return fmt.Errorf("assemble the store %s: %w", dir, err)
	}
	db := &DB{DB: pdb, fs: fs, dir: dir, alarm: a}
	defer func() {
		if closeErr := db.Close(false); err == nil && closeErr != nil {
			err = fmt.Errorf("close the new store %s: %w", dir, closeErr)
		}
	}()
	if err := db.takeIn(id, tables); err != nil {
		return fmt.Errorf("assemble the store %s: %w", dir, err)
	}
	return nil
}

// takeIn moves the tables in and then writes the records that make the store a finished one. With the engine's own log
// switched off, what is moved in below a memtable that holds something is not durable; here it is still empty.
func (db *DB) takeIn(id kind.Identity, tables []string) (err error) {
	defer func() {
		if e := Recovered(recover()); e != nil {
			err = e
		}
	}()
	if len(tables) > 0 {
		if err := db.Ingest(context.Background(), tables); err != nil {
			return readFailure("move the tables in", err)
		}
	}
	at, err := db.Applied()
	if err != nil {
		return err
	}
	b := db.NewBatch()
	defer b.Close()
	if err := errors.Join(b.Set(adoptedKey, encodeAdopted(at.Position), nil), b.Set(identityKey, encodeIdentity(FormatVersion, id), nil)); err != nil {
		return err
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return err
	}
	return db.Flush()
}
