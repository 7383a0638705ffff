// Package store is the Pebble database of a member.
package store

import (
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/kind"
)

// The families of keys, by first byte. Every key of every family ends in a byte that says the length of its suffix.
const (
	FamilyMeta     = 'm'
	FamilyVersion  = 'v' // mvcc
	FamilyHistory  = 'h' // mvcc
	FamilyLease    = 'l' // lease
	FamilyAuth     = 'a' // auth
	FamilyMember   = 'n' // member
	FamilyAlarm    = 'x'
)

// Applied is the one record that every batch rewrites: where the store stands.
type Applied struct {
	Position       kind.Position
	Revision       kind.Revision
	Compacted      kind.Revision
	Digest         uint64
	Elapsed        uint64
	MachineVersion uint32
	LiveKeys       int64
	LiveBytes      int64
	Versions       int64
}

// DB is an open store.
type DB struct {
	*pebble.DB
	Identity kind.Identity
}

// Options of a store.
type Options struct {
	BlockCacheBytes int64
	MemTableBytes   uint64
	Logf            func(format string, args ...any)
	Fatalf          func(format string, args ...any)
}

// Create makes a store.
func Create(fs vfs.FS, dir string, id kind.Identity, genesis func(set func(key, value []byte)) error) error { return nil }

// Open opens a store.
func Open(fs vfs.FS, dir string, id kind.Identity, o Options) (*DB, error) { return nil, nil }
