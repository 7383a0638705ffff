package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// How far a store was read over is kept, and broken bytes of it are found.
func TestScrubbed(t *testing.T) {
	fs := vfs.NewMem()
	if err := Create(fs, "store", testIdentity, nil); err != nil {
		t.Fatal(err)
	}
	db, err := Open(fs, "store", testIdentity, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := db.Scrubbed(); ok || err != nil {
		t.Error("a new store has a record", err)
	}
	want := Scrubbed{Finished: 1_700_000_000, Running: true, Next: 77}
	if err := db.SetScrubbed(want); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(true); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(fs, "store", testIdentity, Options{}); err != nil {
		t.Fatal(err)
	}
	if got, ok, err := db.Scrubbed(); !ok || err != nil || got != want {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
	if !IsLocal(scrubbedKey) {
		t.Error("the record travels with snapshots")
	}
	const frozen = "01000000006553f10001000000000000004dfee6afd9"
	b := encodeScrubbed(want)
	if hex.EncodeToString(b) != frozen {
		t.Errorf("the record is written as %x", b)
	}
	for i := range len(b) * 8 {
		b[i/8] ^= 1 << (i % 8)
		if _, err := decodeScrubbed(b); err == nil {
			t.Errorf("bit %d is not found", i)
		}
		b[i/8] ^= 1 << (i % 8)
	}
	if err := db.Close(false); err != nil {
		t.Fatal(err)
	}
}

// Every table is read in pieces that the caller paces, and one that he ends; a flipped bit anywhere in a table is found,
// with the name of the file, on a store that is open.
func TestCheckTable(t *testing.T) {
	fs := vfs.NewMem()
	if err := Create(fs, "store", testIdentity, nil); err != nil {
		t.Fatal(err)
	}
	db, err := Open(fs, "store", testIdentity, Options{OnFailure: func(err error) { t.Error("the store has failed:", err) }})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		if err := db.Set(AppendKey(nil, FamilyLease, fmt.Sprint(i)), []byte(strings.Repeat(fmt.Sprint(i), 20)), pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	tables, err := db.Tables()
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	for i, table := range tables {
		read, pauses := 0, 0
		if err := db.CheckTable(table, func(n int) error { read += n; pauses++; return nil }); err != nil {
			t.Fatal(err)
		}
		if uint64(read) < table.Bytes/2 || pauses < 3 || i > 0 && tables[i-1].Number >= table.Number {
			t.Errorf("%+v: %d bytes in %d pieces", table, read, pauses)
		}
		enough := errors.New("enough")
		left := 2
		if err := db.CheckTable(table, func(int) error {
			if left--; left < 0 {
				return enough
			}
			return nil
		}); !errors.Is(err, enough) {
			t.Errorf("ended by its caller: %v", err)
		}
	}
	largest := tables[0]
	for _, table := range tables {
		if table.Bytes > largest.Bytes {
			largest = table
		}
	}
	flipBit(t, fs, largest.Path, int64(largest.Bytes/3))
	var c *Corruption
	if err := db.CheckTable(largest, nil); !errors.As(err, &c) || c.File != largest.Path || c.Offset < 0 {
		t.Errorf("a flipped bit: %v", err)
	}
	if err := db.CheckTable(TableFile{Number: 999, Path: "store/000999.sst"}, nil); err != nil {
		t.Errorf("one that a compaction has replaced: %v", err)
	}
	_ = db.Close(false) // it may have met the damage
}

func flipBit(t *testing.T, fs vfs.FS, path string, at int64) {
	t.Helper()
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
