package store

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/kind"
)

// The mark of an adopted snapshot counts until something that was applied later is durable, or it was removed; broken
// bytes are told from it.
func TestAdopted(t *testing.T) {
	fs := vfs.NewMem()
	id := kind.Identity{Cluster: 1, Member: 2, Incarnation: 3}
	at := kind.Position{Index: 9, Term: 2}
	w, err := CreateTable(fs, "t")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Add(AppliedKey(), EncodeApplied(Applied{Position: at, Revision: 4, MachineVersion: 1})), w.Close()); err != nil {
		t.Fatal(err)
	}
	if err := Assemble(fs, "s", id, []string{"t"}); err != nil {
		t.Fatal(err)
	}
	open := func() *DB {
		db, err := Open(fs, "s", id, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	db := open()
	if adopted, err := db.Adopted(); !adopted || err != nil {
		t.Errorf("as assembled: %v, %v", adopted, err)
	}
	if err := db.ForgetAdoption(); err != nil {
		t.Fatal(err)
	}
	if adopted, err := db.Adopted(); adopted || err != nil {
		t.Errorf("forgotten: %v, %v", adopted, err)
	}
	_ = db.Close(false) // a power cut before the flush
	db = open()
	if adopted, err := db.Adopted(); !adopted || err != nil {
		t.Errorf("after a power cut: %v, %v", adopted, err)
	}
	if err := db.Set(AppliedKey(), EncodeApplied(Applied{Position: kind.Position{Index: 10, Term: 2}, Revision: 4, MachineVersion: 1}), pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	if adopted, err := db.Adopted(); adopted || err != nil {
		t.Errorf("when something was applied after it: %v, %v", adopted, err)
	}
	if err := db.Set(adoptedKey, []byte{1, 2}, pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	var c *Corruption
	if _, err := db.Adopted(); !errors.As(err, &c) {
		t.Errorf("broken: %v", err)
	}
	_ = db.Close(false)
}

// A store that is to be closed is closed when the last reader has gone, and lets nobody in from then on.
func TestShut(t *testing.T) {
	var db DB
	for range 2 {
		if err := db.Enter(); err != nil {
			t.Error(err)
		}
	}
	if db.Shut() {
		t.Error("it was shut before its readers")
	}
	db.Leave()
	if db.Shut() {
		t.Error("it was shut before its last reader")
	}
	db.Leave()
	for range 2 {
		if !db.Shut() {
			t.Error("it stays open without readers")
		}
	}
	for range 3 {
		if err := db.Enter(); !errors.Is(err, ErrReplaced) {
			t.Error(err)
		}
	}
	if !db.Shut() {
		t.Error("those that were not let in have opened it")
	}
}
